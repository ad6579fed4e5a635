/*-------------------------------------------------------------------------
 * schedule.c
 *	  Packets that wait for their time.
 *
 * A row of spool.scheduled is a packet outside of its stream: it has number 0
 * and no place in the order.  Its stream and who numbers that are fixed when
 * it is scheduled, as by an ordinary enqueue.
 *
 * When it is due, one transaction deletes the row and stores the packet anew,
 * with a number, an id and a creation time.  Any number of sessions may move
 * packets: who locks a row moves it.  A mover waits for nobody.  It passes
 * over packets of a queue that is being altered and of a stream whose numbers
 * it cannot have at once; they are tried again later.
 *
 * Packets are stored in a subtransaction.  One that the store refuses (its
 * stream has no numbers left) goes to the dead letters, so that it delays no
 * other.  A crash leaves what committed transactions wrote.
 *
 * Rows that were deleted and not yet vacuumed stand before those that are due.
 * A look for these begins where the last one of this backend found nothing
 * earlier, and once a second at the start, for rows that were committed late.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "kept.h"
#include "key.h"
#include "numbering.h"
#include "schedule.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "stream.h"
#include "write.h"

/* Packets that are looked at together, and moved by one call at the most. */
#define MOVE_LIMIT 1000

/* When to try again if packets are due and none could be moved. */
#define RETRY_USECS USECS_PER_SEC

/* How long looks begin elsewhere than at the start. */
#define LOOK_USECS USECS_PER_SEC

/* Columns of a list of scheduled packets. */
#define SCHEDULED_COLUMNS "id, stream, run_at, key, packet"

/* A due packet. */
typedef struct DuePacket
{
	int64		id;
	TimestampTz run_at;
	char	   *queue_name;
	int32		queue_id;
	char	   *stream;
	SpoolQueue *queue;			/* NULL = not to be moved now */
} DuePacket;

static SpoolScheduled *read_rows(uint64 n, MemoryContext context);
static int	find_due(int32 queue, TimestampTz now, const DuePacket *after,
					 DuePacket **due);
static SpoolQueue *open_queue(const DuePacket *due);
static void choose(DuePacket *due, int count);
static int	take_rows(const DuePacket *due, int count, SpoolScheduled **rows);
static ErrorData *try_store(const SpoolScheduled *rows, int count);
static void store_rows(const SpoolScheduled *rows, int count);
static void bury(SpoolQueue *queue, const SpoolScheduled *row,
				 const SpoolKept *kept);
static int	move_due(int32 queue, TimestampTz from);

/* Keep a packet until it is due. */
void
spool_schedule_add(SpoolQueue *queue, const char *stream_name,
				   TimestampTz run_at, text *key, PacketTemplate *template,
				   const char *payload, size_t size)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.scheduled (id, queue, stream, run_at, key, packet)"
		" VALUES ($1, $2, $3, $4, $5, $6)",
		SPI_OK_INSERT,
		PLAN_ARGS(INT8OID, INT4OID, TEXTOID, TIMESTAMPTZOID, TEXTOID,
				  InvalidOid)
	};
	bool		by_number = spool_by_number(queue->order);
	SpoolStream stream;
	Datum		values[6];
	char		nulls[6];

	/* what an ordinary enqueue refuses is refused here */
	spool_stream_get(queue, by_number ? stream_name : "", &stream);
	if (by_number)
		spool_numbering_begin(queue, &stream, true);

	template->fields.seq = 0;
	spool_packet_now(&template->fields.secs, &template->fields.nanos);
	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(spool_nextval("packet_id_seq"));
	values[1] = Int32GetDatum(queue->id);
	values[2] = CStringGetTextDatum(stream.name);
	values[3] = TimestampTzGetDatum(run_at);
	values[4] = PointerGetDatum(key);
	nulls[4] = key ? ' ' : 'n';
	values[5] = PointerGetDatum(spool_packet_build(template, payload, size));
	(void) spool_exec_alone(&plan, values, nulls);
	spool_hint_schedule(run_at);
}

/* The rows of the last result, which has SCHEDULED_COLUMNS. */
static SpoolScheduled *
read_rows(uint64 n, MemoryContext context)
{
	SpoolScheduled *rows = MemoryContextAllocZero(context,
												  (n + 1) * sizeof(SpoolScheduled));

	for (uint64 i = 0; i < n; i++)
	{
		SpoolScheduled *row = &rows[i];
		Datum		value;
		bool		null;

		row->packet_id = DatumGetInt64(spool_field(i, 1, NULL));
		value = spool_field(i, 2, NULL);
		row->stream = MemoryContextStrdup(context, TextDatumGetCString(value));
		row->run_at = DatumGetTimestampTz(spool_field(i, 3, NULL));
		value = spool_field_copy(i, 4, TEXTOID, &null, context);
		row->key = null ? NULL : (text *) DatumGetPointer(value);
		value = spool_field_copy(i, 5, BYTEAOID, &null, context);
		row->packet = (struct varlena *) DatumGetPointer(value);
	}
	return rows;
}

