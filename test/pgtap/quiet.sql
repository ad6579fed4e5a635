-- Queues that wait until nothing new comes for a record: quiet and max_wait.
-- Time is hours here, and passes by moving back when packets arrived.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;

SELECT plan(54);

CREATE SCHEMA quiet_test;
CREATE TABLE quiet_test.log (n serial, seq bigint);
CREATE FUNCTION pg_temp.make(queue text, quiet interval = '2 hours', max_wait interval = '5 hours', on_error text = 'retry') RETURNS void
LANGUAGE sql AS $$
    SELECT spool.create_queue(queue, 'latest', on_error => on_error, quiet => quiet, max_wait => max_wait, retry_delay => '0');
    SELECT spool.set_handler(queue, 'INSERT INTO quiet_test.log (seq) VALUES (($1).seq)')
$$;
CREATE FUNCTION pg_temp.put(queue text, seq bigint, stream text = '', kind text = 'command') RETURNS text
LANGUAGE sql AS $$ SELECT status FROM spool.write(queue, spool.make_packet(seq, seq::text, kind => kind), stream) $$;
CREATE FUNCTION pg_temp.pass(queue text, hours numeric) RETURNS void
LANGUAGE sql AS $$
    UPDATE spool.store p SET arrived = coalesce(p.arrived, spool.ctime(p.packet)) - hours * interval '1 hour'
      FROM spool.stream s JOIN spool.queue q ON q.id = s.queue WHERE q.name = $1 AND s.id = p.stream
