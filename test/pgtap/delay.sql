-- enqueue with run_at and key: delay, storing once; and the upkeep of both and
-- of the history.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;

SELECT plan(74);

-- What the manager does each minute is done here by hand.
\ir include/upkeep.sql

CREATE FUNCTION pg_temp.listed(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(l.stream, l.seq, ' ', l.state), ', ' ORDER BY l.ordinality), '')
      FROM spool.ls(queue) WITH ORDINALITY l
$$;
-- Let what is scheduled in a queue be due for some time.
CREATE FUNCTION pg_temp.due(queue text) RETURNS void
LANGUAGE sql AS $$
    UPDATE spool.scheduled s SET run_at = s.run_at - interval '1 hour 1 second'
      FROM spool.queue q WHERE q.id = s.queue AND q.name = due.queue
$$;
-- Let a key's time have begun that long ago.
CREATE FUNCTION pg_temp.age(queue text, key text, age interval) RETURNS void
LANGUAGE sql AS $$
    UPDATE spool.key k SET since = clock_timestamp() - age.age
      FROM spool.queue q WHERE q.id = k.queue AND q.name = age.queue AND k.key = age.key
$$;
CREATE FUNCTION pg_temp.keys(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat_ws(' ', k.key, k.seq), ', ' ORDER BY k.key), '')
      FROM spool.key k JOIN spool.queue q ON q.id = k.queue WHERE q.name = keys.queue
$$;
CREATE FUNCTION pg_temp.payloads(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(stream, seq, ' ', convert_from(payload, 'UTF8')), ', '), '') FROM spool.take(queue, 1000)
$$;

-- Not given: no table is touched.
SELECT spool.create_queue('delay plain') \g /dev/null
SELECT spool.enqueue('delay plain', 'a'), spool.enqueue('delay plain', 'b', run_at => NULL, key => NULL) \g /dev/null
SELECT is(pg_temp.listed('delay plain') || pg_temp.keys('delay plain'), '1 ready, 2 waiting', 'delay: neither given, neither done');

-- A time that has come.
SELECT is(spool.enqueue('delay plain', 'c', run_at => t), n, 'delay: run_at ' || t || ' is an ordinary enqueue')
  FROM (VALUES ('-infinity'::timestamptz, 3::bigint), ('2001-01-01Z', 4), (now(), 5)) v(t, n);
SELECT is((SELECT count(*) FROM spool.scheduled), 0::bigint, 'delay: nothing is scheduled by it');

-- A time that is to come.
SELECT spool.create_queue('delay later') \g /dev/null
SELECT is(spool.enqueue('delay later', 'tomorrow', 's', run_at => now() + '1 day'), NULL, 'delay: a scheduled packet has no number yet');
SELECT is(spool.enqueue('delay later', payload, 's', run_at => now() + '1 hour'), NULL, 'delay: in the form for bytea') FROM (VALUES ('bytes'::bytea)) v(payload);
SELECT is(spool.enqueue('delay later', payload, 's', run_at => now() + '1 hour'), NULL, 'delay: in the form for json') FROM (VALUES ('{"a":1}'::json)) v(payload);
SELECT is(spool.enqueue('delay later', payload, 's', run_at => now() + '1 hour'), NULL, 'delay: in the form for jsonb') FROM (VALUES ('[2]'::jsonb)) v(payload);
SELECT spool.enqueue('delay later', 'now', 's') \g /dev/null
SELECT is(pg_temp.listed('delay later'), 's1 ready, s scheduled, s scheduled, s scheduled, s scheduled', 'delay: scheduled packets are listed, without a number');
SELECT is(array_agg(ctime ORDER BY ctime), (SELECT array_agg(run_at ORDER BY run_at) FROM spool.scheduled), 'delay: by the time when they are due') FROM spool.ls('delay later', 's', 'scheduled');
SELECT is((SELECT count(*) FROM spool.ls('delay later', 'other', 'scheduled')) + (SELECT count(*) FROM spool.ls('delay later', state => 'scheduled', max_rows => 3)), 3::bigint, 'delay: of one stream; max_rows holds');
SELECT results_eq($$SELECT convert_from(spool.payload(p), 'UTF8') COLLATE "C", spool.seq(p) FROM spool.ls('delay later', state => 'scheduled') l, spool.get_packet('delay later', l.packet_id) p ORDER BY 1$$,
    $$VALUES ('[2]' COLLATE "C", 0::bigint), ('bytes', 0), ('tomorrow', 0), ('{"a":1}', 0)$$, 'delay: get_packet has them');
