/*-------------------------------------------------------------------------
 * packet_test.c
 *	  Tests of the packet codec, without a server.
 *
 * Started in the top folder: reads test/data/fspl_vectors.txt.  Prints TAP.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crc32.h"
#include "packet.h"
#include "packet_variants.h"

#define VECTORS "test/data/fspl_vectors.txt"
#define MAX_HEADER (16 * 1024 * 1024)
#define MAX_BYTES 400000
#define MAX_ITEMS 40
#define RANDOM_PACKETS 20000

static int	tests = 0;
static int	failures = 0;

static void
ok(bool passed, const char *name, const char *detail)
{
	tests++;
	if (!passed)
		failures++;
	printf("%sok %d - %s%s%s\n", passed ? "" : "not ", tests, name,
		   detail ? ": " : "", detail ? detail : "");
}

static void
store(uint8_t *p, uint64_t value, int width)
{
	while (width-- > 0)
		*p++ = (uint8_t) (value >> (8 * width));
}

/* A packet with right checksums around any header. */
static size_t
wrap(uint8_t *packet, const uint8_t *header, size_t len)
{
	memcpy(packet, "*FILESPOOLER\0\1", 14);
	store(packet + 14, len, 8);
	store(packet + 22, packet_crc32(header, len), 4);
	store(packet + 26, packet_crc32(packet, 26), 4);
	memmove(packet + PACKET_PREFIX_SIZE, header, len);
	return PACKET_PREFIX_SIZE + len;
}

/* Compare the items left with a string: each followed by a '|'. */
static bool
items_are(PacketItems items, const char *expected, size_t len)
{
	static uint8_t joined[MAX_BYTES];
	size_t		n = 0;

	while (items.count > 0)
	{
		size_t		item = packet_item_length(&items);

		if (n + item + 1 > sizeof(joined))
			return false;
		packet_item_copy(&items, joined + n);
		n += item;
		joined[n++] = '|';
	}
	return n == len && memcmp(joined, expected, n) == 0;
}

/* Take a decoded header apart and encode it again. */
static size_t
encode_again(const PacketHeader *header, uint8_t *out)
{
	static uint8_t pool[MAX_BYTES];
	static PacketBytes lists[2][2 * MAX_ITEMS];
	PacketItems items[2] = {header->params, header->env};
	PacketFields fields = {header->seq, header->secs, header->nanos,
		header->kind, header->params.count, lists[0], header->env.count / 2,
	lists[1]};
	size_t		used = 0;
	size_t		size;
	int			i;
	int			n;

	for (i = 0; i < 2; i++)
	{
		for (n = 0; items[i].count > 0; n++)
		{
			lists[i][n].len = packet_item_length(&items[i]);
			lists[i][n].data = pool + used;
			packet_item_copy(&items[i], pool + used);
			used += lists[i][n].len;
		}
	}
	size = packet_encoded_size(&fields);
	return packet_encode(&fields, out) == size ? size : 0;
}


/* ---------------------------------------------------------------------
 * What fspl wrote
 * ---------------------------------------------------------------------
 */

typedef struct Expected
{
	const char *name;
	uint64_t	seq;
	int64_t		secs;
	uint32_t	nanos;
	PacketKind	kind;
	const char *params;
	const char *env;
	size_t		env_len;
	const char *payload;
} Expected;

#define ENV(s) s, sizeof(s) - 1
#define CMD PACKET_COMMAND
#define V_SECS 1795289331
#define F_SECS 1700000000

