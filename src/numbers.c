/*-------------------------------------------------------------------------
 * numbers.c
 *	  Numbers of streams in shared memory: the next, and those that open
 *	  transactions have.
 *
 * Only with the library preloaded.  Producers of a stream ordered by number
 * then wait for nobody: each takes the next numbers and notes here that its
 * transaction is open.  Packets become visible in another order than their
 * numbers; consumers ask for the bound up to which all is settled.
 *
 * An entry is a stream: its next number and the list of its open numbers, one
 * for each transaction that has any, with the lowest of them.  The list is in
 * the order of numbers, as the next number never goes down.  The key has the
 * oid of the table spool.stream, so an extension that was dropped and created
 * again begins with no entries.
 *
 * A transaction's numbers are settled when all is over and its packets are
 * visible, or never will be.  That is when hints are told (hint.c), so it
 * neither allocates memory nor raises errors.  Numbers of a subtransaction are
 * settled with the others.  A prepared transaction would have to keep them
 * through a restart: it is refused.
 *
 * After a rollback, also of a subtransaction, the numbers that were given last
 * are taken back if nobody else has been given any or waits since, so that
 * they are given again; what is not taken back is a hole.
 *
 * An entry without open numbers may be forgotten for another stream's, the
 * one that is unused for the longest time first.  So what is not here has no
 * open numbers, and its next number follows from what is committed; whoever
 * gives the first number again finds it there (numbering.c).
 *
 * The memory is fixed at start: partitions, each with a lock of its own, that
 * is held for short, and never while anything is read from disk.  Links are
 * places in arrays.  A crash of any process restarts the server with empty
 * memory, and no transaction is open then.  On a standby nothing is known of
 * the transactions that are open on the primary: nothing is noted here, and
 * no bound is known.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/guc.h"

#include "numbers.h"
#include "packet_type.h"
#include "spiutil.h"
#include "spool.h"

#define TRANCHE_NAME "SpoolNumbers"

/* Partitions, unless there is room for a few streams only. */
#define MAX_PARTITIONS 16
#define FEW_STREAMS 1024

/* No place in an array. */
#define NOWHERE (-1)

typedef struct StreamKey
{
	Oid			database;
	Oid			table;			/* spool.stream */
	int64		stream;
} StreamKey;

/* A stream. */
typedef struct NumbersEntry
{
	StreamKey	key;
	int64		next;
	bool		fixed;			/* it is committed that the queue numbers it */
	int32		chain;			/* next of the same hash, or next free one */
	int32		first;			/* its open numbers */
	int32		last;
	int32		idle_prev;		/* list of those that have none */
	int32		idle_next;
} NumbersEntry;

/* The open numbers of one transaction in one stream. */
typedef struct OpenNumbers
{
	SpoolHolder holder;
	int64		from;			/* the last ones, given one after the other */
	int64		below;
	SubTransactionId sub;		/* by this one; only its process looks */
	int32		entry;
	int32		prev;			/* in the entry */
	int32		next;			/* in the entry, or next free one */
	int32		mine;			/* next of the same transaction */
} OpenNumbers;

/* Each has an equal share of entries, buckets and open numbers. */
typedef struct NumbersPartition
{
	int32		free_entry;
	int32		free_open;
	int32		idle_head;		/* unused for the longest time */
	int32		idle_tail;
} NumbersPartition;

int			spool_max_streams_in_memory;

/* The arrays; NULL = not preloaded. */
static NumbersPartition *partitions = NULL;
static NumbersEntry *entries;
static OpenNumbers *opens;
static int32 *buckets;
static LWLockPadded *locks;
static int	npartitions;
static int	nentries;			/* in each partition, and as many buckets */
static int	nopens;

/* The open numbers of this transaction. */
static int32 mine = NOWHERE;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static void request_memory(void);
static void start_memory(void);
static void set_sizes(void);
static Size memory_size(void);
static void initialize(void);
static void refuse_prepare(XactEvent event, void *arg);
static int	lock_partition(int64 stream, LWLockMode mode, StreamKey *key,
						   int32 **bucket);
static int32 find_entry(int32 bucket, const StreamKey *key);
static int32 make_entry(int partition, int32 *bucket, const StreamKey *key);
static void forget_entry(int32 place);
static void set_idle(int partition, int32 place, bool idle);
static OpenNumbers *find_open(int32 place);
static OpenNumbers *make_open(int partition, int32 place);
static SpoolGiven give(int partition, int32 place, int count, int64 *first);
static void take_back(const OpenNumbers *open);
static void at_subtransaction_end(SubXactEvent event, SubTransactionId sub,
								  SubTransactionId parent, void *arg);

