/*-------------------------------------------------------------------------
 * kept.c
 *	  Packets set aside: done, left, dead, or ahead of their stream's cursor.
 *
 * spool.kept is an ordinary table.  A packet is copied to it in the transaction
 * that consumes it or moves the cursor past it; from then on the copy in the
 * store means nothing.  All but spool_kept_purge are called under the lock of
 * the packet's stream, or (for a queue without order) by the one who locked
 * the packet; adding a late packet needs no lock.
 *
 * Packets of a queue without order pass through here when somebody else than
 * the transaction runs them, so they are added by writer.c and forgotten by
 * one statement, a batch at a time.  Measured on 15, us of CPU a job that a
 * worker dispatches and settles: 22, by two statements a job 39.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "kept.h"
#include "spiutil.h"
#include "spool.h"
#include "writer.h"

/* Columns of spool.kept. */
enum
{
	KEPT_PACKET_ID = 1, KEPT_STREAM, KEPT_SEQ, KEPT_STATE, KEPT_REASON,
	KEPT_SQLSTATE, KEPT_MESSAGE, KEPT_ATTEMPTS, KEPT_RUNNER, KEPT_SINCE,
	KEPT_DUE, KEPT_ROLE, KEPT_APPLICATION, KEPT_ARRIVED, KEPT_PACKET
};

/* The first column of the index of those ahead of a cursor. */
#define AHEAD_STREAM 1

static Datum text_datum(const char *string, char *null);
static Datum time_datum(TimestampTz time, char *null);
static void fill_row(Datum *values, bool *nulls, const SpoolRow *row,
					 const SpoolKept *kept, TimestampTz since);
static void row_from_result(SpoolRow *row, uint64 n, MemoryContext context);

static Datum
text_datum(const char *string, char *null)
{
	*null = string ? ' ' : 'n';
	return string ? CStringGetTextDatum(string) : (Datum) 0;
}

static Datum
time_datum(TimestampTz time, char *null)
{
	*null = time != 0 ? ' ' : 'n';
	return TimestampTzGetDatum(time);
}

/* Whether two stored packets are the same bytes. */
bool
spool_same_packet(struct varlena *a, struct varlena *b)
{
	struct varlena *x;
	struct varlena *y;
	bool		same;

	if (toast_raw_datum_size(PointerGetDatum(a)) !=
		toast_raw_datum_size(PointerGetDatum(b)))
		return false;
	x = (struct varlena *) PG_DETOAST_DATUM_PACKED(PointerGetDatum(a));
	y = (struct varlena *) PG_DETOAST_DATUM_PACKED(PointerGetDatum(b));
	same = memcmp(VARDATA_ANY(x), VARDATA_ANY(y), VARSIZE_ANY_EXHDR(x)) == 0;
	if (x != a)
		pfree(x);
	if (y != b)
		pfree(y);
	return same;
}

/* Fill the columns of a packet that is set aside; both arrays count from 1. */
static void
fill_row(Datum *values, bool *nulls, const SpoolRow *row,
		 const SpoolKept *kept, TimestampTz since)
{
#define PUT(column, known, value) \
	(nulls[column] = !(known), values[column] = (known) ? (value) : (Datum) 0)
#define PUT_TEXT(column, string) \
	PUT(column, (string) != NULL, CStringGetTextDatum(string))

	values[KEPT_PACKET_ID] = Int64GetDatum(row->packet_id);
	values[KEPT_STREAM] = Int64GetDatum(row->stream);
	values[KEPT_SEQ] = Int64GetDatum(row->seq);
	values[KEPT_STATE] = CStringGetTextDatum(kept->state);
	PUT_TEXT(KEPT_REASON, kept->reason);
	PUT_TEXT(KEPT_SQLSTATE, kept->sqlstate);
	PUT_TEXT(KEPT_MESSAGE, kept->message);
	values[KEPT_ATTEMPTS] = Int32GetDatum(kept->attempts);
	values[KEPT_RUNNER] = Int64GetDatum(kept->runner);
	values[KEPT_SINCE] = TimestampTzGetDatum(since);
	PUT(KEPT_DUE, kept->due != 0, TimestampTzGetDatum(kept->due));
	PUT_TEXT(KEPT_ROLE, kept->role);
	PUT_TEXT(KEPT_APPLICATION, kept->application);
	PUT(KEPT_ARRIVED, row->has_arrived, TimestampTzGetDatum(row->arrived));
	values[KEPT_PACKET] = PointerGetDatum(row->packet);
#undef PUT_TEXT
#undef PUT
}