static const Expected expected[] = {
	{"v01_min", 1, V_SECS, 0x0cb060d0, CMD, "", ENV(""), ""},
	{"v02_payload", 1, V_SECS, 0x0ccc9f40, CMD, "", ENV(""), "hello"},
	{"v03_params", 1, V_SECS, 0x0ce5d9df, CMD, "p1|two words||", ENV(""), ""},
	{"v04_env", 1, V_SECS, 0x0cfe392a, CMD, "", ENV("FOO|bar|EMPTY||"), ""},
	{"v05_utf8", 1, V_SECS, 0x0d160333, CMD, "\xc3\xa9|",
	ENV("\xc3\x9c|\xc3\xb6\xf0\x9f\x98\x80|"), ""},
	{"v06_bin", 1, V_SECS, 0x0d2e2332, CMD, "", ENV("B|\xff\x80\x01\n|"), ""},
	{"v07_nop", 1, V_SECS, 0x0d455097, PACKET_NOP, "", ENV(""), ""},
	{"v08_fail", 1, V_SECS, 0x0d5c8bbb, PACKET_FAIL, "", ENV(""), ""},
	{"v09_seq0", 0, V_SECS, 0x0d86432c, PACKET_NOP, "", ENV(""), ""},
	{"v10_seq127", 127, V_SECS, 0x0db9fa78, PACKET_NOP, "", ENV(""), ""},
	{"v11_seq128", 128, V_SECS, 0x0deacd3c, PACKET_NOP, "", ENV(""), ""},
	{"v12_seq255", 255, V_SECS, 0x0e1f0bca, PACKET_NOP, "", ENV(""), ""},
	{"v13_seq256", 256, V_SECS, 0x0e50b15c, PACKET_NOP, "", ENV(""), ""},
	{"v14_seq65535", 65535, V_SECS, 0x0e867044, PACKET_NOP, "", ENV(""), ""},
	{"v15_seq65536", 65536, V_SECS, 0x0eb5a63a, PACKET_NOP, "", ENV(""), ""},
	{"v16_seq4294967295", 4294967295, V_SECS, 0x0ee52e38, PACKET_NOP, "",
	ENV(""), ""},
	{"v17_seq4294967296", 4294967296, V_SECS, 0x0f16f42c, PACKET_NOP, "",
	ENV(""), ""},
	{"v18_seq18446744073709551615", UINT64_MAX, V_SECS, 0x0f47585a,
	PACKET_NOP, "", ENV(""), ""},
	{"v19_16params", 1, V_SECS, 0x0f6df31a, CMD,
	"a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|a|", ENV(""), ""},
	{"v20_long32", 1, V_SECS, 0x0f9e39c8, CMD,
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx|", ENV(""), ""},
	{"v21_all", 1, V_SECS, 0x0fb695c2, CMD, "a|", ENV("K|v|"), "hello"},
	{"F1", 1, F_SECS, 5, CMD, "", ENV(""), ""},
	{"F2", 300, F_SECS, 123456789, CMD, "a||", ENV(""), "hi"},
	{"F3", 2, F_SECS, 0, CMD, "", ENV("K|V|B|\xff\x80\x7f|"), ""},
	{"F4", UINT64_MAX, F_SECS, 1, PACKET_NOP, "", ENV(""), ""},
	{"F5", 0, -1, 999999999, PACKET_FAIL, "", ENV(""), ""},
	{"F6", 1, INT64_C(4294967296), 0, PACKET_NOP, "", ENV(""), ""},
};

#define N_EXPECTED ((int) (sizeof(expected) / sizeof(expected[0])))

static void
check_fields(const Expected *e, const uint8_t *bytes, size_t len)
{
	PacketHeader h;
	PacketHeader trusted;
	size_t		offset;
	static uint8_t again[MAX_BYTES];

	ok(packet_decode(bytes, len, MAX_HEADER, &h, &offset) == PACKET_OK &&
	   h.seq == e->seq && h.secs == e->secs && h.nanos == e->nanos &&
	   h.kind == e->kind &&
	   items_are(h.params, e->params, strlen(e->params)) &&
	   items_are(h.env, e->env, e->env_len) &&
	   len - h.size == strlen(e->payload) &&
	   memcmp(bytes + h.size, e->payload, len - h.size) == 0,
	   "F55: fields of a packet of fspl", e->name);
	ok(encode_again(&h, again) == h.size && memcmp(again, bytes, h.size) == 0,
	   "F55: the encoder makes the same bytes", e->name);
	ok(packet_decode_trusted(bytes, len, &trusted) == PACKET_OK &&
	   memcmp(&trusted, &h, sizeof(h)) == 0,
	   "the decoder without checksums reads the same", e->name);
}

/* Every cut before the payload and every flipped bit must be noticed. */
static void
check_damage(const char *name, const uint8_t *bytes, size_t len)
{
	static uint8_t damaged[MAX_BYTES];
	PacketHeader h;
	size_t		offset;
	size_t		header;
	size_t		i;
	bool		cut = true;
	bool		flipped = true;

	(void) packet_decode(bytes, len, MAX_HEADER, &h, &offset);
	header = h.size;
	for (i = 0; i < header; i++)
	{
		/* exactly as long as the cut, so that tools see a read beyond it */
		uint8_t    *copy = malloc(i > 0 ? i : 1);
		PacketStatus want = i < PACKET_PREFIX_SIZE ? PACKET_TOO_SHORT :
		PACKET_HEADER_CUT;

		memcpy(copy, bytes, i);
		cut = cut &&
			packet_decode(copy, i, MAX_HEADER, &h, &offset) == want &&
			offset == i && packet_decode_trusted(copy, i, &h) == want;
		free(copy);
	}
	ok(cut, "F58: every truncation of the header is refused", name);
	ok(packet_decode(bytes, header, MAX_HEADER, &h, &offset) == PACKET_OK,
	   "F61: a header without payload is a packet", name);

	memcpy(damaged, bytes, len);
	for (i = 0; i < 8 * header; i++)
	{
		damaged[i / 8] ^= (uint8_t) (1 << i % 8);
		flipped = flipped &&
			packet_decode(damaged, len, MAX_HEADER, &h, &offset) != PACKET_OK;
		damaged[i / 8] ^= (uint8_t) (1 << i % 8);
	}
	ok(flipped, "F58: every flipped bit in the header is noticed", name);
}

static void
test_vectors(void)
{
	FILE	   *file = fopen(VECTORS, "r");
	static char line[8192];
	static char name[100];
	static uint8_t bytes[4096];
	int			n = 0;
	int			at;

	ok(file != NULL, "open " VECTORS, NULL);
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
	{
		size_t		len;
		unsigned int byte;

		if (line[0] == '#' || sscanf(line, "%99s %n", name, &at) != 1)
			continue;
		for (len = 0; sscanf(line + at + 2 * len, "%2x", &byte) == 1; len++)
			bytes[len] = (uint8_t) byte;
		if (n < N_EXPECTED && strcmp(name, expected[n].name) == 0)
		{
			check_fields(&expected[n], bytes, len);
			check_damage(name, bytes, len);
		}
		n++;
	}
	if (file != NULL)
		fclose(file);
	ok(n == N_EXPECTED, "all vectors were read", NULL);
}


/* ---------------------------------------------------------------------
 * Headers that fspl does not write
 * ---------------------------------------------------------------------
 */

static void
test_variants(void)
{
	static uint8_t packet[1024];
	size_t		i;

	for (i = 0; i < sizeof(variants) / sizeof(variants[0]); i++)
	{
		const Variant *v = &variants[i];
		size_t		len = wrap(packet, v->header, v->len);
		PacketHeader h;
		PacketStatus status;
		size_t		offset;

		status = packet_decode(packet, len, MAX_HEADER, &h, &offset);
		ok(status == v->status &&
		   (v->offset < 0 || offset == PACKET_PREFIX_SIZE + (size_t) v->offset) &&
		   packet_decode_trusted(packet, len, &h) == status,
		   v->status == PACKET_OK ? "F65: accepted as by fspl" :
		   v->status == PACKET_BAD_CTIME ? "F59: creation time refused" :
		   "F65: refused as by fspl", v->name);
	}
}

/* Containers inside one another in unknown fields, to fspl's limit. */
static void
test_depth(void)
{
	static uint8_t packet[70000];
	static uint8_t header[65000];
	PacketHeader h;
	size_t		offset;
	size_t		depth;

	for (depth = 1021; depth <= 1024; depth++)
	{
		size_t		len = sizeof("\x84" SEQ CTIME NOP "\xa1x") - 1;
		bool		good = depth <= 1022;

		memcpy(header, "\x84" SEQ CTIME NOP "\xa1x", len);
		memset(header + len, 0x91, depth);
		header[len + depth] = 0xc0;
		len = wrap(packet, header, len + depth + 1);
		ok((packet_decode(packet, len, MAX_HEADER, &h, &offset) == PACKET_OK) == good,
		   good ? "F65: nesting that fspl reads" : "F65: nesting too deep", NULL);
	}
	memset(header, 0x91, sizeof(header));
	memcpy(header, "\x81\xa1x", 3);
	ok(packet_decode(packet, wrap(packet, header, sizeof(header)), MAX_HEADER,
					 &h, &offset) == PACKET_BAD_HEADER,
	   "F65: very deep nesting", NULL);
}

static void
test_status(void)
{
	static uint8_t packet[200];
	PacketHeader h;
	size_t		offset;
	uint64_t	size;
	size_t		len;
	PacketStatus s;

	len = wrap(packet, BYTES("\x83" SEQ CTIME NOP));
	ok(packet_decode(packet, len, len - 30, &h, &offset) == PACKET_OK,
	   "a header just within the limit", NULL);
	ok(packet_decode(packet, len, len - 31, &h, &offset) ==
	   PACKET_HEADER_TOO_LONG && offset == 14, "header over the limit", NULL);
	ok(packet_prefix_decode(packet, 30, MAX_HEADER, &size, &offset) ==
	   PACKET_OK && size == len, "a prefix alone tells the size", NULL);

	packet[3] ^= 1;
	packet[13] = 2;
	ok(packet_decode(packet, len, MAX_HEADER, &h, &offset) ==
	   PACKET_BAD_MAGIC && offset == 0, "F58: wrong magic", NULL);
	packet[3] ^= 1;
	ok(packet_decode(packet, len, MAX_HEADER, &h, &offset) ==
	   PACKET_BAD_VERSION && offset == 12, "F58: wrong version", NULL);
	packet[13] = 1;
	packet[26] ^= 1;
	ok(packet_decode(packet, len, MAX_HEADER, &h, &offset) ==
	   PACKET_BAD_PREFIX_CRC && offset == 26, "F58: prefix checksum", NULL);
	packet[26] ^= 1;
	packet[len - 1] ^= 1;
	ok(packet_decode(packet, len, MAX_HEADER, &h, &offset) ==
	   PACKET_BAD_HEADER_CRC && offset == 22, "F58: header checksum", NULL);

	store(packet + 14, UINT64_C(1) << 40, 8);
	store(packet + 26, packet_crc32(packet, 26), 4);
	ok(packet_decode(packet, len, MAX_HEADER, &h, &offset) ==
	   PACKET_HEADER_TOO_LONG, "F59: header length 2^40", NULL);
	ok(packet_decode(packet, len, UINT64_MAX, &h, &offset) ==
	   PACKET_HEADER_CUT, "F59: the same without a limit", NULL);
	store(packet + 14, UINT64_MAX, 8);
	store(packet + 26, packet_crc32(packet, 26), 4);
	ok(packet_decode(packet, len, UINT64_MAX, &h, &offset) ==
	   PACKET_HEADER_TOO_LONG, "F59: header length 2^64 - 1", NULL);
	ok(packet_decode_trusted(packet, len, &h) == PACKET_HEADER_CUT,
	   "F59: the same without checksums", NULL);

	for (s = PACKET_OK; s <= PACKET_BAD_CTIME; s++)
		ok(strcmp(packet_status_text(s), "unrecognized status") != 0,
		   "a text for each status", packet_status_text(s));
}

static void
test_nanoseconds(void)
{
	int64_t		ns;

	ok(packet_nanoseconds(0, 0, &ns) && ns == 0, "nanoseconds of 0", NULL);
	ok(packet_nanoseconds(-1, 999999999, &ns) && ns == -1,
	   "nanoseconds of -1", NULL);
	ok(packet_nanoseconds(1, 1999999999, &ns) && ns == INT64_C(2999999999),
	   "nanoseconds of a leap second", NULL);
	ok(!packet_nanoseconds(1, 2000000000, &ns), "two seconds of nanos", NULL);
	ok(packet_nanoseconds(INT64_C(9223372036), 854775807, &ns) &&
	   ns == INT64_MAX, "F59: the last creation time", NULL);
	ok(!packet_nanoseconds(INT64_C(9223372036), 854775808, &ns),
	   "F59: after the last creation time", NULL);
	ok(packet_nanoseconds(INT64_C(9223372035), 1854775807, &ns) &&
	   ns == INT64_MAX, "F59: the last creation time as leap second", NULL);
	ok(packet_nanoseconds(INT64_C(-9223372037), 145224192, &ns) &&
	   ns == INT64_MIN, "F59: the first creation time", NULL);
	ok(!packet_nanoseconds(INT64_C(-9223372037), 145224191, &ns),
	   "F59: before the first creation time", NULL);
	ok(!packet_nanoseconds(INT64_MAX, 0, &ns) &&
	   !packet_nanoseconds(INT64_MIN, 0, &ns), "F59: far creation times", NULL);
}


/* ---------------------------------------------------------------------
 * Random packets
 * ---------------------------------------------------------------------
 */

static uint64_t
random_number(void)
{
	uint64_t	v = 0;
	int			i;

	for (i = 0; i < 5; i++)
		v = v << 15 ^ (uint64_t) rand();
	return v >> rand() % 64;
}

static void
test_random(unsigned int seed)
{
	static uint8_t pool[MAX_BYTES];
	static uint8_t first[MAX_BYTES];
	static uint8_t again[MAX_BYTES];
	static PacketBytes items[3 * MAX_ITEMS];
	int			i;
	size_t		n;
	bool		same = true;

	srand(seed);
	for (n = 0; n < sizeof(pool); n++)
		pool[n] = (uint8_t) (rand() >> 7);
	for (i = 0; i < RANDOM_PACKETS && same; i++)
	{
		PacketFields f;
		PacketHeader h;
		size_t		offset;
		size_t		size;

		memset(&f, 0, sizeof(f));
		f.seq = random_number();
		f.secs = (int64_t) (random_number() % INT64_C(9223372036));
		if (rand() % 2)
			f.secs = -f.secs;
		f.nanos = (uint32_t) (random_number() % 2000000000);
		if (f.secs == INT64_C(9223372035))
			f.nanos = 0;
		f.kind = (PacketKind) (rand() % 3);
		if (f.kind == PACKET_COMMAND)
		{
			f.nparams = (uint32_t) (rand() % MAX_ITEMS);
			f.nenv = (uint32_t) (rand() % MAX_ITEMS);
		}
		f.params = items;
		f.env = items + f.nparams;
		for (n = 0; n < f.nparams + 2 * (size_t) f.nenv; n++)
		{
			items[n].data = pool + rand() % (sizeof(pool) / 2);
			items[n].len = (size_t) rand() % (rand() % 50 ? 40 : 2000);
		}
		if (i % 1000 == 0 && f.nparams > 0)
			items[0].len = i % 2000 ? 65535 : 65536;

		size = packet_encode(&f, first);
		same = size == packet_encoded_size(&f) &&
			packet_decode(first, size, MAX_HEADER, &h, &offset) == PACKET_OK &&
			h.seq == f.seq && h.secs == f.secs && h.nanos == f.nanos &&
			h.kind == f.kind && h.params.count == f.nparams &&
			h.env.count == 2 * f.nenv && h.size == size &&
			encode_again(&h, again) == size && memcmp(first, again, size) == 0;
	}
	ok(same, "random packets are decoded and encoded again", NULL);
}

int
main(int argc, char **argv)
{
	unsigned int seed = argc > 1 ? (unsigned int) atoi(argv[1]) :
	(unsigned int) time(NULL);

	printf("# seed %u\n", seed);
	ok(packet_crc32(BYTES("123456789")) == 0xCBF43926, "CRC-32", NULL);
	test_vectors();
	test_variants();
	test_depth();
	test_status();
	test_nanoseconds();
	test_random(seed);
	printf("1..%d\n", tests);
	return failures > 0;
}
