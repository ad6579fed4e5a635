/*-------------------------------------------------------------------------
 * snapshot.c
 *	  The newest snapshot, for several reads.
 *
 * State and packets are read with a snapshot taken after the lock of their
 * stream.  Whoever reads renews the snapshot first.  If no transaction has
 * ended since it was taken and nothing was written in this one, a new one
 * would be the same; so it is kept, and what was read with it under the same
 * serial holds and need not be read again.
 *
 * A snapshot that was chosen (spool_read_with) is the newest as long as it is.
 *
 * A renewal ends the scans that were begun before it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "utils/snapmgr.h"

#include "snapshot.h"
#include "spiutil.h"
#include "spool.h"

/* Make it the newest; *newest is zero before the first time. */
void
spool_snapshot_renew(SpoolSnapshot *newest)
{
	Snapshot	latest = spool_newest_snapshot();
	uint64		completed = latest->snapXactCompletionCount;

	if (newest->snapshot != NULL &&
		(newest->snapshot == latest ||
		 (completed != 0 && completed == newest->completed &&
		  latest->curcid == newest->snapshot->curcid)))
		return;
	spool_snapshot_end(newest);
	newest->snapshot = RegisterSnapshot(latest);
	newest->completed = completed;
	newest->serial++;
}

void
spool_snapshot_end(SpoolSnapshot *newest)
{
	if (newest->snapshot != NULL)
		UnregisterSnapshot(newest->snapshot);
	newest->snapshot = NULL;
}

/* Who inserted the row in a slot; frozen if long ago. */
TransactionId
spool_slot_writer(TupleTableSlot *slot)
{
	bool		should_free;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);
	TransactionId writer = HeapTupleHeaderGetXmin(tuple->t_data);

	if (should_free)
		heap_freetuple(tuple);
	return writer;
}

/*
 * Whether the transaction keeps a snapshot, which does not see what another
 * one wrote.
 */
bool
spool_snapshot_misses(TransactionId writer)
{
	return IsolationUsesXactSnapshot() && TransactionIdIsNormal(writer) &&
		!TransactionIdIsCurrentTransactionId(writer) &&
		XidInMVCCSnapshot(writer, GetTransactionSnapshot());
}
