/*-------------------------------------------------------------------------
 * work.c
 *	  What workers do with hints.
 *
 * A worker enters a queue of its role and database that has work and room,
 * takes hints, looks at what they name, and takes again until there is
 * nothing, then leaves.  A worker that finds no queue is idle and sleeps until
 * its latch is set.  Whatever gives work to a queue wakes one idle worker; one
 * that enters a queue while another has work, or takes hints and leaves some,
 * wakes the next.
 *
 * Streams that a worker took, and then those it has, are in its hand until it
 * takes again, puts others back or leaves: other workers are not woken for
 * them, the worker itself gets them again with its next take if there was
 * news.  That saves looks at streams that are owned; nothing depends on it.
 *
 * What a worker had in hand when it died is lost; all streams of the queue
 * are looked at then.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "shared.h"
#include "spool.h"

/*
 * How long a queue is left alone that is not to be worked on; and when its
 * command may not run, which the manager may not learn when it changes.
 */
#define REST_MS			1000
#define LONG_REST_MS	60000

static SpoolEntry *next_ready(SpoolEntry *entry);
static void let_go(SpoolEntry *entry);
static void rest(SpoolEntry *entry, int64 ms);
static SpoolEntry *my_entry(int32 queue);

/*
 * The start of a worker's main function, before it connects: where and as
 * whom.  Ends the process if it is not wanted any more.
 */
void
spool_worker_attach(Datum arg, Oid *database, Oid *owner)
{
	spool_slot_attach(arg, false);
	*database = spool_my_slot->database;
	*owner = spool_my_slot->owner;
}

/* The entry of the queue that this worker is in. */
static SpoolEntry *
my_entry(int32 queue)
{
	Assert(spool_my_slot->queue == queue);
	return spool_entry_find(spool_my_slot->database, queue);
}

/* The next queue after one, or NULL, that this worker could enter, or NULL. */
static SpoolEntry *
next_ready(SpoolEntry *entry)
{
	do
	{
		entry = spool_entry_next(LIST_READY, entry);
	} while (entry != NULL &&
			 (entry->database != spool_my_slot->database ||
			  entry->owner != spool_my_slot->owner));
	return entry;
}

/* Enter the next queue with work; false, and idle, if there is none. */
bool
spool_work_enter(int32 *queue)
{
	SpoolSlot  *slot = spool_my_slot;
	SpoolEntry *entry = NULL;

	if (!slot->ready)
		spool_slot_ready();
	spool_lock();
	if (!slot->leave)
		entry = next_ready(NULL);
	slot->idle = entry == NULL;
	if (entry != NULL)
	{
		SpoolEntry *other = next_ready(entry);

		slot->queue = *queue = entry->queue;
		slot->job_at = 0;
		slot->ntaken = 0;
		slot->again = 0;
		entry->running++;
		spool_entry_last(entry);
		if (other != NULL)
			spool_wake_worker(other);
	}
	else
		for (int i = spool_shared->nworkers; i < spool_shared->nslots; i++)
			if (spool_shared->slots[i].starved)
				spool_wake(&spool_shared->slots[i]);
	spool_unlock();
	return entry != NULL;
}

/* Open the hand: what got news meanwhile is a hint again. */
static void
let_go(SpoolEntry *entry)
{
	SpoolSlot  *slot = spool_my_slot;

	for (int i = 0; i < slot->ntaken; i++)
		if (slot->again & ((uint32) 1 << i))
			spool_entry_add(entry, slot->taken[i], 0);
	slot->ntaken = 0;
	slot->again = 0;
}

/* Take what is to be looked at now: at most so many streams, or all. */
void
spool_work_take(int32 queue, int max, SpoolWork *work)
{
	SpoolSlot  *slot = spool_my_slot;
	SpoolEntry *entry;
	int			n = 0;

	work->queue = queue;
	work->nstreams = 0;
	spool_lock();
	entry = my_entry(queue);
	let_go(entry);
	work->all = entry->all;
	work->room = entry->running < entry->limit;
	entry->all = false;
	entry->refusals = 0;
	for (int i = 0; i < entry->nhints; i++)
	{
		SpoolHint  *hint = &entry->hints[i];

		if (hint->due == 0 && work->nstreams < max)
			work->streams[work->nstreams++] = hint->stream;
		else
			entry->hints[n++] = *hint;
	}
	entry->nhints = n;
	entry->ndue -= work->nstreams;
	slot->ntaken = work->nstreams;
	memcpy(slot->taken, work->streams, work->nstreams * sizeof(int64));
	spool_entry_link(entry);
	spool_wake_worker(entry);
	spool_unlock();
}

