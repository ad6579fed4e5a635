/*-------------------------------------------------------------------------
 * packet_fuzz.c
 *	  libFuzzer target for the packet codec.
 *
 * The input is decoded as it is.  Then what follows a prefix in it (or all of
 * it) becomes a header with right checksums, so that the fuzzer gets past
 * them.  Whatever decodes is taken apart, encoded, decoded and encoded
 * again: both encodings must be the same.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "crc32.h"
#include "packet.h"

#define MAX_HEADER (1024 * 1024)

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

static void
store(uint8_t *p, uint64_t value, int width)
{
	while (width-- > 0)
		*p++ = (uint8_t) (value >> (8 * width));
}

/* Copies of the items left, each in memory of its own. */
static PacketBytes *
copy_items(PacketItems items)
{
	PacketBytes *list = calloc(items.count + 1, sizeof(PacketBytes));
	size_t		i;

	for (i = 0; items.count > 0; i++)
	{
		uint8_t    *item;

		list[i].len = packet_item_length(&items);
		item = malloc(list[i].len + 1);
		packet_item_copy(&items, item);
		list[i].data = item;
	}
	require(items.pos == items.end);
	return list;
}

static void
free_items(const PacketBytes *list, size_t count)
{
	size_t		i;

	for (i = 0; i < count; i++)
		free((void *) list[i].data);
	free((void *) list);
}

/* The header's encoding, malloc'd. */
static uint8_t *
encode_again(const PacketHeader *header, size_t *size)
{
	PacketFields fields = {header->seq, header->secs, header->nanos,
		header->kind, header->params.count, copy_items(header->params),
	header->env.count / 2, copy_items(header->env)};
	uint8_t    *bytes;

	*size = packet_encoded_size(&fields);
	bytes = malloc(*size);
	require(packet_encode(&fields, bytes) == *size);
	free_items(fields.params, header->params.count);
	free_items(fields.env, header->env.count);
	return bytes;
}

static void
try_packet(const uint8_t *data, size_t len)
{
	PacketHeader header;
	PacketHeader second;
	size_t		offset;
	size_t		size;
	size_t		size2;
	uint8_t    *bytes;
	uint8_t    *bytes2;
	PacketStatus status;

	status = packet_decode_trusted(data, len, &header);
	if (status == PACKET_OK)
	{
		free_items(copy_items(header.params), header.params.count);
		free_items(copy_items(header.env), header.env.count);
	}

	if (packet_decode(data, len, MAX_HEADER, &header, &offset) != PACKET_OK)
	{
		require(offset <= len);
		return;
	}
	require(status == PACKET_OK && header.size <= len);
	bytes = encode_again(&header, &size);
	require(packet_decode(bytes, size, UINT64_MAX, &second, &offset) ==
			PACKET_OK);
	require(second.seq == header.seq && second.secs == header.secs &&
			second.nanos == header.nanos && second.kind == header.kind &&
			second.size == size);
	bytes2 = encode_again(&second, &size2);
	require(size == size2 && memcmp(bytes, bytes2, size) == 0);
	free(bytes);
	free(bytes2);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t    *packet;

	try_packet(data, size);

	if (size >= PACKET_PREFIX_SIZE && memcmp(data, "*FILESPOOLER", 12) == 0)
	{
		data += PACKET_PREFIX_SIZE;
		size -= PACKET_PREFIX_SIZE;
	}
	packet = malloc(PACKET_PREFIX_SIZE + size);
	memcpy(packet, "*FILESPOOLER\0\1", 14);
	store(packet + 14, size, 8);
	store(packet + 22, packet_crc32(data, size), 4);
	store(packet + 26, packet_crc32(packet, 26), 4);
	if (size > 0)
		memcpy(packet + PACKET_PREFIX_SIZE, data, size);
	try_packet(packet, PACKET_PREFIX_SIZE + size);
	free(packet);
	return 0;
}
