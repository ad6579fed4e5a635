-- spool.packet: input, output, parts, refusals.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL TimeZone = 'UTC';
SET LOCAL client_min_messages = warning;

SELECT plan(309);

-- Detail and hint of the error that a statement raises.
CREATE FUNCTION pg_temp.detail(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' / ', nullif(detail, ''), nullif(hint, ''));
END $$;

-- Packets of fspl, and what is in them.
CREATE TEMPORARY TABLE vector (
    name text PRIMARY KEY, seq bigint, secs bigint, nanos int, kind text,
    params text[], env jsonb, payload bytea, packet spool.packet
);
INSERT INTO vector VALUES
    ('v01_min', 1, 1795289331, 212885712, 'command', '{}', '{}', '', '\x2a46494c4553504f4f4c455200010000000000000037d5324196a06a951b83a373657101a56374696d6592ce6b01f0f3ce0cb060d0a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e7690'),
    ('v02_payload', 1, 1795289331, 214736704, 'command', '{}', '{}', 'hello', '\x2a46494c4553504f4f4c4552000100000000000000370c72d6a50a7c930383a373657101a56374696d6592ce6b01f0f3ce0ccc9f40a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e769068656c6c6f'),
    ('v03_params', 1, 1795289331, 216390111, 'command', '{p1,"two words",""}', '{}', '', '\x2a46494c4553504f4f4c455200010000000000000045abc273d468fef60683a373657101a56374696d6592ce6b01f0f3ce0ce5d9dfa8636d645f7479706581a7436f6d6d616e6482a6706172616d73939270319974776f20776f72647390a3656e7690'),
    ('v04_env', 1, 1795289331, 217987370, 'command', '{}', '{"FOO":"bar","EMPTY":""}', '', '\x2a46494c4553504f4f4c455200010000000000000048b27b2bf6d0f2798583a373657101a56374696d6592ce6b01f0f3ce0cfe392aa8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e76929293464f4f936261729295454d50545990'),
    ('v05_utf8', 1, 1795289331, 219546419, 'command', '{é}', '{"Ü":"ö😀"}', '', '\x2a46494c4553504f4f4c45520001000000000000004fe67dac12f195693f83a373657101a56374696d6592ce6b01f0f3ce0d160333a8636d645f7479706581a7436f6d6d616e6482a6706172616d739192ccc3cca9a3656e76919292ccc3cc9c96ccc3ccb6ccf0cc9fcc98cc80'),
    ('v07_nop', 1, 1795289331, 222646423, 'nop', '{}', '{}', '', '\x2a46494c4553504f4f4c4552000100000000000000245611d9becee031cd83a373657101a56374696d6592ce6b01f0f3ce0d455097a8636d645f74797065a34e4f50'),
    ('v08_fail', 1, 1795289331, 224168891, 'fail', '{}', '{}', '', '\x2a46494c4553504f4f4c45520001000000000000002584e2dbf46c606eea83a373657101a56374696d6592ce6b01f0f3ce0d5c8bbba8636d645f74797065a44661696c'),
    ('v09_seq0', 0, 1795289331, 226902828, 'nop', '{}', '{}', '', '\x2a46494c4553504f4f4c455200010000000000000024313ffb1e2ba6705583a373657100a56374696d6592ce6b01f0f3ce0d86432ca8636d645f74797065a34e4f50'),
    ('v10_seq127', 127, 1795289331, 230292088, 'nop', '{}', '{}', '', '\x2a46494c4553504f4f4c4552000100000000000000243d5aae486aa89bf683a37365717fa56374696d6592ce6b01f0f3ce0db9fa78a8636d645f74797065a34e4f50'),
    ('v11_seq128', 128, 1795289331, 233491772, 'nop', '{}', '{}', '', '\x2a46494c4553504f4f4c4552000100000000000000253522f24639289c1e83a3736571cc80a56374696d6592ce6b01f0f3ce0deacd3ca8636d645f74797065a34e4f50'),
    ('v12_seq255', 255, 1795289331, 236915658, 'nop', '{}', '{}', '', '\x2a46494c4553504f4f4c45520001000000000000002511401710fc2a485183a3736571ccffa56374696d6592ce6b01f0f3ce0e1f0bcaa8636d645f74797065a34e4f50'),
    ('v13_seq256', 256, 1795289331, 240169308, 'nop', '{}', '{}', '', '\x2a46494c4553504f4f4c455200010000000000000026752d491ffb4667ed83a3736571cd0100a56374696d6592ce6b01f0f3ce0e50b15ca8636d645f74797065a34e4f50'),
    ('v14_seq65535', 65535, 1795289331, 243691588, 'nop', '{}', '{}', '', '\x2a46494c4553504f4f4c4552000100000000000000266f382f2bcc1c891983a3736571cdffffa56374696d6592ce6b01f0f3ce0e867044a8636d645f74797065a34e4f50'),
    ('v15_seq65536', 65536, 1795289331, 246785594, 'nop', '{}', '{}', '', '\x2a46494c4553504f4f4c455200010000000000000028ff4a79dc5621f78f83a3736571ce00010000a56374696d6592ce6b01f0f3ce0eb5a63aa8636d645f74797065a34e4f50'),
    ('v16_seq4294967295', 4294967295, 1795289331, 249900600, 'nop', '{}', '{}', '', '\x2a46494c4553504f4f4c455200010000000000000028df0f4a0f6bf3f1c483a3736571ceffffffffa56374696d6592ce6b01f0f3ce0ee52e38a8636d645f74797065a34e4f50'),
    ('v17_seq4294967296', 4294967296, 1795289331, 253162540, 'nop', '{}', '{}', '', '\x2a46494c4553504f4f4c45520001000000000000002cb4f35dbb07055eb183a3736571cf0000000100000000a56374696d6592ce6b01f0f3ce0f16f42ca8636d645f74797065a34e4f50'),
    ('v19_16params', 1, 1795289331, 258863898, 'command', '{a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a}', '{}', '', '\x2a46494c4553504f4f4c4552000100000000000000599723fd374330770c83a373657101a56374696d6592ce6b01f0f3ce0f6df31aa8636d645f7479706581a7436f6d6d616e6482a6706172616d73dc00109161916191619161916191619161916191619161916191619161916191619161a3656e7690'),
    ('v20_long32', 1, 1795289331, 262027720, 'command', '{xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}', '{}', '', '\x2a46494c4553504f4f4c45520001000000000000005af30b0bb8b96ba25a83a373657101a56374696d6592ce6b01f0f3ce0f9e39c8a8636d645f7479706581a7436f6d6d616e6482a6706172616d7391dc00207878787878787878787878787878787878787878787878787878787878787878a3656e7690'),
    ('v21_all', 1, 1795289331, 263624130, 'command', '{a}', '{"K":"v"}', 'hello', '\x2a46494c4553504f4f4c45520001000000000000003ef1ab51ff0e4487d183a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'),
    ('F1', 1, 1700000000, 5, 'command', '{}', '{}', '', '\x2a46494c4553504f4f4c4552000100000000000000331478fdd146de872983a373657101a56374696d6592ce6553f10005a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e7690'),
    ('F2', 300, 1700000000, 123456789, 'command', '{a,""}', '{}', 'hi', '\x2a46494c4553504f4f4c45520001000000000000003cdea09a990c5f4ed083a3736571cd012ca56374696d6592ce6553f100ce075bcd15a8636d645f7479706581a7436f6d6d616e6482a6706172616d7392916190a3656e76906869'),
    ('F5', 0, -1, 999999999, 'fail', '{}', '{}', '', '\x2a46494c4553504f4f4c455200010000000000000021ba3aa195e5ebe38283a373657100a56374696d6592ffce3b9ac9ffa8636d645f74797065a44661696c'),
    ('F6', 1, 4294967296, 0, 'nop', '{}', '{}', '', '\x2a46494c4553504f4f4c455200010000000000000024e7cd7fd9c4363bf283a373657101a56374696d6592cf000000010000000000a8636d645f74797065a34e4f50');

