-- Resequencers: what an operator configures.

CREATE SEQUENCE spool.reseq_id_seq AS pg_catalog.int4;

CREATE TABLE spool.resequencer (
    id               pg_catalog.int4     PRIMARY KEY,
    name             pg_catalog.text     COLLATE pg_catalog."C" NOT NULL UNIQUE,
    owner            pg_catalog.regrole  NOT NULL,
    targets          pg_catalog.text[]   NOT NULL,
    targets_by       pg_catalog.text,
    targets_path     pg_catalog.text,
    supersede        pg_catalog.text     NOT NULL,
    on_unregistered  pg_catalog.text     NOT NULL,
    on_invalid       pg_catalog.text     NOT NULL,
    delivery         pg_catalog.text     NOT NULL,
    on_failure       pg_catalog.text     NOT NULL,
    deadline         pg_catalog.interval NOT NULL,
    retention        pg_catalog.interval NOT NULL,
    max_suppressed   pg_catalog.int4     NOT NULL,
    max_suppress_age pg_catalog.interval NOT NULL,
    tree_timeout     pg_catalog.interval NOT NULL,
    on_incomplete    pg_catalog.text     NOT NULL,
    enabled          pg_catalog.bool     NOT NULL,
    acl              pg_catalog.aclitem[]
);
COMMENT ON TABLE spool.resequencer IS 'resequencers and their options; changed by functions only, which tell all sessions';
COMMENT ON COLUMN spool.resequencer.targets IS 'only added to: rows of lanes have the places';
COMMENT ON COLUMN spool.resequencer.targets_by IS 'SQL expression over key that gives the targets of a key; NULL = all targets';
COMMENT ON COLUMN spool.resequencer.targets_path IS 'search_path of the session that set targets_by';
COMMENT ON COLUMN spool.resequencer.acl IS 'r = read, a = write, X = process, C = admin';

CREATE FUNCTION spool.create_resequencer(
    name             pg_catalog.text,
    targets          pg_catalog.text[]   DEFAULT '{default}',
    targets_by       pg_catalog.text     DEFAULT NULL,
    supersede        pg_catalog.text     DEFAULT 'park',
    on_unregistered  pg_catalog.text     DEFAULT 'error',
    on_invalid       pg_catalog.text     DEFAULT 'error',
    delivery         pg_catalog.text     DEFAULT 'atomic',
    on_failure       pg_catalog.text     DEFAULT 'promote',
    deadline         pg_catalog.interval DEFAULT '1 hour',
    retention        pg_catalog.interval DEFAULT '1 day',
    max_suppressed   pg_catalog.int4     DEFAULT 0,
    max_suppress_age pg_catalog.interval DEFAULT '0',
    tree_timeout     pg_catalog.interval DEFAULT '0',
    on_incomplete    pg_catalog.text     DEFAULT 'all_or_nothing',
    enabled          pg_catalog.bool     DEFAULT true,
    owner            pg_catalog.regrole  DEFAULT NULL,
    if_not_exists    pg_catalog.bool     DEFAULT false
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_create_resequencer';
COMMENT ON FUNCTION spool.create_resequencer IS 'creates a resequencer; the caller becomes its owner unless another is given';

CREATE FUNCTION spool.alter_resequencer(
    name             pg_catalog.text,
    targets          pg_catalog.text[]   DEFAULT NULL,
    targets_by       pg_catalog.text     DEFAULT NULL,
    supersede        pg_catalog.text     DEFAULT NULL,
    on_unregistered  pg_catalog.text     DEFAULT NULL,
    on_invalid       pg_catalog.text     DEFAULT NULL,
    delivery         pg_catalog.text     DEFAULT NULL,
    on_failure       pg_catalog.text     DEFAULT NULL,
    deadline         pg_catalog.interval DEFAULT NULL,
    retention        pg_catalog.interval DEFAULT NULL,
    max_suppressed   pg_catalog.int4     DEFAULT NULL,
    max_suppress_age pg_catalog.interval DEFAULT NULL,
    tree_timeout     pg_catalog.interval DEFAULT NULL,
    on_incomplete    pg_catalog.text     DEFAULT NULL,
    enabled          pg_catalog.bool     DEFAULT NULL,
    owner            pg_catalog.regrole  DEFAULT NULL
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_alter_resequencer';
COMMENT ON FUNCTION spool.alter_resequencer IS 'changes options of a resequencer; NULL leaves one as it is, targets can only be added to, targets_by is removed by the empty text';

CREATE FUNCTION spool.drop_resequencer(
    name      pg_catalog.text,
    if_exists pg_catalog.bool DEFAULT false
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_drop_resequencer';
COMMENT ON FUNCTION spool.drop_resequencer IS 'removes a resequencer and all it knows; waits for open verbs';

CREATE FUNCTION spool.grant_resequencer(
    resequencer pg_catalog.text,
    role        pg_catalog.regrole,
    privilege   pg_catalog.text
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_grant_resequencer';
COMMENT ON FUNCTION spool.grant_resequencer IS 'grants read, write, process or admin on a resequencer';

CREATE FUNCTION spool.revoke_resequencer(
    resequencer pg_catalog.text,
    role        pg_catalog.regrole,
    privilege   pg_catalog.text
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_revoke_resequencer';
COMMENT ON FUNCTION spool.revoke_resequencer IS 'takes back read, write, process or admin on a resequencer';

CREATE FUNCTION spool.has_resequencer_privilege(resequencer pg_catalog.text, privilege pg_catalog.text)
RETURNS pg_catalog.bool
LANGUAGE c STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_has_resequencer_privilege';
COMMENT ON FUNCTION spool.has_resequencer_privilege IS 'whether the current user holds read, write, process or admin on a resequencer';

CREATE VIEW spool.resequencers WITH (security_barrier) AS
SELECT r.name AS resequencer, r.owner, r.targets, r.targets_by, r.supersede,
       r.on_unregistered, r.on_invalid, r.delivery, r.on_failure, r.deadline,
       r.retention, r.max_suppressed, r.max_suppress_age, r.tree_timeout,
       r.on_incomplete, r.enabled, r.acl
  FROM spool.resequencer r
 WHERE spool.has_resequencer_privilege(r.name, 'any');
COMMENT ON VIEW spool.resequencers IS 'resequencers on which the current user holds any privilege, with their options';
COMMENT ON COLUMN spool.resequencers.targets_by IS 'SQL expression over key that gives the targets of a registration that names none; NULL = all';
COMMENT ON COLUMN spool.resequencers.deadline IS 'how long a delivery lives after its registration, and again after its pass';
COMMENT ON COLUMN spool.resequencers.retention IS 'how long a key is remembered when nothing of it is live';
COMMENT ON COLUMN spool.resequencers.max_suppressed IS 'every so many calls that a higher number holds up, one passes; 0 = no such valve';
COMMENT ON COLUMN spool.resequencers.max_suppress_age IS 'one passes when this has lasted for so long; 0 = no such valve';
COMMENT ON COLUMN spool.resequencers.tree_timeout IS 'how long the parts of a number are waited for; 0 = the deadline';
COMMENT ON COLUMN spool.resequencers.enabled IS 'false: everything passes, and is counted';
COMMENT ON COLUMN spool.resequencers.acl IS 'r = read, a = write, X = process, C = admin';
