/*-------------------------------------------------------------------------
 * rotate.c
 *	  Rotation: segments are emptied as a whole.
 *
 * Consumed packets and states that are not the newest are removed by
 * truncating the segment that they lie in, so that no snapshot held elsewhere
 * makes them pile up.  A young segment goes this way (spool.segment):
 *
 *	current	 appended to, until it is large or, where most of it is consumed, a
 *			 day old; then an empty one becomes current.  If none is empty it
 *			 grows on.
 *	closed	 packets that still wait, the newest states and the newest counters
 *			 of senders (sender.c) are moved to the old segment; not while most
 *			 of it is still needed, unless there is no empty segment.  Who is
 *			 moved has its stream locked, as by a consumer; streams locked by
 *			 others are passed over and tried again.
 *	moved	 nothing in it is needed any more.
 *	empty	 truncated, at least a minute after the last move.
 *
 * Each step is a transaction of its own, and one session at a time makes them,
 * by a lock of spool.segment.  A crash leaves what the finished steps made.
 *
 * Truncation waits for nobody.  It first locks the segment against writers:
 * they hold their locks to the end of their transactions, so nothing is being
 * written.  It looks with the newest snapshot whether all was moved - who did
 * not know of the change of segments, or committed late, may have written.
 * Then it locks out readers, in the tables for overflowing columns too, whose
 * vacuum does not lock the main one.  Whoever holds a lock - a dump, an open
 * take, a prepared transaction - puts it off to the next upkeep and is shown
 * in spool.segments.  A reader opens all segments before it takes its snapshot;
 * a statement of our own that took it before finds what was moved a minute ago
 * in the old segment.
 *
 * The old segment is an ordinary table: what is consumed there is deleted.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "queue.h"
#include "rotate.h"
#include "segment.h"
#include "sender.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"

/* Streams and packets that one transaction moves at the most. */
#define MOVE_STREAMS	256
#define MOVE_PACKETS	5000

/* Streams that are looked at together. */
#define LOOK_STREAMS	1000

/* Pages that are read to estimate how much of a segment is needed. */
#define SAMPLE_PAGES	128

/* When a current segment that is not large is closed. */
#define MAX_AGE_HOURS	24

/* The newest state of stream s. */
#define NEWEST_STATE \
	" CROSS JOIN LATERAL (SELECT n.next, n.segment FROM spool.state n" \
	"  WHERE n.consumer = 0 AND n.stream = s.id" \
	"  ORDER BY n.version DESC LIMIT 1) st"

/* A position below which packets of stream s in queue q are consumed. */
#define CONSUMED_BELOW \
	"CASE WHEN q.order_by IN ('sequence', 'latest') THEN st.next" \
	" ELSE '-9223372036854775808'::int8 END"

typedef enum Stage
{
	STAGE_EMPTY, STAGE_CURRENT, STAGE_CLOSED, STAGE_MOVED
} Stage;

/* A young segment. */
typedef struct Segment
{
	int			no;
	Stage		stage;
	TimestampTz opened_at;
	TimestampTz moved_at;
	TimestampTz emptied_at;
} Segment;

/* A look through the streams of a segment. */
typedef struct Walk
{
	int			segment;
	bool		states;			/* at those with states, else with packets */
	int64		after;			/* streams looked at so far */
	bool		left;			/* something needed could not be moved */
} Walk;

static int	segment_size;		/* kB */
static Walk moving;				/* through the one that is being moved */

static int	read_segments(Segment *segments);
static void set_stage(const Segment *segment, Stage stage);
static BlockNumber pages_of(const Segment *segment, SpoolIndex which);
static bool mostly_needed(const Segment *segment);
static bool to_be_closed(const Segment *segment, bool now, bool *large);
static bool open_next(Segment *segments, int n, bool now, bool *full);
static int64 *needed_streams(Walk *walk, int *n, int64 *last);
static int	lock_streams(const int64 *streams, int n, Datum *locked);
static int64 move(const Walk *walk, Datum locked, int nlocked);
static bool move_some(Walk *walk);
static SpoolRotation move_segment(const Segment *segment);
static bool lock_parts(int segment, LOCKMODE mode, bool toast);
static bool anything_needed(int segment);
static SpoolRotation empty(const Segment *segment);

