/*-------------------------------------------------------------------------
 * reseq_forget.c
 *	  Keys that resequencers forget, and other rows whose time is over.
 *
 * The state of a lane outlives its deliveries: what is below its applied number
 * never passes.  A key is forgotten when no delivery of it is live, it is not
 * suspended, and the state of each of its lanes is older than the
 * resequencer's retention.  Its row is locked then, if nobody has it, and its
 * state read again with the newest snapshot; who waits for the lock finds no
 * row and begins anew.  The counts of its lanes are added to spool.reseq_tally,
 * and its row and those of the old segment are removed.  What younger segments
 * have of it goes with them: the key gets another id when it comes back.
 *
 * Such keys are found among the states in the old segment, by their age: that
 * is where they come to when their segment is moved.  Steps deal with so many
 * of them, each in a transaction.  This backend remembers how far it came in
 * each resequencer: a state that was seen need not be seen again, as its key
 * has one that is younger or will get one.  What it remembers does not go past
 * a key that is locked or suspended.  When a segment was moved, it begins anew:
 * states that came from there may be older.
 *
 * A key that has no state, after a reset, is forgotten a retention after that;
 * such ones are found by the time of the reset.  States in the old segment
 * whose key is gone are removed on the way.
 *
 * Measured on 15, us of CPU: to forget a key 24 to 31.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "mover.h"
#include "reseq_key.h"
#include "reseq_store.h"
#include "reseq_upkeep.h"
#include "spiutil.h"
#include "spool.h"
#include "writer.h"

/* States that one step looks at. */
#define STEP_STATES		1000

/* Days that dead letters are kept at the least. */
#define DEAD_DAYS		30

/* A place among the states in the old segment. */
typedef struct Place
{
	TimestampTz since;
	int64		key;
} Place;

/* How far this backend came with a resequencer. */
typedef struct Progress
{
	int32		resequencer;
	Place		seen;			/* nothing up to it is to be seen again */
	Place		at;				/* the walk is here, */
	bool		held;			/* and has left some key behind it */
} Progress;

/* Counts of a target's lanes that are forgotten. */
typedef struct Sum
{
	int32		target;
	int64		counts[9];		/* as in spool.reseq_tally */
} Sum;

typedef struct Step
{
	int32		resequencer;
	TimestampTz before;			/* states older than that are forgotten */
	SpoolReseqTables tables;
	SpoolKeyTable keys;
	Place		places[STEP_STATES];
	int			nplaces;
	Sum		   *sums;
	int			nsums;
	int			nforgotten;
} Step;

static Progress *progress = NULL;
static int	nprogress = 0;
static int32 reached = 0;		/* resequencers below are done */

static Progress *progress_of(int32 resequencer);
static bool next_resequencer(Step *step);
static bool lock_tables(void);
static void read_range(Step *step, Relation heap, Relation index,
					   StrategyNumber strategy, RegProcedure procedure,
					   const Place *from, TimestampTz upto);
static void read_places(Step *step, const Place *from);
static int32 target_after(Step *step, int64 key, int32 target);
static bool over(Step *step, int64 key);
static bool key_allows(Step *step, bool *held);
static bool lock_key(Step *step);
static void count_lane(Step *step, const SpoolLane *lane);
static void count_key(Step *step, int64 key);
static void remove_rows(Step *step, int64 key);
static void remove_key(Step *step);
static bool forget(Step *step, int64 key);
static bool forget_bare(Step *step);
static void write_sums(const Step *step);
static bool make_step(Step *step, Progress *known);

/* How far this backend came with a resequencer. */
static Progress *
progress_of(int32 resequencer)
{
	for (int i = 0; i < nprogress; i++)
		if (progress[i].resequencer == resequencer)
			return &progress[i];
	if (progress == NULL)
		progress = MemoryContextAlloc(TopMemoryContext, sizeof(Progress));
	else
		progress = repalloc(progress, (nprogress + 1) * sizeof(Progress));
	memset(&progress[nprogress], 0, sizeof(Progress));
	progress[nprogress].resequencer = resequencer;
	progress[nprogress].seen.since = DT_NOBEGIN;
	progress[nprogress].at = progress[nprogress].seen;
	return &progress[nprogress++];
}

/* Begin the walks anew. */
void
spool_reseq_forget_anew(void)
{
	if (progress != NULL)
		pfree(progress);
	progress = NULL;
	nprogress = 0;
	reached = 0;
}

