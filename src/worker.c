/*-------------------------------------------------------------------------
 * worker.c
 *	  A worker: runs the jobs of its database's queues that one role owns.
 *
 * The process is connected as that role for its life, so that a job cannot
 * become more by what it leaves behind in the session.  It runs whichever of
 * the role's queues has work and room (work.c), in passes (pass.c):
 *
 *		 idle --- latch: hints --> enters a queue --> pass --> leaves it
 *		  ^  \                                                   |
 *		  |   `-- idle timeout, told to leave --> ends           |
 *		  `------------------------------------------------------'
 *
 * An idle worker has no transaction and holds no lock.  An error that is no
 * job's is logged and the queue is looked at again a little later.  If the
 * process dies the server restarts all others; what it ran is taken over by
 * who looks next (reclaim.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#include "handler.h"
#include "pass.h"
#include "shared.h"
#include "spiutil.h"
#include "spool.h"

/* How long a queue is left alone after an error, doubled with each in a row. */
#define ERROR_DELAY_MS	1000
#define MAX_ERROR_DELAY_MS	60000

/* Jobs of the first batch in a queue: they may be slow. */
#define FIRST_PACE	4

/* The queue that this worker was in last, and how it went. */
typedef struct RecentQueue
{
	int32		queue_id;
	char		name[NAMEDATALEN * 4];
	int			pace;
	int			errors;			/* in a row */
} RecentQueue;

static RecentQueue recent;

PGDLLEXPORT void spool_worker_main(Datum arg);

static bool open_pass(SpoolPass *pass, int32 queue_id);
static void make_pass(int32 queue_id);
static void count_cancel(SIGNAL_ARGS);
static void rest(SpoolQueue *queue, int32 queue_id);
static void recover(int32 queue_id);
static void work_in(int32 queue_id);
static void queue_context(void *arg);
static bool wait_for_work(void);

/*
 * Set a pass up; false if the queue is not to be worked on.  It runs as the
 * worker's role, so only that role's queues.
 */
static bool
open_pass(SpoolPass *pass, int32 queue_id)
{
	SpoolQueue *queue = NULL;

	if (spool_extension_present())
		queue = spool_queue_by_id(queue_id);
	if (queue == NULL || queue->paused || !spool_pass_wanted(queue) ||
		!spool_command_may_run(queue))
	{
		rest(queue, queue_id);
		return false;
	}

	strlcpy(recent.name, queue->name, sizeof(recent.name));
	pass->name = pstrdup(queue->name);
	pass->queue_id = queue_id;
	pass->lockmode = QUEUE_CONSUME;
	pass->worker = true;
	pass->left = PG_INT64_MAX;
	pass->pace = recent.pace;
	pass->mark = PG_INT64_MAX;
	pass->started = GetCurrentTimestamp();
	return true;
}

/* Leave a queue alone that is not to be worked on. */
static void
rest(SpoolQueue *queue, int32 queue_id)
{
	const char *problem = NULL;

	if (queue != NULL && !queue->paused && spool_pass_wanted(queue))
		problem = spool_command_problem(queue);
	if (spool_work_refuse(queue_id, problem != NULL))
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("jobs of queue \"%s\" cannot run: %s",
						queue->name, problem)));
}

/* Make a pass over a queue. */
static void
make_pass(int32 queue_id)
{
	SpoolPass	pass;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	memset(&pass, 0, sizeof(pass));
	pass.context = AllocSetContextCreate(PortalContext, "spool pass",
										 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(pass.context);
	if (open_pass(&pass, queue_id))
	{
		SPI_commit();
		spool_pass_run(&pass);
		recent.pace = pass.pace;
	}
	SPI_finish();
	CommitTransactionCommand();
}

/* After an error: log it and have the queue looked at again, not at once. */
static void
recover(int32 queue_id)
{
	int64		delay = (int64) ERROR_DELAY_MS << Min(recent.errors, 6);

	recent.errors++;
	HOLD_INTERRUPTS();
	EmitErrorReport();
	AbortCurrentTransaction();
	FlushErrorState();
	RESUME_INTERRUPTS();

	spool_work_rest(queue_id, Min(delay, MAX_ERROR_DELAY_MS));
}

static void
queue_context(void *arg)
{
	if (recent.name[0] != '\0')
		errcontext("spool worker in queue \"%s\"", recent.name);
}

/* Work in a queue that was entered. */
static void
work_in(int32 queue_id)
{
	ErrorContextCallback context;

	/* what SPI allocates outside of transactions, gone with each pass */
	PortalContext = AllocSetContextCreate(TopMemoryContext, "spool worker",
										  ALLOCSET_DEFAULT_SIZES);
	if (recent.queue_id != queue_id)
	{
		memset(&recent, 0, sizeof(recent));
		recent.queue_id = queue_id;
		recent.pace = FIRST_PACE;
	}
	context.callback = queue_context;
	context.arg = NULL;
	context.previous = error_context_stack;
	error_context_stack = &context;
	PG_TRY();
	{
		make_pass(queue_id);
		recent.errors = 0;
	}
	PG_CATCH();
	{
		recover(queue_id);
	}
	PG_END_TRY();
	error_context_stack = context.previous;
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextDelete(PortalContext);
	PortalContext = NULL;
	pgstat_report_stat(false);
}

/* Signal handler: cancel what runs. */
static void
count_cancel(SIGNAL_ARGS)
{
	spool_cancels++;
	StatementCancelHandler(postgres_signal_arg);
}

/* Sleep until there may be work; false if that took too long. */
static bool
wait_for_work(void)
{
	static uint32 wait_event = 0;
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	int			rc;

	if (wait_event == 0)
		wait_event = compat_wait_event("SpoolWorkerMain");
	if (spool_worker_idle_timeout > 0)
		events |= WL_TIMEOUT;
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	rc = WaitLatch(MyLatch, events, spool_worker_idle_timeout, wait_event);
	ResetLatch(MyLatch);
	return (rc & WL_TIMEOUT) == 0;
}

/* The process. */
void
spool_worker_main(Datum arg)
{
	Oid			database;
	Oid			owner;
	int32		queue_id;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	spool_cancels = 0;
	pqsignal(SIGINT, count_cancel);
	BackgroundWorkerUnblockSignals();
	spool_worker_attach(arg, &database, &owner);
	BackgroundWorkerInitializeConnectionByOid(database, owner,
											  compat_bypass_login);
	spool_slot_settings();
	pgstat_report_appname("spool worker");

	while (!spool_work_stopping())
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (spool_work_enter(&queue_id))
		{
			work_in(queue_id);
			spool_work_leave(queue_id);
		}
		else if (!wait_for_work())
			break;
	}
	proc_exit(0);
}
