/*-------------------------------------------------------------------------
 * enqueue.c
 *	  Payloads into queues: numbered and stored now, or later, or once.
 *
 * All in the caller's transaction.  A key is taken before anything else is
 * done, so of two transactions with one key the second waits with no number
 * given.  What waits for its time is in schedule.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "args.h"
#include "key.h"
#include "packet_type.h"
#include "queue.h"
#include "schedule.h"
#include "spool.h"
#include "write.h"

PG_FUNCTION_INFO_V1(spool_enqueue);
PG_FUNCTION_INFO_V1(spool_enqueue_many);

static bool is_later(FunctionCallInfo fcinfo, int argno);

/* Whether an argument is a time in the future; 22023 if it never comes. */
static bool
is_later(FunctionCallInfo fcinfo, int argno)
{
	TimestampTz run_at;

	if (PG_ARGISNULL(argno))
		return false;
	run_at = PG_GETARG_TIMESTAMPTZ(argno);
	if (TIMESTAMP_IS_NOEND(run_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("run_at must not be infinity")));
	return run_at > GetCurrentTimestamp();
}

/* enqueue(queue, payload, stream, params, env, kind, run_at, key) */
Datum
spool_enqueue(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue;
	PacketTemplate template;
	SpoolPayloads payloads;
	const char *data;
	size_t		size;
	char	   *stream;
	bool		later;
	text	   *key = NULL;
	int64		seq;

	spool_args_required(fcinfo, 1, "queue");
	queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_WRITE,
							 QUEUE_PRODUCE);
	data = spool_payload_arg(fcinfo, 1, &size);
	spool_packet_template(&template,
						  PG_ARGISNULL(3) ? NULL : PG_GETARG_ARRAYTYPE_P(3),
						  PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4),
						  PG_ARGISNULL(5) ? NULL : PG_GETARG_TEXT_PP(5));
	stream = spool_arg_text(fcinfo, 2, "");
	later = is_later(fcinfo, 6);
	if (!PG_ARGISNULL(7))
	{
		key = PG_GETARG_TEXT_PP(7);
		if (!spool_key_take(queue, key, &seq))
		{
			if (seq == SPOOL_KEY_NO_SEQ)
				PG_RETURN_NULL();
			PG_RETURN_INT64(seq);
		}
	}
	if (later)
	{
		spool_schedule_add(queue, stream, PG_GETARG_TIMESTAMPTZ(6), key,
						   &template, data, size);
		PG_RETURN_NULL();
	}
	payloads.count = 1;
	payloads.data = &data;
	payloads.sizes = &size;
	seq = spool_store_payloads(queue, stream, &template, &payloads, NULL);
	if (key)
		spool_key_set(queue, key, seq, false);
	PG_RETURN_INT64(seq);
}

/* enqueue_many(queue, payloads, stream) */
Datum
spool_enqueue_many(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue;
	PacketTemplate template;
	SpoolPayloads payloads;
	ArrayType  *array;
	Datum	   *elements;
	bool	   *nulls;
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Oid			type;

	spool_args_required(fcinfo, 2, "queue", "payloads");
	queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_WRITE,
							 QUEUE_PRODUCE);
	array = PG_GETARG_ARRAYTYPE_P(1);
	type = ARR_ELEMTYPE(array);
	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	deconstruct_array(array, type, typlen, typbyval, typalign, &elements,
					  &nulls, &payloads.count);
	if (payloads.count == 0)
		PG_RETURN_NULL();
	payloads.data = palloc(payloads.count * sizeof(char *));
	payloads.sizes = palloc(payloads.count * sizeof(size_t));
	for (int i = 0; i < payloads.count; i++)
	{
		payloads.data[i] = "";
		payloads.sizes[i] = 0;
		if (!nulls[i])
			payloads.data[i] = spool_payload_datum(elements[i], type,
												   &payloads.sizes[i]);
	}
	spool_packet_template(&template, NULL, NULL, NULL);
	PG_RETURN_INT64(spool_store_payloads(queue, spool_arg_text(fcinfo, 2, ""),
										 &template, &payloads, NULL));
}