/* Read which resequencer comes next; false if there is none. */
static bool
next_resequencer(Step *step)
{
	static SpoolPlan plan = {
		"SELECT id, clock_timestamp() - retention FROM spool.resequencer"
		" WHERE id >= $1 ORDER BY id LIMIT 1",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID)
	};
	SpoolSpi	spi;
	Datum		values[1];
	bool		found;

	values[0] = Int32GetDatum(reached);
	spool_spi_begin(&spi);
	found = spool_exec(&plan, values, NULL) == 1;
	if (found)
	{
		step->resequencer = DatumGetInt32(spool_field(0, 1, NULL));
		step->before = DatumGetTimestampTz(spool_field(0, 2, NULL));
	}
	spool_spi_end(&spi);
	return found;
}

/* Lock the tables that rows are removed from, without waiting. */
static bool
lock_tables(void)
{
	return ConditionalLockRelationOid(spool_relation_oid("reseq_key"),
									  RowExclusiveLock) &&
		ConditionalLockRelationOid(spool_segment_heap(INDEX_LANES,
													  SPOOL_OLD_SEGMENT),
								   RowExclusiveLock) &&
		ConditionalLockRelationOid(spool_segment_heap(INDEX_DELIVERIES,
													  SPOOL_OLD_SEGMENT),
								   RowExclusiveLock);
}

/*
 * Read places from the index by (since, key), as many as the step looks at:
 * those with the same time after a place, or those after its time.
 */
static void
read_range(Step *step, Relation heap, Relation index,
		   StrategyNumber strategy, RegProcedure procedure,
		   const Place *from, TimestampTz upto)
{
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	int64		after = PG_INT64_MIN;
	ScanKeyData keys[3];
	IndexScanDesc desc;

	if (strategy == BTEqualStrategyNumber)
		after = from->key;
	ScanKeyInit(&keys[0], 1, strategy, procedure,
				TimestampTzGetDatum(from->since));
	ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_TIMESTAMPTZ_LT,
				TimestampTzGetDatum(upto));
	ScanKeyInit(&keys[2], 2, BTGreaterStrategyNumber, F_INT8GT,
				Int64GetDatum(after));
	desc = compat_index_beginscan(heap, index, step->tables.newest.snapshot,
								  lengthof(keys));
	desc->xs_want_itup = true;
	index_rescan(desc, keys, lengthof(keys), NULL, 0);
	while (step->nplaces < STEP_STATES &&
		   index_getnext_slot(desc, ForwardScanDirection, slot))
	{
		Place	   *place = &step->places[step->nplaces++];
		bool		null;

		place->since = DatumGetTimestampTz(index_getattr(desc->xs_itup, 1,
														 desc->xs_itupdesc,
														 &null));
		place->key = DatumGetInt64(index_getattr(desc->xs_itup, 2,
												 desc->xs_itupdesc, &null));
	}
	index_endscan(desc);
	ExecDropSingleTupleTableSlot(slot);
}

/* Read the places of states that are old enough, after a place. */
static void
read_places(Step *step, const Place *from)
{
	Relation	heap = step->tables.lanes[SPOOL_OLD_SEGMENT].heap;
	Relation	index = index_open(spool_relation_oid("lane_0_since"),
								   AccessShareLock);

	read_range(step, heap, index, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
			   from, step->before);
	read_range(step, heap, index, BTGreaterStrategyNumber, F_TIMESTAMPTZ_GT,
			   from, step->before);
	index_close(index, NoLock);
}

/* The first target of a key after a given one, or NO_TARGET. */
static int32
target_after(Step *step, int64 key, int32 target)
{
	int32		first = NO_TARGET;

	for (int i = 0; i < SPOOL_SEGMENTS; i++)
		first = Min(first, spool_target_next(&step->tables.lanes[i],
											 &step->tables.newest, key,
											 target));
	return first;
}

/* Whether nothing of a key is live, and all its lanes are old enough. */
static bool
over(Step *step, int64 key)
{
	SpoolLane	lane;
	int32		target = 0;

	while ((target = target_after(step, key, target)) != NO_TARGET)
		if (spool_lane_read(&step->tables, key, target, &lane) &&
			(lane.live > 0 || lane.since >= step->before))
			return false;
	return true;
}

/*
 * Whether the key that was found is one of the resequencer that may be
 * forgotten, as far as its row tells.  *held: some day.
 */
static bool
key_allows(Step *step, bool *held)
{
	TupleTableSlot *slot = step->keys.slot;
	bool		null;

	*held = false;
	if (DatumGetInt32(slot_getattr(slot, KEY_RESEQUENCER, &null)) !=
		step->resequencer)
		return false;
	(void) slot_getattr(slot, KEY_SUSPENDED, &null);
	*held = !null;
	return null;
}

/* Lock the key that was found; false if somebody else has it. */
static bool
lock_key(Step *step)
{
	ItemPointerData tid = step->keys.slot->tts_tid;
	TM_FailureData failure;

	return table_tuple_lock(step->keys.heap, &tid,
							step->tables.newest.snapshot, step->keys.slot,
							GetCurrentCommandId(true), LockTupleExclusive,
							LockWaitSkip, 0, &failure) == TM_Ok;
}

