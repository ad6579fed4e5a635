/*-------------------------------------------------------------------------
 * operate.c
 *	  What operators do to streams and packets: cursor, gaps, pause, discard,
 *	  retry, redrive.
 *
 * Each verb waits for the stream's lock (so for an open take, never for a
 * claim or a program that runs), reads the newest state and appends one.
 * Who moves a cursor past numbers that may still come also waits for writers
 * that have not committed: by the queue's numbers lock if senders number the
 * stream, else until the numbers below are settled (numbering.c).  The
 * stream's lock comes first, as in a transaction that takes and then writes.
 * What was done is recorded in spool.action.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "action.h"
#include "args.h"
#include "dispatch.h"
#include "kept.h"
#include "numbering.h"
#include "packet_type.h"
#include "queue.h"
#include "schedule.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "state.h"
#include "store.h"
#include "stream.h"

PG_FUNCTION_INFO_V1(spool_pause_queue);
PG_FUNCTION_INFO_V1(spool_resume_queue);
PG_FUNCTION_INFO_V1(spool_next_seq);
PG_FUNCTION_INFO_V1(spool_set_next_seq);
PG_FUNCTION_INFO_V1(spool_skip_gap);
PG_FUNCTION_INFO_V1(spool_discard);
PG_FUNCTION_INFO_V1(spool_retry_now);
PG_FUNCTION_INFO_V1(spool_redrive);

static SpoolQueue *open_queue(FunctionCallInfo fcinfo);
static void set_paused(FunctionCallInfo fcinfo, bool pause);
static void no_attempts(SpoolState *state);
static void end_lost_owner(SpoolQueue *queue, const SpoolStream *stream,
						   SpoolState *state);
static bool has_packet(const SpoolState *state, const SpoolRow *row,
					   bool kept);
static void move_cursor(SpoolQueue *queue, SpoolStream *stream,
						SpoolState *state, int64 next);
static void count_discarded(SpoolState *state);
static void discard_stored(SpoolQueue *queue, SpoolStream *stream,
						   SpoolState *state, SpoolRow *row);
static bool has_twin(const SpoolRow *row);
static void store_nop(const SpoolRow *row);
static int64 redrive_stream(SpoolQueue *queue, int64 id, Datum packet_id,
							bool all);

/* Open the queue of the first argument for an operator. */
static SpoolQueue *
open_queue(FunctionCallInfo fcinfo)
{
	spool_args_required(fcinfo, 1, "queue");
	return spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_ADMIN, QUEUE_CONSUME);
}

/* Forget failed attempts of the head. */
static void
no_attempts(SpoolState *state)
{
	state->attempts = 0;
	state->attempt_packet = 0;
	state->retry_at = 0;
	state->failure = NULL;
}

/* pause_queue and resume_queue */
static void
set_paused(FunctionCallInfo fcinfo, bool pause)
{
	static SpoolPlan plan = {
		"UPDATE spool.queue SET pause_reason = $3, paused_since ="
		" CASE WHEN $2 THEN COALESCE(paused_since, clock_timestamp()) END"
		" WHERE id = $1",
		SPI_OK_UPDATE, PLAN_ARGS(INT4OID, BOOLOID, TEXTOID)
	};
	SpoolQueue *queue = open_queue(fcinfo);
	text	   *reason = NULL;
	char	   *name = NULL;

	if (pause && !PG_ARGISNULL(2))
		reason = PG_GETARG_TEXT_PP(2);

	if (PG_ARGISNULL(1))
	{
		Datum		values[3];
		char		nulls[3] = {' ', ' ', reason ? ' ' : 'n'};

		values[0] = Int32GetDatum(queue->id);
		values[1] = BoolGetDatum(pause);
		values[2] = PointerGetDatum(reason);
		(void) spool_exec_alone(&plan, values, nulls);
		spool_queue_changed();
		spool_hint(queue->id, SPOOL_ALL_STREAMS);
	}
	else
	{
		SpoolStream stream;
		SpoolState	state;

		name = text_to_cstring(PG_GETARG_TEXT_PP(1));
		spool_stream_open(queue, name, &stream, &state);
		state.paused = !pause ? NULL :
			reason ? text_to_cstring(reason) : pstrdup("");
		spool_state_append(&state);
	}
	spool_action(queue, name, pause ? "pause" : "resume", NO_SEQ, NO_SEQ, 0, reason);
}

Datum
spool_pause_queue(PG_FUNCTION_ARGS)
{
	set_paused(fcinfo, true);
	PG_RETURN_VOID();
}

Datum
spool_resume_queue(PG_FUNCTION_ARGS)
{
	set_paused(fcinfo, false);
	PG_RETURN_VOID();
}

