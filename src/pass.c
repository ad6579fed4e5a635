/*-------------------------------------------------------------------------
 * pass.c
 *	  A pass over a queue: the life of one runner.
 *
 * A pass is CALL process (process.c) or a worker's stay in a queue
 * (worker.c).  It is within a connection to SPI that may commit, outside of
 * any transaction block.  Its transactions:
 *
 *	dispatch	pick jobs and record that the runner has them; commit
 *	run			handlers: all jobs of the batch, each in a subtransaction.
 *				A program: alone, with no snapshot and no transaction id
 *	settle		record what came of them, then dispatch the next batch;
 *				commit
 *
 * Handlers run in the transaction that settles them, so what they did and the
 * cursor are committed together: exactly once.  A program's outcome and the
 * cursor are committed together after it ended: at least once, and never two
 * at a time, because the supervisor holds a lock file of the stream.
 *
 * A crash leaves jobs with a dead runner; who looks next takes over
 * (dispatch.c).  A cancel takes the batch back, with no attempt counted.
 *
 * The queue's lock is held for the session during the pass and given way to
 * whoever waits for it between two batches; so is one that keeps the
 * extension from being dropped, which a worker gives way too.  An abort
 * releases both.  All transactions of a pass are READ COMMITTED.
 *
 * A call looks at all streams of the queue.  A worker looks at those that
 * hints name (shmem.c) and at those of its last batch that may have more, or
 * at all if so told.  What it could not look at because a batch was full it
 * gives back after the commit that frees the streams of the batch before.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "pass.h"
#include "program.h"
#include "runner.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"

/* A worker's pass ends after so long, to be begun again if there is more. */
#define MAX_PASS_MS 1000

static void begin_transaction(void);
static void commit(SpoolPass *pass);
static void add_hint(SpoolPass *pass, int64 stream);
static void choose_streams(SpoolPass *pass, SpoolQueue *queue);
static void offer_rest(SpoolPass *pass, SpoolBatch *batch);
static bool time_is_over(SpoolPass *pass);
static void dispatch(SpoolPass *pass);
static void give_way(SpoolPass *pass);
static void run(SpoolPass *pass);
static void give_up(SpoolPass *pass);
static void extension_lock(bool lock);

/* Begin the work of a transaction. */
static void
begin_transaction(void)
{
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
}

/*
 * Commit, and be in a new transaction that has no snapshot yet.  What was
 * dispatched is the batch now; the one before is settled.
 */
static void
commit(SpoolPass *pass)
{
	PopActiveSnapshot();
	/* a commit leaves a little behind in the current context */
	if (pass->batch != NULL)
		MemoryContextSwitchTo(pass->batch->context);
	SPI_commit();
	MemoryContextSwitchTo(pass->context);
	if (pass->batch != NULL)
		MemoryContextDelete(pass->batch->context);
	pass->batch = pass->next;
	pass->next = NULL;
}

/* Why no command of a queue may run; NULL if one may. */
const char *
spool_command_problem(SpoolQueue *queue)
{
	if (queue->append_only)
		return "the queue is append-only";
	if (queue->handler == NULL && queue->program == NULL)
		return "the queue has no handler and no program";
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(queue->owner)))
		return "the owner of the queue does not exist any more";
	if (queue->program != NULL && !spool_program_allowed(queue->owner))
		return spool_programs ? "the owner of the queue may not run programs" :
			"programs may not be run";
	return NULL;
}

/* Whether a queue has a command that may run. */
bool
spool_command_may_run(SpoolQueue *queue)
{
	return spool_command_problem(queue) == NULL;
}

/* Whether this worker is to run a queue's jobs: those of its role. */
bool
spool_pass_wanted(SpoolQueue *queue)
{
	return queue->workers > 0 && queue->owner == GetUserId();
}

/* A stream for a worker to look at next; all of them if there are too many. */
static void
add_hint(SpoolPass *pass, int64 stream)
{
	for (int i = 0; i < pass->nhints; i++)
		if (pass->hints[i] == stream)
			return;
	if (pass->nhints < SPOOL_MAX_BATCH)
		pass->hints[pass->nhints++] = stream;
	else
		pass->all = true;
}

/*
 * Choose what a worker looks at: what others hint at comes before what it has
 * itself, so that a stream with many packets does not keep others waiting.
 * If another worker may come, half is left to it.
 */
static void
choose_streams(SpoolPass *pass, SpoolQueue *queue)
{
	SpoolWork	work;
	int64		mine[SPOOL_MAX_BATCH];
	int			nmine = pass->nhints;

	memcpy(mine, pass->hints, nmine * sizeof(int64));
	spool_work_take(pass->queue_id, queue->program != NULL ? 1 :
					SPOOL_MAX_HINTS, &work);
	pass->all |= work.all;
	pass->nhints = 0;
	for (int i = 0; i < work.nstreams; i++)
		add_hint(pass, work.streams[i]);
	for (int i = 0; i < nmine; i++)
		add_hint(pass, mine[i]);
	pass->ntry = work.room && !pass->all ? (pass->nhints + 1) / 2 :
		pass->nhints;
}

/*
 * After the commit of a worker's dispatch: keep in mind which of its streams
 * may have more, and offer what it did not look at to all workers.
 */