/* Add a lane to the counts of its target. */
static void
count_lane(Step *step, const SpoolLane *lane)
{
	int64		counts[] = {lane->registered, lane->delivered,
		lane->suppressed, lane->dead, lane->expired, lane->unregistered,
	lane->duplicates, lane->forced, lane->lost};
	int			i = 0;

	while (i < step->nsums && step->sums[i].target != lane->target)
		i++;
	if (i == step->nsums)
	{
		step->sums = i == 0 ? palloc(sizeof(Sum)) :
			repalloc(step->sums, (i + 1) * sizeof(Sum));
		memset(&step->sums[i], 0, sizeof(Sum));
		step->sums[i].target = lane->target;
		step->nsums++;
	}
	for (int j = 0; j < (int) lengthof(counts); j++)
		step->sums[i].counts[j] += counts[j];
}

/* Add a key's lanes to the counts. */
static void
count_key(Step *step, int64 key)
{
	static SpoolPlan plan = {
		"DELETE FROM spool.reseq_promotable WHERE key = $1",
		SPI_OK_DELETE, PLAN_ARGS(INT8OID)
	};
	int32		target = 0;
	bool		promotable = false;
	SpoolLane	lane;

	while ((target = target_after(step, key, target)) != NO_TARGET)
		if (spool_lane_read(&step->tables, key, target, &lane))
		{
			count_lane(step, &lane);
			promotable |= lane.promotable;
		}
	if (promotable)
	{
		Datum		values[1];

		values[0] = Int64GetDatum(key);
		(void) spool_exec_alone(&plan, values, NULL);
	}
}

/* Remove the rows of a key in the old segment. */
static void
remove_rows(Step *step, int64 key)
{
	SpoolPart  *parts[2];

	parts[0] = &step->tables.lanes[SPOOL_OLD_SEGMENT];
	parts[1] = &step->tables.deliveries[SPOOL_OLD_SEGMENT];
	for (int i = 0; i < 2; i++)
	{
		bool		found = spool_target_next(parts[i], &step->tables.newest,
											  key, 0) != NO_TARGET;

		for (; found; found = spool_part_next(parts[i], ForwardScanDirection))
			(void) spool_row_remove(parts[i]->heap, &parts[i]->slot->tts_tid);
	}
}

/* Remove the row of the key that was locked. */
static void
remove_key(Step *step)
{
	ItemPointerData tid = step->keys.slot->tts_tid;
	TM_FailureData failure;

	(void) table_tuple_delete(step->keys.heap, &tid, GetCurrentCommandId(true),
							  SnapshotAny, InvalidSnapshot, true, &failure,
							  false);
}

/*
 * Forget a key if its time is over.  False if it may be forgotten, but not
 * now.
 */
static bool
forget(Step *step, int64 key)
{
	SpoolSnapshot *newest = &step->tables.newest;
	bool		held;

	spool_snapshot_renew(newest);
	if (!spool_key_table_find(&step->keys, newest->snapshot, key))
	{
		remove_rows(step, key);
		return true;
	}
	if (!key_allows(step, &held))
		return !held;
	if (!over(step, key))
		return true;
	if (!lock_key(step))
		return false;
	spool_snapshot_renew(newest);
	if (!spool_key_table_find(&step->keys, newest->snapshot, key) ||
		!key_allows(step, &held) || !over(step, key))
		return !held;
	count_key(step, key);
	remove_rows(step, key);
	remove_key(step);
	step->nforgotten++;
	/* the key may come again, with another lane */
	CommandCounterIncrement();
	return true;
}

/* Forget keys without a state; true if there may be others. */
static bool
forget_bare(Step *step)
{
	static SpoolPlan plan = {
		"SELECT k.id FROM spool.reseq_key k WHERE k.resequencer = $1"
		" AND k.resumed_at < $2 AND k.suspended IS NULL AND"
		" (SELECT 1 FROM spool.reseq_lane l WHERE l.key = k.id LIMIT 1) IS NULL"
		" LIMIT $3",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID, TIMESTAMPTZOID, INT4OID)
	};
	int64		keys[STEP_STATES];
	SpoolSpi	spi;
	Datum		values[3];
	int			n;

	values[0] = Int32GetDatum(step->resequencer);
	values[1] = TimestampTzGetDatum(step->before);
	values[2] = Int32GetDatum(STEP_STATES);
	spool_spi_begin(&spi);
	/* the plan is made once, and must do for large tables */
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	n = (int) spool_exec(&plan, values, NULL);
	for (int i = 0; i < n; i++)
		keys[i] = DatumGetInt64(spool_field(i, 1, NULL));
	spool_spi_end(&spi);
	step->nforgotten = 0;
	for (int i = 0; i < n; i++)
		(void) forget(step, keys[i]);
	return step->nforgotten == STEP_STATES;
}

