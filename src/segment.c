/*-------------------------------------------------------------------------
 * segment.c
 *	  Segments: the partitions that packets and states lie in.
 *
 * Packets, states, counters of senders, and what the resequencer knows of lanes
 * and deliveries are appended to the current one of the young segments.  When
 * it is large, an empty one becomes current; what is still needed in the others
 * is moved to the old segment, and they are truncated (rotate.c).
 *
 * Which one is current, and which are moved, is in spool.segment and known to
 * each backend until it is told otherwise.
 *
 * Who appends locks the segment first and then sees whether it still is the
 * current one.  So once nobody holds such a lock on a segment that was closed,
 * nothing is appended to it any more.
 *
 * Who reads may find a row in any segment, and its place tells nothing about
 * its age; but one that is moved has nothing that is needed.  It is not even
 * opened, so that those who read all the time do not keep it from being
 * truncated.  A reader sees that it still is moved after it took its snapshot:
 * it may be current again.  A look with an older snapshot opens all.
 *
 * A segment without pages has no rows that a snapshot taken before could see;
 * it costs a lock and a look at its size.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "compat.h"
#include "segment.h"
#include "spiutil.h"
#include "spool.h"

/* Names of the tables and of their indexes, with the segment's number. */
static const struct
{
	const char *heap;
	const char *index;
}			names[NUM_SPOOL_INDEXES] = {
	[INDEX_PACKETS] = {"segment_%d", "segment_%d_stream_position_seq_idx"},
	[INDEX_STATES] = {"state_%d", "state_%d_pkey"},
	[INDEX_SENDERS] = {"sender_%d", "sender_%d_pkey"},
	[INDEX_LANES] = {"lane_%d", "lane_%d_pkey"},
	[INDEX_DELIVERIES] = {"delivery_%d", "delivery_%d_idx"},
	[INDEX_CLAIMS] = {"state_%d", "state_%d_runner_idx"}
};

/* What this backend knows of the segments. */
static int	current = 0;		/* 0 = nothing */
static bool moved[SPOOL_SEGMENTS];
static Oid	known_relid = InvalidOid;	/* of spool.segment; invalid = stale */

static void invalidate(Datum arg, Oid relid);
static void learn(void);
static bool is_moved(int segment);
static Oid	cached_oid(SpoolIndex which, int segment, bool index);

/* Relation cache callback: spool.segment, or everything, changed. */
static void
invalidate(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == known_relid)
		known_relid = InvalidOid;
}

/* Read which segment is current and which are moved, if it may have changed. */
static void
learn(void)
{
	static SpoolPlan plan = {
		"SELECT no::int4, closed_at IS NULL, moved_at IS NOT NULL"
		" FROM spool.segment WHERE opened_at IS NOT NULL",
		SPI_OK_SELECT, PLAN_NO_ARGS
	};
	static bool registered = false;
	Oid			relid = spool_relation_oid("segment");
	int			open = 0;
	SpoolSpi	spi;
	uint64		n;

	if (known_relid == relid && current != 0)
		return;

	if (!registered)
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
	registered = true;

	/* set before it is read: a change meanwhile makes it stale again */
	known_relid = relid;
	current = 0;
	memset(moved, 0, sizeof(moved));
	spool_spi_begin(&spi);
	n = spool_exec(&plan, NULL, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		int			no = DatumGetInt32(spool_field(i, 1, NULL));

		if (no <= SPOOL_OLD_SEGMENT || no >= SPOOL_SEGMENTS)
			continue;
		if (DatumGetBool(spool_field(i, 2, NULL)))
			open = no;
		moved[no] = DatumGetBool(spool_field(i, 3, NULL));
	}
	spool_spi_end(&spi);
	if (open == 0)
		elog(ERROR, "there must be one current segment");
	current = open;
}

/* Whether nothing in a segment is needed, as of now. */
static bool
is_moved(int segment)
{
	AcceptInvalidationMessages();
	learn();
	return moved[segment];
}

/* The segment to append to; its table is locked for that. */
int
spool_segment_lock(SpoolIndex which)
{
	int			segment;

	learn();
	do
	{
		segment = current;
		LockRelationOid(spool_segment_heap(which, segment), RowExclusiveLock);
		learn();
	} while (segment != current);
	return segment;
}

/* Tell all backends, at commit, that another segment is current or moved. */
void
spool_segment_changed(void)
{
	CacheInvalidateRelcacheByRelid(spool_relation_oid("segment"));
}

/* Oid of a segment's table or index. */
static Oid
cached_oid(SpoolIndex which, int segment, bool index)
{
	static Oid	oids[NUM_SPOOL_INDEXES][SPOOL_SEGMENTS][2];
	static uint64 changes = 0;
	Oid		   *oid = &oids[which][segment][index];

	if (changes != spool_relation_changes())
	{
		memset(oids, 0, sizeof(oids));
		changes = spool_relation_changes();
	}
	if (!OidIsValid(*oid))
	{
		char		name[NAMEDATALEN];

		snprintf(name, NAMEDATALEN,
				 index ? names[which].index : names[which].heap, segment);
		*oid = spool_relation_oid(name);
	}
	return *oid;
}

