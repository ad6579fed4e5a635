-- What becomes of jobs that fail, of NOP and Fail packets, and of what is retained.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;

SELECT plan(95);

CREATE SCHEMA policy_test;
CREATE TABLE policy_test.log (n serial, body text, attempt int);
CREATE TABLE policy_test.failing (body text);
CREATE FUNCTION policy_test.work(job spool.job) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO policy_test.log (body, attempt) VALUES (convert_from(job.payload, 'UTF8'), job.attempt);
    IF convert_from(job.payload, 'UTF8') IN (SELECT body FROM policy_test.failing) THEN
        RAISE EXCEPTION 'job % fails', convert_from(job.payload, 'UTF8') USING ERRCODE = 'U0007';
    END IF;
END $$;
-- A queue with a handler and, written with their numbers, some packets.
CREATE FUNCTION pg_temp.make(queue text, on_error text, bodies text[], max_attempts int = NULL, retention interval = '0') RETURNS void
LANGUAGE sql AS $$
    SELECT spool.create_queue(queue, on_error => on_error, max_attempts => max_attempts, retention => retention);
    SELECT spool.set_handler(queue, 'SELECT policy_test.work($1)');
    SELECT spool.write_many(queue, (SELECT array_agg(spool.make_packet(n, body, ctime => '2026-01-01Z') ORDER BY n) FROM unnest(bodies) WITH ORDINALITY b(body, n)));
$$;
CREATE FUNCTION pg_temp.ran() RETURNS text
LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM policy_test.log RETURNING n, body)
    SELECT coalesce(string_agg(body, ' ' ORDER BY n), '') FROM gone
$$;
CREATE FUNCTION pg_temp.listed(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(l.stream, l.seq, ' ', l.state), ', ' ORDER BY l.ordinality), '')
      FROM spool.ls(queue) WITH ORDINALITY l
$$;
INSERT INTO policy_test.failing VALUES ('b');

-- F26, F27: retry
SELECT pg_temp.make('policy retry', 'retry', '{a,b,c}') \g /dev/null
CALL spool.process('policy retry') \gset
SELECT is(:'SQLSTATE', '38000'::text, 'F26: an error is raised');
SELECT is(:'LAST_ERROR_MESSAGE', 'job 2 of stream "" of queue "policy retry" failed'::text, 'F26: it names the job');
SELECT is(pg_temp.ran(), 'a', 'F26: 1 is done, 3 is not started');
SELECT is(spool.next_seq('policy retry'), 2::bigint, 'F26: the cursor is 2');
SELECT is(pg_temp.listed('policy retry'), '2 retrying, 3 waiting', 'F26: packet 2 is kept');
SELECT results_eq($$SELECT stream, seq, packet_id, attempt, outcome, exit_code, signal, sqlstate, message, finished_at >= started_at FROM spool.attempts WHERE queue = 'policy retry'$$,
    $$SELECT '', 2::bigint, packet_id, 1, 'error', NULL::int, NULL::int, 'U0007', 'job b fails', true FROM spool.ls('policy retry') WHERE seq = 2$$,
    'F36: the attempt is in the history');
SELECT spool.enqueue('policy retry', 'x', 'B') \g /dev/null
CALL spool.process('policy retry') \gset
SELECT is(:'SQLSTATE' || ' ' || pg_temp.ran(), '38000 x', 'F26: other streams go on, then the failure is raised');
SELECT results_eq($$SELECT seq, attempt FROM spool.attempts WHERE queue = 'policy retry' ORDER BY attempt$$,
    $$VALUES (2::bigint, 1), (2, 2)$$, 'F27: the next pass starts with 2 again');
SELECT is((SELECT attempts FROM spool.ls('policy retry') WHERE seq = 2), 2, 'F27: attempts are listed');
SELECT is((SELECT attempt FROM spool.peek('policy retry')), 3, 'F27: the next one is the third');
TRUNCATE policy_test.failing;
CALL spool.process('policy retry') \gset
SELECT is(:processed, 2, 'F27: repaired, 2 and 3 run');
SELECT is((SELECT string_agg(body || attempt, ' ' ORDER BY n) FROM policy_test.log), 'b3 c1', 'F27: 2 in its third attempt');
SELECT is(pg_temp.ran(), 'b c', 'F27: in order');
SELECT is((SELECT count(*) FROM spool.attempts WHERE queue = 'policy retry'), 2::bigint, 'F36: history "failures" keeps no successes');
INSERT INTO policy_test.failing VALUES ('b');

