/*-------------------------------------------------------------------------
 * dispatch.c
 *	  One look for work in a queue: which streams, and how much of each.
 *
 * The caller holds the queue's lock (QUEUE_CONSUME, or QUEUE_OVERRIDE for an
 * order override, which thereby is alone).  Streams are tried in order of
 * their names, beginning after the one where the last look ended (round.c),
 * without those that are known to be idle where many are (around.c); one that
 * another transaction consumes is skipped.  Each stream picked is locked to
 * the end of the transaction, its newest state is read after that, and its
 * packets are collected by the rules in collect.c.
 *
 * A state that names an owner means that jobs of the stream run.  What a dead
 * one left is taken over first (reclaim.c).
 *
 * With k streams picked each gives limit / k jobs, then what is left goes
 * round.  The jobs come out sorted by (first packet of the stream, number).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

#include "action.h"
#include "around.h"
#include "dispatch.h"
#include "numbering.h"
#include "quiet.h"
#include "reason.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "state.h"

/* What a look without a lock says of a stream. */
typedef enum Look
{
	LOOK_NOTHING,				/* nothing can be picked now */
	LOOK_WORK,					/* something may be */
	LOOK_GAP					/* its gap is to be passed over or reported */
} Look;

/* A gap is reported when packets have waited behind it for so long. */
#define GAP_REPORT_MS 10000

/* Streams with many packets that a batch or claim is of, at the least. */
#define FIRST_SHARES 4

static void look_for_work(SpoolDispatch *d, const char *stream);
static void read_state(SpoolDispatch *d, const SpoolStream *stream,
					   SpoolState *state);
static bool first_packet(SpoolDispatch *d, const SpoolStream *stream,
						 int64 from, SpoolRow *row);
static Look look_at(SpoolDispatch *d, SpoolStream *stream);
static Look look_at_gap(SpoolDispatch *d, const SpoolStream *stream,
						const SpoolState *state, const SpoolRow *first);
static bool is_idle(const SpoolState *state);
static int64 first_share(SpoolDispatch *d, int64 left);
static int64 try_stream(SpoolDispatch *d, SpoolStream *stream, int64 want);
static bool have_jobs(SpoolDispatch *d);
static bool lock_stream(SpoolDispatch *d, SpoolStream *stream);
static void pass_gap(SpoolDispatch *d, SpoolPick *pick);
static void try_hints(SpoolDispatch *d);
static void leave_for_next(SpoolDispatch *d, SpoolStream *stream);
static void walk_streams(SpoolDispatch *d);
static void share_out(SpoolDispatch *d);
static int	compare_heads(const ListCell *a, const ListCell *b);
static void sort_out(SpoolDispatch *d);

/*
 * Look for work.  stream: look at this one only, or NULL.  On return d->jobs
 * has what was found; packets that are consumed without being handed out
 * (NOPs, failures under take) are among it.
 */
void
spool_dispatch(SpoolDispatch *d, const char *stream)
{
	SpoolTables tables;

	d->picks = NIL;
	d->jobs = NULL;
	d->njobs = 0;
	d->bytes = 0;
	d->tried = 0;
	d->full = false;
	d->others = false;
	d->nrest = 0;
	d->due = DT_NOEND;
	if (d->limit <= 0 || d->queue->paused)
		return;

	if (d->override)
	{
		spool_dispatch_override(d, stream);
		return;
	}
	spool_tables_open(&tables);
	d->tables = &tables;
	look_for_work(d, stream);
	spool_tables_close(&tables);
	sort_out(d);
}

/* The same in the queue's own order, but for the order of the jobs. */
static void
look_for_work(SpoolDispatch *d, const char *stream)
{
	SpoolStream one;

	if (!spool_by_number(d->order))
		stream = stream != NULL && stream[0] != '\0' ? NULL : "";
	else if (stream == NULL)
	{
		if (d->hints != NULL)
			try_hints(d);
		else
			walk_streams(d);
		share_out(d);
		spool_round_end(d);
		return;
	}
	if (stream != NULL && spool_stream_find(d->queue, stream, &one))
		(void) try_stream(d, &one, d->limit);
}

/* The newest state of a stream, read with the newest snapshot. */
static void
read_state(SpoolDispatch *d, const SpoolStream *stream, SpoolState *state)
{
	if (!spool_states_newest(&d->tables->states, stream->id, state))
		spool_stream_no_state(d->queue, stream);
}

/*
 * The first packet of a stream, not below a position, without its bytes;
 * false if there is none.
 */
static bool
first_packet(SpoolDispatch *d, const SpoolStream *stream, int64 from,
			 SpoolRow *row)
{
	SpoolScan  *scan = &d->tables->packets;
	bool		found;

	spool_store_seek(scan, stream->id, from, PG_INT64_MAX,
					 ForwardScanDirection,
					 spool_by_number(d->order) ? 1 : 0);
	found = spool_store_scan_next(scan, row);
	row->packet = NULL;
	return found;
}

