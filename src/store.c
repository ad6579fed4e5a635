/*-------------------------------------------------------------------------
 * store.c
 *	  How packets and states lie on disk; no other file knows.
 *
 * Packets lie in spool.store, states in spool.state.  Both are appended
 * through the table access method: a packet or state costs one heap and two
 * or one index insertions and no statement.  Nothing is updated in place, so
 * a snapshot held elsewhere makes nothing slower: consuming moves the cursor
 * by a new state row, and the newest one is the first that a backward scan of
 * (consumer, stream, version) meets.
 *
 * Snapshots: every read is made with GetLatestSnapshot(), at every isolation
 * level.  Whoever decides by what it reads holds the stream's lock
 * (stream.c).  A REPEATABLE READ or SERIALIZABLE transaction that consumes and
 * whose own snapshot is older than the newest state gets 40001: for it the
 * packets were handed out in the future.
 *
 * Rows below a stream's cursor are consumed; spool_store_purge removes them,
 * and states that are not the newest, in sets.  It needs no lock: a committed
 * cursor goes back only by removing those rows itself, and no reader with a
 * newest snapshot looks at an older state.
 *
 * A crash leaves what committed transactions wrote.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "spiutil.h"
#include "spool.h"
#include "store.h"

/* Columns of a segment. */
enum
{
	STORE_STREAM = 1, STORE_POSITION, STORE_SEQ, STORE_PACKET_ID,
	STORE_ARRIVED, STORE_SEGMENT, STORE_PACKET, STORE_COLUMNS = STORE_PACKET
};

/* Columns of spool.state. */
enum
{
	STATE_CONSUMER = 1, STATE_STREAM, STATE_VERSION, STATE_NEXT, STATE_HIGH,
	STATE_LOW, STATE_LOOKED, STATE_AHEAD, STATE_ATTEMPTS,
	STATE_ATTEMPT_PACKET, STATE_RUNNER, STATE_RUN_PACKET, STATE_RUN_LAST,
	STATE_RUN_JOBS, STATE_SOLO, STATE_SINCE, STATE_FAILURE, STATE_PAUSED,
	STATE_COLUMNS = STATE_PAUSED
};

/* The segment that packets are appended to. */
#define SEGMENT_NAME	"segment_0"
#define SEGMENT_INDEX	"segment_0_stream_position_seq_idx"
#define SEGMENT_ID_INDEX	"segment_0_packet_id_idx"
#define SEGMENT_NO		0

/* Packets that are inserted together at the most: some pages' worth. */
#define APPEND_CHUNK	256

/* A packet that this transaction removed. */
typedef struct RemovedRow
{
	int64		packet_id;
	ItemPointerData tid;
	struct RemovedRow *next;
} RemovedRow;

static RemovedRow *removed = NULL;	/* in TopTransactionContext */
static LocalTransactionId removed_lxid = InvalidLocalTransactionId;

static void writer_open(SpoolWriter *writer, const char *table);
static void writer_close(SpoolWriter *writer);
static TupleTableSlot *writer_slot(SpoolWriter *writer);
static void store_row(TupleTableSlot *slot, const SpoolRow *row);
static void fill_row(SpoolRow *row, TupleTableSlot *slot);
static TransactionId slot_writer(TupleTableSlot *slot);
static void note_removed(const SpoolRow *row);
static bool find_removed(int64 packet_id, SpoolRow *row);
static char *text_or_null(Datum value, bool null);

/* Open a table and its indexes for appending. */
static void
writer_open(SpoolWriter *writer, const char *table)
{
	writer->rel = table_open(spool_relation_oid(table), RowExclusiveLock);
	writer->estate = CreateExecutorState();
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, writer->rel, 1, NULL, 0);
	ExecOpenIndices(writer->result, false);
}

/*
 * Close it; locks are kept to the end of the transaction.  What was written
 * is visible to the next snapshot of this transaction.
 */
static void
writer_close(SpoolWriter *writer)
{
	ExecCloseIndices(writer->result);
	ExecResetTupleTable(writer->estate->es_tupleTable, false);
	FreeExecutorState(writer->estate);
	table_close(writer->rel, NoLock);
	CommandCounterIncrement();
}

/* An empty slot for a row of the table. */
static TupleTableSlot *
writer_slot(SpoolWriter *writer)
{
	return MakeSingleTupleTableSlot(RelationGetDescr(writer->rel),
									table_slot_callbacks(writer->rel));
}

