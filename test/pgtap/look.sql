-- Looking: ls, gaps, get_packet, packet_id, peek.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(63);

CREATE FUNCTION pg_temp.p(seq bigint, body text = '', second int = 0) RETURNS spool.packet
LANGUAGE sql AS $$ SELECT spool.make_packet(seq, body, ctime => '2026-01-01Z'::timestamptz + second * interval '1 s') $$;
CREATE FUNCTION pg_temp.put(queue text, seqs bigint[], stream text = '') RETURNS void
LANGUAGE sql AS $$ SELECT spool.write_many(queue, (SELECT array_agg(pg_temp.p(n, n::text)) FROM unnest(seqs) n), stream) $$;
CREATE FUNCTION pg_temp.listed(queue text, stream text = NULL, state text = NULL, max_rows int = 1000) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(l.stream, l.seq, ' ', l.state), ', ' ORDER BY l.ordinality), '')
      FROM spool.ls(queue, stream, state, max_rows) WITH ORDINALITY l
$$;

-- ls: columns, order, filters
SELECT spool.create_queue('q') \g /dev/null
SELECT is_empty($$SELECT * FROM spool.ls('q')$$, 'F18: an empty queue');
SELECT pg_temp.put('q', '{2,1,5,4}', 'A'), pg_temp.put('q', '{1,3}', 'B') \g /dev/null
SELECT is(pg_temp.listed('q'), 'A1 ready, B1 ready, A2 waiting, B3 gap, A4 gap, A5 gap', 'F18: ready, waiting, gap, by number');
SELECT is(pg_temp.listed('q', 'A'), 'A1 ready, A2 waiting, A4 gap, A5 gap', 'F18: one stream');
SELECT is(pg_temp.listed('q', 'nowhere'), '', 'F18: no such stream');
SELECT is(pg_temp.listed('q', state => 'gap'), 'B3 gap, A4 gap, A5 gap', 'F18: one state');
SELECT is(pg_temp.listed('q', max_rows => 2), 'A1 ready, B1 ready', 'F18: some rows');
SELECT is(pg_temp.listed('q', 'A', 'gap', 1), 'A4 gap', 'F18: the first of a stream and state');
SELECT is(pg_temp.listed('q', max_rows => NULL), pg_temp.listed('q'), 'F18: max_rows NULL means all');
SELECT is(pg_temp.listed('q', max_rows => 0), '', 'F18: no row');
SELECT throws_ok(sql, code, message, 'F18: ' || sql) FROM (VALUES
    ($$SELECT * FROM spool.ls('q', max_rows => -1)$$, '22023', 'max_rows must not be negative'),
    ($$SELECT * FROM spool.ls('nowhere', max_rows => 0)$$, '42704', 'queue "nowhere" does not exist'),
    ($$SELECT * FROM spool.gaps(NULL)$$, '22004', 'queue must not be null'),
    ($$SELECT spool.next_seq(NULL)$$, '22004', 'queue must not be null'),
    ($$SELECT spool.packet_id(NULL, 1)$$, '22004', 'queue must not be null'),
    ($$SELECT spool.packet_id('q', NULL)$$, '22004', 'seq must not be null')
) v(sql, code, message);
SELECT is((SELECT format('%s %s %s %s %s', packet_id = spool.packet_id('q', 1, 'A'), ctime = '2026-01-01Z', kind, attempts, bytes) FROM spool.ls('q', 'A') WHERE seq = 1),
    format('t t command 0 %s', length(pg_temp.p(1, '1')::bytea)), 'F18: the other columns');
SELECT pg_temp.put('q', ARRAY[7], 'C') \g /dev/null
SELECT is((SELECT bytes FROM spool.ls('q', 'D')), NULL, 'F18: no row, no size');
SELECT spool.write('q', pg_temp.p(1, repeat('x', 100000)), 'D') \g /dev/null
SELECT is((SELECT bytes FROM spool.ls('q', 'D')), length(pg_temp.p(1, repeat('x', 100000))::bytea)::bigint, 'F18: the size of a large packet');
SELECT throws_ok($$SELECT * FROM spool.ls('nowhere')$$, '42704', 'queue "nowhere" does not exist', 'F18: no such queue');
SELECT throws_ok($$SELECT * FROM spool.ls('q', state => 'lost')$$, '22023', 'unrecognized state: "lost"', 'F18: no such state');
SELECT throws_ok($$SELECT * FROM spool.ls(NULL)$$, '22004', 'queue must not be null', 'F18: queue NULL');

