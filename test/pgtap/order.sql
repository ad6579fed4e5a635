-- Order and gaps: what process runs, and in which order.
--
-- process commits as it goes, so this file is no transaction: it drops what
-- it made at its end.  Errors that are expected go to the error output.
\set ECHO none
\set QUIET 1
\set ON_ERROR_STOP 0
\pset format unaligned
\pset tuples_only true
\pset pager off
SET client_min_messages = warning;

SELECT plan(70);

CREATE SCHEMA order_test;
CREATE TABLE order_test.log (n serial, queue text, stream text, seq bigint, body text);
CREATE TABLE order_test.failing (body text);
-- The handler of all queues: logs the job, fails if its payload is listed.
CREATE FUNCTION order_test.work(job spool.job) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO order_test.log (queue, stream, seq, body)
    VALUES (job.queue, job.stream, job.seq, convert_from(job.payload, 'UTF8'));
    IF convert_from(job.payload, 'UTF8') IN (SELECT body FROM order_test.failing) THEN
        RAISE EXCEPTION 'job % fails', job.seq USING ERRCODE = 'U0007';
    END IF;
END $$;
CREATE FUNCTION pg_temp.make(queue text, order_by text = 'sequence') RETURNS void
LANGUAGE sql AS $$
    SELECT spool.create_queue(queue, order_by => order_by);
    SELECT spool.set_handler(queue, 'SELECT order_test.work($1)');
$$;
-- Writes packets with the numbers given; each is created later than the one before.
CREATE FUNCTION pg_temp.put(queue text, seqs bigint[], stream text = '', since timestamptz = '2026-01-01Z') RETURNS text
LANGUAGE sql AS $$
    SELECT string_agg(w.status, ' ' ORDER BY w.ordinality)
      FROM spool.write_many(queue, (
           SELECT array_agg(spool.make_packet(seq, format('%s%s', stream, seq), ctime => since + n * interval '1 s') ORDER BY n)
             FROM unnest(seqs) WITH ORDINALITY u(seq, n)), stream) WITH ORDINALITY w
$$;
-- The payloads that were run, in order; forgets them.
CREATE FUNCTION pg_temp.ran() RETURNS text
LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM order_test.log RETURNING n, body)
    SELECT coalesce(string_agg(body, ' ' ORDER BY n), '') FROM gone
$$;
CREATE FUNCTION pg_temp.listed(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(l.stream, l.seq, ' ', l.state), ', ' ORDER BY l.ordinality), '')
      FROM spool.ls(queue) WITH ORDINALITY l
$$;
CREATE FUNCTION pg_temp.missing(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(g.stream, g.first_missing, '-', g.last_missing, ' ', g.waiting), ', ' ORDER BY g.stream, g.first_missing), '')
      FROM spool.gaps(queue) g
$$;

-- F1
SELECT pg_temp.make('order f1') \g /dev/null
SELECT is(pg_temp.put('order f1', '{3,2,1}'), 'stored stored stored', 'F1: 3, 2, 1 are written');
CALL spool.process('order f1') \gset
SELECT is(:processed, 3, 'F1: three are processed');
SELECT is(pg_temp.ran(), '1 2 3', 'F1: run in order of numbers');
SELECT is(spool.next_seq('order f1'), 4::bigint, 'F1: the cursor is 4');
SELECT is(pg_temp.listed('order f1'), '', 'F1: the queue is empty');

-- F2, F4, F3
SELECT pg_temp.make('order f2') \g /dev/null
SELECT pg_temp.put('order f2', '{1,2,4,5}') \g /dev/null
SELECT clock_timestamp() AS before \gset
CALL spool.process('order f2') \gset
SELECT is(:processed, 2, 'F2: two are processed, no error');
SELECT is(pg_temp.ran(), '1 2', 'F2: 1 and 2 run');
SELECT is(spool.next_seq('order f2'), 3::bigint, 'F2: the cursor is 3');
SELECT is(pg_temp.listed('order f2'), '4 gap, 5 gap', 'F2: 4 and 5 stay behind the gap');
SELECT is(pg_temp.missing('order f2'), '3-3 2', 'F4: 3 is missing, two wait');
SELECT ok(g.since <= :'before' AND g.since > :'before'::timestamptz - interval '1 hour', 'F4: since when')
  FROM spool.gaps('order f2') g;
