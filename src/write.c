/*-------------------------------------------------------------------------
 * write.c
 *	  Packets into queues: payloads are numbered and stored, write stores
 *	  packets that have their numbers.
 *
 * All in the caller's transaction.  Packets in order of numbers get the next
 * ones of their stream (numbering.c); the other orders take the packet's id as
 * number and lock nothing.
 *
 * write takes no lock of the stream.  It compares a packet with what is
 * stored under its position; two sessions may store the same bytes at the
 * same time, and the consumer counts identical packets as one.  It shares the
 * queue's numbers lock, so that nobody skips a number that is being written.
 *
 * Workers are told at commit where packets were stored (shmem.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "args.h"
#include "kept.h"
#include "numbering.h"
#include "packet_type.h"
#include "queue.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "state.h"
#include "store.h"
#include "stream.h"
#include "tally.h"
#include "unborn.h"
#include "write.h"

#define NANOS_PER_SECOND INT64CONST(1000000000)

/* Columns of the result of write. */
#define WRITTEN_COLUMNS 3

/* A number that a batch already holds, for write_many. */
typedef struct BatchKey
{
	int64		position;
	int64		seq;
} BatchKey;

typedef struct BatchEntry
{
	BatchKey	key;
	int			last;			/* index of the last packet with it, +1 */
} BatchEntry;

PG_FUNCTION_INFO_V1(spool_write);
PG_FUNCTION_INFO_V1(spool_write_many);
PG_FUNCTION_INFO_V1(spool_inbox_insert);

static int64 find_stored(const SpoolRow *row, bool *taken);
static int64 find_in_batch(HTAB *batch, SpoolRow *rows, int n, int *chain,
						   bool *taken);
static void written_columns(const SpoolWritten *written, Datum *values,
							bool *nulls);
static void write_late(SpoolQueue *queue, SpoolRow *row,
					   SpoolWritten *written);
static void check_packet(struct varlena *packet, const PacketHeader *header);
static void tally_written(int64 stream, const SpoolWritten *written,
						  int count);

/*
 * Number and store payloads; returns the first number.  packet_id, if not
 * NULL, gets the id of the last packet.
 */
int64
spool_store_payloads(SpoolQueue *queue, const char *stream_name,
					 PacketTemplate *template, const SpoolPayloads *payloads,
					 int64 *packet_id)
{
	bool		one_stream = !spool_by_number(queue->order);
	Oid			ids = spool_relation_oid("packet_id_seq");
	SpoolStream stream;
	SpoolRow   *rows;
	int64		first = 0;

	spool_unborn_get(queue, one_stream ? "" : stream_name, &stream);
	if (queue->order == ORDER_SEQUENCE)
		first = spool_numbering_next(queue, &stream, payloads->count);
	else if (!one_stream && !spool_stream_unborn(&stream))
		spool_numbering_begin(queue, &stream, true);
	/* also of numbers that are not used: others may wait for their end */
	spool_hint(queue->id, stream.id);

	spool_packet_now(&template->fields.secs, &template->fields.nanos);
	rows = palloc0(payloads->count * sizeof(SpoolRow));
	for (int i = 0; i < payloads->count; i++)
	{
		SpoolRow   *row = &rows[i];

		row->stream = stream.id;
		row->packet_id = nextval_internal(ids, false);
		row->seq = queue->order == ORDER_SEQUENCE ? first + i :
			row->packet_id;
		template->fields.seq = row->seq;
		row->packet = spool_packet_build(template, payloads->data[i],
										 payloads->sizes[i]);
		row->position = row->seq;
		if (one_stream)
		{
			row->position = template->fields.secs * NANOS_PER_SECOND +
				template->fields.nanos;

			/*
			 * A time of its own for each packet: a look for the first that
			 * waits would read those removed at its time again and again.
			 */
			if (++template->fields.nanos == NANOS_PER_SECOND)
			{
				template->fields.nanos = 0;
				template->fields.secs++;
			}
		}
	}
	spool_store_append(rows, payloads->count);
	if (packet_id)
		*packet_id = rows[payloads->count - 1].packet_id;
	first = rows[0].seq;
	for (int i = 0; i < payloads->count; i++)
		pfree(rows[i].packet);
	pfree(rows);
	return first;
}

/*
 * Number and store another packet with the header and payload of this one;
 * returns its number.  packet_id, if not NULL, gets its id.
 */
int64
spool_store_copy(SpoolQueue *queue, const char *stream_name,
				 struct varlena *packet, int64 *packet_id)
{
	PacketHeader header;
	PacketTemplate template;
	SpoolPayloads payloads;
	Datum		payload;
	const char *data;
	size_t		size;

