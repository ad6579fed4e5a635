/*-------------------------------------------------------------------------
 * action.c
 *	  What operators, or options they set, did to streams and packets.
 *
 * An action is recorded in the transaction that makes it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "action.h"
#include "spiutil.h"
#include "spool.h"

/* Record an action; NO_SEQ and 0 stand for no number, no packet. */
void
spool_action(SpoolQueue *queue, const char *stream, const char *action,
			 int64 first, int64 last, int64 packet_id, text *reason)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.action (queue, stream, action, first_seq,"
		" last_seq, packet_id, reason, role, at)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())",
		SPI_OK_INSERT,
		PLAN_ARGS(INT4OID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID,
				  TEXTOID, TEXTOID)
	};
	Datum		values[8];
	char		nulls[8];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int32GetDatum(queue->id);
	values[1] = stream ? CStringGetTextDatum(stream) : (Datum) 0;
	nulls[1] = stream ? ' ' : 'n';
	values[2] = CStringGetTextDatum(action);
	values[3] = Int64GetDatum(first);
	values[4] = Int64GetDatum(last);
	nulls[3] = nulls[4] = first == NO_SEQ ? 'n' : ' ';
	values[5] = Int64GetDatum(packet_id);
	nulls[5] = packet_id == 0 ? 'n' : ' ';
	values[6] = PointerGetDatum(reason);
	nulls[6] = reason ? ' ' : 'n';
	values[7] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
	(void) spool_exec_alone(&plan, values, nulls);
}
