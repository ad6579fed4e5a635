/*-------------------------------------------------------------------------
 * look.c
 *	  Looking: what waits and why, and single packets.
 *
 * Reads with the newest snapshot and without locks: a list is what was
 * committed when each stream was looked at.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "args.h"
#include "kept.h"
#include "numbering.h"
#include "packet_type.h"
#include "queue.h"
#include "quiet.h"
#include "schedule.h"
#include "spiutil.h"
#include "spool.h"
#include "state.h"
#include "store.h"
#include "stream.h"

/* One list being made. */
typedef struct Listing
{
	SpoolQueue *queue;
	ReturnSetInfo *rsinfo;
	const char *wanted;			/* only this state, or NULL */
	int64		limit;			/* rows of one stream at the most */
	int64		listed;
	MemoryContext context;		/* of one row */
} Listing;

/* How far the walk through a stream has come. */
typedef struct StreamWalk
{
	SpoolStream *stream;
	SpoolState	state;
	bool		running;		/* a runner or claim owns it */
	bool		quiet;			/* it may be offered, as far as that goes */
	bool		by_sender;
	bool		may_run;		/* nothing before keeps this one from running */
	bool		gap;			/* behind a missing number */
	bool		held;			/* behind a number that may still come */
	int64		bound;			/* numbers below come no more, if missing */
	int64		expected;
} StreamWalk;

PG_FUNCTION_INFO_V1(spool_ls_rows);
PG_FUNCTION_INFO_V1(spool_gaps);
PG_FUNCTION_INFO_V1(spool_get_packet);
PG_FUNCTION_INFO_V1(spool_packet_id);
PG_FUNCTION_INFO_V1(spool_nanoseconds);

static void list_row(Listing *listing, const char *stream,
					 const SpoolRow *row, const char *state, int32 attempts);
static void put_row(Listing *listing, const char *stream,
					const SpoolRow *row, const char *state, int32 attempts,
					const TimestampTz *run_at);
static const char *row_state(Listing *listing, StreamWalk *walk,
							 const SpoolRow *row, bool conflict);
static bool next_is_other(const SpoolRow *row, const SpoolRow *next);
static void check_state(const char *state);
static void list_stream(Listing *listing, SpoolStream *stream);
static void list_kept(Listing *listing, const char *stream);
static void list_scheduled(Listing *listing, const char *stream);
static void gaps_of_stream(ReturnSetInfo *rsinfo, SpoolQueue *queue,
						   SpoolStream *stream);

/* Add a packet that has its number to the list. */
static void
list_row(Listing *listing, const char *stream, const SpoolRow *row,
		 const char *state, int32 attempts)
{
	put_row(listing, stream, row, state, attempts, NULL);
}

