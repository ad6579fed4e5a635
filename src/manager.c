/*-------------------------------------------------------------------------
 * manager.c
 *	  The manager of a database: starts workers, and does upkeep.
 *
 * It registers the queues that have workers and a command as entries in
 * shared memory, and starts as many workers as could run there, each as the
 * role that owns the queues.  It sleeps until its latch is set: by who gives
 * work where no idle worker is, changes queues, ends a worker or a
 * transaction after a time of quiet; or until something is due: a retry, a
 * scheduled job, a sweep, upkeep.
 *
 * A sweep has all streams looked at, in the queues where something happened
 * since the last one: hints may get lost, or name too little.  After the last
 * activity come one sweep and one upkeep, then nothing.  Without preload, all
 * queues are swept all the time: other sessions give no hints.
 *
 * One session lock says that a database has its manager; a second one, in the
 * case without preload, where its shared memory is.  The manager holds no
 * other lock and no snapshot while it sleeps, so that DROP EXTENSION finds
 * nothing in its way; a transaction that reads the extension's tables locks
 * the extension first.
 *
 * An error in a transaction of the manager is logged, and what failed is
 * tried again later.  When the manager ends, its workers end after the
 * running job.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "maintain.h"
#include "manager.h"
#include "schedule.h"
#include "shared.h"
#include "spiutil.h"
#include "spool.h"

#define UPKEEP_MS 60000
#define RETRY_MS 5000
#define WARN_MS 60000
#define MAX_NEEDS 64

/* A role that owns queues with workers. */
typedef struct Owner
{
	Oid			role;
	bool		warned;			/* that its queues cannot be worked on */
	int			delay_ms;		/* after the last failure to start */
	TimestampTz next_try;
} Owner;

/* A worker that is being started. */
typedef struct Starting
{
	int			place;			/* SPOOL_NOWHERE = unused */
	uint32		generation;
	Oid			role;
	BackgroundWorkerHandle *handle;
} Starting;

/* Workers that a role needs. */
typedef struct Need
{
	Oid			role;
	int			count;
} Need;

/* A row of spool.queue. */
typedef struct QueueRow
{
	int32		id;
	Oid			owner;
	int32		workers;
	uint32		version;
} QueueRow;

/* What the manager may be short of. */
typedef enum Shortage
{
	SHORT_SLOTS,
	SHORT_PROCESSES,
	SHORT_ENTRIES,
	NUM_SHORTAGES
} Shortage;

static bool stale = true;		/* spool.queue is to be read */
static Oid	queue_relid = InvalidOid;
static bool absent = false;		/* the extension is not there */
static bool refused = false;	/* some owner cannot run jobs */
static TimestampTz read_at = 0; /* not before */
static TimestampTz sweep_at = DT_NOEND;
static TimestampTz upkeep_at = DT_NOEND;
static TimestampTz start_at = DT_NOEND; /* try to start workers again */
static TimestampTz room_at = 0; /* ask others for room, not before */
static TimestampTz scheduled_at;	/* as the last look found */
static bool is_short[NUM_SHORTAGES];
static TimestampTz warned_at[NUM_SHORTAGES];
static HTAB *owners;
static Starting *starting;
static MemoryContext round_context;

static void invalidate(Datum arg, Oid relid);
static bool transact(const char *activity, void (*work) (void));
static void lock_database(void);
static void end_process(SlotEnd end);
static Owner *owner_of(Oid role);
static void warn_short(Shortage shortage);
static void read_queues(void);
static bool owner_may_run(Oid role, const char *queue, const char *name,
						  bool can_login);
static void enter_queues(const QueueRow *rows, uint64 nrows);
static void look_around(TimestampTz now);
static void work_schedule(TimestampTz now);
static void move_scheduled(void);
static void sweep(void);
static void check_starting(TimestampTz now);
static int	collect_needs(Need *needs);
static void start_workers(TimestampTz now);
static bool start_worker(Oid role, TimestampTz now);
static TimestampTz do_round(void);

