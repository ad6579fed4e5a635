/*-------------------------------------------------------------------------
 * settle.h
 *	  What becomes of a job by what came of its attempt.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SETTLE_H
#define SPOOL_SETTLE_H

#include "attempt.h"
#include "dispatch.h"

extern void spool_jobs_lend(SpoolJob *const *jobs, const SpoolKept *running,
							int njobs);
extern bool spool_job_settle(SpoolDispatch *d, SpoolJob *job,
							 SpoolAttempt *attempt, TimestampTz again);

#endif							/* SPOOL_SETTLE_H */
