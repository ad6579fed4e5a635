/*-------------------------------------------------------------------------
 * survive.c
 *	  What of a segment is still needed, and moving it to the old segment.
 *
 * Needed are packets that wait or run and the newest state of each stream.
 * What is not, never is again: a cursor goes back only over packets that are
 * stored anew (operate.c).
 *
 * A walk goes through the streams that a segment has rows of, in steps of so
 * many streams, rows and bytes at the most, each in a transaction.  Rows are
 * moved as they are by who has their stream locked, as a consumer, and reads
 * its state after that with the newest snapshot.  Nothing is waited for: what
 * others have locked is left.  In a queue without order, where they lock
 * packets and not the stream, that is single packets.
 *
 * In the old segment consumed packets are removed in the same way, and older
 * states when a newer one is moved there.
 *
 * While a snapshot is held elsewhere, rows that were moved stay where they
 * were.  So streams are found by index entries, without a look at the rows,
 * and a stream is entered again where the step before ended.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "mover.h"
#include "segment.h"
#include "segment_streams.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "stream.h"
#include "survive.h"

/* What one step deals with at the most. */
#define STEP_STREAMS	1000
#define STEP_ROWS		5000
#define STEP_BYTES		(8 * 1024 * 1024)

/* Pages that are read to estimate how much of a segment is needed. */
#define SAMPLE_PAGES	32

typedef struct Step
{
	SpoolWalk	walk;			/* becomes that of the caller */
	MemoryContext context;
	MemoryContext caller;
	Snapshot	snapshot;		/* of the index scans */
	SpoolTables tables;
	SpoolIndex	last;			/* packets, or states too, are looked at */
	SpoolIndexedStreams indexed[INDEX_STATES + 1];
	SpoolMover	movers[INDEX_STATES + 1];
	int32		queue;			/* its order was read last */
	bool		by_number;
	int			nstreams;		/* seen; and rows and bytes dealt with */
	int			nrows;
	Size		nbytes;
} Step;

/* What a segment has of a stream. */
typedef struct Found
{
	SpoolStream stream;
	int32		queue;
	SpoolState	state;			/* the newest one, */
	bool		has_state;		/* it is in this segment */
	bool		has_packets;	/* some are, that are looked for */
	int64		from;			/* from this position on; */
	int64		first;			/* the first of them is at this one */
} Found;

/* A packet on a page that was read to estimate how much is needed. */
typedef struct Sample
{
	int64		stream;
	int64		position;
	int32		bytes;
} Sample;

static void step_begin(Step *step, const SpoolWalk *walk);
static void step_end(Step *step);
static bool step_full(const Step *step);
static int64 next_stream(Step *step);
static bool find_order(Step *step, int32 queue);
static bool running_below(const SpoolState *state);
static bool read_cursor(Step *step, int64 stream, Found *found);
static bool seek_packets(Step *step, int64 stream, int64 from, int64 to);
static int64 position_of(TupleTableSlot *slot);
static bool look_at(Step *step, int64 stream, Found *found);
static bool lock(Step *step, int64 stream, Found *found);
static bool move_row(Step *step, SpoolPart *part);
static void move_state(Step *step, const Found *found);
static void move_packets(Step *step, const Found *found);
static void remove_packets(Step *step, const Found *found);
static void move_stream(Step *step, int64 stream);
static bool some_consumed(const Step *step, const Found *found);
static void clear_stream(Step *step, int64 stream);
static void see_stream(Step *step, int64 stream);
static bool make_step(SpoolWalk *walk,
					  void (*visit) (Step *step, int64 stream));
static Sample *read_sample(Step *step, double share, uint64 *n);

/* Begin a step of a walk, in a memory context of its own. */
static void
step_begin(Step *step, const SpoolWalk *walk)
{
	memset(step, 0, sizeof(Step));
	step->walk = *walk;
	step->context = AllocSetContextCreate(CurrentMemoryContext, "spool walk",
										  ALLOCSET_DEFAULT_SIZES);
	step->caller = MemoryContextSwitchTo(step->context);
	step->snapshot = RegisterSnapshot(GetLatestSnapshot());
	spool_tables_open(&step->tables);
	spool_part_open(&step->tables.packets.segments[walk->segment]);
	spool_part_open(&step->tables.states.segments[walk->segment]);
	step->last = walk->segment == SPOOL_OLD_SEGMENT ?
		INDEX_PACKETS : INDEX_STATES;
	for (SpoolIndex which = INDEX_PACKETS; which <= step->last; which++)
		spool_indexed_open(&step->indexed[which], which, walk->segment,
						   step->snapshot);
}

