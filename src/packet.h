/*-------------------------------------------------------------------------
 * packet.h
 *	  The Filespooler packet format, version 1.
 *
 * Plain C without server headers, so that the codec can be fuzzed and
 * tested alone.  The format is described at the top of packet.c.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_PACKET_H
#define SPOOL_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* magic, version, header length and two checksums */
#define PACKET_PREFIX_SIZE 30

/* where the header's length stands */
#define PACKET_LENGTH_OFFSET 14

typedef enum PacketKind
{
	PACKET_COMMAND,				/* run the queue's command */
	PACKET_NOP,					/* always succeeds, runs nothing */
	PACKET_FAIL					/* always fails, runs nothing */
} PacketKind;

typedef enum PacketStatus
{
	PACKET_OK,
	PACKET_TOO_SHORT,			/* not even a prefix */
	PACKET_BAD_MAGIC,
	PACKET_BAD_VERSION,
	PACKET_BAD_PREFIX_CRC,
	PACKET_HEADER_TOO_LONG,		/* header length above the given limit */
	PACKET_HEADER_CUT,			/* header length beyond the data */
	PACKET_BAD_HEADER_CRC,
	PACKET_BAD_HEADER,			/* not the expected MessagePack */
	PACKET_BAD_CTIME			/* does not fit nanoseconds in an int64 */
} PacketStatus;

/*
 * A list of byte strings inside a header, still encoded.  Copying the struct
 * copies the position.  For env, names and values alternate.
 */
typedef struct PacketItems
{
	const uint8_t *pos;
	const uint8_t *end;
	uint32_t	count;			/* items left (pairs count as two) */
} PacketItems;

/* What a header says.  Pointers point into the decoded bytes. */
typedef struct PacketHeader
{
	uint64_t	seq;
	int64_t		secs;			/* creation time since 1970 */
	uint32_t	nanos;			/* may exceed a second, as in fspl */
	PacketKind	kind;
	PacketItems params;			/* empty unless a command */
	PacketItems env;
	size_t		size;			/* prefix and header: where payload starts */
} PacketHeader;

typedef struct PacketBytes
{
	const uint8_t *data;
	size_t		len;
} PacketBytes;

/* Input of the encoder. */
typedef struct PacketFields
{
	uint64_t	seq;
	int64_t		secs;
	uint32_t	nanos;
	PacketKind	kind;
	uint32_t	nparams;
	const PacketBytes *params;
	uint32_t	nenv;			/* pairs; env holds 2 * nenv strings */
	const PacketBytes *env;
} PacketFields;

/*
 * Nanoseconds since 1970; false if they do not fit or nanos is none that
 * fspl can read (two seconds and more).
 */
extern bool packet_nanoseconds(int64_t secs, uint32_t nanos,
							   int64_t *result);

/*
 * Size of prefix and header as the prefix tells it, from at least
 * PACKET_PREFIX_SIZE bytes.  On failure *offset tells where.
 */
extern PacketStatus packet_prefix_decode(const uint8_t *data, size_t len,
										 uint64_t max_header,
										 uint64_t *size, size_t *offset);

/*
 * Decode and check prefix and header; data may be cut after the header.
 * Every item of params and env is checked here, so the item functions cannot
 * fail afterwards.
 */
extern PacketStatus packet_decode(const uint8_t *data, size_t len,
								  uint64_t max_header,
								  PacketHeader *header, size_t *offset);

/*
 * The same for bytes that packet_decode accepted before: checksums are not
 * computed again.  Memory safe on any bytes.
 */
extern PacketStatus packet_decode_trusted(const uint8_t *data, size_t len,
										  PacketHeader *header);

/* Length in bytes of the next item; there must be one. */
extern size_t packet_item_length(const PacketItems *items);

/* Copy the next item to dst, which has room for its length, and step on. */
extern void packet_item_copy(PacketItems *items, uint8_t *dst);

/* Bytes that packet_encode will write. */
extern size_t packet_encoded_size(const PacketFields *fields);

/* Write prefix and header; returns the bytes written. */
extern size_t packet_encode(const PacketFields *fields, uint8_t *dst);

/* "too short", "wrong magic", ...: the reason for a status, a constant. */
extern const char *packet_status_text(PacketStatus status);

#endif							/* SPOOL_PACKET_H */
