-- The catalog: what every object of the extension must have.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, public;

SELECT plan(34);

-- All objects of the extension.
CREATE TEMPORARY VIEW member AS
SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS name
  FROM pg_depend d
  JOIN pg_extension e ON e.oid = d.refobjid
 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'spool';

SELECT cmp_ok(count(*), '>', 80::bigint, 'catalog: the extension has objects') FROM member;

-- Functions
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.pronamespace = 'spool'::regnamespace
      AND NOT (l.lanname IN ('c', 'internal') OR p.prosqlbody IS NOT NULL OR EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%'))$$,
    'catalog: functions are C or internal, have a body that was parsed, or set a search_path');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'spool'::regnamespace AND p.prosecdef$$,
    'catalog: none is SECURITY DEFINER');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.pronamespace = 'spool'::regnamespace AND l.lanname = 'c' AND p.probin <> '$libdir/spool'$$, 'catalog: C functions are in the library');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_extension e ON e.extname = 'spool'
    WHERE p.pronamespace = 'spool'::regnamespace AND p.proowner <> e.extowner$$, 'catalog: all belong to the extension''s owner');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'spool'::regnamespace
      AND p.proparallel <> 'u' AND p.provolatile = 'v' AND p.proname <> 'make_packet'$$, 'catalog: what is volatile is not parallel safe, unless it only reads the clock');
SELECT results_eq($$SELECT p.proname::text COLLATE "C" FROM pg_proc p WHERE p.pronamespace = 'spool'::regnamespace
      AND NOT EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
      GROUP BY 1 ORDER BY 1$$, $$VALUES ('create_queue'::text COLLATE "C"), ('create_resequencer'), ('maintain'), ('segment_rows'), ('start'), ('stop')$$, 'catalog: create_queue, create_resequencer, maintain, segment_rows, start and stop are not for everybody');
-- Those who may be called by everybody check rights on a queue, a resequencer or a sender, or change nothing.
SELECT is_empty($$SELECT DISTINCT p.proname FROM pg_proc p WHERE p.pronamespace = 'spool'::regnamespace
      AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)
      AND p.proargtypes[0] IS DISTINCT FROM 'spool.packet'::regtype
      AND p.proname NOT IN (
        -- of a queue
        'alter_queue', 'drop_queue', 'pause_queue', 'resume_queue', 'set_handler', 'set_program', 'grant_queue', 'revoke_queue', 'has_queue_privilege',
        'enqueue', 'enqueue_many', 'write', 'write_many', 'inbox_insert', 'forward', 'ls', 'ls_rows', 'get_packet', 'packet_id', 'peek', 'take', 'process',
        'next_seq', 'set_next_seq', 'gaps', 'skip_gap', 'discard', 'retry_now', 'redrive', 'claim', 'wait', 'stream_stats', 'queue_rates',
        -- of the queue of a claim
        'ack', 'nack', 'extend_claim', 'release',
        -- of a resequencer
        'alter_resequencer', 'drop_resequencer', 'grant_resequencer', 'revoke_resequencer', 'has_resequencer_privilege',
        'register', 'register_many', 'add_target', 'resequence', 'resequence_many', 'applied', 'failed', 'unregister', 'is_current', 'promoted',
        'suspend_key', 'resume_key', 'skip_delivery', 'reset', 'expire', 'lane_stats', 'registration_rows',
        -- of a sender
        'prepare', 'sender_next', 'sender_set_next',
        -- of a table: its own rights
        'guard', 'unguard', 'refuse_stale',
        -- packets and looks
        'make_packet', 'packet', 'packet_in', 'packet_recv', 'packet_out', 'packet_send', 'runner_alive', 'worker_rows')$$, 'catalog: EXECUTE for everybody is on a list');

-- Names, arguments, defaults, results and columns, as in the contract.
CREATE TEMPORARY VIEW signature AS
SELECT format('%s(%s) %s', p.proname,
              regexp_replace(regexp_replace(pg_get_function_arguments(p.oid), ' DEFAULT ', ' = ', 'g'), '(NULL|'')::[a-z ]+(\[\])?', '\1', 'g'),
              coalesce(pg_get_function_result(p.oid), '-')) AS found
  FROM pg_proc p
 WHERE p.pronamespace = 'spool'::regnamespace;
