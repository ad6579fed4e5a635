\set sn :sn + 1
INSERT INTO bench.inserted VALUES ('key ' || :client_id::int || ' ' || :sn::int8, 1);