	packet = PG_DETOAST_DATUM_PACKED(PointerGetDatum(packet));
	spool_packet_header(packet, &header);
	spool_packet_template_of(&template, &header);
	payload = spool_packet_payload(packet, header.size);
	data = VARDATA_ANY(DatumGetPointer(payload));
	size = VARSIZE_ANY_EXHDR(DatumGetPointer(payload));
	payloads.count = 1;
	payloads.data = &data;
	payloads.sizes = &size;
	return spool_store_payloads(queue, stream_name, &template, &payloads,
								packet_id);
}

/*
 * Refuse what no command could be given: a zero byte ends a parameter or an
 * environment variable.
 */
static void
check_packet(struct varlena *packet, const PacketHeader *header)
{
	if (spool_packet_has_nul(header))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("packet has a parameter or environment variable with a zero byte"),
				 errdetail("No program can be given such a value.")));
}

/*
 * The id of a stored packet with the row's position, number and bytes, or 0.
 * *taken: another packet has the same position and number.
 */
static int64
find_stored(const SpoolRow *row, bool *taken)
{
	SpoolScan	scan;
	SpoolRow	stored;
	int64		same = 0;

	spool_store_scan_range(&scan, row->stream, row->position, row->position,
						   ForwardScanDirection);
	while (same == 0 && spool_store_scan_next(&scan, &stored))
	{
		if (stored.seq != row->seq)
			continue;
		if (spool_same_packet(stored.packet, row->packet))
			same = stored.packet_id;
		else
			*taken = true;
	}
	spool_store_scan_end(&scan);
	return same;
}

/* The same among the rows of this batch before n; enters row n. */
static int64
find_in_batch(HTAB *batch, SpoolRow *rows, int n, int *chain, bool *taken)
{
	BatchKey	key;
	BatchEntry *entry;
	bool		found;

	key.position = rows[n].position;
	key.seq = rows[n].seq;
	entry = hash_search(batch, &key, HASH_ENTER, &found);
	chain[n] = found ? entry->last : 0;
	for (int i = chain[n]; i > 0; i = chain[i - 1])
	{
		if (spool_same_packet(rows[i - 1].packet, rows[n].packet))
			return rows[i - 1].packet_id;
		*taken = true;
	}
	entry->last = n + 1;
	return 0;
}

/*
 * A packet below the cursor: a dead letter, unless the same is kept already;
 * in order of the latest it is only told.
 */
static void
write_late(SpoolQueue *queue, SpoolRow *row, SpoolWritten *written)
{
	SpoolKept	late = {.state = KEPT_DEAD,.reason = REASON_LATE};

	written->status = "late";
	written->packet_id = 0;
	if (queue->order != ORDER_SEQUENCE)
		return;
	written->packet_id = spool_kept_same(row->stream, row->seq, row->packet);
	if (written->packet_id != 0)
		written->status = "duplicate";
	else
	{
		row->packet_id = spool_nextval("packet_id_seq");
		spool_kept_add(row, &late);
		written->packet_id = row->packet_id;
	}
}

/* Count the packets of a call that came late or twice. */
static void
tally_written(int64 stream, const SpoolWritten *written, int count)
{
	SpoolTally	more = {.stream = stream};

	for (int i = 0; i < count; i++)
	{
		more.late += strcmp(written[i].status, "late") == 0;
		more.duplicates += strcmp(written[i].status, "duplicate") == 0;
	}
	spool_tally_add(&more);
}

