/*-------------------------------------------------------------------------
 * reseq_operate.c
 *	  What operators do to keys: suspend_key, resume_key, skip_delivery,
 *	  reset; and looks: what may pass now (promoted), what is current.
 *
 * Each but the looks locks its keys as the other verbs do.
 *
 * reset begins a new epoch of a key: it gets another id, and what was appended
 * under the old one belongs to no key any more (reseq_key.c).  Counts of its
 * lanes are put into spool.reseq_tally, live deliveries as suppressed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "args.h"
#include "queue.h"
#include "reseq_args.h"
#include "spiutil.h"
#include "spool.h"

PG_FUNCTION_INFO_V1(spool_suspend_key);
PG_FUNCTION_INFO_V1(spool_resume_key);
PG_FUNCTION_INFO_V1(spool_skip_delivery);
PG_FUNCTION_INFO_V1(spool_reset);
PG_FUNCTION_INFO_V1(spool_promoted);
PG_FUNCTION_INFO_V1(spool_is_current);

static void look_at_all(SpoolReseqCall *call, SpoolReseqKey *key);
static SpoolReseqKey *lock_key_arg(FunctionCallInfo fcinfo,
								   SpoolReseqCall *call,
								   SpoolReseqItem *item);
static void add_to_tally(int32 resequencer, const SpoolLane *lane);
static void reset_key(SpoolReseqCall *call, SpoolReseqKey *key);
static int64 reset_all(SpoolReseqCall *call);
static bool current_in(SpoolReseqCall *call, SpoolWay *way, int64 sn,
					   bool *registered);

/*
 * After a key was suspended or resumed, its lanes are looked at for what may
 * pass and for what is due.
 */
static void
look_at_all(SpoolReseqCall *call, SpoolReseqKey *key)
{
	for (int i = 0; i < call->resequencer->ntargets; i++)
	{
		SpoolWay   *way = spool_way_open(call, key, i + 1);

		if (way->lane.live == 0)
			continue;
		way->look = true;
		way->lane.due = call->now;
		way->changed = true;
	}
}

/* Begin a call of an operator and lock the key; 42704 if there is none. */
static SpoolReseqKey *
lock_key_arg(FunctionCallInfo fcinfo, SpoolReseqCall *call,
			 SpoolReseqItem *item)
{
	SpoolReseqKey *key;

	spool_args_required(fcinfo, 2, "resequencer", "key");
	memset(item, 0, sizeof(SpoolReseqItem));
	item->latest = NO_SN;
	item->key = PG_GETARG_TEXT_PP(1);
	spool_reseq_begin(call, PG_GETARG_TEXT_PP(0), SPOOL_ADMIN, RESEQ_USE);
	key = spool_reseq_lock(call, item->key);
	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("key \"%s\" of resequencer \"%s\" does not exist",
						text_to_cstring(item->key), call->resequencer->name)));
	return key;
}

/* suspend_key(resequencer, key, reason) */
Datum
spool_suspend_key(PG_FUNCTION_ARGS)
{
	SpoolReseqItem item;
	SpoolReseqCall call;
	SpoolReseqKey *key = lock_key_arg(fcinfo, &call, &item);
	const char *reason = spool_arg_text(fcinfo, 2, "suspended");

	item.decision.verdict = VERDICT_SUSPENDED;
	item.decision.repeat = key->suspended != NULL;
	if (key->suspended == NULL)
		spool_reseq_key_suspend(key, reason, NO_SN, 0);
	item.decision.reason = key->suspended;
	look_at_all(&call, key);
	spool_reseq_finish(&call);
	return spool_reseq_answer(fcinfo, &item);
}

/* resume_key(resequencer, key) */
Datum
spool_resume_key(PG_FUNCTION_ARGS)
{
	SpoolReseqItem item;
	SpoolReseqCall call;
	SpoolReseqKey *key = lock_key_arg(fcinfo, &call, &item);

	item.decision.verdict = VERDICT_RESUMED;
	item.decision.reason = key->suspended;
	item.decision.repeat = key->suspended == NULL;
	if (key->suspended != NULL)
		spool_reseq_key_suspend(key, NULL, NO_SN, 0);
	look_at_all(&call, key);
	spool_reseq_finish(&call);
	return spool_reseq_answer(fcinfo, &item);
}

