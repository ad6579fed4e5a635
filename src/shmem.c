/*-------------------------------------------------------------------------
 * shmem.c
 *	  Shared memory: where it lies, and the entries of queues in it.
 *
 * With the library preloaded there is one piece of it, in the server's main
 * shared memory.  Without, each manager that start() starts has a dynamic
 * segment of its own, to which its workers attach; other sessions give no
 * hints then.
 *
 * An entry is made by the manager for a queue that has workers and a command,
 * by whoever waits for a queue, and by whoever counts jobs.  One that is there
 * for the count only gives way when there is no free one.
 *
 * Everything is guarded by one lock that is held for short.  Transaction
 * callbacks work on entries: nothing here allocates memory or raises errors,
 * but for creating and attaching.  A crash of any process restarts the server
 * and initializes main shared memory; segments vanish.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/guc.h"

#include "known.h"
#include "shared.h"
#include "spool.h"

SpoolShared *spool_shared = NULL;
dsm_handle	spool_shared_handle = DSM_HANDLE_INVALID;
int			spool_max_workers;
int			spool_sweep_interval;
int			spool_worker_idle_timeout;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static void request_memory(void);
static void start_memory(void);
static Size shared_size(int nslots);
static void initialize(SpoolShared *shared, int nmanagers, bool polling);
static uint32 bucket_of(Oid database, int32 queue);
static SpoolEntry *free_entry(void);
static bool unused(const SpoolEntry *entry);
static void unchain(SpoolEntry *entry);
static void set_linked(SpoolEntry *entry, EntryList list, bool linked);
static void drop_due(SpoolEntry *entry);

/* Define the settings, and ask for shared memory if there is still time. */
void
spool_shmem_init(void)
{
	bool		preload = process_shared_preload_libraries_in_progress;

	DefineCustomIntVariable("spool.max_workers",
							"Sets the maximum number of workers that run jobs at the same time, in all databases.",
							NULL, &spool_max_workers, 8, 1,
							SPOOL_MAX_WORKERS,
							preload ? PGC_POSTMASTER : PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("spool.sweep_interval",
							"Sets the time after which queues with activity are looked at again without a hint.",
							"Without preload, all queues with workers are looked at that often.",
							&spool_sweep_interval, 1000, 10, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("spool.worker_idle_timeout",
							"Sets the time after which a worker without work ends.",
							"0 disables the timeout.",
							&spool_worker_idle_timeout, 5 * 60 * 1000,
							0, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	if (!preload)
		return;
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_memory;
}

static void
request_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(shared_size(spool_max_workers +
									   max_worker_processes));
	RequestAddinShmemSpace(spool_known_size());
}

static void
start_memory(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	spool_shared = ShmemInitStruct("spool",
								   shared_size(spool_max_workers +
											   max_worker_processes), &found);
	if (!found)
		initialize(spool_shared, max_worker_processes, false);
	spool_known_start(spool_shared->tranche);
	LWLockRelease(AddinShmemInitLock);
	LWLockRegisterTranche(spool_shared->tranche, "spool");
}

static Size
shared_size(int nslots)
{
	return add_size(offsetof(SpoolShared, slots),
					mul_size(nslots, sizeof(SpoolSlot)));
}

static void
initialize(SpoolShared *shared, int nmanagers, bool polling)
{
	memset(shared, 0, shared_size(spool_max_workers + nmanagers));
	shared->tranche = LWLockNewTrancheId();
	LWLockInitialize(&shared->lock, shared->tranche);
	shared->polling = polling;
	shared->nworkers = spool_max_workers;
	shared->nslots = spool_max_workers + nmanagers;
	ConditionVariableInit(&shared->slots_cv);
	pg_atomic_init_u64(&shared->changes, 0);
	for (int i = 0; i < NUM_ENTRY_LISTS; i++)
		shared->heads[i] = shared->tails[i] = SPOOL_NOWHERE;
	for (int i = 0; i < SPOOL_MAX_QUEUES; i++)
	{
		shared->buckets[i] = SPOOL_NOWHERE;
		shared->entries[i].chain = i + 1;
		ConditionVariableInit(&shared->entries[i].cv);
	}
	shared->entries[SPOOL_MAX_QUEUES - 1].chain = SPOOL_NOWHERE;
}

/* A segment for a manager that is not preloaded; attached to it afterwards. */
dsm_segment *
spool_segment_create(void)
{
	dsm_segment *segment = dsm_create(shared_size(spool_max_workers + 1), 0);

	initialize(dsm_segment_address(segment), 1, true);
	LWLockRegisterTranche(((SpoolShared *) dsm_segment_address(segment))->tranche,
						  "spool");
	return segment;
}

/* Map a segment; NULL if it is gone. */
SpoolShared *
spool_segment_attach(dsm_handle handle, dsm_segment **segment)
{
	SpoolShared *shared;

	*segment = dsm_attach(handle);
	if (*segment == NULL)
		return NULL;
	shared = dsm_segment_address(*segment);
	LWLockRegisterTranche(shared->tranche, "spool");
	return shared;
}

static uint32
bucket_of(Oid database, int32 queue)
{
	return hash_combine(murmurhash32(database), murmurhash32(queue)) %
		SPOOL_MAX_QUEUES;
}

/* The entry of a queue, or NULL. */
SpoolEntry *
spool_entry_find(Oid database, int32 queue)
{
	int32		place = spool_shared->buckets[bucket_of(database, queue)];

	while (place != SPOOL_NOWHERE)
	{
		SpoolEntry *entry = &spool_shared->entries[place];

		if (entry->database == database && entry->queue == queue)
			return entry;
		place = entry->chain;
	}
	return NULL;
}

/* The same, made if there is none; NULL if there is no room. */
SpoolEntry *
spool_entry_make(Oid database, int32 queue)
{
	SpoolEntry *entry = spool_entry_find(database, queue);
	ConditionVariable cv;
	int32	   *bucket;

	if (entry != NULL)
		return entry;
	entry = free_entry();
	if (entry == NULL)
		return NULL;
	cv = entry->cv;
	memset(entry, 0, sizeof(SpoolEntry));
	entry->cv = cv;
	entry->database = database;
	entry->queue = queue;
	bucket = &spool_shared->buckets[bucket_of(database, queue)];
	entry->chain = *bucket;
	*bucket = entry - spool_shared->entries;
	return entry;
}

/*
 * An entry to use: a free one, else the one of some unused ones that counted
 * the fewest jobs.
 */
static SpoolEntry *
free_entry(void)
{
	SpoolEntry *best = NULL;
	int32		place = spool_shared->free_entry;

	if (place != SPOOL_NOWHERE)
	{
		spool_shared->free_entry = spool_shared->entries[place].chain;
		spool_shared->nentries = Max(spool_shared->nentries, place + 1);
		return &spool_shared->entries[place];
	}
	for (int i = 0; i < 256; i++)
	{
		SpoolEntry *entry;

		spool_shared->clock = (spool_shared->clock + 1) % SPOOL_MAX_QUEUES;
		entry = &spool_shared->entries[spool_shared->clock];
		if (unused(entry) &&
			(best == NULL || entry->rates_at < best->rates_at))
			best = entry;
	}
	if (best != NULL)
		unchain(best);
	return best;
}

/* Whether an entry is there for its count of jobs only. */
static bool
unused(const SpoolEntry *entry)
{
	return entry->limit == 0 && entry->running == 0 && entry->waiters == 0;
}

static void
unchain(SpoolEntry *entry)
{
	int32		place = entry - spool_shared->entries;
	int32	   *link = &spool_shared->buckets[bucket_of(entry->database,
														entry->queue)];

	while (*link != place)
		link = &spool_shared->entries[*link].chain;
	*link = entry->chain;
}

/* Free an entry that nobody needs any more. */
void
spool_entry_release(SpoolEntry *entry)
{
	if (!unused(entry) || entry->rates_at != 0)
		return;
	unchain(entry);
	entry->database = InvalidOid;
	entry->chain = spool_shared->free_entry;
	spool_shared->free_entry = entry - spool_shared->entries;
}

/* Put an entry on a list or take it off. */
static void
set_linked(SpoolEntry *entry, EntryList list, bool linked)
{
	EntryLink  *link = &entry->links[list];
	int32		place = entry - spool_shared->entries;
	int32	   *head = &spool_shared->heads[list];
	int32	   *tail = &spool_shared->tails[list];

	if (link->linked == linked)
		return;
	link->linked = linked;
	if (linked)
	{
		link->prev = *tail;
		link->next = SPOOL_NOWHERE;
		*(*tail == SPOOL_NOWHERE ? head :
		  &spool_shared->entries[*tail].links[list].next) = place;
		*tail = place;
		return;
	}
	*(link->prev == SPOOL_NOWHERE ? head :
	  &spool_shared->entries[link->prev].links[list].next) = link->next;
	*(link->next == SPOOL_NOWHERE ? tail :
	  &spool_shared->entries[link->next].links[list].prev) = link->prev;
}

/* Put an entry on the lists where it belongs; after any change of it. */
void
spool_entry_link(SpoolEntry *entry)
{
	set_linked(entry, LIST_READY,
			   (entry->ndue > 0 || entry->all) &&
			   entry->running < entry->limit);
	set_linked(entry, LIST_TIMED,
			   entry->nhints > entry->ndue || entry->all_due != 0);
}

/* The same; the others that are ready come before it. */
void
spool_entry_last(SpoolEntry *entry)
{
	set_linked(entry, LIST_READY, false);
	spool_entry_link(entry);
}

/* The entry after one in a list, the first after NULL; NULL at the end. */
SpoolEntry *
spool_entry_next(EntryList list, const SpoolEntry *entry)
{
	int32		place;

	place = entry ? entry->links[list].next : spool_shared->heads[list];
	return place == SPOOL_NOWHERE ? NULL : &spool_shared->entries[place];
}

/* Forget hints for now: all streams will be looked at. */
static void
drop_due(SpoolEntry *entry)
{
	int			n = 0;

	for (int i = 0; i < entry->nhints; i++)
		if (entry->hints[i].due != 0)
			entry->hints[n++] = entry->hints[i];
	entry->nhints = n;
	entry->ndue = 0;
}

/*
 * Remember that a stream, or SPOOL_ALL_STREAMS, is to be looked at: now (due
 * 0) or from then on.
 */
void
spool_entry_add(SpoolEntry *entry, int64 stream, TimestampTz due)
{
	/* who waits is told at once, but for what is due later */
	if ((entry->limit == 0 && (due == 0 || entry->waiters == 0)) ||
		(due == 0 && entry->all))
		return;
	if (due == 0 && entry->rest_until != 0)
	{
		stream = SPOOL_ALL_STREAMS;
		due = entry->rest_until;
	}
	if (stream != SPOOL_ALL_STREAMS)
	{
		for (int i = 0; i < entry->nhints; i++)
		{
			SpoolHint  *hint = &entry->hints[i];

			if (hint->stream != stream)
				continue;
			if (hint->due > due)
			{
				hint->due = due;
				entry->ndue += due == 0;
			}
			spool_entry_link(entry);
			return;
		}
		if (entry->nhints < SPOOL_MAX_HINTS)
		{
			entry->hints[entry->nhints].stream = stream;
			entry->hints[entry->nhints++].due = due;
			entry->ndue += due == 0;
			spool_entry_link(entry);
			return;
		}
	}
	if (due == 0)
	{
		entry->all = true;
		drop_due(entry);
	}
	else
	{
		if (entry->all_due == 0 || due < entry->all_due)
			entry->all_due = due;
		entry->all_until = Max(entry->all_until, due);
	}
	spool_entry_link(entry);
}

/*
 * Have a queue left alone until then, as it cannot be worked on; then all is
 * looked at.
 */
void
spool_entry_rest(SpoolEntry *entry, TimestampTz until)
{
	if (entry->limit == 0)
		return;
	entry->all = false;
	drop_due(entry);
	entry->rest_until = until;
	spool_entry_add(entry, SPOOL_ALL_STREAMS, until);
}

/* It may be worked on again. */
void
spool_entry_rested(SpoolEntry *entry)
{
	if (entry->rest_until == 0)
		return;
	entry->rest_until = 0;
	entry->refusals = Min(entry->refusals, 1);
	spool_entry_add(entry, SPOOL_ALL_STREAMS, 0);
}

/* No worker is to run on an entry any more. */
void
spool_entry_close(SpoolEntry *entry)
{
	entry->limit = 0;
	entry->rest_until = 0;
	entry->refusals = 0;
	entry->all = false;
	entry->all_due = entry->all_until = 0;
	entry->nhints = entry->ndue = 0;
	spool_entry_link(entry);
	spool_entry_release(entry);
}

/*
 * What was to be looked at later and is due now becomes so.  Returns the next
 * time at which something is, DT_NOEND if nothing.
 */
TimestampTz
spool_entries_due(Oid database, TimestampTz now)
{
	TimestampTz next = DT_NOEND;
	SpoolEntry *following;

	for (SpoolEntry *entry = spool_entry_next(LIST_TIMED, NULL);
		 entry != NULL; entry = following)
	{
		bool		news = false;

		following = spool_entry_next(LIST_TIMED, entry);
		if (entry->database != database)
			continue;
		if (entry->rest_until <= now)
			entry->rest_until = 0;
		for (int i = 0; i < entry->nhints; i++)
		{
			SpoolHint  *hint = &entry->hints[i];

			if (hint->due == 0)
				continue;
			if (hint->due > now)
			{
				next = Min(next, hint->due);
				continue;
			}
			hint->due = 0;
			entry->ndue++;
			news = true;
		}
		if (entry->all_due != 0 && entry->all_due <= now)
		{
			/* of those that had no room only the earliest is known */
			entry->all_due = entry->all_until <= now ? 0 :
				Min(entry->all_until,
					TimestampTzPlusMilliseconds(now, spool_sweep_interval));
			if (entry->all_due == 0)
				entry->all_until = 0;
			entry->all = true;
			drop_due(entry);
			news = true;
		}
		if (entry->all_due != 0)
			next = Min(next, entry->all_due);
		if (entry->limit == 0)
		{
			entry->all = false;
			drop_due(entry);
		}
		spool_entry_link(entry);
		if (news)
			spool_entry_told(entry);
	}
	return next;
}

/* What the launcher is told of a database; NULL if there is none or no room. */
SpoolDatabase *
spool_database_find(Oid database, bool make)
{
	SpoolDatabase *unused_one = NULL;

	for (int i = 0; i < SPOOL_MAX_DATABASES; i++)
	{
		SpoolDatabase *known = &spool_shared->databases[i];

		if (known->database == database)
			return known;
		if (known->holds == 0 && !known->stopped && !known->asked)
			unused_one = known;
	}
	if (!make || unused_one == NULL)
		return NULL;
	memset(unused_one, 0, sizeof(SpoolDatabase));
	unused_one->database = database;
	return unused_one;
}
