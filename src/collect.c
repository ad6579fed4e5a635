/*-------------------------------------------------------------------------
 * collect.c
 *	  The order rules: which packets of one stream come next.
 *
 * Called with the stream's row locked (unless peeking) and its newest state
 * read under the lock.  Collecting changes nothing but that, in a queue
 * without order, it locks packets.
 *
 * sequence	 from the cursor upwards.  If senders number the stream, without
 *			 a gap; identical packets of one number count as one, different
 *			 ones are a conflict, which ends the stream.  If the queue does,
 *			 numbers that open transactions have are waited for, and others
 *			 that are missing are passed: their transactions rolled back.
 * latest	 the highest number not below the cursor.  A NOP above it is
 *			 consumed alone: it supersedes nothing.  Only when it is quiet
 *			 (quiet.c).
 * timestamp from the position below which nothing waits (state.low) upwards.
 *			 A packet that arrived late may lie below: it is found by a look
 *			 from the start, made when fewer are found than asked for and at
 *			 least once a second.  Equal times are ordered by number, then by
 *			 arrival.  Identical packets count as one.
 * none		 in unordered.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "utils/memutils.h"

#include "dispatch.h"
#include "numbering.h"
#include "quiet.h"
#include "reason.h"
#include "spiutil.h"
#include "spool.h"

/* Packets ahead of a cursor that are read at once. */
#define MAX_AHEAD 1000

/* A scan that returns the packets of one position and number together. */
typedef struct GroupScan
{
	SpoolScan  *scan;
	SpoolRow   *rows;
	int			nrows;
	int			space;
	SpoolRow	ahead;			/* read, but of the next group */
	bool		has_ahead;
} GroupScan;

static void group_begin(GroupScan *group, SpoolDispatch *d, SpoolPick *pick,
						int64 from, ScanDirection direction, int64 want);
static bool group_next(GroupScan *group);
static int	compare_arrival(const void *a, const void *b);
static SpoolJob *add_job(SpoolDispatch *d, SpoolPick *pick,
						 const SpoolRow *row, int32 attempts);
static bool blocked(SpoolDispatch *d, const SpoolJob *job);
static bool note_conflict(SpoolDispatch *d, SpoolPick *pick, GroupScan *group);
static bool may_pass(SpoolPick *pick, int64 seq, int64 *bound);
static void collect_sequence(SpoolDispatch *d, SpoolPick *pick, int64 want);
static void collect_latest(SpoolDispatch *d, SpoolPick *pick);
static bool collect_time_from(SpoolDispatch *d, SpoolPick *pick, int64 from,
							  int64 want);
static void collect_timestamp(SpoolDispatch *d, SpoolPick *pick, int64 want);
static void drop_jobs(SpoolDispatch *d, SpoolPick *pick, int keep);
static bool drop_last(SpoolDispatch *d, SpoolPick *pick);

static void
group_begin(GroupScan *group, SpoolDispatch *d, SpoolPick *pick, int64 from,
			ScanDirection direction, int64 want)
{
	memset(group, 0, sizeof(GroupScan));
	group->scan = &d->tables->packets;
	spool_store_seek(group->scan, pick->stream.id, from, PG_INT64_MAX,
					 direction, want);
}

static int
compare_arrival(const void *a, const void *b)
{
	int64		x = ((const SpoolRow *) a)->packet_id;
	int64		y = ((const SpoolRow *) b)->packet_id;

	return x < y ? -1 : x > y;
}

/* Read the next group into group->rows, in order of arrival. */
static bool
group_next(GroupScan *group)
{
	SpoolRow	row;

	group->nrows = 0;
	for (;;)
	{
		if (group->has_ahead)
		{
			row = group->ahead;
			group->has_ahead = false;
		}
		else
		{
			if (!spool_store_scan_next(group->scan, &row))
				break;
			spool_row_copy(&row);
		}
		if (group->nrows > 0 &&
			(row.position != group->rows[0].position ||
			 row.seq != group->rows[0].seq))
		{
			group->ahead = row;
			group->has_ahead = true;
			break;
		}
		if (group->nrows == group->space)
		{
			group->space = Max(4, 2 * group->space);
			group->rows = group->rows == NULL ?
				palloc(group->space * sizeof(SpoolRow)) :
				repalloc(group->rows, group->space * sizeof(SpoolRow));
		}
		group->rows[group->nrows++] = row;
	}
	if (group->nrows > 1)
		qsort(group->rows, group->nrows, sizeof(SpoolRow), compare_arrival);
	return group->nrows > 0;
}

