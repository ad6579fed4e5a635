-- The valve of resequencers: records that change faster than they are processed.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;
SET synchronous_commit = off;

SELECT plan(31);

CREATE SCHEMA reseq_valve;
SET search_path = reseq_valve, public;

-- A pseudo-random number of 0 to 1, the same each time.
CREATE FUNCTION chance(n bigint, salt text) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$
    SELECT ('x' || substr(md5(salt || n), 1, 8))::bit(32)::bigint / 4294967296.0
$$;

-- 2,000 updates of one record, one in a tenth of the time that it takes to
-- process one, which is 1.  Evenly; or at random, and so is the time: 0.5 to 1.5.
CREATE TABLE updates (kind text, sn bigint, at float8, processed float8);
INSERT INTO updates SELECT 'even', n, n * 0.1, n * 0.1 + 1 FROM generate_series(1, 2000) n;
INSERT INTO updates
SELECT 'random', n, at, at + 0.5 + chance(n, 'long')
  FROM (SELECT n, sum(-0.1 * ln(1 - chance(n, 'next'))) OVER (ORDER BY n) AS at FROM generate_series(1, 2000) n) u;

-- What was answered, and when the target showed what.
CREATE TABLE asked (n serial, run text, sn bigint, verdict text, reason text, began timestamptz, ended timestamptz);
CREATE TABLE shown (run text, at float8, sn bigint);

-- The newest states of lanes.
CREATE VIEW lane AS
SELECT DISTINCT ON (l.key, l.target) r.name, l.*
  FROM spool.reseq_lane l
  JOIN spool.reseq_key k ON k.id = l.key
  JOIN spool.resequencer r ON r.id = k.resequencer
 ORDER BY l.key, l.target, l.version DESC;

-- Register each update and resequence it when it is processed, by a clock that
-- jumps from one to the next.  A delivery takes as long as delivering says.
CREATE PROCEDURE simulate(run text, kind text, delivering float8 DEFAULT 0)
LANGUAGE plpgsql AS $$
DECLARE
    event  record;
    reply  record;
    named  record;
    busy   bigint;
    until  float8 := 'infinity';
BEGIN
    FOR event IN
        SELECT u.at, 'register' AS what, u.sn FROM updates u WHERE u.kind = simulate.kind
        UNION ALL
        SELECT u.processed, 'resequence', u.sn FROM updates u WHERE u.kind = simulate.kind
        UNION ALL
        SELECT 'infinity', 'end', 0
        ORDER BY at, sn
    LOOP
        WHILE until <= event.at AND busy IS NOT NULL LOOP
            INSERT INTO shown VALUES (run, until, busy);
            PERFORM spool.applied(run, 'hot', busy);
            busy := NULL;
            SELECT * INTO named FROM spool.promoted(run);
            IF FOUND THEN
                SELECT * INTO reply FROM spool.resequence(run, named.key, named.sn);
                INSERT INTO asked (run, sn, verdict, reason) VALUES (run, named.sn, reply.verdict, reply.reason);
                IF reply.verdict = 'pass' THEN
                    busy := named.sn;
                    until := until + delivering;
                END IF;
            END IF;
        END LOOP;
        IF event.what = 'register' THEN
            PERFORM spool.register(run, 'hot', event.sn);
        ELSIF event.what = 'resequence' THEN
            SELECT * INTO reply FROM spool.resequence(run, 'hot', event.sn);
            INSERT INTO asked (run, sn, verdict, reason) VALUES (run, event.sn, reply.verdict, reply.reason);
            IF reply.verdict = 'pass' AND delivering > 0 THEN
                busy := event.sn;
                until := event.at + delivering;
            ELSIF reply.verdict = 'pass' THEN
                INSERT INTO shown VALUES (run, event.at, event.sn);
            END IF;
        END IF;
        COMMIT;
    END LOOP;
END $$;

-- ---- checks ----------------------------------------------------------------
CREATE FUNCTION answers(run text) RETURNS text
LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', n, verdict, reason), ', ' ORDER BY verdict, reason)
      FROM (SELECT verdict, reason, count(*) AS n FROM asked a WHERE a.run = answers.run GROUP BY verdict, reason) a
$$;

-- How old the oldest update was that the target did not show, at the worst.
CREATE FUNCTION behind(run text, kind text) RETURNS float8
LANGUAGE sql AS $$
    SELECT max(next_at - u.at)
      FROM (SELECT s.sn, lead(s.at) OVER (ORDER BY s.at) AS next_at
              FROM (SELECT at, sn FROM shown WHERE shown.run = behind.run UNION ALL SELECT 0, 0) s) s
      JOIN updates u ON u.kind = behind.kind AND u.sn = s.sn + 1
