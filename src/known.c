/*-------------------------------------------------------------------------
 * known.c
 *	  Which streams of a queue may have anything to be handed out.
 *
 * Whoever looks for work among many streams would look at each of them.  For
 * some queues, those that were looked at in vain for long, shared memory has a
 * list of streams, with this promise:
 *
 *		A stream that is not in the list is idle: no packet lies at or above
 *		its cursor or ahead of it, and nobody owns it, as far as is committed.
 *
 * So who looks at the streams of the list only misses nothing that a look at
 * all would find.  The promise is made by a look at all streams, kept by who
 * commits, and given up in any doubt; then all streams are looked at.
 *
 * A stream gets from idle to not idle only by a transaction that hints at it
 * (spool_hint) or at all streams of its queue.  Pauses, retries, gaps, leases
 * and owners do not matter: a stream that waits for them is not idle.  Before
 * such a transaction commits, when it can do no more work, it announces its
 * streams: they are added to the list, and stay open until the transaction
 * has ended and told so.  Thus what it did is never visible without being in
 * the list.  The announcement of all streams gives the list up; so do hints at
 * everything, and the end of a prepared transaction, which announces nothing:
 * the session that ends it gives up all lists of the database before and
 * after.
 *
 * A list begins empty, with a look (spool_known_look_begin) at all streams
 * with snapshots taken from then on.  It gets what is announced meanwhile; at
 * the end (spool_known_look_end) those that the look did not find idle are
 * added, and the promise holds.  Transactions that announced before the list
 * began may become visible behind the look's back: those that were about to
 * commit when it began must have ended when it ends, or it was in vain.  To
 * tell this each backend counts, up before it announces, and up again after it
 * told; odd is "about to commit".
 *
 * A stream is taken off the list by who found it idle with a newest snapshot
 * after it had asked for the list, unless it is open or there was news of it
 * since.  Idle is only what does not come from the looker's own transaction,
 * which may be rolled back (around.c).
 *
 * As nothing can be proved about who writes into spool's tables by other means
 * than spool's functions, each list is checked by a look at all streams after
 * some time, by one who needs the list; the others go on using it.
 *
 * Beside the lists, it is remembered where looks at queues ended, for backends
 * that have not looked yet; nothing depends on it.
 *
 * Lists that overflow are given up, and not begun anew for some time.  There
 * are lists for some queues only: the one used least gives way.  A list is
 * known by its generation; no two have the same.  All is guarded by one lock
 * that is held for short; transaction callbacks neither allocate nor raise.
 * A crash restarts the server, and nothing is known.  Without preload nothing
 * ever is.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "known.h"
#include "shmem.h"
#include "spool.h"

/* Queues that have a list: so many sets of so many. */
#define NUM_SETS 32
#define SET_SIZE 4

/* Places that are remembered, one of the queues of the same hash. */
#define NUM_PLACES 1024

/* A list is checked after so long, or so many times what a look takes. */
#define CHECK_MS 60000
#define CHECK_FACTOR 100

/* It is not begun anew for so long, or so many times what the look took. */
#define REST_MS 1000
#define REST_FACTOR 20

typedef enum KnownPhase
{
	KNOWN_NOTHING,
	KNOWN_LOOKING,				/* the list has what was announced since */
	KNOWN_ALL					/* the promise holds */
} KnownPhase;

typedef struct KnownStream
{
	int64		stream;
	uint32		news;			/* changes with each announcement */
	uint32		open;			/* transactions that announced it */
} KnownStream;

typedef struct KnownQueue
{
	Oid			database;		/* with queue the key; invalid = free */
	int32		queue;
	KnownPhase	phase;
	uint32		generation;
	uint64		used;			/* when, by the clock of uses */
	int64		look_us;		/* what a look at all took */
	TimestampTz rest_until;		/* not begun anew before */
	TimestampTz check_at;
	int			nstreams;
	KnownStream streams[SPOOL_MAX_KNOWN];
} KnownQueue;