/*
 * Give streams, or all, back to whoever takes next; in hand are now the first
 * of those that the worker has.  After the commit of what was done in them.
 */
void
spool_work_put(int32 queue, const int64 *streams, int nstreams, bool all,
			   const int64 *own, int nown)
{
	SpoolSlot  *slot = spool_my_slot;
	SpoolEntry *entry;

	spool_lock();
	entry = my_entry(queue);
	let_go(entry);
	for (int i = 0; i < nstreams; i++)
		spool_entry_add(entry, streams[i], 0);
	if (all)
		spool_entry_add(entry, SPOOL_ALL_STREAMS, 0);
	slot->ntaken = Min(nown, SPOOL_MAX_HINTS);
	memcpy(slot->taken, own, slot->ntaken * sizeof(int64));
	spool_entry_told(entry);
	spool_unlock();
}

/* Have an entry left alone for so long. */
static void
rest(SpoolEntry *entry, int64 ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	SpoolSlot  *manager = spool_manager_slot(entry->database);

	spool_entry_rest(entry, until);
	if (manager != NULL && until < manager->wake_at)
		spool_wake(manager);
}

/* Have the queue left alone for so long, after an error. */
void
spool_work_rest(int32 queue, int64 ms)
{
	spool_lock();
	rest(my_entry(queue), ms);
	spool_unlock();
}

/*
 * Have the queue left alone: it is not to be worked on, or (lasting) its
 * command may not run.  Who learns of a change may be faster than the worker,
 * so it is tried some times before it is left alone for long.  True if a
 * lasting one is new.
 */
bool
spool_work_refuse(int32 queue, bool lasting)
{
	SpoolEntry *entry;
	bool		news;

	spool_lock();
	entry = my_entry(queue);
	news = lasting && entry->refusals == 0;
	rest(entry, lasting && entry->refusals > 2 ? LONG_REST_MS : REST_MS);
	if (lasting && entry->refusals <= 2)
		entry->refusals++;
	spool_unlock();
	return news;
}

/* Leave the queue. */
void
spool_work_leave(int32 queue)
{
	SpoolEntry *entry;

	spool_lock();
	entry = my_entry(queue);
	let_go(entry);
	spool_my_slot->queue = 0;
	spool_my_slot->job_at = 0;
	entry->running--;
	spool_entry_link(entry);
	spool_wake_worker(entry);
	spool_entry_release(entry);
	spool_unlock();
}

/* Whether another queue of this role has work, room, and nobody to come. */
bool
spool_work_elsewhere(int32 queue)
{
	SpoolSlot  *slot = spool_my_slot;
	SpoolEntry *entry = NULL;

	/* a look without the lock: nothing is ready at all */
	if (spool_shared->heads[LIST_READY] == SPOOL_NOWHERE)
		return false;
	LWLockAcquire(&spool_shared->lock, LW_SHARED);
	do
	{
		entry = next_ready(entry);
	} while (entry != NULL && entry->queue == queue);
	for (int i = 0; entry != NULL && i < spool_shared->nworkers; i++)
	{
		SpoolSlot  *other = &spool_shared->slots[i];

		if (other->state != SLOT_FREE && !other->leave && other->queue == 0 &&
			other->database == slot->database && other->owner == slot->owner)
			entry = NULL;
	}
	spool_unlock();
	return entry != NULL;
}

/* Whether this worker is to end. */
bool
spool_work_stopping(void)
{
	return spool_my_slot->leave;
}

/* What this worker runs, for the view workers; 0: nothing. */
void
spool_work_running(int64 stream, int64 seq)
{
	spool_my_slot->stream = stream;
	spool_my_slot->seq = seq;
	spool_my_slot->job_at = GetCurrentTimestamp();
}
