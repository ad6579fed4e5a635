/*-------------------------------------------------------------------------
 * slot.c
 *	  Slots of managers and workers: how a process is started and ends.
 *
 * Who starts a process takes a slot under the lock, releases the lock,
 * registers the process, and frees the slot if that failed or if the
 * postmaster says that the process is gone before it attached.  The process
 * attaches first of all, if the slot's generation is still the one it was
 * started for, and frees the slot at its exit, after its transaction was
 * undone; what it had begun to look at is looked at again.  If who starts it
 * ends before it attached, the slot is freed, too.
 *
 * Latches of other processes are set under the lock only, which keeps them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"

#include "compat.h"
#include "shared.h"
#include "spool.h"

/* How long a slot is kept for whom room was made. */
#define HEIR_MS 1000

/* What a process is started with. */
typedef struct StartInfo
{
	uint32		generation;
	dsm_handle	handle;
} StartInfo;

SpoolSlot  *spool_my_slot = NULL;

static uint32 my_generation;

static void free_slot(SpoolSlot *slot);
static void detach(int code, Datum arg);
static int	count_workers(Oid database, Oid owner);

/* Take a slot for a process; SPOOL_NOWHERE if there is none. */
int
spool_slot_take(bool manager, Oid database, Oid owner)
{
	int			first = manager ? spool_shared->nworkers : 0;
	int			end = manager ? spool_shared->nslots : spool_shared->nworkers;
	int			place = SPOOL_NOWHERE;
	TimestampTz now = GetCurrentTimestamp();

	spool_lock();
	for (int i = first; i < end && place == SPOOL_NOWHERE; i++)
	{
		SpoolSlot  *slot = &spool_shared->slots[i];
		uint32		generation = slot->generation;

		if (slot->state != SLOT_FREE ||
			(slot->heir_until > now &&
			 (slot->heir_database != database || slot->heir != owner)))
			continue;
		memset(slot, 0, sizeof(SpoolSlot));
		slot->state = SLOT_STARTING;
		slot->generation = generation + 1;
		slot->manager = manager;
		slot->database = database;
		slot->owner = owner;
		slot->started_at = now;
		place = i;
	}
	spool_unlock();
	return place;
}

/* Start the process of a slot; frees the slot and is false if it cannot. */
bool
spool_slot_launch(int place, BackgroundWorkerHandle **handle)
{
	SpoolSlot  *slot = &spool_shared->slots[place];
	BackgroundWorker worker;
	StartInfo	info;

	memset(&worker, 0, sizeof(worker));
	info.generation = slot->generation;
	info.handle = spool_shared_handle;
	memcpy(worker.bgw_extra, &info, sizeof(info));
	worker.bgw_main_arg = Int32GetDatum(place);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "spool", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name,
			slot->manager ? "spool_manager_main" : "spool_worker_main",
			BGW_MAXLEN);
	strlcpy(worker.bgw_name, slot->manager ? "spool manager" : "spool worker",
			BGW_MAXLEN);
	strlcpy(worker.bgw_type, worker.bgw_name, BGW_MAXLEN);
	if (RegisterDynamicBackgroundWorker(&worker, handle))
		return true;
	spool_lock();
	free_slot(slot);
	spool_unlock();
	return false;
}

/*
 * Whether a slot is still used by the process it was taken for.  Frees it if
 * the process ended before it attached.
 */
bool
spool_slot_check(int place, uint32 generation, BackgroundWorkerHandle *handle)
{
	SpoolSlot  *slot = &spool_shared->slots[place];
	pid_t		pid;
	bool		stopped;
	bool		used;

	stopped = handle != NULL &&
		GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED;
	spool_lock();
	used = slot->generation == generation && slot->state != SLOT_FREE;
	if (used && stopped && slot->state == SLOT_STARTING)
	{
		free_slot(slot);
		used = false;
	}
	spool_unlock();
	return used;
}

/*
 * Whether a slot's manager was started by a launcher that ended, and runs.
 * One whose process is not there yet is given up: it will find that.
 */
bool
spool_slot_adopt(int place, Oid *database, uint32 *generation)
{
	SpoolSlot  *slot = &spool_shared->slots[place];
	bool		runs;

	spool_lock();
	if (slot->state == SLOT_STARTING)
		free_slot(slot);
	runs = slot->state == SLOT_RUNNING && !slot->leave;
	*database = slot->database;
	*generation = slot->generation;
	spool_unlock();
	return runs;
}

