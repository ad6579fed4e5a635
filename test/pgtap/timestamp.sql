-- Order by creation time: queues of that order, and the override.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;

SELECT plan(36);

-- What the manager does each minute is done here by hand.
\ir include/upkeep.sql

CREATE SCHEMA timestamp_test;
CREATE TABLE timestamp_test.log (n serial, body text);
CREATE TABLE timestamp_test.failing (body text);
CREATE FUNCTION timestamp_test.work(job spool.job) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO timestamp_test.log (body) VALUES (convert_from(job.payload, 'UTF8'));
    IF convert_from(job.payload, 'UTF8') IN (SELECT body FROM timestamp_test.failing) THEN
        RAISE EXCEPTION 'job % fails', job.seq;
    END IF;
END $$;
CREATE FUNCTION pg_temp.make(queue text, order_by text = 'timestamp', on_error text = 'retry') RETURNS void
LANGUAGE sql AS $$
    SELECT spool.create_queue(queue, order_by => order_by, on_error => on_error);
    SELECT spool.set_handler(queue, 'SELECT timestamp_test.work($1)');
$$;
-- Writes a packet that was made at a second of the year 2026.
CREATE FUNCTION pg_temp.put(queue text, seq bigint, body text, second int, nanos int = 0, stream text = '') RETURNS text
LANGUAGE sql AS $$
    SELECT status FROM spool.write(queue, spool.make_packet(seq, body,
        ctime => '2026-01-01Z'::timestamptz + second * interval '1 s', nanos => nanos), stream)
$$;
CREATE FUNCTION pg_temp.ran() RETURNS text
LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM timestamp_test.log RETURNING n, body)
    SELECT coalesce(string_agg(body, ' ' ORDER BY n), '') FROM gone
$$;
CREATE FUNCTION pg_temp.listed(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(l.seq, ' ', l.state), ', ' ORDER BY l.ordinality), '')
      FROM spool.ls(queue) WITH ORDINALITY l
$$;

-- F16: two senders in one queue, one stream, read by time.
SELECT pg_temp.make('timestamp f16', 'sequence') \g /dev/null
SELECT pg_temp.put('timestamp f16', 2, 'B2', 5), pg_temp.put('timestamp f16', 1, 'A1', 1), pg_temp.put('timestamp f16', 1, 'B1', 4),
       pg_temp.put('timestamp f16', 3, 'A3', 3), pg_temp.put('timestamp f16', 2, 'A2', 2) \g /dev/null
CALL spool.process('timestamp f16', order_by => 'timestamp') \gset
SELECT is(:processed, 5, 'F16: all five run');
SELECT is(pg_temp.ran(), 'A1 A2 A3 B1 B2', 'F16: by creation time');
SELECT is(spool.next_seq('timestamp f16'), 1::bigint, 'F16: the cursor of the queue is unchanged');
SELECT is(pg_temp.listed('timestamp f16'), '', 'F16: nothing is left');
SELECT pg_temp.make('timestamp f16b') \g /dev/null
SELECT pg_temp.put('timestamp f16b', 2, 'B2', 5, stream => 'B'), pg_temp.put('timestamp f16b', 1, 'A1', 1, stream => 'A'),
       pg_temp.put('timestamp f16b', 1, 'B1', 4, stream => 'B'), pg_temp.put('timestamp f16b', 3, 'A3', 3, stream => 'A'),
       pg_temp.put('timestamp f16b', 2, 'A2', 2, stream => 'A') \g /dev/null
CALL spool.process('timestamp f16b') \gset
SELECT is(pg_temp.ran(), 'A1 A2 A3 B1 B2', 'F16: a timestamp queue is one stream');

-- F20
SELECT pg_temp.make('timestamp f20') \g /dev/null
SELECT pg_temp.put('timestamp f20', 1, '1', 3), pg_temp.put('timestamp f20', 2, '2', 2), pg_temp.put('timestamp f20', 3, '3', 1) \g /dev/null
CALL spool.process('timestamp f20') \gset
SELECT is(pg_temp.ran(), '3 2 1', 'F20: late, mid, early run backwards');