/* Relation cache callback: spool.queue, or everything, changed. */
static void
invalidate(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == queue_relid)
		stale = true;
}

/* Do some work in a transaction of its own; false, and logged, on error. */
static bool
transact(const char *activity, void (*work) (void))
{
	volatile bool done = true;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		pgstat_report_activity(STATE_RUNNING, activity);
		work();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		done = false;
	}
	PG_END_TRY();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(round_context);
	return done;
}

/*
 * Become the manager of the database, or end: there is another.  With preload
 * that one is about to end, and is waited for.
 */
static void
lock_database(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, MANAGER_LOCK_CLASS);
	if (LockAcquire(&tag, ExclusiveLock, true, spool_shared->polling) ==
		LOCKACQUIRE_NOT_AVAIL)
		proc_exit(0);
	if (spool_shared->polling)
	{
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, spool_shared_handle, 0,
							 SEGMENT_LOCK_CLASS);
		(void) LockAcquire(&tag, ExclusiveLock, true, false);
	}
}

/* End; not if the extension was gone but something changed meanwhile. */
static void
end_process(SlotEnd end)
{
	spool_lock();
	if (end == END_ABSENT && spool_my_slot->changed)
	{
		spool_unlock();
		return;
	}
	spool_my_slot->ready = false;
	spool_my_slot->end = end;
	spool_unlock();
	proc_exit(0);
}

/* What is known about a role; made if there is nothing. */
static Owner *
owner_of(Oid role)
{
	bool		found;
	Owner	   *owner = hash_search(owners, &role, HASH_ENTER, &found);

	if (!found)
		memset((char *) owner + sizeof(Oid), 0, sizeof(Owner) - sizeof(Oid));
	return owner;
}

/* Warn once, until it was possible again. */
static void
warn_short(Shortage shortage)
{
	static const char *const messages[] = {
		"too few worker slots for the jobs that wait",
		"too few background worker slots for the jobs that wait",
		"too many queues with workers"
	};
	static const char *const hints[] = {
		"You might need to increase \"spool.max_workers\".",
		"You might need to increase \"max_worker_processes\".",
		"Set \"workers\" to 0 for queues that need none."
	};
	TimestampTz now = GetCurrentTimestamp();

	if (!is_short[shortage] &&
		TimestampDifferenceExceeds(warned_at[shortage], now, WARN_MS))
	{
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%s", messages[shortage]),
				 errhint("%s", hints[shortage])));
		warned_at[shortage] = now;
	}
	is_short[shortage] = true;
}

/* Whether jobs can run as a role; warns once if not. */
static bool
owner_may_run(Oid role, const char *queue, const char *name, bool can_login)
{
	Owner	   *owner = owner_of(role);
	bool		may = name != NULL && (can_login || compat_bypass_login != 0);

	if (!may && !owner->warned)
	{
		if (name == NULL)
			ereport(WARNING,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("owner of queue \"%s\" does not exist any more",
							queue),
					 errhint("Give it another with spool.alter_queue(..., owner => ...).")));
		else
			ereport(WARNING,
					(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					 errmsg("jobs of queue \"%s\" cannot run as role \"%s\"",
							queue, name),
					 errdetail("Workers connect as the queue's owner, and this role is not permitted to log in."),
					 errhint("Use ALTER ROLE ... LOGIN, or give the queue another owner with spool.alter_queue(..., owner => ...).")));
	}
	owner->warned = !may;
	refused |= !may;
	return may;
}

