/*-------------------------------------------------------------------------
 * mover.c
 *	  Rows are moved to the old segment.
 *
 * A row is moved as it is, by a deletion and an insertion in one transaction:
 * who reads all segments with one snapshot sees it in one of its places.
 * Nothing is waited for.  The caller knows that the row is needed, and that
 * who else moves or removes it does so for good.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "mover.h"
#include "spool.h"

static bool open_mover(SpoolMover *mover, SpoolPart *part);

/* Open the old segment for rows of one kind; false if that cannot be now. */
static bool
open_mover(SpoolMover *mover, SpoolPart *part)
{
	Oid			relid = RelationGetRelid(part->heap);

	if (mover->opened)
		return mover->locked;
	mover->opened = true;
	mover->locked = ConditionalLockRelationOid(relid, RowExclusiveLock);
	if (!mover->locked)
		return false;
	mover->segment = get_attnum(relid, "segment");
	spool_writer_open(&mover->writer,
					  spool_segment_heap(part->which, SPOOL_OLD_SEGMENT),
					  SPOOL_WRITER_ROWS);
	return true;
}

/* Remove a row of a table that is locked for it; false if somebody else has it. */
bool
spool_row_remove(Relation heap, const ItemPointerData *place)
{
	ItemPointerData tid = *place;
	TM_FailureData failure;

	return table_tuple_delete(heap, &tid, GetCurrentCommandId(true),
							  SnapshotAny, InvalidSnapshot, false, &failure,
							  true) == TM_Ok;
}

/*
 * Move the row in a part's slot to the old segment, and add what it takes to
 * *bytes; false if somebody else has it.  It is copied to the current memory
 * context, where it must stay until the mover is closed.
 */
bool
spool_mover_move(SpoolMover *mover, SpoolPart *part, Size *bytes)
{
	TupleDesc	desc = RelationGetDescr(part->heap);
	HeapTuple	tuple;
	Datum	   *values;
	bool	   *nulls;

	if (!open_mover(mover, part) ||
		!spool_row_remove(part->heap, &part->slot->tts_tid))
		return false;
	tuple = ExecCopySlotHeapTuple(part->slot);
	values = spool_writer_row(&mover->writer, &nulls);
	heap_deform_tuple(tuple, desc, values, nulls);
	values[mover->segment - 1] = Int16GetDatum(SPOOL_OLD_SEGMENT);

	*bytes += tuple->t_len;
	for (int i = 0; i < desc->natts; i++)
		if (!nulls[i] && TupleDescAttr(desc, i)->attlen == -1 &&
			VARATT_IS_EXTERNAL(DatumGetPointer(values[i])))
			*bytes += toast_datum_size(values[i]);
	return true;
}

/* What was moved is in the old segment then. */
void
spool_mover_close(SpoolMover *mover)
{
	if (mover->locked)
		spool_writer_close(&mover->writer);
}
