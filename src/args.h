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
extern void spool_arg_required(FunctionCallInfo fcinfo, int argno,
							   const char *name);
extern char *spool_arg_text(FunctionCallInfo fcinfo, int argno,
							const char *null_value);
extern void spool_arg_check_interval(FunctionCallInfo fcinfo, int argno,
									 const char *name);
extern void spool_arg_check_choice(FunctionCallInfo fcinfo, int argno,
								   const char *name,
								   const char *const *allowed);
extern void spool_arg_values(FunctionCallInfo fcinfo, int count, Datum *values,
							 char *nulls);
extern TimestampTz spool_after(const Interval *interval);

extern Datum spool_result_row(FunctionCallInfo fcinfo, Datum *values,
							  bool *nulls);

#endif							/* SPOOL_ARGS_H */
