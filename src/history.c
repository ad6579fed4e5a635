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

/* Write an attempt if the queue's history keeps such. */
void
spool_history_add(SpoolQueue *queue, const char *stream, int64 seq,
				  int64 packet_id, int32 number, const SpoolAttempt *attempt)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.attempt VALUES"
		" ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
		SPI_OK_INSERT,
		PLAN_ARGS(INT4OID, TEXTOID, INT8OID, INT8OID, INT4OID,
				  TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, INT4OID, INT4OID,
				  TEXTOID, TEXTOID, BYTEAOID, BYTEAOID)
	};
	Datum		values[5 + SPOOL_ATTEMPT_COLUMNS];
	bool		isnull[5 + SPOOL_ATTEMPT_COLUMNS] = {false};
	char		nulls[5 + SPOOL_ATTEMPT_COLUMNS];

	if (queue->history == HISTORY_NONE ||
		(queue->history == HISTORY_FAILURES &&
		 attempt->outcome == OUTCOME_OK))
		return;

	values[0] = Int32GetDatum(queue->id);
	values[1] = CStringGetTextDatum(stream);
	values[2] = Int64GetDatum(seq);
	values[3] = Int64GetDatum(packet_id);
	values[4] = Int32GetDatum(number);
	spool_attempt_columns(attempt, &values[5], &isnull[5]);
	for (int i = 0; i < (int) lengthof(isnull); i++)
		nulls[i] = isnull[i] ? 'n' : ' ';
	(void) spool_exec_alone(&plan, values, nulls);
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
