-- The view of segments: what they take, what waits in them, in which state they
-- are, who may look.  Each statement is a transaction of its own.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
SET client_min_messages = warning;
SET search_path = pg_catalog, public;

SELECT plan(23);

-- A step of the rotation for each call.
\ir include/upkeep.sql
CREATE FUNCTION pg_temp.live() RETURNS text LANGUAGE sql AS $$
SELECT string_agg(concat_ws(' ', state, nullif(live, 0)), ', ' ORDER BY no = 0 DESC, opened_at, no) FROM spool.segments
$$;
CREATE FUNCTION pg_temp.moved(column_name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    EXECUTE format('SELECT %I FROM spool.segments WHERE state = ''moved''', column_name) INTO STRICT found;
    RETURN found;
END $$;

CALL pg_temp.maintain(5);
SELECT is(pg_temp.live(), 'old, current, empty, empty', 'segments: one is appended to, nothing waits');
SELECT is(array_agg(no ORDER BY no), '{0,1,2,3}', 'segments: a row for each') FROM spool.segments;

-- What waits, of all queues, before and after it is taken
SELECT spool.create_queue('segments ' || o, o) FROM unnest('{sequence,timestamp,latest,none}'::text[]) o \g /dev/null
SELECT spool.enqueue_many('segments ' || o, '{a,b,c}'::text[], s) FROM unnest('{sequence,timestamp,latest,none}'::text[]) o, unnest('{x,y}'::text[]) s \g /dev/null
SELECT is(pg_temp.live(), 'old, current 24, empty, empty', 'segments: packets of all orders wait');
SELECT spool.write('segments none', spool.make_packet(1, 'x', ctime => '2020-01-01Z')) \g /dev/null
SELECT ok((SELECT bool_and(coalesce(oldest > now() - interval '1 hour', state <> 'current')) FROM spool.segments), 'segments: the oldest counts from its arrival, not from what its sender says');
SELECT count(*) FROM unnest('{timestamp,latest,none}'::text[]) o, spool.take('segments ' || o, 4) \g /dev/null
SELECT count(*) FROM unnest('{x,y}'::text[]) s, spool.take('segments sequence', CASE s WHEN 'x' THEN 3 ELSE 1 END, stream => s) \g /dev/null
SELECT is((SELECT count(*) FROM spool.take('segments latest')), 0::bigint, 'segments: the newest was taken for all of a record');
SELECT is(pg_temp.live(), 'old, current 7, empty, empty', 'segments: what was taken waits no more');
SELECT is((SELECT sum(waiting) FROM spool.stat_queues WHERE queue ~ '^segments'), 7::numeric, 'segments: as the other view has it');
SELECT is((SELECT sum(bytes) FROM spool.segments), (SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent IN ('spool.store'::regclass, 'spool.state'::regclass, 'spool.sender_state'::regclass, 'spool.reseq_lane'::regclass, 'spool.reseq_delivery'::regclass)), 'segments: bytes of all that lies in them');

-- Closed, and moved to the old one
CREATE TEMPORARY TABLE before AS SELECT oldest FROM spool.segments WHERE state = 'current';
CALL pg_temp.maintain(1);
SELECT is(pg_temp.live(), 'old 7, moved, current, empty', 'segments: what waits is moved to the old one');
SELECT is((SELECT oldest FROM spool.segments WHERE state = 'old'), (SELECT oldest FROM before), 'segments: and is as old as it was');
SELECT spool.enqueue_many('segments sequence', '{a,b,c}'::text[], s) FROM unnest('{x,y,z}'::text[]) s \g /dev/null
SELECT is(pg_temp.live(), 'old 7, moved, current 9, empty', 'segments: a stream has packets in two of them');
SELECT count(*) FROM spool.take('segments sequence', 3, stream => 'y') \g /dev/null
SELECT is(pg_temp.live(), 'old 5, moved, current 8, empty', 'segments: and is taken from both');

-- Who keeps it: oneself, too
SELECT is(pg_temp.moved('blocked_by'), NULL, 'segments: nobody keeps it from being emptied');
BEGIN;
SELECT count(*) FROM spool.take('segments sequence', stream => 'z') \g /dev/null
SELECT is(pg_temp.moved('blocked_by'), NULL, 'segments: nor does a take that began afterwards');
SELECT count(*) FROM spool.store \g /dev/null
SELECT is(pg_temp.moved('blocked_by'), format('{%s}', pg_backend_pid()), 'segments: an open look at the table does');
SELECT is((SELECT count(*) FROM spool.segments WHERE blocked_by IS NOT NULL), 1::bigint, 'segments: only such a segment is blocked');
ROLLBACK;
SELECT is(pg_temp.moved('blocked_by'), NULL, 'segments: until it ends');
SELECT pg_temp.moved('no') AS moved \gset
CALL pg_temp.maintain(1);
SELECT ok((SELECT state = 'empty' AND bytes < ALL (SELECT bytes FROM spool.segments WHERE state = 'moved') FROM spool.segments WHERE no = :moved), 'segments: then it is emptied');
SELECT is(pg_temp.live(), 'old 13, moved, current, empty', 'segments: and what waits in the next one moved');

-- More than are counted
SELECT spool.enqueue_many('segments sequence', array_agg(n::text), 'many') FROM generate_series(1, 30000) n \g /dev/null
SELECT ok((SELECT sum(live) BETWEEN 30010 AND 30020 FROM spool.segments), 'segments: beyond 10,000 of a stream they are estimated');

-- Who may look
CREATE ROLE spool_nobody;
CREATE ROLE spool_monitor IN ROLE pg_monitor;
SET ROLE spool_nobody;
SELECT throws_ok('SELECT FROM spool.segments', '42501', 'permission denied for view segments', 'segments: not for everybody');
SELECT throws_ok('SELECT FROM spool.segment_rows()', '42501', 'permission denied for function segment_rows', 'segments: nor what is behind it');
SET ROLE spool_monitor;
SELECT is((SELECT count(*) FROM spool.segments), 4::bigint, 'segments: who monitors the server may');
RESET ROLE;
DROP ROLE spool_nobody, spool_monitor;

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue ~ '^segments' \g /dev/null
CALL pg_temp.maintain(2);
CALL pg_temp.maintained();
