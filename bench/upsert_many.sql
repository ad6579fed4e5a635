\set n random(1, 100)
\set sn :sn + 1
INSERT INTO bench.record SELECT key, :sn FROM bench.keys, unnest(keys) key WHERE n = :n ON CONFLICT (key) DO UPDATE SET sn = excluded.sn;
INSERT INTO bench.record SELECT key, :sn, :sn FROM bench.keys, unnest(keys) key WHERE n = :n ON CONFLICT (key) DO UPDATE SET applied = excluded.applied;
