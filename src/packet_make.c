/*-------------------------------------------------------------------------
 * packet_make.c
 *	  Making values of spool.packet.
 *
 * Parameters, environment and text payloads are UTF-8 in a packet, whatever
 * the database's encoding is.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "args.h"
#include "compat.h"
#include "packet_type.h"

#define NANOS_PER_SEC 1000000000
#define NANOS_PER_USEC 1000

/* kinds as SQL names them, by PacketKind */
static const char *const kind_names[] = {"command", "nop", "fail"};

PG_FUNCTION_INFO_V1(spool_make_packet);


/*
 * Kinds and times
 */

const char *
spool_packet_kind_name(PacketKind kind)
{
	return kind_names[kind];
}

static bool
kind_from_name(const char *name, PacketKind *kind)
{
	int			i;

	for (i = 0; i < (int) lengthof(kind_names); i++)
	{
		if (strcmp(name, kind_names[i]) == 0)
		{
			*kind = (PacketKind) i;
			return true;
		}
	}
	return false;
}

void
spool_packet_now(int64 *secs, uint32 *nanos)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	*secs = now.tv_sec;
	*nanos = (uint32) now.tv_nsec;
}

/*
 * Set the creation time from a timestamp, or now if time is NULL.  nanos
 * replaces the fraction of the second unless it is NULL.
 */
static void
set_ctime(PacketFields *fields, const TimestampTz *time, const int32 *nanos)
{
	int64		nanoseconds;
	bool		finite = true;

	if (time == NULL)
		spool_packet_now(&fields->secs, &fields->nanos);
	else
	{
		int64		rest = *time % USECS_PER_SEC;

		if (rest < 0)
			rest += USECS_PER_SEC;
		finite = !TIMESTAMP_NOT_FINITE(*time);
		if (finite)
			fields->secs = (*time - rest) / USECS_PER_SEC +
				SPOOL_UNIX_EPOCH_USECS / USECS_PER_SEC;
		fields->nanos = (uint32) rest * NANOS_PER_USEC;
	}

	if (nanos != NULL)
	{
		if (*nanos < 0 || *nanos >= NANOS_PER_SEC)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("nanos must be between 0 and %d",
							NANOS_PER_SEC - 1)));
		fields->nanos = (uint32) *nanos;
	}
	if (!finite ||
		!packet_nanoseconds(fields->secs, fields->nanos, &nanoseconds))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("creation time is out of range"),
				 errdetail("Creation times are from 1677-09-22 to 2262-04-11.")));
}


/*
 * Templates
 */

static PacketBytes
utf8_bytes(const char *s, int len)
{
	PacketBytes bytes;
	char	   *utf8 = pg_server_to_any(s, len, PG_UTF8);

	bytes.data = (const uint8_t *) utf8;
	bytes.len = utf8 == s ? (size_t) len : strlen(utf8);
	return bytes;
}

static void
template_params(PacketFields *fields, ArrayType *params)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	int			i;
	PacketBytes *items;

	if (ARR_NDIM(params) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("params must be a one-dimensional array")));
	deconstruct_array(params, TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &n);
	items = palloc(n * sizeof(PacketBytes));
	for (i = 0; i < n; i++)
	{
		text	   *element;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("params must not contain nulls")));
		element = DatumGetTextPP(elements[i]);
		items[i] = utf8_bytes(VARDATA_ANY(element),
							  VARSIZE_ANY_EXHDR(element));
	}
	fields->nparams = (uint32_t) n;
	fields->params = items;
}

/* An environment value as text. */
static PacketBytes
env_value(const JsonbValue *value, const PacketBytes *name)
{
	char	   *s;

	switch (value->type)
	{
		case jbvString:
			return utf8_bytes(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			s = DatumGetCString(DirectFunctionCall1(numeric_out,
													NumericGetDatum(value->val.numeric)));
			return utf8_bytes(s, (int) strlen(s));
		case jbvBool:
			return value->val.boolean ? utf8_bytes("true", 4) :
				utf8_bytes("false", 5);
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("value of \"%s\" in env must be a string, a number or a boolean",
							pg_any_to_server(pnstrdup((const char *) name->data,
													  name->len),
											 (int) name->len, PG_UTF8))));
	}
}

static void
template_env(PacketFields *fields, Jsonb *env)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	PacketBytes *items;
	uint32_t	n = 0;

	if (!JB_ROOT_IS_OBJECT(env))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("env must be a JSON object")));
	items = palloc(2 * JB_ROOT_COUNT(env) * sizeof(PacketBytes));
	iterator = JsonbIteratorInit(&env->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			items[n++] = utf8_bytes(value.val.string.val,
									value.val.string.len);
		else if (token == WJB_VALUE)
		{
			items[n] = env_value(&value, &items[n - 1]);
			n++;
		}
	}
	fields->nenv = n / 2;
	fields->env = items;
}

