-- Whole flows, and what they cost.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;

SELECT plan(29);

CREATE SCHEMA flows_test;
CREATE TABLE flows_test.log (n serial, body text);
CREATE FUNCTION flows_test.work(job spool.job) RETURNS void
LANGUAGE sql AS $$ INSERT INTO flows_test.log (body) VALUES (concat(job.queue, ' ', job.seq, ' ', convert_from(job.payload, 'UTF8'))) $$;
CREATE FUNCTION pg_temp.ran() RETURNS text
LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM flows_test.log RETURNING n, body)
    SELECT coalesce(string_agg(body, ', ' ORDER BY n), '') FROM gone
$$;

-- F80: a job enqueues into its own queue and into another one.
SELECT spool.create_queue('flowA'), spool.create_queue('flowB') \g /dev/null
SELECT spool.set_handler('flowA', $$SELECT flows_test.work($1), CASE WHEN $1.seq <= 3 THEN spool.enqueue('flowA', 'own') END, spool.enqueue('flowB', 'other', 'S')$$),
       spool.set_handler('flowB', 'SELECT flows_test.work($1)') \g /dev/null
SELECT spool.enqueue_many('flowA', '{a,b,c}'::text[]) \g /dev/null
SET lock_timeout = '10s';
CALL spool.process('flowA') \gset
SELECT is(:'SQLSTATE' || ' ' || :processed, '00000 3', 'F80: jobs enqueue into A and B');
SELECT is(pg_temp.ran(), 'flowA 1 a, flowA 2 b, flowA 3 c', 'F80: what was there runs');
CALL spool.process('flowA') \gset
SELECT is(pg_temp.ran(), 'flowA 4 own, flowA 5 own, flowA 6 own', 'F80: then what it enqueued into itself');
CALL spool.process('flowB') \gset
SELECT is(:processed, 6, 'F80: and what it enqueued into B');
SELECT pg_temp.ran() \g /dev/null
RESET lock_timeout;
-- A job that fails leaves nothing that it enqueued.
SELECT spool.create_queue('flow fail', on_error => 'leave'), spool.set_handler('flow fail', $$SELECT spool.enqueue('flowB', 'never'), 1 / 0$$), spool.enqueue('flow fail', 'x') \g /dev/null
CALL spool.process('flow fail') \gset
SELECT is((SELECT count(*) FROM spool.ls('flowB')) || (SELECT state FROM spool.ls('flow fail')), '0failed', 'F77: what a failing job enqueued is gone');
-- A job may take from another queue, set the cursor of its own, and look at itself.
SELECT spool.create_queue('flow take'), spool.enqueue('flowB', 'for a job', 'T'),
       spool.set_handler('flow take', $$INSERT INTO flows_test.log (body) SELECT convert_from(payload, 'UTF8') FROM spool.take('flowB')$$), spool.enqueue('flow take', 'x') \g /dev/null
CALL spool.process('flow take') \gset
SELECT is(pg_temp.ran(), 'for a job', 'F80: a job takes from another queue');
SELECT spool.set_handler('flow take', $$INSERT INTO flows_test.log (body) SELECT l.state FROM spool.ls('flow take') l$$), spool.enqueue_many('flow take', '{x,y}'::text[]) \g /dev/null
CALL spool.process('flow take', 1) \gset
SELECT is(pg_temp.ran(), 'running, waiting', 'F72: a job sees itself as running');
SELECT spool.create_queue('flow set'), spool.enqueue_many('flow set', '{1,2,3,4,5}'::text[]),
       spool.set_handler('flow set', $$SELECT flows_test.work($1), CASE WHEN $1.seq = 1 THEN spool.set_next_seq('flow set', 4) END$$) \g /dev/null
CALL spool.process('flow set', 1) \gset
SELECT is(pg_temp.ran() || ', ' || spool.next_seq('flow set'), 'flow set 1 1, 4', 'F73: set_next_seq while a job runs takes effect after it');
CALL spool.process('flow set') \gset
SELECT is(pg_temp.ran(), 'flow set 4 4, flow set 5 5', 'F73: the next pass goes on there');

