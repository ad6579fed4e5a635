/*-------------------------------------------------------------------------
 * tell.c
 *	  Put a hint into the entry of a queue, and wake who is concerned.
 *
 * Called with the lock of shared memory held, also in transaction callbacks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "shared.h"
#include "spool.h"

static bool looked_at(const SpoolEntry *entry, int64 stream);

/* Something happened in a database: the manager will do its upkeep. */
void
spool_database_active(Oid database)
{
	SpoolSlot  *manager = spool_manager_slot(database);

	if (manager != NULL && !manager->active)
	{
		manager->active = true;
		spool_wake(manager);
	}
}

/* The same in a queue, which will be swept, too. */
void
spool_entry_active(SpoolEntry *entry)
{
	entry->active = true;
	spool_database_active(entry->database);
}

/* Whether a worker has a stream in hand; it is told that there is news. */
static bool
looked_at(const SpoolEntry *entry, int64 stream)
{
	for (int i = 0; entry->running > 0 && i < spool_shared->nworkers; i++)
	{
		SpoolSlot  *slot = &spool_shared->slots[i];

		if (slot->state != SLOT_RUNNING || slot->queue != entry->queue ||
			slot->database != entry->database)
			continue;
		for (int j = 0; j < slot->ntaken; j++)
			if (slot->taken[j] == stream)
			{
				slot->again |= (uint32) 1 << j;
				return true;
			}
	}
	return false;
}

/* Put a hint into an entry and wake who is concerned. */
void
spool_entry_tell(SpoolEntry *entry, int64 stream, TimestampTz due)
{
	spool_entry_active(entry);
	if (due != 0)
	{
		SpoolSlot  *manager = spool_manager_slot(entry->database);

		spool_entry_add(entry, stream, due);
		if (manager != NULL && due < manager->wake_at)
			spool_wake(manager);
		return;
	}
	if (stream == SPOOL_ALL_STREAMS || !looked_at(entry, stream))
		spool_entry_add(entry, stream, 0);
	spool_entry_told(entry);
}

/* Wake a worker for an entry, and those who wait for the queue. */
void
spool_entry_told(SpoolEntry *entry)
{
	spool_wake_worker(entry);
	entry->news++;
	if (entry->waiters > 0)
		ConditionVariableBroadcast(&entry->cv);
}