/* Put a packet's columns into a slot. */
static void
store_row(TupleTableSlot *slot, const SpoolRow *row)
{
	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0, STORE_COLUMNS * sizeof(bool));
	slot->tts_values[STORE_STREAM - 1] = Int64GetDatum(row->stream);
	slot->tts_values[STORE_POSITION - 1] = Int64GetDatum(row->position);
	slot->tts_values[STORE_SEQ - 1] = Int64GetDatum(row->seq);
	slot->tts_values[STORE_PACKET_ID - 1] = Int64GetDatum(row->packet_id);
	slot->tts_values[STORE_ARRIVED - 1] = TimestampTzGetDatum(row->arrived);
	slot->tts_isnull[STORE_ARRIVED - 1] = !row->has_arrived;
	slot->tts_values[STORE_SEGMENT - 1] = Int16GetDatum(SEGMENT_NO);
	slot->tts_values[STORE_PACKET - 1] = PointerGetDatum(row->packet);
	ExecStoreVirtualTuple(slot);
}

/* Append packets, APPEND_CHUNK at a time. */
void
spool_store_append(SpoolRow *rows, int nrows)
{
	SpoolWriter writer;
	TupleTableSlot *slots[APPEND_CHUNK];
	int			nslots = Min(nrows, APPEND_CHUNK);
	BulkInsertState bulk = NULL;

	if (nrows == 0)
		return;

	writer_open(&writer, SEGMENT_NAME);
	for (int i = 0; i < nslots; i++)
		slots[i] = writer_slot(&writer);
	if (nrows > 1)
		bulk = GetBulkInsertState();

	for (int done = 0; done < nrows; done += nslots)
	{
		int			n = Min(nrows - done, nslots);

		for (int i = 0; i < n; i++)
			store_row(slots[i], &rows[done + i]);
		if (n == 1)
			table_tuple_insert(writer.rel, slots[0],
							   GetCurrentCommandId(true), 0, bulk);
		else
			table_multi_insert(writer.rel, slots, n,
							   GetCurrentCommandId(true), 0, bulk);
		for (int i = 0; i < n; i++)
		{
			(void) compat_insert_index_tuples(writer.result, slots[i],
											  writer.estate);
			ResetPerTupleExprContext(writer.estate);
			rows[done + i].tid = slots[i]->tts_tid;
		}
	}

	if (bulk)
		FreeBulkInsertState(bulk);
	/* last one first: the resource owner finds it at the end of its list */
	while (nslots > 0)
		ExecDropSingleTupleTableSlot(slots[--nslots]);
	writer_close(&writer);
}

/*
 * Begin a scan of a stream's packets from a position, upwards, or downwards
 * to it.
 */
void
spool_store_scan_begin(SpoolScan *scan, int64 stream, int64 from,
					   ScanDirection direction)
{
	spool_store_scan_range(scan, stream, from, PG_INT64_MAX, direction);
}

/*
 * The same up to a position.  A bound is worth giving: a scan reads at once
 * all index entries of its range that are on one page.
 */
void
spool_store_scan_range(SpoolScan *scan, int64 stream, int64 from, int64 to,
					   ScanDirection direction)
{
	scan->heap = table_open(spool_relation_oid(SEGMENT_NAME), AccessShareLock);
	scan->index = index_open(spool_relation_oid(SEGMENT_INDEX),
							 AccessShareLock);
	scan->slot = table_slot_create(scan->heap, NULL);
	scan->snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan->direction = direction;
	scan->done = false;
	ScanKeyInit(&scan->keys[0], STORE_STREAM, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(stream));
	ScanKeyInit(&scan->keys[1], STORE_POSITION, BTGreaterEqualStrategyNumber,
				F_INT8GE, Int64GetDatum(from));
	ScanKeyInit(&scan->keys[2], STORE_POSITION, BTLessEqualStrategyNumber,
				F_INT8LE, Int64GetDatum(to));
	scan->desc = compat_index_beginscan(scan->heap, scan->index,
										scan->snapshot, 3);
	index_rescan(scan->desc, scan->keys, 3, NULL, 0);
}

/*
 * The next packet of a scan.  row->packet points into the scan and holds
 * until the next call.
 */