-- equal numbers: by creation time, then by arrival
SELECT spool.create_queue('same', order_by => 'timestamp') \g /dev/null
SELECT spool.write_many('same', ARRAY[pg_temp.p(1, 'c', 2), pg_temp.p(2, 'd', 0), pg_temp.p(1, 'a', 1), pg_temp.p(1, 'b', 1)]) \g /dev/null
SELECT is((SELECT string_agg(convert_from(spool.payload(spool.get_packet('same', l.packet_id)), 'UTF8'), ' ' ORDER BY ordinality) FROM spool.ls('same') WITH ORDINALITY l), 'a b c d', 'F18: equal numbers by time, then by arrival');
SELECT is((SELECT string_agg(concat(convert_from(spool.payload(spool.get_packet('same', l.packet_id)), 'UTF8'), ' ', l.state), ', ' ORDER BY ordinality) FROM spool.ls('same') WITH ORDINALITY l), 'a waiting, b waiting, c waiting, d ready', 'F18: states in a timestamp queue');

-- other states
SELECT spool.create_queue('states', retention => '1 day') \g /dev/null
SELECT pg_temp.put('states', '{1,2,3,4,6}') \g /dev/null
SELECT spool.discard('states', spool.packet_id('states', 3)) \g /dev/null
SELECT is((SELECT string_agg(seq::text, ' ') FROM spool.take('states', 1)), '1', 'F18: one is taken');
SELECT is(pg_temp.listed('states'), '1 done, 2 ready, 3 dead, 3 waiting, 4 waiting, 6 gap', 'F18: done and dead; a NOP in the place of a discarded packet');
SELECT is((SELECT string_agg(seq::text, ' ') FROM spool.ls('states', state => 'waiting') WHERE kind = 'nop'), '3', 'F18: the NOP is the discarded one''s number');
SELECT spool.pause_queue('states', '', 'look at it') \g /dev/null
SELECT is(pg_temp.listed('states'), '1 done, 2 paused, 3 dead, 3 paused, 4 paused, 6 paused', 'F18: a paused stream');
SELECT spool.resume_queue('states', ''), spool.pause_queue('states', reason => 'holidays') \g /dev/null
SELECT is(pg_temp.listed('states', state => 'paused'), '2 paused, 3 paused, 4 paused, 6 paused', 'F18: a paused queue');
SELECT is((SELECT pause_reason || (paused_since IS NOT NULL) FROM spool.queues WHERE queue = 'states'), 'holidaystrue', 'F18: the queue says why');
SELECT spool.resume_queue('states') \g /dev/null
SELECT is((SELECT concat(pause_reason, paused_since) FROM spool.queues WHERE queue = 'states'), '', 'F18: resumed');
SELECT is(spool.redrive('states'), 1::bigint, 'F18: redriven');
SELECT is(pg_temp.listed('states', state => 'ready'), '2 ready, 3 ready', 'F18: a redriven packet is ready');

-- gaps
SELECT spool.create_queue('g') \g /dev/null
SELECT is_empty($$SELECT * FROM spool.gaps('g')$$, 'F4: no gap');
SELECT pg_temp.put('g', '{1,2,4,5,9}', 'A'), pg_temp.put('g', '{3}', 'B'), pg_temp.put('g', '{1}', 'C') \g /dev/null
SELECT results_eq($$SELECT stream::text, first_missing, last_missing, waiting FROM spool.gaps('g') ORDER BY 1, 2$$,
    $$VALUES ('A'::text, 3::bigint, 3::bigint, 3::bigint), ('A', 6, 8, 1), ('B', 1, 2, 1)$$, 'F4: gaps, and how many wait behind each');
SELECT ok(bool_and(since BETWEEN now() - interval '1 minute' AND clock_timestamp()), 'F4: since when') FROM spool.gaps('g');
SELECT is((SELECT count(*) FROM spool.take('g', 9)), 3::bigint, 'F4: what is before the gaps is taken');
SELECT results_eq($$SELECT stream::text, first_missing FROM spool.gaps('g') ORDER BY 1, 2$$, $$VALUES ('A'::text, 3::bigint), ('A', 6), ('B', 1)$$, 'F4: the gaps are the same');
SELECT is(spool.skip_gap('g', 'A', 'lost'), 1::bigint, 'F34: skip the first gap of A');
SELECT is((SELECT string_agg(stream || first_missing, ' ' ORDER BY stream) FROM spool.gaps('g')), 'A6 B1', 'F34: that one only');
SELECT is(spool.skip_gap('g', 'A'), 0::bigint, 'F34: the head of A is not missing now');
SELECT throws_ok($$SELECT * FROM spool.gaps('nowhere')$$, '42704', 'queue "nowhere" does not exist', 'F4: no such queue');
SELECT throws_ok($$SELECT spool.skip_gap('g', 'nowhere')$$, '42704', 'stream "nowhere" of queue "g" does not exist', 'F34: no such stream');
SELECT spool.create_queue('g2'), spool.enqueue('g2', 'a'), spool.set_next_seq('g2', 5), spool.enqueue('g2', 'b'), spool.set_next_seq('g2', 1) \g /dev/null
SELECT is_empty($$SELECT * FROM spool.gaps('g2')$$, 'F70: numbers of the queue are never missing');

