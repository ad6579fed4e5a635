-- guard: a table that refuses stale writes by itself.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(123);

-- Runs a statement; how many rows it counts.
CREATE FUNCTION pg_temp.counted(statement text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    rows bigint;
BEGIN
    EXECUTE statement;
    GET DIAGNOSTICS rows = ROW_COUNT;
    RETURN rows;
END $$;
-- The same, as a role.
CREATE FUNCTION pg_temp.as_role(role text, statement text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', role, true);
    EXECUTE statement;
    PERFORM set_config('role', 'none', true);
END $$;

CREATE SCHEMA spool_guarded;
SET LOCAL search_path = spool_guarded, public;

-- ---- what is refused, and what is not --------------------------------------
CREATE TABLE doc (id int PRIMARY KEY, sn bigint, body text);
INSERT INTO doc VALUES (1, 5, 'five'), (2, 5, 'five');
SELECT is(pg_temp.counted('UPDATE doc SET sn = 4, body = ''four'' WHERE id = 1'), 1::bigint, 'R47: a table without guard takes anything');
UPDATE doc SET sn = 5, body = 'five' WHERE id = 1;
SELECT spool.guard('doc', 'id', 'sn') \g /dev/null

CREATE FUNCTION pg_temp.doc(int) RETURNS text LANGUAGE sql AS 'SELECT concat_ws('' '', coalesce(sn::text, ''null''), body) FROM spool_guarded.doc WHERE id = $1';
SELECT is(pg_temp.counted('UPDATE doc SET sn = 4, body = ''four'' WHERE id = 1'), 0::bigint, 'R47: a lower number is refused: no row is counted');
SELECT is(pg_temp.doc(1), '5 five', 'R47: and the row is as it was');
SELECT is(pg_temp.counted('UPDATE doc SET sn = NULL, body = ''none'' WHERE id = 1'), 0::bigint, 'R47: so is a row that loses its number');
SELECT is(pg_temp.counted('UPDATE doc SET sn = 5, body = ''again'' WHERE id = 1'), 1::bigint, 'R47: an equal number is the same write again');
SELECT is(pg_temp.counted('UPDATE doc SET body = ''other'' WHERE id = 1'), 1::bigint, 'R47: other columns may be changed');
SELECT is(pg_temp.counted('UPDATE doc SET sn = 6, body = ''six'' WHERE id = 1'), 1::bigint, 'R47: a higher number passes');
SELECT is(pg_temp.doc(1), '6 six', 'R47: with its row');
SELECT is(pg_temp.counted('UPDATE doc SET sn = 11 - sn'), 1::bigint, 'R47: row by row: of two rows one is refused');
SELECT is(pg_temp.doc(1) || ', ' || pg_temp.doc(2), '6 six, 6 five', 'R47: the other is changed');
SELECT is_empty('UPDATE doc SET sn = 4 WHERE id = 1 RETURNING sn', 'R47: RETURNING tells nothing of a refused row');

SELECT is(pg_temp.counted('INSERT INTO doc VALUES (3, NULL, ''new'')'), 1::bigint, 'R47: a row without a number');
SELECT is(pg_temp.counted('UPDATE doc SET sn = NULL, body = ''null'' WHERE id = 3'), 1::bigint, 'R47: may stay without');
SELECT is(pg_temp.counted('UPDATE doc SET sn = 1, body = ''one'' WHERE id = 3'), 1::bigint, 'R47: and get one');

-- the ways to write
SELECT is(pg_temp.counted('INSERT INTO doc VALUES (1, 5, ''late'') ON CONFLICT (id) DO UPDATE SET sn = excluded.sn, body = excluded.body'), 0::bigint, 'R47: ON CONFLICT DO UPDATE counts no stale row');
SELECT is(pg_temp.counted('INSERT INTO doc VALUES (1, 7, ''seven'') ON CONFLICT (id) DO UPDATE SET sn = excluded.sn, body = excluded.body'), 1::bigint, 'R47: but a newer one');
SELECT is(pg_temp.counted('INSERT INTO doc VALUES (4, 1, ''first'') ON CONFLICT (id) DO UPDATE SET sn = excluded.sn, body = excluded.body'), 1::bigint, 'R47: and a first one');
SELECT is(pg_temp.counted('INSERT INTO doc VALUES (1, 6, ''late''), (2, 7, ''next''), (5, 1, ''first'') ON CONFLICT (id) DO UPDATE SET sn = excluded.sn, body = excluded.body'), 2::bigint, 'R47: of several rows those that are not stale');
SELECT is(pg_temp.doc(1) || ', ' || pg_temp.doc(2) || ', ' || pg_temp.doc(5), '7 seven, 7 next, 1 first', 'R47: as the rows show');
SELECT is(pg_temp.counted('MERGE INTO doc d USING (VALUES (1, 6, ''late''), (2, 8, ''merged''), (6, 1, ''first'')) s (id, sn, body) ON d.id = s.id
    WHEN MATCHED THEN UPDATE SET sn = s.sn, body = s.body WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.sn, s.body)'), 2::bigint, 'R47: MERGE counts no stale row');
SELECT is(pg_temp.doc(1) || ', ' || pg_temp.doc(2) || ', ' || pg_temp.doc(6), '7 seven, 8 merged, 1 first', 'R47: and changes none');
COPY doc FROM STDIN;
7	1	copied
8	\N	copied
\.
SELECT is(pg_temp.doc(7) || ', ' || pg_temp.doc(8), '1 copied, null copied', 'R47: COPY inserts as before');
SELECT throws_ok('COPY doc FROM PROGRAM ''echo 1,1,late'' (FORMAT csv)', '23505', 'duplicate key value violates unique constraint "doc_pkey"', 'R47: the unique index refuses a stale COPY');
SELECT throws_ok('INSERT INTO doc VALUES (1, 1, ''late'')', '23505', 'duplicate key value violates unique constraint "doc_pkey"', 'R47: and a stale INSERT');

-- what a guard cannot refuse
SELECT is(pg_temp.counted('DELETE FROM doc WHERE id = 1'), 1::bigint, 'guard: a DELETE has no number');
SELECT is(pg_temp.counted('INSERT INTO doc VALUES (1, 1, ''risen'')'), 1::bigint, 'guard: after it any INSERT passes');
SELECT is(pg_temp.counted('UPDATE doc SET id = 9, sn = 0 WHERE id = 1'), 1::bigint, 'guard: a row with another key is another record');

-- columns are followed when they are renamed, so is the trigger
ALTER TABLE doc RENAME sn TO "Number";
ALTER TABLE doc RENAME id TO "Key ""1""";
ALTER TABLE doc RENAME TO "Doc";
ALTER TRIGGER spool_guard ON "Doc" RENAME TO "a Guard";
SELECT is(pg_temp.counted('UPDATE "Doc" SET "Number" = 0, body = ''late'' WHERE "Key ""1""" = 2'), 0::bigint, 'R47: renamed columns are compared');
SELECT throws_ok($$SELECT spool.guard('"Doc"', 'Key "1"', 'Number')$$, '42710', 'table "Doc" is already guarded', 'guard: once, also if the trigger has another name');
SELECT throws_ok('ALTER TABLE "Doc" ALTER "Number" TYPE numeric', '0A000', 'cannot alter type of a column used in a trigger definition', 'guard: types stay');
SELECT throws_ok('ALTER TABLE "Doc" DROP "Number"', '2BP01', NULL, 'guard: so do columns');
SELECT throws_ok('DROP EXTENSION spool', '2BP01', NULL, 'guard: and the extension');

SELECT spool.unguard('"Doc"') \g /dev/null
SELECT is(pg_temp.counted('UPDATE "Doc" SET "Number" = 0 WHERE "Key ""1""" = 2'), 1::bigint, 'unguard: the table takes anything again');
SELECT throws_ok($$SELECT spool.unguard('"Doc"')$$, '42704', 'table "Doc" is not guarded', 'unguard: once');
SELECT throws_ok($$SELECT spool.unguard(1)$$, '42P01', 'relation with OID 1 does not exist', 'unguard: of a table that is not there');
SELECT is(count(*), 0::bigint, 'unguard: nothing is left') FROM pg_trigger WHERE tgrelid = '"Doc"'::regclass;
SELECT spool.guard('"Doc"', 'Key "1"', 'Number') \g /dev/null
SELECT is(pg_temp.counted('UPDATE "Doc" SET "Number" = -1 WHERE "Key ""1""" = 2'), 0::bigint, 'guard: names that need quotes');
CREATE TRIGGER other BEFORE UPDATE ON "Doc" FOR EACH ROW WHEN (NEW.body = 'refuse') EXECUTE FUNCTION spool.refuse_stale();
SELECT spool.unguard('"Doc"') \g /dev/null
SELECT is(count(*), 0::bigint, 'unguard: of several none is left') FROM pg_trigger WHERE tgrelid = '"Doc"'::regclass;

-- ---- operators ---------------------------------------------------------------
-- Those of the index and of the number's type, whatever the search_path is.
CREATE SCHEMA spool_evil;
CREATE FUNCTION spool_evil.never(bigint, bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE FUNCTION spool_evil.never(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE OPERATOR spool_evil.< (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = spool_evil.never);
CREATE OPERATOR spool_evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = spool_evil.never);
CREATE FUNCTION spool_evil.refuse_stale() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE evil (id text PRIMARY KEY, sn bigint);
INSERT INTO evil VALUES ('x', 2);
SET LOCAL search_path = spool_evil, spool_guarded, pg_catalog, public;
SELECT 1::bigint < 2::bigint AS less, 'x'::text = 'x'::text AS equal \gset
SELECT spool.guard('evil', 'id', 'sn') \g /dev/null
UPDATE evil SET sn = 1;
\set counted :ROW_COUNT
SET LOCAL search_path = spool_guarded, public;
SELECT is(:'less' || ' ' || :'equal', 'f f', 'guard: the search_path is hostile');
SELECT is(:counted, 0, 'R47: the guard does not mind');
SELECT is(pg_temp.counted('UPDATE evil SET sn = 1'), 0::bigint, 'R47: nor after it');
-- as dumped
SET LOCAL search_path = '';
SELECT pg_catalog.pg_get_triggerdef(oid) AS definition FROM pg_catalog.pg_trigger WHERE tgrelid = 'spool_guarded.evil'::pg_catalog.regclass \gset
DROP TRIGGER spool_guard ON spool_guarded.evil;
:definition;
SET LOCAL search_path = spool_guarded, public;
SELECT is(pg_temp.counted('UPDATE evil SET sn = 1'), 0::bigint, 'R47: and as it is dumped');
SELECT is(pg_temp.counted('UPDATE evil SET sn = 3'), 1::bigint, 'R47: which lets newer ones pass');

CREATE DOMAIN version AS numeric(5)[];
CREATE TYPE epoch AS (epoch int, no int);
CREATE TYPE step AS ENUM ('draft', 'final');
-- A row in a guarded table with columns of two types; what becomes of an older and of a newer number.
CREATE FUNCTION pg_temp.tried(key_type text, key text, sn_type text, older text, held text, newer text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('CREATE TABLE tried (key %s UNIQUE, sn %s)', key_type, sn_type);
    PERFORM spool.guard('tried', 'key', 'sn');
    EXECUTE format('INSERT INTO tried VALUES (%L, %L)', key, held);
    result := pg_temp.counted(format('UPDATE tried SET sn = %L', older)) || ' ' || pg_temp.counted(format('UPDATE tried SET sn = %L', newer));
    DROP TABLE tried;
    RETURN result;
END $$;
SELECT is(pg_temp.tried(key_type, key, sn_type, older, held, newer), '0 1', format('guard: a key of type %s, a number of type %s', key_type, sn_type)) FROM (VALUES
    ('uuid', '7cf0bd6a-0f4e-4f5a-8a0a-000000000001', 'numeric', '1e30', '2e30', '3e30'),
    ('varchar(9)', 'x', 'timestamptz(3)', '2026-01-01', '2026-01-02', '2026-01-03'),
    ('char(9)', 'x', 'bit(4)', '0110', '0111', '1000'),
    ('version', '{1,2}', 'version', '{1,9}', '{2,0}', '{2,1}'),
    ('epoch', '(1,2)', 'epoch', '(1,9)', '(2,0)', '(2,1)'),
    ('int4range', '[1,2]', 'step', 'draft', 'final', 'final'),
    ('bytea', '\x00', 'pg_lsn', '0/FFFFFFFF', '1/0', '1/1'),
    ('text', NULL, 'smallint', '-1', '0', '1')
) v (key_type, key, sn_type, older, held, newer);
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE spelt (id text, sn int);
CREATE UNIQUE INDEX ON spelt (id COLLATE nocase) INCLUDE (sn);
SELECT spool.guard('spelt', 'id', 'sn') \g /dev/null
INSERT INTO spelt VALUES ('a', 2);
SELECT is(pg_temp.counted('INSERT INTO spelt VALUES (''A'', 1) ON CONFLICT (id) DO UPDATE SET id = excluded.id, sn = excluded.sn'), 0::bigint, 'guard: keys are equal as in the index');

-- ---- other triggers ----------------------------------------------------------
CREATE TABLE stamped (id int PRIMARY KEY, sn int);
INSERT INTO stamped VALUES (1, 5);
SELECT spool.guard('stamped', 'id', 'sn') \g /dev/null
CREATE FUNCTION lower_sn() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.sn := NEW.sn - 10; RETURN NEW; END';
CREATE TRIGGER a BEFORE UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION lower_sn();
SELECT is(pg_temp.counted('UPDATE stamped SET sn = 6'), 0::bigint, 'guard: sees what triggers before it changed');
ALTER TRIGGER a ON stamped RENAME TO z;
SELECT is(pg_temp.counted('UPDATE stamped SET sn = 6'), 1::bigint, 'guard: not what those after it change');
DROP TRIGGER z ON stamped;
SET LOCAL session_replication_role = replica;
SELECT is(pg_temp.counted('UPDATE stamped SET sn = -5'), 1::bigint, 'guard: is no concern of replication');
ALTER TABLE stamped ENABLE ALWAYS TRIGGER spool_guard;
SELECT is(pg_temp.counted('UPDATE stamped SET sn = -6'), 0::bigint, 'guard: unless it is enabled for it');
SET LOCAL session_replication_role = origin;

-- ---- partitioned tables --------------------------------------------------------
CREATE TABLE parted (id int PRIMARY KEY, sn int, body text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (1) TO (10);
SELECT spool.guard('parted', 'id', 'sn') \g /dev/null
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
CREATE TABLE parted_3 (id int PRIMARY KEY, sn int, body text);
INSERT INTO parted_3 VALUES (21, 5, 'five');
ALTER TABLE parted ATTACH PARTITION parted_3 FOR VALUES FROM (20) TO (30);
INSERT INTO parted VALUES (1, 5, 'five'), (11, 5, 'five');
SELECT is(pg_temp.counted('UPDATE parted SET sn = 4'), 0::bigint, 'R47: all partitions of a guarded table refuse');
SELECT is(pg_temp.counted('UPDATE ' || partition || ' SET sn = 4'), 0::bigint, 'R47: also when written directly: ' || partition) FROM unnest(ARRAY['parted_1', 'parted_2', 'parted_3']) partition;
SELECT is(pg_temp.counted('INSERT INTO parted VALUES (1, 4, ''late''), (11, 6, ''next'') ON CONFLICT (id) DO UPDATE SET sn = excluded.sn, body = excluded.body'), 1::bigint, 'R47: ON CONFLICT of a partitioned table');
SELECT is(pg_temp.counted('UPDATE parted SET sn = 6'), 3::bigint, 'R47: newer rows pass in all partitions');
SELECT is(pg_temp.counted('UPDATE parted SET id = 12, sn = 0 WHERE id = 1'), 1::bigint, 'guard: a row with another key moves to its partition');
SELECT throws_ok($$SELECT spool.guard('parted_2', 'id', 'sn')$$, '42710', 'table "parted_2" is already guarded', 'guard: partitions are guarded');
SELECT throws_ok($$SELECT spool.unguard('parted_2')$$, '2BP01', 'cannot drop trigger spool_guard on table parted_2 because trigger spool_guard on table parted requires it', 'unguard: not a partition alone');
SELECT spool.unguard('parted') \g /dev/null
SELECT is(pg_temp.counted('UPDATE parted SET sn = 1'), 3::bigint, 'unguard: with all partitions');

-- tables that inherit are tables of their own
CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (stamped);
INSERT INTO heir VALUES (2, 5);
SELECT is(pg_temp.counted('UPDATE stamped SET sn = 4 WHERE id = 2'), 1::bigint, 'guard: tables that inherit are not guarded');
SELECT spool.guard('heir', 'id', 'sn') \g /dev/null
SELECT is(pg_temp.counted('UPDATE stamped SET sn = 3 WHERE id = 2'), 0::bigint, 'guard: unless they are');

-- ---- refusals ------------------------------------------------------------------
CREATE TABLE plain (id int, sn int, other int, place point);
CREATE VIEW looked AS SELECT * FROM plain;
CREATE FOREIGN DATA WRAPPER spool_guarded;
CREATE SERVER spool_guarded FOREIGN DATA WRAPPER spool_guarded;
CREATE FOREIGN TABLE far (id int, sn int) SERVER spool_guarded;
CREATE SEQUENCE counter;
CREATE MATERIALIZED VIEW kept AS SELECT 1 AS id, 1 AS sn;
CREATE UNIQUE INDEX kept_index ON kept (id);
SELECT throws_ok(format('SELECT spool.guard(%s)', args), state, message, 'guard: ' || args) FROM (VALUES
    ('NULL, ''id'', ''sn''', '22004', 'tbl must not be null'),
    ('''plain'', NULL, ''sn''', '22004', 'key_column must not be null'),
    ('''plain'', ''id'', NULL', '22004', 'sn_column must not be null'),
    ('''nothing'', ''id'', ''sn''', '42P01', 'relation "nothing" does not exist'),
    ('0, ''id'', ''sn''', '42P01', 'relation with OID 0 does not exist'),
    ('''plain'', ''Id'', ''sn''', '42703', 'column "Id" of relation "plain" does not exist'),
    ('''plain'', ''id'', ''number''', '42703', 'column "number" of relation "plain" does not exist'),
    ('''plain'', ''id'', ''id''', '22023', 'key_column and sn_column must be different columns'),
    ('''looked'', ''id'', ''sn''', '42809', 'relation "looked" cannot be guarded'),
    ('''far'', ''id'', ''sn''', '42809', 'relation "far" cannot be guarded'),
    ('''counter'', ''last_value'', ''log_cnt''', '42809', 'relation "counter" cannot be guarded'),
    ('''kept'', ''id'', ''sn''', '42809', 'relation "kept" cannot be guarded'),
    ('''kept_index'', ''id'', ''sn''', '42809', 'relation "kept_index" cannot be guarded')
) v (args, state, message);

-- An error's detail.
CREATE FUNCTION pg_temp.detail(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    EXECUTE statement;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN detail;
END $$;
SELECT is(pg_temp.detail($$SELECT spool.guard('looked', 'id', 'sn')$$), 'This operation is not supported for views.', 'guard: what kind it is not for');
SELECT is(pg_temp.detail($$SELECT spool.guard('plain', 'id', 'sn')$$), 'A guard needs a unique index on exactly the key column that is neither partial nor deferrable: without it, a stale INSERT adds a second row.', 'guard: what it needs');

-- Runs a statement, says whether guard finds a key then, and takes all back.
CREATE FUNCTION pg_temp.guarded(statement text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    PERFORM spool.guard('plain', 'id', 'sn');
    RAISE SQLSTATE 'ZZZZZ' USING MESSAGE = 'guarded';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT is(pg_temp.guarded(statement), CASE WHEN found THEN 'ZZZZZ guarded' ELSE '42P10 there is no unique constraint on the key column of table "plain"' END, 'guard: ' || statement) FROM (VALUES
    ('SELECT', false),
    ('CREATE INDEX ON plain (id)', false),
    ('CREATE UNIQUE INDEX ON plain (sn)', false),
    ('CREATE UNIQUE INDEX ON plain (id, other)', false),
    ('CREATE UNIQUE INDEX ON plain (other, id)', false),
    ('CREATE UNIQUE INDEX ON plain (other) INCLUDE (id)', false),
    ('CREATE UNIQUE INDEX ON plain (id) WHERE other IS NULL', false),
    ('CREATE UNIQUE INDEX ON plain ((id + 0))', false),
    ('ALTER TABLE plain ADD UNIQUE (id) DEFERRABLE', false),
    ('ALTER TABLE plain ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED', false),
    ('ALTER TABLE plain ADD EXCLUDE (id WITH =)', false),
    ('CREATE UNIQUE INDEX ON plain (id) WHERE other IS NULL; CREATE UNIQUE INDEX ON plain (id)', true),
    ('CREATE UNIQUE INDEX ON plain (id)', true),
    ('CREATE UNIQUE INDEX ON plain (id DESC NULLS FIRST) INCLUDE (sn, other)', true),
    ('ALTER TABLE plain ADD UNIQUE (id)', true),
    ('ALTER TABLE plain ADD PRIMARY KEY (id)', true),
    ('CREATE UNIQUE INDEX spool_invalid ON plain (id); UPDATE pg_index SET indisvalid = false WHERE indexrelid = ''spool_invalid''::regclass', false)
) v (statement, found);
ALTER TABLE plain ADD PRIMARY KEY (id), ADD made int GENERATED ALWAYS AS (sn + 1) STORED;
SELECT throws_ok($$SELECT spool.guard('plain', 'id', 'place')$$, '42883', 'could not identify an ordering operator for type point', 'guard: numbers have an order');
SELECT throws_ok($$SELECT spool.guard('plain', 'tableoid', 'sn')$$, '42P10', 'there is no unique constraint on the key column of table "plain"', 'guard: no system column is a key');
SELECT throws_ok($$SELECT spool.guard('plain', 'id', 'tableoid')$$, '0A000', 'BEFORE trigger''s WHEN condition cannot reference NEW system columns', 'guard: nor a number');
SELECT throws_ok($$SELECT spool.guard('plain', 'id', 'made')$$, '42P17', 'BEFORE trigger''s WHEN condition cannot reference NEW generated columns', 'guard: nor is a generated one');
CREATE TRIGGER spool_guard AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION lower_sn();
SELECT throws_ok($$SELECT spool.guard('plain', 'id', 'sn')$$, '42710', 'trigger "spool_guard" for relation "plain" already exists', 'guard: a trigger of that name');
SELECT throws_ok($$SELECT spool.unguard('plain')$$, '42704', 'table "plain" is not guarded', 'unguard: is not taken for a guard');
DROP TRIGGER spool_guard ON plain;
SELECT throws_ok('SELECT spool.unguard(NULL)', '22004', 'tbl must not be null', 'unguard: NULL');
SELECT throws_ok($$SELECT spool.unguard('looked')$$, '42704', 'table "looked" is not guarded', 'unguard: a view');
SELECT throws_ok($$SELECT spool.unguard('nothing')$$, '42P01', 'relation "nothing" does not exist', 'unguard: nothing');

-- the trigger's function
SELECT throws_ok('SELECT spool.refuse_stale()', '39P01', 'function "refuse_stale" was not called by trigger manager', 'guard: its function is a trigger''s');
-- An event that fires the function, as a trigger's definition has it.
CREATE FUNCTION pg_temp.fired(event text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER fired %s EXECUTE FUNCTION spool.refuse_stale()', event);
    INSERT INTO plain VALUES (1, 1);
    UPDATE plain SET sn = 2;
    DELETE FROM plain;
END $$;
SELECT throws_ok(format('SELECT pg_temp.fired(%L)', event), '39P01', 'function "refuse_stale" must be fired BEFORE UPDATE for each row', 'guard: not ' || event) FROM unnest(ARRAY[
    'BEFORE INSERT ON plain FOR EACH ROW', 'BEFORE DELETE ON plain FOR EACH ROW', 'AFTER UPDATE ON plain FOR EACH ROW', 'BEFORE UPDATE ON plain FOR EACH STATEMENT']) event;

-- ---- rights ----------------------------------------------------------------------
CREATE ROLE spool_stranger;
CREATE ROLE spool_trigger;
CREATE ROLE spool_owner;
GRANT USAGE ON SCHEMA spool_guarded TO spool_stranger, spool_trigger, spool_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON plain TO spool_stranger;
GRANT TRIGGER ON plain TO spool_trigger;
GRANT UPDATE ON plain TO spool_trigger;
ALTER TABLE plain OWNER TO spool_owner;
SELECT throws_ok($$SELECT pg_temp.as_role('spool_stranger', $s$SELECT spool.guard('plain', 'id', 'sn')$s$)$$, '42501', 'permission denied for table plain', 'guard: needs TRIGGER on the table');
SELECT throws_ok($$SELECT pg_temp.as_role('spool_stranger', $s$SELECT spool.guard('looked', 'id', 'sn')$s$)$$, '42501', 'permission denied for view looked', 'guard: also to be told what it is');
SELECT lives_ok($$SELECT pg_temp.as_role('spool_trigger', $s$SELECT spool.guard('plain', 'id', 'sn')$s$)$$, 'guard: TRIGGER is enough');
SELECT throws_ok($$SELECT pg_temp.as_role('spool_trigger', $s$SELECT spool.unguard('plain')$s$)$$, '42501', 'must be owner of table plain', 'unguard: needs the owner');
INSERT INTO plain VALUES (1, 5);
SELECT pg_temp.as_role('spool_stranger', 'UPDATE plain SET sn = 4') \g /dev/null
SELECT is((SELECT sn FROM plain), 5, 'R47: the guard is there for everybody');
SELECT lives_ok($$SELECT pg_temp.as_role('spool_owner', $s$SELECT spool.unguard('plain')$s$)$$, 'unguard: by the owner');
SELECT throws_ok($$SELECT spool.guard('pg_catalog.pg_description', 'objoid', 'objsubid')$$, '42P10', NULL, 'guard: a catalog');
SET LOCAL transaction_read_only = on;
SELECT throws_ok($$SELECT spool.guard('plain', 'id', 'sn')$$, '25006', 'cannot execute spool.guard() in a read-only transaction', 'guard: writes');
SELECT throws_ok($$SELECT spool.unguard('plain')$$, '25006', 'cannot execute spool.unguard() in a read-only transaction', 'unguard: writes');

SELECT * FROM finish();
ROLLBACK;
