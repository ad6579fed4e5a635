/*-------------------------------------------------------------------------
 * birth.c
 *	  Streams that open transactions create, in shared memory.
 *
 * Only with the library preloaded.  Who enqueues into a stream that is not
 * there creates it later: its packets lie under the id that the stream will
 * have, and the row is inserted before the commit (unborn.c).  This says which
 * id that is, so that those who create one stream at a time agree on it and
 * wait for nobody until then.
 *
 * An entry is a stream, known by its queue and by 128 bits of hash of its
 * name, and has the list of the transactions that create it.  A transaction
 * enters before it looks for the stream the last time, and leaves when it has
 * ended and all that it did is visible.  So who finds no stream after it has
 * entered knows: whoever creates it, and has not been in vain, is in the entry
 * or will come to it, and uses the same id.  A transaction never leaves before
 * its end, also not when a savepoint is rolled back.
 *
 * Other verbs create at once, and what they do may depend on nobody else's
 * having numbers of the stream, or on who numbers it.  Such a one enters when
 * nobody creates the stream later; who comes meanwhile creates at once too, and
 * waits for it at the row, as all do without preload.  A transaction may be
 * both.
 *
 * Where no room is left streams are created at once, unknown here.  They and
 * those of prepared transactions, which left, may meet one with another id:
 * then who creates later fails at its commit with 40001.
 *
 * The memory is fixed at start and guarded by one lock that is held for short.
 * Links are places in arrays.  Leaving neither allocates nor raises errors.  A
 * crash restarts the server with empty memory; nothing of these transactions
 * is left then.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "birth.h"
#include "spiutil.h"
#include "spool.h"

#define TRANCHE_NAME "SpoolBirths"

/* Streams created at a time, and transactions that do so, each counted once. */
#define NUM_BIRTHS 4096
#define NUM_PARENTS (2 * NUM_BIRTHS)

/* No place in an array. */
#define NOWHERE (-1)

typedef struct BirthKey
{
	uint64		name[2];
	Oid			database;
	Oid			table;			/* spool.stream */
	int32		queue;
	int32		unused;
} BirthKey;

/* A stream. */
typedef struct Birth
{
	BirthKey	key;
	int64		stream;
	int32		first;			/* who creates it */
	int32		chain;			/* next of the same hash, or next free one */
} Birth;

/* A transaction that creates it. */
typedef struct Parent
{
	VirtualTransactionId vxid;
	int			pid;
	bool		at_once;
	int32		birth;
	int32		next;			/* of the same stream, or next free one */
	int32		mine;			/* next of the same transaction */
} Parent;

typedef struct BirthShared
{
	int32		free_birth;
	int32		free_parent;
	int32		buckets[NUM_BIRTHS];
	Birth		births[NUM_BIRTHS];
	Parent		parents[NUM_PARENTS];
} BirthShared;

static BirthShared *shared = NULL;	/* NULL = not preloaded */
static LWLock *lock;

/* What this transaction creates. */
static int32 mine = NOWHERE;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static void request_memory(void);
static void start_memory(void);
static void initialize(void);
static void make_key(BirthKey *key, int32 queue, const char *name);
static int32 *bucket_of(const BirthKey *key);
static Birth *find_birth(const BirthKey *key);
static Birth *make_birth(const BirthKey *key, int64 stream);
static void forget_birth(Birth *birth);
static bool must_not(const Birth *birth, bool later,
					 VirtualTransactionId *other);
static bool join(Birth *birth, bool later);

/* Ask for shared memory if there is still time. */
void
spool_birth_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
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
	RequestAddinShmemSpace(MAXALIGN(sizeof(BirthShared)));
	RequestNamedLWLockTranche(TRANCHE_NAME, 1);
}

static void
start_memory(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("spool births", sizeof(BirthShared), &found);
	lock = &GetNamedLWLockTranche(TRANCHE_NAME)->lock;
	if (!found)
		initialize();
	LWLockRelease(AddinShmemInitLock);
}

static void
initialize(void)
{
	memset(shared, 0, sizeof(BirthShared));
	for (int i = 0; i < NUM_BIRTHS; i++)
	{
		shared->buckets[i] = NOWHERE;
		shared->births[i].chain = i + 1 < NUM_BIRTHS ? i + 1 : NOWHERE;
	}
	for (int i = 0; i < NUM_PARENTS; i++)
		shared->parents[i].next = i + 1 < NUM_PARENTS ? i + 1 : NOWHERE;
}

static void
make_key(BirthKey *key, int32 queue, const char *name)
{
	const unsigned char *bytes = (const unsigned char *) name;
	int			length = strlen(name);

	memset(key, 0, sizeof(BirthKey));
	key->name[0] = hash_bytes_extended(bytes, length, 0);
	key->name[1] = hash_bytes_extended(bytes, length, PG_UINT64_MAX);
	key->database = MyDatabaseId;
	key->table = spool_relation_oid("stream");
	key->queue = queue;
}

