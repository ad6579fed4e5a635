-- Claims: jobs lent to workers outside for a time.

CREATE FUNCTION spool.claim(
    queue    pg_catalog.text,
    max_jobs pg_catalog.int4     DEFAULT 1,
    lease    pg_catalog.interval DEFAULT '5 min',
    order_by pg_catalog.text     DEFAULT NULL,
    stream   pg_catalog.text     DEFAULT NULL
) RETURNS SETOF spool.job
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'spool_claim';
COMMENT ON FUNCTION spool.claim IS 'hands out packets for a time, to be acknowledged; a claim for each stream';

CREATE FUNCTION spool.ack(claim_ids pg_catalog.int8[])
RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_ack_many';
COMMENT ON FUNCTION spool.ack(pg_catalog.int8[]) IS 'consumes all packets of claims as done, returns how many';

CREATE FUNCTION spool.ack(claim_id pg_catalog.int8, upto_seq pg_catalog.int8 DEFAULT NULL)
RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_ack';
COMMENT ON FUNCTION spool.ack(pg_catalog.int8, pg_catalog.int8) IS 'consumes the packets of a claim up to a number as done, returns how many';

CREATE FUNCTION spool.nack(
    claim_id  pg_catalog.int8,
    packet_id pg_catalog.int8,
    error     pg_catalog.text,
    delay     pg_catalog.interval DEFAULT NULL
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_nack';
COMMENT ON FUNCTION spool.nack IS 'ends a claim at a packet that failed: those before it are done, those after it are given back';

CREATE FUNCTION spool.extend_claim(claim_id pg_catalog.int8, lease pg_catalog.interval)
RETURNS pg_catalog.timestamptz
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_extend_claim';
COMMENT ON FUNCTION spool.extend_claim IS 'gives a claim a new lease from now on, returns its end';

CREATE FUNCTION spool.release(claim_id pg_catalog.int8)
RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_release';
COMMENT ON FUNCTION spool.release IS 'gives back all packets of a claim; no attempt is counted';

-- The union is wrapped: a view that is one is taken apart, and is no barrier
-- then.
CREATE VIEW spool.claims WITH (security_barrier) AS
SELECT l.claim_id, l.queue, l.stream, l.jobs, l.role, l.application_name,
       l.since, l.lease_until
  FROM (SELECT c.runner AS claim_id, q.name AS queue, s.name AS stream, c.jobs,
               c.role, c.application AS application_name, c.since, c.lease_until
          FROM spool.queue q
          JOIN spool.stream s ON s.queue = q.id
         CROSS JOIN LATERAL (
               SELECT st.runner, pg_catalog.cardinality(st.claimed)::pg_catalog.int8 AS jobs,
                      st.role, st.application, st.run_since AS since, st.deadline AS lease_until
                 FROM spool.state st
                WHERE st.consumer = 0 AND st.stream = s.id
                ORDER BY st.version DESC
                LIMIT 1
               ) c
         WHERE c.lease_until IS NOT NULL
           AND spool.has_queue_privilege(q.name, 'read')
        UNION ALL
        SELECT k.runner, q.name, s.name, pg_catalog.count(*), k.role,
               k.application, pg_catalog.min(k.since), k.due
          FROM spool.kept k
          JOIN spool.stream s ON s.id = k.stream
          JOIN spool.queue q ON q.id = s.queue
         WHERE k.state = 'running' AND k.due IS NOT NULL
           AND spool.has_queue_privilege(q.name, 'read')
         GROUP BY k.runner, q.name, s.name, k.role, k.application, k.due) l;
COMMENT ON VIEW spool.claims IS 'open claims of queues that the current user may read';

CREATE PROCEDURE spool.wait(queue pg_catalog.text, timeout pg_catalog.interval)
LANGUAGE c AS 'MODULE_PATHNAME', 'spool_wait_sql';
COMMENT ON PROCEDURE spool.wait IS 'returns when a job of the queue may be there, or the time is over; NULL waits without end';
