/*-------------------------------------------------------------------------
 * program_sql.c
 *	  run_packet: one packet, one program, outside any queue.
 *
 * Nothing is stored; the caller gets the attempt.  The program runs within
 * the caller's transaction and is not undone by a rollback.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "packet_type.h"
#include "program.h"

/* Columns of the view spool.attempts. */
enum
{
	ATTEMPT_QUEUE,
	ATTEMPT_STREAM,
	ATTEMPT_SEQ,
	ATTEMPT_PACKET_ID,
	ATTEMPT_NUMBER,
	ATTEMPT_STARTED_AT,
	ATTEMPT_FINISHED_AT,
	ATTEMPT_OUTCOME,
	ATTEMPT_EXIT_CODE,
	ATTEMPT_SIGNAL,
	ATTEMPT_SQLSTATE,
	ATTEMPT_MESSAGE,
	ATTEMPT_STDOUT,
	ATTEMPT_STDERR,
	ATTEMPT_COLUMNS
};

static void get_arguments(ArrayType *array, SpoolProgramRun *run);
static void settle_without_program(PacketKind kind, SpoolAttempt *attempt);
static const char *outcome_name(SpoolOutcome outcome);
static Datum attempt_row(FunctionCallInfo fcinfo, const PacketHeader *header,
						 const SpoolAttempt *attempt);

PG_FUNCTION_INFO_V1(spool_run_packet);

Datum
spool_run_packet(PG_FUNCTION_ARGS)
{
	SpoolProgramRun run = {0};
	SpoolAttempt attempt;
	PacketHeader header;
	int			i;

	static const char *const names[] = {"packet", "program", "args"};

	spool_program_check_rights(GetUserId());
	for (i = 0; i < (int) lengthof(names); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", names[i])));

	run.packet = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	run.path = text_to_cstring(PG_GETARG_TEXT_PP(1));
	spool_program_check_path(run.path);
	get_arguments(PG_GETARG_ARRAYTYPE_P(2), &run);

	spool_packet_header(run.packet, &header);
	if (header.kind == PACKET_COMMAND)
		spool_program_run(&run, &attempt);
	else
		settle_without_program(header.kind, &attempt);

	PG_RETURN_DATUM(attempt_row(fcinfo, &header, &attempt));
}

static void
get_arguments(ArrayType *array, SpoolProgramRun *run)
{
	Datum	   *values;
	bool	   *nulls;
	int			i;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &run->nargs);
	run->args = palloc(run->nargs * sizeof(char *));
	for (i = 0; i < run->nargs; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("args must not contain nulls")));
		run->args[i] = TextDatumGetCString(values[i]);
	}
}

/* NOP and Fail packets run nothing. */
static void
settle_without_program(PacketKind kind, SpoolAttempt *attempt)
{
	memset(attempt, 0, sizeof(*attempt));
	attempt->started_at = GetCurrentTimestamp();
	attempt->finished_at = attempt->started_at;
	attempt->outcome = OUTCOME_OK;
	if (kind == PACKET_FAIL)
	{
		attempt->outcome = OUTCOME_ERROR;
		attempt->message = "Fail packet";
	}
}

static const char *
outcome_name(SpoolOutcome outcome)
{
	switch (outcome)
	{
		case OUTCOME_OK:
			return "ok";
		case OUTCOME_ERROR:
			return "error";
		case OUTCOME_EXIT:
			return "exit";
		case OUTCOME_SIGNAL:
			return "signal";
		case OUTCOME_TIMEOUT:
			return "timeout";
		case OUTCOME_START_FAILED:
			return "start_failed";
		case OUTCOME_CRASHED:
			return "crashed";
	}
	elog(ERROR, "unrecognized outcome: %d", outcome);
	return NULL;				/* keep compiler quiet */
}

/* The attempt as a row of the view; what it does not know is null. */
static Datum
attempt_row(FunctionCallInfo fcinfo, const PacketHeader *header,
			const SpoolAttempt *attempt)
{
	Datum		values[ATTEMPT_COLUMNS] = {0};
	bool		nulls[ATTEMPT_COLUMNS];
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != ATTEMPT_COLUMNS)
		elog(ERROR, "view spool.attempts is not as expected");

	memset(nulls, true, sizeof(nulls));
#define SET(column, value) \
	(values[column] = (value), nulls[column] = false)

	SET(ATTEMPT_SEQ, Int64GetDatum(spool_packet_seq(header)));
	SET(ATTEMPT_NUMBER, Int32GetDatum(1));
	SET(ATTEMPT_STARTED_AT, TimestampTzGetDatum(attempt->started_at));
	SET(ATTEMPT_FINISHED_AT, TimestampTzGetDatum(attempt->finished_at));
	SET(ATTEMPT_OUTCOME, CStringGetTextDatum(outcome_name(attempt->outcome)));
	if (attempt->outcome == OUTCOME_EXIT)
		SET(ATTEMPT_EXIT_CODE, Int32GetDatum(attempt->exit_code));
	if (attempt->outcome == OUTCOME_SIGNAL)
		SET(ATTEMPT_SIGNAL, Int32GetDatum(attempt->signal));
	if (attempt->message != NULL)
		SET(ATTEMPT_MESSAGE, CStringGetTextDatum(attempt->message));
	if (attempt->output != NULL)
		SET(ATTEMPT_STDOUT, PointerGetDatum(attempt->output));
	if (attempt->errors != NULL)
		SET(ATTEMPT_STDERR, PointerGetDatum(attempt->errors));
#undef SET

	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
											 values, nulls));
}
