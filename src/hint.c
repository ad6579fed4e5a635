/*-------------------------------------------------------------------------
 * hint.c
 *	  Hints: who changes something tells, when it is committed, where work may
 *	  be.
 *
 * A transaction collects hints in a fixed array.  The transaction callback
 * puts them into the entries of queues, wakes one worker for each, the
 * manager where that is not enough, and all who wait for the queue.  At that
 * point others see the changes and may lock the rows that were locked.  An
 * abort forgets hints, but where it leaves holes in streams' numbers.  What a
 * subtransaction gave stays when it is rolled back: a hint promises nothing.
 * PREPARE TRANSACTION forgets them too; COMMIT PREPARED and ROLLBACK PREPARED
 * hint everything in the database.
 *
 * Streams that are locked: who consumes tells which (spool_hint_holds), who
 * passes a locked one by tells that (spool_hint_skipped) and then tries the
 * lock once more.  Either that try succeeds, or the holder ends later: at its
 * end, also by abort, it hints its streams if anybody passed a stream of the
 * queue by since it holds them.
 *
 * Hints may get lost where memory is short; the manager's sweep is the truth
 * behind them.  What is known of streams (known.c) depends on no hint of work
 * for now being missed: a transaction announces them before it commits.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"

#include "birth.h"
#include "known.h"
#include "numbers.h"
#include "shared.h"
#include "spool.h"
#include "unborn.h"

typedef enum PendingKind
{
	PENDING_NEWS,
	PENDING_HOLDS,
	PENDING_DONE
} PendingKind;

/* What is told at the end of the transaction. */
typedef struct Pending
{
	PendingKind kind;
	int32		queue;
	int64		stream;			/* or how many jobs */
	TimestampTz due;			/* when; of holds, since when */
	uint32		known;			/* as it was announced */
} Pending;

static Pending pending[SPOOL_MAX_PENDING];
static int	npending = 0;
static bool pending_everything = false;
static bool pending_database = false;
static bool pending_upkeep = false;
static bool pending_extension = false;
static bool pending_databases = false;
static bool pending_roles = false;
static TimestampTz pending_schedule = DT_NOEND;
static Oid	held_database = InvalidOid;
static bool announced = false;	/* what is pending, or everything */

/* The queue whose jobs this session runs. */
static int32 ran_queue = 0;

static void at_transaction_end(XactEvent event, void *arg);
static bool gives_work(const Pending *one);
static void announce(void);
static void tell_announced(bool committed);
static void tell(bool committed, bool news);
static void tell_one(const Pending *one, bool committed, bool news);
static void tell_everything(void);
static void tell_database(void);
static void tell_schedule(void);
static void tell_managers(void);
static void note(PendingKind kind, int32 queue, int64 stream, TimestampTz due);
static bool make_room(PendingKind kind, int32 queue);
static void stop_running(int code, Datum arg);

void
spool_hint_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

/* A stream, or SPOOL_ALL_STREAMS, may have work. */
void
spool_hint(int32 queue, int64 stream)
{
	note(PENDING_NEWS, queue, stream, 0);
}

/* It may have work from then on. */
void
spool_hint_later(int32 queue, int64 stream, TimestampTz due)
{
	note(PENDING_NEWS, queue, stream, due);
}

/* This transaction ends a stream's being locked or owned since then. */
void
spool_hint_holds(int32 queue, int64 stream, TimestampTz since)
{
	note(PENDING_HOLDS, queue, stream, since);
}

/* A locked stream was passed by; told at once. */
void
spool_hint_skipped(int32 queue)
{
	SpoolEntry *entry;

	if (spool_shared == NULL)
		return;
	spool_lock();
	entry = spool_entry_find(MyDatabaseId, queue);
	if (entry != NULL)
		entry->skipped_at = GetCurrentTimestamp();
	spool_unlock();
}

/* Jobs of a queue were done. */
void
spool_hint_done(int32 queue, int64 jobs)
{
	if (spool_shared == NULL)
		return;
	for (int i = 0; i < npending; i++)
		if (pending[i].kind == PENDING_DONE && pending[i].queue == queue)
		{
			pending[i].stream += jobs;
			return;
		}
	note(PENDING_DONE, queue, jobs, 0);
}

/*
 * If this session ends before this is told of queue 0, what it ran is to be
 * taken over by others: its locks are gone then.
 */
void
spool_hint_at_exit(int32 queue)
{
	static bool registered = false;

	if (spool_shared == NULL)
		return;
	if (!registered)
		on_shmem_exit(stop_running, (Datum) 0);
	registered = true;
	ran_queue = queue;
}

/* At exit. */
static void
stop_running(int code, Datum arg)
{
	SpoolEntry *entry;

	if (ran_queue == 0)
		return;
	spool_lock();
	entry = spool_entry_find(MyDatabaseId, ran_queue);
	if (entry != NULL)
		spool_entry_tell(entry, SPOOL_ALL_STREAMS, 0);
	spool_unlock();
}