SELECT throws_ok(format($$SELECT spool.get_packet('delay plain', %s)$$, max(packet_id)), '42704', format('packet %s does not exist in queue "delay plain"', max(packet_id)), 'delay: in their queue only')
  FROM spool.ls('delay later', state => 'scheduled');
CALL spool.maintain();
SELECT is(pg_temp.payloads('delay later'), 's1 now', 'delay: they wait');
SELECT pg_temp.due('delay later');
SELECT is(pg_temp.payloads('delay later'), '', 'delay: take does not look for what is due');
SELECT clock_timestamp() AS before, max(packet_id) AS last FROM spool.ls('delay later') \gset
CALL spool.maintain();
SELECT is(pg_temp.listed('delay later'), 's2 ready, s3 waiting, s4 waiting, s scheduled', 'delay: maintain moves what is due');
SELECT ok(bool_and(ctime >= :'before' AND packet_id > :last), 'delay: its number, creation time and id are given then') FROM spool.ls('delay later', 's') WHERE state <> 'scheduled';
SELECT is(pg_temp.payloads('delay later'), 's2 bytes, s3 {"a":1}, s4 [2]', 'delay: in the order in which it was due');

-- process begins with what is due, and keeps the header.
SELECT spool.create_queue('delay process'), spool.create_queue('delay process other') \g /dev/null
SELECT spool.set_handler('delay process', $$SELECT spool.enqueue('delay process', 'by the handler', 'result', ARRAY[concat_ws(' ', ($1).params, ($1).env, ($1).kind, ($1).stream, ($1).seq, convert_from(($1).payload, 'UTF8'))])$$) \g /dev/null
SELECT spool.enqueue('delay process', 'x', 's', '{a,"b c"}', '{"V": "1"}', run_at => now() + '1 h'), spool.enqueue('delay process', kind => 'nop', run_at => now() + '1 h') \g /dev/null
SELECT spool.enqueue('delay process other', 'x', run_at => now() + '1 h') \g /dev/null
SELECT pg_temp.due(q) FROM unnest('{delay process,delay process other}'::text[]) q \g /dev/null
CALL spool.process('delay process') \gset
SELECT is(:processed, 2, 'delay: process runs what is due');
SELECT is(params, '{"{a,\"b c\"} {\"V\": \"1\"} command s 1 x"}'::text[], 'delay: parameters, environment, kind and payload are kept') FROM spool.take('delay process');
SELECT is(pg_temp.listed('delay process other'), ' scheduled', 'delay: it does not move those of other queues');
SELECT spool.set_handler('delay process other', 'SELECT 1') \g /dev/null
SET default_transaction_isolation = 'repeatable read';
CALL spool.process('delay process other') \gset
RESET default_transaction_isolation;
SELECT is(:processed, 1, 'delay: at REPEATABLE READ, too');

-- A large one, stored out of line.
SELECT spool.create_queue('delay large'), string_agg(md5(n::text), '') AS large FROM generate_series(1, 10000) n \gset
SELECT spool.enqueue('delay large', :'large', run_at => now() + '1 h'), spool.enqueue('delay large', :'large', run_at => now() + '2 h') \g /dev/null
SELECT spool.discard('delay large', max(packet_id)) FROM spool.ls('delay large') \g /dev/null
SELECT pg_temp.due('delay large'), spool.redrive('delay large') \g /dev/null
CALL spool.maintain();
SELECT is((SELECT string_agg(concat(seq, ' ', convert_from(payload, 'UTF8') = :'large'), ', ') FROM spool.take('delay large', 2)), '0 t, 1 t', 'delay: large packets');

