-- The resequencer: numbers that are split into parts.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(252);

\ir include/reseq.sql

-- Begins of scripts, written as <name>.
CREATE TABLE pg_temp.beginning (name text, script text);
INSERT INTO pg_temp.beginning VALUES
    ('three', 'reg k 3 parts=3 -> current; reg k 3 part={1} -> current; reg k 3 part={2} -> current; reg k 3 part={3} -> current'),
    ('two', 'reg k 3 parts=2 -> current; reg k 3 part={1} -> current; reg k 3 part={2} -> current'),
    ('1 and 3 of three', 'reg k 3 parts=3 -> current; reg k 3 part={1} -> current; reg k 3 part={3} -> current; rsq k 3 part={1} -> wait/tree; rsq k 3 part={3} -> wait/tree'),
    ('nested', 'reg k 3 parts=2 -> current; reg k 3 part={1} -> current; reg k 3 part={2} parts=2 -> current; reg k 3 part={2,2} -> current; reg k 3 part={2,1} -> current'),
    ('to the fourth', 'reg k 2 -> current; rsq k 2 -> pass');
CREATE FUNCTION pg_temp.trees(description text, script text, options text = '', doubled boolean = NULL) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    b record;
BEGIN
    FOR b IN SELECT * FROM pg_temp.beginning LOOP
        script = replace(script, format('<%s>', b.name), b.script);
    END LOOP;
    RETURN QUERY SELECT pg_temp.plays(description, script, options, doubled);
END $$;

