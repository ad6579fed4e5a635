-- take: the fine print of handing out.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(65);

CREATE FUNCTION pg_temp.put(queue text, seqs bigint[], stream text = '', second int = 0, kind text = 'command') RETURNS void
LANGUAGE sql AS $$
    SELECT spool.write_many(queue, (SELECT array_agg(spool.make_packet(n, n::text, kind => kind, ctime => '2026-01-01Z'::timestamptz + second * interval '1 s')) FROM unnest(seqs) n), stream)
$$;
CREATE FUNCTION pg_temp.taken(queue text, max_jobs int = 1, order_by text = NULL, stream text = NULL) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(j.stream, j.seq), ' ' ORDER BY j.ordinality), '')
      FROM spool.take(queue, max_jobs, order_by, stream) WITH ORDINALITY j
$$;

-- What a job is.
SELECT spool.create_queue('q'), spool.write('q', spool.make_packet(1, 'body', '{a,b}', '{"K": "v"}', ctime => '2026-01-01Z'), 'S') \g /dev/null
SELECT is((SELECT to_jsonb(j) - 'packet_id' FROM spool.take('q') j),
    '{"queue": "q", "stream": "S", "seq": 1, "ctime": "2026-01-01T00:00:00+00:00", "kind": "command", "params": ["a", "b"], "env": {"K": "v"}, "payload": "\\x626f6479", "attempt": 1, "claim_id": null}'
    ::jsonb || jsonb_build_object('ctime', '2026-01-01Z'::timestamptz), 'F1: the columns of a job');
SELECT is(pg_temp.taken('q'), '', 'F6: nothing waits');
SELECT throws_ok(sql, code, message, 'F38: ' || message) FROM (VALUES
    ($$SELECT * FROM spool.take('q', -1)$$, '22023', 'max_jobs must not be negative'),
    ($$SELECT * FROM spool.take('q', NULL)$$, '22004', 'max_jobs must not be null'),
    ($$SELECT * FROM spool.peek('q', -1)$$, '22023', 'max_jobs must not be negative'),
    ($$SELECT * FROM spool.peek('q', NULL)$$, '22004', 'max_jobs must not be null'),
    ($$SELECT * FROM spool.take(NULL)$$, '22004', 'queue must not be null'),
    ($$SELECT * FROM spool.take('nowhere')$$, '42704', 'queue "nowhere" does not exist'),
    ($$SELECT * FROM spool.take('q', 1, 'newest')$$, '22023', 'unrecognized order_by: "newest"'),
    ($$SELECT * FROM spool.take('q', 1, 'latest')$$, '22023', 'queue "q" cannot be read in order "latest"')
) v(sql, code, message);

-- Round robin and shares.
SELECT spool.create_queue('rr') \g /dev/null
SELECT pg_temp.put('rr', ARRAY(SELECT generate_series(1, 10)), s) FROM unnest('{A,B,C}'::text[]) s \g /dev/null
SELECT is(pg_temp.taken('rr', 0), '', 'F38: max_jobs 0');
SELECT is(pg_temp.taken('rr'), 'A1', 'F17: one of A');
SELECT is(pg_temp.taken('rr'), 'B1', 'F17: then of B');
SELECT is(pg_temp.taken('rr'), 'C1', 'F17: then of C');
SELECT is(pg_temp.taken('rr'), 'A2', 'F17: and round again');
SELECT spool.create_queue('rr0'), pg_temp.put('rr0', '{1,2}', ''), pg_temp.put('rr0', '{1,2}', 'A') \g /dev/null
SELECT is(concat_ws(' ', pg_temp.taken('rr0'), pg_temp.taken('rr0'), pg_temp.taken('rr0'), pg_temp.taken('rr0')), '1 A1 2 A2', 'so with the stream without a name');
SELECT spool.create_queue('holes'), spool.enqueue_many('holes', array_fill('x'::text, '{12}')) \g /dev/null
SELECT spool.discard('holes', spool.packet_id('holes', n)) FROM generate_series(3, 11) n \g /dev/null
SELECT is(concat_ws(' ', pg_temp.taken('holes'), pg_temp.taken('holes'), pg_temp.taken('holes')), '1 2 12', 'one at a time over numbers that are gone');
SELECT is(pg_temp.taken('rr', 3), 'A3 B2 C2', 'F17: three of three streams, sorted by the oldest packet');
SELECT is((SELECT count(*) || ' ' || count(*) FILTER (WHERE n IN (2, 3)) FROM (SELECT stream, count(*) AS n FROM spool.take('rr', 7) GROUP BY 1) t), '3 3', 'F17: seven of three streams: two or three of each');
SELECT is((SELECT count(*) FROM spool.take('rr', 100)), 16::bigint, 'F17: all that are left');
SELECT pg_temp.put('rr', '{11,12,13,14,15}', 'A'), pg_temp.put('rr', '{11}', 'B') \g /dev/null
SELECT is(pg_temp.taken('rr', 5), 'A11 A12 A13 A14 B11', 'F17: what one stream does not have the others give');
SELECT is(pg_temp.taken('rr', 1, stream => 'B'), '', 'F17: a named stream: nothing there');
SELECT is(pg_temp.taken('rr', 9, stream => 'A'), 'A15', 'F17: a named stream');
SELECT is(pg_temp.taken('rr', 9, stream => 'nowhere'), '', 'F17: a stream that is not there');
SELECT spool.create_queue('sorted') \g /dev/null
SELECT pg_temp.put('sorted', '{1,2}', 'Z'), pg_temp.put('sorted', '{1,2}', 'M'), pg_temp.put('sorted', '{1,2}', 'A') \g /dev/null
SELECT is(pg_temp.taken('sorted', 6), 'Z1 Z2 M1 M2 A1 A2', 'F17: rows are sorted by the streams'' oldest packet, then by number');

