-- Duplicates, conflicts and garbage in queues ordered by number.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 0
SET client_min_messages = warning;

SELECT plan(38);

CREATE FUNCTION pg_temp.p(seq bigint, body text, kind text = 'command') RETURNS spool.packet
LANGUAGE sql AS $$ SELECT spool.make_packet(seq, body, kind => kind, ctime => '2026-01-01Z') $$;
CREATE FUNCTION pg_temp.listed(queue text) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(l.stream, l.seq, ' ', l.state), ', ' ORDER BY l.ordinality), '')
      FROM spool.ls(queue) WITH ORDINALITY l
$$;
CREATE FUNCTION pg_temp.taken(queue text, max_jobs int = 100, stream text = NULL) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(convert_from(j.payload, 'UTF8'), ' ' ORDER BY j.ordinality), '')
      FROM spool.take(queue, max_jobs, stream => stream) WITH ORDINALITY j
$$;

-- F13: a conflict blocks only at its number.
SELECT spool.create_queue('dup f13') \g /dev/null
SELECT spool.set_handler('dup f13', 'SELECT 1') \g /dev/null
SELECT results_eq($$SELECT status FROM spool.write_many('dup f13', ARRAY[pg_temp.p(7, '7a'), pg_temp.p(1, '1'), pg_temp.p(7, '7b')])$$,
    $$VALUES ('stored'), ('stored'), ('conflict')$$, 'F13: the second 7 is reported as a conflict');
SELECT is(pg_temp.listed('dup f13'), '1 ready, 7 conflict, 7 conflict', 'F13: it is listed');
CALL spool.process('dup f13') \gset
SELECT is(:processed, 1, 'F13: 1 runs');
SELECT is(spool.next_seq('dup f13'), 2::bigint, 'F13: the cursor is 2');
CALL spool.process('dup f13') \gset
SELECT is(:processed, 0, 'F13: a conflict behind a gap is no error');
SELECT spool.write_many('dup f13', array_agg(pg_temp.p(n, n::text))) FROM generate_series(2, 6) n \g /dev/null
CALL spool.process('dup f13') \gset
SELECT is(:processed, 5, 'F13: 2 to 6 run');
SELECT is(spool.next_seq('dup f13'), 7::bigint, 'F13: then the stream stops');

-- F14: an error names both packets.
CALL spool.process('dup f13') \gset
SELECT is(:'SQLSTATE', '21000'::text, 'F14: a conflict at the head is an error');
SELECT is(:'LAST_ERROR_MESSAGE', format('packets %s and %s of queue "dup f13" have the same number 7', min(packet_id), max(packet_id)),
    'F14: the error names both packets')
  FROM spool.ls('dup f13');
SELECT is(spool.next_seq('dup f13'), 7::bigint, 'F14: nothing ran');
SELECT throws_ok($$SELECT * FROM spool.take('dup f13')$$, '21000',
    format('packets %s and %s of queue "dup f13" have the same number 7', min(packet_id), max(packet_id)),
    'F14: take raises it, too')
  FROM spool.ls('dup f13');
SELECT spool.write('dup f13', pg_temp.p(1, 'B1'), 'B') \g /dev/null
SELECT is(pg_temp.taken('dup f13'), 'B1', 'F14: no error while another stream has something');
SELECT throws_ok($$SELECT * FROM spool.take('dup f13', stream => '')$$, '21000', NULL, 'F14: an error when the stream is named');
SELECT spool.discard('dup f13', min(packet_id), 'the wrong one') FROM spool.ls('dup f13', '', 'conflict') \g /dev/null
SELECT is(pg_temp.listed('dup f13'), '7 dead, 7 ready', 'F14: one is discarded');
SELECT is(pg_temp.taken('dup f13'), '7b', 'F14: the other one is handed out');
SELECT is(spool.next_seq('dup f13'), 8::bigint, 'F14: the stream goes on');

SELECT spool.create_queue('dup f14') \g /dev/null
SELECT spool.set_handler('dup f14', 'SELECT 1') \g /dev/null
SELECT spool.write_many('dup f14', ARRAY[pg_temp.p(1, 'a'), pg_temp.p(1, 'b')]) \g /dev/null
CALL spool.process('dup f14') \gset
SELECT is(:'SQLSTATE', '21000'::text, 'F14: two packets with number 1');
SELECT is(pg_temp.listed('dup f14'), '1 conflict, 1 conflict', 'F14: both stay');
SELECT is((SELECT count(*) FROM spool.take('dup f14', 10, order_by => 'timestamp')), 2::bigint, 'F14: an order override hands out both');

