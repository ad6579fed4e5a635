/*-------------------------------------------------------------------------
 * settle.h
 *	  What becomes of a job by what came of its attempt.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SETTLE_H
#define SPOOL_SETTLE_H

#include "attempt.h"
#include "dispatch.h"

extern void spool_job_lend(SpoolJob *job, const SpoolKept *running);
extern bool spool_job_settle(SpoolDispatch *d, SpoolJob *job,
							 SpoolAttempt *attempt, TimestampTz again);

#endif							/* SPOOL_SETTLE_H */
