/*-------------------------------------------------------------------------
 * packet.c
 *	  Codec of the Filespooler packet format, version 1.
 *
 * A packet is
 *
 *	offset	size	field
 *	0		12		magic "*FILESPOOLER"
 *	12		2		version, 1
 *	14		8		length of the header
 *	22		4		CRC-32 of the header
 *	26		4		CRC-32 of bytes 0 to 25
 *	30		length	header, MessagePack
 *					payload: all that follows
 *
 * with integers in big-endian order.  The header as fspl and this encoder
 * write it is
 *
 *	{"seq": u64, "ctime": [secs i64, nanos u32], "cmd_type": type}
 *
 * where type is "NOP", "Fail" or {"Command": {"params": [bytes ...],
 * "env": [[bytes, bytes] ...]}}, and bytes is an array with one unsigned
 * integer for each byte.  The encoder always chooses the shortest form.
 *
 * The decoder accepts what fspl's accepts, no more and no less: fields in any
 * order, unknown fields in a map, an array in place of either map, field
 * names as str, bin or index, integers in longer forms than needed, and bytes
 * between the end of the MessagePack value and the end of the header.
 *
 * No function allocates memory.  The decoder reads nothing outside the bytes
 * given, whatever they hold, and needs a fixed amount of stack.
 *-------------------------------------------------------------------------
 */
#include "packet.h"

#include <string.h>

#include "crc32.h"
#include "msgpack.h"

#define MAGIC "*FILESPOOLER"
#define MAGIC_SIZE 12
#define FORMAT_VERSION 1
#define OFFSET_VERSION 12
#define OFFSET_HEADER_CRC 22
#define OFFSET_PREFIX_CRC 26

#define NANOS_PER_SEC 1000000000
#define MAX_NANOS (2 * (uint32_t) NANOS_PER_SEC - 1)

/* the constant parts of what fspl writes */
#define TEXT_SEQ "\x83\xa3seq"
#define TEXT_CTIME "\xa5""ctime\x92"
#define TEXT_KIND "\xa8""cmd_type"
#define TEXT_NOP "\xa3NOP"
#define TEXT_FAIL "\xa4""Fail"
#define TEXT_PARAMS "\x81\xa7""Command\x82\xa6params"
#define TEXT_ENV "\xa3""env"
#define TEXT_SIZE(text) (sizeof(text) - 1)

/* fields of the two maps, and the names of the kinds by PacketKind */
enum
{
	FIELD_SEQ, FIELD_CTIME, FIELD_KIND, META_FIELDS
};
enum
{
	FIELD_PARAMS, FIELD_ENV, COMMAND_FIELDS
};

static const char *const meta_names[] = {"seq", "ctime", "cmd_type"};
static const char *const command_names[] = {"params", "env"};
static const char *const kind_names[] = {"Command", "NOP", "Fail"};

/* A header being decoded. */
typedef struct Reader
{
	MpReader	mp;
	PacketHeader *header;
	const uint8_t *ctime;		/* where the creation time stands */
} Reader;

typedef bool (*FieldReader) (Reader *r, int field);

static bool read_meta_field(Reader *r, int field);
static bool read_command_field(Reader *r, int field);


/* ---------------------------------------------------------------------
 * Decoding headers
 * ---------------------------------------------------------------------
 */

/*
 * Step over a list of byte strings, each checked, or of pairs of them.
 */
static bool
read_items(Reader *r, bool pairs, PacketItems *items)
{
	uint32_t	count;
	uint32_t	two;
	uint32_t	length;
	uint64_t	n;
	uint64_t	byte;

	if (!mp_read_array(&r->mp, &count))
		return false;
	items->pos = r->mp.pos;
	n = pairs ? 2 * (uint64_t) count : count;
	if (n > mp_left(&r->mp) || n > UINT32_MAX)
		return false;
	items->count = (uint32_t) n;

	for (; n > 0; n--)
	{
		if (pairs && n % 2 == 0)
		{
			const uint8_t *start = r->mp.pos;

			if (!mp_read_array(&r->mp, &two))
				return false;
			if (two != 2)
			{
				r->mp.pos = start;
				return false;
			}
		}
		if (!mp_read_array(&r->mp, &length))
			return false;
		for (; length > 0; length--)
		{
			if (r->mp.pos < r->mp.end && *r->mp.pos < MP_FIXMAP)
				r->mp.pos++;
			else if (!mp_read_natural(&r->mp, UINT8_MAX, &byte))
				return false;
		}
	}
	items->end = r->mp.pos;
	return true;
}