/*
 * Set packets aside, each as what kept says of it.  Each gets a later time
 * than the one before, which tells their order.
 */
void
spool_kept_append(const SpoolRow *const *rows, const SpoolKept *kept, int n)
{
	TimestampTz since = 0;
	SpoolWriter writer;

	if (n == 0)
		return;
	spool_writer_open(&writer, spool_relation_oid("kept"), n);
	for (int i = 0; i < n; i++)
	{
		bool	   *nulls;
		Datum	   *values = spool_writer_row(&writer, &nulls);

		since = Max(GetCurrentTimestamp(), since + 1);
		fill_row(values - 1, nulls - 1, rows[i], &kept[i], since);
	}
	spool_writer_close(&writer);
}

/* The same for one. */
void
spool_kept_add(const SpoolRow *row, const SpoolKept *kept)
{
	spool_kept_append(&row, kept, 1);
}

/*
 * Set a stream's packets aside, from a position to below another; returns how
 * many.
 */
int64
spool_kept_add_range(int64 stream, int64 from, int64 below, const char *state,
					 const char *reason)
{
	MemoryContext context;
	MemoryContext old;
	SpoolKept	kept[SPOOL_WRITER_ROWS];
	SpoolRow	rows[SPOOL_WRITER_ROWS];
	const SpoolRow *places[SPOOL_WRITER_ROWS];
	SpoolScan	scan;
	int64		count = 0;
	int			n;

	if (from >= below)
		return 0;
	memset(kept, 0, sizeof(kept));
	for (int i = 0; i < SPOOL_WRITER_ROWS; i++)
	{
		kept[i].state = state;
		kept[i].reason = reason;
		places[i] = &rows[i];
	}
	context = AllocSetContextCreate(CurrentMemoryContext, "spool kept",
									ALLOCSET_DEFAULT_SIZES);
	spool_store_scan_range(&scan, stream, from, below - 1,
						   ForwardScanDirection);
	do
	{
		for (n = 0; n < SPOOL_WRITER_ROWS &&
			 spool_store_scan_next(&scan, &rows[n]); n++)
		{
			/* not the scan: it goes on when this memory is gone */
			old = MemoryContextSwitchTo(context);
			spool_row_copy(&rows[n]);
			MemoryContextSwitchTo(old);
		}
		spool_kept_append(places, kept, n);
		count += n;
		MemoryContextReset(context);
	} while (n == SPOOL_WRITER_ROWS);
	spool_store_scan_end(&scan);
	MemoryContextDelete(context);
	return count;
}

/* The id of a kept packet of this number with the same bytes, or 0. */
int64
spool_kept_same(int64 stream, int64 seq, struct varlena *packet)
{
	static SpoolPlan plan = {
		"SELECT packet_id, packet FROM spool.kept"
		" WHERE stream = $1 AND seq = $2",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID, INT8OID)
	};
	SpoolSpi	spi;
	Datum		values[2];
	int64		found = 0;
	uint64		rows;

	values[0] = Int64GetDatum(stream);
	values[1] = Int64GetDatum(seq);
	spool_spi_begin(&spi);
	rows = spool_exec(&plan, values, NULL);
	for (uint64 i = 0; i < rows && found == 0; i++)
		if (spool_same_packet((struct varlena *)
							  DatumGetPointer(spool_field(i, 2, NULL)),
							  packet))
			found = DatumGetInt64(spool_field(i, 1, NULL));
	spool_spi_end(&spi);
	return found;
}

