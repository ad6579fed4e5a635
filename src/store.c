/*-------------------------------------------------------------------------
 * store.c
 *	  How packets lie on disk; no other file knows.
 *
 * Packets are appended (writer.c) to the partitions of spool.store.  Nothing
 * is updated in place: consuming by number moves the cursor (state.c) and
 * leaves the packet, so a snapshot held elsewhere makes nothing slower.  One
 * index has (stream, position, seq); a BRIN index finds a packet by its id.
 *
 * Every read is made with the newest snapshot (snapshot.c), at every isolation
 * level.  Whoever decides by what it reads holds the stream's lock (stream.c).
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
#include "writer.h"

/* Columns of a segment. */
enum
{
	STORE_STREAM = 1, STORE_POSITION, STORE_SEQ, STORE_PACKET_ID,
	STORE_ARRIVED, STORE_SEGMENT, STORE_PACKET, STORE_COLUMNS = STORE_PACKET
};

/* The segment that packets are appended to. */
#define SEGMENT_NAME	"segment_0"
#define SEGMENT_INDEX	"segment_0_stream_position_seq_idx"
#define SEGMENT_ID_INDEX	"segment_0_packet_id_idx"
#define SEGMENT_NO		0

/* A packet that this transaction removed. */
typedef struct RemovedRow
{
	int64		packet_id;
	ItemPointerData tid;
	struct RemovedRow *next;
} RemovedRow;

static RemovedRow *removed = NULL;	/* in TopTransactionContext */
static LocalTransactionId removed_lxid = InvalidLocalTransactionId;

static int64 *place_of(int64 stream);
static void read_range(SpoolScan *scan, int64 from, int64 to);
static void fill_row(SpoolRow *row, TupleTableSlot *slot);
static void note_removed(const SpoolRow *row);
static bool find_removed(int64 packet_id, SpoolRow *row);

/* Append packets. */
void
spool_store_append(const SpoolRow *rows, int nrows)
{
	SpoolWriter writer;

	if (nrows == 0)
		return;
	spool_writer_open(&writer, SEGMENT_NAME, nrows);
	for (int i = 0; i < nrows; i++)
	{
		const SpoolRow *row = &rows[i];
		bool	   *nulls;
		Datum	   *values = spool_writer_row(&writer, &nulls) - 1;

		nulls--;
		values[STORE_STREAM] = Int64GetDatum(row->stream);
		values[STORE_POSITION] = Int64GetDatum(row->position);
		values[STORE_SEQ] = Int64GetDatum(row->seq);
		values[STORE_PACKET_ID] = Int64GetDatum(row->packet_id);
		values[STORE_ARRIVED] = TimestampTzGetDatum(row->arrived);
		nulls[STORE_ARRIVED] = !row->has_arrived;
		values[STORE_SEGMENT] = Int16GetDatum(SEGMENT_NO);
		values[STORE_PACKET] = PointerGetDatum(row->packet);
	}
	spool_writer_close(&writer);
}

/* Open the packets for scans with a snapshot that others read with, too. */
void
spool_store_open(SpoolScan *scan, SpoolSnapshot *newest)
{
	scan->newest = newest;
	scan->serial = 0;
	scan->heap = table_open(spool_relation_oid(SEGMENT_NAME), AccessShareLock);
	scan->index = index_open(spool_relation_oid(SEGMENT_INDEX),
							 AccessShareLock);
	scan->slot = table_slot_create(scan->heap, NULL);
	spool_snapshot_renew(newest);
	scan->desc = compat_index_beginscan(scan->heap, scan->index,
										newest->snapshot, 3);
}

void
spool_store_close(SpoolScan *scan)
{
	index_endscan(scan->desc);
	ExecDropSingleTupleTableSlot(scan->slot);
	index_close(scan->index, NoLock);
	table_close(scan->heap, NoLock);
}

/*
 * Scan a stream's packets from a position to another with the newest
 * snapshot, upwards or downwards.  want: so many from there upwards, one after
 * the other, are wanted, as far as is known; 0: it is not known.
 *
 * A scan that was just begun and asked for its first packet only begins again
 * without a look if nothing has changed since.
 */