/* A job waits for its time to come into its queue. */
void
spool_hint_schedule(TimestampTz due)
{
	if (spool_shared != NULL)
		pending_schedule = Min(pending_schedule, due);
}

/* Something was written that upkeep removes some day. */
void
spool_hint_upkeep(void)
{
	pending_upkeep = spool_shared != NULL;
}

/* Queues, their options, or the extension changed. */
void
spool_hint_database(void)
{
	pending_database = spool_shared != NULL;
}

/* The extension was made, changed or dropped. */
void
spool_hint_extension(void)
{
	spool_hint_database();
	pending_extension = pending_database;
}

/* There are new databases, or old ones are others now. */
void
spool_hint_databases(void)
{
	pending_databases = spool_shared != NULL;
}

/* Roles may do other things now. */
void
spool_hint_roles(void)
{
	pending_roles = spool_shared != NULL;
}

/*
 * Counts the changes that were told.  Who is told looks at once, when the
 * server has not yet sent its invalidations; this says that what is cached of
 * queues is to be read again.
 */
uint64
spool_changes(void)
{
	return spool_shared ? pg_atomic_read_u64(&spool_shared->changes) : 0;
}

/* Anything may have happened in this database. */
void
spool_hint_everything(void)
{
	pending_everything = spool_shared != NULL;
}

/* The same will happen in this command, before the transaction ends. */
void
spool_hint_prepared(void)
{
	spool_hint_everything();
	announce();
}

/*
 * The streams of a queue that this transaction has given work, at most
 * SPOOL_MAX_PENDING; -1 if they are too many to be known.
 */
int
spool_hint_given(int32 queue, int64 *streams)
{
	int			n = 0;

	if (pending_everything)
		return -1;
	for (int i = 0; i < npending; i++)
	{
		if (pending[i].queue != queue || !gives_work(&pending[i]))
			continue;
		if (pending[i].stream == SPOOL_ALL_STREAMS)
			return -1;
		streams[n++] = pending[i].stream;
	}
	return n;
}

/*
 * Keep the launcher from starting anything in a database until this
 * transaction ends.
 */
void
spool_database_hold(Oid database)
{
	SpoolDatabase *known;

	if (OidIsValid(held_database))
		return;
	spool_lock();
	known = spool_database_find(database, true);
	if (known != NULL)
	{
		known->holds++;
		held_database = database;
	}
	spool_unlock();
}

/* Add to what is told. */
static void
note(PendingKind kind, int32 queue, int64 stream, TimestampTz due)
{
	Pending    *one;

	if (spool_shared == NULL || pending_everything)
		return;
	for (int i = 0; i < npending && kind != PENDING_DONE; i++)
	{
		one = &pending[i];
		if (one->kind != kind || one->queue != queue)
			continue;
		if (one->stream == stream)
		{
			one->due = Min(one->due, due);
			return;
		}
		if (one->stream == SPOOL_ALL_STREAMS && one->due <= due &&
			(due == 0 || kind == PENDING_HOLDS))
			return;
	}
	if (npending == SPOOL_MAX_PENDING && !make_room(kind, queue))
	{
		pending_everything |= kind != PENDING_DONE;
		return;
	}
	one = &pending[npending++];
	one->kind = kind;
	one->queue = queue;
	one->stream = stream;
	one->due = due;
	one->known = 0;
}

/* Let one entry, all streams, stand for those of a queue; false if no room. */
static bool
make_room(PendingKind kind, int32 queue)
{
	int			n = 0;
	Pending    *all = NULL;

	for (int i = 0; i < npending; i++)
	{
		Pending    *one = &pending[i];

		if (one->kind != kind || one->queue != queue ||
			kind == PENDING_DONE ||
			(kind == PENDING_NEWS && one->due != 0))
			pending[n++] = *one;
		else if (all == NULL)
		{
			pending[n] = *one;
			all = &pending[n++];
			all->stream = SPOOL_ALL_STREAMS;
		}
		else
			all->due = Min(all->due, one->due);
	}
	npending = n;
	return npending < SPOOL_MAX_PENDING;
}

/*
 * Transaction callback: tell, or forget.  Numbers are given back before, so
 * that who is told finds them settled.  Those of an abort are holes that
 * nobody waits for any more: what lies behind may be work.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	bool		numbers;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			spool_unborn_make_all();
			announce();
			return;
		case XACT_EVENT_PRE_PREPARE:
			spool_unborn_make_all();
			return;
		case XACT_EVENT_COMMIT:
			(void) spool_numbers_release(true);
			tell_announced(true);
			tell(true, true);
			break;
		case XACT_EVENT_ABORT:
			numbers = spool_numbers_release(false);
			tell_announced(false);
			tell(false, numbers);
			break;
		case XACT_EVENT_PREPARE:
			tell_announced(false);
			tell(false, false);
			break;
		default:
			return;
	}
	spool_birth_leave();
	spool_unborn_end();
	npending = 0;
	pending_everything = pending_database = pending_extension = false;
	pending_upkeep = false;
	pending_databases = pending_roles = false;
	pending_schedule = DT_NOEND;
	held_database = InvalidOid;
}

/* Whether something pending says that a stream may have work now. */
static bool
gives_work(const Pending *one)
{
	return one->kind == PENDING_NEWS && one->due == 0;
}