/* A row of a result with packet_id, stream, seq, arrived, packet. */
static void
row_from_result(SpoolRow *row, uint64 n, MemoryContext context)
{
	bool		null;

	memset(row, 0, sizeof(SpoolRow));
	row->packet_id = DatumGetInt64(spool_field(n, 1, NULL));
	row->stream = DatumGetInt64(spool_field(n, 2, NULL));
	row->seq = DatumGetInt64(spool_field(n, 3, NULL));
	row->arrived = DatumGetTimestampTz(spool_field(n, 4, &null));
	row->has_arrived = !null;
	row->packet = (struct varlena *)
		DatumGetPointer(spool_field_copy(n, 5, BYTEAOID, &null, context));
}

/* Whether any packet of a stream is ready or running ahead of its cursor. */
bool
spool_kept_has_ahead(int64 stream)
{
	Relation	heap = table_open(spool_relation_oid("kept"), AccessShareLock);
	Relation	index = index_open(spool_relation_oid("kept_ahead"),
								   AccessShareLock);
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	Snapshot	snapshot = RegisterSnapshot(spool_newest_snapshot());
	ScanKeyData key;
	IndexScanDesc desc;
	bool		found;

	ScanKeyInit(&key, AHEAD_STREAM, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(stream));
	desc = compat_index_beginscan(heap, index, snapshot, 1);
	index_rescan(desc, &key, 1, NULL, 0);
	found = index_getnext_slot(desc, ForwardScanDirection, slot);
	index_endscan(desc);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, NoLock);
	table_close(heap, NoLock);
	return found;
}

/*
 * The packets that are to be handed out ahead of a stream's cursor, in order
 * of their numbers after a given one, at most limit, unless they changed after
 * until or are due after due; attempts gets their failed attempts.  lock: lock
 * them, and skip those that another transaction holds.
 */
int
spool_kept_ahead(int64 stream, int64 after_seq, int64 after_id, int limit,
				 TimestampTz until, TimestampTz due, SpoolRow *rows,
				 int32 *attempts, bool lock)
{
#define AHEAD_QUERY \
	"SELECT packet_id, stream, seq, arrived, packet, attempts" \
	" FROM spool.kept WHERE stream = $1 AND state = 'ready'" \
	" AND state IN ('ready', 'running') AND since <= $3" \
	" AND (due IS NULL OR due <= $6) AND (seq, packet_id) > ($4, $5) ORDER BY seq, packet_id LIMIT $2"
	static SpoolPlan look = {
		AHEAD_QUERY,
		SPI_OK_SELECT,
		PLAN_ARGS(INT8OID, INT4OID, TIMESTAMPTZOID, INT8OID, INT8OID,
				  TIMESTAMPTZOID)
	};
	static SpoolPlan take = {
		AHEAD_QUERY " FOR UPDATE SKIP LOCKED",
		SPI_OK_SELECT,
		PLAN_ARGS(INT8OID, INT4OID, TIMESTAMPTZOID, INT8OID, INT8OID,
				  TIMESTAMPTZOID)
	};
	MemoryContext context = CurrentMemoryContext;
	SpoolSpi	spi;
	Datum		values[6];
	uint64		found;

	values[0] = Int64GetDatum(stream);
	values[1] = Int32GetDatum(limit);
	values[2] = TimestampTzGetDatum(until);
	values[3] = Int64GetDatum(after_seq);
	values[4] = Int64GetDatum(after_id);
	values[5] = TimestampTzGetDatum(due);
	spool_spi_begin(&spi);
	found = spool_exec(lock ? &take : &look, values, NULL);
	for (uint64 i = 0; i < found; i++)
	{
		row_from_result(&rows[i], i, context);
		attempts[i] = DatumGetInt32(spool_field(i, 6, NULL));
	}
	spool_spi_end(&spi);
	return (int) found;
}

/*
 * When a packet of a queue without order that was tried before may be handed
 * out: in the past if one may now, DT_NOEND if there is none.
 */