/* A stream may be ready at a time: remember it, and let workers know. */
void
spool_look_again(SpoolDispatch *d, int64 stream, TimestampTz when)
{
	d->due = Min(d->due, when);
	if (d->watching && when != DT_NOEND)
		spool_hint_later(d->queue->id, stream, when);
}

/*
 * A look without a lock, so that streams where nothing can be picked are not
 * locked.  It may be wrong about what changes at the same time.  d->passed
 * tells of one that others have, d->idle of one that has nothing at all: also
 * nothing that may not be handed out as yet.
 */
static Look
look_at(SpoolDispatch *d, SpoolStream *stream)
{
	SpoolState	state;
	SpoolRow	first;

	if (d->order == ORDER_NONE)
		return LOOK_WORK;		/* nothing to lock */
	read_state(d, stream, &state);
	if (state.paused != NULL)
		return LOOK_NOTHING;
	if (state.runner != 0 && state.deadline == 0 &&
		(d->watching || d->waiting))
	{
		/* its runner tells us when it ends; it may have ended meanwhile */
		spool_hint_skipped(d->queue->id);
		read_state(d, stream, &state);
	}
	if (state.runner != 0)
	{
		if (!spool_state_owned(&state))
			return LOOK_WORK;
		if (state.deadline != 0)
			spool_look_again(d, stream->id, state.deadline);
		d->passed = true;
		return LOOK_NOTHING;
	}
	if (!d->early && state.retry_at > GetCurrentTimestamp())
	{
		spool_look_again(d, stream->id, state.retry_at);
		return LOOK_NOTHING;
	}
	if (state.ahead > 0)
		return LOOK_WORK;
	if (d->order == ORDER_TIMESTAMP)
		return first_packet(d, stream, state.low, &first) ||
			first_packet(d, stream, PG_INT64_MIN, &first) ?
			LOOK_WORK : LOOK_NOTHING;
	if (!first_packet(d, stream, state.next, &first))
	{
		d->idle = is_idle(&state);
		return LOOK_NOTHING;
	}
	if (d->order == ORDER_LATEST)
		return spool_is_quiet(d, &state) ? LOOK_WORK : LOOK_NOTHING;
	if (first.seq == state.next)
		return LOOK_WORK;
	if (spool_numbering(stream->id) == NUMBERED_BY_SENDER)
		return look_at_gap(d, stream, &state, &first);
	/* who has a lower number tells at its end */
	return spool_numbering_bound(stream->id, first.seq,
								 NULL) >= first.seq ? LOOK_WORK : LOOK_NOTHING;
}

/*
 * Whether a stream without packets at or above its cursor is idle, in the
 * sense of known.c.
 */
static bool
is_idle(const SpoolState *state)
{
	return state->runner == 0 && state->ahead == 0 &&
		!TransactionIdIsCurrentTransactionId(state->writer);
}

/* Whether a stream in an order of numbers is idle. */
bool
spool_stream_idle(SpoolDispatch *d, const SpoolStream *stream)
{
	SpoolState	state;
	SpoolRow	first;

	read_state(d, stream, &state);
	return is_idle(&state) && !first_packet(d, stream, state.next, &first);
}

/* The look at a stream whose next number is missing. */
static Look
look_at_gap(SpoolDispatch *d, const SpoolStream *stream,
			const SpoolState *state, const SpoolRow *first)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz over;

	if (d->mode == DISPATCH_PEEK || !first->has_arrived)
		return LOOK_NOTHING;
	if (d->queue->gap_timeout_ms > 0)
	{
		over = first->arrived + 1000 * d->queue->gap_timeout_ms;
		if (over <= now)
			return LOOK_GAP;
		spool_look_again(d, stream->id, over);
	}
	if (d->watching && state->failure == NULL)
	{
		over = first->arrived + INT64CONST(1000) * GAP_REPORT_MS;
		if (over <= now)
			return LOOK_GAP;
		spool_look_again(d, stream->id, over);
	}
	return LOOK_NOTHING;
}

/*
 * How many jobs a stream gives when it is picked, of those still wanted: one,
 * or where it gets an owner, which has its price, some; others may want the
 * rest of the streams.
 */
static int64
first_share(SpoolDispatch *d, int64 left)
{
	if (!spool_owns(d->mode))
		return 1;
	return Min(left, Max(d->limit / FIRST_SHARES, 1));
}

/* A stream for which there is no room; a worker tells of some it sees. */
static void
leave_for_next(SpoolDispatch *d, SpoolStream *stream)
{
	if (!d->watching || d->nrest == SPOOL_MAX_HINTS)
		d->others = true;
	else if (look_at(d, stream) != LOOK_NOTHING)
		d->rest[d->nrest++] = stream->id;
}

