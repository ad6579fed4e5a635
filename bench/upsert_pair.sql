\set key :client_id * 12500 + random(1, 12500)
\set sn :sn + 1
INSERT INTO bench.record VALUES ('key ' || :key::int, :sn) ON CONFLICT (key) DO UPDATE SET sn = excluded.sn;
INSERT INTO bench.record VALUES ('key ' || :key::int, :sn, :sn) ON CONFLICT (key) DO UPDATE SET applied = excluded.applied;