-- In both modes.
SELECT pg_temp.trees(concat(description, ', ', mode), replace(replace(replace(script, '<waits>', waits), '<parks>', parks), '<again>', again), 'on_incomplete=' || mode, description !~ 'valve') FROM (VALUES
    ('R36: parts inherit the number', '<three>; live -> k 3 split, k 3{1} registered, k 3{2} registered, k 3{3} registered; stat -> registered 4, live 4; keys -> k default: -/3 4 live'),
    ('R36: no part passes before all are registered', 'reg k 3 parts=3 -> current; reg k 3 part={1} -> current; rsq k 3 part={1} -> wait/tree; reg k 3 part={3} -> current; rsq k 3 part={3} -> wait/tree; rsq k 3 part={2} -> P0002; rsq k 3 part={1} -> wait/tree=; promoted -> none'),
    ('R36: the whole does not pass', '<three>; rsq k 3 -> wait/split=; app k 3 -> 55000; live -> k 3 split, k 3{1} registered, k 3{2} registered, k 3{3} registered'),
    ('R36: a part registered twice is one', '<two>; reg k 3 part={1} -> current=; reg k 3 parts=2 -> current=; reg k 3 -> current=; stat -> registered 3, live 3'),
    ('R36: with another digest it is refused', 'reg k 3 parts=2 digest=\x01 -> current; reg k 3 part={1} digest=\x02 -> current; reg k 3 part={1} digest=\x01 -> 23505; reg k 3 parts=2 digest=\x02 -> 23505; reg k 3 part={1} digest=\x02 -> current='),
    ('R36: parts need their whole', 'reg k 3 part={1} -> P0002; reg k 3 parts=2 -> current; reg k 4 part={1} -> P0002; reg k 2 part={1} -> P0002; rsq k 3 part={1} -> P0002; unreg k 3 part={1} -> P0002; keys -> k default: -/3 1 live'),
    ('R36: an empty path is the whole', 'reg k 3 part={} -> current; live -> k 3 registered; rsq k 3 part={} -> pass; rsq k 3 -> duplicate/applied='),
    ('R43: more parts than declared', '<three>; reg k 3 part={4} -> 22023; reg k 3 part={1,1} -> 22023; reg k 3 part={4,1} -> 22023; stat -> registered 4, live 4; reg k 5 -> current; reg k 5 part={1} -> 22023'),
    ('R43: sizes that disagree', '<two>; reg k 3 parts=3 -> 22023; reg k 3 parts=1 -> 22023; reg k 3 part={2} parts=2 -> current; reg k 3 part={2} parts=3 -> 22023; live -> k 3 split, k 3{1} registered, k 3{2} split'),
    ('split after a plain registration', 'reg k 3 -> current; reg k 3 parts=2 -> current; rsq k 3 -> wait/split=; reg k 3 part={1} -> current; reg k 3 part={2} -> current; rsq k 3 part={2} -> wait/<waits>; rsq k 3 part={1} -> pass; rsq k 3 part={2} -> pass; live -> none; stat -> registered 3, applied 3'),
    ('split after it had to wait', 'reg k 3 -> current; reg k 4 -> current; rsq k 3 -> park/superseded; reg k 3 parts=1 -> superseded/superseded; stat -> registered 2, live 2; reg k 3 part={1} -> superseded/superseded; unreg k 4 -> unregistered; promoted -> none; rsq k 3 -> wait/split=; rsq k 3 part={1} -> pass; live -> none'),
    ('a tree of one part', 'reg k 3 parts=1 -> current; rsq k 3 part={1} -> P0002; reg k 3 part={1} -> current; rsq k 3 part={1} -> pass; live -> none; keys -> k default: 3/3 0 idle'),
    ('R44: an incomplete node below', 'reg k 3 parts=2 -> current; reg k 3 part={1} -> current; reg k 3 part={2} parts=2 -> current; reg k 3 part={2,1} -> current; rsq k 3 part={1} -> wait/tree; rsq k 3 part={2,1} -> wait/tree; rsq k 3 part={2} -> wait/split=; reg k 3 part={2,2} -> current; rsq k 3 part={2,2} -> wait/order;
      promoted -> k 3; rsq k 3 part={1} -> pass; rsq k 3 part={2,1} -> pass; promoted -> k 3; rsq k 3 part={2,2} -> pass; promoted -> none; live -> none; stat -> registered 5, applied 5'),
    ('R44: parts of parts count for their own node', 'reg k 3 parts=1 -> current; reg k 3 part={1} parts=1 -> current; reg k 3 part={2} -> 22023; reg k 3 part={1,2} -> 22023; reg k 3 part={1,1} parts=2 -> current; reg k 3 part={1,1,1} -> current; rsq k 3 part={1,1,1} -> wait/tree; reg k 3 part={1,1,2} -> current;
      rsq k 3 part={1,1,2} -> wait/order; rsq k 3 part={1,1,1} -> pass; rsq k 3 part={1,1,2} -> pass; live -> none; stat -> registered 5, applied 5'),
    ('R40: the whole is unregistered, its parts go', '<two>; unreg k 3 -> unregistered; rsq k 3 -> duplicate/unregistered=; rsq k 3 part={2} -> wait/<waits>; rsq k 3 part={1} -> pass; rsq k 3 part={2} -> pass; live -> none; stat -> registered 3, applied 2, unregistered 1; keys -> k default: 3/3 0 idle'),
    ('R40: and one below', '<nested>; unreg k 3 -> unregistered; unreg k 3 part={2} -> unregistered; rsq k 3 part={2,2} -> wait/<waits>; rsq k 3 part={2,1} -> wait/<waits>; rsq k 3 part={1} -> pass; rsq k 3 part={2,1} -> pass; rsq k 3 part={2,2} -> pass; live -> none; stat -> registered 5, applied 3, unregistered 2'),
    ('R40: parts come after that', 'reg k 3 parts=2 -> current; unreg k 3 -> unregistered; live -> none; reg k 3 part={2} -> current; rsq k 3 part={2} -> wait/tree; reg k 3 part={1} -> current; rsq k 3 part={1} -> pass; rsq k 3 part={2} -> pass; keys -> k default: 3/3 0 idle'),
    ('R40: a part is unregistered, the others go', '<three>; unreg k 3 part={2} -> unregistered; unreg k 3 part={2} -> unregistered=; rsq k 3 part={2} -> duplicate/unregistered=; rsq k 3 part={3} -> wait/<waits>; rsq k 3 part={1} -> pass; rsq k 3 part={3} -> pass; live -> none; stat -> registered 4, applied 3, unregistered 1'),
    ('R40: all are unregistered', '<two>; reg k 2 -> superseded/superseded; rsq k 2 -> park/superseded; unreg k 3 part={1} -> unregistered; unreg k 3 part={2} -> unregistered; live -> k 2 parked; stat -> registered 4, parked 1, unregistered 3, live 1; promoted -> k 2; rsq k 2 -> pass'),
    ('R41: a newer number supersedes an incomplete tree', '<1 and 3 of three>; reg k 4 -> current; reg k 3 part={2} -> superseded/superseded; rsq k 3 part={2} -> wait/order; rsq k 3 part={1} -> park/superseded; rsq k 4 -> pass; rsq k 3 part={1} -> suppress/stale; rsq k 3 part={2} -> suppress/stale; rsq k 3 part={3} -> suppress/stale;
      reg k 3 part={1} -> stale/stale; live -> none; stat -> registered 5, applied 1, suppressed 4'),
    ('R41: one that has to wait', '<1 and 3 of three>; reg k 4 -> current; rsq k 4 -> pass; live -> none; rsq k 3 part={2} -> suppress/stale; reg k 3 part={2} -> stale/stale; stat -> registered 4, applied 1, suppressed 3'),
    ('R41: if the newer one fails, the tree goes', '<two>; reg k 4 -> current; rsq k 3 part={1} -> <parks>; rsq k 3 part={2} -> wait/order; rsq k 3 part={1} -> park/superseded<again>; promoted -> none; fail k 4 -> dead/failed; promoted -> k 3; rsq k 3 part={1} -> pass; promoted -> k 3; rsq k 3 part={2} -> pass; promoted -> none; stat -> registered 4, applied 3, dead 1'),
    ('I9: a newer number waits until a tree that has begun is through', '<three>; rsq k 3 part={2} -> wait/<waits>; rsq k 3 part={3} -> wait/<waits>; rsq k 3 part={1} -> pass; reg k 4 -> current; rsq k 4 -> wait/busy; rsq k 4 -> wait/busy=; keys -> k default: -/4 4 passed; promoted -> k 3; rsq k 3 part={3} -> wait/order=; rsq k 3 part={2} -> pass; rsq k 4 -> wait/busy=;
      rsq k 3 part={3} -> pass; promoted -> k 4; rsq k 4 -> pass; live -> none; keys -> k default: 4/4 0 idle; stat -> registered 5, applied 5'),
    ('I9: as does a newer tree', '<two>; rsq k 3 part={2} -> wait/<waits>; rsq k 3 part={1} -> pass; reg k 6 parts=1 -> current; reg k 6 part={1} -> current; rsq k 6 part={1} -> wait/busy; rsq k 3 part={2} -> pass; promoted -> k 6; rsq k 6 part={1} -> pass; live -> none'),
    ('I9: and an older one is stale after it', '<two>; reg k 2 -> superseded/superseded; rsq k 3 part={2} -> wait/<waits>; rsq k 3 part={1} -> pass; rsq k 2 -> wait/busy; rsq k 3 part={2} -> pass; rsq k 2 -> suppress/stale; stat -> registered 4, applied 3, suppressed 1'),
    ('after it was applied, a part is a duplicate', '<two>; rsq k 3 part={2} -> wait/<waits>; rsq k 3 part={1} -> pass; rsq k 3 part={1} -> duplicate/applied=; rsq k 3 part={2} -> pass; rsq k 3 part={2} -> duplicate/applied=; rsq k 3 -> duplicate/applied=; rsq k 3 part={1} -> duplicate/applied=; reg k 3 part={1} -> stale/applied=; app k 3 part={1} -> applied=; unreg k 3 part={1} -> applied='),
    ('R62: a reset ends a tree that has begun', '<two>; rsq k 3 part={2} -> wait/<waits>; rsq k 3 part={1} -> pass; reset k -> reset; live -> none; stat -> registered 3, applied 1, suppressed 2; reg k 1 -> current; rsq k 1 -> pass'),
    ('the valve opens for a tree as a whole', '<to the fourth>; alter max_suppressed=2 -> done; <two>; rsq k 3 part={2} -> wait/<waits>; reg k 4 -> current; reg k 5 -> current; rsq k 4 -> park/superseded; rsq k 3 part={1} -> pass/valve; rsq k 4 -> wait/busy; rsq k 3 part={2} -> pass; rsq k 5 -> pass; stat -> registered 6, applied 5, suppressed 1, forced 1')
) v(description, script), (VALUES ('all_or_nothing', 'tree', 'wait/tree', ''), ('in_sequence', 'order', 'park/superseded', '=')) m(mode, waits, parks, again);

-- Only as a whole.
SELECT pg_temp.trees(description, script, concat_ws(' ', 'on_incomplete=all_or_nothing', options)) FROM (VALUES
    ('R36: all parts must have come before the first passes', '', '<three>; rsq k 3 part={2} -> wait/tree; rsq k 3 part={1} -> wait/tree; promoted -> none; rsq k 3 part={3} -> wait/order; promoted -> k 3; rsq k 3 part={1} -> pass; rsq k 3 part={3} -> wait/order=; rsq k 3 part={2} -> pass; rsq k 3 part={3} -> pass;
      live -> none; stat -> registered 4, applied 4'),
    ('R38: one part is missing when the time is over: none is applied', 'tree_timeout=10min', '<1 and 3 of three>; age 9min -> done; expire -> 0; age 2min -> done; expire -> 3; live -> none; dead -> k 3 tree_incomplete, k 3{1} tree_incomplete, k 3{3} tree_incomplete;
      ended -> k 3 dead tree_incomplete, k 3{1} dead tree_incomplete, k 3{3} dead tree_incomplete; stat -> registered 3, dead 3, lost 1; rsq k 3 part={1} -> duplicate/dead=; reg k 3 part={2} -> stale/tree_incomplete; rsq k 3 part={2} -> P0002; live -> none'),
    ('R38: told by the next call on the key', 'tree_timeout=10min', '<1 and 3 of three>; age 11min -> done; reg k 3 part={2} -> stale/tree_incomplete; live -> none; stat -> registered 3, dead 3, lost 1'),
    ('R38: without a timeout of its own, the deadline', 'deadline=10min', '<1 and 3 of three>; age 11min -> done; expire -> 3; dead -> k 3 tree_incomplete, k 3{1} tree_incomplete, k 3{3} tree_incomplete'),
    ('R38: a longer one than the deadline of parts', 'deadline=10min tree_timeout=1h', '<1 and 3 of three>; age 11min -> done; expire -> 3; dead -> k 3 tree_incomplete, k 3{1} deadline, k 3{3} tree_incomplete; stat -> registered 3, dead 2, expired 1, lost 1'),
    ('R38: no part was registered', 'tree_timeout=10min', 'reg k 3 parts=2 -> current; age 11min -> done; expire -> 1; dead -> k 3 tree_incomplete; stat -> registered 1, dead 1, lost 1'),
    ('R38: not while the key is suspended', 'tree_timeout=10min', '<1 and 3 of three>; suspend k -> suspended/suspended; age 1h -> done; expire -> 0; resume k -> resumed/suspended; expire -> 0; age 11min -> done; expire -> 3; dead -> k 3 tree_incomplete, k 3{1} tree_incomplete, k 3{3} tree_incomplete'),
    ('R38: a timeout that is made shorter', '', '<1 and 3 of three>; age 10min -> done; expire -> 0; alter tree_timeout=5min -> done; expire -> 3; live -> none'),
    ('R38: the next lower number goes then', 'tree_timeout=10min', 'reg k 2 -> current; <1 and 3 of three>; rsq k 2 -> park/superseded; age 11min -> done; promoted -> none; expire -> 3; promoted -> k 2; rsq k 2 -> pass; stat -> registered 4, applied 1, dead 3'),
    ('R38: or a newer one', 'tree_timeout=10min', '<1 and 3 of three>; reg k 4 -> current; age 11min -> done; expire -> 3; live -> k 4 registered; rsq k 4 -> pass; stat -> registered 4, applied 1, dead 3'),
    ('R38: a tree that is complete has no timeout', 'tree_timeout=10min', '<two>; rsq k 3 part={1} -> wait/tree; age 11min -> done; expire -> 0; rsq k 3 part={2} -> wait/order; rsq k 3 part={1} -> pass; rsq k 3 part={2} -> pass; dead -> none; stat -> registered 3, applied 3'),
    ('R38: an incomplete node below', 'tree_timeout=10min', 'reg k 3 parts=2 -> current; reg k 3 part={1} -> current; reg k 3 part={2} parts=2 -> current; reg k 3 part={2,1} -> current; age 11min -> done; expire -> 4; live -> none; dead -> k 3 tree_incomplete, k 3{1} tree_incomplete, k 3{2} tree_incomplete, k 3{2,1} tree_incomplete'),
    ('R38 R40: the whole was unregistered', 'tree_timeout=10min', '<1 and 3 of three>; unreg k 3 -> unregistered; age 9min -> done; expire -> 0; age 2min -> done; expire -> 2; live -> none; dead -> k 3{1} tree_incomplete, k 3{3} tree_incomplete; reg k 3 part={2} -> stale/tree_incomplete; stat -> registered 3, dead 2, unregistered 1, lost 1'),
    ('a part fails before any passed: none is applied', '', '<three>; rsq k 3 part={1} -> wait/tree; fail k 3 part={2} error=no -> dead/failed; live -> none; dead -> k 3 tree_incomplete, k 3{1} tree_incomplete, k 3{2} failed "no", k 3{3} tree_incomplete; rsq k 3 part={1} -> duplicate/dead=; rsq k 3 part={3} -> duplicate/dead=;
      fail k 3 part={2} -> dead=; keys -> k default: -/3 0 idle; stat -> registered 4, dead 4, lost 1'),
    ('a part fails before all are registered: no other is accepted', '', 'reg k 3 parts=2 -> current; reg k 3 part={1} -> current; fail k 3 part={1} -> dead/failed; reg k 3 part={2} -> stale/tree_incomplete; live -> none; stat -> registered 2, dead 2, lost 1'),
    ('nor if the whole was unregistered', '', 'reg k 3 parts=2 -> current; unreg k 3 -> unregistered; reg k 3 part={1} -> current; fail k 3 part={1} -> dead/failed; reg k 3 part={2} -> stale/tree_incomplete; live -> none; stat -> registered 2, dead 1, unregistered 1, lost 1'),
    ('a part fails after some passed: the others die', '', '<three>; rsq k 3 part={3} -> wait/tree; rsq k 3 part={2} -> wait/tree; rsq k 3 part={1} -> pass; fail k 3 part={2} -> dead/failed; live -> none; rsq k 3 part={3} -> duplicate/dead=; rsq k 3 part={1} -> duplicate/applied=; dead -> k 3 tree_incomplete, k 3{2} failed, k 3{3} tree_incomplete;
      keys -> k default: 3/3 0 idle; stat -> registered 4, applied 1, dead 3; reg k 4 -> current; rsq k 4 -> pass'),
    ('the whole fails', '', '<two>; fail k 3 -> dead/failed; live -> none; rsq k 3 part={1} -> duplicate/dead=; dead -> k 3 failed, k 3{1} tree_incomplete, k 3{2} tree_incomplete'),
    ('a part is skipped', '', '<two>; skip k 3 part={2} reason=bad -> dead/skipped; live -> none; dead -> k 3 tree_incomplete, k 3{1} tree_incomplete, k 3{2} skipped "bad"'),
    ('a part expires: none is applied', 'deadline=1h tree_timeout=3h', 'reg k 2 -> current; rsq k 2 -> pass; reg k 3 parts=2 -> current; reg k 3 part={1} -> current; age 30min -> done; reg k 3 part={2} -> current; rsq k 3 part={2} -> wait/tree; age 31min -> done; rsq k 3 part={2} -> duplicate/dead=; dead -> k 3 tree_incomplete, k 3{1} deadline, k 3{2} tree_incomplete;
      live -> none; stat -> registered 4, applied 1, dead 2, expired 1, lost 1'),
    ('a part of one that has begun expires: the others die', 'deadline=1h', '<two>; rsq k 3 part={2} -> wait/tree; rsq k 3 part={1} -> pass; age 61min -> done; expire -> 2; keys -> k default: 3/3 0 idle; dead -> k 3 tree_incomplete, k 3{2} deadline; rsq k 3 part={2} -> duplicate/expired=; reg k 4 -> current; rsq k 4 -> pass'),
    ('R41: it is suppressed as a whole', 'supersede=suppress', '<two>; rsq k 3 part={2} -> wait/tree; reg k 4 -> current; rsq k 3 part={1} -> suppress/superseded; live -> k 4 registered; fail k 4 -> dead/failed; rsq k 3 part={2} -> duplicate/suppressed=; rsq k 3 part={1} -> duplicate/suppressed=; promoted -> none; stat -> registered 4, suppressed 3, dead 1, lost 1'),
    ('R41: no other part is accepted then', 'supersede=suppress', 'reg k 3 parts=1 -> current; reg k 3 part={1} parts=2 -> current; reg k 3 part={1,1} -> current; reg k 4 -> current; rsq k 3 part={1,1} -> wait/tree; reg k 3 part={1,2} -> superseded/superseded; rsq k 3 part={1,2} -> wait/order; rsq k 3 part={1,1} -> suppress/superseded; live -> k 4 registered;
      stat -> registered 5, suppressed 4, live 1')
) v(description, options, script);

SELECT pg_temp.plays('R38: the shortest timeout', 'reg k 3 parts=1 -> current; age 1s -> done; reg k 3 part={1} -> stale/tree_incomplete; dead -> k 3 tree_incomplete', 'tree_timeout=1us', false);

-- In sequence, without those that are missing.
SELECT pg_temp.trees(description, script, concat_ws(' ', 'on_incomplete=in_sequence', options)) FROM (VALUES
    ('R36: as soon as all are registered, in order', '', '<three>; rsq k 3 part={2} -> wait/order; rsq k 3 part={1} -> pass; promoted -> k 3; rsq k 3 part={3} -> wait/order; rsq k 3 part={2} -> pass; rsq k 3 part={3} -> pass; live -> none; stat -> registered 4, applied 4'),
    ('R39: one part is missing when the time is over: the others go in order', 'tree_timeout=10min', '<1 and 3 of three>; age 9min -> done; expire -> 0; promoted -> none; age 2min -> done; expire -> 0; promoted -> k 3; live -> k 3 split, k 3{1} waiting, k 3{3} waiting; rsq k 3 part={3} -> wait/order=; rsq k 3 part={1} -> pass; rsq k 3 part={3} -> pass;
      live -> none; dead -> none; stat -> registered 3, applied 3; keys -> k default: 3/3 0 idle'),
    ('R39: it comes before the others went', 'tree_timeout=10min', '<1 and 3 of three>; age 11min -> done; rsq k 3 part={2} -> dead/late; reg k 3 part={2} -> stale/late; dead -> k 3{2} late; rsq k 3 part={1} -> pass; rsq k 3 part={2} -> dead/late=; rsq k 3 part={3} -> pass; dead -> k 3{2} late; stat -> registered 4, applied 3, dead 1'),
    ('R39: it comes between', 'tree_timeout=10min', '<1 and 3 of three>; age 11min -> done; rsq k 3 part={1} -> pass; reg k 3 part={2} -> stale/late; rsq k 3 part={2} -> dead/late; rsq k 3 part={3} -> pass; dead -> k 3{2} late; stat -> registered 4, applied 3, dead 1'),
    ('R39: it comes after the others went', 'tree_timeout=10min', '<1 and 3 of three>; age 11min -> done; rsq k 3 part={1} -> pass; rsq k 3 part={3} -> pass; rsq k 3 part={2} -> dead/late; dead -> k 3{2} late; rsq k 3 part={2} -> dead/late=; dead -> k 3{2} late; rsq k 3 part={1} -> duplicate/applied=; rsq k 3 -> duplicate/applied=; reg k 3 part={2} -> stale/applied=;
      keys -> k default: 3/3 0 idle; stat -> registered 4, applied 3, dead 1; reg k 4 -> current; rsq k 4 -> pass; rsq k 3 part={2} -> suppress/stale'),
    ('R39: it is registered: a tree that is complete has no timeout', 'tree_timeout=10min', '<1 and 3 of three>; reg k 3 part={2} -> current; rsq k 3 part={3} -> wait/order=; age 11min -> done; expire -> 0; rsq k 3 part={1} -> pass; rsq k 3 part={2} -> pass; rsq k 3 part={3} -> pass; dead -> none'),
    ('R39: one is registered and does not come, one is missing', 'tree_timeout=10min', 'reg k 3 parts=3 -> current; reg k 3 part={1} -> current; reg k 3 part={2} -> current; rsq k 3 part={2} -> wait/tree; age 11min -> done; expire -> 1; dead -> k 3{1} late; ended -> k 3{1} expired late; rsq k 3 part={2} -> pass; rsq k 3 part={1} -> dead/late=; rsq k 3 part={3} -> dead/late;
      dead -> k 3{1} late, k 3{3} late; stat -> registered 4, applied 2, dead 1, expired 1'),
    ('R39: none came', 'tree_timeout=10min', 'reg k 2 -> current; reg k 3 parts=2 -> current; reg k 3 part={1} -> current; rsq k 2 -> park/superseded; age 11min -> done; expire -> 2; dead -> k 3 tree_incomplete, k 3{1} late; promoted -> k 2; rsq k 2 -> pass; reg k 3 part={1} -> stale/late; stat -> registered 3, applied 1, expired 2'),
    ('R39: none came, and none is left', 'tree_timeout=10min', 'reg k 3 parts=2 -> current; reg k 3 part={1} -> current; age 11min -> done; expire -> 2; ended -> k 3 expired tree_incomplete, k 3{1} expired late; stat -> registered 2, expired 2, lost 1; rsq k 3 part={2} -> dead/late; rsq k 3 -> duplicate/expired=; keys -> k default: -/3 0 idle'),
    ('R39: none was registered', 'tree_timeout=10min', 'reg k 3 parts=2 -> current; age 11min -> done; expire -> 1; dead -> k 3 tree_incomplete; stat -> registered 1, expired 1, lost 1; reg k 3 part={1} -> stale/late'),
    ('R39: those that wait have a deadline as others', 'tree_timeout=10min deadline=1h', '<1 and 3 of three>; age 11min -> done; expire -> 0; age 50min -> done; expire -> 3; dead -> k 3{1} deadline, k 3{3} deadline; live -> none; stat -> registered 3, expired 3, lost 1'),
    ('R39 R44: an incomplete node below', 'tree_timeout=10min', 'reg k 3 parts=2 -> current; reg k 3 part={1} -> current; reg k 3 part={2} parts=2 -> current; reg k 3 part={2,2} -> current; rsq k 3 part={1} -> wait/tree; rsq k 3 part={2,2} -> wait/tree; age 11min -> done; rsq k 3 part={1} -> pass; rsq k 3 part={2,1} -> dead/late; rsq k 3 part={2,2} -> pass;
      live -> none; stat -> registered 5, applied 4, dead 1'),
    ('R39 R40: the whole was unregistered', 'tree_timeout=10min', '<1 and 3 of three>; unreg k 3 -> unregistered; age 9min -> done; expire -> 0; rsq k 3 part={1} -> wait/tree=; age 2min -> done; expire -> 0; promoted -> k 3; rsq k 3 part={1} -> pass; rsq k 3 part={2} -> dead/late; rsq k 3 part={3} -> pass; live -> none; stat -> registered 4, applied 2, dead 1, unregistered 1'),
    ('R39 R40: or failed', 'tree_timeout=10min', '<1 and 3 of three>; fail k 3 -> dead/failed; age 11min -> done; rsq k 3 part={1} -> pass; rsq k 3 part={3} -> pass; live -> none; stat -> registered 3, applied 2, dead 1'),
    ('R39: a newer one comes after the time is over', 'tree_timeout=10min', '<1 and 3 of three>; age 11min -> done; expire -> 0; reg k 4 -> current; rsq k 3 part={1} -> park/superseded; rsq k 4 -> pass; live -> none; stat -> registered 4, applied 1, suppressed 3'),
    ('I9: a newer one waits for what is left of it', 'tree_timeout=10min', '<1 and 3 of three>; age 11min -> done; rsq k 3 part={1} -> pass; reg k 4 -> current; rsq k 4 -> wait/busy; rsq k 3 part={3} -> pass; rsq k 4 -> pass'),
    ('a part fails before any passed: the others go', '', '<three>; fail k 3 part={1} -> dead/failed; rsq k 3 part={2} -> pass; rsq k 3 part={3} -> pass; live -> none; dead -> k 3{1} failed; stat -> registered 4, applied 3, dead 1'),
    ('a part fails after some passed: the others go', '', '<three>; rsq k 3 part={1} -> pass; rsq k 3 part={3} -> wait/order; fail k 3 part={2} -> dead/failed; promoted -> k 3; rsq k 3 part={3} -> pass; live -> none; keys -> k default: 3/3 0 idle; stat -> registered 4, applied 3, dead 1'),
    ('the last part fails: it is through', '', '<two>; rsq k 3 part={1} -> pass; reg k 4 -> current; rsq k 4 -> wait/busy; fail k 3 part={2} -> dead/failed; promoted -> k 4; rsq k 4 -> pass; keys -> k default: 4/4 0 idle'),
    ('all parts fail', '', 'reg k 2 -> current; rsq k 2 -> pass; <two>; fail k 3 part={1} -> dead/failed; live -> k 3 split, k 3{2} registered; fail k 3 part={2} -> dead/failed; live -> none; keys -> k default: 2/3 0 idle; dead -> k 3{1} failed, k 3{2} failed; stat -> registered 4, applied 1, dead 3, lost 1'),
    ('a part expires: the others go', 'deadline=1h tree_timeout=3h', 'reg k 3 parts=2 -> current; reg k 3 part={1} -> current; age 30min -> done; reg k 3 part={2} -> current; rsq k 3 part={2} -> wait/order; age 31min -> done; rsq k 3 part={2} -> pass; dead -> k 3{1} deadline; live -> none; stat -> registered 3, applied 2, expired 1'),
    ('a part of one that has begun expires: it is through', 'deadline=1h', '<two>; rsq k 3 part={1} -> pass; reg k 2 -> superseded/superseded; age 61min -> done; expire -> 3; keys -> k default: 3/3 0 idle; dead -> k 2 deadline, k 3{2} deadline; stat -> registered 4, applied 2, expired 2'),
    ('R41: it is suppressed as a whole', 'supersede=suppress', '<two>; reg k 4 -> current; rsq k 3 part={1} -> suppress/superseded; live -> k 4 registered; rsq k 3 part={2} -> duplicate/suppressed=; fail k 4 -> dead/failed; rsq k 3 part={2} -> duplicate/suppressed=; stat -> registered 4, suppressed 3, dead 1, lost 1'),
    ('R41: no other part is accepted then', 'supersede=suppress tree_timeout=10min', '<1 and 3 of three>; reg k 4 -> current; reg k 3 part={2} parts=2 -> superseded/superseded; reg k 3 part={2,1} -> superseded/superseded; age 11min -> done; rsq k 3 part={1} -> suppress/superseded; reg k 3 part={2,2} -> stale/late; stat -> registered 6, suppressed 4, expired 1, live 1')
) v(description, options, script);

-- Acknowledged.
SELECT pg_temp.trees(description, script, concat_ws(' ', 'delivery=acked', options)) FROM (VALUES
    ('acked: a part passes when the one before was applied', 'on_incomplete=in_sequence', '<three>; rsq k 3 part={1} -> pass; rsq k 3 part={1} -> pass=; rsq k 3 part={2} -> wait/order; app k 3 part={2} -> 55000; promoted -> none; app k 3 part={1} -> applied; promoted -> k 3; app k 3 part={1} -> applied=; rsq k 3 part={1} -> duplicate/applied=; rsq k 3 part={2} -> pass; app k 3 part={2} -> applied;
      rsq k 3 part={3} -> pass; keys -> k default: -/3 2 passed; app k 3 part={3} -> applied; live -> none; keys -> k default: 3/3 0 idle; stat -> registered 4, applied 4'),
    ('acked: as a whole', '', '<two>; rsq k 3 part={1} -> wait/tree; rsq k 3 part={2} -> wait/order; rsq k 3 part={1} -> pass; rsq k 3 part={2} -> wait/order=; app k 3 part={1} -> applied; rsq k 3 part={2} -> pass; live -> k 3 split, k 3{2} passed; app k 3 part={2} -> applied; live -> none; stat -> registered 3, applied 3; app k 3 part={2} -> applied=; rsq k 3 -> duplicate/applied='),
    ('acked I9: a newer one waits', '', '<two>; rsq k 3 part={2} -> wait/tree; rsq k 3 part={1} -> pass; reg k 4 -> current; rsq k 4 -> wait/busy; app k 3 part={1} -> applied; rsq k 4 -> wait/busy=; rsq k 3 part={2} -> pass; rsq k 4 -> wait/busy=; app k 3 part={2} -> applied; promoted -> k 4; rsq k 4 -> pass; app k 4 -> applied; keys -> k default: 4/4 0 idle'),
    ('acked: the first part fails after it passed, as a whole', '', 'reg k 2 -> current; <two>; rsq k 2 -> park/superseded; rsq k 3 part={2} -> wait/tree; rsq k 3 part={1} -> pass; fail k 3 part={1} -> dead/failed; live -> k 2 parked; promoted -> k 2; rsq k 2 -> pass; app k 2 -> applied; dead -> k 3 tree_incomplete, k 3{1} failed, k 3{2} tree_incomplete'),
    ('acked: the first part fails after it passed, in sequence', 'on_incomplete=in_sequence', '<two>; rsq k 3 part={2} -> wait/order; rsq k 3 part={1} -> pass; fail k 3 part={1} -> dead/failed; promoted -> k 3; rsq k 3 part={2} -> pass; app k 3 part={2} -> applied; live -> none; stat -> registered 3, applied 2, dead 1'),
    ('acked: a newer one may go after all that passed failed, in sequence', 'on_incomplete=in_sequence', '<two>; rsq k 3 part={1} -> pass; reg k 4 -> current; fail k 3 part={1} -> dead/failed; rsq k 4 -> pass; rsq k 3 part={2} -> wait/busy; app k 4 -> applied; rsq k 3 part={2} -> suppress/stale; stat -> registered 4, applied 1, suppressed 2, dead 1'),
    ('acked: the second part fails after the first was applied', '', '<two>; rsq k 3 part={2} -> wait/tree; rsq k 3 part={1} -> pass; app k 3 part={1} -> applied; rsq k 3 part={2} -> pass; fail k 3 part={2} -> dead/failed; live -> none; app k 3 part={2} -> dead=; keys -> k default: 3/3 0 idle; dead -> k 3 tree_incomplete, k 3{2} failed; stat -> registered 3, applied 1, dead 2'),
    ('acked: a part that passed is not acknowledged in time', 'deadline=1h', '<two>; rsq k 3 part={2} -> wait/tree; rsq k 3 part={1} -> pass; age 61min -> done; expire -> 3; dead -> k 3 tree_incomplete, k 3{1} deadline, k 3{2} tree_incomplete; app k 3 part={1} -> expired=; keys -> k default: -/3 0 idle; stat -> registered 3, dead 2, expired 1, lost 1'),
    ('acked R39: the others go without the missing one', 'on_incomplete=in_sequence tree_timeout=10min', '<1 and 3 of three>; age 11min -> done; rsq k 3 part={1} -> pass; rsq k 3 part={2} -> dead/late; app k 3 part={1} -> applied; rsq k 3 part={3} -> pass; app k 3 part={3} -> applied; rsq k 3 part={2} -> dead/late=; stat -> registered 4, applied 3, dead 1'),
    ('acked R40: the whole and the last part are unregistered', '', '<two>; unreg k 3 -> unregistered; rsq k 3 part={2} -> wait/tree; rsq k 3 part={1} -> pass; unreg k 3 part={2} -> unregistered; keys -> k default: -/3 1 passed; app k 3 part={1} -> applied; keys -> k default: 3/3 0 idle; stat -> registered 3, applied 1, unregistered 2'),
    ('acked: a part that passed is unregistered', '', '<two>; rsq k 3 part={2} -> wait/tree; rsq k 3 part={1} -> pass; unreg k 3 part={1} -> unregistered; app k 3 part={1} -> unregistered=; rsq k 3 part={2} -> pass; app k 3 part={2} -> applied; stat -> registered 3, applied 2, unregistered 1'),
    ('acked R69: a part fails, the key is suspended, and it is tried again', 'on_failure=suspend', '<two>; rsq k 3 part={2} -> wait/tree; rsq k 3 part={1} -> pass; app k 3 part={1} -> applied; rsq k 3 part={2} -> pass; fail k 3 part={2} error=no -> suspended/no; rsq k 3 part={2} -> wait/suspended; keys -> k default: -/3 2 suspended no 3; resume k -> resumed/no; rsq k 3 part={2} -> pass; app k 3 part={2} -> applied;
      keys -> k default: 3/3 0 idle; stat -> registered 3, applied 3'),
    ('acked R69: or skipped: the rest dies with it', 'on_failure=suspend', '<two>; rsq k 3 part={2} -> wait/tree; rsq k 3 part={1} -> pass; fail k 3 part={1} error=no -> suspended/no; reg k 4 -> current; skip k 3 part={1} -> dead/skipped; live -> k 4 registered; rsq k 4 -> pass; app k 4 -> applied; stat -> registered 4, applied 1, dead 3')
) v(description, options, script);

-- Two targets: each has its own tree.
SELECT pg_temp.trees(description, script, concat_ws(' ', 'targets={A,B}', options)) FROM (VALUES
    ('two targets: parts have the targets of their whole', '', 'reg k 3 parts=1 targets={B} -> current; reg k 3 part={1} targets={A} -> 22023; reg k 3 part={1} -> current; live -> k 3B split, k 3{1}B registered; rsq k 3 part={1} target=A -> P0002; rsq k 3 part={1} target=B -> pass'),
    ('two targets: each in its order', '', '<two>; stat -> registered 6, live 6; rsq k 3 part={2} target=A -> wait/tree; rsq k 3 part={1} target=B -> wait/tree; rsq k 3 part={1} target=A -> pass; rsq k 3 part={2} target=B -> wait/order; promoted -> k 3A, k 3B; rsq k 3 part={2} target=A -> pass; live -> k 3B split, k 3{1}B waiting, k 3{2}B waiting; rsq k 3 part={1} target=B -> pass; rsq k 3 part={2} target=B -> pass;
      live -> none; stat -> registered 6, applied 6'),
    ('two targets: a part fails for one', '', '<two>; fail k 3 part={1} target=A -> dead/failed; live -> k 3B split, k 3{1}B registered, k 3{2}B registered; dead -> k 3A tree_incomplete, k 3{1}A failed, k 3{2}A tree_incomplete; rsq k 3 part={2} target=B -> wait/tree; rsq k 3 part={1} target=B -> pass; rsq k 3 part={2} target=B -> pass; live -> none; stat -> registered 6, applied 3, dead 3, lost 1'),
    ('two targets R39: late for one', 'on_incomplete=in_sequence tree_timeout=10min', 'reg k 3 parts=2 -> current; reg k 3 part={1} -> current; rsq k 3 part={1} target=A -> wait/tree; age 11min -> done; expire -> 2; rsq k 3 part={1} target=A -> pass; rsq k 3 part={1} target=B -> dead/late=; rsq k 3 part={2} target=A -> dead/late; rsq k 3 part={2} target=B -> dead/late; dead -> k 3{2}A late, k 3B tree_incomplete, k 3{1}B late, k 3{2}B late; stat -> registered 6, applied 2, dead 2, expired 2, lost 1'),
    ('two targets R29 R39: one is added after the tree was cut', 'on_incomplete=in_sequence tree_timeout=10min', 'reg k 3 parts=2 targets={A} -> current; reg k 3 part={1} -> current; rsq k 3 part={1} target=A -> wait/tree; age 11min -> done; rsq k 3 part={1} target=A -> pass; add k 3 target=B -> current; live -> k 3B split, k 3{1}B registered; rsq k 3 part={1} target=B -> wait/tree;
      rsq k 3 part={2} target=A -> dead/late; rsq k 3 part={2} target=B -> P0002; reg k 3 part={2} -> current; rsq k 3 part={1} target=B -> pass; rsq k 3 part={2} target=B -> pass; live -> none; stat -> registered 6, applied 5, dead 1'),
    ('two targets R40: the whole is unregistered for one', '', '<two>; unreg k 3 target=A -> unregistered; rsq k 3 target=B -> wait/split=; unreg k 3 part={2} target=A -> unregistered; rsq k 3 part={1} target=A -> pass; rsq k 3 part={2} target=B -> wait/tree; rsq k 3 part={1} target=B -> pass; rsq k 3 part={2} target=B -> pass; live -> none; stat -> registered 6, applied 4, unregistered 2')
) v(description, options, script);

-- Disabled, trees pass as they come, and do not block what follows.
SELECT pg_temp.trees(description, script, options) FROM (VALUES
    ('R13: parts pass as they come', 'enabled=false', '<three>; rsq k 3 part={3} -> pass/disabled; rsq k 3 part={1} -> pass/disabled; rsq k 3 part={1} -> pass/disabled; rsq k 3 part={2} -> pass/disabled; live -> none; stat -> registered 5, applied 5, forced 4; rsq k 3 part={2} -> pass/disabled; rsq k 2 part={7} -> pass/disabled'),
    ('R13: the whole does', '', '<two>; alter enabled=false -> done; rsq k 3 -> pass/disabled; live -> none; alter enabled=true -> done; reg k 4 -> current; rsq k 4 -> pass; keys -> k default: 4/4 0 idle'),
    ('R13: enabled again, what is left of a tree goes in order', '', '<two>; alter enabled=false -> done; rsq k 3 part={2} -> pass/disabled; alter enabled=true -> done; reg k 4 -> current; rsq k 4 -> wait/busy; rsq k 3 part={1} -> pass; rsq k 4 -> pass; live -> none'),
    ('R13: one that is not complete does not block for ever', 'tree_timeout=10min', '<1 and 3 of three>; alter enabled=false -> done; rsq k 3 part={1} -> pass/disabled; alter enabled=true -> done; reg k 4 -> current; rsq k 4 -> wait/busy; age 11min -> done; rsq k 4 -> pass; dead -> k 3 tree_incomplete, k 3{3} tree_incomplete; keys -> k default: 4/4 0 idle'),
    ('R13: in sequence', 'tree_timeout=10min on_incomplete=in_sequence', '<1 and 3 of three>; alter enabled=false -> done; rsq k 3 part={1} -> pass/disabled; alter enabled=true -> done; reg k 4 -> current; age 11min -> done; rsq k 4 -> wait/busy; rsq k 3 part={3} -> pass; rsq k 4 -> pass; live -> none'),
    ('R13: a part that is not registered', '', 'reg k 3 parts=2 -> current; reg k 3 part={1} -> current; alter enabled=false -> done; rsq k 3 part={2} -> pass/disabled; live -> k 3 split, k 3{1} registered; rsq k 3 part={1} -> pass/disabled; live -> none; stat -> registered 3, applied 3, forced 2; keys -> k default: 3/3 0 idle'),
    ('R13: a part that had ended', '', '<two>; unreg k 3 part={2} -> unregistered; alter enabled=false -> done; rsq k 3 part={2} -> pass/disabled; rsq k 3 part={1} -> pass/disabled; live -> none; stat -> registered 4, applied 3, unregistered 1, forced 2')
) v(description, options, script);

-- An array that has held a null keeps its bitmap: the path is what it holds now.
SELECT spool.create_resequencer('bitmap') \g /dev/null
SELECT spool.register('bitmap', 'k', 1, parts => 3) \g /dev/null
CREATE TEMP TABLE path AS SELECT '{NULL}'::int[] AS part;
UPDATE path SET part[1] = 3;
SELECT is((SELECT verdict FROM path, spool.register('bitmap', 'k', 1, part => part)), 'current', 'a path that held a null');
SELECT results_eq($$SELECT part FROM spool.registrations WHERE resequencer = 'bitmap' AND part IS NOT NULL$$, 'SELECT part FROM path', 'is registered as it is');

SELECT * FROM finish();
ROLLBACK;
