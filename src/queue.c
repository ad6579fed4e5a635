/*-------------------------------------------------------------------------
 * queue.c
 *	  Queues: options, rights, locks.
 *
 * Each backend caches the rows of spool.queue it uses.  Whoever changes a row
 * calls spool_queue_changed(), which sends an invalidation of the table at
 * commit; every backend then reads again.  A queue is opened by looking up
 * its name, locking its id, accepting invalidations and looking again, so
 * that what is returned is what holds while the lock is held.
 *
 * Rights are checked in one function, spool_queue_check, against the calling
 * role.  The owner of a queue and members of that role may do everything.
 *
 * Locks: heavyweight locks of the class spool.queue, object = queue id.
 * Subobject 0 is the queue (modes in queue.h), subobject 1 is "numbers given
 * by senders": writers share it to the end of their transactions, and who
 * declares a number missing or skipped takes it exclusively, so that no
 * packet is stored below a cursor unseen.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "queue.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "unborn.h"

#define MSECS_PER_DAY_F 86400000.0

/* An entry of the cache. */
typedef struct CachedQueue
{
	char		name[NAMEDATALEN * 4];
	SpoolQueue *queue;
	MemoryContext context;		/* what holds queue; NULL = read it again */
} CachedQueue;

static HTAB *cache = NULL;
static bool cache_stale = false;
static uint64 cache_changes = 0;	/* those that were told before */

static void invalidate_cache(Datum arg, Oid relid);
static void notice_changes(void);
static SpoolQueue *read_queue(const char *name, MemoryContext context);
static void read_options(SpoolQueue *queue);
static void read_command(SpoolQueue *queue);
static SpoolOnError on_error_from_name(const char *name);
static int64 field_ms(int column);
static char *field_text(int column);
static void refuse_read_only(SpoolQueue *queue);

/* Relation cache callback: spool.queue changed, or everything did. */
static void
invalidate_cache(Datum arg, Oid relid)
{
	cache_stale = true;
}

/* The same if we were told so before the invalidation comes. */
static void
notice_changes(void)
{
	uint64		changes = spool_changes();

	cache_stale |= changes != cache_changes;
	cache_changes = changes;
}

/* Tell all backends and the manager, at commit, that a row changed. */
void
spool_queue_changed(void)
{
	cache_stale = true;
	CacheInvalidateRelcacheByRelid(spool_relation_oid("queue"));
	spool_hint_database();
}

/*
 * The queue of a name, from the cache; 42704 or NULL if there is none.
 * Without a lock this is only a look.
 */
SpoolQueue *
spool_queue_lookup(const char *name, bool missing_ok)
{
	CachedQueue *entry = NULL;
	bool		found;

	if (cache == NULL)
	{
		HASHCTL		info;

		memset(&info, 0, sizeof(info));
		info.keysize = sizeof(entry->name);
		info.entrysize = sizeof(CachedQueue);
		cache = hash_create("spool queues", 64, &info,
							HASH_ELEM | HASH_STRINGS);
		CacheRegisterRelcacheCallback(invalidate_cache, (Datum) 0);
	}
	notice_changes();
	if (cache_stale)
	{
		HASH_SEQ_STATUS seq;

		/* what this transaction still uses goes at its end */
		hash_seq_init(&seq, cache);
		while ((entry = hash_seq_search(&seq)) != NULL)
		{
			if (entry->context)
				MemoryContextSetParent(entry->context, TopTransactionContext);
			entry->context = NULL;
		}
		cache_stale = false;
	}

	if (strlen(name) < sizeof(entry->name))
	{
		entry = hash_search(cache, name, HASH_FIND, &found);
		if (entry == NULL || entry->context == NULL)
		{
			MemoryContext context;
			SpoolQueue *queue;

			context = AllocSetContextCreate(CurTransactionContext,
											"spool queue",
											ALLOCSET_SMALL_SIZES);
			queue = read_queue(name, context);
			entry = NULL;
			if (queue != NULL)
			{
				entry = hash_search(cache, name, HASH_ENTER, &found);
				entry->queue = queue;
				entry->context = context;
				MemoryContextSetParent(context, CacheMemoryContext);
			}
		}
	}
	if (entry == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("queue \"%s\" does not exist", name)));
	return entry ? entry->queue : NULL;
}

/* The queue of an id, from the cache; NULL if there is none. */
SpoolQueue *
spool_queue_by_id(int32 id)
{
	static SpoolPlan plan = {
		"SELECT name FROM spool.queue WHERE id = $1",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID)
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[1];
	SpoolSpi	spi;
	char	   *name = NULL;

	notice_changes();
	if (cache != NULL && !cache_stale)
	{
		HASH_SEQ_STATUS seq;
		CachedQueue *entry;

		hash_seq_init(&seq, cache);
		while ((entry = hash_seq_search(&seq)) != NULL)
			if (entry->context != NULL && entry->queue->id == id)
			{
				hash_seq_term(&seq);
				return entry->queue;
			}
	}
	values[0] = Int32GetDatum(id);
	spool_spi_begin(&spi);
	if (spool_exec(&plan, values, NULL) == 1)
		name = MemoryContextStrdup(context,
								   TextDatumGetCString(spool_field(0, 1, NULL)));
	spool_spi_end(&spi);
	return name != NULL ? spool_queue_lookup(name, true) : NULL;
}

