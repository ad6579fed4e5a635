/*-------------------------------------------------------------------------
 * stat_segment.c
 *	  Monitoring of segments: what they take, what waits in them, who holds
 *	  them.
 *
 * spool.segment_rows is behind the view segments.  Packets are counted as in
 * stat.c, in each segment alone, of all queues: it tells no names and checks
 * no rights but EXECUTE.
 *
 * Who holds a lock is found before a segment is opened: if that is the session
 * itself, then by what it did before.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "segment.h"
#include "spiutil.h"
#include "spool.h"
#include "stat.h"

/* Columns of segment_rows. */
enum
{
	ROW_NO, ROW_BYTES, ROW_LIVE, ROW_OLDEST, ROW_HELD_BY, ROW_COLUMNS
};

/* What is found of a segment. */
typedef struct SegmentStat
{
	List	   *tables;			/* oids, those for overflowing columns too */
	List	   *holders;		/* pids; 0 = a prepared transaction */
	int64		live;
	TimestampTz oldest;			/* 0 = nothing waits */
} SegmentStat;

PG_FUNCTION_INFO_V1(spool_segment_rows);

static List *tables_of(int segment);
static void find_holders(SegmentStat *segments);
static void visit_stream(SpoolLook *look, SpoolStreamStat *stat, void *arg);
static List *queue_names(void);
static void count_live(SegmentStat *segments);
static void put_row(ReturnSetInfo *rsinfo, int no, const SegmentStat *segment);

/* The tables of a segment. */
static List *
tables_of(int segment)
{
	List	   *tables = NIL;

	for (SpoolIndex which = 0; which < NUM_SPOOL_TABLES; which++)
	{
		Oid			relid = spool_segment_heap(which, segment);
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
		Oid			toast;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for relation %u", relid);
		toast = ((Form_pg_class) GETSTRUCT(tuple))->reltoastrelid;
		ReleaseSysCache(tuple);
		tables = lappend_oid(tables, relid);
		if (OidIsValid(toast))
			tables = lappend_oid(tables, toast);
	}
	return tables;
}

/* Who holds a lock of a segment's tables. */
static void
find_holders(SegmentStat *segments)
{
	LockData   *locks;

	for (int i = 0; i < SPOOL_SEGMENTS; i++)
		segments[i].tables = tables_of(i);
	locks = GetLockStatusData();
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];
		const LOCKTAG *tag = &lock->locktag;

		if (tag->locktag_type != LOCKTAG_RELATION || lock->holdMask == 0 ||
			tag->locktag_field1 != MyDatabaseId)
			continue;
		for (int j = 0; j < SPOOL_SEGMENTS; j++)
			if (list_member_oid(segments[j].tables, tag->locktag_field2))
				segments[j].holders =
					list_append_unique_int(segments[j].holders,
										   lock->leaderPid);
	}
}

/* Count what of a stream waits in each segment. */
static void
visit_stream(SpoolLook *look, SpoolStreamStat *stat, void *arg)
{
	SegmentStat *segments = arg;

	for (int i = 0; i < SPOOL_SEGMENTS; i++)
	{
		SpoolStreamStat part = *stat;

		spool_stat_count(look, &part, i);
		segments[i].live += part.stored;
		if (part.has_head &&
			(segments[i].oldest == 0 || part.head.arrived < segments[i].oldest))
			segments[i].oldest = part.head.arrived;
	}
}

static List *
queue_names(void)
{
	static SpoolPlan plan = {
		"SELECT name FROM spool.queue ORDER BY id",
		SPI_OK_SELECT, PLAN_NO_ARGS
	};
	MemoryContext context = CurrentMemoryContext;
	List	   *names = NIL;
	SpoolSpi	spi;
	uint64		found;

	spool_spi_begin(&spi);
	found = spool_exec(&plan, NULL, NULL);
	for (uint64 i = 0; i < found; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		names = lappend(names, TextDatumGetCString(spool_field(i, 1, NULL)));
		MemoryContextSwitchTo(old);
	}
	spool_spi_end(&spi);
	return names;
}

/* Count what waits, of all queues. */
static void
count_live(SegmentStat *segments)
{
	SpoolLook	look = {.budget = SPOOL_STAT_BUDGET};
	ListCell   *cell;

	foreach(cell, queue_names())
	{
		SpoolQueue *queue = spool_queue_lookup(lfirst(cell), true);

		if (queue == NULL)
			continue;
		look.queue = spool_queue_copy(queue);
		spool_stat_walk(&look, visit_stream, segments);
	}
}

/* Add a segment to the result. */
static void
put_row(ReturnSetInfo *rsinfo, int no, const SegmentStat *segment)
{
	int			nholders = list_length(segment->holders);
	Datum	   *holders = palloc(Max(nholders, 1) * sizeof(Datum));
	Datum		values[ROW_COLUMNS];
	bool		nulls[ROW_COLUMNS] = {false};

	for (int i = 0; i < nholders; i++)
		holders[i] = Int32GetDatum(list_nth_int(segment->holders, i));
	values[ROW_NO] = Int32GetDatum(no);
	values[ROW_BYTES] = Int64GetDatum(spool_segment_size(no));
	values[ROW_LIVE] = Int64GetDatum(segment->live);
	values[ROW_OLDEST] = TimestampTzGetDatum(segment->oldest);
	nulls[ROW_OLDEST] = segment->oldest == 0;
	values[ROW_HELD_BY] =
		PointerGetDatum(construct_array(holders, nholders, INT4OID,
										sizeof(int32), true, TYPALIGN_INT));
	nulls[ROW_HELD_BY] = nholders == 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* segment_rows(): a row for each segment */
Datum
spool_segment_rows(PG_FUNCTION_ARGS)
{
	SegmentStat segments[SPOOL_SEGMENTS] = {0};

	InitMaterializedSRF(fcinfo, 0);
	find_holders(segments);
	spool_read_with(GetActiveSnapshot());
	PG_TRY();
	{
		count_live(segments);
	}
	PG_FINALLY();
	{
		spool_read_with(NULL);
	}
	PG_END_TRY();
	for (int i = 0; i < SPOOL_SEGMENTS; i++)
		put_row((ReturnSetInfo *) fcinfo->resultinfo, i, &segments[i]);
	return (Datum) 0;
}
