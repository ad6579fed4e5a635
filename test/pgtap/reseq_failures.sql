-- The resequencer: failures, deadlines, suspended keys; acknowledged delivery.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(184);

\ir include/reseq.sql

-- In both kinds of delivery.  <pass k 1> is to pass and, if it must be, to acknowledge.
CREATE FUNCTION pg_temp.both(description text, script text, options text = '') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT pg_temp.plays(concat(description, ', ', d), regexp_replace(script, '<pass ([^>]*)>', CASE d WHEN 'acked' THEN 'rsq \1 -> pass; app \1 -> applied' ELSE 'rsq \1 -> pass' END, 'g'), concat_ws(' ', options, 'delivery=' || d))
      FROM unnest('{atomic,acked}'::text[]) d
$$;
SELECT pg_temp.both(description, script, options) FROM (VALUES
    ('R65: the newest fails, the next lower one passes', '', 'reg k 1 -> current; reg k 2 -> current; rsq k 1 -> park/superseded; promoted -> none; fail k 2 error=no -> dead/failed; promoted -> k 1; <pass k 1>; promoted -> none; dead -> k 2 failed "no"; stat -> registered 2, applied 1, dead 1; keys -> k default: 1/2 0 idle; rsq k 2 -> duplicate/dead='),
    ('R65: whether it came or not', '', 'reg k 1 -> current; reg k 2 -> current; fail k 2 -> dead/failed; promoted -> none; <pass k 1>; stat -> registered 2, applied 1, dead 1'),
    ('R65: a lower one fails, nothing else changes', '', 'reg k 1 -> current; reg k 2 -> current; rsq k 1 -> park/superseded; fail k 1 -> dead/failed; live -> k 2 registered; promoted -> none; <pass k 2>; stat -> registered 2, applied 1, dead 1'),
    ('R65: what failed may not pass, what is newer may', '', 'reg k 2 -> current; fail k 2 -> dead/failed; fail k 2 -> dead=; rsq k 2 -> duplicate/dead=; unreg k 2 -> dead=; app k 2 -> dead=; reg k 3 -> current; <pass k 3>; rsq k 2 -> suppress/stale'),
    ('R66: suppressed ones stay so, and the newest is lost', 'supersede=suppress', 'reg k 1 -> current; reg k 2 -> current; rsq k 1 -> suppress/superseded; stat lost -> lost 0; fail k 2 -> dead/failed; rsq k 1 -> duplicate/suppressed=; promoted -> none; stat -> registered 2, suppressed 1, dead 1, lost 1; reg k 3 -> current; <pass k 3>; stat lost -> lost 1'),
    ('R66: not those that did not come', 'supersede=suppress', 'reg k 1 -> current; reg k 2 -> current; fail k 2 -> dead/failed; <pass k 1>; stat lost -> lost 0'),
    ('R66: nothing is lost if somebody took it back', 'supersede=suppress', 'reg k 1 -> current; reg k 2 -> current; rsq k 1 -> suppress/superseded; unreg k 2 -> unregistered; stat lost -> lost 0'),
    ('R66: parked, nothing is lost', '', 'reg k 1 -> current; reg k 2 -> current; rsq k 1 -> park/superseded; fail k 2 -> dead/failed; stat lost -> lost 0; fail k 1 -> dead/failed; stat lost -> lost 1; ended -> k 1 dead failed, k 2 dead failed'),
    ('R67: two fail, the third one passes', '', 'reg k 1 -> current; reg k 2 -> current; reg k 3 -> current; rsq k 1 -> park/superseded; rsq k 2 -> park/superseded; fail k 2 -> dead/failed; promoted -> none; fail k 3 -> dead/failed; promoted -> k 1; <pass k 1>; stat -> registered 3, applied 1, dead 2; keys -> k default: 1/3 0 idle'),
    ('R67: in the other order', '', 'reg k 1 -> current; reg k 2 -> current; reg k 3 -> current; rsq k 1 -> park/superseded; rsq k 2 -> park/superseded; fail k 3 -> dead/failed; promoted -> k 2; fail k 2 -> dead/failed; promoted -> k 1; <pass k 1>; stat -> registered 3, applied 1, dead 2'),
    ('R68: the newest expires, the next lower one passes', 'deadline=1h', 'reg k 1 -> current; age 30min -> done; reg k 2 -> current; rsq k 1 -> park/superseded; expire -> 0; age 29min -> done; expire -> 0; promoted -> none; keys -> k default: -/2 2 live; age 2min -> done; expire -> 1; dead -> k 1 deadline; live -> k 2 registered; age 30min -> done; expire -> 1; live -> none; stat -> registered 2, expired 2, lost 1'),
    ('R68: a worker dies silently, one that is younger goes', 'deadline=1h', 'reg k 2 -> current; age 59min -> done; reg k 1 -> superseded/superseded; rsq k 1 -> park/superseded; age 2min -> done; promoted -> none; expire -> 1; dead -> k 2 deadline; promoted -> k 1; <pass k 1>; rsq k 2 -> duplicate/expired=; fail k 2 -> expired=; stat -> registered 2, applied 1, expired 1'),
    ('R68: told by the next call on the key', 'deadline=1h', 'reg k 2 -> current; age 59min -> done; reg k 1 -> superseded/superseded; age 2min -> done; <pass k 1>; ended -> k 2 expired deadline; stat -> registered 2, applied 1, expired 1'),
    ('R68: whatever the call', 'deadline=1h', 'reg a 1 -> current; reg b 1 -> current; reg c 1 -> current; reg d 1 -> current; reg e 1 -> current; reg other 1 -> current; age 61min -> done; reg a 2 -> current; rsq b 1 -> duplicate/expired=; fail c 1 -> expired=; unreg d 1 -> expired=; add e 1 target=default -> stale/expired=; live -> a 2 registered, other 1 registered; expire -> 1; expire -> 0; stat -> registered 7, expired 6, live 1, lost 6'),
    ('R68: expire tells how many ended', 'deadline=1h', 'reg a 1 -> current; reg a 2 -> current; reg b 1 -> current; age 30min -> done; reg a 3 -> current; age 31min -> done; expire -> 3; live -> a 3 registered; dead -> a 1 deadline, a 2 deadline, b 1 deadline'),
    ('R68: a deadline that is made shorter', 'deadline=1h', 'reg k 1 -> current; age 10min -> done; expire -> 0; alter deadline=5min -> done; expire -> 1; dead -> k 1 deadline'),
    ('R68: or longer', 'deadline=1h', 'reg k 1 -> current; age 50min -> done; alter deadline=2h -> done; age 20min -> done; expire -> 0; <pass k 1>'),
    ('R68: what has passed over is not expired', 'deadline=1h', 'reg k 1 -> current; reg k 2 -> current; <pass k 2>; age 61min -> done; expire -> 0; dead -> none; stat -> registered 2, applied 1, suppressed 1'),
    ('R69: a failure suspends the key, not others', 'on_failure=suspend', 'reg k 3 -> current; reg b 1 -> current; fail k 3 error=broken -> suspended/broken; keys -> b default: -/1 1 live, k default: -/3 1 suspended broken 3; rsq k 3 -> wait/suspended; rsq k 3 -> wait/suspended=; reg k 4 -> current; rsq k 4 -> wait/suspended; reg k 2 -> superseded/superseded; rsq k 2 -> wait/suspended; <pass b 1>;
      promoted -> none; dead -> none; stat -> registered 4, applied 1, live 3, suspended 1'),
    ('R69: retried', 'on_failure=suspend', 'reg k 3 -> current; fail k 3 error=broken -> suspended/broken; rsq k 3 -> wait/suspended; promoted -> none; resume k -> resumed/broken; resume k -> resumed=; keys -> k default: -/3 1 live; promoted -> k 3; <pass k 3>; keys -> k default: 3/3 0 idle; fail k 3 -> applied='),
    ('R69: it fails again', 'on_failure=suspend', 'reg k 3 -> current; fail k 3 error=one -> suspended/one; fail k 3 error=two -> suspended/one=; resume k -> resumed/one; fail k 3 error=two -> suspended/two; keys -> k default: -/3 1 suspended two 3'),
    ('R69: without a reason', 'on_failure=suspend', 'reg k 3 -> current; fail k 3 -> suspended/failed; keys -> k default: -/3 1 suspended failed 3; resume k -> resumed/failed'),
    ('R69: skipped, the next one passes', 'on_failure=suspend', 'reg k 2 -> current; reg k 3 -> current; rsq k 2 -> park/superseded; fail k 3 error=broken -> suspended/broken; promoted -> none; rsq k 2 -> wait/suspended; skip k 3 reason=useless -> dead/skipped; keys -> k default: -/3 1 live; promoted -> k 2; <pass k 2>; dead -> k 3 skipped "useless"; stat -> registered 2, applied 1, dead 1; skip k 3 -> dead='),
    ('R69: another one is skipped, it stays suspended', 'on_failure=suspend', 'reg k 2 -> current; reg k 3 -> current; fail k 3 error=broken -> suspended/broken; skip k 2 -> dead/skipped; keys -> k default: -/3 1 suspended broken 3; rsq k 3 -> wait/suspended; skip k 4 -> P0002; rsq k 3 -> wait/suspended='),
    ('R69: what is suspended can be unregistered', 'on_failure=suspend', 'reg k 2 -> current; reg k 3 -> current; fail k 3 error=broken -> suspended/broken; unreg k 3 -> unregistered; rsq k 2 -> wait/suspended; resume k -> resumed/broken; <pass k 2>'),
    ('R69: two fail, the first one holds', 'on_failure=suspend', 'reg k 2 -> current; reg k 3 -> current; fail k 2 error=two -> suspended/two; fail k 3 error=three -> suspended/two; keys -> k default: -/3 2 suspended two 2; resume k -> resumed/two; rsq k 2 -> park/superseded; <pass k 3>; stat -> registered 2, applied 1, suppressed 1'),
    ('R69: while a key is suspended nothing of it expires', 'on_failure=suspend deadline=1h', 'reg k 3 -> current; fail k 3 error=broken -> suspended/broken; age 2h -> done; expire -> 0; rsq k 3 -> wait/suspended; resume k -> resumed/broken; expire -> 0; <pass k 3>'),
    ('R69: resumed, it has its deadline anew', 'on_failure=suspend deadline=1h', 'reg k 3 -> current; fail k 3 error=broken -> suspended/broken; age 2h -> done; resume k -> resumed/broken; age 59min -> done; expire -> 0; age 2min -> done; expire -> 1; dead -> k 3 deadline; rsq k 3 -> duplicate/expired='),
    ('R69: by an operator', '', 'reg k 3 -> current; reg b 1 -> current; suspend k reason=maintenance -> suspended/maintenance; suspend k reason=again -> suspended/maintenance=; rsq k 3 -> wait/suspended; reg k 4 -> current; keys -> b default: -/1 1 live, k default: -/4 2 suspended maintenance; <pass b 1>; resume k -> resumed/maintenance; promoted -> none; <pass k 4>'),
    ('R69: an operator gives no reason', '', 'reg k 3 -> current; suspend k -> suspended/suspended; skip k 3 -> dead/skipped; keys -> k default: -/3 0 suspended suspended; resume k -> resumed/suspended; suspend x -> 42704; resume x -> 42704'),
    ('R69: what was promotable is not while suspended', '', 'reg k 1 -> current; reg k 2 -> current; rsq k 1 -> park/superseded; fail k 2 -> dead/failed; promoted -> k 1; suspend k -> suspended/suspended; promoted -> none; resume k -> resumed/suspended; promoted -> k 1; <pass k 1>; promoted -> none'),
    ('R62 R69: a reset ends the suspension by a number that is gone', 'on_failure=suspend', 'reg k 3 -> current; fail k 3 error=broken -> suspended/broken; reset k -> reset; reg k 1 -> current; keys -> k default: -/1 1 live; <pass k 1>; stat -> registered 2, applied 1, suppressed 1'),
    ('R62 R69: not that by an operator', '', 'reg k 3 -> current; suspend k reason=maintenance -> suspended/maintenance; reset k -> reset; reg k 1 -> current; rsq k 1 -> wait/suspended; keys -> k default: -/1 1 suspended maintenance; resume k -> resumed/maintenance; <pass k 1>'),
    ('R70: what fails leaves the order, and the next one passes at once', '', 'reg k 1 -> current; reg k 2 -> current; reg k 3 -> current; rsq k 2 -> park/superseded; skip k 3 reason=poison -> dead/skipped; <pass k 2>; rsq k 1 -> suppress/stale; dead -> k 3 skipped "poison"; stat -> registered 3, applied 1, suppressed 1, dead 1'),
    ('R78: a newest that died is visible', '', 'reg k 1 -> current; <pass k 1>; reg k 2 -> current; fail k 2 error=no -> dead/failed; ended -> k 2 dead failed; dead -> k 2 failed "no"; keys -> k default: 1/2 0 idle; is_current k 2 -> true; reg k 3 -> current; <pass k 3>; ended -> none'),
    ('failed before it is known', '', 'fail k 1 -> P0002; reg k 1 -> current; fail k 2 -> P0002; fail k 1 part={1} -> P0002; app k 2 -> P0002; keys -> k default: -/1 1 live')
) v(description, options, script);

-- R78: a target can tell what it does not show.
SELECT spool.create_resequencer('index', '{search}'), spool.register('index', 'doc', 1), spool.resequence('index', 'doc', 1), spool.register('index', 'doc', 2), spool.failed('index', 'doc', 2, error => 'cannot be parsed') \g /dev/null
SELECT is(d.stream || ' ' || d.seq || ' ' || d.target || ' ' || d.reason || ' ' || d.message, 'doc 2 search failed cannot be parsed', 'R78: not indexed due to a processing error')
  FROM spool.stat_keys k LEFT JOIN spool.dead_letters d ON d.source = 'resequencer' AND d.name = k.resequencer AND d.stream = k.key AND d.target = k.target AND d.seq > k.applied WHERE k.resequencer = 'index';
SELECT spool.create_resequencer('stops', on_failure => 'suspend'), spool.register('stops', 'k', 3), spool.failed('stops', 'k', 3, error => 'no') \g /dev/null
SELECT ok(k.state = 'suspended' AND k.reason = 'no' AND k.blocking = 3 AND k.since BETWEEN now() AND clock_timestamp(), 'R69: status tells reason, number and since when') FROM spool.stat_keys k WHERE k.resequencer = 'stops';

-- Acknowledged.
SELECT pg_temp.plays(description, script, CASE WHEN options ~ 'delivery=' THEN options ELSE concat_ws(' ', 'delivery=acked', options) END) FROM (VALUES
    ('acked: what passed is applied when that is said', '', 'reg k 1 -> current; rsq k 1 -> pass; live -> k 1 passed; stat -> registered 1, live 1; keys -> k default: -/1 1 passed; app k 1 -> applied; live -> none; keys -> k default: 1/1 0 idle; stat -> registered 1, applied 1'),
    ('acked: a pass repeated is one', '', 'reg k 1 -> current; rsq k 1 -> pass; rsq k 1 -> pass=; rsq k 1 -> pass=; duplicates -> 2; app k 1 -> applied; app k 1 -> applied=; rsq k 1 -> duplicate/applied=; stat -> registered 1, applied 1'),
    ('acked: applied without a pass', '', 'reg k 1 -> current; app k 1 -> 55000; live -> k 1 registered; reg k 2 -> current; rsq k 1 -> park/superseded; app k 1 -> 55000; app k 2 -> 55000; rsq k 2 -> pass; app k 1 -> 55000; app k 2 -> applied; app k 1 -> suppress/stale=; app k 3 -> P0002; app k NULL -> 22004'),
    ('atomic: a pass is that it is applied', 'delivery=atomic', 'reg k 1 -> current; app k 1 -> 55000; rsq k 1 -> pass; app k 1 -> applied='),
    ('acked: another number waits, newer or older', '', 'reg k 2 -> current; rsq k 2 -> pass; reg k 3 -> current; reg k 1 -> superseded/superseded; rsq k 3 -> wait/busy; rsq k 3 -> wait/busy=; rsq k 1 -> wait/busy; promoted -> none; live -> k 1 waiting, k 2 passed, k 3 waiting; app k 2 -> applied; live -> k 3 waiting; promoted -> k 3;
      rsq k 1 -> suppress/stale; rsq k 3 -> pass; promoted -> none; app k 3 -> applied; stat -> registered 3, applied 2, suppressed 1'),
    ('acked: keys do not wait for each other', '', 'reg a 1 -> current; reg b 1 -> current; rsq a 1 -> pass; rsq b 1 -> pass; app b 1 -> applied; app a 1 -> applied'),
    ('acked: one that passed is superseded, and still to be ended first', '', 'reg k 1 -> current; rsq k 1 -> pass; reg k 2 -> current; is_current k 1 -> false; rsq k 1 -> pass=; rsq k 2 -> wait/busy; app k 1 -> applied; rsq k 2 -> pass; app k 2 -> applied; stat -> registered 2, applied 2'),
    ('acked: failed after it passed: the next lower one', '', 'reg k 1 -> current; reg k 2 -> current; rsq k 1 -> park/superseded; rsq k 2 -> pass; rsq k 1 -> wait/busy; fail k 2 error=no -> dead/failed; promoted -> k 1; app k 2 -> dead=; rsq k 2 -> duplicate/dead=; rsq k 1 -> pass; app k 1 -> applied; dead -> k 2 failed "no"; stat -> registered 2, applied 1, dead 1'),
    ('acked: or a newer one', '', 'reg k 2 -> current; rsq k 2 -> pass; reg k 3 -> current; rsq k 3 -> wait/busy; fail k 2 -> dead/failed; promoted -> k 3; rsq k 3 -> pass; app k 3 -> applied; stat -> registered 2, applied 1, dead 1'),
    ('acked: unregistered after it passed', '', 'reg k 1 -> current; reg k 2 -> current; rsq k 1 -> park/superseded; rsq k 2 -> pass; unreg k 2 -> unregistered; promoted -> k 1; app k 2 -> unregistered=; rsq k 1 -> pass; app k 1 -> applied; dead -> none; stat -> registered 2, applied 1, unregistered 1'),
    ('acked R68: not acknowledged in time', 'deadline=1h', 'reg k 1 -> current; reg k 2 -> current; age 59min -> done; rsq k 2 -> pass; age 2min -> done; rsq k 1 -> duplicate/expired=; live -> k 2 passed; age 59min -> done; expire -> 1; dead -> k 1 deadline, k 2 deadline; app k 2 -> expired=; reg k 3 -> current; rsq k 3 -> pass; app k 3 -> applied; stat -> registered 3, applied 1, expired 2, lost 1'),
    ('acked R68: then another one goes', 'deadline=1h', 'reg k 2 -> current; rsq k 2 -> pass; age 59min -> done; reg k 3 -> current; rsq k 3 -> wait/busy; age 2min -> done; rsq k 3 -> pass; app k 2 -> expired=; dead -> k 2 deadline; app k 3 -> applied'),
    ('acked R69: it failed, and is tried again', 'on_failure=suspend', 'reg k 2 -> current; rsq k 2 -> pass; reg k 3 -> current; fail k 2 error=no -> suspended/no; live -> k 2 registered, k 3 registered; app k 2 -> 55000; rsq k 2 -> wait/suspended; resume k -> resumed/no; rsq k 2 -> park/superseded; rsq k 3 -> pass; app k 3 -> applied; stat -> registered 2, applied 1, suppressed 1'),
    ('acked R69: suspended while one has passed: it can be ended', '', 'reg k 2 -> current; rsq k 2 -> pass; reg k 3 -> current; suspend k -> suspended/suspended; rsq k 2 -> pass=; rsq k 3 -> wait/suspended; app k 2 -> applied; rsq k 3 -> wait/suspended=; promoted -> none; resume k -> resumed/suspended; promoted -> k 3; rsq k 3 -> pass'),
    ('acked R62: a reset while one has passed', '', 'reg k 9 -> current; rsq k 9 -> pass; reset k -> reset; app k 9 -> P0002; reg k 1 -> current; rsq k 1 -> pass; app k 1 -> applied; stat -> registered 2, applied 1, suppressed 1'),
    ('acked R13: disabled, a pass need not be acknowledged', 'enabled=false', 'reg k 1 -> current; reg k 2 -> current; rsq k 2 -> pass/disabled; rsq k 1 -> pass/disabled; app k 2 -> applied=; live -> none; stat -> registered 3, applied 2, suppressed 1, forced 2'),
    ('acked R13: disabled while one has passed', '', 'reg k 1 -> current; rsq k 1 -> pass; reg k 2 -> current; alter enabled=false -> done; rsq k 2 -> pass/disabled; app k 1 -> suppress/stale=; alter enabled=true -> done; reg k 3 -> current; rsq k 3 -> pass; app k 3 -> applied; keys -> k default: 3/3 0 idle'),
    ('acked R80: the valve counts passes', 'max_suppressed=2 supersede=suppress', 'reg k 1 -> current; reg k 2 -> current; reg k 3 -> current; reg k 4 -> current; rsq k 1 -> suppress/superseded; rsq k 2 -> pass/valve; rsq k 3 -> wait/busy; app k 2 -> applied; rsq k 3 -> suppress/superseded; rsq k 4 -> pass; app k 4 -> applied; stat -> registered 4, applied 2, suppressed 2, forced 1'),
    ('acked R16: on_unregistered=register', 'on_unregistered=register', 'rsq k 1 -> pass; rsq k 1 -> pass=; live -> k 1 passed; rsq k 2 -> wait/busy; app k 1 -> applied; promoted -> k 2; rsq k 2 -> pass; app k 2 -> applied; stat -> registered 2, applied 2'),
    ('altered from acked to atomic while one has passed', '', 'reg k 1 -> current; rsq k 1 -> pass; alter delivery=atomic -> done; reg k 2 -> current; rsq k 2 -> wait/busy; rsq k 1 -> pass=; app k 1 -> applied; rsq k 2 -> pass; keys -> k default: 2/2 0 idle')
) v(description, options, script);

SELECT * FROM finish();
ROLLBACK;
