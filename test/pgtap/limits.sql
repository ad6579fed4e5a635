-- Limits: how many jobs process and take handle.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;

SELECT plan(20);

CREATE SCHEMA limits_test;
CREATE TABLE limits_test.log (n serial, body text);
CREATE FUNCTION limits_test.work(job spool.job) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO limits_test.log (body) VALUES (concat(job.stream, job.seq));
    IF convert_from(job.payload, 'UTF8') = 'bad' THEN
        RAISE EXCEPTION 'job fails';
    END IF;
END $$;
CREATE FUNCTION pg_temp.make(queue text, on_error text = 'retry') RETURNS void
LANGUAGE sql AS $$
    SELECT spool.create_queue(queue, on_error => on_error);
    SELECT spool.set_handler(queue, 'SELECT limits_test.work($1)');
$$;
CREATE FUNCTION pg_temp.ran() RETURNS text
LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM limits_test.log RETURNING n, body)
    SELECT coalesce(string_agg(body, ' ' ORDER BY n), '') FROM gone
$$;

-- F38
SELECT pg_temp.make('limits f38') \g /dev/null
SELECT spool.enqueue_many('limits f38', '{a,b,c,d,e}'::text[]) \g /dev/null
CALL spool.process('limits f38', 0) \gset
SELECT is(:processed || pg_temp.ran(), '0', 'F38: limit 0 runs none');
CALL spool.process('limits f38', 2) \gset
SELECT is(:processed || ', ' || pg_temp.ran(), '2, 1 2', 'F38: limit 2 runs two');
SELECT is(spool.next_seq('limits f38'), 3::bigint, 'F38: the third is next');
CALL spool.process('limits f38', max_jobs => 100) \gset
SELECT is(:processed || ', ' || pg_temp.ran(), '3, 3 4 5', 'F38: a limit above what waits');
CALL spool.process('limits f38', -1) \gset
SELECT is(:'SQLSTATE' || ' ' || :'LAST_ERROR_MESSAGE', '22023 max_jobs must not be negative', 'F38: a negative limit');
CALL spool.process('limits nowhere') \gset
SELECT is(:'SQLSTATE' || ' ' || :'LAST_ERROR_MESSAGE', '42704 queue "limits nowhere" does not exist', 'F38: no queue');
CALL spool.process(NULL) \gset
SELECT is(:'SQLSTATE' || ' ' || :'LAST_ERROR_MESSAGE', '22004 queue must not be null', 'F38: queue NULL');
CALL spool.process('limits f38', order_by => 'newest') \gset
SELECT is(:'SQLSTATE' || ' ' || :'LAST_ERROR_MESSAGE', '22023 unrecognized order_by: "newest"', 'F38: no such order');
BEGIN;
CALL spool.process('limits f38') \gset
SELECT :'SQLSTATE' || ' ' || :'LAST_ERROR_MESSAGE' AS error \gset
ROLLBACK;
SELECT is(:'SQLSTATE', '00000'::text, 'F38: in a transaction block: rolled back');
SELECT throws_ok($$CALL spool.process('limits f38')$$, '25001', 'spool.process must not be called in a transaction block', 'F38: in a transaction block');
SELECT spool.create_queue('limits nothing') \g /dev/null
CALL spool.process('limits nothing') \gset
SELECT is(:'SQLSTATE' || ' ' || :'LAST_ERROR_MESSAGE', '55000 queue "limits nothing" has no handler and no program', 'F38: nothing to run jobs with');

-- Many streams and more jobs than one transaction runs.
SELECT pg_temp.make('limits many') \g /dev/null
SELECT spool.enqueue_many('limits many', '{a,b,c,d,e,f,g,h,i,j}'::text[], s) FROM unnest('{A,B,C,D,E,F,G,H,I,J,K,L,M,N,O,P}'::text[]) s \g /dev/null
CALL spool.process('limits many', 150) \gset
SELECT is(:processed || ' ' || (SELECT count(*) FROM limits_test.log), '150 150', 'F38: exactly the limit, over several transactions');
CALL spool.process('limits many') \gset
SELECT is(:processed || ' ' || (SELECT count(*) || ' ' || count(DISTINCT body) FROM limits_test.log), '10 160 160', 'F38: then the others, each once');
SELECT is((SELECT count(*) FROM (SELECT n - lag(n) OVER (PARTITION BY left(body, 1) ORDER BY substr(body, 2)::int) AS step FROM limits_test.log) s WHERE step < 0), 0::bigint, 'F17: in order within each stream');
TRUNCATE limits_test.log;

-- F39
SELECT pg_temp.make('limits f39', 'leave') \g /dev/null
SELECT spool.enqueue('limits f39', kind => 'nop'), spool.enqueue('limits f39', 'bad'), spool.enqueue('limits f39', kind => 'fail'), spool.enqueue('limits f39', 'x'), spool.enqueue('limits f39', 'y') \g /dev/null
CALL spool.process('limits f39', 1) \gset
SELECT is(:processed || ' ' || spool.next_seq('limits f39'), '1 2', 'F39: a NOP counts');
CALL spool.process('limits f39', 1) \gset
SELECT is(:processed || ' ' || spool.next_seq('limits f39'), '1 3', 'F39: a failed and left job counts');
CALL spool.process('limits f39', 2) \gset
SELECT is(:processed || ', ' || spool.next_seq('limits f39') || ', ' || pg_temp.ran(), '2, 5, 4', 'F39: a Fail packet counts');

-- From PL/pgSQL
DO $$
DECLARE
    n bigint;
BEGIN
    CALL spool.process('limits f39', processed => n);
    PERFORM set_config('limits.processed', n::text, false);
END $$;
SELECT is(current_setting('limits.processed'), '1', 'F38: from PL/pgSQL');
SELECT pg_temp.make('limits two') \g /dev/null
SELECT spool.enqueue('limits two', 'bad', s) FROM unnest('{A,B,C}'::text[]) s \g /dev/null
CALL spool.process('limits two') \gset
SELECT is(:'LAST_ERROR_MESSAGE', 'job 1 of stream "A" of queue "limits two" failed'::text, 'F26: the error names the first failure');
SELECT is((SELECT count(*) FROM spool.attempts WHERE queue = 'limits two'), 3::bigint, 'F26: each head was tried once');

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'limits %' \g /dev/null
DROP SCHEMA limits_test CASCADE;
