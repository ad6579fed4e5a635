-- The catalog: what every object of the extension must have.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, public;

SELECT plan(16);

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
      GROUP BY 1 ORDER BY 1$$, $$VALUES ('create_queue'::text COLLATE "C"), ('maintain')$$, 'catalog: create_queue and maintain are not for everybody');
-- Those who may be called by everybody check rights on a queue or a sender, or change nothing.
SELECT is_empty($$SELECT DISTINCT p.proname FROM pg_proc p WHERE p.pronamespace = 'spool'::regnamespace
      AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)
      AND p.proargtypes[0] IS DISTINCT FROM 'spool.packet'::regtype
      AND p.proname NOT IN (
        -- of a queue
        'alter_queue', 'drop_queue', 'pause_queue', 'resume_queue', 'set_handler', 'set_program', 'grant_queue', 'revoke_queue', 'has_queue_privilege',
        'enqueue', 'enqueue_many', 'write', 'write_many', 'inbox_insert', 'forward', 'ls', 'ls_rows', 'get_packet', 'packet_id', 'peek', 'take', 'process',
        'next_seq', 'set_next_seq', 'gaps', 'skip_gap', 'discard', 'retry_now', 'redrive',
        -- of a sender
        'prepare', 'sender_next', 'sender_set_next',
        -- packets and looks
        'make_packet', 'packet', 'packet_in', 'packet_recv', 'packet_out', 'packet_send', 'runner_alive')$$, 'catalog: EXECUTE for everybody is on a list');

-- Comments
SELECT is_empty($$SELECT name FROM member m WHERE obj_description(objid, classid::regclass::name) IS NULL
      AND classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_type'::regclass)
      AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = m.objid AND m.classid = 'pg_class'::regclass AND c.relkind IN ('S', 'i', 'c'))
      AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid WHERE t.oid = m.objid AND m.classid = 'pg_type'::regclass
                      AND (t.typelem <> 0 OR c.relkind <> 'c'))
      ORDER BY 1$$, 'catalog: functions, tables, views and types have comments');
SELECT isnt((SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'spool'), NULL, 'catalog: so has the extension');

-- pg_dump
SELECT is_empty($$SELECT c.relname FROM pg_class c, pg_extension e WHERE e.extname = 'spool' AND c.relnamespace = 'spool'::regnamespace
      AND c.relkind IN ('r', 'S') AND c.oid <> ALL (e.extconfig)$$, 'catalog: pg_dump saves all tables and sequences');
SELECT is_empty($$SELECT c.relname FROM pg_class c, pg_extension e, unnest(e.extconfig, e.extcondition) x(oid, condition) WHERE e.extname = 'spool' AND c.oid = x.oid AND x.condition <> ''$$,
    'catalog: and all their rows');

-- Everything is in the schema.
SELECT is_empty($$SELECT name FROM member m JOIN pg_class c ON c.oid = m.objid AND m.classid = 'pg_class'::regclass WHERE c.relnamespace <> 'spool'::regnamespace
    UNION ALL SELECT name FROM member m JOIN pg_proc p ON p.oid = m.objid AND m.classid = 'pg_proc'::regclass WHERE p.pronamespace <> 'spool'::regnamespace$$, 'catalog: nothing is outside of the schema');
SELECT is((SELECT string_agg(privilege_type, ' ') FROM pg_namespace, aclexplode(nspacl) a WHERE nspname = 'spool' AND a.grantee = 0), 'USAGE', 'catalog: the schema is open for use only');

-- Settings, as in the contract.
LOAD 'spool';
SELECT results_eq($$SELECT concat_ws(' ', name, vartype, context, coalesce(unit, '-'), boot_val) COLLATE "C" FROM pg_settings WHERE name LIKE 'spool.%' ORDER BY 1$$,
    $$VALUES ('spool.max_header_size integer superuser kB 16384'::text COLLATE "C"), ('spool.output_limit integer superuser kB 64'), ('spool.programs bool superuser - off')$$,
    'catalog: settings');
-- before 15 the server cannot reserve a prefix
SELECT CASE WHEN current_setting('server_version_num')::int >= 150000
            THEN throws_ok('SET spool.nothing = 1', '42602', NULL, 'catalog: there are no others')
            ELSE pass('catalog: there are no others') END;

SELECT * FROM finish();
ROLLBACK;