CREATE TEMPORARY TABLE contract AS
SELECT * FROM regexp_split_to_table($$make_packet(seq bigint, payload bytea = NULL, params text[] = '{}', env jsonb = '{}', kind text = 'command', ctime timestamp with time zone = clock_timestamp(), nanos integer = NULL) spool.packet
make_packet(seq bigint, payload text, params text[] = '{}', env jsonb = '{}', kind text = 'command', ctime timestamp with time zone = clock_timestamp(), nanos integer = NULL) spool.packet
make_packet(seq bigint, payload json, params text[] = '{}', env jsonb = '{}', kind text = 'command', ctime timestamp with time zone = clock_timestamp(), nanos integer = NULL) spool.packet
make_packet(seq bigint, payload jsonb, params text[] = '{}', env jsonb = '{}', kind text = 'command', ctime timestamp with time zone = clock_timestamp(), nanos integer = NULL) spool.packet
seq(packet spool.packet) bigint
ctime(packet spool.packet) timestamp with time zone
nanos(packet spool.packet) integer
kind(packet spool.packet) text
params(packet spool.packet) text[]
env(packet spool.packet) jsonb
payload(packet spool.packet) bytea
params_raw(packet spool.packet) bytea[]
env_raw(packet spool.packet) TABLE(name bytea, value bytea)
info(packet spool.packet) TABLE(name text, value text)
filename(packet spool.packet) text
create_queue(queue text, order_by text = 'sequence', append_only boolean = false, max_attempts integer = NULL, on_error text = 'retry', retry_delay interval = '00:00:01', retry_delay_max interval = '01:00:00', gap_timeout interval = '00:00:00', timeout interval = '00:00:00', quiet interval = '00:00:00', max_wait interval = '00:00:00', allow_job_params boolean = false, ignore_payload boolean = false, retention interval = '00:00:00', history text = 'failures', workers integer = 0, owner regrole = NULL, if_not_exists boolean = false) void
alter_queue(queue text, order_by text = NULL, append_only boolean = NULL, max_attempts integer = NULL, on_error text = NULL, retry_delay interval = NULL, retry_delay_max interval = NULL, gap_timeout interval = NULL, timeout interval = NULL, quiet interval = NULL, max_wait interval = NULL, allow_job_params boolean = NULL, ignore_payload boolean = NULL, retention interval = NULL, history text = NULL, workers integer = NULL, owner regrole = NULL) void
drop_queue(queue text, force boolean = false, if_exists boolean = false) void
pause_queue(queue text, stream text = NULL, reason text = NULL) void
resume_queue(queue text, stream text = NULL) void
enqueue(queue text, payload bytea = NULL, stream text = '', params text[] = '{}', env jsonb = '{}', kind text = 'command', run_at timestamp with time zone = NULL, key text = NULL) bigint
enqueue(queue text, payload text, stream text = '', params text[] = '{}', env jsonb = '{}', kind text = 'command', run_at timestamp with time zone = NULL, key text = NULL) bigint
enqueue(queue text, payload json, stream text = '', params text[] = '{}', env jsonb = '{}', kind text = 'command', run_at timestamp with time zone = NULL, key text = NULL) bigint
enqueue(queue text, payload jsonb, stream text = '', params text[] = '{}', env jsonb = '{}', kind text = 'command', run_at timestamp with time zone = NULL, key text = NULL) bigint
enqueue_many(queue text, payloads bytea[], stream text = '') bigint
enqueue_many(queue text, payloads text[], stream text = '') bigint
enqueue_many(queue text, payloads json[], stream text = '') bigint
enqueue_many(queue text, payloads jsonb[], stream text = '') bigint
write(queue text, packet spool.packet, stream text = '', OUT packet_id bigint, OUT seq bigint, OUT status text) record
write_many(queue text, packets spool.packet[], stream text = '', OUT packet_id bigint, OUT seq bigint, OUT status text) SETOF record
prepare(sender text, payload bytea = NULL, params text[] = '{}', env jsonb = '{}', kind text = 'command') spool.packet
prepare(sender text, payload text, params text[] = '{}', env jsonb = '{}', kind text = 'command') spool.packet
prepare(sender text, payload json, params text[] = '{}', env jsonb = '{}', kind text = 'command') spool.packet
prepare(sender text, payload jsonb, params text[] = '{}', env jsonb = '{}', kind text = 'command') spool.packet
sender_next(sender text) bigint
sender_set_next(sender text, seq bigint) void
forward(queue text, packet_id bigint, target text, stream text = NULL, renumber boolean = false, OUT new_packet_id bigint, OUT seq bigint, OUT status text) record
ls(queue text, stream text = NULL, state text = NULL, max_rows integer = 1000) TABLE(packet_id bigint, stream text, seq bigint, ctime timestamp with time zone, kind text, state text, attempts integer, bytes bigint)
get_packet(queue text, packet_id bigint) spool.packet
packet_id(queue text, seq bigint, stream text = '') bigint
peek(queue text, max_jobs integer = 1, order_by text = NULL, stream text = NULL) SETOF spool.job
take(queue text, max_jobs integer = 1, order_by text = NULL, stream text = NULL) SETOF spool.job
claim(queue text, max_jobs integer = 1, lease interval = '00:05:00', order_by text = NULL, stream text = NULL) SETOF spool.job
ack(claim_ids bigint[]) bigint
ack(claim_id bigint, upto_seq bigint = NULL) bigint
nack(claim_id bigint, packet_id bigint, error text, delay interval = NULL) void
extend_claim(claim_id bigint, lease interval) timestamp with time zone
release(claim_id bigint) void
wait(IN queue text, IN timeout interval) -
next_seq(queue text, stream text = '') bigint
set_next_seq(queue text, seq bigint, stream text = '') void
gaps(queue text, OUT stream text, OUT first_missing bigint, OUT last_missing bigint, OUT waiting bigint, OUT since timestamp with time zone) SETOF record
skip_gap(queue text, stream text = '', reason text = NULL) bigint
discard(queue text, packet_id bigint, reason text = NULL) void
retry_now(queue text, stream text = NULL) void
redrive(queue text, packet_id bigint = NULL) bigint
set_handler(queue text, statement text) void
set_program(queue text, program text, args text[] = '{}') void
process(IN queue text, IN max_jobs integer = NULL, IN order_by text = NULL, INOUT processed bigint = 0) -
run_packet(packet spool.packet, program text, args text[] = '{}') spool.attempts
maintain() -
start() void
stop() void
grant_queue(queue text, role regrole, privilege text) void
revoke_queue(queue text, role regrole, privilege text) void
create_resequencer(name text, targets text[] = '{default}', targets_by text = NULL, supersede text = 'park', on_unregistered text = 'error', on_invalid text = 'error', delivery text = 'atomic', on_failure text = 'promote', deadline interval = '01:00:00', retention interval = '1 day', max_suppressed integer = 0, max_suppress_age interval = '00:00:00', tree_timeout interval = '00:00:00', on_incomplete text = 'all_or_nothing', enabled boolean = true, owner regrole = NULL, if_not_exists boolean = false) void
alter_resequencer(name text, targets text[] = NULL, targets_by text = NULL, supersede text = NULL, on_unregistered text = NULL, on_invalid text = NULL, delivery text = NULL, on_failure text = NULL, deadline interval = NULL, retention interval = NULL, max_suppressed integer = NULL, max_suppress_age interval = NULL, tree_timeout interval = NULL, on_incomplete text = NULL, enabled boolean = NULL, owner regrole = NULL) void
drop_resequencer(name text, if_exists boolean = false) void
grant_resequencer(resequencer text, role regrole, privilege text) void
revoke_resequencer(resequencer text, role regrole, privilege text) void
register(resequencer text, key text, sn bigint, targets text[] = NULL, digest bytea = NULL, parts integer = NULL, part integer[] = NULL) spool.verdict
register_many(resequencer text, keys text[], sns bigint[], targets text[] = NULL, digests bytea[] = NULL) TABLE(key text, sn bigint, verdict text, reason text, latest bigint, repeat boolean)
add_target(resequencer text, key text, sn bigint, target text) spool.verdict
resequence(resequencer text, key text, sn bigint, target text = NULL, part integer[] = NULL) spool.verdict
resequence_many(resequencer text, keys text[], sns bigint[], target text = NULL) TABLE(key text, sn bigint, verdict text, reason text, latest bigint, repeat boolean)
applied(resequencer text, key text, sn bigint, target text = NULL, part integer[] = NULL) spool.verdict
failed(resequencer text, key text, sn bigint, target text = NULL, part integer[] = NULL, error text = NULL) spool.verdict
unregister(resequencer text, key text, sn bigint, target text = NULL, part integer[] = NULL) spool.verdict
is_current(resequencer text, key text, sn bigint, target text = NULL) boolean
promoted(resequencer text, max_keys integer = 100) TABLE(key text, sn bigint, target text)
suspend_key(resequencer text, key text, reason text = NULL) spool.verdict
resume_key(resequencer text, key text) spool.verdict
skip_delivery(resequencer text, key text, sn bigint, target text = NULL, part integer[] = NULL, reason text = NULL) spool.verdict
reset(resequencer text, key text = NULL) spool.verdict
expire(resequencer text) bigint
guard(tbl regclass, key_column name, sn_column name) void
unguard(tbl regclass) void$$, '\n') AS says;
SELECT is_empty('SELECT says FROM contract EXCEPT SELECT found FROM signature', 'catalog: functions and procedures are those of the contract');
SELECT is_empty($$SELECT found FROM signature EXCEPT SELECT says FROM contract EXCEPT SELECT found FROM signature
    WHERE found ~ '^(packet|packet_(in|out|recv|send|eq|ne)|inbox_insert|ls_rows|worker_rows|stream_stats|queue_rates|segment_rows|lane_stats|registration_rows|runner_alive|nanoseconds|has_(queue|resequencer)_privilege|refuse_stale)\('$$, 'catalog: and no others, but for internal ones');
