-- spool.packet: the bytes of a Filespooler packet, checked on every way in.

CREATE TYPE spool.packet;

CREATE FUNCTION spool.packet_in(pg_catalog.cstring)
    RETURNS spool.packet
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_packet_in';

CREATE FUNCTION spool.packet_out(spool.packet)
    RETURNS pg_catalog.cstring
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_packet_out';

CREATE FUNCTION spool.packet_recv(pg_catalog.internal)
    RETURNS spool.packet
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_packet_recv';

CREATE FUNCTION spool.packet_send(spool.packet)
    RETURNS pg_catalog.bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_packet_send';

-- Not compressed, so that a header or a payload is read without the rest.
CREATE TYPE spool.packet (
    INPUT = spool.packet_in,
    OUTPUT = spool.packet_out,
    RECEIVE = spool.packet_recv,
    SEND = spool.packet_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = int4,
    STORAGE = external
);

CREATE FUNCTION spool.packet(pg_catalog.bytea)
    RETURNS spool.packet
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_packet';

CREATE CAST (pg_catalog.bytea AS spool.packet)
    WITH FUNCTION spool.packet(pg_catalog.bytea) AS IMPLICIT;

CREATE CAST (spool.packet AS pg_catalog.bytea)
    WITHOUT FUNCTION AS ASSIGNMENT;

CREATE FUNCTION spool.packet_eq(spool.packet, spool.packet)
    RETURNS pg_catalog.bool
    LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE
    AS 'byteaeq';

CREATE FUNCTION spool.packet_ne(spool.packet, spool.packet)
    RETURNS pg_catalog.bool
    LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE
    AS 'byteane';

CREATE OPERATOR spool.= (
    FUNCTION = spool.packet_eq,
    LEFTARG = spool.packet,
    RIGHTARG = spool.packet,
    COMMUTATOR = OPERATOR(spool.=),
    NEGATOR = OPERATOR(spool.<>),
    RESTRICT = pg_catalog.eqsel,
    JOIN = pg_catalog.eqjoinsel
);

CREATE OPERATOR spool.<> (
    FUNCTION = spool.packet_ne,
    LEFTARG = spool.packet,
    RIGHTARG = spool.packet,
    COMMUTATOR = OPERATOR(spool.<>),
    NEGATOR = OPERATOR(spool.=),
    RESTRICT = pg_catalog.neqsel,
    JOIN = pg_catalog.neqjoinsel
);

COMMENT ON TYPE spool.packet
    IS 'a Filespooler packet: header and payload, byte for byte';
COMMENT ON FUNCTION spool.packet_in(pg_catalog.cstring)
    IS 'input of type packet';
COMMENT ON FUNCTION spool.packet_out(spool.packet)
    IS 'output of type packet';
COMMENT ON FUNCTION spool.packet_recv(pg_catalog.internal)
    IS 'binary input of type packet';
COMMENT ON FUNCTION spool.packet_send(spool.packet)
    IS 'binary output of type packet';
COMMENT ON FUNCTION spool.packet(pg_catalog.bytea)
    IS 'checks that bytes are a packet';
COMMENT ON FUNCTION spool.packet_eq(spool.packet, spool.packet)
    IS 'implementation of = operator';
COMMENT ON FUNCTION spool.packet_ne(spool.packet, spool.packet)
    IS 'implementation of <> operator';
COMMENT ON CAST (pg_catalog.bytea AS spool.packet)
    IS 'checks that bytes are a packet';
COMMENT ON CAST (spool.packet AS pg_catalog.bytea)
    IS 'the bytes of a packet';
COMMENT ON OPERATOR spool.= (spool.packet, spool.packet)
    IS 'same bytes';
COMMENT ON OPERATOR spool.<> (spool.packet, spool.packet)
    IS 'different bytes';

-- Making packets.  Only the bytea form can be called without a payload.

CREATE FUNCTION spool.make_packet(
    seq pg_catalog.int8,
    payload pg_catalog.bytea DEFAULT NULL,
    params pg_catalog.text[] DEFAULT '{}',
    env pg_catalog.jsonb DEFAULT '{}',
    kind pg_catalog.text DEFAULT 'command',
    ctime pg_catalog.timestamptz DEFAULT pg_catalog.clock_timestamp(),
    nanos pg_catalog.int4 DEFAULT NULL
)
    RETURNS spool.packet
    LANGUAGE c VOLATILE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_make_packet';

CREATE FUNCTION spool.make_packet(
    seq pg_catalog.int8,
    payload pg_catalog.text,
    params pg_catalog.text[] DEFAULT '{}',
    env pg_catalog.jsonb DEFAULT '{}',
    kind pg_catalog.text DEFAULT 'command',
    ctime pg_catalog.timestamptz DEFAULT pg_catalog.clock_timestamp(),
    nanos pg_catalog.int4 DEFAULT NULL
)
    RETURNS spool.packet
    LANGUAGE c VOLATILE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_make_packet';

