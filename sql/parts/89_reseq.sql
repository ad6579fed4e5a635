-- The resequencer's verbs.

CREATE TYPE spool.verdict AS (
    verdict pg_catalog.text,
    reason  pg_catalog.text,
    latest  pg_catalog.int8,
    repeat  pg_catalog.bool
);
COMMENT ON TYPE spool.verdict IS 'what a verb of a resequencer answers: verdict and why, the highest number registered, whether nothing changed';

CREATE FUNCTION spool.register(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    targets     pg_catalog.text[] DEFAULT NULL,
    digest      pg_catalog.bytea  DEFAULT NULL,
    parts       pg_catalog.int4   DEFAULT NULL,
    part        pg_catalog.int4[] DEFAULT NULL
) RETURNS spool.verdict
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
    target      pg_catalog.text
) RETURNS spool.verdict
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_add_target';
COMMENT ON FUNCTION spool.add_target IS 'registers a number that is registered for one more target';

CREATE FUNCTION spool.resequence(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    target      pg_catalog.text   DEFAULT NULL,
    part        pg_catalog.int4[] DEFAULT NULL
) RETURNS spool.verdict
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
    part        pg_catalog.int4[] DEFAULT NULL
) RETURNS spool.verdict
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_applied';
COMMENT ON FUNCTION spool.applied IS 'acknowledges that a number that passed was delivered';

CREATE FUNCTION spool.failed(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    target      pg_catalog.text   DEFAULT NULL,
    part        pg_catalog.int4[] DEFAULT NULL,
    error       pg_catalog.text   DEFAULT NULL
) RETURNS spool.verdict
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_failed';
COMMENT ON FUNCTION spool.failed IS 'ends a delivery that cannot be made: the next lower one may pass, or the key is suspended';

CREATE FUNCTION spool.unregister(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    target      pg_catalog.text   DEFAULT NULL,
    part        pg_catalog.int4[] DEFAULT NULL
) RETURNS spool.verdict
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
    reason      pg_catalog.text DEFAULT NULL
) RETURNS spool.verdict
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_suspend_key';
COMMENT ON FUNCTION spool.suspend_key IS 'lets nothing of a key pass until resume_key';

CREATE FUNCTION spool.resume_key(
    resequencer pg_catalog.text,
    key         pg_catalog.text
) RETURNS spool.verdict
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_resume_key';
COMMENT ON FUNCTION spool.resume_key IS 'ends a suspension; what suspended the key may be tried again';

CREATE FUNCTION spool.skip_delivery(
    resequencer pg_catalog.text,
    key         pg_catalog.text,
    sn          pg_catalog.int8,
    target      pg_catalog.text   DEFAULT NULL,
    part        pg_catalog.int4[] DEFAULT NULL,
    reason      pg_catalog.text   DEFAULT NULL
) RETURNS spool.verdict
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_skip_delivery';
COMMENT ON FUNCTION spool.skip_delivery IS 'ends a delivery as dead, and the suspension that it caused';

CREATE FUNCTION spool.reset(
    resequencer pg_catalog.text,
    key         pg_catalog.text DEFAULT NULL
) RETURNS spool.verdict
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_reset';
COMMENT ON FUNCTION spool.reset IS 'begins a new epoch of a key, or of all: its numbers start again, what is live is suppressed';

CREATE FUNCTION spool.expire(resequencer pg_catalog.text)
RETURNS pg_catalog.int8
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'spool_expire';
COMMENT ON FUNCTION spool.expire IS 'ends deliveries whose deadline is over, returns how many';

-- Looking.

