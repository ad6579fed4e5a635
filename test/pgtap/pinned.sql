-- A handler in PL/Perl leaves a cursor open and pinned.  The commit of the pass
-- would run it to its end as the caller: what it calls must run as the owner.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off

SELECT count(*) = 0 AS missing FROM pg_available_extensions WHERE name = 'plperl' \gset
\if :missing
SELECT plan(1);
SELECT skip('PL/Perl is not installed', 1);
SELECT * FROM finish();
\else

SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS plperl;
CREATE ROLE pinned_owner;
CREATE SCHEMA pinned AUTHORIZATION pinned_owner;
GRANT pinned_owner TO CURRENT_USER;
SET ROLE pinned_owner;
CREATE TABLE pinned.ran_as (name text);
CREATE FUNCTION pinned.note() RETURNS int LANGUAGE sql
    AS 'INSERT INTO pinned.ran_as VALUES (current_user) RETURNING 1';
CREATE FUNCTION pinned.leak() RETURNS void LANGUAGE plperl
    AS $$ spi_fetchrow(spi_query('SELECT pinned.note() FROM generate_series(1, 3)')); $$;
RESET ROLE;

SELECT plan(3);
SELECT lives_ok($$SELECT spool.create_queue('pinned', owner => 'pinned_owner')$$, 'F52: a queue of another owner');
\o /dev/null
SELECT spool.set_handler('pinned', 'SELECT pinned.leak()');
SELECT spool.enqueue('pinned', 'x');
CALL spool.process('pinned');
\o
SELECT is(:'SQLSTATE'::text, '00000', 'F52: a handler that leaves a pinned cursor');
SELECT is((SELECT string_agg(DISTINCT name, ' ') FROM pinned.ran_as), 'pinned_owner'::text,
          'F52: its cursor runs as the owner to its end');
SELECT * FROM finish();

\o /dev/null
SELECT spool.drop_queue('pinned', force => true);
\o
DROP SCHEMA pinned CASCADE;
DROP ROLE pinned_owner;
\endif
