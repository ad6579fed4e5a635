-- Upkeep of what the resequencer knows: what is moved, removed, forgotten, and
-- what is not.  Each statement is a transaction of its own.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
SET client_min_messages = warning;
SET search_path = pg_catalog, public;

SELECT plan(52);

\ir include/upkeep.sql
CREATE FUNCTION pg_temp.current() RETURNS int2 LANGUAGE sql AS $$
SELECT no FROM spool.segment WHERE opened_at IS NOT NULL AND closed_at IS NULL
$$;
CREATE FUNCTION pg_temp.key(resequencer text, name text) RETURNS bigint LANGUAGE sql AS $$
SELECT k.id FROM spool.reseq_key k JOIN spool.resequencer r ON r.id = k.resequencer WHERE r.name = $1 AND k.key = $2
$$;
-- Rows, with a name for a key; those of a key that is made unless it is there
CREATE FUNCTION pg_temp.make(resequencer text, name text) RETURNS bigint LANGUAGE sql AS $$
INSERT INTO spool.reseq_key (id, resequencer, key, epoch)
SELECT nextval('spool.reseq_key_id_seq'), r.id, $2, 0 FROM spool.resequencer r WHERE r.name = $1
    ON CONFLICT DO NOTHING;
SELECT pg_temp.key($1, $2)
$$;
CREATE PROCEDURE pg_temp.lane(resequencer text, name text, target int, version bigint, applied bigint, live bigint DEFAULT 0, age interval DEFAULT '0', segment int DEFAULT NULL) LANGUAGE sql AS $$
INSERT INTO spool.reseq_lane (key, target, version, high, newest, applied, busy, trees, promotable, segment, run, live, parked, registered, delivered,
        suppressed, dead, expired, unregistered, duplicates, forced, lost, due, since)
SELECT pg_temp.make($1, $2), $3, $4, 9, -1, $5, -1, false, false, coalesce($8::int2, pg_temp.current()), 0, $6, 0, 10 + $6, 1, 2, 3, 4, 5, 6, 7, 8, 'infinity', now() - $7
$$;
CREATE PROCEDURE pg_temp.delivery(resequencer text, name text, target int, sn bigint, version bigint, state "char", part int[] DEFAULT NULL) LANGUAGE sql AS $$
INSERT INTO spool.reseq_delivery (key, target, resequencer, sn, version, segment, state, parts, registered_at, since, part, digest, reason)
SELECT pg_temp.make($1, $2), $3, (SELECT id FROM spool.resequencer WHERE name = $1), $4, $5, pg_temp.current(), $6, 0, now() - interval '1 hour', now(), $7, '\x01', 'a reason'
$$;
-- What the old segment has, and what the others have that is needed
CREATE FUNCTION pg_temp.lanes(resequencer text, old bool DEFAULT true) RETURNS text LANGUAGE sql AS $$
SELECT coalesce(string_agg(format('%s/%s v%s', k.key, l.target, l.version), ', ' ORDER BY k.key, l.target, l.version), '')
  FROM spool.reseq_lane l JOIN spool.reseq_key k ON k.id = l.key JOIN spool.resequencer r ON r.id = k.resequencer
 WHERE r.name = $1 AND (l.segment = 0) = $2
$$;
CREATE FUNCTION pg_temp.deliveries(resequencer text) RETURNS text LANGUAGE sql AS $$
SELECT coalesce(string_agg(format('%s/%s %s%s v%s', k.key, d.target, d.sn, d.part, d.version), ', ' ORDER BY k.key, d.target, d.sn, d.part NULLS FIRST, d.version), '')
  FROM spool.reseq_delivery d JOIN spool.reseq_key k ON k.id = d.key JOIN spool.resequencer r ON r.id = k.resequencer
 WHERE r.name = $1 AND d.segment = 0
$$;

CALL pg_temp.maintain(5);
SELECT spool.create_resequencer('upkeep', '{A,B}', retention => '1 day') \g /dev/null

