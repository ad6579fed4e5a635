-- Monitoring.  Nothing here scans packets: a view costs some looks into
-- indexes for each stream (stat.c).

CREATE FUNCTION spool.stream_stats(
    queue pg_catalog.text,
    OUT stream     pg_catalog.text,
    OUT cursor     pg_catalog.int8,
    OUT waiting    pg_catalog.int8,
    OUT state      pg_catalog.text,
    OUT reason     pg_catalog.text,
    OUT since      pg_catalog.timestamptz,
    OUT pid        pg_catalog.int4,
    OUT claim_id   pg_catalog.int8,
    OUT running    pg_catalog.int8,
    OUT oldest     pg_catalog.timestamptz,
    OUT consumed   pg_catalog.int8,
    OUT done       pg_catalog.int8,
    OUT failed     pg_catalog.int8,
    OUT dead       pg_catalog.int8,
    OUT superseded pg_catalog.int8
) RETURNS SETOF pg_catalog.record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_stream_stats';
COMMENT ON FUNCTION spool.stream_stats IS 'the rows of spool.stat_streams for one queue, and counts; not to be called directly';

CREATE FUNCTION spool.queue_rates(queue pg_catalog.text)
RETURNS pg_catalog.float8[]
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_queue_rates';
COMMENT ON FUNCTION spool.queue_rates IS 'jobs of a queue done a second over the last 1, 5 and 15 minutes; NULL without shared memory';

CREATE VIEW spool.stat_streams WITH (security_barrier) AS
SELECT q.name AS queue, s.stream, s.cursor, s.waiting, s.state,
       COALESCE(s.reason, CASE WHEN s.state = 'ready' AND q.workers > 0
                                AND NOT EXISTS (SELECT FROM spool.worker_rows())
                               THEN 'no workers run in this database' END) AS reason,
       s.since, s.pid, s.claim_id
  FROM spool.queue q
 CROSS JOIN LATERAL spool.stream_stats(q.name) s
 WHERE spool.has_queue_privilege(q.name, 'read');
COMMENT ON VIEW spool.stat_streams IS 'streams of queues that the current user may read: what each does, and why not more';
COMMENT ON COLUMN spool.stat_streams.cursor IS 'the number that is handed out next, in an order of numbers';
COMMENT ON COLUMN spool.stat_streams.waiting IS 'packets that nobody has; exact up to 10,000, estimated beyond';
COMMENT ON COLUMN spool.stat_streams.pid IS 'process that runs its jobs, or whose open transaction consumes it or holds it back';

CREATE VIEW spool.stat_queues WITH (security_barrier) AS
SELECT q.name AS queue, s.waiting, s.oldest, s.ready_streams,
       s.blocked_streams, s.running,
       s.waiting + s.running + s.consumed + COALESCE(t.consumed, 0) AS enqueued,
       s.done + COALESCE(t.done, 0) AS done,
       s.failed + COALESCE(t.failed, 0) AS failed,
       s.dead + COALESCE(t.dead, 0) AS dead,
       COALESCE(t.late, 0) AS late,
       COALESCE(t.duplicates, 0) AS duplicates,
       s.superseded, r.rates,
       CASE WHEN s.waiting = 0 THEN pg_catalog.make_interval()
            WHEN r.rates[1] >= 0.001 AND s.ready_streams + s.running > 0 THEN pg_catalog.make_interval(secs => s.waiting / r.rates[1])
       END AS drained_in
  FROM spool.queue q
 CROSS JOIN LATERAL (
       SELECT COALESCE(pg_catalog.sum(st.waiting), 0)::pg_catalog.int8 AS waiting,
              pg_catalog.min(st.oldest) AS oldest,
              pg_catalog.count(*) FILTER (WHERE st.state = 'ready') AS ready_streams,
              pg_catalog.count(*) FILTER (WHERE st.state IN ('gap', 'conflict', 'blocked', 'retrying')) AS blocked_streams,
              COALESCE(pg_catalog.sum(st.running), 0)::pg_catalog.int8 AS running,
              COALESCE(pg_catalog.sum(st.consumed), 0)::pg_catalog.int8 AS consumed,
              COALESCE(pg_catalog.sum(st.done), 0)::pg_catalog.int8 AS done,
              COALESCE(pg_catalog.sum(st.failed), 0)::pg_catalog.int8 AS failed,
              COALESCE(pg_catalog.sum(st.dead), 0)::pg_catalog.int8 AS dead,
              COALESCE(pg_catalog.sum(st.superseded), 0)::pg_catalog.int8 AS superseded
         FROM spool.stream_stats(q.name) st) s
 CROSS JOIN LATERAL (SELECT spool.queue_rates(q.name) AS rates) r
  LEFT JOIN (
       SELECT ts.queue,
              pg_catalog.sum(tally.consumed)::pg_catalog.int8 AS consumed,
              pg_catalog.sum(tally.done)::pg_catalog.int8 AS done,
              pg_catalog.sum(tally.failed)::pg_catalog.int8 AS failed,
              pg_catalog.sum(tally.dead)::pg_catalog.int8 AS dead,
              pg_catalog.sum(tally.late)::pg_catalog.int8 AS late,
              pg_catalog.sum(tally.duplicates)::pg_catalog.int8 AS duplicates
         FROM spool.tally tally
         JOIN spool.stream ts ON ts.id = tally.stream
        GROUP BY ts.queue) t ON t.queue = q.id
 WHERE spool.has_queue_privilege(q.name, 'read');
