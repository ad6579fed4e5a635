/*-------------------------------------------------------------------------
 * news.c
 *	  CALL wait: sleep until there is news of a queue.
 *
 * Who waits counts in the queue's entry, which keeps it there, and sleeps on
 * its condition variable; hints that are told (hint.c) count as news and wake
 * all who wait.  A session waits for one queue at a time.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"

#include "compat.h"
#include "shared.h"
#include "spool.h"

/* The queue that is waited for, and the news that were told. */
static int32 waited_queue = 0;
static uint64 waited_news;

static void stop_waiting(int code, Datum arg);

/*
 * Begin to wait for a queue: what happens from now on is told by spool_wait.
 * False if there is no shared memory, or no room in it.  Whoever calls this
 * calls spool_wait_end in any case, also after an error.
 */
bool
spool_wait_begin(int32 queue)
{
	static bool registered = false;
	SpoolEntry *entry;

	if (spool_shared == NULL)
		return false;
	if (!registered)
		before_shmem_exit(stop_waiting, (Datum) 0);
	registered = true;
	spool_lock();
	entry = spool_entry_make(MyDatabaseId, queue);
	if (entry != NULL)
	{
		entry->waiters++;
		waited_queue = queue;
		waited_news = entry->news;
	}
	spool_unlock();
	return entry != NULL;
}

/* Wait until there is news since the last time, true, or for so long. */
bool
spool_wait(int32 queue, long timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  timeout_ms);
	uint32		event = compat_wait_event("SpoolWait");
	SpoolEntry *entry;
	bool		told;

	spool_lock();
	entry = spool_entry_find(MyDatabaseId, queue);
	spool_unlock();

	/* it is kept while it is waited for */
	ConditionVariablePrepareToSleep(&entry->cv);
	for (;;)
	{
		long		left;

		spool_lock();
		told = entry->news != waited_news;
		waited_news = entry->news;
		spool_unlock();
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		if (told || left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&entry->cv, left, event);
	}
	ConditionVariableCancelSleep();
	return told;
}

/* End to wait; no error if it was ended before. */
void
spool_wait_end(int32 queue)
{
	SpoolEntry *entry;

	if (waited_queue != queue || queue == 0)
		return;
	waited_queue = 0;
	spool_lock();
	entry = spool_entry_find(MyDatabaseId, queue);
	if (--entry->waiters == 0 && entry->limit == 0)
		spool_entry_close(entry);
	spool_unlock();
}

/* At exit. */
static void
stop_waiting(int code, Datum arg)
{
	spool_wait_end(waited_queue);
}