SELECT is(spool.seq(packet), seq, 'F55: seq of ' || name) FROM vector ORDER BY name;
SELECT is(spool.nanos(packet), nanos, 'F55: nanos of ' || name) FROM vector ORDER BY name;
SELECT is(spool.ctime(packet), to_timestamp(secs) + nanos / 1000 * interval '1 us',
          'F55: ctime of ' || name) FROM vector ORDER BY name;
SELECT is(spool.kind(packet), kind, 'F55: kind of ' || name) FROM vector ORDER BY name;
SELECT is(spool.params(packet), params, 'F55: params of ' || name) FROM vector ORDER BY name;
SELECT is(spool.env(packet), env, 'F55: env of ' || name) FROM vector ORDER BY name;
SELECT is(spool.payload(packet), payload, 'F55: payload of ' || name) FROM vector ORDER BY name;
SELECT is(spool.make_packet(seq, payload, params, env, kind, to_timestamp(secs), nanos)::bytea,
          packet::bytea, 'F55: the same bytes made for ' || name)
  FROM vector ORDER BY name;
SELECT is(packet::text, packet::bytea::text, 'F57: text form of ' || name) FROM vector ORDER BY name;

-- Bytes that are no text.
SELECT results_eq($$SELECT name, value FROM spool.env_raw('\x2a46494c4553504f4f4c455200010000000000000041a95df2f4d8ceee4283a373657101a56374696d6592ce6b01f0f3ce0d2e2332a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e769192914294ccffcc80010a'::spool.packet)$$,
    $$VALUES ('\x42'::bytea, '\xff80010a'::bytea)$$, 'F64: any bytes in env');
