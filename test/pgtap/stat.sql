-- Monitoring: what streams do and why not more, and what queues count.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;

SELECT plan(76);

-- What the manager does each minute is done here by hand.
\ir include/upkeep.sql

CREATE SCHEMA stat_test;
CREATE TABLE stat_test.seen (body text, line text);
-- Fails for bodies that begin with bad, and notes what it sees of its stream.
CREATE FUNCTION stat_test.work(job spool.job) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stat_test.seen
    SELECT convert_from(job.payload, 'UTF8'), concat_ws(' ', s.state, s.waiting, q.running, s.pid = pg_backend_pid(), s.since <= clock_timestamp())
      FROM spool.stat_streams s JOIN spool.stat_queues q USING (queue) WHERE s.queue = job.queue AND s.stream = job.stream;
    IF convert_from(job.payload, 'UTF8') LIKE 'bad%' THEN
        RAISE EXCEPTION 'division by zero';
    END IF;
END $$;
CREATE FUNCTION pg_temp.put(queue text, seq bigint, body text, stream text = '', ctime timestamptz = '2026-01-01Z') RETURNS text
LANGUAGE sql AS $$
    SELECT w.status FROM spool.write(queue, spool.make_packet(seq, body, ctime => ctime), stream) w
$$;
CREATE FUNCTION pg_temp.streams(name text) RETURNS text
LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', nullif(stream, ''), cursor, waiting, state || coalesce(': ' || reason, '')), '; ' ORDER BY stream)
      FROM spool.stat_streams WHERE queue = name
$$;
-- waiting running enqueued done failed dead late duplicates superseded
CREATE FUNCTION pg_temp.counts(name text) RETURNS text
LANGUAGE sql AS $$
    SELECT concat_ws(' ', waiting, running, enqueued, done, failed, dead, late, duplicates, superseded) FROM spool.stat_queues WHERE queue = name
$$;
CREATE FUNCTION pg_temp.id(queue text, seq bigint, stream text = '') RETURNS bigint
LANGUAGE sql AS $$ SELECT spool.packet_id(queue, seq, stream) $$;

-- An empty queue
SELECT spool.create_queue('stat seq') \g /dev/null
SELECT is(pg_temp.counts('stat seq'), '0 0 0 0 0 0 0 0 0', 'stat: nothing is there');
SELECT results_eq($$SELECT oldest, ready_streams, blocked_streams, drained_in FROM spool.stat_queues WHERE queue = 'stat seq'$$,
    $$VALUES (NULL::timestamptz, 0::bigint, 0::bigint, interval '0')$$, 'stat: and nothing is to be drained');
SELECT is(pg_temp.streams('stat seq'), NULL, 'stat: no stream');

-- ready, gap, conflict, idle
SELECT pg_temp.put('stat seq', 1, 'a', 'ready'), pg_temp.put('stat seq', 2, 'b', 'ready'),
       pg_temp.put('stat seq', 3, 'c', 'gap'), pg_temp.put('stat seq', 2, 'b', 'gap1'),
       pg_temp.put('stat seq', 1, 'x', 'twice'), pg_temp.put('stat seq', 1, 'y', 'twice'),
       pg_temp.put('stat seq', 1, 'x', 'idle') \g /dev/null
SELECT spool.take('stat seq', stream => 'idle') \g /dev/null
SELECT is(pg_temp.streams('stat seq'),
    format('gap 1 1 gap: numbers 1 to 2 are missing; gap1 1 1 gap: number 1 is missing; idle 2 0 idle; ready 1 2 ready; twice 1 2 conflict: packets %s and %s have the same number 1',
           (SELECT min(packet_id) FROM spool.ls('stat seq', 'twice')), (SELECT max(packet_id) FROM spool.ls('stat seq', 'twice'))),
    'stat: each stream says what it does and why not more');
