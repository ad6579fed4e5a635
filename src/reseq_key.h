/*-------------------------------------------------------------------------
 * reseq_key.h
 *	  Keys of resequencers: the locks of their lanes.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_RESEQ_KEY_H
#define SPOOL_RESEQ_KEY_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "nodes/lockoptions.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "spiutil.h"

/* Columns of spool.reseq_key. */
enum
{
	KEY_ID = 1, KEY_RESEQUENCER, KEY_KEY, KEY_EPOCH, KEY_SUSPENDED,
	KEY_SUSPENDED_SINCE, KEY_RESUMED_AT, KEY_BLOCKING, KEY_BLOCKING_TARGET
};

/* A key that is locked to the end of the transaction. */
typedef struct SpoolReseqKey
{
	int64		id;
	text	   *name;
	int32		epoch;
	char	   *suspended;		/* reason, or NULL */
	TimestampTz suspended_since;
	TimestampTz resumed_at;		/* 0 = never suspended */
	int64		blocking;		/* the number that suspended it, or NO_SN, */
	int32		blocking_target;	/* for this target */
} SpoolReseqKey;

/* The table of keys, opened to lock some. */
typedef struct SpoolReseqKeys
{
	int32		resequencer;
	Relation	heap;
	Relation	index;
	TupleTableSlot *slot;
	IndexScanDesc desc;
	MemoryContext context;		/* what the scan keeps is allocated there */
} SpoolReseqKeys;

extern void spool_reseq_keys_open(SpoolReseqKeys *keys, int32 resequencer,
								  LOCKMODE lockmode);
extern void spool_reseq_keys_close(SpoolReseqKeys *keys);
extern bool spool_reseq_key_find(SpoolReseqKeys *keys, text *name,
								 Snapshot snapshot, SpoolReseqKey *key);
extern bool spool_reseq_key_lock(SpoolReseqKeys *keys, text *name,
								 LockWaitPolicy wait, SpoolReseqKey *key);
extern void spool_reseq_walk(SpoolReseqKeys *keys, text *name,
							 Snapshot snapshot);
extern bool spool_reseq_walk_next(SpoolReseqKeys *keys, SpoolReseqKey *key);
extern uint64 spool_reseq_key_names(SpoolPlan *plan, Datum *values,
									text ***names);
extern void spool_reseq_keys_create(int32 resequencer, text *const *names,
									int n);
extern void spool_reseq_key_suspend(SpoolReseqKey *key, const char *reason,
									int64 blocking, int32 target);
extern void spool_reseq_key_renew(SpoolReseqKey *key);

#endif							/* SPOOL_RESEQ_KEY_H */
