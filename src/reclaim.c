/*-------------------------------------------------------------------------
 * reclaim.c
 *	  Taking over from owners that are lost: runners that died, claims whose
 *	  lease is over.
 *
 * Called by who looks for work, with the stream's row locked (or, in a queue
 * without order, locking the packets), in the transaction that dispatches
 * them anew.  The only job of an owner is given back with its attempt counted
 * as crashed; of several, also in different streams, it is not known which one
 * was to blame: they are to be run one by one, each as a batch of its own.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dispatch.h"
#include "history.h"
#include "runner.h"
#include "spiutil.h"
#include "spool.h"
#include "state.h"

static void reclaim_orphan(SpoolDispatch *d, SpoolPick *pick,
						   const SpoolOrphan *orphan, int npackets);
static void count_orphan(SpoolDispatch *d, SpoolPick *pick, int64 packet_id,
						 int32 attempts, TimestampTz since,
						 const char *reason);

/* Whether a failure is one of those that are found here. */
bool
spool_is_crash(const char *failure)
{
	return failure != NULL && (strcmp(failure, RUNNER_DIED) == 0 ||
							   strcmp(failure, LEASE_OVER) == 0);
}

/*
 * Take over the stream of a dead runner or of a claim whose lease is over.
 * After a crash the job waits for its retry, also where no delay is set: it
 * may have taken the server down.
 */
void
spool_reclaim(SpoolDispatch *d, SpoolPick *pick)
{
	SpoolState *state = &pick->state;
	const char *reason = state->deadline != 0 ? LEASE_OVER : RUNNER_DIED;

	if (state->run_jobs == 1 && state->solo >= 0)
	{
		if (state->attempt_packet != state->run_packet)
			state->attempts = 0;
		state->attempts++;
		state->failed++;
		state->attempt_packet = state->run_packet;
		state->failure = pstrdup(reason);
		if (state->deadline == 0 && !spool_attempts_spent(d->queue, state->attempts))
			state->retry_at = Max(spool_retry_at(d->queue, state->attempts),
								  GetCurrentTimestamp() + USECS_PER_SEC);
		if (d->mode != DISPATCH_PEEK)
			spool_history_crashed(d->queue, pick->stream.name,
								  state->run_packet, state->attempts,
								  state->run_since, reason);
	}
	else
		state->solo = state->run_jobs;
	if (d->mode != DISPATCH_PEEK)
		spool_run_passed_over(d->queue, state);
	spool_state_disown(state);
	pick->changed = true;
}

/*
 * The packets that a queue without order tries again.  One that could be now
 * was not picked, because somebody has it.
 */
void
spool_look_at_kept(SpoolDispatch *d, int64 stream)
{
	TimestampTz due = spool_kept_next_due(stream);
	TimestampTz now = GetCurrentTimestamp();

	spool_look_again(d, stream, due <= now && d->watching ?
					 now + USECS_PER_SEC : due);
}

/*
 * Give back the packets of dead runners of a queue without order, and of
 * claims whose lease is over.
 */
void
spool_reclaim_orphans(SpoolDispatch *d, SpoolPick *pick)
{
	SpoolOrphan *running;
	int			n = spool_kept_running(pick->stream.id, &running);
	int			next;

	for (int i = 0; i < n; i = next)
	{
		SpoolOrphan *one = &running[i];

		for (next = i + 1; next < n && running[next].runner == one->runner;)
			next++;
		if (one->due != 0 && one->due > GetCurrentTimestamp())
			spool_look_again(d, pick->stream.id, one->due);
		else if (one->due != 0 || !spool_runner_alive(one->runner))
			reclaim_orphan(d, pick, one, next - i);
	}
}

/*
 * The packets of one dead runner; if it had only one, that is counted, and
 * the policy of the queue applies after the last attempt.  All or none: while
 * somebody ends the claim that has them, none.
 */
static void
reclaim_orphan(SpoolDispatch *d, SpoolPick *pick, const SpoolOrphan *orphan,
			   int npackets)
{
	static SpoolPlan plan = {
		"WITH locked AS MATERIALIZED"
		" (SELECT packet_id FROM spool.kept WHERE stream = $1 AND runner = $2"
		"   AND state = 'running' AND (due IS NULL OR due <= clock_timestamp())"
		"   ORDER BY packet_id FOR UPDATE SKIP LOCKED)"
		" UPDATE spool.kept SET state = 'ready', runner = 0, due = $4,"
		" role = NULL, application = NULL, message = $5,"
		" attempts = attempts + CASE $3 WHEN 1 THEN 1 ELSE 0 END"
		" WHERE packet_id IN (SELECT packet_id FROM locked)"
		" AND (SELECT count(*) FROM locked) = $3 RETURNING attempts, since",
		SPI_OK_UPDATE_RETURNING,
		PLAN_ARGS(INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID, TEXTOID)
	};
	const char *reason = orphan->due != 0 ? LEASE_OVER : RUNNER_DIED;
	TimestampTz due = GetCurrentTimestamp();
	TimestampTz since = 0;
	int32		attempts = 0;
	Datum		values[5];
	SpoolSpi	spi;
	bool		count;

	if (npackets == 1 && orphan->due == 0)
		due += USECS_PER_SEC;
	values[0] = Int64GetDatum(pick->stream.id);
	values[1] = Int64GetDatum(orphan->runner);
	values[2] = Int32GetDatum(npackets);
	values[3] = TimestampTzGetDatum(due);
	values[4] = CStringGetTextDatum(reason);
	spool_spi_begin(&spi);
	count = spool_exec(&plan, values, NULL) == 1 && npackets == 1;
	if (count)
	{
		attempts = DatumGetInt32(spool_field(0, 1, NULL));
		since = DatumGetTimestampTz(spool_field(0, 2, NULL));
	}
	spool_spi_end(&spi);
	if (count)
		count_orphan(d, pick, orphan->packet_id, attempts, since, reason);
	spool_look_again(d, pick->stream.id, due);
}

/* Count the crashed attempt of a packet that its runner had alone. */
static void
count_orphan(SpoolDispatch *d, SpoolPick *pick, int64 packet_id,
			 int32 attempts, TimestampTz since, const char *reason)
{
	SpoolJob	job = {
		.pick = pick,
		.row.packet_id = packet_id,
		.ahead = true,
		.attempts = attempts - 1
	};

	spool_history_crashed(d->queue, pick->stream.name, packet_id, attempts,
						  since, reason);
	pick->state.failed++;
	if (!spool_job_last_attempt(d->queue, &job))
		return;
	spool_job_fail(d, &job, REASON_FAILED, NULL, reason);
	spool_consume(d, &job);
}
