-- Plays scripts on resequencers.
--
-- A script is a list of calls with their answers: 'reg k 1 -> current; rsq k 1
-- -> pass'.  The words after the verb are key and number, then arguments as
-- name=value.  An answer is verdict/reason, with = at its end for a repeat, or
-- the SQLSTATE of an error; of a look it is what is seen.
--
-- plays() creates a resequencer with the options given, plays the script and
-- compares the answers.  After each call the counts must add up (I5).  Then it
-- plays all once more in another resequencer, each verb twice: the second call
-- must give the same verdict, or say that it is over, and change nothing but
-- the count of duplicates (I7).  Of what is disabled, each call counts.

CREATE SEQUENCE pg_temp.players;

-- name=value words as arguments of a function.
CREATE FUNCTION pg_temp.arguments(words text[]) RETURNS text
LANGUAGE sql AS $$
    SELECT string_agg(format(', %I => %L', split_part(word, '=', 1), regexp_replace(word, '^[^=]*=', '')), '')
      FROM unnest(words) word
$$;

-- Makes all that a resequencer knows older.  Rows never change but here, so the
-- trees that this backend has read must be forgotten: a rollback does that.
CREATE FUNCTION pg_temp.age(name text, by interval) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE spool.reseq_delivery d SET registered_at = d.registered_at - age.by, since = d.since - age.by
      FROM spool.reseq_key k JOIN spool.resequencer r ON r.id = k.resequencer
     WHERE k.id = d.key AND r.name = age.name;
    UPDATE spool.reseq_lane l SET due = l.due - age.by, since = l.since - age.by, run_since = l.run_since - age.by
      FROM spool.reseq_key k JOIN spool.resequencer r ON r.id = k.resequencer
     WHERE k.id = l.key AND r.name = age.name;
    UPDATE spool.reseq_key k SET suspended_since = k.suspended_since - age.by, resumed_at = k.resumed_at - age.by
      FROM spool.resequencer r WHERE r.id = k.resequencer AND r.name = age.name;
    UPDATE spool.reseq_expired e SET upto = e.upto - age.by, tree_upto = e.tree_upto - age.by FROM spool.resequencer r WHERE r.id = e.resequencer AND r.name = age.name;
    BEGIN
        RAISE 'forget';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
END $$;

