-- Writing: enqueue, write, inbox, senders, forward.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;

SELECT plan(106);

CREATE FUNCTION pg_temp.p(seq bigint, body text) RETURNS spool.packet
LANGUAGE sql AS $$ SELECT spool.make_packet(seq, body, ctime => '2026-01-01Z') $$;
CREATE FUNCTION pg_temp.bodies(queue text, stream text = NULL) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat(l.stream, l.seq, ' ', convert_from(spool.payload(spool.get_packet(queue, l.packet_id)), 'UTF8')), ', ' ORDER BY l.ordinality), '')
      FROM spool.ls(queue, stream) WITH ORDINALITY l
$$;

-- enqueue
SELECT spool.create_queue('w1') \g /dev/null
SELECT is(spool.enqueue('w1', 'té'::text), 1::bigint, 'F1: enqueue numbers from 1: text');
SELECT is(spool.enqueue('w1', '\x00ff'::bytea), 2::bigint, 'F48: bytea');
SELECT is(spool.enqueue('w1', '{"b": 1,  "a": 2}'::json), 3::bigint, 'F48: json');
SELECT is(spool.enqueue('w1', '{"b": 1,  "a": 2}'::jsonb), 4::bigint, 'F48: jsonb');
SELECT is(spool.enqueue('w1'), 5::bigint, 'F48: no payload');
SELECT is(spool.enqueue('w1', NULL::text), 6::bigint, 'F48: NULL payload');
SELECT is(spool.enqueue('w1', 'untyped'), 7::bigint, 'F48: an untyped literal is text');
SELECT is((SELECT string_agg(encode(j.payload, 'escape'), '|' ORDER BY seq) FROM spool.peek('w1', 10) j),
    't\303\251|\000\377|{"b": 1,  "a": 2}|{"a": 2, "b": 1}|||untyped', 'F48: payload bytes are kept');