static void
step_end(Step *step)
{
	for (SpoolIndex which = INDEX_PACKETS; which <= step->last; which++)
	{
		spool_mover_close(&step->movers[which]);
		spool_indexed_close(&step->indexed[which]);
	}
	spool_tables_close(&step->tables);
	UnregisterSnapshot(step->snapshot);
	MemoryContextSwitchTo(step->caller);
	MemoryContextDelete(step->context);
}

static bool
step_full(const Step *step)
{
	return step->nstreams >= STEP_STREAMS || step->nrows >= STEP_ROWS ||
		step->nbytes >= STEP_BYTES;
}

/* The next stream that the segment has index entries of, or the end. */
static int64
next_stream(Step *step)
{
	int64		next = END_OF_STREAMS;

	for (SpoolIndex which = INDEX_PACKETS; which <= step->last; which++)
		next = Min(next, spool_indexed_next(&step->indexed[which],
											step->walk.stream));
	return next;
}

/* Read whether a queue is ordered by number; false if there is none. */
static bool
find_order(Step *step, int32 queue)
{
	static SpoolPlan plan = {
		"SELECT order_by IN ('sequence', 'latest') FROM spool.queue"
		" WHERE id = $1",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID)
	};
	SpoolSpi	spi;
	Datum		values[1];

	if (queue == step->queue)
		return true;
	values[0] = Int32GetDatum(queue);
	spool_spi_begin(&spi);
	if (spool_exec(&plan, values, NULL) == 1)
	{
		step->by_number = DatumGetBool(spool_field(0, 1, NULL));
		step->queue = queue;
	}
	spool_spi_end(&spi);
	return queue == step->queue;
}

/*
 * Whether set_next_seq moved the cursor while jobs run: they may lie below it
 * and become dead letters.
 */
static bool
running_below(const SpoolState *state)
{
	return state->runner != 0 && state->run_jobs == 0;
}

/*
 * Read the position from which on packets of a stream wait; false if there is
 * no such stream any more.
 */
static bool
read_cursor(Step *step, int64 stream, Found *found)
{
	if (!spool_stream_read(stream, &found->stream, &found->queue) ||
		!find_order(step, found->queue))
		return false;
	found->from = step->by_number && !running_below(&found->state) ?
		found->state.next : PG_INT64_MIN;
	return true;
}

/* Begin a scan of a stream's packets in the segment; false if it has no rows. */
static bool
seek_packets(Step *step, int64 stream, int64 from, int64 to)
{
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], STORE_STREAM, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(stream));
	ScanKeyInit(&keys[1], STORE_POSITION, BTGreaterEqualStrategyNumber,
				F_INT8GE, Int64GetDatum(from));
	ScanKeyInit(&keys[2], STORE_POSITION, BTLessEqualStrategyNumber,
				F_INT8LE, Int64GetDatum(to));
	spool_snapshot_renew(&step->tables.newest);
	return spool_part_seek(&step->tables.packets.segments[step->walk.segment],
						   &step->tables.newest, keys, lengthof(keys));
}

/* The position of a packet. */
static int64
position_of(TupleTableSlot *slot)
{
	bool		null;

	return DatumGetInt64(slot_getattr(slot, STORE_POSITION, &null));
}

/*
 * Look what the segment has of a stream, false if nothing is needed.  In the
 * old segment all packets are counted, elsewhere those that wait.
 */