/* Define the setting, and ask for shared memory if there is still time. */
void
spool_numbers_init(void)
{
	bool		preload = process_shared_preload_libraries_in_progress;

	DefineCustomIntVariable("spool.max_streams_in_memory",
							"Sets the number of streams whose next number is kept in shared memory.",
							"Streams ordered by number, in all databases, that open transactions enqueue into, need it at the same time.",
							&spool_max_streams_in_memory, 65536, 16, 1 << 24,
							preload ? PGC_POSTMASTER : PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	if (!preload)
		return;
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_memory;
	RegisterXactCallback(refuse_prepare, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

/* Whether numbers are given here. */
bool
spool_numbers_shared(void)
{
	return partitions != NULL;
}

static void
set_sizes(void)
{
	npartitions = spool_max_streams_in_memory < FEW_STREAMS ? 1 :
		MAX_PARTITIONS;
	nentries = (spool_max_streams_in_memory + npartitions - 1) / npartitions;

	/* so many that any transaction can have the numbers of one stream */
	nopens = nentries + MaxBackends;
}

static Size
memory_size(void)
{
	Size		size = MAXALIGN(npartitions * sizeof(NumbersPartition));
	Size		streams = (Size) npartitions * nentries;

	size = add_size(size, mul_size(streams, sizeof(NumbersEntry)));
	size = add_size(size, mul_size((Size) npartitions * nopens,
								   sizeof(OpenNumbers)));
	return add_size(size, mul_size(streams, sizeof(int32)));
}

static void
request_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	set_sizes();
	RequestAddinShmemSpace(memory_size());
	RequestNamedLWLockTranche(TRANCHE_NAME, npartitions);
}

static void
start_memory(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	set_sizes();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	partitions = ShmemInitStruct("spool numbers", memory_size(), &found);
	entries = (NumbersEntry *) ((char *) partitions +
								MAXALIGN(npartitions * sizeof(NumbersPartition)));
	opens = (OpenNumbers *) (entries + (Size) npartitions * nentries);
	buckets = (int32 *) (opens + (Size) npartitions * nopens);
	locks = GetNamedLWLockTranche(TRANCHE_NAME);
	if (!found)
		initialize();
	LWLockRelease(AddinShmemInitLock);
}

static void
initialize(void)
{
	memset(partitions, 0, memory_size());
	for (int p = 0; p < npartitions; p++)
	{
		int32		entry = p * nentries;
		int32		open = p * nopens;

		partitions[p].free_entry = entry;
		partitions[p].free_open = open;
		partitions[p].idle_head = partitions[p].idle_tail = NOWHERE;
		for (int i = 0; i < nentries; i++)
		{
			buckets[entry + i] = NOWHERE;
			entries[entry + i].chain = i + 1 < nentries ? entry + i + 1 : NOWHERE;
		}
		for (int i = 0; i < nopens; i++)
			opens[open + i].next = i + 1 < nopens ? open + i + 1 : NOWHERE;
	}
}

/* Transaction callback. */
static void
refuse_prepare(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_PREPARE && mine != NOWHERE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has enqueued into a stream ordered by number"),
				 errdetail("Whoever consumes the stream waits for its numbers, or for the cursor that it set."),
				 errhint("Enqueue in another transaction, or into a queue in order \"timestamp\", \"latest\" or \"none\".")));
}

/*
 * Lock the partition of a stream; *key and *bucket get the stream's.  Returns
 * the partition.
 */
static int
lock_partition(int64 stream, LWLockMode mode, StreamKey *key, int32 **bucket)
{
	uint32		hash;
	int			partition;

	key->database = MyDatabaseId;
	key->table = spool_relation_oid("stream");
	key->stream = stream;
	hash = hash_bytes((unsigned char *) key, sizeof(StreamKey));
	partition = hash % npartitions;
	*bucket = &buckets[partition * nentries + hash / npartitions % nentries];
	LWLockAcquire(&locks[partition].lock, mode);
	return partition;
}

/* The place of a stream's entry in a bucket, or NOWHERE. */
static int32
find_entry(int32 bucket, const StreamKey *key)
{
	int32		place = bucket;

	while (place != NOWHERE &&
		   memcmp(&entries[place].key, key, sizeof(StreamKey)) != 0)
		place = entries[place].chain;
	return place;
}

