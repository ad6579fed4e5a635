/*-------------------------------------------------------------------------
 * unborn.c
 *	  Streams that this transaction makes before it commits.
 *
 * A producer that inserted the row of a new stream at once would wait at the
 * unique index for another that has done so, and keep all others waiting to
 * its end.  So, with the library preloaded, it only agrees with them on the
 * stream's id (birth.c), stores its packets under that, and remembers the
 * stream here.  All that are remembered are made when the transaction is about
 * to commit or to be prepared, in order of queue and name: row, who numbers
 * it, first state.  Whoever comes second waits for the commit of the first,
 * and finds the row.  If the first rolls back, the second makes it.
 *
 * Whatever else the transaction does with a queue's streams makes those of the
 * queue first (spool_queue_open, spool_stream_get), so it sees them.  Views do
 * not.
 *
 * A stream is remembered for the subtransaction that first enqueued into it;
 * if that is rolled back there are no packets of it and it is forgotten.  The
 * same goes for having been made.  While one is remembered the transaction
 * has the queue's lock, so the queue is there and its order is the same,
 * unless this transaction changed that, having made the stream before.
 *
 * Before the commit nothing of it is visible to others, nor left by a crash.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "birth.h"
#include "numbering.h"
#include "spiutil.h"
#include "spool.h"
#include "unborn.h"

/* A stream to be made, or made in a subtransaction. */
typedef struct Unborn
{
	int64		id;
	int32		queue;
	bool		by_number;
	Oid			table;			/* spool.stream */
	SubTransactionId sub;		/* that remembers it, */
	SubTransactionId made;		/* and that made it, or invalid */
	struct Unborn *next;
	char		name[FLEXIBLE_ARRAY_MEMBER];
} Unborn;

/* The newest first; in TopTransactionContext. */
static Unborn *unborn = NULL;

static bool find_unborn(int32 queue, const char *name, SpoolStream *stream);
static void remember(SpoolQueue *queue, const char *name, int64 id);
static int	compare(const void *a, const void *b);
static void make(Unborn *one);
static void at_subtransaction_end(SubXactEvent event, SubTransactionId sub,
								  SubTransactionId parent, void *arg);

void
spool_unborn_init(void)
{
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

/* Subtransaction callback. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId sub,
					  SubTransactionId parent, void *arg)
{
	Unborn	  **link = &unborn;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	while (*link != NULL)
	{
		Unborn	   *one = *link;

		if (event == SUBXACT_EVENT_ABORT_SUB && one->sub == sub)
		{
			*link = one->next;
			continue;
		}
		if (one->sub == sub)
			one->sub = parent;
		if (one->made == sub)
			one->made = event == SUBXACT_EVENT_COMMIT_SUB ? parent :
				InvalidSubTransactionId;
		link = &one->next;
	}
}

/* Find a stream that is still to be made. */
static bool
find_unborn(int32 queue, const char *name, SpoolStream *stream)
{
	for (Unborn *one = unborn; one != NULL; one = one->next)
		if (one->made == InvalidSubTransactionId && one->queue == queue &&
			strcmp(one->name, name) == 0)
		{
			stream->id = one->id;
			stream->name = one->name;
			ItemPointerSetInvalid(&stream->tid);
			return true;
		}
	return false;
}

static void
remember(SpoolQueue *queue, const char *name, int64 id)
{
	Unborn	   *one = MemoryContextAllocZero(TopTransactionContext,
											 offsetof(Unborn, name) +
											 strlen(name) + 1);

	one->id = id;
	one->queue = queue->id;
	one->by_number = spool_by_number(queue->order);
	one->table = spool_relation_oid("stream");
	one->sub = GetCurrentSubTransactionId();
	one->made = InvalidSubTransactionId;
	strcpy(one->name, name);
	one->next = unborn;
	unborn = one;
}

/*
 * Find a stream to enqueue into, or have it made before the commit: then
 * spool_stream_unborn is true of it.  Waits only if another verb is creating
 * it.
 */
void
spool_unborn_get(SpoolQueue *queue, const char *name, SpoolStream *stream)
{
	VirtualTransactionId other;
	int64		id;

	if (find_unborn(queue->id, name, stream) ||
		spool_stream_find(queue, name, stream))
		return;
	spool_stream_check_name(name);
	if (spool_numbers_shared())
	{
		id = spool_nextval("stream_id_seq");
		if (spool_birth_enter(queue->id, name, true, &id, &other) == BIRTH_LATER)
		{
			if (spool_stream_find(queue, name, stream))
				return;
			remember(queue, name, id);
			(void) find_unborn(queue->id, name, stream);
			return;
		}
	}
	spool_stream_get(queue, name, stream);
}

/* The order in which all make them. */
static int
compare(const void *a, const void *b)
{
	const Unborn *one = *(Unborn *const *) a;
	const Unborn *two = *(Unborn *const *) b;

	if (one->queue != two->queue)
		return one->queue < two->queue ? -1 : 1;
	return strcmp(one->name, two->name);
}

/* Make a stream with what belongs to it. */
static void
make(Unborn *one)
{
	SpoolQueue *queue;
	SpoolStream stream;

	/* the extension, or with it the queue, may be gone */
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(one->table)))
		return;
	queue = spool_queue_by_id(one->queue);
	if (queue == NULL)
		return;
	if (!spool_stream_find(queue, one->name, &stream))
		spool_stream_make(queue, one->name, one->id, &stream);
	if (stream.id != one->id)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("stream \"%s\" of queue \"%s\" was created concurrently",
						one->name, queue->name),
				 errhint("The transaction might succeed if retried.")));
	if (one->by_number)
		spool_numbering_begin(queue, &stream, true);
}

/*
 * Make the streams of a queue, or of all, that are to be made.  The transaction
 * may have become read-only since it enqueued; an error undoes how it is set.
 */
void
spool_unborn_make(int32 queue)
{
	bool		read_only = XactReadOnly;
	MemoryContext context;
	MemoryContext old;
	Unborn	  **all;
	int			n = 0;

	for (Unborn *one = unborn; one != NULL; one = one->next)
		n += one->made == InvalidSubTransactionId &&
			(queue == SPOOL_ALL_QUEUES || one->queue == queue);
	if (n == 0)
		return;
	all = MemoryContextAlloc(TopTransactionContext, n * sizeof(Unborn *));
	n = 0;
	for (Unborn *one = unborn; one != NULL; one = one->next)
		if (one->made == InvalidSubTransactionId &&
			(queue == SPOOL_ALL_QUEUES || one->queue == queue))
			all[n++] = one;
	qsort(all, n, sizeof(Unborn *), compare);

	context = AllocSetContextCreate(TopTransactionContext, "spool new streams",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	XactReadOnly = false;
	for (int i = 0; i < n; i++)
	{
		make(all[i]);
		all[i]->made = GetCurrentSubTransactionId();
		MemoryContextReset(context);
	}
	XactReadOnly = read_only;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	pfree(all);
}

/*
 * Make all, as the last thing that the transaction does.  No snapshot is
 * active any more.
 */
void
spool_unborn_make_all(void)
{
	ResourceOwner owner = CurrentResourceOwner;

	if (unborn == NULL)
		return;
	CurrentResourceOwner = TopTransactionResourceOwner;
	PushActiveSnapshot(GetTransactionSnapshot());
	spool_unborn_make(SPOOL_ALL_QUEUES);
	PopActiveSnapshot();
	CurrentResourceOwner = owner;
}

/* The transaction has ended. */
void
spool_unborn_end(void)
{
	unborn = NULL;
}
