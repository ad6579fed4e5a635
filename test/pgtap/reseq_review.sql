-- The resequencer: rare orders of calls, after which nothing stays live and every lane goes on.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(20);

\ir include/reseq.sql

SELECT pg_temp.plays(description, script, options, doubled) FROM (VALUES
    ('I3: a split part that is registered after its whole was taken back ends with the tree', 'tree_timeout=30min',
     'reg k 1 parts=2 -> current; unreg k 1 -> unregistered; reg k 1 part={2} parts=2 -> current; live -> k 1{2} split; age 40min -> done; expire -> 1; live -> none', NULL),
    ('I3: a tree that gets a part after its time ends with the next call', 'tree_timeout=30min',
     'reg k 1 parts=2 -> current; unreg k 1 -> unregistered; age 40min -> done; reg k 1 part={2} -> current; reg k 2 -> current; live -> k 2 registered', false),
    ('I3: a tree that is split again after its time ends with the next call', 'tree_timeout=30min',
     'reg k 1 parts=2 -> current; reg k 1 part={1} -> current; reg k 1 part={2} -> current; age 40min -> done; expire -> 0; reg k 1 part={2} parts=2 -> current; reg k 2 -> current; live -> k 2 registered', false),
    ('I3: a part is not split after its tree was cut, and ends by its deadline', 'tree_timeout=30min on_incomplete=in_sequence',
     'reg k 3 parts=2 -> current; reg k 3 part={1} -> current; rsq k 3 part={1} -> wait/tree; age 40min -> done; reg k 3 part={1} parts=1 -> stale/late; live -> k 3 split, k 3{1} waiting; age 30min -> done; expire -> 2; live -> none', NULL),
    ('I3: a part is not split after its tree was cut, and may pass', 'tree_timeout=30min on_incomplete=in_sequence',
     'reg k 3 parts=2 -> current; reg k 3 part={1} -> current; rsq k 3 part={1} -> wait/tree; age 40min -> done; reg k 3 part={1} parts=1 -> stale/late; rsq k 3 part={1} -> pass; live -> none; keys -> k default: 3/3 0 idle', NULL),
    ('I3: a tree of which a part went, and the rest was split and taken back, is over', 'on_incomplete=in_sequence',
     'reg k 1 parts=2 -> current; reg k 1 part={1} -> current; reg k 1 part={2} -> current; rsq k 1 part={1} -> pass; reg k 1 part={2} parts=3 -> current; unreg k 1 part={2} -> unregistered; unreg k 1 -> unregistered; keys -> k default: 1/1 0 idle; reg k 2 -> current; rsq k 2 -> pass', false),
    ('R41: the last part that a tree waited for lets one that came be promoted', 'on_incomplete=in_sequence',
     'reg k 1 parts=2 -> current; reg k 1 part={1} -> current; rsq k 1 part={1} -> wait/tree; promoted -> none; reg k 1 part={2} -> current; promoted -> k 1; rsq k 1 part={1} -> pass; promoted -> none; rsq k 1 part={2} -> pass', NULL),
    ('R13: a part of a tree that died passes while disabled, and the next number later', '',
     'reg k 3 parts=2 -> current; fail k 3 -> dead/failed; alter enabled=false -> done; rsq k 3 part={1} -> pass/disabled; alter enabled=true -> done; reg k 4 -> current; rsq k 4 -> pass', NULL),
    ('R13: what passed before is waited for when a lower one went while disabled', 'delivery=acked',
     'reg k 3 -> current; reg k 5 -> current; rsq k 5 -> pass; alter enabled=false -> done; rsq k 3 -> pass/disabled; alter enabled=true -> done; reg k 7 -> current; rsq k 7 -> wait/busy; app k 5 -> applied; rsq k 7 -> pass', NULL)
) v(description, options, script, doubled);

-- Keys that are suspended hide none behind them.
SELECT spool.create_resequencer('behind', '{a,b}', delivery => 'acked', on_failure => 'suspend');
DO $$
DECLARE
    key text;
BEGIN
    FOREACH key IN ARRAY '{k,l}'::text[] LOOP
        PERFORM spool.register('behind', key, 1, '{b}');
        PERFORM spool.register('behind', key, 2);
        PERFORM spool.resequence('behind', key, 1, 'b');
        PERFORM spool.unregister('behind', key, 2, 'b');
    END LOOP;
END $$;
SELECT is((spool.failed('behind', 'k', 2, 'a')).verdict, 'suspended', 'a failure for one target suspends the key');
SELECT results_eq($$ SELECT key, sn, target FROM spool.promoted('behind', 1) $$, $$ VALUES ('l', 1::bigint, 'b') $$, 'promoted() does not count what may pass for another target');

-- targets_by does not write: the verb that evaluates it would not notice.
CREATE FUNCTION pg_temp.meddle(statement text) RETURNS text[]
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN '{default}';
END $$;
SELECT spool.create_resequencer('meddled', targets_by => 'pg_temp.meddle(key)');
SELECT throws_ok(format($$ SELECT spool.register('meddled', %L, 1) $$, statement), '25006', NULL, description)
  FROM (VALUES ('targets_by does not register', $$SELECT spool.register('meddled', 'other', 1, '{default}')$$),
               ('targets_by does not drop its resequencer', $$SELECT spool.drop_resequencer('meddled')$$),
               ('targets_by does not write tables', $$INSERT INTO spool.reseq_dead (resequencer) VALUES (0)$$)) v(description, statement);
SELECT is((spool.register('meddled', 'SELECT 1', 1)).verdict, 'current', 'targets_by may read');
SELECT lives_ok($$ CREATE TABLE pg_temp.written AS SELECT 1 $$, 'and later statements write');

SELECT * FROM finish();
ROLLBACK;
