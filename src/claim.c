/*-------------------------------------------------------------------------
 * claim.c
 *	  Claims: jobs lent to workers outside for a time.
 *
 * A claim is an owner of one stream, as a runner is, but alive until its
 * lease ends.  It is a state that has its number as runner, the end of the
 * lease, and the ids of its packets; in a queue without order it is the
 * packets themselves, moved to kept as running.  claim() writes that in the
 * caller's transaction, which ends before the work begins.
 *
 * Whoever ends or changes a claim (ack.c) finds its stream by its number,
 * locks the stream, or the packets in kept, and only then sees whether the
 * claim still is what the newest state names.  Several are locked in order of
 * queues and names.  After the end of the lease the claim is still held until
 * the next who looks for work takes the stream over (reclaim.c); from then on
 * the state names another, and everything the old claim asks for is refused.
 *
 * What a claim has lies, by run_last:
 *
 *	a position		in the store, up to that position
 *	PG_INT64_MIN	anywhere: one packet ahead of the cursor, in kept, or
 *					those of an order override, in the store
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "args.h"
#include "claim.h"
#include "settle.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "take.h"

/* Columns of the index of claims and of spool.state. */
#define CLAIM_INDEX_RUNNER	1
#define STATE_STREAM		2

PG_FUNCTION_INFO_V1(spool_claim);

static void claim_lost(int64 id);
static void lend_packets(SpoolDispatch *d, TimestampTz deadline);
static void lend(SpoolDispatch *d, TimestampTz deadline);
static void lend_stream(SpoolPick *pick, TimestampTz deadline);
static int64 find_stream(SpoolPart *segments, const SpoolSnapshot *newest,
						 int64 claim);
static void find_streams(SpoolClaim *claims, int nclaims);
static int64 find_kept(int64 claim);
static int	compare_streams(const void *a, const void *b);
static void hold_stream(SpoolClaim *claim, SpoolTables *tables);
static void hold_kept(SpoolClaim *claim);
static SpoolJob *add_job(SpoolClaim *claim, int n, const SpoolRow *row);
static void load_by_id(SpoolClaim *claim);
static void load_scan(SpoolClaim *claim);

/* 55P03: somebody else has the jobs, or they were acknowledged. */
static void
claim_lost(int64 id)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("claim %lld is no longer held", (long long) id)));
}

