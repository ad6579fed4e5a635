/*-------------------------------------------------------------------------
 * packet_variants.h
 *	  Packet headers that fspl does not write: what it makes of each when
 *	  it reads them.
 *-------------------------------------------------------------------------
 */
#ifndef PACKET_VARIANTS_H
#define PACKET_VARIANTS_H

#include "packet.h"

#define BYTES(s) (const uint8_t *) (s), sizeof(s) - 1

/* the beginning and the end of simple headers */
#define SEQ "\xa3seq\x01"
#define CTIME "\xa5""ctime\x92\x01\x02"
#define KIND "\xa8""cmd_type"
#define NOP KIND "\xa3NOP"
#define COMMAND KIND "\x81\xa7""Command"

typedef struct Variant
{
	const char *name;
	const uint8_t *header;
	size_t		len;
	PacketStatus status;
	int			offset;			/* from the header's start; -1: any */
} Variant;

#define GOOD(name, h) {name, BYTES(h), PACKET_OK, -1}
#define BAD(name, h, offset) {name, BYTES(h), PACKET_BAD_HEADER, offset}
#define WITH_PARAMS(p) "\x83" SEQ CTIME COMMAND "\x82\xa6params" p "\xa3""env\x90"
#define WITH_ENV(e) "\x83" SEQ CTIME COMMAND "\x82\xa6params\x90\xa3""env" e
#define WITH_KIND(k) "\x83" SEQ CTIME KIND k
#define WITH_CTIME(c) "\x83" SEQ "\xa5""ctime" c NOP
#define WITH_EXTRA(x) "\x84" SEQ CTIME NOP "\xa1x" x
#define WITH_SEQ(s) "\x83\xa3seq" s CTIME NOP

