-- Queues in which only the newest packet of a record counts.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;

SELECT plan(36);

CREATE SCHEMA latest_test;
CREATE TABLE latest_test.log (n serial, body text);
CREATE FUNCTION latest_test.work(job spool.job) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO latest_test.log (body) VALUES (convert_from(job.payload, 'UTF8'));
    IF convert_from(job.payload, 'UTF8') LIKE 'bad%' THEN
        RAISE EXCEPTION 'job fails';
    END IF;
END $$;
CREATE FUNCTION pg_temp.make(queue text, on_error text = 'retry', max_attempts int = NULL) RETURNS void
LANGUAGE sql AS $$
    SELECT spool.create_queue(queue, order_by => 'latest', on_error => on_error, max_attempts => max_attempts);
    SELECT spool.set_handler(queue, 'SELECT latest_test.work($1)');
$$;
CREATE FUNCTION pg_temp.put(queue text, seq bigint, body text, stream text = '', kind text = 'command') RETURNS text
LANGUAGE sql AS $$
    SELECT status FROM spool.write(queue, spool.make_packet(seq, body, kind => kind, ctime => '2026-01-01Z'), stream)
$$;
CREATE FUNCTION pg_temp.ran() RETURNS text
LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM latest_test.log RETURNING n, body)
    SELECT coalesce(string_agg(body, ' ' ORDER BY n), '') FROM gone
$$;
CREATE FUNCTION pg_temp.taken(queue text, max_jobs int = 100) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(convert_from(j.payload, 'UTF8'), ' ' ORDER BY j.ordinality), '')
      FROM spool.take(queue, max_jobs) WITH ORDINALITY j
$$;
CREATE FUNCTION pg_temp.listed(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(l.stream, l.seq, ' ', l.state), ', ' ORDER BY l.ordinality), '')
      FROM spool.ls(queue) WITH ORDINALITY l
$$;

-- The newest wins.
SELECT pg_temp.make('latest one') \g /dev/null
SELECT pg_temp.put('latest one', 3, 'A3', 'A'), pg_temp.put('latest one', 9, 'A9', 'A'), pg_temp.put('latest one', 5, 'A5', 'A'), pg_temp.put('latest one', 2, 'B2', 'B') \g /dev/null
SELECT is(pg_temp.listed('latest one'), 'B2 ready, A3 superseded, A5 superseded, A9 ready', 'D1: those under the newest are superseded');
SELECT is_empty($$SELECT * FROM spool.gaps('latest one')$$, 'D1: numbers between are not missing');
CALL spool.process('latest one') \gset
SELECT is(pg_temp.ran(), 'A9 B2', 'D1: the newest of each stream runs');
SELECT is(:processed, 2, 'D1: two are processed');
SELECT is(pg_temp.listed('latest one'), '', 'D1: the others never run');
SELECT is(spool.next_seq('latest one', 'A'), 10::bigint, 'D1: the cursor is behind it');
SELECT is(pg_temp.put('latest one', 7, 'A7', 'A'), 'late', 'D1: an older one is late');
SELECT is(pg_temp.put('latest one', 9, 'again', 'A'), 'late', 'D1: so is one with the same number');
SELECT is_empty($$SELECT * FROM spool.dead_letters WHERE name = 'latest one'$$, 'D1: late ones are no dead letters');
SELECT results_eq($$SELECT packet_id, seq, status FROM spool.write('latest one', spool.make_packet(1, 'x'), 'A')$$,
    $$VALUES (NULL::bigint, 1::bigint, 'late')$$, 'D1: late ones are not stored');
SELECT is(pg_temp.put('latest one', 10, 'A10', 'A'), 'stored', 'D1: a newer one is stored');
SELECT is(pg_temp.taken('latest one'), 'A10', 'D1: and taken');
SELECT is(pg_temp.taken('latest one'), '', 'D1: once');

-- Only success moves the cursor.
BEGIN;
SELECT pg_temp.put('latest one', 11, 'A11', 'A'), pg_temp.put('latest one', 12, 'A12', 'A') \g /dev/null
SAVEPOINT s;
SELECT is(pg_temp.taken('latest one'), 'A12', 'D1: taken');
ROLLBACK TO s;
SELECT is(pg_temp.put('latest one', 11, 'x', 'A'), 'conflict', 'D1: rolled back, lower ones still wait');
ROLLBACK;