-- What is moved
CALL pg_temp.lane('upkeep', 'a', 1, 1, -1);
CALL pg_temp.lane('upkeep', 'a', 1, 2, 5);
CALL pg_temp.lane('upkeep', 'a', 2, 3, 7);
CALL pg_temp.lane('upkeep', 'b', 1, 1, -1, 1);
CALL pg_temp.lane('upkeep', 'gone', 1, 1, -1, 1);
CALL pg_temp.delivery('upkeep', 'a', 1, 4, 1, 'S');
CALL pg_temp.delivery('upkeep', 'a', 1, 5, 2, 'A');
CALL pg_temp.delivery('upkeep', 'a', 1, 6, 1, 'r');
CALL pg_temp.delivery('upkeep', 'a', 1, 6, 2, 'k');
CALL pg_temp.delivery('upkeep', 'a', 1, 8, 2, 'D');
CALL pg_temp.delivery('upkeep', 'a', 2, 8, 3, 'n');
CALL pg_temp.delivery('upkeep', 'a', 2, 8, 4, 'r', '{1}');
CALL pg_temp.delivery('upkeep', 'a', 2, 8, 5, 'r', '{1,2}');
CALL pg_temp.delivery('upkeep', 'a', 2, 8, 6, 'k', '{1}');
CALL pg_temp.delivery('upkeep', 'a', 2, 7, 3, 'A');
CALL pg_temp.delivery('upkeep', 'b', 1, 0, 1, 'r');
CALL pg_temp.delivery('upkeep', 'no lane', 1, 3, 1, 'r');
CALL pg_temp.delivery('upkeep', 'gone', 1, 3, 1, 'r');
DELETE FROM spool.reseq_key WHERE id = pg_temp.key('upkeep', 'gone');
CREATE TEMPORARY TABLE before AS SELECT to_jsonb(l) - 'segment' AS row FROM spool.reseq_lane l UNION ALL SELECT to_jsonb(d) - 'segment' FROM spool.reseq_delivery d;
SELECT ok((SELECT bool_and(summary) FROM (SELECT brin_summarize_new_values(format('spool.delivery_%s_since', n)) >= 0 AS summary FROM generate_series(1, 3) n) s), 'upkeep: young deliveries have an index by time');
CALL pg_temp.maintain(1);
SELECT is(pg_temp.lanes('upkeep'), 'a/1 v2, a/2 v3, b/1 v1', 'upkeep: the newest state of each lane is moved');
SELECT is(pg_temp.lanes('upkeep', false), 'a/1 v1', 'upkeep: others are not');
SELECT is(pg_temp.deliveries('upkeep'), 'a/1 6 v2, a/1 8 v2, a/2 8 v3, a/2 8{1} v6, a/2 8{1,2} v5, b/1 0 v1, no lane/1 3 v1',
    'upkeep: of deliveries above the applied number the newest rows are moved');
SELECT is((SELECT count(*) FROM spool.lane_0 l WHERE NOT EXISTS (SELECT FROM spool.reseq_key k WHERE k.id = l.key)), 0::bigint, 'upkeep: no state of a key that is gone');
SELECT is((SELECT count(*) FROM spool.delivery_0 l WHERE NOT EXISTS (SELECT FROM spool.reseq_key k WHERE k.id = l.key)), 0::bigint, 'upkeep: nor a delivery');
SELECT is_empty($$SELECT to_jsonb(l) - 'segment' FROM spool.lane_0 l UNION ALL SELECT to_jsonb(d) - 'segment' FROM spool.delivery_0 d EXCEPT SELECT row FROM before$$,
    'upkeep: rows are moved as they are');
SELECT results_eq($$SELECT count(*) FROM spool.segment WHERE moved_at IS NOT NULL$$, 'VALUES (1::bigint)', 'upkeep: nothing else in the segment is needed');
CALL pg_temp.maintain(1);
SELECT is(pg_temp.lanes('upkeep', false), '', 'upkeep: then it is emptied');

-- Newer rows, in a younger segment
CALL pg_temp.lane('upkeep', 'a', 1, 9, 6);
CALL pg_temp.delivery('upkeep', 'a', 1, 8, 9, 'E');
CALL pg_temp.delivery('upkeep', 'a', 2, 8, 9, 'p', '{1,2}');
CALL pg_temp.delivery('upkeep', 'b', 1, 0, 0, 'r');
CALL pg_temp.maintain(1);
SELECT is(pg_temp.lanes('upkeep'), 'a/1 v9, a/2 v3, b/1 v1', 'upkeep: an older state goes when a newer one is moved');
SELECT is(pg_temp.deliveries('upkeep'), 'a/1 8 v9, a/2 8 v3, a/2 8{1} v6, a/2 8{1,2} v9, b/1 0 v1, no lane/1 3 v1',
    'upkeep: in the old segment what is over is removed, and older rows');