/* The end of a lease that begins now; an argument that must be above 0. */
TimestampTz
spool_claim_lease(FunctionCallInfo fcinfo, int argno)
{
	Interval   *lease = PG_GETARG_INTERVAL_P(argno);

	spool_arg_check_interval(fcinfo, argno, "lease");
	if (lease->month == 0 && lease->day == 0 && lease->time == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lease must be greater than zero")));
	return spool_after(lease);
}

/* claim(queue, max_jobs, lease, order_by, stream) */
Datum
spool_claim(PG_FUNCTION_ARGS)
{
	SpoolDispatch d;
	TimestampTz deadline;

	spool_args_required(fcinfo, 3, "queue", "max_jobs", "lease");
	(void) spool_claim_lease(fcinfo, 2);	/* refused before anything else */
	spool_hand_out_begin(fcinfo, &d, DISPATCH_CLAIM,
						 spool_arg_text(fcinfo, 3, NULL),
						 spool_arg_text(fcinfo, 4, NULL));
	deadline = spool_claim_lease(fcinfo, 2);
	lend(&d, deadline);
	spool_hint_later(d.queue->id, SPOOL_ALL_STREAMS, deadline);
	spool_hand_out_end(fcinfo, &d);
	return (Datum) 0;
}

/* Give the jobs of a queue without order that are handed out to a claim. */
static void
lend_packets(SpoolDispatch *d, TimestampTz deadline)
{
	SpoolJob  **jobs = palloc_extended((d->njobs + 1) * sizeof(SpoolJob *),
									   MCXT_ALLOC_HUGE);
	SpoolKept  *running = palloc_extended((d->njobs + 1) * sizeof(SpoolKept),
										  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	char	   *role = GetUserNameFromId(GetUserId(), false);
	int			njobs = 0;

	for (int i = 0; i < d->njobs; i++)
	{
		SpoolJob   *job = d->jobs[i];

		if (!job->handed)
			continue;
		if (job->pick->claim == 0)
			job->pick->claim = spool_nextval("runner_id_seq");
		running[njobs].state = KEPT_RUNNING;
		running[njobs].attempts = job->attempts;
		running[njobs].runner = job->pick->claim;
		running[njobs].due = deadline;
		running[njobs].role = role;
		running[njobs].application = application_name;
		jobs[njobs++] = job;
	}
	spool_jobs_lend(jobs, running, njobs);
	pfree(running);
	pfree(jobs);
}

/* Give the jobs that are handed out to a claim of each stream. */
static void
lend(SpoolDispatch *d, TimestampTz deadline)
{
	if (d->order == ORDER_NONE && !d->override)
	{
		lend_packets(d, deadline);
		return;
	}
	for (int i = 0; i < d->njobs; i++)
	{
		SpoolJob   *job = d->jobs[i];
		SpoolPick  *pick = job->pick;

		if (!job->handed)
			continue;
		if (pick->claim == 0)
		{
			pick->claim = spool_nextval("runner_id_seq");
			lend_stream(pick, deadline);
		}
		if (pick->state.run_jobs++ == 0)
			pick->state.run_packet = job->row.packet_id;
		pick->state.claimed[pick->state.nclaimed++] = job->row.packet_id;
		if (!job->ahead && !d->override)
			pick->state.run_last = Max(pick->state.run_last,
									   job->row.position);
	}
}

/* Make a stream's next state name its claim, which has no jobs yet. */
static void
lend_stream(SpoolPick *pick, TimestampTz deadline)
{
	SpoolState *state = &pick->state;

	state->runner = pick->claim;
	state->run_since = GetCurrentTimestamp();
	state->run_jobs = 0;
	state->run_last = PG_INT64_MIN;
	state->deadline = deadline;
	state->claimed = palloc_extended(pick->njobs * sizeof(int64),
									 MCXT_ALLOC_HUGE);
	state->nclaimed = 0;
	state->role = GetUserNameFromId(GetUserId(), false);
	state->application = application_name;
	pick->changed = true;
}

/*
 * Lock claims and read what they have.  55P03 if one of them is lost, 42501
 * if its queue is one that the caller may not process.  They come out in the
 * order in which they are locked.
 */
void
spool_claims_hold(SpoolClaim *claims, int nclaims)
{
	SpoolQueue *queue = NULL;
	SpoolTables tables;

	find_streams(claims, nclaims);
	qsort(claims, nclaims, sizeof(SpoolClaim), compare_streams);
	spool_tables_open(&tables);
	for (int i = 0; i < nclaims; i++)
	{
		SpoolClaim *claim = &claims[i];

		CHECK_FOR_INTERRUPTS();
		if (queue == NULL || queue->id != claim->queue_id)
		{
			queue = spool_queue_by_id(claim->queue_id);
			if (queue == NULL)
				claim_lost(claim->id);
			queue = spool_queue_open(cstring_to_text(queue->name),
									 SPOOL_PROCESS, QUEUE_CONSUME);
			if (queue->id != claim->queue_id)
				claim_lost(claim->id);
		}
		claim->dispatch.queue = queue;
		claim->dispatch.order = queue->order;
		claim->dispatch.mode = DISPATCH_CLAIM;
		claim->dispatch.watching = true;
		if (claim->kept)
			hold_kept(claim);
		else
			hold_stream(claim, &tables);
	}
	spool_tables_close(&tables);
}

/* The stream of a claim, by any state that names it, or 0. */
static int64
find_stream(SpoolPart *segments, const SpoolSnapshot *newest, int64 claim)
{
	ScanKeyData key;

	ScanKeyInit(&key, CLAIM_INDEX_RUNNER, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(claim));
	for (int i = SPOOL_SEGMENTS - 1; i >= 0; i--)
	{
		SpoolPart  *part = &segments[i];
		bool		null;

		if (spool_part_seek(part, newest, &key, 1) &&
			spool_part_next(part, ForwardScanDirection))
			return DatumGetInt64(slot_getattr(part->slot, STATE_STREAM, &null));
	}
	return 0;
}

/* Find the streams of claims. */
static void
find_streams(SpoolClaim *claims, int nclaims)
{
	SpoolPart	segments[SPOOL_SEGMENTS];
	SpoolSnapshot newest = {0};

	spool_parts_open(segments, INDEX_CLAIMS);
	spool_snapshot_renew(&newest);
	for (int i = 0; i < nclaims; i++)
	{
		SpoolClaim *claim = &claims[i];
		int64		stream = find_stream(segments, &newest, claim->id);

		if (stream == 0)
		{
			stream = find_kept(claim->id);
			claim->kept = true;
		}
		if (stream == 0 ||
			!spool_stream_read(stream, &claim->pick.stream, &claim->queue_id))
			claim_lost(claim->id);
	}
	spool_parts_close(segments);
	spool_snapshot_end(&newest);
}

/* The stream of a claim whose packets are in kept, or 0. */
static int64
find_kept(int64 claim)
{
	static SpoolPlan plan = {
		"SELECT stream FROM spool.kept"
		" WHERE runner = $1 AND state = 'running' AND due IS NOT NULL LIMIT 1",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID)
	};
	SpoolSpi	spi;
	Datum		values[1];
	int64		stream = 0;

	values[0] = Int64GetDatum(claim);
	spool_spi_begin(&spi);
	if (spool_exec(&plan, values, NULL) == 1)
		stream = DatumGetInt64(spool_field(0, 1, NULL));
	spool_spi_end(&spi);
	return stream;
}

/* The order in which claims are locked. */
static int
compare_streams(const void *a, const void *b)
{
	const SpoolClaim *x = a;
	const SpoolClaim *y = b;

	if (x->queue_id != y->queue_id)
		return x->queue_id < y->queue_id ? -1 : 1;
	return strcmp(x->pick.stream.name, y->pick.stream.name);
}

/* Lock a claim's stream; its newest state must name the claim. */
static void
hold_stream(SpoolClaim *claim, SpoolTables *tables)
{
	SpoolPick  *pick = &claim->pick;
	SpoolState *state = &pick->state;

	if (!spool_tables_lock(tables, &pick->stream, LockWaitBlock) ||
		!spool_states_newest(&tables->states, pick->stream.id, state) ||
		state->runner != claim->id || state->deadline == 0)
		claim_lost(claim->id);
	spool_state_check_snapshot(state);
	spool_hint_holds(claim->dispatch.queue->id, pick->stream.id,
					 state->run_since);
	pick->before = *state;
	pick->cursor_set = state->run_jobs == 0;
	claim->njobs = state->nclaimed;
}

/* Lock a claim's packets in kept. */
static void
hold_kept(SpoolClaim *claim)
{
	static SpoolPlan plan = {
		"SELECT packet_id, seq, attempts, since FROM spool.kept"
		" WHERE runner = $1 AND state = 'running' AND due IS NOT NULL"
		" ORDER BY since, packet_id FOR UPDATE",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID)
	};
	MemoryContext context = CurrentMemoryContext;
	SpoolSpi	spi;
	Datum		values[1];
	MemoryContext old;

	values[0] = Int64GetDatum(claim->id);
	spool_spi_begin(&spi);
	claim->njobs = (int) spool_exec(&plan, values, NULL);
	if (claim->njobs == 0)
		claim_lost(claim->id);
	old = MemoryContextSwitchTo(context);
	claim->jobs = palloc0(claim->njobs * sizeof(SpoolJob *));
	for (int i = 0; i < claim->njobs; i++)
	{
		SpoolRow	row = {.stream = claim->pick.stream.id};
		SpoolJob   *job;

		row.packet_id = DatumGetInt64(spool_field(i, 1, NULL));
		row.seq = DatumGetInt64(spool_field(i, 2, NULL));
		job = add_job(claim, i, &row);
		job->ahead = true;
		job->attempts = DatumGetInt32(spool_field(i, 3, NULL));
		if (i == 0)
			claim->pick.state.run_since =
				DatumGetTimestampTz(spool_field(i, 4, NULL));
	}
	MemoryContextSwitchTo(old);
	spool_spi_end(&spi);
}

