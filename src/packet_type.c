/*-------------------------------------------------------------------------
 * packet_type.c
 *	  The SQL type spool.packet: input, output, checks, header access.
 *
 * A value is a varlena whose bytes are those of a Filespooler packet, kept as
 * they came.  Every way in goes through check_packet, so whatever is stored
 * has a header that decodes, and readers may skip the checksums.
 *
 * The type is stored EXTERNAL: out of line but not compressed.  Reading a
 * header or a payload then fetches only the chunks that hold it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heaptoast.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "compat.h"
#include "packet_type.h"

/* fetched of a toasted packet first: one chunk, longer than most headers */
#define HEADER_SLICE TOAST_MAX_CHUNK_SIZE

/* highest spool.max_header_size in kB: arrays of its items can be built */
#define MAX_HEADER_KB 65536

#define NANOS_PER_USEC 1000

static void check_packet(const char *data, size_t len, Node *escontext);

int			spool_max_header_size = 16 * 1024;

PG_FUNCTION_INFO_V1(spool_packet);
PG_FUNCTION_INFO_V1(spool_packet_in);
PG_FUNCTION_INFO_V1(spool_packet_out);
PG_FUNCTION_INFO_V1(spool_packet_recv);
PG_FUNCTION_INFO_V1(spool_packet_send);


void
spool_packet_init(void)
{
	DefineCustomIntVariable("spool.max_header_size",
							"Sets the longest packet header that is accepted.",
							NULL,
							&spool_max_header_size,
							16 * 1024, 1, MAX_HEADER_KB,
							PGC_SUSET, GUC_UNIT_KB,
							NULL, NULL, NULL);
}


/*
 * Checks
 */

/* Complain about bytes that are no packet, or save the complaint. */
static void
report_invalid(PacketStatus status, size_t offset, Node *escontext)
{
	const char *reason = packet_status_text(status);
	unsigned long long at = (unsigned long long) offset;

	if (status == PACKET_TOO_SHORT || status == PACKET_HEADER_CUT)
		errsave(escontext,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid packet: %s", reason),
				 errdetail("The data ends at byte offset %llu.", at)));
	else if (status == PACKET_HEADER_TOO_LONG)
		errsave(escontext,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid packet: %s", reason),
				 errdetail("The header length at byte offset %llu exceeds %d kB.",
						   at, spool_max_header_size),
				 errhint("The limit is set by spool.max_header_size.")));
	else
		errsave(escontext,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid packet: %s", reason),
				 errdetail("The error is at byte offset %llu.", at)));
}

static void
report_too_large(size_t size, Node *escontext)
{
	errsave(escontext,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("packet is too large"),
			 errdetail("It takes %zu bytes, but %d are allowed.",
					   size, SPOOL_MAX_PACKET)));
}

void
spool_packet_check_size(size_t header_size, size_t payload_size)
{
	if (header_size - PACKET_PREFIX_SIZE >
		(size_t) spool_max_header_size * 1024)
		report_invalid(PACKET_HEADER_TOO_LONG, PACKET_LENGTH_OFFSET, NULL);
	if (header_size + payload_size > SPOOL_MAX_PACKET)
		report_too_large(header_size + payload_size, NULL);
}

/* Are these bytes a packet?  If not, complain or save the complaint. */
static void
check_packet(const char *data, size_t len, Node *escontext)
{
	PacketHeader header;
	PacketStatus status;
	size_t		offset;

	if (len > SPOOL_MAX_PACKET)
	{
		report_too_large(len, escontext);
		return;
	}
	status = packet_decode((const uint8_t *) data, len,
						   (uint64_t) spool_max_header_size * 1024,
						   &header, &offset);
	if (status != PACKET_OK)
		report_invalid(status, offset, escontext);
}


/*
 * Input and output
 */

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

Datum
spool_packet_in(PG_FUNCTION_ARGS)
{
	const char *input = PG_GETARG_CSTRING(0);
	size_t		len = strlen(input);
	size_t		i;
	bool		is_hex;
	struct varlena *packet;
	char	   *data;

	is_hex = len % 2 == 0 && input[0] == '\\' && input[1] == 'x';
	len = is_hex ? len / 2 - 1 : 0;
	if (len > SPOOL_MAX_PACKET)
	{
		report_too_large(len, fcinfo->context);
		PG_RETURN_NULL();
	}

	packet = palloc(VARHDRSZ + len);
	SET_VARSIZE(packet, VARHDRSZ + len);
	data = VARDATA(packet);
	for (i = 0; i < len && is_hex; i++)
	{
		int			high = hex_digit(input[2 * i + 2]);
		int			low = hex_digit(input[2 * i + 3]);

		if (high < 0 || low < 0)
			is_hex = false;
		else
			data[i] = (char) (high << 4 | low);
	}
	if (!is_hex)
		ereturn(fcinfo->context, (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s", "spool.packet"),
				 errdetail("A packet is written as \"\\x\" and two hexadecimal digits for each byte.")));

	check_packet(data, len, fcinfo->context);
	PG_RETURN_POINTER(packet);
}

