/*-------------------------------------------------------------------------
 * reseq_look.c
 *	  Looking at resequencers: the rows of their views.
 *
 * A look takes no lock and reads with the statement's snapshot.  It costs some
 * looks into indexes for each key, whatever is registered.  The views ask for
 * one key at a time, so that a condition on the key is one on its index.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/subtrans.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

#include "queue.h"
#include "reseq_lane.h"
#include "reseq_outlet.h"
#include "spiutil.h"
#include "spool.h"
#include "stream.h"

PG_FUNCTION_INFO_V1(spool_lane_stats);
PG_FUNCTION_INFO_V1(spool_registration_rows);

/* One look. */
typedef struct Look
{
	SpoolResequencer *resequencer;
	SpoolReseqKeys keys;
	SpoolReseqTables tables;
	ReturnSetInfo *result;
} Look;

typedef void (*Visit) (Look *look, const SpoolReseqKey *key,
					   const SpoolLane *lane);

static void walk(FunctionCallInfo fcinfo, Visit visit);
static void visit_key(Look *look, const SpoolReseqKey *key, Visit visit);
static void walk_keys(Look *look, text *name, Visit visit);
static bool oldest_live(Look *look, const SpoolLane *lane,
						TimestampTz *oldest);
static void visit_lane(Look *look, const SpoolReseqKey *key,
					   const SpoolLane *lane);
static void visit_deliveries(Look *look, const SpoolReseqKey *key,
							 const SpoolLane *lane);

/*
 * Arguments (resequencer, of_key): visit the lanes of a key, or of all keys if
 * it is NULL, of a resequencer that may be read.
 */
static void
walk(FunctionCallInfo fcinfo, Visit visit)
{
	Look		look;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return;
	memset(&look, 0, sizeof(look));
	look.result = (ReturnSetInfo *) fcinfo->resultinfo;
	AcceptInvalidationMessages();	/* no lock is taken that would */
	look.resequencer =
		spool_resequencer_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)), true);
	if (look.resequencer == NULL ||
		!spool_resequencer_allows(look.resequencer, SPOOL_READ))
		return;
	spool_read_with(GetActiveSnapshot());
	PG_TRY();
	{
		walk_keys(&look, PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1), visit);
	}
	PG_FINALLY();
	{
		spool_read_with(NULL);
	}
	PG_END_TRY();
}

/* Visit the lanes of a key. */
static void
visit_key(Look *look, const SpoolReseqKey *key, Visit visit)
{
	for (int i = 1; i <= look->resequencer->ntargets; i++)
	{
		SpoolLane	lane;

		if (!spool_lane_read(&look->tables, key->id, i, &lane))
		{
			if (key->suspended == NULL)
				continue;
			spool_lane_init(&lane, key->id, i);
			lane.since = key->suspended_since;
		}
		visit(look, key, &lane);
	}
}

static void
walk_keys(Look *look, text *name, Visit visit)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "spool key",
												  ALLOCSET_DEFAULT_SIZES);
	SpoolReseqKey key;
	MemoryContext old;

	spool_reseq_keys_open(&look->keys, look->resequencer->id,
						  AccessShareLock);
	spool_reseq_open(&look->tables);
	spool_reseq_walk(&look->keys, name, spool_newest_snapshot());
	old = MemoryContextSwitchTo(context);
	while (spool_reseq_walk_next(&look->keys, &key))
	{
		CHECK_FOR_INTERRUPTS();
		visit_key(look, &key, visit);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	spool_reseq_close(&look->tables);
	spool_reseq_keys_close(&look->keys);
	MemoryContextDelete(context);
}

/* When the oldest live delivery of a lane was registered. */
static bool
oldest_live(Look *look, const SpoolLane *lane, TimestampTz *oldest)
{
	SpoolNumber number;

	if (lane->live == 0)
		return false;
	spool_deliveries_seek(&look->tables, lane->key, lane->target,
						  lane->applied + 1, PG_INT64_MAX,
						  ForwardScanDirection);
	while (spool_deliveries_next(&look->tables, &number))
		for (int i = 0; i < number.n; i++)
			if (spool_delivery_live(number.deliveries[i].state))
			{
				*oldest = number.deliveries[i].registered_at;
				return true;
			}
	return false;
}