CREATE FUNCTION spool.make_packet(
    seq pg_catalog.int8,
    payload pg_catalog.json,
    params pg_catalog.text[] DEFAULT '{}',
    env pg_catalog.jsonb DEFAULT '{}',
    kind pg_catalog.text DEFAULT 'command',
    ctime pg_catalog.timestamptz DEFAULT pg_catalog.clock_timestamp(),
    nanos pg_catalog.int4 DEFAULT NULL
)
    RETURNS spool.packet
    LANGUAGE c VOLATILE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_make_packet';

CREATE FUNCTION spool.make_packet(
    seq pg_catalog.int8,
    payload pg_catalog.jsonb,
    params pg_catalog.text[] DEFAULT '{}',
    env pg_catalog.jsonb DEFAULT '{}',
    kind pg_catalog.text DEFAULT 'command',
    ctime pg_catalog.timestamptz DEFAULT pg_catalog.clock_timestamp(),
    nanos pg_catalog.int4 DEFAULT NULL
)
    RETURNS spool.packet
    LANGUAGE c VOLATILE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_make_packet';

COMMENT ON FUNCTION spool.make_packet(pg_catalog.int8, pg_catalog.bytea,
        pg_catalog.text[], pg_catalog.jsonb, pg_catalog.text,
        pg_catalog.timestamptz, pg_catalog.int4)
    IS 'makes a packet; its payload is bytes';
COMMENT ON FUNCTION spool.make_packet(pg_catalog.int8, pg_catalog.text,
        pg_catalog.text[], pg_catalog.jsonb, pg_catalog.text,
        pg_catalog.timestamptz, pg_catalog.int4)
    IS 'makes a packet; its payload is text, stored as UTF-8';
COMMENT ON FUNCTION spool.make_packet(pg_catalog.int8, pg_catalog.json,
        pg_catalog.text[], pg_catalog.jsonb, pg_catalog.text,
        pg_catalog.timestamptz, pg_catalog.int4)
    IS 'makes a packet; its payload is json, stored as UTF-8';
COMMENT ON FUNCTION spool.make_packet(pg_catalog.int8, pg_catalog.jsonb,
        pg_catalog.text[], pg_catalog.jsonb, pg_catalog.text,
        pg_catalog.timestamptz, pg_catalog.int4)
    IS 'makes a packet; its payload is jsonb, stored as UTF-8';

-- Taking packets apart.

CREATE FUNCTION spool.seq(packet spool.packet)
    RETURNS pg_catalog.int8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_seq';

CREATE FUNCTION spool.ctime(packet spool.packet)
    RETURNS pg_catalog.timestamptz
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_ctime';

CREATE FUNCTION spool.nanos(packet spool.packet)
    RETURNS pg_catalog.int4
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_nanos';

CREATE FUNCTION spool.kind(packet spool.packet)
    RETURNS pg_catalog.text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_kind';

CREATE FUNCTION spool.params(packet spool.packet)
    RETURNS pg_catalog.text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_params';

CREATE FUNCTION spool.env(packet spool.packet)
    RETURNS pg_catalog.jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_env';

CREATE FUNCTION spool.payload(packet spool.packet)
    RETURNS pg_catalog.bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_payload';

CREATE FUNCTION spool.params_raw(packet spool.packet)
    RETURNS pg_catalog.bytea[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_params_raw';

CREATE FUNCTION spool.env_raw(packet spool.packet)
    RETURNS TABLE (name pg_catalog.bytea, value pg_catalog.bytea)
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_env_raw';

CREATE FUNCTION spool.info(packet spool.packet)
    RETURNS TABLE (name pg_catalog.text, value pg_catalog.text)
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_info';

CREATE FUNCTION spool.filename(packet spool.packet)
    RETURNS pg_catalog.text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'spool_filename';

COMMENT ON FUNCTION spool.seq(spool.packet)
    IS 'number of a packet';
COMMENT ON FUNCTION spool.ctime(spool.packet)
    IS 'creation time of a packet, cut to microseconds';
COMMENT ON FUNCTION spool.nanos(spool.packet)
    IS 'creation time of a packet: nanoseconds within the second';
COMMENT ON FUNCTION spool.kind(spool.packet)
    IS 'kind of a packet: command, nop or fail';
COMMENT ON FUNCTION spool.params(spool.packet)
    IS 'parameters of a packet';
COMMENT ON FUNCTION spool.env(spool.packet)
    IS 'environment of a packet';
COMMENT ON FUNCTION spool.payload(spool.packet)
    IS 'payload of a packet';
COMMENT ON FUNCTION spool.params_raw(spool.packet)
    IS 'parameters of a packet as bytes';
COMMENT ON FUNCTION spool.env_raw(spool.packet)
    IS 'environment of a packet as bytes, in order, with duplicates';
COMMENT ON FUNCTION spool.info(spool.packet)
    IS 'variables of a packet as a command sees them';
COMMENT ON FUNCTION spool.filename(spool.packet)
    IS 'file name for a packet, made from its bytes';