CREATE FUNCTION spool.lane_stats(
    resequencer         pg_catalog.text,
    of_key              pg_catalog.text DEFAULT NULL,
    OUT key             pg_catalog.text,
    OUT epoch           pg_catalog.int4,
    OUT target          pg_catalog.text,
    OUT applied         pg_catalog.int8,
    OUT latest          pg_catalog.int8,
    OUT newest          pg_catalog.int8,
    OUT passed          pg_catalog.int8,
    OUT live            pg_catalog.int8,
    OUT parked          pg_catalog.int8,
    OUT registered      pg_catalog.int8,
    OUT delivered       pg_catalog.int8,
    OUT suppressed      pg_catalog.int8,
    OUT dead            pg_catalog.int8,
    OUT expired         pg_catalog.int8,
    OUT unregistered    pg_catalog.int8,
    OUT duplicates      pg_catalog.int8,
    OUT forced          pg_catalog.int8,
    OUT lost            pg_catalog.int8,
    OUT run             pg_catalog.int4,
    OUT oldest          pg_catalog.timestamptz,
    OUT since           pg_catalog.timestamptz,
    OUT suspended       pg_catalog.text,
    OUT suspended_since pg_catalog.timestamptz,
    OUT blocking        pg_catalog.int8,
    OUT pid             pg_catalog.int4,
    OUT prepared        pg_catalog.xid
) RETURNS SETOF pg_catalog.record
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'spool_lane_stats';
COMMENT ON FUNCTION spool.lane_stats IS 'the rows of spool.stat_keys for one resequencer, or one key of it, and counts; not to be called directly';

CREATE VIEW spool.stat_keys WITH (security_barrier) AS
SELECT r.name AS resequencer, k.key, s.target, s.epoch, s.applied, s.latest,
       s.live, s.parked,
       CASE WHEN s.suspended IS NOT NULL THEN 'suspended'
            WHEN s.passed IS NOT NULL THEN 'passed'
            WHEN s.live > 0 THEN 'live'
            ELSE 'idle'
       END AS state,
       s.suspended AS reason, s.blocking, s.run, s.oldest,
       COALESCE(s.suspended_since, s.since) AS since, s.pid, p.gid
  FROM spool.resequencer r
  JOIN spool.reseq_key k ON k.resequencer = r.id
 CROSS JOIN LATERAL spool.lane_stats(r.name, k.key) s
  LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = s.prepared
 WHERE spool.has_resequencer_privilege(r.name, 'read');
COMMENT ON VIEW spool.stat_keys IS 'keys and targets of resequencers that the current user may read; a condition on key is fast';
COMMENT ON COLUMN spool.stat_keys.epoch IS 'how often the key was reset';
COMMENT ON COLUMN spool.stat_keys.applied IS 'the highest number that was delivered; nothing below passes';
COMMENT ON COLUMN spool.stat_keys.latest IS 'the highest number registered';
COMMENT ON COLUMN spool.stat_keys.live IS 'deliveries that have not ended';
COMMENT ON COLUMN spool.stat_keys.parked IS 'live ones that wait for a newer one to end';
COMMENT ON COLUMN spool.stat_keys.state IS 'suspended, passed (to be acknowledged, or parts of it are going), live or idle';
COMMENT ON COLUMN spool.stat_keys.reason IS 'why the key is suspended';
COMMENT ON COLUMN spool.stat_keys.blocking IS 'the number whose failure suspended the key';
COMMENT ON COLUMN spool.stat_keys.run IS 'calls superseded since the last pass';
COMMENT ON COLUMN spool.stat_keys.oldest IS 'when the lowest live number was registered';
COMMENT ON COLUMN spool.stat_keys.since IS 'when the key was suspended, else of the last change';
COMMENT ON COLUMN spool.stat_keys.pid IS 'process whose open transaction has the key locked';
COMMENT ON COLUMN spool.stat_keys.gid IS 'prepared transaction that has the key locked';