$$;
CREATE FUNCTION pg_temp.taken(queue text, order_by text = NULL, stream text = NULL) RETURNS text
LANGUAGE sql AS $$ SELECT coalesce(string_agg(concat(j.stream, j.seq), ' ' ORDER BY j.ordinality), '') FROM spool.take(queue, 10, order_by, stream) WITH ORDINALITY j $$;
CREATE FUNCTION pg_temp.claimed(queue text) RETURNS text
LANGUAGE sql AS $$ SELECT coalesce(string_agg(concat(j.stream, j.seq, '/', j.attempt), ' ' ORDER BY j.ordinality), '') FROM spool.claim(queue, 10) WITH ORDINALITY j $$;
CREATE FUNCTION pg_temp.peeked(queue text) RETURNS text
LANGUAGE sql AS $$ SELECT coalesce(string_agg(concat(j.stream, j.seq), ' ' ORDER BY j.ordinality), '') FROM spool.peek(queue, 10) WITH ORDINALITY j $$;
CREATE FUNCTION pg_temp.ack(queue text) RETURNS bigint
LANGUAGE sql AS $$ SELECT spool.ack(coalesce(array_agg(claim_id), '{}')) FROM spool.claims c WHERE c.queue = $1 $$;
CREATE FUNCTION pg_temp.nack(queue text) RETURNS void
LANGUAGE sql AS $$ SELECT spool.nack(c.claim_id, l.packet_id, 'no') FROM spool.claims c, spool.ls($1, state => 'claimed') l WHERE c.queue = $1 $$;
CREATE FUNCTION pg_temp.ran() RETURNS text
LANGUAGE sql AS $$ WITH gone AS (DELETE FROM quiet_test.log RETURNING *) SELECT coalesce(string_agg(seq::text, ' ' ORDER BY n), '') FROM gone $$;
CREATE FUNCTION pg_temp.listed(queue text) RETURNS text
LANGUAGE sql AS $$ SELECT string_agg(concat(l.stream, l.seq, ' ', l.state), ', ' ORDER BY l.ordinality) FROM spool.ls(queue) WITH ORDINALITY l $$;
-- State and reason of the only stream, without the time.
CREATE FUNCTION pg_temp.shown(queue text) RETURNS text
LANGUAGE sql AS $$ SELECT concat_ws(': ', state, regexp_replace(reason, '\d{4}-.*?,', 'TIME,')) FROM spool.stat_streams s WHERE s.queue = $1 $$;
-- In how many hours that time is, and how many ago since is.
CREATE FUNCTION pg_temp.times(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT concat_ws(' ', round(extract(epoch FROM substring(reason FROM '\d{4}-[^,]*')::timestamptz - clock_timestamp()) / 3600, 1),
                     round(extract(epoch FROM clock_timestamp() - since) / 3600, 1)) FROM spool.stat_streams s WHERE s.queue = $1
$$;

-- An event each hour: handed out after five, with the newest, then again.
CREATE FUNCTION pg_temp.hours(queue text, hours int, verb text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    handed text;
    all_handed text[];
BEGIN
    FOR hour IN 0 .. hours LOOP
        IF hour <= 12 THEN
            PERFORM pg_temp.put(queue, hour + 1);
        END IF;
        IF verb = 'take' THEN
            SELECT string_agg(seq::text, ' ') INTO handed FROM spool.take(queue, 10);
        ELSE
            SELECT string_agg(seq::text, ' ') INTO handed FROM spool.claim(queue, 10);
            PERFORM pg_temp.ack(queue);
        END IF;
        IF handed IS NOT NULL THEN
            all_handed := all_handed || format('hour %s: %s', hour, handed);
        END IF;
        PERFORM pg_temp.pass(queue, 1);
    END LOOP;
    RETURN array_to_string(all_handed, ', ');
END $$;
SELECT pg_temp.make('quiet ' || verb) FROM unnest('{take,claim}'::text[]) verb \g /dev/null
SELECT is(pg_temp.hours('quiet ' || verb, 20, verb), 'hour 5: 6, hour 11: 12, hour 14: 13', 'R83: at max_wait the newest, then again, and the last one when it is quiet: ' || verb)
  FROM unnest('{take,claim}'::text[]) verb;
SELECT pg_temp.make('quiet unlimited', '2 hours', '0') \g /dev/null
SELECT is(pg_temp.hours('quiet unlimited', 20, 'take'), 'hour 14: 13', 'R83: without max_wait only when it is quiet');

-- Whoever hands out keeps to it.
SELECT pg_temp.make('quiet all'), pg_temp.put('quiet all', 1), pg_temp.put('quiet all', 2), pg_temp.pass('quiet all', 1) \g /dev/null
CALL spool.process('quiet all') \gset
SELECT is(concat_ws('/', pg_temp.taken('quiet all'), pg_temp.taken('quiet all', stream => ''), pg_temp.claimed('quiet all'), pg_temp.peeked('quiet all'), :processed::text), '////0', 'R83: take, claim, peek, process: nothing as yet');
SELECT is(pg_temp.listed('quiet all'), '1 superseded, 2 waiting', 'R83: ls shows that it waits');
SELECT is(pg_temp.shown('quiet all'), 'waiting: offered at TIME, if nothing comes before', 'R83: stat_streams shows why');
SELECT is(pg_temp.times('quiet all'), '1.0 1.0', 'R83: until when, and since when');
SELECT results_eq($$SELECT waiting, ready_streams, blocked_streams FROM spool.stat_queues WHERE queue = 'quiet all'$$, $$VALUES (2::bigint, 0::bigint, 0::bigint)$$, 'R83: the stream is neither ready nor blocked');
SELECT pg_temp.pass('quiet all', 1), pg_temp.put('quiet all', 3) \g /dev/null
SELECT is(pg_temp.shown('quiet all') || ' ' || pg_temp.times('quiet all'), 'waiting: offered at TIME, if nothing comes before 2.0 2.0', 'R83: what comes moves it');
SELECT pg_temp.pass('quiet all', 1.5), pg_temp.put('quiet all', 4) \g /dev/null
SELECT is(pg_temp.shown('quiet all') || ' ' || pg_temp.times('quiet all'), 'waiting: offered at TIME, when max_wait is over 1.5 3.5', 'R83: until max_wait is nearer');
SELECT is(pg_temp.taken('quiet all'), '', 'R83: nothing yet');
SELECT pg_temp.pass('quiet all', 1.5) \g /dev/null
SELECT is(concat_ws(', ', pg_temp.peeked('quiet all'), pg_temp.listed('quiet all'), pg_temp.shown('quiet all')), '4, 1 superseded, 2 superseded, 3 superseded, 4 ready, ready', 'R83: then it is ready');
CALL spool.process('quiet all') \gset
SELECT is(pg_temp.ran(), '4', 'R83: and runs');

-- Packets that the queue numbers.
SELECT pg_temp.make('quiet enqueue', '2 hours', '0'), spool.enqueue('quiet enqueue', 'x', 'A'), spool.enqueue('quiet enqueue', 'x', 'B') \g /dev/null
SELECT is((SELECT count(*) FROM spool.take('quiet enqueue', 10)), 0::bigint, 'R83: packets of enqueue arrived when they were created');
UPDATE spool.store p SET arrived = spool.ctime(p.packet) - interval '2 hours' FROM spool.stream s JOIN spool.queue q ON q.id = s.queue WHERE q.name = 'quiet enqueue' AND s.id = p.stream AND s.name = 'A';
SELECT is((SELECT string_agg(stream, ' ') FROM spool.take('quiet enqueue', 10)), 'A', 'R83: each stream by itself');

-- What comes while a job is out counts from its own arrival.
SELECT pg_temp.make('quiet out'), pg_temp.put('quiet out', 1), pg_temp.pass('quiet out', 2) \g /dev/null
SELECT is(pg_temp.claimed('quiet out'), '1/1', 'R82: handed out');
SELECT pg_temp.put('quiet out', 2), pg_temp.pass('quiet out', 1), pg_temp.put('quiet out', 3), pg_temp.ack('quiet out') \g /dev/null
SELECT is(pg_temp.claimed('quiet out') || pg_temp.times('quiet out'), '2.0 1.0', 'R82: what came meanwhile is not offered at its end');
SELECT pg_temp.pass('quiet out', 2) \g /dev/null
SELECT is(pg_temp.claimed('quiet out'), '3/1', 'R82: but when it is quiet');
SELECT pg_temp.put('quiet out', 4), pg_temp.pass('quiet out', 3), pg_temp.put('quiet out', 5), pg_temp.pass('quiet out', 1), pg_temp.put('quiet out', 6), pg_temp.pass('quiet out', 1), pg_temp.ack('quiet out') \g /dev/null
SELECT is(pg_temp.claimed('quiet out'), '6/1', 'R82: or max_wait was over meanwhile');
SELECT pg_temp.ack('quiet out') \g /dev/null

-- A failed job keeps to its retry; what came since it was handed out counts anew.
SELECT pg_temp.make('quiet retry'), pg_temp.put('quiet retry', 1), pg_temp.pass('quiet retry', 4), pg_temp.put('quiet retry', 2), pg_temp.pass('quiet retry', 1) \g /dev/null
SELECT is(pg_temp.claimed('quiet retry'), '2/1', 'R83: handed out because of max_wait');
SELECT pg_temp.nack('quiet retry') \g /dev/null
SELECT is(pg_temp.shown('quiet retry'), 'retrying: job 2 failed: no', 'R83: it fails');
SELECT is(pg_temp.claimed('quiet retry'), '2/2', 'R83: and is tried again at once');
SELECT spool.nack(c.claim_id, l.packet_id, 'no', '1 hour') FROM spool.claims c, spool.ls('quiet retry', state => 'claimed') l WHERE c.queue = 'quiet retry' \g /dev/null
SELECT is(pg_temp.claimed('quiet retry'), '', 'R83: or after its delay');
SELECT spool.retry_now('quiet retry') \g /dev/null
SELECT is(pg_temp.claimed('quiet retry'), '2/1', 'R83: or at once if an operator says so');
SELECT pg_temp.nack('quiet retry'), pg_temp.put('quiet retry', 3) \g /dev/null
SELECT is(pg_temp.claimed('quiet retry') || pg_temp.shown('quiet retry'), 'waiting: offered at TIME, if nothing comes before', 'R83: one that comes then is waited for');
SELECT is(pg_temp.times('quiet retry'), '2.0 0.0', 'R83: from its own arrival on');
SELECT pg_temp.pass('quiet retry', 1.5), pg_temp.put('quiet retry', 4), pg_temp.pass('quiet retry', 1.5), pg_temp.put('quiet retry', 5), pg_temp.pass('quiet retry', 1.5), pg_temp.put('quiet retry', 6) \g /dev/null
SELECT is(pg_temp.claimed('quiet retry') || pg_temp.times('quiet retry'), '0.5 4.5', 'R83: max_wait too');
SELECT pg_temp.pass('quiet retry', 0.5) \g /dev/null
SELECT is(pg_temp.claimed('quiet retry'), '6/1', 'R83: the newest supersedes the one that failed');
SELECT spool.release(claim_id) FROM spool.claims WHERE queue = 'quiet retry' \g /dev/null
SELECT is(pg_temp.claimed('quiet retry'), '6/1', 'R83: given back it is offered again');
SELECT spool.extend_claim(claim_id, '1 us') FROM spool.claims WHERE queue = 'quiet retry' \g /dev/null
SELECT is(pg_temp.claimed('quiet retry'), '6/2', 'R83: so is one whose lease is over');

-- A newest that is dead: those under it were waiting for long.
SELECT pg_temp.make('quiet dead', on_error => 'dead'), pg_temp.put('quiet dead', 1), pg_temp.put('quiet dead', 2), pg_temp.pass('quiet dead', 4), pg_temp.put('quiet dead', 5), pg_temp.pass('quiet dead', 1) \g /dev/null
SELECT is(pg_temp.claimed('quiet dead'), '5/1', 'R65: the newest');
SELECT pg_temp.nack('quiet dead') \g /dev/null
SELECT is(pg_temp.claimed('quiet dead'), '2/1', 'R65: is dead, and the next lower one offered at once');
SELECT pg_temp.nack('quiet dead'), spool.redrive('quiet dead'), pg_temp.put('quiet dead', 7) \g /dev/null
SELECT is(pg_temp.taken('quiet dead'), '2 5', 'R83: redriven ones do not wait, what is newer does');
SELECT spool.discard('quiet dead', l.packet_id) FROM spool.ls('quiet dead') l WHERE l.seq = 7 \g /dev/null
SELECT is(pg_temp.claimed('quiet dead'), '1/1', 'R83: nor what was there before');
SELECT pg_temp.nack('quiet dead'), pg_temp.put('quiet dead', 3) \g /dev/null
SELECT is(pg_temp.claimed('quiet dead'), '', 'R83: one below the last that was handed out waits');
SELECT pg_temp.pass('quiet dead', 4), pg_temp.put('quiet dead', 4) \g /dev/null
SELECT is(pg_temp.claimed('quiet dead') || pg_temp.shown('quiet dead'), 'waiting: offered at TIME, when max_wait is over', 'R83: another one, too');
SELECT pg_temp.pass('quiet dead', 1) \g /dev/null
SELECT is(pg_temp.claimed('quiet dead'), '4/1', 'R83: at the latest until max_wait');

-- A NOP is news like any other.
SELECT pg_temp.make('quiet nop'), pg_temp.put('quiet nop', 1), pg_temp.pass('quiet nop', 1), pg_temp.put('quiet nop', 2, kind => 'nop'), pg_temp.pass('quiet nop', 1) \g /dev/null
SELECT is(pg_temp.taken('quiet nop'), '', 'F33: a NOP came');
SELECT pg_temp.pass('quiet nop', 1) \g /dev/null
SELECT is(pg_temp.taken('quiet nop'), '1', 'F33: then what it does not supersede');

-- Other states say more; an order override is by creation time.
SELECT pg_temp.make('quiet over'), pg_temp.put('quiet over', 1), pg_temp.put('quiet over', 2), spool.pause_queue('quiet over', '', 'wait') \g /dev/null
SELECT is(pg_temp.shown('quiet over') || ' ' || pg_temp.listed('quiet over'), 'paused: wait 1 paused, 2 paused', 'R83: a stream that is paused');
SELECT spool.resume_queue('quiet over', ''), spool.alter_queue('quiet over', workers => 1), spool.set_handler('quiet over', NULL) \g /dev/null
SELECT is(pg_temp.shown('quiet over'), 'blocked: the queue has no handler and no program', 'R83: a queue without a command');
SELECT is(pg_temp.taken('quiet over', 'timestamp'), '1 2', 'R83: an order override does not wait');

-- The options change while packets wait.
SELECT pg_temp.make('quiet alter'), pg_temp.put('quiet alter', 1), pg_temp.pass('quiet alter', 1) \g /dev/null
SELECT is(concat_ws(' ', quiet, max_wait), '02:00:00 05:00:00', 'R83: the view queues shows them') FROM spool.queues WHERE queue = 'quiet alter';
SELECT throws_ok(format('SELECT spool.alter_queue(%L, %s)', 'quiet alter', arg), '22023', message, 'R83: ' || arg) FROM (VALUES
    ($$quiet => '6 hours'$$, 'max_wait must not be shorter than quiet'),
    ($$max_wait => '1 hour'$$, 'max_wait must not be shorter than quiet'),
    ($$quiet => '0'$$, 'max_wait must not be set without quiet'),
    ($$order_by => 'sequence'$$, 'quiet and max_wait are options of queues in order "latest"'),
    ($$order_by => 'none', quiet => '0'$$, 'quiet and max_wait are options of queues in order "latest"')
) v(arg, message);
SELECT is(pg_temp.taken('quiet alter'), '', 'R83: refused, nothing changed');
SELECT spool.alter_queue('quiet alter', quiet => '1 hour') \g /dev/null
SELECT is(pg_temp.taken('quiet alter'), '1', 'R83: a shorter quiet holds at once');
SELECT pg_temp.put('quiet alter', 2), spool.alter_queue('quiet alter', quiet => '0', max_wait => '0') \g /dev/null
SELECT is(pg_temp.shown('quiet alter') || ' ' || pg_temp.taken('quiet alter'), 'ready 2', 'R83: none, too');
SELECT lives_ok($$SELECT spool.alter_queue('quiet alter', order_by => 'sequence')$$, 'R83: then it may have another order');
SELECT throws_ok($$SELECT spool.alter_queue('quiet alter', quiet => '1 s')$$, '22023', 'quiet and max_wait are options of queues in order "latest"', 'R83: in which they are refused');
SELECT lives_ok($$SELECT spool.alter_queue('quiet alter', order_by => 'latest', quiet => '1 s', max_wait => '1 s')$$, 'R83: order and options together');

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'quiet %' \g /dev/null
DROP SCHEMA quiet_test CASCADE;