Datum
spool_packet_out(PG_FUNCTION_ARGS)
{
	bytea	   *packet = PG_GETARG_BYTEA_PP(0);
	size_t		len = VARSIZE_ANY_EXHDR(packet);
	char	   *result = palloc(2 * len + 3);

	result[0] = '\\';
	result[1] = 'x';
	hex_encode(VARDATA_ANY(packet), len, result + 2);
	result[2 * len + 2] = '\0';
	PG_RETURN_CSTRING(result);
}

Datum
spool_packet_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int			len = message->len - message->cursor;
	const char *data = pq_getmsgbytes(message, len);

	check_packet(data, len, NULL);
	PG_RETURN_POINTER(cstring_to_text_with_len(data, len));
}

Datum
spool_packet_send(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(PG_GETARG_BYTEA_P_COPY(0));
}

/*
 * The cast from bytea.
 */
Datum
spool_packet(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);

	check_packet(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), NULL);
	PG_RETURN_POINTER(bytes);
}


/*
 * Access to headers
 */

static void
report_damaged(PacketStatus status)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("stored packet is damaged: %s",
					packet_status_text(status))));
}

/*
 * The first bytes of a toasted packet, with the whole header among them.
 */
static struct varlena *
fetch_header(struct varlena *packet)
{
	struct varlena *slice = pg_detoast_datum_slice(packet, 0, HEADER_SLICE);
	PacketStatus status;
	uint64_t	size;
	size_t		offset;

	status = packet_prefix_decode((uint8_t *) VARDATA_ANY(slice),
								  VARSIZE_ANY_EXHDR(slice), SPOOL_MAX_PACKET,
								  &size, &offset);
	if (status != PACKET_OK)
		report_damaged(status);
	if (size > (uint64_t) HEADER_SLICE)
	{
		pfree(slice);
		slice = pg_detoast_datum_slice(packet, 0, (int32) size);
	}
	return slice;
}

void
spool_packet_header(struct varlena *packet, PacketHeader *header)
{
	PacketStatus status;

	if (VARATT_IS_EXTERNAL(packet) || VARATT_IS_COMPRESSED(packet))
		packet = fetch_header(packet);
	status = packet_decode_trusted((uint8_t *) VARDATA_ANY(packet),
								   VARSIZE_ANY_EXHDR(packet), header);
	if (status != PACKET_OK)
		report_damaged(status);
}

Datum
spool_packet_payload(struct varlena *packet, size_t header_size)
{
	return PointerGetDatum(pg_detoast_datum_slice(packet,
												  (int32) header_size, -1));
}

int64
spool_packet_seq(const PacketHeader *header)
{
	if (header->seq > SPOOL_MAX_SEQ)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("packet number %llu is out of range",
						(unsigned long long) header->seq),
				 errdetail("Numbers are from 0 to %lld.",
						   (long long) SPOOL_MAX_SEQ)));
	return (int64) header->seq;
}

void
spool_packet_check_seq(int64 seq)
{
	if (seq < 0 || seq > SPOOL_MAX_SEQ)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("packet number %lld is out of range",
						(long long) seq),
				 errdetail("Numbers are from 0 to %lld.",
						   (long long) SPOOL_MAX_SEQ)));
}

int64
spool_packet_nanoseconds(const PacketHeader *header)
{
	int64_t		result;

	if (!packet_nanoseconds(header->secs, header->nanos, &result))
		report_damaged(PACKET_BAD_CTIME);
	return result;
}

TimestampTz
spool_packet_ctime(const PacketHeader *header)
{
	int64		nanoseconds = spool_packet_nanoseconds(header);
	int64		micros = nanoseconds / NANOS_PER_USEC;

	if (nanoseconds % NANOS_PER_USEC < 0)
		micros--;
	return micros - SPOOL_UNIX_EPOCH_USECS;
}

bool
spool_packet_has_nul(const PacketHeader *header)
{
	PacketItems lists[2] = {header->params, header->env};
	bool		found = false;
	int			i;

	for (i = 0; i < 2; i++)
	{
		while (lists[i].count > 0 && !found)
		{
			size_t		len = packet_item_length(&lists[i]);
			uint8_t    *item = palloc(len + 1);

			packet_item_copy(&lists[i], item);
			found = memchr(item, 0, len) != NULL;
			pfree(item);
		}
	}
	return found;
}