static void
offer_rest(SpoolPass *pass, SpoolBatch *batch)
{
	SpoolDispatch *d = &batch->dispatch;
	int64		rest[SPOOL_MAX_BATCH + SPOOL_MAX_HINTS + 1];
	int64		own[SPOOL_MAX_HINTS];
	int			nrest = 0;
	int			nown = 0;
	ListCell   *cell;

	if (d->hints != NULL && spool_by_number(d->order))
		for (int i = d->tried; i < pass->nhints; i++)
			rest[nrest++] = pass->hints[i];
	for (int i = 0; i < d->nrest; i++)
		rest[nrest++] = d->rest[i];
	pass->all = d->others;
	pass->nhints = 0;
	foreach(cell, d->picks)
	{
		SpoolPick  *pick = lfirst(cell);

		if (nown < SPOOL_MAX_HINTS && d->order != ORDER_NONE)
			own[nown++] = pick->stream.id;
		if (pick->exhausted)
			continue;
		if (d->order == ORDER_NONE)
			rest[nrest++] = pick->stream.id;
		add_hint(pass, pick->stream.id);
	}
	spool_work_put(pass->queue_id, rest, nrest, pass->all, own, nown);
}

/* Whether a worker shall look elsewhere before it goes on here. */
static bool
time_is_over(SpoolPass *pass)
{
	return pass->worker &&
		(spool_work_stopping() || spool_work_elsewhere(pass->queue_id) ||
		 TimestampDifferenceExceeds(pass->started, GetCurrentTimestamp(),
									MAX_PASS_MS));
}

/* Dispatch the next batch, if there is anything to run. */
static void
dispatch(SpoolPass *pass)
{
	SpoolQueue *queue = spool_queue_lookup(pass->name, true);

	/* the lock keeps the queue, but it was given way */
	if (queue == NULL || queue->id != pass->queue_id ||
		pass->left <= 0 || pass->stopped)
		return;

	/* what was settled in this transaction is committed first */
	pass->refused = !spool_command_may_run(queue) ||
		(pass->worker && (queue->paused || !spool_pass_wanted(queue)));
	if (pass->refused || (pass->batch != NULL && time_is_over(pass)))
		return;
	if (pass->worker)
		choose_streams(pass, queue);
	pass->next = spool_batch_dispatch(pass, queue);
	if (pass->next == NULL)
	{
		/* nothing was found there */
		pass->all = false;
		pass->nhints -= pass->ntry;
		memmove(pass->hints, pass->hints + pass->ntry,
				pass->nhints * sizeof(int64));
	}
}

/* Let those have the queue's lock who wait for it; nothing is dispatched. */
static void
give_way(SpoolPass *pass)
{
	spool_queue_session_unlock(pass->queue_id, pass->lockmode);
	spool_queue_session_lock(pass->queue_id, pass->lockmode);
}

/* The loop. */
static void
run(SpoolPass *pass)
{
	begin_transaction();
	dispatch(pass);
	commit(pass);
	while (pass->batch != NULL)
	{
		bool		program = pass->batch->dispatch.queue->program != NULL;

		if (pass->worker)
			offer_rest(pass, pass->batch);
		if (program)
			spool_batch_run_program(pass, pass->batch);
		begin_transaction();
		if (!program)
			spool_batch_run_handlers(pass, pass->batch);
		spool_batch_settle(pass, pass->batch);
		if (spool_queue_has_waiters(pass->queue_id, pass->lockmode))
		{
			commit(pass);
			give_way(pass);
			begin_transaction();
		}
		dispatch(pass);
		commit(pass);
	}
	if (pass->all || pass->nhints > 0)
		spool_work_put(pass->queue_id, pass->hints, pass->nhints, pass->all,
					   NULL, 0);
}

/* After an error: take the batch back and stop being a runner. */
static void
give_up(SpoolPass *pass)
{
	PG_TRY();
	{
		pass->next = NULL;
		if (pass->batch != NULL)
		{
			begin_transaction();
			spool_batch_take_back(pass, pass->batch);
			commit(pass);
		}
	}
	PG_CATCH();
	{
		spool_runner_end(pass->runner);
		PG_RE_THROW();
	}
	PG_END_TRY();
	spool_runner_end(pass->runner);
}

/* Hold a lock for the session that keeps the extension from being dropped. */
static void
extension_lock(bool lock)
{
	LockRelId	relid;

	relid.relId = spool_relation_oid("queue");
	relid.dbId = MyDatabaseId;
	if (lock)
		LockRelationIdForSession(&relid, AccessShareLock);
	else
		UnlockRelationIdForSession(&relid, AccessShareLock);
}

/*
 * Run as a runner, and clean up in whatever way it ends.  The caller is in a
 * transaction that has done nothing yet, and so it is on return.
 */
void
spool_pass_run(SpoolPass *pass)
{
	pass->hints = palloc(SPOOL_MAX_BATCH * sizeof(int64));
	extension_lock(true);
	spool_queue_session_lock(pass->queue_id, pass->lockmode);
	pass->runner = spool_runner_begin(pass->queue_id);
	PG_TRY();
	{
		run(pass);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(pass->context);
		error = CopyErrorData();
		FlushErrorState();
		/* the error may have left a statement of ours within its own SPI */
		while (!SPI_inside_nonatomic_context() &&
			   SPI_finish() == SPI_OK_FINISH)
			;
		while (ActiveSnapshotSet())
			PopActiveSnapshot();
		SPI_rollback();
		MemoryContextSwitchTo(pass->context);
		give_up(pass);
		ReThrowError(error);
	}
	PG_END_TRY();
	spool_runner_end(pass->runner);
	spool_queue_session_unlock(pass->queue_id, pass->lockmode);
	extension_lock(false);
}
