-- Queues: create, alter, drop, options and refusals.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(116);

-- create_queue
SELECT lives_ok($$SELECT spool.create_queue('a')$$, 'F66: a queue is created');
SELECT is(concat_ws(', ', order_by, append_only, max_attempts, on_error, retry_delay, retry_delay_max, gap_timeout, timeout, quiet, max_wait, allow_job_params, ignore_payload, retention, history, workers, owner = current_user::regrole, coalesce(handler, program, args::text, pause_reason, 'none')),
    'sequence, f, 0, retry, 00:00:01, 01:00:00, 00:00:00, 00:00:00, 00:00:00, 00:00:00, f, f, 00:00:00, failures, 0, t, none', 'F66: defaults')
  FROM spool.queues WHERE queue = 'a';
SELECT spool.alter_queue('a', on_error => 'leave', retention => '1 day'), spool.enqueue('a', 'x') \g /dev/null
SELECT throws_ok($$SELECT spool.create_queue('a', on_error => 'dead')$$, '42710', 'queue "a" already exists', 'F66: creating it again is an error');
SELECT lives_ok($$SELECT spool.create_queue('a', on_error => 'dead', if_not_exists => true)$$, 'F66: not with if_not_exists');
SELECT is(concat_ws(', ', on_error, retention, max_attempts, (SELECT count(*) FROM spool.ls('a'))), 'leave, 1 day, 1, 1', 'F66: nothing is changed') FROM spool.queues WHERE queue = 'a';
SELECT spool.create_queue('all', 'timestamp', true, 3, 'dead', '5 s', '1 min', '2 s', '10 s', '0', '0', true, true, '1 week', 'all', 2) \g /dev/null
SELECT is(concat_ws(', ', order_by, append_only, max_attempts, on_error, retry_delay, retry_delay_max, gap_timeout, timeout, quiet, max_wait, allow_job_params, ignore_payload, retention, history, workers),
    'timestamp, t, 3, dead, 00:00:05, 00:01:00, 00:00:02, 00:00:10, 00:00:00, 00:00:00, t, t, 7 days, all, 2', 'F66: all options')
  FROM spool.queues WHERE queue = 'all';