CALL pg_temp.lane('upkeep', 'a', 2, 10, 8);
DELETE FROM spool.reseq_key WHERE id = pg_temp.key('upkeep', 'b');
CALL spool.maintain();
SELECT is(pg_temp.deliveries('upkeep'), 'a/1 8 v9, no lane/1 3 v1', 'upkeep: also when the state that says so is still young');
SELECT is((SELECT count(*) FROM spool.delivery_0 l WHERE NOT EXISTS (SELECT FROM spool.reseq_key k WHERE k.id = l.key)), 0::bigint, 'upkeep: and those of keys that are gone');
SELECT is((SELECT count(*) FROM spool.lane_0 l WHERE NOT EXISTS (SELECT FROM spool.reseq_key k WHERE k.id = l.key)), 1::bigint, 'upkeep: states of such keys stay');
UPDATE spool.lane_0 l SET since = since - interval '2 days' WHERE NOT EXISTS (SELECT FROM spool.reseq_key k WHERE k.id = l.key);
CALL spool.maintain();
SELECT is((SELECT count(*) FROM spool.lane_0 l WHERE NOT EXISTS (SELECT FROM spool.reseq_key k WHERE k.id = l.key)), 0::bigint, 'upkeep: as long as they would be kept');

-- More of one lane, and of one number, than a step deals with
CALL pg_temp.maintain(3);
INSERT INTO spool.reseq_delivery (key, target, resequencer, sn, version, segment, state, parts, registered_at, since, part)
SELECT pg_temp.make('upkeep', 'many'), 1, (SELECT id FROM spool.resequencer WHERE name = 'upkeep'), n, 1, pg_temp.current(), 'r', 0, now(), now(), NULL FROM generate_series(1, 12000) n
UNION ALL SELECT pg_temp.make('upkeep', 'many'), 2, (SELECT id FROM spool.resequencer WHERE name = 'upkeep'), 5, 1, pg_temp.current(), 'r', 0, now(), now(), ARRAY[n] FROM generate_series(1, 6000) n;
CALL pg_temp.maintain(1);
SELECT is((SELECT array_agg(DISTINCT segment) || count(*)::int2 FROM spool.reseq_delivery WHERE key = pg_temp.key('upkeep', 'many')), '{0,18000}'::int2[], 'upkeep: all of many deliveries are moved');
CALL pg_temp.lane('upkeep', 'many', 1, 2, 11990, 10);
CALL pg_temp.lane('upkeep', 'many', 2, 2, 5);
CALL pg_temp.maintain(1);
SELECT is((SELECT ARRAY[count(*), min(sn), max(sn)] FROM spool.delivery_0 WHERE key = pg_temp.key('upkeep', 'many')), '{10,11991,12000}'::bigint[], 'upkeep: and removed');
SELECT spool.drop_resequencer('upkeep') \g /dev/null

