-- Upkeep as if a minute went by between the calls.
--
-- Nobody else may be at it: the manager is stopped, and whoever includes this
-- starts it at its end.  A vacuum would put steps off, so the server has no
-- autovacuum.
SELECT spool.stop() \g /dev/null

CREATE PROCEDURE pg_temp.maintain(times int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. times LOOP
        UPDATE spool.segment SET moved_at = moved_at - interval '1 min', emptied_at = emptied_at - interval '1 min';
        CALL spool.maintain();
    END LOOP;
END $$;

-- Start the manager, in a server that has one by itself.
CREATE PROCEDURE pg_temp.maintained() LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('shared_preload_libraries') ~ 'spool' THEN
        PERFORM spool.start();
    END IF;
END $$;
