\sleep 20 ms
INSERT INTO bench.sent SELECT spool.enqueue('one', 'x'), clock_timestamp();
