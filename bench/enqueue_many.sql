SELECT spool.enqueue_many('many', payloads) FROM bench.batch;