-- What failed before the conflict was met stays counted.
SELECT spool.create_queue('dup f14b', on_error => 'dead', max_attempts => 3), spool.set_handler('dup f14b', 'SELECT 1 / 0') \g /dev/null
SELECT spool.write('dup f14b', pg_temp.p(1, 'a'), 'A'), spool.write_many('dup f14b', ARRAY[pg_temp.p(1, 'a'), pg_temp.p(1, 'b')], 'B') \g /dev/null
CALL spool.process('dup f14b') \gset
SELECT is(:'SQLSTATE', '21000'::text, 'F14: a conflict beside a job that fails');
SELECT is((SELECT string_agg(concat_ws(' ', stream, attempt, outcome), ', ') FROM spool.attempts WHERE queue = 'dup f14b'), 'A 1 error', 'F36: the failure is recorded');
CALL spool.process('dup f14b') \gset
SELECT is((SELECT string_agg(concat_ws(' ', stream, attempt, outcome), ', ' ORDER BY attempt) FROM spool.attempts WHERE queue = 'dup f14b'), 'A 1 error, A 2 error', 'F36: and counts');

-- F15: the same bytes twice.
SELECT spool.create_queue('dup f15') \g /dev/null
SELECT results_eq($$SELECT status FROM spool.write('dup f15', pg_temp.p(1, 'a')) UNION ALL SELECT status FROM spool.write('dup f15', pg_temp.p(1, 'a'))$$,
    $$VALUES ('stored'), ('duplicate')$$, 'F15: the second write reports a duplicate');
SELECT results_eq($$SELECT packet_id FROM spool.write('dup f15', pg_temp.p(1, 'a'))$$,
    $$SELECT packet_id FROM spool.ls('dup f15')$$, 'F15: it returns the packet that is stored');
SELECT results_eq($$SELECT seq, status FROM spool.write_many('dup f15', ARRAY[pg_temp.p(2, 'b'), pg_temp.p(2, 'b'), pg_temp.p(1, 'a'), pg_temp.p(2, 'c'), pg_temp.p(2, 'b')])$$,
    $$VALUES (2::bigint, 'stored'), (2, 'duplicate'), (1, 'duplicate'), (2, 'conflict'), (2, 'duplicate')$$, 'F15: within one batch');
SELECT spool.discard('dup f15', max(packet_id)) FROM spool.ls('dup f15') WHERE seq = 2 \g /dev/null
SELECT is(pg_temp.taken('dup f15'), 'a b', 'F15: each is handed out once, in order');
SELECT spool.write('dup f15', pg_temp.p(3, 'x'), 'A'), spool.write('dup f15', pg_temp.p(3, 'x'), 'B') \g /dev/null
SELECT is(pg_temp.listed('dup f15'), '2 dead, A3 gap, B3 gap', 'F15: the same packet in two streams is two packets');

-- F18, F19: duplicates can be listed and read.
SELECT spool.create_queue('dup f18') \g /dev/null
SELECT spool.write_many('dup f18', ARRAY[pg_temp.p(2, 'b'), pg_temp.p(1, 'a2'), pg_temp.p(2, 'b2'), pg_temp.p(1, 'a')]) \g /dev/null
SELECT is((SELECT string_agg(l.seq::text, ' ' ORDER BY ordinality) FROM spool.ls('dup f18') WITH ORDINALITY l), '1 1 2 2',
    'F18: all are listed, by number');
SELECT is((SELECT string_agg(convert_from(spool.payload(spool.get_packet('dup f18', l.packet_id)), 'UTF8'), ' ' ORDER BY l.packet_id) FROM spool.ls('dup f18') l),
    'b a2 b2 a', 'F19: payloads by packet id');
SELECT is((SELECT string_agg(i.value, ' ' ORDER BY l.packet_id) FROM spool.ls('dup f18') l, spool.info(spool.get_packet('dup f18', l.packet_id)) i WHERE i.name = 'FSPL_SEQ'),
    '2 1 2 1', 'F19: info by packet id');
SELECT is(spool.packet_id('dup f18', 1), (SELECT min(packet_id) FROM spool.ls('dup f18') WHERE seq = 1), 'F19: packet_id is the first that arrived');

-- F60: garbage never gets in, and stops nothing.
SELECT spool.create_queue('dup f60') \g /dev/null
SELECT throws_ok(format($$SELECT spool.write('dup f60', %L)$$, text), '22P03', message, 'F60: refused: ' || message)
  FROM (VALUES ('\x00', 'invalid packet: too short'),
               ('\x2a46494c4553504f4f4c45530001000000000000002455ce7b2d9fc7bb7a', 'invalid packet: wrong magic')) v(text, message);
SELECT throws_ok($$INSERT INTO spool.inbox VALUES ('dup f60', '', '\x2a46494c4553504f4f4c455200020000')$$, '22P03', NULL, 'F60: refused by the inbox');
SELECT throws_ok($$SELECT spool.write('dup f60', NULL)$$, '22004', 'packet must not be null', 'F60: no packet');
SELECT throws_ok($$SELECT spool.write_many('dup f60', ARRAY[pg_temp.p(1, 'a'), NULL])$$, '22004', 'packets must not contain nulls', 'F60: no packet among others');
SELECT is(pg_temp.listed('dup f60'), '', 'F60: nothing of it is stored');
SELECT spool.write('dup f60', pg_temp.p(1, 'good')) \g /dev/null
SELECT is(pg_temp.taken('dup f60'), 'good', 'F60: a valid packet goes its way');

SELECT * FROM finish();
SELECT spool.drop_queue(queue, force => true) FROM spool.queues WHERE queue LIKE 'dup %' \g /dev/null