static SpoolJob *
add_job(SpoolClaim *claim, int n, const SpoolRow *row)
{
	SpoolJob   *job = palloc0(sizeof(SpoolJob));

	job->pick = &claim->pick;
	job->row = *row;
	if (claim->pick.state.attempt_packet == row->packet_id)
		job->attempts = claim->pick.state.attempts;
	claim->jobs[n] = job;
	return job;
}

/* Read the jobs of a claim that is held. */
void
spool_claim_load(SpoolClaim *claim)
{
	if (claim->kept)
		return;
	claim->jobs = palloc_extended(claim->njobs * sizeof(SpoolJob *),
								  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (claim->pick.state.run_last == PG_INT64_MIN)
		load_by_id(claim);
	else
		load_scan(claim);
}

/* Read the job ahead of the cursor, or those of an order override. */
static void
load_by_id(SpoolClaim *claim)
{
	SpoolState *state = &claim->pick.state;

	for (int i = 0; i < claim->njobs; i++)
	{
		SpoolRow	row;
		char	   *kept;

		if (spool_kept_by_id(state->claimed[i], &row, &kept))
		{
			if (strcmp(kept, KEPT_READY) == 0)
				add_job(claim, i, &row)->ahead = true;
			continue;
		}
		claim->dispatch.override = true;
		claim->dispatch.order = ORDER_TIMESTAMP;
		if (spool_store_by_id(state->claimed[i], &row))
			(void) add_job(claim, i, &row);
	}
}

/* Read the jobs that lie in the store one after the other. */
static void
load_scan(SpoolClaim *claim)
{
	SpoolState *state = &claim->pick.state;
	int64		from = PG_INT64_MIN;
	int			last = claim->njobs - 1;
	int			found = 0;
	SpoolScan	scan;
	SpoolRow	row;

	if (spool_by_number(claim->dispatch.order) && !claim->pick.cursor_set)
		from = state->next;
	spool_store_scan_range(&scan, claim->pick.stream.id, from,
						   state->run_last, BackwardScanDirection);
	while (found < claim->njobs && spool_store_scan_next(&scan, &row))
	{
		int			n = last;

		CHECK_FOR_INTERRUPTS();
		while (n >= 0 && state->claimed[n] != row.packet_id)
			n--;
		if (n < 0)
			continue;
		spool_row_copy(&row);
		spool_packet_header(row.packet, &add_job(claim, n, &row)->header);
		found++;
		if (n == last)
			last--;
	}
	spool_store_scan_end(&scan);
}