/* Make an entry without numbers; NOWHERE if all have open ones. */
static int32
make_entry(int partition, int32 *bucket, const StreamKey *key)
{
	NumbersPartition *p = &partitions[partition];
	NumbersEntry *entry;
	int32		place;

	if (p->free_entry == NOWHERE && p->idle_head != NOWHERE)
	{
		place = p->idle_head;
		set_idle(partition, place, false);
		forget_entry(place);
		entries[place].chain = p->free_entry;
		p->free_entry = place;
	}
	place = p->free_entry;
	if (place == NOWHERE)
		return NOWHERE;
	entry = &entries[place];
	p->free_entry = entry->chain;
	memset(entry, 0, sizeof(NumbersEntry));
	entry->key = *key;
	entry->first = entry->last = NOWHERE;
	entry->chain = *bucket;
	*bucket = place;
	set_idle(partition, place, true);
	return place;
}

/* Take an entry out of its bucket. */
static void
forget_entry(int32 place)
{
	uint32		hash = hash_bytes((unsigned char *) &entries[place].key,
								  sizeof(StreamKey));
	int32	   *link = &buckets[hash % npartitions * nentries +
								hash / npartitions % nentries];

	while (*link != place)
		link = &entries[*link].chain;
	*link = entries[place].chain;
}

/* Put an entry at the end of the list of those without numbers, or off it. */
static void
set_idle(int partition, int32 place, bool idle)
{
	NumbersPartition *p = &partitions[partition];
	NumbersEntry *entry = &entries[place];

	if (idle)
	{
		entry->idle_prev = p->idle_tail;
		entry->idle_next = NOWHERE;
		*(p->idle_tail == NOWHERE ? &p->idle_head :
		  &entries[p->idle_tail].idle_next) = place;
		p->idle_tail = place;
		return;
	}
	*(entry->idle_prev == NOWHERE ? &p->idle_head :
	  &entries[entry->idle_prev].idle_next) = entry->idle_next;
	*(entry->idle_next == NOWHERE ? &p->idle_tail :
	  &entries[entry->idle_next].idle_prev) = entry->idle_prev;
}

/* This transaction's open numbers in an entry, or NULL. */
static OpenNumbers *
find_open(int32 place)
{
	int32		open;

	/* the last stream is often the next one */
	if (mine == NOWHERE || opens[mine].entry == place)
		return mine == NOWHERE ? NULL : &opens[mine];
	for (open = entries[place].first; open != NOWHERE; open = opens[open].next)
		if (opens[open].holder.pid == MyProcPid)
			return &opens[open];
	return NULL;
}

/* The same, noted from the next number on; NULL if there is no room. */
static OpenNumbers *
make_open(int partition, int32 place)
{
	NumbersPartition *p = &partitions[partition];
	NumbersEntry *entry = &entries[place];
	int32		number = p->free_open;
	OpenNumbers *open;

	if (number == NOWHERE)
		return NULL;
	if (entry->first == NOWHERE)
		set_idle(partition, place, false);
	open = &opens[number];
	p->free_open = open->next;
	open->holder.number = entry->next;
	open->holder.pid = MyProcPid;
	open->holder.since = GetCurrentStatementStartTimestamp();
	GET_VXID_FROM_PGPROC(open->holder.vxid, *MyProc);
	open->from = open->below = entry->next;
	open->sub = InvalidSubTransactionId;
	open->entry = place;
	open->prev = entry->last;
	open->next = NOWHERE;
	*(entry->last == NOWHERE ? &entry->first : &opens[entry->last].next) = number;
	entry->last = number;
	open->mine = mine;
	mine = number;
	return open;
}

/* Give numbers of an entry. */
static SpoolGiven
give(int partition, int32 place, int count, int64 *first)
{
	NumbersEntry *entry = &entries[place];
	SubTransactionId sub = GetCurrentSubTransactionId();
	OpenNumbers *open;

	if (entry->next > SPOOL_MAX_SEQ - count + 1)
		return NUMBERS_EXHAUSTED;
	open = find_open(place);
	if (open == NULL)
		open = make_open(partition, place);
	if (open == NULL)
		return NUMBERS_FULL;
	if (open->below != entry->next || open->sub != sub)
		open->from = entry->next;
	open->sub = sub;
	*first = entry->next;
	entry->next += count;
	open->below = entry->next;
	return NUMBERS_GIVEN;
}

