-- Every interleaving of the steps of some requests for one key: register,
-- resequence, deliver.  Request i has number i.
--
-- 2 requests for 1 target have 20 interleavings, 3 have 1,680, 2 requests that
-- go to 2 targets one after the other (five steps each) have 252.  In atomic
-- delivery pass and write are one step, so there are 6, 90 and 20; all of the
-- longer ones run, too, with a third step that has nothing left to do (or, if
-- the write failed, tells so).
--
-- A request that had to wait or was parked comes again when promoted() names
-- it, which is looked at after every step, or only after the last.  Where the
-- newest fails, its write is not made, or is rolled back, and failed() is
-- called.
--
-- The checks are seen to work: the same ones find in wrong variants exactly
-- the violations that are known of them.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;
SET synchronous_commit = off;

SELECT plan(48);

CREATE SCHEMA reseq_ways;
SET search_path = reseq_ways, public;

-- What targets show, and a log of what happened to them: registrations that
-- were above what was applied, and writes that had an effect.
CREATE TABLE guarded (record text PRIMARY KEY, sn bigint);
CREATE TABLE bare (LIKE guarded INCLUDING ALL);
CREATE TABLE log (n bigserial, way int, key text, target text, sn bigint, what text);
SELECT spool.guard('guarded', 'record', 'sn') \g /dev/null

-- A configuration: how many runs it has, and in how many of them something is
-- wrong.  written: "with it", one step with the pass, or "apart" in the third;
-- or "too late": in atomic delivery, where the pass is taken for the write, and
-- in acked delivery after the deadline (somebody called failed).  looked: at
-- promoted(), after "each" step or the "last".  failures: so many of the newest
-- fail, for the targets "failing".
CREATE TABLE way (
    n           serial,
    runs        int NOT NULL,
    requests    int NOT NULL,
    resequencer text NOT NULL,
    written     text NOT NULL,
    looked      text NOT NULL,
    failures    int NOT NULL,
    failing     text[] NOT NULL,
    tbl         regclass NOT NULL DEFAULT 'guarded',
    stale       int NOT NULL DEFAULT 0,
    lost        int NOT NULL DEFAULT 0,
    targets     text[]
);
CREATE TABLE run (way int, key text);
CREATE INDEX ON run (way);
CREATE INDEX ON log (way);

-- All orders of the steps of so many requests: which request makes a step.
CREATE FUNCTION interleavings(requests int, steps int) RETURNS SETOF int[]
LANGUAGE sql AS $$
    WITH RECURSIVE started AS (
        SELECT '{}'::int[] AS made, array_fill(0, ARRAY[requests]) AS counts
        UNION ALL
        SELECT s.made || i, s.counts[:i - 1] || (s.counts[i] + 1) || s.counts[i + 1:]
          FROM started s, generate_series(1, requests) i
         WHERE s.counts[i] < steps
    )
    SELECT made FROM started WHERE cardinality(made) = requests * steps
$$;

