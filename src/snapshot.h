/*-------------------------------------------------------------------------
 * snapshot.h
 *	  The newest snapshot, for several reads.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SNAPSHOT_H
#define SPOOL_SNAPSHOT_H

#include "executor/tuptable.h"
#include "utils/snapshot.h"

typedef struct SpoolSnapshot
{
	Snapshot	snapshot;		/* registered, or NULL */
	uint64		completed;		/* transactions that had ended; 0 = not known */
	int64		serial;			/* counts the snapshots taken */
} SpoolSnapshot;

extern void spool_snapshot_renew(SpoolSnapshot *newest);
extern void spool_snapshot_end(SpoolSnapshot *newest);
extern TransactionId spool_slot_writer(TupleTableSlot *slot);
extern bool spool_snapshot_misses(TransactionId writer);

#endif							/* SPOOL_SNAPSHOT_H */