/* Add a packet to the list; run_at: of one that is scheduled, else NULL. */
static void
put_row(Listing *listing, const char *stream, const SpoolRow *row,
		const char *state, int32 attempts, const TimestampTz *run_at)
{
	PacketHeader header;
	Datum		values[8];
	bool		nulls[8] = {false};
	MemoryContext old;

	if (listing->wanted != NULL && strcmp(listing->wanted, state) != 0)
		return;
	old = MemoryContextSwitchTo(listing->context);
	spool_packet_header(row->packet, &header);
	values[0] = Int64GetDatum(row->packet_id);
	values[1] = CStringGetTextDatum(stream);
	values[2] = Int64GetDatum(row->seq);
	nulls[2] = run_at != NULL;
	values[3] = TimestampTzGetDatum(run_at ? *run_at :
									spool_packet_ctime(&header));
	values[4] = CStringGetTextDatum(spool_packet_kind_name(header.kind));
	values[5] = CStringGetTextDatum(state);
	values[6] = Int32GetDatum(attempts);
	values[7] = Int64GetDatum((int64) toast_raw_datum_size(PointerGetDatum(row->packet)) -
							  VARHDRSZ);
	tuplestore_putvalues(listing->rsinfo->setResult, listing->rsinfo->setDesc,
						 values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(listing->context);
	listing->listed++;
}

/* What a packet in the store waits for. */
static const char *
row_state(Listing *listing, StreamWalk *walk, const SpoolRow *row,
		  bool conflict)
{
	SpoolQueue *queue = listing->queue;
	bool		first = walk->may_run;

	if (walk->running && walk->state.deadline != 0)
	{
		for (int i = 0; i < walk->state.nclaimed; i++)
			if (walk->state.claimed[i] == row->packet_id)
				return "claimed";
	}
	else if (walk->running && row->position <= walk->state.run_last)
		return "running";
	if (queue->paused || walk->state.paused != NULL)
		return "paused";
	if (queue->order == ORDER_NONE)
		return "ready";
	if (conflict)
	{
		walk->may_run = false;
		return "conflict";
	}
	if (queue->order == ORDER_SEQUENCE && row->seq > walk->expected &&
		walk->by_sender)
		walk->gap = true;
	if (walk->gap)
		return "gap";
	if (queue->order == ORDER_SEQUENCE && row->seq > walk->expected &&
		row->seq > walk->bound)
	{
		walk->bound = spool_numbering_bound(walk->stream->id, row->seq, NULL);
		walk->held |= walk->bound < row->seq;
	}
	walk->may_run = false;
	if (walk->held)
		return "waiting";
	if (walk->state.attempt_packet == row->packet_id)
		return "retrying";
	if (!first)
		return queue->order == ORDER_LATEST ? "superseded" : "waiting";
	return walk->running || !walk->quiet ? "waiting" : "ready";
}

/* Whether two rows of one position and number are different packets. */
static bool
next_is_other(const SpoolRow *row, const SpoolRow *next)
{
	return row->position == next->position && row->seq == next->seq &&
		!spool_same_packet(row->packet, next->packet);
}

/* List what waits in a stream. */
static void
list_stream(Listing *listing, SpoolStream *stream)
{
	SpoolQueue *queue = listing->queue;
	bool		by_number = spool_by_number(queue->order);
	ScanDirection direction;
	int64		from;
	StreamWalk	walk;
	SpoolScan	scan;
	SpoolRow	row;
	SpoolRow	next;
	bool		more;
	bool		conflict = false;

	memset(&walk, 0, sizeof(walk));
	walk.stream = stream;
	spool_stream_state(queue, stream, &walk.state);
	walk.running = spool_state_owned(&walk.state);
	walk.by_sender = spool_numbering(stream->id) == NUMBERED_BY_SENDER;
	walk.may_run = true;
	walk.expected = walk.state.next;
	walk.bound = -1;
	listing->listed = 0;

	from = by_number ? walk.state.next : PG_INT64_MIN;
	direction = queue->order == ORDER_LATEST ? BackwardScanDirection :
		ForwardScanDirection;
	spool_store_scan_begin(&scan, stream->id, from, direction);
	walk.quiet = queue->quiet_ms == 0 ||
		spool_quiet_until(queue, &walk.state, &scan,
						  NULL) <= GetCurrentTimestamp();
	if (queue->quiet_ms > 0)
		spool_store_seek(&scan, stream->id, from, PG_INT64_MAX, direction, 0);
	more = spool_store_scan_next(&scan, &next);
	while (more && (!by_number || listing->listed < listing->limit))
	{
		bool		other;
		const char *state;

		CHECK_FOR_INTERRUPTS();
		row = next;
		spool_row_copy(&row);
		more = spool_store_scan_next(&scan, &next);
		other = more && by_number && next_is_other(&row, &next);
		state = row_state(listing, &walk, &row, conflict || other);
		list_row(listing, stream->name, &row, state,
				 walk.state.attempt_packet == row.packet_id ?
				 walk.state.attempts : 0);
		conflict = other;
		walk.expected = row.seq + 1;
		pfree(row.packet);
	}
	spool_store_scan_end(&scan);
}

/* List what is kept of a queue or of one stream. */
static void
list_kept(Listing *listing, const char *stream)
{
	static SpoolPlan plan = {
		"SELECT k.packet_id, s.name, k.seq, shown.state, k.attempts, k.packet"
		" FROM spool.kept k JOIN spool.stream s ON s.id = k.stream,"
		" LATERAL (SELECT CASE WHEN k.state = 'running' AND k.due IS NOT NULL"
		"  THEN 'claimed' WHEN k.state = 'ready' AND k.attempts > 0"
		"  THEN 'retrying' ELSE k.state END AS state) shown"
		" WHERE s.queue = $1 AND ($2 IS NULL OR s.name = $2)"
		" AND ($4 IS NULL OR shown.state = $4)"
		" ORDER BY k.seq, k.packet_id LIMIT $3",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID, TEXTOID, INT8OID, TEXTOID)
	};
	SpoolSpi	spi;
	Datum		values[4];
	char		nulls[4] = {' ', stream ? ' ' : 'n', ' ', ' '};
	uint64		n;

	values[0] = Int32GetDatum(listing->queue->id);
	values[1] = stream ? CStringGetTextDatum(stream) : (Datum) 0;
	values[2] = Int64GetDatum(listing->limit);
	values[3] = listing->wanted ? CStringGetTextDatum(listing->wanted) :
		(Datum) 0;
	nulls[3] = listing->wanted ? ' ' : 'n';
	spool_spi_begin(&spi);
	n = spool_exec(&plan, values, nulls);
	for (uint64 i = 0; i < n; i++)
	{
		SpoolRow	row;

		memset(&row, 0, sizeof(row));
		row.packet_id = DatumGetInt64(spool_field(i, 1, NULL));
		row.seq = DatumGetInt64(spool_field(i, 3, NULL));
		row.packet = (struct varlena *) DatumGetPointer(spool_field(i, 6, NULL));
		list_row(listing, TextDatumGetCString(spool_field(i, 2, NULL)), &row,
				 TextDatumGetCString(spool_field(i, 4, NULL)),
				 DatumGetInt32(spool_field(i, 5, NULL)));
	}
	spool_spi_end(&spi);
}