SELECT is(pg_temp.counts('stat seq'), '6 0 7 1 0 0 0 0 0', 'stat: counts of the queue');
SELECT results_eq($$SELECT ready_streams, blocked_streams FROM spool.stat_queues WHERE queue = 'stat seq'$$, $$VALUES (1::bigint, 3::bigint)$$, 'stat: streams that are ready and blocked');
SELECT is((SELECT since FROM spool.stat_streams WHERE queue = 'stat seq' AND stream = 'gap'), (SELECT since FROM spool.gaps('stat seq') WHERE stream = 'gap'), 'stat: the gap is there since the first packet waits behind it');
SELECT ok((SELECT oldest BETWEEN now() - interval '1 hour' AND now() FROM spool.stat_queues WHERE queue = 'stat seq'), 'stat: the oldest counts from its arrival, not from what its sender says');
-- late, duplicate
SELECT pg_temp.put('stat seq', 1, 'late', 'idle'), pg_temp.put('stat seq', 2, 'b', 'ready') \g /dev/null
SELECT spool.write_many('stat seq', ARRAY[spool.make_packet(1, 'a', ctime => '2026-01-01Z'), spool.make_packet(2, 'b', ctime => '2026-01-01Z')], 'ready') \g /dev/null
SELECT is(pg_temp.counts('stat seq'), '6 0 7 1 0 0 1 3 0', 'stat: late and duplicate packets are counted');
SELECT is((SELECT count(*) FROM spool.tally t JOIN spool.stream s ON s.id = t.stream JOIN spool.queue q ON q.id = s.queue WHERE q.name = 'stat seq'), 3::bigint, 'stat: in a row for each call');
SELECT spool.write('stat seq', spool.make_packet(9, 'z'), 'ready') \g /dev/null
SELECT is((SELECT count(*) FROM spool.tally t JOIN spool.stream s ON s.id = t.stream JOIN spool.queue q ON q.id = s.queue WHERE q.name = 'stat seq'), 3::bigint, 'stat: and in none for calls without any');
CALL spool.maintain();
SELECT is((SELECT count(*) FROM spool.tally t JOIN spool.stream s ON s.id = t.stream JOIN spool.queue q ON q.id = s.queue WHERE q.name = 'stat seq'), 2::bigint, 'stat: maintain makes one row of a stream''s');
SELECT is(pg_temp.counts('stat seq'), '7 0 8 1 0 0 1 3 0', 'stat: which adds up to the same');
CALL spool.maintain();
SELECT is(pg_temp.counts('stat seq'), '7 0 8 1 0 0 1 3 0', 'stat: also when there is nothing to fold');

-- pauses
SELECT spool.pause_queue('stat seq', 'ready', 'the bank is closed'), spool.pause_queue('stat seq', 'idle') \g /dev/null
SELECT is((SELECT string_agg(state || ': ' || reason, '; ' ORDER BY stream) FROM spool.stat_streams WHERE queue = 'stat seq' AND stream IN ('ready', 'idle')),
    'paused: the stream is paused; paused: the bank is closed', 'stat: paused streams say why');
SELECT spool.pause_queue('stat seq') \g /dev/null
SELECT is((SELECT string_agg(DISTINCT state || ': ' || reason, '; ') FROM spool.stat_streams WHERE queue = 'stat seq'), 'paused: the queue is paused', 'stat: a paused queue');
SELECT spool.pause_queue('stat seq', reason => 'maintenance') \g /dev/null
SELECT is((SELECT string_agg(DISTINCT state || ': ' || reason, '; ') FROM spool.stat_streams WHERE queue = 'stat seq'), 'paused: maintenance', 'stat: and its reason');
SELECT is((SELECT count(DISTINCT s.since) FROM spool.stat_streams s JOIN spool.queues q USING (queue) WHERE s.queue = 'stat seq' AND s.since = q.paused_since), 1::bigint, 'stat: since it was paused');
SELECT is((SELECT blocked_streams + ready_streams FROM spool.stat_queues WHERE queue = 'stat seq'), 0::bigint, 'stat: paused streams are neither ready nor blocked');