-- get_packet, packet_id
SELECT is(spool.get_packet('q', spool.packet_id('q', 5, 'A'))::bytea, pg_temp.p(5, '5')::bytea, 'F19: a packet by its id');
SELECT is(spool.packet_id('q', 99, 'A'), NULL, 'F19: no such number');
SELECT is(spool.packet_id('q', 1), NULL, 'F19: no such stream');
SELECT throws_ok($$SELECT spool.get_packet('q', 0)$$, '42704', 'packet 0 does not exist in queue "q"', 'F19: no such packet');
SELECT throws_ok(format($$SELECT spool.get_packet('g', %s)$$, spool.packet_id('q', 1, 'A')), '42704', NULL, 'F19: a packet of another queue');
SELECT is((SELECT string_agg((spool.get_packet('q', packet_id)::bytea = pg_temp.p(seq, seq::text)::bytea)::text, ' ') FROM spool.take('q', 2, stream => 'A')), 'true true', 'F19: taken ones until the end of the transaction');
SELECT spool.create_queue('n', order_by => o), spool.write('n', pg_temp.p(1, 'x')) FROM (VALUES ('none')) v(o) \g /dev/null
SELECT is((SELECT spool.get_packet('n', packet_id)::bytea FROM spool.take('n')), pg_temp.p(1, 'x')::bytea, 'F19: also in a queue that removes packets');
SELECT is((SELECT spool.get_packet('same', packet_id)::bytea FROM spool.take('same')), pg_temp.p(2, 'd', 0)::bytea, 'F19: also in order of time');
SELECT is((SELECT spool.get_packet('states', packet_id)::bytea FROM spool.take('states')), pg_temp.p(3, '3')::bytea, 'F19: also ahead of the cursor');

-- peek
SELECT spool.create_queue('k') \g /dev/null
SELECT pg_temp.put('k', '{1,2,3}', 'A'), pg_temp.put('k', '{1}', 'B') \g /dev/null
CREATE TEMPORARY TABLE before AS SELECT * FROM spool.ls('k');
SELECT results_eq($$SELECT packet_id, seq FROM spool.peek('k', 10)$$, $$SELECT packet_id, seq FROM spool.ls('k') ORDER BY stream, seq$$, 'F72: peek shows what take would hand out');
SELECT results_eq($$SELECT * FROM spool.ls('k')$$, 'SELECT * FROM before', 'F72: it changes nothing');
SELECT is((SELECT count(*) FROM spool.peek('k', 2)), 2::bigint, 'F72: some of them');
SELECT is((SELECT string_agg(seq::text, ' ') FROM spool.peek('k', 10, 'timestamp', 'A')), '1 2 3', 'F72: in another order, of one stream');
SELECT results_eq($$SELECT t FROM spool.peek('k', 10) t$$, $$SELECT t FROM spool.take('k', 10) t$$, 'F72: take then hands out the same');

SAVEPOINT ro;
SELECT spool.enqueue('k', 'x', 'R') \g /dev/null
SET TRANSACTION READ ONLY;
SELECT is((SELECT count(*) FROM spool.peek('k')), 1::bigint, 'F72: peek in a read-only transaction');
SELECT is((SELECT count(*) FROM spool.ls('k')), 1::bigint, 'F72: ls, too');
SELECT throws_ok($$SELECT * FROM spool.take('k')$$, '25006', 'cannot change queue "k" in a read-only transaction', 'F72: take does not');
SELECT throws_ok($$SELECT spool.enqueue('k', 'x')$$, '25006', 'cannot change queue "k" in a read-only transaction', 'F72: nor enqueue');
SELECT throws_ok($$SELECT spool.set_next_seq('k', 7)$$, '25006', 'cannot change queue "k" in a read-only transaction', 'F72: nor set_next_seq');
ROLLBACK TO ro;
SELECT is(spool.next_seq('k', 'A'), 4::bigint, 'F72: nothing was changed');

SELECT * FROM finish();
ROLLBACK;
