/*-------------------------------------------------------------------------
 * history.h
 *	  Attempts to run jobs, as the queue's history keeps them.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_HISTORY_H
#define SPOOL_HISTORY_H

#include "attempt.h"
#include "queue.h"

extern void spool_history_add(SpoolQueue *queue, const char *stream,
							  int64 seq, int64 packet_id, int32 number,
							  const SpoolAttempt *attempt);
extern void spool_history_crashed(SpoolQueue *queue, const char *stream,
								  int64 packet_id, int32 number,
								  TimestampTz started_at, const char *reason);

#endif							/* SPOOL_HISTORY_H */
