/*-------------------------------------------------------------------------
 * stat.c
 *	  Monitoring: what each stream of a queue does, and why not more.
 *
 * spool.stream_stats is behind the views stat_queues and stat_streams.  It
 * reads with the snapshot of the statement, so that a view is a picture of one
 * moment and its counts go forwards only; who is alive is as of now.  It takes
 * no lock and waits for nobody.
 *
 * The cost is that of some looks into indexes for each stream.  Waiting
 * packets are counted up to a limit and estimated beyond it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/subtrans.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

#include "args.h"
#include "dispatch.h"
#include "kept.h"
#include "numbering.h"
#include "packet_type.h"
#include "pass.h"
#include "queue.h"
#include "quiet.h"
#include "reason.h"
#include "runner.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "stat.h"
#include "state.h"
#include "store.h"
#include "stream.h"

/* Packets of a stream that are counted when a look has no budget left. */
#define COUNT_SHORT 100

/* Columns of stream_stats. */
enum
{
	STAT_STREAM, STAT_CURSOR, STAT_WAITING, STAT_STATE, STAT_REASON,
	STAT_SINCE, STAT_PID, STAT_CLAIM_ID, STAT_RUNNING, STAT_OLDEST,
	STAT_CONSUMED, STAT_DONE, STAT_FAILED, STAT_DEAD, STAT_SUPERSEDED,
	STAT_COLUMNS
};

PG_FUNCTION_INFO_V1(spool_stream_stats);
PG_FUNCTION_INFO_V1(spool_queue_rates);

static void read_pause(SpoolLook *look);
static void set_head(SpoolStreamStat *stat, const SpoolRow *row);
static int64 estimate(SpoolLook *look, SpoolStreamStat *stat, int64 counted,
					  const SpoolRow *last);
static void look_ahead(SpoolStreamStat *stat);
static bool find_conflict(SpoolStreamStat *stat);
static void show_owner(SpoolLook *look, SpoolStreamStat *stat);
static bool show_failure(SpoolLook *look, SpoolStreamStat *stat);
static void show_quiet(SpoolLook *look, SpoolStreamStat *stat);
static bool show_missing(SpoolStreamStat *stat);
static void stat_ordered(SpoolLook *look, SpoolStreamStat *stat);
static void visit_stream(SpoolLook *look, SpoolStreamStat *stat, void *arg);
static void put_row(ReturnSetInfo *rsinfo, SpoolLook *look, SpoolStreamStat *stat);

/* Why and since when the whole queue is paused. */
static void
read_pause(SpoolLook *look)
{
	static SpoolPlan plan = {
		"SELECT COALESCE(pause_reason, 'the queue is paused'), paused_since"
		" FROM spool.queue WHERE id = $1 AND paused_since IS NOT NULL",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID)
	};
	MemoryContext context = CurrentMemoryContext;
	SpoolSpi	spi;
	Datum		values[1];

	values[0] = Int32GetDatum(look->queue->id);
	spool_spi_begin(&spi);
	if (spool_exec(&plan, values, NULL) == 1)
	{
		look->paused = MemoryContextStrdup(context,
										   TextDatumGetCString(spool_field(0, 1, NULL)));
		look->paused_since = DatumGetTimestampTz(spool_field(0, 2, NULL));
	}
	spool_spi_end(&spi);
}

/* Remember a packet as the one that comes next. */
static void
set_head(SpoolStreamStat *stat, const SpoolRow *row)
{
	PacketHeader header;

	spool_packet_header(row->packet, &header);
	stat->has_head = true;
	stat->head = *row;
	stat->head.packet = NULL;
	stat->kind = header.kind;
	if (!row->has_arrived)
		stat->head.arrived = spool_packet_ctime(&header);
}

/*
 * How many packets wait if there are more than those counted, of which last
 * is the last one.  They are taken to lie as densely as those: by number, or
 * by id where a queue is ordered by time.
 */
static int64
estimate(SpoolLook *look, SpoolStreamStat *stat, int64 counted, const SpoolRow *last)
{
	bool		latest = look->queue->order == ORDER_LATEST;
	SpoolRow	end;
	double		seen;
	double		all;

	/* the other end of what waits */
	spool_store_seek(&look->packets, stat->stream.id,
					 latest ? stat->state.next : last->position, PG_INT64_MAX,
					 latest ? ForwardScanDirection : BackwardScanDirection, 0);
	if (!spool_store_scan_next(&look->packets, &end))
		return counted;
	if (spool_by_number(look->queue->order))
	{
		seen = fabs((double) last->position - stat->head.position) + 1;
		all = fabs((double) end.position - stat->head.position) + 1;
	}
	else
	{
		seen = fabs((double) last->packet_id - stat->head.packet_id) + 1;
		all = fabs((double) end.packet_id - stat->head.packet_id) + 1;
	}
	return (int64) (counted * Max(all / seen, 1.0));
}

