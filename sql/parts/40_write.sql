-- Writing: packets into queues.

CREATE FUNCTION spool.enqueue(
    queue   pg_catalog.text,
    payload pg_catalog.bytea DEFAULT NULL,
    stream  pg_catalog.text DEFAULT '',
    params  pg_catalog.text[] DEFAULT '{}',
    env     pg_catalog.jsonb DEFAULT '{}',
    kind    pg_catalog.text DEFAULT 'command',
    run_at  pg_catalog.timestamptz DEFAULT NULL,
    key     pg_catalog.text DEFAULT NULL
) RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_enqueue';
COMMENT ON FUNCTION spool.enqueue(pg_catalog.text, pg_catalog.bytea, pg_catalog.text, pg_catalog.text[], pg_catalog.jsonb, pg_catalog.text, pg_catalog.timestamptz, pg_catalog.text)
    IS 'numbers and stores one packet, returns its number; with run_at when that time comes, with key only once';

CREATE FUNCTION spool.enqueue(
    queue   pg_catalog.text,
    payload pg_catalog.text,
    stream  pg_catalog.text DEFAULT '',
    params  pg_catalog.text[] DEFAULT '{}',
    env     pg_catalog.jsonb DEFAULT '{}',
    kind    pg_catalog.text DEFAULT 'command',
    run_at  pg_catalog.timestamptz DEFAULT NULL,
    key     pg_catalog.text DEFAULT NULL
) RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_enqueue';
COMMENT ON FUNCTION spool.enqueue(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text[], pg_catalog.jsonb, pg_catalog.text, pg_catalog.timestamptz, pg_catalog.text)
    IS 'numbers and stores one packet, returns its number; with run_at when that time comes, with key only once';

CREATE FUNCTION spool.enqueue(
    queue   pg_catalog.text,
    payload pg_catalog.json,
    stream  pg_catalog.text DEFAULT '',
    params  pg_catalog.text[] DEFAULT '{}',
    env     pg_catalog.jsonb DEFAULT '{}',
    kind    pg_catalog.text DEFAULT 'command',
    run_at  pg_catalog.timestamptz DEFAULT NULL,
    key     pg_catalog.text DEFAULT NULL
) RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_enqueue';
COMMENT ON FUNCTION spool.enqueue(pg_catalog.text, pg_catalog.json, pg_catalog.text, pg_catalog.text[], pg_catalog.jsonb, pg_catalog.text, pg_catalog.timestamptz, pg_catalog.text)
    IS 'numbers and stores one packet, returns its number; with run_at when that time comes, with key only once';

CREATE FUNCTION spool.enqueue(
    queue   pg_catalog.text,
    payload pg_catalog.jsonb,
    stream  pg_catalog.text DEFAULT '',
    params  pg_catalog.text[] DEFAULT '{}',
    env     pg_catalog.jsonb DEFAULT '{}',
    kind    pg_catalog.text DEFAULT 'command',
    run_at  pg_catalog.timestamptz DEFAULT NULL,
    key     pg_catalog.text DEFAULT NULL
) RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_enqueue';
COMMENT ON FUNCTION spool.enqueue(pg_catalog.text, pg_catalog.jsonb, pg_catalog.text, pg_catalog.text[], pg_catalog.jsonb, pg_catalog.text, pg_catalog.timestamptz, pg_catalog.text)
    IS 'numbers and stores one packet, returns its number; with run_at when that time comes, with key only once';

CREATE FUNCTION spool.enqueue_many(
    queue    pg_catalog.text,
    payloads pg_catalog.bytea[],
    stream   pg_catalog.text DEFAULT ''
) RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_enqueue_many';
COMMENT ON FUNCTION spool.enqueue_many(pg_catalog.text, pg_catalog.bytea[], pg_catalog.text)
    IS 'numbers and stores packets with consecutive numbers, returns the first; NULL for an empty array';

CREATE FUNCTION spool.enqueue_many(
    queue    pg_catalog.text,
    payloads pg_catalog.text[],
    stream   pg_catalog.text DEFAULT ''
) RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_enqueue_many';
COMMENT ON FUNCTION spool.enqueue_many(pg_catalog.text, pg_catalog.text[], pg_catalog.text)
    IS 'numbers and stores packets with consecutive numbers, returns the first; NULL for an empty array';

CREATE FUNCTION spool.enqueue_many(
    queue    pg_catalog.text,
    payloads pg_catalog.json[],
    stream   pg_catalog.text DEFAULT ''
) RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_enqueue_many';
COMMENT ON FUNCTION spool.enqueue_many(pg_catalog.text, pg_catalog.json[], pg_catalog.text)
    IS 'numbers and stores packets with consecutive numbers, returns the first; NULL for an empty array';

CREATE FUNCTION spool.enqueue_many(
    queue    pg_catalog.text,
    payloads pg_catalog.jsonb[],
    stream   pg_catalog.text DEFAULT ''
) RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_enqueue_many';
COMMENT ON FUNCTION spool.enqueue_many(pg_catalog.text, pg_catalog.jsonb[], pg_catalog.text)
    IS 'numbers and stores packets with consecutive numbers, returns the first; NULL for an empty array';