-- retrying, blocked
SELECT spool.create_queue('stat fail', max_attempts => 2, retry_delay => '0') \g /dev/null
SELECT spool.set_handler('stat fail', 'SELECT stat_test.work($1)') \g /dev/null
SELECT pg_temp.put('stat fail', 1, 'ok'), pg_temp.put('stat fail', 2, 'bad'), pg_temp.put('stat fail', 3, 'behind'), pg_temp.put('stat fail', 1, 'ok', 'other') \g /dev/null
CALL spool.process('stat fail') \gset
SELECT is(pg_temp.streams('stat fail'), '2 2 retrying: job 2 failed: division by zero; other 2 0 idle', 'stat: a head that failed');
SELECT is(pg_temp.counts('stat fail'), '2 0 4 2 1 0 0 0 0', 'stat: failed attempts are counted');
CALL spool.process('stat fail') \gset
SELECT is(pg_temp.streams('stat fail'), '2 2 blocked: job 2 failed: division by zero; other 2 0 idle', 'stat: one that failed for the last time');
SELECT is((SELECT string_agg(state, ' ' ORDER BY seq) FROM spool.ls('stat fail')), 'retrying waiting', 'stat: in ls the head is the one that was tried');
SELECT is((SELECT blocked_streams FROM spool.stat_queues WHERE queue = 'stat fail'), 1::bigint, 'stat: a blocked stream');
SELECT spool.retry_now('stat fail') \g /dev/null
SELECT is(pg_temp.streams('stat fail'), '2 2 ready; other 2 0 idle', 'stat: after retry_now it is ready');
SELECT is((SELECT string_agg(line, '; ') FROM stat_test.seen), 'running 0 4 t t; running 0 4 t t', 'stat: jobs that run do not wait; the stream names the process that runs them');

-- A Fail packet that nobody but takers could run, commands that are missing
SELECT spool.create_queue('stat commands') \g /dev/null
SELECT spool.write('stat commands', spool.make_packet(1, kind => 'fail')) \g /dev/null
SELECT is(pg_temp.streams('stat commands'), '1 1 blocked: job 1 failed: Fail packet', 'stat: a Fail packet stops those who take');
SELECT spool.set_handler('stat commands', 'SELECT 1') \g /dev/null
SELECT is(pg_temp.streams('stat commands'), '1 1 ready', 'stat: a handler''s queue will try it');
SELECT spool.set_handler('stat commands', NULL), spool.alter_queue('stat commands', workers => 1) \g /dev/null
SELECT is(pg_temp.streams('stat commands'), '1 1 blocked: the queue has no handler and no program', 'stat: workers without a command');
SELECT spool.alter_queue('stat commands', workers => 0) \g /dev/null
SET spool.programs = on;
SELECT spool.set_program('stat commands', '/bin/true') \g /dev/null
SELECT is(pg_temp.streams('stat commands'), '1 1 ready', 'stat: a program that may run');
SET spool.programs = off;
SELECT is(pg_temp.streams('stat commands'), '1 1 blocked: programs may not be run', 'stat: programs are off');
SET spool.programs = on;
CREATE ROLE stat_owner;
SELECT spool.alter_queue('stat commands', owner => 'stat_owner') \g /dev/null
SELECT is(pg_temp.streams('stat commands'), '1 1 blocked: the owner of the queue may not run programs', 'stat: an owner without the right');
DROP ROLE stat_owner;
SELECT is(pg_temp.streams('stat commands'), '1 1 blocked: the owner of the queue does not exist any more', 'stat: an owner that is gone');
RESET spool.programs;
SELECT spool.create_queue('stat append', append_only => true) \g /dev/null
SELECT spool.enqueue('stat append', 'x') \g /dev/null
SELECT is(pg_temp.streams('stat append'), '1 1 idle', 'stat: nothing is to be handed out of an append-only queue');

-- An open transaction that takes
SELECT spool.create_queue('stat take') \g /dev/null
SELECT spool.enqueue_many('stat take', '{a,b,c,d}'::text[]) \g /dev/null
BEGIN;
SELECT spool.take('stat take') \g /dev/null
SELECT is(pg_temp.streams('stat take'), '2 3 running: an open transaction consumes it', 'stat: an open take');
SELECT is((SELECT pid FROM spool.stat_streams WHERE queue = 'stat take'), pg_backend_pid(), 'stat: and its process');
ROLLBACK;
SELECT is(pg_temp.streams('stat take'), '1 4 ready', 'stat: after it all is as before');