/* Write the counts of what was forgotten. */
static void
write_sums(const Step *step)
{
	SpoolWriter writer;

	if (step->nsums == 0)
		return;
	spool_writer_open(&writer, spool_relation_oid("reseq_tally"),
					  step->nsums);
	for (int i = 0; i < step->nsums; i++)
	{
		bool	   *nulls;
		Datum	   *values = spool_writer_row(&writer, &nulls);

		values[0] = Int32GetDatum(step->resequencer);
		values[1] = Int32GetDatum(step->sums[i].target);
		for (int j = 0; j < (int) lengthof(step->sums[i].counts); j++)
			values[2 + j] = Int64GetDatum(step->sums[i].counts[j]);
	}
	spool_writer_close(&writer);
}

/* Look at the states after those that were seen; false at the end. */
static bool
make_step(Step *step, Progress *known)
{
	bool		more;

	spool_reseq_open(&step->tables);
	spool_snapshot_renew(&step->tables.newest);
	spool_part_open(&step->tables.lanes[SPOOL_OLD_SEGMENT]);
	spool_key_table_open(&step->keys, step->tables.newest.snapshot);
	read_places(step, &known->at);
	for (int i = 0; i < step->nplaces; i++)
	{
		int64		key = step->places[i].key;

		CHECK_FOR_INTERRUPTS();
		if ((i == 0 || step->places[i - 1].key != key) && !forget(step, key))
			known->held = true;
		known->at = step->places[i];
		if (!known->held)
			known->seen = known->at;
	}
	more = step->nplaces == STEP_STATES || forget_bare(step);
	write_sums(step);
	spool_key_table_close(&step->keys);
	spool_reseq_close(&step->tables);
	CommandCounterIncrement();
	return more;
}

/*
 * Make a step of forgetting keys; false if there is none to be forgotten now.
 */
bool
spool_reseq_forget(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "spool forget",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Step	   *step = palloc(sizeof(Step));
	bool		found = false;

	while (!found && lock_tables() && next_resequencer(step))
	{
		Progress   *known = progress_of(step->resequencer);
		Progress	now = *known;
		bool		more;

		known->at = known->seen;	/* an error lets it begin anew */
		known->held = false;
		step->nplaces = 0;
		step->nsums = 0;
		step->nforgotten = 0;
		more = make_step(step, &now);
		found = step->nplaces > 0 || step->nforgotten > 0;
		if (more)
		{
			*known = now;
			reached = step->resequencer;
			break;
		}
		known->seen = now.seen;
		known->at = now.seen;
		reached = step->resequencer + 1;
	}
	if (!found)
		reached = 0;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return found;
}

/*
 * Remove dead letters whose time is over, and put counts together; not what a
 * drop_resequencer that is not committed removes.
 */
void
spool_reseq_purge(void)
{
	static SpoolPlan dead = {
		"DELETE FROM spool.reseq_dead WHERE ctid = ANY (ARRAY("
		"  SELECT d.ctid FROM spool.reseq_dead d"
		"   JOIN spool.resequencer r ON r.id = d.resequencer"
		"   WHERE d.since < $1 AND d.since < clock_timestamp() - r.retention"
		"   FOR UPDATE OF d SKIP LOCKED))",
		SPI_OK_DELETE, PLAN_ARGS(TIMESTAMPTZOID)
	};
	static SpoolPlan fold = {
		"WITH old AS (DELETE FROM spool.reseq_tally WHERE ctid = ANY (ARRAY("
		"   SELECT ctid FROM spool.reseq_tally"
		"    WHERE (resequencer, target) IN (SELECT resequencer, target"
		"     FROM spool.reseq_tally GROUP BY 1, 2 HAVING count(*) > 1)"
		"    FOR UPDATE SKIP LOCKED)) RETURNING *)"
		" INSERT INTO spool.reseq_tally"
		" SELECT resequencer, target, sum(registered), sum(delivered),"
		" sum(suppressed), sum(dead), sum(expired), sum(unregistered),"
		" sum(duplicates), sum(forced), sum(lost) FROM old GROUP BY 1, 2",
		SPI_OK_INSERT, PLAN_NO_ARGS
	};
	Datum		values[1];

	values[0] = TimestampTzGetDatum(GetCurrentTimestamp() -
									DEAD_DAYS * USECS_PER_DAY);
	(void) spool_exec_alone(&dead, values, NULL);
	(void) spool_exec_alone(&fold, NULL, NULL);
}