/* Add a packet to a pick; attempts: failed ones that the state does not tell. */
static SpoolJob *
add_job(SpoolDispatch *d, SpoolPick *pick, const SpoolRow *row,
		int32 attempts)
{
	SpoolJob   *job = palloc0(sizeof(SpoolJob));

	job->pick = pick;
	job->row = *row;
	if (d->mode == DISPATCH_RUN)
	{
		job->row.packet = PG_DETOAST_DATUM_COPY(PointerGetDatum(row->packet));
		d->bytes += VARSIZE(job->row.packet);
	}
	spool_packet_header(job->row.packet, &job->header);
	if (pick->state.attempt_packet == row->packet_id)
		job->attempts = pick->state.attempts;
	job->attempts = Max(job->attempts, attempts);
	job->spent = spool_attempts_spent(d->queue, job->attempts);
	job->crashed = job->spent &&
		(attempts > 0 || spool_is_crash(pick->state.failure));
	if (pick->njobs == pick->space)
	{
		pick->space = Max(4, 2 * pick->space);
		pick->jobs = pick->jobs == NULL ?
			palloc(pick->space * sizeof(SpoolJob *)) :
			repalloc_huge(pick->jobs, pick->space * sizeof(SpoolJob *));
	}
	if (pick->njobs == 0)
		pick->head = row->packet_id;
	pick->jobs[pick->njobs++] = job;
	return job;
}

/*
 * Whether a packet was collected already, as the same bytes: two sessions
 * that wrote it at the same time stored it twice.
 */
bool
spool_collected(SpoolPick *pick, const SpoolRow *row)
{
	for (int i = pick->njobs - 1;
		 i >= 0 && pick->jobs[i]->row.position == row->position; i--)
		if (pick->jobs[i]->row.seq == row->seq &&
			spool_same_packet(pick->jobs[i]->row.packet, row->packet))
			return true;
	return false;
}

/* Remove a packet whose twin was collected. */
void
spool_remove_twin(SpoolDispatch *d, const SpoolRow *row)
{
	if (d->mode != DISPATCH_PEEK)
		spool_store_remove(row);
}

/* Whether a batch has its only job, or as many bytes of packets as it may. */
bool
spool_dispatch_full(SpoolDispatch *d)
{
	return d->full ||
		(d->mode == DISPATCH_RUN && d->bytes > SPOOL_BATCH_BYTES);
}

/* Take back what was collected, but for the first jobs. */
static void
drop_jobs(SpoolDispatch *d, SpoolPick *pick, int keep)
{
	while (pick->njobs > keep)
	{
		SpoolJob   *job = pick->jobs[--pick->njobs];

		if (d->mode == DISPATCH_RUN)
			d->bytes -= VARSIZE(job->row.packet);
		pfree(job);
	}
}

/* Take back the last one, which may not be passed. */
static bool
drop_last(SpoolDispatch *d, SpoolPick *pick)
{
	drop_jobs(d, pick, pick->njobs - 1);
	return false;
}

/* Whether a job has failed for the last time and stays, until retry_now. */
static bool
blocked(SpoolDispatch *d, const SpoolJob *job)
{
	return job->spent && d->queue->on_error == ON_ERROR_RETRY &&
		d->order != ORDER_NONE;
}

/*
 * Add a packet that comes next, as what it is.  False if it may not be passed
 * (a Fail packet or the last attempt under retry, a batch that is full), so
 * that collecting ends.
 */
