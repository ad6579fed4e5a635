-- What each database of bench/peers/run begins with, besides pgmq and the
-- schemas of graphile-worker and pg-boss, which come first.
CREATE EXTENSION pgq;
SELECT pgq.create_queue('q'), pgq.register_consumer('q', 'consumer');
-- a tick whenever the ticker is called
SELECT pgq.set_queue_config('q', 'ticker_max_count', '1');
-- an event, consumed: pending_events is exact from the second on
SELECT pgq.insert_event('q', 'job', '');
SELECT pgq.ticker('q');
SELECT pgq.finish_batch(pgq.next_batch('q', 'consumer'));
SELECT pgmq.create('q');

CREATE SCHEMA peers;
CREATE TABLE peers.job (id bigserial PRIMARY KEY, payload text);

-- The payloads of bench.batch, as the peers take them.
CREATE TABLE peers.batch (texts text[], jsons jsonb[], specs graphile_worker.job_spec[]);

CREATE FUNCTION peers.specs(texts text[], queues text[] = '{}')
RETURNS graphile_worker.job_spec[]
LANGUAGE sql AS $$
    SELECT array_agg(('job', to_json(t), q, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec)
      FROM unnest(texts, queues) u (t, q)
$$;

-- The headers of messages of pgmq, one for each of the groups.
CREATE FUNCTION peers.headers(groups text[])
RETURNS jsonb[]
LANGUAGE sql AS $$
    SELECT array_agg(jsonb_build_object('x-pgmq-group', g)) FROM unnest(groups) g
$$;

-- Events for PgQ with a tick after each so many: a batch is what lies between
-- two ticks.
CREATE PROCEDURE peers.fill_pgq(batches int, events int)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pgq.ticker('q');
    COMMIT;
    FOR i IN 1 .. batches LOOP
        PERFORM pgq.insert_event('q', 'job', t) FROM peers.batch, unnest(texts[1:events]) t;
        COMMIT;
        PERFORM pgq.ticker('q');
        COMMIT;
    END LOOP;
END $$;