-- F35 without its delays: the last attempt under retry
SELECT pg_temp.make('policy last', 'retry', '{b,c}', max_attempts => 2) \g /dev/null
CALL spool.process('policy last') \gset
CALL spool.process('policy last') \gset
SELECT is(:'SQLSTATE', '38000'::text, 'F35: the second attempt fails');
CALL spool.process('policy last') \gset
SELECT is(:'SQLSTATE' || ' ' || :processed, '00000 0', 'F35: there is no third one');
SELECT is((SELECT count(*) FROM spool.attempts WHERE queue = 'policy last'), 2::bigint, 'F35: two attempts');
SELECT is(pg_temp.listed('policy last'), '1 retrying, 2 waiting', 'F35: the stream stays blocked');
SELECT spool.enqueue('policy last', 'x', 'B') \g /dev/null
CALL spool.process('policy last') \gset
SELECT is(:'SQLSTATE' || ' ' || pg_temp.ran(), '00000 x', 'F35: other streams go on');
SELECT spool.retry_now('policy last', '') \g /dev/null
SELECT is((SELECT attempts FROM spool.ls('policy last') WHERE seq = 1), 0, 'F35: retry_now forgets the attempts');
CALL spool.process('policy last') \gset
SELECT is(:'SQLSTATE' || ' ' || (SELECT count(*) FROM spool.attempts WHERE queue = 'policy last'), '38000 3', 'F35: it is tried again');
CALL spool.process('policy last') \gset
SELECT spool.retry_now('policy last') \g /dev/null
TRUNCATE policy_test.failing;
CALL spool.process('policy last') \gset
SELECT is(pg_temp.ran(), 'b c', 'F35: retry_now for all streams');
SELECT throws_ok($$SELECT spool.retry_now('policy last', 'nowhere')$$, '42704', 'stream "nowhere" of queue "policy last" does not exist', 'F35: retry_now of no stream');
INSERT INTO policy_test.failing VALUES ('b');

-- After the last attempt of an old packet an older one still runs, and no younger one.
SELECT spool.create_queue('policy time', order_by => 'timestamp', max_attempts => 1),
       spool.set_handler('policy time', 'SELECT policy_test.work($1)'),
       spool.write('policy time', spool.make_packet(1, 'b', ctime => '2026-01-02Z')),
       spool.write('policy time', spool.make_packet(2, 'c', ctime => '2026-01-03Z')) \g /dev/null
CALL spool.process('policy time') \gset
SELECT spool.write('policy time', spool.make_packet(3, 'a', ctime => '2026-01-01Z')) \g /dev/null
CALL spool.process('policy time') \gset
SELECT is(:'SQLSTATE' || ' ' || pg_temp.ran(), '00000 a', 'F24: what is older than a blocked packet runs');
CALL spool.process('policy time') \gset
SELECT is((SELECT count(*) FROM spool.attempts WHERE queue = 'policy time'), 1::bigint, 'F24: the blocked one does not run again');
SELECT is(pg_temp.listed('policy time'), '1 retrying, 2 waiting', 'F24: both are still there');

-- F28: delete
SELECT pg_temp.make('policy delete', 'delete', '{a,b,c}') \g /dev/null
CALL spool.process('policy delete') \gset
SELECT is(:'SQLSTATE' || ' ' || :processed, '00000 3', 'F28: no error, three are processed');
SELECT is(pg_temp.ran(), 'a c', 'F28: 1 and 3 ran');
SELECT is(spool.next_seq('policy delete'), 4::bigint, 'F28: the cursor is 4');
SELECT is(pg_temp.listed('policy delete'), '', 'F28: 2 is gone');
SELECT is_empty($$SELECT * FROM spool.dead_letters WHERE name = 'policy delete'$$, 'F28: it is no dead letter');
SELECT is((SELECT string_agg(seq || ' ' || outcome, ',') FROM spool.attempts WHERE queue = 'policy delete'), '2 error', 'F36: the failure is in the history');

