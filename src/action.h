/*-------------------------------------------------------------------------
 * action.h
 *	  What operators, or options they set, did to streams and packets.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_ACTION_H
#define SPOOL_ACTION_H

#include "queue.h"

/* No number. */
#define NO_SEQ (-1)

extern void spool_action(SpoolQueue *queue, const char *stream,
						 const char *action, int64 first, int64 last,
						 int64 packet_id, text *reason);

#endif							/* SPOOL_ACTION_H */