-- Other orders.
SELECT spool.create_queue('delay ' || o, o) FROM unnest('{timestamp,latest,none}'::text[]) o \g /dev/null
SELECT spool.enqueue('delay ' || o, b, 's', run_at => now() + t) FROM unnest('{timestamp,latest,none}'::text[]) o, (VALUES ('old', interval '30 min'), ('new', '50 min')) v(b, t) \g /dev/null
SELECT spool.enqueue('delay ' || o, 'between', 's') FROM unnest('{timestamp,latest,none}'::text[]) o \g /dev/null
SELECT pg_temp.due('delay ' || o) FROM unnest('{timestamp,latest,none}'::text[]) o \g /dev/null
CALL spool.maintain();
SELECT is((SELECT string_agg(concat(stream, ' ', convert_from(payload, 'UTF8')), ', ') FROM spool.take('delay ' || o, 3)), expected, 'delay: order ' || o) FROM (VALUES
    ('timestamp', ' between,  old,  new'), ('latest', 's new'), ('none', ' between,  old,  new')) v(o, expected);

-- More than one call moves, from many streams.
SELECT spool.create_queue('delay many') \g /dev/null
SELECT count(spool.enqueue('delay many', n::text, (n % 100)::text, run_at => now() + '1 h')) FROM generate_series(1, 2500) n \g /dev/null
SELECT pg_temp.due('delay many');
CALL spool.maintain();
SELECT results_eq($$SELECT count(*), count(DISTINCT stream), max(seq) FROM spool.ls('delay many', max_rows => NULL) WHERE state <> 'scheduled'$$,
    'VALUES (2500::bigint, 100::bigint, 25::bigint)', 'delay: maintain moves all that is due');

-- What an ordinary enqueue refuses is refused at once.
SELECT spool.create_queue('delay refuse') \g /dev/null
SELECT spool.write('delay refuse', spool.make_packet(1), 'sender') \g /dev/null
SELECT throws_ok(sql, code, message, 'delay: ' || message) FROM (VALUES
    ($$SELECT spool.enqueue('delay refuse', 'x', run_at => 'infinity')$$, '22023', 'run_at must not be infinity'),
    ($$SELECT spool.enqueue('delay refuse', 'x', 'sender', run_at => now() + '1 h')$$, '55000', 'stream "sender" of queue "delay refuse" is numbered by its sender'),
    (format($$SELECT spool.enqueue('delay refuse', 'x', %L, run_at => now() + '1 h')$$, repeat('s', 1025)), '22023', 'stream name is too long'),
    ($$SELECT spool.enqueue('delay nowhere', 'x', run_at => now() + '1 h')$$, '42704', 'queue "delay nowhere" does not exist'),
    ($$SELECT spool.enqueue('delay refuse', 'x', kind => 'what', run_at => now() + '1 h')$$, '22023', 'unrecognized packet kind: "what"'),
    (format($$SELECT spool.enqueue('delay refuse', 'x', key => %L)$$, repeat('ä', 513)), '22023', 'key is too long')
) v(sql, code, message);
CREATE ROLE spool_delay_stranger;
SET ROLE spool_delay_stranger;
SELECT throws_ok($$SELECT spool.enqueue('delay refuse', 'x', run_at => now() + '1 h', key => 'k')$$, '42501', 'permission denied for queue "delay refuse"', 'delay: the right to write');
RESET ROLE;
DROP ROLE spool_delay_stranger;
SELECT lives_ok(format($$SELECT spool.enqueue('delay refuse', 'x', key => %L)$$, repeat('ä', 512)), 'delay: a key of 1024 bytes');
SELECT spool.enqueue('delay refuse', 'x', 'mixed', run_at => now() + '1 h') \g /dev/null
SELECT throws_ok($$SELECT spool.write('delay refuse', spool.make_packet(1), 'mixed')$$, '55000', 'stream "mixed" of queue "delay refuse" is numbered by the queue', 'delay: a scheduled packet fixes who numbers the stream');

