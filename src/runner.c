/*-------------------------------------------------------------------------
 * runner.c
 *	  Who runs jobs across commits, and whether it is alive.
 *
 * A runner is a number from a sequence and a session-level lock of that
 * number, taken before the first job is dispatched.  The lock is of the
 * advisory method, which keeps it when a transaction aborts, and in a class
 * of its own, which no advisory lock function can name.  The server releases
 * it when the session ends, in whatever way; so the lock is the runner's life,
 * and a state that names a runner without it tells of one that died.
 *
 * A job could release it with pg_advisory_unlock_all().  Another session may
 * then take the runner for dead and take its streams over, which the runner
 * sees when it settles: the state no longer names it, and it rolls back.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"

#include "runner.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"

/* Class of the lock; 1 and 2 are those of the advisory lock functions. */
#define RUNNER_LOCK_CLASS 0x5350

#define SET_RUNNER_TAG(tag, runner) \
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) ((runner) >> 32), \
						 (uint32) (runner), RUNNER_LOCK_CLASS)

PG_FUNCTION_INFO_V1(spool_runner_alive_sql);

/* Become a runner of a queue's jobs; returns its number. */
int64
spool_runner_begin(int32 queue)
{
	int64		runner = spool_nextval("runner_id_seq");
	LOCKTAG		tag;

	SET_RUNNER_TAG(tag, runner);
	(void) LockAcquire(&tag, ExclusiveLock, true, false);
	spool_hint_at_exit(queue);
	return runner;
}

/* Stop being one; no error if the lock was released before. */
void
spool_runner_end(int64 runner)
{
	LOCKTAG		tag;

	spool_hint_at_exit(0);
	SET_RUNNER_TAG(tag, runner);
	if (compat_lock_held(&tag, ExclusiveLock))
		(void) LockRelease(&tag, ExclusiveLock, true);
}

/*
 * Whether a runner still holds its lock; false for 0.  A standby does not have
 * the locks of its primary: there a runner is alive until its state says that
 * it ended.
 */
bool
spool_runner_alive(int64 runner)
{
	LOCKTAG		tag;

	if (runner == 0)
		return false;
	if (RecoveryInProgress())
		return true;
	SET_RUNNER_TAG(tag, runner);
	if (compat_lock_held(&tag, ExclusiveLock))
		return true;
	if (LockAcquire(&tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	(void) LockRelease(&tag, ShareLock, false);
	return false;
}

/* The process of a runner; 0 if it is not alive. */
int
spool_runner_pid(int64 runner)
{
	LOCKTAG		tag;
	VirtualTransactionId *holders;
	int			n;
	PGPROC	   *proc = NULL;

	SET_RUNNER_TAG(tag, runner);
	if (compat_lock_held(&tag, ExclusiveLock))
		return MyProcPid;
	holders = GetLockConflicts(&tag, ShareLock, &n);
	if (n > 0)
		proc = compat_vxid_proc(holders[0]);
	pfree(holders);
	return proc != NULL ? proc->pid : 0;
}

/* runner_alive(runner), for spool's own statements */
Datum
spool_runner_alive_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(spool_runner_alive(PG_GETARG_INT64(0)));
}
