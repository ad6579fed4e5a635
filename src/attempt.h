/*-------------------------------------------------------------------------
 * attempt.h
 *	  What came of one attempt to run a job.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_ATTEMPT_H
#define SPOOL_ATTEMPT_H

#include "utils/timestamp.h"

#include "packet.h"

typedef enum SpoolOutcome
{
	OUTCOME_OK,
	OUTCOME_ERROR,				/* a handler raised an error, or a Fail packet */
	OUTCOME_EXIT,				/* a program's exit status is not 0 */
	OUTCOME_SIGNAL,				/* a program was killed by a signal */
	OUTCOME_TIMEOUT,			/* the time allowed was over */
	OUTCOME_START_FAILED,		/* a program could not be started */
	OUTCOME_CRASHED				/* the runner died; the outcome is unknown */
} SpoolOutcome;

typedef struct SpoolAttempt
{
	TimestampTz started_at;
	TimestampTz finished_at;
	SpoolOutcome outcome;
	int			exit_code;		/* of OUTCOME_EXIT */
	int			signal;			/* of OUTCOME_SIGNAL */
	int			sqlstate;		/* of OUTCOME_ERROR, packed; or 0 */
	char	   *message;		/* reason in one line, or NULL */
	struct varlena *output;		/* stdout, bytea; NULL for handlers */
	struct varlena *errors;		/* stderr, bytea; NULL for handlers */
} SpoolAttempt;

/* Columns that spool_attempt_columns fills. */
#define SPOOL_ATTEMPT_COLUMNS 9

extern bool spool_attempt_without_command(PacketKind kind,
										  SpoolAttempt *attempt);
extern void spool_attempt_columns(const SpoolAttempt *attempt, Datum *values,
								  bool *nulls);

#endif							/* SPOOL_ATTEMPT_H */
