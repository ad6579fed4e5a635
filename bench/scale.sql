-- What bench/scale.sh needs beside setup.sql.

-- bench.timer(NAME, BEFORE, STATEMENT) makes a procedure that executes
-- STATEMENT in a transaction of its own, so often, after BEFORE in another,
-- and gives the median of its times in microseconds.  In both, s is the name
-- of a stream: one of a hundred spread over them all, so that the first change
-- of a page after a checkpoint, which is dear, is no matter of how many there are.
CREATE FUNCTION bench.timer(name text, before text, statement text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format($procedure$
        CREATE PROCEDURE bench.%I(turns int, streams int, INOUT us float8 = 0)
        LANGUAGE plpgsql AS $body$
        DECLARE
            times float8[] := '{}';
            s     text;
            at    timestamptz;
            done  int8;
        BEGIN
            FOR i IN -2 .. turns LOOP
                s := ((i + 2) %% 100 + 1) * (streams / 100);
                %s;
                COMMIT;
                at := clock_timestamp();
                %s;
                COMMIT;
                IF i > 0 THEN
                    times := times || (1e6 * extract(epoch FROM clock_timestamp() - at))::float8;
                END IF;
            END LOOP;
            SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY t) INTO us FROM unnest(times) t;
        END $body$ $procedure$, name, before, statement);
END $$;

CREATE FUNCTION bench.must_find(jobs int8, wanted int8) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF jobs IS DISTINCT FROM wanted THEN
        RAISE '% jobs where % are wanted', jobs, wanted;
    END IF;
END $$;

-- The queue 'many' is the one that grows.
SELECT bench.timer('enqueue', 'NULL', $$PERFORM spool.enqueue('many', 'x', s)$$),
       bench.timer('enqueue_new', 'NULL', $$PERFORM spool.enqueue('many', 'x', 'new ' || nextval('bench.number'))$$),
       bench.timer('take_1', $$PERFORM spool.enqueue('many', 'x', s)$$, $$PERFORM bench.must_find(count(*), 1) FROM spool.take('many')$$),
       bench.timer('take_100', $$PERFORM count(spool.enqueue('many', 'x', n::text)) FROM generate_series(1, 100) n$$,
                   $$PERFORM bench.must_find(count(*), 100) FROM spool.take('many', 100)$$),
       bench.timer('claim_100', $$PERFORM count(spool.enqueue('many', 'x', n::text)) FROM generate_series(1, 100) n$$,
                   $$PERFORM spool.ack(claims) FROM (SELECT array_agg(DISTINCT claim_id) AS claims FROM spool.claim('many', 100)) c$$),
       bench.timer('take_none', 'NULL', $$PERFORM bench.must_find(count(*), 0) FROM spool.take('many')$$),
       bench.timer('take_the_one', $$PERFORM spool.enqueue('many', 'x', s)$$,
                   $$PERFORM bench.must_find(count(*), 1) FROM spool.take('many', 2)$$),
       bench.timer('claim_the_one', $$PERFORM spool.enqueue('many', 'x', s)$$,
                   $$PERFORM spool.ack(claims) FROM (SELECT array_agg(claim_id) AS claims FROM spool.claim('many', 2)) c$$),
       bench.timer('process_the_one', $$PERFORM spool.enqueue('many', 'x', s)$$,
                   $$CALL spool.process('many', processed => done)$$),
       bench.timer('take_hundred', $$PERFORM count(spool.enqueue('many', 'x', (n * (streams / 100))::text)) FROM generate_series(1, 100) n$$,
                   $$PERFORM bench.must_find(count(*), 100) FROM spool.take('many', 200)$$),
       bench.timer('claim_hundred', $$PERFORM count(spool.enqueue('many', 'x', (n * (streams / 100))::text)) FROM generate_series(1, 100) n$$,
                   $$PERFORM spool.ack(claims) FROM (SELECT array_agg(DISTINCT claim_id) AS claims FROM spool.claim('many', 200)) c$$),
       bench.timer('stat_queue', 'NULL', $$PERFORM FROM spool.stat_queues WHERE queue = 'ten'$$),
       bench.timer('stat_streams', 'NULL', $$PERFORM FROM spool.stat_streams WHERE queue = 'ten'$$),
       bench.timer('ls', 'NULL', $$PERFORM FROM spool.ls('many', s, max_rows => 5)$$),
       bench.timer('gaps', 'NULL', $$PERFORM FROM spool.gaps('ten')$$),
       bench.timer('queues', 'NULL', $$PERFORM FROM spool.queues$$),
       bench.timer('stat_streams_all', 'NULL', $$PERFORM FROM spool.stat_streams WHERE queue = 'many'$$);

-- Upkeep, once: it moves what waits to where it then stays.
CREATE PROCEDURE bench.maintain(turns int, streams int, INOUT us float8 = 0)
LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz := clock_timestamp();
BEGIN
    CALL spool.maintain();
    us := 1e6 * extract(epoch FROM clock_timestamp() - at);
END $$;

-- The same for queues q1, q2, ... of one stream.
SELECT bench.timer('q_enqueue', 'NULL', $$PERFORM spool.enqueue('q' || s, 'x')$$),
       bench.timer('q_take', $$PERFORM spool.enqueue('q' || s, 'x')$$,
                   $$PERFORM bench.must_find(count(*), 1) FROM spool.take('q' || s)$$),
       bench.timer('q_claim', $$PERFORM spool.enqueue('q' || s, 'x')$$,
                   $$PERFORM spool.ack(claim_id) FROM spool.claim('q' || s)$$),
       bench.timer('q_process', $$PERFORM spool.enqueue('q' || s, 'x')$$,
                   $$CALL spool.process('q' || s, processed => done)$$);

-- From commit to start: a job at a time, in a of these streams of 'many' or
-- queues.
CREATE PROCEDURE bench.wake(turns int, streams int, each text, INOUT us float8 = 0)
LANGUAGE plpgsql AS $$
DECLARE
    times   float8[] := '{}';
    s       text;
    sent    timestamptz;
    started timestamptz;
BEGIN
    FOR i IN -2 .. turns LOOP
        TRUNCATE bench.begun;
        COMMIT;
        PERFORM pg_sleep(0.005);
        s := ((i + 2) % 100 + 1) * (streams / 100);
        PERFORM CASE each WHEN 'queue' THEN spool.enqueue('q' || s, 'x')
                          ELSE spool.enqueue('many', 'x', s) END;
        sent := clock_timestamp();
        LOOP
            COMMIT;
            SELECT at INTO started FROM bench.begun;
            EXIT WHEN FOUND;
            IF clock_timestamp() > sent + interval '1 min' THEN
                RAISE 'the job does not begin';
            END IF;
            PERFORM pg_sleep(0.001);
        END LOOP;
        IF i > 0 THEN
            times := times || (1e6 * extract(epoch FROM started - sent))::float8;
        END IF;
    END LOOP;
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY t) INTO us FROM unnest(times) t;
END $$;

-- Enqueue a packet into each of some streams of 'many'.
CREATE PROCEDURE bench.spread(first int, last int)
LANGUAGE plpgsql AS $$
BEGIN
    FOR part IN first .. last BY 1000 LOOP
        PERFORM count(spool.enqueue('many', 'x', n::text)) FROM generate_series(part, least(part + 999, last)) n;
        COMMIT;
    END LOOP;
END $$;