SELECT throws_ok(format('SELECT spool.%s_queue(%L, %s)', verb, CASE verb WHEN 'create' THEN 'new' ELSE 'a' END, arg), code, message, format('F66: %s: %s', verb, message))
  FROM unnest('{create,alter}'::text[]) verb, (VALUES
    ($$order_by => 'newest'$$, '22023', 'unrecognized order_by: "newest"'),
    ($$on_error => 'ignore'$$, '22023', 'unrecognized on_error: "ignore"'),
    ($$history => 'some'$$, '22023', 'unrecognized history: "some"'),
    ($$max_attempts => -1$$, '22023', 'max_attempts must not be negative'),
    ($$timeout => '-1 s'$$, '22023', 'timeout must not be negative'),
    ($$retry_delay => '-1 s'$$, '22023', 'retry_delay must not be negative'),
    ($$retry_delay_max => '-1 s'$$, '22023', 'retry_delay_max must not be negative'),
    ($$gap_timeout => '-1 s'$$, '22023', 'gap_timeout must not be negative'),
    ($$quiet => '-1 s'$$, '22023', 'quiet must not be negative'),
    ($$max_wait => '-1 s'$$, '22023', 'max_wait must not be negative'),
    ($$max_wait => '1001 years'$$, '22023', 'max_wait must not be longer than 1000 years'),
    ($$quiet => '1 s'$$, '22023', 'quiet and max_wait are options of queues in order "latest"'),
    ($$max_wait => '1 s'$$, '22023', 'quiet and max_wait are options of queues in order "latest"'),
    ($$order_by => 'timestamp', quiet => '1 s'$$, '22023', 'quiet and max_wait are options of queues in order "latest"'),
    ($$order_by => 'latest', max_wait => '1 s'$$, '22023', 'max_wait must not be set without quiet'),
    ($$order_by => 'latest', quiet => '2 s', max_wait => '1 s'$$, '22023', 'max_wait must not be shorter than quiet'),
    ($$workers => -1$$, '22023', 'workers must be between 0 and 1024'),
    ($$workers => 1025$$, '22023', 'workers must be between 0 and 1024'),
    ($$retention => '-1 s'$$, '22023', 'retention must not be negative'),
    ($$timeout => '1000 years 1 day'$$, '22023', 'timeout must not be longer than 1000 years'),
    ($$retention => '1000 years 1 day'$$, '22023', 'retention must not be longer than 1000 years'),
    ($$owner => '0'$$, '42704', 'invalid role OID: 0')
) v(arg, code, message);
SELECT throws_ok(sql, code, message, 'F66: ' || message) FROM (VALUES
    ($$SELECT spool.create_queue(NULL)$$, '22004', 'queue must not be null'),
    ($$SELECT spool.create_queue('')$$, '22023', 'invalid queue name: ""'),
    ($$SELECT spool.create_queue('n', order_by => NULL)$$, '22004', 'order_by must not be null'),
    ($$SELECT spool.create_queue('n', append_only => NULL)$$, '22004', 'append_only must not be null'),
    ($$SELECT spool.create_queue('n', on_error => NULL)$$, '22004', 'on_error must not be null'),
    ($$SELECT spool.create_queue('n', workers => NULL)$$, '22004', 'workers must not be null'),
    ($$SELECT spool.create_queue('n', timeout => NULL)$$, '22004', 'timeout must not be null'),
    ($$SELECT spool.create_queue('n', quiet => NULL)$$, '22004', 'quiet must not be null'),
    ($$SELECT spool.create_queue('n', max_wait => NULL)$$, '22004', 'max_wait must not be null'),
    ($$SELECT spool.create_queue('n', retention => NULL)$$, '22004', 'retention must not be null'),
    ($$SELECT spool.create_queue('n', history => NULL)$$, '22004', 'history must not be null'),
    ($$SELECT spool.alter_queue('nowhere')$$, '42704', 'queue "nowhere" does not exist'),
    ($$SELECT spool.alter_queue(NULL)$$, '22004', 'queue must not be null'),
    ($$SELECT spool.drop_queue('nowhere')$$, '42704', 'queue "nowhere" does not exist'),
    ($$SELECT spool.drop_queue(NULL)$$, '22004', 'queue must not be null'),
    ($$SELECT spool.pause_queue('nowhere')$$, '42704', 'queue "nowhere" does not exist'),
    ($$SELECT spool.resume_queue('nowhere')$$, '42704', 'queue "nowhere" does not exist'),
    ($$SELECT spool.set_handler('nowhere', 'SELECT 1')$$, '42704', 'queue "nowhere" does not exist'),
    ($$SELECT spool.set_handler('a', '')$$, '22023', 'handler is empty'),
    ($$SELECT spool.grant_queue('a', current_user::regrole, 'everything')$$, '22023', 'unrecognized privilege: "everything"'),
    ($$SELECT spool.next_seq('nowhere')$$, '42704', 'queue "nowhere" does not exist'),
    ($$SELECT spool.set_next_seq('nowhere', 1)$$, '42704', 'queue "nowhere" does not exist'),
    ($$SELECT spool.redrive('nowhere')$$, '42704', 'queue "nowhere" does not exist')
) v(sql, code, message);
SELECT throws_ok($$SELECT spool.set_handler('a', 'SELEC 1')$$, '42601', NULL, 'F66: a handler that is no SQL');
SELECT throws_ok(format('SELECT spool.create_queue(%L)', repeat('q', 256)), '22023', format('invalid queue name: "%s"', repeat('q', 256)), 'F66: a name that is too long');
SELECT lives_ok(format('SELECT spool.create_queue(%L), spool.enqueue(%1$L), spool.drop_queue(%1$L, true)', repeat('é', 127)), 'F66: a long name');
SELECT hasnt_column('spool', 'queues', 'id', 'F66: the view of queues has no internals');

