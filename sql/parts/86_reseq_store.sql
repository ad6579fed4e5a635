-- What resequencers know: keys, states of their lanes, deliveries.  Written and
-- read in C (reseq_key.c, reseq_store.c), which states the protocol.

CREATE SEQUENCE spool.reseq_key_id_seq;

CREATE TABLE spool.reseq_key (
    id              pg_catalog.int8 PRIMARY KEY,
    resequencer     pg_catalog.int4 NOT NULL,
    key             pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    epoch           pg_catalog.int4 NOT NULL,
    suspended       pg_catalog.text,
    suspended_since pg_catalog.timestamptz,
    resumed_at      pg_catalog.timestamptz,
    blocking        pg_catalog.int8,
    blocking_target pg_catalog.int4,
    UNIQUE (resequencer, key)
);
CREATE INDEX reseq_key_resumed ON spool.reseq_key (resequencer, resumed_at) WHERE resumed_at IS NOT NULL;
COMMENT ON TABLE spool.reseq_key IS 'keys of resequencers; the row is the lock of the key';
COMMENT ON COLUMN spool.reseq_key.epoch IS 'counts the resets: numbers start again with each';
COMMENT ON COLUMN spool.reseq_key.suspended IS 'reason of a suspension; NULL = not suspended';
COMMENT ON COLUMN spool.reseq_key.resumed_at IS 'when it was resumed or reset last: deadlines count from then on';
COMMENT ON COLUMN spool.reseq_key.blocking IS 'the number whose failure suspended the key, for the target after it';

CREATE TABLE spool.reseq_lane (
    key          pg_catalog.int8 NOT NULL,
    target       pg_catalog.int4 NOT NULL,
    version      pg_catalog.int8 NOT NULL,
    high         pg_catalog.int8 NOT NULL,
    newest       pg_catalog.int8 NOT NULL,
    applied      pg_catalog.int8 NOT NULL,
    busy         pg_catalog.int8 NOT NULL,
    trees        pg_catalog.bool NOT NULL,
    promotable   pg_catalog.bool NOT NULL,
    segment      pg_catalog.int2 NOT NULL,
    run          pg_catalog.int4 NOT NULL,
    live         pg_catalog.int8 NOT NULL,
    parked       pg_catalog.int8 NOT NULL,
    registered   pg_catalog.int8 NOT NULL,
    delivered    pg_catalog.int8 NOT NULL,
    suppressed   pg_catalog.int8 NOT NULL,
    dead         pg_catalog.int8 NOT NULL,
    expired      pg_catalog.int8 NOT NULL,
    unregistered pg_catalog.int8 NOT NULL,
    duplicates   pg_catalog.int8 NOT NULL,
    forced       pg_catalog.int8 NOT NULL,
    lost         pg_catalog.int8 NOT NULL,
    due          pg_catalog.timestamptz NOT NULL,
    since        pg_catalog.timestamptz NOT NULL,
    run_since    pg_catalog.timestamptz,
    PRIMARY KEY (key, target, version, segment)
) PARTITION BY LIST (segment);
COMMENT ON TABLE spool.reseq_lane IS 'appended states of lanes, the ways of keys to targets; the one with the highest version holds';
COMMENT ON COLUMN spool.reseq_lane.target IS 'place in the resequencer''s targets';
COMMENT ON COLUMN spool.reseq_lane.high IS 'the highest number registered; -1 = none, here and below';
COMMENT ON COLUMN spool.reseq_lane.newest IS 'the highest number that is live';
COMMENT ON COLUMN spool.reseq_lane.applied IS 'the highest number applied: nothing below passes';
COMMENT ON COLUMN spool.reseq_lane.busy IS 'the number that passed and has not ended as a whole';
COMMENT ON COLUMN spool.reseq_lane.trees IS 'whether some number above applied has parts';
COMMENT ON COLUMN spool.reseq_lane.promotable IS 'whether the lane is in spool.reseq_promotable';
COMMENT ON COLUMN spool.reseq_lane.run IS 'calls superseded since the last pass, for the valve';
COMMENT ON COLUMN spool.reseq_lane.due IS 'no delivery ends by itself before';

