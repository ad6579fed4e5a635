-- The resequencer: one target, numbers without parts.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(279);

\ir include/reseq.sql

-- The newest passes.
SELECT pg_temp.plays(description, script, options) FROM (VALUES
    ('R1: what is registered passes, and nothing is left', '',
     'reg k 1 -> current; live -> k 1 registered; rsq k 1 -> pass; live -> none; ended -> none; stat -> registered 1, applied 1'),
    ('R2: one that is superseded is parked, the newest passes', '',
     'reg k 1 -> current; reg k 2 -> current; rsq k 1 -> park/superseded; stat -> registered 2, parked 1, live 2; rsq k 2 -> pass; live -> none; stat -> registered 2, applied 1, suppressed 1'),
    ('R2: or suppressed', 'supersede=suppress',
     'reg k 1 -> current; reg k 2 -> current; rsq k 1 -> suppress/superseded; live -> k 2 registered; rsq k 2 -> pass; stat -> registered 2, applied 1, suppressed 1'),
    ('R3: the highest number is the newest, not the last call', '',
     'reg k 2 -> current; reg k 1 -> superseded/superseded; keys -> k default: -/2 2 live; rsq k 1 -> park/superseded; rsq k 2 -> pass; rsq k 1 -> suppress/stale; keys -> k default: 2/2 0 idle'),
    ('R4: another key has its own numbers', '',
     'reg a 1 -> current; reg b 2 -> current; rsq a 1 -> pass; rsq b 2 -> pass; keys -> a default: 1/1 0 idle, b default: 2/2 0 idle'),
    ('R5: one after the other, both pass', '',
     'reg k 1 -> current; rsq k 1 -> pass; reg k 2 -> current; rsq k 2 -> pass; stat -> registered 2, applied 2'),
    ('R6: status: applied, registered, live', '',
     'reg k 1 -> current; keys -> k default: -/1 1 live; rsq k 1 -> pass; reg k 2 -> current; keys -> k default: 1/2 1 live'),
    ('R7: a repeat after the end is a duplicate', '',
     'reg k 5 -> current; rsq k 5 -> pass; rsq k 5 -> duplicate/applied=; duplicates -> 1; rsq k 5 -> duplicate/applied=; duplicates -> 2; stat -> registered 1, applied 1'),
    ('R8: the same registered again is one entry', '',
     'reg k 5 digest=\x01 -> current; reg k 5 digest=\x01 -> current=; reg k 5 -> current=; live -> k 5 registered; stat -> registered 1, live 1; duplicates -> 2'),
    ('R8: with another digest it is refused', '',
     'reg k 5 digest=\x01 -> current; reg k 5 digest=\x02 -> 23505; reg k 5 digest=\x -> 23505; reg k 6 digest=\x02 -> current; reg k 5 digest=\x02 -> 23505; stat -> registered 2, live 2'),
    ('R8: of one that is superseded as well', '',
     'reg k 6 -> current; reg k 5 digest=\x01 -> superseded/superseded; reg k 5 digest=\x01 -> superseded/superseded=; reg k 5 digest=\x02 -> 23505'),
    ('R8: one that comes later counts, too', '',
     'reg k 5 -> current; reg k 5 digest=\x01 -> current=; reg k 5 digest=\x02 -> 23505; live -> k 5 registered; stat -> registered 1, live 1; duplicates -> 1'),
    ('R9: gaps do not matter', '',
     'reg k 10 -> current; reg k 30 -> current; reg k 20 -> superseded/superseded; rsq k 30 -> pass; live -> none; keys -> k default: 30/30 0 idle'),
    ('R9: nor for what is below', '',
     'reg k 30 -> current; reg k 10 -> superseded/superseded; rsq k 20 -> P0002; unreg k 30 -> unregistered; rsq k 20 -> P0002; rsq k 10 -> pass'),
    ('R11: what comes again after a newer one was applied is stale', 'retention=1h',
     'reg k 1 -> current; reg k 2 -> current; rsq k 2 -> pass; age 61s -> done; rsq k 1 -> suppress/stale; reg k 1 -> stale/stale; rsq k 1 -> suppress/stale; live -> none; stat -> registered 2, applied 1, suppressed 1'),
    ('R11: registered or not', '',
     'reg k 5 -> current; rsq k 5 -> pass; rsq k 3 -> suppress/stale; reg k 3 -> stale/stale; reg k 5 -> stale/applied=; stat -> registered 1, applied 1; duplicates -> 3'),
    ('R13: disabled, everything passes, and is counted', 'enabled=false',
     'reg k 2 -> current; reg k 1 -> superseded/superseded; rsq k 2 -> pass/disabled; rsq k 1 -> pass/disabled; rsq k 1 -> pass/disabled; rsq x 7 -> pass/disabled; rsq x 6 -> pass/disabled;
      live -> none; stat -> registered 6, applied 5, suppressed 1, forced 5'),
    ('R13: also what has ended', '',
     'reg k 3 -> current; fail k 3 -> dead/failed; reg k 2 -> current; unreg k 2 -> unregistered; alter enabled=false -> done; rsq k 2 -> pass/disabled; rsq k 3 -> pass/disabled; rsq k 3 -> pass/disabled;
      stat -> registered 5, applied 3, dead 1, unregistered 1, forced 3, lost 1'),
    ('R13: enabled again, nothing below passes', 'enabled=false',
     'rsq k 7 -> pass/disabled; alter enabled=true -> done; rsq k 7 -> duplicate/applied=; rsq k 6 -> suppress/stale; rsq k 8 -> P0002; reg k 8 -> current; rsq k 8 -> pass'),
    ('R14: not registered is an error, and leaves nothing', '',
     'rsq k 1 -> P0002; app k 1 -> P0002; fail k 1 -> P0002; unreg k 1 -> P0002; skip k 1 -> P0002; add k 1 target=default -> P0002; keys -> none; dead -> none; stat -> none'),
    ('R17: or it has to wait, until it is registered', 'on_unregistered=wait',
     'rsq k 1 -> wait/not registered; keys -> none; reg k 1 -> current; rsq k 1 -> pass; rsq k 1 -> duplicate/applied=; rsq k 2 -> wait/not registered; live -> none; stat -> registered 1, applied 1'),
    ('R18: a number above all known is not stale', '',
     'reg k 5 -> current; rsq k 7 -> P0002; rsq k 5 -> pass; rsq k 7 -> P0002; stat -> registered 1, applied 1'),
    ('R18: nor with wait', 'on_unregistered=wait',
     'reg k 5 -> current; rsq k 7 -> wait/not registered; live -> k 5 registered; rsq k 5 -> pass; reg k 7 -> current; rsq k 7 -> pass'),
    ('R18: nor with register: it is the newest then', 'on_unregistered=register',
     'reg k 5 -> current; rsq k 7 -> pass; rsq k 5 -> suppress/stale; rsq k 6 -> suppress/stale; rsq n 1 -> pass; reg n 3 -> current; rsq n 2 -> park/superseded; live -> n 2 parked, n 3 registered; stat -> registered 5, applied 2, suppressed 1, parked 1, live 2'),
    ('R15: applied, failed and unregister answer that it is not registered', 'on_unregistered=dead',
     'app k 1 -> unregistered/not registered; fail k 1 -> unregistered/not registered; unreg k 1 -> unregistered/not registered; skip k 1 -> P0002; keys -> none; dead -> none'),
    ('R19: what is invalid cannot be registered', '',
     'reg NULL 1 -> 22004; reg k NULL -> 22004; reg k 1 targets={} -> 22023; reg k 1 targets={NULL} -> 22004; reg k 1 targets={x} -> 22023; reg k 1 parts=0 -> 22023; reg k 1 parts=-1 -> 22023; reg k 1 part={0} -> 22023;
      reg k 1 part={1,NULL} -> 22004; reg k 1 part={{1},{2}} -> 22023; reg k 1 part={1} targets={default} -> 22023; keys -> none'),
    ('R19: whatever on_invalid says', 'on_invalid=dead', 'reg NULL 1 -> 22004; reg k NULL -> 22004; reg k -1 -> 22003; unreg NULL 1 -> 22004; app k NULL -> 22004; fail NULL 1 -> 22004; add k 1 target=x -> 22023; keys -> none; dead -> none'),
    ('R21: the highest number', '',
     'reg k 9223372036854775807 -> 22003; rsq k 9223372036854775807 -> 22003; reg k 9223372036854775806 -> current; rsq k 9223372036854775805 -> P0002; rsq k 9223372036854775806 -> pass; reg k 9223372036854775805 -> stale/stale; keys -> k default: 9223372036854775806/9223372036854775806 0 idle'),
    ('R22: negative numbers are refused, 0 is the lowest', '',
     'reg k -5 -> 22003; rsq k -1 -> 22003; unreg k -1 -> 22003; reg k 0 -> current; live -> k 0 registered; rsq k 0 -> pass; rsq k 0 -> duplicate/applied=; keys -> k default: 0/0 0 idle; reg k 1 -> current; rsq k 1 -> pass'),
    ('R32: unregistered twice, the second changes nothing', '',
     'reg k 1 -> current; unreg k 1 -> unregistered; unreg k 1 -> unregistered=; stat -> registered 1, unregistered 1; rsq k 1 -> duplicate/unregistered=; ended -> k 1 unregistered'),
    ('R32: what is unregistered lets the next lower one pass', '',
     'reg k 1 -> current; reg k 2 -> current; rsq k 1 -> park/superseded; promoted -> none; unreg k 2 -> unregistered; promoted -> k 1; rsq k 1 -> pass; promoted -> none; dead -> none'),
    ('R33: what was applied cannot be unregistered', '',
     'reg k 1 -> current; rsq k 1 -> pass; unreg k 1 -> applied=; fail k 1 -> applied=; skip k 1 -> applied=; stat -> registered 1, applied 1'),
    ('R34: nor is it unknown', '', 'reg k 1 -> current; rsq k 1 -> pass; live -> none; rsq k 1 -> duplicate/applied=; app k 1 -> applied='),
    ('R32: what has ended cannot be registered again', '',
     'reg k 1 -> current; unreg k 1 -> unregistered; reg k 1 -> stale/unregistered=; reg k 2 -> current; fail k 2 -> dead/failed; reg k 2 -> stale/dead=; reg k 3 -> current; age 2h -> done; reg k 3 -> stale/expired=; live -> none; stat -> registered 3, dead 1, expired 1, unregistered 1, lost 2'),
    ('is_current: nothing newer is registered or applied', '',
     'is_current k 1 -> true; reg k 1 -> current; is_current k 1 -> true; reg k 2 -> current; is_current k 1 -> false; is_current k 2 -> true; is_current k 3 -> true; fail k 2 -> dead/failed; is_current k 1 -> true; rsq k 1 -> pass;
      is_current k 0 -> false; is_current k NULL -> 22004; is_current NULL 1 -> 22004; is_current k -1 -> 22003; is_current k 1 target=x -> 22023; keys -> k default: 1/2 0 idle'),
    ('R62: after a reset numbers start again', '',
     'reg k 9 -> current; rsq k 9 -> pass; reg k 10 -> current; reg other 5 -> current; reset k -> reset; live -> other 5 registered; stat -> registered 3, applied 1, suppressed 1, live 1; rsq k 10 -> P0002; reg k 1 -> current; rsq k 1 -> pass;
      rsq k 9 -> P0002; reg k 9 -> current; rsq k 9 -> pass; stat -> registered 5, applied 3, suppressed 1, live 1'),
    ('R62: of all keys', '',
     'reg a 9 -> current; reg b 8 -> current; rsq b 8 -> pass; rsq a 8 -> P0002; reset -> reset; keys -> none; reg a 1 -> current; reg b 1 -> current; rsq a 1 -> pass; rsq b 1 -> pass; stat -> registered 4, applied 3, suppressed 1'),
    ('R62: what is promotable goes with it', '',
     'reg k 1 -> current; reg k 2 -> current; rsq k 1 -> park/superseded; fail k 2 -> dead/failed; promoted -> k 1; reset k -> reset; promoted -> none; stat -> registered 2, suppressed 1, dead 1; reset x -> 42704'),
    ('R80: also if it would be suppressed', 'max_suppressed=2 supersede=suppress',
     'reg k 1 -> current; reg k 2 -> current; reg k 3 -> current; rsq k 1 -> suppress/superseded; rsq k 2 -> pass/valve; rsq k 3 -> pass; stat -> registered 3, applied 2, suppressed 1, forced 1'),
    ('R81: or one after some time', 'max_suppress_age=3s',
     'reg k 1 -> current; reg k 2 -> current; reg k 3 -> current; reg k 4 -> current; rsq k 1 -> park/superseded; rsq k 2 -> park/superseded; age 4s -> done; rsq k 3 -> pass/valve; rsq k 4 -> pass'),
    ('R81: not the first one of a run', 'max_suppress_age=3s', 'reg k 1 -> current; age 1min -> done; reg k 2 -> current; rsq k 1 -> park/superseded; rsq k 2 -> pass')
) v(description, options, script);
-- The valve counts those that are superseded.  So one that is asked for again may be the one that passes.
SELECT pg_temp.plays(description, script, options, false) FROM (VALUES
    ('R80: the valve lets every third pass', 'max_suppressed=3',
     'reg k 1 -> current; reg k 2 -> current; reg k 3 -> current; reg k 4 -> current; reg k 5 -> current; reg k 6 -> current; reg k 7 -> current; rsq k 1 -> park/superseded; rsq k 1 -> park/superseded=; rsq k 2 -> park/superseded;
      rsq k 3 -> pass/valve; rsq k 2 -> suppress/stale; rsq k 4 -> park/superseded; rsq k 5 -> park/superseded; rsq k 6 -> pass/valve; rsq k 7 -> pass; stat -> registered 7, applied 3, suppressed 4, forced 2')
) v(description, options, script);

-- R1, R5, R10: what a target sees: pass and write together.
CREATE TABLE pg_temp.written (n serial, key text, sn bigint);
CREATE TABLE pg_temp.record (key text PRIMARY KEY);
CREATE FUNCTION pg_temp.deliver(key text, sn bigint, operation text = 'add') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    verdict text = (spool.resequence('pipeline', deliver.key, deliver.sn)).verdict;
BEGIN
    IF verdict = 'pass' THEN
        INSERT INTO pg_temp.written (key, sn) VALUES (deliver.key, deliver.sn);
        IF operation = 'add' THEN
            INSERT INTO pg_temp.record VALUES (deliver.key) ON CONFLICT DO NOTHING;
        ELSE
            DELETE FROM pg_temp.record r WHERE r.key = deliver.key;
        END IF;
    END IF;
    RETURN verdict;
END $$;
CREATE FUNCTION pg_temp.saw(key text) RETURNS text
LANGUAGE sql AS $$
    SELECT concat_ws(', ', string_agg(w.sn::text, ' ' ORDER BY w.n), (SELECT 'exists' FROM pg_temp.record r WHERE r.key = saw.key)) FROM pg_temp.written w WHERE w.key = saw.key
$$;
SELECT spool.create_resequencer('pipeline') \g /dev/null
SELECT spool.register('pipeline', 'one', 1), spool.register('pipeline', 'two', 1), spool.register('pipeline', 'gone', 1), spool.register('pipeline', 'gone', 2) \g /dev/null
SELECT is(pg_temp.deliver('one', 1) || pg_temp.deliver('one', 1) || ': ' || pg_temp.saw('one'), 'passduplicate: 1, exists', 'R1 R7: the target sees it once');
SELECT pg_temp.deliver('two', 1), spool.register('pipeline', 'two', 2), pg_temp.deliver('two', 2) \g /dev/null
SELECT is(pg_temp.saw('two'), '1 2, exists', 'R5: the target sees both');
SELECT is(pg_temp.deliver('gone', 1) || ' ' || pg_temp.deliver('gone', 2, 'delete') || ' ' || pg_temp.deliver('gone', 1) || ': ' || pg_temp.saw('gone'), 'park pass suppress: 2', 'R10: deleted in the end');
SAVEPOINT s;
SELECT spool.register('pipeline', 'undone', 1) \g /dev/null
SELECT pg_temp.deliver('undone', 1) \g /dev/null
ROLLBACK TO s;
SELECT is(spool.is_current('pipeline', 'undone', 0), true, 'R59: a pass that is rolled back was none');
SELECT is(verdict, 'current', 'R59: nor is its registration known') FROM spool.register('pipeline', 'undone', 1);
SAVEPOINT s;
SELECT is(pg_temp.deliver('undone', 1), 'pass', 'R59: it passes');
ROLLBACK TO s;
SELECT is(pg_temp.deliver('undone', 1), 'pass', 'R59: rolled back, it passes again');

-- R15, R16, R20: outlets.
CREATE FUNCTION pg_temp.letters(name text) RETURNS text
LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', coalesce(d.key, '-'), coalesce(d.sn::text, '-'), coalesce(d.target, '-'), d.reason, d.message), ', ' ORDER BY d.key, d.sn, d.message)
      FROM spool.reseq_dead d JOIN spool.resequencer r ON r.id = d.resequencer WHERE r.name = letters.name
$$;
SELECT spool.create_queue('review', on_error => 'leave') \g /dev/null
SELECT spool.create_resequencer('strict'),
       spool.create_resequencer('dead', on_unregistered => 'dead', on_invalid => 'dead'),
       spool.create_resequencer('queue', on_unregistered => 'queue:review', on_invalid => 'queue:review') \g /dev/null
SELECT is(a::text, '(dead,"not registered",,f)', 'R15: not registered: dead') FROM spool.resequence('dead', 'k', 1) a;
SELECT results_eq($$SELECT source, name, stream, seq, target, reason, since > now() - interval '1 min' FROM spool.dead_letters WHERE name = 'dead'$$,
    $$VALUES ('resequencer', 'dead', 'k', 1::bigint, NULL, 'not registered', true)$$, 'R15: a dead letter tells why');
SELECT is(concat((SELECT count(*) FROM spool.stat_keys WHERE resequencer = 'dead'), (SELECT live FROM spool.stat_resequencers WHERE resequencer = 'dead')), '00', 'R15: and nothing else is left');
SELECT is(a::text, '(unregistered,"not registered",,f)', 'R16: not registered: to a queue') FROM spool.resequence('queue', 'ключ "1"', 4, 'default', '{2,1}') a;
SELECT results_eq($$SELECT stream, seq, convert_from(payload, 'UTF8')::jsonb FROM spool.peek('review', 10)$$,
    $$VALUES ('ключ "1"', 1::bigint, '{"resequencer": "queue", "key": "ключ \"1\"", "sn": 4, "target": "default", "part": [2, 1], "reason": "not registered"}'::jsonb)$$, 'R16: the packet tells the call, in the stream of the key');
SELECT spool.register('queue', 'known', 5) \g /dev/null
SELECT is(a::text, '(unregistered,"not registered",5,f)', 'R16 R18: above what is known') FROM spool.resequence('queue', 'known', 6) a;
SELECT is((SELECT string_agg(convert_from(payload, 'UTF8'), '') FROM spool.peek('review', 10, stream => 'known')), '{"resequencer": "queue", "key": "known", "sn": 6, "reason": "not registered"}', 'R16: what is not given is left out');
SAVEPOINT s;
SELECT spool.resequence('queue', 'undone', 1) \g /dev/null
ROLLBACK TO s;
SELECT is_empty($$SELECT FROM spool.ls('review', 'undone')$$, 'R16: in the caller''s transaction');

CREATE TABLE pg_temp.bad (n serial, key text, sn bigint, target text, code text, message text);
INSERT INTO pg_temp.bad (key, sn, target, code, message) VALUES
    (NULL, 1, NULL, '22004', 'key must not be null'),
    ('k', NULL, NULL, '22004', 'sn must not be null'),
    ('', 1, NULL, '22023', 'key must not be empty'),
    (repeat('x', 1025), 1, NULL, '22023', 'key is longer than 1024 bytes'),
    (repeat('ж', 513), 1, NULL, '22023', 'key is longer than 1024 bytes'),
    (repeat('x', 10240), 1, NULL, '22023', 'key is longer than 1024 bytes'),
    ('k', -1, NULL, '22003', 'sn -1 is out of range 0 .. 9223372036854775806'),
    ('k', 9223372036854775807, NULL, '22003', 'sn 9223372036854775807 is out of range 0 .. 9223372036854775806'),
    ('k', 1, 'x', '22023', NULL);
SELECT throws_ok(format('SELECT spool.%s(%L, %L, %L%s)', verb, name, key, sn, ', ' || quote_nullable(target)), code, coalesce(message, format('resequencer "%s" has no target "x"', name)),
                 format('R%s: %s, %s: %s', CASE WHEN verb = 'resequence' THEN 20 ELSE 19 END, verb, name, coalesce(message, 'target')))
  FROM pg_temp.bad, (VALUES ('register', 'strict'), ('register', 'dead'), ('register', 'queue'), ('resequence', 'strict'), ('applied', 'dead'), ('failed', 'queue'), ('unregister', 'dead'), ('skip_delivery', 'queue')) v(verb, name)
 WHERE target IS NULL OR verb <> 'register'
 ORDER BY verb, name, n;
SELECT is((spool.resequence(name, key, sn, target))::text, answer, format('R20: to the outlet %s: %s', name, coalesce(message, 'target')))
  FROM pg_temp.bad, (VALUES ('dead', '(dead,invalid,,f)'), ('queue', '(unregistered,invalid,,f)')) v(name, answer)
 ORDER BY name, n;
SELECT is(pg_temp.letters('dead'), 'k -1 - invalid sn -1 is out of range 0 .. 9223372036854775806, k 1 - not registered number 1 of key "k" is not registered, k 1 x invalid resequencer "dead" has no target "x", '
    'k 9223372036854775807 - invalid sn 9223372036854775807 is out of range 0 .. 9223372036854775806, k - - invalid sn must not be null, '
    '- 1 - invalid key is longer than 1024 bytes, - 1 - invalid key is longer than 1024 bytes, - 1 - invalid key is longer than 1024 bytes, - 1 - invalid key must not be empty, - 1 - invalid key must not be null', 'R20: dead letters tell what was wrong');
SELECT results_eq($$SELECT convert_from(payload, 'UTF8') FROM spool.peek('review', 100, stream => '')$$,
    $$SELECT format('{"resequencer": "queue", "sn": %s, "reason": "invalid"}', sn) FROM pg_temp.bad WHERE key IS DISTINCT FROM 'k' ORDER BY n$$, 'R20: packets without a usable key go to the stream without a name');
SELECT results_eq($$SELECT convert_from(payload, 'UTF8') FROM spool.peek('review', 100, stream => 'k')$$,
    $$VALUES ('{"resequencer": "queue", "key": "k", "reason": "invalid"}'), ('{"resequencer": "queue", "key": "k", "sn": -1, "reason": "invalid"}'),
             ('{"resequencer": "queue", "key": "k", "sn": 9223372036854775807, "reason": "invalid"}'), ('{"resequencer": "queue", "key": "k", "sn": 1, "target": "x", "reason": "invalid"}')$$, 'R20: the others to the stream of the key');
SELECT is_empty($$SELECT FROM spool.stat_keys WHERE resequencer IN ('strict', 'dead') OR resequencer = 'queue' AND key <> 'known'$$, 'R20: and no key is made');
SELECT throws_ok($$SELECT spool.resequence('strict', 'k', 1, part => '{0}')$$, '22023', 'parts are numbered from 1', 'R20: a part that cannot be');
SELECT throws_ok(format('SELECT spool.register(%L, %L, 1, part => %L)', 'strict', 'k', array_fill(1, '{33}')), '22023', 'part must be a path of at most 32 numbers', 'R19: a path that is too deep');

-- R24, R25: keys are bytes.
CREATE TABLE pg_temp.odd (n serial, key text);
INSERT INTO pg_temp.odd (key) VALUES ('a''b'), ('a"b'), ('a\b'), ('a\\b'), ('\000'), ('\0'), ('\x00'), (U&'\0001'), (' '), ('  '), (E'a\tb'), (E'a\nb'), ('NULL'), ('null'), ('{}'), ('$1'), ('%s'), ('''; DROP TABLE x; --'),
    ('😀'), ('😁'), ('👩‍👩‍👧'), (U&'\00E9'), (U&'e\0301'), ('K'), ('k'), (U&'\212A'), ('ß'), ('ss'), (U&'\200B'), (U&'\FEFF'), (repeat('x', 1024)), (repeat('x', 1023)), (repeat('ж', 512));
SELECT spool.create_resequencer('odd') \g /dev/null
SELECT is((SELECT string_agg(DISTINCT (spool.register('odd', key, n)).verdict, ' ') FROM pg_temp.odd), 'current', 'R24: odd keys are registered');
SELECT is((SELECT string_agg(DISTINCT (spool.resequence('odd', o.key, o.n)).verdict || (SELECT count(*) FROM spool.stat_keys s WHERE s.resequencer = 'odd' AND s.key = o.key COLLATE "C"), ' ') FROM pg_temp.odd o), 'pass1', 'R24: and found');
SELECT results_eq($$SELECT key COLLATE "C" FROM spool.stat_keys WHERE resequencer = 'odd' ORDER BY 1$$, $$SELECT key COLLATE "C" FROM pg_temp.odd ORDER BY 1$$, 'R24: each of its own');
DO $$
BEGIN
    CREATE COLLATION pg_temp.same (PROVIDER = icu, LOCALE = 'und-u-ks-level1', DETERMINISTIC = false);
EXCEPTION WHEN feature_not_supported THEN
    CREATE COLLATION pg_temp.same FROM "C";
END $$;
SELECT CASE WHEN collprovider = 'i' THEN ok('K' COLLATE pg_temp.same = 'k', 'R25: a collation in which both are equal') ELSE skip('no ICU', 1) END FROM pg_collation WHERE oid = 'pg_temp.same'::regcollation;
SELECT spool.create_resequencer('bytes') \g /dev/null
SELECT spool.register('bytes', 'k' COLLATE pg_temp.same, 1) \g /dev/null
SELECT throws_ok($$SELECT spool.resequence('bytes', 'K' COLLATE pg_temp.same, 1)$$, 'P0002', 'number 1 of key "K" is not registered', 'R25: keys are compared by bytes');
SELECT is((SELECT string_agg(concat(key, sn, verdict), ' ') FROM spool.register_many('bytes', ARRAY['K', 'k', U&'\212A'] COLLATE pg_temp.same, '{2,3,4}')), 'K2current k3current ' || U&'\212A' || '4current', 'R25: by verbs with arrays, too');
SELECT is((SELECT string_agg(concat(key, applied, latest), ' ' ORDER BY key COLLATE "C") FROM spool.stat_keys WHERE resequencer = 'bytes'), 'K2 k3 ' || U&'\212A' || '4', 'R25: three keys');
SELECT is(verdict, 'pass', 'R25: each passes') FROM spool.resequence('bytes', 'K' COLLATE pg_temp.same, 2);

-- R26: no resequencer.
SELECT spool.create_resequencer('dropped'), spool.register('dropped', 'k', 1), spool.drop_resequencer('dropped') \g /dev/null
SELECT throws_ok(format(statement, name), '42704', format('resequencer "%s" does not exist', name), format('R26: ' || statement, name)) FROM unnest('{dropped,never}'::text[]) name, unnest(ARRAY[
    'SELECT spool.register(%L, ''k'', 1)', 'SELECT spool.resequence(%L, ''k'', 1)', 'SELECT spool.applied(%L, ''k'', 1)', 'SELECT spool.failed(%L, ''k'', 1)', 'SELECT spool.unregister(%L, ''k'', 1)',
    'SELECT spool.add_target(%L, ''k'', 1, ''t'')', 'SELECT spool.register_many(%L, ''{k}'', ''{1}'')', 'SELECT spool.resequence_many(%L, ''{k}'', ''{1}'')', 'SELECT spool.is_current(%L, ''k'', 1)', 'SELECT spool.promoted(%L)',
    'SELECT spool.suspend_key(%L, ''k'')', 'SELECT spool.resume_key(%L, ''k'')', 'SELECT spool.skip_delivery(%L, ''k'', 1)', 'SELECT spool.reset(%L)', 'SELECT spool.expire(%L)']) statement;
SELECT throws_ok($$SELECT spool.register(NULL, 'k', 1)$$, '22004', NULL, 'R26: no name');

-- promoted: the oldest first, so many at the most.
SELECT spool.create_resequencer('promoted') \g /dev/null
SELECT count(*) FROM spool.register_many('promoted', '{a,b,c,a,b,c,d}', '{1,1,1,2,2,2,1}') \g /dev/null
SELECT count(*) FROM spool.resequence_many('promoted', '{a,b,c}', '{1,1,1}') \g /dev/null
SELECT is_empty($$SELECT * FROM spool.promoted('promoted')$$, 'promoted: nothing while newer ones are live');
SELECT spool.failed('promoted', 'c', 2) \g /dev/null
SELECT spool.unregister('promoted', 'a', 2) \g /dev/null
SELECT spool.failed('promoted', 'b', 2) \g /dev/null
SELECT results_eq($$SELECT * FROM spool.promoted('promoted')$$, $$VALUES ('c', 1::bigint, 'default'), ('a', 1, 'default'), ('b', 1, 'default')$$, 'promoted: in the order in which they became so');
SELECT results_eq($$SELECT * FROM spool.promoted('promoted', 2)$$, $$VALUES ('c', 1::bigint, 'default'), ('a', 1, 'default')$$, 'promoted: so many at the most');
SELECT is_empty($$SELECT * FROM spool.promoted('promoted', 0)$$, 'promoted: none');
SELECT throws_ok($$SELECT spool.promoted('promoted', -1)$$, '22023', 'max_keys must not be negative', 'promoted: fewer than none');
SELECT throws_ok($$SELECT spool.promoted('promoted', NULL)$$, '22004', NULL, 'promoted: NULL');
SELECT is(string_agg((spool.resequence('promoted', p.key, p.sn, p.target)).verdict, ' '), 'pass pass pass', 'promoted: they pass') FROM spool.promoted('promoted') p;
SELECT is_empty($$SELECT * FROM spool.promoted('promoted')$$, 'promoted: and are gone');

-- Verbs with arrays: rows in their order, keys locked in one.
SELECT spool.create_resequencer('many', '{a,b}') \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', r.key, r.sn, r.verdict, r.latest, r.repeat), ', ' ORDER BY r.ordinality) FROM spool.register_many('many', '{z,a,m,a,z,a}', '{1,7,3,5,1,9}', '{a}', '{"\\x01",NULL,NULL,NULL,"\\x01",NULL}') WITH ORDINALITY r),
    'z 1 current 1 f, a 7 current 7 f, m 3 current 3 f, a 5 superseded 7 f, z 1 current 1 t, a 9 current 9 f', 'register_many: rows in the order of the arrays, one key several times');
SELECT throws_ok($$SELECT * FROM spool.register_many('many', '{a,z}', '{11,1}', '{a}', '{NULL,"\\x02"}')$$, '23505', 'number 1 of key "z" is registered with another digest', 'register_many: an error in one');
SELECT throws_ok($$SELECT * FROM spool.register_many('many', '{a,y}', '{11,-1}', '{a}')$$, '22003', NULL, 'register_many: an invalid one');
SELECT is((SELECT string_agg(concat_ws(' ', key, latest, live), ', ' ORDER BY key) FROM spool.stat_keys WHERE resequencer = 'many' AND live > 0), 'a 9 3, m 3 1, z 1 1', 'register_many: leaves nothing of the call');
SELECT is((SELECT string_agg(concat_ws(' ', r.key, r.sn, r.verdict, r.reason, r.latest, r.repeat), ', ' ORDER BY r.ordinality) FROM spool.resequence_many('many', '{z,a,a,m,a,a}', '{1,7,9,3,5,9}', 'a') WITH ORDINALITY r),
    'z 1 pass 1 f, a 7 park superseded 9 f, a 9 pass 9 f, m 3 pass 3 f, a 5 suppress stale 9 f, a 9 duplicate applied 9 t', 'resequence_many: one after the other');
SELECT throws_ok($$SELECT * FROM spool.resequence_many('many', '{z,x}', '{1,1}', 'a')$$, 'P0002', 'number 1 of key "x" is not registered', 'resequence_many: an error in one');
SELECT spool.register('many', 'z', 2, '{a}') \g /dev/null
SELECT throws_ok($$SELECT * FROM spool.resequence_many('many', '{a,x,z}', '{9,1,2}', 'a')$$, 'P0002', NULL, 'resequence_many: in the middle');
SELECT is(verdict, 'pass', 'resequence_many: leaves nothing of the call') FROM spool.resequence('many', 'z', 2, 'a');
SELECT is_empty(format('SELECT * FROM spool.%s(%L, %L, %L)', verb, 'many', '{}', '{}'), verb || ': nothing') FROM unnest('{register_many,resequence_many}'::text[]) verb;
SELECT throws_ok(format('SELECT * FROM spool.%s(%L, %L, %L)', verb, 'many', '{a,b}', sns), '22023', 'keys and sns must have the same number of elements', verb || ': arrays of different lengths') FROM unnest('{register_many,resequence_many}'::text[]) verb, unnest(ARRAY['{1}', '{1,2,3}', '{}']) sns;
SELECT throws_ok(format('SELECT * FROM spool.%s(%L, %L, %L)', verb, 'many', keys, sns), '22004', NULL, format('%s: NULL: %s %s', verb, keys, sns)) FROM unnest('{register_many,resequence_many}'::text[]) verb, (VALUES (NULL, '{1}'), ('{k}', NULL), ('{NULL}', '{1}'), ('{k}', '{NULL}')) v(keys, sns);
SELECT throws_ok($$SELECT * FROM spool.register_many('many', '{a,b}', '{1,2}', '{a}', '{NULL}')$$, '22023', 'keys and digests must have the same number of elements', 'register_many: digests of another length');
SELECT throws_ok($$SELECT * FROM spool.register_many('many', '{a}', '{1}', '{x}')$$, '22023', 'resequencer "many" has no target "x"', 'R23: register_many: no such target');
SELECT throws_ok($$SELECT * FROM spool.resequence_many('many', '{a}', '{9}', 'x')$$, '22023', 'resequencer "many" has no target "x"', 'R23: resequence_many: no such target');
SELECT throws_ok($$SELECT * FROM spool.resequence_many('many', '{a}', '{9}')$$, '22004', 'target must not be null: resequencer "many" has several', 'R20: resequence_many: which target?');
SELECT results_eq($$SELECT verdict, count(*) FROM spool.register_many('many', ARRAY(SELECT 'k' || md5(n::text) FROM generate_series(1, 1000) n), ARRAY(SELECT n::bigint FROM generate_series(1, 1000) n)) GROUP BY 1$$, $$VALUES ('current', 1000::bigint)$$, 'register_many: 1,000 keys');
SELECT results_eq($$SELECT verdict, count(*), bool_and(key = 'k' || md5(sn::text)), bool_and(sn = ordinality) FROM spool.resequence_many('many', ARRAY(SELECT 'k' || md5(n::text) FROM generate_series(1, 1000) n), ARRAY(SELECT n::bigint FROM generate_series(1, 1000) n), 'b') WITH ORDINALITY GROUP BY 1$$,
    $$VALUES ('pass', 1000::bigint, true, true)$$, 'resequence_many: 1,000 keys');
SELECT is((SELECT concat_ws(' ', registered, applied, live, keys) FROM spool.stat_resequencers WHERE resequencer = 'many'), '2006 1004 1000 1003', 'I5: all are counted');
-- Views of 1,000 keys find one by the index of keys.
CREATE FUNCTION pg_temp.plan_of(statement text) RETURNS SETOF text
LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || statement; END $$;
SET LOCAL enable_seqscan = off;
SELECT ok(EXISTS (SELECT FROM pg_temp.plan_of(format($$SELECT * FROM spool.%s WHERE resequencer = 'many' AND key = 'm'$$, view)) line WHERE line LIKE '%Index Cond:%(key = ''m''::text)%'), 'views: a condition on the key of ' || view)
  FROM unnest('{stat_keys,registrations}'::text[]) view;
RESET enable_seqscan;
SELECT is(string_agg(concat_ws(' ', target, applied, live), ', ' ORDER BY target), 'a 3 0', 'views: of one key') FROM spool.stat_keys WHERE resequencer = 'many' AND key = 'm';
SELECT spool.create_resequencer('outlets', on_unregistered => 'wait', on_invalid => 'dead'), spool.register('outlets', 'k', 1) \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', coalesce(left(r.key, 3), '-'), coalesce(r.sn::text, '-'), r.verdict, r.reason), ', ' ORDER BY r.ordinality) FROM spool.resequence_many('outlets', ARRAY['k', NULL, '', 'k', 'k', 'n', repeat('x', 2000)], '{1,1,1,NULL,-1,1,1}') WITH ORDINALITY r),
    'k 1 pass, - 1 dead invalid,  1 dead invalid, k - dead invalid, k -1 dead invalid, n 1 wait not registered, xxx 1 dead invalid', 'R20: resequence_many: to outlets');
SELECT is(pg_temp.not_conserved(name), NULL, 'I5: ' || name) FROM unnest('{pipeline,strict,dead,queue,odd,bytes,promoted,many,outlets}'::text[]) name;

SELECT * FROM finish();
ROLLBACK;
