/*-------------------------------------------------------------------------
 * state.h
 *	  The states of streams.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_STATE_H
#define SPOOL_STATE_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/timestamp.h"

#include "segment.h"
#include "snapshot.h"

/*
 * The newest state of a stream; the columns of spool.state.  A stream is
 * owned by a runner, or, if there is a deadline, by a claim of that number.
 */
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
	int64		consumed;
	int64		done;
	int64		failed;
	int64		dead;
	int64		superseded;
	TimestampTz since;
	TimestampTz run_since;		/* 0 = nothing runs */
	TimestampTz retry_at;		/* 0 = at once */
	TimestampTz deadline;		/* of a claim; 0 = no claim */
	int64	   *claimed;		/* ids of the packets of a claim */
	int			nclaimed;
	char	   *role;			/* who claimed */
	char	   *application;
	char	   *failure;
	char	   *paused;
	TransactionId writer;		/* who wrote the row */
} SpoolState;

/* The states, opened for reading those of several streams. */
typedef struct SpoolStates
{
	SpoolPart	segments[SPOOL_SEGMENTS];
	SpoolPart  *part;			/* its slot has the state that was read last, */
	SpoolSnapshot *newest;
	int64		serial;			/* with the snapshot of this serial, */
	int64		stream;			/* of this stream */
} SpoolStates;

extern void spool_states_open(SpoolStates *states, SpoolSnapshot *newest);
extern void spool_states_close(SpoolStates *states);
extern bool spool_states_newest(SpoolStates *states, int64 stream,
								SpoolState *state);
extern SpoolPart *spool_states_older(SpoolStates *states, int segment,
									 int64 stream, int64 version);
extern bool spool_state_newest(int64 stream, SpoolState *state);
extern void spool_state_check_snapshot(const SpoolState *state);
extern void spool_states_append(SpoolState **states, int n);
extern void spool_state_append(SpoolState *state);
extern void spool_state_init(SpoolState *state, int64 stream);
extern bool spool_state_owned(const SpoolState *state);
extern void spool_state_disown(SpoolState *state);

#endif							/* SPOOL_STATE_H */
