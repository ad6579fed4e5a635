/*-------------------------------------------------------------------------
 * queue.h
 *	  Queues: options, rights, locks.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_QUEUE_H
#define SPOOL_QUEUE_H

#include "storage/lock.h"
#include "utils/timestamp.h"

#include "catalog.h"

typedef enum SpoolOrder
{
	ORDER_SEQUENCE,				/* by number, without a gap */
	ORDER_TIMESTAMP,			/* by creation time, the queue is one stream */
	ORDER_LATEST,				/* only the newest number of a stream */
	ORDER_NONE					/* by creation time, many consumers at once */
} SpoolOrder;

typedef enum SpoolOnError
{
	ON_ERROR_RETRY,				/* keep it, the stream stays blocked */
	ON_ERROR_DEAD,				/* to the dead letters, go on */
	ON_ERROR_LEAVE,				/* keep it as failed, go on */
	ON_ERROR_DELETE				/* forget it, go on */
} SpoolOnError;

typedef enum SpoolHistory
{
	HISTORY_FAILURES,
	HISTORY_ALL,
	HISTORY_NONE
} SpoolHistory;

/*
 * Modes of a queue's lock.  Producers and consumers do not conflict; an order
 * override excludes consumers; alter and drop exclude all.
 */
#define QUEUE_PRODUCE	AccessShareLock
#define QUEUE_CONSUME	RowExclusiveLock
#define QUEUE_OVERRIDE	ShareRowExclusiveLock
#define QUEUE_ALTER		OBJECT_ALTER
#define QUEUE_LOOK		AccessShareLock

/*
 * A queue's row.  Begins as SpoolObject does.  Valid until the end of the
 * transaction.
 */
typedef struct SpoolQueue
{
	int32		id;
	char	   *name;
	Oid			owner;
	Acl		   *acl;			/* NULL = nobody but the owner */
	SpoolOrder	order;
	bool		append_only;
	int32		max_attempts;	/* 0 = no limit; the default is worked in */
	SpoolOnError on_error;
	int64		retry_delay_ms; /* after the first failed attempt, doubled */
	int64		retry_delay_max_ms; /* up to this */
	int64		gap_timeout_ms; /* 0 = missing numbers are waited for */
	int64		timeout_ms;		/* 0 = none */
	int64		quiet_ms;		/* above 0 only in ORDER_LATEST; quiet.c */
	int64		max_wait_ms;	/* of quiet_ms at the most; 0 = no limit */
	bool		allow_job_params;
	bool		ignore_payload;
	bool		retains;		/* retention is above 0 */
	SpoolHistory history;
	int32		workers;		/* jobs that the workers run at once */
	char	   *handler;		/* NULL = none */
	char	   *handler_path;
	char	   *program;		/* NULL = none */
	int			nargs;
	char	  **args;
	bool		paused;
} SpoolQueue;

extern SpoolCatalog spool_queues;

extern SpoolQueue *spool_queue_open(text *name, AclMode right,
									LOCKMODE lockmode);
extern SpoolQueue *spool_queue_lookup(const char *name, bool missing_ok);
extern SpoolQueue *spool_queue_by_id(int32 id);
extern bool spool_queue_allows(SpoolQueue *queue, AclMode rights);
extern void spool_queue_check(SpoolQueue *queue, AclMode right);
extern bool spool_queue_reopen(SpoolQueue **queue, LOCKMODE lockmode);
extern void spool_queue_numbers_lock(SpoolQueue *queue, LOCKMODE lockmode);
extern bool spool_queue_numbers_try(SpoolQueue *queue);
extern void spool_queue_session_lock(int32 id, LOCKMODE lockmode);
extern void spool_queue_session_unlock(int32 id, LOCKMODE lockmode);
extern bool spool_queue_has_waiters(int32 id, LOCKMODE lockmode);
extern SpoolQueue *spool_queue_copy(const SpoolQueue *queue);
extern void spool_queue_changed(void);
extern void spool_queue_refuse_append_only(SpoolQueue *queue);
extern SpoolOrder spool_order_from_name(const char *name);

#define spool_by_number(order) \
	((order) == ORDER_SEQUENCE || (order) == ORDER_LATEST)

#endif							/* SPOOL_QUEUE_H */
