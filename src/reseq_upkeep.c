/*-------------------------------------------------------------------------
 * reseq_upkeep.c
 *	  What of a segment the resequencer still needs.
 *
 * Needed are, of each key that exists, the newest state of each of its lanes,
 * and of each delivery that is not over the newest row.  What
 * is not, never is again: versions and applied numbers only grow, and a key
 * that is gone gets another id when it comes back.
 *
 * A walk goes through the keys that a segment has rows of, in steps of so many
 * keys, rows and bytes at the most, each in a transaction, as in survive.c.
 *
 * No lock of a key is taken.  Whoever reads with the newest snapshot sees a row
 * that is moved in one of its places (mover.c).  What is written meanwhile is
 * newer: the row that was moved is then an old one in the old segment, as it
 * was in its own.  If two rows are written, and one goes to the segment that
 * is walked through, its writer held a lock of that segment when the walk
 * began: then another follows (rotate.c).  So only who removes or moves rows
 * must be alone: all of this is done by who has the lock of the rotation, but
 * for drop_resequencer; what that leaves is of keys that are gone.
 *
 * In the old segment, older states of a lane are removed when a newer one is
 * moved there; deliveries that are over, or have a newer row, by a walk of
 * their own (spool_deliveries_clear).  Lanes are too many to be walked through
 * for the few whose key is gone: they are found by their age (reseq_forget.c).
 *
 * While a snapshot is held elsewhere, rows that were moved stay where they
 * were.  So keys are found by index entries, without a look at the rows, and a
 * key is entered again where the step before ended.
 *
 * Measured on 15, us of CPU: to move a finished lane 18 to 25, to see that one
 * is not needed any more 15.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "mover.h"
#include "reseq_key.h"
#include "reseq_store.h"
#include "reseq_upkeep.h"
#include "segment_streams.h"
#include "spiutil.h"
#include "spool.h"

/* What one step deals with at the most. */
#define STEP_KEYS		1000
#define STEP_ROWS		5000
#define STEP_BYTES		(8 * 1024 * 1024)

/* The tables that are dealt with: lanes and deliveries. */
#define TABLES			2
#define LANES			0
#define DELIVERIES		1
#define index_of(table)	((SpoolIndex) (INDEX_LANES + (table)))

typedef struct Step
{
	SpoolKeyWalk walk;			/* becomes that of the caller */
	bool		moves;			/* what is needed is moved, else seen */
	MemoryContext context;
	MemoryContext caller;
	MemoryContext scratch;		/* for one number */
	Snapshot	snapshot;		/* of the indexes' scans */
	SpoolReseqTables tables;
	SpoolKeyTable keys;
	int			first;			/* this table and those after it are walked */
	SpoolIndexedStreams indexed[TABLES];
	SpoolMover	movers[TABLES];
	SpoolPart	row;			/* to move one by its place */
	SpoolLane	lane;			/* the one that was read last */
	int			nkeys;			/* seen; and rows and bytes dealt with */
	int			nrows;
	Size		nbytes;
} Step;

static void step_begin(Step *step, const SpoolKeyWalk *walk);
static void step_end(Step *step);
static bool step_full(const Step *step);
static int64 next_key(Step *step);
static bool key_exists(Step *step, int64 key);
static bool needed(Step *step, SpoolPart *part);
static void remove_older(Step *step, const SpoolLane *lane);
static void move_lanes(Step *step, int64 key);
static void move_row(Step *step, const SpoolDelivery *delivery);
static void move_numbers(Step *step, int64 key, int32 target);
static int64 over_upto(Step *step, int64 key, int32 target);
static int64 entered_at(const Step *step, int64 key, int32 target);
static void enter(Step *step, int64 key, int32 target, int64 sn);
static void for_targets(Step *step, int64 key,
						void (*visit) (Step *step, int64 key, int32 target));
static void move_key(Step *step, int64 key);
static bool next_number(Step *step, int64 key, int32 target,
						SpoolNumber *number);
static void remove_upto(Step *step, int64 key, int32 target, int64 upto);
static void clear_numbers(Step *step, int64 key, int32 target);
static void clear_gone(Step *step, int64 key, int32 target);
static void clear_key(Step *step, int64 key);
static bool make_step(Step *step, const SpoolKeyWalk *walk,
					  void (*visit) (Step *step, int64 key));