-- F67: an append-only queue is not processed.
SELECT spool.create_queue('flow ao', append_only => true), spool.set_handler('flow ao', 'SELECT 1') \g /dev/null
CALL spool.process('flow ao') \gset
SELECT is(:'SQLSTATE' || ' ' || :'LAST_ERROR_MESSAGE', '55000 queue "flow ao" is append-only', 'F67: process is refused');

-- F78: one packet in two queues.
SELECT spool.create_queue('flow one'), spool.create_queue('flow two'), spool.set_handler('flow one', 'SELECT flows_test.work($1)'), spool.set_handler('flow two', 'SELECT flows_test.work($1)') \g /dev/null
SELECT spool.set_next_seq('flow two', 5) \g /dev/null
SELECT spool.write('flow one', p), spool.write('flow two', p) FROM (VALUES (1), (5)) v(n), LATERAL spool.make_packet(n, 'both') p \g /dev/null
CALL spool.process('flow one') \gset
CALL spool.process('flow two') \gset
SELECT is(pg_temp.ran(), 'flow one 1 both, flow two 5 both', 'F78: each queue runs it by its own counter');
SELECT is(spool.next_seq('flow one') || ' ' || spool.next_seq('flow two'), '2 6', 'F78: and has its own cursor');

-- F86: incremental backups, made in order by a sender, arrive in any order.
SELECT spool.create_queue('flow backup'), spool.set_handler('flow backup', 'SELECT flows_test.work($1)') \g /dev/null
SELECT spool.sender_set_next('flow sender', 1) \g /dev/null
CREATE TABLE flows_test.transport AS SELECT n, spool.prepare('flow sender', 'inc' || n) AS packet FROM generate_series(1, 50) n;
SELECT setseed(0.4711) \g /dev/null
DO $$
DECLARE
    p spool.packet;
    n bigint;
BEGIN
    FOR p IN SELECT packet FROM flows_test.transport ORDER BY random() LOOP
        PERFORM spool.write('flow backup', p);
        CALL spool.process('flow backup', processed => n);
    END LOOP;
END $$;
SELECT is((SELECT string_agg(body, ',' ORDER BY n) FROM flows_test.log), (SELECT string_agg(format('flow backup %s inc%s', n, n), ',' ORDER BY n) FROM generate_series(1, 50) n), 'F86: written in random order, applied in order');
SELECT is(spool.next_seq('flow backup'), 51::bigint, 'F86: all of them');
SELECT pg_temp.ran() \g /dev/null

-- F88: what is to be verified waits in a queue that is never run.
SELECT spool.create_queue('flow incoming', append_only => true), spool.create_queue('flow verified'), spool.set_handler('flow verified', 'SELECT flows_test.work($1)') \g /dev/null
SELECT spool.write('flow incoming', spool.make_packet(1, 'good')), spool.write('flow incoming', spool.make_packet(2, 'also good')) \g /dev/null
SELECT spool.forward('flow incoming', packet_id, 'flow verified') FROM spool.ls('flow incoming') WHERE seq = 1 \g /dev/null
CALL spool.process('flow verified') \gset
SELECT is(pg_temp.ran(), 'flow verified 1 good', 'F88: verified, it runs');

-- F82: idle passes over a thousand queues.
SELECT spool.create_queue('idle ' || n), spool.set_handler('idle ' || n, 'SELECT flows_test.work($1)') FROM generate_series(1, 1000) n \g /dev/null
SELECT spool.write('idle ' || n, spool.make_packet(2, 'stuck')) FROM generate_series(1, 1000) n \g /dev/null
-- the fastest of some rounds
DO $$
DECLARE
    n bigint;
    start timestamptz;
    fastest interval;
BEGIN
    FOR round IN 1 .. 3 LOOP
        start = clock_timestamp();
        FOR i IN 1 .. 1000 LOOP
            CALL spool.process('idle ' || i, processed => n);
        END LOOP;
        fastest = least(fastest, clock_timestamp() - start);
    END LOOP;
    PERFORM set_config('flows.idle', fastest::text, false);
