-- The store: streams, their state, and packets.  Written and read in C
-- (store.c, stream.c), which states the protocol.

CREATE SEQUENCE spool.stream_id_seq;
CREATE SEQUENCE spool.packet_id_seq;
CREATE SEQUENCE spool.runner_id_seq;

CREATE TABLE spool.stream (
    id    pg_catalog.int8 PRIMARY KEY,
    queue pg_catalog.int4 NOT NULL,
    name  pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    UNIQUE (queue, name)
);
COMMENT ON TABLE spool.stream IS 'streams; the row is the lock of the stream''s consumer and never changes';

CREATE TABLE spool.numbering (
    stream   pg_catalog.int8 PRIMARY KEY,
    by_queue pg_catalog.bool NOT NULL
);
COMMENT ON TABLE spool.numbering IS 'who numbers a stream''s packets; without preload the row is the lock of its producers; it never changes';

-- Packets, states and counters of senders lie in segments: young ones, which are
-- emptied as a whole, and the old one, 0, with what outlived them (rotate.c).
CREATE TABLE spool.segment (
    no        pg_catalog.int2 PRIMARY KEY,
    opened_at pg_catalog.timestamptz,
    closed_at pg_catalog.timestamptz,
    moved_at  pg_catalog.timestamptz,
    emptied_at pg_catalog.timestamptz
);
INSERT INTO spool.segment SELECT no FROM pg_catalog.generate_series(1, 3) AS no;
UPDATE spool.segment SET opened_at = pg_catalog.clock_timestamp() WHERE no OPERATOR(pg_catalog.=) 1;
COMMENT ON TABLE spool.segment IS 'young segments; one that is neither open nor closed is empty';
COMMENT ON COLUMN spool.segment.opened_at IS 'since when packets and states are appended to it, until closed_at';
COMMENT ON COLUMN spool.segment.moved_at IS 'when all that was still needed had been moved to the old segment';

CREATE TABLE spool.state (
    consumer       pg_catalog.int4 NOT NULL,
    stream         pg_catalog.int8 NOT NULL,
    version        pg_catalog.int8 NOT NULL,
    next           pg_catalog.int8 NOT NULL,
    high           pg_catalog.int8 NOT NULL,
    low            pg_catalog.int8 NOT NULL,
    looked         pg_catalog.timestamptz NOT NULL,
    ahead          pg_catalog.int4 NOT NULL,
    attempts       pg_catalog.int4 NOT NULL,
    attempt_packet pg_catalog.int8 NOT NULL,
    runner         pg_catalog.int8 NOT NULL,
    run_packet     pg_catalog.int8 NOT NULL,
    run_last       pg_catalog.int8 NOT NULL,
    run_jobs       pg_catalog.int4 NOT NULL,
    solo           pg_catalog.int4 NOT NULL,
    segment        pg_catalog.int2 NOT NULL,
    consumed       pg_catalog.int8 NOT NULL,
    done           pg_catalog.int8 NOT NULL,
    failed         pg_catalog.int8 NOT NULL,
    dead           pg_catalog.int8 NOT NULL,
    superseded     pg_catalog.int8 NOT NULL,
    since          pg_catalog.timestamptz NOT NULL,
    run_since      pg_catalog.timestamptz,
    retry_at       pg_catalog.timestamptz,
    deadline       pg_catalog.timestamptz,
    claimed        pg_catalog.int8[],
    role           pg_catalog.text,
    application    pg_catalog.text,
    failure        pg_catalog.text,
    paused         pg_catalog.text,
    PRIMARY KEY (stream, consumer, version, segment)
) PARTITION BY LIST (segment);
COMMENT ON TABLE spool.state IS 'appended states of streams; the one with the highest version holds';
COMMENT ON COLUMN spool.state.next IS 'the cursor: nothing below it is handed out';
COMMENT ON COLUMN spool.state.high IS 'the highest number consumed so far';
COMMENT ON COLUMN spool.state.low IS 'position below which no packet waits, in queues that remove packets one by one; in order of the latest with quiet: the number handed out last';
COMMENT ON COLUMN spool.state.looked IS 'when packets were last looked for from the start rather than from low';
COMMENT ON COLUMN spool.state.ahead IS 'packets in kept that are handed out ahead of the cursor';
COMMENT ON COLUMN spool.state.attempts IS 'failed attempts of attempt_packet';
COMMENT ON COLUMN spool.state.runner IS 'who has jobs of the stream, 0 = nobody; a runner is alive while it holds the lock of that number, a claim until its deadline';
COMMENT ON COLUMN spool.state.run_packet IS 'the first packet that runs';
COMMENT ON COLUMN spool.state.run_last IS 'position of the last packet that runs';
COMMENT ON COLUMN spool.state.run_jobs IS 'how many packets run at the most';
COMMENT ON COLUMN spool.state.solo IS 'jobs still to be run one by one, after a runner died with several; -1 = those that run are not the only ones of the runner';
COMMENT ON COLUMN spool.state.consumed IS 'packets consumed so far, in whatever way';
COMMENT ON COLUMN spool.state.done IS 'packets consumed with success so far, NOPs among them';
COMMENT ON COLUMN spool.state.failed IS 'failed attempts so far';
COMMENT ON COLUMN spool.state.dead IS 'packets that became dead letters or were left so far';
COMMENT ON COLUMN spool.state.superseded IS 'packets that a newer one made superfluous so far, in order of the latest';
COMMENT ON COLUMN spool.state.run_since IS 'since when the owner has its jobs';
COMMENT ON COLUMN spool.state.retry_at IS 'when the head that failed may be tried again; NULL = at once';
COMMENT ON COLUMN spool.state.deadline IS 'end of the lease if the owner is a claim';
COMMENT ON COLUMN spool.state.claimed IS 'ids of the packets of a claim that are not acknowledged';
COMMENT ON COLUMN spool.state.role IS 'who claimed';
COMMENT ON COLUMN spool.state.since IS 'when this row was written';
COMMENT ON COLUMN spool.state.paused IS 'reason of a pause; NULL = not paused';