-- Claims
SELECT spool.create_queue('stat claim') \g /dev/null
SELECT spool.enqueue_many('stat claim', '{a,b,c}'::text[]) \g /dev/null
SELECT claim_id FROM spool.claim('stat claim', 2) LIMIT 1 \gset
SELECT is(pg_temp.streams('stat claim'), '1 1 claimed', 'stat: what is claimed does not wait');
SELECT is((SELECT claim_id FROM spool.stat_streams WHERE queue = 'stat claim'), :claim_id::bigint, 'stat: the claim is named');
SELECT is(pg_temp.counts('stat claim'), '1 2 3 0 0 0 0 0 0', 'stat: what is claimed runs');
SELECT spool.set_next_seq('stat claim', 3) \g /dev/null
SELECT is(pg_temp.counts('stat claim'), '1 2 3 0 0 0 0 0 0', 'stat: also when the cursor is set past it');
SELECT spool.ack(:claim_id) \g /dev/null
SELECT is(pg_temp.counts('stat claim'), '1 0 3 2 0 0 0 0 0', 'stat: until it is acknowledged');
SELECT count(*) FROM spool.claim('stat claim', 1, lease => '1 ms') \g /dev/null
DO $$ BEGIN WHILE EXISTS (SELECT FROM spool.stat_streams WHERE queue = 'stat claim' AND state = 'claimed') LOOP NULL; END LOOP; END $$;
SELECT is(pg_temp.streams('stat claim'), '3 1 ready: the lease was over', 'stat: a claim that was lost');
SELECT spool.create_queue('stat claim none', order_by => 'none') \g /dev/null
SELECT spool.enqueue_many('stat claim none', '{a,b,c}'::text[]) \g /dev/null
SELECT count(*) FROM spool.claim('stat claim none', 2) \g /dev/null
SELECT is(pg_temp.streams('stat claim none') || ' ' || pg_temp.counts('stat claim none'), '1 ready 1 2 3 0 0 0 0 0 0', 'stat: some are claimed, one is ready');
SELECT claim_id FROM spool.claim('stat claim none', 2) \gset
SELECT is(pg_temp.streams('stat claim none') || ' ' || pg_temp.counts('stat claim none'), '0 claimed 0 3 3 0 0 0 0 0 0', 'stat: all are claimed');
SELECT spool.release(:claim_id) \g /dev/null
SELECT is(pg_temp.streams('stat claim none') || ' ' || pg_temp.counts('stat claim none'), '1 ready 1 2 3 0 0 0 0 0 0', 'stat: one was given back');

-- Enqueued is what came in, whatever became of it.
CREATE TABLE stat_test.steps (n serial, enqueued bigint);
CREATE FUNCTION pg_temp.step(name text) RETURNS void
LANGUAGE sql AS $$ INSERT INTO stat_test.steps (enqueued) SELECT enqueued FROM spool.stat_queues WHERE queue = name $$;
SELECT spool.alter_queue('stat take', on_error => 'dead', retention => '1 day') \g /dev/null
SELECT spool.set_handler('stat take', 'SELECT stat_test.work($1)') \g /dev/null
SELECT pg_temp.step('stat take') \g /dev/null
SELECT spool.take('stat take') \g /dev/null
SELECT pg_temp.step('stat take') \g /dev/null
SELECT spool.discard('stat take', pg_temp.id('stat take', 3)) \g /dev/null
SELECT pg_temp.step('stat take') \g /dev/null
SELECT spool.enqueue('stat take', 'bad'), spool.enqueue('stat take', 'f') \g /dev/null
SELECT pg_temp.step('stat take') \g /dev/null
CALL spool.process('stat take') \g /dev/null
SELECT pg_temp.step('stat take') \g /dev/null
SELECT is(pg_temp.counts('stat take'), '0 0 6 4 1 2 0 0 0', 'stat: done, failed and dead');
SELECT spool.redrive('stat take') \g /dev/null
SELECT pg_temp.step('stat take') \g /dev/null
SELECT is(pg_temp.streams('stat take'), '7 2 ready', 'stat: redriven packets wait');
SELECT spool.discard('stat take', pg_temp.id('stat take', 3)) \g /dev/null
SELECT pg_temp.step('stat take') \g /dev/null
SELECT spool.set_next_seq('stat take', 4) \g /dev/null
SELECT pg_temp.step('stat take') \g /dev/null
SELECT is(pg_temp.streams('stat take'), '4 3 ready', 'stat: replayed packets wait');
SELECT spool.set_next_seq('stat take', 9) \g /dev/null
SELECT pg_temp.step('stat take') \g /dev/null
CALL spool.process('stat take') \g /dev/null
SELECT pg_temp.step('stat take') \g /dev/null
SELECT is((SELECT string_agg(enqueued::text, ' ' ORDER BY n) FROM stat_test.steps), '4 4 4 6 6 6 6 6 6 6', 'stat: enqueued never goes backwards');