SELECT results_eq($$SELECT name, value FROM spool.env_raw('\x2a46494c4553504f4f4c4552000100000000000000414c0d011cc493a9cc83a373657102a56374696d6592ce6553f10000a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e769292914b915692914293ccffcc807f'::spool.packet)$$,
    $$VALUES ('\x4b'::bytea, '\x56'::bytea), ('\x42', '\xff807f')$$, 'F55: env of F3');
SELECT throws_ok($$SELECT spool.env('\x2a46494c4553504f4f4c455200010000000000000041a95df2f4d8ceee4283a373657101a56374696d6592ce6b01f0f3ce0d2e2332a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e769192914294ccffcc80010a'::spool.packet)$$, '22021',
    'invalid byte sequence for encoding "UTF8": 0xff',
    'F64: env that is no text');
SELECT throws_ok($$SELECT spool.params('\x2a46494c4553504f4f4c4552000100000000000000328f7f8d8150e4f6bb83a373657101a56374696d65920102a8636d645f7479706581a7436f6d6d616e6482a6706172616d7391926100a3656e7690'::spool.packet)$$, '22021',
    'invalid byte sequence for encoding "UTF8": 0x00',
    'F64: a zero byte in params');
SELECT throws_ok($$SELECT spool.info('\x2a46494c4553504f4f4c4552000100000000000000328f7f8d8150e4f6bb83a373657101a56374696d65920102a8636d645f7479706581a7436f6d6d616e6482a6706172616d7391926100a3656e7690'::spool.packet)$$, '22021',
    'invalid byte sequence for encoding "UTF8": 0x00',
    'F64: a zero byte in info');
SELECT is(spool.params_raw('\x2a46494c4553504f4f4c4552000100000000000000328f7f8d8150e4f6bb83a373657101a56374696d65920102a8636d645f7479706581a7436f6d6d616e6482a6706172616d7391926100a3656e7690'), '{"\\x6100"}'::bytea[], 'F64: params_raw reads it');
SELECT is(spool.env('\x2a46494c4553504f4f4c45520001000000000000003911a50ab4d8c42b7483a373657101a56374696d65920102a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e769292914b916192914b9162'), '{"K": "b"}'::jsonb, 'F65: of two env entries with a name the last counts');
SELECT results_eq($$SELECT name, value FROM spool.env_raw('\x2a46494c4553504f4f4c45520001000000000000003911a50ab4d8c42b7483a373657101a56374696d65920102a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e769292914b916192914b9162')$$,
    $$VALUES ('K'::bytea, 'a'::bytea), ('K', 'b')$$, 'F65: env_raw has both');

-- Numbers beyond bigint.
SELECT throws_ok($$SELECT spool.seq('\x2a46494c4553504f4f4c4552000100000000000000281159c48eaaef3c8083a3736571cfffffffffffffffffa56374696d6592ce6553f10001a8636d645f74797065a34e4f50'::spool.packet)$$, '22003',
    'packet number 18446744073709551615 is out of range',
    'F11: number 2^64 - 1 is refused when read');
SELECT is('\x2a46494c4553504f4f4c45520001000000000000002c55ce7b2d9fc7bb7a83a3736571cfffffffffffffffffa56374696d6592ce6b01f0f3ce0f47585aa8636d645f74797065a34e4f50'::spool.packet::bytea, '\x2a46494c4553504f4f4c45520001000000000000002c55ce7b2d9fc7bb7a83a3736571cfffffffffffffffffa56374696d6592ce6b01f0f3ce0f47585aa8636d645f74797065a34e4f50'::bytea, 'F11: number 2^64 - 1 is kept');
SELECT is((SELECT value FROM spool.info('\x2a46494c4553504f4f4c45520001000000000000002c55ce7b2d9fc7bb7a83a3736571cfffffffffffffffffa56374696d6592ce6b01f0f3ce0f47585aa8636d645f74797065a34e4f50'::spool.packet) WHERE name = 'FSPL_SEQ'),
    '18446744073709551615', 'F11: info shows number 2^64 - 1');