static const Variant variants[] = {
	GOOD("fields in another order", "\x83" NOP CTIME SEQ),
	GOOD("array instead of map", "\x93\x01\x92\x01\x02\xa3NOP"),
	GOOD("array16 instead of map", "\xdc\0\x03\x01\x92\x01\x02\xa3NOP"),
	GOOD("array32 instead of map", "\xdd\0\0\0\x03\x01\x92\x01\x02\xa3NOP"),
	GOOD("map16", "\xde\0\x03" SEQ CTIME NOP),
	GOOD("map32", "\xdf\0\0\0\x03" SEQ CTIME NOP),
	GOOD("field names as indexes", "\x83\0\x01\x01\x92\x01\x02\x02\xa3NOP"),
	GOOD("field name as str8", "\x83\xd9\x03seq\x01" CTIME NOP),
	GOOD("field name as str16", "\x83\xda\0\x03seq\x01" CTIME NOP),
	GOOD("field name as str32", "\x83\xdb\0\0\0\x03seq\x01" CTIME NOP),
	GOOD("field name as bin8", "\x83\xc4\x03seq\x01" CTIME NOP),
	GOOD("field name as bin16", "\x83\xc5\0\x03seq\x01" CTIME NOP),
	GOOD("field name as bin32", "\x83\xc6\0\0\0\x03seq\x01" CTIME NOP),
	GOOD("bytes behind the value", "\x83" SEQ CTIME NOP "\xc1\xff"),
	GOOD("unknown field", WITH_EXTRA("\x01")),
	GOOD("unknown field by index", "\x84" SEQ CTIME NOP "\x07\x01"),
	GOOD("unknown field, no UTF-8", "\x84" SEQ CTIME NOP "\xa1\xff\x01"),
	GOOD("unknown field twice", "\x85" SEQ CTIME NOP "\xa1x\x01\xa1x\x01"),
	GOOD("unknown nil", WITH_EXTRA("\xc0")),
	GOOD("unknown boolean", WITH_EXTRA("\xc3")),
	GOOD("unknown float", WITH_EXTRA("\xca\0\0\0\0")),
	GOOD("unknown double", WITH_EXTRA("\xcb\0\0\0\0\0\0\0\0")),
	GOOD("unknown int", WITH_EXTRA("\xd2\xff\xff\xff\xff")),
	GOOD("unknown fixext1", WITH_EXTRA("\xd4\x01\x01")),
	GOOD("unknown fixext2", WITH_EXTRA("\xd5\x01\x01\x01")),
	GOOD("unknown fixext16", WITH_EXTRA("\xd8\x01" "0123456789abcdef")),
	GOOD("unknown ext8", WITH_EXTRA("\xc7\x01\x01\x05")),
	GOOD("unknown ext16", WITH_EXTRA("\xc8\0\x01\x01\x05")),
	GOOD("unknown ext32", WITH_EXTRA("\xc9\0\0\0\x01\x01\x05")),
	GOOD("unknown empty ext8", WITH_EXTRA("\xc7\0\x01")),
	GOOD("unknown nested value", WITH_EXTRA("\x82\x91\x90\xc0\x80\x92\x01\xa1y")),
	GOOD("seq as int8", WITH_SEQ("\xd0\x05")),
	GOOD("seq as int16", WITH_SEQ("\xd1\0\x05")),
	GOOD("seq as int32", WITH_SEQ("\xd2\0\0\0\x05")),
	GOOD("seq as int64", WITH_SEQ("\xd3\0\0\0\0\0\0\0\x05")),
	GOOD("seq as uint8", WITH_SEQ("\xcc\x05")),
	GOOD("seq as uint64", WITH_SEQ("\xcf\0\0\0\0\0\0\0\x05")),
	GOOD("ctime as array16", WITH_CTIME("\xdc\0\x02\x01\x02")),
	GOOD("ctime with int64", WITH_CTIME("\x92\xd3\xff\xff\xff\xff\xff\xff\xff\xff\x02")),
	GOOD("nanos of a leap second", WITH_CTIME("\x92\x01\xce\x77\x35\x93\xff")),
	GOOD("{NOP: nil}", WITH_KIND("\x81\xa3NOP\xc0")),
	GOOD("{Fail: nil}", WITH_KIND("\x81\xa4" "Fail\xc0")),
	GOOD("kind 1", WITH_KIND("\x01")),
	GOOD("kind 2 as uint64", WITH_KIND("\xcf\0\0\0\0\0\0\0\x02")),
	GOOD("{1: nil}", WITH_KIND("\x81\x01\xc0")),
	GOOD("{0: command}", WITH_KIND("\x81\0\x92\x90\x90")),
	GOOD("kind as bin", WITH_KIND("\xc4\x03NOP")),
	GOOD("command as array", "\x83" SEQ CTIME COMMAND "\x92\x90\x90"),
	GOOD("command with indexes", "\x83" SEQ CTIME COMMAND "\x82\0\x90\x01\x90"),
	GOOD("command with another field", "\x83" SEQ CTIME COMMAND
		 "\x83\xa1x\x80\xa6params\x90\xa3" "env\x90"),
	GOOD("byte as uint16", WITH_PARAMS("\x91\x91\xcd\0\x61")),
	GOOD("byte as int64", WITH_PARAMS("\x91\x91\xd3\0\0\0\0\0\0\0\x61")),
	GOOD("pair as array16", WITH_ENV("\x91\xdc\0\x02\x91K\x91v")),
	GOOD("pair of empty strings", WITH_ENV("\x91\x92\x90\x90")),

	BAD("empty header", "", 0),
	BAD("a number", "\x01", 0),
	BAD("missing seq", "\x82" CTIME NOP, -1),
	BAD("missing ctime", "\x82" SEQ NOP, -1),
	BAD("missing kind", "\x82" SEQ CTIME, -1),
	BAD("seq twice", "\x84" SEQ SEQ CTIME NOP, 6),
	BAD("array of two", "\x92\x01\x92\x01\x02", -1),
	BAD("array of four", "\x94\x01\x92\x01\x02\xa3NOP\x01", -1),
	BAD("nil as field name", "\x84\xc0\x01" SEQ CTIME NOP, 1),
	BAD("negative field name", "\x84\xff\x01" SEQ CTIME NOP, 1),
	BAD("signed index as field name", "\x83\xd0\0\x01" CTIME NOP, 1),
	BAD("float as field name", "\x84\xca\0\0\0\0\x01" SEQ CTIME NOP, 1),
	BAD("reserved marker", WITH_EXTRA("\xc1"), -1),
	BAD("more names than bytes", "\xdf\xff\xff\xff\xff" SEQ CTIME NOP, -1),
	BAD("more values than bytes", WITH_EXTRA("\xdd\xff\xff\xff\xff"), -1),
	BAD("name longer than the header", "\x83\xdb\xff\xff\xff\xffseq", 1),
	BAD("ext longer than the header", WITH_EXTRA("\xc9\xff\xff\xff\xff\x01"), -1),
	BAD("negative seq", WITH_SEQ("\xff"), 5),
	BAD("negative seq as int64", WITH_SEQ("\xd3\x80\0\0\0\0\0\0\0"), 5),
	BAD("float as seq", WITH_SEQ("\xca\x3f\x80\0\0"), 5),
	BAD("string as seq", WITH_SEQ("\xa1" "1"), 5),
	BAD("nil as seq", WITH_SEQ("\xc0"), 5),
	BAD("ctime of one", WITH_CTIME("\x91\x01"), 12),
	BAD("ctime of three", WITH_CTIME("\x93\x01\x02\x03"), 12),
	BAD("ctime as map", WITH_CTIME("\x82\x00\x01\x01\x02"), 12),
	BAD("secs above int64", WITH_CTIME("\x92\xcf\x80\0\0\0\0\0\0\0\x02"), 13),
	BAD("nanos above uint32", WITH_CTIME("\x92\x01\xcf\0\0\0\x01\0\0\0\0"), 14),
	BAD("negative nanos", WITH_CTIME("\x92\x01\xff"), 14),
	BAD("another kind", WITH_KIND("\xa3nop"), 24),
	BAD("kind 3", WITH_KIND("\x03"), 24),
	BAD("bare Command", WITH_KIND("\xa7" "Command"), 24),
	BAD("kind 0", WITH_KIND("\0"), 24),
	BAD("kind as int8", WITH_KIND("\xd0\x01"), 24),
	BAD("kind in an array", WITH_KIND("\x91\xa3NOP"), 24),
	BAD("map of no kind", WITH_KIND("\x80"), 24),
	BAD("map of two kinds", WITH_KIND("\x82\xa3NOP\xc0\xa3NOP\xc0"), 24),
	BAD("{NOP: []}", WITH_KIND("\x81\xa3NOP\x90"), 29),
	BAD("{NOP: 1}", WITH_KIND("\x81\xa3NOP\x01"), 29),
	BAD("{Command: nil}", WITH_KIND("\x81\xa7" "Command\xc0"), 33),
	BAD("command of three", WITH_KIND("\x81\xa7" "Command\x93\x90\x90\x01"), -1),
	BAD("missing env", WITH_KIND("\x81\xa7" "Command\x81\xa6params\x90"), -1),
	BAD("params twice", WITH_KIND("\x81\xa7" "Command\x83\xa6params\x90"
								  "\xa6params\x90\xa3" "env\x90"), -1),
	BAD("parameter as bin", WITH_PARAMS("\x91\xc4\x01" "a"), 42),
	BAD("parameter as str", WITH_PARAMS("\x91\xa1" "a"), 42),
	BAD("parameter as map", WITH_PARAMS("\x91\x81" "aa"), 42),
	BAD("byte of 256", WITH_PARAMS("\x91\x91\xcd\x01\0"), 43),
	BAD("negative byte", WITH_PARAMS("\x91\x91\xff"), 43),
	BAD("params as map", WITH_PARAMS("\x81\x90\x90"), 41),
	BAD("params as nil", WITH_PARAMS("\xc0"), 41),
	BAD("more params than bytes", WITH_PARAMS("\xdd\xff\xff\xff\xff"), -1),
	BAD("env as map", WITH_ENV("\x81\x91" "a\x91" "b"), -1),
	BAD("pair of three", WITH_ENV("\x91\x93\x91" "a\x91" "b\x91" "c"), -1),
	BAD("pair of one", WITH_ENV("\x91\x91\x91" "a"), -1),
	BAD("pair as map", WITH_ENV("\x91\x81\x91" "a\x91" "b"), -1),
	{"two seconds of nanos", BYTES(WITH_CTIME("\x92\x01\xce\x77\x35\x94\0")),
	PACKET_BAD_CTIME, 12},
	{"2262-04-12", BYTES(WITH_CTIME("\x92\xcf\0\0\0\x02\x25\xc1\x7d\x05\0")),
	PACKET_BAD_CTIME, 12},
	{"1677-09-20", BYTES(WITH_CTIME("\x92\xd3\xff\xff\xff\xfd\xda\x3e\x82\xfa\0")),
	PACKET_BAD_CTIME, 12},
};

#endif							/* PACKET_VARIANTS_H */
