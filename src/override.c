/*-------------------------------------------------------------------------
 * override.c
 *	  Reading a queue in order of creation time instead of its own.
 *
 * The caller holds the queue's lock in mode QUEUE_OVERRIDE, and thereby is
 * alone.  Packets are consumed one by one; cursors stay where they are.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dispatch.h"
#include "spiutil.h"
#include "spool.h"

static SpoolPick *override_pick(SpoolDispatch *d, int64 stream,
								const char *name);
static bool override_collect(SpoolDispatch *d, const char *stream,
							 int64 limit);

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
	pick->before = pick->state;
	if (!spool_may_consume(d, pick))
		pick->ended = true;
	d->picks = lappend(d->picks, pick);
	return pick;
}

/*
 * Read a queue in order of creation time instead of its own.  Looks at all
 * packets that wait; reads as many as jobs are wanted first, and the others
 * only if some of these (NOPs) were no jobs.
 */
void
spool_dispatch_override(SpoolDispatch *d, const char *stream)
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
		" p.packet, p.segment::int4, p.ctid"
		" FROM spool.stream s, LATERAL (SELECT st.next, st.runner, st.deadline, st.paused"
		"  FROM spool.state st WHERE st.consumer = 0 AND st.stream = s.id"
		"  ORDER BY st.version DESC LIMIT 1) st, spool.store p"
		" WHERE s.queue = $1 AND ($2 IS NULL OR s.name = $2)"
		"  AND p.stream = s.id AND p.position >= st.next"
		"  AND p.packet_id <= $3 AND st.paused IS NULL"
		"  AND (st.runner = 0 OR CASE WHEN st.deadline IS NULL"
		"   THEN NOT spool.runner_alive(st.runner)"
		"   ELSE st.deadline <= clock_timestamp() END)"
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
		rows[i].segment = DatumGetInt32(spool_field(i, 8, NULL));
		rows[i].tid = *(ItemPointer) DatumGetPointer(spool_field(i, 9, NULL));
	}
	spool_spi_end(&spi);

	d->jobs = palloc_extended((found + 1) * sizeof(SpoolJob *),
							  MCXT_ALLOC_HUGE);
	for (uint64 i = 0; i < found && want > 0; i++)
	{
		SpoolPick  *pick = override_pick(d, rows[i].stream, names[i]);

		if (pick->ended || spool_collected(pick, &rows[i]))
			continue;
		if (!spool_collect_one(d, pick, &rows[i], 0, &want))
			return true;
		d->jobs[d->njobs++] = pick->jobs[pick->njobs - 1];
	}
	return want == 0 || found < (uint64) limit;
}