bool
spool_collect_one(SpoolDispatch *d, SpoolPick *pick, const SpoolRow *row,
				  int32 attempts, int64 *want)
{
	SpoolJob   *job;

	if (spool_dispatch_full(d))
		return false;
	job = add_job(d, pick, row, attempts);
	if (spool_owns(d->mode) && blocked(d, job))
		return drop_last(d, pick);
	if (d->mode == DISPATCH_RUN)
	{
		(*want)--;
		return true;
	}
	if (job->crashed && d->mode == DISPATCH_CLAIM)
	{
		job->attempts--;
		spool_job_fail(d, job, REASON_FAILED, NULL, pick->state.failure);
		return true;
	}
	if (job->header.kind == PACKET_COMMAND)
	{
		job->handed = true;
		job->fate = d->mode == DISPATCH_CLAIM ? FATE_NONE : FATE_DONE;
		(*want)--;
		return true;
	}
	/* what is consumed now may not be behind what is acknowledged later */
	if (d->mode == DISPATCH_CLAIM && pick->njobs > 1 &&
		pick->jobs[pick->njobs - 2]->handed)
		return drop_last(d, pick);
	if (job->header.kind == PACKET_NOP)
		job->fate = FATE_DONE;
	else if (d->queue->on_error == ON_ERROR_RETRY)
		return drop_last(d, pick);
	else
		spool_job_fail(d, job, REASON_FAILED, NULL, "Fail packet");
	return true;
}

/* Remember two different packets with one number; false if all are equal. */
static bool
note_conflict(SpoolDispatch *d, SpoolPick *pick, GroupScan *group)
{
	for (int i = 1; i < group->nrows; i++)
	{
		if (spool_same_packet(group->rows[0].packet, group->rows[i].packet))
			continue;
		if (d->watching && pick->njobs == 0 && pick->state.failure == NULL)
		{
			spool_stream_blocked(d->queue, &pick->stream, &pick->state,
								 spool_reason_conflict(group->rows[0].packet_id,
													   group->rows[i].packet_id,
													   group->rows[0].seq));
			pick->changed = true;
		}
		if (d->conflict[0] == 0)
		{
			d->conflict[0] = group->rows[0].packet_id;
			d->conflict[1] = group->rows[i].packet_id;
			d->conflict_seq = group->rows[0].seq;
			d->conflict_stream = pstrdup(pick->stream.name);
		}
		return true;
	}
	return false;
}

/*
 * Whether numbers that are missing before a packet may be passed.  *bound: up
 * to there they may, by a snapshot that is taken afterwards.
 */
static bool
may_pass(SpoolPick *pick, int64 seq, int64 *bound)
{
	if (spool_numbering(pick->stream.id) == NUMBERED_BY_SENDER)
		return false;
	*bound = spool_numbering_bound(pick->stream.id, seq, NULL);
	return seq <= *bound;
}

/*
 * Collect packets by number.  The next number needs no bound.  Where one is
 * missing the bound is read and then the packets again, with a snapshot that
 * sees all that is settled below it.
 */
static void
collect_sequence(SpoolDispatch *d, SpoolPick *pick, int64 want)
{
	GroupScan	group;
	int64		bound = -1;

	group_begin(&group, d, pick, pick->from, ForwardScanDirection, want);
	while (want > 0 && !pick->ended)
	{
		if (!group_next(&group) || group.rows[0].packet_id > d->mark)
			pick->ended = pick->exhausted = true;
		else if (group.rows[0].seq > pick->from && group.rows[0].seq > bound)
		{
			pick->ended = !may_pass(pick, group.rows[0].seq, &bound);
			if (pick->ended)
				break;
			group_begin(&group, d, pick, pick->from, ForwardScanDirection,
						want);
			continue;
		}
		else if (note_conflict(d, pick, &group) ||
				 !spool_collect_one(d, pick, &group.rows[0], 0, &want))
			pick->ended = true;
		if (pick->ended)
			break;
		pick->from = group.rows[0].seq + 1;
		if (!group.has_ahead)
			pick->ended = pick->exhausted = true;
	}
}