-- F29: leave
SELECT pg_temp.make('policy leave', 'leave', '{a,b,c}') \g /dev/null
CALL spool.process('policy leave') \gset
SELECT is(:'SQLSTATE' || ' ' || :processed, '00000 3', 'F29: no error, three are processed');
SELECT is(pg_temp.ran(), 'a c', 'F29: 1 and 3 ran');
SELECT is(spool.next_seq('policy leave'), 4::bigint, 'F29: the cursor is 4');
SELECT is(pg_temp.listed('policy leave'), '2 failed', 'F29: 2 stays visible as failed');
CALL spool.process('policy leave') \gset
SELECT is(:processed, 0, 'F29: it does not run again on its own');

-- dead, several attempts
SELECT pg_temp.make('policy dead', 'dead', '{a,b,c}', max_attempts => 2) \g /dev/null
CALL spool.process('policy dead') \gset
SELECT is(:'SQLSTATE' || ' ' || :processed, '00000 1', 'F35: a failure that is not the last is no error under dead');
SELECT is(pg_temp.ran() || ', ' || pg_temp.listed('policy dead'), 'a, 2 retrying, 3 waiting', 'F35: 3 waits for the last attempt');
CALL spool.process('policy dead') \gset
SELECT is(pg_temp.ran(), 'c', 'F35: after it the queue goes on');
SELECT is(concat_ws(', ', source, name, quote_literal(stream), seq, quote_nullable(target), reason, sqlstate, message, attempts, since <= clock_timestamp()),
    $$queue, policy dead, '', 2, NULL, failed, U0007, job b fails, 2, t$$, 'F35: it is a dead letter')
  FROM spool.dead_letters WHERE name = 'policy dead';
SELECT spool.retry_now('policy dead') \g /dev/null
CALL spool.process('policy dead') \gset
SELECT is(:processed, 0, 'F35: retry_now does not revive dead letters');

-- redrive
SELECT spool.write_many('policy dead', ARRAY[spool.make_packet(4, 'd'), spool.make_packet(5, 'b'), spool.make_packet(6, 'f')]) \g /dev/null
CALL spool.process('policy dead') \gset
CALL spool.process('policy dead') \gset
SELECT is(pg_temp.ran() || ', ' || pg_temp.listed('policy dead'), 'd f, 2 dead, 5 dead', 'F35: two are dead');
SELECT spool.write('policy dead', spool.make_packet(7, 'g')) \g /dev/null
SELECT is(spool.redrive('policy dead', (SELECT packet_id FROM spool.dead_letters WHERE name = 'policy dead' AND seq = 5)), 1::bigint, 'F35: one is redriven');
SELECT is(pg_temp.listed('policy dead'), '2 dead, 5 ready, 7 ready', 'F35: it is ready');
SELECT is(spool.redrive('policy dead', 0), 0::bigint, 'F35: no such packet');
SELECT is(spool.redrive('policy dead'), 1::bigint, 'F35: the other one');
SELECT is((SELECT string_agg(seq::text, ' ' ORDER BY ordinality) FROM spool.peek('policy dead', 5) WITH ORDINALITY), '2 5 7', 'F35: redriven ones come ahead of the cursor, by number');
CALL spool.process('policy dead') \gset
SELECT is(pg_temp.ran(), '', 'F35: the first redriven one fails and stops the others');
SELECT is((SELECT max(attempt) FROM spool.attempts WHERE queue = 'policy dead' AND seq = 2 AND started_at = (SELECT max(started_at) FROM spool.attempts WHERE queue = 'policy dead')), 1, 'F35: its attempts count from 1');
CALL spool.process('policy dead') \gset
SELECT is((SELECT attempts FROM spool.dead_letters WHERE name = 'policy dead' AND seq = 2), 2, 'F35: after the last attempt it is dead again');
TRUNCATE policy_test.failing;
CALL spool.process('policy dead') \gset
SELECT is(pg_temp.ran(), 'b g', 'F35: the others run');
SELECT is(spool.redrive('policy dead'), 1::bigint, 'F35: redriven again');
CALL spool.process('policy dead') \gset
SELECT is(pg_temp.ran() || ', ' || pg_temp.listed('policy dead') || ', ' || spool.next_seq('policy dead'), 'b, , 8', 'F35: repaired, it runs; the cursor stays');
INSERT INTO policy_test.failing VALUES ('b');