void
spool_rotate_init(void)
{
	DefineCustomIntVariable("spool.segment_size",
							"Sets the size from which on a segment of packets and states is closed and another one appended to.",
							"Consumed packets are removed with their segment.",
							&segment_size, 256 * 1024, 64, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
}

/* Read the young segments, in the order in which they were opened. */
static int
read_segments(Segment *segments)
{
	static SpoolPlan plan = {
		"SELECT no::int4, opened_at, closed_at, moved_at, emptied_at"
		" FROM spool.segment ORDER BY opened_at, no",
		SPI_OK_SELECT, PLAN_NO_ARGS
	};
	SpoolSpi	spi;
	int			n;

	spool_spi_begin(&spi);
	n = Min((int) spool_exec(&plan, NULL, NULL), SPOOL_SEGMENTS - 1);
	for (int i = 0; i < n; i++)
	{
		Segment    *segment = &segments[i];
		bool		opened;
		bool		closed;
		bool		moved;
		bool		null;

		segment->no = DatumGetInt32(spool_field(i, 1, NULL));
		segment->opened_at = DatumGetTimestampTz(spool_field(i, 2, &null));
		opened = !null;
		(void) spool_field(i, 3, &null);
		closed = !null;
		segment->moved_at = DatumGetTimestampTz(spool_field(i, 4, &null));
		moved = !null;
		segment->emptied_at = DatumGetTimestampTz(spool_field(i, 5, &null));
		if (null)
			segment->emptied_at = DT_NOBEGIN;
		segment->stage = !opened ? STAGE_EMPTY : !closed ? STAGE_CURRENT :
			!moved ? STAGE_CLOSED : STAGE_MOVED;
	}
	spool_spi_end(&spi);
	return n;
}

/* A segment comes to another stage. */
static void
set_stage(const Segment *segment, Stage stage)
{
	static SpoolPlan plan = {
		"UPDATE spool.segment SET"
		" opened_at = CASE WHEN $2 = 1 THEN clock_timestamp()"
		"  WHEN $2 > 1 THEN opened_at END,"
		" closed_at = CASE WHEN $2 = 2 THEN COALESCE(closed_at, clock_timestamp())"
		"  WHEN $2 = 3 THEN closed_at END,"
		" moved_at = CASE WHEN $2 = 3 THEN clock_timestamp() END,"
		" emptied_at = CASE WHEN $2 = 0 THEN clock_timestamp() ELSE emptied_at END"
		" WHERE no = $1",
		SPI_OK_UPDATE, PLAN_ARGS(INT4OID, INT4OID)
	};
	Datum		values[2];

	values[0] = Int32GetDatum(segment->no);
	values[1] = Int32GetDatum(stage);
	(void) spool_exec_alone(&plan, values, NULL);
}

/* Pages of a table of a segment. */
static BlockNumber
pages_of(const Segment *segment, SpoolIndex which)
{
	Relation	heap = table_open(spool_segment_heap(which, segment->no),
								  AccessShareLock);
	BlockNumber pages = RelationGetNumberOfBlocks(heap);

	table_close(heap, NoLock);
	return pages;
}

/* Whether more than half of a segment are packets that wait, by a sample. */
static bool
mostly_needed(const Segment *segment)
{
	static SpoolPlan plan = {
		"SELECT COALESCE(sum(72 + LEAST(pg_column_size(p.packet), 2000))"
		"  FILTER (WHERE p.position >= " CONSUMED_BELOW "), 0)::int8"
		" FROM spool.store p TABLESAMPLE SYSTEM ($2)"
		" JOIN spool.stream s ON s.id = p.stream"
		" JOIN spool.queue q ON q.id = s.queue" NEWEST_STATE
		" WHERE p.segment = $1",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID, FLOAT4OID)
	};
	double		pages = pages_of(segment, INDEX_PACKETS);
	double		share = Min(1.0, SAMPLE_PAGES / Max(pages, 1.0));
	SpoolSpi	spi;
	Datum		values[2];
	int64		needed;

	values[0] = Int32GetDatum(segment->no);
	values[1] = Float4GetDatum((float4) (100 * share));
	spool_spi_begin(&spi);
	(void) spool_exec(&plan, values, NULL);
	needed = DatumGetInt64(spool_field(0, 1, NULL));
	spool_spi_end(&spi);
	return needed / share > pages * BLCKSZ / 2;
}

/* Whether a segment is to be closed, and if it is for its size. */
static bool
to_be_closed(const Segment *segment, bool now, bool *large)
{
	*large = spool_segment_size(segment->no) / 1024 >= segment_size;
	if (*large)
		return true;
	now |= TimestampDifferenceExceeds(segment->opened_at,
									  GetCurrentTimestamp(),
									  MAX_AGE_HOURS * SECS_PER_HOUR * 1000);
	return now && !mostly_needed(segment) &&
		pages_of(segment, INDEX_PACKETS) + pages_of(segment, INDEX_STATES) +
		pages_of(segment, INDEX_SENDERS) > 0;
}