/*
 * Due packets of a queue, or with 0 of all: the first MOVE_LIMIT after a given
 * one, in the order in which they are due.  They are returned by queues and
 * streams: whoever waits for several streams locks them in that order.
 */
static int
find_due(int32 queue, TimestampTz now, const DuePacket *after, DuePacket **due)
{
#define DUE_QUERY(condition) \
	"SELECT d.id, d.run_at, q.name, q.id, d.stream" \
	" FROM (SELECT id, run_at, queue, stream FROM spool.scheduled" \
	"  WHERE " condition " AND run_at <= $2 AND (run_at, id) > ($3, $4)" \
	"  ORDER BY run_at, id LIMIT $5) d" \
	" JOIN spool.queue q ON q.id = d.queue" \
	" ORDER BY q.id, d.stream, d.run_at, d.id"
	static SpoolPlan all = {
		DUE_QUERY("$1 = 0"), SPI_OK_SELECT,
		PLAN_ARGS(INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT4OID)
	};
	static SpoolPlan one = {
		DUE_QUERY("queue = $1"), SPI_OK_SELECT,
		PLAN_ARGS(INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT4OID)
	};
	MemoryContext context = CurrentMemoryContext;
	SpoolSpi	spi;
	Datum		values[5];
	int			n;

	values[0] = Int32GetDatum(queue);
	values[1] = TimestampTzGetDatum(now);
	values[2] = TimestampTzGetDatum(after->run_at);
	values[3] = Int64GetDatum(after->id);
	values[4] = Int32GetDatum(MOVE_LIMIT);
	spool_spi_begin(&spi);
	n = (int) spool_exec(queue ? &one : &all, values, NULL);
	*due = MemoryContextAllocZero(context, (n + 1) * sizeof(DuePacket));
	for (int i = 0; i < n; i++)
	{
		DuePacket  *d = &(*due)[i];
		char	   *name = TextDatumGetCString(spool_field(i, 3, NULL));
		char	   *stream = TextDatumGetCString(spool_field(i, 5, NULL));

		d->id = DatumGetInt64(spool_field(i, 1, NULL));
		d->run_at = DatumGetTimestampTz(spool_field(i, 2, NULL));
		d->queue_name = MemoryContextStrdup(context, name);
		d->queue_id = DatumGetInt32(spool_field(i, 4, NULL));
		d->stream = MemoryContextStrdup(context, stream);
	}
	spool_spi_end(&spi);
	return n;
}

/*
 * The queue of a due packet, locked, and the right to give numbers of its
 * stream, in order of numbers; NULL if one of them cannot be had at once.
 */
static SpoolQueue *
open_queue(const DuePacket *due)
{
	SpoolQueue *queue;
	SpoolStream stream;

	if (!ConditionalLockDatabaseObject(spool_relation_oid("queue"),
									   due->queue_id, 0, QUEUE_PRODUCE))
		return NULL;
	queue = spool_queue_lookup(due->queue_name, true);
	if (queue == NULL || queue->id != due->queue_id)
		return NULL;
	if (queue->order == ORDER_SEQUENCE)
	{
		spool_stream_get(queue, due->stream, &stream);
		if (!spool_numbering_try(queue, &stream))
			return NULL;
	}
	return queue;
}

/* Choose which of some due packets are moved, by setting their queues. */
static void
choose(DuePacket *due, int count)
{
	for (int i = 0; i < count; i++)
	{
		DuePacket  *last = i > 0 ? &due[i - 1] : NULL;

		CHECK_FOR_INTERRUPTS();
		if (last != NULL && last->queue_id == due[i].queue_id &&
			strcmp(last->stream, due[i].stream) == 0)
			due[i].queue = last->queue;

		else
			due[i].queue = open_queue(&due[i]);
	}
}

/*
 * Delete the rows of chosen packets, but for those that another transaction
 * deletes; returns how many.
 */