/*
 * Take back the numbers that were given last, if they are the last of all.
 * Nobody's open numbers, also none that were not given, are above the next.
 */
static void
take_back(const OpenNumbers *open)
{
	NumbersEntry *entry = &entries[open->entry];

	if (entry->next == open->below)
		entry->next = Max(open->from, opens[entry->last].holder.number);
}

/* Subtransaction callback. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId sub,
					  SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	for (int32 number = mine; number != NOWHERE; number = opens[number].mine)
	{
		OpenNumbers *open = &opens[number];
		LWLock	   *lock = &locks[open->entry / nentries].lock;

		if (open->sub != sub)
			continue;
		open->sub = parent;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			continue;
		LWLockAcquire(lock, LW_EXCLUSIVE);
		take_back(open);
		LWLockRelease(lock);

		/* those before were given by somebody else */
		open->from = open->below;
	}
}

/*
 * Give the next numbers of a stream to this transaction, not below least, and
 * note that it has numbers of it, also with a count of 0.  A stream that is
 * not in memory begins with least, unless that is negative.
 */
SpoolGiven
spool_numbers_give(int64 stream, int count, int64 least, SpoolChecked checked,
				   int64 *first)
{
	StreamKey	key;
	int32	   *bucket;
	int			partition = lock_partition(stream, LW_EXCLUSIVE, &key, &bucket);
	int32		place = find_entry(*bucket, &key);
	SpoolGiven	given = NUMBERS_MISSING;

	if (place == NOWHERE && least >= 0)
	{
		place = make_entry(partition, bucket, &key);
		if (place == NOWHERE)
			given = NUMBERS_FULL;
	}
	if (place != NOWHERE)
	{
		NumbersEntry *entry = &entries[place];

		entry->next = Max(entry->next, least);
		entry->fixed |= checked == NUMBERS_FIXED;
		if (checked != NUMBERS_UNCHECKED || entry->fixed)
			given = give(partition, place, count, first);
	}
	LWLockRelease(&locks[partition].lock);
	return given;
}

/*
 * The number up to which a stream's packets may be handed out: those below
 * are visible to a snapshot that is taken now, or never come.  seen: the
 * number of a packet that an older snapshot sees.  -1 if nothing is known.
 * Numbers of this transaction do not count.  *holder, if not NULL, gets who
 * has the lowest of the others'.
 *
 * If the stream is not in memory no transaction has numbers of it.  Those
 * that are given from now on are above all that are visible before.
 */
int64
spool_numbers_bound(int64 stream, int64 seen, SpoolHolder *holder)
{
	StreamKey	key;
	int32	   *bucket;
	int			partition;
	int32		place;
	int64		bound = seen;

	if (holder != NULL)
		holder->pid = 0;
	if (RecoveryInProgress())
		return -1;
	partition = lock_partition(stream, LW_SHARED, &key, &bucket);
	place = find_entry(*bucket, &key);
	if (place != NOWHERE)
	{
		int32		open = entries[place].first;

		bound = entries[place].next;
		if (open != NOWHERE && opens[open].holder.pid == MyProcPid)
			open = opens[open].next;
		if (open != NOWHERE)
		{
			bound = opens[open].holder.number;
			if (holder != NULL)
				*holder = opens[open].holder;
		}
	}
	LWLockRelease(&locks[partition].lock);
	return bound;
}

/* The transaction has ended: all its numbers are settled.  True if it had any. */
bool
spool_numbers_release(bool committed)
{
	bool		had = mine != NOWHERE;

	while (mine != NOWHERE)
	{
		OpenNumbers *open = &opens[mine];
		int32		place = open->entry;
		int			partition = place / nentries;
		NumbersPartition *p = &partitions[partition];
		NumbersEntry *entry = &entries[place];
		int32		following = open->mine;

		LWLockAcquire(&locks[partition].lock, LW_EXCLUSIVE);
		if (!committed)
			take_back(open);
		*(open->prev == NOWHERE ? &entry->first : &opens[open->prev].next) = open->next;
		*(open->next == NOWHERE ? &entry->last : &opens[open->next].prev) = open->prev;
		open->next = p->free_open;
		p->free_open = mine;
		if (entry->first == NOWHERE)
			set_idle(partition, place, true);
		LWLockRelease(&locks[partition].lock);
		mine = following;
	}
	return had;
}
