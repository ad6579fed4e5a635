/*-------------------------------------------------------------------------
 * state.h
 *	  The states of streams.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_STATE_H
#define SPOOL_STATE_H

#include "utils/timestamp.h"

/* The newest state of a stream; the columns of spool.state. */
typedef struct SpoolState
{
	int64		stream;
	int64		version;
	int64		next;
	int64		high;
	int64		low;
	TimestampTz looked;
	int32		ahead;
	int32		attempts;
	int64		attempt_packet;
	int64		runner;
	int64		run_packet;
	int64		run_last;
	int32		run_jobs;
	int32		solo;
	TimestampTz since;
	char	   *failure;
	char	   *paused;
	TransactionId writer;		/* who wrote the row */
} SpoolState;

extern bool spool_state_newest(int64 stream, SpoolState *state);
extern void spool_state_check_snapshot(const SpoolState *state);
extern void spool_state_append(SpoolState *state);
extern void spool_state_init(SpoolState *state, int64 stream);

#endif							/* SPOOL_STATE_H */
