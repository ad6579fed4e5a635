-- Handlers run as the queue's owner and cannot become more.
--
-- A superuser processes queues of a role without any privilege.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;

SELECT plan(31);

CREATE ROLE spool_low;
CREATE ROLE spool_caller;
CREATE SCHEMA spool_low AUTHORIZATION spool_low;
CREATE SCHEMA spool_evil;
CREATE TABLE spool_evil.secret (body text);
-- Who did what.
CREATE TABLE spool_low.log (what text, who text);
ALTER TABLE spool_low.log OWNER TO spool_low;
CREATE FUNCTION spool_low.work(job spool.job) RETURNS void
LANGUAGE plpgsql AS $$ BEGIN INSERT INTO spool_low.log VALUES ('work', current_user); END $$;
CREATE FUNCTION spool_low.mark() RETURNS int
LANGUAGE plpgsql AS $$ BEGIN INSERT INTO spool_low.log VALUES ('mark', current_user); RETURN 1; END $$;
CREATE FUNCTION spool_low.fire() RETURNS trigger
LANGUAGE plpgsql AS $$ BEGIN INSERT INTO spool_low.log VALUES (TG_NAME, current_user); RETURN NULL; END $$;
CREATE TABLE spool_low.t (n int);
ALTER TABLE spool_low.t OWNER TO spool_low;
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON spool_low.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION spool_low.fire();
CREATE TABLE spool_low.parent (n int PRIMARY KEY);
CREATE TABLE spool_low.child (n int REFERENCES spool_low.parent DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE spool_low.parent OWNER TO spool_low;
ALTER TABLE spool_low.child OWNER TO spool_low;

-- Makes a queue of spool_low with a handler and one job.
CREATE FUNCTION pg_temp.make(queue text, handler text) RETURNS void
LANGUAGE sql AS $$
    SELECT spool.create_queue(queue, owner => 'spool_low', on_error => 'leave');
    SELECT spool.set_handler(queue, handler);
    SELECT spool.enqueue(queue, 'x');
$$;
-- What was logged and how the job of a queue failed; forgets the log.
CREATE FUNCTION pg_temp.outcome(queue text) RETURNS text
LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM spool_low.log RETURNING what, who)
    SELECT concat_ws(', ', (SELECT string_agg(what || ' ' || who, ', ' ORDER BY what) FROM gone),
                     (SELECT string_agg(sqlstate, ', ') FROM spool.attempts a WHERE a.queue = outcome.queue))
$$;

SELECT pg_temp.make('handler plain', 'SELECT spool_low.work($1)') \g /dev/null
CALL spool.process('handler plain') \gset
SELECT is(pg_temp.outcome('handler plain'), 'work spool_low', 'F52: a handler runs as the owner');
SELECT is(current_user, session_user, 'F52: afterwards the caller is itself again');

SELECT pg_temp.make('handler secret', 'INSERT INTO spool_evil.secret VALUES ($1.queue)') \g /dev/null
CALL spool.process('handler secret') \gset
SELECT is(pg_temp.outcome('handler secret'), '42501', 'F52: it has the owner''s rights only');
SELECT is((SELECT message FROM spool.attempts WHERE queue = 'handler secret'), 'permission denied for schema spool_evil', 'F36: the error is the server''s');

-- Becoming another role.
SELECT pg_temp.make('handler role ' || n, s) FROM (VALUES
    (1, format('SET ROLE %I', current_user)), (2, 'RESET ROLE'), (3, format('SET SESSION AUTHORIZATION %I', session_user)),
    (4, 'RESET SESSION AUTHORIZATION'), (5, format('SELECT set_config(%L, %L, false)', 'role', current_user)), (6, 'SET ROLE NONE; SELECT spool_low.work($1)')) v(n, s) \g /dev/null
CALL spool.process('handler role 1') \gset
CALL spool.process('handler role 2') \gset
CALL spool.process('handler role 3') \gset
CALL spool.process('handler role 4') \gset
CALL spool.process('handler role 5') \gset
CALL spool.process('handler role 6') \gset
SELECT is(pg_temp.outcome('handler role ' || n), '42501', 'F52: refused: ' || (SELECT handler FROM spool.queues WHERE queue = 'handler role ' || n)) FROM generate_series(1, 6) n;

-- Work put off until the session is its caller again.
SELECT pg_temp.make('handler deferred', 'INSERT INTO spool_low.t VALUES (1)') \g /dev/null
CALL spool.process('handler deferred') \gset
SELECT is(pg_temp.outcome('handler deferred'), 'deferred spool_low', 'F52: a deferred trigger fires as the owner');
SELECT pg_temp.make('handler deferred 2', 'SET CONSTRAINTS ALL DEFERRED; INSERT INTO spool_low.t VALUES (1)') \g /dev/null
CALL spool.process('handler deferred 2') \gset
SELECT ok(pg_temp.outcome('handler deferred 2') IN ('deferred spool_low', '42501'), 'F52: also when the handler puts it off');
SELECT pg_temp.make('handler deferred 3', 'INSERT INTO spool_low.child VALUES ($1.seq)') \g /dev/null
SELECT spool.enqueue('handler deferred 3', 'y') \g /dev/null
INSERT INTO spool_low.parent VALUES (2);
CALL spool.process('handler deferred 3') \gset
SELECT is((SELECT string_agg(n::text, ' ') FROM spool_low.child) || ' ' || pg_temp.outcome('handler deferred 3'), '2 23503', 'F77: a deferred constraint undoes its own job only');
SELECT pg_temp.make('handler hold', 'DECLARE spool_held CURSOR WITH HOLD FOR SELECT spool_low.mark()') \g /dev/null
CALL spool.process('handler hold') \gset
SELECT is((SELECT count(*) FROM spool.attempts WHERE queue = 'handler hold'), 1::bigint, 'F52: a WITH HOLD cursor is refused');
SELECT is(pg_temp.outcome('handler hold') !~ current_user, true, 'F52: nothing of it runs as the caller');
SELECT is((SELECT count(*) FROM pg_cursors WHERE name = 'spool_held'), 0::bigint, 'F52: it does not stay');
SELECT pg_temp.make('handler hold 2', $$DO 'BEGIN EXECUTE ''DECLARE spool_held CURSOR WITH HOLD FOR SELECT spool_low.mark()''; END'$$) \g /dev/null
CALL spool.process('handler hold 2') \gset
SELECT is(pg_temp.outcome('handler hold 2'), '42501', 'F52: nor from a DO block');
SELECT pg_temp.make('handler temp', 'CREATE TEMP TABLE spool_temp (n int)') \g /dev/null
CALL spool.process('handler temp') \gset
SELECT is(pg_temp.outcome('handler temp'), '42501', 'F52: no temporary tables');
SELECT pg_temp.make('handler listen', 'COMMIT') \g /dev/null
CALL spool.process('handler listen') \gset
SELECT results_eq($$SELECT sqlstate, message FROM spool.attempts WHERE queue = 'handler listen'$$, $$VALUES ('0A000', 'statement cannot be a handler: SPI_ERROR_TRANSACTION')$$, 'F77: a handler does not end the transaction');

