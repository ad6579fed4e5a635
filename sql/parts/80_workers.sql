-- Workers: control, and a look at them.

CREATE FUNCTION spool.start() RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_start';
COMMENT ON FUNCTION spool.start IS 'starts the workers of this database: again after stop, or at all where the library is not preloaded';

CREATE FUNCTION spool.stop() RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_stop';
COMMENT ON FUNCTION spool.stop IS 'ends the workers of this database after their running jobs, until start or a restart of the server';

CREATE FUNCTION spool.worker_rows(
    OUT pid        pg_catalog.int4,
    OUT queue_id   pg_catalog.int4,
    OUT state      pg_catalog.text,
    OUT stream_id  pg_catalog.int8,
    OUT seq        pg_catalog.int8,
    OUT started_at pg_catalog.timestamptz
) RETURNS SETOF pg_catalog.record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_worker_rows';
COMMENT ON FUNCTION spool.worker_rows IS 'the rows of spool.workers, with ids: what the current user may see; not to be called directly';

CREATE VIEW spool.workers WITH (security_barrier) AS
SELECT w.pid, q.name AS queue, w.state, s.name AS stream, w.seq, w.started_at
  FROM spool.worker_rows() w
  LEFT JOIN spool.queue q ON q.id = w.queue_id
  LEFT JOIN spool.stream s ON s.id = w.stream_id;
COMMENT ON VIEW spool.workers IS 'manager and workers of this database: idle ones, and those that run jobs of queues that the current user may read';
