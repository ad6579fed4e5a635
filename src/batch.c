/*-------------------------------------------------------------------------
 * batch.c
 *	  One batch of jobs: dispatch, run, settle.
 *
 * Dispatching appends to each stream a state that names the runner and what
 * it will run; a queue without order moves its packets to kept as running
 * instead.  The caller commits, and the jobs are the runner's.
 *
 * Settling locks all its streams, checks that their newest states still name
 * the runner, and consumes each job or counts a failed attempt.  A state with
 * run_jobs = 0 tells that set_next_seq came while the jobs ran: its cursor
 * stays.  Streams are locked in order of their names, as by all who wait for
 * several.
 *
 * A crash in between leaves states and kept packets that name a dead runner;
 * who looks next takes over (dispatch.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "batch.h"
#include "handler.h"
#include "history.h"
#include "program.h"
#include "settle.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "state.h"
#include "take.h"

/* How long a worker's batch takes, if its jobs are short enough. */
#define BATCH_MS	100

static int	compare_names(const ListCell *a, const ListCell *b);
static void record_running(SpoolPass *pass, SpoolDispatch *d);
static void record_dispatch(SpoolPass *pass, SpoolDispatch *d);
static bool has_crashed(SpoolJob *job, SpoolAttempt *attempt);
static bool pick_failed(SpoolBatch *batch, int upto);
static void show_job(SpoolPass *pass, SpoolBatch *batch, SpoolJob *job);
static void set_pace(SpoolPass *pass, TimestampTz started);
static void settle_picks(SpoolPass *pass, SpoolDispatch *d);
static void taken_over(SpoolDispatch *d, SpoolPick *pick);
static void note_failure(SpoolPass *pass, SpoolDispatch *d, SpoolJob *job,
						 SpoolAttempt *attempt);

/* The order in which whoever waits for several streams locks them. */
static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(((SpoolPick *) lfirst(a))->stream.name,
				  ((SpoolPick *) lfirst(b))->stream.name);
}

/*
 * Dispatch jobs of a queue to the runner of the pass.  NULL if there is
 * nothing to run.  The batch outlives the transaction.
 */