$$;

-- How many in a row were superseded, at the most.
CREATE FUNCTION longest(run text) RETURNS bigint
LANGUAGE sql AS $$
    SELECT coalesce(max(n), 0)
      FROM (SELECT count(*) FILTER (WHERE reason = 'superseded') AS n
              FROM (SELECT a.reason, count(*) FILTER (WHERE a.verdict = 'pass') OVER (ORDER BY a.n) AS pass
                      FROM asked a WHERE a.run = longest.run) a
             GROUP BY pass) r
$$;

-- I1 and the counters; '' if all is as it should be.
CREATE FUNCTION wrong(run text) RETURNS text
LANGUAGE sql AS $$
    SELECT concat_ws(', ',
        (SELECT 'out of order: ' || count(*)
           FROM (SELECT sn <= lag(sn) OVER (ORDER BY at, sn) AS falls FROM shown s WHERE s.run = wrong.run) s WHERE falls HAVING count(*) > 0),
        (SELECT concat('last: ', max(sn)) FROM shown s WHERE s.run = wrong.run HAVING max(sn) IS DISTINCT FROM 2000),
        (SELECT 'lane: ' || l FROM lane l
          WHERE l.name = wrong.run
            AND (l.live, l.parked, l.registered, l.dead + l.expired + l.unregistered, l.delivered, l.suppressed, l.forced) IS DISTINCT FROM
                (0, 0, 2000, 0, (SELECT count(*) FROM shown s WHERE s.run = wrong.run),
                 2000 - (SELECT count(*) FROM shown s WHERE s.run = wrong.run),
                 (SELECT count(*) FROM asked a WHERE a.run = wrong.run AND a.reason = 'valve'))))
$$;

-- ---- R79: without a valve ----------------------------------------------------
SELECT spool.create_resequencer('valve none'), spool.create_resequencer('valve none suppress', supersede => 'suppress') \g /dev/null
CALL simulate('valve none', 'even');
CALL simulate('valve none suppress', 'even');
SELECT is(answers('valve none'), '1999 park superseded, 1 pass', 'R79: nothing but the last one passes');
SELECT is(wrong('valve none'), '', 'R79: and it is counted');
SELECT results_eq($$SELECT parked, run, delivered FROM spool.reseq_lane WHERE key = (SELECT key FROM lane WHERE name = 'valve none') AND run = 1999 AND live = 2000$$,
                  'VALUES (1999::bigint, 1999, 0::bigint)', 'R79: the counters show it while it goes on');
SELECT cmp_ok(behind('valve none', 'even'), '>', 200::float8, 'R79: the target is behind for all the time');
SELECT is(answers('valve none suppress'), '1 pass, 1999 suppress superseded', 'R79: the same if they are suppressed at once');
SELECT is(wrong('valve none suppress'), '', 'R79: and counted');

-- ---- R80: max_suppressed -----------------------------------------------------
SELECT spool.create_resequencer('valve 5', max_suppressed => 5),
       spool.create_resequencer('valve 5 suppress', max_suppressed => 5, supersede => 'suppress'),
       spool.create_resequencer('valve 5 random', max_suppressed => 5),
       spool.create_resequencer('valve 5 acked', max_suppressed => 5, delivery => 'acked'),
       spool.create_resequencer('valve 5 acked random', max_suppressed => 5, delivery => 'acked') \g /dev/null
CALL simulate('valve 5', 'even');
CALL simulate('valve 5 suppress', 'even');
CALL simulate('valve 5 random', 'random');
CALL simulate('valve 5 acked', 'even', 0.25);
CALL simulate('valve 5 acked random', 'random', 0.25);
SELECT is(answers('valve 5'), '1600 park superseded, 399 pass valve, 1 pass', 'R80: every 5th passes');
SELECT is(answers('valve 5 suppress'), '399 pass valve, 1 pass, 1600 suppress superseded', 'R80: the same if they are suppressed at once');
SELECT unnest(ARRAY[
           is(longest(run), 4::bigint, 'R80: never more than 4 are superseded in a row: ' || run),
           cmp_ok(behind(run, kind), '<=', 5::float8, 'R80: the target is not far behind: ' || run),
           is(wrong(run), '', 'R80: all is counted, in order, and the last one is shown: ' || run)])
  FROM (VALUES ('valve 5', 'even'), ('valve 5 suppress', 'even'), ('valve 5 random', 'random'), ('valve 5 acked', 'even'), ('valve 5 acked random', 'random')) v (run, kind);

