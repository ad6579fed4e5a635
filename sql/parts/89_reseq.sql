-- The resequencer's verbs.

CREATE FUNCTION spool.register(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    targets     pg_catalog.text[] DEFAULT NULL,
    digest      pg_catalog.bytea  DEFAULT NULL,
    parts       pg_catalog.int4   DEFAULT NULL,
    part        pg_catalog.int4[] DEFAULT NULL,
    OUT verdict pg_catalog.text,
    OUT reason  pg_catalog.text,
    OUT latest  pg_catalog.int8,
    OUT repeat  pg_catalog.bool
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_register';
COMMENT ON FUNCTION spool.register IS 'registers a number of a key, or a part of it, for its targets: current, superseded or stale';

CREATE FUNCTION spool.register_many(
    resequencer pg_catalog.text,
    keys        pg_catalog.text[],
    sns         pg_catalog.int8[],
    targets     pg_catalog.text[]  DEFAULT NULL,
    digests     pg_catalog.bytea[] DEFAULT NULL
) RETURNS TABLE (
    key     pg_catalog.text,
    sn      pg_catalog.int8,
    verdict pg_catalog.text,
    reason  pg_catalog.text,
    latest  pg_catalog.int8,
    repeat  pg_catalog.bool
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_register_many';
COMMENT ON FUNCTION spool.register_many IS 'registers many numbers, locking keys in one order; rows in the order of the arrays';

CREATE FUNCTION spool.add_target(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    target      pg_catalog.text,
    OUT verdict pg_catalog.text,
    OUT reason  pg_catalog.text,
    OUT latest  pg_catalog.int8,
    OUT repeat  pg_catalog.bool
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_add_target';
COMMENT ON FUNCTION spool.add_target IS 'registers a number that is registered for one more target';

CREATE FUNCTION spool.resequence(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    target      pg_catalog.text   DEFAULT NULL,
    part        pg_catalog.int4[] DEFAULT NULL,
    OUT verdict pg_catalog.text,
    OUT reason  pg_catalog.text,
    OUT latest  pg_catalog.int8,
    OUT repeat  pg_catalog.bool
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_resequence';
COMMENT ON FUNCTION spool.resequence IS 'decides whether a number may go to its target now: pass, park, suppress, wait, duplicate, dead or unregistered';

CREATE FUNCTION spool.resequence_many(
    resequencer pg_catalog.text,
    keys        pg_catalog.text[],
    sns         pg_catalog.int8[],
    target      pg_catalog.text DEFAULT NULL
) RETURNS TABLE (
    key     pg_catalog.text,
    sn      pg_catalog.int8,
    verdict pg_catalog.text,
    reason  pg_catalog.text,
    latest  pg_catalog.int8,
    repeat  pg_catalog.bool
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_resequence_many';
COMMENT ON FUNCTION spool.resequence_many IS 'decides on many numbers, locking keys in one order; rows in the order of the arrays';

CREATE FUNCTION spool.applied(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    target      pg_catalog.text   DEFAULT NULL,
    part        pg_catalog.int4[] DEFAULT NULL,
    OUT verdict pg_catalog.text,
    OUT reason  pg_catalog.text,
    OUT latest  pg_catalog.int8,
    OUT repeat  pg_catalog.bool
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_applied';
COMMENT ON FUNCTION spool.applied IS 'acknowledges that a number that passed was delivered';

CREATE FUNCTION spool.failed(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    target      pg_catalog.text   DEFAULT NULL,
    part        pg_catalog.int4[] DEFAULT NULL,
    error       pg_catalog.text   DEFAULT NULL,
    OUT verdict pg_catalog.text,
    OUT reason  pg_catalog.text,
    OUT latest  pg_catalog.int8,
    OUT repeat  pg_catalog.bool
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_failed';
COMMENT ON FUNCTION spool.failed IS 'ends a delivery that cannot be made: the next lower one may pass, or the key is suspended';

CREATE FUNCTION spool.unregister(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    target      pg_catalog.text   DEFAULT NULL,
    part        pg_catalog.int4[] DEFAULT NULL,
    OUT verdict pg_catalog.text,
    OUT reason  pg_catalog.text,
    OUT latest  pg_catalog.int8,
    OUT repeat  pg_catalog.bool
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_unregister';
COMMENT ON FUNCTION spool.unregister IS 'ends a number without delivery, for one target or for all';

CREATE FUNCTION spool.is_current(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    target      pg_catalog.text DEFAULT NULL
) RETURNS pg_catalog.bool
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_is_current';
COMMENT ON FUNCTION spool.is_current IS 'whether no newer number of a key is registered or applied, for one target or for all; a look';

CREATE FUNCTION spool.promoted(
    resequencer pg_catalog.text,
    max_keys    pg_catalog.int4 DEFAULT 100
) RETURNS TABLE (
    key    pg_catalog.text,
    sn     pg_catalog.int8,
    target pg_catalog.text
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_promoted';
COMMENT ON FUNCTION spool.promoted IS 'deliveries that had to wait and may pass now, to be resequenced again; a look';

CREATE FUNCTION spool.suspend_key(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    why         pg_catalog.text DEFAULT NULL,
    OUT verdict pg_catalog.text,
    OUT reason  pg_catalog.text,
    OUT latest  pg_catalog.int8,
    OUT repeat  pg_catalog.bool
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_suspend_key';
COMMENT ON FUNCTION spool.suspend_key IS 'lets nothing of a key pass until resume_key';

CREATE FUNCTION spool.resume_key(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    OUT verdict pg_catalog.text,
    OUT reason  pg_catalog.text,
    OUT latest  pg_catalog.int8,
    OUT repeat  pg_catalog.bool
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_resume_key';
COMMENT ON FUNCTION spool.resume_key IS 'ends a suspension; what suspended the key may be tried again';

CREATE FUNCTION spool.skip_delivery(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    target      pg_catalog.text   DEFAULT NULL,
    part        pg_catalog.int4[] DEFAULT NULL,
    why         pg_catalog.text   DEFAULT NULL,
    OUT verdict pg_catalog.text,
    OUT reason  pg_catalog.text,
    OUT latest  pg_catalog.int8,
    OUT repeat  pg_catalog.bool
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_skip_delivery';
COMMENT ON FUNCTION spool.skip_delivery IS 'ends a delivery as dead, and the suspension that it caused';

CREATE FUNCTION spool.reset(
    resequencer pg_catalog.text,
    key         pg_catalog.text DEFAULT NULL,
    OUT verdict pg_catalog.text,
    OUT reason  pg_catalog.text,
    OUT latest  pg_catalog.int8,
    OUT repeat  pg_catalog.bool
)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_reset';
COMMENT ON FUNCTION spool.reset IS 'begins a new epoch of a key, or of all: its numbers start again, what is live is suppressed';

CREATE FUNCTION spool.expire(resequencer pg_catalog.text)
RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_expire';
COMMENT ON FUNCTION spool.expire IS 'ends deliveries whose deadline is over, returns how many';
