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
 *	closed	 packets that still wait, the newest states (survive.c), what the
 *			 resequencer needs (reseq_upkeep.c) and the newest counters of
 *			 senders (sender.c) are moved to the old segment; not while most
 *			 of it is still needed, unless there is no segment that is empty
 *			 or about to be.  What others have locked is left, and tried
 *			 again after a minute.
 *	moved	 nothing in it is needed any more.  Nothing is appended to it either:
 *			 when the last walk through it began, it was closed for all, and
 *			 nobody held a lock for that (segment.c).  So nobody reads it.
 *	empty	 truncated, at least a minute after the last move.
 *
 * Each step is a transaction of its own, and one session at a time makes them,
 * by a lock of spool.segment.  A crash leaves what the finished steps made.
 *
 * Truncation waits for nobody.  It first locks the segment against writers and
 * looks with the newest snapshot whether really nothing in it is needed.  Then
 * it locks out readers, in the tables for overflowing columns too, whose vacuum
 * does not lock the main one, and in the indexes.  Whoever holds a lock - a
 * dump, a take that was open before, a prepared transaction - puts it off to
 * the next upkeep and is shown in spool.segments.  A statement of our own that
 * took its snapshot before finds what was moved a minute ago in the old
 * segment.
 *
 * The old segment is an ordinary table: what is consumed there is removed, in
 * steps too, when a segment was closed.  Then come the keys that resequencers
 * may forget, a step for each set of them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "reseq_upkeep.h"
#include "rotate.h"
#include "segment.h"
#include "sender.h"
#include "spiutil.h"
#include "spool.h"
#include "survive.h"

/* Counters of senders that one step moves at the most. */
#define MOVE_COUNTERS	1000

/* When a current segment that is not large is closed. */
#define MAX_AGE_HOURS	24

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
	TimestampTz closed_at;
	TimestampTz moved_at;
	TimestampTz emptied_at;
} Segment;

/* How far this backend came with a segment. */
typedef struct Progress
{
	TimestampTz closed_at;		/* which it has begun with; 0 = none */
	SpoolWalk	walk;
	SpoolKeyWalk keys;
	TimestampTz again_at;		/* not to be begun before */
} Progress;

static Progress progress[SPOOL_SEGMENTS];
static bool clearing = false;	/* the old segment is to be cleared, */
static SpoolWalk cleared;		/* so far, */
static SpoolKeyWalk cleared_keys;	/* and here */
static int	segment_size;		/* kB */

static int	read_segments(Segment *segments);
static void set_stage(const Segment *segment, Stage stage);
static BlockNumber pages_of(const Segment *segment, SpoolIndex which);
static bool to_be_closed(const Segment *segment, bool now, bool *large);
static bool open_next(Segment *segments, int n, bool now, bool *full);
static bool lock_table(Oid relid, LOCKMODE mode);
static bool lock_tables(int segment, LOCKMODE mode);
static bool nobody_has(int segment, LOCKMODE mode);
static bool begun(const Segment *segment);
static SpoolRotation move_segment(const Segment *segment, bool alone);
static SpoolRotation move_on(const Segment *segment, bool full, bool alone);
static SpoolRotation empty(const Segment *segment);
static bool clear_old(void);

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
		segment->closed_at = DatumGetTimestampTz(spool_field(i, 3, &null));
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
		" closed_at = CASE WHEN $2 = 2 THEN clock_timestamp()"
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

/*
 * Whether a segment is to be closed, and if it is for its size.  One without
 * rows is not: its indexes have some pages all the same.
 */
static bool
to_be_closed(const Segment *segment, bool now, bool *large)
{
	BlockNumber pages = 0;

	for (SpoolIndex which = 0; which < NUM_SPOOL_TABLES; which++)
		pages += pages_of(segment, which);
	*large = pages > 0 &&
		spool_segment_size(segment->no) / 1024 >= segment_size;
	if (*large || pages == 0)
		return *large;
	now |= TimestampDifferenceExceeds(segment->opened_at,
									  GetCurrentTimestamp(),
									  MAX_AGE_HOURS * SECS_PER_HOUR * 1000);
	return now && !spool_survivors_most(segment->no);
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
	clearing = true;
	return true;
}

