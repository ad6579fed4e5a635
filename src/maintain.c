/*-------------------------------------------------------------------------
 * maintain.c
 *	  Upkeep: removing what nobody needs any more.
 *
 * What is kept, keys and counters say themselves what of them is needed no
 * more.  Attempts and actions are history; they are found by their time.
 * Packets that are due are moved into their streams last: that may hold the
 * numbers of the streams to the end of the transaction.  Then come the steps
 * of the rotation (rotate.c), a transaction each where the caller allows it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "kept.h"
#include "key.h"
#include "maintain.h"
#include "reseq_expire.h"
#include "reseq_upkeep.h"
#include "rotate.h"
#include "schedule.h"
#include "sender.h"
#include "spiutil.h"
#include "spool.h"
#include "tally.h"

/*
 * Days that attempts and actions are kept at the least; a longer retention of
 * their queue is kept too.
 */
#define HISTORY_DAYS 30

PG_FUNCTION_INFO_V1(spool_maintain);

static void purge_history(void);

/*
 * Remove attempts and actions whose time is over, but those that others have
 * locked.
 */
static void
purge_history(void)
{
	static SpoolPlan attempts = {
		"DELETE FROM spool.attempt WHERE ctid = ANY (ARRAY("
		"  SELECT a.ctid FROM spool.attempt a JOIN spool.queue q ON q.id = a.queue"
		"   WHERE a.finished_at < $1"
		"    AND a.finished_at < clock_timestamp() - q.retention"
		"   FOR UPDATE OF a SKIP LOCKED))",
		SPI_OK_DELETE, PLAN_ARGS(TIMESTAMPTZOID)
	};
	static SpoolPlan actions = {
		"DELETE FROM spool.action WHERE ctid = ANY (ARRAY("
		"  SELECT a.ctid FROM spool.action a JOIN spool.queue q ON q.id = a.queue"
		"   WHERE a.at < $1 AND a.at < clock_timestamp() - q.retention"
		"   FOR UPDATE OF a SKIP LOCKED))",
		SPI_OK_DELETE, PLAN_ARGS(TIMESTAMPTZOID)
	};
	TimestampTz before = GetCurrentTimestamp() - HISTORY_DAYS * USECS_PER_DAY;
	Datum		values[1];

	values[0] = TimestampTzGetDatum(before);
	(void) spool_exec_alone(&attempts, values, NULL);
	(void) spool_exec_alone(&actions, values, NULL);
}

/*
 * Upkeep, in the caller's transaction; returns when timers of resequencers
 * are due next.
 */
TimestampTz
spool_maintain_now(void)
{
	(void) spool_kept_purge();
	spool_segments_summarize();
	spool_senders_purge();
	spool_tally_fold();
	spool_key_purge();
	spool_reseq_purge();
	purge_history();
	while (spool_schedule_move_queue(0) > 0)
		CHECK_FOR_INTERRUPTS();
	return spool_reseq_expire_all();
}

/* CALL maintain(): in a transaction block, all in that transaction */
Datum
spool_maintain(PG_FUNCTION_ARGS)
{
	CallContext *call = (CallContext *) fcinfo->context;
	bool		commits;
	bool		now = true;
	bool		more = true;

	commits = call != NULL && IsA(call, CallContext) && !call->atomic &&
		!IsSubTransaction();
	PreventCommandIfReadOnly("CALL spool.maintain()");
	SPI_connect_ext(commits ? SPI_OPT_NONATOMIC : 0);
	(void) spool_maintain_now();
	while (more)
	{
		CHECK_FOR_INTERRUPTS();
		if (commits)
		{
			SPI_commit();
			PushActiveSnapshot(GetTransactionSnapshot());
		}
		more = spool_rotate_step(now, commits) == ROTATION_MORE;
		now = false;
		if (commits)
			PopActiveSnapshot();
	}
	SPI_finish();
	PG_RETURN_VOID();
}
