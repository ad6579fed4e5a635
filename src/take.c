/*-------------------------------------------------------------------------
 * take.c
 *	  take and peek; packets handed out as rows.
 *
 * take consumes in the caller's transaction: its commit is "done", its
 * rollback brings all packets back.  The result is materialized, so that it
 * does not matter how many of its rows are read.  A packet that failed is
 * handed out whether or not its retry is due.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

#include "args.h"
#include "dispatch.h"
#include "history.h"
#include "spiutil.h"
#include "spool.h"
#include "take.h"

/* Columns of spool.job. */
enum
{
	JOB_PACKET_ID, JOB_QUEUE, JOB_STREAM, JOB_SEQ, JOB_CTIME, JOB_KIND,
	JOB_PARAMS, JOB_ENV, JOB_PAYLOAD, JOB_ATTEMPT, JOB_CLAIM_ID, JOB_COLUMNS
};

PG_FUNCTION_INFO_V1(spool_take);
PG_FUNCTION_INFO_V1(spool_peek);

static Datum no_params = (Datum) 0;
static Datum no_env = (Datum) 0;

static void make_empty(void);
static void job_values(SpoolQueue *queue, SpoolJob *job, Datum *values,
					   bool *nulls);
static LOCKMODE queue_lock(FunctionCallInfo fcinfo, DispatchMode mode,
						   const char *order_by);
static void record_fail_packet(SpoolDispatch *d, SpoolJob *job);
static Datum hand_out(FunctionCallInfo fcinfo, DispatchMode mode);

/* The parameters and the environment of most jobs, made once. */
static void
make_empty(void)
{
	static const PacketHeader none;
	MemoryContext old;
	bool		null;

	if (no_env != (Datum) 0)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	no_params = spool_packet_params(&none, false, &null);
	no_env = spool_packet_env(&none, false, &null);
	MemoryContextSwitchTo(old);
}

/*
 * A job's columns.  Parameters or environment that are no valid text in the
 * database's encoding are NULL; spool.params_raw and spool.env_raw of the
 * packet have the bytes.
 */
static void
job_values(SpoolQueue *queue, SpoolJob *job, Datum *values, bool *nulls)
{
	make_empty();
	memset(nulls, 0, JOB_COLUMNS * sizeof(bool));
	values[JOB_PACKET_ID] = Int64GetDatum(job->row.packet_id);
	values[JOB_QUEUE] = CStringGetTextDatum(queue->name);
	values[JOB_STREAM] = CStringGetTextDatum(job->pick->stream.name);
	values[JOB_SEQ] = Int64GetDatum(job->row.seq);
	values[JOB_CTIME] = TimestampTzGetDatum(spool_packet_ctime(&job->header));
	values[JOB_KIND] = CStringGetTextDatum(spool_packet_kind_name(job->header.kind));
	values[JOB_PARAMS] = job->header.params.count == 0 ? no_params :
		spool_packet_params(&job->header, false, &nulls[JOB_PARAMS]);
	values[JOB_ENV] = job->header.env.count == 0 ? no_env :
		spool_packet_env(&job->header, false, &nulls[JOB_ENV]);
	values[JOB_PAYLOAD] = spool_packet_payload(job->row.packet,
											   job->header.size);
	values[JOB_ATTEMPT] = Int32GetDatum(job->attempts + 1);
	values[JOB_CLAIM_ID] = Int64GetDatum(job->pick->claim);
	nulls[JOB_CLAIM_ID] = job->pick->claim == 0;
}

/* A job as a value of type spool.job. */
Datum
spool_job_datum(SpoolQueue *queue, SpoolJob *job, TupleDesc tupdesc)
{
	Datum		values[JOB_COLUMNS];
	bool		nulls[JOB_COLUMNS];

	job_values(queue, job, values, nulls);
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}

/*
 * The lock that a call needs.  An order override asks for its own at once:
 * two sessions that both held the weaker one would wait for each other.
 */