/* Lock one of a segment's tables and its indexes, without waiting. */
static bool
lock_table(Oid relid, LOCKMODE mode)
{
	Relation	heap;
	List	   *indexes;
	ListCell   *cell;
	bool		locked = true;

	if (!ConditionalLockRelationOid(relid, mode))
		return false;
	if (mode != AccessExclusiveLock)
		return true;
	heap = table_open(relid, NoLock);
	indexes = RelationGetIndexList(heap);
	foreach(cell, indexes)
		locked = locked && ConditionalLockRelationOid(lfirst_oid(cell), mode);
	table_close(heap, NoLock);
	return locked;
}

/*
 * Lock all tables of a segment, without waiting; to lock out readers, those
 * for overflowing columns too.
 */
static bool
lock_tables(int segment, LOCKMODE mode)
{
	for (SpoolIndex which = 0; which < NUM_SPOOL_TABLES; which++)
	{
		Oid			relid = spool_segment_heap(which, segment);
		Relation	heap;
		Oid			toast;

		if (!lock_table(relid, mode))
			return false;
		if (mode != AccessExclusiveLock)
			continue;
		heap = table_open(relid, NoLock);
		toast = heap->rd_rel->reltoastrelid;
		table_close(heap, NoLock);
		if (OidIsValid(toast) && !lock_table(toast, mode))
			return false;
	}
	return true;
}

/*
 * Whether nobody else has a lock of a segment's tables that conflicts with a
 * mode.  Asked without taking it: standbys would be told.
 */
static bool
nobody_has(int segment, LOCKMODE mode)
{
	for (SpoolIndex which = 0; which < NUM_SPOOL_TABLES; which++)
	{
		LOCKTAG		tag;
		int			holders;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId,
							 spool_segment_heap(which, segment));
		(void) GetLockConflicts(&tag, mode, &holders);
		if (holders > 0)
			return false;
	}
	return true;
}

/* Whether this backend is on its way through a closed segment. */
static bool
begun(const Segment *segment)
{
	const Progress *known = &progress[segment->no];

	return known->closed_at != 0 && known->closed_at == segment->closed_at;
}

/* Make a step of moving what is needed out of a closed segment. */
static SpoolRotation
move_segment(const Segment *segment, bool alone)
{
	Progress   *known = &progress[segment->no];
	Progress	now = *known;

	if (!begun(segment))
	{
		now.closed_at = segment->closed_at;
		memset(&now.walk, 0, sizeof(SpoolWalk));
		now.walk.segment = segment->no;
		memset(&now.keys, 0, sizeof(SpoolKeyWalk));
		now.keys.segment = segment->no;
		/* what is closed in this transaction is current to others */
		now.walk.left = !alone || !nobody_has(segment->no, ShareLock);
	}
	known->closed_at = 0;		/* an error lets it begin anew */
	if (spool_survivors_move(&now.walk) || spool_lanes_move(&now.keys) ||
		spool_senders_move(segment->no, MOVE_COUNTERS) > 0)
	{
		*known = now;
		return ROTATION_MORE;
	}
	if (now.walk.left || now.keys.left)
	{
		known->again_at = GetCurrentTimestamp() + USECS_PER_MINUTE;
		return ROTATION_LATER;
	}
	set_stage(segment, STAGE_MOVED);
	spool_segment_changed();
	spool_reseq_forget_anew();
	return ROTATION_MORE;
}

/* The same unless it has to wait.  full: there is no other to become current. */
static SpoolRotation
move_on(const Segment *segment, bool full, bool alone)
{
	if (!begun(segment))
	{
		if (progress[segment->no].again_at > GetCurrentTimestamp())
			return ROTATION_LATER;
		if (!full && spool_survivors_most(segment->no))
			return ROTATION_DONE;
	}
	return move_segment(segment, alone);
}