SELECT is(spool.enqueue('w1', 'x', 'other'), 1::bigint, 'F17: each stream has its numbers');
SELECT is(spool.enqueue('w1', 'x', NULL), 8::bigint, 'F17: stream NULL is the stream ''''');
SELECT is(spool.enqueue('w1', 'x', params => '{a,"b c",""}', env => '{"FOO": "bar", "N": 1}', kind => 'command', stream => 'p'), 1::bigint, 'F43: parameters and environment');
SELECT is((SELECT format('%s %s %s %s', queue, stream, params, env) FROM spool.peek('w1', stream => 'p')), 'w1 p {a,"b c",""} {"N": "1", "FOO": "bar"}', 'F43: they arrive');
SELECT spool.enqueue('w1', 'x', kind => k, stream => 'k') FROM unnest('{command,nop,fail}'::text[]) k \g /dev/null
SELECT is((SELECT string_agg(kind, ' ' ORDER BY seq) FROM spool.ls('w1', 'k')), 'command nop fail', 'F33: kinds');
SELECT ok(abs(extract(epoch FROM ctime - clock_timestamp())) < 60, 'F1: creation time is now') FROM spool.peek('w1') j;
SELECT throws_ok(sql, code, message, 'F60: ' || message) FROM (VALUES
    ($$SELECT spool.enqueue('nowhere', 'x')$$, '42704', 'queue "nowhere" does not exist'),
    ($$SELECT spool.enqueue(NULL, 'x')$$, '22004', 'queue must not be null'),
    ($$SELECT spool.enqueue_many('w1', NULL::text[])$$, '22004', 'payloads must not be null'),
    ($$SELECT spool.enqueue_many(NULL, '{x}'::text[])$$, '22004', 'queue must not be null'),
    ($$SELECT spool.write('w1', NULL)$$, '22004', 'packet must not be null'),
    ($$SELECT spool.write(NULL, spool.make_packet(1))$$, '22004', 'queue must not be null'),
    ($$SELECT spool.enqueue('w1', 'x', repeat('s', 1025))$$, '22023', 'stream name is too long')
) v(sql, code, message);
SELECT throws_ok($$SELECT spool.enqueue('w1', 'x', kind => 'job')$$, '22023', 'unrecognized packet kind: "job"', 'F60: no such kind');
SELECT throws_ok($$SELECT spool.enqueue('w1', 'x', params => '{a,NULL}')$$, '22004', 'params must not contain nulls', 'F64: NULL among the parameters');
SELECT throws_ok(format($$SELECT spool.enqueue('w1', 'x', env => '{"a": %s}')$$, v), '22023', 'value of "a" in env must be a string, a number or a boolean', 'F64: in the environment: ' || v)
  FROM unnest(ARRAY['null', '[]', '{}']) v;
-- What drivers send without a type.
PREPARE untyped AS SELECT spool.enqueue('w1', $1);
PREPARE untyped_prepare AS SELECT spool.prepare('untyped', $1);
PREPARE untyped_packet AS SELECT spool.make_packet(1, $1);
SELECT is(parameter_types::text, '{text}', 'F48: an untyped parameter is text: ' || name) FROM pg_prepared_statements WHERE name LIKE 'untyped%' ORDER BY name;
SELECT throws_ok($$PREPARE untyped_many AS SELECT spool.enqueue_many('w1', $1)$$, '42725', NULL, 'F48: array arguments must be typed');
SELECT lives_ok($$SELECT spool.enqueue('w1', 'x', repeat('s', 1024))$$, 'F60: the longest name of a stream');

-- enqueue_many
SELECT spool.create_queue('w2') \g /dev/null
SELECT is(spool.enqueue_many('w2', '{a,b,c}'::text[]), 1::bigint, 'F1: enqueue_many returns the first number: text');
SELECT is(spool.enqueue_many('w2', ARRAY['d', 'e']::bytea[]), 4::bigint, 'F1: bytea');
SELECT is(spool.enqueue_many('w2', ARRAY['1', '2']::json[]), 6::bigint, 'F1: json');
SELECT is(spool.enqueue_many('w2', ARRAY['3', '4']::jsonb[]), 8::bigint, 'F1: jsonb');
SELECT is(spool.enqueue_many('w2', '{}'::text[]), NULL, 'F1: an empty array');
SELECT is(spool.enqueue_many('w2', ARRAY['z', NULL]), 10::bigint, 'F1: NULL is no payload');
SELECT is(pg_temp.bodies('w2'), '1 a, 2 b, 3 c, 4 d, 5 e, 6 1, 7 2, 8 3, 9 4, 10 z, 11 ', 'F1: consecutive numbers');
SELECT is(spool.enqueue_many('w2', '{s,t}'::text[], 'S'), 1::bigint, 'F17: into a stream');
SELECT spool.enqueue_many('w2', array_agg(n::text), 'large') FROM generate_series(1, 5000) n \g /dev/null
SELECT is((SELECT count(*) || ' ' || count(*) FILTER (WHERE seq::text = convert_from(payload, 'UTF8')) FROM spool.peek('w2', 6000, stream => 'large')), '5000 5000', 'F1: many at once');

-- Numbers of a stream go on after what was consumed, and after rollback.
SAVEPOINT s;
SELECT is(spool.enqueue('w2', 'x', 'S'), 3::bigint, 'F70: number 3');
ROLLBACK TO s;
SELECT is(spool.enqueue('w2', 'y', 'S'), 3::bigint, 'F70: a rolled-back enqueue leaves no hole here');
SELECT is((SELECT count(*) FROM spool.take('w2', 10, stream => 'S')), 3::bigint, 'F70: all are taken');
SELECT is(spool.enqueue('w2', 'z', 'S'), 4::bigint, 'F70: numbers go on');
SELECT is_empty($$SELECT * FROM spool.gaps('w2')$$, 'F70: no gap');
SELECT spool.discard('w2', spool.packet_id('w2', 4, 'S')), spool.enqueue('w2', 'after', 'S') \g /dev/null
SELECT is((SELECT string_agg(seq || convert_from(payload, 'UTF8'), ' ') FROM spool.take('w2', 10, stream => 'S')), '5after', 'F70: no number is given twice');
SELECT spool.enqueue('w2', 'a', 'H'), spool.enqueue('w2', 'b', 'H'), spool.enqueue('w2', 'c', 'H') \g /dev/null
SELECT spool.discard('w2', spool.packet_id('w2', 2, 'H')) \g /dev/null
SELECT is((SELECT string_agg(seq::text, ' ') FROM spool.take('w2', 10, stream => 'H')), '1 3', 'F70: a hole in the queue''s numbers is passed over');

-- write
SELECT spool.create_queue('w3') \g /dev/null
SELECT results_eq($$SELECT seq, status FROM spool.write('w3', pg_temp.p(2, 'b'))$$, $$VALUES (2::bigint, 'stored')$$, 'F15: stored');
SELECT results_eq($$SELECT packet_id, seq, status FROM spool.write('w3', pg_temp.p(2, 'b'))$$, $$SELECT spool.packet_id('w3', 2), 2::bigint, 'duplicate'$$, 'F15: duplicate');
SELECT results_eq($$SELECT seq, status FROM spool.write('w3', pg_temp.p(2, 'x'))$$, $$VALUES (2::bigint, 'conflict')$$, 'F13: conflict');
SELECT results_eq($$SELECT seq, status FROM spool.write('w3', pg_temp.p(0, 'z'))$$, $$VALUES (0::bigint, 'late')$$, 'F7: late');
SELECT results_eq($$SELECT packet_id, status FROM spool.write('w3', pg_temp.p(0, 'z'))$$, $$SELECT packet_id, 'duplicate' FROM spool.dead_letters WHERE name = 'w3'$$, 'F7: late and then the same again');
SELECT results_eq($$SELECT seq, status FROM spool.write_many('w3', ARRAY[pg_temp.p(1, 'a'), pg_temp.p(1, 'b')], 'S')$$, $$VALUES (1::bigint, 'stored'), (1, 'conflict')$$, 'F13: write_many into a stream');
SELECT is_empty($$SELECT * FROM spool.write_many('w3', '{}')$$, 'F15: write_many of nothing');
SELECT is((SELECT spool.get_packet('w3', w.packet_id)::bytea FROM spool.write('w3', pg_temp.p(77, repeat('x', 100000))) w), pg_temp.p(77, repeat('x', 100000))::bytea, 'F57: stored bytes are the packet''s');
SELECT throws_ok($$SELECT spool.write('w3', '\x00')$$, '22P03', 'invalid packet: too short', 'F60: garbage');
SELECT throws_ok(format(sql, '\x2a46494c4553504f4f4c4552000100000000000000328f7f8d8150e4f6bb83a373657101a56374696d65920102a8636d645f7479706581a7436f6d6d616e6482a6706172616d7391926100a3656e7690'), '22021', 'packet has a parameter or environment variable with a zero byte', 'F64: refused at write: ' || sql) FROM unnest(ARRAY[
    'SELECT spool.write(''w3'', %L, ''nul'')',
    'SELECT spool.write_many(''w3'', ARRAY[%L::spool.packet], ''nul'')',
    'INSERT INTO spool.inbox VALUES (''w3'', ''nul'', %L)']) sql;
SELECT is_empty($$SELECT * FROM spool.ls('w3', 'nul')$$, 'F64: nothing of it is stored');
SELECT throws_ok('SELECT spool.inbox_insert()', '39P01', 'spool.inbox_insert must be called by the trigger on spool.inbox', 'F60: the trigger is no function to call');

-- inbox
SELECT spool.create_queue('w4') \g /dev/null
INSERT INTO spool.inbox VALUES ('w4', 'A', pg_temp.p(2, 'two')), ('w4', 'A', pg_temp.p(1, 'one')), ('w4', NULL, pg_temp.p(1, 'none'));
INSERT INTO spool.inbox (queue, packet) VALUES ('w4', pg_temp.p(1, 'none'));
COPY spool.inbox FROM STDIN;
w4	A	\\x2a46494c4553504f4f4c45520001000000000000003cdea09a990c5f4ed083a3736571cd012ca56374696d6592ce6553f100ce075bcd15a8636d645f7479706581a7436f6d6d616e6482a6706172616d7392916190a3656e76906869
\.
SELECT is(pg_temp.bodies('w4'), 'A1 one, 1 none, A2 two, A300 hi', 'F60: the inbox does what write does');
SELECT is_empty('SELECT * FROM spool.inbox', 'F60: it holds no rows');
SELECT throws_ok(sql, code, message, 'F60: inbox: ' || message) FROM (VALUES
    ($$INSERT INTO spool.inbox VALUES (NULL, '', pg_temp.p(1, 'x'))$$, '22004', 'queue must not be null'),
    ($$INSERT INTO spool.inbox VALUES ('w4', '', NULL)$$, '22004', 'packet must not be null'),
    ($$INSERT INTO spool.inbox VALUES ('nowhere', '', pg_temp.p(1, 'x'))$$, '42704', 'queue "nowhere" does not exist')
) v(sql, code, message);

-- Numbering is the queue's or the senders', not both.
SELECT throws_ok($$SELECT spool.write('w1', pg_temp.p(9, 'x'))$$, '55000', 'stream "" of queue "w1" is numbered by the queue', 'F70: write into a stream that the queue numbers');
SELECT throws_ok($$SELECT spool.enqueue('w3', 'x')$$, '55000', 'stream "" of queue "w3" is numbered by its sender', 'F70: enqueue into a stream that its sender numbers');
SELECT throws_ok($$SELECT spool.enqueue_many('w3', '{x}'::text[], 'S')$$, '55000', 'stream "S" of queue "w3" is numbered by its sender', 'F70: enqueue_many, too');
SELECT throws_ok($$INSERT INTO spool.inbox VALUES ('w1', 'other', pg_temp.p(9, 'x'))$$, '55000', 'stream "other" of queue "w1" is numbered by the queue', 'F70: the inbox, too');
SELECT lives_ok($$SELECT spool.enqueue('w3', 'x', 'T')$$, 'F70: another stream may be numbered in the other way');
SELECT spool.create_queue('w5', order_by => 'timestamp'), spool.create_queue('w6', order_by => 'none') \g /dev/null
SELECT lives_ok(format($$SELECT spool.enqueue(%1$L, 'x'), spool.write(%1$L, pg_temp.p(1, 'x')), spool.enqueue(%1$L, 'y')$$, q), 'F16: ' || q || ' orders by time and takes both') FROM unnest('{w5,w6}'::text[]) q;
SELECT is((SELECT string_agg(DISTINCT stream, ',') FROM spool.ls('w5')), '', 'F16: it is one stream');

-- senders
SELECT is(spool.sender_next('s1'), 1::bigint, 'F69: a new sender begins at 1');
SELECT is((SELECT string_agg(spool.seq(spool.prepare('s1', n::text))::text, ' ' ORDER BY n) FROM generate_series(1, 40) n), (SELECT string_agg(n::text, ' ' ORDER BY n) FROM generate_series(1, 40) n), 'F69: 40 consecutive numbers');
SELECT is(spool.sender_next('s1'), 41::bigint, 'F69: the next one');
SELECT throws_ok('SELECT spool.sender_next(NULL)', '22004', 'sender must not be null', 'F69: no sender');
SAVEPOINT s;
SELECT is(spool.seq(spool.prepare('s1', 'x')), 41::bigint, 'F70: a number is taken');
SELECT spool.sender_set_next('s1', 100) \g /dev/null
ROLLBACK TO s;
SELECT is(spool.sender_next('s1'), 41::bigint, 'F70: rolled back, it is given back');
SELECT is(spool.seq(spool.prepare('s1', '\x01'::bytea)), 41::bigint, 'F70: and given again');
SELECT is(spool.seq(spool.prepare('s1', '{}'::json)), 42::bigint, 'F70: json');
SELECT is(spool.seq(spool.prepare('s1', '{}'::jsonb)), 43::bigint, 'F70: jsonb');
SELECT is(spool.seq(spool.prepare('s1')), 44::bigint, 'F70: no payload');
SELECT is(spool.sender_next('s2'), 1::bigint, 'F69: senders have counters of their own');
SELECT spool.sender_set_next('s1', 7) \g /dev/null
SELECT is(spool.seq(spool.prepare('s1')), 7::bigint, 'F69: the counter is set back');
SELECT is((SELECT string_agg(spool.seq(spool.prepare(NULL, 'x'))::text, ' ') FROM generate_series(1, 2)), '1 1', 'F90: without a sender always number 1');
SELECT is((SELECT concat_ws(' ', spool.params(p), spool.env(p), spool.kind(p), convert_from(spool.payload(p), 'UTF8')) FROM spool.prepare('s3', 'body', '{a}', '{"FOO": "123"}', 'command') p), '{a} {"FOO": "123"} command body', 'F90: parts of a prepared packet');
SELECT spool.sender_set_next('s4', 9223372036854775806) \g /dev/null
SELECT is(spool.seq(spool.prepare('s4')), 9223372036854775806, 'F12: the last number of a sender');
SELECT throws_ok($$SELECT spool.prepare('s4')$$, '22003', NULL, 'F12: there is none after it');
SELECT throws_ok($$SELECT spool.sender_set_next('s4', -1)$$, '22003', NULL, 'F12: nor below 0');
SELECT throws_ok($$SELECT spool.sender_set_next('s4', NULL)$$, '22004', 'seq must not be null', 'F12: nor NULL');
SELECT throws_ok($$SELECT spool.sender_set_next(NULL, 1)$$, '22004', 'sender must not be null', 'F12: no sender');
SELECT spool.create_queue('w7') \g /dev/null
SELECT is((SELECT string_agg(status, ' ') FROM spool.write_many('w7', (SELECT array_agg(spool.prepare('s7', n::text)) FROM generate_series(1, 3) n))), 'stored stored stored', 'F86: what a sender prepared is written');
SELECT is(pg_temp.bodies('w7'), '1 1, 2 2, 3 3', 'F86: with its numbers');

-- F78, F79
SELECT spool.create_queue('copy'), spool.create_queue('renumbered') \g /dev/null
SELECT is((SELECT string_agg(spool.write(q, spool.get_packet('w7', spool.packet_id('w7', 2)))::text, ' ') FROM unnest('{copy}'::text[]) q) LIKE '(%,2,stored)', true, 'F78: one packet into another queue');
SELECT is((SELECT seq || ' ' || status FROM spool.forward('w7', spool.packet_id('w7', 1), 'copy')), '1 stored', 'F79: forward keeps the number');
SELECT is(spool.get_packet('copy', spool.packet_id('copy', 1))::bytea, spool.get_packet('w7', spool.packet_id('w7', 1))::bytea, 'F79: and the bytes');
SELECT is((SELECT seq || ' ' || status FROM spool.forward('w7', spool.packet_id('w7', 1), 'copy')), '1 duplicate', 'F79: forwarding again is a duplicate');
SELECT is((SELECT seq || ' ' || status FROM spool.forward('w7', spool.packet_id('w7', 3), 'renumbered', renumber => true)), '1 stored', 'F79: or takes a new one');
SELECT is((SELECT seq || ' ' || status FROM spool.forward('w1', spool.packet_id('w1', 1, 'p'), 'renumbered', 'S', true)), '1 stored', 'F79: into a named stream');
SELECT is((SELECT format('%s %s %s %s', stream, params, env, convert_from(payload, 'UTF8')) FROM spool.peek('renumbered', stream => 'S')), 'S {a,"b c",""} {"N": "1", "FOO": "bar"} x', 'F79: with all it has');
SELECT is((SELECT seq || ' ' || status FROM spool.forward('w1', spool.packet_id('w1', 1, 'p'), 'renumbered', renumber => true)) || ' ' || (SELECT count(*) FROM spool.ls('renumbered', 'p')), '1 stored 1', 'F79: the stream of the source unless another is named');
SELECT is(pg_temp.bodies('w7'), '1 1, 2 2, 3 3', 'F79: the source is unchanged');
SELECT throws_ok($$SELECT spool.forward('w7', 0, 'copy')$$, '42704', 'packet 0 does not exist in queue "w7"', 'F79: no such packet');
SELECT is((SELECT string_agg(seq::text, ' ') FROM spool.take('w7', 1)) || spool.next_seq('copy'), '11', 'F78: each queue has its own cursor');

SELECT * FROM finish();
ROLLBACK;
