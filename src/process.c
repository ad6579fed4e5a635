/*-------------------------------------------------------------------------
 * process.c
 *	  CALL process: a pass over a queue.
 *
 * A pass is the life of one runner (runner.c) in one queue.  Its transactions:
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
 * whoever waits for it between two batches; so is one that keeps the extension
 * from being dropped, without giving way.  An abort releases both.  All transactions of a pass are
 * READ COMMITTED.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "args.h"
#include "batch.h"
#include "program.h"
#include "runner.h"
#include "spiutil.h"
#include "spool.h"

/* The call under way. */
typedef struct Call
{
	SpoolPass	pass;
	char	   *name;			/* of the queue */
	int32		queue_id;
	LOCKMODE	lockmode;
	bool		refused;		/* the command was taken away meanwhile */
	SpoolBatch *batch;			/* dispatched and committed, or NULL */
	SpoolBatch *next;			/* dispatched in this transaction, or NULL */
} Call;

PG_FUNCTION_INFO_V1(spool_process);

static void begin_transaction(void);
static void commit(Call *call);
static bool command_may_run(SpoolQueue *queue);
static void check_command(SpoolQueue *queue);
static void dispatch(Call *call);
static void give_way(Call *call);
static void run(Call *call);
static void give_up(Call *call);
static void run_as_runner(Call *call);
static void open_call(FunctionCallInfo fcinfo, Call *call);
static void raise_failure(Call *call);

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
commit(Call *call)
{
	PopActiveSnapshot();
	/* a commit leaves a little behind in the current context */
	if (call->batch != NULL)
		MemoryContextSwitchTo(call->batch->context);
	SPI_commit();
	MemoryContextSwitchTo(call->pass.context);
	if (call->batch != NULL)
		MemoryContextDelete(call->batch->context);
	call->batch = call->next;
	call->next = NULL;
}

/* Whether a queue has a command that may run. */
static bool
command_may_run(SpoolQueue *queue)
{
	return !queue->append_only &&
		(queue->handler != NULL || queue->program != NULL) &&
		SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(queue->owner)) &&
		(queue->program == NULL || spool_program_allowed(queue->owner));
}

/* The error that says why it has not; nothing if it has. */
static void
check_command(SpoolQueue *queue)
{
	if (command_may_run(queue))
		return;
	spool_queue_refuse_append_only(queue);
	if (queue->handler == NULL && queue->program == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue \"%s\" has no handler and no program",
						queue->name),
				 errhint("Set one with spool.set_handler or spool.set_program.")));
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(queue->owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("owner of queue \"%s\" does not exist any more",
						queue->name),
				 errhint("Give it another with spool.alter_queue(..., owner => ...).")));
	spool_program_check_rights(queue->owner);
}

/* Dispatch the next batch, if there is anything to run. */
static void
dispatch(Call *call)
{
	SpoolQueue *queue = spool_queue_lookup(call->name, true);

	/* the lock keeps the queue, but it was given way */
	if (queue == NULL || queue->id != call->queue_id ||
		call->pass.left <= 0 || call->pass.stopped)
		return;

	/* what was settled in this transaction is committed first */
	call->refused = !command_may_run(queue);
	if (!call->refused)
		call->next = spool_batch_dispatch(&call->pass, queue);
}

/* Let those have the queue's lock who wait for it; nothing is dispatched. */
static void
give_way(Call *call)
{
	spool_queue_session_unlock(call->queue_id, call->lockmode);
	spool_queue_session_lock(call->queue_id, call->lockmode);
	AcceptInvalidationMessages();
}

/* The loop. */
static void
run(Call *call)
{
	begin_transaction();
	dispatch(call);
	commit(call);
	while (call->batch != NULL)
	{
		bool		program = call->batch->dispatch.queue->program != NULL;

		if (program)
			spool_batch_run_program(call->batch);
		begin_transaction();
		if (!program)
			spool_batch_run_handlers(call->batch);
		spool_batch_settle(&call->pass, call->batch);
		if (spool_queue_has_waiters(call->queue_id, call->lockmode))
		{
			commit(call);
			give_way(call);
			begin_transaction();
		}
		dispatch(call);
		commit(call);
	}
}