CALL spool.process('order f2') \gset
SELECT is(:processed, 0, 'F5: the default policy never passes a gap');
SELECT pg_temp.put('order f2', '{3}') \g /dev/null
SELECT is(pg_temp.missing('order f2'), '', 'F3: no gap when 3 has arrived');
CALL spool.process('order f2') \gset
SELECT is(pg_temp.ran(), '3 4 5', 'F3: 3, 4, 5 run');
SELECT is(spool.next_seq('order f2'), 6::bigint, 'F3: the cursor is 6');

-- F6
SELECT pg_temp.make('order f6') \g /dev/null
CALL spool.process('order f6') \gset
SELECT is(:processed, 0, 'F6: an empty queue');
SELECT is(:'ERROR', 'false'::text, 'F6: no error');
SELECT is((SELECT count(*) FROM spool.take('order f6', 10)), 0::bigint, 'F6: nothing to take');

-- F7
SELECT pg_temp.make('order f7') \g /dev/null
SELECT spool.set_next_seq('order f7', 3) \g /dev/null
SELECT is(pg_temp.put('order f7', '{1,2,3}'), 'late late stored', 'F7: 1 and 2 are below the cursor');
CALL spool.process('order f7') \gset
SELECT is(pg_temp.ran(), '3', 'F7: only 3 runs');
CALL spool.process('order f7') \gset
SELECT is(pg_temp.ran(), '', 'F7: 1 and 2 never run');
SELECT results_eq($$SELECT seq, reason FROM spool.dead_letters WHERE name = 'order f7' ORDER BY seq$$,
    $$VALUES (1::bigint, 'late'), (2, 'late')$$, 'F7: they are dead letters');
SELECT pg_temp.make('order f7b') \g /dev/null
SELECT pg_temp.put('order f7b', '{1,2,3}') \g /dev/null
SELECT spool.set_next_seq('order f7b', 3) \g /dev/null
CALL spool.process('order f7b') \gset
SELECT is(pg_temp.ran(), '3', 'F7: set_next_seq after the packets came');
SELECT results_eq($$SELECT seq, reason FROM spool.dead_letters WHERE name = 'order f7b' ORDER BY seq$$,
    $$VALUES (1::bigint, 'passed over'), (2, 'passed over')$$, 'F7: what was passed over is a dead letter');

-- F8
SELECT is(pg_temp.put('order f1', '{1}'), 'late', 'F8: a packet that was processed comes again');
SELECT is(pg_temp.put('order f1', '{1}'), 'duplicate', 'F8: and once more');
SELECT pg_temp.put('order f1', '{4}') \g /dev/null
CALL spool.process('order f1') \gset
SELECT is(pg_temp.ran(), '4', 'F8: it does not run again and does not block');

-- F9
SELECT pg_temp.make('order f9') \g /dev/null
SELECT spool.set_handler('order f9',
    $$SELECT order_test.work($1), CASE WHEN $1.seq < 3 THEN spool.enqueue($1.queue, ($1.seq + 1)::text) END$$) \g /dev/null
SELECT spool.enqueue('order f9', '1') \g /dev/null
CALL spool.process('order f9') \gset
SELECT is(pg_temp.ran(), '1', 'F9: what a job enqueues runs in the next pass');
CALL spool.process('order f9') \gset
SELECT is(pg_temp.ran(), '2', 'F9: the next pass');
CALL spool.process('order f9') \gset
SELECT is(pg_temp.ran(), '3', 'F9: the pass after that');

-- F10
SELECT pg_temp.make('order f10') \g /dev/null
SELECT spool.set_next_seq('order f10', 0) \g /dev/null
SELECT is(pg_temp.put('order f10', '{1,0}'), 'stored stored', 'F10: numbers 1 and 0');
CALL spool.process('order f10') \gset
SELECT is(pg_temp.ran(), '0 1', 'F10: 0 and 1 run');
SELECT is(spool.next_seq('order f10'), 2::bigint, 'F10: the cursor is 2');
SELECT pg_temp.make('order f10b') \g /dev/null
SELECT is(pg_temp.put('order f10b', '{0}'), 'late', 'F10: a new stream begins at 1');

