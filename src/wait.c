/*-------------------------------------------------------------------------
 * wait.c
 *	  CALL wait: sleep until a job may be there.
 *
 * It looks as claim would, for one job, and takes that back: then neither a
 * locked stream, nor a head that waits for its retry, ends the wait.  Whoever
 * may not process the queue, or is on a standby, looks without locks.  Each
 * look is a transaction; between them there is none that holds a snapshot or
 * an xid.
 *
 * With shared memory it sleeps until it is told of news, or something is due;
 * what happens after spool_wait_begin is not missed.  Without, and on a
 * standby, it looks again each spool.sweep_interval.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "args.h"
#include "compat.h"
#include "dispatch.h"
#include "shared.h"
#include "shmem.h"

#define MAX_SLEEP_MS	(60 * 60 * 1000)

PG_FUNCTION_INFO_V1(spool_wait_sql);

static SpoolQueue *open_queue(const char *name);
static bool look(const char *name, int32 id, TimestampTz *due);
static void sleep_until(int32 queue, bool told, TimestampTz due);
static void wait_for(const char *name, int32 id, TimestampTz end);

/* Open the queue for whoever may process or read it. */
static SpoolQueue *
open_queue(const char *name)
{
	SpoolQueue *queue = spool_queue_open(cstring_to_text(name),
										 SPOOL_PROCESS | SPOOL_READ,
										 QUEUE_LOOK);

	spool_queue_refuse_append_only(queue);
	return queue;
}

/*
 * Whether a job may be there, in a transaction that ends here; if not, when
 * one that waits now may be.
 */
static bool
look(const char *name, int32 id, TimestampTz *due)
{
	SpoolDispatch d;
	bool		found;

	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
	memset(&d, 0, sizeof(d));
	d.queue = open_queue(name);
	if (d.queue->id != id)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("queue \"%s\" was dropped and created again", name)));
	d.order = d.queue->order;
	d.waiting = true;
	d.limit = 1;
	d.mark = PG_INT64_MAX;
	d.until = DT_NOEND;
	d.mode = DISPATCH_PEEK;
	if (spool_queue_allows(d.queue, SPOOL_PROCESS) && !RecoveryInProgress() &&
		!XactReadOnly && spool_queue_reopen(&d.queue, QUEUE_CONSUME))
		d.mode = DISPATCH_CLAIM;
	spool_dispatch(&d, NULL);
	found = d.picks != NIL || d.conflict[0] != 0;
	if (found && d.order == ORDER_NONE) /* it comes back */
		spool_hint_holds(id, SPOOL_ALL_STREAMS,
						 GetCurrentTransactionStartTimestamp());
	*due = d.due;
	PopActiveSnapshot();
	if (found)
		SPI_rollback();
	else
		SPI_commit();
	return found;
}

/* Sleep until something is due, or there may be news before. */
static void
sleep_until(int32 queue, bool told, TimestampTz due)
{
	long		ms = MAX_SLEEP_MS;

	if (due != DT_NOEND)
		ms = Min(ms, TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													 due));
	if (told)
	{
		(void) spool_wait(queue, ms);
		return;
	}
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Min(ms, spool_sweep_interval),
					 compat_wait_event("SpoolWait"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Look and sleep until a job may be there or the time is over. */
static void
wait_for(const char *name, int32 id, TimestampTz end)
{
	bool		told = !RecoveryInProgress() && spool_wait_begin(id);
	MemoryContext context = CurrentMemoryContext;
	MemoryContext round = AllocSetContextCreate(context, "spool wait",
												ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		TimestampTz due;
		TimestampTz now;
		bool		found;

		MemoryContextSwitchTo(round);
		found = look(name, id, &due);
		MemoryContextSwitchTo(context);
		MemoryContextReset(round);
		now = GetCurrentTimestamp();
		if (found || now >= end)
			break;
		if (due <= now)			/* it is locked */
			due = TimestampTzPlusMilliseconds(now, spool_sweep_interval);
		sleep_until(id, told, Min(due, end));
	}
	MemoryContextDelete(round);
}

/* CALL wait(queue, timeout) */
Datum
spool_wait_sql(PG_FUNCTION_ARGS)
{
	volatile TimestampTz end = DT_NOEND;
	char	   *name;
	int32		id;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		((CallContext *) fcinfo->context)->atomic || IsSubTransaction())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("spool.wait must not be called in a transaction block"),
				 errdetail("It would hold the transaction's snapshot while it waits."),
				 errhint("Call it outside of BEGIN and of functions.")));

	spool_args_required(fcinfo, 1, "queue");
	spool_arg_check_interval(fcinfo, 1, "timeout");
	if (!PG_ARGISNULL(1))
		end = spool_after(PG_GETARG_INTERVAL_P(1));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	name = spool_arg_text(fcinfo, 0, NULL);
	id = open_queue(name)->id;
	SPI_commit();
	PG_TRY();
	{
		wait_for(name, id, end);
	}
	PG_FINALLY();
	{
		spool_wait_end(id);
	}
	PG_END_TRY();
	SPI_finish();
	PG_RETURN_VOID();
}
