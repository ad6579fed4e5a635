/*-------------------------------------------------------------------------
 * packet_parts.c
 *	  SQL functions that take a spool.packet apart.
 *
 * Strings inside a header are bytes.  As SQL text they must be valid UTF-8
 * without zero bytes, and convertible to the database's encoding.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/md5.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "pgtime.h"
#include "utils/builtins.h"

#include "compat.h"
#include "packet_type.h"

#define MD5_HEX_SIZE 33
#define NANOS_PER_SEC 1000000000

PG_FUNCTION_INFO_V1(spool_seq);
PG_FUNCTION_INFO_V1(spool_ctime);
PG_FUNCTION_INFO_V1(spool_nanos);
PG_FUNCTION_INFO_V1(spool_kind);
PG_FUNCTION_INFO_V1(spool_params);
PG_FUNCTION_INFO_V1(spool_env);
PG_FUNCTION_INFO_V1(spool_payload);
PG_FUNCTION_INFO_V1(spool_params_raw);
PG_FUNCTION_INFO_V1(spool_env_raw);
PG_FUNCTION_INFO_V1(spool_info);
PG_FUNCTION_INFO_V1(spool_filename);


/*
 * Text
 */

/* The next item as a varlena of its bytes. */
static struct varlena *
next_item(PacketItems *items)
{
	size_t		len = packet_item_length(items);
	struct varlena *item = palloc(VARHDRSZ + len);

	SET_VARSIZE(item, VARHDRSZ + len);
	packet_item_copy(items, (uint8_t *) VARDATA(item));
	return item;
}

/*
 * Convert valid UTF-8; NULL if the database's encoding has not all of the
 * characters.
 */
static text *
convert_if_possible(text *utf8)
{
	int			len = VARSIZE_ANY_EXHDR(utf8);
	int			encoding = GetDatabaseEncoding();
	Oid			proc = FindDefaultConversionProc(PG_UTF8, encoding);
	size_t		room = (size_t) len * MAX_CONVERSION_GROWTH + 1;
	unsigned char *buffer;

	if (!OidIsValid(proc))
		return NULL;
	buffer = palloc(room);
	if (pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
									  (unsigned char *) VARDATA_ANY(utf8),
									  len, buffer, room, true) != len)
		return NULL;
	return cstring_to_text((char *) buffer);
}

/*
 * The next item as text in the database's encoding.  Where it is none:
 * an error if strict, else NULL.
 */
static text *
next_text(PacketItems *items, bool strict)
{
	text	   *item = next_item(items);
	char	   *s = VARDATA(item);
	int			len = VARSIZE_ANY_EXHDR(item);
	char	   *converted;

	if (!pg_verify_mbstr(PG_UTF8, s, len, !strict))
		return NULL;
	if (len == 0 || GetDatabaseEncoding() == PG_UTF8 ||
		GetDatabaseEncoding() == PG_SQL_ASCII)
		return item;
	if (!strict)
		return convert_if_possible(item);
	converted = pg_any_to_server(s, len, PG_UTF8);
	return converted == s ? item : cstring_to_text(converted);
}

