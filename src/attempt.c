/*-------------------------------------------------------------------------
 * attempt.c
 *	  What came of one attempt to run a job.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "attempt.h"

/* The name of an outcome, as spool.attempts shows it. */
static const char *
outcome_name(SpoolOutcome outcome)
{
	static const char *const names[] = {"ok", "error", "exit", "signal",
	"timeout", "start_failed", "crashed"};

	return names[outcome];
}

/* NOP and Fail packets run nothing: true and their outcome if it is one. */
bool
spool_attempt_without_command(PacketKind kind, SpoolAttempt *attempt)
{
	if (kind == PACKET_COMMAND)
		return false;
	memset(attempt, 0, sizeof(SpoolAttempt));
	attempt->started_at = attempt->finished_at = GetCurrentTimestamp();
	attempt->outcome = OUTCOME_OK;
	if (kind == PACKET_FAIL)
	{
		attempt->outcome = OUTCOME_ERROR;
		attempt->message = pstrdup("Fail packet");
	}
	return true;
}

/*
 * The columns of spool.attempt that tell of the run itself, started_at to
 * stderr; what the attempt does not know is null.
 */
void
spool_attempt_columns(const SpoolAttempt *attempt, Datum *values, bool *nulls)
{
	int			i = 0;

#define PUT(known, value) \
	(nulls[i] = !(known), values[i] = nulls[i] ? (Datum) 0 : (value), i++)

	PUT(true, TimestampTzGetDatum(attempt->started_at));
	PUT(true, TimestampTzGetDatum(attempt->finished_at));
	PUT(true, CStringGetTextDatum(outcome_name(attempt->outcome)));
	PUT(attempt->outcome == OUTCOME_EXIT, Int32GetDatum(attempt->exit_code));
	PUT(attempt->outcome == OUTCOME_SIGNAL, Int32GetDatum(attempt->signal));
	PUT(attempt->sqlstate != 0,
		CStringGetTextDatum(unpack_sql_state(attempt->sqlstate)));
	PUT(attempt->message != NULL, CStringGetTextDatum(attempt->message));
	PUT(attempt->output != NULL, PointerGetDatum(attempt->output));
	PUT(attempt->errors != NULL, PointerGetDatum(attempt->errors));
#undef PUT
}