TimestampTz
spool_kept_next_due(int64 stream)
{
	static SpoolPlan plan = {
		"SELECT COALESCE(min(CASE state WHEN 'ready'"
		"  THEN COALESCE(due, '-infinity') ELSE due END), 'infinity')"
		" FROM spool.kept WHERE stream = $1 AND state IN ('ready', 'running')",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID)
	};
	SpoolSpi	spi;
	Datum		values[1];
	TimestampTz due;

	values[0] = Int64GetDatum(stream);
	spool_spi_begin(&spi);
	(void) spool_exec(&plan, values, NULL);
	due = DatumGetTimestampTz(spool_field(0, 1, NULL));
	spool_spi_end(&spi);
	return due;
}

/* Change what a kept packet is. */
void
spool_kept_set(int64 packet_id, const SpoolKept *kept)
{
	static SpoolPlan plan = {
		"UPDATE spool.kept SET state = $2, reason = $3, sqlstate = $4,"
		" message = $5, attempts = $6, runner = $7, due = $8, role = $9,"
		" application = $10, since = clock_timestamp() WHERE packet_id = $1",
		SPI_OK_UPDATE,
		PLAN_ARGS(INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID,
				  INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID)
	};
	Datum		values[10];
	char		nulls[10];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(packet_id);
	values[1] = text_datum(kept->state, &nulls[1]);
	values[2] = text_datum(kept->reason, &nulls[2]);
	values[3] = text_datum(kept->sqlstate, &nulls[3]);
	values[4] = text_datum(kept->message, &nulls[4]);
	values[5] = Int32GetDatum(kept->attempts);
	values[6] = Int64GetDatum(kept->runner);
	values[7] = time_datum(kept->due, &nulls[7]);
	values[8] = text_datum(kept->role, &nulls[8]);
	values[9] = text_datum(kept->application, &nulls[9]);
	(void) spool_exec_alone(&plan, values, nulls);
}

/* Forget kept packets. */
void
spool_kept_remove(const int64 *ids, int n)
{
	static SpoolPlan plan = {
		"DELETE FROM spool.kept WHERE packet_id = ANY ($1)",
		SPI_OK_DELETE, PLAN_ARGS(INT8ARRAYOID)
	};
	Datum	   *elements;
	Datum		values[1];

	if (n == 0)
		return;
	elements = palloc(n * sizeof(Datum));
	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(ids[i]);
	values[0] = PointerGetDatum(construct_array(elements, n, INT8OID, 8,
												FLOAT8PASSBYVAL,
												TYPALIGN_DOUBLE));
	(void) spool_exec_alone(&plan, values, NULL);
	pfree(DatumGetPointer(values[0]));
	pfree(elements);
}

/* A kept packet by its id. */
bool
spool_kept_by_id(int64 packet_id, SpoolRow *row, char **state)
{
	static SpoolPlan plan = {
		"SELECT packet_id, stream, seq, arrived, packet, state"
		" FROM spool.kept WHERE packet_id = $1",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID)
	};
	MemoryContext context = CurrentMemoryContext;
	SpoolSpi	spi;
	Datum		values[1];
	bool		found;

	values[0] = Int64GetDatum(packet_id);
	spool_spi_begin(&spi);
	found = spool_exec(&plan, values, NULL) == 1;
	if (found)
	{
		row_from_result(row, 0, context);
		*state = MemoryContextStrdup(context,
									 TextDatumGetCString(spool_field(0, 6, NULL)));
	}
	spool_spi_end(&spi);
	return found;
}

/* Lock a kept packet, waiting for it, and read its state; false if gone. */
bool
spool_kept_lock(int64 packet_id, char **state)
{
	static SpoolPlan plan = {
		"SELECT state FROM spool.kept WHERE packet_id = $1 FOR UPDATE",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID)
	};
	MemoryContext context = CurrentMemoryContext;
	SpoolSpi	spi;
	Datum		values[1];
	bool		found;

	values[0] = Int64GetDatum(packet_id);
	spool_spi_begin(&spi);
	found = spool_exec(&plan, values, NULL) == 1;
	if (found)
		*state = MemoryContextStrdup(context,
									 TextDatumGetCString(spool_field(0, 1, NULL)));
	spool_spi_end(&spi);
	return found;
}

