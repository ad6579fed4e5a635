/*-------------------------------------------------------------------------
 * msgpack.h
 *	  The part of MessagePack that packet headers need.
 *
 * Plain C without server headers, as packet.h.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_MSGPACK_H
#define SPOOL_MSGPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* smaller bytes are integers, each standing for itself */
#define MP_FIXMAP 0x80

/* markers */
#define MP_NIL 0xc0
#define MP_UINT8 0xcc

/* containers inside one another that fspl reads */
#define MP_MAX_DEPTH 1023

/*
 * A position in encoded bytes.  A read function that fails leaves pos where
 * the value that it did not like begins.
 */
typedef struct MpReader
{
	const uint8_t *pos;
	const uint8_t *end;
} MpReader;

static inline size_t
mp_left(const MpReader *r)
{
	return (size_t) (r->end - r->pos);
}

/* A big-endian integer of "width" bytes. */
static inline uint64_t
mp_load(const uint8_t *p, int width)
{
	uint64_t	v = 0;

	while (width-- > 0)
		v = v << 8 | *p++;
	return v;
}

/* Write one; returns where it ends. */
static inline uint8_t *
mp_store(uint8_t *p, uint64_t value, int width)
{
	while (width-- > 0)
		*p++ = (uint8_t) (value >> (8 * width));
	return p;
}

/* An integer of the unsigned forms. */
extern bool mp_read_unsigned(MpReader *r, uint64_t *value);

/* An integer of any form, from 0 to max. */
extern bool mp_read_natural(MpReader *r, uint64_t max, uint64_t *value);

/* An integer of any form that fits an int64. */
extern bool mp_read_signed(MpReader *r, int64_t *value);

/* The head of an array or of a map. */
extern bool mp_read_array(MpReader *r, uint32_t *count);
extern bool mp_read_map(MpReader *r, uint32_t *count);

/* A str or bin out of a list of n, or its index in the list; *index is -1 if
 * it is another. */
extern bool mp_read_identifier(MpReader *r, const char *const *names, int n,
							   int *index);

/* Step over any value with no more than "depth" containers inside one
 * another. */
extern bool mp_skip(MpReader *r, int depth);

/* Bytes that the put functions write. */
extern size_t mp_unsigned_size(uint64_t value);
extern size_t mp_signed_size(int64_t value);
extern size_t mp_array_size(size_t count);

/* Write a number or the head of an array in the shortest form; they return
 * where it ends. */
extern uint8_t *mp_put_unsigned(uint8_t *p, uint64_t value);
extern uint8_t *mp_put_signed(uint8_t *p, int64_t value);
extern uint8_t *mp_put_array(uint8_t *p, size_t count);

#endif							/* SPOOL_MSGPACK_H */