/* Open the keys for looks with snapshots. */
void
spool_key_table_open(SpoolKeyTable *keys, Snapshot snapshot)
{
	keys->heap = table_open(spool_relation_oid("reseq_key"), AccessShareLock);
	keys->index = index_open(spool_relation_oid("reseq_key_pkey"),
							 AccessShareLock);
	keys->slot = table_slot_create(keys->heap, NULL);
	keys->desc = compat_index_beginscan(keys->heap, keys->index, snapshot, 1);
}

/* Find a key; it is then in keys->slot. */
bool
spool_key_table_find(SpoolKeyTable *keys, Snapshot snapshot, int64 key)
{
	ScanKeyData scan_key;

	ScanKeyInit(&scan_key, KEY_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(key));
	keys->desc->xs_snapshot = snapshot;
	index_rescan(keys->desc, &scan_key, 1, NULL, 0);
	return index_getnext_slot(keys->desc, ForwardScanDirection, keys->slot);
}

void
spool_key_table_close(SpoolKeyTable *keys)
{
	index_endscan(keys->desc);
	ExecDropSingleTupleTableSlot(keys->slot);
	index_close(keys->index, NoLock);
	table_close(keys->heap, NoLock);
}

/*
 * The first target after a given one that a segment has rows of a key for, or
 * NO_TARGET.  A scan of these rows is begun then, and its first row is read.
 */
int32
spool_target_next(SpoolPart *part, const SpoolSnapshot *newest, int64 key,
				  int32 after)
{
	ScanKeyData keys[4];
	bool		null;

	/* the third column is the version of a state, or a delivery's number */
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(key));
	ScanKeyInit(&keys[1], 2, BTGreaterStrategyNumber, F_INT4GT,
				Int32GetDatum(after));
	ScanKeyInit(&keys[2], 3, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(PG_INT64_MIN));
	ScanKeyInit(&keys[3], 3, BTLessEqualStrategyNumber, F_INT8LE,
				Int64GetDatum(PG_INT64_MAX));
	if (!spool_part_seek(part, newest, keys,
						 part->which == INDEX_LANES ? 3 : 4) ||
		!spool_part_next(part, ForwardScanDirection))
		return NO_TARGET;
	return DatumGetInt32(slot_getattr(part->slot, 2, &null));
}

/* Begin a step of a walk, in a memory context of its own. */
static void
step_begin(Step *step, const SpoolKeyWalk *walk)
{
	int			segment = walk->segment;

	step->walk = *walk;
	step->context = AllocSetContextCreate(CurrentMemoryContext,
										  "spool key walk",
										  ALLOCSET_DEFAULT_SIZES);
	step->scratch = AllocSetContextCreate(step->context, "spool number",
										  ALLOCSET_SMALL_SIZES);
	step->caller = MemoryContextSwitchTo(step->context);
	step->snapshot = RegisterSnapshot(GetLatestSnapshot());
	spool_reseq_open(&step->tables);
	spool_part_open(&step->tables.lanes[segment]);
	spool_part_open(&step->tables.deliveries[segment]);
	spool_key_table_open(&step->keys, step->snapshot);
	step->first = segment == SPOOL_OLD_SEGMENT ? DELIVERIES : LANES;
	for (int i = step->first; i < TABLES; i++)
		spool_indexed_open(&step->indexed[i], index_of(i), segment,
						   step->snapshot);
	step->row = step->tables.deliveries[segment];
	step->row.slot = table_slot_create(step->row.heap, NULL);
}

static void
step_end(Step *step)
{
	ExecDropSingleTupleTableSlot(step->row.slot);
	for (int i = step->first; i < TABLES; i++)
	{
		spool_mover_close(&step->movers[i]);
		spool_indexed_close(&step->indexed[i]);
	}
	spool_key_table_close(&step->keys);
	spool_reseq_close(&step->tables);
	UnregisterSnapshot(step->snapshot);
	MemoryContextSwitchTo(step->caller);
	MemoryContextDelete(step->context);
}

static bool
step_full(const Step *step)
{
	return (step->walk.left && !step->moves) || step->nkeys >= STEP_KEYS ||
		step->nrows >= STEP_ROWS || step->nbytes >= STEP_BYTES;
}

/* The next key that the segment has index entries of, or the end. */
static int64
next_key(Step *step)
{
	int64		next = END_OF_STREAMS;

	for (int i = step->first; i < TABLES; i++)
		next = Min(next, spool_indexed_next(&step->indexed[i],
											step->walk.key));
	return next;
}

static bool
key_exists(Step *step, int64 key)
{
	spool_snapshot_renew(&step->tables.newest);
	return spool_key_table_find(&step->keys, step->tables.newest.snapshot,
								key);
}

