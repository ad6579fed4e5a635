SELECT spool.enqueue('stream', 'job 4711 0a1bf96b7165e962e90cb14648c9462d', 'one');
