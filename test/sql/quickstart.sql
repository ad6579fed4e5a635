-- What a user sees: the quick start, listings and errors as psql shows them.
\set SHOW_CONTEXT never
SELECT spool.create_queue('mail');
SELECT spool.enqueue('mail', 'first'), spool.enqueue('mail', 'second'), spool.enqueue('mail', 'third');
SELECT stream, seq, kind, state, attempts, bytes FROM spool.ls('mail');

-- take: in order, consumed by the commit
BEGIN;
SELECT seq, convert_from(payload, 'UTF8') AS payload, attempt FROM spool.take('mail', 2);
ROLLBACK;
SELECT seq, convert_from(payload, 'UTF8') AS payload, attempt FROM spool.take('mail', 2);
SELECT spool.next_seq('mail');

-- a handler
CREATE TABLE sent (seq bigint, body text);
SELECT spool.set_handler('mail', $$INSERT INTO sent VALUES (($1).seq, convert_from(($1).payload, 'UTF8'))$$);
SELECT spool.enqueue_many('mail', ARRAY['fourth', 'fifth']);
CALL spool.process('mail');
TABLE sent ORDER BY seq;

-- a job that fails stays at the head, and says why
SELECT spool.create_queue('div');
SELECT spool.set_handler('div', 'SELECT 1 / (($1).seq - 2)');
SELECT spool.enqueue_many('div', ARRAY['a', 'b', 'c']);
CALL spool.process('div');
SELECT stream, seq, state, attempts FROM spool.ls('div');
SELECT seq, attempt, outcome, sqlstate, message FROM spool.attempts;
SELECT spool.alter_queue('div', on_error => 'dead');
CALL spool.process('div');
SELECT source, name, stream, seq, target, reason, sqlstate, message, attempts FROM spool.dead_letters;

-- packets that have their numbers; a hole stops the stream
SELECT spool.create_queue('inbox');
SELECT w.seq, w.status FROM unnest(ARRAY[1, 2, 4]) n, LATERAL spool.write('inbox', spool.make_packet(n, 'x'::text)) w;
SELECT stream, seq, state FROM spool.ls('inbox');
SELECT seq FROM spool.take('inbox', 10);
SELECT stream, first_missing, last_missing, waiting FROM spool.gaps('inbox');
SELECT spool.skip_gap('inbox', reason => 'sender lost it');
SELECT seq FROM spool.take('inbox', 10);
SELECT queue, stream, action, first_seq, last_seq, reason FROM spool.actions;

-- claims, for work outside of the database
SELECT spool.enqueue_many('mail', ARRAY['sixth', 'seventh', 'eighth']);
SELECT seq, convert_from(payload, 'UTF8') AS payload, attempt FROM spool.claim('mail', 2);
SELECT stream, jobs, lease_until - since BETWEEN '4 min 59 s' AND '5 min' AS lease FROM spool.claims;
SELECT seq, state FROM spool.ls('mail');
SELECT spool.nack(c.claim_id, spool.packet_id('mail', 7), 'no answer') FROM spool.claims c;
SELECT seq, state, attempts FROM spool.ls('mail');
SELECT spool.ack(0);

-- later, and only once
SELECT spool.enqueue('mail', 'ninth', key => '9'), spool.enqueue('mail', 'ninth', key => '9') AS again, spool.enqueue('mail', 'later', run_at => '2100-01-01Z') AS later;
SELECT seq, state FROM spool.ls('mail');

-- two packets with one number
SELECT w.status FROM spool.write('inbox', spool.make_packet(5, 'x'::text, nanos => 1)) w;
SELECT w.status FROM spool.write('inbox', spool.make_packet(5, 'y'::text, nanos => 1)) w;
SELECT seq, state FROM spool.ls('inbox');

-- what waits, and why
SELECT queue, waiting, ready_streams, blocked_streams, enqueued, done, failed, dead FROM spool.stat_queues ORDER BY queue;
SELECT queue, stream, cursor, waiting, state, regexp_replace(reason, '[0-9]+ and [0-9]+', 'N and N') AS reason FROM spool.stat_streams ORDER BY queue, stream;

-- refusals
SELECT spool.create_queue('mail');
SELECT spool.create_queue('mail', if_not_exists => true);
SELECT spool.create_queue('x', order_by => 'fifo');
SELECT spool.create_queue('x', on_error => 'ignore');
SELECT spool.create_queue('x', timeout => '-1 s');
SELECT spool.create_queue('x', workers => -1);
SELECT spool.enqueue('nowhere', 'x');
SELECT spool.enqueue('inbox', 'x');
SELECT * FROM spool.take('mail', -1);
SELECT spool.drop_queue('inbox');
SELECT spool.write('inbox', '\x00');
SELECT spool.write('inbox', 'text');
BEGIN;
CALL spool.process('mail');
ROLLBACK;
BEGIN;
CALL spool.wait('mail', '1 s');
ROLLBACK;
SELECT spool.set_program('mail', '/bin/true');
BEGIN READ ONLY;
SELECT spool.enqueue('mail', 'x');
ROLLBACK;

SELECT spool.drop_queue('inbox', force => true);
SELECT spool.drop_queue('inbox', if_exists => true);
SELECT queue, order_by, max_attempts, on_error, retry_delay, retry_delay_max, gap_timeout, timeout, retention, history, workers FROM spool.queues ORDER BY queue;
SELECT spool.drop_queue(queue, force => true) FROM spool.queues;
DROP TABLE sent;

-- settings; two more need a restart where the library is preloaded
SELECT name, boot_val, unit, CASE WHEN name IN ('spool.max_workers', 'spool.max_streams_in_memory') THEN 'either' ELSE context END AS context, vartype
  FROM pg_settings WHERE name LIKE 'spool.%' ORDER BY name COLLATE "C";

-- what can be called, and looked at
SELECT p.proname COLLATE "C" AS name, pg_get_function_arguments(p.oid) AS arguments
  FROM pg_proc p WHERE p.pronamespace = 'spool'::regnamespace ORDER BY 1, pg_get_function_arguments(p.oid) COLLATE "C";
SELECT c.relname COLLATE "C" AS view, string_agg(a.attname, ', ' ORDER BY a.attnum) AS columns
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
 WHERE c.relnamespace = 'spool'::regnamespace AND c.relkind = 'v' GROUP BY 1 ORDER BY 1;