/*
 * Read a struct: a map with all fields of the list and any others, or an
 * array with exactly the fields in order.  "level" tells how many containers
 * it stands in, itself included.
 */
static bool
read_struct(Reader *r, const char *const *names, int nfields,
			FieldReader read_field, int level)
{
	uint32_t	count;
	unsigned int seen = 0;
	int			field;

	if (mp_read_array(&r->mp, &count))
	{
		if (count != (uint32_t) nfields)
			return false;
		for (field = 0; field < nfields; field++)
		{
			if (!read_field(r, field))
				return false;
		}
		return true;
	}

	if (!mp_read_map(&r->mp, &count))
		return false;
	for (; count > 0; count--)
	{
		const uint8_t *start = r->mp.pos;

		if (!mp_read_identifier(&r->mp, names, nfields, &field))
			return false;
		if (field < 0)
		{
			if (!mp_skip(&r->mp, MP_MAX_DEPTH - level))
				return false;
		}
		else if (seen & (1U << field))
		{
			r->mp.pos = start;
			return false;
		}
		else if (!read_field(r, field))
			return false;
		else
			seen |= 1U << field;
	}
	return seen == (1U << nfields) - 1;
}

/*
 * The kind, as a bare name or as a map from the name to what belongs to it:
 * nil, or the command's fields.
 */
static bool
read_kind(Reader *r)
{
	const uint8_t *start = r->mp.pos;
	uint32_t	count = 0;
	bool		is_map;
	int			kind;

	is_map = mp_read_map(&r->mp, &count);
	if ((is_map && count != 1) ||
		!mp_read_identifier(&r->mp, kind_names, 3, &kind) ||
		kind < 0 || (kind == PACKET_COMMAND && !is_map))
	{
		r->mp.pos = start;
		return false;
	}
	r->header->kind = (PacketKind) kind;
	if (kind == PACKET_COMMAND)
		return read_struct(r, command_names, COMMAND_FIELDS,
						   read_command_field, 2);
	if (is_map)
	{
		if (r->mp.pos >= r->mp.end || *r->mp.pos != MP_NIL)
			return false;
		r->mp.pos++;
	}
	return true;
}

static bool
read_ctime(Reader *r)
{
	uint32_t	count;
	uint64_t	nanos;

	r->ctime = r->mp.pos;
	if (!mp_read_array(&r->mp, &count))
		return false;
	if (count != 2)
	{
		r->mp.pos = r->ctime;
		return false;
	}
	if (!mp_read_signed(&r->mp, &r->header->secs) ||
		!mp_read_natural(&r->mp, UINT32_MAX, &nanos))
		return false;
	r->header->nanos = (uint32_t) nanos;
	return true;
}

static bool
read_meta_field(Reader *r, int field)
{
	switch (field)
	{
		case FIELD_SEQ:
			return mp_read_natural(&r->mp, UINT64_MAX, &r->header->seq);
		case FIELD_CTIME:
			return read_ctime(r);
		default:
			return read_kind(r);
	}
}

static bool
read_command_field(Reader *r, int field)
{
	if (field == FIELD_PARAMS)
		return read_items(r, false, &r->header->params);
	return read_items(r, true, &r->header->env);
}


/* ---------------------------------------------------------------------
 * Decoding packets
 * ---------------------------------------------------------------------
 */

bool
packet_nanoseconds(int64_t secs, uint32_t nanos, int64_t *result)
{
	int64_t		rest = nanos;

	if (nanos > MAX_NANOS)
		return false;
	if (secs < 0)
	{
		/* towards zero, so that the product fits if the sum does */
		secs++;
		rest -= NANOS_PER_SEC;
	}
	if (secs > INT64_MAX / NANOS_PER_SEC || secs < INT64_MIN / NANOS_PER_SEC)
		return false;
	secs *= NANOS_PER_SEC;
	if (rest > 0 ? secs > INT64_MAX - rest : secs < INT64_MIN - rest)
		return false;
	*result = secs + rest;
	return true;
}