-- discard
SELECT pg_temp.make('policy discard', 'retry', '{a,x,c,d}') \g /dev/null
SELECT spool.discard('policy discard', spool.packet_id('policy discard', 2), 'not wanted') \g /dev/null
SELECT is_empty($$SELECT * FROM spool.gaps('policy discard')$$, 'F34: the number of a discarded packet is not missing');
CALL spool.process('policy discard') \gset
SELECT is(pg_temp.ran() || ', ' || spool.next_seq('policy discard'), 'a c d, 5', 'F34: it counts as consumed');
SELECT results_eq($$SELECT seq, reason, message FROM spool.dead_letters WHERE name = 'policy discard'$$, $$VALUES (2::bigint, 'discarded', 'not wanted')$$, 'F34: it is a dead letter');
SELECT throws_ok($$SELECT spool.discard('policy discard', 0)$$, '42704', 'packet 0 does not exist in queue "policy discard"', 'F34: discard of nothing');
SELECT throws_ok(format($$SELECT spool.discard('policy discard', %s)$$, packet_id), '42704',
    format('packet %s does not exist in queue "policy discard"', packet_id), 'F34: discard of another queue''s packet')
  FROM (SELECT packet_id FROM spool.ls('policy leave') LIMIT 1) l;
SELECT throws_ok($$SELECT spool.discard('policy discard', NULL)$$, '22004', 'packet_id must not be null', 'F34: discard of NULL');

-- F30: retention
SELECT pg_temp.make('policy retain', 'retry', '{a,c,b}', retention => '100 years') \g /dev/null
CALL spool.process('policy retain') \gset
SELECT is(pg_temp.listed('policy retain'), '1 done, 2 done, 3 retrying', 'F30: what succeeded stays with state done');
SELECT is(spool.next_seq('policy retain'), 3::bigint, 'F30: the cursor is 3');
CALL spool.maintain();
SELECT is(pg_temp.listed('policy retain'), '1 done, 2 done, 3 retrying', 'F30: maintain keeps it');
SELECT pg_temp.ran() \g /dev/null
SELECT spool.set_next_seq('policy retain', 1) \g /dev/null
SELECT is(pg_temp.listed('policy retain'), '1 ready, 2 waiting, 3 waiting', 'F30: setting the cursor to 1 makes all ready');
CALL spool.process('policy retain') \gset
SELECT is(pg_temp.ran(), 'a c', 'F30: they are replayed');
SELECT spool.discard('policy retain', spool.packet_id('policy retain', 3)) \g /dev/null
SELECT is((SELECT count(*) FROM spool.take('policy retain', 9)), 0::bigint, 'F30: nothing waits');
SELECT spool.write('policy retain', spool.make_packet(4, 'd', ctime => '2026-01-01Z')) \g /dev/null
SELECT is((SELECT string_agg(seq::text, ' ') FROM spool.take('policy retain', 9)), '4', 'F30: take retains, too');
SELECT is(pg_temp.listed('policy retain'), '1 done, 2 done, 3 dead, 4 done', 'F30: state done');
SELECT is((SELECT status FROM spool.write('policy retain', spool.make_packet(4, 'd', ctime => '2026-01-01Z'))), 'duplicate', 'F15: a retained packet that comes again is a duplicate');
SELECT spool.alter_queue('policy retain', retention => '0') \g /dev/null
CALL spool.maintain();
SELECT is(pg_temp.listed('policy retain'), '3 dead', 'F30: no longer retained, maintain removes it');
SELECT spool.set_next_seq('policy retain', 1) \g /dev/null
SELECT is(pg_temp.listed('policy retain'), '3 dead', 'F30: what is not retained is not replayed');
SELECT spool.create_queue('policy many', retention => '100 years') \g /dev/null
SELECT spool.enqueue_many('policy many', array_agg(CASE n % 100 WHEN 0 THEN repeat(md5(n::text), 500) ELSE 'job ' || n END ORDER BY n))
  FROM generate_series(1, 700) n \g /dev/null
