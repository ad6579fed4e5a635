-- Who may do what, and what pg_dump saves.
--
-- Functions that work on one queue or resequencer may be called by everybody:
-- they check the rights on it.  Creating them, upkeep, and workers are for whom
-- the extension's owner grants EXECUTE.  Segments are of all queues: what is told
-- of them is for those who monitor the server.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA spool FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA spool FROM PUBLIC;
GRANT USAGE ON SCHEMA spool TO PUBLIC;

DO $$
DECLARE
    routine pg_catalog.regprocedure;
BEGIN
    FOR routine IN
        SELECT p.oid
          FROM pg_catalog.pg_proc p
         WHERE p.pronamespace = 'spool'::pg_catalog.regnamespace
           AND p.proname NOT IN ('create_queue', 'create_resequencer', 'maintain', 'start', 'stop', 'segment_rows')
    LOOP
        EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO PUBLIC', routine);
    END LOOP;
END
$$;

GRANT SELECT ON spool.queues, spool.attempts, spool.actions, spool.dead_letters,
    spool.workers, spool.claims, spool.stat_queues, spool.stat_streams,
    spool.resequencers, spool.registrations, spool.stat_keys,
    spool.stat_resequencers TO PUBLIC;
GRANT SELECT, INSERT ON spool.inbox TO PUBLIC;
GRANT SELECT ON spool.segments TO pg_monitor;
GRANT EXECUTE ON FUNCTION spool.segment_rows TO pg_monitor;

-- each call changes the extension's row, so each is a statement of its own
DO $$
DECLARE
    relation pg_catalog.regclass;
BEGIN
    FOR relation IN
        SELECT c.oid
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace = 'spool'::pg_catalog.regnamespace
           AND c.relkind IN ('r', 'S')
           AND c.relname <> 'segment'
    LOOP
        PERFORM pg_catalog.pg_extension_config_dump(relation, '');
    END LOOP;
END
$$;