/* next_seq(queue, stream): a look, without a lock */
Datum
spool_next_seq(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue;
	SpoolStream stream;
	SpoolState	state;

	spool_args_required(fcinfo, 1, "queue");
	queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_READ, QUEUE_LOOK);
	spool_queue_refuse_append_only(queue);
	if (!spool_stream_find(queue, spool_arg_text(fcinfo, 1, ""), &stream))
		PG_RETURN_INT64(1);
	spool_stream_state(queue, &stream, &state);
	PG_RETURN_INT64(state.next);
}

/* Take a stream over from an owner that is lost, as who looks for work does. */
static void
end_lost_owner(SpoolQueue *queue, const SpoolStream *stream, SpoolState *state)
{
	SpoolDispatch d = {.queue = queue,.mode = DISPATCH_TAKE};
	SpoolPick	pick = {.stream = *stream,.state = *state};

	if (state->runner == 0 || spool_state_owned(state))
		return;
	spool_reclaim(&d, &pick);
	*state = pick.state;
}

/* Whether an owner has a packet, which lies in the store or is kept. */
static bool
has_packet(const SpoolState *state, const SpoolRow *row, bool kept)
{
	for (int i = 0; i < state->nclaimed; i++)
		if (state->claimed[i] == row->packet_id)
			return true;
	return state->runner != 0 && state->deadline == 0 &&
		(state->run_packet == row->packet_id ||
		 (!kept && row->position <= state->run_last));
}

/*
 * Move a cursor.  Forwards, what waits below goes to the dead letters, but
 * for what runs; backwards, what is retained waits again and what was
 * consumed and not retained counts as missing.
 */
static void
move_cursor(SpoolQueue *queue, SpoolStream *stream, SpoolState *state,
			int64 next)
{
	int64		from;
	int64		moved = 0;

	end_lost_owner(queue, stream, state);
	from = state->next;
	if (spool_by_number(queue->order))
	{
		if (state->runner != 0)
			from = Max(from, state->run_last + 1);
		if (next > from)
		{
			moved = spool_kept_add_range(stream->id, from, next, KEPT_DEAD,
										 REASON_PASSED);
			state->dead += moved;
		}
		else if (next < state->next)
		{
			spool_store_remove_range(stream->id, next, state->next);
			moved = -spool_kept_restore(stream->id, next, state->next,
										queue->id);
			state->high = Max(state->high, state->next - 1);
		}
	}
	state->consumed += moved;
	state->next = next;
	state->run_jobs = 0;		/* what runs must not move the cursor */
	no_attempts(state);
	spool_state_append(state);
}

/* set_next_seq(queue, seq, stream) */
Datum
spool_set_next_seq(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue;
	int64		next = PG_GETARG_INT64(1);
	char	   *name = spool_arg_text(fcinfo, 2, "");
	SpoolStream stream;
	SpoolState	state;
	int64		before;

	spool_args_required(fcinfo, 2, "queue", "seq");
	queue = open_queue(fcinfo);
	spool_queue_refuse_append_only(queue);
	spool_packet_check_seq(next);
	spool_stream_get(queue, name, &stream);
	spool_stream_open(queue, name, &stream, &state);
	spool_queue_numbers_lock(queue, ExclusiveLock);
	spool_numbering_settle(queue, &stream, next);
	before = state.next;
	move_cursor(queue, &stream, &state, next);
	spool_action(queue, name, "set_next_seq", before, next, 0, NULL);
	PG_RETURN_VOID();
}