CREATE TABLE spool.reseq_delivery (
    key           pg_catalog.int8 NOT NULL,
    target        pg_catalog.int4 NOT NULL,
    resequencer   pg_catalog.int4 NOT NULL,
    sn            pg_catalog.int8 NOT NULL,
    version       pg_catalog.int8 NOT NULL,
    segment       pg_catalog.int2 NOT NULL,
    state         pg_catalog."char" NOT NULL,
    parts         pg_catalog.int4 NOT NULL,
    registered_at pg_catalog.timestamptz NOT NULL,
    since         pg_catalog.timestamptz NOT NULL,
    part          pg_catalog.int4[],
    digest        pg_catalog.bytea,
    reason        pg_catalog.text
) PARTITION BY LIST (segment);
COMMENT ON TABLE spool.reseq_delivery IS 'appended states of deliveries: numbers, or parts of them, for one target; of each the row with the highest version holds; at or below their lane''s applied number: what is over';
COMMENT ON COLUMN spool.reseq_delivery.version IS 'of the lane''s state that was written with it';
COMMENT ON COLUMN spool.reseq_delivery.state IS 'small letters are live: r = registered, w = waiting, k = parked, p = passed, n = split; A = applied, S = suppressed, D = dead, E = expired, U = unregistered';
COMMENT ON COLUMN spool.reseq_delivery.since IS 'when it passed or ended, else when it was registered';
COMMENT ON COLUMN spool.reseq_delivery.parts IS 'parts that were declared; 0 = not split, negative: cut, those that are missing are not waited for';
COMMENT ON COLUMN spool.reseq_delivery.part IS 'path of a part; NULL = the whole';

-- Both lie in segments, as packets do.  By the time of writing upkeep finds
-- what may be due or old.
DO $$
BEGIN
    FOR n IN 0 .. 3 LOOP
        EXECUTE pg_catalog.format('CREATE TABLE spool.lane_%s PARTITION OF spool.reseq_lane FOR VALUES IN (%s) WITH (autovacuum_vacuum_insert_scale_factor = 0.5)', n, n);
        EXECUTE pg_catalog.format('COMMENT ON TABLE spool.lane_%s IS ''states of lanes of segment %s''', n, n);
        EXECUTE pg_catalog.format('CREATE TABLE spool.delivery_%s PARTITION OF spool.reseq_delivery FOR VALUES IN (%s) WITH (autovacuum_vacuum_insert_scale_factor = 0.5)', n, n);
        EXECUTE pg_catalog.format('COMMENT ON TABLE spool.delivery_%s IS ''deliveries of segment %s''', n, n);
        EXECUTE pg_catalog.format('CREATE INDEX delivery_%s_idx ON spool.delivery_%s (key, target, sn, version)', n, n);
        EXECUTE pg_catalog.format(
            CASE WHEN n OPERATOR(pg_catalog.=) 0
                 THEN 'CREATE INDEX delivery_%s_since ON spool.delivery_%s (since)'
                 ELSE 'CREATE INDEX delivery_%s_since ON spool.delivery_%s USING brin (since) WITH (pages_per_range = 32)'
            END, n, n);
    END LOOP;
END
$$;
CREATE INDEX lane_0_since ON spool.lane_0 (since, key);

CREATE TABLE spool.reseq_promotable (
    resequencer pg_catalog.int4 NOT NULL,
    key         pg_catalog.int8 NOT NULL,
    target      pg_catalog.int4 NOT NULL,
    since       pg_catalog.timestamptz NOT NULL,
    PRIMARY KEY (key, target)
);
CREATE INDEX reseq_promotable_since ON spool.reseq_promotable (resequencer, since);
COMMENT ON TABLE spool.reseq_promotable IS 'lanes where a delivery that had to wait may pass now';

CREATE TABLE spool.reseq_dead (
    resequencer pg_catalog.int4 NOT NULL,
    key         pg_catalog.text COLLATE pg_catalog."C",
    sn          pg_catalog.int8,
    target      pg_catalog.text,
    part        pg_catalog.int4[],
    reason      pg_catalog.text NOT NULL,
    message     pg_catalog.text,
    since       pg_catalog.timestamptz NOT NULL
);
CREATE INDEX reseq_dead_key ON spool.reseq_dead (resequencer, key);
COMMENT ON TABLE spool.reseq_dead IS 'dead letters of resequencers: deliveries that failed or expired, and calls that could not be decided';

CREATE TABLE spool.reseq_tally (
    resequencer  pg_catalog.int4 NOT NULL,
    target       pg_catalog.int4 NOT NULL,
    registered   pg_catalog.int8 NOT NULL,
    delivered    pg_catalog.int8 NOT NULL,
    suppressed   pg_catalog.int8 NOT NULL,
    dead         pg_catalog.int8 NOT NULL,
    expired      pg_catalog.int8 NOT NULL,
    unregistered pg_catalog.int8 NOT NULL,
    duplicates   pg_catalog.int8 NOT NULL,
    forced       pg_catalog.int8 NOT NULL,
    lost         pg_catalog.int8 NOT NULL
);
COMMENT ON TABLE spool.reseq_tally IS 'counts of lanes whose keys were forgotten, to be added up';

CREATE TABLE spool.reseq_expired (
    resequencer pg_catalog.int4 PRIMARY KEY,
    upto        pg_catalog.timestamptz NOT NULL,
    tree_upto   pg_catalog.timestamptz NOT NULL
);
COMMENT ON TABLE spool.reseq_expired IS 'up to when the time of deliveries counts that were looked at for their deadline';
COMMENT ON COLUMN spool.reseq_expired.tree_upto IS 'the same for the timeout of trees';