/* A row of lane_stats. */
static void
visit_lane(Look *look, const SpoolReseqKey *key, const SpoolLane *lane)
{
	TransactionId locker = spool_slot_locker(look->keys.slot);
	TimestampTz oldest = 0;
	Datum		values[26];
	bool		nulls[26] = {0};
	int			pid = 0;
	int			n = 0;

#define PUT(known, value) \
	(nulls[n] = !(known), values[n] = (known) ? (value) : (Datum) 0, n++)

	if (TransactionIdIsValid(locker))
	{
		locker = SubTransGetTopmostTransaction(locker);
		pid = BackendXidGetPid(locker);
	}
	PUT(true, PointerGetDatum(key->name));
	PUT(true, Int32GetDatum(key->epoch));
	PUT(true, CStringGetTextDatum(look->resequencer->targets[lane->target - 1]));
	PUT(lane->applied != NO_SN, Int64GetDatum(lane->applied));
	PUT(lane->high != NO_SN, Int64GetDatum(lane->high));
	PUT(lane->newest != NO_SN, Int64GetDatum(lane->newest));
	PUT(lane->busy != NO_SN, Int64GetDatum(lane->busy));
	PUT(true, Int64GetDatum(lane->live));
	PUT(true, Int64GetDatum(lane->parked));
	PUT(true, Int64GetDatum(lane->registered));
	PUT(true, Int64GetDatum(lane->delivered));
	PUT(true, Int64GetDatum(lane->suppressed));
	PUT(true, Int64GetDatum(lane->dead));
	PUT(true, Int64GetDatum(lane->expired));
	PUT(true, Int64GetDatum(lane->unregistered));
	PUT(true, Int64GetDatum(lane->duplicates));
	PUT(true, Int64GetDatum(lane->forced));
	PUT(true, Int64GetDatum(lane->lost));
	PUT(true, Int32GetDatum(lane->run));
	PUT(oldest_live(look, lane, &oldest), TimestampTzGetDatum(oldest));
	PUT(true, TimestampTzGetDatum(lane->since));
	PUT(key->suspended != NULL, CStringGetTextDatum(key->suspended));
	PUT(key->suspended != NULL, TimestampTzGetDatum(key->suspended_since));
	PUT(key->blocking != NO_SN, Int64GetDatum(key->blocking));
	PUT(pid != 0, Int32GetDatum(pid));
	PUT(TransactionIdIsValid(locker) && pid == 0,
		TransactionIdGetDatum(locker));
#undef PUT
	tuplestore_putvalues(look->result->setResult, look->result->setDesc,
						 values, nulls);
}

/* lane_stats(resequencer, of_key): a row for each key and target */
Datum
spool_lane_stats(PG_FUNCTION_ARGS)
{
	walk(fcinfo, visit_lane);
	return (Datum) 0;
}

/* Rows of registration_rows. */
static void
visit_deliveries(Look *look, const SpoolReseqKey *key, const SpoolLane *lane)
{
	SpoolNumber number;

	if (lane->high <= lane->applied)
		return;
	spool_deliveries_seek(&look->tables, lane->key, lane->target,
						  lane->applied + 1, PG_INT64_MAX,
						  ForwardScanDirection);
	while (spool_deliveries_next(&look->tables, &number))
		for (int i = 0; i < number.n; i++)
		{
			const SpoolDelivery *delivery = &number.deliveries[i];
			bool		live = spool_delivery_live(delivery->state);
			const char *reason = delivery->reason;
			char	   *target = look->resequencer->targets[lane->target - 1];
			const char *state = spool_delivery_state_name(delivery->state);
			TimestampTz due = DT_NOEND;
			Datum		values[10];
			bool		nulls[10] = {0};

			if (live)
				due = spool_reseq_due_of(look->resequencer, key, delivery);
			if (live && key->suspended != NULL)
				reason = "suspended";
			values[0] = PointerGetDatum(key->name);
			values[1] = Int64GetDatum(number.sn);
			nulls[2] = delivery->npart == 0;
			values[2] = PointerGetDatum(spool_part_array(delivery->npart,
														 delivery->part));
			values[3] = CStringGetTextDatum(target);
			values[4] = CStringGetTextDatum(state);
			nulls[5] = reason == NULL;
			values[5] = nulls[5] ? (Datum) 0 : CStringGetTextDatum(reason);
			values[6] = BoolGetDatum(live);
			values[7] = TimestampTzGetDatum(delivery->registered_at);
			values[8] = TimestampTzGetDatum(delivery->since);
			nulls[9] = TIMESTAMP_IS_NOEND(due);
			values[9] = TimestampTzGetDatum(due);
			tuplestore_putvalues(look->result->setResult,
								 look->result->setDesc, values, nulls);
		}
}

/* registration_rows(resequencer, of_key): a row for each delivery that is known */
Datum
spool_registration_rows(PG_FUNCTION_ARGS)
{
	walk(fcinfo, visit_deliveries);
	return (Datum) 0;
}
