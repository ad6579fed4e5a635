/*-------------------------------------------------------------------------
 * numbering.c
 *	  Who numbers a stream, and the numbers that the queue gives.
 *
 * A row of spool.numbering, made with the stream's first packet, says who
 * numbers it.  It never changes.  Where the queue does and its order is that
 * of numbers, there are two ways, fixed when the server starts:
 *
 *	preloaded	numbers are given in shared memory (numbers.c): producers wait
 *				for nobody, consumers ask for the bound
 *	otherwise	the row is the producers' lock, held to the end of their
 *				transactions: numbers have no holes and become visible in
 *				order, so a consumer needs no bound
 *
 * The first number that shared memory has of a stream is read from the store
 * and the newest state.  At that time no transaction has open numbers, but
 * for one that was prepared when the library was not preloaded: it still has
 * the row's lock, which is waited for.  Of several who read, one does, under
 * a lock of its own that is given back at once; the others find the number.
 *
 * A crash leaves what committed transactions wrote, and numbers follow from
 * that: one that was given and never committed may be given again if nobody
 * has given a higher one since.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "numbering.h"
#include "packet_type.h"
#include "spiutil.h"
#include "spool.h"
#include "state.h"
#include "store.h"

/* Columns of spool.numbering. */
enum
{
	NUMBERING_STREAM = 1, NUMBERING_BY_QUEUE
};

/* What is done with a numbering row that is found. */
typedef enum RowUse
{
	ROW_READ,
	ROW_LOCK,					/* have the producers' lock */
	ROW_LOCK_NOWAIT,			/* the same, if nobody has it */
	ROW_WAIT,					/* wait for who has it */
	ROW_WAIT_NOT				/* only see whether somebody has it */
} RowUse;

/*
 * Subobjects of heavyweight locks of the class spool.numbering; the object is
 * the stream, of which different ones may be the same.
 */
#define LOCK_FIRST 0			/* the first number in shared memory is read */
#define LOCK_UNNUMBERED 1		/* there is no numbering row */

/* So many locks of the latter: a transaction may make any number of streams. */
#define UNNUMBERED_LOCKS 256

/* A numbering row. */
typedef struct NumberingRow
{
	SpoolNumbering numbering;
	bool		fixed;			/* it is committed */
	bool		locked;			/* somebody else has its lock */
} NumberingRow;

static bool lock_row(Relation heap, TupleTableSlot *slot, Snapshot snapshot,
					 RowUse use);
static void find_row(int64 stream, RowUse use, NumberingRow *row);
static void lock_unnumbered(const SpoolStream *stream, LOCKMODE lockmode);
static void begin(SpoolQueue *queue, const SpoolStream *stream, bool by_queue,
				  RowUse use, NumberingRow *row);
static int64 first_unused(SpoolQueue *queue, const SpoolStream *stream,
						  int64 from);
static int64 first_in_memory(SpoolQueue *queue, const SpoolStream *stream);
static int64 next_under_lock(SpoolQueue *queue, const SpoolStream *stream,
							 int count);
static void check_given(SpoolGiven given, SpoolQueue *queue,
						const SpoolStream *stream);
static SpoolChecked what_is_known(const NumberingRow *row);
static SpoolGiven give_first(SpoolQueue *queue, const SpoolStream *stream,
							 int count, int64 next, SpoolChecked checked,
							 int64 *first);

/*
 * Lock the numbering row in a slot, or see to it that nobody has its lock.
 * False if somebody has and use says not to wait.
 */