CREATE FUNCTION spool.registration_rows(
    resequencer       pg_catalog.text,
    of_key            pg_catalog.text DEFAULT NULL,
    OUT key           pg_catalog.text,
    OUT sn            pg_catalog.int8,
    OUT part          pg_catalog.int4[],
    OUT target        pg_catalog.text,
    OUT state         pg_catalog.text,
    OUT reason        pg_catalog.text,
    OUT live          pg_catalog.bool,
    OUT registered_at pg_catalog.timestamptz,
    OUT since         pg_catalog.timestamptz,
    OUT deadline      pg_catalog.timestamptz
) RETURNS SETOF pg_catalog.record
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'spool_registration_rows';
COMMENT ON FUNCTION spool.registration_rows IS 'the rows of spool.registrations for one resequencer, or one key of it; not to be called directly';

CREATE VIEW spool.registrations WITH (security_barrier) AS
SELECT r.name AS resequencer, k.key, x.sn, x.part, x.target, x.state,
       x.reason, x.live, x.registered_at, x.since, x.deadline
  FROM spool.resequencer r
  JOIN spool.reseq_key k ON k.resequencer = r.id
 CROSS JOIN LATERAL spool.registration_rows(r.name, k.key) x
 WHERE spool.has_resequencer_privilege(r.name, 'read');
COMMENT ON VIEW spool.registrations IS 'deliveries above the applied number of their key and target, of resequencers that the current user may read: live ones, and how others ended; a condition on key is fast';
COMMENT ON COLUMN spool.registrations.part IS 'path of a part; NULL = the whole';
COMMENT ON COLUMN spool.registrations.state IS 'registered, waiting, parked, passed or split; ended: applied, suppressed, dead, expired or unregistered';
COMMENT ON COLUMN spool.registrations.reason IS 'why it waits, or ended';
COMMENT ON COLUMN spool.registrations.since IS 'when it passed or ended, else when it was registered';
COMMENT ON COLUMN spool.registrations.deadline IS 'when it ends by itself; NULL while its key is suspended, and when it has ended';

CREATE VIEW spool.stat_resequencers WITH (security_barrier) AS
SELECT r.name AS resequencer,
       s.registered + COALESCE(t.registered, 0) AS registered,
       s.delivered + COALESCE(t.delivered, 0) AS applied,
       s.suppressed + COALESCE(t.suppressed, 0) AS suppressed,
       s.parked,
       s.dead + COALESCE(t.dead, 0) AS dead,
       s.expired + COALESCE(t.expired, 0) AS expired,
       s.unregistered + COALESCE(t.unregistered, 0) AS unregistered,
       s.duplicates + COALESCE(t.duplicates, 0) AS duplicates,
       s.forced + COALESCE(t.forced, 0) AS forced,
       s.live, s.oldest,
       s.lost + COALESCE(t.lost, 0) AS lost,
       s.keys, s.suspended
  FROM spool.resequencer r
 CROSS JOIN LATERAL (
       SELECT COALESCE(pg_catalog.sum(l.registered), 0)::pg_catalog.int8 AS registered,
              COALESCE(pg_catalog.sum(l.delivered), 0)::pg_catalog.int8 AS delivered,
              COALESCE(pg_catalog.sum(l.suppressed), 0)::pg_catalog.int8 AS suppressed,
              COALESCE(pg_catalog.sum(l.parked), 0)::pg_catalog.int8 AS parked,
              COALESCE(pg_catalog.sum(l.dead), 0)::pg_catalog.int8 AS dead,
              COALESCE(pg_catalog.sum(l.expired), 0)::pg_catalog.int8 AS expired,
              COALESCE(pg_catalog.sum(l.unregistered), 0)::pg_catalog.int8 AS unregistered,
              COALESCE(pg_catalog.sum(l.duplicates), 0)::pg_catalog.int8 AS duplicates,
              COALESCE(pg_catalog.sum(l.forced), 0)::pg_catalog.int8 AS forced,
              COALESCE(pg_catalog.sum(l.live), 0)::pg_catalog.int8 AS live,
              COALESCE(pg_catalog.sum(l.lost), 0)::pg_catalog.int8 AS lost,
              pg_catalog.min(l.oldest) AS oldest,
              pg_catalog.count(DISTINCT l.key) AS keys,
              pg_catalog.count(DISTINCT l.key) FILTER (WHERE l.suspended IS NOT NULL) AS suspended
         FROM spool.lane_stats(r.name) l) s
  LEFT JOIN (
       SELECT tally.resequencer,
              pg_catalog.sum(tally.registered)::pg_catalog.int8 AS registered,
              pg_catalog.sum(tally.delivered)::pg_catalog.int8 AS delivered,
              pg_catalog.sum(tally.suppressed)::pg_catalog.int8 AS suppressed,
              pg_catalog.sum(tally.dead)::pg_catalog.int8 AS dead,
              pg_catalog.sum(tally.expired)::pg_catalog.int8 AS expired,
              pg_catalog.sum(tally.unregistered)::pg_catalog.int8 AS unregistered,
              pg_catalog.sum(tally.duplicates)::pg_catalog.int8 AS duplicates,
              pg_catalog.sum(tally.forced)::pg_catalog.int8 AS forced,
              pg_catalog.sum(tally.lost)::pg_catalog.int8 AS lost
         FROM spool.reseq_tally tally
        GROUP BY tally.resequencer) t ON t.resequencer = r.id
 WHERE spool.has_resequencer_privilege(r.name, 'read');