-- What was rolled back is not there.
SAVEPOINT s;
SELECT spool.create_queue('gone'), spool.enqueue('gone', 'x'), spool.alter_queue('a', on_error => 'dead') \g /dev/null
ROLLBACK TO s;
SELECT throws_ok($$SELECT spool.enqueue('gone', 'x')$$, '42704', 'queue "gone" does not exist', 'F66: a queue whose creation is rolled back');
SELECT spool.write('a', spool.make_packet(1, 'x'), 'S') \g /dev/null
SELECT spool.enqueue('a', kind => 'fail') \g /dev/null
SELECT is((SELECT count(*) FROM spool.take('a', 9)), 2::bigint, 'F66: options are rolled back, too');
SELECT is((SELECT string_agg(state, ' ' ORDER BY state) FROM spool.ls('a') WHERE kind = 'fail'), 'failed', 'F66: on_error is "leave" again');

-- alter_queue
SELECT spool.create_queue('alter') \g /dev/null
SELECT spool.alter_queue('alter', 'timestamp', false, 5, 'dead', '4 s', '1 min', '3 s', '1 s', '0', '0', true, true, '2 s', 'none', 3) \g /dev/null
SELECT is(concat_ws(', ', order_by, append_only, max_attempts, on_error, retry_delay, retry_delay_max, gap_timeout, timeout, quiet, max_wait, allow_job_params, ignore_payload, retention, history, workers),
    'timestamp, f, 5, dead, 00:00:04, 00:01:00, 00:00:03, 00:00:01, 00:00:00, 00:00:00, t, t, 00:00:02, none, 3', 'F66: all options altered') FROM spool.queues WHERE queue = 'alter';
SELECT spool.alter_queue('alter') \g /dev/null
SELECT is(concat_ws(', ', order_by, append_only, max_attempts, on_error, retry_delay, retry_delay_max, gap_timeout, timeout, quiet, max_wait, allow_job_params, ignore_payload, retention, history, workers),
    'timestamp, f, 5, dead, 00:00:04, 00:01:00, 00:00:03, 00:00:01, 00:00:00, 00:00:00, t, t, 00:00:02, none, 3', 'F66: NULL leaves one as it is') FROM spool.queues WHERE queue = 'alter';
SELECT spool.alter_queue('alter', retention => '0'), spool.enqueue('alter', 'x') \g /dev/null
SELECT throws_ok($$SELECT spool.alter_queue('alter', order_by => 'sequence')$$, '55006', 'cannot change the order of queue "alter" while it holds packets', 'F66: the order changes only while it is empty');
SELECT lives_ok($$SELECT spool.alter_queue('alter', order_by => 'timestamp', on_error => 'retry')$$, 'F66: the same order is no change');
SELECT is((SELECT count(*) FROM spool.take('alter')), 1::bigint, 'F66: emptied');
SELECT spool.alter_queue('alter', order_by => 'sequence') \g /dev/null
SELECT is(spool.enqueue('alter', 'x'), 1::bigint, 'F66: with another order its streams begin anew');
SELECT is((SELECT string_agg(max_attempts::text, ' ') FROM spool.queues WHERE queue = 'alter'), '5', 'F35: max_attempts is kept');

