/*-------------------------------------------------------------------------
 * msgpack.c
 *	  The part of MessagePack that packet headers need.
 *
 * No function allocates memory.  Reading looks at nothing outside the bytes
 * given, whatever they hold, and needs a fixed amount of stack.
 *-------------------------------------------------------------------------
 */
#include "msgpack.h"

#include <string.h>

/* MessagePack markers */
#define MP_FIXARRAY 0x90
#define MP_FIXSTR 0xa0
#define MP_RESERVED 0xc1
#define MP_BIN8 0xc4
#define MP_EXT8 0xc7
#define MP_FLOAT32 0xca
#define MP_UINT16 0xcd
#define MP_UINT32 0xce
#define MP_UINT64 0xcf
#define MP_INT8 0xd0
#define MP_INT16 0xd1
#define MP_INT32 0xd2
#define MP_INT64 0xd3
#define MP_FIXEXT1 0xd4
#define MP_STR8 0xd9
#define MP_ARRAY16 0xdc
#define MP_ARRAY32 0xdd
#define MP_MAP16 0xde
#define MP_MAP32 0xdf
#define MP_NEGATIVE 0xe0


/* ---------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------
 */

/*
 * Read the marker at pos and the big-endian number of "width" bytes behind
 * it, and step over both.  False if they are not all there.
 */
static bool
read_marked(MpReader *r, int width, uint64_t *value)
{
	if (mp_left(r) < (size_t) width + 1)
		return false;
	*value = mp_load(r->pos + 1, width);
	r->pos += width + 1;
	return true;
}

/* An integer of the unsigned forms. */
bool
mp_read_unsigned(MpReader *r, uint64_t *value)
{
	uint8_t		marker;

	if (r->pos >= r->end)
		return false;
	marker = *r->pos;
	if (marker < MP_FIXMAP)
	{
		*value = marker;
		r->pos++;
		return true;
	}
	if (marker < MP_UINT8 || marker > MP_UINT64)
		return false;
	return read_marked(r, 1 << (marker - MP_UINT8), value);
}

/* An integer of any form; *negative tells that *value is two's complement. */
static bool
read_integer(MpReader *r, uint64_t *value, bool *negative)
{
	uint8_t		marker;
	uint64_t	sign;
	int			width;

	*negative = false;
	if (mp_read_unsigned(r, value))
		return true;
	if (r->pos >= r->end)
		return false;
	marker = *r->pos;
	if (marker >= MP_NEGATIVE)
	{
		*value = UINT64_MAX - (0xff - marker);
		*negative = true;
		r->pos++;
		return true;
	}
	if (marker < MP_INT8 || marker > MP_INT64)
		return false;
	width = 1 << (marker - MP_INT8);
	if (!read_marked(r, width, value))
		return false;
	sign = (uint64_t) 1 << (8 * width - 1);
	if (*value & sign)
	{
		*value |= ~(sign | (sign - 1));
		*negative = true;
	}
	return true;
}

/* An integer from 0 to max. */
bool
mp_read_natural(MpReader *r, uint64_t max, uint64_t *value)
{
	const uint8_t *start = r->pos;
	bool		negative;

	if (!read_integer(r, value, &negative))
		return false;
	if (negative || *value > max)
	{
		r->pos = start;
		return false;
	}
	return true;
}

/* An integer that fits an int64. */
bool
mp_read_signed(MpReader *r, int64_t *result)
{
	const uint8_t *start = r->pos;
	uint64_t	value;
	bool		negative;

	if (!read_integer(r, &value, &negative))
		return false;
	if (negative)
		*result = -(int64_t) (UINT64_MAX - value) - 1;
	else if (value <= INT64_MAX)
		*result = (int64_t) value;
	else
	{
		r->pos = start;
		return false;
	}
	return true;
}

/* The head of an array or a map, whose other forms begin at marker16. */
static bool
read_count(MpReader *r, uint8_t fix, uint8_t marker16, uint32_t *count)
{
	uint64_t	value;

	if (r->pos >= r->end)
		return false;
	if ((*r->pos & 0xf0) == fix)
	{
		*count = *r->pos & 0x0f;
		r->pos++;
		return true;
	}
	if (*r->pos != marker16 && *r->pos != marker16 + 1)
		return false;
	if (!read_marked(r, *r->pos == marker16 ? 2 : 4, &value))
		return false;
	*count = (uint32_t) value;
	return true;
}

bool
mp_read_array(MpReader *r, uint32_t *count)
{
	return read_count(r, MP_FIXARRAY, MP_ARRAY16, count);
}

bool
mp_read_map(MpReader *r, uint32_t *count)
{
	return read_count(r, MP_FIXMAP, MP_MAP16, count);
}

/* A str or bin of any form. */
static bool
read_name(MpReader *r, const uint8_t **name, size_t *len)
{
	const uint8_t *start = r->pos;
	uint64_t	length;

	if (r->pos >= r->end)
		return false;
	if ((*r->pos & 0xe0) == MP_FIXSTR)
		length = *r->pos++ & 0x1f;
	else
	{
		int			form;

		if (*r->pos >= MP_STR8 && *r->pos < MP_STR8 + 3)
			form = *r->pos - MP_STR8;
		else if (*r->pos >= MP_BIN8 && *r->pos < MP_BIN8 + 3)
			form = *r->pos - MP_BIN8;
		else
			return false;
		if (!read_marked(r, 1 << form, &length))
			return false;
	}
	if (mp_left(r) < length)
	{
		r->pos = start;
		return false;
	}
	*name = r->pos;
	*len = (size_t) length;
	r->pos += length;
	return true;
}

