-- Queues: what an operator configures.

CREATE SEQUENCE spool.queue_id_seq AS pg_catalog.int4;

CREATE TABLE spool.queue (
    id               pg_catalog.int4     PRIMARY KEY,
    name             pg_catalog.text     COLLATE pg_catalog."C" NOT NULL UNIQUE,
    owner            pg_catalog.regrole  NOT NULL,
    order_by         pg_catalog.text     NOT NULL,
    append_only      pg_catalog.bool     NOT NULL,
    max_attempts     pg_catalog.int4,
    on_error         pg_catalog.text     NOT NULL,
    retry_delay      pg_catalog.interval NOT NULL,
    retry_delay_max  pg_catalog.interval NOT NULL,
    gap_timeout      pg_catalog.interval NOT NULL,
    timeout          pg_catalog.interval NOT NULL,
    quiet            pg_catalog.interval NOT NULL,
    max_wait         pg_catalog.interval NOT NULL,
    allow_job_params pg_catalog.bool     NOT NULL,
    ignore_payload   pg_catalog.bool     NOT NULL,
    retention        pg_catalog.interval NOT NULL,
    history          pg_catalog.text     NOT NULL,
    workers          pg_catalog.int4     NOT NULL,
    handler          pg_catalog.text,
    handler_path     pg_catalog.text,
    program          pg_catalog.text,
    args             pg_catalog.text[],
    paused_since     pg_catalog.timestamptz,
    pause_reason     pg_catalog.text,
    acl              pg_catalog.aclitem[]
);
COMMENT ON TABLE spool.queue IS 'queues and their options; changed by functions only, which tell all sessions';
COMMENT ON COLUMN spool.queue.max_attempts IS 'NULL = the default of on_error';
COMMENT ON COLUMN spool.queue.handler_path IS 'search_path of the session that set the handler';
COMMENT ON COLUMN spool.queue.acl IS 'r = read, a = write, X = process, C = admin';

