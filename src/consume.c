/*-------------------------------------------------------------------------
 * consume.c
 *	  What becomes of packets that are consumed.
 *
 * Called in the transaction that consumes, with the streams' rows locked.  A
 * job's fate says whether it was done, is dead, left or deleted.  In an order
 * of numbers consuming moves the cursor of the pick's state and leaves the
 * packet where it is; elsewhere the packet is removed.  What is retained,
 * left or dead is copied to kept first.  spool_picks_finish appends the states,
 * once per stream and transaction, and removes from kept what is done.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "dispatch.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "state.h"
#include "tally.h"

static void flush_done(SpoolPick *pick);
static void forget_later(SpoolJob *job);
static void consume_kept(SpoolDispatch *d, SpoolJob *job);
static void remove_number(const SpoolRow *row);
static void consume_removing(SpoolDispatch *d, SpoolJob *job);
static void consume_by_number(SpoolDispatch *d, SpoolJob *job);
static void keep(SpoolDispatch *d, SpoolJob *job);
static void count(SpoolState *state, const SpoolJob *job);
static void pass_packet(SpoolState *state, int64 packet_id);
static void tally(const SpoolPick *pick);

/* Whether one more failure of a job is its last. */
bool
spool_job_last_attempt(SpoolQueue *queue, const SpoolJob *job)
{
	return queue->max_attempts > 0 &&
		job->attempts + 1 >= queue->max_attempts;
}

/* Whether so many attempts are all, so that a job may not be run again. */
bool
spool_attempts_spent(SpoolQueue *queue, int32 attempts)
{
	return queue->max_attempts > 0 && attempts >= queue->max_attempts;
}

/*
 * Give a job that failed for the last time the fate that the queue's policy
 * sets.  Under retry it stays where it is; in a queue without order, where
 * it would block nothing, it is left.
 */
void
spool_job_fail(SpoolDispatch *d, SpoolJob *job, const char *reason,
			   const char *sqlstate, const char *message)
{
	switch (d->queue->on_error)
	{
		case ON_ERROR_RETRY:
			job->fate = d->order == ORDER_NONE ? FATE_LEFT : FATE_NONE;
			break;
		case ON_ERROR_DEAD:
			job->fate = FATE_DEAD;
			break;
		case ON_ERROR_LEAVE:
			job->fate = FATE_LEFT;
			break;
		case ON_ERROR_DELETE:
			job->fate = FATE_DELETED;
			break;
	}
	job->kept.state = job->fate == FATE_DEAD ? KEPT_DEAD : KEPT_FAILED;
	job->kept.reason = reason;
	job->kept.sqlstate = sqlstate;
	job->kept.message = message;
	job->kept.attempts = job->attempts + 1;
	job->kept.runner = 0;
}

/* When a job that failed so many times may be tried again; 0 = at once. */
TimestampTz
spool_retry_at(SpoolQueue *queue, int32 attempts)
{
	int64		delay = queue->retry_delay_ms;

	for (int i = 1; i < attempts && delay < queue->retry_delay_max_ms; i++)
		delay *= 2;
	delay = Min(delay, queue->retry_delay_max_ms);
	return delay == 0 ? 0 : GetCurrentTimestamp() + delay * 1000;
}

/* Copy the packets consumed so far that are to be retained. */
static void
flush_done(SpoolPick *pick)
{
	if (pick->done_below > pick->done_from)
		spool_kept_add_range(pick->stream.id, pick->done_from,
							 pick->done_below, KEPT_DONE, NULL);
	pick->done_from = pick->done_below = 0;
}

/* Copy a packet to kept if its fate asks for it. */
static void
keep(SpoolDispatch *d, SpoolJob *job)
{
	if (job->fate == FATE_DONE && d->queue->retains)
	{
		SpoolKept	done = {.state = KEPT_DONE};

		spool_kept_add(&job->row, &done);
	}
	else if (job->fate == FATE_DEAD || job->fate == FATE_LEFT)
		spool_kept_add(&job->row, &job->kept);
}