static bool
look_at(Step *step, int64 stream, Found *found)
{
	SpoolStates *states = &step->tables.states;
	int			segment = step->walk.segment;
	SpoolPart  *packets = &step->tables.packets.segments[segment];

	memset(found, 0, sizeof(Found));
	if (spool_states_newest(states, stream, &found->state))
		found->has_state = states->part->segment == segment;
	found->has_packets = step->indexed[INDEX_PACKETS].stream == stream;
	if ((!found->has_state && !found->has_packets) ||
		!read_cursor(step, stream, found))
		return false;

	if (segment == SPOOL_OLD_SEGMENT)
		found->from = PG_INT64_MIN;
	if (step->walk.entered == stream)
		found->from = Max(found->from, step->walk.position);
	found->has_packets = found->has_packets &&
		seek_packets(step, stream, found->from, PG_INT64_MAX) &&
		index_getnext_slot(packets->desc, ForwardScanDirection, packets->slot);
	if (found->has_packets)
		found->first = position_of(packets->slot);
	return found->has_state || found->has_packets;
}

/*
 * Lock a stream that nobody else consumes and look at it again; false if
 * somebody does, or nothing is needed any more.
 */
static bool
lock(Step *step, int64 stream, Found *found)
{
	if (!spool_tables_lock(&step->tables, &found->stream, LockWaitSkip))
	{
		step->walk.left = true;
		return false;
	}
	/* who found it locked, or a packet gone elsewhere, looks again */
	spool_hint_holds(found->queue, stream,
					 GetCurrentTransactionStartTimestamp());
	return look_at(step, stream, found);
}

/* Move a row to the old segment; false if somebody else has it. */
static bool
move_row(Step *step, SpoolPart *part)
{
	if (!spool_mover_move(&step->movers[part->which], part, &step->nbytes))
	{
		step->walk.left = true;
		return false;
	}
	step->nrows++;
	return true;
}

/* Move the newest state of a stream; those in the old segment are older. */
static void
move_state(Step *step, const Found *found)
{
	SpoolStates *states = &step->tables.states;
	SpoolPart  *older;

	if (!move_row(step, states->part))
		return;
	older = spool_states_older(states, SPOOL_OLD_SEGMENT, found->stream.id,
							   found->state.version);
	while (older != NULL &&
		   index_getnext_slot(older->desc, ForwardScanDirection, older->slot))
		(void) spool_row_remove(older->heap, &older->slot->tts_tid);
}

/* Move packets of a stream that wait, as many as the step may. */
static void
move_packets(Step *step, const Found *found)
{
	SpoolPart  *part = &step->tables.packets.segments[step->walk.segment];
	bool		more = seek_packets(step, found->stream.id, found->from,
									PG_INT64_MAX);

	while (more && (more = index_getnext_slot(part->desc, ForwardScanDirection,
											  part->slot)) &&
		   !step_full(step))
	{
		CHECK_FOR_INTERRUPTS();
		step->walk.entered = found->stream.id;
		step->walk.position = position_of(part->slot);
		(void) move_row(step, part);
	}
}

/* Remove packets of a stream from the old segment that are consumed. */
static void
remove_packets(Step *step, const Found *found)
{
	SpoolPart  *part = &step->tables.packets.segments[SPOOL_OLD_SEGMENT];
	bool		more = seek_packets(step, found->stream.id, found->from,
									found->state.next - 1);

	while (more && (more = index_getnext_slot(part->desc, ForwardScanDirection,
											  part->slot)) &&
		   !step_full(step))
	{
		CHECK_FOR_INTERRUPTS();
		step->walk.entered = found->stream.id;
		step->walk.position = position_of(part->slot);
		(void) spool_row_remove(part->heap, &part->slot->tts_tid);
		step->nrows++;
	}
}

/* Move what is needed of a stream to the old segment. */
static void
move_stream(Step *step, int64 stream)
{
	Found		found;

	if (!look_at(step, stream, &found) || !lock(step, stream, &found))
		return;
	if (found.has_state)
		move_state(step, &found);
	if (found.has_packets)
		move_packets(step, &found);
}

/* Whether some packets that were found are consumed. */
static bool
some_consumed(const Step *step, const Found *found)
{
	return found->has_packets && step->by_number &&
		found->first < found->state.next && !running_below(&found->state);
}