SpoolBatch *
spool_batch_dispatch(SpoolPass *pass, SpoolQueue *queue)
{
	MemoryContext context = AllocSetContextCreate(pass->context,
												  "spool batch",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	SpoolBatch *batch = palloc0(sizeof(SpoolBatch));
	SpoolDispatch *d = &batch->dispatch;

	batch->context = context;
	d->queue = spool_queue_copy(queue);
	d->order = spool_dispatch_order(queue, pass->order_by);
	d->override = d->order != queue->order;
	d->mode = DISPATCH_RUN;
	d->limit = queue->program != NULL ? 1 :
		Min(pass->left, pass->worker ? pass->pace : SPOOL_MAX_BATCH);
	d->mark = pass->mark;
	d->until = pass->worker ? DT_NOEND : pass->started;
	d->except = pass->except;
	d->round = pass->worker ? NULL : &pass->round;
	d->early = !pass->worker;
	d->watching = pass->worker;
	if (pass->worker && !pass->all)
	{
		d->hints = palloc(SPOOL_MAX_BATCH * sizeof(int64));
		memcpy(d->hints, pass->hints, pass->nhints * sizeof(int64));
		d->nhints = pass->ntry;
	}
	spool_dispatch(d, NULL);
	list_sort(d->picks, compare_names); /* settling locks in this order */
	record_dispatch(pass, d);
	spool_picks_finish(d, d->picks);
	batch->attempts = palloc0((d->njobs + 1) * sizeof(SpoolAttempt));
	batch->ran = palloc0((d->njobs + 1) * sizeof(bool));
	MemoryContextSwitchTo(old);

	if (d->njobs > 0)
		return batch;
	if (d->conflict[0] != 0)
		pass->conflict = d;		/* the pass ends here */
	else
		MemoryContextDelete(context);
	return NULL;
}

/* Make the packets of a queue without order name the runner. */
static void
record_running(SpoolPass *pass, SpoolDispatch *d)
{
	SpoolKept  *running = palloc0((d->njobs + 1) * sizeof(SpoolKept));

	for (int i = 0; i < d->njobs; i++)
	{
		running[i].state = KEPT_RUNNING;
		running[i].attempts = d->jobs[i]->attempts;
		running[i].runner = pass->runner;
	}
	spool_jobs_lend(d->jobs, running, d->njobs);
	pfree(running);
}

/* Make each stream's next state name the runner and what it will run. */
static void
record_dispatch(SpoolPass *pass, SpoolDispatch *d)
{
	if (d->order == ORDER_NONE && !d->override)
	{
		record_running(pass, d);
		return;
	}
	for (int i = 0; i < d->njobs; i++)
	{
		SpoolJob   *job = d->jobs[i];
		SpoolState *state = &job->pick->state;

		if (state->runner != pass->runner)
		{
			state->runner = pass->runner;
			state->run_since = GetCurrentTimestamp();
			state->run_packet = job->row.packet_id;
			state->run_jobs = 0;
			state->run_last = PG_INT64_MIN;
		}
		state->run_jobs++;
		if (d->njobs > 1)
			state->solo = -1;	/* a crash may be another's fault */
		if (!job->ahead)
			state->run_last = Max(state->run_last, job->row.position);
		job->pick->changed = true;
	}
}

/*
 * A job whose last attempt crashed is settled as that, without being run
 * again.
 */
static bool
has_crashed(SpoolJob *job, SpoolAttempt *attempt)
{
	if (!job->crashed)
		return false;
	memset(attempt, 0, sizeof(SpoolAttempt));
	attempt->outcome = OUTCOME_CRASHED;
	attempt->message = pstrdup(job->pick->state.failure ?
							   job->pick->state.failure : RUNNER_DIED);
	job->attempts--;
	return true;
}

/* Whether an earlier job of the batch keeps job upto from being run. */
static bool
pick_failed(SpoolBatch *batch, int upto)
{
	SpoolDispatch *d = &batch->dispatch;

	if (d->order == ORDER_NONE && !d->override)
		return false;
	for (int i = 0; i < upto; i++)
	{
		if (batch->ran[i] && batch->attempts[i].outcome == OUTCOME_OK)
			continue;
		if (!d->override && d->jobs[i]->pick != d->jobs[upto]->pick)
			continue;
		if (!batch->ran[i] || d->queue->on_error == ON_ERROR_RETRY ||
			!spool_job_last_attempt(d->queue, d->jobs[i]))
			return true;
	}
	return false;
}

/*
 * Show in pg_stat_activity and in the view workers what a worker runs.  What
 * jobs of one stream share is written once.
 */
static void
show_job(SpoolPass *pass, SpoolBatch *batch, SpoolJob *job)
{
	static char activity[256];
	static int	prefix;

	if (!pass->worker)
		return;
	spool_work_running(job->pick->stream.id, job->row.seq);
	if (!pgstat_track_activities)
		return;
	if (batch->shown != job->pick)
	{
		prefix = snprintf(activity, sizeof(activity) - MAXINT8LEN,
						  "queue \"%s\", stream \"%s\", job ",
						  batch->dispatch.queue->name,
						  job->pick->stream.name);
		prefix = pg_mbcliplen(activity, strlen(activity), prefix);
		batch->shown = job->pick;
	}
	(void) pg_lltoa(job->row.seq, activity + prefix);
	pgstat_report_activity(STATE_RUNNING, activity);
}

/*
 * A worker's batch is of as many jobs as take some time, so that slow ones are
 * committed soon and shared with other workers.
 */
static void
set_pace(SpoolPass *pass, TimestampTz started)
{
	int64		ms = (GetCurrentTimestamp() - started) / 1000;

	if (ms > BATCH_MS)
		pass->pace = (int) Max(pass->pace * BATCH_MS / ms, 1);
	else
		pass->pace = Min(2 * pass->pace, SPOOL_MAX_BATCH);
}

/* Run the batch's jobs by the queue's handler. */
void
spool_batch_run_handlers(SpoolPass *pass, SpoolBatch *batch)
{
	SpoolDispatch *d = &batch->dispatch;
	TupleDesc	tupdesc = lookup_rowtype_tupdesc(spool_type_oid("job"), -1);
	MemoryContext context = AllocSetContextCreate(batch->context,
												  "spool job",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	TimestampTz started = GetCurrentTimestamp();
	SpoolHandler handler;

	spool_handler_begin(&handler, d->queue);
	for (int i = 0; i < d->njobs; i++)
	{
		SpoolJob   *job = d->jobs[i];
		SpoolAttempt *attempt = &batch->attempts[i];

		CHECK_FOR_INTERRUPTS();
		if (pick_failed(batch, i))
			continue;
		batch->ran[i] = true;
		MemoryContextSwitchTo(context);
		if (!has_crashed(job, attempt) &&
			!spool_attempt_without_command(job->header.kind, attempt))
		{
			Datum		datum = spool_job_datum(d->queue, job, tupdesc);

			show_job(pass, batch, job);
			spool_handler_run(&handler, datum, attempt);
		}
		if (attempt->message != NULL)
			attempt->message = MemoryContextStrdup(batch->context,
												   attempt->message);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(batch->context);
	spool_handler_end(&handler);
	ReleaseTupleDesc(tupdesc);
	MemoryContextDelete(context);
	MemoryContextSwitchTo(old);
	set_pace(pass, started);
}

/* Run the batch's only job by the queue's program, without a snapshot. */
void
spool_batch_run_program(SpoolPass *pass, SpoolBatch *batch)
{
	SpoolDispatch *d = &batch->dispatch;
	SpoolJob   *job = d->jobs[0];
	SpoolProgramRun run;
	MemoryContext old = MemoryContextSwitchTo(batch->context);

	batch->ran[0] = true;
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
	if (!has_crashed(job, &batch->attempts[0]) &&
		!spool_attempt_without_command(job->header.kind, &batch->attempts[0]))
	{
		show_job(pass, batch, job);
		spool_program_run(&run, &batch->attempts[0]);
	}
	MemoryContextSwitchTo(old);
}

/* Record what came of the batch. */
void
spool_batch_settle(SpoolPass *pass, SpoolBatch *batch)
{
	SpoolDispatch *d = &batch->dispatch;
	MemoryContext old = MemoryContextSwitchTo(batch->context);

	if (d->order != ORDER_NONE || d->override)
		settle_picks(pass, d);
	for (int i = 0; i < d->njobs; i++)
	{
		if (!batch->ran[i])
			continue;
		pass->left--;
		if (spool_job_settle(d, d->jobs[i], &batch->attempts[i], 0))
			pass->processed++;
		else
			note_failure(pass, d, d->jobs[i], &batch->attempts[i]);
	}
	spool_picks_finish(d, d->picks);
	MemoryContextSwitchTo(old);
}

/*
 * Lock all streams again, then read their states, which must still name this
 * runner.  If set_next_seq came in between, its cursor stays.  A stream that
 * gave no job, but whose state changed when it was looked at, was settled by
 * that.
 */
static void
settle_picks(SpoolPass *pass, SpoolDispatch *d)
{
	SpoolTables tables;
	ListCell   *cell;

	spool_tables_open(&tables);
	foreach(cell, d->picks)
	{
		SpoolPick  *pick = lfirst(cell);

		if (pick->njobs > 0 &&
			!spool_tables_lock_again(&tables, &pick->stream, pick->locked_by,
									 &pick->unchanged))
			taken_over(d, pick);
	}
	foreach(cell, d->picks)
	{
		SpoolPick  *pick = lfirst(cell);
		SpoolState *state = &pick->state;

		if (pick->njobs == 0)
			continue;
		if (!pick->unchanged &&
			!spool_states_newest(&tables.states, pick->stream.id, state))
			taken_over(d, pick);
		if (state->runner != pass->runner)
			taken_over(d, pick);
		pick->unchanged |= state->version == pick->before.version;
		spool_hint_holds(d->queue->id, pick->stream.id, state->run_since);
		pick->before = *state;
		pick->cursor_set = state->run_jobs == 0;
		spool_state_disown(state);
		pick->changed = true;
	}
	spool_tables_close(&tables);
}

/* The error that a stream whose jobs ran has another owner now. */
static void
taken_over(SpoolDispatch *d, SpoolPick *pick)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("stream \"%s\" of queue \"%s\" was taken over by another session",
					pick->stream.name, d->queue->name),
			 errdetail("The runner's lock was lost while its jobs ran.")));
}