/*
 * A row of the segment that is needed: move it, and tell whether that was
 * possible, or see that there is one.
 */
static bool
needed(Step *step, SpoolPart *part)
{
	step->nrows++;
	if (step->moves &&
		spool_mover_move(&step->movers[part->which - INDEX_LANES], part,
						 &step->nbytes))
		return true;
	step->walk.left = true;
	return false;
}

/* Remove older states of a lane than a given one from the old segment. */
static void
remove_older(Step *step, const SpoolLane *lane)
{
	SpoolPart  *part = &step->tables.lanes[SPOOL_OLD_SEGMENT];
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(lane->key));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(lane->target));
	ScanKeyInit(&keys[2], 3, BTLessStrategyNumber, F_INT8LT,
				Int64GetDatum(lane->version));
	if (!spool_part_seek(part, &step->tables.newest, keys, lengthof(keys)))
		return;
	while (spool_part_next(part, ForwardScanDirection))
		(void) spool_row_remove(part->heap, &part->slot->tts_tid);
}

/* Move the newest states of a key's lanes. */
static void
move_lanes(Step *step, int64 key)
{
	SpoolReseqTables *tables = &step->tables;
	SpoolPart  *part = &tables->lanes[step->walk.segment];
	int32		target = 0;

	while ((target = spool_target_next(part, &tables->newest, key,
									   target)) != NO_TARGET)
		if (spool_lane_read(tables, key, target, &step->lane) &&
			tables->part == part && needed(step, part))
			remove_older(step, &step->lane);
}

/* Move a delivery that lies in the segment. */
static void
move_row(Step *step, const SpoolDelivery *delivery)
{
	ItemPointerData tid = delivery->tid;

	if (table_tuple_fetch_row_version(step->row.heap, &tid,
									  step->tables.newest.snapshot,
									  step->row.slot))
		(void) needed(step, &step->row);
}

/*
 * The number up to which nothing of a lane is needed: the highest that was
 * applied, or if that may have parts the one before, so that it is known which
 * of them came.  Not always the newest: if it is higher now, what is moved for
 * nothing is removed later.
 */
static int64
over_upto(Step *step, int64 key, int32 target)
{
	SpoolLane  *lane = &step->lane;

	if ((lane->key == key && lane->target == target) ||
		spool_lane_read(&step->tables, key, target, lane))
		return lane->trees && lane->applied != NO_SN ?
			lane->applied - 1 : lane->applied;
	return NO_SN;
}

/* From which number of a lane on the walk goes on. */
static int64
entered_at(const Step *step, int64 key, int32 target)
{
	return step->walk.entered == key && step->walk.target == target ?
		step->walk.sn + 1 : PG_INT64_MIN;
}

/* The walk has entered a lane as far as a number, which is dealt with wholly. */
static void
enter(Step *step, int64 key, int32 target, int64 sn)
{
	step->walk.entered = key;
	step->walk.target = target;
	step->walk.sn = sn;
}

/* The next number of a scan, unless the step is full. */
static bool
next_number(Step *step, int64 key, int32 target, SpoolNumber *number)
{
	MemoryContext old;
	bool		found;

	if (step_full(step))
		return false;
	CHECK_FOR_INTERRUPTS();
	MemoryContextReset(step->scratch);
	old = MemoryContextSwitchTo(step->scratch);
	found = spool_deliveries_next(&step->tables, number);
	MemoryContextSwitchTo(old);
	if (!found)
		return false;
	enter(step, key, target, number->sn);
	step->nrows += number->nrows;
	return true;
}

/* Move the newest rows of a lane's deliveries that are not over. */
static void
move_numbers(Step *step, int64 key, int32 target)
{
	int64		from = Max(over_upto(step, key, target) + 1,
						   entered_at(step, key, target));
	SpoolNumber number;

	spool_deliveries_seek(&step->tables, key, target, from, PG_INT64_MAX,
						  ForwardScanDirection);
	while (next_number(step, key, target, &number))
		for (int i = 0; i < number.n; i++)
			if (number.deliveries[i].segment == step->walk.segment)
				move_row(step, &number.deliveries[i]);
}

/* Visit the lanes that the segment has deliveries of, until the step is full. */
static void
for_targets(Step *step, int64 key,
			void (*visit) (Step *step, int64 key, int32 target))
{
	SpoolPart  *part = &step->tables.deliveries[step->walk.segment];
	int32		target = step->walk.entered == key ? step->walk.target - 1 : 0;

	while (!step_full(step) &&
		   (target = spool_target_next(part, &step->tables.newest, key,
									   target)) != NO_TARGET)
		visit(step, key, target);
}

