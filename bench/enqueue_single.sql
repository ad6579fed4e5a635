\set stream random(1, 100)
SELECT spool.enqueue('single', 'job 4711 0a1bf96b7165e962e90cb14648c9462d', :stream::int::text);