/* Where a look at a queue ended lately. */
typedef struct KnownPlace
{
	Oid			database;
	int32		queue;
	int64		stream;
} KnownPlace;

typedef struct KnownShared
{
	LWLock		lock;
	KnownPlace	places[NUM_PLACES];
	pg_atomic_uint32 used;		/* a queue has a list, or had one */
	uint32		generations;
	uint32		news;
	uint64		clock;
	KnownQueue	queues[NUM_SETS * SET_SIZE];
	int			nbackends;
	pg_atomic_uint32 commits[FLEXIBLE_ARRAY_MEMBER];
} KnownShared;

static KnownShared *shared = NULL;

static KnownQueue *set_of(int32 queue);
static KnownQueue *find(int32 queue);
static KnownQueue *find_or_make(int32 queue);
static void forget(KnownQueue *known);
static KnownStream *find_stream(KnownQueue *known, int64 stream);
static KnownStream *add_stream(KnownQueue *known, int64 stream);
static void rest(KnownQueue *known);
static bool still_committing(const SpoolKnownLook *look);
static KnownPlace *place_of(int32 queue);

#define lock_known() LWLockAcquire(&shared->lock, LW_EXCLUSIVE)
#define unlock_known() LWLockRelease(&shared->lock)

Size
spool_known_size(void)
{
	return add_size(offsetof(KnownShared, commits),
					mul_size(MaxBackends, sizeof(pg_atomic_uint32)));
}

/* At the start of the server, or of a process that attaches. */
void
spool_known_start(int tranche)
{
	bool		found;

	shared = ShmemInitStruct("spool streams", spool_known_size(), &found);
	if (found)
		return;
	memset(shared, 0, spool_known_size());
	LWLockInitialize(&shared->lock, tranche);
	pg_atomic_init_u32(&shared->used, 0);
	shared->nbackends = MaxBackends;
	for (int i = 0; i < shared->nbackends; i++)
		pg_atomic_init_u32(&shared->commits[i], 0);
}

/* Where the list of a queue may be. */
static KnownQueue *
set_of(int32 queue)
{
	uint32		hash = hash_combine(murmurhash32(MyDatabaseId),
									murmurhash32(queue));

	return &shared->queues[hash % NUM_SETS * SET_SIZE];
}

/* The list of a queue, or NULL. */
static KnownQueue *
find(int32 queue)
{
	KnownQueue *set = set_of(queue);

	for (int i = 0; i < SET_SIZE; i++)
		if (set[i].queue == queue && set[i].database == MyDatabaseId)
			return &set[i];
	return NULL;
}

/* The same, made if there is none, in the place of the one used least. */
static KnownQueue *
find_or_make(int32 queue)
{
	KnownQueue *set = set_of(queue);
	KnownQueue *known = find(queue);

	if (known != NULL)
		return known;
	known = &set[0];
	for (int i = 1; i < SET_SIZE; i++)
		if (set[i].used < known->used)
			known = &set[i];
	memset(known, 0, offsetof(KnownQueue, streams));
	known->database = MyDatabaseId;
	known->queue = queue;
	return known;
}

/* Give a list up. */
static void
forget(KnownQueue *known)
{
	known->phase = KNOWN_NOTHING;
	known->nstreams = 0;
}

/* Do not begin a list anew for some time. */
static void
rest(KnownQueue *known)
{
	known->rest_until = GetCurrentTimestamp() +
		Max(REST_MS * INT64CONST(1000), REST_FACTOR * known->look_us);
}

static KnownStream *
find_stream(KnownQueue *known, int64 stream)
{
	for (int i = 0; i < known->nstreams; i++)
		if (known->streams[i].stream == stream)
			return &known->streams[i];
	return NULL;
}

/* A stream of the list, added if need be; NULL, and no list, if it is full. */
static KnownStream *
add_stream(KnownQueue *known, int64 stream)
{
	KnownStream *found = find_stream(known, stream);

	if (found == NULL)
	{
		if (known->nstreams == SPOOL_MAX_KNOWN)
		{
			forget(known);
			rest(known);
			return NULL;
		}
		found = &known->streams[known->nstreams++];
		found->stream = stream;
		found->open = 0;
	}
	found->news = ++shared->news;
	return found;
}