/* This transaction is about to commit: announce what it gave work. */
static void
announce(void)
{
	bool		any = pending_everything || pending_extension;

	for (int i = 0; i < npending && !any; i++)
		any = gives_work(&pending[i]);
	if (!any || announced)
		return;
	announced = true;
	spool_known_commit_begin();
	if (pending_everything || pending_extension)
		spool_known_forget();
	for (int i = 0; i < npending; i++)
		if (gives_work(&pending[i]))
			pending[i].known = spool_known_announce(pending[i].queue,
													pending[i].stream);
}

/* What was announced has happened, or not. */
static void
tell_announced(bool committed)
{
	if (!announced)
		return;
	announced = false;
	if (pending_everything || pending_extension)
		spool_known_forget();
	for (int i = 0; i < npending; i++)
		if (gives_work(&pending[i]))
			spool_known_told(pending[i].queue, pending[i].stream,
							 pending[i].known, committed);
	spool_known_commit_end();
}

/*
 * Tell what is pending, or of an abort what must be told even so; news: also
 * where work may be.
 */
static void
tell(bool committed, bool news)
{
	if (npending == 0 && !OidIsValid(held_database) &&
		!(news && pending_everything) &&
		!(committed && (pending_database || pending_upkeep ||
						pending_databases || pending_roles ||
						pending_schedule != DT_NOEND)))
		return;

	spool_lock();
	if (committed && pending_database)
		pg_atomic_fetch_add_u64(&spool_shared->changes, 1);
	for (int i = 0; i < npending; i++)
		tell_one(&pending[i], committed, news);
	if (pending_everything)
		tell_everything();
	if (committed && pending_database)
		tell_database();
	if (committed && (npending > 0 || pending_upkeep))
		spool_database_active(MyDatabaseId);
	if (committed && pending_roles)
		tell_managers();
	if (committed && pending_schedule != DT_NOEND)
		tell_schedule();
	if (OidIsValid(held_database))
	{
		SpoolDatabase *known = spool_database_find(held_database, true);

		known->holds--;
		known->asked = true;
	}
	if (OidIsValid(held_database) || (committed && pending_databases))
	{
		spool_shared->ask_all = true;
		spool_wake_launcher();
	}
	spool_unlock();
}

/* Tell the manager when a scheduled job is due. */
static void
tell_schedule(void)
{
	SpoolSlot  *manager = spool_manager_slot(MyDatabaseId);

	if (manager == NULL || pending_schedule >= manager->schedule_at)
		return;
	manager->schedule_at = pending_schedule;
	if (pending_schedule < manager->wake_at)
		spool_wake(manager);
}

/* Have all managers look again at what their queues need. */
static void
tell_managers(void)
{
	for (int i = spool_shared->nworkers; i < spool_shared->nslots; i++)
	{
		SpoolSlot  *slot = &spool_shared->slots[i];

		if (slot->state != SLOT_RUNNING)
			continue;
		slot->changed = true;
		spool_wake(slot);
	}
}

static void
tell_one(const Pending *one, bool committed, bool news)
{
	SpoolEntry *entry = spool_entry_find(MyDatabaseId, one->queue);

	if (one->kind == PENDING_DONE && committed)
	{
		if (entry == NULL)
			entry = spool_entry_make(MyDatabaseId, one->queue);
		if (entry == NULL)
			return;
		spool_rates_count(entry, one->stream);
		spool_entry_active(entry);
	}
	else if (entry == NULL)
		return;
	else if (one->kind == PENDING_NEWS && news)
		spool_entry_tell(entry, one->stream, one->due);
	else if (one->kind == PENDING_HOLDS && entry->skipped_at >= one->due)
		spool_entry_tell(entry, one->stream, 0);
}

/* All queues of the database may have work, or other options. */
static void
tell_everything(void)
{
	for (int i = 0; i < spool_shared->nentries; i++)
		if (spool_shared->entries[i].database == MyDatabaseId)
			spool_entry_tell(&spool_shared->entries[i], SPOOL_ALL_STREAMS, 0);
	tell_database();
}

/* Tell the manager to look at the extension, or the launcher if there is none. */
static void
tell_database(void)
{
	SpoolSlot  *manager = spool_manager_slot(MyDatabaseId);
	SpoolDatabase *known;

	if (manager != NULL)
	{
		manager->changed = true;
		spool_wake(manager);
		if (manager->ready)
			return;
	}
	known = spool_database_find(MyDatabaseId, true);
	if (known != NULL)
		known->asked = true;
	else
		spool_shared->ask_every = true;
	spool_wake_launcher();
}