bool
spool_store_scan_next(SpoolScan *scan, SpoolRow *row)
{
	if (scan->done ||
		!index_getnext_slot(scan->desc, scan->direction, scan->slot))
	{
		scan->done = true;
		return false;
	}
	fill_row(row, scan->slot);
	return true;
}

void
spool_store_scan_end(SpoolScan *scan)
{
	index_endscan(scan->desc);
	ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	index_close(scan->index, NoLock);
	table_close(scan->heap, NoLock);
}

static void
fill_row(SpoolRow *row, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	row->stream = DatumGetInt64(slot->tts_values[STORE_STREAM - 1]);
	row->position = DatumGetInt64(slot->tts_values[STORE_POSITION - 1]);
	row->seq = DatumGetInt64(slot->tts_values[STORE_SEQ - 1]);
	row->packet_id = DatumGetInt64(slot->tts_values[STORE_PACKET_ID - 1]);
	row->has_arrived = !slot->tts_isnull[STORE_ARRIVED - 1];
	row->arrived = row->has_arrived ?
		DatumGetTimestampTz(slot->tts_values[STORE_ARRIVED - 1]) : 0;
	row->packet = (struct varlena *)
		DatumGetPointer(slot->tts_values[STORE_PACKET - 1]);
	row->tid = slot->tts_tid;
}

/*
 * Lock a packet that the scan found, to remove it.  False if another
 * transaction holds or has removed it.
 */
bool
spool_store_lock(SpoolScan *scan, const SpoolRow *row)
{
	TM_FailureData failure;
	TM_Result	result;
	ItemPointerData tid = row->tid;
	TupleTableSlot *slot = table_slot_create(scan->heap, NULL);

	result = table_tuple_lock(scan->heap, &tid, scan->snapshot, slot,
							  GetCurrentCommandId(true), LockTupleExclusive,
							  LockWaitSkip, 0, &failure);
	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok;
}

/*
 * Remove a packet that this transaction found.  In a queue without order
 * another transaction may have locked it: waits, and 40001 if it is gone.
 */
void
spool_store_remove(const SpoolRow *row)
{
	Relation	heap = table_open(spool_relation_oid(SEGMENT_NAME),
								  RowExclusiveLock);
	ItemPointerData tid = row->tid;
	TM_FailureData failure;

	if (table_tuple_delete(heap, &tid, GetCurrentCommandId(true), SnapshotAny,
						   InvalidSnapshot, true, &failure, false) != TM_Ok)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("packet " INT64_FORMAT " was removed concurrently",
						row->packet_id)));
	table_close(heap, NoLock);
	CommandCounterIncrement();
	note_removed(row);
}

/* Remember where a removed packet lies until the transaction ends. */
static void
note_removed(const SpoolRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	RemovedRow *entry = palloc(sizeof(RemovedRow));

	if (removed_lxid != compat_my_lxid)
		removed = NULL;
	removed_lxid = compat_my_lxid;
	entry->packet_id = row->packet_id;
	entry->tid = row->tid;
	entry->next = removed;
	removed = entry;
	MemoryContextSwitchTo(old);
}

/* A packet that this transaction removed; its bytes are still there. */
static bool
find_removed(int64 packet_id, SpoolRow *row)
{
	bool		found = false;

	if (removed_lxid != compat_my_lxid)
		return false;
	for (RemovedRow *entry = removed; entry && !found; entry = entry->next)
	{
		Relation	heap;
		TupleTableSlot *slot;

		if (entry->packet_id != packet_id)
			continue;
		heap = table_open(spool_relation_oid(SEGMENT_NAME), AccessShareLock);
		slot = table_slot_create(heap, NULL);
		if (table_tuple_fetch_row_version(heap, &entry->tid, SnapshotAny,
										  slot))
		{
			fill_row(row, slot);
			row->packet = (struct varlena *)
				DatumGetPointer(datumCopy(PointerGetDatum(row->packet),
										  false, -1));
			found = true;
		}
		ExecDropSingleTupleTableSlot(slot);
		table_close(heap, NoLock);
	}
	return found;
}

/*
 * Find a packet again that an earlier transaction saw: its place may have
 * changed.  False if it is gone.
 */
bool
spool_store_find(SpoolRow *row)
{
	SpoolScan	scan;
	SpoolRow	stored;
	bool		found = false;

	spool_store_scan_range(&scan, row->stream, row->position, row->position,
						   ForwardScanDirection);
	while (!found && spool_store_scan_next(&scan, &stored))
		if (stored.packet_id == row->packet_id)
		{
			row->tid = stored.tid;
			found = true;
		}
	spool_store_scan_end(&scan);
	return found;
}