/* Remove a packet that is done from kept, together with the others. */
static void
forget_later(SpoolJob *job)
{
	SpoolPick  *pick = job->pick;

	if (pick->nforgotten == pick->space_forgotten)
	{
		pick->space_forgotten = Max(16, 2 * pick->space_forgotten);
		pick->forgotten = pick->forgotten == NULL ?
			palloc(pick->space_forgotten * sizeof(int64)) :
			repalloc_huge(pick->forgotten,
						  pick->space_forgotten * sizeof(int64));
	}
	pick->forgotten[pick->nforgotten++] = job->row.packet_id;
}

/*
 * Consume a packet that was handed out ahead of the cursor.  One that was
 * taken stays readable until the taking transaction ends, so maintain removes
 * it.
 */
static void
consume_kept(SpoolDispatch *d, SpoolJob *job)
{
	SpoolKept	done = {.state = KEPT_DONE};

	if (d->order != ORDER_NONE)
		job->pick->state.ahead--;
	if (job->fate == FATE_DELETED)
		spool_kept_remove(&job->row.packet_id, 1);
	else if (job->fate == FATE_DONE && !d->queue->retains &&
			 spool_owns(d->mode))
		forget_later(job);
	else
		spool_kept_set(job->row.packet_id,
					   job->fate == FATE_DONE ? &done : &job->kept);
}

/* Remove a packet of an order of numbers, and the same stored twice. */
static void
remove_number(const SpoolRow *row)
{
	SpoolScan	scan;
	SpoolRow	other;

	spool_store_scan_begin(&scan, row->stream, row->position,
						   ForwardScanDirection);
	while (spool_store_scan_next(&scan, &other) &&
		   other.position == row->position)
		if (other.packet_id == row->packet_id ||
			spool_same_packet(other.packet, row->packet))
			spool_store_remove(&other);
	spool_store_scan_end(&scan);
}

/* Consume a packet of an order that removes packets one by one. */
static void
consume_removing(SpoolDispatch *d, SpoolJob *job)
{
	SpoolState *state = &job->pick->state;

	keep(d, job);
	if (spool_by_number(d->queue->order))
	{
		remove_number(&job->row);
		state->high = Max(state->high, job->row.seq);
	}
	else
	{
		spool_store_remove(&job->row);
		state->low = job->row.position;
	}
}

/* Consume a packet in an order of numbers. */
static void
consume_by_number(SpoolDispatch *d, SpoolJob *job)
{
	SpoolPick  *pick = job->pick;
	SpoolState *state = &pick->state;
	int64		seq = job->row.seq;
	int64		superseded;

	state->high = Max(state->high, seq);
	if (d->order == ORDER_LATEST &&
		(job->fate != FATE_DONE || job->header.kind == PACKET_NOP))
	{
		/* it supersedes nothing, so those below come next */
		keep(d, job);
		remove_number(&job->row);
		return;
	}
	if (pick->cursor_set)
	{
		/* the later set holds; what ran does not run again */
		keep(d, job);
		if (seq >= state->next)
			remove_number(&job->row);
		return;
	}
	if (job->fate == FATE_DONE && d->queue->retains)
	{
		if (pick->done_below != seq || d->order == ORDER_LATEST)
			flush_done(pick);
		if (pick->done_below == 0)
			pick->done_from = seq;
		pick->done_below = seq + 1;
	}
	else if (job->fate != FATE_DONE)
		keep(d, job);
	if (d->order == ORDER_LATEST)
	{
		superseded = spool_store_count(pick->stream.id, state->next, seq);
		state->superseded += superseded;
		state->consumed += superseded;
	}
	state->next = seq + 1;
}

/* Count a job that is consumed. */
static void
count(SpoolState *state, const SpoolJob *job)
{
	state->consumed++;
	if (job->fate == FATE_DONE)
		state->done++;
	else if (job->fate != FATE_DELETED)
		state->dead++;
}