-- A redriven packet is handed out although its stream has a gap.
SELECT spool.create_queue('stat ahead', on_error => 'dead') \g /dev/null
SELECT spool.set_handler('stat ahead', 'SELECT stat_test.work($1)') \g /dev/null
SELECT pg_temp.put('stat ahead', 1, 'bad'), pg_temp.put('stat ahead', 3, 'c') \g /dev/null
CALL spool.process('stat ahead') \g /dev/null
SELECT is(pg_temp.streams('stat ahead'), '2 1 gap: number 2 is missing', 'stat: a gap behind a dead letter');
SELECT spool.redrive('stat ahead') \g /dev/null
SELECT is(pg_temp.streams('stat ahead'), '2 2 ready', 'stat: the redriven one comes first');

-- latest
SELECT spool.create_queue('stat latest', order_by => 'latest', retry_delay => '0') \g /dev/null
SELECT spool.set_handler('stat latest', 'SELECT stat_test.work($1)') \g /dev/null
SELECT pg_temp.put('stat latest', 1, 'a', 's'), pg_temp.put('stat latest', 2, 'b', 's'), pg_temp.put('stat latest', 3, 'bad', 's') \g /dev/null
CALL spool.process('stat latest') \gset
SELECT is(pg_temp.streams('stat latest'), 's 1 3 retrying: job 3 failed: division by zero', 'stat: the newest failed');
SELECT pg_temp.put('stat latest', 5, 'e', 's') \g /dev/null
SELECT is(pg_temp.streams('stat latest'), 's 1 4 ready', 'stat: a newer one may run');
CALL spool.process('stat latest') \g /dev/null
SELECT pg_temp.put('stat latest', 4, 'd', 's') \g /dev/null
SELECT is(pg_temp.counts('stat latest'), '0 0 4 1 1 0 1 0 3', 'stat: superseded and late ones are counted');

-- timestamp
SELECT spool.create_queue('stat time', order_by => 'timestamp') \g /dev/null
SELECT pg_temp.put('stat time', 7, 'b', ctime => '2026-01-02Z'), pg_temp.put('stat time', 7, 'c', ctime => '2026-01-02Z') \g /dev/null
SELECT spool.take('stat time') \g /dev/null
SELECT pg_temp.put('stat time', 7, 'a', ctime => '2026-01-01Z') \g /dev/null
SELECT is(pg_temp.streams('stat time'), '2 ready', 'stat: also what came late waits in a queue by time');
SELECT is(pg_temp.counts('stat time'), '2 0 3 1 0 0 0 0 0', 'stat: counts of a queue by time');

-- none
SELECT spool.create_queue('stat none', order_by => 'none', on_error => 'dead', max_attempts => 2, retry_delay => '1 hour') \g /dev/null
SELECT spool.set_handler('stat none', 'SELECT stat_test.work($1)') \g /dev/null
SELECT spool.enqueue_many('stat none', '{bad,none}'::text[]) \g /dev/null
SELECT is(pg_temp.streams('stat none'), '2 ready', 'stat: a queue without order');
CALL spool.process('stat none') \g /dev/null
SELECT is((SELECT line FROM stat_test.seen WHERE body = 'none'), 'running 0 2 t t', 'stat: its jobs run');
SELECT ok((SELECT pg_temp.streams('stat none') = format('1 retrying: job %s failed: division by zero', seq) FROM spool.ls('stat none')), 'stat: one waits for its retry');
SELECT is(pg_temp.counts('stat none'), '1 0 2 1 1 0 0 0 0', 'stat: counts of a queue without order');
SELECT spool.pause_queue('stat none', reason => 'night') \g /dev/null
SELECT is(pg_temp.streams('stat none'), '1 paused: night', 'stat: it is paused');
SELECT spool.resume_queue('stat none') \g /dev/null
CALL spool.process('stat none') \g /dev/null
SELECT is(pg_temp.streams('stat none') || pg_temp.counts('stat none'), '0 idle0 0 2 1 2 1 0 0 0', 'stat: it is dead');
SELECT spool.redrive('stat none') \g /dev/null
SELECT is(pg_temp.streams('stat none') || pg_temp.counts('stat none'), '1 ready1 0 2 1 2 0 0 0 0', 'stat: it is redriven');
SELECT spool.discard('stat none', packet_id) FROM spool.ls('stat none') \g /dev/null
SELECT is(pg_temp.streams('stat none') || pg_temp.counts('stat none'), '0 idle0 0 2 1 2 1 0 0 0', 'stat: it is discarded');
CALL spool.maintain();
SELECT is(pg_temp.counts('stat none'), '0 0 2 1 2 1 0 0 0', 'stat: rows put together count the same');

