-- What the figures of the resequencer need; read by bench/reseq.sh.

-- The counterpart: a row of a key, with the number that was registered last and
-- the one that was applied.
CREATE TABLE bench.record (
    key     text COLLATE "C" PRIMARY KEY,
    sn      int8 NOT NULL,
    applied int8
);
CREATE TABLE bench.inserted (LIKE bench.record INCLUDING ALL);

-- 100,000 keys, 1,000 in a row.
CREATE TABLE bench.keys (n int PRIMARY KEY, keys text[]);
INSERT INTO bench.keys
SELECT batch, array_agg('key ' || n ORDER BY n)
  FROM generate_series(1, 100) batch, generate_series(batch * 1000 - 999, batch * 1000) n
 GROUP BY batch;

-- Register and resequence so many thousands of new keys, all finished then.
CREATE PROCEDURE bench.finish(resequencer text, thousands int)
LANGUAGE plpgsql AS $$
DECLARE
    keys text[];
BEGIN
    FOR i IN 1 .. thousands LOOP
        keys := (SELECT array_agg('key ' || n) FROM generate_series(i * 1000 - 999, i * 1000) n);
        PERFORM FROM spool.register_many(resequencer, keys, array_fill(1::int8, ARRAY[1000]));
        COMMIT;
        PERFORM FROM spool.resequence_many(resequencer, keys, array_fill(1::int8, ARRAY[1000]));
        COMMIT;
    END LOOP;
END $$;

-- A key that is updated all the time, in twenty rounds of so many: how many a
-- second in the last five, and in the first five.
CREATE PROCEDURE bench.hot(resequencer text, key text, updates int, INOUT last float8 = 0, INOUT first float8 = 0)
LANGUAGE plpgsql AS $$
DECLARE
    began float8[];
BEGIN
    FOR round IN 0 .. 19 LOOP
        began[round] := extract(epoch FROM clock_timestamp());
        FOR n IN round * updates + 1 .. (round + 1) * updates LOOP
            PERFORM spool.register(resequencer, key, n);
            COMMIT;
            PERFORM FROM spool.resequence(resequencer, key, n) WHERE verdict = 'pass';
            IF NOT FOUND THEN
                RAISE 'number % does not pass', n;
            END IF;
            COMMIT;
        END LOOP;
    END LOOP;
    began[20] := extract(epoch FROM clock_timestamp());
    last := 5 * updates / (began[20] - began[15]);
    first := 5 * updates / (began[5] - began[0]);
END $$;

-- Bytes of all that resequencers keep of keys, with the indexes or without.
CREATE FUNCTION bench.reseq_bytes(indexes bool DEFAULT true) RETURNS int8
LANGUAGE sql AS $$
    SELECT sum(CASE WHEN indexes THEN pg_total_relation_size(oid) ELSE pg_table_size(oid) END)::int8
      FROM pg_class
     WHERE relnamespace = 'spool'::regnamespace AND relkind = 'r'
       AND (relname IN ('reseq_key', 'reseq_promotable', 'reseq_tally') OR relname ~ '^(lane|delivery)_[0-9]$')
$$;

-- Bytes of the tombstones alone: keys and the newest states of their lanes.
CREATE FUNCTION bench.tombstone_bytes() RETURNS int8
LANGUAGE plpgsql AS $$
DECLARE
    bytes int8;
BEGIN
    CREATE TEMP TABLE keys (LIKE spool.reseq_key INCLUDING ALL);
    CREATE TEMP TABLE lanes (LIKE spool.lane_1 INCLUDING ALL);
    INSERT INTO keys SELECT * FROM spool.reseq_key;
    INSERT INTO lanes SELECT DISTINCT ON (key, target) * FROM spool.reseq_lane ORDER BY key, target, version DESC;
    bytes := pg_total_relation_size('keys') + pg_total_relation_size('lanes');
    DROP TABLE keys, lanes;
    RETURN bytes;
END $$;