-- The search_path is the one of whom set the handler.
SET search_path = spool_low;
SELECT pg_catalog.set_config('search_path', 'spool_low, public', false) \g /dev/null
SELECT pg_temp.make('handler path', 'SELECT work($1)') \g /dev/null
SELECT pg_temp.make('handler shadow', $$INSERT INTO log VALUES ('shadow', current_user)$$) \g /dev/null
SET search_path = spool_evil, public;
CREATE FUNCTION spool_evil.work(job spool.job) RETURNS void
LANGUAGE plpgsql AS $$ BEGIN INSERT INTO spool_low.log VALUES ('evil', current_user); END $$;
GRANT USAGE ON SCHEMA spool_evil TO spool_low;
CREATE TEMP TABLE log (what text, who text);
GRANT ALL ON pg_temp.log TO spool_low;
CALL spool.process('handler path') \gset
SELECT is(pg_temp.outcome('handler path'), 'work spool_low', 'F52: the caller''s search_path does not matter');
CALL spool.process('handler shadow') \gset
SELECT is(pg_temp.outcome('handler shadow'), 'shadow spool_low', 'F52: nor do its temporary tables');
SELECT is((SELECT count(*) FROM pg_temp.log), 0::bigint, 'F52: which are not written');
SELECT is(current_setting('search_path'), 'spool_evil, public', 'F52: the caller''s search_path is as before');
RESET search_path;

-- Settings are taken back.
SELECT pg_temp.make('handler set', $$SET work_mem = '77MB'; SELECT set_config('application_name', 'evil', false)$$) \g /dev/null
SELECT current_setting('work_mem') || current_setting('application_name') AS before \gset
CALL spool.process('handler set') \gset
SELECT is(current_setting('work_mem') || current_setting('application_name'), :'before', 'F52: settings of a handler are taken back');
SELECT is((SELECT state FROM spool.ls('handler set')), NULL, 'F52: it succeeded');

-- A role with "process" only.
SELECT pg_temp.make('handler caller', 'SELECT spool_low.work($1)') \g /dev/null
SET ROLE spool_caller;
CALL spool.process('handler caller') \gset
\set error :SQLSTATE
RESET ROLE;
SELECT is(:'error' || pg_temp.outcome('handler caller'), '42501', 'F52: a role without the right');
SELECT spool.grant_queue('handler caller', 'spool_caller', 'process') \g /dev/null
SET ROLE spool_caller;
CALL spool.process('handler caller') \gset
RESET ROLE;
SELECT is(:'processed' || ' ' || pg_temp.outcome('handler caller'), '1 work spool_low', 'F52: with it, the handler runs as the owner');

-- Programs: the right is checked when they run, too.
GRANT pg_execute_server_program TO spool_low;
SET spool.programs = on;
SELECT spool.create_queue('handler program', owner => 'spool_low'), spool.set_program('handler program', '/bin/true'), spool.enqueue('handler program', 'x') \g /dev/null
SET spool.programs = off;
CALL spool.process('handler program') \gset
SELECT is(:'SQLSTATE' || ' ' || :'LAST_ERROR_MESSAGE', '42501 programs may not be run', 'F52: spool.programs is off');
SET spool.programs = on;
REVOKE pg_execute_server_program FROM spool_low;
CALL spool.process('handler program') \gset
SELECT is(:'SQLSTATE' || ' ' || :'LAST_ERROR_MESSAGE', '42501 permission denied to run a program', 'F52: the owner may not run programs any more');
SELECT is((SELECT state || attempts FROM spool.ls('handler program')), 'ready0', 'F52: nothing happened to the job');
RESET spool.programs;

-- An owner that was dropped.
CREATE ROLE spool_gone;
SELECT spool.create_queue('handler gone', owner => 'spool_gone'), spool.set_handler('handler gone', 'SELECT 1') \g /dev/null
DROP ROLE spool_gone;
CALL spool.process('handler gone') \gset
SELECT is(:'SQLSTATE' || ' ' || :'LAST_ERROR_MESSAGE', '42704 owner of queue "handler gone" does not exist any more', 'F52: nothing runs for an owner that is gone');

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'handler %' \g /dev/null
DROP SCHEMA spool_low, spool_evil CASCADE;
DROP TABLE pg_temp.log;
DROP ROLE spool_low, spool_caller;