/* The lowest number stored in a stream, not below from; false if none is. */
bool
spool_store_first(int64 stream, int64 from, int64 *seq)
{
	SpoolScan	scan;
	SpoolRow	row;
	bool		found;

	spool_store_scan_begin(&scan, stream, from, ForwardScanDirection);
	found = spool_store_scan_next(&scan, &row);
	if (found)
		*seq = row.seq;
	spool_store_scan_end(&scan);
	return found;
}

/*
 * The highest number stored in a stream that is ordered by number, not below
 * from; -1 if there is none.
 */
int64
spool_store_highest(int64 stream, int64 from)
{
	SpoolScan	scan;
	SpoolRow	row;
	int64		highest = -1;

	spool_store_scan_begin(&scan, stream, from, BackwardScanDirection);
	if (spool_store_scan_next(&scan, &row))
		highest = row.seq;
	spool_store_scan_end(&scan);
	return highest;
}

/*
 * A packet by its id, also one that this transaction removed; the packet is
 * copied, still possibly toasted.
 */
bool
spool_store_by_id(int64 packet_id, SpoolRow *row)
{
	static SpoolPlan plan = {
		"SELECT stream, position, seq, packet_id, arrived, packet, ctid"
		" FROM spool.segment_0 WHERE packet_id = $1",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID)
	};
	MemoryContext context = CurrentMemoryContext;
	SpoolSpi	spi;
	Datum		values[1];
	bool		found;
	bool		null;

	values[0] = Int64GetDatum(packet_id);
	spool_spi_begin(&spi);
	found = spool_exec(&plan, values, NULL) > 0;
	if (found)
	{
		row->stream = DatumGetInt64(spool_field(0, 1, NULL));
		row->position = DatumGetInt64(spool_field(0, 2, NULL));
		row->seq = DatumGetInt64(spool_field(0, 3, NULL));
		row->packet_id = DatumGetInt64(spool_field(0, 4, NULL));
		row->arrived = DatumGetTimestampTz(spool_field(0, 5, &null));
		row->has_arrived = !null;
		row->packet = (struct varlena *)
			DatumGetPointer(spool_field_copy(0, 6, BYTEAOID, &null, context));
		row->tid = *(ItemPointer) DatumGetPointer(spool_field(0, 7, NULL));
	}
	spool_spi_end(&spi);
	return found || find_removed(packet_id, row);
}

/* Remove a stream's packets from a position to below another. */
void
spool_store_remove_range(int64 stream, int64 from, int64 below)
{
	static SpoolPlan plan = {
		"DELETE FROM spool.segment_0"
		" WHERE stream = $1 AND position >= $2 AND position < $3",
		SPI_OK_DELETE, PLAN_ARGS(INT8OID, INT8OID, INT8OID)
	};
	Datum		values[3];

	values[0] = Int64GetDatum(stream);
	values[1] = Int64GetDatum(from);
	values[2] = Int64GetDatum(below);
	(void) spool_exec_alone(&plan, values, NULL);
}

/*
 * Whether any packet of a queue waits, in the store or ahead of a cursor.
 * by_number: packets below the cursor are consumed.
 */
bool
spool_store_has_waiting(int32 queue, bool by_number)
{
	static SpoolPlan plan = {
		"SELECT FROM spool.stream s, LATERAL (SELECT st.next"
		"  FROM spool.state st WHERE st.consumer = 0 AND st.stream = s.id"
		"  ORDER BY st.version DESC LIMIT 1) st"
		" WHERE s.queue = $1 AND (EXISTS"
		"  (SELECT FROM spool.segment_0 p WHERE p.stream = s.id"
		"    AND (NOT $2 OR p.position >= st.next))"
		"  OR EXISTS (SELECT FROM spool.kept k WHERE k.stream = s.id"
		"    AND k.state IN ('ready', 'running')))"
		" LIMIT 1",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID, BOOLOID)
	};
	Datum		values[2];

	values[0] = Int32GetDatum(queue);
	values[1] = BoolGetDatum(by_number);
	return spool_exec_alone(&plan, values, NULL) > 0;
}