/* Forget what a state knows of a packet that is consumed. */
static void
pass_packet(SpoolState *state, int64 packet_id)
{
	if (state->attempt_packet == packet_id)
	{
		state->attempt_packet = 0;
		state->attempts = 0;
		state->retry_at = 0;
	}
	if (state->attempt_packet == 0)
		state->failure = NULL;	/* also a gap or a conflict that was before */
	if (state->solo > 0)
		state->solo--;
}

/* Consume a job whose fate is set. */
void
spool_consume(SpoolDispatch *d, SpoolJob *job)
{
	SpoolPick  *pick = job->pick;
	SpoolState *state = &pick->state;

	if (job->fate == FATE_NONE)
		return;
	count(state, job);
	if (job->ahead)
		consume_kept(d, job);
	else if (d->override || !spool_by_number(d->order))
		consume_removing(d, job);
	else
		consume_by_number(d, job);
	pass_packet(state, job->row.packet_id);
	pick->changed |= d->order != ORDER_NONE || d->override;
}

/*
 * Consume as done all packets of a run of numbers that ends with the last,
 * without reading them: in order of numbers, where nothing is retained.
 */
void
spool_consume_all(SpoolPick *pick, const int64 *ids, int nids, int64 last)
{
	SpoolState *state = &pick->state;

	state->consumed += nids;
	state->done += nids;
	state->high = Max(state->high, last);
	state->next = last + 1;

	for (int i = 0; i < nids; i++)
		pass_packet(state, ids[i]);
	pick->changed = true;
}

/*
 * For jobs that ran while set_next_seq moved the cursor (state.run_jobs = 0)
 * and whose outcome is not known: those the cursor passed over are dead
 * letters, like the others it passed over.
 */
void
spool_run_passed_over(SpoolQueue *queue, SpoolState *state)
{
	SpoolRow	first;
	int64		passed;

	if (state->run_jobs != 0 || !spool_by_number(queue->order) ||
		!spool_store_by_id(state->run_packet, &first) ||
		first.position >= state->next)
		return;
	passed = spool_kept_add_range(state->stream, first.position,
								  Min(state->run_last + 1, state->next),
								  KEPT_DEAD, REASON_PASSED);
	state->consumed += passed;
	state->dead += passed;
}

/*
 * Write what was counted in a queue without order, whose state is not
 * appended by who consumes.
 */
static void
tally(const SpoolPick *pick)
{
	const SpoolState *before = &pick->before;
	const SpoolState *now = &pick->state;
	SpoolTally	more = {
		.stream = pick->stream.id,
		.consumed = now->consumed - before->consumed,
		.done = now->done - before->done,
		.failed = now->failed - before->failed,
		.dead = now->dead - before->dead
	};

	spool_tally_add(&more);
}

/* Write what consuming changed: the states of all streams together. */
void
spool_picks_finish(SpoolDispatch *d, List *picks)
{
	SpoolState **states = palloc(list_length(picks) * sizeof(SpoolState *));
	int			nstates = 0;
	int64		done = 0;
	ListCell   *cell;

	foreach(cell, picks)
	{
		SpoolPick  *pick = lfirst(cell);

		flush_done(pick);
		spool_kept_remove(pick->forgotten, pick->nforgotten);
		pick->nforgotten = 0;
		if (d->mode == DISPATCH_PEEK)
			continue;
		if (pick->changed)
			states[nstates++] = &pick->state;
		else if (d->order == ORDER_NONE)
			tally(pick);
		done += pick->state.done - pick->before.done;
	}
	spool_states_append(states, nstates);
	pfree(states);
	spool_hint_done(d->queue->id, done);
	foreach(cell, picks)
	{
		SpoolPick  *pick = lfirst(cell);

		pick->before = pick->state;
		pick->changed = false;
	}
}