-- What is forgotten
CALL pg_temp.maintain(3);
SELECT spool.create_resequencer('forget', '{A,B}', retention => '1 day'), spool.create_resequencer('longer', retention => '10 days') \g /dev/null
CALL pg_temp.lane('forget', 'old', 1, 1, 5, 0, '2 days');
CALL pg_temp.lane('forget', 'old both', 1, 1, 5, 0, '2 days');
CALL pg_temp.lane('forget', 'old both', 2, 2, 6, 0, '3 days');
CALL pg_temp.lane('forget', 'young', 1, 1, 5, 0, '2 hours');
CALL pg_temp.lane('forget', 'one young', 1, 1, 5, 0, '2 days');
CALL pg_temp.lane('forget', 'one young', 2, 1, 5, 0, '2 hours');
CALL pg_temp.lane('forget', 'one live', 1, 1, 5, 0, '2 days');
CALL pg_temp.lane('forget', 'one live', 2, 1, 5, 1, '2 days');
CALL pg_temp.lane('forget', 'suspended', 1, 1, 5, 0, '2 days');
CALL pg_temp.lane('forget', 'was live', 1, 1, -1, 1, '3 days');
CALL pg_temp.lane('forget', 'was live', 1, 2, -1, 0, '2 days');
CALL pg_temp.lane('longer', 'old', 1, 1, 5, 0, '2 days');
CALL pg_temp.delivery('forget', 'was live', 1, 5, 2, 'U');
CALL pg_temp.delivery('forget', 'one live', 2, 6, 1, 'r');
UPDATE spool.reseq_key SET suspended = 'for a test' WHERE id = pg_temp.key('forget', 'suspended');
UPDATE spool.reseq_lane SET promotable = true WHERE key = pg_temp.key('forget', 'old');
INSERT INTO spool.reseq_promotable SELECT resequencer, id, 1, now() FROM spool.reseq_key WHERE id = pg_temp.key('forget', 'old');
CREATE FUNCTION pg_temp.keys(resequencer text) RETURNS text LANGUAGE sql AS $$
SELECT string_agg(k.key, ', ' ORDER BY k.key) FROM spool.reseq_key k JOIN spool.resequencer r ON r.id = k.resequencer WHERE r.name = $1
$$;
CREATE FUNCTION pg_temp.tally(resequencer text) RETURNS TABLE (target int, registered bigint, delivered bigint, rest bigint[]) LANGUAGE sql AS $$
SELECT target, t.registered, t.delivered, ARRAY[suppressed, dead, expired, unregistered, duplicates, forced, lost] FROM spool.reseq_tally t JOIN spool.resequencer r ON r.id = t.resequencer WHERE r.name = $1
$$;
BEGIN;
CALL pg_temp.maintain(1);
SELECT is(pg_temp.keys('forget'), 'old, old both, one live, one young, suspended, was live, young', 'forget: not in a transaction block, where their locks would stay');
ROLLBACK;
CALL pg_temp.maintain(1);
SELECT is(pg_temp.keys('forget'), 'one live, one young, suspended, young', 'forget: keys whose lanes are old, in the call that moves them');
SELECT is(pg_temp.keys('longer'), 'old', 'forget: each resequencer has its retention');
SELECT is(pg_temp.lanes('forget'), 'one live/1 v1, one live/2 v1, one young/1 v1, one young/2 v1, suspended/1 v1, young/1 v1', 'forget: their states go');
SELECT is(pg_temp.deliveries('forget'), 'one live/2 6 v1', 'forget: their deliveries too');
SELECT is_empty('SELECT FROM spool.lane_0 l WHERE NOT EXISTS (SELECT FROM spool.reseq_key k WHERE k.id = l.key)', 'forget: no state is left over');
SELECT is_empty('SELECT FROM spool.delivery_0 l WHERE NOT EXISTS (SELECT FROM spool.reseq_key k WHERE k.id = l.key)', 'forget: nor a delivery');
SELECT is_empty('SELECT FROM spool.reseq_promotable l WHERE NOT EXISTS (SELECT FROM spool.reseq_key k WHERE k.id = l.key)', 'forget: nor a promotable lane');
SELECT results_eq($$SELECT * FROM pg_temp.tally('forget') ORDER BY 1$$, $$VALUES (1, 30::bigint, 3::bigint, '{6,9,12,15,18,21,24}'::bigint[]), (2, 10, 1, '{2,3,4,5,6,7,8}')$$, 'forget: their counts are kept, a row for each target');

-- What kept the others ends
UPDATE spool.reseq_key SET suspended = NULL WHERE id = pg_temp.key('forget', 'suspended');
CALL pg_temp.lane('forget', 'one live', 2, 2, 6, 0, '25 hours');
UPDATE spool.lane_0 SET since = since - interval '1 day' WHERE key = pg_temp.key('forget', 'one young');
CALL pg_temp.maintain(1);
SELECT is(pg_temp.keys('forget'), 'young', 'forget: those that were suspended, live or young');
SELECT results_eq($$SELECT * FROM pg_temp.tally('forget') ORDER BY 1, 2$$, $$VALUES (1, 30::bigint, 3::bigint, '{6,9,12,15,18,21,24}'::bigint[]), (1, 30, 3, '{6,9,12,15,18,21,24}'), (2, 10, 1, '{2,3,4,5,6,7,8}'), (2, 20, 2, '{4,6,8,10,12,14,16}')$$, 'forget: their counts are added');
CALL pg_temp.maintain(1);
SELECT results_eq($$SELECT * FROM pg_temp.tally('forget') ORDER BY 1$$, $$VALUES (1, 60::bigint, 6::bigint, '{12,18,24,30,36,42,48}'::bigint[]), (2, 30, 3, '{6,9,12,15,18,21,24}')$$, 'forget: and added up');

