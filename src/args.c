/*-------------------------------------------------------------------------
 * args.c
 *	  Arguments of SQL-callable functions.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "datatype/timestamp.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "args.h"

/* 22004 if one of the first count arguments is NULL; their names follow. */
void
spool_args_required(FunctionCallInfo fcinfo, int count,...)
{
	va_list		names;

	va_start(names, count);
	for (int i = 0; i < count; i++)
		spool_arg_required(fcinfo, i, va_arg(names, const char *));
	va_end(names);
}

/* 22004 if one argument is NULL. */
void
spool_arg_required(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

/* A text argument as a C string, or what stands for NULL. */
char *
spool_arg_text(FunctionCallInfo fcinfo, int argno, const char *null_value)
{
	if (!PG_ARGISNULL(argno))
		return text_to_cstring(PG_GETARG_TEXT_PP(argno));
	return null_value ? pstrdup(null_value) : NULL;
}

/*
 * 22023 if an interval is negative, or so long that a time less it would be
 * out of range.  Its parts are added one by one, so none may be negative.
 * NULL is no error.
 */
void
spool_arg_check_interval(FunctionCallInfo fcinfo, int argno, const char *name)
{
	Interval	longest = {0, 0, 1000 * MONTHS_PER_YEAR};
	Interval   *interval;

	if (PG_ARGISNULL(argno))
		return;
	interval = PG_GETARG_INTERVAL_P(argno);
	if (interval->month < 0 || interval->day < 0 || interval->time < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", name)));
	if (DatumGetInt32(DirectFunctionCall2(interval_cmp,
										  IntervalPGetDatum(interval),
										  IntervalPGetDatum(&longest))) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be longer than 1000 years", name)));
}

/* 22023 unless an argument is NULL or one of a NULL-terminated list. */
void
spool_arg_check_choice(FunctionCallInfo fcinfo, int argno, const char *name,
					   const char *const *allowed)
{
	StringInfoData choices;
	char	   *value;

	if (PG_ARGISNULL(argno))
		return;
	value = text_to_cstring(PG_GETARG_TEXT_PP(argno));
	initStringInfo(&choices);
	for (int i = 0; allowed[i] != NULL; i++)
	{
		if (strcmp(value, allowed[i]) == 0)
			return;
		appendStringInfo(&choices, "%s\"%s\"", i > 0 ? ", " : "", allowed[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized %s: \"%s\"", name, value),
			 errhint("Allowed values are %s.", choices.data)));
}

/* The first arguments as parameters of a statement. */
void
spool_arg_values(FunctionCallInfo fcinfo, int count, Datum *values,
				 char *nulls)
{
	for (int i = 0; i < count; i++)
	{
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
		values[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
	}
}

/* A time that is an interval after now. */
TimestampTz
spool_after(const Interval *interval)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(GetCurrentTimestamp()),
												   IntervalPGetDatum(interval)));
}

/* The result of a function that returns one row. */
Datum
spool_result_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values,
											 nulls));
}