/* Collect the newest packet, and NOPs and failures above it. */
static void
collect_latest(SpoolDispatch *d, SpoolPick *pick)
{
	GroupScan	group;
	int64		want = 1;
	bool		more = true;

	pick->ended = true;
	if (!spool_is_quiet(d, &pick->state))
		return;
	group_begin(&group, d, pick, pick->state.next, BackwardScanDirection, 0);
	while (more && group_next(&group))
	{
		if (group.rows[0].packet_id > d->mark)
			continue;
		if (note_conflict(d, pick, &group) ||
			!spool_collect_one(d, pick, &group.rows[0], 0, &want))
			break;
		more = pick->jobs[pick->njobs - 1]->header.kind == PACKET_NOP ||
			(d->mode != DISPATCH_RUN && want > 0);
	}
	if (d->queue->quiet_ms > 0 && spool_owns(d->mode) && pick->njobs > 0)
		pick->state.low = pick->jobs[0]->row.seq;
}

/* Collect by time from a position; false if fewer were found than asked. */
static bool
collect_time_from(SpoolDispatch *d, SpoolPick *pick, int64 from, int64 want)
{
	GroupScan	group;
	bool		stopped = false;

	group_begin(&group, d, pick, from, ForwardScanDirection, 0);
	while (want > 0 && !stopped && group_next(&group))
		for (int i = 0; i < group.nrows; i++)
		{
			SpoolRow   *row = &group.rows[i];

			if (spool_collected(pick, row))
				spool_remove_twin(d, row);
			else if (want > 0 && !stopped && row->packet_id <= d->mark)
				stopped = !spool_collect_one(d, pick, row, 0, &want);
		}
	pick->exhausted = want > 0 && !stopped;
	return !pick->exhausted;
}

/* Collect by time, from where nothing waits below if that is fresh enough. */
static void
collect_timestamp(SpoolDispatch *d, SpoolPick *pick, int64 want)
{
	TimestampTz now = GetCurrentTimestamp();
	int			ahead = pick->njobs;

	pick->ended = true;
	if (!TimestampDifferenceExceeds(pick->state.looked, now, 1000))
	{
		if (collect_time_from(d, pick, pick->state.low, want))
			return;
		drop_jobs(d, pick, ahead);
	}
	pick->state.looked = now;
	(void) collect_time_from(d, pick, PG_INT64_MIN, want);
}

/*
 * Collect packets that are to be handed out ahead of the cursor, going on
 * after those collected before.  Returns how many jobs are still wanted.
 */
int64
spool_collect_ahead(SpoolDispatch *d, SpoolPick *pick, int64 want)
{
	int			max_ahead = spool_owns(d->mode) ? 1 : MAX_AHEAD;
	TimestampTz due = d->early ? DT_NOEND : GetCurrentTimestamp();

	while (want > 0 && !pick->ahead_done && !pick->ended)
	{
		int			limit = (int) Min(want, max_ahead);
		SpoolRow   *rows = palloc(limit * sizeof(SpoolRow));
		int32	   *attempts = palloc(limit * sizeof(int32));
		int			found;

		found = spool_kept_ahead(pick->stream.id, pick->ahead_seq,
								 pick->ahead_id, limit, d->until, due, rows,
								 attempts, d->mode != DISPATCH_PEEK);
		pick->ahead_done = found < limit || spool_owns(d->mode);
		for (int i = 0; i < found && !pick->ended; i++)
		{
			SpoolJob   *job;

			pick->ahead_seq = rows[i].seq;
			pick->ahead_id = rows[i].packet_id;
			if (!spool_collect_one(d, pick, &rows[i], attempts[i], &want))
			{
				pick->ended = d->order != ORDER_NONE;
				continue;
			}
			job = pick->jobs[pick->njobs - 1];
			job->ahead = true;
		}
		pfree(rows);
		pfree(attempts);
	}
	return want;
}

/* Collect up to want packets more of a pick, by the order of the dispatch. */
void
spool_collect(SpoolDispatch *d, SpoolPick *pick, int64 want)
{
	switch (d->order)
	{
		case ORDER_SEQUENCE:
			collect_sequence(d, pick, want);
			break;
		case ORDER_LATEST:
			collect_latest(d, pick);
			break;
		case ORDER_TIMESTAMP:
			collect_timestamp(d, pick, want);
			break;
		case ORDER_NONE:
			spool_collect_unordered(d, pick, want);
			break;
	}
}