/* This transaction is about to commit; before it announces anything. */
void
spool_known_commit_begin(void)
{
	if (shared != NULL)
		pg_atomic_fetch_add_u32(&shared->commits[compat_my_proc_number], 1);
}

/* It has told everything. */
void
spool_known_commit_end(void)
{
	if (shared != NULL)
		pg_atomic_fetch_add_u32(&shared->commits[compat_my_proc_number], 1);
}

/*
 * Announce that this transaction, which is about to commit, may have given
 * work to a stream, or to SPOOL_ALL_STREAMS.  What it returns is for
 * spool_known_told.
 */
uint32
spool_known_announce(int32 queue, int64 stream)
{
	uint32		generation = 0;
	KnownQueue *known;

	/* counting was a barrier: who begins a list now sees that we commit */
	if (shared == NULL || pg_atomic_read_u32(&shared->used) == 0)
		return 0;
	lock_known();
	known = find(queue);
	if (known != NULL && known->phase != KNOWN_NOTHING)
	{
		KnownStream *one;

		if (stream == SPOOL_ALL_STREAMS)
			forget(known);
		else if ((one = add_stream(known, stream)) != NULL)
		{
			one->open++;
			generation = known->generation;
		}
	}
	unlock_known();
	return generation;
}

/* The transaction that announced it has ended. */
void
spool_known_told(int32 queue, int64 stream, uint32 generation, bool committed)
{
	KnownQueue *known;

	if (shared == NULL || pg_atomic_read_u32(&shared->used) == 0)
		return;
	lock_known();
	known = find(queue);
	if (known == NULL || known->phase == KNOWN_NOTHING)
	{
		unlock_known();
		return;
	}
	if (generation == known->generation)
		find_stream(known, stream)->open--;
	if (!committed)
		;
	else if (stream == SPOOL_ALL_STREAMS)
		forget(known);
	else
		(void) add_stream(known, stream);
	unlock_known();
}

/* Give up all lists of this database. */
void
spool_known_forget(void)
{
	if (shared == NULL || pg_atomic_read_u32(&shared->used) == 0)
		return;
	lock_known();
	for (int i = 0; i < NUM_SETS * SET_SIZE; i++)
		if (shared->queues[i].database == MyDatabaseId)
			forget(&shared->queues[i]);
	unlock_known();
}

/* Get the list of a queue; false if there is none, or it is to be checked. */
bool
spool_known_get(int32 queue, SpoolKnown *known)
{
	TimestampTz now = GetCurrentTimestamp();
	KnownQueue *list;
	bool		found;

	if (shared == NULL || pg_atomic_read_u32(&shared->used) == 0)
		return false;
	lock_known();
	list = find(queue);
	if (list != NULL)
		list->used = ++shared->clock;
	found = list != NULL && list->phase == KNOWN_ALL;
	if (found && list->check_at <= now)
	{
		/* by the caller; another one, if that one does not */
		list->check_at = now +
			Max(REST_MS * INT64CONST(1000), 2 * list->look_us);
		found = false;
	}
	if (found)
	{
		known->generation = list->generation;
		known->nstreams = list->nstreams;
		for (int i = 0; i < list->nstreams; i++)
		{
			known->streams[i] = list->streams[i].stream;
			known->news[i] = list->streams[i].news;
		}
	}
	unlock_known();
	return found;
}

/* Some streams of a list, by their places in it, were found idle. */
void
spool_known_idle(int32 queue, const SpoolKnown *known, const int *places,
				 int nplaces)
{
	KnownQueue *list;

	lock_known();
	list = find(queue);
	if (list != NULL && list->phase != KNOWN_NOTHING &&
		list->generation == known->generation)
		for (int i = 0; i < nplaces; i++)
		{
			KnownStream *one = find_stream(list, known->streams[places[i]]);

			if (one != NULL && one->open == 0 &&
				one->news == known->news[places[i]])
				*one = list->streams[--list->nstreams];
		}
	unlock_known();
}