/* List what is scheduled in a queue or in one stream. */
static void
list_scheduled(Listing *listing, const char *stream)
{
	SpoolScheduled *list;
	int			n = spool_schedule_list(listing->queue, stream,
										listing->limit, &list);

	for (int i = 0; i < n; i++)
	{
		SpoolRow	row;

		memset(&row, 0, sizeof(row));
		row.packet_id = list[i].packet_id;
		row.packet = list[i].packet;
		put_row(listing, list[i].stream, &row, "scheduled", 0,
				&list[i].run_at);
	}
}

/* 22023 unless a state is NULL or one that a packet can be in. */
static void
check_state(const char *state)
{
	static const char *const states[] = {"ready", "waiting", "gap",
		"running", "claimed", "retrying", "superseded", "scheduled",
	"conflict", "paused", "failed", "dead", "done"};

	if (state == NULL)
		return;
	for (int i = 0; i < (int) lengthof(states); i++)
		if (strcmp(state, states[i]) == 0)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized state: \"%s\"", state),
			 errhint("Allowed values are \"ready\", \"waiting\", \"gap\", \"running\", \"claimed\", \"retrying\", \"superseded\", \"scheduled\", \"conflict\", \"paused\", \"failed\", \"dead\" and \"done\".")));
}

/* ls_rows(queue, stream, state, max_rows): what ls sorts */
Datum
spool_ls_rows(PG_FUNCTION_ARGS)
{
	char	   *only = spool_arg_text(fcinfo, 1, NULL);
	Listing		listing;
	SpoolStream stream;

	spool_args_required(fcinfo, 1, "queue");
	memset(&listing, 0, sizeof(listing));
	listing.queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_READ,
									 QUEUE_LOOK);
	listing.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	listing.wanted = spool_arg_text(fcinfo, 2, NULL);
	check_state(listing.wanted);
	if (!PG_ARGISNULL(3) && PG_GETARG_INT32(3) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must not be negative")));
	listing.limit = PG_ARGISNULL(3) ? PG_INT64_MAX : PG_GETARG_INT32(3);
	listing.context = AllocSetContextCreate(CurrentMemoryContext, "spool row",
											ALLOCSET_DEFAULT_SIZES);
	InitMaterializedSRF(fcinfo, 0);

	if (only != NULL)
	{
		if (spool_stream_find(listing.queue, only, &stream))
			list_stream(&listing, &stream);
	}
	else
	{
		SpoolStreamWalk walk;

		spool_stream_walk_begin(&walk, listing.queue, NULL);
		while (spool_stream_walk_next(&walk, &stream))
			list_stream(&listing, &stream);
		spool_stream_walk_end(&walk);
	}
	list_kept(&listing, only);
	list_scheduled(&listing, only);
	return (Datum) 0;
}

