/*-------------------------------------------------------------------------
 * quiet.c
 *	  Queues that wait until nothing new comes for a stream.
 *
 * In order of the latest, with the options quiet and max_wait, a stream is
 * offered
 *
 *	quiet		after its newest packet arrived, or, if that is earlier,
 *	max_wait	after the oldest one did that came since the last hand-out
 *
 * Nothing is stored for that but state.low, the number that an owner got last:
 * written with the state that names the owner, so a rollback or a crash has no
 * need of it.  What take consumed is below the cursor.  If nothing above that
 * number waits, because it failed or is dead, all that waits counts: a job that
 * was offered once is not delayed by this again.
 *
 * That costs a look at the newest packet, and if it came lately, one at the
 * oldest.  Who finds a stream too early is told again in time, as for a retry;
 * what comes before then tells who is concerned by itself, and each such look
 * sets the time anew.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "quiet.h"
#include "spool.h"

/*
 * When a stream with packets that wait may be offered; 0 if it has none.  The
 * packets are read by a scan that is open.  since, unless NULL: when the
 * oldest packet came that waits for that.
 */
TimestampTz
spool_quiet_until(const SpoolQueue *queue, const SpoolState *state,
				  SpoolScan *scan, TimestampTz *since)
{
	int64		from = state->next;
	TimestampTz until;
	TimestampTz oldest;
	SpoolRow	row;

	spool_store_seek(scan, state->stream, from, PG_INT64_MAX,
					 BackwardScanDirection, 0);
	if (!spool_store_scan_next(scan, &row))
		return 0;
	oldest = spool_row_arrived(&row);
	until = oldest + 1000 * queue->quiet_ms;
	if (since == NULL &&
		(queue->max_wait_ms == 0 || until <= GetCurrentTimestamp()))
		return until;

	if (row.position > state->low)
		from = Max(from, state->low + 1);
	spool_store_seek(scan, state->stream, from, PG_INT64_MAX,
					 ForwardScanDirection, 1);
	if (spool_store_scan_next(scan, &row))
		oldest = spool_row_arrived(&row);
	if (since != NULL)
		*since = oldest;
	if (queue->max_wait_ms > 0)
		until = Min(until, oldest + 1000 * queue->max_wait_ms);
	return until;
}

/*
 * Whether a stream in order of the latest may be offered now; if not, it will
 * be looked at again when it may.
 */
bool
spool_is_quiet(SpoolDispatch *d, const SpoolState *state)
{
	TimestampTz until;

	if (d->queue->quiet_ms == 0)
		return true;
	until = spool_quiet_until(d->queue, state, &d->tables->packets, NULL);
	if (until <= GetCurrentTimestamp())
		return true;
	spool_look_again(d, state->stream, until);
	return false;
}