PacketStatus
packet_prefix_decode(const uint8_t *data, size_t len, uint64_t max_header,
					 uint64_t *size, size_t *offset)
{
	uint64_t	length;

	*offset = len;
	if (len < PACKET_PREFIX_SIZE)
		return PACKET_TOO_SHORT;
	*offset = 0;
	if (memcmp(data, MAGIC, MAGIC_SIZE) != 0)
		return PACKET_BAD_MAGIC;
	*offset = OFFSET_VERSION;
	if (mp_load(data + OFFSET_VERSION, 2) != FORMAT_VERSION)
		return PACKET_BAD_VERSION;
	*offset = OFFSET_PREFIX_CRC;
	if (mp_load(data + OFFSET_PREFIX_CRC, 4) != packet_crc32(data, OFFSET_PREFIX_CRC))
		return PACKET_BAD_PREFIX_CRC;
	*offset = PACKET_LENGTH_OFFSET;
	length = mp_load(data + PACKET_LENGTH_OFFSET, 8);
	if (length > max_header || length > UINT64_MAX - PACKET_PREFIX_SIZE)
		return PACKET_HEADER_TOO_LONG;
	*size = PACKET_PREFIX_SIZE + length;
	return PACKET_OK;
}

/* Decode the header of "size" bytes, which are there. */
static PacketStatus
decode_header(const uint8_t *data, size_t size, PacketHeader *header,
			  size_t *offset)
{
	Reader		r;
	PacketStatus status = PACKET_OK;
	int64_t		nanoseconds;

	memset(header, 0, sizeof(PacketHeader));
	header->size = size;
	r.mp.pos = data + PACKET_PREFIX_SIZE;
	r.mp.end = data + size;
	r.header = header;
	r.ctime = r.mp.pos;

	if (!read_struct(&r, meta_names, META_FIELDS, read_meta_field, 1))
		status = PACKET_BAD_HEADER;
	else if (!packet_nanoseconds(header->secs, header->nanos, &nanoseconds))
	{
		status = PACKET_BAD_CTIME;
		r.mp.pos = r.ctime;
	}
	*offset = (size_t) (r.mp.pos - data);
	return status;
}

PacketStatus
packet_decode(const uint8_t *data, size_t len, uint64_t max_header,
			  PacketHeader *header, size_t *offset)
{
	PacketStatus status;
	uint64_t	size;

	status = packet_prefix_decode(data, len, max_header, &size, offset);
	if (status != PACKET_OK)
		return status;
	*offset = len;
	if (size > len)
		return PACKET_HEADER_CUT;
	*offset = OFFSET_HEADER_CRC;
	if (mp_load(data + OFFSET_HEADER_CRC, 4) !=
		packet_crc32(data + PACKET_PREFIX_SIZE, (size_t) size - PACKET_PREFIX_SIZE))
		return PACKET_BAD_HEADER_CRC;
	return decode_header(data, (size_t) size, header, offset);
}

PacketStatus
packet_decode_trusted(const uint8_t *data, size_t len, PacketHeader *header)
{
	uint64_t	length;
	size_t		offset;

	if (len < PACKET_PREFIX_SIZE)
		return PACKET_TOO_SHORT;
	length = mp_load(data + PACKET_LENGTH_OFFSET, 8);
	if (length > len - PACKET_PREFIX_SIZE)
		return PACKET_HEADER_CUT;
	return decode_header(data, PACKET_PREFIX_SIZE + (size_t) length, header,
						 &offset);
}

/*
 * Stand on the first byte of the next item and tell its length.  The head of
 * a pair is passed over: it is an array whose first element is an array,
 * while the elements of an item are numbers.
 */
static size_t
enter_item(MpReader *r, const PacketItems *items)
{
	uint32_t	length = 0;
	uint32_t	inner;

	r->pos = items->pos;
	r->end = items->end;
	if (mp_read_array(r, &length) && length == 2 && mp_read_array(r, &inner))
		length = inner;
	return length;
}

size_t
packet_item_length(const PacketItems *items)
{
	MpReader	r;

	return enter_item(&r, items);
}

void
packet_item_copy(PacketItems *items, uint8_t *dst)
{
	MpReader	r;
	uint64_t	byte;
	size_t		length = enter_item(&r, items);

	for (; length > 0; length--)
	{
		if (r.pos < r.end && *r.pos < MP_FIXMAP)
			*dst++ = *r.pos++;
		else
		{
			byte = 0;
			(void) mp_read_natural(&r, UINT8_MAX, &byte);
			*dst++ = (uint8_t) byte;
		}
	}
	items->pos = r.pos;
	items->count--;
}