-- ---- R81: max_suppress_age ---------------------------------------------------
-- This valve goes by the clock, so what is compared are times before and after
-- the calls, however long they take.
SELECT spool.create_resequencer('valve age', max_suppress_age => '30 ms') \g /dev/null
CREATE PROCEDURE simulate_age(run text)
LANGUAGE plpgsql AS $$
DECLARE
    last  timestamptz := clock_timestamp() + interval '60 s';
    since timestamptz;
    reply record;
    n     bigint := 0;
    open  int := 5;
BEGIN
    PERFORM spool.register(run, 'hot', 1);
    WHILE open > 0 AND clock_timestamp() < last LOOP
        n := n + 1;
        PERFORM spool.register(run, 'hot', n + 1);
        since := clock_timestamp();
        SELECT * INTO reply FROM spool.resequence(run, 'hot', n);
        INSERT INTO asked (run, sn, verdict, reason, began, ended) VALUES (run, n, reply.verdict, reply.reason, since, clock_timestamp());
        open := open - (reply.verdict = 'pass')::int;
        COMMIT;
    END LOOP;
END $$;

CALL simulate_age('valve age');
CREATE VIEW aged AS
SELECT a.*, min(ended) FILTER (WHERE verdict = 'park') OVER pass AS run_ended, min(began) FILTER (WHERE verdict = 'park') OVER pass AS run_began
  FROM (SELECT *, count(*) FILTER (WHERE verdict = 'pass') OVER (ORDER BY n) - (verdict = 'pass')::int AS passes
          FROM asked WHERE run = 'valve age') a
WINDOW pass AS (PARTITION BY passes);
SELECT is((SELECT count(*) FROM aged WHERE reason = 'valve'), 5::bigint, 'R81: what changes all the time passes now and then');
SELECT is_empty($$SELECT * FROM aged WHERE reason = 'valve' AND ended - run_began < '30 ms'$$, 'R81: not before the time is over');
SELECT is_empty($$SELECT * FROM aged WHERE reason = 'superseded' AND began - run_ended >= '30 ms'$$, 'R81: the first that comes then');
SELECT is_empty($$
    SELECT * FROM (SELECT ended - lag(began) OVER (ORDER BY n) AS gap FROM aged WHERE verdict = 'pass') g
     WHERE gap > interval '30 ms' + 2 * (SELECT max(took) FROM (SELECT ended - lag(began) OVER (ORDER BY n) AS took FROM aged) t)$$,
    'R81: so the gap is no longer than that and two calls');
SELECT is((SELECT delivered || ' ' || forced FROM lane WHERE name = 'valve age'), '5 5', 'R81: it is counted');

-- ---- the pull form -----------------------------------------------------------
-- One at a time, and always the newest.
SELECT spool.create_queue('valve pull', order_by => 'latest') \g /dev/null
CREATE PROCEDURE simulate_pull(run text)
LANGUAGE plpgsql AS $$
DECLARE
    event record;
    job   spool.job;
    until float8;
BEGIN
    FOR event IN
        SELECT at, sn FROM updates WHERE kind = 'even' UNION ALL SELECT 'infinity', 0 ORDER BY at
    LOOP
        WHILE until <= event.at LOOP
            PERFORM spool.ack(job.claim_id);
            INSERT INTO shown VALUES (run, until, convert_from(job.payload, 'UTF8')::bigint);
            COMMIT;
            SELECT * INTO job FROM spool.claim(run);
            until := CASE WHEN FOUND THEN until + 1 END;
        END LOOP;
        CONTINUE WHEN event.sn = 0;
        PERFORM spool.enqueue(run, event.sn::text, 'hot');
        COMMIT;
        IF until IS NULL THEN
            SELECT * INTO job FROM spool.claim(run);
            until := event.at + 1;
        END IF;
    END LOOP;
END $$;
CALL simulate_pull('valve pull');
SELECT cmp_ok((SELECT count(*) FROM shown WHERE run = 'valve pull'), '<=', 202::bigint, 'R82: a tenth of the work');
SELECT cmp_ok(behind('valve pull', 'even'), '<=', 3::float8, 'R82: and yet the target is not far behind');
SELECT is((SELECT max(sn) FROM shown WHERE run = 'valve pull'), 2000::bigint, 'R82: the last one is shown');

SELECT * FROM finish();
SELECT spool.drop_resequencer(resequencer) FROM spool.resequencers WHERE resequencer LIKE 'valve %' \g /dev/null
SELECT spool.drop_queue('valve pull', force => true) \g /dev/null
DROP SCHEMA reseq_valve CASCADE;
