\set n random(1, 100)
\set sn :sn + 1
SELECT count(r) FROM bench.keys, spool.register_many('many', keys, array_fill(:sn::int8, '{1000}')) r WHERE n = :n;
SELECT count(r) FROM bench.keys, spool.resequence_many('many', keys, array_fill(:sn::int8, '{1000}')) r WHERE n = :n;
