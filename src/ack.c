/*-------------------------------------------------------------------------
 * ack.c
 *	  What becomes of claims: ack, nack, extend_claim, release.
 *
 * Each locks the streams of its claims (claim.c), settles jobs as a runner
 * does (settle.c), and appends a state per stream: one that names nobody, or
 * the same claim with what is left.  Nothing is done if one of the claims is
 * lost.  If set_next_seq came while the jobs were claimed (run_jobs = 0), its
 * cursor stays, and what it passed over and is given back is dead letters.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "args.h"
#include "claim.h"
#include "settle.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"

PG_FUNCTION_INFO_V1(spool_ack);
PG_FUNCTION_INFO_V1(spool_ack_many);
PG_FUNCTION_INFO_V1(spool_nack);
PG_FUNCTION_INFO_V1(spool_extend_claim);
PG_FUNCTION_INFO_V1(spool_release);

static SpoolClaim *hold_one(FunctionCallInfo fcinfo);
static bool ack_unread(SpoolClaim *claim);
static void ack_jobs(SpoolClaim *claim, int njobs);
static int	jobs_up_to(SpoolClaim *claim, int64 seq);
static void keep_rest(SpoolClaim *claim, int done);
static void give_back(SpoolClaim *claim, int from);
static void finish(SpoolClaim *claims, int nclaims);
static int	compare_ids(const void *a, const void *b);

/* Hold the claim of the first argument. */
static SpoolClaim *
hold_one(FunctionCallInfo fcinfo)
{
	SpoolClaim *claim = palloc0(sizeof(SpoolClaim));

	claim->id = PG_GETARG_INT64(0);
	spool_claims_hold(claim, 1);
	return claim;
}

/* Acknowledge all of a claim without reading it; false if it must be read. */
static bool
ack_unread(SpoolClaim *claim)
{
	SpoolQueue *queue = claim->dispatch.queue;
	SpoolState *state = &claim->pick.state;

	if (claim->kept || claim->pick.cursor_set ||
		state->run_last == PG_INT64_MIN || queue->order != ORDER_SEQUENCE ||
		queue->retains || queue->history == HISTORY_ALL)
		return false;
	spool_consume_all(&claim->pick, state->claimed, state->nclaimed,
					  state->run_last);
	return true;
}

/* Acknowledge the first jobs of a claim that is read. */
static void
ack_jobs(SpoolClaim *claim, int njobs)
{
	SpoolAttempt attempt = {
		.outcome = OUTCOME_OK,
		.started_at = claim->pick.state.run_since,
		.finished_at = GetCurrentTimestamp()
	};

	for (int i = 0; i < njobs; i++)
		if (claim->jobs[i] != NULL)
			(void) spool_job_settle(&claim->dispatch, claim->jobs[i],
									&attempt, 0);
}

/*
 * How many jobs of a claim come up to a number: in an order of numbers those
 * not above it; else those handed out up to the one that has it, 22023 if
 * none has.
 */
static int
jobs_up_to(SpoolClaim *claim, int64 seq)
{
	bool		by_number = spool_by_number(claim->dispatch.order);
	int			n = claim->njobs;

	while (n > 0 &&
		   (claim->jobs[n - 1] == NULL ||
			(by_number ? claim->jobs[n - 1]->row.seq > seq :
			 claim->jobs[n - 1]->row.seq != seq)))
		n--;
	if (n == 0 && !by_number)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("claim %lld has no packet with number %lld",
						(long long) claim->id, (long long) seq)));
	return n;
}

/* The first jobs of a claim are settled: it keeps the rest, if any. */
static void
keep_rest(SpoolClaim *claim, int done)
{
	SpoolState *state = &claim->pick.state;

	if (claim->kept)
		return;
	state->claimed += done;
	state->nclaimed -= done;
	if (state->nclaimed == 0)
		spool_state_disown(state);
	else
	{
		state->run_packet = state->claimed[0];
		if (!claim->pick.cursor_set)
			state->run_jobs = state->nclaimed;
	}
	claim->pick.changed = true;
}

/* Give back the jobs of a claim from one on; it ends. */
static void
give_back(SpoolClaim *claim, int from)
{
	static SpoolPlan plan = {
		"UPDATE spool.kept SET state = 'ready', runner = 0, due = NULL,"
		" role = NULL, application = NULL, since = clock_timestamp()"
		" WHERE runner = $1 AND state = 'running' AND due IS NOT NULL",
		SPI_OK_UPDATE, PLAN_ARGS(INT8OID)
	};
	SpoolState *state = &claim->pick.state;
	Datum		values[1];

	if (claim->kept)
	{
		values[0] = Int64GetDatum(claim->id);
		(void) spool_exec_alone(&plan, values, NULL);
		return;
	}
	if (from < claim->njobs)
	{
		state->run_packet = state->claimed[from];
		spool_run_passed_over(claim->dispatch.queue, state);
	}
	spool_state_disown(state);
	claim->pick.changed = true;
}

/* Write what became of claims, and let workers look at their streams. */
static void
finish(SpoolClaim *claims, int nclaims)
{
	List	   *picks = NIL;

	for (int i = 0; i < nclaims; i++)
	{
		SpoolClaim *claim = &claims[i];

		picks = lappend(picks, &claim->pick);
		spool_hint(claim->queue_id, claim->pick.stream.id);
		if (i + 1 < nclaims && claims[i + 1].queue_id == claim->queue_id)
			continue;
		spool_picks_finish(&claim->dispatch, picks);
		picks = NIL;
	}
}

