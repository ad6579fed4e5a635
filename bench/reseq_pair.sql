\set key :client_id * 12500 + random(1, 12500)
\set sn :sn + 1
SELECT spool.register('pair', 'key ' || :key::int, :sn);
SELECT spool.resequence('pair', 'key ' || :key::int, :sn);