/* Read a queue's row into a context; NULL if there is none. */
static SpoolQueue *
read_queue(const char *name, MemoryContext context)
{
	static SpoolPlan plan = {
		"SELECT id, owner::oid, order_by, append_only, max_attempts, on_error,"
		" timeout, allow_job_params, ignore_payload,"
		" retention > interval '0', history, handler, handler_path, program,"
		" args, paused_since IS NOT NULL, acl, retry_delay, retry_delay_max,"
		" gap_timeout, workers FROM spool.queue WHERE name = $1",
		SPI_OK_SELECT, PLAN_ARGS(TEXTOID)
	};
	SpoolQueue *queue = NULL;
	SpoolSpi	spi;
	Datum		values[1];

	values[0] = CStringGetTextDatum(name);
	spool_spi_begin(&spi);
	if (spool_exec(&plan, values, NULL) == 1)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		queue = palloc0(sizeof(SpoolQueue));
		queue->name = pstrdup(name);
		read_options(queue);
		read_command(queue);
		MemoryContextSwitchTo(old);
	}
	spool_spi_end(&spi);
	return queue;
}

/* The options from the result's only row. */
static void
read_options(SpoolQueue *queue)
{
	char	   *history = field_text(11);
	bool		null;

	queue->id = DatumGetInt32(spool_field(0, 1, NULL));
	queue->owner = DatumGetObjectId(spool_field(0, 2, NULL));
	queue->order = spool_order_from_name(field_text(3));
	queue->append_only = DatumGetBool(spool_field(0, 4, NULL));
	queue->on_error = on_error_from_name(field_text(6));
	queue->max_attempts = DatumGetInt32(spool_field(0, 5, &null));
	if (null)
		queue->max_attempts = queue->on_error == ON_ERROR_RETRY ? 0 : 1;
	queue->timeout_ms = field_ms(7);
	queue->allow_job_params = DatumGetBool(spool_field(0, 8, NULL));
	queue->ignore_payload = DatumGetBool(spool_field(0, 9, NULL));
	queue->retains = DatumGetBool(spool_field(0, 10, NULL));
	queue->history = strcmp(history, "all") == 0 ? HISTORY_ALL :
		strcmp(history, "none") == 0 ? HISTORY_NONE : HISTORY_FAILURES;
	queue->paused = DatumGetBool(spool_field(0, 16, NULL));
	queue->retry_delay_ms = field_ms(18);
	queue->retry_delay_max_ms = field_ms(19);
	queue->gap_timeout_ms = field_ms(20);
	queue->workers = DatumGetInt32(spool_field(0, 21, NULL));
}

/* The command and the rights from the result's only row. */
static void
read_command(SpoolQueue *queue)
{
	Datum		datum;
	bool		null;

	queue->handler = field_text(12);
	queue->handler_path = field_text(13);
	queue->program = field_text(14);
	datum = spool_field(0, 15, &null);
	if (!null)
	{
		Datum	   *args;

		deconstruct_array(DatumGetArrayTypeP(datum), TEXTOID, -1, false,
						  TYPALIGN_INT, &args, NULL, &queue->nargs);
		queue->args = palloc(Max(queue->nargs, 1) * sizeof(char *));
		for (int i = 0; i < queue->nargs; i++)
			queue->args[i] = TextDatumGetCString(args[i]);
	}
	datum = spool_field(0, 17, &null);
	queue->acl = null ? NULL : DatumGetAclPCopy(datum);
}

/* A text field of the result's only row, or NULL. */
static char *
field_text(int column)
{
	bool		null;
	Datum		value = spool_field(0, column, &null);

	return null ? NULL : TextDatumGetCString(value);
}

SpoolOrder
spool_order_from_name(const char *name)
{
	static const char *const names[] = {"sequence", "timestamp", "latest",
	"none"};

	for (int i = 0; i < (int) lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return (SpoolOrder) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized order_by: \"%s\"", name),
			 errhint("Allowed values are \"sequence\", \"timestamp\", \"latest\" and \"none\".")));
}

static SpoolOnError
on_error_from_name(const char *name)
{
	switch (name[0] == 'd' ? name[2] : name[0])
	{
		case 'a':
			return ON_ERROR_DEAD;
		case 'l':
			return name[0] == 'd' ? ON_ERROR_DELETE : ON_ERROR_LEAVE;
		default:
			return ON_ERROR_RETRY;
	}
}

/*
 * Milliseconds of an interval of the result's only row, a month being 30
 * days; at least 1 if above 0.
 */
static int64
field_ms(int column)
{
	Interval   *interval = DatumGetIntervalP(spool_field(0, column, NULL));
	double		days = interval->day + 30.0 * interval->month;
	double		ms = interval->time / 1000.0 + days * MSECS_PER_DAY_F;

	return ms <= 0 ? 0 : (int64) Max(ms, 1.0);
}