static bool
lock_row(Relation heap, TupleTableSlot *slot, Snapshot snapshot, RowUse use)
{
	bool		own = use == ROW_LOCK || use == ROW_LOCK_NOWAIT;
	bool		wait = use == ROW_LOCK || use == ROW_WAIT;
	bool		should_free;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);
	uint16		infomask = tuple->t_data->t_infomask;
	TransactionId locker = HeapTupleHeaderGetRawXmax(tuple->t_data);
	ItemPointerData tid = slot->tts_tid;
	TM_FailureData failure;

	if (should_free)
		heap_freetuple(tuple);
	if (!own && ((infomask & HEAP_XMAX_INVALID) ||
				 (!(infomask & HEAP_XMAX_IS_MULTI) &&
				  !TransactionIdIsInProgress(locker))))
		return true;

	/* a lock that producers share waits for theirs, and for no other */
	return table_tuple_lock(heap, &tid, snapshot, slot,
							GetCurrentCommandId(true),
							own ? LockTupleExclusive : LockTupleKeyShare,
							wait ? LockWaitBlock : LockWaitSkip, 0,
							&failure) == TM_Ok;
}

/* Find a stream's numbering row. */
static void
find_row(int64 stream, RowUse use, NumberingRow *row)
{
	Relation	heap = table_open(spool_relation_oid("numbering"),
								  use == ROW_READ ? AccessShareLock :
								  RowShareLock);
	Relation	index = index_open(spool_relation_oid("numbering_pkey"),
								   AccessShareLock);
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	Snapshot	snapshot = RegisterSnapshot(spool_newest_snapshot());
	ScanKeyData key;
	IndexScanDesc desc;

	memset(row, 0, sizeof(NumberingRow));
	ScanKeyInit(&key, NUMBERING_STREAM, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(stream));
	desc = compat_index_beginscan(heap, index, snapshot, 1);
	index_rescan(desc, &key, 1, NULL, 0);
	if (index_getnext_slot(desc, ForwardScanDirection, slot))
	{
		bool		null;

		row->numbering = DatumGetBool(slot_getattr(slot, NUMBERING_BY_QUEUE, &null)) ?
			NUMBERED_BY_QUEUE : NUMBERED_BY_SENDER;
		row->fixed = !spool_slot_is_mine(slot);
		row->locked = use != ROW_READ && !lock_row(heap, slot, snapshot, use);
	}
	index_endscan(desc);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, NoLock);
	table_close(heap, NoLock);
}

/* Who numbers a stream. */
SpoolNumbering
spool_numbering(int64 stream)
{
	NumberingRow row;

	find_row(stream, ROW_READ, &row);
	return row.numbering;
}

/*
 * To the end of the transaction: share or exclude that a stream without a
 * numbering row gets one.
 */
static void
lock_unnumbered(const SpoolStream *stream, LOCKMODE lockmode)
{
	LockDatabaseObject(spool_relation_oid("numbering"),
					   (Oid) (stream->id % UNNUMBERED_LOCKS), LOCK_UNNUMBERED,
					   lockmode);
}

/*
 * Prepare to store packets numbered by the queue or by the sender: the first
 * fixes which, and 55000 for the other.
 */
static void
begin(SpoolQueue *queue, const SpoolStream *stream, bool by_queue, RowUse use,
	  NumberingRow *row)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.numbering (stream, by_queue) VALUES ($1, $2)"
		" ON CONFLICT DO NOTHING",
		SPI_OK_INSERT, PLAN_ARGS(INT8OID, BOOLOID)
	};

	find_row(stream->id, use, row);
	if (row->numbering == NUMBERED_BY_NOBODY)
	{
		Datum		values[2];

		lock_unnumbered(stream, RowShareLock);
		values[0] = Int64GetDatum(stream->id);
		values[1] = BoolGetDatum(by_queue);
		(void) spool_exec_alone(&plan, values, NULL);
		find_row(stream->id, use, row);
	}
	if (row->numbering != (by_queue ? NUMBERED_BY_QUEUE : NUMBERED_BY_SENDER))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 by_queue ?
				 errmsg("stream \"%s\" of queue \"%s\" is numbered by its sender",
						stream->name, queue->name) :
				 errmsg("stream \"%s\" of queue \"%s\" is numbered by the queue",
						stream->name, queue->name),
				 by_queue ?
				 errhint("Write packets that have their numbers with spool.write, or use another stream.") :
				 errhint("Use spool.enqueue, or another stream.")));
}