SELECT throws_ok($$SELECT spool.make_packet(-1)$$, '22003',
    'packet number -1 is out of range',
    'F11: make_packet refuses -1');
SELECT throws_ok($$SELECT spool.make_packet(9223372036854775807)$$, '22003',
    'packet number 9223372036854775807 is out of range',
    'F11: make_packet refuses 9223372036854775807');
SELECT is(spool.seq(spool.make_packet(9223372036854775806)), 9223372036854775806,
    'F11: the highest number');

-- Refusals at the way in.
SELECT throws_ok($$SELECT '\x'::spool.packet$$, '22P03',
    'invalid packet: too short',
    'F58: no bytes');
SELECT is(pg_temp.detail($$SELECT '\x'::bytea::spool.packet$$),
    'The data ends at byte offset 0.',
    'F58: no bytes: detail');
SELECT throws_ok($$SELECT '\x2a46494c4553504f4f4c45520001000000000000003ef1ab51ff0e4487'::spool.packet$$, '22P03',
    'invalid packet: too short',
    'F58: cut prefix');
SELECT is(pg_temp.detail($$SELECT '\x2a46494c4553504f4f4c45520001000000000000003ef1ab51ff0e4487'::bytea::spool.packet$$),
    'The data ends at byte offset 29.',
    'F58: cut prefix: detail');
SELECT throws_ok($$SELECT '\x2a46494c4553504f4f4c45520001000000000000003ef1ab51ff0e4487d183a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d7391'::spool.packet$$, '22P03',
    'invalid packet: header length beyond the data',
    'F58: cut header');
SELECT is(pg_temp.detail($$SELECT '\x2a46494c4553504f4f4c45520001000000000000003ef1ab51ff0e4487d183a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d7391'::bytea::spool.packet$$),
    'The data ends at byte offset 80.',
    'F58: cut header: detail');
SELECT throws_ok($$SELECT '\x2346494c4553504f4f4c45520001000000000000003ef1ab51ff0e4487d183a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::spool.packet$$, '22P03',
    'invalid packet: wrong magic',
    'F58: wrong magic');
