/*-------------------------------------------------------------------------
 * take.h
 *	  Packets handed out as rows.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_TAKE_H
#define SPOOL_TAKE_H

#include "dispatch.h"
#include "fmgr.h"

extern Datum spool_job_datum(SpoolQueue *queue, SpoolJob *job,
							 TupleDesc tupdesc);
extern void spool_hand_out_begin(FunctionCallInfo fcinfo, SpoolDispatch *d,
								 DispatchMode mode, const char *order_by,
								 const char *stream);
extern void spool_hand_out_end(FunctionCallInfo fcinfo, SpoolDispatch *d);

#endif							/* SPOOL_TAKE_H */
