/*-------------------------------------------------------------------------
 * process.c
 *	  The loop that runs jobs: dispatch, run, settle.
 *
 * A pass is the life of one runner (runner.c) in one queue.  Its transactions:
 *
 *	dispatch	pick streams and append to each a state that names the runner
 *				and what it will run; commit
 *	run			handlers: all jobs of the batch, each in a subtransaction.
 *				A program: alone, with no snapshot and no transaction id
 *	settle		lock each stream, check that its state still names the
 *				runner, consume or count a failed attempt, and append; then
 *				dispatch the next batch; commit
 *
 * Handlers run in the transaction that settles them, so what they did and the
 * cursor are committed together: exactly once.  A program's outcome and the
 * cursor are committed together after it ended: at least once, and never two
 * at a time, because the supervisor holds a lock file of the stream.
 *
 * A crash leaves a state that names a dead runner; who looks next takes over
 * (dispatch.c).  A cancel takes the dispatch back, with no attempt counted.
 *
 * The queue's lock is held for the session during the pass and given way to
 * whoever waits for it between two batches.  All transactions of a pass are
 * READ COMMITTED.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "args.h"
#include "dispatch.h"
#include "handler.h"
#include "history.h"
#include "program.h"
#include "runner.h"
#include "spiutil.h"
#include "spool.h"

/* One pass over a queue. */
typedef struct Pass
{
	char	   *name;			/* of the queue */
	char	   *order_by;		/* the call's order, or NULL */
	LOCKMODE	lockmode;
	int32		queue_id;
	int64		runner;
	int64		left;			/* jobs that may still be taken */
	int64		processed;
	int64		mark;			/* packets that came later wait */
	TimestampTz started;
	HTAB	   *except;			/* streams that failed in this pass */
	bool		stopped;		/* a failure ended the whole pass */
	bool		refused;		/* the command was taken away meanwhile */
	char	   *failure;		/* message of the first failure, or NULL */
	char	   *failed_job;		/* what failed */
	MemoryContext context;		/* of the pass */
	MemoryContext batch_context;
	SpoolDispatch *batch;		/* dispatched, not settled; or NULL */
	SpoolDispatch *conflict;	/* the last look, if it met one; or NULL */
	SpoolAttempt *attempts;		/* of its jobs */
	bool	   *ran;			/* whether a job was tried */
} Pass;

PG_FUNCTION_INFO_V1(spool_process);

static void pass_commit(Pass *pass);
static void pass_begin_transaction(void);
static SpoolQueue *pass_queue(Pass *pass);
static int	compare_names(const ListCell *a, const ListCell *b);
static void pass_dispatch(Pass *pass);
static void record_dispatch(Pass *pass, SpoolDispatch *d);
static void run_handlers(Pass *pass);
static void run_program(Pass *pass);
static bool died_at_last(SpoolJob *job, SpoolAttempt *attempt);
static bool pick_failed(Pass *pass, int upto);
static void pass_settle(Pass *pass);
static void settle_pick(Pass *pass, SpoolDispatch *d, SpoolPick *pick);
static void settle_job(Pass *pass, SpoolDispatch *d, SpoolJob *job,
					   SpoolAttempt *attempt);
static void note_failure(Pass *pass, SpoolDispatch *d, SpoolJob *job,
						 SpoolAttempt *attempt);
static void pass_give_way(Pass *pass);
static void take_back(Pass *pass);
static void pass_cancel(Pass *pass);
static void pass_run(Pass *pass);
static void pass_do(Pass *pass);
static bool command_may_run(SpoolQueue *queue);
static void check_command(SpoolQueue *queue);