-- F11, F12
SELECT throws_ok($$SELECT spool.write('order f10',
    '\x2a46494c4553504f4f4c45520001000000000000002c55ce7b2d9fc7bb7a83a3736571cfffffffffffffffffa56374696d6592ce6b01f0f3ce0f47585aa8636d645f74797065a34e4f50')$$,
    '22003', 'packet number 18446744073709551615 is out of range', 'F11: number 2^64 - 1 is refused');
SELECT is(pg_temp.listed('order f10'), '', 'F11: nothing is stored');
SELECT pg_temp.make('order f12') \g /dev/null
SELECT throws_ok($$SELECT spool.set_next_seq('order f12', 9223372036854775807)$$, '22003', 'packet number 9223372036854775807 is out of range',
    'F12: the cursor has no number above 2^63 - 2');
SELECT throws_ok($$SELECT spool.set_next_seq('order f12', -1)$$, '22003', 'packet number -1 is out of range', 'F12: nor below 0');
SELECT spool.set_next_seq('order f12', 9223372036854775806) \g /dev/null
SELECT is(pg_temp.put('order f12', '{9223372036854775806}'), 'stored', 'F12: the highest number');
CALL spool.process('order f12') \gset
SELECT is(pg_temp.ran(), '9223372036854775806', 'F12: it runs');
CALL spool.process('order f12') \gset
SELECT is(:processed, 0, 'F12: and nothing after it');
SELECT is(spool.next_seq('order f12'), 9223372036854775807, 'F12: the cursor does not wrap');
SELECT pg_temp.make('order f12b') \g /dev/null
SELECT spool.set_next_seq('order f12b', 9223372036854775805) \g /dev/null
SELECT is(spool.enqueue('order f12b', 'a'), 9223372036854775805, 'F12: the last number but one');
SELECT is(spool.enqueue('order f12b', 'b'), 9223372036854775806, 'F12: the last number');
SELECT throws_ok($$SELECT spool.enqueue('order f12b', 'c')$$, '22003',
    'stream "" of queue "order f12b" has no numbers left', 'F12: no number is given twice');
SELECT throws_ok($$SELECT spool.enqueue_many('order f12b', '{c,d}'::text[])$$, '22003',
    'stream "" of queue "order f12b" has no numbers left', 'F12: nor by enqueue_many');

-- F17
SELECT pg_temp.make('order f17') \g /dev/null
SELECT pg_temp.put('order f17', '{3,1,2}', 'A') \g /dev/null
SELECT pg_temp.put('order f17', '{2,1}', 'B') \g /dev/null
CALL spool.process('order f17') \gset
SELECT is(pg_temp.ran(), 'A1 A2 A3 B1 B2', 'F17: each sender''s packets run in order of numbers');
SELECT pg_temp.put('order f17', '{5}', 'A') \g /dev/null
SELECT pg_temp.put('order f17', '{4,3}', 'B') \g /dev/null
CALL spool.process('order f17') \gset
SELECT is(pg_temp.ran(), 'B3 B4', 'F17: a gap of A does not stop B');
SELECT is(pg_temp.missing('order f17'), 'A4-4 1', 'F17: the gap is A''s');

-- F77
SELECT pg_temp.make('order f77') \g /dev/null
SELECT spool.enqueue_many('order f77', '{1,2,3}'::text[]) \g /dev/null
INSERT INTO order_test.failing VALUES ('2');
CALL spool.process('order f77') \gset
SELECT is(:'SQLSTATE', '38000'::text, 'F77: job 2 fails');
SELECT is(pg_temp.ran() || ' / ' || spool.next_seq('order f77'), '1 / 2', 'F77: what job 1 did and the cursor are committed together');
SELECT is(pg_temp.listed('order f77'), '2 retrying, 3 waiting', 'F77: what did not succeed is still there');
TRUNCATE order_test.failing;
BEGIN;
SELECT is((SELECT count(*) FROM spool.take('order f77', 10)), 2::bigint, 'F77: both are taken');
SELECT is(spool.next_seq('order f77'), 4::bigint, 'F77: the taker sees its cursor');
ROLLBACK;
SELECT is(spool.next_seq('order f77'), 2::bigint, 'F77: rollback brings the cursor back');
SELECT is(pg_temp.listed('order f77'), '2 retrying, 3 waiting', 'F77: and the packets');

