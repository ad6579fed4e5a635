-- What the measurements need, in each of the databases that bench/run makes.
CREATE EXTENSION spool;
CREATE SCHEMA bench;

-- The counterparts of the store: the same columns and indexes.
CREATE TABLE bench.many (LIKE spool.segment_1 INCLUDING ALL);
CREATE TABLE bench.waiting (LIKE spool.segment_1 INCLUDING ALL);
CREATE TABLE bench.single (LIKE spool.segment_1 INCLUDING ALL);
CREATE TABLE bench.tiny (n int);
CREATE SEQUENCE bench.number;

-- 1,000 payloads, and the packets that spool makes of them.
CREATE TABLE bench.batch (payloads text[], packets spool.packet[]);
INSERT INTO bench.batch
SELECT array_agg(payload), array_agg(spool.make_packet(n, payload))
  FROM (SELECT n, 'job ' || n || ' ' || md5(n::text) AS payload
          FROM generate_series(1, 1000) n) j;

-- Fill a queue with packets that wait; in thousands.
CREATE PROCEDURE bench.fill(queue text, thousands int, stream text = '')
LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. thousands LOOP
        PERFORM spool.enqueue_many(queue, payloads, stream) FROM bench.batch;
        COMMIT;
    END LOOP;
END $$;

-- One-job takes, a transaction each: how many a second.
CREATE PROCEDURE bench.take(queue text, jobs int, INOUT rate float8 = 0)
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
BEGIN
    FOR i IN 1 .. jobs LOOP
        PERFORM FROM spool.take(queue);
        IF NOT FOUND THEN
            RAISE 'queue % is empty', queue;
        END IF;
        COMMIT;
    END LOOP;
    rate := jobs / extract(epoch FROM clock_timestamp() - started);
END $$;

-- The same from a queue in which as many wait after it as before.
CREATE PROCEDURE bench.take_refilled(queue text, rounds int, INOUT rate float8 = 0)
LANGUAGE plpgsql AS $$
DECLARE
    seconds float8 := 0;
BEGIN
    FOR i IN 1 .. rounds LOOP
        CALL bench.take(queue, 500, rate);
        seconds := seconds + 500 / rate;
        PERFORM spool.enqueue_many(queue, payloads[1:500]) FROM bench.batch;
        COMMIT;
    END LOOP;
    rate := 500 * rounds / seconds;
END $$;

-- When packets were committed, and when their handler began.
CREATE TABLE bench.sent (seq int8, at timestamptz);
CREATE TABLE bench.begun (seq int8, at timestamptz);

-- Let workers empty a paused queue: how many of its jobs a second.  They are
-- left alone; the time of the last state tells when they were done.
CREATE PROCEDURE bench.drain(queue text, workers int, jobs int, INOUT rate float8 = 0)
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
    ended   timestamptz;
BEGIN
    PERFORM spool.alter_queue(queue, workers => workers);
    COMMIT;
    started := clock_timestamp();
    PERFORM spool.resume_queue(queue);
    LOOP
        COMMIT;
        EXIT WHEN NOT EXISTS (SELECT FROM spool.workers w WHERE w.queue = drain.queue)
            AND NOT EXISTS (SELECT FROM spool.peek(drain.queue));
        IF clock_timestamp() > started + interval '5 min' THEN
            RAISE EXCEPTION 'workers do not empty queue "%"', queue;
        END IF;
        PERFORM pg_sleep(0.1);
    END LOOP;
    SELECT max(st.since) INTO ended
      FROM spool.state st
      JOIN spool.stream s ON s.id = st.stream
      JOIN spool.queue q ON q.id = s.queue
     WHERE q.name = drain.queue;
    rate := jobs / extract(epoch FROM ended - started);
    PERFORM spool.pause_queue(queue);
END $$;

-- The counterpart of claims: a table with pgmq's columns and indexes.
CREATE TABLE bench.message (
    msg_id      int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    read_ct     int4 NOT NULL DEFAULT 0,
    enqueued_at timestamptz NOT NULL DEFAULT now(),
    vt          timestamptz NOT NULL DEFAULT now(),
    message     jsonb
);
CREATE INDEX ON bench.message (vt);