/* skip_gap(queue, stream, reason): how many numbers were skipped */
Datum
spool_skip_gap(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue = open_queue(fcinfo);
	char	   *name = spool_arg_text(fcinfo, 1, "");
	SpoolStream stream;
	SpoolState	state;
	SpoolScan	scan;
	SpoolRow	row;
	int64		first;

	spool_queue_refuse_append_only(queue);
	if (queue->order != ORDER_SEQUENCE)
		PG_RETURN_INT64(0);
	spool_stream_open(queue, name, &stream, &state);
	/* holes in the queue's own numbers are no gaps */
	if (spool_numbering(stream.id) == NUMBERED_BY_QUEUE)
		PG_RETURN_INT64(0);
	spool_queue_numbers_lock(queue, ExclusiveLock);
	spool_store_scan_begin(&scan, stream.id, state.next, ForwardScanDirection);
	first = spool_store_scan_next(&scan, &row) ? row.seq : state.next;
	spool_store_scan_end(&scan);
	if (first > state.next)
	{
		int64		from = state.next;

		state.next = first;
		no_attempts(&state);
		spool_state_append(&state);
		spool_action(queue, name, "skip_gap", from, first - 1, 0,
					 PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
		PG_RETURN_INT64(first - from);
	}
	PG_RETURN_INT64(0);
}

/* Whether another packet waits under the same number. */
static bool
has_twin(const SpoolRow *row)
{
	SpoolScan	scan;
	SpoolRow	other;
	int			n = 0;

	spool_store_scan_begin(&scan, row->stream, row->position,
						   ForwardScanDirection);
	while (spool_store_scan_next(&scan, &other) &&
		   other.position == row->position)
		n++;
	spool_store_scan_end(&scan);
	return n > 1;
}

/* Store a NOP with a packet's number and time, so that its number is there. */
static void
store_nop(const SpoolRow *row)
{
	PacketTemplate template;
	PacketHeader header;
	SpoolRow	nop = *row;

	spool_packet_header(row->packet, &header);
	spool_packet_template(&template, NULL, NULL, cstring_to_text("nop"));
	template.fields.seq = header.seq;
	template.fields.secs = header.secs;
	template.fields.nanos = header.nanos;
	nop.packet_id = spool_nextval("packet_id_seq");
	nop.packet = spool_packet_build(&template, "", 0);
	spool_store_append(&nop, 1);
}

static void
count_discarded(SpoolState *state)
{
	state->consumed++;
	state->dead++;
}

/* Discard a packet that waits in the store. */
static void
discard_stored(SpoolQueue *queue, SpoolStream *stream, SpoolState *state,
			   SpoolRow *row)
{
	bool		twin = has_twin(row);

	spool_store_remove(row);
	if (queue->order == ORDER_SEQUENCE && !twin)
	{
		if (row->seq == state->next)
			state->next++;
		else if (spool_numbering(stream->id) == NUMBERED_BY_SENDER)
			store_nop(row);
		state->high = Max(state->high, row->seq);
	}
	if (state->attempt_packet == row->packet_id || state->attempt_packet == 0)
		no_attempts(state);
	count_discarded(state);
	spool_state_append(state);
}

/* discard(queue, packet_id, reason) */
Datum
spool_discard(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue;
	int64		packet_id = PG_GETARG_INT64(1);
	text	   *reason = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	SpoolKept	kept = {.state = KEPT_DEAD,.reason = REASON_DISCARDED};
	char	   *kept_state = NULL;
	char	   *name = NULL;
	SpoolRow	row;
	SpoolStream stream;
	SpoolState	state;
	int32		queue_id = 0;

	spool_args_required(fcinfo, 2, "queue", "packet_id");
	queue = open_queue(fcinfo);
	if (spool_store_by_id(packet_id, &row) ||
		spool_kept_by_id(packet_id, &row, &kept_state))
		name = spool_stream_name(row.stream, &queue_id);
	kept.message = reason ? text_to_cstring(reason) : NULL;
	if (name == NULL)
	{
		name = spool_schedule_discard(queue, packet_id, kept.message);
		if (name != NULL)
		{
			spool_action(queue, name, "discard", NO_SEQ, NO_SEQ, packet_id, reason);
			PG_RETURN_VOID();
		}
	}
	if (name == NULL || queue_id != queue->id)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("packet " INT64_FORMAT " does not exist in queue \"%s\"",
						packet_id, queue->name)));

	spool_stream_open(queue, name, &stream, &state);
	if (kept_state != NULL && !spool_kept_lock(packet_id, &kept_state))
		kept_state = pstrdup(KEPT_DONE);
	end_lost_owner(queue, &stream, &state);
	if (state.attempt_packet == packet_id)
		kept.attempts = state.attempts;
	if (has_packet(&state, &row, kept_state != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("packet " INT64_FORMAT " of queue \"%s\" is running",
						packet_id, queue->name)));
	if (kept_state == NULL ?
		!spool_store_find(&row) ||
		(spool_by_number(queue->order) && row.seq < state.next) :
		strcmp(kept_state, KEPT_DONE) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("packet " INT64_FORMAT " of queue \"%s\" does not wait any more",
						packet_id, queue->name)));
	if (kept_state != NULL)
	{
		if (strcmp(kept_state, KEPT_READY) == 0)
		{
			if (queue->order != ORDER_NONE)
				state.ahead--;
			count_discarded(&state);
			spool_state_append(&state);
		}
		spool_kept_set(packet_id, &kept);
	}
	else
	{
		spool_kept_add(&row, &kept);
		discard_stored(queue, &stream, &state, &row);
	}
	spool_action(queue, name, "discard", row.seq, row.seq, packet_id, reason);
	PG_RETURN_VOID();
}