/* Read which queues have workers. */
static void
read_queues(void)
{
	static SpoolPlan plan = {
		"SELECT q.id, q.owner::oid, q.workers, q.xmin, q.name, r.rolname::text,"
		" COALESCE(r.rolcanlogin, false) FROM spool.queue q"
		" LEFT JOIN pg_roles r ON r.oid = q.owner"
		" WHERE q.workers > 0 AND NOT q.append_only"
		" AND q.paused_since IS NULL"
		" AND (q.handler IS NOT NULL OR q.program IS NOT NULL)",
		SPI_OK_SELECT, PLAN_NO_ARGS
	};
	SpoolSpi	spi;
	QueueRow   *rows;
	uint64		nrows;
	uint64		n = 0;

	absent = !spool_extension_present();
	if (absent)
		return;
	stale = refused = false;
	queue_relid = spool_relation_oid("queue");
	spool_spi_begin(&spi);
	nrows = spool_exec(&plan, NULL, NULL);
	rows = palloc(Max(nrows, 1) * sizeof(QueueRow));
	for (uint64 i = 0; i < nrows; i++)
	{
		QueueRow   *row = &rows[n];
		bool		null;
		Datum		name;

		row->id = DatumGetInt32(spool_field(i, 1, NULL));
		row->owner = DatumGetObjectId(spool_field(i, 2, NULL));
		row->workers = DatumGetInt32(spool_field(i, 3, NULL));
		row->version = DatumGetTransactionId(spool_field(i, 4, NULL));
		name = spool_field(i, 6, &null);
		if (owner_may_run(row->owner,
						  TextDatumGetCString(spool_field(i, 5, NULL)),
						  null ? NULL : TextDatumGetCString(name),
						  DatumGetBool(spool_field(i, 7, NULL))))
			n++;
	}
	enter_queues(rows, n);
	spool_spi_end(&spi);
}

/* Make the entries say the same; what is new or changed is looked at. */
static void
enter_queues(const QueueRow *rows, uint64 nrows)
{
	bool		full = false;

	spool_lock();
	for (int i = 0; i < SPOOL_MAX_QUEUES; i++)
		spool_shared->entries[i].seen = false;
	for (uint64 i = 0; i < nrows; i++)
	{
		const QueueRow *row = &rows[i];
		SpoolEntry *entry = spool_entry_make(MyDatabaseId, row->id);

		full |= entry == NULL;
		if (entry == NULL)
			continue;
		entry->seen = true;
		if (entry->limit == row->workers && entry->owner == row->owner &&
			entry->version == row->version)
			continue;
		entry->limit = row->workers;
		entry->owner = row->owner;
		entry->version = row->version;
		spool_entry_add(entry, SPOOL_ALL_STREAMS, 0);
		spool_entry_link(entry);
	}
	for (int i = 0; i < SPOOL_MAX_QUEUES; i++)
	{
		SpoolEntry *entry = &spool_shared->entries[i];

		if (entry->database == MyDatabaseId && !entry->seen &&
			entry->limit > 0)
			spool_entry_close(entry);
	}
	spool_unlock();
	if (full)
		warn_short(SHORT_ENTRIES);
	else
		is_short[SHORT_ENTRIES] = false;
}

/* Read the queues, move what is scheduled, sweep and do upkeep, if due. */
static void
look_around(TimestampTz now)
{
	SpoolSlot  *slot = spool_my_slot;
	bool		active;

	spool_lock();
	slot->called = false;
	slot->wake_at = DT_NOEND;	/* not asleep: wake for anything */
	stale |= slot->changed;
	slot->changed = false;
	active = slot->active;
	spool_unlock();

	if (slot->leave)
		end_process(END_TOLD);
	if (spool_shared->polling)
		AcceptInvalidationMessages();
	if (active && sweep_at == DT_NOEND)
		sweep_at = TimestampTzPlusMilliseconds(now, spool_sweep_interval);
	if (active && upkeep_at == DT_NOEND)
		upkeep_at = TimestampTzPlusMilliseconds(now, UPKEEP_MS);
	if (stale && now >= read_at)
	{
		if (!transact("spool: reading the queues", read_queues))
			read_at = TimestampTzPlusMilliseconds(now, RETRY_MS);
		if (absent)
			end_process(END_ABSENT);
		else if (!slot->ready)
			spool_slot_ready();
	}
	if (absent)
		return;
	if (slot->schedule_at <= now)
		work_schedule(now);
	if (upkeep_at <= now)
	{
		upkeep_at = DT_NOEND;
		(void) transact("spool: upkeep", spool_maintain_now);
	}
	if (sweep_at <= now)
		sweep();
}

