/*-------------------------------------------------------------------------
 * history.c
 *	  Attempts to run jobs, as the queue's history keeps them.
 *
 * An attempt is written in the transaction that settles it; one whose runner
 * died, in the transaction that finds that out.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "history.h"
#include "spiutil.h"
#include "spool.h"
#include "writer.h"

/* Write an attempt if the queue's history keeps such. */
void
spool_history_add(SpoolQueue *queue, const char *stream, int64 seq,
				  int64 packet_id, int32 number, const SpoolAttempt *attempt)
{
	SpoolWriter writer;
	Datum	   *values;
	bool	   *nulls;

	if (queue->history == HISTORY_NONE ||
		(queue->history == HISTORY_FAILURES &&
		 attempt->outcome == OUTCOME_OK))
		return;

	spool_writer_open(&writer, spool_relation_oid("attempt"), 1);
	values = spool_writer_row(&writer, &nulls);
	values[0] = Int32GetDatum(queue->id);
	values[1] = CStringGetTextDatum(stream);
	values[2] = Int64GetDatum(seq);
	values[3] = Int64GetDatum(packet_id);
	values[4] = Int32GetDatum(number);
	spool_attempt_columns(attempt, &values[5], &nulls[5]);
	spool_writer_close(&writer);
}

/* Write that the owner of a packet was lost, and how. */
void
spool_history_crashed(SpoolQueue *queue, const char *stream, int64 packet_id,
					  int32 number, TimestampTz started_at,
					  const char *reason)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.attempt (queue, stream, seq, packet_id, attempt,"
		" started_at, finished_at, outcome, message)"
		" SELECT $1, $2, (SELECT seq FROM spool.store WHERE packet_id = $3"
		"  UNION ALL SELECT seq FROM spool.kept WHERE packet_id = $3 LIMIT 1),"
		" $3, $4, $5, clock_timestamp(), 'crashed', $6",
		SPI_OK_INSERT,
		PLAN_ARGS(INT4OID, TEXTOID, INT8OID, INT4OID, TIMESTAMPTZOID,
				  TEXTOID)
	};
	Datum		values[6];

	if (queue->history == HISTORY_NONE)
		return;
	values[0] = Int32GetDatum(queue->id);
	values[1] = CStringGetTextDatum(stream);
	values[2] = Int64GetDatum(packet_id);
	values[3] = Int32GetDatum(number);
	values[4] = TimestampTzGetDatum(started_at);
	values[5] = CStringGetTextDatum(reason);
	(void) spool_exec_alone(&plan, values, NULL);
}