/* retry_now(queue, stream): a head that failed may be tried again */
Datum
spool_retry_now(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue = open_queue(fcinfo);
	SpoolStreamWalk walk;
	SpoolStream stream;
	SpoolState	state;

	spool_queue_refuse_append_only(queue);
	if (!PG_ARGISNULL(1))
	{
		spool_stream_open(queue, text_to_cstring(PG_GETARG_TEXT_PP(1)),
						  &stream, &state);
		no_attempts(&state);
		spool_state_append(&state);
	}
	else
	{
		spool_stream_walk_begin(&walk, queue, NULL);
		while (spool_stream_walk_next(&walk, &stream))
		{
			CHECK_FOR_INTERRUPTS();
			spool_stream_state(queue, &stream, &state);
			if (state.attempts == 0)
				continue;
			spool_stream_open(queue, stream.name, &stream, &state);
			no_attempts(&state);
			spool_state_append(&state);
		}
		spool_stream_walk_end(&walk);
	}
	spool_action(queue, PG_ARGISNULL(1) ? NULL : stream.name, "retry_now", NO_SEQ,
				 NO_SEQ, 0, NULL);
	PG_RETURN_VOID();
}

/* Offer a stream's dead and left packets again; returns how many. */
static int64
redrive_stream(SpoolQueue *queue, int64 id, Datum packet_id, bool all)
{
	static SpoolPlan plan = {
		"WITH redriven AS (UPDATE spool.kept SET state = 'ready',"
		"  attempts = 0, since = clock_timestamp() WHERE stream = $1"
		"  AND state IN ('dead', 'failed') AND ($2 IS NULL OR packet_id = $2)"
		"  RETURNING reason)"
		" SELECT count(*), count(*) FILTER (WHERE reason <> 'late')"
		" FROM redriven",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID, INT8OID)
	};
	int32		queue_id;
	char	   *name = spool_stream_name(id, &queue_id);
	SpoolStream stream;
	SpoolState	state;
	Datum		values[2];
	char		nulls[2] = {' ', all ? 'n' : ' '};
	SpoolSpi	spi;
	int64		redriven;
	int64		consumed;

	if (name == NULL || queue_id != queue->id)
		return 0;
	spool_stream_open(queue, name, &stream, &state);
	values[0] = Int64GetDatum(id);
	values[1] = packet_id;
	spool_spi_begin(&spi);
	(void) spool_exec(&plan, values, nulls);
	redriven = DatumGetInt64(spool_field(0, 1, NULL));
	consumed = DatumGetInt64(spool_field(0, 2, NULL));
	spool_spi_end(&spi);
	if (redriven > 0)
	{
		if (queue->order != ORDER_NONE)
			state.ahead += redriven;
		/* late ones never counted as consumed */
		state.consumed -= consumed;
		state.dead -= consumed;
		spool_state_append(&state);
	}
	return redriven;
}

/* redrive(queue, packet_id): how many are offered again */
Datum
spool_redrive(PG_FUNCTION_ARGS)
{
	static SpoolPlan plan = {
		"SELECT s.id FROM spool.stream s WHERE s.queue = $1 AND EXISTS"
		" (SELECT FROM spool.kept k WHERE k.stream = s.id"
		"   AND k.state IN ('dead', 'failed')"
		"   AND ($2 IS NULL OR k.packet_id = $2)) ORDER BY s.name",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID, INT8OID)
	};
	SpoolQueue *queue = open_queue(fcinfo);
	MemoryContext context = CurrentMemoryContext;
	bool		all = PG_ARGISNULL(1);
	Datum		packet_id = all ? (Datum) 0 : PG_GETARG_DATUM(1);
	Datum		values[2];
	char		nulls[2] = {' ', all ? 'n' : ' '};
	SpoolSpi	spi;
	int64	   *streams;
	uint64		n;
	int64		redriven = 0;

	values[0] = Int32GetDatum(queue->id);
	values[1] = packet_id;
	spool_spi_begin(&spi);
	n = spool_exec(&plan, values, nulls);
	streams = MemoryContextAlloc(context, (n + 1) * sizeof(int64));
	for (uint64 i = 0; i < n; i++)
		streams[i] = DatumGetInt64(spool_field(i, 1, NULL));
	spool_spi_end(&spi);

	for (uint64 i = 0; i < n; i++)
		redriven += redrive_stream(queue, streams[i], packet_id, all);
	spool_action(queue, NULL, "redrive", NO_SEQ, NO_SEQ,
				 all ? 0 : DatumGetInt64(packet_id), NULL);
	PG_RETURN_INT64(redriven);
}
