-- The pull form of the resequencer: queues in order of the latest hand out one
-- job of a record at a time, and of what came meanwhile only the newest.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;

SELECT plan(27);

CREATE SCHEMA pull_test;
CREATE TABLE pull_test.log (n serial, stream text, body text);
-- Notes what it runs; the body "more" makes it enqueue a thousand for itself.
CREATE FUNCTION pull_test.work(job spool.job) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pull_test.log (stream, body) VALUES (job.stream, convert_from(job.payload, 'UTF8'));
    IF convert_from(job.payload, 'UTF8') = 'more' THEN
        PERFORM spool.enqueue(job.queue, 'new ' || i, job.stream) FROM generate_series(1, 1000) i;
    END IF;
END $$;
CREATE FUNCTION pg_temp.ran() RETURNS text
LANGUAGE sql AS $$ WITH gone AS (DELETE FROM pull_test.log RETURNING *) SELECT coalesce(string_agg(body, ', ' ORDER BY n), '') FROM gone $$;
CREATE FUNCTION pg_temp.claimed(queue text, max_jobs int = 10, lease interval = '1 h') RETURNS text
LANGUAGE sql AS $$ SELECT coalesce(string_agg(convert_from(j.payload, 'UTF8'), ', ' ORDER BY j.ordinality), '') FROM spool.claim(queue, max_jobs, lease) WITH ORDINALITY j $$;
CREATE FUNCTION pg_temp.ack(queue text) RETURNS bigint
LANGUAGE sql AS $$ SELECT spool.ack(array_agg(claim_id)) FROM spool.claims c WHERE c.queue = $1 $$;
CREATE FUNCTION pg_temp.counts(queue text) RETURNS text
LANGUAGE sql AS $$ SELECT concat_ws(' ', enqueued, done, superseded, waiting) FROM spool.stat_queues q WHERE q.queue = $1 $$;

-- A thousand while one is out.
SELECT spool.create_queue('pull claim', 'latest'), spool.enqueue('pull claim', 'first', 'k') \g /dev/null
SELECT is(pg_temp.claimed('pull claim'), 'first', 'R82: the first is out');
SELECT spool.enqueue('pull claim', 'new ' || i, 'k') FROM generate_series(1, 1000) i \g /dev/null
SELECT is(pg_temp.claimed('pull claim') || (SELECT count(*) FROM spool.take('pull claim', 10)), '0', 'R82: one in flight, nothing more is handed out');
SELECT is(pg_temp.ack('pull claim'), 1::bigint, 'R82: it is done');
SELECT is(pg_temp.claimed('pull claim'), 'new 1000', 'R82: one more, the newest');
SELECT is(pg_temp.ack('pull claim') || pg_temp.claimed('pull claim'), '1', 'R82: then nothing');
SELECT is(pg_temp.counts('pull claim'), '1001 2 999 0', 'R82: two were done, the others superseded');
SELECT spool.create_queue('pull process', 'latest'), spool.set_handler('pull process', 'SELECT pull_test.work($1)'), spool.enqueue('pull process', 'more', 'k') \g /dev/null
CALL spool.process('pull process') \gset
SELECT is(:processed || ' ' || pg_temp.ran(), '1 more', 'R82: the first runs, a thousand come');
CALL spool.process('pull process') \gset
SELECT is(:processed || ' ' || pg_temp.ran(), '1 new 1000', 'R82: one more runs, the newest');
CALL spool.process('pull process') \gset
SELECT is(:processed || ' ' || pg_temp.counts('pull process'), '0 1001 2 999 0', 'R82: then nothing');

-- Two thousand updates of one key, ten in the time that one takes.  Time is
-- counted in tenths of that: update i comes at i, a job ends ten later.  How far
-- the target is behind: since when the oldest update came that it does not show.
CREATE FUNCTION pg_temp.simulate(queue text, updates int, ticks int,
                                 OUT processed int, OUT behind int, OUT shown int, OUT falling int)
LANGUAGE plpgsql AS $$
DECLARE
    job spool.job;
    ends int;
    before int := 0;
BEGIN
    processed := 0;
    behind := 0;
    shown := 0;
    falling := 0;
    FOR now IN 1 .. updates + 10 * ticks LOOP
        IF now <= updates THEN
            PERFORM spool.enqueue(queue, now::text, 'key');
        END IF;
        IF ends = now THEN
            before := shown;
            shown := convert_from(job.payload, 'UTF8')::int;
            falling := falling + (shown < before)::int;
            processed := processed + 1;
            PERFORM spool.ack(job.claim_id);
            ends := NULL;
        END IF;
        IF ends IS NULL THEN
            SELECT * INTO job FROM spool.claim(queue, 10);
            IF FOUND THEN
                ends := now + ticks;
            END IF;
        END IF;
        IF shown < least(now, updates) THEN
            behind := greatest(behind, now - (shown + 1));
        END IF;
    END LOOP;