void
spool_packet_template(PacketTemplate *template, ArrayType *params,
					  Jsonb *env, text *kind)
{
	PacketFields *fields = &template->fields;

	memset(fields, 0, sizeof(PacketFields));
	fields->kind = PACKET_COMMAND;
	if (kind != NULL)
	{
		char	   *name = text_to_cstring(kind);

		if (!kind_from_name(name, &fields->kind))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unrecognized packet kind: \"%s\"", name),
					 errhint("Available kinds are \"command\", \"nop\" and \"fail\".")));
	}
	if (params != NULL)
		template_params(fields, params);
	if (env != NULL)
		template_env(fields, env);
	if (fields->kind != PACKET_COMMAND &&
		(fields->nparams > 0 || fields->nenv > 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("packets of kind \"%s\" carry neither params nor env",
						spool_packet_kind_name(fields->kind))));
}

void
spool_packet_template_of(PacketTemplate *template, const PacketHeader *header)
{
	PacketItems lists[2];
	PacketBytes *items[2];

	lists[0] = header->params;
	lists[1] = header->env;
	memset(template, 0, sizeof(PacketTemplate));
	template->fields.kind = header->kind;
	template->fields.nparams = header->params.count;
	template->fields.nenv = header->env.count / 2;
	for (int i = 0; i < 2; i++)
	{
		uint32		count = lists[i].count;

		items[i] = palloc(Max(count, 1) * sizeof(PacketBytes));
		for (uint32 j = 0; j < count; j++)
		{
			size_t		len = packet_item_length(&lists[i]);
			uint8_t    *bytes = palloc(Max(len, 1));

			packet_item_copy(&lists[i], bytes);
			items[i][j].data = bytes;
			items[i][j].len = len;
		}
	}
	template->fields.params = items[0];
	template->fields.env = items[1];
}

struct varlena *
spool_packet_build(const PacketTemplate *template, const char *payload,
				   size_t len)
{
	size_t		header_size = packet_encoded_size(&template->fields);
	struct varlena *packet;
	char	   *data;

	spool_packet_check_size(header_size, len);
	packet = palloc(VARHDRSZ + header_size + len);
	SET_VARSIZE(packet, VARHDRSZ + header_size + len);
	data = VARDATA(packet);
	packet_encode(&template->fields, (uint8_t *) data);
	memcpy(data + header_size, payload, len);
	return packet;
}


/*
 * Payload arguments
 */

const char *
spool_payload_datum(Datum value, Oid type, size_t *len)
{
	PacketBytes bytes;
	char	   *s;

	switch (type)
	{
		case BYTEAOID:
			{
				bytea	   *b = DatumGetByteaPP(value);

				*len = VARSIZE_ANY_EXHDR(b);
				return VARDATA_ANY(b);
			}
		case TEXTOID:
		case JSONOID:
			{
				text	   *t = DatumGetTextPP(value);

				bytes = utf8_bytes(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
				break;
			}
		case JSONBOID:
			{
				Jsonb	   *j = DatumGetJsonbP(value);

				s = JsonbToCString(NULL, &j->root, VARSIZE(j));
				bytes = utf8_bytes(s, (int) strlen(s));
				break;
			}
		default:
			elog(ERROR, "unexpected payload type: %u", type);
	}
	*len = bytes.len;
	return (const char *) bytes.data;
}

const char *
spool_payload_arg(FunctionCallInfo fcinfo, int argno, size_t *len)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	Oid		   *types = flinfo->fn_extra;

	if (PG_ARGISNULL(argno))
	{
		*len = 0;
		return "";
	}
	if (types == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(flinfo->fn_mcxt);
		int			n;

		(void) get_func_signature(flinfo->fn_oid, &types, &n);
		flinfo->fn_extra = types;
		MemoryContextSwitchTo(old);
	}
	return spool_payload_datum(PG_GETARG_DATUM(argno), types[argno], len);
}


/*
 * make_packet(seq, payload, params, env, kind, ctime, nanos)
 */
Datum
spool_make_packet(PG_FUNCTION_ARGS)
{
	PacketTemplate template;
	PacketFields *fields = &template.fields;
	TimestampTz ctime = 0;
	int32		nanos = 0;
	const char *payload;
	size_t		len;

	spool_args_required(fcinfo, 1, "seq");
	spool_packet_check_seq(PG_GETARG_INT64(0));
	spool_packet_template(&template,
						  PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2),
						  PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3),
						  PG_ARGISNULL(4) ? NULL : PG_GETARG_TEXT_PP(4));
	fields->seq = (uint64_t) PG_GETARG_INT64(0);
	if (!PG_ARGISNULL(5))
		ctime = PG_GETARG_TIMESTAMPTZ(5);
	if (!PG_ARGISNULL(6))
		nanos = PG_GETARG_INT32(6);
	set_ctime(fields, PG_ARGISNULL(5) ? NULL : &ctime,
			  PG_ARGISNULL(6) ? NULL : &nanos);
	payload = spool_payload_arg(fcinfo, 1, &len);
	PG_RETURN_POINTER(spool_packet_build(&template, payload, len));
}
