/*-------------------------------------------------------------------------
 * reseq_upkeep.h
 *	  Upkeep of what the resequencer knows.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_RESEQ_UPKEEP_H
#define SPOOL_RESEQ_UPKEEP_H

#include "utils/timestamp.h"

#include "resequencer.h"
#include "segment.h"
#include "snapshot.h"

/* Keys, opened for looks by id. */
typedef struct SpoolKeyTable
{
	Relation	heap;
	Relation	index;
	IndexScanDesc desc;
	TupleTableSlot *slot;		/* the one that was found last */
} SpoolKeyTable;

/* A walk through the keys that a segment has rows of, in steps. */
typedef struct SpoolKeyWalk
{
	int			segment;
	int64		key;			/* those up to this one were seen */
	int64		entered;		/* a key that a step ended in, */
	int32		target;			/* at this target */
	int64		sn;				/* and number */
	bool		left;			/* something could not be moved */
} SpoolKeyWalk;

/* What is due by one of its delays: a deadline, or the timeout of trees. */
typedef enum SpoolReseqDelay
{
	DELAY_DEADLINE,
	DELAY_TREE,
	NUM_RESEQ_DELAYS
} SpoolReseqDelay;

/* What is due, as spool_reseq_due_keys finds it.  Zero at first. */
typedef struct SpoolReseqDue
{
	int64	   *keys;			/* in order; allocated in the current context */
	int			n;
	bool		more;			/* there are others, too */
	TimestampTz writer;			/* who writes began then at the earliest */
	TimestampTz next;			/* else nothing is due before; DT_NOEND */
	bool		found[NUM_RESEQ_DELAYS];	/* there was something, */
	TimestampTz at[NUM_RESEQ_DELAYS];	/* it was read up to here, */
	TimestampTz upto[NUM_RESEQ_DELAYS]; /* and need not be again up to here */
} SpoolReseqDue;

#define NO_TARGET PG_INT32_MAX

/* reseq_upkeep.c */
extern void spool_key_table_open(SpoolKeyTable *keys, Snapshot snapshot);
extern bool spool_key_table_find(SpoolKeyTable *keys, Snapshot snapshot,
								 int64 key);
extern void spool_key_table_close(SpoolKeyTable *keys);
extern int32 spool_target_next(SpoolPart *part, const SpoolSnapshot *newest,
							   int64 key, int32 after);
extern bool spool_lanes_move(SpoolKeyWalk *walk);
extern bool spool_lanes_needed(int segment);
extern bool spool_deliveries_clear(SpoolKeyWalk *walk);

/* reseq_forget.c */
extern bool spool_reseq_forget(void);
extern void spool_reseq_forget_anew(void);
extern void spool_reseq_purge(void);

/* reseq_due.c */
extern void spool_reseq_due_keys(const SpoolResequencer *resequencer, int max,
								 SpoolReseqDue *due);
extern void spool_reseq_due_done(int32 resequencer, const SpoolReseqDue *due);

#endif							/* SPOOL_RESEQ_UPKEEP_H */