/*
 * Open an empty segment if the current one is to be closed.  *full: it is
 * large and there is no other.
 */
static bool
open_next(Segment *segments, int n, bool now, bool *full)
{
	Segment    *current = NULL;
	Segment    *next = NULL;

	for (int i = 0; i < n; i++)
	{
		if (segments[i].stage == STAGE_CURRENT)
			current = &segments[i];
		else if (segments[i].stage == STAGE_EMPTY)
			next = &segments[i];
	}
	if (current == NULL)
		elog(ERROR, "there must be one current segment");
	if (!to_be_closed(current, now, full))
		return false;
	*full &= next == NULL;
	if (next == NULL)
		return false;
	set_stage(current, STAGE_CLOSED);
	set_stage(next, STAGE_CURRENT);
	spool_segment_changed();
	return true;
}

/*
 * The streams of a segment that something in it is still needed of, among the
 * next LOOK_STREAMS after those looked at; *last is the last one looked at, 0
 * at the end.
 */
static int64 *
needed_streams(Walk *walk, int *n, int64 *last)
{
	/* the index is read stream by stream, not row by row */
#define STREAMS_OF(table) \
	"WITH RECURSIVE walk(id) AS (" \
	" (SELECT stream FROM " table " WHERE segment = $1 AND stream > $2" \
	"  ORDER BY stream LIMIT 1)" \
	" UNION ALL SELECT (SELECT r.stream FROM " table " r" \
	"  WHERE r.segment = $1 AND r.stream > walk.id ORDER BY r.stream LIMIT 1)" \
	" FROM walk WHERE walk.id IS NOT NULL)" \
	" SELECT w.id, needed.id FROM" \
	" (SELECT id FROM walk WHERE id IS NOT NULL LIMIT $3) w"
	static SpoolPlan packets = {
		STREAMS_OF("spool.store")
		" LEFT JOIN LATERAL (SELECT s.id FROM spool.stream s"
		"  JOIN spool.queue q ON q.id = s.queue" NEWEST_STATE
		"  WHERE s.id = w.id AND EXISTS (SELECT FROM spool.store p"
		"   WHERE p.segment = $1 AND p.stream = s.id"
		"    AND p.position >= " CONSUMED_BELOW ")) needed ON true"
		" ORDER BY w.id",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID, INT8OID, INT4OID)
	};
	static SpoolPlan states = {
		STREAMS_OF("spool.state")
		" LEFT JOIN LATERAL (SELECT s.id FROM spool.stream s" NEWEST_STATE
		"  WHERE s.id = w.id AND st.segment = $1) needed ON true"
		" ORDER BY w.id",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID, INT8OID, INT4OID)
	};
	int64	   *streams = palloc(LOOK_STREAMS * sizeof(int64));
	SpoolSpi	spi;
	Datum		values[3];
	uint64		found;

	values[0] = Int32GetDatum(walk->segment);
	values[1] = Int64GetDatum(walk->after);
	values[2] = Int32GetDatum(LOOK_STREAMS);
	*n = 0;
	*last = 0;
	spool_spi_begin(&spi);
	found = spool_exec(walk->states ? &states : &packets, values, NULL);
	for (uint64 i = 0; i < found; i++)
	{
		bool		null;

		if (*n == MOVE_STREAMS)
			break;
		*last = DatumGetInt64(spool_field(i, 1, NULL));
		(void) spool_field(i, 2, &null);
		if (!null)
			streams[(*n)++] = *last;
	}
	spool_spi_end(&spi);
	return streams;
}

/* Lock streams that nobody else has; returns how many, and them as an array. */
static int
lock_streams(const int64 *streams, int n, Datum *locked)
{
	static SpoolPlan plan = {
		"SELECT id, queue FROM spool.stream WHERE id = ANY ($1)"
		" ORDER BY id FOR UPDATE SKIP LOCKED",
		SPI_OK_SELECT, PLAN_ARGS(INT8ARRAYOID)
	};
	Datum	   *ids = palloc(n * sizeof(Datum));
	SpoolSpi	spi;
	Datum		values[1];
	int			nlocked;

	for (int i = 0; i < n; i++)
		ids[i] = Int64GetDatum(streams[i]);
	values[0] = PointerGetDatum(construct_array(ids, n, INT8OID, 8,
												FLOAT8PASSBYVAL,
												TYPALIGN_DOUBLE));
	spool_spi_begin(&spi);
	nlocked = (int) spool_exec(&plan, values, NULL);
	for (int i = 0; i < nlocked; i++)
	{
		int64		id = DatumGetInt64(spool_field(i, 1, NULL));
		int32		queue = DatumGetInt32(spool_field(i, 2, NULL));

		/* who finds it locked, or a packet gone elsewhere, looks again */
		spool_hint_holds(queue, id, GetCurrentTransactionStartTimestamp());
		ids[i] = Int64GetDatum(id);
	}
	spool_spi_end(&spi);
	*locked = PointerGetDatum(construct_array(ids, nlocked, INT8OID, 8,
											  FLOAT8PASSBYVAL,
											  TYPALIGN_DOUBLE));
	return nlocked;
}