-- F21
SELECT pg_temp.make('timestamp f21') \g /dev/null
SELECT pg_temp.put('timestamp f21', 1, '1', 0, 100000002), pg_temp.put('timestamp f21', 1, '2', 0, 100000001), pg_temp.put('timestamp f21', 1, '3', 0, 100000003) \g /dev/null
CALL spool.process('timestamp f21') \gset
SELECT is(pg_temp.ran(), '2 1 3', 'F21: nanoseconds decide');
SELECT pg_temp.make('timestamp f21b', 'sequence') \g /dev/null
SELECT pg_temp.put('timestamp f21b', 1, '1', 0, 100000002), pg_temp.put('timestamp f21b', 2, '2', 0, 100000001) \g /dev/null
SELECT is((SELECT string_agg(seq::text, ' ' ORDER BY ordinality) FROM spool.take('timestamp f21b', 10, 'timestamp') WITH ORDINALITY), '2 1',
    'F21: also in an override');

-- F22
SELECT pg_temp.make('timestamp f22') \g /dev/null
SELECT is(pg_temp.put('timestamp f22', 2, '2', 7), 'stored', 'F22: one');
SELECT is(pg_temp.put('timestamp f22', 1, '1b', 7), 'stored', 'F22: the same time, a lower number');
SELECT is(pg_temp.put('timestamp f22', 1, '1a', 7), 'stored', 'F22: the same time and number is no conflict');
SELECT is(pg_temp.put('timestamp f22', 1, '1a', 7), 'duplicate', 'F22: the same bytes are a duplicate');
SELECT is((SELECT string_agg(convert_from(payload, 'UTF8'), ' ' ORDER BY ordinality) FROM spool.peek('timestamp f22', 10) WITH ORDINALITY), '1b 1a 2',
    'F22: peek');
CALL spool.process('timestamp f22') \gset
SELECT is(pg_temp.ran(), '1b 1a 2', 'F22: equal times run by number, then by arrival');

-- F23
SELECT pg_temp.make('timestamp f23', 'sequence') \g /dev/null
SELECT spool.set_next_seq('timestamp f23', 10) \g /dev/null
SELECT pg_temp.put('timestamp f23', 10, '10', 1), pg_temp.put('timestamp f23', 12, '12', 0) \g /dev/null
CALL spool.process('timestamp f23', order_by => 'timestamp') \gset
SELECT is(pg_temp.ran() || ' / ' || spool.next_seq('timestamp f23'), '12 10 / 10', 'F23: an override leaves the cursor');
SELECT pg_temp.make('timestamp f23b') \g /dev/null
SELECT spool.set_next_seq('timestamp f23b', 10) \g /dev/null
SELECT pg_temp.put('timestamp f23b', 1, '1', 1) \g /dev/null
CALL spool.process('timestamp f23b') \gset
SELECT is(pg_temp.ran() || ' / ' || spool.next_seq('timestamp f23b'), '1 / 10', 'F23: number 1 runs, the cursor stays 10');

-- F24
SELECT pg_temp.make('timestamp f24') \g /dev/null
SELECT pg_temp.put('timestamp f24', 1, 'young', 3), pg_temp.put('timestamp f24', 2, 'bad', 2), pg_temp.put('timestamp f24', 3, 'old', 1) \g /dev/null
INSERT INTO timestamp_test.failing VALUES ('bad');
CALL spool.process('timestamp f24') \gset
SELECT is(:'SQLSTATE', '38000'::text, 'F24: an error is reported');
SELECT is(:'LAST_ERROR_MESSAGE', 'job 2 of stream "" of queue "timestamp f24" failed'::text, 'F24: it names the job');
SELECT is(pg_temp.ran(), 'old', 'F24: younger ones do not run in that pass');
SELECT is(pg_temp.listed('timestamp f24'), '1 waiting, 2 retrying', 'F24: it stays at the head');
SELECT pg_temp.put('timestamp f24', 9, 'older', 1) \g /dev/null
CALL spool.process('timestamp f24') \gset
SELECT is(pg_temp.ran(), 'older', 'F24: what is older than the failing one runs');
SELECT is((SELECT attempts FROM spool.ls('timestamp f24') WHERE seq = 2), 2, 'F24: and it is tried again');
DELETE FROM timestamp_test.failing;
CALL spool.process('timestamp f24') \gset
SELECT is(pg_temp.ran(), 'bad young', 'F24: then it runs, and those after it');
SELECT pg_temp.make('timestamp f24b', 'sequence') \g /dev/null
SELECT pg_temp.put('timestamp f24b', 1, 'young', 3, stream => 'A'), pg_temp.put('timestamp f24b', 2, 'bad', 2, stream => 'B'),
       pg_temp.put('timestamp f24b', 3, 'old', 1, stream => 'C') \g /dev/null