/*
 * Find the head of a stream and count what waits in the store, in one segment
 * or all.
 */
void
spool_stat_count(SpoolLook *look, SpoolStreamStat *stat, int segment)
{
	SpoolOrder	order = look->queue->order;
	int64		limit = look->budget > 0 ? SPOOL_STAT_COUNT : COUNT_SHORT;
	SpoolScan  *scan = &look->packets;
	SpoolRow	row;
	int64		last_id = 0;
	int64		last_position = 0;
	int64		n = 0;
	bool		more;

	spool_store_limit(scan, segment);
	spool_store_seek(scan, stat->stream.id,
					 spool_by_number(order) ? stat->state.next : PG_INT64_MIN,
					 PG_INT64_MAX, order == ORDER_LATEST ?
					 BackwardScanDirection : ForwardScanDirection, 0);
	while ((more = spool_store_scan_next(scan, &row)) && n < limit)
	{
		if (n == 0)
			set_head(stat, &row);
		else if (row.position == stat->head.position)
			stat->has_twin = true;
		last_id = row.packet_id;
		last_position = row.position;
		n++;
	}
	look->budget -= n;
	if (more)
	{
		row.packet_id = last_id;
		row.position = last_position;
		n = estimate(look, stat, n, &row);
	}
	stat->stored = n;
}

/* If packets are to be handed out ahead of the cursor, one of them is next. */
static void
look_ahead(SpoolStreamStat *stat)
{
	SpoolRow	row;
	int32		attempts;

	if (stat->state.ahead > 0 &&
		spool_kept_ahead(stat->stream.id, -1, 0, 1, DT_NOEND, DT_NOEND, &row,
						 &attempts, false) == 1)
	{
		set_head(stat, &row);
		stat->has_twin = false;
	}
}

/* Whether different packets have the number of the head; if so, show it. */
static bool
find_conflict(SpoolStreamStat *stat)
{
	SpoolScan	scan;
	SpoolRow	row;
	int64		first_id = 0;
	struct varlena *first = NULL;
	bool		found = false;

	if (!stat->has_twin)
		return false;
	spool_store_scan_range(&scan, stat->stream.id, stat->head.position,
						   stat->head.position, ForwardScanDirection);
	while (!found && spool_store_scan_next(&scan, &row))
	{
		if (first == NULL)
		{
			first_id = row.packet_id;
			spool_row_copy(&row);
			first = row.packet;
		}
		else if (!spool_same_packet(first, row.packet))
		{
			found = true;
			spool_stat_show(stat, "conflict",
							spool_reason_conflict(Min(first_id, row.packet_id),
												  Max(first_id, row.packet_id),
												  stat->head.seq),
							Max(stat->head.arrived, row.arrived));
		}
	}
	spool_store_scan_end(&scan);
	return found;
}

/* Say what a stream does. */
void
spool_stat_show(SpoolStreamStat *stat, const char *state, char *reason, TimestampTz since)
{
	stat->shown = state;
	stat->reason = reason;
	stat->since = since;
}

/* Say that it is paused, if it is. */
bool
spool_stat_pause(SpoolLook *look, SpoolStreamStat *stat)
{
	const char *reason = stat->state.paused;

	if (look->paused != NULL)
		spool_stat_show(stat, "paused", look->paused, look->paused_since);
	else if (reason != NULL)
		spool_stat_show(stat, "paused",
						pstrdup(reason[0] != '\0' ? reason : "the stream is paused"),
						stat->state.since);
	else
		return false;
	return true;
}

/* A stream that a runner or a claim owns. */
static void
show_owner(SpoolLook *look, SpoolStreamStat *stat)
{
	SpoolState *state = &stat->state;
	bool		claim = state->deadline != 0;
	int64		jobs = claim ? state->nclaimed : state->run_jobs;
	int64		stored = jobs;
	SpoolRow	first;

	if (state->run_jobs == 0 && spool_by_number(look->queue->order))
	{
		/* set_next_seq came while they ran, and may have passed them */
		stored = spool_store_count(stat->stream.id, state->next,
								   state->run_last + 1);
		if (!claim && spool_store_by_id(state->run_packet, &first))
			jobs = spool_store_count(stat->stream.id, first.position,
									 state->run_last + 1);
	}
	stat->waiting = Max(stat->waiting - Min(stored, jobs), 0);
	stat->running = Max(jobs, 1);
	spool_stat_show(stat, claim ? "claimed" : "running", NULL, state->run_since);
	if (claim)
		stat->claim_id = state->runner;
	else
		stat->pid = spool_runner_pid(state->runner);
}

