-- Rights on resequencers: which role may call which verb and see what.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(126);

CREATE ROLE spool_owner;
CREATE ROLE spool_member IN ROLE spool_owner;
CREATE ROLE spool_read;
CREATE ROLE spool_write;
CREATE ROLE spool_process;
CREATE ROLE spool_admin;
CREATE ROLE spool_stranger;

-- Runs a statement as a role.
CREATE FUNCTION pg_temp.value_as(role text, statement text) RETURNS text
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
            PERFORM pg_temp.value_as('spool_' || role, statement);
            RAISE EXCEPTION 'undo' USING ERRCODE = 'U0000';
        EXCEPTION
            WHEN SQLSTATE 'U0000' THEN
                answer = answer || role;
            WHEN insufficient_privilege THEN
                IF SQLERRM <> 'permission denied for resequencer "r"' THEN
                    answer = answer || format('(%s: %s)', role, SQLERRM);
                END IF;
        END;
    END LOOP;
    RETURN array_to_string(answer, ' ');
END $$;

SELECT spool.create_queue('review'), spool.grant_queue('review', 'spool_owner', 'write') \g /dev/null
SELECT spool.create_resequencer('r', delivery => 'acked', on_invalid => 'queue:review', owner => 'spool_owner'), spool.create_resequencer('other') \g /dev/null
SELECT spool.grant_resequencer('r', ('spool_' || p)::regrole, p) FROM unnest('{read,write,process,admin}'::text[]) p \g /dev/null
SELECT spool.register('r', 'k', 1), spool.register('r', 'k', 2), spool.resequence('r', 'k', 1), spool.resequence('r', 'k', 2), spool.register('r', 'dead', 1), spool.failed('r', 'dead', 1), spool.register('other', 'k', 1), spool.failed('other', 'k', 1) \g /dev/null

-- Each verb, and who may.
SELECT is(pg_temp.allowed(statement), concat_ws(' ', 'owner member', who), format('rights: %s: %s', who, statement)) FROM (VALUES
    ($$SELECT spool.register('r', 'k', 3)$$, 'write'),
    ($$SELECT spool.register('r', 'k', 2)$$, 'write'),
    ($$SELECT spool.register('r', 'new', 3, parts => 2)$$, 'write'),
    ($$SELECT * FROM spool.register_many('r', '{k}', '{3}')$$, 'write'),
    ($$SELECT * FROM spool.register_many('r', '{}', '{}')$$, 'write'),
    ($$SELECT spool.add_target('r', 'k', 2, 'default')$$, 'write'),
    ($$SELECT spool.unregister('r', 'k', 2)$$, 'write'),
    ($$SELECT spool.resequence('r', 'k', 2)$$, 'process'),
    ($$SELECT * FROM spool.resequence_many('r', '{k}', '{2}')$$, 'process'),
    ($$SELECT * FROM spool.resequence_many('r', '{}', '{}')$$, 'process'),
    ($$SELECT spool.resequence('r', NULL, 2)$$, 'process'),
    ($$SELECT spool.applied('r', 'k', 2)$$, 'process'),
    ($$SELECT spool.failed('r', 'k', 2)$$, 'process'),
    ($$SELECT spool.is_current('r', 'k', 2)$$, 'read'),
    ($$SELECT spool.is_current('r', 'unknown', 2)$$, 'read'),
    ($$SELECT * FROM spool.promoted('r')$$, 'read'),
    ($$SELECT spool.suspend_key('r', 'k')$$, 'admin'),
    ($$SELECT spool.resume_key('r', 'k')$$, 'admin'),
    ($$SELECT spool.skip_delivery('r', 'k', 2)$$, 'admin'),
    ($$SELECT spool.reset('r', 'k')$$, 'admin'),
    ($$SELECT spool.reset('r')$$, 'admin'),
    ($$SELECT spool.expire('r')$$, 'admin'),
    ($$SELECT spool.alter_resequencer('r', deadline => '1 min')$$, 'admin'),
    ($$SELECT spool.drop_resequencer('r')$$, 'admin')) v(statement, who);
-- A call that is refused does not tell whether there is such a key.
SELECT throws_ok(format($$SELECT pg_temp.value_as('spool_stranger', 'SELECT spool.%s(''r'', ''%s'', 7)')$$, verb, key), '42501', 'permission denied for resequencer "r"', format('rights: %s of %s', verb, key))
  FROM unnest('{register,resequence,unregister,is_current,skip_delivery}'::text[]) verb, unnest('{k,unknown}'::text[]) key;
