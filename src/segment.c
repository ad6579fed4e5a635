/*-------------------------------------------------------------------------
 * segment.c
 *	  Segments: the partitions that packets and states lie in.
 *
 * Packets, states and counters of senders are appended to the current one of
 * the young segments.
 * When it is large, an empty one becomes current; what is still needed in the
 * others is moved to the old segment, and they are truncated (rotate.c).
 *
 * Which one is current is in spool.segment and known to each backend until it
 * is told otherwise.  Nothing depends on it: who appends to another only keeps
 * that one from being truncated.  So whoever reads must look into all of them.
 * The place of a row tells nothing about its age.
 *
 * A segment without pages has no rows that a snapshot taken before could see;
 * it costs a lock and a look at its size.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "storage/bufmgr.h"
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
	[INDEX_CLAIMS] = {"state_%d", "state_%d_runner_idx"}
};

static int	current = SPOOL_OLD_SEGMENT;
static Oid	current_relid = InvalidOid; /* of spool.segment; invalid = stale */

static void invalidate(Datum arg, Oid relid);
static Oid	cached_oid(SpoolIndex which, int segment, bool index);

/* Relation cache callback: spool.segment, or everything, changed. */
static void
invalidate(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == current_relid)
		current_relid = InvalidOid;
}

/* The segment to append to, as far as this backend was told. */
int
spool_segment_current(void)
{
	static SpoolPlan plan = {
		"SELECT no::int4 FROM spool.segment"
		" WHERE opened_at IS NOT NULL AND closed_at IS NULL",
		SPI_OK_SELECT, PLAN_NO_ARGS
	};
	static bool registered = false;
	Oid			relid = spool_relation_oid("segment");
	SpoolSpi	spi;

	if (current_relid == relid)
		return current;

	if (!registered)
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
	registered = true;

	/* set before it is read: a change meanwhile makes it stale again */
	current_relid = relid;
	spool_spi_begin(&spi);
	if (spool_exec(&plan, NULL, NULL) != 1)
		elog(ERROR, "there must be one current segment");
	current = DatumGetInt32(spool_field(0, 1, NULL));
	spool_spi_end(&spi);
	return current;
}

/* Tell all backends, at commit, that another segment is current. */
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
 * Open all segments for scans of an index, and lock them.  The scans may be
 * read in shorter-lived memory contexts.
 */
void
spool_parts_open(SpoolPart *parts, SpoolIndex which)
{
	for (int i = 0; i < SPOOL_SEGMENTS; i++)
	{
		memset(&parts[i], 0, sizeof(SpoolPart));
		parts[i].which = which;
		parts[i].segment = i;
		parts[i].context = CurrentMemoryContext;
		parts[i].heap = table_open(spool_segment_heap(which, i),
								   AccessShareLock);
	}
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
		if (RelationGetNumberOfBlocks(part->heap) == 0)
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
		table_close(part->heap, NoLock);
	}
}