/*
 * Put retained packets of a stream back into the store, from a number to
 * below another, so that they are handed out again.  Late and discarded ones
 * stay where they are.  Returns how many.
 */
int
spool_kept_restore(int64 stream, int64 from, int64 below, int32 queue)
{
	static SpoolPlan plan = {
		"WITH back AS (DELETE FROM spool.kept k USING spool.queue q"
		"  WHERE q.id = $4 AND k.stream = $1 AND k.seq >= $2 AND k.seq < $3"
		"   AND (k.state IN ('dead', 'failed') AND k.reason NOT IN ('late', 'discarded')"
		"    OR k.state = 'done' AND k.since + q.retention > clock_timestamp())"
		"  RETURNING k.*)"
		" INSERT INTO spool.store"
		" (stream, position, seq, packet_id, arrived, segment, packet)"
		" SELECT stream, seq, seq, packet_id, arrived, 0, packet FROM back",
		SPI_OK_INSERT, PLAN_ARGS(INT8OID, INT8OID, INT8OID, INT4OID)
	};
	Datum		values[4];

	values[0] = Int64GetDatum(stream);
	values[1] = Int64GetDatum(from);
	values[2] = Int64GetDatum(below);
	values[3] = Int32GetDatum(queue);
	return (int) spool_exec_alone(&plan, values, NULL);
}

/* Whether any packet of a queue is kept. */
bool
spool_kept_any(int32 queue)
{
	static SpoolPlan plan = {
		"SELECT FROM spool.kept k JOIN spool.stream s ON s.id = k.stream"
		" WHERE s.queue = $1 LIMIT 1",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID)
	};
	Datum		values[1];

	values[0] = Int32GetDatum(queue);
	return spool_exec_alone(&plan, values, NULL) > 0;
}

/* Forget retained packets whose time is over, but those that others remove. */
uint64
spool_kept_purge(void)
{
	static SpoolPlan plan = {
		"DELETE FROM spool.kept WHERE ctid = ANY (ARRAY("
		"  SELECT k.ctid FROM spool.kept k JOIN spool.stream s ON s.id = k.stream"
		"   JOIN spool.queue q ON q.id = s.queue"
		"   WHERE k.state = 'done' AND k.since < clock_timestamp() - q.retention"
		"   FOR UPDATE OF k SKIP LOCKED))",
		SPI_OK_DELETE, PLAN_NO_ARGS
	};

	return spool_exec_alone(&plan, NULL, NULL);
}

/*
 * Packets of a queue without order that somebody dispatched, and who, those
 * of one runner together.
 */
int
spool_kept_running(int64 stream, SpoolOrphan **running)
{
	static SpoolPlan plan = {
		"SELECT packet_id, runner, due FROM spool.kept"
		" WHERE stream = $1 AND state = 'running'"
		" AND state IN ('ready', 'running') ORDER BY runner, packet_id",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID)
	};
	MemoryContext context = CurrentMemoryContext;
	SpoolSpi	spi;
	Datum		values[1];
	uint64		found;

	values[0] = Int64GetDatum(stream);
	spool_spi_begin(&spi);
	found = spool_exec(&plan, values, NULL);
	*running = MemoryContextAllocHuge(context,
									  (found + 1) * sizeof(SpoolOrphan));
	for (uint64 i = 0; i < found; i++)
	{
		SpoolOrphan *orphan = &(*running)[i];
		bool		null;

		orphan->packet_id = DatumGetInt64(spool_field(i, 1, NULL));
		orphan->runner = DatumGetInt64(spool_field(i, 2, NULL));
		orphan->due = DatumGetTimestampTz(spool_field(i, 3, &null));
		if (null)
			orphan->due = 0;
	}
	spool_spi_end(&spi);
	return (int) found;
}