END $$;
SELECT spool.create_queue('pull simulation', 'latest') \g /dev/null
SELECT * FROM pg_temp.simulate('pull simulation', 2000, 10) \gset
SELECT is(:shown, 2000, 'R79, R82: the newest of 2,000 updates is applied in the end');
SELECT is(:falling, 0, 'R79, R82: never an older one after a newer');
SELECT cmp_ok(:behind, '<=', 30, 'R79, R82: the target is at most three processing times behind');
SELECT cmp_ok(:processed, '<=', 220, 'R79, R82: about a tenth of the updates is processed');
SELECT cmp_ok(:processed, '>=', 190, 'R79, R82: and not less than there is time for');
SELECT is(pg_temp.counts('pull simulation'), format('2000 %s %s 0', :processed, 2000 - :processed), 'R79, R82: each is done or superseded');

-- One key with very many, a hundred with one: the many are not even looked at.
CREATE FUNCTION pg_temp.work(statement text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ' || statement INTO plan;
    RETURN (plan #>> '{0,Plan,Shared Hit Blocks}')::bigint + (plan #>> '{0,Plan,Shared Read Blocks}')::bigint;
END $$;
SELECT spool.create_queue(q, 'latest') FROM unnest('{pull small,pull big}'::text[]) q \g /dev/null
SELECT spool.enqueue_many('pull big', array_agg('a' || i), 'a') FROM generate_series(1, 200000) i \g /dev/null
SELECT spool.enqueue('pull small', 'a200000', 'a') \g /dev/null
SELECT spool.enqueue(q, 'k' || i, 'k' || i) FROM unnest('{pull small,pull big}'::text[]) q, generate_series(1, 100) i \g /dev/null
-- a first look makes what later ones find in caches
SELECT spool.peek(q, 101) FROM unnest('{pull small,pull big}'::text[]) q \g /dev/null
SELECT pg_temp.work($$SELECT * FROM spool.claim('pull small', 101)$$) AS small, pg_temp.work($$SELECT * FROM spool.claim('pull big', 101)$$) AS big \gset
SELECT is((SELECT count(*) || ' ' || sum(jobs) || ' ' || count(*) FILTER (WHERE stream LIKE 'k%') FROM spool.claims WHERE queue = q), '101 101 100', 'R84: one job of each key is handed out: ' || q) FROM unnest('{pull small,pull big}'::text[]) q;
SELECT cmp_ok(:big, '<=', :small * 3 / 2 + 100, 'R84: beside 200,000 of one key for no more work');
SELECT is(spool.packet_id('pull big', l.seq, 'a') = l.packet_id, true, 'R84: of that the newest') FROM spool.ls('pull big', 'a', 'claimed') l;
SELECT spool.release(claim_id) FROM spool.claims WHERE queue LIKE 'pull %' \g /dev/null
SELECT spool.alter_queue(q, quiet => '1 ms', max_wait => '1 h') FROM unnest('{pull small,pull big}'::text[]) q \g /dev/null
SELECT pg_temp.work($$SELECT * FROM spool.claim('pull small', 101)$$) AS small, pg_temp.work($$SELECT * FROM spool.claim('pull big', 101)$$) AS big \gset
SELECT is((SELECT count(*) FROM spool.claims WHERE queue = q), 101::bigint, 'R84: the same with quiet: ' || q) FROM unnest('{pull small,pull big}'::text[]) q;
SELECT cmp_ok(:big, '<=', :small * 3 / 2 + 100, 'R84: beside 200,000 of one key for no more work');
SELECT spool.release(claim_id) FROM spool.claims WHERE queue LIKE 'pull %' \g /dev/null

-- A job that undoes the transaction of whoever works on it, five times: the
-- attempts are counted by the leases that it lets pass.
SELECT spool.create_queue('pull poison', 'latest', on_error => 'dead', max_attempts => 5), spool.enqueue('pull poison', 'good', 'k'), spool.enqueue('pull poison', 'poison', 'k') \g /dev/null
DO $$
DECLARE
    job spool.job;
BEGIN
    FOR i IN 1 .. 5 LOOP
        SELECT * INTO job FROM spool.claim('pull poison', 1, '1 us');
        COMMIT;
        INSERT INTO pull_test.log (body) VALUES (job.attempt);
        PERFORM spool.ack(job.claim_id);
        ROLLBACK;
    END LOOP;
END $$;
SELECT is((SELECT state || ' ' || attempts FROM spool.ls('pull poison') WHERE seq = (SELECT max(seq) FROM spool.ls('pull poison'))), 'retrying 4', 'R71: four attempts are counted, the fifth is open');
SELECT is(pg_temp.claimed('pull poison'), 'good', 'R71: then what it superseded is handed out');
SELECT is((SELECT string_agg(concat_ws(' ', reason, message, attempts), ', ') FROM spool.dead_letters WHERE name = 'pull poison'), 'failed the lease was over 5', 'R71: and it is a dead letter');
SELECT is((SELECT string_agg(concat_ws(' ', attempt, outcome), ', ' ORDER BY attempt) FROM spool.attempts WHERE queue = 'pull poison'), '1 crashed, 2 crashed, 3 crashed, 4 crashed, 5 crashed', 'R71: with five attempts');
SELECT is(pg_temp.ran(), '', 'R71: nothing of its work is left');

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'pull %' \g /dev/null
DROP SCHEMA pull_test CASCADE;