COMMENT ON VIEW spool.stat_queues IS 'queues that the current user may read: what waits, what runs, what came of the rest';
COMMENT ON COLUMN spool.stat_queues.oldest IS 'arrival of the oldest packet that comes next in its stream';
COMMENT ON COLUMN spool.stat_queues.failed IS 'failed attempts';
COMMENT ON COLUMN spool.stat_queues.rates IS 'jobs done a second over the last 1, 5 and 15 minutes';
COMMENT ON COLUMN spool.stat_queues.drained_in IS 'when nothing would wait at the rate of the last minute if nothing more came; NULL if nothing is done';

CREATE FUNCTION spool.segment_rows(
    OUT no      pg_catalog.int4,
    OUT bytes   pg_catalog.int8,
    OUT live    pg_catalog.int8,
    OUT oldest  pg_catalog.timestamptz,
    OUT held_by pg_catalog.int4[]
) RETURNS SETOF pg_catalog.record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_segment_rows';
COMMENT ON FUNCTION spool.segment_rows IS 'the rows of spool.segments; not to be called directly';

CREATE VIEW spool.segments AS
SELECT r.no, r.bytes, r.live, r.oldest,
       CASE WHEN s.closed_at IS NOT NULL THEN r.held_by END AS blocked_by,
       CASE WHEN r.no = 0 THEN 'old'
            WHEN s.opened_at IS NULL THEN 'empty'
            WHEN s.closed_at IS NULL THEN 'current'
            WHEN s.moved_at IS NULL THEN 'closed'
            ELSE 'moved'
       END AS state,
       s.opened_at
  FROM spool.segment_rows() r
  LEFT JOIN spool.segment s ON s.no = r.no
 ORDER BY r.no;
COMMENT ON VIEW spool.segments IS 'segments, which packets lie in and which are emptied as a whole: what they take, and who keeps them from being emptied';
COMMENT ON COLUMN spool.segments.bytes IS 'on disk, with indexes, and states of streams and counters of senders';
COMMENT ON COLUMN spool.segments.live IS 'packets that wait in it; counted up to 10,000 of a stream, estimated beyond';
COMMENT ON COLUMN spool.segments.oldest IS 'arrival of the oldest packet that comes next of its stream there';
COMMENT ON COLUMN spool.segments.blocked_by IS 'processes that keep it from being emptied; 0 = a prepared transaction';
COMMENT ON COLUMN spool.segments.state IS 'old: what outlived its segment; current: appended to; closed: what is needed is moved to the old one; moved: to be emptied; empty';
COMMENT ON COLUMN spool.segments.opened_at IS 'since when it is, or was, appended to';
