/*-------------------------------------------------------------------------
 * process.c
 *	  CALL process: a pass over a queue.
 *
 * The call makes one pass (pass.c) over what was there when it began: it tries
 * each stream's head once, whether or not its retry is due, and after a
 * failure goes on with the other streams.  It ends with the first failure as
 * its error.  Before the pass, packets of the queue that are due are moved into
 * their streams (schedule.c), in transactions of their own.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "args.h"
#include "pass.h"
#include "program.h"
#include "schedule.h"
#include "spiutil.h"
#include "spool.h"

PG_FUNCTION_INFO_V1(spool_process);

static void check_command(SpoolQueue *queue);
static void open_call(FunctionCallInfo fcinfo, SpoolPass *pass);
static void move_scheduled(SpoolPass *pass);
static void raise_failure(SpoolPass *pass);

/* The error that says why a command may not run; nothing if it may. */
static void
check_command(SpoolQueue *queue)
{
	if (spool_command_may_run(queue))
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

/* Check the arguments and rights of a call. */
static void
open_call(FunctionCallInfo fcinfo, SpoolPass *pass)
{
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
	pass->name = pstrdup(queue->name);
	pass->queue_id = queue->id;
	pass->order_by = spool_arg_text(fcinfo, 2, NULL);
	pass->lockmode =
		spool_dispatch_order(queue, pass->order_by) == queue->order ?
		QUEUE_CONSUME : QUEUE_OVERRIDE;
	pass->left = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT32(1);
	pass->started = GetCurrentTimestamp();
	pass->round.context = pass->context;
	info.keysize = sizeof(int64);
	info.entrysize = sizeof(int64);
	info.hcxt = pass->context;
	pass->except = hash_create("spool streams that failed", 16, &info,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * Move the queue's packets that are due into their streams.  What is there
 * then belongs to the pass.
 */
static void
move_scheduled(SpoolPass *pass)
{
	int			moved;

	do
	{
		XactIsoLevel = XACT_READ_COMMITTED;
		PushActiveSnapshot(GetTransactionSnapshot());
		moved = spool_schedule_move_queue(pass->queue_id);
		pass->mark = spool_nextval("packet_id_seq");
		PopActiveSnapshot();
		SPI_commit();
		MemoryContextSwitchTo(pass->context);
	} while (moved > 0);
}

/* Raise what the pass could not do, after it did the rest. */
static void
raise_failure(SpoolPass *pass)
{
	if (pass->failure != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("%s", pass->failed_job),
				 errdetail("%s", pass->failure),
				 errhint("The packet stays at the head of its stream; see spool.attempts.")));
	if (pass->refused)
		check_command(spool_queue_lookup(pass->name, false));
	if (pass->conflict != NULL && pass->processed == 0)
		spool_dispatch_raise_conflict(pass->conflict);
}

/* CALL process(queue, max_jobs, order_by, INOUT processed) */
Datum
spool_process(PG_FUNCTION_ARGS)
{
	SpoolPass	pass;
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
	memset(&pass, 0, sizeof(pass));
	pass.context = AllocSetContextCreate(CurrentMemoryContext, "spool pass",
										 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(pass.context);
	open_call(fcinfo, &pass);
	SPI_commit();
	move_scheduled(&pass);
	spool_pass_run(&pass);
	raise_failure(&pass);
	SPI_finish();

	result = Int64GetDatum(pass.processed);
	return spool_result_row(fcinfo, &result, &null);
}
