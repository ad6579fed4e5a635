/*-------------------------------------------------------------------------
 * quiet.h
 *	  Queues that wait until nothing new comes for a stream.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_QUIET_H
#define SPOOL_QUIET_H

#include "dispatch.h"

extern TimestampTz spool_quiet_until(const SpoolQueue *queue,
									 const SpoolState *state, SpoolScan *scan,
									 TimestampTz *since);
extern bool spool_is_quiet(SpoolDispatch *d, const SpoolState *state);

#endif							/* SPOOL_QUIET_H */