static int
take_rows(const DuePacket *due, int count, SpoolScheduled **rows)
{
	static SpoolPlan plan = {
		"WITH due AS MATERIALIZED (SELECT id FROM spool.scheduled"
		"  WHERE id = ANY ($1) FOR UPDATE SKIP LOCKED),"
		" gone AS (DELETE FROM spool.scheduled s USING due"
		"  WHERE s.id = due.id RETURNING s.*)"
		" SELECT " SCHEDULED_COLUMNS " FROM gone"
		" ORDER BY queue, stream, run_at, id",
		SPI_OK_SELECT, PLAN_ARGS(INT8ARRAYOID)
	};
	MemoryContext context = CurrentMemoryContext;
	Datum	   *ids = palloc((count + 1) * sizeof(Datum));
	int			chosen = 0;
	int			n;
	SpoolSpi	spi;
	Datum		values[1];

	for (int i = 0; i < count; i++)
		if (due[i].queue != NULL)
			ids[chosen++] = Int64GetDatum(due[i].id);
	if (chosen == 0)
		return 0;

	values[0] = PointerGetDatum(construct_array(ids, chosen, INT8OID,
												sizeof(int64),
												FLOAT8PASSBYVAL,
												TYPALIGN_DOUBLE));
	spool_spi_begin(&spi);
	n = (int) spool_exec(&plan, values, NULL);
	*rows = read_rows(n, context);
	spool_spi_end(&spi);

	/* both are in the same order */
	for (int i = 0; i < n; i++, due++)
	{
		while (due->id != (*rows)[i].packet_id)
			due++;
		(*rows)[i].queue = due->queue;
	}
	return n;
}

/*
 * Store packets in a subtransaction and tell their keys the numbers.  Returns
 * NULL, or the error if the store refuses one; other errors are raised.
 */
static ErrorData *
try_store(const SpoolScheduled *rows, int count)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext row_context = AllocSetContextCreate(context, "spool row",
													  ALLOCSET_DEFAULT_SIZES);
	ErrorData  *error = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		MemoryContextSwitchTo(row_context);
		for (int i = 0; i < count; i++)
		{
			int64		seq;

			CHECK_FOR_INTERRUPTS();
			seq = spool_store_copy(rows[i].queue, rows[i].stream,
								   rows[i].packet, NULL);
			if (rows[i].key)
				spool_key_set(rows[i].queue, rows[i].key, seq, true);
			MemoryContextReset(row_context);
		}
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
			ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	MemoryContextDelete(row_context);
	return error;
}

/*
 * Store packets.  One that is refused takes those beside it back, so they are
 * halved until it is alone.
 */
static void
store_rows(const SpoolScheduled *rows, int count)
{
	ErrorData  *error = try_store(rows, count);
	SpoolKept	kept = {.state = KEPT_DEAD,.reason = REASON_FAILED};

	if (error == NULL)
		return;
	if (count > 1)
	{
		store_rows(rows, count / 2);
		store_rows(rows + count / 2, count - count / 2);
		return;
	}
	kept.sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	kept.message = error->message;
	bury(rows->queue, rows, &kept);
}

/* Make a packet, whose row is deleted, a dead letter and forget its key. */
static void
bury(SpoolQueue *queue, const SpoolScheduled *row, const SpoolKept *kept)
{
	SpoolStream stream;
	SpoolRow	dead;

	spool_stream_get(queue, row->stream, &stream);
	memset(&dead, 0, sizeof(dead));
	dead.stream = stream.id;
	dead.packet_id = row->packet_id;
	dead.packet = row->packet;
	spool_kept_add(&dead, kept);
	if (row->key)
		spool_key_forget(queue, row->key);
}

/*
 * Move packets of a queue, or with 0 of all, that are due since from or later;
 * returns how many.
 */
static int
move_due(int32 queue, TimestampTz from)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "spool schedule",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	TimestampTz now = GetCurrentTimestamp();
	DuePacket	last = {.run_at = from};
	int			moved = 0;
	int			found;

	do
	{
		DuePacket  *due;
		SpoolScheduled *rows;
		int			taken;

		found = find_due(queue, now, &last, &due);
		for (int i = 0; i < found; i++)
			if (due[i].run_at > last.run_at ||
				(due[i].run_at == last.run_at && due[i].id > last.id))
				last = due[i];

		choose(due, found);
		taken = take_rows(due, found, &rows);
		if (taken > 0)
			store_rows(rows, taken);
		moved += taken;
		MemoryContextReset(context);
	} while (found == MOVE_LIMIT && moved < MOVE_LIMIT);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return moved;
}

/*
 * Move due packets of a queue, or with 0 of all: a limited number; returns how
 * many.  0 means that no more can be moved now.
 */
int
spool_schedule_move_queue(int32 queue)
{
	return move_due(queue, DT_NOBEGIN);
}

/*
 * Move due packets, a limited number; returns when to call again: the
 * earliest time of those left, DT_NOEND if none is.  For who is told of each
 * packet that is scheduled and calls often.
 */
