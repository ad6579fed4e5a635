/*-------------------------------------------------------------------------
 * dispatch.c
 *	  One look for work in a queue: which streams, and how much of each.
 *
 * The caller holds the queue's lock (QUEUE_CONSUME, or QUEUE_OVERRIDE for an
 * order override, which thereby is alone).  Streams are tried in order of
 * their names, beginning after the one where this backend's last look ended;
 * one that another transaction consumes is skipped.  Each stream picked is
 * locked to the end of the transaction, its newest state is read after that,
 * and its packets are collected by the rules in collect.c.
 *
 * A state that names a runner means that jobs of the stream run.  If the
 * runner is dead, the jobs it was given are offered again: a single one with
 * its attempt counted as crashed, several (which one killed the runner is not
 * known) one by one.
 *
 * With k streams picked each gives limit / k jobs, then what is left goes
 * round.  The jobs come out sorted by (first packet of the stream, number).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

#include "attempt.h"
#include "dispatch.h"
#include "history.h"
#include "runner.h"
#include "spiutil.h"
#include "spool.h"
#include "state.h"

/* Where the last look of this backend ended, by queue. */
typedef struct RoundRobin
{
	int32		queue;
	char		last[SPOOL_MAX_STREAM_NAME + 1];
} RoundRobin;

static HTAB *round_robins = NULL;

static char *last_stream(SpoolQueue *queue);
static void remember_stream(SpoolQueue *queue, const char *name);
static bool try_stream(SpoolDispatch *d, SpoolStream *stream, int64 want);
static bool may_have_work(SpoolDispatch *d, SpoolStream *stream);
static bool may_consume(SpoolDispatch *d, SpoolPick *pick);
static void reclaim(SpoolDispatch *d, SpoolPick *pick);
static void reclaim_orphans(SpoolDispatch *d, SpoolPick *pick);
static void walk_streams(SpoolDispatch *d);
static void share_out(SpoolDispatch *d);
static int	compare_heads(const ListCell *a, const ListCell *b);
static void sort_out(SpoolDispatch *d);
static void dispatch_override(SpoolDispatch *d, const char *stream);
static bool override_collect(SpoolDispatch *d, const char *stream,
							 int64 limit);
static SpoolPick *override_pick(SpoolDispatch *d, int64 stream, const char *name);

/* The effective order of a call; 22023 if the queue cannot be read in it. */
SpoolOrder
spool_dispatch_order(SpoolQueue *queue, const char *order_by)
{
	SpoolOrder	order;

	if (order_by == NULL)
		return queue->order;
	order = spool_order_from_name(order_by);
	if (order == queue->order)
		return order;
	if (spool_by_number(order) || !spool_by_number(queue->order))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("queue \"%s\" cannot be read in order \"%s\"",
						queue->name, order_by),
				 errhint("A queue in order \"sequence\" or \"latest\" can be read in order \"timestamp\" or \"none\", others only in their own.")));
	return ORDER_TIMESTAMP;
}

/* 21000 for a conflict that the dispatch met. */
void
spool_dispatch_raise_conflict(SpoolDispatch *d)
{
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("packets %lld and %lld of queue \"%s\" have the same number " INT64_FORMAT,
					(long long) d->conflict[0], (long long) d->conflict[1],
					d->queue->name, d->conflict_seq),
			 errdetail("Stream \"%s\" stops at this number.",
					   d->conflict_stream),
			 errhint("Discard one of them with spool.discard, name their streams, or order the queue by timestamp.")));
}

/* The name after which the next look begins, or NULL. */
static char *
last_stream(SpoolQueue *queue)
{
	RoundRobin *entry;

	if (round_robins == NULL)
		return NULL;
	entry = hash_search(round_robins, &queue->id, HASH_FIND, NULL);
	return entry && entry->last[0] ? pstrdup(entry->last) : NULL;
}