/* Let scheduled jobs into their queues, and see when the next is due. */
static void
work_schedule(TimestampTz now)
{
	SpoolSlot  *slot = spool_my_slot;

	spool_lock();
	slot->schedule_at = DT_NOEND;
	spool_unlock();
	if (!transact("spool: moving scheduled jobs", move_scheduled))
		scheduled_at = TimestampTzPlusMilliseconds(now, RETRY_MS);
	spool_lock();
	slot->schedule_at = Min(slot->schedule_at, scheduled_at);
	spool_unlock();
}

static void
move_scheduled(void)
{
	scheduled_at = DT_NOEND;
	absent = !spool_extension_present();
	if (!absent)
		scheduled_at = spool_schedule_move();
}

/* Have queues looked at. */
static void
sweep(void)
{
	bool		polling = spool_shared->polling;

	spool_lock();
	spool_my_slot->active = false;
	for (int i = 0; i < SPOOL_MAX_QUEUES; i++)
	{
		SpoolEntry *entry = &spool_shared->entries[i];

		if (entry->database != MyDatabaseId || !(polling || entry->active))
			continue;
		entry->active = false;
		spool_entry_add(entry, SPOOL_ALL_STREAMS, 0);
	}
	spool_unlock();
	stale |= refused;
	sweep_at = polling ?
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									spool_sweep_interval) : DT_NOEND;
}

/* See what became of the workers that were started. */
static void
check_starting(TimestampTz now)
{
	for (int i = 0; i < spool_shared->nworkers; i++)
	{
		Starting   *one = &starting[i];
		SpoolSlot  *slot;
		Owner	   *owner;
		bool		failed;

		if (one->place == SPOOL_NOWHERE)
			continue;
		slot = &spool_shared->slots[one->place];
		if (spool_slot_check(one->place, one->generation, one->handle) &&
			!slot->ready)
			continue;
		failed = slot->generation == one->generation && !slot->ready &&
			!slot->leave;
		owner = owner_of(one->role);
		owner->delay_ms = failed ?
			Min(Max(owner->delay_ms * 2, 1000), 60000) : 0;
		owner->next_try = TimestampTzPlusMilliseconds(now, owner->delay_ms);
		stale |= failed;
		pfree(one->handle);
		one->place = SPOOL_NOWHERE;
	}
}

/*
 * How many workers more each role needs for what is ready.  Wakes those who
 * sleep.
 */
static int
collect_needs(Need *needs)
{
	int			n = 0;
	SpoolEntry *entry = NULL;

	spool_lock();
	while ((entry = spool_entry_next(LIST_READY, entry)) != NULL)
	{
		int			room = entry->limit - entry->running;
		int			i = 0;

		if (entry->database != MyDatabaseId)
			continue;
		while (i < n && needs[i].role != entry->owner)
			i++;
		if (i == MAX_NEEDS)
			continue;
		if (i == n)
		{
			needs[n].role = entry->owner;
			needs[n++].count = 0;
		}
		needs[i].count += entry->all ? 1 : Min(room, entry->ndue);
	}
	for (int i = 0; n > 0 && i < spool_shared->nworkers; i++)
	{
		SpoolSlot  *slot = &spool_shared->slots[i];

		if (slot->state == SLOT_FREE || slot->leave || slot->queue != 0 ||
			slot->database != MyDatabaseId)
			continue;
		for (int j = 0; j < n; j++)
			if (needs[j].role == slot->owner && needs[j].count > 0)
			{
				needs[j].count--;
				if (slot->idle)
					spool_wake(slot);
			}
	}
	spool_unlock();
	return n;
}

