-- Packets that wait for their time, and keys.  Written and read in C
-- (schedule.c, key.c), which states the protocol.

CREATE TABLE spool.scheduled (
    id     pg_catalog.int8 PRIMARY KEY,
    queue  pg_catalog.int4 NOT NULL,
    stream pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    run_at pg_catalog.timestamptz NOT NULL,
    key    pg_catalog.text COLLATE pg_catalog."C",
    packet spool.packet NOT NULL
);
CREATE INDEX scheduled_due ON spool.scheduled (run_at, id);
CREATE INDEX scheduled_queue ON spool.scheduled (queue, run_at, id);
COMMENT ON TABLE spool.scheduled IS 'packets that wait for their time, outside of their streams';
COMMENT ON COLUMN spool.scheduled.id IS 'packet id until it is due';
COMMENT ON COLUMN spool.scheduled.packet IS 'with number 0; it gets its number when it is due';

CREATE TABLE spool.key (
    queue pg_catalog.int4 NOT NULL,
    key   pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    seq   pg_catalog.int8,
    since pg_catalog.timestamptz NOT NULL,
    PRIMARY KEY (queue, key)
);
CREATE INDEX key_since ON spool.key (since);
COMMENT ON TABLE spool.key IS 'keys given to enqueue, and the numbers of the packets they stand for';
COMMENT ON COLUMN spool.key.seq IS 'NULL = the packet is scheduled, and the key does not expire';
COMMENT ON COLUMN spool.key.since IS 'when the packet got its number';