TimestampTz
spool_schedule_move(void)
{
	static SpoolPlan plan = {
		"SELECT run_at FROM spool.scheduled WHERE run_at >= $1"
		" ORDER BY run_at LIMIT 1",
		SPI_OK_SELECT, PLAN_ARGS(TIMESTAMPTZOID)
	};
	static TimestampTz low = DT_NOBEGIN;
	static TimestampTz looked = DT_NOBEGIN;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;
	bool		from_start = now < looked || looked < now - LOOK_USECS;
	SpoolSpi	spi;
	Datum		values[1];
	int			moved;

	if (from_start)
	{
		low = DT_NOBEGIN;
		looked = now;
	}
	moved = move_due(0, low);
	values[0] = TimestampTzGetDatum(low);
	spool_spi_begin(&spi);
	if (spool_exec(&plan, values, NULL) == 1)
		next = DatumGetTimestampTz(spool_field(0, 1, NULL));
	spool_spi_end(&spi);
	low = Min(next, now);

	if (moved == 0 && next <= now)
		next = now + RETRY_USECS;
	if (!from_start)
		next = Min(next, looked + LOOK_USECS + 1);
	return next;
}

/* The scheduled packets of a queue or of one stream, the earliest first. */
int
spool_schedule_list(SpoolQueue *queue, const char *stream, int64 limit,
					SpoolScheduled **list)
{
	static SpoolPlan plan = {
		"SELECT " SCHEDULED_COLUMNS " FROM spool.scheduled"
		" WHERE queue = $1 AND ($2 IS NULL OR stream = $2)"
		" ORDER BY run_at, id LIMIT $3",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID, TEXTOID, INT8OID)
	};
	MemoryContext context = CurrentMemoryContext;
	SpoolSpi	spi;
	Datum		values[3];
	char		nulls[3] = {' ', stream ? ' ' : 'n', ' '};
	int			count;

	values[0] = Int32GetDatum(queue->id);
	values[1] = stream ? CStringGetTextDatum(stream) : (Datum) 0;
	values[2] = Int64GetDatum(limit);
	spool_spi_begin(&spi);
	count = (int) spool_exec(&plan, values, nulls);
	*list = read_rows(count, context);
	spool_spi_end(&spi);
	return count;
}

/* A scheduled packet, still possibly toasted; NULL if there is none. */
struct varlena *
spool_schedule_packet(SpoolQueue *queue, int64 packet_id)
{
	static SpoolPlan plan = {
		"SELECT " SCHEDULED_COLUMNS " FROM spool.scheduled"
		" WHERE id = $1 AND queue = $2",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID, INT4OID)
	};
	MemoryContext context = CurrentMemoryContext;
	struct varlena *packet = NULL;
	SpoolSpi	spi;
	Datum		values[2];

	values[0] = Int64GetDatum(packet_id);
	values[1] = Int32GetDatum(queue->id);
	spool_spi_begin(&spi);
	if (spool_exec(&plan, values, NULL) == 1)
		packet = read_rows(1, context)->packet;
	spool_spi_end(&spi);
	return packet;
}

/*
 * Make a scheduled packet a dead letter; returns its stream, NULL if there is
 * no such packet.  Waits for who is moving it.
 */
char *
spool_schedule_discard(SpoolQueue *queue, int64 packet_id, const char *reason)
{
	static SpoolPlan plan = {
		"DELETE FROM spool.scheduled WHERE id = $1 AND queue = $2"
		" RETURNING " SCHEDULED_COLUMNS,
		SPI_OK_DELETE_RETURNING, PLAN_ARGS(INT8OID, INT4OID)
	};
	MemoryContext context = CurrentMemoryContext;
	SpoolKept	kept = {.state = KEPT_DEAD,.reason = REASON_DISCARDED};
	SpoolScheduled *row = NULL;
	SpoolSpi	spi;
	Datum		values[2];

	values[0] = Int64GetDatum(packet_id);
	values[1] = Int32GetDatum(queue->id);
	spool_spi_begin(&spi);
	if (spool_exec(&plan, values, NULL) == 1)
		row = read_rows(1, context);
	spool_spi_end(&spi);
	if (row == NULL)
		return NULL;
	kept.message = reason;
	bury(queue, row, &kept);
	return row->stream;
}

/* Whether a queue has scheduled packets. */
bool
spool_schedule_any(int32 queue)
{
	static SpoolPlan plan = {
		"SELECT FROM spool.scheduled WHERE queue = $1 LIMIT 1",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID)
	};
	Datum		values[1];

	values[0] = Int32GetDatum(queue);
	return spool_exec_alone(&plan, values, NULL) > 0;
}