/* After an error: take the batch back and stop being a runner. */
static void
give_up(Call *call)
{
	PG_TRY();
	{
		call->next = NULL;
		if (call->batch != NULL)
		{
			begin_transaction();
			spool_batch_take_back(&call->pass, call->batch);
			commit(call);
		}
	}
	PG_CATCH();
	{
		spool_runner_end(call->pass.runner);
		PG_RE_THROW();
	}
	PG_END_TRY();
	spool_runner_end(call->pass.runner);
}

/* Run as a runner, and clean up in whatever way it ends. */
static void
run_as_runner(Call *call)
{
	call->pass.runner = spool_runner_begin();
	PG_TRY();
	{
		run(call);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(call->pass.context);
		error = CopyErrorData();
		FlushErrorState();
		/* the error may have left a statement of ours within its own SPI */
		while (!SPI_inside_nonatomic_context())
			SPI_finish();
		while (ActiveSnapshotSet())
			PopActiveSnapshot();
		SPI_rollback();
		MemoryContextSwitchTo(call->pass.context);
		give_up(call);
		ReThrowError(error);
	}
	PG_END_TRY();
	spool_runner_end(call->pass.runner);
	spool_queue_session_unlock(call->queue_id, call->lockmode);
}

/* Check the arguments and rights of a call. */
static void
open_call(FunctionCallInfo fcinfo, Call *call)
{
	SpoolPass  *pass = &call->pass;
	SpoolQueue *queue;
	HASHCTL		info;

	spool_args_required(fcinfo, 1, "queue");
	if (!PG_ARGISNULL(1) && PG_GETARG_INT32(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_jobs must not be negative")));
	queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_PROCESS,
							 QUEUE_CONSUME);
	check_command(queue);
	call->name = pstrdup(queue->name);
	call->queue_id = queue->id;
	pass->order_by = spool_arg_text(fcinfo, 2, NULL);
	call->lockmode =
		spool_dispatch_order(queue, pass->order_by) == queue->order ?
		QUEUE_CONSUME : QUEUE_OVERRIDE;
	pass->left = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT32(1);
	pass->started = GetCurrentTimestamp();
	pass->mark = spool_nextval("packet_id_seq");
	info.keysize = sizeof(int64);
	info.entrysize = sizeof(int64);
	info.hcxt = pass->context;
	pass->except = hash_create("spool streams that failed", 16, &info,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Raise what the pass could not do, after it did the rest. */
static void
raise_failure(Call *call)
{
	SpoolPass  *pass = &call->pass;

	if (pass->failure != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("%s", pass->failed_job),
				 errdetail("%s", pass->failure),
				 errhint("The packet stays at the head of its stream; see spool.attempts.")));
	if (call->refused)
		check_command(spool_queue_lookup(call->name, false));
	if (pass->conflict != NULL && pass->processed == 0)
		spool_dispatch_raise_conflict(pass->conflict);
}

/* CALL process(queue, max_jobs, order_by, INOUT processed) */
Datum
spool_process(PG_FUNCTION_ARGS)
{
	Call		call;
	LockRelId	relid;
	Datum		result;
	bool		null = false;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		((CallContext *) fcinfo->context)->atomic || IsSubTransaction())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("spool.process must not be called in a transaction block"),
				 errdetail("It commits as it goes."),
				 errhint("Call it outside of BEGIN and of functions, or use spool.take in your transaction.")));

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	memset(&call, 0, sizeof(call));
	call.pass.context = AllocSetContextCreate(CurrentMemoryContext,
											  "spool pass",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(call.pass.context);
	open_call(fcinfo, &call);
	SPI_commit();

	/* DROP EXTENSION waits for the pass, as drop_queue does */
	relid.relId = spool_relation_oid("queue");
	relid.dbId = MyDatabaseId;
	LockRelationIdForSession(&relid, AccessShareLock);
	spool_queue_session_lock(call.queue_id, call.lockmode);
	run_as_runner(&call);
	UnlockRelationIdForSession(&relid, AccessShareLock);
	raise_failure(&call);
	SPI_finish();

	result = Int64GetDatum(call.pass.processed);
	return spool_result_row(fcinfo, &result, &null);
}