/* Free a slot, and tell who may want it. */
static void
free_slot(SpoolSlot *slot)
{
	slot->state = SLOT_FREE;
	slot->proc = NULL;
	slot->pid = 0;
	if (OidIsValid(slot->heir))
		slot->heir_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   HEIR_MS);
	for (int i = spool_shared->nworkers; i < spool_shared->nslots; i++)
	{
		SpoolSlot  *manager = &spool_shared->slots[i];

		if (!slot->manager && manager->state == SLOT_RUNNING &&
			(manager->starved || manager->database == slot->database))
			spool_wake(manager);
	}
	if (slot->manager && spool_shared->launcher != NULL)
		SetLatch(&spool_shared->launcher->procLatch);
	ConditionVariableBroadcast(&spool_shared->slots_cv);
}

/*
 * A process started by spool_slot_launch takes over its slot; it ends if that
 * was given to another.
 */
void
spool_slot_attach(Datum arg, bool manager)
{
	StartInfo	info;
	SpoolSlot  *slot;
	bool		mine;

	memcpy(&info, MyBgworkerEntry->bgw_extra, sizeof(info));
	if (info.handle != DSM_HANDLE_INVALID)
	{
		dsm_segment *segment;

		spool_shared = spool_segment_attach(info.handle, &segment);
		if (spool_shared != NULL)
			dsm_pin_mapping(segment);
		spool_shared_handle = info.handle;
	}
	if (spool_shared == NULL)
		proc_exit(0);

	slot = &spool_shared->slots[DatumGetInt32(arg)];
	spool_lock();
	mine = slot->generation == info.generation &&
		slot->state == SLOT_STARTING && slot->manager == manager;
	if (mine)
	{
		slot->state = SLOT_RUNNING;
		slot->end = END_FAILED;
		slot->proc = MyProc;
		slot->pid = MyProcPid;
	}
	spool_unlock();
	if (!mine)
		proc_exit(0);
	spool_my_slot = slot;
	my_generation = info.generation;
	before_shmem_exit(detach, (Datum) 0);
}

/*
 * After connecting: settings of the database or the role that would keep a
 * process from its work have no effect on it.
 */
void
spool_slot_settings(void)
{
	static const char *const always[][2] = {
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"}
	};
	static const char *const of_manager[][2] = {
		{"lock_timeout", "0"},
		{"transaction_timeout", "0"}
	};

	for (int i = 0; i < (int) lengthof(always); i++)
		SetConfigOption(always[i][0], always[i][1], PGC_SUSET,
						PGC_S_OVERRIDE);
	for (int i = 0;
		 spool_my_slot->manager && i < (int) lengthof(of_manager); i++)
		if (GetConfigOption(of_manager[i][0], true, false) != NULL)
			SetConfigOption(of_manager[i][0], of_manager[i][1], PGC_SUSET,
							PGC_S_OVERRIDE);
}

/* The process does its work from here on. */
void
spool_slot_ready(void)
{
	spool_lock();
	spool_my_slot->ready = true;
	if (spool_my_slot->manager)
		spool_wake_launcher();
	ConditionVariableBroadcast(&spool_shared->slots_cv);
	spool_unlock();
}

/* At exit: free the slot. */
static void
detach(int code, Datum arg)
{
	SpoolSlot  *slot = spool_my_slot;

	spool_my_slot = NULL;
	spool_lock();
	if (slot->generation != my_generation || slot->state != SLOT_RUNNING)
	{
		spool_unlock();
		return;
	}
	if (slot->manager)
	{
		for (int i = 0; i < spool_shared->nentries; i++)
			if (spool_shared->entries[i].database == slot->database)
				spool_entry_close(&spool_shared->entries[i]);
		for (int i = 0; i < spool_shared->nworkers; i++)
		{
			SpoolSlot  *worker = &spool_shared->slots[i];

			if (worker->state == SLOT_FREE ||
				worker->database != slot->database)
				continue;
			worker->leave = true;
			spool_wake(worker);
			/* nobody sees whether its process comes; then it ends */
			if (worker->state == SLOT_STARTING)
				free_slot(worker);
		}
	}
	else if (slot->queue != 0)
	{
		SpoolEntry *entry = spool_entry_find(slot->database, slot->queue);

		entry->running--;
		spool_entry_add(entry, SPOOL_ALL_STREAMS, 0);
		spool_entry_link(entry);
		spool_entry_release(entry);
	}
	free_slot(slot);
	spool_unlock();
}

/* The manager of a database, or NULL. */
SpoolSlot *
spool_manager_slot(Oid database)
{
	for (int i = spool_shared->nworkers; i < spool_shared->nslots; i++)
	{
		SpoolSlot  *slot = &spool_shared->slots[i];

		if (slot->state == SLOT_RUNNING && slot->database == database)
			return slot;
	}
	return NULL;
}