/*
 * Remove consumed packets and states that are not the newest, and let packets
 * be found by id.
 */
uint64
spool_store_purge(void)
{
	static SpoolPlan packets = {
		"DELETE FROM spool.segment_0 p USING"
		" (SELECT s.id, st.next FROM spool.stream s"
		"   JOIN spool.queue q ON q.id = s.queue, LATERAL"
		"   (SELECT st.next FROM spool.state st"
		"     WHERE st.consumer = 0 AND st.stream = s.id"
		"     ORDER BY st.version DESC LIMIT 1) st"
		"   WHERE q.order_by IN ('sequence', 'latest')) c"
		" WHERE p.stream = c.id AND p.position < c.next",
		SPI_OK_DELETE, PLAN_NO_ARGS
	};
	static SpoolPlan states = {
		"DELETE FROM spool.state old USING"
		" (SELECT consumer, stream, max(version) AS version FROM spool.state"
		"   GROUP BY consumer, stream) newest"
		" WHERE old.consumer = newest.consumer AND old.stream = newest.stream"
		"   AND old.version < newest.version",
		SPI_OK_DELETE, PLAN_NO_ARGS
	};
	static SpoolPlan summarize = {
		"SELECT pg_catalog.brin_summarize_new_values('spool."
		SEGMENT_ID_INDEX "')",
		SPI_OK_SELECT, PLAN_NO_ARGS
	};
	uint64		rows = spool_exec_alone(&packets, NULL, NULL);

	(void) spool_exec_alone(&states, NULL, NULL);
	(void) spool_exec_alone(&summarize, NULL, NULL);
	return rows;
}

/* The first state of a new stream. */
void
spool_state_init(SpoolState *state, int64 stream)
{
	memset(state, 0, sizeof(SpoolState));
	state->stream = stream;
	state->next = 1;
	state->high = 0;
	state->low = PG_INT64_MIN;
}

/*
 * Read the newest state of a stream; strings are allocated in the current
 * context.  False if there is none.
 *
 * It is looked for from the version that this backend saw last, because a
 * look reads all index entries of its range on the page where it ends.
 * Nothing depends on the version remembered: if there is none from there on,
 * as after a rollback, the look is made from the first.
 */
bool
spool_state_newest(int64 stream, SpoolState *state)
{
	static struct
	{
		int64		stream;
		int64		version;
	}			seen[256];
	int			place = (int) (stream % lengthof(seen));
	bool		hint = seen[place].stream == stream;
	Relation	heap = table_open(spool_relation_oid("state"),
								  AccessShareLock);
	Relation	index = index_open(spool_relation_oid("state_pkey"),
								   AccessShareLock);
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyData keys[3];
	IndexScanDesc desc;
	bool		found;

	ScanKeyInit(&keys[0], STATE_CONSUMER, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(SPOOL_CONSUMER));
	ScanKeyInit(&keys[1], STATE_STREAM, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(stream));
	ScanKeyInit(&keys[2], STATE_VERSION, BTGreaterEqualStrategyNumber,
				F_INT8GE,
				Int64GetDatum(hint ? seen[place].version : PG_INT64_MIN));
	desc = compat_index_beginscan(heap, index, snapshot, 3);
	index_rescan(desc, keys, 3, NULL, 0);
	found = index_getnext_slot(desc, BackwardScanDirection, slot);
	if (!found && hint)
	{
		keys[2].sk_argument = Int64GetDatum(PG_INT64_MIN);
		index_rescan(desc, keys, 3, NULL, 0);
		found = index_getnext_slot(desc, BackwardScanDirection, slot);
	}
	if (found)
	{
		Datum	   *values;
		bool	   *nulls;

		slot_getallattrs(slot);
		values = slot->tts_values - 1;
		nulls = slot->tts_isnull - 1;
		state->writer = slot_writer(slot);
		state->stream = stream;
		state->version = DatumGetInt64(values[STATE_VERSION]);
		state->next = DatumGetInt64(values[STATE_NEXT]);
		state->high = DatumGetInt64(values[STATE_HIGH]);
		state->low = DatumGetInt64(values[STATE_LOW]);
		state->looked = DatumGetTimestampTz(values[STATE_LOOKED]);
		state->ahead = DatumGetInt32(values[STATE_AHEAD]);
		state->attempts = DatumGetInt32(values[STATE_ATTEMPTS]);
		state->attempt_packet = DatumGetInt64(values[STATE_ATTEMPT_PACKET]);
		state->runner = DatumGetInt64(values[STATE_RUNNER]);
		state->run_packet = DatumGetInt64(values[STATE_RUN_PACKET]);
		state->run_last = DatumGetInt64(values[STATE_RUN_LAST]);
		state->run_jobs = DatumGetInt32(values[STATE_RUN_JOBS]);
		state->solo = DatumGetInt32(values[STATE_SOLO]);
		state->since = DatumGetTimestampTz(values[STATE_SINCE]);
		state->failure = text_or_null(values[STATE_FAILURE],
									  nulls[STATE_FAILURE]);
		state->paused = text_or_null(values[STATE_PAUSED],
									 nulls[STATE_PAUSED]);
		seen[place].stream = stream;
		seen[place].version = state->version;
	}
	index_endscan(desc);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, NoLock);
	table_close(heap, NoLock);
	return found;
}