SELECT is((SELECT string_agg(concat(attname, ' ', format_type(atttypid, atttypmod)), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = rel::regclass AND attnum > 0), columns, 'catalog: columns of ' || rel) FROM (VALUES
    ('spool.job', 'packet_id bigint, queue text, stream text, seq bigint, ctime timestamp with time zone, kind text, params text[], env jsonb, payload bytea, attempt integer, claim_id bigint'),
    ('spool.verdict', 'verdict text, reason text, latest bigint, repeat boolean'),
    ('spool.claims', 'claim_id bigint, queue text, stream text, jobs bigint, role text, application_name text, since timestamp with time zone, lease_until timestamp with time zone'),
    ('spool.inbox', 'queue text, stream text, packet spool.packet'),
    ('spool.attempts', 'queue text, stream text, seq bigint, packet_id bigint, attempt integer, started_at timestamp with time zone, finished_at timestamp with time zone, outcome text, exit_code integer, signal integer, sqlstate text, message text, stdout bytea, stderr bytea'),
    ('spool.dead_letters', 'source text, name text, stream text, seq bigint, target text, packet_id bigint, reason text, sqlstate text, message text, attempts integer, since timestamp with time zone'),
    ('spool.stat_queues', 'queue text, waiting bigint, oldest timestamp with time zone, ready_streams bigint, blocked_streams bigint, running bigint, enqueued bigint, done bigint, failed bigint, dead bigint, late bigint, duplicates bigint, superseded bigint, rates double precision[], drained_in interval'),
    ('spool.stat_streams', 'queue text, stream text, cursor bigint, waiting bigint, state text, reason text, since timestamp with time zone, pid integer, claim_id bigint'),
    ('spool.segments', 'no integer, bytes bigint, live bigint, oldest timestamp with time zone, blocked_by integer[], state text, opened_at timestamp with time zone'),
    ('spool.queues', 'queue text, owner regrole, order_by text, append_only boolean, max_attempts integer, on_error text, retry_delay interval, retry_delay_max interval, gap_timeout interval, timeout interval, quiet interval, max_wait interval, allow_job_params boolean, ignore_payload boolean, retention interval, history text, workers integer, handler text, program text, args text[], paused_since timestamp with time zone, pause_reason text, acl aclitem[]'),
    ('spool.registrations', 'resequencer text, key text, sn bigint, part integer[], target text, state text, reason text, live boolean, registered_at timestamp with time zone, since timestamp with time zone, deadline timestamp with time zone'),
    ('spool.stat_keys', 'resequencer text, key text, target text, epoch integer, applied bigint, latest bigint, live bigint, parked bigint, state text, reason text, blocking bigint, run integer, oldest timestamp with time zone, since timestamp with time zone, pid integer, gid text'),
    ('spool.stat_resequencers', 'resequencer text, registered bigint, applied bigint, suppressed bigint, parked bigint, dead bigint, expired bigint, unregistered bigint, duplicates bigint, forced bigint, live bigint, oldest timestamp with time zone, lost bigint, keys bigint, suspended bigint'),
    ('spool.resequencers', 'resequencer text, owner regrole, targets text[], targets_by text, supersede text, on_unregistered text, on_invalid text, delivery text, on_failure text, deadline interval, retention interval, max_suppressed integer, max_suppress_age interval, tree_timeout interval, on_incomplete text, enabled boolean, acl aclitem[]')
) v(rel, columns);
SELECT results_eq($$SELECT format('%s %s %s', castsource::regtype, casttarget::regtype, castcontext) COLLATE "C" FROM pg_cast WHERE 'spool.packet'::regtype IN (castsource, casttarget) ORDER BY 1$$,
    $$VALUES ('bytea spool.packet i'::text COLLATE "C"), ('spool.packet bytea a')$$, 'catalog: casts');

-- Views.  One that is a UNION ALL itself is taken apart, and is no barrier then.
SELECT is_empty($$SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'spool'::regnamespace AND c.relkind = 'v'
      AND (NOT coalesce(c.reloptions @> '{security_barrier=true}', false) AND c.relname NOT IN ('segments', 'inbox') OR pg_get_viewdef(c.oid) ~ '\n(UNION|INTERSECT|EXCEPT)')$$, 'catalog: views are barriers');

-- Comments
SELECT is_empty($$SELECT name FROM member m WHERE obj_description(objid, classid::regclass::name) IS NULL
      AND classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_type'::regclass)
      AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = m.objid AND m.classid = 'pg_class'::regclass AND c.relkind IN ('S', 'i', 'c'))
      AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid WHERE t.oid = m.objid AND m.classid = 'pg_type'::regclass
                      AND (t.typelem <> 0 OR c.relkind <> 'c'))
      ORDER BY 1$$, 'catalog: functions, tables, views and types have comments');