const char *
packet_status_text(PacketStatus status)
{
	switch (status)
	{
		case PACKET_OK:
			return "no error";
		case PACKET_TOO_SHORT:
			return "too short";
		case PACKET_BAD_MAGIC:
			return "wrong magic";
		case PACKET_BAD_VERSION:
			return "wrong version";
		case PACKET_BAD_PREFIX_CRC:
			return "prefix checksum mismatch";
		case PACKET_HEADER_TOO_LONG:
			return "header length beyond the limit";
		case PACKET_HEADER_CUT:
			return "header length beyond the data";
		case PACKET_BAD_HEADER_CRC:
			return "header checksum mismatch";
		case PACKET_BAD_HEADER:
			return "header is not the expected MessagePack";
		case PACKET_BAD_CTIME:
			return "creation time out of range";
	}
	return "unrecognized status";
}


/* ---------------------------------------------------------------------
 * Encoding packets
 * ---------------------------------------------------------------------
 */

static size_t
item_size(const PacketBytes *item)
{
	size_t		size = mp_array_size(item->len) + item->len;
	size_t		i;

	for (i = 0; i < item->len; i++)
		size += item->data[i] >> 7;
	return size;
}

size_t
packet_encoded_size(const PacketFields *fields)
{
	size_t		size;
	size_t		i;

	size = PACKET_PREFIX_SIZE +
		TEXT_SIZE(TEXT_SEQ) + mp_unsigned_size(fields->seq) +
		TEXT_SIZE(TEXT_CTIME) + mp_signed_size(fields->secs) +
		mp_unsigned_size(fields->nanos) + TEXT_SIZE(TEXT_KIND);
	if (fields->kind == PACKET_NOP)
		return size + TEXT_SIZE(TEXT_NOP);
	if (fields->kind == PACKET_FAIL)
		return size + TEXT_SIZE(TEXT_FAIL);

	size += TEXT_SIZE(TEXT_PARAMS) + mp_array_size(fields->nparams) +
		TEXT_SIZE(TEXT_ENV) + mp_array_size(fields->nenv) + fields->nenv;
	for (i = 0; i < fields->nparams; i++)
		size += item_size(&fields->params[i]);
	for (i = 0; i < 2 * (size_t) fields->nenv; i++)
		size += item_size(&fields->env[i]);
	return size;
}

static uint8_t *
put_text(uint8_t *p, const char *text, size_t len)
{
	memcpy(p, text, len);
	return p + len;
}

#define PUT_TEXT(p, text) put_text(p, text, TEXT_SIZE(text))

static uint8_t *
put_item(uint8_t *p, const PacketBytes *item)
{
	size_t		i;

	p = mp_put_array(p, item->len);
	for (i = 0; i < item->len; i++)
	{
		if (item->data[i] >= MP_FIXMAP)
			*p++ = MP_UINT8;
		*p++ = item->data[i];
	}
	return p;
}

size_t
packet_encode(const PacketFields *fields, uint8_t *dst)
{
	uint8_t    *header = dst + PACKET_PREFIX_SIZE;
	uint8_t    *p = header;
	size_t		i;

	p = mp_put_unsigned(PUT_TEXT(p, TEXT_SEQ), fields->seq);
	p = mp_put_signed(PUT_TEXT(p, TEXT_CTIME), fields->secs);
	p = mp_put_unsigned(p, fields->nanos);
	p = PUT_TEXT(p, TEXT_KIND);
	if (fields->kind == PACKET_NOP)
		p = PUT_TEXT(p, TEXT_NOP);
	else if (fields->kind == PACKET_FAIL)
		p = PUT_TEXT(p, TEXT_FAIL);
	else
	{
		p = mp_put_array(PUT_TEXT(p, TEXT_PARAMS), fields->nparams);
		for (i = 0; i < fields->nparams; i++)
			p = put_item(p, &fields->params[i]);
		p = mp_put_array(PUT_TEXT(p, TEXT_ENV), fields->nenv);
		for (i = 0; i < 2 * (size_t) fields->nenv; i++)
		{
			if (i % 2 == 0)
				p = mp_put_array(p, 2);
			p = put_item(p, &fields->env[i]);
		}
	}

	memcpy(dst, MAGIC, MAGIC_SIZE);
	mp_store(dst + OFFSET_VERSION, FORMAT_VERSION, 2);
	mp_store(dst + PACKET_LENGTH_OFFSET, (uint64_t) (p - header), 8);
	mp_store(dst + OFFSET_HEADER_CRC, packet_crc32(header, (size_t) (p - header)), 4);
	mp_store(dst + OFFSET_PREFIX_CRC, packet_crc32(dst, OFFSET_PREFIX_CRC), 4);
	return (size_t) (p - dst);
}