static int32 *
bucket_of(const BirthKey *key)
{
	uint32		hash = hash_bytes((const unsigned char *) key, sizeof(BirthKey));

	return &shared->buckets[hash % NUM_BIRTHS];
}

/* The entry of a stream, or NULL. */
static Birth *
find_birth(const BirthKey *key)
{
	int32		place = *bucket_of(key);

	while (place != NOWHERE &&
		   memcmp(&shared->births[place].key, key, sizeof(BirthKey)) != 0)
		place = shared->births[place].chain;
	return place == NOWHERE ? NULL : &shared->births[place];
}

/* Make one that nobody is in; NULL if there is no room. */
static Birth *
make_birth(const BirthKey *key, int64 stream)
{
	int32	   *bucket = bucket_of(key);
	int32		place = shared->free_birth;
	Birth	   *birth;

	if (place == NOWHERE || shared->free_parent == NOWHERE)
		return NULL;
	birth = &shared->births[place];
	shared->free_birth = birth->chain;
	birth->key = *key;
	birth->stream = stream;
	birth->first = NOWHERE;
	birth->chain = *bucket;
	*bucket = place;
	return birth;
}

/* Nobody is in it any more. */
static void
forget_birth(Birth *birth)
{
	int32		place = birth - shared->births;
	int32	   *link = bucket_of(&birth->key);

	while (*link != place)
		link = &shared->births[*link].chain;
	*link = birth->chain;
	birth->chain = shared->free_birth;
	shared->free_birth = place;
}

/*
 * Whether those who are there keep this transaction from creating a stream
 * later, or at once; one of them is *other.
 */
static bool
must_not(const Birth *birth, bool later, VirtualTransactionId *other)
{
	for (int32 i = birth->first; i != NOWHERE; i = shared->parents[i].next)
	{
		const Parent *parent = &shared->parents[i];

		if (later ? parent->at_once :
			!parent->at_once && parent->pid != MyProcPid)
		{
			*other = parent->vxid;
			return true;
		}
	}
	return false;
}

/* Enter this transaction; false if there is no room. */
static bool
join(Birth *birth, bool later)
{
	int32		place = birth->first;
	Parent	   *parent;

	while (place != NOWHERE && shared->parents[place].pid != MyProcPid)
		place = shared->parents[place].next;
	if (place == NOWHERE)
	{
		place = shared->free_parent;
		if (place == NOWHERE)
			return false;
		parent = &shared->parents[place];
		shared->free_parent = parent->next;
		GET_VXID_FROM_PGPROC(parent->vxid, *MyProc);
		parent->pid = MyProcPid;
		parent->at_once = false;
		parent->birth = birth - shared->births;
		parent->next = birth->first;
		birth->first = place;
		parent->mine = mine;
		mine = place;
	}
	shared->parents[place].at_once |= !later;
	return true;
}

/*
 * Enter the creation of a stream that was not found, later if that is wanted
 * and can be.  *stream is an id that nobody uses, and becomes the one to use.
 * BIRTH_LATER: it is right if the stream is still not found.  BIRTH_WAIT:
 * nothing was done; *other creates it later.
 */
SpoolBirth
spool_birth_enter(int32 queue, const char *name, bool later, int64 *stream,
				  VirtualTransactionId *other)
{
	SpoolBirth	result = BIRTH_AT_ONCE;
	BirthKey	key;
	Birth	   *birth;

	if (shared == NULL)
		return result;
	make_key(&key, queue, name);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	birth = find_birth(&key);
	if (birth != NULL && must_not(birth, later, other))
		result = later ? BIRTH_AT_ONCE : BIRTH_WAIT;
	else
	{
		if (birth == NULL)
			birth = make_birth(&key, *stream);
		if (birth != NULL)
			*stream = birth->stream;
		if (birth != NULL && join(birth, later) && later)
			result = BIRTH_LATER;
	}
	LWLockRelease(lock);
	return result;
}

/* The transaction has ended: others see what it created. */
void
spool_birth_leave(void)
{
	if (mine == NOWHERE)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	while (mine != NOWHERE)
	{
		int32		place = mine;
		Parent	   *parent = &shared->parents[place];
		Birth	   *birth = &shared->births[parent->birth];
		int32	   *link = &birth->first;

		while (*link != place)
			link = &shared->parents[*link].next;
		*link = parent->next;
		parent->next = shared->free_parent;
		shared->free_parent = place;
		mine = parent->mine;
		if (birth->first == NOWHERE)
			forget_birth(birth);
	}
	LWLockRelease(lock);
}