/*
 * For who consumes: 40001 if the transaction's own snapshot does not see the
 * state.
 */
void
spool_state_check_snapshot(const SpoolState *state)
{
	if (IsolationUsesXactSnapshot() &&
		TransactionIdIsNormal(state->writer) &&
		!TransactionIdIsCurrentTransactionId(state->writer) &&
		XidInMVCCSnapshot(state->writer, GetTransactionSnapshot()))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent consumption of the stream"),
				 errhint("Retry the transaction.")));
}

/* Who inserted the row in a slot; frozen if long ago. */
static TransactionId
slot_writer(TupleTableSlot *slot)
{
	bool		should_free;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);
	TransactionId writer = HeapTupleHeaderGetXmin(tuple->t_data);

	if (should_free)
		heap_freetuple(tuple);
	return writer;
}

static char *
text_or_null(Datum value, bool null)
{
	return null ? NULL : TextDatumGetCString(value);
}

/*
 * Append a state as the newest one.  The caller holds the stream's lock and
 * read the state it derives from under it.
 */
void
spool_state_append(SpoolState *state)
{
	SpoolWriter writer;
	TupleTableSlot *slot;
	Datum	   *values;

	writer_open(&writer, "state");
	slot = writer_slot(&writer);
	ExecClearTuple(slot);
	state->version++;
	state->since = GetCurrentTimestamp();
	values = slot->tts_values - 1;
	memset(slot->tts_isnull, 0, STATE_COLUMNS * sizeof(bool));
	values[STATE_CONSUMER] = Int32GetDatum(SPOOL_CONSUMER);
	values[STATE_STREAM] = Int64GetDatum(state->stream);
	values[STATE_VERSION] = Int64GetDatum(state->version);
	values[STATE_NEXT] = Int64GetDatum(state->next);
	values[STATE_HIGH] = Int64GetDatum(state->high);
	values[STATE_LOW] = Int64GetDatum(state->low);
	values[STATE_LOOKED] = TimestampTzGetDatum(state->looked);
	values[STATE_AHEAD] = Int32GetDatum(state->ahead);
	values[STATE_ATTEMPTS] = Int32GetDatum(state->attempts);
	values[STATE_ATTEMPT_PACKET] = Int64GetDatum(state->attempt_packet);
	values[STATE_RUNNER] = Int64GetDatum(state->runner);
	values[STATE_RUN_PACKET] = Int64GetDatum(state->run_packet);
	values[STATE_RUN_LAST] = Int64GetDatum(state->run_last);
	values[STATE_RUN_JOBS] = Int32GetDatum(state->run_jobs);
	values[STATE_SOLO] = Int32GetDatum(state->solo);
	values[STATE_SINCE] = TimestampTzGetDatum(state->since);
	slot->tts_isnull[STATE_FAILURE - 1] = state->failure == NULL;
	if (state->failure)
		values[STATE_FAILURE] = CStringGetTextDatum(state->failure);
	slot->tts_isnull[STATE_PAUSED - 1] = state->paused == NULL;
	if (state->paused)
		values[STATE_PAUSED] = CStringGetTextDatum(state->paused);
	ExecStoreVirtualTuple(slot);

	table_tuple_insert(writer.rel, slot, GetCurrentCommandId(true), 0, NULL);
	(void) compat_insert_index_tuples(writer.result, slot, writer.estate);
	ExecDropSingleTupleTableSlot(slot);
	writer_close(&writer);
}