-- An outlet is written to as the owner: who resequences needs no right on the queue.
SELECT is(pg_temp.value_as('spool_process', $$SELECT verdict FROM spool.resequence('r', NULL, 5)$$) || (SELECT string_agg(convert_from(payload, 'UTF8'), '') FROM spool.peek('review', 10)), 'unregistered{"resequencer": "r", "sn": 5, "reason": "invalid"}', 'R16 R20: outlets are written to as the owner');
SELECT throws_ok($$SELECT pg_temp.value_as('spool_process', $s$SELECT spool.enqueue('review', 'x')$s$)$$, '42501', 'permission denied for queue "review"', 'R16: who calls need not be allowed to');
SELECT spool.revoke_queue('review', 'spool_owner', 'write') \g /dev/null
SELECT throws_ok($$SELECT pg_temp.value_as('spool_process', $s$SELECT spool.resequence('r', NULL, 5)$s$)$$, '42501', 'permission denied for queue "review"', 'R16: the owner must be');

-- Views show the resequencers that may be read, and no others.
SELECT is(pg_temp.value_as('spool_' || role, format('SELECT count(*) FROM spool.%s', relation)), CASE WHEN relation = 'resequencers' AND role <> 'stranger' OR role IN ('owner', 'member', 'read') THEN rows ELSE '0' END, format('rights: %s: %s', role, relation))
  FROM unnest('{owner,member,read,write,process,admin,stranger}'::text[]) role, (VALUES
    ('resequencers', '1'), ('stat_resequencers', '1'), ('stat_keys', '2'), ('registrations', '3'), ('dead_letters', '1')) v(relation, rows);
SELECT is(pg_temp.value_as('spool_' || role, format('SELECT count(*) FROM spool.%s(%L)', name, 'r')), CASE WHEN role IN ('owner', 'read') THEN rows ELSE '0' END, format('rights: %s: %s', role, name))
  FROM unnest('{owner,read,write,process,admin,stranger}'::text[]) role, (VALUES ('lane_stats', '2'), ('registration_rows', '3')) v(name, rows);
SELECT is(pg_temp.value_as('spool_read', 'SELECT string_agg(DISTINCT resequencer, '' '') FROM (SELECT resequencer FROM spool.stat_keys UNION ALL SELECT resequencer FROM spool.registrations UNION ALL SELECT resequencer FROM spool.stat_resequencers UNION ALL SELECT name FROM spool.dead_letters) x'), 'r', 'rights: nothing of others');
-- Their conditions are applied before those of a query.
CREATE FUNCTION pg_temp.spy(text) RETURNS boolean
LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE EXCEPTION 'saw %', $1; END $$;
SELECT is(pg_temp.value_as('spool_stranger', format('SELECT count(*) FROM spool.%s WHERE pg_temp.spy(%s)', relation, col)), '0', 'rights: nothing is shown to a function: ' || relation)
  FROM (VALUES ('stat_keys', 'key'), ('registrations', 'key'), ('stat_resequencers', 'resequencer'), ('dead_letters', 'message'), ('resequencers', 'resequencer')) v(relation, col);
-- Tables are for nobody.
SELECT throws_ok(format($$SELECT pg_temp.value_as('spool_owner', 'SELECT count(*) FROM spool.%s')$$, relname), '42501', format('permission denied for table %s', relname), 'rights: table ' || relname)
  FROM pg_class WHERE relnamespace = 'spool'::regnamespace AND relkind IN ('r', 'p') AND relname ~ '^(reseq|lane_|delivery_)' ORDER BY relname;

-- A right that is taken back.
SELECT spool.revoke_resequencer('r', 'spool_write', 'write') \g /dev/null
SELECT throws_ok($$SELECT pg_temp.value_as('spool_write', $s$SELECT spool.register('r', 'k', 9)$s$)$$, '42501', 'permission denied for resequencer "r"', 'rights: taken back');
SELECT is(pg_temp.value_as('spool_write', 'SELECT count(*) FROM spool.resequencers'), '0', 'rights: taken back, not even its name');

-- What only looks works where nothing may be changed, what changes does not.
SET LOCAL transaction_read_only = on;
SELECT lives_ok(statement, 'read only: ' || statement) FROM unnest(ARRAY[
    $$SELECT spool.is_current('r', 'k', 2)$$, $$SELECT * FROM spool.promoted('r')$$, 'SELECT * FROM spool.stat_keys', 'SELECT * FROM spool.registrations', 'SELECT * FROM spool.stat_resequencers', 'SELECT * FROM spool.resequencers']) statement;
SELECT throws_ok(statement, '25006', NULL, 'read only: ' || statement) FROM unnest(ARRAY[
    $$SELECT spool.register('r', 'k', 3)$$, $$SELECT spool.register('r', 'new', 3)$$, $$SELECT spool.resequence('r', 'k', 2)$$, $$SELECT spool.applied('r', 'k', 2)$$, $$SELECT spool.failed('r', 'k', 2)$$, $$SELECT spool.unregister('r', 'k', 2)$$,
    $$SELECT spool.add_target('r', 'k', 2, 'default')$$, $$SELECT * FROM spool.register_many('r', '{k}', '{3}')$$, $$SELECT * FROM spool.resequence_many('r', '{k}', '{2}')$$, $$SELECT spool.suspend_key('r', 'k')$$, $$SELECT spool.reset('r')$$, $$SELECT spool.expire('r')$$]) statement;

SELECT * FROM finish();
ROLLBACK;