/*
 * Move what is needed of locked streams to the old segment; returns how many
 * rows.  In a queue without order packets are locked one by one.
 */
static int64
move(const Walk *walk, Datum locked, int nlocked)
{
	static SpoolPlan packets = {
		"UPDATE spool.store SET segment = 0 WHERE segment = $1"
		" AND ctid = ANY (ARRAY(SELECT p.ctid FROM spool.stream s"
		"  JOIN spool.queue q ON q.id = s.queue" NEWEST_STATE
		"  CROSS JOIN LATERAL (SELECT p.ctid FROM spool.store p"
		"   WHERE p.segment = $1 AND p.stream = s.id"
		"    AND p.position >= " CONSUMED_BELOW
		"   ORDER BY p.position LIMIT $3 FOR UPDATE SKIP LOCKED) p"
		"  WHERE s.id = ANY ($2)))",
		SPI_OK_UPDATE, PLAN_ARGS(INT4OID, INT8ARRAYOID, INT4OID)
	};
	static SpoolPlan states = {
		"UPDATE spool.state SET segment = 0 WHERE segment = $1"
		" AND ctid = ANY (ARRAY(SELECT st.ctid FROM spool.stream s"
		"  CROSS JOIN LATERAL (SELECT n.ctid, n.segment FROM spool.state n"
		"   WHERE n.consumer = 0 AND n.stream = s.id"
		"   ORDER BY n.version DESC LIMIT 1) st"
		"  WHERE s.id = ANY ($2) AND st.segment = $1 LIMIT $3))",
		SPI_OK_UPDATE, PLAN_ARGS(INT4OID, INT8ARRAYOID, INT4OID)
	};
	Datum		values[3];

	values[0] = Int32GetDatum(walk->segment);
	values[1] = locked;
	/* of packets, so many of each stream */
	values[2] = Int32GetDatum(walk->states ? MOVE_PACKETS :
							  Max(MOVE_PACKETS / nlocked, 1));
	return (int64) spool_exec_alone(walk->states ? &states : &packets, values,
									NULL);
}

/* Go on with a walk, and move something if it is met; false at the end. */
static bool
move_some(Walk *walk)
{
	int64		last;
	int			n;
	int64	   *streams = needed_streams(walk, &n, &last);

	if (n > 0)
	{
		Datum		locked;
		int			nlocked = lock_streams(streams, n, &locked);

		if (nlocked > 0 && move(walk, locked, nlocked) > 0)
			return true;		/* there may be more of these */
		walk->left = true;
	}
	walk->after = last;
	return last != 0;
}

/* Make a step of moving what is needed out of a closed segment. */
static SpoolRotation
move_segment(const Segment *segment)
{
	if (moving.segment != segment->no)
		memset(&moving, 0, sizeof(moving));
	moving.segment = segment->no;
	if (move_some(&moving))
		return ROTATION_MORE;
	if (!moving.states)
	{
		moving.states = true;
		moving.after = 0;
		return ROTATION_MORE;
	}
	if (spool_senders_move(segment->no, MOVE_PACKETS) > 0)
		return ROTATION_MORE;
	moving.segment = SPOOL_OLD_SEGMENT;	/* the next one begins anew */
	if (!moving.left)
		set_stage(segment, STAGE_MOVED);
	return ROTATION_LATER;
}

/* Lock a segment's tables, or those for overflowing columns, without waiting. */
static bool
lock_parts(int segment, LOCKMODE mode, bool toast)
{
	for (SpoolIndex which = 0; which < NUM_SPOOL_TABLES; which++)
	{
		Oid			relid = spool_segment_heap(which, segment);

		if (toast)
		{
			Relation	heap = table_open(relid, NoLock);

			relid = heap->rd_rel->reltoastrelid;
			table_close(heap, NoLock);
		}
		if (OidIsValid(relid) && !ConditionalLockRelationOid(relid, mode))
			return false;
	}
	return true;
}

