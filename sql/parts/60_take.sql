-- Handing out and processing.

CREATE TYPE spool.job AS (
    packet_id pg_catalog.int8,
    queue     pg_catalog.text,
    stream    pg_catalog.text,
    seq       pg_catalog.int8,
    ctime     pg_catalog.timestamptz,
    kind      pg_catalog.text,
    params    pg_catalog.text[],
    env       pg_catalog.jsonb,
    payload   pg_catalog.bytea,
    attempt   pg_catalog.int4,
    claim_id  pg_catalog.int8
);
COMMENT ON TYPE spool.job IS 'a packet that is handed out; params and env are NULL where they are no valid text';

CREATE FUNCTION spool.runner_alive(runner pg_catalog.int8) RETURNS pg_catalog.bool
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_runner_alive_sql';
COMMENT ON FUNCTION spool.runner_alive IS 'whether a runner holds its lock; for spool''s own statements';

CREATE FUNCTION spool.nanoseconds(packet spool.packet) RETURNS pg_catalog.int8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'spool_nanoseconds';
COMMENT ON FUNCTION spool.nanoseconds IS 'creation time in nanoseconds since 1970; for spool''s own statements';

CREATE FUNCTION spool.take(
    queue    pg_catalog.text,
    max_jobs pg_catalog.int4 DEFAULT 1,
    order_by pg_catalog.text DEFAULT NULL,
    stream   pg_catalog.text DEFAULT NULL
) RETURNS SETOF spool.job
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'spool_take';
COMMENT ON FUNCTION spool.take IS 'hands out packets and consumes them in the caller''s transaction';

CREATE FUNCTION spool.peek(
    queue    pg_catalog.text,
    max_jobs pg_catalog.int4 DEFAULT 1,
    order_by pg_catalog.text DEFAULT NULL,
    stream   pg_catalog.text DEFAULT NULL
) RETURNS SETOF spool.job
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'spool_peek';
COMMENT ON FUNCTION spool.peek IS 'what take would hand out; changes nothing';

CREATE PROCEDURE spool.process(
    queue    pg_catalog.text,
    max_jobs pg_catalog.int4 DEFAULT NULL,
    order_by pg_catalog.text DEFAULT NULL,
    INOUT processed pg_catalog.int8 DEFAULT 0
)
LANGUAGE c AS 'MODULE_PATHNAME', 'spool_process';
COMMENT ON PROCEDURE spool.process IS 'runs what waits by the queue''s handler or program, committing as it goes';

-- what maintain finds old history by
CREATE INDEX attempt_finished ON spool.attempt (finished_at);
CREATE INDEX action_at ON spool.action (at);

CREATE PROCEDURE spool.maintain()
LANGUAGE c AS 'MODULE_PATHNAME', 'spool_maintain';
COMMENT ON PROCEDURE spool.maintain IS 'empties segments of what is consumed, removes what is retained no longer or old, and moves packets that are due';