CREATE TABLE spool.store (
    stream    pg_catalog.int8 NOT NULL,
    position  pg_catalog.int8 NOT NULL,
    seq       pg_catalog.int8 NOT NULL,
    packet_id pg_catalog.int8 NOT NULL,
    arrived   pg_catalog.timestamptz,
    segment   pg_catalog.int2 NOT NULL,
    packet    spool.packet NOT NULL
) PARTITION BY LIST (segment);
COMMENT ON TABLE spool.store IS 'packets that wait; below their stream''s cursor: packets that are consumed and not yet removed';
COMMENT ON COLUMN spool.store.position IS 'the number, or the creation time in nanoseconds since 1970 where a queue is ordered by time';
COMMENT ON COLUMN spool.store.arrived IS 'when the packet was stored; NULL = when it was created';

CREATE INDEX store_order ON spool.store (stream, position, seq);

-- A packet is found by its id: in the young segments ids lie in order.  BRIN
-- indexes are summarized by upkeep and vacuum; autosummarize asks for so many
-- ranges of a busy queue that the server drops the requests and logs each.
DO $$
BEGIN
    FOR n IN 0 .. 3 LOOP
        EXECUTE pg_catalog.format('CREATE TABLE spool.segment_%s PARTITION OF spool.store FOR VALUES IN (%s)', n, n);
        EXECUTE pg_catalog.format('COMMENT ON TABLE spool.segment_%s IS ''packets of segment %s''', n, n);
        EXECUTE pg_catalog.format(
            CASE WHEN n OPERATOR(pg_catalog.=) 0
                 THEN 'CREATE INDEX ON spool.segment_%s (packet_id)'
                 ELSE 'CREATE INDEX ON spool.segment_%s USING brin (packet_id) WITH (pages_per_range = 32)'
            END, n);
        EXECUTE pg_catalog.format('CREATE TABLE spool.state_%s PARTITION OF spool.state FOR VALUES IN (%s) WITH (autovacuum_vacuum_insert_scale_factor = 0.5)', n, n);
        EXECUTE pg_catalog.format('COMMENT ON TABLE spool.state_%s IS ''states of segment %s''', n, n);
        EXECUTE pg_catalog.format('CREATE INDEX ON spool.state_%s (runner) WHERE deadline IS NOT NULL', n);
    END LOOP;
END
$$;