-- Many packets: counted up to 10,000, estimated beyond.
CREATE FUNCTION pg_temp.fill(queue text, n int, stream text = '') RETURNS void
LANGUAGE sql AS $$
    SELECT FROM spool.write_many(queue, (SELECT array_agg(spool.make_packet(i, '', ctime => timestamptz '2026-01-01Z' + i * interval '1 s')) FROM generate_series(1, n) i), stream)
$$;
SELECT spool.create_queue('stat many'), spool.create_queue('stat many latest', 'latest'), spool.create_queue('stat many time', 'timestamp'), spool.create_queue('stat many none', 'none') \g /dev/null
SELECT spool.enqueue_many('stat many', array_fill(''::text, ARRAY[25000]), 'by queue') \g /dev/null
SELECT pg_temp.fill('stat many', 10000, 'exact'), pg_temp.fill('stat many', 25000, 'sender'), pg_temp.fill('stat many latest', 25000), pg_temp.fill('stat many time', 25000), pg_temp.fill('stat many none', 25000) \g /dev/null
SELECT spool.discard('stat many', pg_temp.id('stat many', 500, 'exact')), spool.discard('stat many', pg_temp.id('stat many', 501, 'by queue')) \g /dev/null
SELECT is(pg_temp.streams('stat many'), 'by queue 1 24997 ready; exact 1 10000 ready; sender 1 25000 ready', 'stat: estimates by number');
SELECT results_eq($$SELECT s.queue, s.waiting FROM spool.stat_streams s WHERE s.queue LIKE 'stat many _%' ORDER BY 1$$, $$VALUES ('stat many latest' COLLATE "C", 25000::bigint), ('stat many none', 25000), ('stat many time', 25000)$$, 'stat: estimates in other orders');
SELECT spool.take('stat many', 20000, stream => 'by queue') \g /dev/null
SELECT is(pg_temp.streams('stat many'), 'by queue 20002 4999 ready; exact 1 10000 ready; sender 1 25000 ready', 'stat: an exact number again');
SELECT ok(drained_in IS NOT DISTINCT FROM CASE WHEN rates[1] >= 0.001 THEN make_interval(secs => waiting / rates[1]) END, 'stat: when it is drained, as far as rates are known')
  FROM spool.stat_queues WHERE queue = 'stat many';

-- Who may see it
CREATE ROLE stat_reader;
SELECT spool.grant_queue('stat seq', 'stat_reader', 'read'), spool.grant_queue('stat fail', 'stat_reader', 'write') \g /dev/null
SET ROLE stat_reader;
SELECT is((SELECT string_agg(queue, ' ') FROM spool.stat_queues), 'stat seq', 'F52: queues that one may read');
SELECT is((SELECT string_agg(DISTINCT queue, ' ') FROM spool.stat_streams), 'stat seq', 'F52: and their streams');
SELECT throws_ok($$SELECT spool.stream_stats('stat fail')$$, '42501', 'permission denied for queue "stat fail"', 'F52: no streams of others');
SELECT throws_ok($$SELECT spool.queue_rates('stat fail')$$, '42501', 'permission denied for queue "stat fail"', 'F52: no rates of others');
RESET ROLE;
SELECT is_empty($$SELECT spool.stream_stats('stat gone')$$, 'stat: a queue that is gone has no streams');
SELECT is(spool.queue_rates('stat gone'), NULL, 'stat: nor rates');

SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'stat %' \g /dev/null
DROP OWNED BY stat_reader;
DROP ROLE stat_reader;
DROP SCHEMA stat_test CASCADE;
CALL pg_temp.maintained();
SELECT * FROM finish();