-- drop_queue
SELECT throws_ok($$SELECT spool.drop_queue('alter')$$, '55006', 'cannot drop queue "alter" while packets wait', 'F66: a queue with packets is not dropped');
SELECT is((SELECT count(*) FROM spool.ls('alter')), 1::bigint, 'F66: they are still there');
SELECT lives_ok($$SELECT spool.drop_queue('alter', force => true)$$, 'F66: unless forced');
SELECT throws_ok($$SELECT * FROM spool.ls('alter')$$, '42704', 'queue "alter" does not exist', 'F66: it is gone');
SELECT lives_ok($$SELECT spool.drop_queue('alter', if_exists => true)$$, 'F66: if_exists');
SELECT spool.create_queue('alter') \g /dev/null
SELECT is_empty($$SELECT * FROM spool.ls('alter')$$, 'F66: created again, it is empty');
SELECT is(spool.enqueue('alter', 'x'), 1::bigint, 'F66: and numbers from 1');
SELECT is((SELECT count(*) FROM spool.take('alter')), 1::bigint, 'F66: consumed packets');
SELECT lives_ok($$SELECT spool.drop_queue('alter')$$, 'F66: do not keep a queue from being dropped');
SELECT spool.create_queue('alter', on_error => 'dead'), spool.enqueue('alter', kind => 'fail') \g /dev/null
SELECT * FROM spool.take('alter') \g /dev/null
SELECT throws_ok($$SELECT spool.alter_queue('alter', order_by => 'none')$$, '55006', 'cannot change the order of queue "alter" while it holds packets', 'F66: dead letters keep the order');
SELECT lives_ok($$SELECT spool.drop_queue('alter')$$, 'F66: nor dead letters');
SELECT is_empty($$SELECT * FROM spool.dead_letters WHERE name = 'alter'$$, 'F66: which are gone, too');
SELECT is((SELECT count(*) FROM spool.attempt WHERE queue NOT IN (SELECT id FROM spool.queue)) + (SELECT count(*) FROM spool.action WHERE queue NOT IN (SELECT id FROM spool.queue)), 0::bigint, 'F66: and its history');
SELECT spool.create_queue('alter', 'none'), spool.enqueue('alter', 'x') \g /dev/null
SELECT count(*) FROM spool.take('alter') \g /dev/null
SELECT spool.drop_queue('alter') \g /dev/null
SELECT is((SELECT count(*) FROM spool.tally WHERE stream NOT IN (SELECT id FROM spool.stream)), 0::bigint, 'F66: and its counts');

-- F67
SELECT spool.create_queue('ao', append_only => true) \g /dev/null
SELECT is(spool.enqueue('ao', 'a'), 1::bigint, 'F67: an append-only queue is written');
SELECT is((SELECT status FROM spool.write('ao', spool.make_packet(7, 'b'), 'S')), 'stored', 'F67: by write, too');
SELECT is((SELECT string_agg(stream || seq || ' ' || convert_from(spool.payload(spool.get_packet('ao', packet_id)), 'UTF8'), ', ') FROM spool.ls('ao')), '1 a, S7 b', 'F67: listed and read');
SELECT throws_ok(sql, '55000', 'queue "ao" is append-only', 'F67: refused: ' || sql) FROM unnest(ARRAY[
    $$SELECT * FROM spool.take('ao')$$,
    $$SELECT spool.next_seq('ao')$$,
    $$SELECT spool.set_next_seq('ao', 2)$$,
    $$SELECT spool.skip_gap('ao')$$,
    $$SELECT spool.retry_now('ao')$$]) sql;
SELECT lives_ok($$SELECT spool.alter_queue('ao', append_only => false)$$, 'F67: until it is altered');
SELECT is((SELECT string_agg(convert_from(payload, 'UTF8'), ' ') FROM spool.take('ao')), 'a', 'F67: then it is processed');

-- One command.
SELECT spool.create_queue('cmd'), spool.set_handler('cmd', 'SELECT 1') \g /dev/null
SELECT is((SELECT concat_ws(',', handler, program) FROM spool.queues WHERE queue = 'cmd'), 'SELECT 1', 'F52: a handler');
SET LOCAL spool.programs = on;
SELECT spool.set_program('cmd', '/bin/true', '{a,b}') \g /dev/null
SELECT is((SELECT concat_ws(',', handler, program, args::text) FROM spool.queues WHERE queue = 'cmd'), '/bin/true,{a,b}', 'F52: or a program');
SELECT throws_ok($$SELECT spool.set_program('cmd', 'true')$$, '22023', 'program path must be absolute', 'F51: by its absolute path');
SELECT throws_ok($$SELECT spool.set_program('cmd', '/bin/true', '{a,NULL}')$$, '22004', 'args must not be null or contain nulls', 'F43: arguments are not NULL');
SELECT spool.set_handler('cmd', NULL) \g /dev/null
SELECT is((SELECT concat_ws(',', handler, program) FROM spool.queues WHERE queue = 'cmd'), '', 'F52: or none');

SELECT * FROM finish();
ROLLBACK;