/* Pick streams round-robin, some jobs of each, until there are enough. */
static void
walk_streams(SpoolDispatch *d)
{
	SpoolAround around;
	SpoolStream stream;
	char	   *last = NULL;
	int64		last_id = 0;
	int64		left = d->limit;

	spool_around_begin(&around, d);
	while (!d->others && spool_around_next(&around, &stream))
	{
		int			npicks = list_length(d->picks);
		int64		handed;

		CHECK_FOR_INTERRUPTS();
		d->idle = false;
		if (left <= 0 || spool_dispatch_full(d))
			leave_for_next(d, &stream);
		else if ((handed = try_stream(d, &stream, first_share(d, left))) > 0)
		{
			left -= handed;
			last = stream.name;
			last_id = stream.id;
		}
		else if (d->full)
			d->others = true;
		spool_around_seen(&around, &stream, d->idle);
		if (list_length(d->picks) == npicks)
			pfree(stream.name);
	}
	spool_around_end(&around);
	if (!d->waiting)
		spool_round_at(d, last, last_id);
}

/* Pick among the streams that hints name, some jobs of each. */
static void
try_hints(SpoolDispatch *d)
{
	int64		left = d->limit;

	while (d->tried < d->nhints && left > 0 && !spool_dispatch_full(d))
	{
		SpoolStream stream;
		int64		handed;

		if (!spool_stream_by_id(d->queue, d->hints[d->tried++], &stream))
			continue;
		handed = try_stream(d, &stream, first_share(d, left));
		left -= handed;
		if (handed == 0 && d->full)
			d->tried--;			/* it is for the next batch */
	}
}

/*
 * Lock a stream that nobody else consumes; false if somebody does.  A worker
 * or CALL wait then leaves word, so that it is told when that ends, and tries
 * once more: it may have ended in between.
 */
static bool
lock_stream(SpoolDispatch *d, SpoolStream *stream)
{
	if (d->mode == DISPATCH_PEEK)
		return true;
	if (d->order == ORDER_NONE)
	{
		/* packets are locked instead, and come back with a rollback */
		if (d->watching || d->waiting)
			spool_hint_skipped(d->queue->id);
		else
			spool_hint_holds(d->queue->id, stream->id,
							 GetCurrentTransactionStartTimestamp());
		return true;
	}
	if (!spool_tables_lock(d->tables, stream, LockWaitSkip))
	{
		if (!d->watching && !d->waiting)
			return false;
		spool_hint_skipped(d->queue->id);
		if (!spool_tables_lock(d->tables, stream, LockWaitSkip))
			return false;
	}
	spool_hint_holds(d->queue->id, stream->id,
					 GetCurrentTransactionStartTimestamp());
	return true;
}

/*
 * Try to pick a stream; returns how many jobs of it are handed out.  It is
 * also picked if there is anything else to consume.  A job that is to run
 * alone is the whole batch; where it is not the first, the batch ends before
 * it.
 */
static int64
try_stream(SpoolDispatch *d, SpoolStream *stream, int64 want)
{
	SpoolPick  *pick;
	Look		look;
	int64		handed = 0;

	if (d->except != NULL &&
		hash_search(d->except, &stream->id, HASH_FIND, NULL) != NULL)
		return 0;
	look = look_at(d, stream);
	if (look == LOOK_NOTHING)
		return 0;
	d->passed |= look == LOOK_GAP;
	if (!lock_stream(d, stream))
	{
		d->passed = true;
		return 0;
	}

	pick = palloc0(sizeof(SpoolPick));
	pick->stream = *stream;
	pick->locked_by = GetCurrentTransactionIdIfAny();
	read_state(d, stream, &pick->state);
	pick->before = pick->state;
	if (d->mode != DISPATCH_PEEK)
		spool_state_check_snapshot(&pick->state);
	pick->kept = d->order == ORDER_NONE && spool_kept_has_ahead(stream->id);
	if (!spool_may_consume(d, pick))
		return 0;
	if (look == LOOK_GAP)
		pass_gap(d, pick);
	if (spool_owns(d->mode) && !d->early &&
		pick->state.retry_at > GetCurrentTimestamp())
	{
		spool_look_again(d, stream->id, pick->state.retry_at);
		pick->ended = true;
	}

	pick->from = pick->state.next;
	pick->ahead_seq = -1;
	pick->ahead_done = pick->state.ahead == 0 && !pick->kept;
	if (d->mode == DISPATCH_RUN && pick->state.solo > 0 && !pick->ended)
		pick->ended = d->full = have_jobs(d);
	want = spool_collect_ahead(d, pick, want);
	if (spool_owns(d->mode))
	{
		if (pick->njobs > 0)
			pick->ended = true; /* those ahead run alone */
		else if (pick->state.solo > 0)
			want = 1;
	}
	if (!pick->ended && want > 0)
		spool_collect(d, pick, want);
	if ((d->watching || d->waiting) && pick->kept && pick->njobs == 0)
		spool_look_at_kept(d, stream->id);
	if (spool_owns(d->mode) && pick->state.solo > 0)
		pick->ended = true;
	if (d->mode == DISPATCH_RUN && pick->state.solo > 0 && pick->njobs > 0)
		d->full = true;

	for (int i = 0; i < pick->njobs; i++)
		handed += pick->jobs[i]->handed || d->mode == DISPATCH_RUN;
	if (pick->njobs > 0 || pick->changed ||
		pick->state.failed != pick->before.failed)
		d->picks = lappend(d->picks, pick);
	return handed;
}