/* A stream whose head failed. */
static bool
show_failure(SpoolLook *look, SpoolStreamStat *stat)
{
	SpoolState *state = &stat->state;
	bool		head = state->attempt_packet == stat->head.packet_id;

	if (state->attempt_packet == 0 ||
		(!head && state->retry_at <= look->now))
		return false;
	spool_stat_show(stat, head && look->queue->on_error == ON_ERROR_RETRY &&
					spool_attempts_spent(look->queue, state->attempts) ?
					"blocked" : "retrying",
					head ? spool_reason_failed(stat->head.seq, state->failure) :
					state->failure,
					state->since);
	return true;
}

/* A stream whose head may run, if somebody runs it. */
void
spool_stat_ready(SpoolLook *look, SpoolStreamStat *stat)
{
	SpoolQueue *queue = look->queue;
	TimestampTz since = Max(stat->head.arrived, stat->state.since);
	bool		command = queue->handler != NULL || queue->program != NULL;

	if ((command || queue->workers > 0) && look->problem != NULL)
		spool_stat_show(stat, "blocked", pstrdup(look->problem), since);
	else if (!command && stat->kind == PACKET_FAIL &&
			 queue->on_error == ON_ERROR_RETRY && queue->order != ORDER_NONE)
		spool_stat_show(stat, "blocked", spool_reason_failed(stat->head.seq,
															 "Fail packet"), since);
	else
		spool_stat_show(stat, "ready", NULL, since);
}

/* A stream that would be ready, if something new came for it lately. */
static void
show_quiet(SpoolLook *look, SpoolStreamStat *stat)
{
	SpoolQueue *queue = look->queue;
	TimestampTz until;
	TimestampTz since;

	if (queue->quiet_ms == 0 || stat->state.ahead > 0 || stat->reason != NULL)
		return;
	until = spool_quiet_until(queue, &stat->state, &look->packets, &since);
	if (until > look->now)
		spool_stat_show(stat, "waiting",
						spool_reason_quiet(until, until == stat->head.arrived +
										   1000 * queue->quiet_ms), since);
}

/* A stream whose next number is missing, if it is waited for. */
static bool
show_missing(SpoolStreamStat *stat)
{
	int64		next = stat->state.next;
	SpoolHolder holder;

	if (spool_numbering(stat->stream.id) == NUMBERED_BY_SENDER)
	{
		spool_stat_show(stat, "gap",
						spool_reason_missing(next, stat->head.seq - 1),
						stat->head.arrived);
		return true;
	}
	if (spool_numbering_bound(stat->stream.id, stat->head.seq,
							  &holder) >= stat->head.seq)
		return false;
	if (holder.pid != 0)
	{
		spool_stat_show(stat, "waiting", spool_reason_open(holder.number),
						holder.since);
		stat->pid = holder.pid;
	}
	else
		spool_stat_show(stat, "waiting",
						spool_reason_missing(next, stat->head.seq - 1),
						stat->head.arrived);
	return true;
}

/* The state of a stream of a queue that has an order. */
static void
stat_ordered(SpoolLook *look, SpoolStreamStat *stat)
{
	SpoolState *state = &stat->state;

	look_ahead(stat);
	stat->waiting = stat->stored + state->ahead;
	if (spool_state_owned(state))
		show_owner(look, stat);
	else if (stat->locker != InvalidTransactionId)
	{
		spool_stat_show(stat, "running", pstrdup("an open transaction consumes it"),
						state->since);
		stat->pid = BackendXidGetPid(SubTransGetTopmostTransaction(stat->locker));
	}
	else if (spool_stat_pause(look, stat))
		return;
	else if (!stat->has_head || look->queue->append_only)
		spool_stat_show(stat, "idle", NULL, state->since);
	else if (look->queue->order == ORDER_SEQUENCE && state->ahead == 0 &&
			 stat->head.seq > state->next && show_missing(stat))
		return;
	else if (spool_by_number(look->queue->order) && find_conflict(stat))
		return;
	else if (!show_failure(look, stat))
	{
		spool_stat_ready(look, stat);
		if (state->runner == 0)
			show_quiet(look, stat);
		else if (stat->reason == NULL)
			stat->reason = pstrdup(state->deadline != 0 ?
								   LEASE_OVER : RUNNER_DIED);
	}
}