-- What SQL does with a function that consumes.
SELECT spool.create_queue('sql'), pg_temp.put('sql', ARRAY(SELECT generate_series(1, 40))) \g /dev/null
SELECT is((SELECT count(*) FROM (SELECT * FROM spool.take('sql', 5) LIMIT 1) t), 1::bigint, 'F38: LIMIT 1 of five');
SELECT is(spool.next_seq('sql'), 6::bigint, 'F38: all five are taken');
WITH unused AS (SELECT * FROM spool.take('sql', 5)) SELECT 1 \g /dev/null
SELECT is(spool.next_seq('sql'), 6::bigint, 'F38: a CTE that is not referenced takes nothing');
SELECT is((SELECT string_agg(t.seq::text, ' ' ORDER BY n, t.seq) FROM generate_series(1, 2) n, LATERAL spool.take('sql', 2 + 0 * n) t), '6 7 8 9', 'F38: LATERAL takes again for each row');
SELECT is((SELECT string_agg(seq::text, ' ') FROM spool.take('sql', 3) WHERE seq = 11), '11', 'F38: a condition');
SELECT is(spool.next_seq('sql'), 13::bigint, 'F38: does not spare the others');
SAVEPOINT s;
SELECT is(pg_temp.taken('sql', 2), '13 14', 'F77: taken in a subtransaction');
ROLLBACK TO s;
SELECT is(spool.next_seq('sql') || ' ' || pg_temp.taken('sql', 2), '13 13 14', 'F77: its rollback brings them back');
DO $$
BEGIN
    BEGIN
        PERFORM spool.take('sql', 1);
        RAISE EXCEPTION 'the work fails';
    EXCEPTION WHEN raise_exception THEN
        NULL;
    END;
END $$;
SELECT is(spool.next_seq('sql'), 15::bigint, 'F77: taken and failed in one block: not consumed');
DO $$
BEGIN
    PERFORM spool.take('sql', 1);
    BEGIN
        RAISE EXCEPTION 'the work fails';
    EXCEPTION WHEN raise_exception THEN
        NULL;
    END;
END $$;
SELECT is(spool.next_seq('sql'), 16::bigint, 'F77: taken outside of the block whose error is caught: consumed');

-- NOPs
SELECT spool.create_queue('nop') \g /dev/null
SELECT pg_temp.put('nop', '{1,3,4}', kind => 'nop'), pg_temp.put('nop', '{2,5,6}') \g /dev/null
SELECT is(pg_temp.taken('nop', 2), '2 5', 'F33: NOPs are consumed, not handed out, not counted');
SELECT is(spool.next_seq('nop'), 6::bigint, 'F33: the cursor');
SELECT spool.create_queue('nops') \g /dev/null
SELECT pg_temp.put('nops', '{1,2}', kind => 'nop') \g /dev/null
SELECT is(pg_temp.taken('nops', 1) || spool.next_seq('nops'), '3', 'F33: nothing but NOPs');
SELECT pg_temp.put('nops', '{3}', 'B', kind => 'nop') \g /dev/null
SELECT spool.set_next_seq('nops', 3, 'B'), pg_temp.put('nops', '{1}', 'C') \g /dev/null
SELECT is(pg_temp.taken('nops', 1), 'C1', 'F33: a stream of NOPs is no stream that was picked');
SELECT is(spool.next_seq('nops', 'B'), 4::bigint, 'F33: its NOP is consumed');

-- Fail packets
SELECT spool.create_queue('fail'), spool.create_queue('fail dead', on_error => 'dead'), spool.create_queue('fail leave', on_error => 'leave'), spool.create_queue('fail delete', on_error => 'delete') \g /dev/null
SELECT pg_temp.put(q, '{1,3}', 'A'), pg_temp.put(q, '{2}', 'A', kind => 'fail'), pg_temp.put(q, '{1}', 'B') FROM unnest('{fail,fail dead,fail leave,fail delete}'::text[]) q \g /dev/null
SELECT is(pg_temp.taken('fail', 9), 'A1 B1', 'F32: under retry its stream is skipped');
SELECT is(pg_temp.taken(q, 9), 'A1 A3 B1', 'F32: else it is consumed: ' || q) FROM unnest('{fail dead,fail leave,fail delete}'::text[]) q;
SELECT is((SELECT string_agg(q.queue || coalesce(l.state, ''), ', ' ORDER BY q.queue) FROM spool.queues q LEFT JOIN LATERAL spool.ls(q.queue) l ON true WHERE q.queue IN ('fail dead', 'fail leave', 'fail delete')),
    'fail deaddead, fail delete, fail leavefailed', 'F32: by the policy');
