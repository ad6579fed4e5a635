-- The resequencer: several targets.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(76);

\ir include/reseq.sql

SELECT pg_temp.plays(description, script, concat_ws(' ', 'targets={A,B}', options)) FROM (VALUES
    ('R27: a number goes to each of its targets', NULL,
     'reg k 1 -> current; stat -> registered 2, live 2; rsq k 1 target=A -> pass; stat -> registered 2, applied 1, live 1; rsq k 1 target=B -> pass; live -> none; stat -> registered 2, applied 2; keys -> k A: 1/1 0 idle, k B: 1/1 0 idle'),
    ('R27: given or not', NULL, 'reg k 1 targets={B,A,B} -> current; live -> k 1A registered, k 1B registered; reg k 1 targets={A} -> current=; reg k 1 -> current='),
    ('R27: a target must be named', NULL, 'reg k 1 -> current; rsq k 1 -> 22004; app k 1 -> 22004; fail k 1 -> 22004; rsq k 1 target=C -> 22023; app k 1 target=C -> 22023; fail k 1 target=C -> 22023; unreg k 1 target=C -> 22023; skip k 1 target=C -> 22023;
     live -> k 1A registered, k 1B registered'),
    ('R23: a target that the resequencer does not have', NULL, 'reg k 1 targets={A,C} -> 22023; reg k 1 targets={a} -> 22023; keys -> none; add k 1 target=C -> 22023; add k 1 target=NULL -> 22023'),
    ('R28: unregistered for one', NULL, 'reg k 1 -> current; unreg k 1 target=B -> unregistered; rsq k 1 target=A -> pass; live -> none; rsq k 1 target=B -> duplicate/unregistered=; stat -> registered 2, applied 1, unregistered 1'),
    ('R28: for all', NULL, 'reg k 1 -> current; unreg k 1 -> unregistered; live -> none; stat -> registered 2, unregistered 2; unreg k 1 target=A -> unregistered='),
    ('R28: for all that are left', NULL, 'reg k 1 -> current; rsq k 1 target=A -> pass; unreg k 1 -> unregistered; stat -> registered 2, applied 1, unregistered 1; unreg k 1 target=A -> applied='),
    ('R29: one more target', NULL, 'reg k 1 targets={A} -> current; live -> k 1A registered; add k 1 target=B -> current; live -> k 1A registered, k 1B registered; rsq k 1 target=A -> pass; live -> k 1B registered; rsq k 1 target=B -> pass; live -> none; stat -> registered 2, applied 2'),
    ('R29: once', NULL, 'reg k 1 targets={A} -> current; add k 1 target=A -> current=; add k 1 target=B -> current; add k 1 target=B -> current=; stat -> registered 2, live 2'),
    ('R29: after the others are through', NULL, 'reg k 1 targets={A} -> current; rsq k 1 target=A -> pass; add k 1 target=B -> current; rsq k 1 target=B -> pass; add k 1 target=B -> stale/applied=; stat -> registered 2, applied 2'),
    ('R29: it is superseded there, or stale', NULL, 'reg k 1 targets={A} -> current; reg k 3 targets={B} -> current; add k 1 target=B -> superseded/superseded; rsq k 1 target=B -> park/superseded; rsq k 3 target=B -> pass;
     reg k 2 targets={A} -> current; add k 2 target=B -> stale/stale; stat -> registered 4, applied 1, suppressed 1, live 2'),
    ('R29: of a number that is not known', NULL, 'add k 1 target=A -> P0002; reg k 2 -> current; add k 1 target=A -> P0002; add k 3 target=A -> P0002; stat -> registered 2, live 2'),
    ('R29: with its digest', NULL, 'reg k 1 targets={A} digest=\x01 -> current; add k 1 target=B -> current; reg k 1 targets={B} digest=\x02 -> 23505; reg k 1 targets={B} digest=\x01 -> current='),
    ('R8: one digest for all targets', NULL, 'reg k 3 targets={A} digest=\x01 -> current; reg k 3 targets={B} digest=\x02 -> 23505; reg k 3 targets={B} digest=\x01 -> current; stat -> registered 2, live 2'),
    ('R29: with its parts', NULL, 'reg k 3 parts=2 targets={A} -> current; reg k 3 part={1} -> current; rsq k 3 part={1} target=A -> wait/tree; add k 3 target=B -> current; reg k 3 part={2} -> current;
     live -> k 3A split, k 3{1}A waiting, k 3{2}A registered, k 3B split, k 3{1}B registered, k 3{2}B registered; rsq k 3 part={2} target=B -> wait/tree; rsq k 3 part={1} target=B -> pass; rsq k 3 part={2} target=B -> pass; rsq k 3 part={2} target=A -> wait/order;
     promoted -> k 3A; rsq k 3 part={1} target=A -> pass; rsq k 3 part={2} target=A -> pass; stat -> registered 6, applied 6'),
    ('R30: targets of a key by rule', 'targets_by=CASE/**/WHEN/**/key~''^pdf''/**/THEN''{A,B}''::text[]ELSE''{B}''END',
     'reg pdf1 1 -> current; reg txt1 1 -> current; live -> pdf1 1A registered, pdf1 1B registered, txt1 1B registered; rsq txt1 1 target=A -> P0002; rsq txt1 1 target=B -> pass; reg txt1 2 targets={A} -> current; live -> pdf1 1A registered, pdf1 1B registered, txt1 2A registered'),
    ('R31: a newer one supersedes only where it goes to', NULL, 'reg k 1 -> current; reg k 2 targets={A} -> current; rsq k 1 target=B -> pass; rsq k 1 target=A -> park/superseded; rsq k 2 target=A -> pass; rsq k 1 target=A -> suppress/stale; rsq k 2 target=B -> P0002; keys -> k A: 2/2 0 idle, k B: 1/1 0 idle'),
    ('R31: register answers the best of its targets', NULL, 'reg k 2 targets={A} -> current; reg k 1 targets={A} -> superseded/superseded; reg k 1 -> current; rsq k 2 target=A -> pass; reg k 0 targets={A} -> stale/stale; reg k 0 -> superseded/superseded; stat -> registered 4, applied 1, suppressed 1, live 2'),
    ('R31: what fails for one target goes to the other', NULL, 'reg k 1 -> current; reg k 2 -> current; rsq k 1 target=A -> park/superseded; rsq k 1 target=B -> park/superseded; fail k 2 target=A error=no -> dead/failed; promoted -> k 1A; rsq k 1 target=A -> pass; rsq k 1 target=B -> park/superseded=; rsq k 2 target=B -> pass;
     dead -> k 2A failed "no"; stat -> registered 4, applied 2, suppressed 1, dead 1'),
    ('R32: never below zero', NULL, 'reg k 1 -> current; unreg k 1 target=A -> unregistered; unreg k 1 target=A -> unregistered=; unreg k 1 target=B -> unregistered; unreg k 1 -> unregistered=; unreg k 1 target=B -> unregistered=; stat -> registered 2, unregistered 2'),
    ('R33: what was applied is not unregistered', NULL, 'reg k 1 -> current; rsq k 1 target=A -> pass; unreg k 1 target=A -> applied=; live -> k 1B registered; stat -> registered 2, applied 1, live 1'),
    ('R34: what was delivered to all is not unknown', NULL, 'reg k 1 -> current; rsq k 1 target=A -> pass; rsq k 1 target=B -> pass; rsq k 1 target=A -> duplicate/applied=; rsq k 1 target=B -> duplicate/applied=; reg k 1 -> stale/applied='),
    ('one target is not delayed by the other', 'delivery=acked', 'reg k 1 -> current; rsq k 1 target=A -> pass; reg k 2 -> current; rsq k 2 target=A -> wait/busy; rsq k 2 target=B -> pass; app k 2 target=B -> applied; app k 1 target=A -> applied; rsq k 2 target=A -> pass; app k 2 target=A -> applied;
     stat -> registered 4, applied 3, suppressed 1'),
    ('R69: a failure for one target suspends the key for all', 'on_failure=suspend', 'reg k 1 -> current; fail k 1 target=A error=no -> suspended/no; rsq k 1 target=B -> wait/suspended; promoted -> none; resume k -> resumed/no; promoted -> k 1B; rsq k 1 target=B -> pass; rsq k 1 target=A -> pass'),
    ('R69: skipped for the other target, the key stays suspended', 'on_failure=suspend', 'reg k 1 -> current; reg k 2 -> current; fail k 2 target=A -> suspended/failed; skip k 2 target=B -> dead/skipped; rsq k 1 target=B -> wait/suspended; skip k 2 target=A -> dead/skipped; rsq k 1 target=B -> pass; rsq k 1 target=A -> pass'),
    ('R69: skipped for all', 'on_failure=suspend', 'reg k 1 -> current; reg k 2 -> current; fail k 2 target=A -> suspended/failed; skip k 2 -> dead/skipped; rsq k 1 target=B -> pass; rsq k 1 target=A -> pass; stat -> registered 4, applied 2, dead 2'),
    ('is_current: targets that it does not have do not count', NULL, 'reg k 1 targets={A} -> current; reg k 2 targets={A} -> current; is_current k 1 -> false; is_current k 1 target=A -> false; is_current k 2 -> true'),
    ('is_current: for one, or for any', NULL, 'reg k 1 -> current; reg k 2 targets={A} -> current; is_current k 1 target=A -> false; is_current k 1 target=B -> true; is_current k 1 -> true; reg k 2 -> current; is_current k 1 -> false; is_current k 2 -> true; rsq k 2 target=A -> pass; is_current k 2 -> true; is_current k 2 target=A -> false; is_current k 3 target=C -> 22023'),
    ('a target that is added knows nothing of older numbers', NULL, 'reg k 1 -> current; rsq k 1 target=A -> pass; alter targets={A,B,C} -> done; keys -> k A: 1/1 0 idle, k B: -/1 1 live; rsq k 1 target=C -> P0002; add k 1 target=C -> current; rsq k 1 target=C -> pass; reg k 2 -> current; live -> k 2A registered, k 1B registered, k 2B registered, k 2C registered'),
    ('R62: a reset is for all targets', NULL, 'reg k 9 -> current; rsq k 9 target=A -> pass; reset k -> reset; reg k 1 -> current; rsq k 1 target=A -> pass; rsq k 1 target=B -> pass; stat -> registered 4, applied 3, suppressed 1')
) v(description, options, script);

-- R23, R32: what is said.
SELECT spool.create_resequencer('two', '{A,"B b"}'), spool.register('two', 'k', 1) \g /dev/null
CREATE FUNCTION pg_temp.hint_of(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    message text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN format('%s: %s', message, hint);
END $$;
SELECT is(pg_temp.hint_of(statement), 'resequencer "two" has no target "C": Its targets are "A", "B b".', 'R23: ' || statement) FROM unnest(ARRAY[
    $$SELECT spool.register('two', 'k', 1, '{C}')$$, $$SELECT spool.resequence('two', 'k', 1, 'C')$$, $$SELECT spool.unregister('two', 'k', 1, 'C')$$, $$SELECT spool.add_target('two', 'k', 1, 'C')$$, $$SELECT spool.is_current('two', 'k', 1, 'C')$$]) statement;
SELECT throws_ok($$SELECT spool.add_target('two', 'k', 1, NULL)$$, '22004', 'target must not be null', 'R29: which target?');

-- R35, I5: the counts add up, whatever happened.
SELECT spool.create_resequencer('random', '{A,B}', on_unregistered => 'register', max_suppressed => 4), spool.create_resequencer('random acked', '{A,B}', on_unregistered => 'wait', delivery => 'acked', supersede => 'suppress'),
       spool.create_resequencer('random suspended', '{A,B}', on_unregistered => 'wait', on_failure => 'suspend') \g /dev/null
SET LOCAL client_min_messages = error;
CREATE FUNCTION pg_temp.random_verbs(name text, calls int) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    high bigint[] = array_fill(-1::bigint, '{20}');  -- what passed last, by key and target
    verdict text;
    was text;
    k int;
    sn bigint;
    target text;
    stale int = 0;
    refused int = 0;
    undone boolean;
BEGIN
    FOR i IN 1 .. calls LOOP
        k = 1 + floor(random() * 10);
        sn = i / 50 + floor(random() * 8);
        target = CASE WHEN random() < 0.5 THEN 'A' ELSE 'B' END;
        undone = random() < 0.1;
        BEGIN
            CASE floor(random() * 12)::int
                WHEN 0, 1, 2, 3 THEN
                    PERFORM spool.register(name, 'k' || k, sn, CASE WHEN random() < 0.3 THEN ARRAY[target] END);
                WHEN 4, 5, 6, 7 THEN
                    SELECT r.verdict INTO verdict FROM spool.resequence(name, 'k' || k, sn, target) r;
                    IF verdict = 'pass' AND random() < 0.7 THEN
                        PERFORM spool.applied(name, 'k' || k, sn, target);
                    END IF;
                    IF verdict = 'pass' AND name <> 'random acked' AND NOT undone THEN
                        k = CASE target WHEN 'A' THEN k ELSE k + 10 END;
                        IF sn <= high[k] THEN
                            stale = stale + 1;
                        END IF;
                        high[k] = sn;
                    END IF;
                WHEN 8 THEN
                    PERFORM spool.applied(name, 'k' || k, sn, target);
                WHEN 9 THEN
                    PERFORM spool.failed(name, 'k' || k, sn, target);
                WHEN 10 THEN
                    PERFORM spool.unregister(name, 'k' || k, sn, CASE WHEN random() < 0.5 THEN target END);
                WHEN 11 THEN
                    IF random() < 0.5 THEN
                        PERFORM spool.add_target(name, 'k' || k, sn, target);
                    ELSE
                        PERFORM spool.resume_key(name, 'k' || k);
                    END IF;
            END CASE;
            IF undone THEN
                RAISE EXCEPTION 'undo' USING ERRCODE = 'U0000';
            END IF;
        EXCEPTION
            WHEN no_data_found OR object_not_in_prerequisite_state OR undefined_object OR SQLSTATE 'U0000' THEN
                refused = refused + 1;
        END;
    END LOOP;
    RETURN format('%s stale, %s', stale, CASE WHEN refused BETWEEN calls / 20 AND calls / 2 THEN 'some refused' ELSE refused || ' refused' END);
END $$;
SELECT setseed(0.5) \g /dev/null
SELECT is(pg_temp.random_verbs(name, 4000), '0 stale, some refused', 'R35 I1: random verbs: ' || name) FROM unnest('{random,random acked,random suspended}'::text[]) name;
SELECT is(pg_temp.not_conserved(name), NULL, 'R35 I5: counts are those of rows, and add up: ' || name) FROM unnest('{random,random acked,random suspended}'::text[]) name;
SELECT ok(s.registered = s.applied + s.suppressed + s.dead + s.expired + s.unregistered + s.live AND s.registered > 1000 AND s.applied > 50 AND s.live = (SELECT count(*) FROM spool.registrations x WHERE x.resequencer = s.resequencer AND x.live),
          'R35 I5: and in the view: ' || s.resequencer) FROM spool.stat_resequencers s WHERE s.resequencer LIKE 'random%' ORDER BY s.resequencer;
SELECT is_empty($$SELECT s.* FROM spool.stat_keys s WHERE s.resequencer LIKE 'random%' AND (s.live < 0 OR s.parked < 0 OR s.applied > s.latest)$$, 'R35: nothing is below zero');

SELECT * FROM finish();
ROLLBACK;