/* Whether anything in a segment is needed. */
static bool
anything_needed(int segment)
{
	for (int states = 0; states <= 1; states++)
	{
		Walk		walk = {.segment = segment,.states = states == 1};
		int			n;

		do
		{
			CHECK_FOR_INTERRUPTS();
			(void) needed_streams(&walk, &n, &walk.after);
			if (n > 0)
				return true;
		} while (walk.after != 0);
	}
	return spool_senders_needed(segment);
}

/* Truncate a segment that was moved, if nobody has it open. */
static SpoolRotation
empty(const Segment *segment)
{
	char		statement[192];
	SpoolSpi	spi;

	if (!lock_parts(segment->no, ShareLock, false))
		return ROTATION_LATER;
	if (anything_needed(segment->no))
	{
		set_stage(segment, STAGE_CLOSED);
		return ROTATION_MORE;
	}
	if (!lock_parts(segment->no, AccessExclusiveLock, false) ||
		!lock_parts(segment->no, AccessExclusiveLock, true))
		return ROTATION_LATER;

	snprintf(statement, sizeof(statement),
			 "TRUNCATE ONLY spool.segment_%d, ONLY spool.state_%d,"
			 " ONLY spool.sender_%d",
			 segment->no, segment->no, segment->no);
	spool_spi_begin(&spi);
	if (SPI_execute(statement, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\"", statement);
	spool_spi_end(&spi);
	set_stage(segment, STAGE_EMPTY);
	return ROTATION_MORE;
}

/*
 * Make a step of the rotation.  now: close the current segment even if it is
 * small.  In a transaction block nothing is truncated: it would lock out
 * others until its end.
 */
SpoolRotation
spool_rotate_step(bool now)
{
	Segment		segments[SPOOL_SEGMENTS];
	TimestampTz before = GetCurrentTimestamp() - USECS_PER_MINUTE;
	TimestampTz emptied_at = DT_NOBEGIN;
	SpoolRotation result = ROTATION_DONE;
	bool		full;
	int			n;

	if (!ConditionalLockRelationOid(spool_relation_oid("segment"),
									ShareUpdateExclusiveLock))
		return ROTATION_DONE;
	n = read_segments(segments);
	if (open_next(segments, n, now, &full))
		return ROTATION_MORE;
	for (int i = 0; i < n && result != ROTATION_MORE; i++)
	{
		Segment    *segment = &segments[i];

		emptied_at = Max(emptied_at, segment->emptied_at);
		if (segment->stage == STAGE_CLOSED &&
			(full || moving.segment == segment->no ||
			 !mostly_needed(segment)))
			result = move_segment(segment);
	}
	for (int i = 0; i < n && result != ROTATION_MORE; i++)
	{
		Segment    *segment = &segments[i];

		if (segment->stage != STAGE_MOVED || IsTransactionBlock())
			continue;
		result = ROTATION_LATER;
		if (segment->moved_at <= before && emptied_at <= before)
			return empty(segment);
	}
	return result;
}

/*
 * Remove what is consumed in the old segment, and states there that are not
 * the newest, and let packets of the others be found by id.
 */
void
spool_old_segment_purge(void)
{
	static SpoolPlan packets = {
		"DELETE FROM spool.store p USING"
		" (SELECT s.id, st.next FROM spool.stream s"
		"   JOIN spool.queue q ON q.id = s.queue" NEWEST_STATE
		"   WHERE q.order_by IN ('sequence', 'latest')) c"
		" WHERE p.segment = 0 AND p.stream = c.id AND p.position < c.next",
		SPI_OK_DELETE, PLAN_NO_ARGS
	};
	static SpoolPlan states = {
		"DELETE FROM spool.state old WHERE old.segment = 0"
		" AND EXISTS (SELECT FROM spool.state n WHERE n.stream = old.stream"
		"  AND n.consumer = old.consumer AND n.version > old.version)",
		SPI_OK_DELETE, PLAN_NO_ARGS
	};
	static SpoolPlan summarize = {
		"SELECT brin_summarize_new_values(i.indexrelid)"
		" FROM pg_inherits h JOIN pg_index i ON i.indrelid = h.inhrelid"
		" JOIN pg_class c ON c.oid = i.indexrelid"
		" JOIN pg_am a ON a.oid = c.relam"
		" WHERE h.inhparent = 'spool.store'::regclass AND a.amname = 'brin'",
		SPI_OK_SELECT, PLAN_NO_ARGS
	};

	(void) spool_exec_alone(&packets, NULL, NULL);
	(void) spool_exec_alone(&states, NULL, NULL);
	(void) spool_exec_alone(&summarize, NULL, NULL);
}
