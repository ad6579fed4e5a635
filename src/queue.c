/*-------------------------------------------------------------------------
 * queue.c
 *	  Queues: options, rights, locks.
 *
 * Rows of spool.queue are cached, opened and checked as catalog.c says.
 *
 * Locks: heavyweight locks of the class spool.queue, object = queue id.
 * Subobject 0 is the queue (modes in queue.h), subobject 1 is "numbers given
 * by senders": writers share it to the end of their transactions, and who
 * declares a number missing or skipped takes it exclusively, so that no
 * packet is stored below a cursor unseen.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#include "queue.h"
#include "spiutil.h"
#include "spool.h"
#include "unborn.h"

static void fill_queue(void *row);
static SpoolOnError on_error_from_name(const char *name);

SpoolCatalog spool_queues = {
	.noun = "queue",
	.table = "queue",
	.size = sizeof(SpoolQueue),
	.read = {
		"SELECT id, owner::oid, acl, order_by, append_only, max_attempts,"
		" on_error, timeout, allow_job_params, ignore_payload,"
		" retention > interval '0', history, paused_since IS NOT NULL,"
		" retry_delay, retry_delay_max, gap_timeout, workers, handler,"
		" handler_path, program, args, quiet, max_wait"
		" FROM spool.queue WHERE name = $1",
		SPI_OK_SELECT, PLAN_ARGS(TEXTOID)
	},
	.fill = fill_queue,
	.set_acl = {
		"UPDATE spool.queue SET acl = $2 WHERE id = $1",
		SPI_OK_UPDATE, PLAN_ARGS(INT4OID, ACLITEMARRAYOID)
	}
};

spool_is_object(SpoolQueue);

/*
 * The queue of a name, from the cache; 42704 or NULL if there is none.
 * Without a lock this is only a look.
 */
SpoolQueue *
spool_queue_lookup(const char *name, bool missing_ok)
{
	return spool_object_lookup(&spool_queues, name, missing_ok);
}

/* Tell all backends and the manager, at commit, that a row changed. */
void
spool_queue_changed(void)
{
	spool_catalog_changed(&spool_queues);
}

/* The queue of an id, from the cache; NULL if there is none. */
SpoolQueue *
spool_queue_by_id(int32 id)
{
	static SpoolPlan plan = {
		"SELECT name FROM spool.queue WHERE id = $1",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID)
	};
	SpoolQueue *queue = spool_object_cached(&spool_queues, id);
	MemoryContext context = CurrentMemoryContext;
	Datum		values[1];
	SpoolSpi	spi;
	char	   *name = NULL;

	if (queue != NULL)
		return queue;
	values[0] = Int32GetDatum(id);
	spool_spi_begin(&spi);
	if (spool_exec(&plan, values, NULL) == 1)
		name = MemoryContextStrdup(context,
								   TextDatumGetCString(spool_field(0, 1, NULL)));
	spool_spi_end(&spi);
	return name != NULL ? spool_queue_lookup(name, true) : NULL;
}

/* The options and the command from the result's only row. */
static void
fill_queue(void *row)
{
	SpoolQueue *queue = row;
	char	   *history = spool_field_text(0, 12);
	bool		null;

	queue->order = spool_order_from_name(spool_field_text(0, 4));
	queue->append_only = DatumGetBool(spool_field(0, 5, NULL));
	queue->on_error = on_error_from_name(spool_field_text(0, 7));
	queue->max_attempts = DatumGetInt32(spool_field(0, 6, &null));
	if (null)
		queue->max_attempts = queue->on_error == ON_ERROR_RETRY ? 0 : 1;
	queue->timeout_ms = spool_field_ms(0, 8);
	queue->allow_job_params = DatumGetBool(spool_field(0, 9, NULL));
	queue->ignore_payload = DatumGetBool(spool_field(0, 10, NULL));
	queue->retains = DatumGetBool(spool_field(0, 11, NULL));
	queue->history = strcmp(history, "all") == 0 ? HISTORY_ALL :
		strcmp(history, "none") == 0 ? HISTORY_NONE : HISTORY_FAILURES;
	queue->paused = DatumGetBool(spool_field(0, 13, NULL));
	queue->retry_delay_ms = spool_field_ms(0, 14);
	queue->retry_delay_max_ms = spool_field_ms(0, 15);
	queue->gap_timeout_ms = spool_field_ms(0, 16);
	queue->workers = DatumGetInt32(spool_field(0, 17, NULL));
	queue->handler = spool_field_text(0, 18);
	queue->handler_path = spool_field_text(0, 19);
	queue->program = spool_field_text(0, 20);
	queue->nargs = spool_field_texts(0, 21, &queue->args);
	queue->quiet_ms = spool_field_ms(0, 22);
	queue->max_wait_ms = spool_field_ms(0, 23);
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
 * Open a queue for a verb.  What other verbs than producers look at has the
 * streams that this transaction is to make.
 */
SpoolQueue *
spool_queue_open(text *name, AclMode right, LOCKMODE lockmode)
{
	SpoolQueue *queue;

	queue = spool_object_open(&spool_queues, name, right, lockmode,
							  right == SPOOL_WRITE || lockmode != QUEUE_LOOK);
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
	*queue = spool_object_reopen(&spool_queues, *queue, lockmode);
	return *queue != NULL;
}

/* Whether the calling role has one of some rights on a queue. */
bool
spool_queue_allows(SpoolQueue *queue, AclMode rights)
{
	return spool_object_allows(queue, GetUserId(), rights);
}

/* 42501 unless the calling role has a right on a queue. */
void
spool_queue_check(SpoolQueue *queue, AclMode right)
{
	spool_object_check(&spool_queues, queue, right);
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
