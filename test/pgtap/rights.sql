-- Rights on queues: which role may do what.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(92);

CREATE ROLE spool_owner;
CREATE ROLE spool_member IN ROLE spool_owner;
CREATE ROLE spool_read;
CREATE ROLE spool_write;
CREATE ROLE spool_process;
CREATE ROLE spool_admin;
CREATE ROLE spool_stranger;
CREATE ROLE spool_group;
CREATE ROLE spool_grouped IN ROLE spool_group;

-- Runs a statement as a role.
CREATE FUNCTION pg_temp.as_role(role text, statement text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', role, true);
    EXECUTE statement;
    PERFORM set_config('role', 'none', true);
END $$;
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
CREATE FUNCTION pg_temp.allowed(statement text, roles text[] = '{owner,member,read,write,process,admin,stranger}') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    role text;
    answer text[] = '{}';
BEGIN
    FOREACH role IN ARRAY roles LOOP
        BEGIN
            PERFORM pg_temp.as_role('spool_' || role, statement);
            RAISE EXCEPTION 'undo' USING ERRCODE = 'U0000';
        EXCEPTION
            WHEN SQLSTATE 'U0000' THEN
                answer = answer || role;
            WHEN insufficient_privilege THEN
                IF SQLERRM <> 'permission denied for queue "q"' THEN
                    answer = answer || format('(%s: %s)', role, SQLERRM);
                END IF;
        END;
    END LOOP;
    RETURN array_to_string(answer, ' ');
END $$;

GRANT EXECUTE ON FUNCTION spool.create_queue TO spool_owner;
SELECT pg_temp.as_role('spool_owner', $$SELECT spool.create_queue('q', retention => '1 day', on_error => 'dead')$$) \g /dev/null
SELECT spool.grant_queue('q', ('spool_' || p)::regrole, p) FROM unnest('{read,write,process,admin}'::text[]) p \g /dev/null
SELECT spool.write('q', spool.make_packet(1, 'a')), spool.write('q', spool.make_packet(2, 'b')), spool.enqueue('q', 'x', 'n') \g /dev/null
SELECT spool.packet_id('q', 2) AS id \gset
SELECT spool.create_queue('target'), spool.grant_queue('target', ('spool_' || r)::regrole, 'write') FROM unnest('{owner,read,write,process,admin,stranger}'::text[]) r WHERE r = 'owner' \g /dev/null
SELECT spool.grant_queue('target', ('spool_' || r)::regrole, 'write') FROM unnest('{read,write,process,admin,stranger}'::text[]) r \g /dev/null

-- Each verb, and who may.
SELECT is(pg_temp.allowed(statement), concat_ws(' ', 'owner member', who), format('F52: %s: %s', who, statement)) FROM (VALUES
    ($$SELECT * FROM spool.ls('q')$$, 'read'),
    (format($$SELECT spool.get_packet('q', %s)$$, :id), 'read process'),
    ($$SELECT spool.packet_id('q', 1)$$, 'read'),
    ($$SELECT spool.next_seq('q')$$, 'read'),
    ($$SELECT * FROM spool.gaps('q')$$, 'read'),
    ($$SELECT * FROM spool.peek('q')$$, 'read'),
    (format($$SELECT spool.forward('q', %s, 'target')$$, :id), 'read'),
    ($$SELECT spool.enqueue('q', '\x00'::bytea, 'n')$$, 'write'),
    ($$SELECT spool.enqueue('q', 'x'::text, 'n')$$, 'write'),
    ($$SELECT spool.enqueue('q', '1'::json, 'n')$$, 'write'),
    ($$SELECT spool.enqueue('q', '1'::jsonb, 'n')$$, 'write'),
    ($$SELECT spool.enqueue_many('q', '{x}'::bytea[], 'n')$$, 'write'),
    ($$SELECT spool.enqueue_many('q', '{x}'::text[], 'n')$$, 'write'),
    ($$SELECT spool.enqueue_many('q', '{1}'::json[], 'n')$$, 'write'),
    ($$SELECT spool.enqueue_many('q', '{1}'::jsonb[], 'n')$$, 'write'),
    ($$SELECT spool.write('q', spool.make_packet(9))$$, 'write'),
    ($$SELECT spool.write_many('q', ARRAY[spool.make_packet(9)])$$, 'write'),
    ($$INSERT INTO spool.inbox VALUES ('q', '', spool.make_packet(9))$$, 'write'),
    ($$SELECT * FROM spool.take('q')$$, 'process'),
    ($$SELECT * FROM spool.take('q', 1, 'timestamp')$$, 'process'),
    ($$SELECT spool.alter_queue('q', on_error => 'dead')$$, 'admin'),
    ($$SELECT spool.drop_queue('q', true)$$, 'admin'),
    ($$SELECT spool.pause_queue('q')$$, 'admin'),
    ($$SELECT spool.pause_queue('q', '')$$, 'admin'),
    ($$SELECT spool.resume_queue('q')$$, 'admin'),
    ($$SELECT spool.grant_queue('q', 'spool_stranger', 'read')$$, 'admin'),
    ($$SELECT spool.revoke_queue('q', 'spool_read', 'read')$$, 'admin'),
    ($$SELECT spool.set_next_seq('q', 2)$$, 'admin'),
    ($$SELECT spool.skip_gap('q')$$, 'admin'),
    (format($$SELECT spool.discard('q', %s)$$, :id), 'admin'),
    ($$SELECT spool.retry_now('q')$$, 'admin'),
    ($$SELECT spool.redrive('q')$$, 'admin')
) v(statement, who);
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_stranger', $$CALL spool.process('q')$$), '25001', NULL, 'F52: process is refused in a transaction before anything else');

-- A handler runs as the owner, so who sets it must be able to become the owner.
SELECT is(pg_temp.allowed($$SELECT spool.set_handler('q', 'SELECT 1')$$, '{owner,member}'), 'owner member', 'F52: who may set a handler');
SELECT is(pg_temp.allowed($$SELECT spool.set_handler('q', 'SELECT 1')$$, '{read,write,process,stranger}'), '', 'F52: who may not');
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_admin', $$SELECT spool.set_handler('q', 'SELECT 1')$$), '42501', NULL, 'F52: nor an admin who is no member of the owner');
SET LOCAL spool.programs = on;
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_admin', $$SELECT spool.set_program('q', '/bin/true')$$), '42501', NULL, 'F52: the same for programs');
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_owner', $$SELECT spool.set_program('q', '/bin/true')$$), '42501', 'permission denied to run a program', 'F52: an owner who may not run programs');
GRANT pg_execute_server_program TO spool_owner;
SELECT lives_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_owner', $$SELECT spool.set_program('q', '/bin/true')$$), 'F52: an owner who may');
SET LOCAL spool.programs = off;
SELECT throws_ok($$SELECT spool.set_program('q', '/bin/true')$$, '42501', 'programs may not be run', 'F52: spool.programs is off: not even a superuser');
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_owner', 'SET spool.programs = on'), '42501', NULL, 'F52: only superusers turn it on');
SELECT throws_ok($$SELECT spool.run_packet(spool.make_packet(1), '/bin/true')$$, '42501', 'programs may not be run', 'F52: run_packet, too');
SET LOCAL spool.programs = on;
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_read', $$SELECT spool.run_packet(spool.make_packet(1), '/bin/true')$$), '42501', 'permission denied to run a program', 'F52: run_packet by a role that may not');

-- Owners.
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_stranger', $$SELECT spool.create_queue('s')$$), '42501', 'permission denied for function create_queue', 'F52: creating queues is for whom EXECUTE is granted');
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_stranger', 'CALL spool.maintain()'), '42501', 'permission denied for procedure maintain', 'F52: upkeep, too');
SELECT is((SELECT owner FROM spool.queues WHERE queue = 'q'), 'spool_owner'::regrole, 'F52: the creator is the owner');
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_owner', $$SELECT spool.create_queue('s', owner => 'spool_stranger')$$), '42501', NULL, 'F52: no queue for another role');
SELECT lives_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_member', $$SELECT spool.create_queue('s', owner => 'spool_owner')$$), 'F52: but for one whose member one is');
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_owner', $$SELECT spool.alter_queue('s', owner => 'spool_stranger')$$), '42501', NULL, 'F52: no queue is given away');
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_admin', $$SELECT spool.alter_queue('q', owner => 'spool_admin')$$), '42501', 'must be owner of queue "q"', 'F52: an admin does not become the owner');
SELECT spool.grant_queue('s', 'spool_group', 'read') \g /dev/null
SELECT spool.enqueue('s', 'x') \g /dev/null
SELECT throws_ok($$SELECT spool.alter_queue('s', owner => 'spool_stranger', order_by => 'none')$$, '55006', NULL, 'F52: owner and order, while packets wait');
SELECT is(pg_temp.value_as('spool_grouped', $$SELECT count(*) FROM spool.ls('s')$$), '1', 'F52: grants are as before');
SELECT spool.take('s') \g /dev/null
SELECT spool.alter_queue('s', owner => 'spool_stranger') \g /dev/null
SELECT is((SELECT acl::text FROM spool.queues WHERE queue = 's'), '{spool_group=r/spool_stranger}', 'F52: grants become the new owner''s');
SELECT spool.revoke_queue('s', 'spool_group', 'read') \g /dev/null
SELECT is((SELECT acl::text FROM spool.queues WHERE queue = 's'), '{}', 'F52: and can be taken back');
SELECT is((SELECT owner FROM spool.queues WHERE queue = 's'), 'spool_stranger'::regrole, 'F52: a superuser changes owners');
SELECT lives_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_stranger', $$SELECT spool.drop_queue('s')$$), 'F52: the new owner may do everything');

-- grant_queue, revoke_queue
SELECT is((SELECT string_agg(a, ' ' ORDER BY a) FROM spool.queues, unnest(acl::text[]) a WHERE queue = 'q'), 'spool_admin=C/spool_owner spool_process=X/spool_owner spool_read=r/spool_owner spool_write=a/spool_owner', 'F52: as aclitem[]');
SELECT spool.grant_queue('q', 'spool_group', 'read'), spool.grant_queue('q', 'spool_group', 'write') \g /dev/null
SELECT is(pg_temp.allowed($$SELECT * FROM spool.ls('q')$$, '{group,grouped,stranger}'), 'group grouped', 'F52: members of a role have its rights');
SELECT spool.revoke_queue('q', 'spool_group', 'read') \g /dev/null
SELECT is(pg_temp.allowed($$SELECT * FROM spool.ls('q')$$, '{group,grouped}') || pg_temp.allowed($$SELECT spool.enqueue('q', 'x', 'n')$$, '{group,grouped}'), 'group grouped', 'F52: one is taken back, the other stays');
SELECT spool.revoke_queue('q', 'spool_stranger', 'read') \g /dev/null
SELECT pass('F52: what was not granted can be taken back');
SELECT throws_ok(sql, '22004', message, 'F52: ' || message) FROM (VALUES
    ($$SELECT spool.grant_queue('q', NULL, 'read')$$, 'role must not be null'),
    ($$SELECT spool.revoke_queue('q', 'spool_read', NULL)$$, 'privilege must not be null')) v(sql, message);

-- Views show what one may see; tables nothing.
SELECT spool.enqueue('q', kind => 'fail', stream => 'n'), spool.discard('q', :id) \g /dev/null
SELECT is(concat_ws(' ',
    pg_temp.value_as('spool_' || r, $$SELECT count(*) FROM spool.queues WHERE queue = 'q'$$),
    pg_temp.value_as('spool_' || r, $$SELECT count(*) FROM spool.dead_letters WHERE name = 'q'$$),
    pg_temp.value_as('spool_' || r, $$SELECT count(*) FROM spool.actions WHERE queue = 'q'$$)), n, 'F52: views as seen by ' || r)
  FROM (VALUES ('owner', '1 1 1'), ('read', '1 1 1'), ('write', '1 0 0'), ('process', '1 0 0'), ('admin', '1 0 0'), ('stranger', '0 0 0')) v(r, n);
-- Nor to a function that is called for each row, however cheap it says it is.
SELECT spool.set_handler('q', 'SELECT 1'), spool.create_queue('claimed'), spool.enqueue('claimed', 'x'), spool.enqueue('claimed', 'y', 'n') \g /dev/null
SELECT count(*) FROM spool.claim('claimed') \g /dev/null
SELECT count(*) FROM spool.claim('claimed', order_by => 'none') \g /dev/null
SELECT spool.grant_queue('claimed', 'spool_read', 'read') \g /dev/null
CREATE FUNCTION pg_temp.spy(text) RETURNS boolean
LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE EXCEPTION 'saw "%"', $1; END $$;
CREATE ROLE spool_nobody;
SELECT is(pg_temp.value_as('spool_nobody', format('SELECT count(*) FROM spool.%s WHERE pg_temp.spy(%s)', v.view, col)), '0', format('F52: a function is shown nothing: %s.%s', v.view, col)) FROM (VALUES
    ('queues', 'handler'), ('dead_letters', 'message'), ('dead_letters', 'reason'), ('actions', 'reason'), ('claims', 'application_name'), ('claims', 'stream'), ('stat_queues', 'queue'), ('stat_streams', 'stream'), ('attempts', 'outcome'), ('inbox', 'stream')) v(view, col);
SELECT is(pg_temp.value_as('spool_read', format('SELECT count(*) > 0 FROM spool.%s', v.view)), 'true', 'F52: to others there is something to show: ' || v.view) FROM unnest('{queues,dead_letters,actions,claims,stat_queues,stat_streams}'::text[]) v(view);
SELECT is_empty($$SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'spool'::regnamespace AND c.relkind IN ('r', 'p', 'S')
      AND (has_table_privilege('spool_stranger', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER'))$$, 'F52: no table or sequence is open to anybody');
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_stranger', 'CREATE TABLE spool.mine ()'), '42501', NULL, 'F52: nor the schema');
SELECT is(spool.has_queue_privilege('nowhere', 'read'), NULL, 'F52: has_queue_privilege: no such queue');

-- The trigger function of spool.inbox serves no other view.
CREATE TEMP VIEW other AS SELECT 1::int8 AS queue, 2::int8 AS stream, 3::int8 AS packet;
CREATE TRIGGER other INSTEAD OF INSERT ON other FOR EACH ROW EXECUTE FUNCTION spool.inbox_insert();
SELECT throws_ok('INSERT INTO other VALUES (1, 2, 3)', '39P01', 'spool.inbox_insert must be called by the trigger on spool.inbox', 'F52: a view with other columns');

-- Senders.
SELECT pg_temp.as_role('spool_owner', $$SELECT spool.prepare('sender')$$) \g /dev/null
SELECT is(pg_temp.value_as('spool_member', $$SELECT spool.seq(spool.prepare('sender'))$$), '2', 'F69: members share a sender');
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_stranger', $$SELECT spool.prepare('sender')$$), '42501', 'permission denied for sender "sender"', 'F69: others do not');
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_stranger', $$SELECT spool.sender_set_next('sender', 1)$$), '42501', 'permission denied for sender "sender"', 'F69: nor set its counter');
SELECT throws_ok(format('SELECT pg_temp.as_role(%L, %L)', 'spool_stranger', $$SELECT spool.sender_next('sender')$$), '42501', 'permission denied for sender "sender"', 'F69: nor read it');

SELECT * FROM finish();
ROLLBACK;