/* Move what is needed of a key to the old segment, or see whether anything is. */
static void
move_key(Step *step, int64 key)
{
	if (!key_exists(step, key))
		return;
	if (step->indexed[LANES].stream == key && step->walk.entered != key)
		move_lanes(step, key);
	if (step->indexed[DELIVERIES].stream == key)
		for_targets(step, key, move_numbers);
}

/* Remove rows of a lane's deliveries up to a number. */
static void
remove_upto(Step *step, int64 key, int32 target, int64 upto)
{
	SpoolPart  *part = &step->tables.deliveries[SPOOL_OLD_SEGMENT];
	ScanKeyData keys[4];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(key));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(target));
	ScanKeyInit(&keys[2], 3, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(entered_at(step, key, target)));
	ScanKeyInit(&keys[3], 3, BTLessEqualStrategyNumber, F_INT8LE,
				Int64GetDatum(upto));
	if (!spool_part_seek(part, &step->tables.newest, keys, lengthof(keys)))
		return;
	while (spool_part_next(part, ForwardScanDirection))
	{
		int64		sn = spool_part_sn(part);

		CHECK_FOR_INTERRUPTS();
		if (step_full(step) && sn >= entered_at(step, key, target))
			break;
		enter(step, key, target, sn);
		(void) spool_row_remove(part->heap, &part->slot->tts_tid);
		step->nrows++;
	}
}

/* Remove deliveries of a lane that are over, or have a newer row. */
static void
clear_numbers(Step *step, int64 key, int32 target)
{
	SpoolPart  *part = &step->tables.deliveries[SPOOL_OLD_SEGMENT];
	int64		over = over_upto(step, key, target);
	SpoolNumber number;

	remove_upto(step, key, target, over);
	if (step_full(step))
		return;
	spool_deliveries_seek(&step->tables, key, target,
						  Max(over + 1, entered_at(step, key, target)),
						  PG_INT64_MAX, ForwardScanDirection);
	while (next_number(step, key, target, &number))
		for (int i = number.n; i < number.nrows; i++)
			if (number.deliveries[i].segment == SPOOL_OLD_SEGMENT)
				(void) spool_row_remove(part->heap, &number.deliveries[i].tid);
}

/* Remove deliveries of a key that is gone. */
static void
clear_gone(Step *step, int64 key, int32 target)
{
	remove_upto(step, key, target, PG_INT64_MAX);
}

/* Remove from the old segment what is not needed of a key's deliveries. */
static void
clear_key(Step *step, int64 key)
{
	for_targets(step, key, key_exists(step, key) ? clear_numbers : clear_gone);
}

/*
 * Make a step of a walk; false at the end.  A key that filled the step is
 * entered again.
 */
static bool
make_step(Step *step, const SpoolKeyWalk *walk,
		  void (*visit) (Step *step, int64 key))
{
	int64		key = 0;

	step_begin(step, walk);
	while (!step_full(step) && (key = next_key(step)) != END_OF_STREAMS)
	{
		CHECK_FOR_INTERRUPTS();
		visit(step, key);
		if (step_full(step))
			break;
		step->nkeys++;
		step->walk.key = key;
	}
	step_end(step);
	return key != END_OF_STREAMS;
}

/* Make a step of moving what is needed to the old segment; false at the end. */
bool
spool_lanes_move(SpoolKeyWalk *walk)
{
	Step		step = {.moves = true};
	bool		more = make_step(&step, walk, move_key);

	*walk = step.walk;
	return more;
}

/* Whether anything in a segment is needed. */
bool
spool_lanes_needed(int segment)
{
	SpoolKeyWalk walk = {.segment = segment};
	bool		more = true;

	while (more && !walk.left)
	{
		Step		step = {.moves = false};

		more = make_step(&step, &walk, move_key);
		walk = step.walk;
	}
	return walk.left;
}

/*
 * Make a step of removing deliveries that are not needed from the old segment;
 * false at the end.  *walk is zero at first.
 */
bool
spool_deliveries_clear(SpoolKeyWalk *walk)
{
	Step		step = {.moves = false};
	bool		more;

	if (!ConditionalLockRelationOid(spool_segment_heap(INDEX_DELIVERIES,
													   SPOOL_OLD_SEGMENT),
									RowExclusiveLock))
		return false;
	more = make_step(&step, walk, clear_key);
	CommandCounterIncrement();
	*walk = step.walk;
	return more;
}