SELECT isnt((SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'spool'), NULL, 'catalog: so has the extension');

-- pg_dump
SELECT set_eq($$SELECT c.relname FROM pg_class c, pg_extension e WHERE e.extname = 'spool' AND c.relnamespace = 'spool'::regnamespace
      AND c.relkind IN ('r', 'S') AND c.oid <> ALL (e.extconfig)$$, ARRAY['segment'::name], 'catalog: pg_dump saves all tables and sequences but segment');
SELECT is_empty($$SELECT c.relname FROM pg_class c, pg_extension e, unnest(e.extconfig, e.extcondition) x(oid, condition) WHERE e.extname = 'spool' AND c.oid = x.oid AND x.condition <> ''$$,
    'catalog: and all their rows');

-- Everything is in the schema.
SELECT is_empty($$SELECT name FROM member m JOIN pg_class c ON c.oid = m.objid AND m.classid = 'pg_class'::regclass WHERE c.relnamespace <> 'spool'::regnamespace
    UNION ALL SELECT name FROM member m JOIN pg_proc p ON p.oid = m.objid AND m.classid = 'pg_proc'::regclass WHERE p.pronamespace <> 'spool'::regnamespace$$, 'catalog: nothing is outside of the schema');
SELECT is((SELECT string_agg(privilege_type, ' ') FROM pg_namespace, aclexplode(nspacl) a WHERE nspname = 'spool' AND a.grantee = 0), 'USAGE', 'catalog: the schema is open for use only');