INSERT INTO timestamp_test.failing VALUES ('bad');
CALL spool.process('timestamp f24b', order_by => 'timestamp') \gset
SELECT is(:'SQLSTATE' || ' ' || pg_temp.ran(), '38000 old', 'F24: the same in an override, over all streams');

-- F25
SELECT pg_temp.make('timestamp f25', on_error => 'leave') \g /dev/null
SELECT pg_temp.put('timestamp f25', 1, 'young', 3), pg_temp.put('timestamp f25', 2, 'bad', 2), pg_temp.put('timestamp f25', 3, 'old', 1) \g /dev/null
CALL spool.process('timestamp f25') \gset
SELECT is(:'SQLSTATE', '00000'::text, 'F25: no error under leave');
SELECT is(pg_temp.ran(), 'old young', 'F25: the others run');
SELECT is(pg_temp.listed('timestamp f25'), '2 failed', 'F25: it is left');
DELETE FROM timestamp_test.failing;
CALL spool.process('timestamp f25') \gset
SELECT is(pg_temp.ran(), '', 'F25: it is not run again on its own');
SELECT is(spool.redrive('timestamp f25'), 1::bigint, 'F25: redriven');
CALL spool.process('timestamp f25') \gset
SELECT is(pg_temp.ran(), 'bad', 'F25: it runs again');

-- F91
SELECT pg_temp.make('timestamp f91') \g /dev/null
SELECT pg_temp.put('timestamp f91', 1, '1', 1), pg_temp.put('timestamp f91', 2, '2', 2), pg_temp.put('timestamp f91', 5, '5', 5) \g /dev/null
CALL spool.process('timestamp f91') \gset
SELECT is(pg_temp.ran(), '1 2 5', 'F91: 1, 2, 5 have arrived and run');
SELECT pg_temp.put('timestamp f91', 4, '4', 4), pg_temp.put('timestamp f91', 3, '3', 3) \g /dev/null
CALL spool.process('timestamp f91') \gset
SELECT is(pg_temp.ran(), '3 4', 'F91: older 3 and 4 arrive and run');
SELECT pg_temp.put('timestamp f91', 0, '0', 0), pg_temp.put('timestamp f91', 6, '6', 6) \g /dev/null
SELECT is((SELECT string_agg(seq::text, ' ' ORDER BY ordinality) FROM spool.take('timestamp f91', 10) WITH ORDINALITY), '0 6',
    'F91: a take that would return less looks at everything first');

-- Redriven packets and those that wait come in one take, however soon after the last look.
SELECT pg_temp.make('timestamp ahead', on_error => 'dead') \g /dev/null
SELECT pg_temp.put('timestamp ahead', 1, 'bad', 1) \g /dev/null
INSERT INTO timestamp_test.failing VALUES ('bad');
CALL spool.process('timestamp ahead') \gset
SELECT spool.redrive('timestamp ahead') \g /dev/null
SELECT pg_temp.put('timestamp ahead', 2, '2', 2) \g /dev/null
SELECT is((SELECT string_agg(seq::text, ' ' ORDER BY ordinality) FROM spool.peek('timestamp ahead', 5) WITH ORDINALITY), '1 2',
    'F25: redriven and waiting ones in one look');
SELECT is((SELECT string_agg(seq::text, ' ' ORDER BY ordinality) FROM spool.take('timestamp ahead', 5) WITH ORDINALITY), '1 2',
    'F25: redriven and waiting ones in one take');
SELECT is(pg_temp.listed('timestamp ahead'), '1 done', 'F25: what was redriven is readable until maintain');

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'timestamp %' \g /dev/null
DROP SCHEMA timestamp_test CASCADE;
CALL pg_temp.maintained();
