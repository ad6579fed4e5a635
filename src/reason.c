/*-------------------------------------------------------------------------
 * reason.c
 *	  Why a stream does not go on, in words of an operator.
 *
 * The log and the views tell the same.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "dispatch.h"
#include "reason.h"

/* Numbers that have not come, from a first to a last one. */
char *
spool_reason_missing(int64 first, int64 last)
{
	if (first == last)
		return psprintf("number " INT64_FORMAT " is missing", first);
	return psprintf("numbers " INT64_FORMAT " to " INT64_FORMAT " are missing",
					first, last);
}

/* A number that a producer has not committed. */
char *
spool_reason_open(int64 number)
{
	return psprintf("an open transaction has number " INT64_FORMAT, number);
}

/* Two different packets with one number. */
char *
spool_reason_conflict(int64 packet_id, int64 other_id, int64 seq)
{
	return psprintf("packets " INT64_FORMAT " and " INT64_FORMAT " have the same number " INT64_FORMAT,
					packet_id, other_id, seq);
}

/* A job that failed; the message may be NULL. */
char *
spool_reason_failed(int64 seq, const char *message)
{
	return psprintf("job " INT64_FORMAT " failed: %s", seq,
					message != NULL ? message : "no message");
}

/* A stream that waits for its time; if quiet, what comes before moves it. */
char *
spool_reason_quiet(TimestampTz until, bool quiet)
{
	return psprintf(quiet ? "offered at %s, if nothing comes before" :
					"offered at %s, when max_wait is over",
					timestamptz_to_str(until));
}

/* 21000 for a conflict that the dispatch met. */
void
spool_dispatch_raise_conflict(SpoolDispatch *d)
{
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("packets %lld and %lld of queue \"%s\" have the same number " INT64_FORMAT,
					(long long) d->conflict[0], (long long) d->conflict[1],
					d->queue->name, d->conflict_seq),
			 errdetail("Stream \"%s\" stops at this number.",
					   d->conflict_stream),
			 errhint("Discard one of them with spool.discard, name their streams, or order the queue by timestamp.")));
}