SELECT is(pg_temp.detail($$SELECT '\x2346494c4553504f4f4c45520001000000000000003ef1ab51ff0e4487d183a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::bytea::spool.packet$$),
    'The error is at byte offset 0.',
    'F58: wrong magic: detail');
SELECT throws_ok($$SELECT '\x2a46494c4553504f4f4c45520002000000000000003ef1ab51ff0e4487d183a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::spool.packet$$, '22P03',
    'invalid packet: wrong version',
    'F58: wrong version');
SELECT is(pg_temp.detail($$SELECT '\x2a46494c4553504f4f4c45520002000000000000003ef1ab51ff0e4487d183a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::bytea::spool.packet$$),
    'The error is at byte offset 12.',
    'F58: wrong version: detail');
SELECT throws_ok($$SELECT '\x2a46494c4553504f4f4c45520001000000000000003ef1ab51ff004487d183a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::spool.packet$$, '22P03',
    'invalid packet: prefix checksum mismatch',
    'F58: prefix checksum');
SELECT is(pg_temp.detail($$SELECT '\x2a46494c4553504f4f4c45520001000000000000003ef1ab51ff004487d183a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::bytea::spool.packet$$),
    'The error is at byte offset 26.',
    'F58: prefix checksum: detail');
SELECT throws_ok($$SELECT '\x2a46494c4553504f4f4c45520001000000000000003ef1ab51ff0e4487d183a373657101a5637469006592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::spool.packet$$, '22P03',
    'invalid packet: header checksum mismatch',
    'F58: header checksum');
SELECT is(pg_temp.detail($$SELECT '\x2a46494c4553504f4f4c45520001000000000000003ef1ab51ff0e4487d183a373657101a5637469006592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::bytea::spool.packet$$),
    'The error is at byte offset 22.',
    'F58: header checksum: detail');
SELECT throws_ok($$SELECT '\x2a46494c4553504f4f4c45520001000000000000000fc7565f1c5dd9cf5582a373657101a56374696d65920102'::spool.packet$$, '22P03',
    'invalid packet: header is not the expected MessagePack',
    'F58: missing field');
SELECT is(pg_temp.detail($$SELECT '\x2a46494c4553504f4f4c45520001000000000000000fc7565f1c5dd9cf5582a373657101a56374696d65920102'::bytea::spool.packet$$),
    'The error is at byte offset 45.',
    'F58: missing field: detail');
SELECT throws_ok($$SELECT '\x2a46494c4553504f4f4c455200010000010000000000f1ab51ffff97ea0883a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::spool.packet$$, '22P03',
    'invalid packet: header length beyond the limit',
    'F59: header of 2^40 bytes');
SELECT is(pg_temp.detail($$SELECT '\x2a46494c4553504f4f4c455200010000010000000000f1ab51ffff97ea0883a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::bytea::spool.packet$$),
    'The header length at byte offset 14 exceeds 16384 kB. / The limit is set by spool.max_header_size.',
    'F59: header of 2^40 bytes: detail');
SELECT throws_ok($$SELECT '\x2a46494c4553504f4f4c45520001000000000000002479776eca8607b46d83a373657101a56374696d6592d30000000225c17d0500a8636d645f74797065a34e4f50'::spool.packet$$, '22P03',
    'invalid packet: creation time out of range',
    'F59: creation time in 2262');
SELECT is(pg_temp.detail($$SELECT '\x2a46494c4553504f4f4c45520001000000000000002479776eca8607b46d83a373657101a56374696d6592d30000000225c17d0500a8636d645f74797065a34e4f50'::bytea::spool.packet$$),
    'The error is at byte offset 42.',
    'F59: creation time in 2262: detail');
SELECT throws_ok($$SELECT '\x2a46494c4553504f4f4c4552000100000000000000240fbecb8f83eb1b5183a373657101a56374696d6592d3fffffffdda3e82fb00a8636d645f74797065a34e4f50'::spool.packet$$, '22P03',
    'invalid packet: creation time out of range',
    'F59: creation time in 1677');
SELECT is(pg_temp.detail($$SELECT '\x2a46494c4553504f4f4c4552000100000000000000240fbecb8f83eb1b5183a373657101a56374696d6592d3fffffffdda3e82fb00a8636d645f74797065a34e4f50'::bytea::spool.packet$$),
    'The error is at byte offset 42.',
    'F59: creation time in 1677: detail');
SELECT throws_ok($$SELECT ''::spool.packet$$, '22P02',
    'invalid input syntax for type spool.packet',
    'F60: text that is no hex: ""');
SELECT throws_ok($$SELECT 'nope'::spool.packet$$, '22P02',
    'invalid input syntax for type spool.packet',
    'F60: text that is no hex: "nope"');
SELECT throws_ok($$SELECT '\x2'::spool.packet$$, '22P02',
    'invalid input syntax for type spool.packet',
    'F60: text that is no hex: "\x2"');
SELECT throws_ok($$SELECT '\xzz'::spool.packet$$, '22P02',
    'invalid input syntax for type spool.packet',
    'F60: text that is no hex: "\xzz"');
SELECT throws_ok($$SELECT '2a46'::spool.packet$$, '22P02',
    'invalid input syntax for type spool.packet',
    'F60: text that is no hex: "2a46"');
SELECT throws_ok($$SELECT '\052FILESPOOLER'::spool.packet$$, '22P02',
    'invalid input syntax for type spool.packet',
    'F60: text that is no hex: "\052FILESPOOLER"');
SELECT is(('\x' || upper('2a46494c4553504f4f4c455200010000000000000037d5324196a06a951b83a373657101a56374696d6592ce6b01f0f3ce0cb060d0a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e7690'))::spool.packet::text, '\x2a46494c4553504f4f4c455200010000000000000037d5324196a06a951b83a373657101a56374696d6592ce6b01f0f3ce0cb060d0a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e7690', 'F57: upper case digits');
SELECT is(spool.payload(('\x2a46494c4553504f4f4c455200010000000000000037d5324196a06a951b83a373657101a56374696d6592ce6b01f0f3ce0cb060d0a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e76902a46494c4553504f4f4c4552000100000000000000245611d9becee031cd83a373657101a56374696d6592ce6b01f0f3ce0d455097a8636d645f74797065a34e4f50')::spool.packet), '\x2a46494c4553504f4f4c4552000100000000000000245611d9becee031cd83a373657101a56374696d6592ce6b01f0f3ce0d455097a8636d645f74797065a34e4f50',
    'F61: a packet behind a packet is its payload');
SELECT is(('\x2a46494c4553504f4f4c455200010000000000000041a95df2f4d8ceee4283a373657101a56374696d6592ce6b01f0f3ce0d2e2332a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e769192914294ccffcc80010a'::bytea)::spool.packet::bytea, '\x2a46494c4553504f4f4c455200010000000000000041a95df2f4d8ceee4283a373657101a56374696d6592ce6b01f0f3ce0d2e2332a8636d645f7479706581a7436f6d6d616e6482a6706172616d7390a3656e769192914294ccffcc80010a', 'F57: cast from bytea and back');
SELECT is(spool.seq('\x2a46494c4553504f4f4c455200010000000000000028935bda3411cef31384a178829190c08001a8636d645f747970658101c0a56374696d65920102d903736571cd0007c1ff'), 7::bigint, 'F65: another order, unknown field, long number, trailing bytes');
SELECT is('\x2a46494c4553504f4f4c455200010000000000000028935bda3411cef31384a178829190c08001a8636d645f747970658101c0a56374696d65920102d903736571cd0007c1ff'::spool.packet::text, '\x2a46494c4553504f4f4c455200010000000000000028935bda3411cef31384a178829190c08001a8636d645f747970658101c0a56374696d65920102d903736571cd0007c1ff', 'F65: the bytes are kept');

-- Header limit.
SAVEPOINT limits;
SET LOCAL spool.max_header_size = '1kB';
SELECT throws_ok($$SELECT spool.make_packet(1, params => ARRAY[repeat('x', 1000)])$$, '22P03',
    'invalid packet: header length beyond the limit',
    'F59: make_packet keeps to spool.max_header_size');
SELECT lives_ok($$SELECT spool.make_packet(1, repeat('x', 5000), ARRAY[repeat('x', 900)])$$, 'F59: a payload is no header');
ROLLBACK TO limits;
SELECT is((SELECT concat_ws(' ', setting, unit, context) FROM pg_settings WHERE name = 'spool.max_header_size'),
    '16384 kB superuser', 'spool.max_header_size');

-- make_packet.
SELECT throws_ok($$SELECT spool.make_packet(NULL)$$, '22004',
    'seq must not be null',
    'make_packet without seq');
SELECT throws_ok($$SELECT spool.make_packet(1, params => '{a,NULL}')$$, '22004',
    'params must not contain nulls',
    'NULL in params');
SELECT throws_ok($$SELECT spool.make_packet(1, params => '{{a},{b}}')$$, '22023',
    'params must be a one-dimensional array',
    'params of two dimensions');
SELECT throws_ok($$SELECT spool.make_packet(1, env => '[]')$$, '22023',
    'env must be a JSON object',
    'env that is no object');
SELECT throws_ok($$SELECT spool.make_packet(1, env => '{"a": null}')$$, '22023',
    'value of "a" in env must be a string, a number or a boolean',
    'null in env');
SELECT throws_ok($$SELECT spool.make_packet(1, env => '{"a": [1]}')$$, '22023',
    'value of "a" in env must be a string, a number or a boolean',
    '[1] in env');
SELECT throws_ok($$SELECT spool.make_packet(1, env => '{"a": {"b": 1}}')$$, '22023',
    'value of "a" in env must be a string, a number or a boolean',
    '{"b": 1} in env');
SELECT is(spool.env(spool.make_packet(1, env => '{"n": 1.50, "t": true, "f": false, "s": "x y"}')),
    '{"n": "1.50", "t": "true", "f": "false", "s": "x y"}', 'env values become text');
SELECT throws_ok($$SELECT spool.make_packet(1, kind => 'NOP')$$, '22023',
    'unrecognized packet kind: "NOP"',
    'unrecognized kind');
SELECT is(pg_temp.detail($$SELECT spool.make_packet(1, kind => 'NOP')$$),
    'Available kinds are "command", "nop" and "fail".',
    'unrecognized kind: hint');
SELECT throws_ok($$SELECT spool.make_packet(1, kind => 'nop', params => '{a}')$$, '22023',
    'packets of kind "nop" carry neither params nor env',
    'nop with params');
SELECT throws_ok($$SELECT spool.make_packet(1, kind => 'nop', env => '{"a": 1}')$$, '22023',
    'packets of kind "nop" carry neither params nor env',
    'nop with env');
SELECT throws_ok($$SELECT spool.make_packet(1, kind => 'fail', params => '{a}')$$, '22023',
    'packets of kind "fail" carry neither params nor env',
    'fail with params');
SELECT throws_ok($$SELECT spool.make_packet(1, kind => 'fail', env => '{"a": 1}')$$, '22023',
    'packets of kind "fail" carry neither params nor env',
    'fail with env');
SELECT throws_ok($$SELECT spool.make_packet(1, nanos => -1)$$, '22023',
    'nanos must be between 0 and 999999999',
    'nanos -1');
SELECT throws_ok($$SELECT spool.make_packet(1, nanos => 1000000000)$$, '22023',
    'nanos must be between 0 and 999999999',
    'nanos 1000000000');
SELECT throws_ok($$SELECT spool.make_packet(1, ctime => 'infinity')$$, '22003',
    'creation time is out of range',
    'F59: ctime infinity');
SELECT throws_ok($$SELECT spool.make_packet(1, ctime => '-infinity')$$, '22003',
    'creation time is out of range',
    'F59: ctime -infinity');
SELECT throws_ok($$SELECT spool.make_packet(1, ctime => '1677-09-21')$$, '22003',
    'creation time is out of range',
    'F59: ctime 1677-09-21');
SELECT throws_ok($$SELECT spool.make_packet(1, ctime => '2262-04-13')$$, '22003',
    'creation time is out of range',
    'F59: ctime 2262-04-13');
SELECT is(pg_temp.detail($$SELECT spool.make_packet(1, ctime => 'infinity')$$),
    'Creation times are from 1677-09-22 to 2262-04-11.',
    'F59: ctime infinity: detail');
SELECT throws_ok($$SELECT spool.make_packet(1, ctime => '2262-04-11 23:47:16+00', nanos => 854775808)$$, '22003',
    'creation time is out of range',
    'F59: one nanosecond too late');
SELECT is(spool.ctime(spool.make_packet(1, ctime => '1677-09-22 00:12:43.145224+00', nanos => 145224192)), '1677-09-22 00:12:43.145224+00',
    'F59: ctime 1677-09-22 00:12:43.145224+00');
SELECT is(spool.ctime(spool.make_packet(1, ctime => '2262-04-11 23:47:16.854775+00', nanos => 854775807)), '2262-04-11 23:47:16.854775+00',
    'F59: ctime 2262-04-11 23:47:16.854775+00');
SELECT is(spool.ctime(spool.make_packet(1, ctime => '1969-12-31 23:59:59+00', nanos => 999999999)),
    '1969-12-31 23:59:59.999999+00', 'ctime before 1970 is cut downwards');
SELECT ok(clock_timestamp() - spool.ctime(spool.make_packet(1)) BETWEEN '-1 s' AND '1 minute', 'ctime is now by default');
SELECT ok(clock_timestamp() - spool.ctime(spool.make_packet(1, ctime => NULL)) BETWEEN '-1 s' AND '1 minute', 'ctime NULL is now');
SELECT is(spool.make_packet(1, NULL::bytea, NULL, NULL, NULL, '2000-01-01+00')::bytea,
    spool.make_packet(1, ctime => '2000-01-01+00')::bytea, 'NULL arguments are left at their defaults');
SELECT is(spool.payload(spool.make_packet(1)), '', 'no payload is an empty one');
SELECT is(spool.payload(spool.make_packet(1, 'äß')), '\xc3a4c39f', 'payload as text');
SELECT is(spool.payload(spool.make_packet(1, '\x00ff'::bytea)), '\x00ff', 'payload as bytea');
SELECT is(spool.payload(spool.make_packet(1, '{"b":  1}'::json)), '{"b":  1}'::bytea, 'payload as json');
SELECT is(spool.payload(spool.make_packet(1, '{"b":  1}'::jsonb)), '{"b": 1}'::bytea, 'payload as jsonb');
SELECT is(spool.payload(spool.make_packet(1, string_agg(set_byte('\x00', 0, i), '' ORDER BY i))),
    string_agg(set_byte('\x00', 0, i), '' ORDER BY i), 'F61: all byte values in a payload') FROM generate_series(0, 255) i;

-- info and filename.
SELECT results_eq($$SELECT name, value FROM spool.info('\x2a46494c4553504f4f4c45520001000000000000003ef1ab51ff0e4487d183a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::spool.packet)$$,
    $$VALUES ('FSPL_SEQ', '1'), ('FSPL_CTIME_SECS', '1795289331'), ('FSPL_CTIME_NANOS', '263624130'),
      ('FSPL_CTIME_RFC3339_UTC', '2026-11-21T19:28:51Z'),
      ('FSPL_CTIME_RFC3339_LOCAL', '2026-11-21T19:28:51+00:00'),
      ('FSPL_PARAM_1', 'a'), ('FSPL_SET_K', 'v')$$, 'F56: info as fspl stdin-info');
SELECT is((SELECT value FROM spool.info('\x2a46494c4553504f4f4c45520001000000000000002096264f72d9c0291983a373657101a56374696d65923bce773593ffa8636d645f74797065a34e4f50') WHERE name = 'FSPL_CTIME_RFC3339_UTC'),
    '1970-01-01T00:00:60Z', 'F56: a leap second as fspl writes it');
SELECT is(spool.nanos('\x2a46494c4553504f4f4c45520001000000000000002096264f72d9c0291983a373657101a56374696d65923bce773593ffa8636d645f74797065a34e4f50'), 1999999999, 'F56: nanos of a leap second');
SELECT is(spool.ctime('\x2a46494c4553504f4f4c45520001000000000000002096264f72d9c0291983a373657101a56374696d65923bce773593ffa8636d645f74797065a34e4f50'), '1970-01-01 00:01:00.999999+00', 'F56: ctime of a leap second');
SET LOCAL TimeZone = 'America/St_Johns';
SELECT is((SELECT value FROM spool.info('\x2a46494c4553504f4f4c45520001000000000000003ef1ab51ff0e4487d183a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::spool.packet) WHERE name = 'FSPL_CTIME_RFC3339_LOCAL'),
    '2026-11-21T15:58:51-03:30', 'F56: local time in the session''s time zone');
SET LOCAL TimeZone = 'UTC';
SELECT is(spool.filename(p), 'fspl-' || md5(p::bytea)::uuid || '.fspl', 'filename from the md5')
  FROM (SELECT '\x2a46494c4553504f4f4c45520001000000000000003ef1ab51ff0e4487d183a373657101a56374696d6592ce6b01f0f3ce0fb695c2a8636d645f7479706581a7436f6d6d616e6482a6706172616d73919161a3656e769192914b917668656c6c6f'::spool.packet AS p) s;

-- Stored packets.
CREATE TEMPORARY TABLE stored (id int, packet spool.packet);
INSERT INTO stored VALUES
    (1, spool.make_packet(1, convert_to(repeat('0123456789', 300000), 'UTF8'), '{small}')),
    (2, spool.make_packet(2, convert_to(repeat('0123456789', 300000), 'UTF8'), ARRAY[repeat('x', 100000)])),
    (3, spool.make_packet(3, 'short'));
SELECT results_eq('SELECT spool.seq(packet) FROM stored ORDER BY id', 'VALUES (1::bigint), (2), (3)', 'headers of toasted packets');
SELECT is(spool.params(packet), '{small}', 'params of a toasted packet') FROM stored WHERE id = 1;
SELECT is(md5(spool.params(packet)::text), md5(ARRAY[repeat('x', 100000)]::text), 'params longer than a chunk') FROM stored WHERE id = 2;
SELECT is(md5(spool.payload(packet)), md5(repeat('0123456789', 300000)), 'payload behind a long header') FROM stored WHERE id = 2;
SELECT cmp_ok(pg_column_size(packet), '>', 3000000, 'toasted packets are not compressed') FROM stored WHERE id = 1;
SELECT ok(a.packet OPERATOR(spool.=) a.packet AND a.packet OPERATOR(spool.<>) b.packet, 'packets are compared by bytes')
  FROM stored a, stored b WHERE a.id = 1 AND b.id = 2;
SELECT is(spool.packet_send(packet), packet::bytea, 'F57: binary form is the bytes') FROM stored WHERE id = 3;

-- Too large, and damaged behind our back.
SELECT throws_ok($$SELECT spool.make_packet(1, repeat('x', 500000000))$$, '54000',
    'packet is too large',
    'a packet above 500 MB');
CREATE FUNCTION pg_temp.forge(bytea, bytea) RETURNS spool.packet
LANGUAGE internal IMMUTABLE AS 'byteacat';
SELECT throws_ok($$SELECT spool.seq(pg_temp.forge('\x2a46', ''))$$, 'XX001',
    'stored packet is damaged: too short',
    'F62: a damaged packet is not read');
INSERT INTO stored SELECT 4, pg_temp.forge('\x00', packet::bytea) FROM stored WHERE id = 2;
SELECT throws_ok($$SELECT spool.payload(packet) FROM stored WHERE id = 4$$, 'XX001',
    'stored packet is damaged: wrong magic',
    'F62: a damaged packet in the toast table is not read');

-- Catalog.
SELECT is(format('%s%s', typstorage, typcategory), 'eU', 'packets are stored external') FROM pg_type WHERE oid = 'spool.packet'::regtype;
SELECT results_eq($$SELECT castcontext::text FROM pg_cast WHERE 'spool.packet'::regtype IN (castsource, casttarget) ORDER BY castsource = 'bytea'::regtype$$,
    $$VALUES ('a'), ('i')$$, 'casts: to bytea by assignment, from bytea implicit');

SELECT * FROM finish();
ROLLBACK;