Datum
spool_packet_params(const PacketHeader *header, bool strict, bool *null)
{
	PacketItems items = header->params;
	int			n = (int) items.count;
	Datum	   *elements = palloc(n * sizeof(Datum));
	int			i;

	*null = false;
	for (i = 0; i < n; i++)
	{
		text	   *item = next_text(&items, strict);

		if (item == NULL)
		{
			*null = true;
			return (Datum) 0;
		}
		elements[i] = PointerGetDatum(item);
	}
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

Datum
spool_packet_env(const PacketHeader *header, bool strict, bool *null)
{
	PacketItems items = header->env;
	JsonbParseState *state = NULL;
	JsonbValue *object;

	*null = false;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while (items.count > 0)
	{
		bool		is_name = items.count % 2 == 0;
		text	   *item = next_text(&items, strict);
		JsonbValue	value;

		if (item == NULL)
		{
			*null = true;
			return (Datum) 0;
		}
		value.type = jbvString;
		value.val.string.val = VARDATA_ANY(item);
		value.val.string.len = VARSIZE_ANY_EXHDR(item);
		pushJsonbValue(&state, is_name ? WJB_KEY : WJB_VALUE, &value);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(object));
}


/*
 * SQL functions: one part each
 */

static void
get_header(FunctionCallInfo fcinfo, PacketHeader *header)
{
	spool_packet_header((struct varlena *) PG_GETARG_POINTER(0), header);
}

Datum
spool_seq(PG_FUNCTION_ARGS)
{
	PacketHeader header;

	get_header(fcinfo, &header);
	PG_RETURN_INT64(spool_packet_seq(&header));
}

Datum
spool_ctime(PG_FUNCTION_ARGS)
{
	PacketHeader header;

	get_header(fcinfo, &header);
	PG_RETURN_TIMESTAMPTZ(spool_packet_ctime(&header));
}

Datum
spool_nanos(PG_FUNCTION_ARGS)
{
	PacketHeader header;

	get_header(fcinfo, &header);
	PG_RETURN_INT32((int32) header.nanos);
}

Datum
spool_kind(PG_FUNCTION_ARGS)
{
	PacketHeader header;

	get_header(fcinfo, &header);
	PG_RETURN_TEXT_P(cstring_to_text(spool_packet_kind_name(header.kind)));
}

Datum
spool_params(PG_FUNCTION_ARGS)
{
	PacketHeader header;
	bool		null;

	get_header(fcinfo, &header);
	PG_RETURN_DATUM(spool_packet_params(&header, true, &null));
}

Datum
spool_env(PG_FUNCTION_ARGS)
{
	PacketHeader header;
	bool		null;

	get_header(fcinfo, &header);
	PG_RETURN_DATUM(spool_packet_env(&header, true, &null));
}

Datum
spool_payload(PG_FUNCTION_ARGS)
{
	PacketHeader header;

	get_header(fcinfo, &header);
	PG_RETURN_DATUM(spool_packet_payload((struct varlena *)
										 PG_GETARG_POINTER(0), header.size));
}

Datum
spool_params_raw(PG_FUNCTION_ARGS)
{
	PacketHeader header;
	PacketItems items;
	Datum	   *elements;
	int			n;
	int			i;

	get_header(fcinfo, &header);
	items = header.params;
	n = (int) items.count;
	elements = palloc(n * sizeof(Datum));
	for (i = 0; i < n; i++)
		elements[i] = PointerGetDatum(next_item(&items));
	PG_RETURN_ARRAYTYPE_P(construct_array(elements, n, BYTEAOID, -1, false,
										  TYPALIGN_INT));
}


/*
 * SQL functions: rows
 */

static void
put_row(FunctionCallInfo fcinfo, Datum name, Datum value)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[2] = {name, value};
	bool		nulls[2] = {false, false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
spool_env_raw(PG_FUNCTION_ARGS)
{
	PacketHeader header;
	PacketItems items;

	InitMaterializedSRF(fcinfo, 0);
	get_header(fcinfo, &header);
	items = header.env;
	while (items.count > 0)
	{
		struct varlena *name = next_item(&items);
		struct varlena *value = next_item(&items);

		put_row(fcinfo, PointerGetDatum(name), PointerGetDatum(value));
		pfree(name);
		pfree(value);
	}
	return (Datum) 0;
}

static void
put_variable(FunctionCallInfo fcinfo, const char *name, const char *value)
{
	put_row(fcinfo, CStringGetTextDatum(name), CStringGetTextDatum(value));
}

/*
 * The creation time as RFC 3339 writes it, to the second: in UTC, or in the
 * session's time zone.  Nanoseconds of a second and more are a leap second,
 * as in fspl: 23:59:60.
 */
char *
spool_packet_rfc3339(const PacketHeader *header, bool local)
{
	pg_time_t	secs = (pg_time_t) header->secs;
	const struct pg_tm *tm;
	char	   *date;
	long		offset;

	tm = local ? pg_localtime(&secs, session_timezone) : pg_gmtime(&secs);
	date = psprintf("%04d-%02d-%02dT%02d:%02d:%02d",
					tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday,
					tm->tm_hour, tm->tm_min,
					tm->tm_sec + (int) (header->nanos / NANOS_PER_SEC));
	if (!local)
		return psprintf("%sZ", date);
	offset = labs(tm->tm_gmtoff) / SECS_PER_MINUTE;
	return psprintf("%s%c%02ld:%02ld", date, tm->tm_gmtoff < 0 ? '-' : '+',
					offset / MINS_PER_HOUR, offset % MINS_PER_HOUR);
}

/* The creation time in four forms. */
static void
put_times(FunctionCallInfo fcinfo, const PacketHeader *header)
{
	put_variable(fcinfo, "FSPL_CTIME_SECS",
				 psprintf("%lld", (long long) header->secs));
	put_variable(fcinfo, "FSPL_CTIME_NANOS", psprintf("%u", header->nanos));
	put_variable(fcinfo, "FSPL_CTIME_RFC3339_UTC",
				 spool_packet_rfc3339(header, false));
	put_variable(fcinfo, "FSPL_CTIME_RFC3339_LOCAL",
				 spool_packet_rfc3339(header, true));
}

Datum
spool_info(PG_FUNCTION_ARGS)
{
	PacketHeader header;
	PacketItems items;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	get_header(fcinfo, &header);
	put_variable(fcinfo, "FSPL_SEQ",
				 psprintf("%llu", (unsigned long long) header.seq));
	put_times(fcinfo, &header);

	items = header.params;
	for (n = 1; items.count > 0; n++)
		put_row(fcinfo, CStringGetTextDatum(psprintf("FSPL_PARAM_%d", n)),
				PointerGetDatum(next_text(&items, true)));

	items = header.env;
	while (items.count > 0)
	{
		char	   *name = text_to_cstring(next_text(&items, true));

		put_row(fcinfo, CStringGetTextDatum(psprintf("FSPL_SET_%s", name)),
				PointerGetDatum(next_text(&items, true)));
	}
	return (Datum) 0;
}


/*
 * File names
 */

char *
spool_packet_filename(struct varlena *packet)
{
	struct varlena *bytes = pg_detoast_datum_packed(packet);
	char		md5[MD5_HEX_SIZE];
	const char *error = NULL;

	if (!pg_md5_hash(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), md5,
					 &error))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute %s hash: %s", "MD5", error)));
	if (bytes != packet)
		pfree(bytes);
	return psprintf("fspl-%.8s-%.4s-%.4s-%.4s-%.12s.fspl",
					md5, md5 + 8, md5 + 12, md5 + 16, md5 + 20);
}

Datum
spool_filename(PG_FUNCTION_ARGS)
{
	struct varlena *packet = (struct varlena *) PG_GETARG_POINTER(0);

	PG_RETURN_TEXT_P(cstring_to_text(spool_packet_filename(packet)));
}