Oid
spool_segment_heap(SpoolIndex which, int segment)
{
	return cached_oid(which, segment, false);
}

Oid
spool_segment_index(SpoolIndex which, int segment)
{
	return cached_oid(which, segment, true);
}

/* Bytes of a segment on disk. */
int64
spool_segment_size(int segment)
{
	int64		size = 0;

	for (SpoolIndex which = 0; which < NUM_SPOOL_TABLES; which++)
		size += DatumGetInt64(DirectFunctionCall1(pg_total_relation_size,
												  ObjectIdGetDatum(spool_segment_heap(which, segment))));
	return size;
}

/*
 * Open segments for scans of an index, and lock them.  The scans may be read
 * in shorter-lived memory contexts.
 */
void
spool_parts_open(SpoolPart *parts, SpoolIndex which)
{
	bool		all = !spool_reads_newest();

	if (!all)
		learn();
	for (int i = 0; i < SPOOL_SEGMENTS; i++)
	{
		memset(&parts[i], 0, sizeof(SpoolPart));
		parts[i].which = which;
		parts[i].segment = i;
		parts[i].context = CurrentMemoryContext;
		if (all || !moved[i])
			spool_part_open(&parts[i]);
	}
}

/* Open one, if it is not open. */
void
spool_part_open(SpoolPart *part)
{
	if (part->heap == NULL)
		part->heap = table_open(spool_segment_heap(part->which, part->segment),
								AccessShareLock);
}

/*
 * Begin a scan of a segment with the newest snapshot; its rows come into
 * part->slot.  False if it has none.
 */
bool
spool_part_seek(SpoolPart *part, const SpoolSnapshot *newest, ScanKey keys,
				int nkeys)
{
	if (part->desc == NULL)
	{
		MemoryContext old;

		if (part->empty == newest->serial)
			return false;
		if (part->heap == NULL && !is_moved(part->segment))
			spool_part_open(part);
		if (part->heap == NULL || RelationGetNumberOfBlocks(part->heap) == 0)
		{
			part->empty = newest->serial;
			return false;
		}
		old = MemoryContextSwitchTo(part->context);
		part->index = index_open(spool_segment_index(part->which,
													 part->segment),
								 AccessShareLock);
		part->slot = table_slot_create(part->heap, NULL);
		part->desc = compat_index_beginscan(part->heap, part->index,
											newest->snapshot, nkeys);
		MemoryContextSwitchTo(old);
	}
	part->desc->xs_snapshot = newest->snapshot;
	index_rescan(part->desc, keys, nkeys, NULL, 0);
	return true;
}

/* The next row of a scan that was begun, into part->slot; false at the end. */
bool
spool_part_next(SpoolPart *part, ScanDirection direction)
{
	MemoryContext old = MemoryContextSwitchTo(part->context);
	bool		found = index_getnext_slot(part->desc, direction, part->slot);

	MemoryContextSwitchTo(old);
	return found;
}

/*
 * Look for the newest of appended states in all segments, by an index of
 * (int8, int4, version); it is then in the slot of what is returned.  version:
 * one from which on it is looked for first, PG_INT64_MIN if none is known.
 * column: the version's in the table.
 */
SpoolPart *
spool_parts_newest(SpoolPart *parts, const SpoolSnapshot *newest, int64 id,
				   int32 part, int64 version, AttrNumber column)
{
	SpoolPart  *found = NULL;
	int64		best = 0;
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(part));
	ScanKeyInit(&keys[2], 3, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(version));
	for (int i = 0; i < SPOOL_SEGMENTS; i++)
	{
		int64		here;
		bool		null;

		if (!spool_part_seek(&parts[i], newest, keys, lengthof(keys)) ||
			!spool_part_next(&parts[i], BackwardScanDirection))
			continue;
		here = DatumGetInt64(slot_getattr(parts[i].slot, column, &null));
		if (found != NULL && here < best)
			continue;
		best = here;
		found = &parts[i];
	}
	if (found == NULL && version != PG_INT64_MIN)
		return spool_parts_newest(parts, newest, id, part, PG_INT64_MIN,
								  column);
	return found;
}

void
spool_parts_close(SpoolPart *parts)
{
	for (int i = SPOOL_SEGMENTS - 1; i >= 0; i--)
	{
		SpoolPart  *part = &parts[i];

		if (part->desc != NULL)
		{
			index_endscan(part->desc);
			ExecDropSingleTupleTableSlot(part->slot);
			index_close(part->index, NoLock);
		}
		if (part->heap != NULL)
			table_close(part->heap, NoLock);
	}
}