/* Add a stream to the result. */
static void
put_row(ReturnSetInfo *rsinfo, SpoolLook *look, SpoolStreamStat *stat)
{
	SpoolState *state = &stat->state;
	Datum		values[STAT_COLUMNS];
	bool		nulls[STAT_COLUMNS] = {false};

	values[STAT_STREAM] = CStringGetTextDatum(stat->stream.name);
	values[STAT_CURSOR] = Int64GetDatum(state->next);
	nulls[STAT_CURSOR] = !spool_by_number(look->queue->order);
	values[STAT_WAITING] = Int64GetDatum(stat->waiting);
	values[STAT_STATE] = CStringGetTextDatum(stat->shown);
	nulls[STAT_REASON] = stat->reason == NULL;
	values[STAT_REASON] = stat->reason == NULL ? (Datum) 0 :
		CStringGetTextDatum(stat->reason);
	nulls[STAT_SINCE] = stat->since == 0;
	values[STAT_SINCE] = TimestampTzGetDatum(stat->since);
	nulls[STAT_PID] = stat->pid == 0;
	values[STAT_PID] = Int32GetDatum(stat->pid);
	nulls[STAT_CLAIM_ID] = stat->claim_id == 0;
	values[STAT_CLAIM_ID] = Int64GetDatum(stat->claim_id);
	values[STAT_RUNNING] = Int64GetDatum(stat->running);
	nulls[STAT_OLDEST] = !stat->has_head;
	values[STAT_OLDEST] = TimestampTzGetDatum(stat->head.arrived);
	values[STAT_CONSUMED] = Int64GetDatum(state->consumed);
	values[STAT_DONE] = Int64GetDatum(state->done);
	values[STAT_FAILED] = Int64GetDatum(state->failed);
	values[STAT_DEAD] = Int64GetDatum(state->dead);
	values[STAT_SUPERSEDED] = Int64GetDatum(state->superseded);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* A row for a stream. */
static void
visit_stream(SpoolLook *look, SpoolStreamStat *stat, void *arg)
{
	spool_stat_count(look, stat, ALL_SEGMENTS);
	if (look->queue->order == ORDER_NONE)
		spool_stat_none(look, stat);
	else
		stat_ordered(look, stat);
	put_row(arg, look, stat);
}

/* Call a function for each stream of a queue. */
void
spool_stat_walk(SpoolLook *look, SpoolStatVisit visit, void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "spool stream",
												  ALLOCSET_DEFAULT_SIZES);
	SpoolStreamWalk walk;
	SpoolStreamStat stat;
	bool		more = true;

	spool_states_open(&look->states, &look->newest);
	spool_store_open(&look->packets, &look->newest);
	spool_stream_walk_begin(&walk, look->queue, NULL);
	while (more)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		memset(&stat, 0, sizeof(stat));
		more = spool_stream_walk_next(&walk, &stat.stream);
		if (more && spool_states_newest(&look->states, stat.stream.id, &stat.state))
		{
			stat.locker = spool_stream_walk_locker(&walk);
			visit(look, &stat, arg);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	spool_stream_walk_end(&walk);
	spool_store_close(&look->packets);
	spool_states_close(&look->states);
	spool_snapshot_end(&look->newest);
	MemoryContextDelete(context);
}

/* stream_stats(queue): a row for each stream; none if the queue is gone */
Datum
spool_stream_stats(PG_FUNCTION_ARGS)
{
	SpoolLook	look;

	InitMaterializedSRF(fcinfo, 0);
	memset(&look, 0, sizeof(look));
	AcceptInvalidationMessages();	/* no lock is taken that would */
	look.queue = spool_queue_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)),
									true);
	if (look.queue == NULL)
		return (Datum) 0;
	spool_queue_check(look.queue, SPOOL_READ);
	look.queue = spool_queue_copy(look.queue);
	look.problem = spool_command_problem(look.queue);
	look.now = GetCurrentTimestamp();
	look.budget = SPOOL_STAT_BUDGET;
	if (look.queue->paused)
		read_pause(&look);

	spool_read_with(GetActiveSnapshot());
	PG_TRY();
	{
		spool_stat_walk(&look, visit_stream, fcinfo->resultinfo);
	}
	PG_FINALLY();
	{
		spool_read_with(NULL);
	}
	PG_END_TRY();
	return (Datum) 0;
}

/* queue_rates(queue): jobs done a second; NULL where nobody counts them */
Datum
spool_queue_rates(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue = spool_queue_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)),
										   true);
	float8		rates[SPOOL_NUM_RATES];
	Datum		elements[lengthof(rates)];

	if (queue == NULL)
		PG_RETURN_NULL();
	spool_queue_check(queue, SPOOL_READ);
	if (!spool_rates(queue->id, rates))
		PG_RETURN_NULL();
	for (int i = 0; i < (int) lengthof(rates); i++)
		elements[i] = Float8GetDatum(rates[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(elements, lengthof(rates),
										  FLOAT8OID, sizeof(float8),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