CREATE TABLE spool.kept (
    packet_id pg_catalog.int8 PRIMARY KEY,
    stream    pg_catalog.int8 NOT NULL,
    seq       pg_catalog.int8 NOT NULL,
    state     pg_catalog.text NOT NULL,
    reason    pg_catalog.text,
    sqlstate  pg_catalog.text,
    message   pg_catalog.text,
    attempts  pg_catalog.int4 NOT NULL,
    runner    pg_catalog.int8 NOT NULL,
    since     pg_catalog.timestamptz NOT NULL,
    due       pg_catalog.timestamptz,
    role      pg_catalog.text,
    application pg_catalog.text,
    arrived   pg_catalog.timestamptz,
    packet    spool.packet NOT NULL
);
CREATE INDEX kept_stream ON spool.kept (stream, seq);
CREATE INDEX kept_ahead ON spool.kept (stream, seq, packet_id) WHERE state IN ('ready', 'running');
CREATE INDEX kept_claim ON spool.kept (runner) WHERE state = 'running' AND due IS NOT NULL;
CREATE INDEX kept_done ON spool.kept (since) WHERE state = 'done';
COMMENT ON COLUMN spool.kept.due IS 'ready: not to be handed out before; running: end of the lease if the owner is a claim';
COMMENT ON TABLE spool.kept IS 'packets set aside: done (retained), failed (left), dead, and ready or running ahead of the cursor';

CREATE TABLE spool.tally (
    stream     pg_catalog.int8 NOT NULL,
    consumed   pg_catalog.int8 NOT NULL,
    done       pg_catalog.int8 NOT NULL,
    failed     pg_catalog.int8 NOT NULL,
    dead       pg_catalog.int8 NOT NULL,
    late       pg_catalog.int8 NOT NULL,
    duplicates pg_catalog.int8 NOT NULL
);
COMMENT ON TABLE spool.tally IS 'counts beside those of spool.state, to be added up: of queues without order, and of packets that were written late or twice';

CREATE TABLE spool.attempt (
    queue       pg_catalog.int4 NOT NULL,
    stream      pg_catalog.text,
    seq         pg_catalog.int8,
    packet_id   pg_catalog.int8,
    attempt     pg_catalog.int4,
    started_at  pg_catalog.timestamptz,
    finished_at pg_catalog.timestamptz,
    outcome     pg_catalog.text NOT NULL,
    exit_code   pg_catalog.int4,
    signal      pg_catalog.int4,
    sqlstate    pg_catalog.text,
    message     pg_catalog.text,
    stdout      pg_catalog.bytea,
    stderr      pg_catalog.bytea
);
CREATE INDEX attempt_packet ON spool.attempt (packet_id);
COMMENT ON TABLE spool.attempt IS 'attempts to run jobs, as many as the queue''s history keeps';

CREATE VIEW spool.attempts WITH (security_barrier) AS
SELECT q.name AS queue, a.stream, a.seq, a.packet_id, a.attempt,
       a.started_at, a.finished_at, a.outcome, a.exit_code, a.signal,
       a.sqlstate, a.message, a.stdout, a.stderr
  FROM spool.attempt a
  JOIN spool.queue q ON q.id = a.queue
 WHERE spool.has_queue_privilege(q.name, 'read');
COMMENT ON VIEW spool.attempts IS 'attempts to run jobs of queues that the current user may read';

CREATE TABLE spool.sender (
    name pg_catalog.text COLLATE pg_catalog."C" PRIMARY KEY,
    owner pg_catalog.regrole NOT NULL
);
COMMENT ON TABLE spool.sender IS 'senders of packets that leave this database; the row is the lock of the counter and never changes';

CREATE TABLE spool.sender_state (
    sender  pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    version pg_catalog.int8 NOT NULL,
    next    pg_catalog.int8 NOT NULL,
    segment pg_catalog.int2 NOT NULL,
    PRIMARY KEY (sender, version, segment)
) PARTITION BY LIST (segment);
COMMENT ON TABLE spool.sender_state IS 'appended counters of senders; the one with the highest version holds';

DO $$
BEGIN
    FOR n IN 0 .. 3 LOOP
        EXECUTE pg_catalog.format('CREATE TABLE spool.sender_%s PARTITION OF spool.sender_state FOR VALUES IN (%s) WITH (autovacuum_vacuum_insert_scale_factor = 0.5)', n, n);
        EXECUTE pg_catalog.format('COMMENT ON TABLE spool.sender_%s IS ''counters of senders of segment %s''', n, n);
    END LOOP;
END
$$;