/* The same without a number and a lock. */
void
spool_numbering_begin(SpoolQueue *queue, const SpoolStream *stream,
					  bool by_queue)
{
	NumberingRow row;

	begin(queue, stream, by_queue, ROW_READ, &row);
}

/*
 * The first number of a stream that is above all that are stored, from a
 * given one on, and were consumed; 0 if nothing is stored from there on.
 * from: 0 = the cursor.
 *
 * The state is read after the store.  Who removes a packet records its number
 * in the state in the same commit, so one of the two has it.
 */
static int64
first_unused(SpoolQueue *queue, const SpoolStream *stream, int64 from)
{
	SpoolState	state;
	int64		highest;

	if (from == 0)
	{
		spool_stream_state(queue, stream, &state);
		from = Max(state.next, state.high + 1);
		highest = spool_store_highest(stream->id, from);
	}
	else
	{
		highest = spool_store_highest(stream->id, from);
		if (highest < 0)
			return 0;
	}
	spool_stream_state(queue, stream, &state);
	return Max(state.next, Max(state.high, highest) + 1);
}

/*
 * The first of some consecutive numbers under the producers' lock.
 *
 * The highest number stored is looked for from the last that this backend
 * gave, because a look reads all index entries of its range on the page where
 * it ends.  Nothing depends on the number remembered: if nothing is stored
 * from there on, as after a rollback, the look is made from the cursor.
 */
static int64
next_under_lock(SpoolQueue *queue, const SpoolStream *stream, int count)
{
	static struct
	{
		int64		stream;
		int64		last;
	}			given[256];
	int			slot = (int) (stream->id % lengthof(given));
	int64		first = 0;

	if (given[slot].stream == stream->id)
		first = first_unused(queue, stream, given[slot].last);
	if (first == 0)
		first = first_unused(queue, stream, 0);
	if (first > SPOOL_MAX_SEQ - count + 1)
		check_given(NUMBERS_EXHAUSTED, queue, stream);
	given[slot].stream = stream->id;
	given[slot].last = first + count - 1;
	return first;
}

/* The errors of who wants numbers and gets none. */
static void
check_given(SpoolGiven given, SpoolQueue *queue, const SpoolStream *stream)
{
	if (given == NUMBERS_FULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("out of shared memory for numbers of stream \"%s\" of queue \"%s\"",
						stream->name, queue->name),
				 errdetail("Open transactions have numbers of too many streams."),
				 errhint("You might need to increase spool.max_streams_in_memory.")));
	if (given == NUMBERS_EXHAUSTED)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("stream \"%s\" of queue \"%s\" has no numbers left",
						stream->name, queue->name)));
}

/* What a numbering row that was read says. */
static SpoolChecked
what_is_known(const NumberingRow *row)
{
	return row->fixed ? NUMBERS_FIXED : NUMBERS_CHECKED;
}

/*
 * The first number of a stream that is not in shared memory, under the lock of
 * who reads it.  One that this transaction is to make has none in use if
 * nobody else has made it by now: who had numbers before is visible.
 */
static int64
first_in_memory(SpoolQueue *queue, const SpoolStream *stream)
{
	SpoolStream made;

	if (spool_stream_unborn(stream) &&
		!spool_stream_by_id(queue, stream->id, &made))
		return 1;
	return first_unused(queue, stream, 0);
}

/*
 * Give numbers of a stream in shared memory where it may not be yet.  next: no
 * number below it, or -1.
 */
