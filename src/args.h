/*-------------------------------------------------------------------------
 * args.h
 *	  Arguments of SQL-callable functions.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_ARGS_H
#define SPOOL_ARGS_H

#include "fmgr.h"
#include "utils/timestamp.h"

extern void spool_args_required(FunctionCallInfo fcinfo, int count,...);
extern char *spool_arg_text(FunctionCallInfo fcinfo, int argno,
							const char *null_value);
extern void spool_arg_check_interval(FunctionCallInfo fcinfo, int argno,
									 const char *name);
extern TimestampTz spool_after(const Interval *interval);

extern Datum spool_result_row(FunctionCallInfo fcinfo, Datum *values,
							  bool *nulls);

#endif							/* SPOOL_ARGS_H */
