-- Tables that refuse stale writes by themselves.  Rights on the table decide.

CREATE FUNCTION spool.refuse_stale() RETURNS pg_catalog.trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_refuse_stale';
COMMENT ON FUNCTION spool.refuse_stale IS 'the function of the triggers that guard creates: refuses the update of a row';

CREATE FUNCTION spool.guard(
    tbl        pg_catalog.regclass,
    key_column pg_catalog.name,
    sn_column  pg_catalog.name
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_guard';
COMMENT ON FUNCTION spool.guard IS 'has a table refuse updates that would lower the number of a row, by a trigger';

CREATE FUNCTION spool.unguard(tbl pg_catalog.regclass) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_unguard';
COMMENT ON FUNCTION spool.unguard IS 'undoes guard';
