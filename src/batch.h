/*-------------------------------------------------------------------------
 * batch.h
 *	  One batch of jobs: dispatch, run, settle.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_BATCH_H
#define SPOOL_BATCH_H

#include "utils/hsearch.h"

#include "attempt.h"
#include "dispatch.h"

/* What the batches of one pass share; pass.c tells what a pass is. */
typedef struct SpoolPass
{
	char	   *name;			/* of the queue */
	int32		queue_id;
	LOCKMODE	lockmode;		/* of its lock, held during the pass */
	bool		worker;			/* a worker's, guided by hints, else a call */
	int64		runner;
	char	   *order_by;		/* the call's order, or NULL */
	int64		left;			/* jobs that may still be tried */
	int			pace;			/* a worker: jobs in the next batch */
	int64		processed;
	int64		mark;			/* packets that came later wait */
	TimestampTz started;
	HTAB	   *except;			/* a call: streams that failed in this pass */
	SpoolRound	round;			/* a call: around the queue's streams */
	bool		stopped;		/* a failure ended the whole pass */
	bool		refused;		/* the command was taken away meanwhile */
	char	   *failure;		/* message of the first failure, or NULL */
	char	   *failed_job;		/* what failed */
	SpoolDispatch *conflict;	/* the last look, if it met one; or NULL */
	bool		all;			/* a worker: look at all streams next */
	int64	   *hints;			/* else at these; in the pass's context */
	int			nhints;
	int			ntry;			/* of these, the others are left to others */
	struct SpoolBatch *batch;	/* dispatched and committed, or NULL */
	struct SpoolBatch *next;	/* dispatched in this transaction, or NULL */
	MemoryContext context;
} SpoolPass;

typedef struct SpoolBatch
{
	SpoolDispatch dispatch;
	SpoolAttempt *attempts;		/* of its jobs */
	bool	   *ran;			/* whether a job was tried */
	SpoolPick  *shown;			/* whose job was shown last */
	MemoryContext context;		/* of all this */
} SpoolBatch;

extern SpoolBatch *spool_batch_dispatch(SpoolPass *pass, SpoolQueue *queue);
extern void spool_batch_run_handlers(SpoolPass *pass, SpoolBatch *batch);
extern void spool_batch_run_program(SpoolPass *pass, SpoolBatch *batch);
extern void spool_batch_settle(SpoolPass *pass, SpoolBatch *batch);
extern void spool_batch_take_back(SpoolPass *pass, SpoolBatch *batch);

#endif							/* SPOOL_BATCH_H */