/* Begin the work of a transaction. */
static void
pass_begin_transaction(void)
{
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* Commit, and be in a new transaction that has no snapshot yet. */
static void
pass_commit(Pass *pass)
{
	PopActiveSnapshot();
	/* a commit leaves a little behind in the current context */
	if (pass->batch_context != NULL)
		MemoryContextSwitchTo(pass->batch_context);
	SPI_commit();
	MemoryContextSwitchTo(pass->context);
}

/* The queue of the pass, which its lock keeps from being dropped; or NULL. */
static SpoolQueue *
pass_queue(Pass *pass)
{
	SpoolQueue *queue = spool_queue_lookup(pass->name, true);

	return queue != NULL && queue->id == pass->queue_id ? queue : NULL;
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

/* The order in which whoever waits for several streams locks them. */
static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(((SpoolPick *) lfirst(a))->stream.name,
				  ((SpoolPick *) lfirst(b))->stream.name);
}

/* Dispatch the next batch; pass->batch is NULL if there is none. */
static void
pass_dispatch(Pass *pass)
{
	SpoolQueue *queue = pass_queue(pass);
	MemoryContext context;
	MemoryContext old;
	SpoolDispatch *d;
	ListCell   *cell;

	MemoryContextSwitchTo(pass->context);
	pass->batch = NULL;
	if (queue == NULL || pass->left <= 0 || pass->stopped)
		return;
	if (!command_may_run(queue))
	{
		/* what was settled in this transaction is committed first */
		pass->refused = true;
		return;
	}

	context = AllocSetContextCreate(pass->context, "spool batch",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	d = palloc0(sizeof(SpoolDispatch));
	d->queue = queue = spool_queue_copy(queue);
	d->order = spool_dispatch_order(queue, pass->order_by);
	d->override = d->order != queue->order;
	d->mode = DISPATCH_RUN;
	d->limit = queue->program != NULL ? 1 :
		Min(pass->left, SPOOL_MAX_BATCH);
	d->mark = pass->mark;
	d->until = pass->started;
	d->except = pass->except;
	spool_dispatch(d, NULL);
	list_sort(d->picks, compare_names); /* settling locks in this order */
	record_dispatch(pass, d);
	foreach(cell, d->picks)
		spool_pick_finish(d, lfirst(cell));
	MemoryContextSwitchTo(old);

	if (pass->batch_context != NULL)
		MemoryContextDelete(pass->batch_context);
	pass->batch_context = context;
	if (d->njobs == 0)
	{
		if (d->conflict[0] != 0)
			pass->conflict = d;
		return;
	}
	pass->batch = d;
	pass->attempts = MemoryContextAllocZero(context,
											d->njobs * sizeof(SpoolAttempt));
	pass->ran = MemoryContextAllocZero(context, d->njobs * sizeof(bool));
}

/* Make each stream's next state name the runner and what it will run. */
static void
record_dispatch(Pass *pass, SpoolDispatch *d)
{
	for (int i = 0; i < d->njobs; i++)
	{
		SpoolJob   *job = d->jobs[i];
		SpoolState *state = &job->pick->state;

		if (d->order == ORDER_NONE && !d->override)
		{
			SpoolKept	running = {
				.state = KEPT_RUNNING,
				.attempts = job->attempts,
				.runner = pass->runner
			};

			if (job->ahead)
				spool_kept_set(job->row.packet_id, &running);
			else
			{
				spool_kept_add(&job->row, &running);
				spool_store_remove(&job->row);
				job->ahead = true;
			}
			continue;
		}
		if (state->runner != pass->runner)
		{
			state->runner = pass->runner;
			state->run_packet = job->row.packet_id;
			state->run_jobs = 0;
			state->run_last = PG_INT64_MIN;
		}
		state->run_jobs++;
		if (!job->ahead)
			state->run_last = Max(state->run_last, job->row.position);
		job->pick->changed = true;
	}
}

/*
 * A job whose runner died at the last attempt is settled as that, without
 * being run again.
 */
static bool
died_at_last(SpoolJob *job, SpoolAttempt *attempt)
{
	if (!job->died)
		return false;
	memset(attempt, 0, sizeof(SpoolAttempt));
	attempt->outcome = OUTCOME_CRASHED;
	attempt->message = pstrdup("the runner died");
	job->attempts--;
	return true;
}

/* Whether an earlier job of the batch keeps job upto from being run. */
static bool
pick_failed(Pass *pass, int upto)
{
	SpoolDispatch *d = pass->batch;

	if (d->order == ORDER_NONE && !d->override)
		return false;
	for (int i = 0; i < upto; i++)
	{
		if (pass->ran[i] && pass->attempts[i].outcome == OUTCOME_OK)
			continue;
		if (!d->override && d->jobs[i]->pick != d->jobs[upto]->pick)
			continue;
		if (!pass->ran[i] || d->queue->on_error == ON_ERROR_RETRY ||
			!spool_job_last_attempt(d->queue, d->jobs[i]))
			return true;
	}
	return false;
}

/* Run the batch's jobs by the queue's handler. */
static void
run_handlers(Pass *pass)
{
	SpoolDispatch *d = pass->batch;
	TupleDesc	tupdesc = lookup_rowtype_tupdesc(spool_type_oid("job"), -1);
	MemoryContext context = AllocSetContextCreate(pass->batch_context,
												  "spool job",
												  ALLOCSET_DEFAULT_SIZES);
	SpoolHandler handler;

	MemoryContextSwitchTo(pass->batch_context);
	spool_handler_begin(&handler, d->queue);
	for (int i = 0; i < d->njobs; i++)
	{
		SpoolJob   *job = d->jobs[i];
		SpoolAttempt *attempt = &pass->attempts[i];

		CHECK_FOR_INTERRUPTS();
		if (pick_failed(pass, i))
			continue;
		pass->ran[i] = true;
		MemoryContextSwitchTo(context);
		if (!died_at_last(job, attempt) &&
			!spool_attempt_without_command(job->header.kind, attempt))
		{
			Datum		datum = spool_job_datum(d->queue, job, tupdesc);

			spool_handler_run(&handler, datum, attempt);
		}
		if (attempt->message != NULL)
			attempt->message = MemoryContextStrdup(pass->batch_context,
												   attempt->message);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(pass->batch_context);
	spool_handler_end(&handler);
	ReleaseTupleDesc(tupdesc);
	MemoryContextDelete(context);
}

/* Run the batch's only job by the queue's program, without a snapshot. */
static void
run_program(Pass *pass)
{
	SpoolDispatch *d = pass->batch;
	SpoolJob   *job = d->jobs[0];
	SpoolProgramRun run;

	MemoryContextSwitchTo(pass->batch_context);
	pass->ran[0] = true;
	if (died_at_last(job, &pass->attempts[0]) ||
		spool_attempt_without_command(job->header.kind, &pass->attempts[0]))
		return;
	run.path = d->queue->program;
	run.nargs = d->queue->nargs;
	run.args = d->queue->args;
	run.packet = job->row.packet;
	run.queue = d->queue->name;
	run.allow_job_params = d->queue->allow_job_params;
	run.ignore_payload = d->queue->ignore_payload;
	run.timeout_ms = d->queue->timeout_ms;
	run.lock_name = d->order == ORDER_NONE ?
		psprintf("packet " INT64_FORMAT, job->row.packet_id) :
		psprintf("stream " INT64_FORMAT, job->pick->stream.id);
	spool_program_run(&run, &pass->attempts[0]);
}

/* Record what came of the batch. */
static void
pass_settle(Pass *pass)
{
	SpoolDispatch *d = pass->batch;
	ListCell   *cell;

	MemoryContextSwitchTo(pass->batch_context);
	foreach(cell, d->picks)
		settle_pick(pass, d, lfirst(cell));
	for (int i = 0; i < d->njobs; i++)
		if (pass->ran[i])
			settle_job(pass, d, d->jobs[i], &pass->attempts[i]);
	foreach(cell, d->picks)
		spool_pick_finish(d, lfirst(cell));
	pass->batch = NULL;
}

/*
 * Lock a stream again and read its state, which must still name this runner.
 * If set_next_seq came in between, its cursor stays.
 */
static void
settle_pick(Pass *pass, SpoolDispatch *d, SpoolPick *pick)
{
	if (d->order == ORDER_NONE && !d->override)
		return;
	if (!spool_stream_lock(&pick->stream, LockWaitBlock) ||
		!spool_state_newest(pick->stream.id, &pick->state) ||
		pick->state.runner != pass->runner)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("stream \"%s\" of queue \"%s\" was taken over by another session",
						pick->stream.name, pass->name),
				 errdetail("The runner's lock was lost while its jobs ran.")));
	pick->cursor_set = pick->state.run_jobs == 0;
	pick->state.runner = 0;
	pick->state.run_packet = 0;
	pick->state.run_jobs = 0;
	pick->changed = true;
}

/* Settle one job that was tried. */
static void
settle_job(Pass *pass, SpoolDispatch *d, SpoolJob *job, SpoolAttempt *attempt)
{
	SpoolState *state = &job->pick->state;
	bool		none = d->order == ORDER_NONE && !d->override;

	pass->left--;
	if (attempt->started_at != 0)	/* else it is recorded already */
		spool_history_add(d->queue, job->pick->stream.name, job->row.seq,
						  job->row.packet_id, job->attempts + 1, attempt);
	if (!job->ahead && !spool_store_find(&job->row))
	{
		/* the cursor was set past it, and maintain has removed it */
		pass->processed++;
		pass->left--;
		return;
	}
	if (attempt->outcome == OUTCOME_OK)
		job->fate = FATE_DONE;
	else
	{
		bool		counted = attempt->outcome != OUTCOME_START_FAILED;

		if (counted && spool_job_last_attempt(d->queue, job))
			spool_job_fail(d, job, REASON_FAILED,
						   attempt->sqlstate ?
						   pstrdup(unpack_sql_state(attempt->sqlstate)) : NULL,
						   attempt->message);
		if (job->fate == FATE_NONE)
		{
			note_failure(pass, d, job, attempt);
			if (none)
			{
				SpoolKept	again = {
					.state = KEPT_READY,
					.message = attempt->message,
					.attempts = job->attempts + (counted ? 1 : 0)
				};

				spool_kept_set(job->row.packet_id, &again);
			}
			else if (counted)
			{
				state->attempts = job->attempts + 1;
				state->attempt_packet = job->row.packet_id;
				state->failure = attempt->message;
				state->solo = Max(state->solo - 1, 0);
			}
			return;
		}
	}
	pass->processed++;
	spool_consume(d, job);
}

/* Remember a failure that keeps a stream from going on. */
static void
note_failure(Pass *pass, SpoolDispatch *d, SpoolJob *job,
			 SpoolAttempt *attempt)
{
	MemoryContext old = MemoryContextSwitchTo(pass->context);

	if (d->order != ORDER_NONE)
		(void) hash_search(pass->except, &job->pick->stream.id, HASH_ENTER,
						   NULL);
	if (d->override)
		pass->stopped = true;
	if (pass->failure == NULL &&
		(d->queue->on_error == ON_ERROR_RETRY ||
		 attempt->outcome == OUTCOME_START_FAILED))
	{
		pass->failure = pstrdup(attempt->message ? attempt->message : "");
		pass->failed_job = psprintf("job " INT64_FORMAT " of stream \"%s\" of queue \"%s\" failed",
									job->row.seq, job->pick->stream.name,
									d->queue->name);
	}
	MemoryContextSwitchTo(old);
}

/* Let those have the queue's lock who wait for it; nothing is dispatched. */
static void
pass_give_way(Pass *pass)
{
	spool_queue_session_unlock(pass->queue_id, pass->lockmode);
	spool_queue_session_lock(pass->queue_id, pass->lockmode);
	AcceptInvalidationMessages();
}

/*
 * Take a dispatch back after an error that is no job's: nothing of it was
 * committed, or its outcome is not known and it will be repeated.
 */
static void
take_back(Pass *pass)
{
	static SpoolPlan plan = {
		"UPDATE spool.kept SET state = 'ready', runner = 0"
		" WHERE runner = $1 AND state = 'running'",
		SPI_OK_UPDATE, PLAN_ARGS(INT8OID)
	};
	SpoolDispatch *d = pass->batch;
	ListCell   *cell;
	Datum		values[1];

	if (d->order == ORDER_NONE && !d->override)
	{
		values[0] = Int64GetDatum(pass->runner);
		(void) spool_exec_alone(&plan, values, NULL);
	}
	else
		foreach(cell, d->picks)
	{
		SpoolPick  *pick = lfirst(cell);

		if (!spool_stream_lock(&pick->stream, LockWaitBlock) ||
			!spool_state_newest(pick->stream.id, &pick->state) ||
			pick->state.runner != pass->runner)
			continue;
		pick->state.runner = 0;
		pick->state.run_packet = 0;
		pick->state.run_jobs = 0;
		spool_state_append(&pick->state);
	}
}

/* Stop being a runner, whatever taking the dispatch back meets. */
static void
pass_cancel(Pass *pass)
{
	PG_TRY();
	{
		if (pass->batch != NULL)
		{
			pass_begin_transaction();
			take_back(pass);
			pass_commit(pass);
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

/* The loop. */
static void
pass_run(Pass *pass)
{
	pass_begin_transaction();
	pass_dispatch(pass);
	pass_commit(pass);
	while (pass->batch != NULL)
	{
		bool		program = pass->batch->queue->program != NULL;

		if (program)
			run_program(pass);
		pass_begin_transaction();
		if (!program)
			run_handlers(pass);
		pass_settle(pass);
		if (spool_queue_has_waiters(pass->queue_id, pass->lockmode))
		{
			pass_commit(pass);
			pass_give_way(pass);
			pass_begin_transaction();
		}
		pass_dispatch(pass);
		pass_commit(pass);
	}
}

/* Do a pass as a runner, and clean up in whatever way it ends. */
static void
pass_do(Pass *pass)
{
	PG_TRY();
	{
		pass_run(pass);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(pass->context);
		error = CopyErrorData();
		FlushErrorState();
		/* the error may have left a statement of ours within its own SPI */
		while (!SPI_inside_nonatomic_context())
			SPI_finish();
		while (ActiveSnapshotSet())
			PopActiveSnapshot();
		SPI_rollback();
		MemoryContextSwitchTo(pass->context);
		pass_cancel(pass);
		ReThrowError(error);
	}
	PG_END_TRY();
	spool_runner_end(pass->runner);
	spool_queue_session_unlock(pass->queue_id, pass->lockmode);
}

/* CALL process(queue, max_jobs, order_by, INOUT processed) */
Datum
spool_process(PG_FUNCTION_ARGS)
{
	Pass		pass;
	SpoolQueue *queue;
	SpoolOrder	order;
	HASHCTL		info;
	TupleDesc	tupdesc;
	Datum		result;
	bool		null = false;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		((CallContext *) fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("spool.process must not be called in a transaction block"),
				 errdetail("It commits as it goes."),
				 errhint("Call it outside of BEGIN and of functions, or use spool.take in your transaction.")));
	spool_args_required(fcinfo, 1, "queue");
	if (!PG_ARGISNULL(1) && PG_GETARG_INT32(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_jobs must not be negative")));

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	memset(&pass, 0, sizeof(pass));
	pass.context = AllocSetContextCreate(CurrentMemoryContext, "spool pass",
										 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(pass.context);
	queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_PROCESS,
							 QUEUE_CONSUME);
	check_command(queue);
	pass.name = pstrdup(queue->name);
	pass.queue_id = queue->id;
	pass.order_by = spool_arg_text(fcinfo, 2, NULL);
	order = spool_dispatch_order(queue, pass.order_by);
	pass.lockmode = order == queue->order ? QUEUE_CONSUME : QUEUE_OVERRIDE;
	pass.left = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT32(1);
	pass.started = GetCurrentTimestamp();
	pass.mark = spool_nextval("packet_id_seq");
	info.keysize = sizeof(int64);
	info.entrysize = sizeof(int64);
	info.hcxt = pass.context;
	pass.except = hash_create("spool streams that failed", 16, &info,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	SPI_commit();

	spool_queue_session_lock(pass.queue_id, pass.lockmode);
	pass.runner = spool_runner_begin();
	pass_do(&pass);
	if (pass.failure != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("%s", pass.failed_job),
				 errdetail("%s", pass.failure),
				 errhint("The packet stays at the head of its stream; see spool.attempts.")));
	if (pass.refused)
		check_command(spool_queue_lookup(pass.name, false));
	if (pass.conflict != NULL && pass.processed == 0)
		spool_dispatch_raise_conflict(pass.conflict);
	SPI_finish();

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	result = Int64GetDatum(pass.processed);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  &result, &null)));
}
