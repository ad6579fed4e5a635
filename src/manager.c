/*-------------------------------------------------------------------------
 * manager.c
 *	  The manager of a database: which queues have workers, and upkeep.
 *
 * It registers the queues that have workers and a command as entries in
 * shared memory, and has as many workers started (staff.c) as could run there.
 * It sleeps until its latch is set: by who gives work where no idle worker is,
 * changes queues, ends a worker or a transaction after a time of quiet; or
 * until something is due: a retry, a scheduled job, a delivery of a resequencer,
 * a sweep, upkeep.
 *
 * A sweep has all streams looked at, in the queues where something happened
 * but not since the sweep before; where it never gets quiet, once a minute:
 * hints may get lost, or name too little.  After its start and after the last
 * activity come a sweep and one upkeep, more while segments wait to be emptied,
 * then nothing.  Without preload, all queues are swept all the time, and
 * scheduled jobs looked for: other sessions give no hints.
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
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "maintain.h"
#include "manager.h"
#include "reseq_expire.h"
#include "rotate.h"
#include "schedule.h"
#include "shared.h"
#include "spiutil.h"
#include "spool.h"
#include "staff.h"

#define UPKEEP_MS 60000
#define RETRY_MS 5000
#define BUSY_SWEEP_MS 60000

/* A row of spool.queue. */
typedef struct QueueRow
{
	int32		id;
	Oid			owner;
	int32		workers;
	uint32		version;
} QueueRow;

static bool stale = true;		/* spool.queue is to be read */
static Oid	queue_relid = InvalidOid;
static bool absent = false;		/* the extension is not there */
static bool refused = false;	/* some owner cannot run jobs */
static TimestampTz read_at = 0; /* not before */
static TimestampTz sweep_at = DT_NOEND;
static TimestampTz upkeep_at = DT_NOEND;
static TimestampTz expire_at = DT_NOEND;
static bool rotating = false;	/* another step follows */
static TimestampTz scheduled_at;	/* as the last look found */
static MemoryContext round_context;

static void invalidate(Datum arg, Oid relid);
static bool transact(const char *activity, void (*work) (void));
static void lock_database(void);
static void end_process(SlotEnd end);
static void read_queues(void);
static bool owner_may_run(Oid role, const char *queue, const char *name,
						  bool can_login);
static void enter_queues(const QueueRow *rows, uint64 nrows);
static void look_around(TimestampTz now);
static void work_schedule(TimestampTz now);
static void move_scheduled(void);
static void do_upkeep(void);
static void expire(void);
static void rotate(void);
static void sweep(TimestampTz now);
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
		XactIsoLevel = XACT_READ_COMMITTED;
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

/* Whether jobs can run as a role; warns once if not. */
static bool
owner_may_run(Oid role, const char *queue, const char *name, bool can_login)
{
	bool	   *warned = spool_staff_warned(role);
	bool		may = name != NULL && (can_login || compat_bypass_login != 0);

	if (!may && !*warned)
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
	*warned = !may;
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
	for (int i = 0; i < spool_shared->nentries; i++)
		spool_shared->entries[i].seen = false;
	for (uint64 i = 0; i < nrows; i++)
	{
		const QueueRow *row = &rows[i];
		SpoolEntry *entry = spool_entry_make(MyDatabaseId, row->id);

		full |= entry == NULL;
		if (entry == NULL)
			continue;
		entry->seen = true;
		spool_entry_rested(entry);
		if (entry->limit == row->workers && entry->owner == row->owner &&
			entry->version == row->version)
			continue;
		entry->limit = row->workers;
		entry->owner = row->owner;
		entry->version = row->version;
		spool_entry_add(entry, SPOOL_ALL_STREAMS, 0);
		spool_entry_link(entry);
	}
	for (int i = 0; i < spool_shared->nentries; i++)
	{
		SpoolEntry *entry = &spool_shared->entries[i];

		if (entry->database == MyDatabaseId && !entry->seen &&
			entry->limit > 0)
			spool_entry_close(entry);
	}
	spool_unlock();
	spool_staff_short(SHORT_ENTRIES, full);
}