/* The gaps of one stream. */
static void
gaps_of_stream(ReturnSetInfo *rsinfo, SpoolQueue *queue, SpoolStream *stream)
{
	typedef struct Gap
	{
		int64		first;
		int64		last;
		int64		before;		/* packets before it */
		TimestampTz since;
	} Gap;
	List	   *gaps = NIL;
	ListCell   *cell;
	SpoolState	state;
	SpoolScan	scan;
	SpoolRow	row;
	int64		expected;
	int64		packets = 0;

	if (spool_numbering(stream->id) != NUMBERED_BY_SENDER)
		return;
	spool_stream_state(queue, stream, &state);
	expected = state.next;
	spool_store_scan_begin(&scan, stream->id, state.next,
						   ForwardScanDirection);
	while (spool_store_scan_next(&scan, &row))
	{
		CHECK_FOR_INTERRUPTS();
		if (row.seq > expected)
		{
			Gap		   *gap = palloc(sizeof(Gap));

			gap->first = expected;
			gap->last = row.seq - 1;
			gap->before = packets;
			gap->since = spool_row_arrived(&row);
			gaps = lappend(gaps, gap);
		}
		expected = row.seq + 1;
		packets++;
	}
	spool_store_scan_end(&scan);

	foreach(cell, gaps)
	{
		Gap		   *gap = lfirst(cell);
		Datum		values[5];
		bool		nulls[5] = {false};

		values[0] = CStringGetTextDatum(stream->name);
		values[1] = Int64GetDatum(gap->first);
		values[2] = Int64GetDatum(gap->last);
		values[3] = Int64GetDatum(packets - gap->before);
		values[4] = TimestampTzGetDatum(gap->since);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
}

/* gaps(queue) */
Datum
spool_gaps(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue;
	SpoolStreamWalk walk;
	SpoolStream stream;

	spool_args_required(fcinfo, 1, "queue");
	queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_READ, QUEUE_LOOK);
	InitMaterializedSRF(fcinfo, 0);
	if (queue->order != ORDER_SEQUENCE)
		return (Datum) 0;
	spool_stream_walk_begin(&walk, queue, NULL);
	while (spool_stream_walk_next(&walk, &stream))
		gaps_of_stream((ReturnSetInfo *) fcinfo->resultinfo, queue, &stream);
	spool_stream_walk_end(&walk);
	return (Datum) 0;
}

/* get_packet(queue, packet_id) */
Datum
spool_get_packet(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue = spool_queue_open(PG_GETARG_TEXT_PP(0),
										 SPOOL_READ | SPOOL_PROCESS,
										 QUEUE_LOOK);
	int64		packet_id = PG_GETARG_INT64(1);
	char	   *kept_state;
	SpoolRow	row;
	int32		queue_id = 0;

	if (spool_store_by_id(packet_id, &row) ||
		spool_kept_by_id(packet_id, &row, &kept_state))
	{
		if (spool_stream_name(row.stream, &queue_id) == NULL ||
			queue_id != queue->id)
			row.packet = NULL;
	}
	else
		row.packet = spool_schedule_packet(queue, packet_id);
	if (row.packet == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("packet " INT64_FORMAT " does not exist in queue \"%s\"",
						packet_id, queue->name)));
	PG_RETURN_POINTER(row.packet);
}

/* packet_id(queue, seq, stream): the first that arrived, or NULL */
Datum
spool_packet_id(PG_FUNCTION_ARGS)
{
	static SpoolPlan plan = {
		"SELECT packet_id FROM spool.store WHERE stream = $1 AND seq = $2"
		" AND (NOT $3 OR position >= $4)"
		" UNION ALL SELECT packet_id FROM spool.kept"
		" WHERE stream = $1 AND seq = $2 ORDER BY packet_id LIMIT 1",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID, INT8OID, BOOLOID, INT8OID)
	};
	SpoolQueue *queue;
	SpoolStream stream;
	SpoolSpi	spi;
	Datum		values[4];
	int64		packet_id = 0;

	spool_args_required(fcinfo, 2, "queue", "seq");
	queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_READ, QUEUE_LOOK);
	if (!spool_stream_find(queue, spool_arg_text(fcinfo, 2, ""), &stream))
		PG_RETURN_NULL();
	values[0] = Int64GetDatum(stream.id);
	values[1] = PG_GETARG_DATUM(1);
	values[2] = BoolGetDatum(spool_by_number(queue->order));
	values[3] = PG_GETARG_DATUM(1);
	spool_spi_begin(&spi);
	if (spool_exec(&plan, values, NULL) == 1)
		packet_id = DatumGetInt64(spool_field(0, 1, NULL));
	spool_spi_end(&spi);
	if (packet_id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(packet_id);
}

/* nanoseconds(packet): creation time, for spool's own statements */
Datum
spool_nanoseconds(PG_FUNCTION_ARGS)
{
	struct varlena *packet = (struct varlena *) PG_GETARG_POINTER(0);
	PacketHeader header;

	spool_packet_header(packet, &header);
	PG_RETURN_INT64(spool_packet_nanoseconds(&header));
}