/* skip_delivery(resequencer, key, sn, target, part, reason) */
Datum
spool_skip_delivery(PG_FUNCTION_ARGS)
{
	SpoolReseqItem item;
	SpoolReseqCall call;
	SpoolReseqKey *key;

	spool_reseq_item(fcinfo, 3, 4, &item);
	spool_reseq_require(&item);
	spool_reseq_begin(&call, PG_GETARG_TEXT_PP(0), SPOOL_ADMIN, RESEQ_USE);
	spool_reseq_check_target(call.resequencer, item.target);
	key = spool_reseq_lock(&call, item.key);
	if (key != NULL && key->blocking == item.sn &&
		(item.target == NULL || key->blocking_target ==
		 spool_resequencer_target(call.resequencer, item.target)))
	{
		spool_reseq_key_suspend(key, NULL, NO_SN, 0);
		look_at_all(&call, key);
	}
	item.decision = spool_rules_ended(DELIVERY_NONE, PLACE_ABOVE);
	if (key != NULL)
		spool_reseq_end_item(&call, key, &item, DELIVERY_DEAD, "skipped",
							 spool_arg_text(fcinfo, 5, NULL));
	if (item.decision.unregistered)
		spool_reseq_not_registered(&item);
	spool_reseq_finish(&call);
	return spool_reseq_answer(fcinfo, &item);
}

/* Keep the counts of a lane whose rows are forgotten. */
static void
add_to_tally(int32 resequencer, const SpoolLane *lane)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.reseq_tally (resequencer, target, registered,"
		" delivered, suppressed, dead, expired, unregistered, duplicates,"
		" forced, lost) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		SPI_OK_INSERT,
		PLAN_ARGS(INT4OID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID,
				  INT8OID, INT8OID, INT8OID, INT8OID, INT8OID)
	};
	Datum		values[11];

	if (lane->version == 0)
		return;
	values[0] = Int32GetDatum(resequencer);
	values[1] = Int32GetDatum(lane->target);
	values[2] = Int64GetDatum(lane->registered);
	values[3] = Int64GetDatum(lane->delivered);
	values[4] = Int64GetDatum(lane->suppressed);
	values[5] = Int64GetDatum(lane->dead);
	values[6] = Int64GetDatum(lane->expired);
	values[7] = Int64GetDatum(lane->unregistered);
	values[8] = Int64GetDatum(lane->duplicates);
	values[9] = Int64GetDatum(lane->forced);
	values[10] = Int64GetDatum(lane->lost);
	(void) spool_exec_alone(&plan, values, NULL);
}

/* Begin a new epoch of a key that is locked. */
static void
reset_key(SpoolReseqCall *call, SpoolReseqKey *key)
{
	static SpoolPlan plan = {
		"DELETE FROM spool.reseq_promotable WHERE resequencer = $1 AND key = $2",
		SPI_OK_DELETE, PLAN_ARGS(INT4OID, INT8OID)
	};
	Datum		values[2];

	for (int i = 0; i < call->resequencer->ntargets; i++)
	{
		SpoolLane  *lane = &spool_way_open(call, key, i + 1)->lane;

		lane->suppressed += lane->live;
		add_to_tally(call->resequencer->id, lane);
	}
	values[0] = Int32GetDatum(call->resequencer->id);
	values[1] = Int64GetDatum(key->id);
	(void) spool_exec_alone(&plan, values, NULL);
	spool_reseq_key_renew(key);
	call->ways = NIL;
	call->key = NULL;
}

/* The same for all keys there are. */
static int64
reset_all(SpoolReseqCall *call)
{
	static SpoolPlan plan = {
		"SELECT key FROM spool.reseq_key WHERE resequencer = $1 ORDER BY key",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID)
	};
	Datum		values[1];
	text	  **names;
	int64		count = 0;
	uint64		n;

	values[0] = Int32GetDatum(call->resequencer->id);
	n = spool_reseq_key_names(&plan, values, &names);
	for (uint64 i = 0; i < n; i++)
	{
		SpoolReseqKey *key = spool_reseq_lock(call, names[i]);

		CHECK_FOR_INTERRUPTS();
		if (key == NULL)
			continue;
		reset_key(call, key);
		count++;
	}
	return count;
}

/* reset(resequencer, key) */
Datum
spool_reset(PG_FUNCTION_ARGS)
{
	SpoolReseqItem item;
	SpoolReseqCall call;

	spool_args_required(fcinfo, 1, "resequencer");
	memset(&item, 0, sizeof(item));
	item.latest = NO_SN;
	if (PG_ARGISNULL(1))
	{
		spool_reseq_begin(&call, PG_GETARG_TEXT_PP(0), SPOOL_ADMIN, RESEQ_USE);
		item.decision.repeat = reset_all(&call) == 0;
	}
	else
		reset_key(&call, lock_key_arg(fcinfo, &call, &item));
	item.decision.verdict = VERDICT_RESET;
	spool_reseq_finish(&call);
	return spool_reseq_answer(fcinfo, &item);
}