CREATE FUNCTION write(w way, key text, request bigint, target text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    rows bigint;
BEGIN
    IF w.tbl = 'guarded'::regclass THEN
        INSERT INTO guarded VALUES (key || ' ' || target, request)
            ON CONFLICT (record) DO UPDATE SET sn = excluded.sn;
    ELSE
        INSERT INTO bare VALUES (key || ' ' || target, request)
            ON CONFLICT (record) DO UPDATE SET sn = excluded.sn;
    END IF;
    GET DIAGNOSTICS rows = ROW_COUNT;
    IF rows > 0 THEN
        INSERT INTO log (way, key, target, sn, what) VALUES (w.n, key, target, request, 'write');
    END IF;
END $$;

-- Whether the write of a request cannot be made.
CREATE FUNCTION fails(w way, request bigint, target text) RETURNS bool
LANGUAGE sql AS $$ SELECT request > w.requests - w.failures AND target = ANY (w.failing) $$;

CREATE FUNCTION register(w way, key text, request bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (way, key, target, sn, what)
    SELECT w.n, key, t, request, 'register'
      FROM unnest(w.targets) t
     WHERE coalesce((SELECT g.sn FROM guarded g WHERE g.record = key || ' ' || t), 0) < request;
    PERFORM spool.register(w.resequencer, key, request);
END $$;

-- Resequence; true if there is something to deliver.  In atomic delivery it is
-- delivered in the same subtransaction, which a failure rolls back.
CREATE FUNCTION come(w way, key text, request bigint, target text) RETURNS bool
LANGUAGE plpgsql AS $$
DECLARE
    verdict text;
BEGIN
    SELECT r.verdict INTO verdict FROM spool.resequence(w.resequencer, key, request, target) r;
    IF verdict NOT IN ('pass', 'park', 'wait', 'suppress') THEN
        RAISE EXCEPTION 'number % of key % is answered "%"', request, key, verdict;
    END IF;
    IF verdict = 'pass' AND w.resequencer LIKE '%atomic' AND w.written <> 'too late' THEN
        PERFORM write(w, key, request, target);
        IF fails(w, request, target) THEN
            RAISE EXCEPTION USING ERRCODE = 'TFAIL', MESSAGE = 'the write fails';
        END IF;
    ELSIF verdict = 'pass' AND w.resequencer LIKE '%acked' AND w.written = 'too late' THEN
        PERFORM spool.failed(w.resequencer, key, request, target);
    END IF;
    RETURN verdict = 'pass';
EXCEPTION
    WHEN SQLSTATE 'TFAIL' THEN
        IF w.written = 'with it' THEN
            PERFORM spool.failed(w.resequencer, key, request, target);
        END IF;
        RETURN true;
END $$;

-- The third step.
CREATE FUNCTION deliver(w way, key text, request bigint, target text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    reply record;
BEGIN
    IF w.written = 'too late' THEN
        PERFORM write(w, key, request, target);
    ELSIF fails(w, request, target) THEN
        SELECT * INTO reply FROM spool.failed(w.resequencer, key, request, target, error => 'the write fails');
    ELSIF w.resequencer LIKE '%atomic' THEN
        SELECT * INTO reply FROM spool.applied(w.resequencer, key, request, target);
        IF NOT reply.repeat THEN
            RAISE EXCEPTION 'number % of key % was not applied by its pass: %', request, key, reply;
        END IF;
    ELSE
        PERFORM write(w, key, request, target);
        SELECT * INTO reply FROM spool.applied(w.resequencer, key, request, target);
        IF reply.verdict <> 'applied' OR reply.repeat THEN
            RAISE EXCEPTION 'number % of key % is not applied: %', request, key, reply;
        END IF;
    END IF;
END $$;

-- Run the steps.  passed: what each request has to deliver, by target; left:
-- its steps that are still to come.
CREATE FUNCTION run_steps(w way, key text, steps int[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    ntargets int := cardinality(w.targets);
    each     int := CASE w.written WHEN 'with it' THEN 1 ELSE 2 END;
    passed   bool[] := array_fill(false, ARRAY[w.requests * ntargets]);
    at       int[] := array_fill(0, ARRAY[w.requests]);
    request  int;
    step     int;
    t        int;
    slot     int;
    named    record;
    rounds   int := 0;
BEGIN
    FOREACH request IN ARRAY steps || 0 LOOP    -- 0: after the last
        IF request > 0 THEN
            step := at[request];
            at[request] := step + 1;
            t := (step - 1) / each + 1;
            slot := (request - 1) * ntargets + t;
            IF step = 0 THEN
                PERFORM register(w, key, request);
            ELSIF each = 1 OR step % 2 = 1 THEN
                passed[slot] := come(w, key, request, w.targets[t]) AND each = 2;
            ELSIF passed[slot] THEN
                PERFORM deliver(w, key, request, w.targets[t]);
                passed[slot] := false;
            END IF;
        END IF;
        -- Those that may come again deliver in their own third step, or now if
        -- that is over.
        LOOP
            EXIT WHEN w.looked = 'last' AND request > 0;
            rounds := rounds + 1;
            EXIT WHEN rounds > 100;
            SELECT p.* INTO named FROM spool.promoted(w.resequencer) p;
            EXIT WHEN NOT FOUND;
            IF named.key <> run_steps.key THEN
                RAISE EXCEPTION 'key % is named among steps of key %', named.key, key;
            END IF;
            t := array_position(w.targets, named.target);
            slot := (named.sn - 1) * ntargets + t;
            EXIT WHEN passed[slot];     -- rolled back, and yet to call failed()
            IF NOT come(w, key, named.sn, named.target) THEN
                RAISE EXCEPTION 'number % of key % is named, but does not pass', named.sn, key;
            END IF;
            passed[slot] := each = 2;
            IF passed[slot] AND at[named.sn] > 2 * t THEN
                PERFORM deliver(w, key, named.sn, named.target);
                passed[slot] := false;
            END IF;
        END LOOP;
    END LOOP;
    IF rounds > 100 THEN
        RAISE EXCEPTION 'key % does not come to an end', key;
    END IF;
END $$;

-- The rules that this resequencer comes from, on variables: a key is remembered
-- with a number and the count of deliveries still to come, and forgotten when
-- that is zero.  What has that number passes.  The number is that of the last
-- caller, or the highest; and the highest that passed may be kept for good.
CREATE FUNCTION run_simple(w way, key text, steps int[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    ntargets int := cardinality(w.targets);
    passed   bool[] := array_fill(false, ARRAY[w.requests]);
    at       int[] := array_fill(0, ARRAY[w.requests]);
    high     int[] := array_fill(0, ARRAY[ntargets]);
    known    int;
    live     int := 0;
    request  int;
    t        int;
BEGIN
    FOREACH request IN ARRAY steps LOOP
        t := (at[request] + 1) / 2;
        IF at[request] = 0 THEN
            known := CASE w.resequencer WHEN 'last caller' THEN request ELSE greatest(known, request) END;
            live := live + ntargets;
        ELSIF at[request] % 2 = 1 THEN
            passed[request] := request = known AND request >= high[t];
            IF passed[request] AND w.resequencer = 'highest, kept' THEN
                high[t] := request;
            END IF;
            live := live - 1;
            known := CASE WHEN live > 0 THEN known END;
        ELSIF passed[request] THEN
            PERFORM write(w, key, request, w.targets[t]);
        END IF;
        at[request] := at[request] + 1;
    END LOOP;
END $$;

-- Run what has not run.
CREATE PROCEDURE run_all()
LANGUAGE plpgsql AS $$
DECLARE
    w     way;
    steps int[];
    key   text;
    runs  int := 0;
BEGIN
    FOR w IN SELECT * FROM way WHERE n NOT IN (SELECT way FROM run) ORDER BY n LOOP
        FOR steps IN
            SELECT * FROM interleavings(w.requests, CASE w.written WHEN 'with it' THEN 1 ELSE 2 END * cardinality(w.targets) + 1)
        LOOP
            key := w.n || ': ' || array_to_string(steps, '');
            IF w.resequencer LIKE 'ways %' THEN
                PERFORM run_steps(w, key, steps);
            ELSE
                PERFORM run_simple(w, key, steps);
            END IF;
            INSERT INTO run VALUES (w.n, key);
            runs := runs + 1;
            IF runs % 20 = 0 THEN
                COMMIT;
            END IF;
        END LOOP;
    END LOOP;
END $$;

-- ---- checks ----------------------------------------------------------------

-- Runs in which a target was written with an older number after a newer one.
CREATE FUNCTION stale(way int) RETURNS bigint
LANGUAGE sql AS $$
    SELECT count(DISTINCT key)
      FROM (SELECT l.key, l.sn <= lag(l.sn) OVER (PARTITION BY l.key, l.target ORDER BY l.n) AS falls
              FROM log l WHERE l.way = stale.way AND l.what = 'write') w
     WHERE falls
$$;

-- Runs after which some target does not show what it should: the newest, or
-- where that fails the next one.
CREATE FUNCTION lost(way int) RETURNS bigint
LANGUAGE sql AS $$
    SELECT count(DISTINCT r.key)
      FROM run r
      JOIN way w ON w.n = r.way
     CROSS JOIN unnest(w.targets) t
      LEFT JOIN guarded g ON w.tbl = 'guarded'::regclass AND g.record = r.key || ' ' || t
      LEFT JOIN bare b ON w.tbl = 'bare'::regclass AND b.record = r.key || ' ' || t
     WHERE r.way = lost.way
       AND coalesce(g.sn, b.sn) IS DISTINCT FROM w.requests - CASE WHEN t = ANY (w.failing) THEN w.failures ELSE 0 END
$$;

-- The newest state of each lane of a configuration.
CREATE FUNCTION lanes(way int) RETURNS SETOF spool.reseq_lane
LANGUAGE sql AS $$
    SELECT DISTINCT ON (l.key, l.target) l.*
      FROM spool.reseq_lane l
      JOIN spool.reseq_key k ON k.id = l.key
      JOIN run r ON r.key = k.key AND r.way = lanes.way
     ORDER BY l.key, l.target, l.version DESC
$$;

-- What is wrong with what the resequencer keeps of a configuration; '' if
-- nothing is.  All states that lanes ever had are added up.
CREATE FUNCTION wrong(way int) RETURNS text
LANGUAGE sql AS $$
    WITH lane AS MATERIALIZED (SELECT * FROM lanes(way)),
    delivery AS (
        SELECT DISTINCT ON (d.key, d.target, d.sn, d.part) d.*, l.applied
          FROM spool.reseq_delivery d JOIN lane l ON l.key = d.key AND l.target = d.target
         ORDER BY d.key, d.target, d.sn, d.part, d.version DESC
    ),
    expected AS (
        SELECT k.id AS key, array_position(w.targets, l.target) AS target,
               count(*) FILTER (WHERE l.what = 'register') AS registered,
               count(*) FILTER (WHERE l.what = 'write') AS delivered,
               CASE WHEN l.target = ANY (w.failing) THEN w.failures ELSE 0 END AS dead
          FROM log l JOIN way w ON w.n = l.way JOIN spool.reseq_key k ON k.key = l.key
         WHERE l.way = wrong.way
         GROUP BY k.id, w.targets, l.target, w.failing, w.failures
    ),
    problems (problem, n) AS (
        SELECT 'lanes missing', (SELECT sum(cardinality(w.targets)) FROM run r JOIN way w ON w.n = r.way WHERE r.way = wrong.way) - (SELECT count(*) FROM lane)
        UNION ALL
        SELECT 'unbalanced', count(*)
          FROM spool.reseq_lane l JOIN lane USING (key, target)
         WHERE l.registered <> l.delivered + l.suppressed + l.dead + l.expired + l.unregistered + l.live
        UNION ALL
        SELECT 'live', count(*) FROM lane WHERE live <> 0 OR parked <> 0 OR newest <> -1 OR busy <> -1 OR due <> 'infinity'
        UNION ALL
        SELECT 'live deliveries', count(*) FROM delivery WHERE sn > applied AND state BETWEEN 'a' AND 'z'
        UNION ALL
        SELECT 'counted otherwise', count(*)
          FROM lane l FULL JOIN expected e USING (key, target)
         WHERE (l.registered, l.delivered, l.dead, l.suppressed, l.expired, l.unregistered, l.lost) IS DISTINCT FROM
               (e.registered, e.delivered, e.dead, e.registered - e.delivered - e.dead, 0, 0, l.lost)
        UNION ALL
        SELECT 'dead letters', count(*)
          FROM (SELECT r.key, t AS target, sn
                  FROM run r JOIN way w ON w.n = r.way CROSS JOIN unnest(w.targets) t CROSS JOIN generate_series(1::bigint, w.requests) sn
                 WHERE r.way = wrong.way AND fails(w, sn, t)) e
          FULL JOIN (SELECT d.* FROM spool.reseq_dead d JOIN run r ON r.key = d.key AND r.way = wrong.way) d USING (key, target, sn)
         WHERE e IS NULL OR d IS NULL OR d.reason <> 'failed'
        UNION ALL
        SELECT 'promotable', count(*) FROM spool.reseq_promotable p JOIN lane USING (key, target)
    )
    SELECT coalesce(string_agg(problem || ': ' || n, ', '), '') FROM problems WHERE n <> 0
$$;

CREATE FUNCTION seen(way int) RETURNS text
LANGUAGE sql AS $$
    SELECT format('%s runs: %s stale, %s lost', (SELECT count(*) FROM run r WHERE r.way = seen.way), stale(way), lost(way))
$$;

-- ---- what must hold --------------------------------------------------------
SELECT spool.create_resequencer('ways 1 acked', delivery => 'acked'),
       spool.create_resequencer('ways 1 atomic'),
       spool.create_resequencer('ways 2 acked', targets => '{a,b}', delivery => 'acked'),
       spool.create_resequencer('ways 2 atomic', targets => '{a,b}') \g /dev/null

INSERT INTO way (runs, requests, resequencer, written, looked, failures, failing) VALUES
    (20, 2, 'ways 1 acked', 'apart', 'each', 0, '{}'),
    (20, 2, 'ways 1 acked', 'apart', 'last', 0, '{}'),
    (20, 2, 'ways 1 acked', 'apart', 'each', 1, '{default}'),
    (20, 2, 'ways 1 acked', 'apart', 'last', 1, '{default}'),
    (1680, 3, 'ways 1 acked', 'apart', 'each', 0, '{}'),
    (1680, 3, 'ways 1 acked', 'apart', 'each', 1, '{default}'),
    (252, 2, 'ways 2 acked', 'apart', 'each', 0, '{}'),
    (252, 2, 'ways 2 acked', 'apart', 'last', 0, '{}'),
    (252, 2, 'ways 2 acked', 'apart', 'each', 1, '{a,b}'),
    (252, 2, 'ways 2 acked', 'apart', 'last', 1, '{a,b}'),
    (252, 2, 'ways 2 acked', 'apart', 'each', 1, '{b}'),
    (1680, 3, 'ways 1 acked', 'apart', 'each', 2, '{default}'),
    (20, 2, 'ways 1 atomic', 'apart', 'each', 0, '{}'),
    (20, 2, 'ways 1 atomic', 'apart', 'each', 1, '{default}'),
    (20, 2, 'ways 1 atomic', 'apart', 'last', 1, '{default}'),
    (1680, 3, 'ways 1 atomic', 'apart', 'each', 0, '{}'),
    (1680, 3, 'ways 1 atomic', 'apart', 'each', 1, '{default}'),
    (252, 2, 'ways 2 atomic', 'apart', 'each', 0, '{}'),
    (252, 2, 'ways 2 atomic', 'apart', 'each', 1, '{a,b}'),
    (252, 2, 'ways 2 atomic', 'apart', 'last', 1, '{a,b}'),
    (252, 2, 'ways 2 atomic', 'apart', 'each', 1, '{b}'),
    (6, 2, 'ways 1 atomic', 'with it', 'each', 0, '{}'),
    (6, 2, 'ways 1 atomic', 'with it', 'each', 1, '{default}'),
    (6, 2, 'ways 1 atomic', 'with it', 'last', 1, '{default}'),
    (90, 3, 'ways 1 atomic', 'with it', 'each', 0, '{}'),
    (90, 3, 'ways 1 atomic', 'with it', 'each', 1, '{default}'),
    (90, 3, 'ways 1 atomic', 'with it', 'last', 1, '{default}'),
    (90, 3, 'ways 1 atomic', 'with it', 'each', 2, '{default}'),
    (20, 2, 'ways 2 atomic', 'with it', 'each', 0, '{}'),
    (20, 2, 'ways 2 atomic', 'with it', 'each', 1, '{a,b}'),
    (20, 2, 'ways 2 atomic', 'with it', 'last', 1, '{a,b}'),
    (20, 2, 'ways 2 atomic', 'with it', 'each', 1, '{b}');
UPDATE way SET targets = r.targets FROM spool.resequencers r WHERE r.resequencer = way.resequencer;

CALL run_all();
ANALYZE run, log, guarded, spool.reseq_key, spool.reseq_lane, spool.reseq_delivery, spool.reseq_dead;

SELECT is(seen(n) || wrong(n), format('%s runs: %s stale, %s lost', runs, stale, lost),
          format('%s: %s requests, %s target(s), %s, written %s, look after %s step%s',
                 CASE failures WHEN 0 THEN 'R2, R3, R48' WHEN 1 THEN 'R65' ELSE 'R67' END, requests, cardinality(targets), resequencer, written, looked,
                 CASE WHEN failures > 0 THEN format(', newest %s fail for %s', failures, failing) END))
  FROM way WHERE written <> 'too late' ORDER BY n;

-- ---- what is found where it does not hold ----------------------------------
INSERT INTO way (runs, requests, resequencer, written, looked, failures, failing, tbl, stale, lost, targets) VALUES
    (20, 2, 'last caller', 'too late', 'each', 0, '{}', 'bare', 4, 10, '{a}'),
    (1680, 3, 'last caller', 'too late', 'each', 0, '{}', 'bare', 518, 1120, '{a}'),
    (252, 2, 'last caller', 'too late', 'each', 0, '{}', 'bare', 57, 137, '{a,b}'),
    (20, 2, 'highest', 'too late', 'each', 0, '{}', 'bare', 4, 4, '{a}'),
    (1680, 3, 'highest', 'too late', 'each', 0, '{}', 'bare', 434, 406, '{a}'),
    (252, 2, 'highest', 'too late', 'each', 0, '{}', 'bare', 17, 17, '{a,b}'),
    (20, 2, 'highest, kept', 'too late', 'each', 0, '{}', 'bare', 1, 1, '{a}'),
    (1680, 3, 'highest, kept', 'too late', 'each', 0, '{}', 'bare', 123, 117, '{a}'),
    (252, 2, 'highest, kept', 'too late', 'each', 0, '{}', 'bare', 11, 11, '{a,b}'),
    (20, 2, 'ways 1 atomic', 'too late', 'each', 0, '{}', 'bare', 1, 1, '{default}'),
    (1680, 3, 'ways 1 atomic', 'too late', 'each', 0, '{}', 'bare', 123, 117, '{default}'),
    (252, 2, 'ways 2 atomic', 'too late', 'each', 0, '{}', 'bare', 11, 11, '{a,b}'),
    (20, 2, 'ways 1 atomic', 'too late', 'each', 0, '{}', 'guarded', 0, 0, '{default}'),
    (252, 2, 'ways 2 atomic', 'too late', 'each', 0, '{}', 'guarded', 0, 0, '{a,b}'),
    (20, 2, 'ways 1 acked', 'too late', 'each', 0, '{}', 'bare', 10, 10, '{default}'),
    (252, 2, 'ways 2 acked', 'too late', 'each', 0, '{}', 'guarded', 0, 0, '{a,b}');
CALL run_all();
SELECT is(seen(n), format('%s runs: %s stale, %s lost', runs, stale, lost),
          format('R47: %s requests, %s target(s), %s, %s table', requests, cardinality(targets), resequencer, tbl))
  FROM way WHERE written = 'too late' ORDER BY n;

SELECT * FROM finish();
SELECT spool.drop_resequencer(resequencer) FROM spool.resequencers WHERE resequencer LIKE 'ways %' \g /dev/null
DROP SCHEMA reseq_ways CASCADE;
