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

#include "args.h"
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
	ATTEMPT_RUN,
	ATTEMPT_COLUMNS = ATTEMPT_RUN + SPOOL_ATTEMPT_COLUMNS
};

static void get_arguments(ArrayType *array, SpoolProgramRun *run);
static Datum attempt_row(FunctionCallInfo fcinfo, const PacketHeader *header,
						 const SpoolAttempt *attempt);

PG_FUNCTION_INFO_V1(spool_run_packet);

Datum
spool_run_packet(PG_FUNCTION_ARGS)
{
	SpoolProgramRun run = {0};
	SpoolAttempt attempt;
	PacketHeader header;

	spool_program_check_rights(GetUserId());
	spool_args_required(fcinfo, 3, "packet", "program", "args");
	run.packet = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	run.path = text_to_cstring(PG_GETARG_TEXT_PP(1));
	spool_program_check_path(run.path);
	get_arguments(PG_GETARG_ARRAYTYPE_P(2), &run);

	spool_packet_header(run.packet, &header);
	if (!spool_attempt_without_command(header.kind, &attempt))
		spool_program_run(&run, &attempt);

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

/* The attempt as a row of the view; it has no queue, stream and packet_id. */
static Datum
attempt_row(FunctionCallInfo fcinfo, const PacketHeader *header,
			const SpoolAttempt *attempt)
{
	Datum		values[ATTEMPT_COLUMNS] = {0};
	bool		nulls[ATTEMPT_COLUMNS] = {true, true, false, true, false};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != ATTEMPT_COLUMNS)
		elog(ERROR, "view spool.attempts is not as expected");

	values[ATTEMPT_SEQ] = Int64GetDatum(spool_packet_seq(header));
	values[ATTEMPT_NUMBER] = Int32GetDatum(1);
	spool_attempt_columns(attempt, &values[ATTEMPT_RUN], &nulls[ATTEMPT_RUN]);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
											 values, nulls));
}
