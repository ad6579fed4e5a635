/*-------------------------------------------------------------------------
 * shmem.c
 *	  Shared memory: slots of managers and workers, and hints where work may
 *	  be.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "shmem.h"

void
spool_hint(int32 queue, int64 stream)
{
}

void
spool_hint_later(int32 queue, int64 stream, TimestampTz due)
{
}

void
spool_hint_holds(int32 queue, int64 stream, TimestampTz since)
{
}

void
spool_hint_skipped(int32 queue)
{
}

void
spool_hint_done(int32 queue, int64 jobs)
{
}

void
spool_hint_schedule(TimestampTz due)
{
}

bool
spool_wait_begin(int32 queue)
{
	return false;
}

bool
spool_wait(int32 queue, long timeout_ms)
{
	return false;
}

void
spool_wait_end(int32 queue)
{
}

bool
spool_work_enter(int32 *queue)
{
	return false;
}

void
spool_work_take(int32 queue, int max, SpoolWork *work)
{
}

void
spool_work_put(int32 queue, const int64 *streams, int nstreams, bool all)
{
}

void
spool_work_leave(int32 queue)
{
}

bool
spool_work_elsewhere(int32 queue)
{
	return false;
}

bool
spool_work_stopping(void)
{
	return true;
}

void
spool_work_running(int64 stream, int64 seq)
{
}
