/*-------------------------------------------------------------------------
 * control.c
 *	  Workers, as operators see and control them: start, stop, the view.
 *
 * With preload, start and stop clear and set a mark of the database in shared
 * memory that the launcher heeds; it lasts until the server restarts.
 *
 * Without, start makes a segment of shared memory and starts a manager there,
 * which finds work by polling.  Others find the segment by a lock of the
 * manager that names it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/builtins.h"

#include "compat.h"
#include "launcher.h"
#include "manager.h"
#include "queue.h"
#include "shared.h"
#include "spool.h"

/* How long a manager may take to come or go. */
#define MANAGER_MS 10000

PG_FUNCTION_INFO_V1(spool_start);
PG_FUNCTION_INFO_V1(spool_stop);
PG_FUNCTION_INFO_V1(spool_worker_rows);

static dsm_segment *open_segment(void);
static void close_segment(dsm_segment *segment);
static bool manager_runs(void);
static void mark_stopped(bool stopped);
static void start_manager(void);
static bool await_manager(int place, uint32 generation,
						  BackgroundWorkerHandle *handle);
static bool may_see(int32 queue_id);
static const char *slot_state(const SpoolSlot *slot);

/*
 * Without preload: map the memory of this database's manager, if one runs.
 * Returns what close_segment undoes.
 */
static dsm_segment *
open_segment(void)
{
	LockData   *locks;
	dsm_segment *segment = NULL;

	if (spool_shared != NULL)
		return NULL;
	locks = GetLockStatusData();
	for (int i = 0; i < locks->nelements && spool_shared == NULL; i++)
	{
		const LOCKTAG *tag = &locks->locks[i].locktag;

		if (tag->locktag_type == LOCKTAG_ADVISORY &&
			tag->locktag_field1 == MyDatabaseId &&
			tag->locktag_field4 == SEGMENT_LOCK_CLASS)
			spool_shared = spool_segment_attach(tag->locktag_field2, &segment);
	}
	return segment;
}

static void
close_segment(dsm_segment *segment)
{
	if (segment == NULL)
		return;
	spool_shared = NULL;
	dsm_detach(segment);
}

/* Whether this database has a manager that is there to stay. */
static bool
manager_runs(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, MANAGER_LOCK_CLASS);
	if (LockAcquire(&tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	(void) LockRelease(&tag, ShareLock, false);
	return false;
}

/* Set or clear the mark of this database, and let the launcher know. */
static void
mark_stopped(bool stopped)
{
	SpoolDatabase *known;

	spool_lock();
	known = spool_database_find(MyDatabaseId, true);
	if (known != NULL)
	{
		known->stopped = stopped;
		known->asked = !stopped;
		spool_wake_launcher();
	}
	spool_unlock();
	if (known == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("workers are stopped in too many databases")));
}

/* start() */
Datum
spool_start(PG_FUNCTION_ARGS)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot start workers during recovery"),
				 errhint("They start when the standby is promoted.")));
	if (spool_shared == NULL)
		start_manager();
	else if (!spool_database_named(get_database_name(MyDatabaseId)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("database \"%s\" is not among \"spool.databases\"",
						get_database_name(MyDatabaseId))));
	else
		mark_stopped(false);
	PG_RETURN_VOID();
}

/* Start a manager of this database in memory of its own. */
static void
start_manager(void)
{
	dsm_segment *segment;
	BackgroundWorkerHandle *handle;
	int			place;
	volatile bool registered = false;
	volatile bool ready = false;

	if (manager_runs())
	{
		ereport(NOTICE,
				(errmsg("workers of this database are started already")));
		return;
	}
	segment = spool_segment_create();
	spool_shared = dsm_segment_address(segment);
	spool_shared_handle = dsm_segment_handle(segment);
	PG_TRY();
	{
		place = spool_slot_take(true, MyDatabaseId, InvalidOid);
		registered = spool_slot_launch(place, &handle);
		if (registered)
			ready = await_manager(place, spool_shared->slots[place].generation,
								  handle);
	}
	PG_FINALLY();
	{
		spool_shared_handle = DSM_HANDLE_INVALID;
		close_segment(segment);
	}
	PG_END_TRY();
	if (!registered)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start the spool manager of this database"),
				 errdetail("There are too few background worker slots."),
				 errhint("You might need to increase \"max_worker_processes\".")));
	if (!ready)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the spool manager of this database"),
				 errhint("More details may be available in the server log.")));
}

/* Wait until a manager does its work; false if it ended or takes too long. */
static bool
await_manager(int place, uint32 generation, BackgroundWorkerHandle *handle)
{
	SpoolSlot  *slot = &spool_shared->slots[place];
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  MANAGER_MS);
	uint32		event = compat_wait_event("SpoolStart");
	long		left;

	ConditionVariablePrepareToSleep(&spool_shared->slots_cv);
	while (spool_slot_check(place, generation, handle) && !slot->ready)
	{
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		if (left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&spool_shared->slots_cv, left,
										   event);
	}
	ConditionVariableCancelSleep();
	return slot->ready;
}

/* stop() */
Datum
spool_stop(PG_FUNCTION_ARGS)
{
	dsm_segment *segment;

	if (spool_shared != NULL)
		mark_stopped(true);
	segment = open_segment();
	if (spool_shared == NULL)
		PG_RETURN_VOID();
	PG_TRY();
	{
		(void) spool_tell_leave(MyDatabaseId);
		spool_await_leave(MyDatabaseId, AWAIT_MANAGER, MANAGER_MS);
	}
	PG_FINALLY();
	{
		close_segment(segment);
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}

static const char *
slot_state(const SpoolSlot *slot)
{
	if (!slot->ready)
		return "starting";
	if (slot->manager)
		return "manager";
	return slot->queue != 0 ? "running" : "idle";
}

/* Whether the caller may know what runs in a queue. */
static bool
may_see(int32 queue_id)
{
	SpoolQueue *queue = spool_queue_by_id(queue_id);

	return queue != NULL && spool_queue_allows(queue, SPOOL_READ);
}

/* worker_rows(): rows of the view workers, with ids */
Datum
spool_worker_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	dsm_segment *segment;
	SpoolSlot  *slots;
	int			nslots = 0;

	InitMaterializedSRF(fcinfo, 0);
	slots = palloc((SPOOL_MAX_WORKERS + max_worker_processes) * sizeof(SpoolSlot));
	segment = open_segment();
	if (spool_shared != NULL)
	{
		nslots = spool_shared->nslots;
		LWLockAcquire(&spool_shared->lock, LW_SHARED);
		memcpy(slots, spool_shared->slots, nslots * sizeof(SpoolSlot));
		spool_unlock();
	}
	close_segment(segment);
	for (int i = 0; i < nslots; i++)
	{
		SpoolSlot  *slot = &slots[i];
		bool		job = slot->queue != 0 && slot->job_at != 0;
		Datum		values[6];
		bool		nulls[6] = {false};

		if (slot->state == SLOT_FREE || slot->database != MyDatabaseId ||
			(slot->queue != 0 && !may_see(slot->queue)))
			continue;
		values[0] = Int32GetDatum(slot->pid);
		nulls[0] = slot->pid == 0;
		values[1] = Int32GetDatum(slot->queue);
		nulls[1] = slot->queue == 0;
		values[2] = CStringGetTextDatum(slot_state(slot));
		values[3] = Int64GetDatum(slot->stream);
		nulls[3] = !job || slot->stream == 0;
		values[4] = Int64GetDatum(slot->seq);
		nulls[4] = nulls[3];
		values[5] = TimestampTzGetDatum(job ? slot->job_at : slot->started_at);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