static SpoolGiven
give_first(SpoolQueue *queue, const SpoolStream *stream, int count,
		   int64 next, SpoolChecked checked, int64 *first)
{
	Oid			class = spool_relation_oid("numbering");
	SpoolGiven	given = NUMBERS_MISSING;

	LockDatabaseObject(class, (Oid) stream->id, LOCK_FIRST, ExclusiveLock);
	if (next < 0)
		given = spool_numbers_give(stream->id, count, -1, checked, first);
	if (given == NUMBERS_MISSING)
	{
		next = Max(next, first_in_memory(queue, stream));
		given = spool_numbers_give(stream->id, count, next, checked, first);
	}
	UnlockDatabaseObject(class, (Oid) stream->id, LOCK_FIRST, ExclusiveLock);
	return given;
}

/*
 * The first of some consecutive numbers for packets of a stream in order of
 * numbers, which this transaction stores.
 */
int64
spool_numbering_next(SpoolQueue *queue, const SpoolStream *stream, int count)
{
	NumberingRow row = {.numbering = NUMBERED_BY_QUEUE};
	SpoolGiven	given;
	int64		first;

	if (!spool_numbers_shared())
	{
		begin(queue, stream, true, ROW_LOCK, &row);
		return next_under_lock(queue, stream, count);
	}
	given = spool_numbers_give(stream->id, count, -1, NUMBERS_UNCHECKED,
							   &first);
	if (given == NUMBERS_MISSING)
	{
		if (!spool_stream_unborn(stream))
			begin(queue, stream, true, ROW_WAIT, &row);
		given = spool_numbers_give(stream->id, count, -1, what_is_known(&row),
								   &first);
		if (given == NUMBERS_MISSING)
			given = give_first(queue, stream, count, -1, what_is_known(&row),
							   &first);
	}
	check_given(given, queue, stream);
	return first;
}

/*
 * Whether this transaction can have numbers of a stream that the queue
 * numbers, without waiting; then it can until it ends.
 */
bool
spool_numbering_try(SpoolQueue *queue, const SpoolStream *stream)
{
	bool		shared = spool_numbers_shared();
	NumberingRow row;
	int64		first;

	find_row(stream->id, shared ? ROW_WAIT_NOT : ROW_LOCK_NOWAIT, &row);
	if (row.numbering != NUMBERED_BY_QUEUE || row.locked)
		return false;
	return !shared || give_first(queue, stream, 0, -1, what_is_known(&row),
								 &first) == NUMBERS_GIVEN;
}

/*
 * Prepare to move the cursor of a stream, whose lock the caller has: if the
 * queue numbers it, no number below the new cursor is given from now on, and
 * those given before are visible or never come.
 */
void
spool_numbering_settle(SpoolQueue *queue, const SpoolStream *stream,
					   int64 next)
{
	RowUse		use = spool_numbers_shared() ? ROW_WAIT : ROW_LOCK;
	NumberingRow row;
	SpoolHolder holder;
	int64		first;

	find_row(stream->id, use, &row);
	if (row.numbering == NUMBERED_BY_NOBODY)
	{
		lock_unnumbered(stream, ExclusiveLock);
		find_row(stream->id, use, &row);
	}
	if (row.numbering != NUMBERED_BY_QUEUE ||
		queue->order != ORDER_SEQUENCE || !spool_numbers_shared())
		return;

	/* numbers of our own keep the stream in memory until the commit */
	check_given(give_first(queue, stream, 0, next, what_is_known(&row), &first),
				queue, stream);
	while (spool_numbers_bound(stream->id, next, &holder) < next &&
		   holder.pid != 0)
		(void) VirtualXactLock(holder.vxid, true);
}

/*
 * The number up to which packets of a stream that the queue numbers may be
 * handed out, by a snapshot that is taken afterwards; the highest if nobody
 * waits for lower ones.  See spool_numbers_bound.
 */
int64
spool_numbering_bound(int64 stream, int64 seen, SpoolHolder *holder)
{
	if (spool_numbers_shared() || RecoveryInProgress())
		return spool_numbers_bound(stream, seen, holder);
	return PG_INT64_MAX;
}
