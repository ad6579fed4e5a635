-- claim, ack, nack, extend_claim, release and the view claims.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL application_name = 'claim.sql';

SELECT plan(204);

-- A queue with the packets 1 .. n in each of some streams.
CREATE FUNCTION pg_temp.make(queue text, n int, streams text[] = '{""}', order_by text = 'sequence', on_error text = 'retry', max_attempts int = NULL,
                             retry_delay interval = '0', retention interval = '0', history text = 'failures') RETURNS void
LANGUAGE sql AS $$
    SELECT spool.create_queue(queue, order_by, on_error => on_error, max_attempts => max_attempts, retry_delay => retry_delay, retention => retention, history => history);
    SELECT spool.write(queue, spool.make_packet(i, i::text, ctime => '2026-01-01Z'::timestamptz + i * interval '1 s'), s) FROM unnest(streams) s, generate_series(1, n) i
$$;
-- Claims; the jobs as stream and number.
CREATE FUNCTION pg_temp.claimed(queue text, max_jobs int = 1, lease interval = '5 min', order_by text = NULL, stream text = NULL) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(j.stream, j.seq), ' ' ORDER BY j.ordinality), '')
      FROM spool.claim(queue, max_jobs, lease, order_by, stream) WITH ORDINALITY j
$$;
-- The only open claim of a queue.
CREATE FUNCTION pg_temp.open(queue text, stream text = NULL) RETURNS bigint
LANGUAGE sql AS $$ SELECT c.claim_id FROM spool.claims c WHERE c.queue = $1 AND ($2 IS NULL OR c.stream = $2) $$;
-- What spool.ls shows, in short.
CREATE FUNCTION pg_temp.ls(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(l.stream, l.seq, ' ', l.state, nullif(l.attempts, 0)), ', ' ORDER BY l.ordinality), '') FROM spool.ls(queue) WITH ORDINALITY l
$$;
-- done, failed and dead of the newest states of a queue.
CREATE FUNCTION pg_temp.counts(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT concat_ws(' ', sum(st.consumed), sum(st.done), sum(st.failed), sum(st.dead))
      FROM spool.queue q JOIN spool.stream s ON s.queue = q.id,
           LATERAL (SELECT * FROM spool.state st WHERE st.stream = s.id ORDER BY version DESC LIMIT 1) st
     WHERE q.name = $1
$$;

-- What is refused.
SELECT pg_temp.make('q', 3) \g /dev/null
SELECT spool.create_queue('archive', append_only => true) \g /dev/null
SELECT throws_ok(sql, code, message, 'refused: ' || message) FROM (VALUES
    ($$SELECT * FROM spool.claim('q', -1)$$, '22023', 'max_jobs must not be negative'),
    ($$SELECT * FROM spool.claim('q', NULL)$$, '22004', 'max_jobs must not be null'),
    ($$SELECT * FROM spool.claim(NULL)$$, '22004', 'queue must not be null'),
    ($$SELECT * FROM spool.claim('q', lease => NULL)$$, '22004', 'lease must not be null'),
    ($$SELECT * FROM spool.claim('q', lease => '0')$$, '22023', 'lease must be greater than zero'),
    ($$SELECT * FROM spool.claim('q', lease => '-1 s')$$, '22023', 'lease must not be negative'),
    ($$SELECT * FROM spool.claim('q', lease => '1 day -1 h')$$, '22023', 'lease must not be negative'),
    ($$SELECT * FROM spool.claim('q', lease => '1001 years')$$, '22023', 'lease must not be longer than 1000 years'),
    ($$SELECT * FROM spool.claim('nowhere')$$, '42704', 'queue "nowhere" does not exist'),
    ($$SELECT * FROM spool.claim('archive')$$, '55000', 'queue "archive" is append-only'),
    ($$SELECT * FROM spool.claim('q', order_by => 'newest')$$, '22023', 'unrecognized order_by: "newest"'),
    ($$SELECT spool.ack(NULL::bigint)$$, '22004', 'claim_id must not be null'),
    ($$SELECT spool.ack(NULL::bigint[])$$, '22004', 'claim_ids must not be null'),
    ($$SELECT spool.ack(ARRAY[1, NULL]::bigint[])$$, '22004', 'claim_ids must not contain nulls'),
    ($$SELECT spool.ack(0)$$, '55P03', 'claim 0 is no longer held'),
    ($$SELECT spool.ack(-1)$$, '55P03', 'claim -1 is no longer held'),
    ($$SELECT spool.ack(ARRAY[9223372036854775807])$$, '55P03', 'claim 9223372036854775807 is no longer held'),
    ($$SELECT spool.nack(NULL, 1, '')$$, '22004', 'claim_id must not be null'),
    ($$SELECT spool.nack(1, NULL, '')$$, '22004', 'packet_id must not be null'),
    ($$SELECT spool.nack(1, 1, NULL)$$, '22004', 'error must not be null'),
    ($$SELECT spool.nack(1, 1, '', '-1 s')$$, '22023', 'delay must not be negative'),
    ($$SELECT spool.nack(1, 1, '', '1001 years')$$, '22023', 'delay must not be longer than 1000 years'),
    ($$SELECT spool.nack(0, 1, '')$$, '55P03', 'claim 0 is no longer held'),
    ($$SELECT spool.extend_claim(NULL, '1 s')$$, '22004', 'claim_id must not be null'),
    ($$SELECT spool.extend_claim(1, NULL)$$, '22004', 'lease must not be null'),
    ($$SELECT spool.extend_claim(1, '0')$$, '22023', 'lease must be greater than zero'),
    ($$SELECT spool.extend_claim(1, '-1 s')$$, '22023', 'lease must not be negative'),
    ($$SELECT spool.extend_claim(0, '1 s')$$, '55P03', 'claim 0 is no longer held'),
    ($$SELECT spool.release(NULL)$$, '22004', 'claim_id must not be null'),
    ($$SELECT spool.release(0)$$, '55P03', 'claim 0 is no longer held')
) v(sql, code, message);
SELECT is(pg_temp.claimed('q', 0), '', 'max_jobs 0');
SELECT is(spool.ack('{}'::bigint[]), 0::bigint, 'no claims');

-- A claim and its rows.
SELECT is((SELECT to_jsonb(j) - 'packet_id' - 'claim_id' FROM spool.claim('q', 1) j),
    jsonb_build_object('queue', 'q', 'stream', '', 'seq', 1, 'ctime', '2026-01-01 00:00:01Z'::timestamptz, 'kind', 'command',
        'params', '{}'::text[], 'env', '{}'::jsonb, 'payload', '\x31', 'attempt', 1), 'the columns of a claimed job');
SELECT is((SELECT to_jsonb(c) - 'claim_id' - 'since' - 'lease_until' FROM spool.claims c),
    jsonb_build_object('queue', 'q', 'stream', '', 'jobs', 1, 'role', current_user, 'application_name', 'claim.sql'), 'the columns of claims');
SELECT ok(claim_id > 0 AND since > now() AND lease_until BETWEEN since + '4 min 59 s' AND since + '5 min 1 s', 'number and times of a claim') FROM spool.claims;
SELECT is(pg_temp.ls('q'), '1 claimed, 2 waiting, 3 waiting', 'F72: ls of what is claimed');
SELECT is(spool.payload(spool.get_packet('q', spool.packet_id('q', 1))), '\x31', 'F72: what is claimed is readable');
SELECT is(pg_temp.claimed('q', 9) || pg_temp.claimed('q', 9, stream => '') || (SELECT count(*) FROM spool.take('q')) || (SELECT count(*) FROM spool.peek('q')), '00',
    'F71: while one is claimed nothing of its stream is handed out');
SELECT is(pg_temp.claimed('q', 9, order_by => 'timestamp'), '', 'F71: nor in another order');
SELECT throws_ok(format($$SELECT spool.discard('q', %s)$$, spool.packet_id('q', 1)), '55006',
    format('packet %s of queue "q" is running', spool.packet_id('q', 1)), 'what is claimed is not discarded');
SELECT is(spool.ack(pg_temp.open('q')), 1::bigint, 'acknowledged');
SELECT is(pg_temp.ls('q') || ' ' || spool.next_seq('q') || ' ' || pg_temp.counts('q'), '2 ready, 3 waiting 2 1 1 0 0', 'it is consumed');
SELECT is_empty('SELECT * FROM spool.claims', 'no claim is open');
SELECT is_empty('SELECT * FROM spool.attempts', 'F36: no attempt is recorded');
SELECT pg_temp.claimed('q'), set_config('my.claim', pg_temp.open('q')::text, true), spool.ack(pg_temp.open('q')) \g /dev/null
SELECT throws_ok(format('SELECT spool.' || call, current_setting('my.claim')), '55P03', 'claim ' || current_setting('my.claim') || ' is no longer held', 'an acknowledged claim: ' || call)
    FROM unnest(ARRAY['ack(%s)', 'ack(%s, 1)', 'ack(ARRAY[%s])', 'nack(%s, 1, '''')', 'extend_claim(%s, ''1 s'')', 'release(%s)']) call;

-- Several streams: a claim of each; all in one ack, also when an id comes twice.
SELECT pg_temp.make('many', 3, '{A,B,C}') \g /dev/null
SELECT is(pg_temp.claimed('many', 6), 'A1 A2 B1 B2 C1 C2', 'F17: jobs of several streams');
SELECT is((SELECT string_agg(stream || jobs, ' ' ORDER BY claim_id) FROM spool.claims), 'A2 B2 C2', 'F17: a claim for each stream');
SELECT is(spool.ack(ARRAY(SELECT c.claim_id FROM spool.claims c, generate_series(1, 2) WHERE c.stream IN ('A', 'C'))), 4::bigint, 'two of them acknowledged, each named twice');
SELECT is(pg_temp.ls('many'), 'B1 claimed, B2 claimed, A3 ready, B3 waiting, C3 ready', 'the third is still claimed');
SELECT throws_ok(format('SELECT spool.ack(ARRAY[%s, 0])', pg_temp.open('many')), '55P03', 'claim 0 is no longer held', 'one of two is lost');
SELECT is(pg_temp.ls('many'), 'B1 claimed, B2 claimed, A3 ready, B3 waiting, C3 ready', 'then nothing is acknowledged');
SELECT is((SELECT spool.ack(array_agg(claim_id)) FROM spool.claim('many', 9)), 2::bigint, 'claim and ack in one statement');
SELECT is(spool.ack(ARRAY(SELECT claim_id FROM spool.claims)) || ' ' || pg_temp.counts('many'), '2 8 8 0 0', 'the rest');

-- Up to a number.
SELECT pg_temp.make('part', 6) \g /dev/null
SELECT is(pg_temp.claimed('part', 5), '1 2 3 4 5', 'five are claimed');
SELECT is(spool.ack(pg_temp.open('part'), 0), 0::bigint, 'none is up to 0');
SELECT is(spool.ack(pg_temp.open('part'), 2), 2::bigint, 'two are up to 2');
SELECT is(pg_temp.ls('part') || ' ' || spool.next_seq('part'), '3 claimed, 4 claimed, 5 claimed, 6 waiting 3', 'the rest stays claimed');
SELECT is((SELECT jobs FROM spool.claims), 3::bigint, 'under the same claim');
SELECT is(spool.ack(pg_temp.open('part'), 99), 3::bigint, 'up to a number above all');
SELECT is(pg_temp.ls('part') || ' ' || (SELECT count(*) FROM spool.claims), '6 ready 0', 'then the claim ends');

-- nack
SELECT pg_temp.make('nack', 5, retry_delay => '1 min') \g /dev/null
SELECT is(pg_temp.claimed('nack', 4), '1 2 3 4', 'four are claimed');
SELECT throws_ok(format($$SELECT spool.nack(%s, %s, 'no')$$, pg_temp.open('nack'), spool.packet_id('nack', 5)), '22023',
    format('packet %s is not part of claim %s', spool.packet_id('nack', 5), pg_temp.open('nack')), 'a packet that is not claimed');
SELECT spool.nack(pg_temp.open('nack'), spool.packet_id('nack', 3), 'the printer burns') \g /dev/null
SELECT is(pg_temp.ls('nack') || ' ' || pg_temp.counts('nack'), '3 retrying1, 4 waiting, 5 waiting 2 2 1 0', 'those before are done, the failed one waits, those after are given back');
SELECT is((SELECT to_jsonb(a) - '{packet_id,started_at,finished_at}'::text[] FROM spool.attempts a WHERE queue = 'nack'),
    '{"queue": "nack", "stream": "", "seq": 3, "attempt": 1, "outcome": "error", "exit_code": null, "signal": null, "sqlstate": null, "message": "the printer burns", "stdout": null, "stderr": null}', 'F36: the attempt');
SELECT ok(packet_id = spool.packet_id('nack', 3) AND finished_at > started_at AND started_at > now(), 'F36: its times') FROM spool.attempts WHERE queue = 'nack';
SELECT is(pg_temp.claimed('nack', 9), '', 'F35: it waits for its retry');
SELECT spool.retry_now('nack') \g /dev/null
SELECT is(pg_temp.claimed('nack', 9), '3 4 5', 'F35: which an operator can give at once');
SELECT spool.nack(pg_temp.open('nack'), spool.packet_id('nack', 3), 'no paper', '0') \g /dev/null
SELECT is((SELECT string_agg(concat(seq, '/', attempt), ' ') FROM spool.claim('nack', 1)), '3/2', 'F35: as a delay can');
SELECT spool.nack(pg_temp.open('nack'), spool.packet_id('nack', 3), 'no paper', '1 h') \g /dev/null
SELECT ok(retry_at BETWEEN clock_timestamp() + '59 min' AND clock_timestamp() + '1 h', 'F35: a longer delay than the queue''s')
    FROM spool.state WHERE stream = (SELECT s.id FROM spool.stream s JOIN spool.queue q ON q.id = s.queue WHERE q.name = 'nack') ORDER BY version DESC LIMIT 1;
-- the policy after the last attempt
SELECT pg_temp.make('policy ' || p, 3, on_error => p, max_attempts => 1) FROM unnest('{retry,dead,leave,delete}'::text[]) p \g /dev/null
SELECT is(pg_temp.claimed('policy ' || p, 9), '1 2 3', 'three are claimed: ' || p) FROM unnest('{retry,dead,leave,delete}'::text[]) p;
SELECT spool.nack(pg_temp.open('policy ' || p), spool.packet_id('policy ' || p, 2), 'no') FROM unnest('{retry,dead,leave,delete}'::text[]) p \g /dev/null
SELECT is(pg_temp.ls('policy ' || p) || '; ' || pg_temp.claimed('policy ' || p, 9), expected, 'after the last attempt: ' || p) FROM (VALUES
    ('retry', '2 retrying1, 3 waiting; '), ('dead', '2 dead1, 3 ready; 3'), ('leave', '2 failed1, 3 ready; 3'), ('delete', '3 ready; 3')) v(p, expected);
SELECT is((SELECT string_agg(concat_ws(' ', name, seq, reason, message, attempts), ', ' ORDER BY name) FROM spool.dead_letters),
    'policy dead 2 failed no 1, policy leave 2 failed no 1', 'F36: dead letters tell why');

-- release
SELECT pg_temp.make('release', 3) \g /dev/null
SELECT is(pg_temp.claimed('release', 2), '1 2', 'two are claimed');
SELECT spool.release(pg_temp.open('release')) \g /dev/null
SELECT is(pg_temp.ls('release') || ' ' || pg_temp.counts('release'), '1 ready, 2 waiting, 3 waiting 0 0 0 0', 'released: all are given back, no attempt is counted');
SELECT is((SELECT string_agg(concat(seq, '/', attempt), ' ') FROM spool.claim('release', 9)), '1/1 2/1 3/1', 'and handed out again');

-- extend_claim, and leases that are over
SELECT pg_temp.make('lease', 4, '{A,B}') \g /dev/null
SELECT is(pg_temp.claimed('lease', 1, '1 us', stream => 'A'), 'A1', 'a lease that is over at once');
SELECT is((SELECT lease_until < clock_timestamp() FROM spool.claims WHERE stream = 'A'), true, 'the claim is shown until it is taken over');
SELECT is((SELECT state FROM spool.ls('lease', 'A') WHERE seq = 1), 'ready', 'its packet is ready');
SELECT set_config('my.until', spool.extend_claim(pg_temp.open('lease'), '1 h')::text, true) \g /dev/null
SELECT is(lease_until, current_setting('my.until')::timestamptz, 'it can be extended until then') FROM spool.claims WHERE stream = 'A';
SELECT ok(lease_until BETWEEN clock_timestamp() + '59 min' AND clock_timestamp() + '1 h', 'by the new lease from now on') FROM spool.claims WHERE stream = 'A';
SELECT is(pg_temp.claimed('lease', 9, stream => 'A'), '', 'so that nobody takes it over');
SELECT spool.extend_claim(pg_temp.open('lease'), '1 us') \g /dev/null
SELECT is(spool.ack(pg_temp.open('lease')), 1::bigint, 'or acknowledged');
SELECT is(pg_temp.claimed('lease', 1, '1 us', stream => 'A'), 'A2', 'a single job, its lease is over');
SELECT set_config('my.claim', pg_temp.open('lease')::text, true) \g /dev/null
SELECT is((SELECT string_agg(concat(stream, seq, '/', attempt), ' ') FROM spool.claim('lease', 9, stream => 'A')), 'A2/2 A3/1 A4/1', 'it is handed out again, in order, as a second attempt');
SELECT is((SELECT string_agg(concat_ws(' ', stream, seq, attempt, outcome, message), ', ') FROM spool.attempts WHERE queue = 'lease'), 'A 2 1 crashed the lease was over', 'F36: the first one has crashed');
SELECT ok(pg_temp.open('lease') > current_setting('my.claim')::bigint, 'the new claim has a higher number');
SELECT throws_ok(format('SELECT spool.' || call, current_setting('my.claim')), '55P03', 'claim ' || current_setting('my.claim') || ' is no longer held', 'a lost claim: ' || call)
    FROM unnest(ARRAY['ack(%s)', 'ack(%s, 1)', 'ack(ARRAY[%s])', 'nack(%s, 1, '''')', 'extend_claim(%s, ''1 s'')', 'release(%s)']) call;
SELECT is(spool.ack(pg_temp.open('lease')), 3::bigint, 'its jobs are the new one''s');
SELECT is(pg_temp.claimed('lease', 3, '1 us', stream => 'B'), 'B1 B2 B3', 'several jobs, their lease is over');
SELECT is((SELECT string_agg(concat(stream, seq, '/', attempt), ' ') FROM spool.claim('lease', 9, stream => 'B')), 'B1/1', 'they are handed out one by one');
SELECT is(spool.ack(pg_temp.open('lease')) || pg_temp.claimed('lease', 9), '1B2', 'the second');
SELECT is(spool.ack(pg_temp.open('lease')) || pg_temp.claimed('lease', 9), '1B3', 'the third');
SELECT is(spool.ack(pg_temp.open('lease')) || pg_temp.claimed('lease', 9), '1B4', 'the others');
-- the last attempt
SELECT pg_temp.make('lost ' || p, 3, on_error => p, max_attempts => 1) FROM unnest('{retry,dead}'::text[]) p \g /dev/null
SELECT is(pg_temp.claimed('lost ' || p, 1, '1 us'), '1', 'claimed: ' || p) FROM unnest('{retry,dead}'::text[]) p;
SELECT is(pg_temp.claimed('lost dead', 9) || ', ' || pg_temp.ls('lost dead'), '2 3, 1 dead1, 2 claimed, 3 claimed', 'F35: lost at the last attempt: dead');
SELECT is(pg_temp.claimed('lost retry', 9) || ', ' || pg_temp.ls('lost retry'), ', 1 retrying1, 2 waiting, 3 waiting', 'F35: or it stays');
-- operators take over what is lost
SELECT pg_temp.make('operator', 5) \g /dev/null
SELECT is(pg_temp.claimed('operator', 2, '1 us'), '1 2', 'two are claimed, the lease is over');
SELECT set_config('my.claim', pg_temp.open('operator')::text, true), spool.discard('operator', spool.packet_id('operator', 1)) \g /dev/null
SELECT is(pg_temp.ls('operator'), '1 dead, 2 ready, 3 waiting, 4 waiting, 5 waiting', 'discarded');
SELECT throws_ok(format('SELECT spool.ack(%s)', current_setting('my.claim')), '55P03', 'claim ' || current_setting('my.claim') || ' is no longer held', 'the claim is lost by that');
SELECT spool.ack(pg_temp.open('operator')) FROM spool.claim('operator', 1) \g /dev/null
SELECT is(pg_temp.claimed('operator', 1, '1 us'), '3', 'one is claimed, the lease is over');
SELECT spool.set_next_seq('operator', 5) \g /dev/null
SELECT is(pg_temp.ls('operator') || ', ' || pg_temp.claimed('operator', 9), '1 dead, 3 dead, 4 dead, 5 ready, 5', 'F73: the cursor is set past it');

-- set_next_seq while jobs are claimed: its cursor stays.
SELECT pg_temp.make('forward', 6, retention => '1 h') \g /dev/null
SELECT is(pg_temp.claimed('forward', 2), '1 2', 'F73: two are claimed');
SELECT spool.set_next_seq('forward', 5) \g /dev/null
SELECT is(pg_temp.ls('forward'), '3 dead, 4 dead, 5 waiting, 6 waiting', 'F73: the cursor is set past them');
SELECT is(spool.ack(pg_temp.open('forward'), 1) || ' ' || spool.next_seq('forward'), '1 5', 'F73: acknowledged, the cursor stays');
SELECT is(spool.ack(pg_temp.open('forward')) || ' ' || spool.next_seq('forward'), '1 5', 'F73: all acknowledged, the cursor stays');
SELECT is(pg_temp.ls('forward'), '1 done, 2 done, 3 dead, 4 dead, 5 ready, 6 waiting', 'F73: what was claimed is done');
SELECT pg_temp.make('back', 4, retention => '1 h') \g /dev/null
SELECT count(spool.ack(claim_id)) FROM spool.claim('back', 1) \g /dev/null
SELECT is(pg_temp.claimed('back', 2), '2 3', 'F73: two are claimed');
SELECT spool.set_next_seq('back', 1) \g /dev/null
SELECT is(spool.ack(pg_temp.open('back')) || ' ' || spool.next_seq('back'), '2 1', 'F73: set back and acknowledged');
SELECT is(pg_temp.ls('back'), '1 ready, 2 done, 3 done, 4 gap', 'F73: what was done does not run again, what was retained does');
SELECT pg_temp.make('given ' || v, 6) FROM unnest('{nack,release,lost}'::text[]) v \g /dev/null
SELECT is(pg_temp.claimed('given ' || v, 3), '1 2 3', 'F73: three are claimed: ' || v) FROM unnest('{nack,release,lost}'::text[]) v;
SELECT spool.set_next_seq('given ' || v, 5) FROM unnest('{nack,release,lost}'::text[]) v \g /dev/null
SELECT spool.nack(claim_id, (SELECT claimed[2] FROM spool.state WHERE runner = claim_id LIMIT 1), 'no') FROM spool.claims WHERE queue = 'given nack' \g /dev/null
SELECT spool.release(pg_temp.open('given release')), spool.extend_claim(pg_temp.open('given lost'), '1 us') \g /dev/null
SELECT is(pg_temp.claimed('given ' || v, 1), '5', 'F73: the cursor stays: ' || v) FROM unnest('{nack,release,lost}'::text[]) v;
SELECT is(pg_temp.ls('given nack'), '2 dead1, 3 dead, 4 dead, 5 claimed, 6 waiting', 'F73: what was not done is a dead letter: nack');
SELECT is(pg_temp.ls('given ' || v), '1 dead, 2 dead, 3 dead, 4 dead, 5 claimed, 6 waiting', 'F73: what was not done is a dead letter: ' || v) FROM unnest('{release,lost}'::text[]) v;

-- Retention and history
SELECT pg_temp.make('retain', 3, retention => '1 h', history => 'all') \g /dev/null
SELECT spool.ack(array_agg(claim_id)) FROM spool.claim('retain', 2) \g /dev/null
SELECT is(pg_temp.ls('retain') || '; ' || (SELECT string_agg(concat_ws(' ', seq, attempt, outcome), ', ' ORDER BY seq) FROM spool.attempts WHERE queue = 'retain'),
    '1 done, 2 done, 3 ready; 1 1 ok, 2 1 ok', 'F30: what is acknowledged is retained, and recorded where the queue''s history keeps all');
SELECT spool.set_next_seq('retain', 1) \g /dev/null
SELECT is(pg_temp.claimed('retain', 9), '1 2 3', 'F30: and can be replayed');

-- NOP and Fail packets
SELECT spool.create_queue('kinds', on_error => 'dead') \g /dev/null
SELECT spool.write_many('kinds', ARRAY(SELECT spool.make_packet(n, '', kind => k) FROM unnest('{nop,fail,command,command,nop,command,fail}'::text[]) WITH ORDINALITY v(k, n))) \g /dev/null
SELECT is(pg_temp.claimed('kinds', 9), '3 4', 'F33: packets that run nothing at the head are consumed; a claim ends before one');
SELECT is(pg_temp.ls('kinds') || ' ' || spool.next_seq('kinds'), '2 dead1, 3 claimed, 4 claimed, 5 waiting, 6 waiting, 7 waiting 3', 'F32: by the policy');
SELECT is(spool.ack(pg_temp.open('kinds')) || pg_temp.claimed('kinds', 9), '26', 'F33: the next');
SELECT spool.release(pg_temp.open('kinds')) \g /dev/null
SELECT spool.create_queue('barrier') \g /dev/null
SELECT spool.write_many('barrier', ARRAY(SELECT spool.make_packet(n, '', kind => k) FROM unnest('{command,fail,command}'::text[]) WITH ORDINALITY v(k, n))) \g /dev/null
SELECT is(pg_temp.claimed('barrier', 9), '1', 'F32: under retry a Fail packet is a barrier');
SELECT is(spool.ack(pg_temp.open('barrier')) || pg_temp.claimed('barrier', 9), '1', 'F32: which nobody passes');

-- A conflict at the head, as for take
SELECT pg_temp.make('conflict', 1) \g /dev/null
SELECT spool.write('conflict', spool.make_packet(1, 'other')) \g /dev/null
SELECT throws_ok($$SELECT * FROM spool.claim('conflict')$$, '21000', format('packets %s and %s of queue "conflict" have the same number 1', min(packet_id), max(packet_id)), 'F14: two packets with one number')
    FROM spool.ls('conflict');
SELECT pg_temp.make('paused', 1), spool.pause_queue('paused') \g /dev/null
SELECT is(pg_temp.claimed('paused'), '', 'F88: a paused queue');
SELECT spool.resume_queue('paused'), pg_temp.claimed('paused'), spool.pause_queue('paused') \g /dev/null
SELECT is(spool.ack(pg_temp.open('paused')), 1::bigint, 'F88: what was claimed before the pause is acknowledged');

-- Other orders
SELECT pg_temp.make('time', 4, order_by => 'timestamp') \g /dev/null
SELECT spool.write('time', spool.make_packet(9, '', ctime => '2026-01-01Z')) \g /dev/null
SELECT is(pg_temp.claimed('time', 4), '9 1 2 3', 'F20: by creation time');
SELECT spool.write('time', spool.make_packet(8, '', ctime => '2025-01-01Z')) \g /dev/null
SELECT throws_ok(format('SELECT spool.ack(%s, 4)', pg_temp.open('time')), '22023', format('claim %s has no packet with number 4', pg_temp.open('time')), 'F20: up to a number that is not claimed');
SELECT is(spool.ack(pg_temp.open('time'), 1), 2::bigint, 'F20: those handed out up to number 1');
SELECT is((SELECT string_agg(seq::text, ' ') FROM spool.ls('time', state => 'claimed')), '2 3', 'F20: the rest stays claimed');
SELECT spool.nack(pg_temp.open('time'), spool.packet_id('time', 3), 'no') \g /dev/null
SELECT is(pg_temp.claimed('time', 9), '8 3 4', 'F91: what came late is next');
SELECT is(spool.ack(pg_temp.open('time')) || pg_temp.ls('time'), '3', 'F20: all');
SELECT pg_temp.make('latest', 3, '{A,B}', order_by => 'latest') \g /dev/null
SELECT is(pg_temp.claimed('latest', 9), 'A3 B3', 'latest: the newest of each stream');
SELECT spool.write('latest', spool.make_packet(4, ''), 'A') \g /dev/null
SELECT is(spool.ack(pg_temp.open('latest', 'A')) || ' ' || spool.next_seq('latest', 'A'), '1 4', 'latest: those below are superseded');
SELECT spool.nack(pg_temp.open('latest', 'B'), spool.packet_id('latest', 3, 'B'), 'no') \g /dev/null
SELECT is((SELECT string_agg(concat(stream, seq, '/', attempt), ' ') FROM spool.claim('latest', 9)), 'B3/2 A4/1', 'latest: the next');
SELECT is(spool.ack(ARRAY(SELECT claim_id FROM spool.claims WHERE queue = 'latest')) || pg_temp.ls('latest'), '2', 'latest: all');
SELECT is((SELECT sum(superseded) FROM spool.stream s JOIN spool.queue q ON q.id = s.queue, LATERAL (SELECT * FROM spool.state st WHERE st.stream = s.id ORDER BY version DESC LIMIT 1) st WHERE q.name = 'latest'),
    4::numeric, 'latest: what was superseded is counted');

-- An order override
SELECT pg_temp.make('over', 0) \g /dev/null
SELECT spool.write('over', spool.make_packet(n, '', ctime => '2026-01-01Z'::timestamptz - n * interval '1 s')) FROM unnest('{1,2,4,6}'::int[]) n \g /dev/null
SELECT is(pg_temp.claimed('over', 2, order_by => 'timestamp'), '6 4', 'F16: an order override');
SELECT is(pg_temp.ls('over'), '1 waiting, 2 waiting, 4 claimed, 6 claimed', 'F16: just those are claimed');
SELECT throws_ok(format($$SELECT spool.discard('over', %s)$$, spool.packet_id('over', n)), '55006', format('packet %s of queue "over" is running', spool.packet_id('over', n)), 'F16: and not discarded')
    FROM unnest('{4,6}'::int[]) n;
SELECT is(spool.ack(pg_temp.open('over'), 6), 1::bigint, 'F16: those up to the number handed out first');
SELECT is(spool.ack(pg_temp.open('over')), 1::bigint, 'F16: the other');
SELECT is(pg_temp.ls('over') || ' ' || spool.next_seq('over'), '1 ready, 2 waiting 1', 'F16: they are removed, the cursor stays');
SELECT pg_temp.claimed('over', 1, order_by => 'timestamp'), spool.set_next_seq('over', 3) \g /dev/null
SELECT is(spool.ack(pg_temp.open('over')) || ' ' || pg_temp.ls('over') || ' ' || spool.next_seq('over'), '1 1 dead, 2 dead 3', 'F73: what an operator passed over is a dead letter');

-- Redriven packets, ahead of the cursor
SELECT pg_temp.make('ahead', 4), spool.set_next_seq('ahead', 3), spool.redrive('ahead') \g /dev/null
SELECT is(pg_temp.claimed('ahead', 9), '1', 'F34: those ahead of the cursor are claimed one by one');
SELECT spool.nack(pg_temp.open('ahead'), (SELECT packet_id FROM spool.ls('ahead') WHERE seq = 1), 'no') \g /dev/null
SELECT is((SELECT string_agg(concat(seq, '/', attempt), ' ') FROM spool.claim('ahead', 9)), '1/2', 'F34: again after a failure');
SELECT is(spool.ack(pg_temp.open('ahead')) || pg_temp.claimed('ahead', 9), '12', 'F34: the second');
SELECT spool.release(pg_temp.open('ahead')) \g /dev/null
SELECT is(pg_temp.claimed('ahead', 9), '2', 'F34: released, it comes again');
SELECT is(spool.ack(pg_temp.open('ahead'), 2) || pg_temp.claimed('ahead', 9), '13 4', 'F34: then the others');

-- A queue without order
SELECT pg_temp.make('none', 6, order_by => 'none', retry_delay => '1 min') \g /dev/null
SELECT is(pg_temp.claimed('none', 2) || ', ' || pg_temp.claimed('none', 2), '1 2, 3 4', 'F92: several claims at once');
SELECT is(pg_temp.ls('none'), '1 claimed, 2 claimed, 3 claimed, 4 claimed, 5 ready, 6 ready', 'F92: claimed ones');
SELECT is((SELECT string_agg(concat_ws(' ', stream, jobs, role = current_user, application_name), ', ') FROM spool.claims WHERE queue = 'none'), ' 2 t claim.sql,  2 t claim.sql', 'F92: the claims');
SELECT is((SELECT string_agg(spool.payload(spool.get_packet('none', l.packet_id))::text, ' ') FROM spool.ls('none', state => 'claimed') l), '\x31 \x32 \x33 \x34', 'F72: they are readable');
SELECT set_config('my.claim', min(claim_id)::text, true), set_config('my.other', max(claim_id)::text, true) FROM spool.claims WHERE queue = 'none' \g /dev/null
SELECT is(spool.ack(current_setting('my.claim')::bigint, 1) || ' ' || spool.ack(current_setting('my.claim')::bigint), '1 1', 'F92: acknowledged in two steps');
SELECT throws_ok(format('SELECT spool.' || call, current_setting('my.claim')), '55P03', 'claim ' || current_setting('my.claim') || ' is no longer held', 'F92: a lost claim: ' || call)
    FROM unnest(ARRAY['ack(%s)', 'ack(%s, 1)', 'ack(ARRAY[%s])', 'nack(%s, 1, '''')', 'extend_claim(%s, ''1 s'')', 'release(%s)']) call;
SELECT throws_ok(format('SELECT spool.ack(%s, 9)', current_setting('my.other')), '22023', format('claim %s has no packet with number 9', current_setting('my.other')), 'F92: a number that is not claimed');
SELECT spool.nack(current_setting('my.other')::bigint, (SELECT packet_id FROM spool.ls('none') WHERE seq = 3), 'no') \g /dev/null
SELECT is(pg_temp.ls('none') || '; ' || pg_temp.claimed('none', 9), '3 retrying1, 4 ready, 5 ready, 6 ready; 4', 'F92: a failed one blocks nothing; what was given back comes one by one');
SELECT set_config('my.until', spool.extend_claim(pg_temp.open('none'), '1 h')::text, true) \g /dev/null
SELECT is(lease_until, current_setting('my.until')::timestamptz, 'F92: extended') FROM spool.claims WHERE queue = 'none';
SELECT spool.release(pg_temp.open('none')) \g /dev/null
SELECT is(pg_temp.claimed('none', 1, '1 us') || pg_temp.claimed('none', 9) || pg_temp.claimed('none', 9), '445 6', 'F92: released; a lost lease is taken over');
SELECT is((SELECT string_agg(concat_ws(' ', seq, attempt, outcome, message), ', ' ORDER BY seq) FROM spool.attempts WHERE queue = 'none'), '3 1 error no, 4 1 crashed the lease was over', 'F36: attempts');
SELECT is((SELECT concat_ws(' ', sum(consumed), sum(done), sum(failed)) FROM spool.tally WHERE stream = (SELECT s.id FROM spool.stream s JOIN spool.queue q ON q.id = s.queue WHERE q.name = 'none')), '2 2 2', 'F92: they are counted');
SELECT pg_temp.make('none ' || p, 2, order_by => 'none', on_error => p, max_attempts => 1, retention => '1 h') FROM unnest('{retry,dead,leave,delete}'::text[]) p \g /dev/null
SELECT is(pg_temp.claimed('none ' || p, 1, '1 us') || pg_temp.claimed('none ' || p, 1, '1 us') || pg_temp.claimed('none ' || p, 1) || ' ' || pg_temp.ls('none ' || p), expected, 'F92: a lost lease is the last attempt: ' || p) FROM (VALUES
    ('retry', '12 1 failed1, 2 failed1'), ('dead', '12 1 dead1, 2 dead1'), ('leave', '12 1 failed1, 2 failed1'), ('delete', '12 ')) v(p, expected);
SELECT spool.write('none delete', spool.make_packet(3, '')), pg_temp.claimed('none delete'), spool.ack(pg_temp.open('none delete')) \g /dev/null
SELECT is(pg_temp.ls('none delete'), '3 done', 'F30: what is acknowledged is retained');

-- Rights
CREATE ROLE claim_reader;
CREATE ROLE claim_worker;
SELECT pg_temp.make('rights', 2), spool.grant_queue('rights', 'claim_reader', 'read'), spool.grant_queue('rights', 'claim_worker', 'process') \g /dev/null
SELECT pg_temp.claimed('rights'), set_config('my.claim', pg_temp.open('rights')::text, true), set_config('my.packet', spool.packet_id('rights', 1)::text, true) \g /dev/null
SET LOCAL ROLE claim_reader;
SELECT is((SELECT string_agg(queue, ' ') FROM spool.claims), 'rights', 'who may read a queue sees its claims, and no others');
SELECT throws_ok(format('SELECT spool.' || call, current_setting('my.claim')), '42501', 'permission denied for queue "rights"', 'but may not process: ' || call)
    FROM unnest(ARRAY['claim(''rights'')', 'ack(%s)', 'ack(%s, 1)', 'ack(ARRAY[%s])', 'nack(%s, 1, '''')', 'extend_claim(%s, ''1 s'')', 'release(%s)']) call;
SET LOCAL ROLE claim_worker;
SELECT is_empty('SELECT * FROM spool.claims', 'who may only process does not see them');
SELECT lives_ok(format('SELECT spool.' || call, current_setting('my.claim'), current_setting('my.packet')), 'but may end or extend them, also those of others: ' || call)
    FROM unnest(ARRAY['extend_claim(%s, ''1 s'')', 'nack(%s, %s, ''no'')']) call;
SELECT is((SELECT spool.ack(claim_id) FROM spool.claim('rights', 2) LIMIT 1), 2::bigint, 'and claim');
RESET ROLE;

-- wait
SELECT throws_ok($$CALL spool.wait('q', '1 s')$$, '25001', 'spool.wait must not be called in a transaction block', 'wait in a transaction block');

SELECT * FROM finish();
ROLLBACK;