-- A packet that is refused when it is due delays no other.
SELECT spool.create_queue('delay full') \g /dev/null
SELECT spool.enqueue('delay full', 'full', 'a', run_at => now() + '1 h', key => 'full'), spool.enqueue('delay full', 'one', 'b', run_at => now() + '1 h') \g /dev/null
SELECT spool.enqueue('delay full', n::text, 'c', run_at => now() + '1 h') FROM generate_series(1, 3) n \g /dev/null
SELECT spool.set_next_seq('delay full', 9223372036854775806, 'a'), spool.set_next_seq('delay full', 9223372036854775805, 'c') \g /dev/null
SELECT spool.enqueue('delay full', 'the last', 'a') \g /dev/null
SELECT pg_temp.due('delay full');
CALL spool.maintain();
SELECT is(pg_temp.listed('delay full'), 'a0 dead, c0 dead, b1 ready, c9223372036854775805 ready, a9223372036854775806 ready, c9223372036854775806 waiting', 'delay: what cannot be stored is a dead letter, the others are stored');
SELECT results_eq($$SELECT stream COLLATE "C", reason, sqlstate, message FROM spool.dead_letters WHERE name = 'delay full' ORDER BY 1$$,
    $$VALUES ('a' COLLATE "C", 'failed', '22003', 'stream "a" of queue "delay full" has no numbers left'), ('c', 'failed', '22003', 'stream "c" of queue "delay full" has no numbers left')$$, 'delay: and says why');
SELECT is(pg_temp.keys('delay full'), '', 'delay: its key is forgotten');

-- discard and redrive
SELECT spool.create_queue('delay discard') \g /dev/null
SELECT spool.enqueue('delay discard', 'x', 's', run_at => now() + '1 h', key => 'k') \g /dev/null
SELECT packet_id AS id FROM spool.ls('delay discard') \gset
SELECT throws_ok(format($$SELECT spool.discard('delay plain', %s)$$, :id), '42704', format('packet %s does not exist in queue "delay plain"', :id), 'delay: discard looks in its queue only');
SELECT spool.discard('delay discard', :id, 'not wanted') \g /dev/null
SELECT is(concat_ws(' ', pg_temp.listed('delay discard'), (SELECT reason || ' ' || message FROM spool.dead_letters WHERE name = 'delay discard'), nullif(pg_temp.keys('delay discard'), '')), 's0 dead discarded not wanted', 'delay: a discarded packet is a dead letter without a number, its key is forgotten');
SELECT results_eq($$SELECT stream, action, first_seq, packet_id, reason FROM spool.actions WHERE queue = 'delay discard'$$, format($$VALUES ('s', 'discard', NULL::bigint, %s::bigint, 'not wanted')$$, :id), 'delay: discard is recorded');
SELECT spool.enqueue('delay discard', 'y', 's') \g /dev/null
SELECT is(spool.redrive('delay discard', :id), 1::bigint, 'delay: it can be redriven');
SELECT is(pg_temp.payloads('delay discard'), 's0 x, s1 y', 'delay: ahead of the others');
SELECT throws_ok(format($$SELECT spool.discard('delay discard', %s)$$, :id), '42704', NULL, 'delay: what is gone cannot be discarded');

-- Scheduled packets count as waiting.
SELECT spool.create_queue('delay drop') \g /dev/null
SELECT spool.enqueue('delay drop', 'x', run_at => now() + '1 h', key => 'k') \g /dev/null
SELECT throws_ok($$SELECT spool.drop_queue('delay drop')$$, '55006', 'cannot drop queue "delay drop" while packets wait', 'delay: drop_queue is refused');
SELECT throws_ok($$SELECT spool.alter_queue('delay drop', order_by => 'none')$$, '55006', 'cannot change the order of queue "delay drop" while it holds packets', 'delay: a change of the order, too');
SELECT id AS dropped FROM spool.queue WHERE name = 'delay drop' \gset
SELECT spool.drop_queue('delay drop', force => true) \g /dev/null
SELECT is((SELECT count(*) FROM spool.scheduled WHERE queue = :dropped) + (SELECT count(*) FROM spool.key WHERE queue = :dropped), 0::bigint, 'delay: by force they go with the queue');