-- More than a step deals with, with one time, among those that stay
INSERT INTO spool.reseq_key (id, resequencer, key, epoch) SELECT nextval('spool.reseq_key_id_seq'), r.id, 'many ' || n, 0 FROM spool.resequencer r, generate_series(1, 3500) n WHERE r.name = 'forget';
INSERT INTO spool.reseq_lane (key, target, version, high, newest, applied, busy, trees, promotable, segment, run, live, parked, registered, delivered,
        suppressed, dead, expired, unregistered, duplicates, forced, lost, due, since)
SELECT k.id, 1, 1, 9, -1, 1, -1, false, false, 0, 0, (k.id % 7 = 0)::int, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 'infinity', now() - interval '2 days' FROM spool.reseq_key k WHERE k.key ~ '^many ';
CALL pg_temp.maintain(1);
SELECT is((SELECT array_agg(DISTINCT id % 7) || count(*) FROM spool.reseq_key WHERE key ~ '^many '), '{0,500}'::bigint[], 'forget: all of many whose time is over');
UPDATE spool.lane_0 SET live = 0 WHERE key IN (SELECT id FROM spool.reseq_key WHERE key ~ '^many ');
CALL pg_temp.maintain(1);
SELECT is((SELECT count(*) FROM spool.reseq_key WHERE key ~ '^many '), 0::bigint, 'forget: later the others');

-- Keys that were reset: nothing is known of them
SELECT spool.register('forget', k, 1), spool.resequence('forget', k, 1, 'A') FROM unnest('{reset,reset and suspended,reset and used}'::text[]) k \g /dev/null
SELECT spool.suspend_key('forget', 'reset and suspended'), spool.reset('forget') \g /dev/null
SELECT spool.register('forget', 'reset and used', 1) \g /dev/null
CALL pg_temp.maintain(1);
SELECT is(pg_temp.keys('forget'), 'reset, reset and suspended, reset and used, young', 'forget: keys that were reset are not forgotten at once');
UPDATE spool.reseq_key SET resumed_at = resumed_at - interval '1 day';
CALL pg_temp.maintain(1);
SELECT is(pg_temp.keys('forget'), 'reset and suspended, reset and used', 'forget: but after the retention');
SELECT spool.resume_key('forget', 'reset and suspended') \g /dev/null
UPDATE spool.reseq_key SET resumed_at = resumed_at - interval '1 day';
CALL pg_temp.maintain(1);
SELECT is(pg_temp.keys('forget'), 'reset and used', 'forget: also one that was suspended');

-- Dead letters
INSERT INTO spool.reseq_dead (resequencer, key, reason, since) SELECT id, age, 'test', now() - age::interval FROM spool.resequencer, unnest('{31 days,29 days}'::text[]) age WHERE name IN ('forget', 'longer');
UPDATE spool.resequencer SET retention = '40 days' WHERE name = 'longer';
CALL spool.maintain();
SELECT results_eq($$SELECT r.name, d.key COLLATE "default" FROM spool.reseq_dead d JOIN spool.resequencer r ON r.id = d.resequencer WHERE d.reason = 'test' ORDER BY 1, 2$$,
    $$VALUES ('forget'::text COLLATE "C", '29 days'::text), ('longer', '29 days'), ('longer', '31 days')$$, 'dead letters: kept for 30 days, or the retention if it is longer');
SELECT spool.drop_resequencer('forget'), spool.drop_resequencer('longer') \g /dev/null

-- By the verbs: keys are used and forgotten (R87, R12)
CALL pg_temp.maintain(3);
SELECT spool.create_resequencer('used', retention => '1 day') \g /dev/null
CREATE FUNCTION pg_temp.names() RETURNS text[] LANGUAGE sql AS $$ SELECT array_agg('key ' || n ORDER BY n) FROM generate_series(1, 20000) n $$;
CREATE FUNCTION pg_temp.sns(sn bigint) RETURNS bigint[] LANGUAGE sql AS $$ SELECT array_agg($1) FROM generate_series(1, 20000) n $$;
CREATE FUNCTION pg_temp.rows() RETURNS TABLE (keys bigint, lanes bigint, deliveries bigint, old bool) LANGUAGE sql AS $$
WITH k AS (SELECT k.id FROM spool.reseq_key k JOIN spool.resequencer r ON r.id = k.resequencer WHERE r.name = 'used')
SELECT (SELECT count(*) FROM k), count(*), (SELECT count(*) FROM spool.reseq_delivery WHERE key IN (SELECT id FROM k)), bool_and(segment = 0)
  FROM spool.reseq_lane WHERE key IN (SELECT id FROM k)