CREATE TEMP TABLE policy_many AS SELECT packet_id, payload FROM spool.take('policy many', 700);
SELECT is((SELECT count(*) FROM policy_many WHERE spool.payload(spool.get_packet('policy many', packet_id)) = payload), 700::bigint,
    'F30: many that are taken at once keep their bytes');
SELECT is((SELECT string_agg(DISTINCT state, ' ') || ' ' || count(DISTINCT seq) FROM spool.ls('policy many')), 'done 700', 'F30: all of them stay');

-- F31: a program that cannot be started
SET spool.programs = on;
SELECT spool.create_queue('policy start ' || on_error, on_error => on_error),
       spool.set_program('policy start ' || on_error, '/nonexistent/program'),
       spool.enqueue_many('policy start ' || on_error, '{a,b}'::text[])
  FROM unnest('{retry,dead,leave,delete}'::text[]) on_error \g /dev/null
CALL spool.process('policy start retry') \gset
SELECT is(:'SQLSTATE', '38000'::text, 'F31: an error under retry');
CALL spool.process('policy start dead') \gset
SELECT is(:'SQLSTATE', '38000'::text, 'F31: an error under dead');
CALL spool.process('policy start leave') \gset
SELECT is(:'SQLSTATE', '38000'::text, 'F31: an error under leave');
CALL spool.process('policy start delete') \gset
SELECT is(:'SQLSTATE', '38000'::text, 'F31: an error under delete');
SELECT is((SELECT string_agg(concat(l.state, l.attempts, spool.next_seq(q.queue)), ' ' ORDER BY q.queue, l.seq) FROM spool.queues q, spool.ls(q.queue) l WHERE q.queue LIKE 'policy start %'),
    'ready01 waiting01 ready01 waiting01 ready01 waiting01 ready01 waiting01', 'F31: nothing is consumed, no attempt is counted');
SELECT is((SELECT string_agg(DISTINCT outcome, ' ') || count(*) FROM spool.attempts WHERE queue LIKE 'policy start %' AND message <> ''), 'start_failed4', 'F31: the history tells why');
RESET spool.programs;

-- F32: Fail packets
SELECT pg_temp.make('policy fail ' || on_error, on_error, '{a,b,c}'),
       spool.discard('policy fail ' || on_error, spool.packet_id('policy fail ' || on_error, 1)),
       spool.create_queue('policy fail2 ' || on_error, on_error => on_error),
       spool.set_handler('policy fail2 ' || on_error, 'SELECT policy_test.work($1)'),
       spool.enqueue('policy fail2 ' || on_error, 'f', kind => 'fail'), spool.enqueue('policy fail2 ' || on_error, 'after')
  FROM unnest('{retry,dead}'::text[]) on_error \g /dev/null
CALL spool.process('policy fail2 retry') \gset
SELECT is(:'SQLSTATE' || ' ' || pg_temp.ran(), '38000 ', 'F32: a barrier under retry');
SELECT is((SELECT message FROM spool.attempts WHERE queue = 'policy fail2 retry'), 'Fail packet', 'F32: the history says what it was');
SELECT is((SELECT count(*) FROM spool.take('policy fail2 retry', 9)), 0::bigint, 'F32: take skips its stream');
SELECT spool.enqueue('policy fail2 retry', 'x', 'B') \g /dev/null
SELECT is((SELECT string_agg(stream, ' ') FROM spool.take('policy fail2 retry', 9)), 'B', 'F32: not the others');
CALL spool.process('policy fail2 dead') \gset
SELECT is(pg_temp.ran() || ', ' || :processed || ', ' || pg_temp.listed('policy fail2 dead'), 'after, 2, 1 dead', 'F32: no command runs, the policy applies');
SELECT spool.enqueue('policy fail2 dead', kind => 'fail'), spool.enqueue('policy fail2 dead', 'x') \g /dev/null
SELECT is((SELECT string_agg(seq::text, ' ') FROM spool.take('policy fail2 dead')), '4', 'F32: take consumes it by the policy');
SELECT results_eq($$SELECT seq, reason, message FROM spool.dead_letters WHERE name = 'policy fail2 dead' ORDER BY seq$$,
    $$VALUES (1::bigint, 'failed', 'Fail packet'), (3, 'failed', 'Fail packet')$$, 'F32: and records it');