/* Truncate a segment that was moved, if nobody has it open. */
static SpoolRotation
empty(const Segment *segment)
{
	StringInfoData statement;
	SpoolSpi	spi;

	if (!lock_tables(segment->no, ShareLock) ||
		!nobody_has(segment->no, AccessExclusiveLock))
		return ROTATION_LATER;
	if (spool_survivors_any(segment->no) ||
		spool_senders_needed(segment->no) || spool_lanes_needed(segment->no))
	{
		set_stage(segment, STAGE_CLOSED);
		spool_segment_changed();
		return ROTATION_MORE;
	}
	if (!lock_tables(segment->no, AccessExclusiveLock))
		return ROTATION_LATER;

	initStringInfo(&statement);
	for (SpoolIndex which = 0; which < NUM_SPOOL_TABLES; which++)
		appendStringInfo(&statement, "%s ONLY spool.%s",
						 which == 0 ? "TRUNCATE" : ",",
						 get_rel_name(spool_segment_heap(which, segment->no)));
	spool_spi_begin(&spi);
	if (SPI_execute(statement.data, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\"", statement.data);
	spool_spi_end(&spi);
	set_stage(segment, STAGE_EMPTY);
	spool_segment_changed();
	return ROTATION_MORE;
}

/* Make a step of removing what is not needed from the old segment. */
static bool
clear_old(void)
{
	SpoolWalk	walk = cleared;
	SpoolKeyWalk keys = cleared_keys;

	/* an error lets it begin anew */
	memset(&cleared, 0, sizeof(SpoolWalk));
	memset(&cleared_keys, 0, sizeof(SpoolKeyWalk));
	if (clearing)
		clearing = spool_consumed_remove(&walk) ||
			spool_deliveries_clear(&keys);
	if (clearing)
	{
		cleared = walk;
		cleared_keys = keys;
	}
	return clearing;
}

/*
 * Make a step of the rotation.  now: begin anew, and close the current segment
 * even if it is small.  alone: the caller's transaction is of this step; else
 * no segment becomes moved, nothing is truncated, and no key forgotten: it
 * would lock out others until its end.
 */
SpoolRotation
spool_rotate_step(bool now, bool alone)
{
	Segment		segments[SPOOL_SEGMENTS];
	TimestampTz before = GetCurrentTimestamp() - USECS_PER_MINUTE;
	TimestampTz emptied_at = DT_NOBEGIN;
	SpoolRotation result = ROTATION_DONE;
	bool		full;
	int			n;

	if (!ConditionalLockRelationOid(spool_relation_oid("segment"),
									ShareUpdateExclusiveLock))
		return ROTATION_LATER;
	if (now)
	{
		memset(progress, 0, sizeof(progress));
		spool_reseq_forget_anew();
	}
	clearing |= now;
	n = read_segments(segments);
	if (open_next(segments, n, now, &full))
		return ROTATION_MORE;
	for (int i = 0; i < n; i++)
		full &= segments[i].stage != STAGE_MOVED;
	for (int i = 0; i < n && result != ROTATION_MORE; i++)
	{
		Segment    *segment = &segments[i];

		emptied_at = Max(emptied_at, segment->emptied_at);
		if (segment->stage == STAGE_CLOSED)
			result = Max(result, move_on(segment, full, alone));
	}
	for (int i = 0; i < n && result != ROTATION_MORE; i++)
	{
		Segment    *segment = &segments[i];

		if (segment->stage != STAGE_MOVED || !alone)
			continue;
		result = ROTATION_LATER;
		if (segment->moved_at <= before && emptied_at <= before)
			result = empty(segment);
	}
	if (result != ROTATION_MORE &&
		(clear_old() || (alone && spool_reseq_forget())))
		result = ROTATION_MORE;
	return result;
}

/*
 * Let packets of the young segments be found by id, and deliveries by time.
 */
void
spool_segments_summarize(void)
{
	static SpoolPlan plan = {
		"SELECT brin_summarize_new_values($1)",
		SPI_OK_SELECT, PLAN_ARGS(REGCLASSOID)
	};
	static const struct
	{
		SpoolIndex	which;
		const char *index;
	}			brin[] = {
		{INDEX_PACKETS, "segment_%d_packet_id_idx"},
		{INDEX_DELIVERIES, "delivery_%d_since"}
	};

	for (int i = SPOOL_OLD_SEGMENT + 1; i < SPOOL_SEGMENTS; i++)
		for (int j = 0; j < (int) lengthof(brin); j++)
		{
			Oid			relid = spool_segment_heap(brin[j].which, i);
			char		index[NAMEDATALEN];
			Datum		values[1];

			/* whoever has it, as vacuum, does the same */
			if (!ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
				continue;
			snprintf(index, sizeof(index), brin[j].index, i);
			values[0] = ObjectIdGetDatum(spool_relation_oid(index));
			(void) spool_exec_alone(&plan, values, NULL);
			UnlockRelationOid(relid, ShareUpdateExclusiveLock);
		}
}