COMMENT ON VIEW spool.stat_resequencers IS 'resequencers that the current user may read: deliveries registered so far, and what came of them';
COMMENT ON COLUMN spool.stat_resequencers.registered IS 'applied + suppressed + dead + expired + unregistered + live';
COMMENT ON COLUMN spool.stat_resequencers.parked IS 'live ones that wait for a newer one to end';
COMMENT ON COLUMN spool.stat_resequencers.duplicates IS 'calls that were repeated, or came too late';
COMMENT ON COLUMN spool.stat_resequencers.forced IS 'passed though superseded: by the valve, or while disabled';
COMMENT ON COLUMN spool.stat_resequencers.oldest IS 'the earliest of spool.stat_keys.oldest';
COMMENT ON COLUMN spool.stat_resequencers.lost IS 'times that the newest of a key failed and none was left to pass';
COMMENT ON COLUMN spool.stat_resequencers.keys IS 'keys that are remembered';
COMMENT ON COLUMN spool.stat_resequencers.suspended IS 'keys that are suspended';

-- Of queues and of resequencers.  The union is wrapped, as that of claims.
CREATE VIEW spool.dead_letters WITH (security_barrier) AS
SELECT l.source, l.name, l.stream, l.seq, l.target, l.packet_id, l.reason,
       l.sqlstate, l.message, l.attempts, l.since
  FROM (SELECT 'queue'::pg_catalog.text AS source, q.name, s.name AS stream,
               k.seq, NULL::pg_catalog.text AS target, k.packet_id, k.reason,
               k.sqlstate, k.message, k.attempts, k.since
          FROM spool.kept k
          JOIN spool.stream s ON s.id = k.stream
          JOIN spool.queue q ON q.id = s.queue
         WHERE k.state IN ('dead', 'failed')
           AND spool.has_queue_privilege(q.name, 'read')
        UNION ALL
        SELECT 'resequencer', r.name, d.key, d.sn, d.target, NULL, d.reason,
               NULL, d.message, 0, d.since
          FROM spool.reseq_dead d
          JOIN spool.resequencer r ON r.id = d.resequencer
         WHERE spool.has_resequencer_privilege(r.name, 'read')) l;
COMMENT ON VIEW spool.dead_letters IS 'packets that will not run unless redriven: failed for good, late, passed over, discarded; and what resequencers could not deliver or decide';
COMMENT ON COLUMN spool.dead_letters.source IS 'queue or resequencer';
COMMENT ON COLUMN spool.dead_letters.name IS 'of the queue or resequencer';
COMMENT ON COLUMN spool.dead_letters.stream IS 'the stream, or the key';
COMMENT ON COLUMN spool.dead_letters.seq IS 'the number; NULL if a call gave none';