SELECT is((SELECT count(*) FROM spool.attempts WHERE message IS DISTINCT FROM 'Fail packet'), 0::bigint, 'F36: take records no attempts of commands');

-- An order override removes what it hands out; cursor and gaps stay.
SELECT spool.create_queue('over') \g /dev/null
SELECT pg_temp.put('over', '{1}', 'A', 9), pg_temp.put('over', '{2}', 'A', 1), pg_temp.put('over', '{5}', 'A', 2), pg_temp.put('over', '{1}', 'B', 5) \g /dev/null
SELECT is(pg_temp.taken('over', 2, 'timestamp'), 'A2 A5', 'F16: by creation time, over gaps');
SELECT is(spool.next_seq('over', 'A'), 1::bigint, 'F16: the cursor stays');
SELECT is((SELECT string_agg(concat(l.stream, l.seq, ' ', l.state), ', ' ORDER BY ordinality) FROM spool.ls('over') WITH ORDINALITY l), 'B1 ready, A1 ready', 'F16: they are removed');
SELECT is(pg_temp.taken('over', 9), 'A1 B1', 'F16: in the queue''s order again');
SELECT pg_temp.put('over', '{3}', 'A') \g /dev/null
SELECT is((SELECT string_agg(stream || first_missing || '-' || last_missing, ' ') FROM spool.gaps('over')), 'A2-2', 'F16: what was removed is missing');
SELECT is(pg_temp.taken('over', 9, 'none', 'A'), 'A3', 'F16: order "none"');
SELECT spool.create_queue('over nop') \g /dev/null
SELECT pg_temp.put('over nop', '{1}', kind => 'nop', second => 1), pg_temp.put('over nop', '{2}', second => 2), pg_temp.put('over nop', '{3}', second => 3) \g /dev/null
SELECT is(pg_temp.taken('over nop', 1, 'timestamp'), '2', 'F33: NOPs are not counted in an override');
SELECT is(pg_temp.taken('over nop', 9), '', 'F33: they are removed, so that 1 is missing');
SELECT spool.create_queue('over new'), spool.enqueue('over new', 'a'), spool.enqueue('over new', 'b') \g /dev/null
SELECT is(pg_temp.taken('over new', 9, 'timestamp'), '1 2', 'F16: numbers of the queue');
SELECT is(spool.enqueue('over new', 'c'), 3::bigint, 'F16: are not given twice');
SELECT is(pg_temp.taken('over new', 9), '3', 'F16: what was removed is passed over');

-- Paused
SELECT spool.create_queue('pause'), pg_temp.put('pause', '{1,2}', 'A'), pg_temp.put('pause', '{1,2}', 'B') \g /dev/null
SELECT spool.pause_queue('pause', 'A') \g /dev/null
SELECT is(pg_temp.taken('pause', 9), 'B1 B2', 'F88: a paused stream hands out nothing');
SELECT is(pg_temp.taken('pause', 9, stream => 'A') || pg_temp.taken('pause', 9, 'timestamp'), '', 'F88: nor when it is named, nor in another order');
SELECT spool.resume_queue('pause', 'A'), spool.pause_queue('pause') \g /dev/null
SELECT is(pg_temp.taken('pause', 9) || (SELECT count(*) FROM spool.peek('pause')), '0', 'F88: nor a paused queue');
SELECT pg_temp.put('pause', '{3}', 'A') \g /dev/null
SELECT spool.resume_queue('pause') \g /dev/null
SELECT is(pg_temp.taken('pause', 9), 'A1 A2 A3', 'F88: writing went on; resumed, all are handed out');
SELECT throws_ok($$SELECT spool.pause_queue('pause', 'nowhere')$$, '42704', 'stream "nowhere" of queue "pause" does not exist', 'F88: no such stream');

-- Redriven ones come first, however they are shared out.
SELECT spool.create_queue('ahead'), pg_temp.put('ahead', '{1,2,3,4,5}', 'A'), pg_temp.put('ahead', '{1,2}', 'B') \g /dev/null
SELECT spool.set_next_seq('ahead', 4, 'A'), spool.redrive('ahead') \g /dev/null
SELECT is(pg_temp.taken('ahead', 6), 'A1 A2 A3 A4 B1 B2', 'F34: what was passed over and redriven comes in order, ahead of the cursor');
SELECT is(pg_temp.taken('ahead', 6), 'A5', 'F34: then the rest');
SELECT spool.create_queue('ahead many'), pg_temp.put('ahead many', ARRAY(SELECT generate_series(1, 1500))), spool.set_next_seq('ahead many', 1300), spool.redrive('ahead many') \g /dev/null
SELECT is((SELECT count(*) || ' ' || bool_and(seq = ordinality) FROM spool.take('ahead many', 2000) WITH ORDINALITY), '1500 true', 'F34: many of them');

SELECT * FROM finish();
ROLLBACK;
