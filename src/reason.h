/*-------------------------------------------------------------------------
 * reason.h
 *	  Why a stream does not go on, in words of an operator.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_REASON_H
#define SPOOL_REASON_H

#include "utils/timestamp.h"

extern char *spool_reason_missing(int64 first, int64 last);
extern char *spool_reason_open(int64 number);
extern char *spool_reason_conflict(int64 packet_id, int64 other_id, int64 seq);
extern char *spool_reason_failed(int64 seq, const char *message);
extern char *spool_reason_quiet(TimestampTz until, bool quiet);

#endif							/* SPOOL_REASON_H */