/* ack(claim_id, upto_seq): how many jobs were acknowledged */
Datum
spool_ack(PG_FUNCTION_ARGS)
{
	SpoolClaim *claim;
	int			done;

	spool_args_required(fcinfo, 1, "claim_id");
	claim = hold_one(fcinfo);
	done = claim->njobs;
	if (!PG_ARGISNULL(1) || !ack_unread(claim))
	{
		spool_claim_load(claim);
		if (!PG_ARGISNULL(1))
			done = jobs_up_to(claim, PG_GETARG_INT64(1));
		if (done == 0)
			PG_RETURN_INT64(0);
		ack_jobs(claim, done);
	}
	keep_rest(claim, done);
	finish(claim, 1);
	PG_RETURN_INT64(done);
}

static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* ack(claim_ids): how many jobs were acknowledged; an id may come twice */
Datum
spool_ack_many(PG_FUNCTION_ARGS)
{
	ArrayType  *array;
	Datum	   *elements;
	int64	   *ids;
	int			nids;
	int			nclaims = 0;
	SpoolClaim *claims;
	int64		done = 0;

	spool_args_required(fcinfo, 1, "claim_ids");
	array = PG_GETARG_ARRAYTYPE_P(0);
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("claim_ids must not contain nulls")));
	deconstruct_array(array, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &elements, NULL, &nids);
	ids = palloc((nids + 1) * sizeof(int64));
	for (int i = 0; i < nids; i++)
		ids[i] = DatumGetInt64(elements[i]);
	qsort(ids, nids, sizeof(int64), compare_ids);
	claims = palloc_extended((nids + 1) * sizeof(SpoolClaim),
							 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < nids; i++)
		if (i == 0 || ids[i] != ids[i - 1])
			claims[nclaims++].id = ids[i];

	spool_claims_hold(claims, nclaims);
	for (int i = 0; i < nclaims; i++)
	{
		SpoolClaim *claim = &claims[i];

		if (!ack_unread(claim))
		{
			spool_claim_load(claim);
			ack_jobs(claim, claim->njobs);
		}
		keep_rest(claim, claim->njobs);
		done += claim->njobs;
	}
	finish(claims, nclaims);
	PG_RETURN_INT64(done);
}

/* nack(claim_id, packet_id, error, delay) */
Datum
spool_nack(PG_FUNCTION_ARGS)
{
	int64		packet_id = PG_GETARG_INT64(1);
	SpoolAttempt attempt = {.outcome = OUTCOME_ERROR};
	TimestampTz again = 0;
	SpoolClaim *claim;
	int			n = 0;

	spool_args_required(fcinfo, 3, "claim_id", "packet_id", "error");
	spool_arg_check_interval(fcinfo, 3, "delay");
	if (!PG_ARGISNULL(3))
		again = spool_after(PG_GETARG_INTERVAL_P(3));
	claim = hold_one(fcinfo);
	spool_claim_load(claim);
	while (n < claim->njobs &&
		   (claim->kept ? claim->jobs[n]->row.packet_id :
			claim->pick.state.claimed[n]) != packet_id)
		n++;
	if (n == claim->njobs)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("packet %lld is not part of claim %lld",
						(long long) packet_id, (long long) claim->id)));

	ack_jobs(claim, n);
	attempt.message = text_to_cstring(PG_GETARG_TEXT_PP(2));
	attempt.started_at = claim->pick.state.run_since;
	attempt.finished_at = GetCurrentTimestamp();
	if (claim->jobs[n] != NULL)
		(void) spool_job_settle(&claim->dispatch, claim->jobs[n], &attempt,
								again);
	give_back(claim, n + 1);
	finish(claim, 1);
	PG_RETURN_VOID();
}

/* extend_claim(claim_id, lease): the end of the new lease */
Datum
spool_extend_claim(PG_FUNCTION_ARGS)
{
	static SpoolPlan plan = {
		"UPDATE spool.kept SET due = $2"
		" WHERE runner = $1 AND state = 'running' AND due IS NOT NULL",
		SPI_OK_UPDATE, PLAN_ARGS(INT8OID, TIMESTAMPTZOID)
	};
	TimestampTz deadline;
	SpoolClaim *claim;
	Datum		values[2];

	spool_args_required(fcinfo, 2, "claim_id", "lease");
	(void) spool_claim_lease(fcinfo, 1);	/* refused before anything else */
	claim = hold_one(fcinfo);
	deadline = spool_claim_lease(fcinfo, 1);
	if (claim->kept)
	{
		values[0] = Int64GetDatum(claim->id);
		values[1] = TimestampTzGetDatum(deadline);
		(void) spool_exec_alone(&plan, values, NULL);
	}
	else
	{
		claim->pick.state.deadline = deadline;
		claim->pick.changed = true;
	}
	finish(claim, 1);
	PG_RETURN_TIMESTAMPTZ(deadline);
}

/* release(claim_id) */
Datum
spool_release(PG_FUNCTION_ARGS)
{
	SpoolClaim *claim;

	spool_args_required(fcinfo, 1, "claim_id");
	claim = hold_one(fcinfo);
	give_back(claim, 0);
	finish(claim, 1);
	PG_RETURN_VOID();
}