static LOCKMODE
queue_lock(FunctionCallInfo fcinfo, DispatchMode mode, const char *order_by)
{
	SpoolQueue *queue;

	if (mode == DISPATCH_PEEK)
		return QUEUE_LOOK;
	queue = spool_queue_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	spool_queue_check(queue, SPOOL_PROCESS);
	return spool_dispatch_order(queue, order_by) == queue->order ?
		QUEUE_CONSUME : QUEUE_OVERRIDE;
}

/* A Fail packet that the policy consumes is recorded as a failed attempt. */
static void
record_fail_packet(SpoolDispatch *d, SpoolJob *job)
{
	SpoolAttempt attempt;

	if (spool_attempt_without_command(job->header.kind, &attempt))
		spool_history_add(d->queue, job->pick->stream.name, job->row.seq,
						  job->row.packet_id, job->attempts + 1, &attempt);
}

/*
 * Look for jobs, for a function whose first arguments are queue and max_jobs.
 */
void
spool_hand_out_begin(FunctionCallInfo fcinfo, SpoolDispatch *d,
					 DispatchMode mode, const char *order_by,
					 const char *stream)
{
	if (PG_GETARG_INT32(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_jobs must not be negative")));

	memset(d, 0, sizeof(SpoolDispatch));
	d->mode = mode;
	d->early = !spool_owns(mode);
	d->limit = PG_GETARG_INT32(1);
	d->mark = PG_INT64_MAX;
	d->until = DT_NOEND;
	d->queue = spool_queue_open(PG_GETARG_TEXT_PP(0),
								mode == DISPATCH_PEEK ? SPOOL_READ :
								SPOOL_PROCESS,
								queue_lock(fcinfo, mode, order_by));
	if (mode != DISPATCH_PEEK)
		spool_queue_refuse_append_only(d->queue);
	d->order = spool_dispatch_order(d->queue, order_by);
	d->override = d->order != d->queue->order;
	if (d->override && mode != DISPATCH_PEEK)
		(void) spool_queue_reopen(&d->queue, QUEUE_OVERRIDE);

	InitMaterializedSRF(fcinfo, 0);
	spool_dispatch(d, stream);
}

/* Return the jobs found as rows, and consume what is to be consumed now. */
void
spool_hand_out_end(FunctionCallInfo fcinfo, SpoolDispatch *d)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext row_context;
	int			handed = 0;

	row_context = AllocSetContextCreate(CurrentMemoryContext, "spool job",
										ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < d->njobs; i++)
	{
		SpoolJob   *job = d->jobs[i];

		CHECK_FOR_INTERRUPTS();
		if (job->handed)
		{
			MemoryContext old = MemoryContextSwitchTo(row_context);
			Datum		values[JOB_COLUMNS];
			bool		nulls[JOB_COLUMNS];

			job_values(d->queue, job, values, nulls);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
								 nulls);
			MemoryContextSwitchTo(old);
			MemoryContextReset(row_context);
			handed++;
		}
		if (d->mode != DISPATCH_PEEK)
		{
			if (job->header.kind == PACKET_FAIL)
				record_fail_packet(d, job);
			spool_consume(d, job);
		}
	}
	if (d->mode != DISPATCH_PEEK)
		spool_picks_finish(d, d->picks);
	if (handed == 0 && d->conflict[0] != 0)
		spool_dispatch_raise_conflict(d);
}

/* take and peek(queue, max_jobs, order_by, stream) */
static Datum
hand_out(FunctionCallInfo fcinfo, DispatchMode mode)
{
	SpoolDispatch d;

	spool_args_required(fcinfo, 2, "queue", "max_jobs");
	spool_hand_out_begin(fcinfo, &d, mode, spool_arg_text(fcinfo, 2, NULL),
						 spool_arg_text(fcinfo, 3, NULL));
	spool_hand_out_end(fcinfo, &d);
	return (Datum) 0;
}

Datum
spool_take(PG_FUNCTION_ARGS)
{
	return hand_out(fcinfo, DISPATCH_TAKE);
}

Datum
spool_peek(PG_FUNCTION_ARGS)
{
	return hand_out(fcinfo, DISPATCH_PEEK);
}