/* Start the workers that are needed, as far as possible. */
static void
start_workers(TimestampTz now)
{
	Need		needs[MAX_NEEDS];
	int			n;
	bool		starved = false;

	start_at = DT_NOEND;
	check_starting(now);
	n = collect_needs(needs);
	for (int i = 0; i < n; i++)
	{
		Owner	   *owner = owner_of(needs[i].role);

		if (needs[i].count > 0 && owner->next_try > now)
		{
			start_at = Min(start_at, owner->next_try);
			continue;
		}
		while (needs[i].count > 0 && start_worker(needs[i].role, now))
			needs[i].count--;
		starved |= needs[i].count > 0;
	}
	if (starved)
		start_at = Min(start_at, TimestampTzPlusMilliseconds(now, 1000));
	spool_lock();
	spool_my_slot->starved = starved;
	spool_unlock();
}

/* Start a worker; false if there is no slot or process for it. */
static bool
start_worker(Oid role, TimestampTz now)
{
	Starting   *one = starting;
	int			place = spool_slot_take(false, MyDatabaseId, role);
	MemoryContext old;

	if (place == SPOOL_NOWHERE)
	{
		if (now >= room_at)
			(void) spool_make_room(MyDatabaseId, role);
		room_at = TimestampTzPlusMilliseconds(now, 1000);
		warn_short(SHORT_SLOTS);
		return false;
	}
	is_short[SHORT_SLOTS] = false;
	while (one->place != SPOOL_NOWHERE)
		one++;
	one->generation = spool_shared->slots[place].generation;
	one->role = role;
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (spool_slot_launch(place, &one->handle))
		one->place = place;
	MemoryContextSwitchTo(old);
	if (one->place == SPOOL_NOWHERE)
	{
		warn_short(SHORT_PROCESSES);
		return false;
	}
	is_short[SHORT_PROCESSES] = false;
	return true;
}

/* Do what is to be done; returns when to look again, DT_NOEND for never. */
static TimestampTz
do_round(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next;

	look_around(now);
	spool_lock();
	next = spool_entries_due(MyDatabaseId, now);
	next = Min(next, Min(sweep_at, upkeep_at));
	next = Min(next, spool_my_slot->schedule_at);
	if (stale)
		next = Min(next, read_at);
	spool_my_slot->wake_at = next;
	spool_unlock();
	start_workers(now);
	return Min(next, start_at);
}

/* Main function of a manager. */
void
spool_manager_main(Datum arg)
{
	HASHCTL		info;
	uint32		event;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	spool_slot_attach(arg, true);
	BackgroundWorkerInitializeConnectionByOid(spool_my_slot->database,
											  InvalidOid, 0);
	pgstat_report_appname("spool manager");
	event = compat_wait_event("SpoolManagerMain");
	round_context = AllocSetContextCreate(TopMemoryContext,
										  "spool manager round",
										  ALLOCSET_DEFAULT_SIZES);
	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(Owner);
	owners = hash_create("spool owners", 16, &info, HASH_ELEM | HASH_BLOBS);
	starting = palloc(spool_shared->nworkers * sizeof(Starting));
	for (int i = 0; i < spool_shared->nworkers; i++)
		starting[i].place = SPOOL_NOWHERE;
	CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
	(void) transact("spool: starting", lock_database);
	if (spool_shared->polling)
		sweep_at = 0;

	for (;;)
	{
		TimestampTz next;
		int			flags = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
		long		timeout = -1;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextReset(round_context);
		MemoryContextSwitchTo(round_context);
		next = do_round();
		if (next != DT_NOEND)
		{
			timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													  next);
			flags |= WL_TIMEOUT;
		}
		(void) WaitLatch(MyLatch, flags, timeout, event);
	}
}