-- A newest that ends dead or left: the next lower one is offered.
SELECT pg_temp.make('latest dead', 'dead') \g /dev/null
SELECT pg_temp.put('latest dead', 1, 'ok1'), pg_temp.put('latest dead', 2, 'ok2'), pg_temp.put('latest dead', 3, 'bad3') \g /dev/null
CALL spool.process('latest dead') \gset
CALL spool.process('latest dead') \gset
SELECT is(pg_temp.ran(), 'ok2', 'D1: the newest is dead, the next lower one runs');
SELECT is(pg_temp.listed('latest dead'), '3 dead', 'D1: the lowest is superseded by it');
SELECT is(spool.next_seq('latest dead'), 3::bigint, 'D1: the cursor is behind what succeeded');
SELECT is(pg_temp.put('latest dead', 4, 'ok4'), 'stored', 'D1: a higher one lifts the bound');
CALL spool.process('latest dead') \gset
SELECT is(pg_temp.ran(), 'ok4', 'D1: and runs');
SELECT pg_temp.make('latest left', 'leave') \g /dev/null
SELECT pg_temp.put('latest left', 1, 'ok1'), pg_temp.put('latest left', 2, 'bad2') \g /dev/null
CALL spool.process('latest left') \gset
CALL spool.process('latest left') \gset
SELECT is(pg_temp.ran() || ', ' || pg_temp.listed('latest left'), 'ok1, 2 failed', 'D1: the same for one that is left');

-- Under retry the newest blocks until a newer one comes.
SELECT pg_temp.make('latest retry') \g /dev/null
SELECT pg_temp.put('latest retry', 1, 'ok1'), pg_temp.put('latest retry', 2, 'bad2') \g /dev/null
CALL spool.process('latest retry') \gset
SELECT is(:'SQLSTATE' || ' ' || pg_temp.ran(), '38000 ', 'D1: nothing under a failing newest runs');
SELECT is(pg_temp.listed('latest retry'), '1 superseded, 2 retrying', 'D1: it is tried again');
SELECT pg_temp.put('latest retry', 3, 'ok3') \g /dev/null
CALL spool.process('latest retry') \gset
SELECT is(pg_temp.ran(), 'ok3', 'D1: a newer one supersedes it');
SELECT is(pg_temp.listed('latest retry'), '', 'D1: nothing is left');
SELECT pg_temp.make('latest stuck', max_attempts => 1) \g /dev/null
SELECT pg_temp.put('latest stuck', 2, 'bad2') \g /dev/null
CALL spool.process('latest stuck') \gset
CALL spool.process('latest stuck') \gset
SELECT is(:processed, 0, 'D1: after the last attempt it stays');
SELECT pg_temp.put('latest stuck', 3, 'ok3') \g /dev/null
CALL spool.process('latest stuck') \gset
SELECT is(pg_temp.ran(), 'ok3', 'D1: until a newer one comes');

-- A NOP supersedes nothing.
SELECT pg_temp.make('latest nop') \g /dev/null
SELECT pg_temp.put('latest nop', 1, 'ok1'), pg_temp.put('latest nop', 2, 'ok2'), pg_temp.put('latest nop', 3, '', kind => 'nop') \g /dev/null
CALL spool.process('latest nop') \gset
SELECT is(pg_temp.ran(), 'ok2', 'F33: a NOP supersedes nothing');
SELECT is(:processed, 2, 'F33: it is processed');
SELECT is(pg_temp.listed('latest nop'), '', 'F33: nothing is left');
SELECT pg_temp.put('latest nop', 4, 'ok4'), pg_temp.put('latest nop', 5, '', kind => 'nop') \g /dev/null
SELECT is(pg_temp.taken('latest nop', 1), 'ok4', 'F33: nor in take');
SELECT is(spool.next_seq('latest nop'), 5::bigint, 'F33: the cursor is behind what was taken');

-- Fail packets, conflicts, numbers of the queue.
SELECT pg_temp.make('latest fail', 'dead') \g /dev/null
SELECT pg_temp.put('latest fail', 1, 'ok1'), pg_temp.put('latest fail', 2, '', kind => 'fail') \g /dev/null
SELECT is(pg_temp.taken('latest fail') || ', ' || pg_temp.listed('latest fail'), 'ok1, 2 dead', 'F32: a Fail packet is dead, the next lower one is offered');
SELECT pg_temp.put('latest fail', 5, 'a'), pg_temp.put('latest fail', 5, 'b') \g /dev/null
SELECT throws_ok($$SELECT * FROM spool.take('latest fail')$$, '21000', NULL, 'F14: two newest packets with one number');
SELECT pg_temp.make('latest enqueue') \g /dev/null
SELECT spool.enqueue('latest enqueue', 'one', 'A') AS first \gset
SELECT cmp_ok(spool.enqueue('latest enqueue', 'two', 'A'), '>', :first::bigint, 'D1: enqueue gives rising numbers');
SELECT is(pg_temp.taken('latest enqueue'), 'two', 'D1: the last one enqueued is the newest');

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'latest %' \g /dev/null
DROP SCHEMA latest_test CASCADE;