/* Wake the process of a slot. */
void
spool_wake(SpoolSlot *slot)
{
	slot->idle = false;
	if (slot->state == SLOT_RUNNING)
		SetLatch(&slot->proc->procLatch);
}

void
spool_wake_launcher(void)
{
	if (spool_shared->launcher != NULL)
		SetLatch(&spool_shared->launcher->procLatch);
}

/*
 * See to it that a worker comes to an entry that is ready.  One that comes
 * wakes the next if there is work left, so that few come in vain.
 */
void
spool_wake_worker(const SpoolEntry *entry)
{
	SpoolSlot  *idle = NULL;
	SpoolSlot  *manager;
	bool		starting = false;
	bool		any = false;

	if (!entry->links[LIST_READY].linked)
		return;
	for (int i = 0; i < spool_shared->nworkers; i++)
	{
		SpoolSlot  *slot = &spool_shared->slots[i];

		if (slot->state == SLOT_FREE || slot->leave ||
			slot->database != entry->database || slot->owner != entry->owner)
			continue;
		any = true;
		if (slot->queue != 0)
			continue;
		if (slot->state == SLOT_STARTING)
			starting = true;
		else if (slot->idle)
			idle = slot;
		else
			return;
	}
	if (idle != NULL)
		spool_wake(idle);
	else if (!starting)
	{
		manager = spool_manager_slot(entry->database);
		if (manager != NULL && !manager->called &&
			!(manager->starved && any))
		{
			manager->called = true;
			spool_wake(manager);
		}
	}
}

/* Workers that one role has in one database. */
static int
count_workers(Oid database, Oid owner)
{
	int			count = 0;

	for (int i = 0; i < spool_shared->nworkers; i++)
	{
		SpoolSlot  *slot = &spool_shared->slots[i];

		count += slot->state != SLOT_FREE && !slot->leave &&
			slot->database == database && slot->owner == owner;
	}
	return count;
}

/*
 * Ask a worker of another role or database to make room, and keep its slot:
 * an idle one, else one of those who have more, else one that has been there
 * for a second if this role has none.
 */
void
spool_make_room(Oid database, Oid owner)
{
	SpoolSlot  *victim = NULL;
	TimestampTz second_ago;
	int			mine;
	int			most;

	second_ago = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), -1000);
	spool_lock();
	mine = count_workers(database, owner);
	most = mine + 1;
	for (int i = 0; i < spool_shared->nworkers; i++)
	{
		SpoolSlot  *slot = &spool_shared->slots[i];
		int			count;

		if (slot->state != SLOT_RUNNING || slot->leave ||
			(slot->database == database && slot->owner == owner))
			continue;
		if (slot->idle)
		{
			victim = slot;
			break;
		}
		count = count_workers(slot->database, slot->owner);
		if (count > most ||
			(victim == NULL && mine == 0 && slot->started_at < second_ago))
		{
			victim = slot;
			most = Max(most, count);
		}
	}
	if (victim != NULL)
	{
		victim->leave = true;
		victim->heir_database = database;
		victim->heir = owner;
		spool_wake(victim);
	}
	spool_unlock();
}

/* Tell the processes of a database to end; false if there are none. */
bool
spool_tell_leave(Oid database)
{
	bool		any = false;

	spool_lock();
	for (int i = 0; i < spool_shared->nslots; i++)
	{
		SpoolSlot  *slot = &spool_shared->slots[i];

		if (slot->state == SLOT_FREE || slot->database != database)
			continue;
		slot->leave = true;
		spool_wake(slot);
		any = true;
	}
	spool_unlock();
	return any;
}

/* Wait until processes of a database ended, or for so long. */
void
spool_await_leave(Oid database, SpoolAwait which, long timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  timeout_ms);
	uint32		event = compat_wait_event("SpoolLeave");

	ConditionVariablePrepareToSleep(&spool_shared->slots_cv);
	for (;;)
	{
		bool		any = false;
		long		left;

		spool_lock();
		for (int i = 0; i < spool_shared->nslots && !any; i++)
		{
			SpoolSlot  *slot = &spool_shared->slots[i];

			any = slot->state != SLOT_FREE && slot->database == database &&
				(slot->manager || which == AWAIT_ALL ||
				 (which == AWAIT_IDLE && slot->queue == 0));
		}
		spool_unlock();
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		if (!any || left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&spool_shared->slots_cv, left,
										   event);
	}
	ConditionVariableCancelSleep();
}