/* Whether a job was collected already. */
static bool
have_jobs(SpoolDispatch *d)
{
	ListCell   *cell;

	foreach(cell, d->picks)
	{
		if (((SpoolPick *) lfirst(cell))->njobs > 0)
			return true;
	}
	return false;
}

/*
 * Pass over the missing number at the head of a locked stream if the queue's
 * time for it is over, else report it, once.  A writer that has not committed
 * may be storing it: then it is looked at again.
 */
static void
pass_gap(SpoolDispatch *d, SpoolPick *pick)
{
	SpoolState *state = &pick->state;
	TimestampTz now = GetCurrentTimestamp();
	SpoolRow	first;

	if (d->queue->gap_timeout_ms > 0 && !spool_queue_numbers_try(d->queue))
	{
		spool_look_again(d, pick->stream.id, now + USECS_PER_SEC);
		return;
	}
	if (!first_packet(d, &pick->stream, state->next, &first) ||
		first.seq == state->next)
		return;
	if (d->queue->gap_timeout_ms > 0 &&
		first.arrived + 1000 * d->queue->gap_timeout_ms <= now)
	{
		spool_action(d->queue, pick->stream.name, "gap_timeout", state->next,
					 first.seq - 1, 0, NULL);
		state->next = first.seq;
		state->failure = NULL;
	}
	else if (d->watching && state->failure == NULL)
		spool_stream_blocked(d->queue, &pick->stream, state,
							 spool_reason_missing(state->next, first.seq - 1));
	else
		return;
	pick->changed = true;
}

/* Whether a stream may be consumed: not paused and nothing of it runs. */
bool
spool_may_consume(SpoolDispatch *d, SpoolPick *pick)
{
	SpoolState *state = &pick->state;

	if (state->paused != NULL)
		return false;
	if (!d->early && state->retry_at > GetCurrentTimestamp())
		return false;
	if (state->runner != 0)
	{
		if (spool_state_owned(state))
			return false;
		spool_reclaim(d, pick);
	}
	if (pick->kept && d->mode != DISPATCH_PEEK)
		spool_reclaim_orphans(d, pick);
	return true;
}

/* Collect each stream's share of what is left of the limit, then the rest. */
static void
share_out(SpoolDispatch *d)
{
	for (;;)
	{
		int64		left = d->limit;
		int64		share;
		int64		want;
		int			open = 0;
		ListCell   *cell;

		foreach(cell, d->picks)
		{
			SpoolPick  *pick = lfirst(cell);

			for (int i = 0; i < pick->njobs; i++)
				if (pick->jobs[i]->handed || d->mode == DISPATCH_RUN)
					left--;
			open += !pick->ended;
		}
		if (open == 0 || left <= 0 || spool_dispatch_full(d))
			return;
		share = Max(left / open, 1);
		foreach(cell, d->picks)
		{
			SpoolPick  *pick = lfirst(cell);

			if (pick->ended || left <= 0)
				continue;
			want = spool_collect_ahead(d, pick, share);
			if (!pick->ended && want > 0)
				spool_collect(d, pick, want);
			left -= share;
		}
	}
}

static int
compare_heads(const ListCell *a, const ListCell *b)
{
	int64		x = ((SpoolPick *) lfirst(a))->head;
	int64		y = ((SpoolPick *) lfirst(b))->head;

	return x < y ? -1 : x > y;
}

/* Put all jobs into the order to hand them out. */
static void
sort_out(SpoolDispatch *d)
{
	ListCell   *cell;
	int			total = 0;

	list_sort(d->picks, compare_heads);
	foreach(cell, d->picks)
		total += ((SpoolPick *) lfirst(cell))->njobs;
	d->jobs = palloc_extended(Max(total, 1) * sizeof(SpoolJob *),
							  MCXT_ALLOC_HUGE);
	foreach(cell, d->picks)
	{
		SpoolPick  *pick = lfirst(cell);

		for (int i = 0; i < pick->njobs; i++)
			d->jobs[d->njobs++] = pick->jobs[i];
	}
}
