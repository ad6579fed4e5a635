-- Looking, and what operators do to streams and packets.

CREATE TABLE spool.action (
    queue     pg_catalog.int4 NOT NULL,
    stream    pg_catalog.text,
    action    pg_catalog.text NOT NULL,
    first_seq pg_catalog.int8,
    last_seq  pg_catalog.int8,
    packet_id pg_catalog.int8,
    reason    pg_catalog.text,
    role      pg_catalog.text NOT NULL,
    at        pg_catalog.timestamptz NOT NULL
);
COMMENT ON TABLE spool.action IS 'what operators did to queues, streams and packets';

CREATE VIEW spool.actions WITH (security_barrier) AS
SELECT q.name AS queue, a.stream, a.action, a.first_seq, a.last_seq,
       a.packet_id, a.reason, a.role, a.at
  FROM spool.action a
  JOIN spool.queue q ON q.id = a.queue
 WHERE spool.has_queue_privilege(q.name, 'read');
COMMENT ON VIEW spool.actions IS 'what operators did to queues that the current user may read';

CREATE FUNCTION spool.ls_rows(
    queue    pg_catalog.text,
    stream   pg_catalog.text,
    state    pg_catalog.text,
    max_rows pg_catalog.int4,
    OUT packet_id pg_catalog.int8,
    OUT stream_name pg_catalog.text,
    OUT seq       pg_catalog.int8,
    OUT ctime     pg_catalog.timestamptz,
    OUT kind      pg_catalog.text,
    OUT packet_state pg_catalog.text,
    OUT attempts  pg_catalog.int4,
    OUT bytes     pg_catalog.int8
) RETURNS SETOF pg_catalog.record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_ls_rows';
COMMENT ON FUNCTION spool.ls_rows IS 'the rows of spool.ls, not sorted; not to be called directly';

CREATE FUNCTION spool.ls(
    queue    pg_catalog.text,
    stream   pg_catalog.text DEFAULT NULL,
    state    pg_catalog.text DEFAULT NULL,
    max_rows pg_catalog.int4 DEFAULT 1000
) RETURNS TABLE (
    packet_id pg_catalog.int8,
    stream    pg_catalog.text,
    seq       pg_catalog.int8,
    ctime     pg_catalog.timestamptz,
    kind      pg_catalog.text,
    state     pg_catalog.text,
    attempts  pg_catalog.int4,
    bytes     pg_catalog.int8
)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    SELECT l.packet_id, l.stream_name, l.seq, l.ctime, l.kind, l.packet_state,
           l.attempts, l.bytes
      FROM spool.ls_rows(ls.queue, ls.stream, ls.state, ls.max_rows) l
     ORDER BY l.seq, l.ctime, l.packet_id
     LIMIT CASE WHEN ls.max_rows > 0 THEN ls.max_rows END;
END;
COMMENT ON FUNCTION spool.ls IS 'packets that wait or are kept, and what each waits for';

CREATE FUNCTION spool.get_packet(queue pg_catalog.text, packet_id pg_catalog.int8)
RETURNS spool.packet
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_get_packet';
COMMENT ON FUNCTION spool.get_packet IS 'a packet; one that was taken too, until the taking transaction ends';

CREATE FUNCTION spool.packet_id(queue pg_catalog.text, seq pg_catalog.int8, stream pg_catalog.text DEFAULT '')
RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_packet_id';
COMMENT ON FUNCTION spool.packet_id IS 'the id of the packet with a number, the first that arrived; NULL if there is none';

CREATE FUNCTION spool.next_seq(queue pg_catalog.text, stream pg_catalog.text DEFAULT '')
RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_next_seq';
COMMENT ON FUNCTION spool.next_seq IS 'the cursor of a stream: the number that is handed out next';

CREATE FUNCTION spool.set_next_seq(queue pg_catalog.text, seq pg_catalog.int8, stream pg_catalog.text DEFAULT '')
RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_set_next_seq';
COMMENT ON FUNCTION spool.set_next_seq IS 'sets the cursor of a stream; back over retained packets is a replay';

CREATE FUNCTION spool.gaps(
    queue pg_catalog.text,
    OUT stream        pg_catalog.text,
    OUT first_missing pg_catalog.int8,
    OUT last_missing  pg_catalog.int8,
    OUT waiting       pg_catalog.int8,
    OUT since         pg_catalog.timestamptz
) RETURNS SETOF pg_catalog.record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_gaps';
COMMENT ON FUNCTION spool.gaps IS 'missing numbers, how many packets wait behind them, and since when the first of these does';

CREATE FUNCTION spool.skip_gap(queue pg_catalog.text, stream pg_catalog.text DEFAULT '', reason pg_catalog.text DEFAULT NULL)
RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_skip_gap';
COMMENT ON FUNCTION spool.skip_gap IS 'passes over the missing numbers at the head of a stream, returns how many';

CREATE FUNCTION spool.discard(queue pg_catalog.text, packet_id pg_catalog.int8, reason pg_catalog.text DEFAULT NULL)
RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_discard';
COMMENT ON FUNCTION spool.discard IS 'moves a packet to the dead letters; its number counts as consumed';

CREATE FUNCTION spool.retry_now(queue pg_catalog.text, stream pg_catalog.text DEFAULT NULL)
RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_retry_now';
COMMENT ON FUNCTION spool.retry_now IS 'forgets failed attempts, so that a blocked head is tried again';

CREATE FUNCTION spool.redrive(queue pg_catalog.text, packet_id pg_catalog.int8 DEFAULT NULL)
RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_redrive';
COMMENT ON FUNCTION spool.redrive IS 'offers one or all dead letters of a queue again, ahead of the cursor; returns how many';