-- Settings, as in the contract.
LOAD 'spool';
SELECT results_eq($$SELECT concat_ws(' ', name, vartype, context, coalesce(unit, '-'), boot_val) COLLATE "C" FROM pg_settings WHERE name LIKE 'spool.%' ORDER BY 1$$,
    $$VALUES ('spool.databases string sighup - *'::text COLLATE "C"), ('spool.key_retention integer sighup s 86400'), ('spool.max_header_size integer superuser kB 16384'),
        ('spool.max_streams_in_memory integer ' || CASE WHEN current_setting('shared_preload_libraries') ~ 'spool' THEN 'postmaster' ELSE 'sighup' END || ' - 65536'),
        ('spool.max_workers integer ' || CASE WHEN current_setting('shared_preload_libraries') ~ 'spool' THEN 'postmaster' ELSE 'sighup' END || ' - 8'),
        ('spool.output_limit integer superuser kB 64'), ('spool.programs bool superuser - off'),
        ('spool.segment_size integer sighup kB 262144'), ('spool.sweep_interval integer sighup ms 1000'), ('spool.worker_idle_timeout integer sighup ms 300000')$$,
    'catalog: settings');
-- before 15 the server cannot reserve a prefix
SELECT CASE WHEN current_setting('server_version_num')::int >= 150000
            THEN throws_ok('SET spool.nothing = 1', '42602', NULL, 'catalog: there are no others')
            ELSE pass('catalog: there are no others') END;

SELECT * FROM finish();
ROLLBACK;
