\set sn :sn + 1
SELECT spool.register('new', 'key ' || :client_id::int || ' ' || :sn::int8, 1);
SELECT spool.resequence('new', 'key ' || :client_id::int || ' ' || :sn::int8, 1);