/* A name out of a list, or its index in the list; -1 if it is another. */
bool
mp_read_identifier(MpReader *r, const char *const *names, int n, int *index)
{
	const uint8_t *name;
	size_t		len;
	uint64_t	value;
	int			i;

	*index = -1;
	if (mp_read_unsigned(r, &value))
	{
		if (value < (uint64_t) n)
			*index = (int) value;
		return true;
	}
	if (!read_name(r, &name, &len))
		return false;
	for (i = 0; i < n && *index < 0; i++)
	{
		if (len == strlen(names[i]) && memcmp(name, names[i], len) == 0)
			*index = i;
	}
	return true;
}

/*
 * Step over a value that is neither array nor map.
 */
static bool
skip_scalar(MpReader *r)
{
	const uint8_t *start = r->pos;
	uint64_t	value;
	uint64_t	size;
	bool		negative;
	const uint8_t *name;
	size_t		len;
	uint8_t		marker;

	if (read_integer(r, &value, &negative) || read_name(r, &name, &len))
		return true;
	if (r->pos >= r->end)
		return false;
	marker = *r->pos;
	if (marker >= MP_EXT8 && marker < MP_EXT8 + 3)
	{
		if (!read_marked(r, 1 << (marker - MP_EXT8), &size))
			return false;
		size++;
	}
	else
	{
		if (marker >= MP_NIL && marker != MP_RESERVED && marker < MP_BIN8)
			size = 1;
		else if (marker == MP_FLOAT32)
			size = 5;
		else if (marker == MP_FLOAT32 + 1)
			size = 9;
		else if (marker >= MP_FIXEXT1 && marker < MP_STR8)
			size = 2 + ((uint64_t) 1 << (marker - MP_FIXEXT1));
		else
			return false;
	}
	if (mp_left(r) < size)
	{
		r->pos = start;
		return false;
	}
	r->pos += size;
	return true;
}

/*
 * Step over any value with no more than "depth" containers inside one
 * another.
 */
bool
mp_skip(MpReader *r, int depth)
{
	uint64_t	todo[MP_MAX_DEPTH + 1];
	int			level = 0;

	todo[0] = 1;
	for (;;)
	{
		const uint8_t *start = r->pos;
		uint32_t	count;
		uint64_t	values;

		while (todo[level] == 0)
		{
			if (level-- == 0)
				return true;
		}
		todo[level]--;
		if (mp_read_array(r, &count))
			values = count;
		else if (mp_read_map(r, &count))
			values = 2 * (uint64_t) count;
		else if (skip_scalar(r))
			continue;
		else
			return false;
		if (level >= depth || values > mp_left(r))
		{
			r->pos = start;
			return false;
		}
		todo[++level] = values;
	}
}


/* ---------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------
 */

size_t
mp_unsigned_size(uint64_t value)
{
	return value < 0x80 ? 1 : value <= UINT8_MAX ? 2 :
		value <= UINT16_MAX ? 3 : value <= UINT32_MAX ? 5 : 9;
}

size_t
mp_signed_size(int64_t value)
{
	if (value >= 0)
		return mp_unsigned_size((uint64_t) value);
	return value >= -32 ? 1 : value >= INT8_MIN ? 2 :
		value >= INT16_MIN ? 3 : value >= INT32_MIN ? 5 : 9;
}

size_t
mp_array_size(size_t count)
{
	return count < 16 ? 1 : count <= UINT16_MAX ? 3 : 5;
}

/* A marker with the number behind it, which takes size - 1 bytes. */
static uint8_t *
put_marked(uint8_t *p, uint8_t marker, uint64_t value, size_t size)
{
	*p++ = marker;
	return mp_store(p, value, (int) size - 1);
}

uint8_t *
mp_put_unsigned(uint8_t *p, uint64_t value)
{
	switch (mp_unsigned_size(value))
	{
		case 1:
			*p = (uint8_t) value;
			return p + 1;
		case 2:
			return put_marked(p, MP_UINT8, value, 2);
		case 3:
			return put_marked(p, MP_UINT16, value, 3);
		case 5:
			return put_marked(p, MP_UINT32, value, 5);
		default:
			return put_marked(p, MP_UINT64, value, 9);
	}
}

uint8_t *
mp_put_signed(uint8_t *p, int64_t value)
{
	if (value >= 0)
		return mp_put_unsigned(p, (uint64_t) value);
	switch (mp_signed_size(value))
	{
		case 1:
			*p = (uint8_t) value;
			return p + 1;
		case 2:
			return put_marked(p, MP_INT8, (uint64_t) value, 2);
		case 3:
			return put_marked(p, MP_INT16, (uint64_t) value, 3);
		case 5:
			return put_marked(p, MP_INT32, (uint64_t) value, 5);
		default:
			return put_marked(p, MP_INT64, (uint64_t) value, 9);
	}
}

uint8_t *
mp_put_array(uint8_t *p, size_t count)
{
	switch (mp_array_size(count))
	{
		case 1:
			*p = (uint8_t) (MP_FIXARRAY | count);
			return p + 1;
		case 3:
			return put_marked(p, MP_ARRAY16, count, 3);
		default:
			return put_marked(p, MP_ARRAY32, count, 5);
	}
}
