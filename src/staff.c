/*-------------------------------------------------------------------------
 * staff.c
 *	  The workers of a database: as many as are needed, as far as possible.
 *
 * For each role whose queues have work and room, the manager starts workers
 * until there is one for each stream that is hinted at; one for "all streams",
 * which tells of the streams it finds.  Idle ones and those on their way count.
 *
 * All databases share spool.max_workers slots.  If none is free, workers of
 * others are asked to leave: idle ones, then of those roles that have more,
 * then, once a second, any.  The manager tries again when a slot was freed,
 * and each second, and warns when that did not help.
 *
 * A worker that ends before it connected (the role reached its limit of
 * connections, say) is started again after a delay that grows.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "shared.h"
#include "spool.h"
#include "staff.h"

#define WARN_MS 60000
#define PATIENCE_MS 1000
#define MAX_NEEDS 64

/* A role that owns queues with workers. */
typedef struct Owner
{
	Oid			role;
	bool		warned;			/* that its queues cannot be worked on */
	int			delay_ms;		/* after the last failure to start */
	TimestampTz next_try;
	TimestampTz room_at;		/* ask others for room, not before */
} Owner;

/* A worker that is being started, by its slot. */
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

static TimestampTz starved_since = 0;	/* 0 = it is not */
static HTAB *owners;
static Starting *starting;

static Owner *owner_of(Oid role);
static bool check_starting(TimestampTz now);
static int	collect_needs(Need *needs);
static bool start_worker(Oid role, TimestampTz now);

void
spool_staff_init(void)
{
	HASHCTL		info;

	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(Owner);
	owners = hash_create("spool owners", 16, &info, HASH_ELEM | HASH_BLOBS);
	starting = MemoryContextAlloc(TopMemoryContext,
								  spool_shared->nworkers * sizeof(Starting));
	for (int i = 0; i < spool_shared->nworkers; i++)
		starting[i].place = SPOOL_NOWHERE;
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

/*
 * Whether a queue's owner was found unable to run jobs, and that was warned
 * of.
 */
bool *
spool_staff_warned(Oid role)
{
	return &owner_of(role)->warned;
}

/* Something is short, or not any more: warn once, until it was not. */
void
spool_staff_short(SpoolShortage shortage, bool is_short)
{
	static bool was_short[NUM_SHORTAGES];
	static TimestampTz warned_at[NUM_SHORTAGES];
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

	if (is_short && !was_short[shortage] &&
		TimestampDifferenceExceeds(warned_at[shortage], now, WARN_MS))
	{
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%s", messages[shortage]),
				 errhint("%s", hints[shortage])));
		warned_at[shortage] = now;
	}
	was_short[shortage] = is_short;
}

/* See what became of the workers that were started; true if one failed. */
static bool
check_starting(TimestampTz now)
{
	bool		any_failed = false;

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
		any_failed |= failed;
		pfree(one->handle);
		one->place = SPOOL_NOWHERE;
	}
	return any_failed;
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

/*
 * Start the workers that are needed, as far as possible.  Returns when to try
 * again.  failed: whether a worker could not even connect.
 */
TimestampTz
spool_staff_start(TimestampTz now, bool *failed)
{
	Need		needs[MAX_NEEDS];
	int			n;
	bool		starved = false;
	TimestampTz start_at = DT_NOEND;

	*failed = check_starting(now);
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
		start_at = Min(start_at,
					   TimestampTzPlusMilliseconds(now, PATIENCE_MS));
	if (!starved)
		starved_since = 0;
	else if (starved_since == 0)
		starved_since = now;
	spool_lock();
	spool_my_slot->starved = starved;
	spool_unlock();
	return start_at;
}

/* Start a worker; false if there is no slot or process for it. */
static bool
start_worker(Oid role, TimestampTz now)
{
	Starting   *one;
	int			place = spool_slot_take(false, MyDatabaseId, role);
	MemoryContext old;

	if (place == SPOOL_NOWHERE)
	{
		Owner	   *owner = owner_of(role);

		if (now >= owner->room_at)
		{
			spool_make_room(MyDatabaseId, role);
			owner->room_at = TimestampTzPlusMilliseconds(now, PATIENCE_MS);
		}
		if (starved_since != 0 &&
			TimestampDifferenceExceeds(starved_since, now, PATIENCE_MS - 1))
			spool_staff_short(SHORT_SLOTS, true);
		return false;
	}
	spool_staff_short(SHORT_SLOTS, false);
	one = &starting[place];
	if (one->place != SPOOL_NOWHERE)
		pfree(one->handle);		/* that one is gone already */
	one->place = SPOOL_NOWHERE;
	one->generation = spool_shared->slots[place].generation;
	one->role = role;
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (spool_slot_launch(place, &one->handle))
		one->place = place;
	MemoryContextSwitchTo(old);
	if (one->place == SPOOL_NOWHERE)
	{
		spool_staff_short(SHORT_PROCESSES, true);
		return false;
	}
	spool_staff_short(SHORT_PROCESSES, false);
	return true;
}
