-- Resequencers: create, alter, drop, options, rights and refusals.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(189);

-- All options of a resequencer.
CREATE FUNCTION pg_temp.options(resequencer text) RETURNS text
LANGUAGE sql AS $$
    SELECT concat_ws(', ', targets, coalesce(targets_by, '-'), supersede, on_unregistered, on_invalid, delivery, on_failure, deadline, retention,
                     max_suppressed, max_suppress_age, tree_timeout, on_incomplete, enabled)
      FROM spool.resequencers r WHERE r.resequencer = options.resequencer $$;
-- The context of a statement's error, innermost first.
CREATE FUNCTION pg_temp.contexts(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    context text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
        RETURN context;
END $$;
-- The hint or the detail of a statement's error.
CREATE FUNCTION pg_temp.advice(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    hint text;
    detail text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL;
        RETURN concat(hint, detail);
END $$;

-- create_resequencer
SELECT lives_ok($$SELECT spool.create_resequencer('a')$$, 'a resequencer is created');
SELECT is(pg_temp.options('a'), '{default}, -, park, error, error, atomic, promote, 01:00:00, 1 day, 0, 00:00:00, 00:00:00, all_or_nothing, t', 'defaults');
SELECT is(owner, current_user::regrole, 'the creator is the owner') FROM spool.resequencers WHERE resequencer = 'a';
SELECT spool.alter_resequencer('a', delivery => 'acked') \g /dev/null
SELECT throws_ok($$SELECT spool.create_resequencer('a', supersede => 'suppress')$$, '42710', 'resequencer "a" already exists', 'creating it again is an error');
SELECT lives_ok($$SELECT spool.create_resequencer('a', supersede => 'suppress', if_not_exists => true)$$, 'not with if_not_exists');
SELECT is(concat_ws(' ', supersede, delivery), 'park acked', 'nothing is changed') FROM spool.resequencers WHERE resequencer = 'a';
SELECT spool.create_queue('review'), spool.create_queue('other') \g /dev/null
SELECT spool.create_resequencer('all', '{a,b}', 'ARRAY[key]', 'suppress', 'queue:review', 'dead', 'acked', 'suspend', '2 hours', '1 week', 5, '3 s', '1 min', 'in_sequence', false) \g /dev/null
SELECT is(pg_temp.options('all'), '{a,b}, ARRAY[key], suppress, queue:review, dead, acked, suspend, 02:00:00, 7 days, 5, 00:00:03, 00:01:00, in_sequence, f', 'all options');
SELECT spool.create_resequencer('dims', '[0:1]={x,y}') \g /dev/null
SELECT is(array_dims(targets), '[1:2]', 'targets are numbered from 1') FROM spool.resequencers WHERE resequencer = 'dims';
SELECT hasnt_column('spool', 'resequencers', 'id', 'the view of resequencers has no internals');

-- Refusals of both.
SELECT throws_ok(format('SELECT spool.%s_resequencer(%L, %s)', verb, CASE verb WHEN 'create' THEN 'new' ELSE 'a' END, arg), code, message, format('%s: %s', verb, message))
  FROM unnest('{create,alter}'::text[]) verb, (VALUES
    ($$targets => '{}'$$, '22023', 'targets must not be empty'),
    ($$targets => '{default,NULL}'$$, '22004', 'targets must not contain nulls'),
    ($$targets => '{{default,b}}'$$, '22023', 'targets must be a one-dimensional array'),
    ($$targets => '{default,b,b}'$$, '22023', 'target "b" is given twice'),
    ($$targets => '{default,""}'$$, '22023', 'invalid target name: ""'),
    (format($$targets => '{default,%s}'$$, repeat('t', 64)), '22023', format('invalid target name: "%s"', repeat('t', 64))),
    ($$targets_by => 'key'$$, '22023', 'targets_by must give text[], not text'),
    ($$targets_by => 'ARRAY[1]'$$, '22023', 'targets_by must give text[], not integer[]'),
    ($$targets_by => 'ARRAY[key], key'$$, '22023', 'targets_by must give text[], not record'),
    ($$targets_by => 'regexp_matches(key, ''x'')'$$, '22023', 'targets_by must not return a set'),
    ($$targets_by => 'ARRAY[key'$$, '42601', 'syntax error at end of input'),
    ($$targets_by => 'ARRAY[key]) , (key'$$, '42601', 'syntax error at or near ")"'),
    ($$targets_by => 'ARRAY[key] FROM spool.resequencer'$$, '42601', 'syntax error at or near "FROM"'),
    ($$targets_by => 'ARRAY[key]; DELETE FROM spool.resequencer'$$, '42601', 'syntax error at or near ";"'),
    ($$targets_by => 'ARRAY[value]'$$, '42703', 'column "value" does not exist'),
    ($$targets_by => 'nowhere(key)'$$, '42883', 'function nowhere(text) does not exist'),
    ($$supersede => 'discard'$$, '22023', 'unrecognized supersede: "discard"'),
    ($$on_unregistered => 'ignore'$$, '22023', 'unrecognized on_unregistered: "ignore"'),
    ($$on_unregistered => 'queue'$$, '22023', 'unrecognized on_unregistered: "queue"'),
    ($$on_unregistered => 'queue:nowhere'$$, '42704', 'queue "nowhere" does not exist'),
    ($$on_unregistered => 'queue:'$$, '42704', 'queue "" does not exist'),
    ($$on_invalid => 'register'$$, '22023', 'unrecognized on_invalid: "register"'),
    ($$on_invalid => 'wait'$$, '22023', 'unrecognized on_invalid: "wait"'),
    ($$on_invalid => 'queue:nowhere'$$, '42704', 'queue "nowhere" does not exist'),
    ($$delivery => 'once'$$, '22023', 'unrecognized delivery: "once"'),
    ($$on_failure => 'retry'$$, '22023', 'unrecognized on_failure: "retry"'),
    ($$on_incomplete => 'partial'$$, '22023', 'unrecognized on_incomplete: "partial"'),
    ($$deadline => '0'$$, '22023', 'deadline must be greater than zero'),
    ($$deadline => '-1 s'$$, '22023', 'deadline must not be negative'),
    ($$deadline => '1001 years'$$, '22023', 'deadline must not be longer than 1000 years'),
    ($$retention => '0'$$, '22023', 'retention must be greater than zero'),
    ($$retention => '-1 day'$$, '22023', 'retention must not be negative'),
    ($$max_suppressed => -1$$, '22023', 'max_suppressed must not be negative'),
    ($$max_suppress_age => '-1 s'$$, '22023', 'max_suppress_age must not be negative'),
    ($$tree_timeout => '-1 month'$$, '22023', 'tree_timeout must not be negative')) v(arg, code, message);
SELECT throws_ok(sql, code, message, message) FROM (VALUES
    ($$SELECT spool.create_resequencer(NULL)$$, '22004', 'name must not be null'),
    ($$SELECT spool.create_resequencer('')$$, '22023', 'invalid resequencer name: ""'),
    (format('SELECT spool.create_resequencer(%L)', repeat('r', 256)), '22023', format('invalid resequencer name: "%s"', repeat('r', 256))),
    ($$SELECT spool.create_resequencer('n', NULL)$$, '22004', 'targets must not be null'),
    ($$SELECT spool.create_resequencer('n', supersede => NULL)$$, '22004', 'supersede must not be null'),
    ($$SELECT spool.create_resequencer('n', on_unregistered => NULL)$$, '22004', 'on_unregistered must not be null'),
    ($$SELECT spool.create_resequencer('n', deadline => NULL)$$, '22004', 'deadline must not be null'),
    ($$SELECT spool.create_resequencer('n', max_suppressed => NULL)$$, '22004', 'max_suppressed must not be null'),
    ($$SELECT spool.create_resequencer('n', enabled => NULL)$$, '22004', 'enabled must not be null'),
    ($$SELECT spool.alter_resequencer(NULL)$$, '22004', 'name must not be null'),
    ($$SELECT spool.alter_resequencer('nowhere')$$, '42704', 'resequencer "nowhere" does not exist'),
    ($$SELECT spool.drop_resequencer(NULL)$$, '22004', 'name must not be null'),
    ($$SELECT spool.drop_resequencer('nowhere')$$, '42704', 'resequencer "nowhere" does not exist'),
    ($$SELECT spool.grant_resequencer('nowhere', current_user::regrole, 'read')$$, '42704', 'resequencer "nowhere" does not exist'),
    ($$SELECT spool.grant_resequencer(NULL, current_user::regrole, 'read')$$, '22004', 'resequencer must not be null'),
    ($$SELECT spool.grant_resequencer('a', NULL, 'read')$$, '22004', 'role must not be null'),
    ($$SELECT spool.revoke_resequencer('a', current_user::regrole, NULL)$$, '22004', 'privilege must not be null'),
    ($$SELECT spool.grant_resequencer('a', current_user::regrole, 'everything')$$, '22023', 'unrecognized privilege: "everything"')
) v(sql, code, message);
SELECT is(pg_temp.advice(sql), says, says) FROM (VALUES
    ($$SELECT spool.create_resequencer('')$$, 'A resequencer''s name has 1 to 255 bytes.'),
    ($$SELECT spool.create_resequencer('n', '{""}')$$, 'A target''s name has 1 to 63 bytes.'),
    ($$SELECT spool.create_resequencer('n', on_unregistered => '')$$, 'Allowed values are "error", "dead", "register", "wait", "queue:NAME".'),
    ($$SELECT spool.create_resequencer('n', on_invalid => '')$$, 'Allowed values are "error", "dead", "queue:NAME".'),
    ($$SELECT spool.create_resequencer('n', supersede => '')$$, 'Allowed values are "park", "suppress".'),
    ($$SELECT spool.create_resequencer('n', max_suppressed => -1)$$, '0 means no limit.')) v(sql, says);
SELECT is(split_part(pg_temp.contexts(format($$SELECT spool.create_resequencer('n', targets_by => %L)$$, expression)), E'\n', 1), 'targets_by of resequencer "n"', 'an error in targets_by tells where it comes from: ' || expression)
  FROM unnest('{ARRAY[,"nowhere(key)",key}'::text[]) expression;
SELECT lives_ok(format('SELECT spool.create_resequencer(%L), spool.drop_resequencer(%1$L)', repeat('é', 127)), 'a long name');
SELECT lives_ok(format($$SELECT spool.create_resequencer('long', ARRAY[%L])$$, repeat('t', 63)), 'a long target');
SELECT lives_ok(format($$SELECT spool.create_resequencer('by%s', targets_by => %L)$$, n, expression), 'targets_by: ' || expression) FROM unnest(ARRAY[
    'ARRAY[key]', 'ARRAY[key] -- all of it', $$string_to_array(key, ',')$$, $$CASE WHEN key LIKE 'pdf%' THEN '{a,b}'::text[] END$$, 'ARRAY[key::varchar]',
    'ARRAY(SELECT unnest(targets) FROM spool.resequencer)', 'k.key::text[]']) WITH ORDINALITY e(expression, n);
SELECT spool.create_resequencer('none', targets_by => '') \g /dev/null
SELECT is(targets_by, NULL, 'targets_by: the empty text is none') FROM spool.resequencers WHERE resequencer = 'none';

-- What was rolled back is not there.
SAVEPOINT s;
SELECT spool.create_resequencer('gone'), spool.alter_resequencer('a', on_failure => 'suspend') \g /dev/null
ROLLBACK TO s;
SELECT throws_ok($$SELECT spool.alter_resequencer('gone')$$, '42704', 'resequencer "gone" does not exist', 'one whose creation is rolled back');
SELECT is(on_failure, 'promote', 'options are rolled back, too') FROM spool.resequencers WHERE resequencer = 'a';

-- alter_resequencer
SELECT spool.create_resequencer('alter', '{a}') \g /dev/null
SELECT spool.alter_resequencer('alter', '{a,b}', '''{b}''::text[]', 'suppress', 'register', 'queue:review', 'acked', 'suspend', '4 s', '5 s', 6, '7 s', '8 s', 'in_sequence', false) \g /dev/null
SELECT is(pg_temp.options('alter'), '{a,b}, ''{b}''::text[], suppress, register, queue:review, acked, suspend, 00:00:04, 00:00:05, 6, 00:00:07, 00:00:08, in_sequence, f', 'all options altered');
SELECT spool.alter_resequencer('alter') \g /dev/null
SELECT is(pg_temp.options('alter'), '{a,b}, ''{b}''::text[], suppress, register, queue:review, acked, suspend, 00:00:04, 00:00:05, 6, 00:00:07, 00:00:08, in_sequence, f', 'NULL leaves one as it is');
SELECT spool.alter_resequencer('alter', targets_by => '', max_suppressed => 0, max_suppress_age => '0', tree_timeout => '0', enabled => true) \g /dev/null
SELECT is(pg_temp.options('alter'), '{a,b}, -, suppress, register, queue:review, acked, suspend, 00:00:04, 00:00:05, 0, 00:00:00, 00:00:00, in_sequence, t', 'targets_by is removed by the empty text');
SELECT is((SELECT targets_path FROM spool.resequencer WHERE name = 'alter'), NULL, 'and its search_path');
SELECT lives_ok($$SELECT spool.alter_resequencer('alter', '{a,b}')$$, 'the same targets are no change');
SELECT throws_ok(format($$SELECT spool.alter_resequencer('alter', %L)$$, targets), '22023', 'targets of resequencer "alter" can only be added to', 'targets can only be added to: ' || targets)
  FROM unnest(ARRAY['{a}', '{b,a}', '{c,a,b}', '{a,c,b}', '{a,B}']) targets;
SELECT is(pg_temp.advice($$SELECT spool.alter_resequencer('alter', '{b}')$$), 'Give all that there are, in the same order, and then the new ones.', 'and a hint says how');
SELECT is(targets, '{a,b}', 'they are as they were') FROM spool.resequencers WHERE resequencer = 'alter';

-- drop_resequencer
SELECT id AS id FROM spool.resequencer WHERE name = 'a' \gset
SELECT id AS kept FROM spool.resequencer WHERE name = 'all' \gset
INSERT INTO spool.reseq_key (id, resequencer, key, epoch) VALUES (101, :id, 'k', 0), (102, :id, 'l', 0), (103, :kept, 'k', 0);
INSERT INTO spool.reseq_lane SELECT k, 1, v, 1, 1, -1, -1, false, false, s, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 'infinity', now()
  FROM (VALUES (101, 1, 0), (101, 2, 1), (102, 1, 2), (103, 1, 0)) v(k, v, s);
INSERT INTO spool.reseq_delivery SELECT k, 1, r, 1, 1, s, 'r', 0, now(), now() FROM (VALUES (101, :id, 0), (102, :id, 2), (103, :kept, 0)) v(k, r, s);
INSERT INTO spool.reseq_promotable SELECT r, k, 1, now() FROM (VALUES (:id, 101), (:kept, 103)) v(r, k);
INSERT INTO spool.reseq_dead SELECT r, 'k', 1, 'default', NULL, 'failed', NULL, now() FROM unnest(ARRAY[:id, :kept]) r;
INSERT INTO spool.reseq_tally SELECT r, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0 FROM unnest(ARRAY[:id, :kept]) r;
INSERT INTO spool.reseq_expired SELECT r, now(), now() FROM unnest(ARRAY[:id, :kept]) r;
CREATE FUNCTION pg_temp.counts() RETURNS text
LANGUAGE sql AS $$
    SELECT concat_ws(' ', (SELECT count(*) FROM spool.reseq_key), (SELECT count(*) FROM spool.reseq_lane), (SELECT count(*) FROM spool.reseq_delivery),
        (SELECT count(*) FROM spool.reseq_promotable), (SELECT count(*) FROM spool.reseq_dead), (SELECT count(*) FROM spool.reseq_tally),
        (SELECT count(*) FROM spool.reseq_expired)) $$;
SELECT is(pg_temp.counts(), '3 4 3 2 2 2 2', 'rows of two resequencers');
SELECT lives_ok($$SELECT spool.drop_resequencer('a')$$, 'a resequencer is dropped');
SELECT is(pg_temp.counts(), '1 1 1 1 1 1 1', 'with all its rows, and no others');
SELECT is_empty($$SELECT * FROM spool.resequencers WHERE resequencer = 'a'$$, 'it is gone');
SELECT throws_ok($$SELECT spool.drop_resequencer('a')$$, '42704', 'resequencer "a" does not exist', 'once');
SELECT lives_ok($$SELECT spool.drop_resequencer('a', if_exists => true)$$, 'if_exists');
SELECT spool.create_resequencer('a') \g /dev/null
SELECT isnt((SELECT id FROM spool.resequencer WHERE name = 'a'), :id, 'created again, it is another');

-- Rights.
CREATE ROLE spool_owner;
CREATE ROLE spool_member IN ROLE spool_owner;
CREATE ROLE spool_read;
CREATE ROLE spool_write;
CREATE ROLE spool_process;
CREATE ROLE spool_admin;
CREATE ROLE spool_stranger;
-- Runs a statement as a role.
CREATE FUNCTION pg_temp.as_role(role text, statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    PERFORM set_config('role', role, true);
    EXECUTE statement INTO result;
    PERFORM set_config('role', 'none', true);
    RETURN result;
END $$;
-- Those of the roles who may run a statement, whose effects are undone.
CREATE FUNCTION pg_temp.allowed(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    role text;
    answer text[] = '{}';
BEGIN
    FOREACH role IN ARRAY '{owner,member,read,write,process,admin,stranger}'::text[] LOOP
        BEGIN
            PERFORM pg_temp.as_role('spool_' || role, statement);
            RAISE EXCEPTION 'undo' USING ERRCODE = 'U0000';
        EXCEPTION
            WHEN SQLSTATE 'U0000' THEN
                answer = answer || role;
            WHEN insufficient_privilege THEN
                IF SQLERRM <> 'permission denied for resequencer "q"' THEN
                    answer = answer || format('(%s: %s)', role, SQLERRM);
                END IF;
        END;
    END LOOP;
    RETURN array_to_string(answer, ' ');
END $$;

GRANT EXECUTE ON FUNCTION spool.create_resequencer TO spool_owner;
SELECT pg_temp.as_role('spool_owner', $$SELECT spool.create_resequencer('q')$$) \g /dev/null
SELECT spool.grant_resequencer('q', ('spool_' || p)::regrole, p) FROM unnest('{read,write,process,admin}'::text[]) p \g /dev/null
SELECT is(pg_temp.allowed(statement), 'owner member admin', 'who may: ' || statement) FROM unnest(ARRAY[
    $$SELECT spool.alter_resequencer('q', deadline => '1 s')$$,
    $$SELECT spool.alter_resequencer('q', targets_by => '')$$,
    $$SELECT spool.drop_resequencer('q')$$,
    $$SELECT spool.grant_resequencer('q', 'spool_stranger', 'read')$$,
    $$SELECT spool.revoke_resequencer('q', 'spool_read', 'read')$$]) statement;
SELECT is((SELECT string_agg(a, ' ' ORDER BY a) FROM spool.resequencers, unnest(acl::text[]) a WHERE resequencer = 'q'), 'spool_admin=C/spool_owner spool_process=X/spool_owner spool_read=r/spool_owner spool_write=a/spool_owner', 'rights are kept as aclitem[]');
SELECT is((SELECT string_agg(role || ' ' || privilege, ', ' ORDER BY n, m)
             FROM unnest('{member,read,write,process,admin,stranger}'::text[]) WITH ORDINALITY r(role, n), unnest('{read,write,process,admin,any}'::text[]) WITH ORDINALITY p(privilege, m)
            WHERE pg_temp.as_role('spool_' || role, format('SELECT spool.has_resequencer_privilege(%L, %L)', 'q', privilege))::bool),
    'member read, member write, member process, member admin, member any, read read, read any, write write, write any, process process, process any, admin admin, admin any', 'has_resequencer_privilege');
SELECT is(spool.has_resequencer_privilege('nowhere', 'read'), NULL, 'has_resequencer_privilege: no such resequencer');
SELECT throws_ok($$SELECT spool.has_resequencer_privilege('q', 'everything')$$, '22023', 'unrecognized privilege: "everything"', 'has_resequencer_privilege: no such privilege');
SELECT is(pg_temp.as_role('spool_' || r, $$SELECT string_agg(resequencer, ' ') FROM spool.resequencers$$), n, 'the view as seen by ' || r)
  FROM (VALUES ('owner', 'q'), ('member', 'q'), ('read', 'q'), ('write', 'q'), ('stranger', NULL)) v(r, n);
SELECT spool.revoke_resequencer('q', 'spool_admin', 'admin') \g /dev/null
SELECT is(pg_temp.allowed($$SELECT spool.alter_resequencer('q')$$), 'owner member', 'rights can be taken back');
SELECT spool.grant_resequencer('q', 'spool_admin', 'admin') \g /dev/null

-- Owners.
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', role, statement), '42501', message, format('%s: %s', role, message)) FROM (VALUES
    ('spool_stranger', $$SELECT spool.create_resequencer('s')$$, 'permission denied for function create_resequencer'),
    ('spool_owner', $$SELECT spool.create_resequencer('s', owner => 'spool_stranger')$$, NULL),
    ('spool_owner', $$SELECT spool.alter_resequencer('q', owner => 'spool_stranger')$$, NULL),
    ('spool_admin', $$SELECT spool.alter_resequencer('q', owner => 'spool_admin')$$, 'must be owner of resequencer "q"'),
    ('spool_admin', $$SELECT spool.alter_resequencer('q', targets_by => 'ARRAY[key]')$$, NULL)) v(role, statement, message);
SELECT is(owner, 'spool_owner'::regrole, 'the creator is the owner') FROM spool.resequencers WHERE resequencer = 'q';
SELECT lives_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_member', $$SELECT spool.create_resequencer('s', targets_by => 'ARRAY[key]', owner => 'spool_owner')$$), 'a member creates one for the owner');
SELECT spool.grant_resequencer('s', 'spool_read', 'read'), spool.alter_resequencer('s', owner => 'spool_stranger') \g /dev/null
SELECT is(format('%s %s', owner, acl), 'spool_stranger {spool_read=r/spool_stranger}', 'grants become the new owner''s') FROM spool.resequencers WHERE resequencer = 's';
SELECT lives_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_stranger', $$SELECT spool.drop_resequencer('s')$$), 'who may do everything');

-- Outlets: who sets one and the resequencer's owner may write to the queue.
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_owner', format($$SELECT spool.alter_resequencer('q', %s => 'queue:review')$$, o)), '42501', 'permission denied for queue "review"', o || ': who sets it may not write')
  FROM unnest('{on_unregistered,on_invalid}'::text[]) o;
SELECT throws_ok(format($$SELECT spool.alter_resequencer('q', %s => 'queue:review')$$, o), '42501', 'permission denied for queue "review"', o || ': the owner may not write')
  FROM unnest('{on_unregistered,on_invalid}'::text[]) o;
SELECT is(pg_temp.advice($$SELECT spool.alter_resequencer('q', on_invalid => 'queue:review')$$), 'The owner of the resequencer, "spool_owner", must be allowed to write to it.', 'and is told so');
SELECT spool.grant_queue('review', 'spool_owner', 'write') \g /dev/null
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_admin', $$SELECT spool.alter_resequencer('q', on_invalid => 'queue:review')$$), '42501', 'permission denied for queue "review"', 'an admin does not use a right of the owner');
SELECT lives_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_owner', $$SELECT spool.alter_resequencer('q', on_invalid => 'queue:review')$$), 'the owner who may write does');
SELECT throws_ok($$SELECT spool.alter_resequencer('q', owner => 'spool_stranger')$$, '42501', 'permission denied for queue "review"', 'a new owner must be allowed, too');
SELECT lives_ok($$SELECT spool.alter_resequencer('q', on_invalid => 'error', owner => 'spool_stranger')$$, 'unless the outlet goes');

-- targets_by is evaluated as the owner, with the search_path of who set it.
GRANT CREATE ON SCHEMA public TO spool_owner;
CREATE SCHEMA app AUTHORIZATION spool_owner;
SET LOCAL search_path = app, public;
SET LOCAL ROLE spool_owner;
CREATE TABLE app.routes (prefix text, targets text[]);
INSERT INTO app.routes VALUES ('pdf', '{a,b}'), ('txt', '{b}');
CREATE FUNCTION app.route(key text) RETURNS text[]
LANGUAGE sql STABLE AS $$ SELECT targets FROM routes WHERE key LIKE prefix || '%' $$;
CREATE FUNCTION app.who(key text) RETURNS text[]
LANGUAGE sql STABLE AS $$ SELECT ARRAY[current_user, current_setting('search_path')] $$;
CREATE FUNCTION app.sets(key text) RETURNS text[]
LANGUAGE plpgsql AS $$ BEGIN SET work_mem = '99MB'; SET search_path = nowhere; RETURN '{a}'; END $$;
CREATE FUNCTION app.become(key text) RETURNS text[]
LANGUAGE plpgsql AS $$ BEGIN SET ROLE spool_member; RETURN '{a}'; END $$;
SELECT spool.create_resequencer('by', '{a,b}', 'route(key)'),
       spool.create_resequencer('who', ARRAY['spool_owner', 'app, public, pg_temp'], 'who(key)'),
       spool.create_resequencer('sets', '{a,b}', 'sets(key)'), spool.create_resequencer('become', '{a,b}', 'become(key)'),
       spool.create_resequencer('odd', '{a,b}', $$CASE key WHEN 'nothing' THEN '{}' WHEN 'null' THEN '{a,NULL}' WHEN 'error' THEN ARRAY[(1 / (length(key) - 5))::text] ELSE ARRAY[key] END$$) \g /dev/null
SELECT spool.grant_resequencer(r, 'spool_write', 'write') FROM unnest('{by,who,sets,become,odd}'::text[]) r \g /dev/null
RESET ROLE;
RESET search_path;
-- The targets that a key is registered for.
CREATE FUNCTION pg_temp.targets(resequencer text, key text) RETURNS text
LANGUAGE sql AS $$
    SELECT string_agg(DISTINCT r.targets[d.target], ' ')
      FROM spool.resequencer r JOIN spool.reseq_key k ON k.resequencer = r.id JOIN spool.reseq_delivery d ON d.key = k.id
     WHERE r.name = targets.resequencer AND k.key = targets.key $$;
SELECT is(pg_temp.as_role('spool_write', format('SELECT verdict FROM spool.register(%L, %L, 1)', 'by', key)) || ': ' || pg_temp.targets('by', key), 'current: ' || targets, 'R30: targets of ' || key)
  FROM (VALUES ('pdf/1', 'a b'), ('txt/1', 'b'), ('txt/2', 'b'), ('doc/1', 'a b')) v(key, targets);
SELECT is(pg_temp.as_role('spool_write', $$SELECT verdict FROM spool.register('by', 'txt/3', 1, '{a}')$$) || ': ' || pg_temp.targets('by', 'txt/3'), 'current: a', 'R30: targets that are given go first');
SELECT spool.alter_resequencer('by', '{a,b,c}', 'ARRAY[''c'']') \g /dev/null
SELECT is(pg_temp.as_role('spool_write', $$SELECT verdict FROM spool.register('by', 'pdf/2', 1)$$) || ': ' || pg_temp.targets('by', 'pdf/2'), 'current: c', 'R30: altered');
SELECT spool.alter_resequencer('by', targets_by => '') \g /dev/null
SELECT is(pg_temp.as_role('spool_write', $$SELECT verdict FROM spool.register('by', 'pdf/3', 1)$$) || ': ' || pg_temp.targets('by', 'pdf/3'), 'current: a b c', 'R30: removed: all');
SELECT is(pg_temp.as_role('spool_write', $$SELECT verdict FROM spool.register('who', 'k', 1)$$) || ': ' || pg_temp.targets('who', 'k'), 'current: app, public, pg_temp spool_owner', 'targets_by runs as the owner, with the search_path of who set it');
SELECT is(pg_temp.as_role('spool_write', $$SELECT concat_ws(' ', verdict, current_user, current_setting('search_path'), current_setting('work_mem') = '99MB') FROM spool.register('sets', 'k', 1)$$),
    format('current spool_write %s f', current_setting('search_path')), 'settings are taken back');
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_write', $$SELECT spool.register('become', 'k', 1)$$), '42501', 'cannot set parameter "role" within security-definer function', 'it becomes no other role');
SELECT throws_ok(format('SELECT spool.register(%L, %L, 1)', 'odd', key), code, message, 'odd targets: ' || message) FROM (VALUES
    ('nothing', '22023', 'targets must not be empty'),
    ('null', '22004', 'targets must not contain nulls'),
    ('z', '22023', 'resequencer "odd" has no target "z"'),
    ('error', '22012', 'division by zero')) v(key, code, message);
SELECT is(split_part(pg_temp.contexts($$SELECT spool.register('odd', 'error', 1)$$), E'\n', 3), 'targets_by of resequencer "odd"', 'an error in it tells where it comes from');
SELECT spool.create_resequencer('none by', '{a,b}', 'CASE WHEN key = ''x'' THEN ''{b}''::text[] END') \g /dev/null
SELECT is(pg_temp.targets('none by', 'k'), 'a b', 'R30: NULL: all') FROM spool.register('none by', 'k', 1);

-- What is read-only is refused.
SET LOCAL transaction_read_only = on;
SELECT throws_ok(statement, '25006', 'cannot change resequencer "q" in a read-only transaction', 'refused in a read-only transaction: ' || statement) FROM unnest(ARRAY[
    $$SELECT spool.alter_resequencer('q')$$,
    $$SELECT spool.drop_resequencer('q')$$,
    $$SELECT spool.revoke_resequencer('q', 'spool_read', 'read')$$]) statement;

SELECT * FROM finish();
ROLLBACK;