/* A call tries no stream again that failed, and tells of the first failure. */
static void
note_failure(SpoolPass *pass, SpoolDispatch *d, SpoolJob *job,
			 SpoolAttempt *attempt)
{
	MemoryContext old;

	if (pass->worker)
		return;
	old = MemoryContextSwitchTo(pass->context);
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

/*
 * Take a dispatch back after an error that is no job's: nothing of it was
 * committed, or its outcome is not known and it will be repeated.
 */
void
spool_batch_take_back(SpoolPass *pass, SpoolBatch *batch)
{
	static SpoolPlan plan = {
		"UPDATE spool.kept SET state = 'ready', runner = 0"
		" WHERE runner = $1 AND state = 'running'",
		SPI_OK_UPDATE, PLAN_ARGS(INT8OID)
	};
	SpoolDispatch *d = &batch->dispatch;
	ListCell   *cell;
	Datum		values[1];

	if (d->order == ORDER_NONE && !d->override)
	{
		spool_hint(d->queue->id, SPOOL_ALL_STREAMS);
		values[0] = Int64GetDatum(pass->runner);
		(void) spool_exec_alone(&plan, values, NULL);
		return;
	}
	foreach(cell, d->picks)
	{
		SpoolPick  *pick = lfirst(cell);

		if (!spool_stream_lock(&pick->stream, LockWaitBlock) ||
			!spool_state_newest(pick->stream.id, &pick->state) ||
			pick->state.runner != pass->runner)
			continue;
		spool_hint(d->queue->id, pick->stream.id);
		spool_run_passed_over(d->queue, &pick->state);
		spool_state_disown(&pick->state);
		spool_state_append(&pick->state);
	}
}
