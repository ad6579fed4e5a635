/*-------------------------------------------------------------------------
 * handler.c
 *	  Run one job as an SQL statement.
 *
 * A handler runs as the queue's owner, as owner.c says.  Deferrable constraints
 * are immediate, for a restricted operation may not defer.  Cursors that it
 * leaves pinned, which SPI_commit would run to their end as the caller, are run
 * to their end before the job ends.
 *
 * Each job is a subtransaction: its failure undoes only itself.  A cancel or
 * the end of the session is no failure of the job and passes on.  The error of
 * a cancel may also be the job's own, or that of a remote query; a worker, which
 * counts the cancels that come, knows that one, and it is a failure there.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parser.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "handler.h"
#include "spiutil.h"
#include "spool.h"

/* The plan of the last handler, kept while statement and path are the same. */
static SPIPlanPtr kept_plan = NULL;
static char *kept_statement = NULL;
static char *kept_path = NULL;
static Oid	kept_type = InvalidOid;

static volatile sig_atomic_t timed_out = false;
volatile sig_atomic_t spool_cancels = -1;

static void handle_timeout(void);
static TimeoutId timeout_id(void);
static void end_timeout(SpoolHandler *handler);
static void forget_plan(void);
static SPIPlanPtr handler_plan(SpoolHandler *handler);
static void constraints_immediate(void);
static void note_error(SpoolAttempt *attempt, MemoryContext context);

/* 42601 or 22023 unless a text is one or more SQL statements. */
void
spool_handler_check(const char *statement)
{
	if (raw_parser(statement, RAW_PARSE_DEFAULT) == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("handler is empty"),
				 errhint("Use NULL for no handler.")));
}

/* The time allowed to a job is over: cancel what runs. */
static void
handle_timeout(void)
{
	timed_out = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

static TimeoutId
timeout_id(void)
{
	static TimeoutId id = MAX_TIMEOUTS;

	if (id == MAX_TIMEOUTS)
		id = RegisterTimeout(USER_TIMEOUT, handle_timeout);
	return id;
}

/* The job has ended: its time cannot be over any more. */
static void
end_timeout(SpoolHandler *handler)
{
	if (handler->timeout_ms == 0)
		return;
	disable_timeout(timeout_id(), false);
	if (timed_out)
		QueryCancelPending = false;
}

/* Forget the plan kept. */
static void
forget_plan(void)
{
	if (kept_plan != NULL)
	{
		SPI_freeplan(kept_plan);
		pfree(kept_statement);
		pfree(kept_path);
	}
	kept_plan = NULL;
}

static SPIPlanPtr
handler_plan(SpoolHandler *handler)
{
	if (kept_plan != NULL && kept_type == handler->type &&
		strcmp(kept_statement, handler->statement) == 0 &&
		strcmp(kept_path, handler->path) == 0)
		return kept_plan;

	forget_plan();
	kept_plan = SPI_prepare(handler->statement, 1, &handler->type);
	if (kept_plan == NULL || SPI_keepplan(kept_plan) != 0)
	{
		kept_plan = NULL;
		elog(ERROR, "could not prepare handler: %s",
			 SPI_result_code_string(SPI_result));
	}
	kept_statement = MemoryContextStrdup(TopMemoryContext, handler->statement);
	kept_path = MemoryContextStrdup(TopMemoryContext, handler->path);
	kept_type = handler->type;
	return kept_plan;
}

/* Become the queue's owner until spool_handler_end. */
void
spool_handler_begin(SpoolHandler *handler, SpoolQueue *queue)
{
	handler->timeout_ms = queue->timeout_ms;
	spool_owner_begin(&handler->was, queue->owner, queue->handler_path);
	handler->statement = queue->handler;
	handler->path = queue->handler_path;
	handler->type = spool_type_oid("job");
}

/* Become the caller again. */
void
spool_handler_end(SpoolHandler *handler)
{
	spool_owner_end(&handler->was);
}

/* SET CONSTRAINTS ALL IMMEDIATE */
static void
constraints_immediate(void)
{
	ConstraintsSetStmt *stmt = makeNode(ConstraintsSetStmt);

	AfterTriggerSetState(stmt);
}

/* Fill an attempt from the error that is being handled. */
static void
note_error(SpoolAttempt *attempt, MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	attempt->outcome = OUTCOME_ERROR;
	attempt->sqlstate = error->sqlerrcode;
	attempt->message = error->message ? error->message : pstrdup("");
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && timed_out)
	{
		attempt->outcome = OUTCOME_TIMEOUT;
		attempt->sqlstate = 0;
		attempt->message = pstrdup("the time allowed was over");
	}
}

/* Run one job; its outcome is in attempt, allocated in the current context. */
void
spool_handler_run(SpoolHandler *handler, Datum job, SpoolAttempt *attempt)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	sig_atomic_t cancels = spool_cancels;

	CHECK_FOR_INTERRUPTS();		/* those that came before */
	memset(attempt, 0, sizeof(SpoolAttempt));
	attempt->started_at = GetCurrentTimestamp();
	timed_out = false;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		int			rc;

		if (handler->timeout_ms > 0)
			enable_timeout_after(timeout_id(),
								 (int) Min(handler->timeout_ms, INT_MAX));
		SPI_connect();
		constraints_immediate();
		rc = SPI_execute_plan(handler_plan(handler), &job, NULL, false, 0);
		if (rc < 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("statement cannot be a handler: %s",
							SPI_result_code_string(rc))));
		HoldPinnedPortals();
		constraints_immediate();
		SPI_finish();
		end_timeout(handler);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		attempt->outcome = OUTCOME_OK;
	}
	PG_CATCH();
	{
		end_timeout(handler);
		if (geterrcode() == ERRCODE_QUERY_CANCELED && !timed_out &&
			(cancels < 0 || spool_cancels != cancels))
		{
			RollbackAndReleaseCurrentSubTransaction();
			CurrentResourceOwner = owner;
			PG_RE_THROW();
		}
		note_error(attempt, context);
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();
	attempt->finished_at = GetCurrentTimestamp();
}