/* Remove consumed packets of a stream from the old segment. */
static void
clear_stream(Step *step, int64 stream)
{
	Found		found;

	if (look_at(step, stream, &found) && some_consumed(step, &found) &&
		lock(step, stream, &found) && some_consumed(step, &found))
		remove_packets(step, &found);
}

/* See whether anything of a stream is needed; if so, the walk has left it. */
static void
see_stream(Step *step, int64 stream)
{
	Found		found;

	step->walk.left = step->walk.left || look_at(step, stream, &found);
}

/*
 * Make a step of a walk; false at the end.  A stream that filled the step is
 * entered again.
 */
static bool
make_step(SpoolWalk *walk, void (*visit) (Step *step, int64 stream))
{
	Step		step;
	int64		stream = 0;

	step_begin(&step, walk);
	while (!step_full(&step) && (stream = next_stream(&step)) != END_OF_STREAMS)
	{
		CHECK_FOR_INTERRUPTS();
		visit(&step, stream);
		if (step_full(&step))
			break;
		step.nstreams++;
		step.walk.stream = stream;
	}
	*walk = step.walk;
	step_end(&step);
	return stream != END_OF_STREAMS;
}

/* Make a step of moving what is needed to the old segment; false at the end. */
bool
spool_survivors_move(SpoolWalk *walk)
{
	return make_step(walk, move_stream);
}

/* Make a step of removing consumed packets from the old segment. */
bool
spool_consumed_remove(SpoolWalk *walk)
{
	return make_step(walk, clear_stream);
}

/* Whether anything in a segment is needed. */
bool
spool_survivors_any(int segment)
{
	SpoolWalk	walk = {.segment = segment};
	bool		more = true;

	while (more && !walk.left)
		more = make_step(&walk, see_stream);
	return walk.left;
}

/* Read the packets on some pages of the segment, in order of streams. */
static Sample *
read_sample(Step *step, double share, uint64 *n)
{
	static SpoolPlan plan = {
		"SELECT p.stream, p.position, 72 + pg_column_size(p.packet)"
		" FROM spool.store p TABLESAMPLE SYSTEM ($2)"
		" WHERE p.segment = $1 ORDER BY p.stream",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID, FLOAT4OID)
	};
	SpoolSpi	spi;
	Datum		values[2];
	Sample	   *sample;

	values[0] = Int32GetDatum(step->walk.segment);
	values[1] = Float4GetDatum((float4) (100 * share));
	spool_spi_begin(&spi);
	*n = spool_exec(&plan, values, NULL);
	sample = MemoryContextAlloc(step->context, (*n + 1) * sizeof(Sample));
	for (uint64 i = 0; i < *n; i++)
	{
		sample[i].stream = DatumGetInt64(spool_field(i, 1, NULL));
		sample[i].position = DatumGetInt64(spool_field(i, 2, NULL));
		sample[i].bytes = DatumGetInt32(spool_field(i, 3, NULL));
	}
	spool_spi_end(&spi);
	return sample;
}

/* Whether more than half of a segment are packets that wait, by a sample. */
bool
spool_survivors_most(int segment)
{
	SpoolWalk	walk = {.segment = segment};
	Step		step;
	Found		found;
	Sample	   *sample;
	Relation	heap;
	double		share;
	double		needed = 0;
	uint64		n;

	step_begin(&step, &walk);
	heap = step.indexed[INDEX_PACKETS].heap;
	share = Min(1.0, SAMPLE_PAGES /
				Max((double) RelationGetNumberOfBlocks(heap), 1.0));
	sample = read_sample(&step, share, &n);
	for (uint64 i = 0; i < n; i++)
	{
		int64		stream = sample[i].stream;

		if (i == 0 || stream != sample[i - 1].stream)
		{
			memset(&found, 0, sizeof(Found));
			(void) spool_states_newest(&step.tables.states, stream,
									   &found.state);
			if (!read_cursor(&step, stream, &found))
				found.from = PG_INT64_MAX;
		}
		if (sample[i].position >= found.from)
			needed += sample[i].bytes;
	}
	needed -= share * DatumGetInt64(DirectFunctionCall1(pg_table_size,
														ObjectIdGetDatum(RelationGetRelid(heap)))) / 2;
	step_end(&step);
	return needed > 0;
}