SELECT results_eq($$SELECT seq, attempt, outcome FROM spool.attempts WHERE queue = 'policy fail2 dead' ORDER BY seq$$,
    $$VALUES (1::bigint, 1, 'error'), (3, 1, 'error')$$, 'F36: also in the history');

-- F33: NOP packets
SELECT spool.enqueue('policy fail2 dead', 'n', kind => 'nop'), spool.enqueue('policy fail2 dead', 'x') \g /dev/null
CALL spool.process('policy fail2 dead') \gset
SELECT is(pg_temp.ran() || ', ' || :processed || ', ' || spool.next_seq('policy fail2 dead'), 'x, 2, 7', 'F33: no command runs, the cursor advances');
SELECT is((SELECT count(*) FROM spool.attempts WHERE queue = 'policy fail2 dead' AND seq > 4), 0::bigint, 'F33: it counts as success');

-- F36, F40, F42: histories, time allowed
SELECT spool.create_queue('policy all', history => 'all', on_error => 'leave', timeout => '900 ms'),
       spool.set_handler('policy all', $$SELECT CASE WHEN $1.seq = 2 THEN pg_sleep(600) END$$),
       spool.create_queue('policy no history', history => 'none', on_error => 'leave'),
       spool.set_handler('policy no history', 'SELECT 1 / 0') \g /dev/null
SELECT spool.enqueue_many('policy all', '{a,b,c}'::text[]), spool.enqueue('policy no history', 'a') \g /dev/null
CALL spool.process('policy all') \gset
SELECT results_eq($$SELECT seq, outcome, sqlstate, message FROM spool.attempts WHERE queue = 'policy all' ORDER BY seq$$,
    $$VALUES (1::bigint, 'ok', NULL, NULL), (2, 'timeout', NULL, 'the time allowed was over'), (3, 'ok', NULL, NULL)$$, 'F42: a timeout below a second; history "all"');
SELECT cmp_ok(finished_at - started_at, '<', interval '30 s', 'F40: the job is ended soon') FROM spool.attempts WHERE queue = 'policy all' AND seq = 2;
CALL spool.process('policy no history') \gset
SELECT is(pg_temp.listed('policy no history') || (SELECT count(*) FROM spool.attempts WHERE queue = 'policy no history'), '1 failed0', 'F36: history "none"');

-- A cancel of process is no failure of the job.
SELECT spool.create_queue('policy cancel'), spool.set_handler('policy cancel', 'SELECT pg_sleep(600)'), spool.enqueue_many('policy cancel', '{a,b}'::text[]) \g /dev/null
SET statement_timeout = '50ms';
CALL spool.process('policy cancel') \gset
\set error :SQLSTATE
RESET statement_timeout;
SELECT is(:'error', '57014'::text, 'F71: a cancel is raised as such');
SELECT is(pg_temp.listed('policy cancel') || (SELECT count(*) FROM spool.attempts WHERE queue = 'policy cancel'), '1 ready, 2 waiting0', 'F71: nothing runs any more, no attempt is counted');
SELECT is((SELECT string_agg(seq || ' ' || attempt, ', ') FROM spool.take('policy cancel', 2)), '1 1, 2 1', 'F71: the jobs can be taken at once');

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'policy %' \g /dev/null
DROP SCHEMA policy_test CASCADE;