/*
 * Packets and states are written past the executor, so its checks are made
 * here: 55000 on a standby, 25006 in a read-only transaction.
 */
static void
refuse_read_only(SpoolQueue *queue)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot change queue \"%s\" during recovery",
						queue->name),
				 errdetail("On a standby queues can only be looked at.")));
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot change queue \"%s\" in a read-only transaction",
						queue->name)));
}

/*
 * Open a queue for a verb: check the right, lock it, check again.  What other
 * verbs than producers look at has the streams that this transaction is to
 * make.
 */
SpoolQueue *
spool_queue_open(text *name, AclMode right, LOCKMODE lockmode)
{
	SpoolQueue *queue = spool_queue_lookup(text_to_cstring(name), false);

	spool_queue_check(queue, right);
	if (right == SPOOL_WRITE || lockmode != QUEUE_LOOK)
		refuse_read_only(queue);
	if (!spool_queue_reopen(&queue, lockmode))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("queue \"%s\" does not exist", text_to_cstring(name))));
	spool_queue_check(queue, right);
	if (right != SPOOL_WRITE)
		spool_unborn_make(queue->id);
	return queue;
}

/*
 * Lock a queue that was looked up and look again, until what is locked is
 * what the name means.  False if the queue is gone.
 */
bool
spool_queue_reopen(SpoolQueue **queue, LOCKMODE lockmode)
{
	char	   *name = pstrdup((*queue)->name);
	int32		id = (*queue)->id;

	for (;;)
	{
		LockDatabaseObject(spool_relation_oid("queue"), id, 0, lockmode);
		*queue = spool_queue_lookup(name, true);
		if (*queue == NULL || (*queue)->id == id)
			break;
		UnlockDatabaseObject(spool_relation_oid("queue"), id, 0, lockmode);
		id = (*queue)->id;
	}
	pfree(name);
	return *queue != NULL;
}

/* Whether the calling role has one of some rights on a queue. */
bool
spool_queue_allows(SpoolQueue *queue, AclMode rights)
{
	Oid			role = GetUserId();

	return has_privs_of_role(role, queue->owner) ||
		(queue->acl != NULL &&
		 aclmask(queue->acl, role, queue->owner, rights, ACLMASK_ANY) != 0);
}

/* 42501 unless the calling role has a right on a queue. */
void
spool_queue_check(SpoolQueue *queue, AclMode right)
{
	if (!spool_queue_allows(queue, right))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for queue \"%s\"", queue->name)));
}

/* Share or exclude the giving of numbers by senders; see the file header. */
void
spool_queue_numbers_lock(SpoolQueue *queue, LOCKMODE lockmode)
{
	LockDatabaseObject(spool_relation_oid("queue"), queue->id, 1, lockmode);
}

/* Exclude it without waiting; false if somebody shares it. */
bool
spool_queue_numbers_try(SpoolQueue *queue)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, spool_relation_oid("queue"),
					   queue->id, 1);
	return LockAcquire(&tag, ExclusiveLock, false, true) !=
		LOCKACQUIRE_NOT_AVAIL;
}

/* The lock of a queue, kept across commits until it is given back. */
void
spool_queue_session_lock(int32 id, LOCKMODE lockmode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, spool_relation_oid("queue"), id, 0);
	(void) LockAcquire(&tag, lockmode, true, false);
	AcceptInvalidationMessages();
}

void
spool_queue_session_unlock(int32 id, LOCKMODE lockmode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, spool_relation_oid("queue"), id, 0);
	(void) LockRelease(&tag, lockmode, true);
}

/* Whether somebody waits for a queue's lock that this session holds. */
bool
spool_queue_has_waiters(int32 id, LOCKMODE lockmode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, spool_relation_oid("queue"), id, 0);
	return LockHasWaiters(&tag, lockmode, true);
}

/* A copy of a queue that outlives the transaction. */
SpoolQueue *
spool_queue_copy(const SpoolQueue *queue)
{
	SpoolQueue *copy = palloc(sizeof(SpoolQueue));

	*copy = *queue;
	copy->name = pstrdup(queue->name);
	copy->handler = queue->handler ? pstrdup(queue->handler) : NULL;
	copy->handler_path = queue->handler_path ? pstrdup(queue->handler_path) : NULL;
	copy->program = queue->program ? pstrdup(queue->program) : NULL;
	copy->args = palloc(Max(queue->nargs, 1) * sizeof(char *));
	for (int i = 0; i < queue->nargs; i++)
		copy->args[i] = pstrdup(queue->args[i]);
	copy->acl = NULL;
	return copy;
}

/* 55000 for verbs that an append-only queue does not have. */
void
spool_queue_refuse_append_only(SpoolQueue *queue)
{
	if (queue->append_only)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue \"%s\" is append-only", queue->name),
				 errdetail("Packets of an append-only queue are written and read, not processed.")));
}