-- F81
SELECT pg_temp.make('order f81') \g /dev/null
SELECT spool.alter_queue('order f81', retention => '1 day') \g /dev/null
SELECT pg_temp.put('order f81', '{1,2,3}') \g /dev/null
CALL spool.process('order f81') \gset
CREATE TABLE order_test.before AS SELECT l.packet_id, spool.get_packet('order f81', l.packet_id)::bytea AS bytes FROM spool.ls('order f81') l;
SELECT is(pg_temp.ran() || ', ' || pg_temp.listed('order f81'), '1 2 3, 1 done, 2 done, 3 done', 'F81: done and retained');
SELECT spool.set_next_seq('order f81', 2) \g /dev/null
SELECT is(pg_temp.listed('order f81'), '1 done, 2 ready, 3 waiting', 'F81: moving back makes kept packets ready');
SELECT results_eq($$SELECT l.packet_id, spool.get_packet('order f81', l.packet_id)::bytea FROM spool.ls('order f81') l ORDER BY 1$$,
    'SELECT packet_id, bytes FROM order_test.before ORDER BY 1', 'F81: it changes no packet');
CALL spool.process('order f81') \gset
SELECT is(pg_temp.ran(), '2 3', 'F81: they run again');
SELECT spool.set_next_seq('order f81', 5) \g /dev/null
SELECT pg_temp.put('order f81', '{5}') \g /dev/null
SELECT spool.set_next_seq('order f81', 3) \g /dev/null
SELECT is(pg_temp.missing('order f81'), '4-4 1', 'F81: a number that is not there is missing');
CALL spool.process('order f81') \gset
SELECT is(pg_temp.ran(), '3', 'F81: it stops the replay');

-- F34
SELECT pg_temp.make('order f34') \g /dev/null
SELECT pg_temp.put('order f34', '{1,2,4,7}') \g /dev/null
INSERT INTO order_test.failing VALUES ('1');
CALL spool.process('order f34') \gset
SELECT is(:'LAST_ERROR_MESSAGE', 'job 1 of stream "" of queue "order f34" failed'::text, 'F34: the head is stuck');
SELECT spool.discard('order f34', spool.packet_id('order f34', 1), 'broken') \g /dev/null
SELECT is((SELECT attempts FROM spool.dead_letters WHERE name = 'order f34'), 1, 'F34: the dead letter tells its attempts');
CALL spool.process('order f34') \gset
SELECT is(pg_temp.ran(), '2', 'F34: discarded, the following number runs');
SELECT is(spool.skip_gap('order f34', reason => 'lost'), 1::bigint, 'F34: one number is skipped');
CALL spool.process('order f34') \gset
SELECT is(pg_temp.ran(), '4', 'F34: behind the gap it goes on');
SELECT spool.set_next_seq('order f34', 7) \g /dev/null
CALL spool.process('order f34') \gset
SELECT is(pg_temp.ran(), '7', 'F34: set_next_seq skips, too');
SELECT results_eq($$SELECT action, first_seq, last_seq, reason FROM spool.actions WHERE queue = 'order f34' ORDER BY at$$,
    $$VALUES ('discard', 1::bigint, 1::bigint, 'broken'), ('skip_gap', 3, 3, 'lost'), ('set_next_seq', 5, 7, NULL)$$,
    'F34: what the operator did is recorded');
SELECT is(spool.skip_gap('order f34'), 0::bigint, 'F34: nothing to skip');

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'order %' \g /dev/null
DROP SCHEMA order_test CASCADE;
