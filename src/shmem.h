/*-------------------------------------------------------------------------
 * shmem.h
 *	  Shared memory: hints where work may be, and what workers do with them.
 *
 * Without shared memory (the library is not preloaded, and the session is no
 * manager or worker) hints do nothing.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SHMEM_H
#define SPOOL_SHMEM_H

#include "utils/timestamp.h"

/* Streams of one queue that are remembered; beyond that all are looked at. */
#define SPOOL_MAX_HINTS 16

/* Hints that a transaction gives; beyond that they say less. */
#define SPOOL_MAX_PENDING 64

/* Stands for all streams of a queue. */
#define SPOOL_ALL_STREAMS 0

/* Averages of jobs per second: over 1, 5 and 15 minutes. */
#define SPOOL_NUM_RATES 3

/* Any backend: hints, told when the transaction commits; see hint.c. */
extern void spool_hint(int32 queue, int64 stream);
extern void spool_hint_later(int32 queue, int64 stream, TimestampTz due);
extern void spool_hint_holds(int32 queue, int64 stream, TimestampTz since);
extern void spool_hint_skipped(int32 queue);
extern void spool_hint_done(int32 queue, int64 jobs);
extern void spool_hint_schedule(TimestampTz due);
extern void spool_hint_upkeep(void);
extern void spool_hint_database(void);
extern void spool_hint_extension(void);
extern void spool_hint_everything(void);
extern void spool_hint_prepared(void);
extern int	spool_hint_given(int32 queue, int64 *streams);
extern uint64 spool_changes(void);
extern void spool_hint_at_exit(int32 queue);

/* Jobs per second; see rates.c. */
extern bool spool_rates(int32 queue, float8 *rates);

/* CALL wait: sleep until there is news of a queue; see news.c. */
extern bool spool_wait_begin(int32 queue);
extern bool spool_wait(int32 queue, long timeout_ms);
extern void spool_wait_end(int32 queue);

/* What a worker is to look at. */
typedef struct SpoolWork
{
	int32		queue;
	bool		all;			/* look at all streams */
	bool		room;			/* another worker may come */
	int			nstreams;
	int64		streams[SPOOL_MAX_HINTS];
} SpoolWork;

/* Workers; see work.c. */
extern void spool_worker_attach(Datum arg, Oid *database, Oid *owner);
extern bool spool_work_enter(int32 *queue);
extern void spool_work_take(int32 queue, int max, SpoolWork *work);
extern void spool_work_put(int32 queue, const int64 *streams, int nstreams,
						   bool all, const int64 *own, int nown);
extern void spool_work_rest(int32 queue, int64 ms);
extern bool spool_work_refuse(int32 queue, bool lasting);
extern void spool_work_leave(int32 queue);
extern bool spool_work_elsewhere(int32 queue);
extern bool spool_work_stopping(void);
extern void spool_work_running(int64 stream, int64 seq);

#endif							/* SPOOL_SHMEM_H */