CREATE FUNCTION spool.create_queue(
    queue            pg_catalog.text,
    order_by         pg_catalog.text     DEFAULT 'sequence',
    append_only      pg_catalog.bool     DEFAULT false,
    max_attempts     pg_catalog.int4     DEFAULT NULL,
    on_error         pg_catalog.text     DEFAULT 'retry',
    retry_delay      pg_catalog.interval DEFAULT '1 s',
    retry_delay_max  pg_catalog.interval DEFAULT '1 hour',
    gap_timeout      pg_catalog.interval DEFAULT '0',
    timeout          pg_catalog.interval DEFAULT '0',
    quiet            pg_catalog.interval DEFAULT '0',
    max_wait         pg_catalog.interval DEFAULT '0',
    allow_job_params pg_catalog.bool     DEFAULT false,
    ignore_payload   pg_catalog.bool     DEFAULT false,
    retention        pg_catalog.interval DEFAULT '0',
    history          pg_catalog.text     DEFAULT 'failures',
    workers          pg_catalog.int4     DEFAULT 0,
    owner            pg_catalog.regrole  DEFAULT NULL,
    if_not_exists    pg_catalog.bool     DEFAULT false
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_create_queue';
COMMENT ON FUNCTION spool.create_queue IS 'creates a queue; the caller becomes its owner unless another is given';

CREATE FUNCTION spool.alter_queue(
    queue            pg_catalog.text,
    order_by         pg_catalog.text     DEFAULT NULL,
    append_only      pg_catalog.bool     DEFAULT NULL,
    max_attempts     pg_catalog.int4     DEFAULT NULL,
    on_error         pg_catalog.text     DEFAULT NULL,
    retry_delay      pg_catalog.interval DEFAULT NULL,
    retry_delay_max  pg_catalog.interval DEFAULT NULL,
    gap_timeout      pg_catalog.interval DEFAULT NULL,
    timeout          pg_catalog.interval DEFAULT NULL,
    quiet            pg_catalog.interval DEFAULT NULL,
    max_wait         pg_catalog.interval DEFAULT NULL,
    allow_job_params pg_catalog.bool     DEFAULT NULL,
    ignore_payload   pg_catalog.bool     DEFAULT NULL,
    retention        pg_catalog.interval DEFAULT NULL,
    history          pg_catalog.text     DEFAULT NULL,
    workers          pg_catalog.int4     DEFAULT NULL,
    owner            pg_catalog.regrole  DEFAULT NULL
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_alter_queue';
COMMENT ON FUNCTION spool.alter_queue IS 'changes options of a queue; NULL leaves one as it is';

CREATE FUNCTION spool.drop_queue(
    queue     pg_catalog.text,
    force     pg_catalog.bool DEFAULT false,
    if_exists pg_catalog.bool DEFAULT false
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_drop_queue';
COMMENT ON FUNCTION spool.drop_queue IS 'removes a queue and all it holds; refuses while packets wait, unless forced; waits for a running job';

CREATE FUNCTION spool.pause_queue(
    queue  pg_catalog.text,
    stream pg_catalog.text DEFAULT NULL,
    reason pg_catalog.text DEFAULT NULL
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_pause_queue';
COMMENT ON FUNCTION spool.pause_queue IS 'stops handing out packets of a queue or of one stream; writing goes on';

CREATE FUNCTION spool.resume_queue(
    queue  pg_catalog.text,
    stream pg_catalog.text DEFAULT NULL
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_resume_queue';
COMMENT ON FUNCTION spool.resume_queue IS 'ends a pause of a queue or of one stream';

CREATE FUNCTION spool.set_handler(queue pg_catalog.text, statement pg_catalog.text)
RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_set_handler';
COMMENT ON FUNCTION spool.set_handler IS 'the SQL statement that runs a job of the queue, given as $1 of type spool.job; NULL: none';

CREATE FUNCTION spool.set_program(
    queue   pg_catalog.text,
    program pg_catalog.text,
    args    pg_catalog.text[] DEFAULT '{}'
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_set_program';
COMMENT ON FUNCTION spool.set_program IS 'the program that runs a job of the queue, by absolute path, and its fixed arguments; NULL: none';

CREATE FUNCTION spool.grant_queue(
    queue     pg_catalog.text,
    role      pg_catalog.regrole,
    privilege pg_catalog.text
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_grant_queue';
COMMENT ON FUNCTION spool.grant_queue IS 'grants read, write, process or admin on a queue';

CREATE FUNCTION spool.revoke_queue(
    queue     pg_catalog.text,
    role      pg_catalog.regrole,
    privilege pg_catalog.text
) RETURNS pg_catalog.void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_revoke_queue';
COMMENT ON FUNCTION spool.revoke_queue IS 'takes back read, write, process or admin on a queue';

CREATE FUNCTION spool.has_queue_privilege(queue pg_catalog.text, privilege pg_catalog.text)
RETURNS pg_catalog.bool
LANGUAGE c STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_has_queue_privilege';
COMMENT ON FUNCTION spool.has_queue_privilege IS 'whether the current user holds read, write, process or admin on a queue';

CREATE VIEW spool.queues WITH (security_barrier) AS
SELECT q.name AS queue, q.owner, q.order_by, q.append_only,
       COALESCE(q.max_attempts, CASE q.on_error WHEN 'retry' THEN 0 ELSE 1 END) AS max_attempts,
       q.on_error, q.retry_delay, q.retry_delay_max, q.gap_timeout,
       q.timeout, q.quiet, q.max_wait, q.allow_job_params,
       q.ignore_payload, q.retention, q.history, q.workers,
       q.handler, q.program, q.args, q.paused_since, q.pause_reason, q.acl
  FROM spool.queue q
 WHERE spool.has_queue_privilege(q.name, 'any');
COMMENT ON VIEW spool.queues IS 'queues on which the current user holds any privilege, with their options';