-- What is seen.  In the looks at rows, k 3{2}T is part {2} of number 3 of key k for target T, which is left out if it is the default.
CREATE FUNCTION pg_temp.label(key text, sn bigint, part int[], target text) RETURNS text
LANGUAGE sql AS $$ SELECT concat(key, ' ', sn, part, nullif(target, 'default')) $$;
CREATE FUNCTION pg_temp.look(name text, verb text, words text[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    seen text;
BEGIN
    CASE verb
        WHEN 'is_current' THEN
            EXECUTE format('SELECT spool.is_current(%L, %L, %L%s)', name, nullif(words[1], 'NULL'), nullif(words[2], 'NULL'), pg_temp.arguments(words[3:])) INTO seen;
        WHEN 'promoted' THEN
            SELECT string_agg(pg_temp.label(p.key, p.sn, NULL, p.target), ', ' ORDER BY p.ordinality) INTO seen FROM spool.promoted(name) WITH ORDINALITY p;
        WHEN 'live' THEN        -- deliveries that are live
            SELECT string_agg(pg_temp.label(x.key, x.sn, x.part, x.target) || ' ' || x.state, ', ' ORDER BY x.key, x.target, x.sn, x.part NULLS FIRST)
              INTO seen FROM spool.registrations x WHERE x.resequencer = name AND x.live;
        WHEN 'ended' THEN       -- and those that have ended above the applied number
            SELECT string_agg(concat_ws(' ', pg_temp.label(x.key, x.sn, x.part, x.target), x.state, x.reason), ', ' ORDER BY x.key, x.target, x.sn, x.part NULLS FIRST)
              INTO seen FROM spool.registrations x WHERE x.resequencer = name AND NOT x.live;
        WHEN 'keys' THEN        -- key target: applied/latest live state
            SELECT string_agg(concat_ws(' ', concat(s.key, ' ', s.target, ':'), concat(coalesce(s.applied::text, '-'), '/', coalesce(s.latest::text, '-')), s.live, s.state, s.reason, s.blocking), ', ' ORDER BY s.key, s.target)
              INTO seen FROM spool.stat_keys s WHERE s.resequencer = name;
        WHEN 'dead' THEN        -- dead letters
            SELECT string_agg(concat_ws(' ', pg_temp.label(d.key, d.sn, d.part, d.target), d.reason, '"' || d.message || '"'), ', ' ORDER BY d.key, d.sn, d.target, d.part NULLS FIRST)
              INTO seen FROM spool.reseq_dead d JOIN spool.resequencer r ON r.id = d.resequencer WHERE r.name = look.name;
        WHEN 'stat' THEN        -- counts that are not 0, or those named
            SELECT string_agg(format('%s %s', c.key, c.value), ', ' ORDER BY c.ordinality)
              INTO seen
              FROM spool.stat_resequencers s, json_each_text(row_to_json(s)) WITH ORDINALITY c
             WHERE s.resequencer = name
               AND CASE WHEN words = '{}' THEN c.value <> '0' AND c.key <> ALL ('{resequencer,oldest,keys,duplicates}') ELSE c.key = ANY (words) END;
        WHEN 'duplicates' THEN
            SELECT s.duplicates INTO seen FROM spool.stat_resequencers s WHERE s.resequencer = name;
    END CASE;
    RETURN coalesce(seen, 'none');
END $$;

-- One call, and its answer.
CREATE FUNCTION pg_temp.call(name text, command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    words text[] = regexp_split_to_array(command, ' +');
    verb text = coalesce('{"reg": "register", "rsq": "resequence", "app": "applied", "fail": "failed", "unreg": "unregister", "add": "add_target",
        "skip": "skip_delivery", "suspend": "suspend_key", "resume": "resume_key"}'::json ->> words[1], words[1]);
    answer record;
BEGIN
    CASE
        WHEN verb = ANY ('{is_current,promoted,live,ended,keys,dead,stat,duplicates}') THEN
            RETURN pg_temp.look(name, verb, words[2:]);
        WHEN verb = 'age' THEN
            PERFORM pg_temp.age(name, words[2]::interval);
            RETURN 'done';
        WHEN verb = 'alter' THEN
            EXECUTE format('SELECT spool.alter_resequencer(%L%s)', name, pg_temp.arguments(words[2:]));
            RETURN 'done';
        WHEN verb = 'expire' THEN
            RETURN spool.expire(name);
        WHEN verb IN ('suspend_key', 'resume_key', 'reset') THEN
            EXECUTE format('SELECT * FROM spool.%I(%L%s%s)', verb, name, ', ' || quote_literal(words[2]), pg_temp.arguments(words[3:])) INTO answer;
        ELSE
            EXECUTE format('SELECT * FROM spool.%I(%L, %L, %L%s)', verb, name, nullif(words[2], 'NULL'), nullif(words[3], 'NULL'), pg_temp.arguments(words[4:])) INTO answer;
    END CASE;
    RETURN concat(answer.verdict, '/' || answer.reason, CASE WHEN answer.repeat THEN '=' END);
EXCEPTION
    WHEN case_not_found OR syntax_error OR undefined_function OR undefined_column THEN
        RAISE;
    WHEN OTHERS THEN
        RETURN SQLSTATE;
END $$;

-- Lanes whose counts do not add up, or are not those of their rows.
CREATE FUNCTION pg_temp.not_conserved(name text) RETURNS text
LANGUAGE sql AS $$
    SELECT string_agg(format('%s %s', s.key, s.target), ', ')
      FROM spool.lane_stats(name) s
      LEFT JOIN (
           SELECT x.key, x.target, count(*) FILTER (WHERE x.live) AS live, count(*) FILTER (WHERE x.state = 'parked') AS parked
             FROM spool.registrations x
            WHERE x.resequencer = name
            GROUP BY x.key, x.target) x ON x.key = s.key AND x.target = s.target
     WHERE s.registered <> s.delivered + s.suppressed + s.dead + s.expired + s.unregistered + s.live
        OR s.live <> coalesce(x.live, 0) OR s.parked <> coalesce(x.parked, 0)
$$;

-- All that must not change if a call is repeated.
CREATE FUNCTION pg_temp.state(name text) RETURNS text
LANGUAGE sql AS $$
    SELECT concat((SELECT json_agg(to_jsonb(s) - '{duplicates,since,suspended_since,pid,prepared}'::text[] ORDER BY s.key, s.target) FROM spool.lane_stats(name) s),
                  (SELECT json_agg(to_jsonb(x) - '{resequencer,since,deadline}'::text[] ORDER BY x.key, x.target, x.sn, x.part) FROM spool.registrations x WHERE x.resequencer = name),
                  (SELECT json_agg(p ORDER BY p.ordinality) FROM spool.promoted(name) WITH ORDINALITY p))
$$;

-- Plays a script; returns it with the answers that were given.
CREATE FUNCTION pg_temp.play(script text, options text, doubled boolean) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    name text = 'player ' || nextval('pg_temp.players');
    command text;
    answer text;
    again text;
    was text;
    played text[] = '{}';
BEGIN
    EXECUTE format('SELECT spool.create_resequencer(%L%s)', name, pg_temp.arguments(regexp_split_to_array(nullif(btrim(options), ''), ' +')));
    FOREACH command IN ARRAY regexp_split_to_array(btrim(script, E' \n'), ';\s+') LOOP
        command = split_part(command, ' -> ', 1);
        answer = pg_temp.call(name, command);
        IF doubled AND command ~ '^(reg|rsq|app|fail|unreg|add|skip|suspend|resume|expire)\M' THEN
            was = pg_temp.state(name);
            again = pg_temp.call(name, command);
            IF regexp_replace(again, '(/.*|=)$', '') IS DISTINCT FROM
               (CASE WHEN command ~ '^expire' THEN '0'
                     WHEN command ~ '^rsq' AND answer ~ '^(pass|suppress)' AND again ~ '^duplicate' THEN 'duplicate'
                     ELSE regexp_replace(answer, '(/.*|=)$', '') END) THEN
                answer = format('%s, again: %s', answer, again);
            END IF;
            IF pg_temp.state(name) <> was THEN
                answer = format('%s, again it changes %s to %s', answer, was, pg_temp.state(name));
            END IF;
        END IF;
        answer = answer || coalesce(', not conserved: ' || pg_temp.not_conserved(name), '');
        played = played || format('%s -> %s', command, answer);
    END LOOP;
    RETURN array_to_string(played, '; ');
END $$;

CREATE FUNCTION pg_temp.plays(description text, script text, options text = '', doubled boolean = NULL) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    wanted text = regexp_replace(btrim(script, E' \n'), ';\s+', '; ', 'g');
    counts text = 'duplicates -> \d+';
BEGIN
    RETURN NEXT is(pg_temp.play(script, options, false), wanted, description);
    IF coalesce(doubled, script || options !~ 'enabled=false') THEN
        RETURN NEXT is(regexp_replace(pg_temp.play(script, options, true), counts, '', 'g'), regexp_replace(wanted, counts, '', 'g'), 'I7: ' || description);
    END IF;
END $$;
