-- Queues without order: each packet once, and a failing one blocks nothing.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;

SELECT plan(31);

CREATE SCHEMA none_test;
CREATE TABLE none_test.log (body text, attempt int);
CREATE FUNCTION none_test.work(job spool.job) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO none_test.log VALUES (convert_from(job.payload, 'UTF8'), job.attempt);
    IF convert_from(job.payload, 'UTF8') LIKE 'bad%' THEN
        RAISE EXCEPTION 'job fails';
    END IF;
END $$;
CREATE FUNCTION pg_temp.make(queue text, on_error text = 'retry', max_attempts int = NULL) RETURNS void
LANGUAGE sql AS $$
    SELECT spool.create_queue(queue, order_by => 'none', on_error => on_error, max_attempts => max_attempts);
    SELECT spool.set_handler(queue, 'SELECT none_test.work($1)');
$$;
CREATE FUNCTION pg_temp.ran() RETURNS text
LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM none_test.log RETURNING body)
    SELECT coalesce(string_agg(body, ' ' ORDER BY body), '') FROM gone
$$;
CREATE FUNCTION pg_temp.taken(queue text, max_jobs int = 100) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(convert_from(j.payload, 'UTF8'), ' ' ORDER BY j.ordinality), '')
      FROM spool.take(queue, max_jobs) WITH ORDINALITY j
$$;
CREATE FUNCTION pg_temp.listed(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(convert_from(spool.payload(spool.get_packet(queue, l.packet_id)), 'UTF8'), ' ', l.state), ', ' ORDER BY l.packet_id), '')
      FROM spool.ls(queue) l
$$;

-- take
SELECT pg_temp.make('none take') \g /dev/null
SELECT spool.enqueue_many('none take', '{a,b,c,d,e}'::text[]) \g /dev/null
BEGIN;
SELECT is(pg_temp.taken('none take', 2), 'a b', 'F92: two are taken, by creation time');
SELECT is(pg_temp.taken('none take', 2), 'c d', 'F92: two others');
SELECT is(pg_temp.listed('none take'), 'e ready', 'F92: one waits');
SAVEPOINT s;
SELECT is(pg_temp.taken('none take'), 'e', 'F92: the last one');
ROLLBACK TO s;
SELECT is(pg_temp.taken('none take'), 'e', 'F92: once more after a rollback to a savepoint');
SELECT is(pg_temp.taken('none take'), '', 'F92: each packet once');
ROLLBACK;
SELECT is(pg_temp.taken('none take'), 'a b c d e', 'F92: rollback brings all back');
SELECT is(pg_temp.taken('none take'), '', 'F92: commit does not');
SELECT spool.write('none take', spool.make_packet(1, 'old', ctime => '2026-01-01Z')) \g /dev/null
SELECT is(pg_temp.taken('none take'), 'old', 'F92: an older one that arrives late is not lost');

-- process
SELECT pg_temp.make('none f92') \g /dev/null
SELECT spool.enqueue_many('none f92', '{1,bad,2,3}'::text[]) \g /dev/null
CALL spool.process('none f92') \gset
SELECT is(:'SQLSTATE', '38000'::text, 'F92: a failure under retry is reported');
SELECT is(pg_temp.ran(), '1 2 3', 'F92: it blocks nothing');
SELECT is(pg_temp.listed('none f92'), 'bad retrying', 'F92: the failed one stays');
SELECT is((SELECT attempts FROM spool.ls('none f92')), 1, 'F92: its attempt is counted');
SELECT spool.enqueue('none f92', '4') \g /dev/null
CALL spool.process('none f92') \gset
SELECT is(pg_temp.ran(), '4', 'F92: the next pass runs what came');
SELECT results_eq($$SELECT attempt, outcome FROM spool.attempts WHERE queue = 'none f92' ORDER BY attempt$$,
    $$VALUES (1, 'error'), (2, 'error')$$, 'F92: and tries the failed one again, once');
SELECT is((SELECT attempt FROM spool.take('none f92')), 3, 'F92: take hands it out with its attempts');

SELECT pg_temp.make('none dead', 'dead', 2) \g /dev/null
SELECT spool.enqueue_many('none dead', '{bad,1}'::text[]) \g /dev/null
CALL spool.process('none dead') \gset
SELECT is(:'SQLSTATE' || ' ' || pg_temp.ran(), '00000 1', 'F92: no error under dead');
CALL spool.process('none dead') \gset
SELECT results_eq($$SELECT reason, message, attempts FROM spool.dead_letters WHERE name = 'none dead'$$,
    $$VALUES ('failed', 'job fails', 2)$$, 'F92: a dead letter after the last attempt');
CALL spool.process('none dead') \gset
SELECT is(:processed, 0, 'F92: it is not run again');
SELECT is(spool.redrive('none dead'), 1::bigint, 'F92: redriven');
SELECT is(pg_temp.taken('none dead'), 'bad', 'F92: it is handed out again');

-- NOPs, Fail packets, limits, pause
SELECT pg_temp.make('none kinds', 'leave') \g /dev/null
SELECT spool.enqueue('none kinds', kind => 'fail'), spool.enqueue('none kinds', kind => 'nop'), spool.enqueue('none kinds', 'x') \g /dev/null
SELECT is(pg_temp.taken('none kinds', 1), 'x', 'F92: NOP and Fail packets are consumed, not handed out');
SELECT is(pg_temp.listed('none kinds'), ' failed', 'F92: the Fail packet is left');
SELECT pg_temp.make('none barrier') \g /dev/null
SELECT spool.enqueue('none barrier', kind => 'fail'), spool.enqueue('none barrier', 'x') \g /dev/null
SELECT is(pg_temp.taken('none barrier', 1), 'x', 'F92: a Fail packet under retry blocks nothing');
SELECT spool.enqueue('none barrier', 'y') \g /dev/null
CALL spool.process('none barrier') \gset
SELECT is(pg_temp.ran(), 'y', 'F92: nor in process');
SELECT spool.enqueue('none barrier', 'z') \g /dev/null
SELECT is(pg_temp.taken('none barrier', 1), 'z', 'F92: nor when it waits for its next attempt');
SELECT spool.pause_queue('none barrier'), spool.enqueue('none barrier', 'z') \g /dev/null
SELECT is(pg_temp.taken('none barrier', 1), '', 'F92: a paused queue hands out nothing');

-- many at once
SELECT pg_temp.make('none many') \g /dev/null
SELECT spool.enqueue_many('none many', array_agg(CASE n % 100 WHEN 0 THEN repeat(md5(n::text), 500) ELSE n::text END ORDER BY n))
  FROM generate_series(1, 600) n \g /dev/null
CREATE TEMP TABLE none_many AS SELECT row_number() OVER () AS n, packet_id, seq, payload, claim_id FROM spool.claim('none many', 600);
SELECT is((SELECT count(*) FROM none_many WHERE spool.payload(spool.get_packet('none many', packet_id)) = payload), 600::bigint,
    'F92: many that are claimed at once keep their bytes');
SELECT is(spool.ack(claim_id, seq), 300::bigint, 'F92: acknowledged up to the 300th handed out') FROM none_many WHERE n = 300;
SELECT results_eq($$SELECT packet_id FROM spool.ls('none many') ORDER BY packet_id$$,
    $$SELECT packet_id FROM none_many WHERE n > 300 ORDER BY packet_id$$, 'F92: those after it are still claimed');
SELECT spool.ack(claim_id) FROM none_many LIMIT 1 \g /dev/null
SELECT is(pg_temp.listed('none many'), '', 'F92: then all are done');

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'none %' \g /dev/null
DROP SCHEMA none_test CASCADE;