$$;
SELECT is((SELECT count(*) FROM spool.register_many('used', pg_temp.names(), pg_temp.sns(n)) WHERE verdict = 'current'), 20000::bigint, format('R87: number %s of 20,000 keys is registered', n)) FROM generate_series(1, 2) n;
SELECT is((SELECT count(*) FROM spool.resequence_many('used', pg_temp.names(), pg_temp.sns(n)) WHERE verdict = answer), 20000::bigint, format('R87: %s: %s', n, answer)) FROM (VALUES (1, 'park'), (2, 'pass')) x (n, answer);
SELECT results_eq('SELECT * FROM pg_temp.rows()', 'VALUES (20000::bigint, 80000::bigint, 60000::bigint, false)', 'R87: rows of all calls');
CALL pg_temp.maintain(2);
SELECT results_eq('SELECT * FROM pg_temp.rows()', 'VALUES (20000::bigint, 20000::bigint, 0::bigint, true)', 'R87: what is left is a state of each key');
SELECT is((SELECT verdict || ' ' || reason FROM spool.resequence('used', 'key 7', 1)), 'suppress stale', 'R87: which knows what was applied');
UPDATE spool.lane_0 SET since = since - interval '1 day' WHERE key <> pg_temp.key('used', 'key 7');
CALL pg_temp.maintain(2);
SELECT results_eq('SELECT * FROM pg_temp.rows()', 'VALUES (1::bigint, 1::bigint, 0::bigint, true)', 'R87: after the retention nothing, but of a key that was used since');
SELECT throws_ok($$SELECT spool.resequence('used', 'key 8', 2)$$, 'P0002', NULL, 'R12: a key that was forgotten is not registered: nothing passes');
SELECT is((SELECT verdict FROM spool.register('used', 'key 8', 1)), 'current', 'R12: and can be used again');
SELECT results_eq($$SELECT target, registered, delivered FROM pg_temp.tally('used')$$, 'VALUES (1, 39998::bigint, 19999::bigint)', 'R87: counts are not forgotten');
SELECT is((SELECT verdict FROM spool.unregister('used', 'key 8', 1)), 'unregistered', 'R12: a number that was not applied');
UPDATE spool.reseq_lane SET since = since - interval '1 day';
CALL pg_temp.maintain(2);
SELECT results_eq('SELECT * FROM pg_temp.rows()', 'VALUES (0::bigint, 0::bigint, 0::bigint, NULL::bool)', 'R87: in the end nothing');
VACUUM spool.lane_0, spool.delivery_0;
SELECT is((SELECT sum(pg_relation_size(format('spool.%s_%s', t, no)))::bigint FROM unnest('{lane,delivery}'::text[]) t, generate_series(0, 3) no), 0::bigint, 'R87: on disk, too');

-- Of a number that was delivered in parts it stays known which of them came.
SELECT spool.create_resequencer('parts', on_incomplete => 'in_sequence', tree_timeout => '1 hour', deadline => '1 day') \g /dev/null
SELECT verdict FROM spool.register('parts', 'k', 3, parts => 2) \g /dev/null
SELECT verdict FROM spool.register('parts', 'k', 3, part => '{1}') \g /dev/null
SELECT verdict FROM spool.resequence('parts', 'k', 3, part => '{1}') \g /dev/null
UPDATE spool.reseq_delivery SET registered_at = registered_at - interval '2 hours', since = since - interval '2 hours' WHERE key = pg_temp.key('parts', 'k');
SELECT spool.expire('parts') \g /dev/null
SELECT is((SELECT verdict FROM spool.resequence('parts', 'k', 3, part => '{1}')), 'pass', 'R39: the part that came goes');
CALL pg_temp.maintain(3);
SELECT is((SELECT verdict || ' ' || reason FROM spool.resequence('parts', 'k', 3, part => '{1}')), 'duplicate applied', 'R39: it is known after its segment was emptied');
SELECT is((SELECT verdict || ' ' || reason FROM spool.resequence('parts', 'k', 3, part => '{2}')), 'dead late', 'R39: and so is the one that did not come');
SELECT spool.drop_resequencer('parts') \g /dev/null

SELECT * FROM finish();
SELECT spool.drop_resequencer('used') \g /dev/null
CALL pg_temp.maintain(3);
CALL pg_temp.maintained();
