/*-------------------------------------------------------------------------
 * settle.c
 *	  What becomes of a job by what came of its attempt.
 *
 * Called in the transaction that settles, with the stream's row locked and
 * its newest state in the pick, which named the owner; the caller appends the
 * state.  In a queue without order the owner has locked the packets in kept.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "history.h"
#include "reason.h"
#include "settle.h"
#include "shmem.h"
#include "spool.h"

static bool passed_over(SpoolDispatch *d, SpoolJob *job);
static bool still_there(SpoolDispatch *d, SpoolJob *job);
static void bury(SpoolDispatch *d, SpoolJob *job, SpoolAttempt *attempt,
				 bool counted);
static void keep_failed(SpoolDispatch *d, SpoolJob *job,
						SpoolAttempt *attempt, bool counted,
						TimestampTz again);

/*
 * Move jobs of a queue without order to kept, as what their owner has:
 * running[i] says it of job i.
 */
void
spool_jobs_lend(SpoolJob *const *jobs, const SpoolKept *running, int njobs)
{
	const SpoolRow **rows = palloc_extended((njobs + 1) * sizeof(SpoolRow *),
											MCXT_ALLOC_HUGE);
	SpoolKept  *fresh = palloc_extended((njobs + 1) * sizeof(SpoolKept),
										MCXT_ALLOC_HUGE);
	int			nfresh = 0;

	for (int i = 0; i < njobs; i++)
	{
		if (jobs[i]->ahead)
		{
			spool_kept_set(jobs[i]->row.packet_id, &running[i]);
			continue;
		}
		rows[nfresh] = &jobs[i]->row;
		fresh[nfresh++] = running[i];
		jobs[i]->ahead = true;
	}
	spool_kept_append(rows, fresh, nfresh);
	for (int i = 0; i < nfresh; i++)
		spool_store_remove(rows[i]);
	pfree(fresh);
	pfree(rows);
}

/* Whether set_next_seq moved the cursor past a job while it ran. */
static bool
passed_over(SpoolDispatch *d, SpoolJob *job)
{
	return job->pick->cursor_set && !job->ahead && !d->override &&
		spool_by_number(d->order) && job->row.seq < job->pick->state.next;
}

/*
 * Whether the packet of a job is still there, and where: the cursor may have
 * been set past it, and maintain removed it.  In an order of numbers, whose
 * packets stay where they are, it is if nobody changed the stream.
 */
static bool
still_there(SpoolDispatch *d, SpoolJob *job)
{
	if (job->ahead)
		return true;
	if (job->pick->unchanged && spool_by_number(d->order))
		return true;
	return spool_store_find(&job->row);
}

/*
 * Settle one job that was tried.  False if it failed and no policy says to go
 * on: it stays, to be tried again at a time given, or (again = 0) by the
 * queue's delays.
 */
bool
spool_job_settle(SpoolDispatch *d, SpoolJob *job, SpoolAttempt *attempt,
				 TimestampTz again)
{
	bool		counted = attempt->outcome != OUTCOME_START_FAILED;

	if (attempt->started_at != 0)	/* else it is recorded already */
		spool_history_add(d->queue, job->pick->stream.name, job->row.seq,
						  job->row.packet_id, job->attempts + 1, attempt);
	if (!still_there(d, job))
		return true;
	if (attempt->outcome == OUTCOME_OK)
		job->fate = FATE_DONE;
	else
	{
		if (attempt->started_at != 0)
			job->pick->state.failed++;
		if (counted && spool_job_last_attempt(d->queue, job))
			spool_job_fail(d, job, REASON_FAILED,
						   attempt->sqlstate ?
						   pstrdup(unpack_sql_state(attempt->sqlstate)) : NULL,
						   attempt->message);
		if (job->fate == FATE_NONE)
		{
			if (passed_over(d, job))
				bury(d, job, attempt, counted);
			else
				keep_failed(d, job, attempt, counted, again);
			return false;
		}
	}
	spool_consume(d, job);
	return true;
}

/* A job that failed and that the cursor passed over is a dead letter. */
static void
bury(SpoolDispatch *d, SpoolJob *job, SpoolAttempt *attempt, bool counted)
{
	job->fate = FATE_DEAD;
	job->kept.state = KEPT_DEAD;
	job->kept.reason = REASON_PASSED;
	job->kept.message = attempt->message;
	job->kept.attempts = job->attempts + (counted ? 1 : 0);
	spool_consume(d, job);
}

/*
 * A job that failed stays, to be tried again.  After set_next_seq its attempts
 * are forgotten, so that it does not hold up another head.  A program that
 * could not be started counts no attempt, but a worker waits like after the
 * first.
 */
static void
keep_failed(SpoolDispatch *d, SpoolJob *job, SpoolAttempt *attempt,
			bool counted, TimestampTz again)
{
	SpoolState *state = &job->pick->state;
	int32		attempts = job->attempts + (counted ? 1 : 0);
	TimestampTz retry_at = spool_retry_at(d->queue, Max(attempts, 1));
	bool		none = d->order == ORDER_NONE && !d->override;

	if (!counted && !d->watching && !none)
		return;
	if (job->pick->cursor_set && job->row.seq != state->next)
		return;
	if (!counted)
		retry_at = Max(retry_at, GetCurrentTimestamp() + USECS_PER_SEC);
	if (again != 0)
		retry_at = again;
	spool_hint_later(d->queue->id, job->pick->stream.id, retry_at);
	if (none)
	{
		SpoolKept	ready = {
			.state = KEPT_READY,
			.message = attempt->message,
			.attempts = attempts,
			.due = retry_at
		};

		spool_kept_set(job->row.packet_id, &ready);
		return;
	}
	if (d->watching && state->failure == NULL)
		spool_stream_blocked(d->queue, &job->pick->stream, state,
							 spool_reason_failed(job->row.seq, attempt->message));
	state->attempts = attempts;
	state->attempt_packet = job->row.packet_id;
	state->retry_at = retry_at;
	state->failure = attempt->message;
	state->solo = Max(state->solo - 1, 0);
}