static void
remember_stream(SpoolQueue *queue, const char *name)
{
	RoundRobin *entry;
	bool		found;

	if (round_robins == NULL)
	{
		HASHCTL		info;

		memset(&info, 0, sizeof(info));
		info.keysize = sizeof(int32);
		info.entrysize = sizeof(RoundRobin);
		round_robins = hash_create("spool round robin", 16, &info,
								   HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(round_robins, &queue->id, HASH_ENTER, &found);
	strlcpy(entry->last, name, sizeof(entry->last));
}

/*
 * Look for work.  stream: look at this one only, or NULL.  On return d->jobs
 * has what was found; packets that are consumed without being handed out
 * (NOPs, failures under take) are among it.
 */
void
spool_dispatch(SpoolDispatch *d, const char *stream)
{
	SpoolStream one;

	d->picks = NIL;
	d->jobs = NULL;
	d->njobs = 0;
	d->bytes = 0;
	if (d->limit <= 0 || d->queue->paused)
		return;

	if (d->override)
	{
		dispatch_override(d, stream);
		return;
	}
	if (!spool_by_number(d->order))
		stream = stream != NULL && stream[0] != '\0' ? NULL : "";
	else if (stream == NULL)
	{
		walk_streams(d);
		share_out(d);
		sort_out(d);
		return;
	}
	if (stream != NULL && spool_stream_find(d->queue, stream, &one) &&
		may_have_work(d, &one))
		(void) try_stream(d, &one, d->limit);
	sort_out(d);
}

/*
 * A look without a lock, so that streams where nothing can be picked are not
 * locked.  It may be wrong about what changes at the same time.
 */
static bool
may_have_work(SpoolDispatch *d, SpoolStream *stream)
{
	SpoolState	state;
	int64		first;

	if (d->order == ORDER_NONE)
		return true;			/* nothing to lock */
	spool_stream_state(d->queue, stream, &state);
	if (state.paused != NULL)
		return false;
	if (state.runner != 0)
		return !spool_runner_alive(state.runner);
	if (state.ahead > 0)
		return true;
	if (d->order == ORDER_TIMESTAMP)
		return spool_store_first(stream->id, state.low, &first) ||
			spool_store_first(stream->id, PG_INT64_MIN, &first);
	return spool_store_first(stream->id, state.next, &first) &&
		(first == state.next || d->order != ORDER_SEQUENCE ||
		 spool_numbering(stream->id) == NUMBERED_BY_QUEUE);
}

/* Pick streams round-robin, one job of each, until there are enough. */
static void
walk_streams(SpoolDispatch *d)
{
	char	   *start = last_stream(d->queue);
	char	   *last = NULL;
	int64		picked = 0;

	for (int lap = 0; lap < 2 && picked < d->limit; lap++)
	{
		SpoolStreamWalk walk;
		SpoolStream stream;

		if (lap == 1 && start == NULL)
			break;
		spool_stream_walk_begin(&walk, d->queue, lap == 0 ? start : NULL);
		while (picked < d->limit && spool_stream_walk_next(&walk, &stream))
		{
			CHECK_FOR_INTERRUPTS();
			if (lap == 1 && strcmp(stream.name, start) > 0)
				break;
			if (may_have_work(d, &stream) && try_stream(d, &stream, 1))
			{
				picked++;
				last = stream.name;
			}
			if (spool_dispatch_full(d))
				picked = d->limit;
		}
		spool_stream_walk_end(&walk);
	}
	if (last != NULL && d->mode != DISPATCH_PEEK)
		remember_stream(d->queue, last);
}

/*
 * Try to pick a stream.  True if a job of it is handed out; it is also picked
 * if there is anything to consume.
 */
static bool
try_stream(SpoolDispatch *d, SpoolStream *stream, int64 want)
{
	SpoolPick  *pick;
	bool		handed = false;

	if (d->except != NULL &&
		hash_search(d->except, &stream->id, HASH_FIND, NULL) != NULL)
		return false;
	if (d->mode != DISPATCH_PEEK && d->order != ORDER_NONE &&
		!spool_stream_lock(stream, LockWaitSkip))
		return false;

	pick = palloc0(sizeof(SpoolPick));
	pick->stream = *stream;
	spool_stream_state(d->queue, stream, &pick->state);
	if (d->mode != DISPATCH_PEEK)
		spool_state_check_snapshot(&pick->state);
	if (!may_consume(d, pick))
		return false;

	pick->from = pick->state.next;
	pick->ahead_seq = -1;
	pick->ahead_done = pick->state.ahead == 0 && d->order != ORDER_NONE;
	want = spool_collect_ahead(d, pick, want);
	if (d->mode == DISPATCH_RUN)
	{
		if (pick->njobs > 0)
			pick->ended = true; /* those ahead run alone */
		else if (pick->state.solo > 0)
			want = 1;
	}
	if (!pick->ended && want > 0)
		spool_collect(d, pick, want);
	if (d->mode == DISPATCH_RUN && pick->state.solo > 0)
		pick->ended = true;

	for (int i = 0; i < pick->njobs; i++)
		handed |= pick->jobs[i]->handed || d->mode == DISPATCH_RUN;
	if (pick->njobs > 0 || pick->changed)
		d->picks = lappend(d->picks, pick);
	return handed;
}

/* Whether a stream may be consumed: not paused and nothing of it runs. */
static bool
may_consume(SpoolDispatch *d, SpoolPick *pick)
{
	SpoolState *state = &pick->state;

	if (state->paused != NULL)
		return false;
	if (state->runner != 0)
	{
		if (spool_runner_alive(state->runner))
			return false;
		reclaim(d, pick);
	}
	if (d->order == ORDER_NONE && d->mode != DISPATCH_PEEK)
		reclaim_orphans(d, pick);
	return true;
}

/* Take over the stream of a dead runner. */
static void
reclaim(SpoolDispatch *d, SpoolPick *pick)
{
	SpoolState *state = &pick->state;

	if (state->run_jobs == 1)
	{
		if (state->attempt_packet != state->run_packet)
			state->attempts = 0;
		state->attempts++;
		state->attempt_packet = state->run_packet;
		state->failure = pstrdup("the runner died");
		pick->crashed = state->run_packet;
		if (d->mode != DISPATCH_PEEK)
			spool_history_crashed(d->queue, pick->stream.name,
								  state->run_packet, state->attempts,
								  state->since);
	}
	else
		state->solo = state->run_jobs;
	if (d->mode != DISPATCH_PEEK)
		spool_run_passed_over(d->queue, state);
	state->runner = 0;
	pick->changed = true;
}

/* Give back the packets of dead runners of a queue without order. */
static void
reclaim_orphans(SpoolDispatch *d, SpoolPick *pick)
{
	static SpoolPlan plan = {
		"UPDATE spool.kept SET state = 'ready', runner = 0,"
		" attempts = attempts + $3 WHERE packet_id IN"
		" (SELECT packet_id FROM spool.kept WHERE stream = $1 AND runner = $2"
		"   AND state = 'running' FOR UPDATE SKIP LOCKED)"
		" RETURNING packet_id, attempts, since",
		SPI_OK_UPDATE_RETURNING, PLAN_ARGS(INT8OID, INT8OID, INT4OID)
	};
	int64	   *packets;
	int64	   *runners;
	int			n = spool_kept_orphans(pick->stream.id, &packets, &runners);

	for (int i = 0; i < n; i++)
	{
		bool		alone = true;
		Datum		values[3];
		SpoolSpi	spi;

		if (i > 0 && runners[i] == runners[i - 1])
			continue;
		if (spool_runner_alive(runners[i]))
			continue;
		for (int j = 0; j < n; j++)
			alone &= j == i || runners[j] != runners[i];
		values[0] = Int64GetDatum(pick->stream.id);
		values[1] = Int64GetDatum(runners[i]);
		values[2] = Int32GetDatum(alone ? 1 : 0);
		spool_spi_begin(&spi);
		if (spool_exec(&plan, values, NULL) == 1 && alone)
		{
			int32		attempts = DatumGetInt32(spool_field(0, 2, NULL));
			TimestampTz since = DatumGetTimestampTz(spool_field(0, 3, NULL));

			spool_history_crashed(d->queue, pick->stream.name, packets[i],
								  attempts, since);
		}
		spool_spi_end(&spi);
	}
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

/* The pick of a stream in an order override; made when first asked for. */
static SpoolPick *
override_pick(SpoolDispatch *d, int64 stream, const char *name)
{
	ListCell   *cell;
	SpoolPick  *pick;

	foreach(cell, d->picks)
	{
		pick = lfirst(cell);
		if (pick->stream.id == stream)
			return pick;
	}
	pick = palloc0(sizeof(SpoolPick));
	if (d->mode != DISPATCH_PEEK)
		spool_stream_open(d->queue, name, &pick->stream, &pick->state);
	else if (spool_stream_find(d->queue, name, &pick->stream))
		spool_stream_state(d->queue, &pick->stream, &pick->state);
	if (!may_consume(d, pick))
		pick->ended = true;
	d->picks = lappend(d->picks, pick);
	return pick;
}

/*
 * Read a queue in order of creation time instead of its own.  Looks at all
 * packets that wait; reads as many as jobs are wanted first, and the others
 * only if some of these (NOPs) were no jobs.
 */
static void
dispatch_override(SpoolDispatch *d, const char *stream)
{
	if (!override_collect(d, stream, d->limit))
		(void) override_collect(d, stream, PG_INT64_MAX);
}

/*
 * Collect for an order override from the first packets of the queue, up to
 * limit; false if there may be more jobs behind them.
 */
static bool
override_collect(SpoolDispatch *d, const char *stream, int64 limit)
{
	static SpoolPlan plan = {
		"SELECT p.stream, s.name, p.position, p.seq, p.packet_id, p.arrived,"
		" p.packet, p.ctid"
		" FROM spool.stream s, LATERAL (SELECT st.next, st.runner, st.paused"
		"  FROM spool.state st WHERE st.consumer = 0 AND st.stream = s.id"
		"  ORDER BY st.version DESC LIMIT 1) st, spool.segment_0 p"
		" WHERE s.queue = $1 AND ($2 IS NULL OR s.name = $2)"
		"  AND p.stream = s.id AND p.position >= st.next"
		"  AND p.packet_id <= $3 AND st.paused IS NULL"
		"  AND (st.runner = 0 OR NOT spool.runner_alive(st.runner))"
		" ORDER BY spool.nanoseconds(p.packet), p.seq, p.packet_id LIMIT $4",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID, TEXTOID, INT8OID, INT8OID)
	};
	MemoryContext context = CurrentMemoryContext;
	SpoolSpi	spi;
	Datum		values[4];
	char		nulls[4] = {' ', stream ? ' ' : 'n', ' ', ' '};
	uint64		found;
	int64		want = d->limit;
	SpoolRow   *rows;
	char	  **names;
	ListCell   *cell;

	foreach(cell, d->picks)
		((SpoolPick *) lfirst(cell))->njobs = 0;
	d->njobs = 0;
	d->bytes = 0;

	values[0] = Int32GetDatum(d->queue->id);
	values[1] = stream ? CStringGetTextDatum(stream) : (Datum) 0;
	values[2] = Int64GetDatum(d->mark);
	values[3] = Int64GetDatum(limit);
	spool_spi_begin(&spi);
	found = spool_exec(&plan, values, nulls);
	rows = MemoryContextAllocHuge(context, (found + 1) * sizeof(SpoolRow));
	names = MemoryContextAllocHuge(context, (found + 1) * sizeof(char *));
	for (uint64 i = 0; i < found; i++)
	{
		bool		null;

		rows[i].stream = DatumGetInt64(spool_field(i, 1, NULL));
		names[i] = MemoryContextStrdup(context,
									   TextDatumGetCString(spool_field(i, 2, NULL)));
		rows[i].position = DatumGetInt64(spool_field(i, 3, NULL));
		rows[i].seq = DatumGetInt64(spool_field(i, 4, NULL));
		rows[i].packet_id = DatumGetInt64(spool_field(i, 5, NULL));
		rows[i].arrived = DatumGetTimestampTz(spool_field(i, 6, &null));
		rows[i].has_arrived = !null;
		rows[i].packet = (struct varlena *)
			DatumGetPointer(spool_field_copy(i, 7, BYTEAOID, &null, context));
		rows[i].tid = *(ItemPointer) DatumGetPointer(spool_field(i, 8, NULL));
	}
	spool_spi_end(&spi);

	d->jobs = palloc_extended((found + 1) * sizeof(SpoolJob *),
							  MCXT_ALLOC_HUGE);
	for (uint64 i = 0; i < found && want > 0; i++)
	{
		SpoolPick  *pick = override_pick(d, rows[i].stream, names[i]);

		if (pick->ended || spool_collected(pick, &rows[i]))
			continue;
		if (!spool_collect_one(d, pick, &rows[i], &want))
			return true;
		d->jobs[d->njobs++] = pick->jobs[pick->njobs - 1];
	}
	return want == 0 || found < (uint64) limit;
}