/* promoted(resequencer, max_keys): a look */
Datum
spool_promoted(PG_FUNCTION_ARGS)
{
	static SpoolPlan plan = {
		"SELECT k.id, k.key, p.target"
		" FROM spool.reseq_promotable p JOIN spool.reseq_key k ON k.id = p.key"
		" WHERE p.resequencer = $1 AND k.suspended IS NULL"
		" ORDER BY p.since, k.key, p.target LIMIT $2",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID, INT4OID)
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context = CurrentMemoryContext;
	SpoolReseqCall call;
	SpoolReseqKey *keys;
	int32	   *targets;
	Datum		values[3];
	bool		nulls[3] = {0};
	SpoolSpi	spi;
	uint64		n;

	spool_args_required(fcinfo, 2, "resequencer", "max_keys");
	if (PG_GETARG_INT32(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_keys must not be negative")));
	InitMaterializedSRF(fcinfo, 0);
	spool_reseq_begin(&call, PG_GETARG_TEXT_PP(0), SPOOL_READ, RESEQ_LOOK);
	values[0] = Int32GetDatum(call.resequencer->id);
	values[1] = PG_GETARG_DATUM(1);
	spool_spi_begin(&spi);
	n = spool_exec(&plan, values, NULL);
	keys = MemoryContextAllocZero(context, Max(n, 1) * sizeof(SpoolReseqKey));
	targets = MemoryContextAlloc(context, Max(n, 1) * sizeof(int32));
	for (uint64 i = 0; i < n; i++)
	{
		bool		null;

		keys[i].id = DatumGetInt64(spool_field(i, 1, NULL));
		keys[i].name = DatumGetTextPP(spool_field_copy(i, 2, TEXTOID, &null,
													   context));
		targets[i] = DatumGetInt32(spool_field(i, 3, NULL));
	}
	spool_spi_end(&spi);
	for (uint64 i = 0; i < n; i++)
	{
		SpoolStep  *step;

		step = spool_way_candidate(&call, spool_way_open(&call, &keys[i],
														 targets[i]));
		if (step == NULL)
			continue;
		values[0] = PointerGetDatum(keys[i].name);
		values[1] = Int64GetDatum(step->delivery.sn);
		values[2] = CStringGetTextDatum(call.resequencer->targets[targets[i] - 1]);
		tuplestore_putvalues(result->setResult, result->setDesc, values,
							 nulls);
	}
	spool_reseq_finish(&call);
	return (Datum) 0;
}

/*
 * Whether nothing newer is known in a lane.  *registered: the number itself is,
 * and has not ended.
 */
static bool
current_in(SpoolReseqCall *call, SpoolWay *way, int64 sn, bool *registered)
{
	const SpoolLane *lane = &way->lane;

	*registered = sn > lane->applied && sn <= lane->high &&
		spool_steps_live(spool_way_number(call, way, sn));
	return sn > lane->applied && sn >= lane->newest;
}

/* is_current(resequencer, key, sn, target): a look */
Datum
spool_is_current(PG_FUNCTION_ARGS)
{
	SpoolReseqItem item;
	SpoolReseqCall call;
	SpoolReseqKey key;
	bool		registered = false;
	bool		current = false;

	spool_reseq_item(fcinfo, 3, 0, &item);
	spool_reseq_require(&item);
	spool_reseq_begin(&call, PG_GETARG_TEXT_PP(0), SPOOL_READ, RESEQ_LOOK);
	spool_reseq_check_target(call.resequencer, item.target);
	if (!spool_reseq_key_find(&call.keys, item.key, spool_newest_snapshot(),
							  &key))
		current = true;
	else
		for (int i = 0; i < call.resequencer->ntargets; i++)
		{
			bool		here;
			bool		is;

			if (item.target != NULL &&
				strcmp(item.target, call.resequencer->targets[i]) != 0)
				continue;
			is = current_in(&call, spool_way_open(&call, &key, i + 1),
							item.sn, &here);
			/* where it is registered counts, else where nothing newer is */
			if (here && !registered)
				current = false;
			if (here || !registered)
				current |= is;
			registered |= here;
		}
	spool_reseq_finish(&call);
	PG_RETURN_BOOL(current);
}