CREATE FUNCTION spool.write(
    queue  pg_catalog.text,
    packet spool.packet,
    stream pg_catalog.text DEFAULT '',
    OUT packet_id pg_catalog.int8,
    OUT seq       pg_catalog.int8,
    OUT status    pg_catalog.text
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_write';
COMMENT ON FUNCTION spool.write IS 'stores a packet that has its number: stored, duplicate, late or conflict';

CREATE FUNCTION spool.write_many(
    queue   pg_catalog.text,
    packets spool.packet[],
    stream  pg_catalog.text DEFAULT '',
    OUT packet_id pg_catalog.int8,
    OUT seq       pg_catalog.int8,
    OUT status    pg_catalog.text
) RETURNS SETOF pg_catalog.record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_write_many';
COMMENT ON FUNCTION spool.write_many IS 'stores packets that have their numbers; a row for each, in order of the array';

CREATE VIEW spool.inbox AS
SELECT NULL::pg_catalog.text AS queue, NULL::pg_catalog.text AS stream,
       NULL::spool.packet AS packet
 WHERE false;
COMMENT ON VIEW spool.inbox IS 'INSERT or COPY into it does what spool.write does; it holds no rows';

CREATE FUNCTION spool.inbox_insert() RETURNS pg_catalog.trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_inbox_insert';
COMMENT ON FUNCTION spool.inbox_insert IS 'trigger of spool.inbox';

CREATE TRIGGER inbox_insert INSTEAD OF INSERT ON spool.inbox
    FOR EACH ROW EXECUTE FUNCTION spool.inbox_insert();

CREATE FUNCTION spool.prepare(
    sender  pg_catalog.text,
    payload pg_catalog.bytea DEFAULT NULL,
    params  pg_catalog.text[] DEFAULT '{}',
    env     pg_catalog.jsonb DEFAULT '{}',
    kind    pg_catalog.text DEFAULT 'command'
) RETURNS spool.packet
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_prepare';
COMMENT ON FUNCTION spool.prepare(pg_catalog.text, pg_catalog.bytea, pg_catalog.text[], pg_catalog.jsonb, pg_catalog.text)
    IS 'the next packet of a sender, stored nowhere; without a sender always number 1';

CREATE FUNCTION spool.prepare(
    sender  pg_catalog.text,
    payload pg_catalog.text,
    params  pg_catalog.text[] DEFAULT '{}',
    env     pg_catalog.jsonb DEFAULT '{}',
    kind    pg_catalog.text DEFAULT 'command'
) RETURNS spool.packet
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_prepare';
COMMENT ON FUNCTION spool.prepare(pg_catalog.text, pg_catalog.text, pg_catalog.text[], pg_catalog.jsonb, pg_catalog.text)
    IS 'the next packet of a sender, stored nowhere; without a sender always number 1';

CREATE FUNCTION spool.prepare(
    sender  pg_catalog.text,
    payload pg_catalog.json,
    params  pg_catalog.text[] DEFAULT '{}',
    env     pg_catalog.jsonb DEFAULT '{}',
    kind    pg_catalog.text DEFAULT 'command'
) RETURNS spool.packet
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_prepare';
COMMENT ON FUNCTION spool.prepare(pg_catalog.text, pg_catalog.json, pg_catalog.text[], pg_catalog.jsonb, pg_catalog.text)
    IS 'the next packet of a sender, stored nowhere; without a sender always number 1';

CREATE FUNCTION spool.prepare(
    sender  pg_catalog.text,
    payload pg_catalog.jsonb,
    params  pg_catalog.text[] DEFAULT '{}',
    env     pg_catalog.jsonb DEFAULT '{}',
    kind    pg_catalog.text DEFAULT 'command'
) RETURNS spool.packet
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_prepare';
COMMENT ON FUNCTION spool.prepare(pg_catalog.text, pg_catalog.jsonb, pg_catalog.text[], pg_catalog.jsonb, pg_catalog.text)
    IS 'the next packet of a sender, stored nowhere; without a sender always number 1';

CREATE FUNCTION spool.sender_next(sender pg_catalog.text) RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_sender_next';
COMMENT ON FUNCTION spool.sender_next IS 'the number that a sender''s next packet gets';

CREATE FUNCTION spool.sender_set_next(sender pg_catalog.text, seq pg_catalog.int8)
RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_sender_set_next';
COMMENT ON FUNCTION spool.sender_set_next IS 'sets the number that a sender''s next packet gets';

CREATE FUNCTION spool.forward(
    queue     pg_catalog.text,
    packet_id pg_catalog.int8,
    target    pg_catalog.text,
    stream    pg_catalog.text DEFAULT NULL,
    renumber  pg_catalog.bool DEFAULT false,
    OUT new_packet_id pg_catalog.int8,
    OUT seq       pg_catalog.int8,
    OUT status    pg_catalog.text
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_forward';
COMMENT ON FUNCTION spool.forward IS 'copies a packet into another queue, with its number or a new one';