/*
 * Begin a look at all streams of a queue: what is read with snapshots from now
 * on counts.  False if it is not the time for it.
 */
bool
spool_known_look_begin(int32 queue, SpoolKnownLook *look)
{
	KnownQueue *known;

	if (shared == NULL)
		return false;
	memset(look, 0, sizeof(SpoolKnownLook));
	look->begun = GetCurrentTimestamp();
	look->backends = palloc(shared->nbackends * sizeof(int));
	look->commits = palloc(shared->nbackends * sizeof(uint32));

	lock_known();
	known = find_or_make(queue);
	known->used = ++shared->clock;
	if (known->rest_until > look->begun)
	{
		unlock_known();
		return false;
	}
	if (known->phase == KNOWN_NOTHING)
	{
		known->phase = KNOWN_LOOKING;
		known->nstreams = 0;
		known->generation = ++shared->generations;
	}
	look->generation = known->generation;
	pg_atomic_write_u32(&shared->used, 1);
	unlock_known();

	pg_memory_barrier();
	for (int i = 0; i < shared->nbackends; i++)
	{
		uint32		count = pg_atomic_read_u32(&shared->commits[i]);

		if (count % 2 == 0)
			continue;
		look->backends[look->ncommits] = i;
		look->commits[look->ncommits++] = count;
	}
	return true;
}

/* Whether a transaction that was about to commit then still is. */
static bool
still_committing(const SpoolKnownLook *look)
{
	for (int i = 0; i < look->ncommits; i++)
		if (pg_atomic_read_u32(&shared->commits[look->backends[i]]) ==
			look->commits[i])
			return true;
	return false;
}

/* End a look: all streams but these were found idle. */
void
spool_known_look_end(int32 queue, SpoolKnownLook *look, const int64 *streams,
					 int nstreams)
{
	KnownQueue *known;

	lock_known();
	known = find(queue);
	if (known != NULL && known->phase != KNOWN_NOTHING &&
		known->generation == look->generation && !still_committing(look))
	{
		TimestampTz now = GetCurrentTimestamp();

		known->look_us = Max(now - look->begun, 0);
		known->check_at = now + Max(CHECK_MS * INT64CONST(1000),
									CHECK_FACTOR * known->look_us);
		known->phase = KNOWN_ALL;
		for (int i = 0; i < nstreams && known->phase == KNOWN_ALL; i++)
			(void) add_stream(known, streams[i]);
	}
	unlock_known();
}

/* End a look that found too much. */
void
spool_known_look_vain(int32 queue, SpoolKnownLook *look)
{
	KnownQueue *known;

	lock_known();
	known = find(queue);
	if (known != NULL && known->generation == look->generation)
	{
		known->look_us = Max(GetCurrentTimestamp() - look->begun, 0);
		forget(known);
		rest(known);
	}
	unlock_known();
}

/* The stream where a look at a queue ended lately; 0 if none is remembered. */
int64
spool_known_place(int32 queue)
{
	const KnownPlace *place;
	int64		stream = 0;

	if (shared == NULL)
		return 0;
	place = place_of(queue);
	LWLockAcquire(&shared->lock, LW_SHARED);
	if (place->database == MyDatabaseId && place->queue == queue)
		stream = place->stream;
	unlock_known();
	return stream;
}

/* Remember it. */
void
spool_known_set_place(int32 queue, int64 stream)
{
	KnownPlace *place;

	if (shared == NULL)
		return;
	place = place_of(queue);
	lock_known();
	place->database = MyDatabaseId;
	place->queue = queue;
	place->stream = stream;
	unlock_known();
}

static KnownPlace *
place_of(int32 queue)
{
	return &shared->places[hash_combine(murmurhash32(MyDatabaseId),
										murmurhash32(queue)) % NUM_PLACES];
}