-- key: stored once
SELECT spool.create_queue('delay key'), spool.create_queue('delay key other') \g /dev/null
SELECT is(spool.enqueue('delay key', 'a', 's', key => 'k'), 1::bigint, 'key: the first is stored');
SELECT is(spool.enqueue('delay key', 'b', 't', key => 'k'), 1::bigint, 'key: the second gets its number, whatever else is given');
SELECT is(spool.enqueue('delay key', 'c', run_at => now() + '1 h', key => 'k'), 1::bigint, 'key: with run_at, too');
SELECT is(spool.enqueue('delay key', 'd', 's', key => 'K'), 2::bigint, 'key: another key');
SELECT is(spool.enqueue('delay key other', 'e', 's', key => 'k'), 1::bigint, 'key: another queue');
SELECT is(spool.enqueue('delay key', 'f', 's', key => ''), 3::bigint, 'key: an empty one is one');
SELECT is(pg_temp.payloads('delay key'), 's1 a, s2 d, s3 f', 'key: nothing else was stored');
SELECT is(spool.enqueue('delay key', 'g', 's', key => 'k'), 1::bigint, 'key: holds also when the packet is consumed');
BEGIN;
SELECT is(spool.enqueue('delay key', 'h', 's', key => 'undone'), 4::bigint, 'key: one that is rolled back');
SELECT is(spool.enqueue('delay key', 'h', 's', key => 'undone'), 4::bigint, 'key: holds within its transaction');
ROLLBACK;
SELECT is(spool.enqueue('delay key', 'i', 's', key => 'undone'), 4::bigint, 'key: and not after it');
SELECT is(pg_temp.payloads('delay key'), 's4 i', 'key: the packet of the other is stored');

-- expiry
SELECT pg_temp.age('delay key', 'k', '23 h 59 min'), pg_temp.age('delay key', 'K', '24 h 1 s') \g /dev/null
SELECT is(spool.enqueue('delay key', 'j', 's', key => 'k'), 1::bigint, 'key: holds for a day');
SELECT is(spool.enqueue('delay key', 'j', 's', key => 'K'), 5::bigint, 'key: not longer');
SELECT is(spool.enqueue('delay key', 'j', 's', key => 'K'), 5::bigint, 'key: and then for another day');
SELECT pg_temp.age('delay key', 'k', '23 h 59 min'), pg_temp.age('delay key', 'K', '24 h 1 s') \g /dev/null
CALL spool.maintain();
SELECT is(pg_temp.keys('delay key'), ' 3, k 1, undone 4', 'key: maintain removes those that are expired');

-- key and run_at
SELECT spool.create_queue('delay both') \g /dev/null
SELECT is(spool.enqueue('delay both', 'a', run_at => now() + '1 h', key => 'k'), NULL, 'key: of a scheduled packet');
SELECT is(spool.enqueue('delay both', 'b', key => 'k'), NULL, 'key: has no number until it is due');
SELECT pg_temp.age('delay both', 'k', '2 days');
CALL spool.maintain();
SELECT is(spool.enqueue('delay both', 'b', key => 'k'), NULL, 'key: does not expire meanwhile');
SELECT pg_temp.due('delay both');
CALL spool.maintain();
SELECT is(spool.enqueue('delay both', 'b', key => 'k'), 1::bigint, 'key: then has its number, for a day from then on');
SELECT is(pg_temp.payloads('delay both'), '1 a', 'key: the packet is stored once');

-- History: kept for 30 days, or for the queue's retention.
SELECT spool.create_queue('delay history'), spool.create_queue('delay history long', retention => '60 days') \g /dev/null
INSERT INTO spool.attempt (queue, seq, finished_at, outcome)
SELECT q.id, d, clock_timestamp() - d * interval '1 day', 'ok' FROM spool.queue q, unnest('{1,29,31,59,61}'::int[]) d WHERE q.name LIKE 'delay history%';
INSERT INTO spool.action (queue, action, first_seq, role, at)
SELECT q.id, 'test', d, 'r', clock_timestamp() - d * interval '1 day' FROM spool.queue q, unnest('{1,29,31,59,61}'::int[]) d WHERE q.name LIKE 'delay history%';
CALL spool.maintain();
SELECT is(array_agg(seq::text ORDER BY seq), expected, 'maintain: attempts of ' || queue) FROM spool.attempts JOIN (VALUES ('delay history', '{1,29}'::text[]), ('delay history long', '{1,29,31,59}')) v(queue, expected) USING (queue) GROUP BY queue, expected ORDER BY queue;
SELECT is(array_agg(first_seq::text ORDER BY first_seq), expected, 'maintain: actions on ' || queue) FROM spool.actions JOIN (VALUES ('delay history', '{1,29}'::text[]), ('delay history long', '{1,29,31,59}')) v(queue, expected) USING (queue) WHERE action = 'test' GROUP BY queue, expected ORDER BY queue;

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'delay %' \g /dev/null
CALL pg_temp.maintained();