END $$;
SELECT cmp_ok(current_setting('flows.idle')::interval, '<', interval '2 s', 'F82: 1000 idle passes');
SELECT is(pg_temp.ran(), '', 'F82: nothing ran');
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'idle %' \g /dev/null

-- F83: with many packets waiting a take costs what it costs with few.
CREATE FUNCTION pg_temp.take_time(queue text, times int) RETURNS interval
LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz;
    fastest interval;
BEGIN
    FOR round IN 1 .. 5 LOOP
        start = clock_timestamp();
        FOR i IN 1 .. times LOOP
            PERFORM spool.take(queue);
        END LOOP;
        fastest = least(fastest, clock_timestamp() - start);
    END LOOP;
    RETURN fastest;
END $$;
SELECT spool.create_queue('few ' || o, order_by => o), spool.create_queue('many ' || o, order_by => o) FROM unnest('{sequence,timestamp,none}'::text[]) o \g /dev/null
SELECT spool.enqueue_many('few ' || o, array_agg(n::text)) FROM unnest('{sequence,timestamp,none}'::text[]) o, generate_series(1, 200) n GROUP BY o \g /dev/null
SELECT spool.enqueue_many('many ' || o, array_agg(n::text)) FROM unnest('{sequence,timestamp,none}'::text[]) o, generate_series(1, 100000) n GROUP BY o \g /dev/null
SELECT cmp_ok(pg_temp.take_time('many ' || o, 20), '<', 10 * pg_temp.take_time('few ' || o, 20) + interval '20 ms', 'F83: a job of 100,000: ' || o) FROM unnest('{sequence,timestamp,none}'::text[]) o;
-- An idle look at a stuck queue does not read what waits behind the gap.
SELECT spool.create_queue('stuck few'), spool.create_queue('stuck many') \g /dev/null
SELECT spool.write_many('stuck few', array_agg(spool.make_packet(n, 'x'))) FROM generate_series(2, 101) n \g /dev/null
SELECT spool.write_many('stuck many', array_agg(spool.make_packet(n, 'x'))) FROM generate_series(2, 50001) n \g /dev/null
SELECT cmp_ok(pg_temp.take_time('stuck many', 20), '<', 10 * pg_temp.take_time('stuck few', 20) + interval '20 ms', 'F83: an idle look at a stuck queue');
SELECT is((SELECT count(*) FROM spool.ls('many sequence', max_rows => 5)), 5::bigint, 'F83: some of many are listed');

-- maintain removes what is consumed, and nothing else: it goes with its segment,
-- a minute after the rest was moved.
\ir include/upkeep.sql
CREATE FUNCTION pg_temp.stored(queue text) RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM spool.store s JOIN spool.stream t ON t.id = s.stream JOIN spool.queue q ON q.id = t.queue WHERE q.name = $1$$;
SELECT is(pg_temp.stored('many sequence'), 100000::bigint, 'F84: consumed packets stay where they are');
SELECT is((SELECT count(*) FROM unnest('{sequence,timestamp,none}'::text[]) o, spool.take('many ' || o, 90000)), 270000::bigint, 'F84: most of them are taken');
CALL pg_temp.maintain(5);
SELECT is(pg_temp.stored('many sequence'), 9900::bigint, 'F84: maintain removes consumed packets, not those that wait');
SELECT is((SELECT count(*) FROM spool.take('many sequence', 3) WHERE seq BETWEEN 90101 AND 90103), 3::bigint, 'F84: the stream goes on');
SELECT is((SELECT count(*) FROM (SELECT FROM spool.state GROUP BY consumer, stream HAVING count(*) > 2) s), 0::bigint, 'F84: old states are removed');
SELECT results_eq($$SELECT version, next, segment::int FROM spool.sender_state WHERE sender = 'flow sender'$$, 'VALUES (51::bigint, 51::bigint, 0)', 'F84: and old counters of senders, but the newest');
SELECT is(spool.seq(spool.prepare('flow sender', 'x')), 51::bigint, 'F84: which goes on');

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue ~ '^(flow|few|many|stuck)' \g /dev/null
DROP SCHEMA flows_test CASCADE;
CALL pg_temp.maintain(5);
CALL pg_temp.maintained();