/* Store packets that have their numbers; written[i] tells what became of i. */
void
spool_write_packets(SpoolQueue *queue, const char *stream_name,
					struct varlena **packets, int count,
					SpoolWritten *written)
{
	bool		one_stream = !spool_by_number(queue->order);
	Oid			ids = spool_relation_oid("packet_id_seq");
	SpoolRow   *rows = palloc0(Max(count, 1) * sizeof(SpoolRow));
	int		   *chain = palloc0(Max(count, 1) * sizeof(int));
	int			nrows = 0;
	TimestampTz now = GetCurrentTimestamp();
	SpoolStream stream;
	SpoolState	state;
	HASHCTL		info;
	HTAB	   *batch;

	memset(&info, 0, sizeof(info));
	info.keysize = sizeof(BatchKey);
	info.entrysize = sizeof(BatchEntry);
	info.hcxt = CurrentMemoryContext;
	batch = hash_create("spool batch", 64, &info,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	spool_stream_get(queue, one_stream ? "" : stream_name, &stream);
	if (!one_stream)
	{
		spool_queue_numbers_lock(queue, RowShareLock);
		spool_numbering_begin(queue, &stream, false);
	}
	spool_stream_state(queue, &stream, &state);

	for (int i = 0; i < count; i++)
	{
		SpoolRow   *row = &rows[nrows];
		PacketHeader header;
		bool		taken = false;
		int64		same;

		CHECK_FOR_INTERRUPTS();
		spool_packet_header(packets[i], &header);
		check_packet(packets[i], &header);
		row->stream = stream.id;
		row->seq = spool_packet_seq(&header);
		row->position = one_stream ? spool_packet_nanoseconds(&header) :
			row->seq;
		row->arrived = now;
		row->has_arrived = true;
		row->packet = packets[i];
		written[i].seq = row->seq;

		if (!one_stream && row->seq < state.next)
		{
			write_late(queue, row, &written[i]);
			continue;
		}

		same = find_stored(row, &taken);
		if (same == 0)
		{
			row->packet_id = nextval_internal(ids, false);
			same = find_in_batch(batch, rows, nrows, chain, &taken);
		}
		written[i].packet_id = same ? same : row->packet_id;
		written[i].status = same ? "duplicate" :
			taken && !one_stream ? "conflict" : "stored";
		if (same == 0)
			nrows++;
	}
	spool_store_append(rows, nrows);
	if (nrows > 0)
		spool_hint(queue->id, stream.id);
	tally_written(stream.id, written, count);
	hash_destroy(batch);
	pfree(chain);
	pfree(rows);
}

/* What became of a packet, as the columns of write's result. */
static void
written_columns(const SpoolWritten *written, Datum *values, bool *nulls)
{
	memset(nulls, 0, WRITTEN_COLUMNS * sizeof(bool));
	values[0] = Int64GetDatum(written->packet_id);
	nulls[0] = written->packet_id == 0;
	values[1] = Int64GetDatum(written->seq);
	values[2] = CStringGetTextDatum(written->status);
}

/* The same as the result of a function that returns one row. */
Datum
spool_written_row(FunctionCallInfo fcinfo, const SpoolWritten *written)
{
	Datum		values[WRITTEN_COLUMNS];
	bool		nulls[WRITTEN_COLUMNS];

	written_columns(written, values, nulls);
	return spool_result_row(fcinfo, values, nulls);
}

/* write(queue, packet, stream) */
Datum
spool_write(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue;
	struct varlena *packet;
	SpoolWritten written;

	spool_args_required(fcinfo, 2, "queue", "packet");
	queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_WRITE,
							 QUEUE_PRODUCE);
	packet = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(1));
	spool_write_packets(queue, spool_arg_text(fcinfo, 2, ""), &packet, 1, &written);

	return spool_written_row(fcinfo, &written);
}

/* write_many(queue, packets, stream) */
Datum
spool_write_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SpoolQueue *queue;
	ArrayType  *array;
	Datum	   *elements;
	bool	   *nulls;
	struct varlena **packets;
	SpoolWritten *written;
	int			count;

	spool_args_required(fcinfo, 2, "queue", "packets");
	queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_WRITE,
							 QUEUE_PRODUCE);
	array = PG_GETARG_ARRAYTYPE_P(1);
	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_INT,
					  &elements, &nulls, &count);
	packets = palloc(Max(count, 1) * sizeof(struct varlena *));
	written = palloc0(Max(count, 1) * sizeof(SpoolWritten));
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("packets must not contain nulls")));
		packets[i] = PG_DETOAST_DATUM_PACKED(elements[i]);
	}
	spool_write_packets(queue, spool_arg_text(fcinfo, 2, ""), packets, count,
						written);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < count; i++)
	{
		Datum		values[WRITTEN_COLUMNS];
		bool		isnull[WRITTEN_COLUMNS];

		written_columns(&written[i], values, isnull);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 isnull);
	}
	return (Datum) 0;
}

/* Trigger on the view spool.inbox: a row inserted is a packet written. */
Datum
spool_inbox_insert(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	tupdesc;
	HeapTuple	tuple;
	SpoolWritten written;
	struct varlena *packet;
	SpoolQueue *queue;
	Datum		values[3];
	bool		nulls[3];

	/* anybody may make a trigger on a view with columns of other types */
	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		!TRIGGER_FIRED_INSTEAD(trigger->tg_event) ||
		RelationGetRelid(trigger->tg_relation) != spool_relation_oid("inbox"))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("spool.inbox_insert must be called by the trigger on spool.inbox")));
	tupdesc = RelationGetDescr(trigger->tg_relation);
	tuple = trigger->tg_trigtuple;
	for (int i = 0; i < 3; i++)
		values[i] = heap_getattr(tuple, i + 1, tupdesc, &nulls[i]);
	if (nulls[0] || nulls[2])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", nulls[0] ? "queue" : "packet")));
	queue = spool_queue_open(DatumGetTextPP(values[0]), SPOOL_WRITE,
							 QUEUE_PRODUCE);
	packet = PG_DETOAST_DATUM_PACKED(values[2]);
	spool_write_packets(queue,
						nulls[1] ? "" : TextDatumGetCString(values[1]),
						&packet, 1, &written);
	return PointerGetDatum(tuple);
}