void
spool_store_seek(SpoolScan *scan, int64 stream, int64 from, int64 to,
				 ScanDirection direction, int64 want)
{
	spool_snapshot_renew(scan->newest);
	if (scan->serial == scan->newest->serial && scan->asked <= 1 &&
		scan->stream == stream && scan->from == from && scan->to == to &&
		scan->direction == direction)
	{
		scan->again = scan->asked == 1 && !scan->done;
		scan->asked = 0;
		return;
	}
	scan->serial = scan->newest->serial;
	scan->stream = stream;
	scan->from = from;
	scan->to = to;
	scan->direction = direction;
	scan->done = false;
	scan->again = false;
	scan->asked = 0;
	if (want > 0 && want < to - from && *place_of(stream) == stream)
		read_range(scan, from, from + want);
	else
		read_range(scan, from, to);
}

/*
 * Where a stream is remembered that had more than one packet when this backend
 * scanned it last.  A scan reads at once all index entries of its range that
 * are on one page, so of such a stream no more are read at first than are
 * wanted.  Nothing else depends on it.
 */
static int64 *
place_of(int64 stream)
{
	static int64 deep[4096];

	return &deep[stream % lengthof(deep)];
}

/* Let a scan read a range of positions. */
static void
read_range(SpoolScan *scan, int64 from, int64 to)
{
	scan->bound = to;
	ScanKeyInit(&scan->keys[0], STORE_STREAM, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(scan->stream));
	ScanKeyInit(&scan->keys[1], STORE_POSITION, BTGreaterEqualStrategyNumber,
				F_INT8GE, Int64GetDatum(from));
	ScanKeyInit(&scan->keys[2], STORE_POSITION, BTLessEqualStrategyNumber,
				F_INT8LE, Int64GetDatum(to));
	scan->desc->xs_snapshot = scan->newest->snapshot;
	index_rescan(scan->desc, scan->keys, 3, NULL, 0);
}

/*
 * The next packet of a scan.  row->packet points into the scan and holds
 * until the next call.
 */
bool
spool_store_scan_next(SpoolScan *scan, SpoolRow *row)
{
	Assert(scan->serial == scan->newest->serial);
	scan->asked++;
	while (!scan->again && !scan->done &&
		   !index_getnext_slot(scan->desc, scan->direction, scan->slot))
	{
		if (scan->bound == scan->to)
			scan->done = true;
		else
			read_range(scan, scan->bound + 1, scan->to);
	}
	scan->again = false;
	if (scan->asked == 2)
		*place_of(scan->stream) = scan->done ? 0 : scan->stream;
	if (scan->done)
		return false;
	fill_row(row, scan->slot);
	return true;
}

/*
 * Open the packets and scan a stream's from a position upwards, or downwards
 * to it.
 */
void
spool_store_scan_begin(SpoolScan *scan, int64 stream, int64 from,
					   ScanDirection direction)
{
	spool_store_scan_range(scan, stream, from, PG_INT64_MAX, direction);
}

/* The same up to a position. */
void
spool_store_scan_range(SpoolScan *scan, int64 stream, int64 from, int64 to,
					   ScanDirection direction)
{
	memset(&scan->own, 0, sizeof(scan->own));
	spool_store_open(scan, &scan->own);
	spool_store_seek(scan, stream, from, to, direction, 0);
}

void
spool_store_scan_end(SpoolScan *scan)
{
	spool_store_close(scan);
	spool_snapshot_end(&scan->own);
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

	result = table_tuple_lock(scan->heap, &tid, scan->newest->snapshot, slot,
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
			fill_row(row, slot);

		/* after a rollback to a savepoint another packet may lie there */
		if (!TTS_EMPTY(slot) && row->packet_id == packet_id)
		{
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

/* How many packets of a stream lie from a position to below another. */
int64
spool_store_count(int64 stream, int64 from, int64 below)
{
	SpoolScan	scan;
	SpoolRow	row;
	int64		count = 0;

	if (from >= below)
		return 0;
	spool_store_scan_range(&scan, stream, from, below - 1,
						   ForwardScanDirection);
	while (spool_store_scan_next(&scan, &row))
		count++;
	spool_store_scan_end(&scan);
	return count;
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