/* Read the queues, move what is scheduled, sweep and do upkeep, if due. */
static void
look_around(TimestampTz now)
{
	SpoolSlot  *slot = spool_my_slot;
	bool		active;
	bool		failed = false;

	spool_lock();
	slot->called = false;
	slot->wake_at = DT_NOEND;	/* not asleep: wake for anything */
	stale |= slot->changed;
	slot->changed = false;
	active = slot->active;
	spool_unlock();

	if (slot->leave)
		end_process(END_TOLD);
	if (active && sweep_at == DT_NOEND)
		sweep_at = TimestampTzPlusMilliseconds(now, spool_sweep_interval);
	if (active && upkeep_at == DT_NOEND)
		upkeep_at = TimestampTzPlusMilliseconds(now, UPKEEP_MS);
	if (stale && now >= read_at)
	{
		if (!transact("spool: reading the queues", read_queues))
		{
			stale = true;
			read_at = TimestampTzPlusMilliseconds(now, RETRY_MS);
		}
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
		rotating = transact("spool: upkeep", do_upkeep);
		failed = !rotating;
	}
	if (rotating && !transact("spool: rotating segments", rotate))
	{
		rotating = false;
		failed = true;
	}
	if (expire_at <= now)
	{
		expire_at = TimestampTzPlusMilliseconds(now, UPKEEP_MS);
		(void) transact("spool: expiring deliveries", expire);
	}
	if (failed)
		upkeep_at = TimestampTzPlusMilliseconds(now, UPKEEP_MS);
	if (sweep_at <= now)
		sweep(now);
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
	stale |= absent;
	if (!absent)
		scheduled_at = spool_schedule_move();
}

static void
do_upkeep(void)
{
	absent = !spool_extension_present();
	stale |= absent;
	if (absent)
		return;
	expire_at = spool_maintain_now();
}

/* The timers of resequencers, not more often than each second. */
static void
expire(void)
{
	absent = !spool_extension_present();
	stale |= absent;
	if (!absent)
		expire_at = Max(spool_reseq_expire_all(),
						GetCurrentTimestamp() + USECS_PER_SEC);
}

/* One step, so that workers need not wait for the others. */
static void
rotate(void)
{
	SpoolRotation next = ROTATION_DONE;

	absent = !spool_extension_present();
	stale |= absent;
	if (!absent)
		next = spool_rotate_step(false, true);
	rotating = next == ROTATION_MORE;
	if (next == ROTATION_LATER)
		upkeep_at = Min(upkeep_at,
						TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													UPKEEP_MS));
}

/*
 * Have queues looked at: those where it was quiet since the last sweep, but
 * not before that; the others now and then.  Polling, all.
 */
static void
sweep(TimestampTz now)
{
	bool		polling = spool_shared->polling;
	bool		more = polling;

	if (polling)
		work_schedule(now);		/* its transaction learns of changes, too */
	spool_lock();
	spool_my_slot->active = false;
	for (int i = 0; i < spool_shared->nentries; i++)
	{
		SpoolEntry *entry = &spool_shared->entries[i];
		bool		busy = entry->active;

		if (entry->database != MyDatabaseId ||
			!(polling || busy || entry->unswept))
			continue;
		entry->active = false;
		entry->unswept = busy;
		more |= busy;
		if (busy && !polling &&
			!TimestampDifferenceExceeds(entry->swept_at, now, BUSY_SWEEP_MS))
			continue;
		entry->swept_at = now;
		spool_entry_add(entry, SPOOL_ALL_STREAMS, 0);
	}
	spool_unlock();
	stale |= refused;
	sweep_at = more ?
		TimestampTzPlusMilliseconds(now, spool_sweep_interval) : DT_NOEND;
}

/* Do what is to be done; returns when to look again, DT_NOEND for never. */
static TimestampTz
do_round(void)
{
	SpoolSlot  *slot = spool_my_slot;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next;
	TimestampTz start_at;
	bool		failed;

	look_around(now);
	spool_lock();
	next = spool_entries_due(MyDatabaseId, now);
	next = Min(Min(next, expire_at), Min(sweep_at, upkeep_at));
	next = Min(next, slot->schedule_at);
	/* what was told meanwhile: a wait in a transaction resets the latch */
	if (slot->changed || slot->leave || rotating ||
		(slot->active && sweep_at == DT_NOEND))
		next = now;
	slot->wake_at = next;
	spool_unlock();
	start_at = spool_staff_start(now, &failed);
	stale |= failed;
	if (stale)
		next = Min(next, read_at);
	return Min(next, start_at);
}

/* Main function of a manager. */
void
spool_manager_main(Datum arg)
{
	uint32		event;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	spool_slot_attach(arg, true);
	BackgroundWorkerInitializeConnectionByOid(spool_my_slot->database,
											  InvalidOid, 0);
	spool_slot_settings();
	pgstat_report_appname("spool manager");
	event = compat_wait_event("SpoolManagerMain");
	round_context = AllocSetContextCreate(TopMemoryContext,
										  "spool manager round",
										  ALLOCSET_DEFAULT_SIZES);
	spool_staff_init();
	CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
	(void) transact("spool: starting", lock_database);
	upkeep_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), UPKEEP_MS);
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
			stale = true;		/* programs may be allowed now */
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
