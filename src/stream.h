/*-------------------------------------------------------------------------
 * stream.h
 *	  Streams: names, the lock of the consumer.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_STREAM_H
#define SPOOL_STREAM_H

#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "storage/itemptr.h"
#include "utils/snapshot.h"

#include "compat.h"
#include "queue.h"
#include "state.h"
#include "store.h"

/* The longest name of a stream: it is an index key. */
#define SPOOL_MAX_STREAM_NAME 1024

typedef struct SpoolStream
{
	int64		id;
	char	   *name;
	ItemPointerData tid;		/* of its row, which never moves */
} SpoolStream;

/* Whether the stream's row is still to be made; see unborn.c. */
#define spool_stream_unborn(stream) (!ItemPointerIsValid(&(stream)->tid))

/* What a look for work, or a settlement, of many streams uses. */
typedef struct SpoolTables
{
	SpoolSnapshot newest;
	Relation	streams;		/* to lock them */
	TupleTableSlot *slot;
	SpoolStates states;
	SpoolScan	packets;
} SpoolTables;

/* A walk over the streams of a queue in order of their names. */
typedef struct SpoolStreamWalk
{
	Relation	heap;
	Relation	index;
	IndexScanDesc desc;
	TupleTableSlot *slot;
	MemoryContext context;		/* what the scan keeps is allocated there */
	Snapshot	snapshot;
	ScanKeyData keys[2];
} SpoolStreamWalk;

extern bool spool_slot_is_mine(TupleTableSlot *slot);
extern TransactionId spool_slot_locker(TupleTableSlot *slot);
extern bool spool_stream_find(SpoolQueue *queue, const char *name,
							  SpoolStream *stream);
extern bool spool_stream_read(int64 id, SpoolStream *stream, int32 *queue);
extern bool spool_stream_by_id(SpoolQueue *queue, int64 id,
							   SpoolStream *stream);
extern void spool_stream_check_name(const char *name);
extern void spool_stream_make(SpoolQueue *queue, const char *name, int64 id,
							  SpoolStream *stream);
extern void spool_stream_get(SpoolQueue *queue, const char *name,
							 SpoolStream *stream);
extern bool spool_stream_lock(const SpoolStream *stream, LockWaitPolicy wait);
extern void spool_tables_open(SpoolTables *tables);
extern void spool_tables_close(SpoolTables *tables);
extern bool spool_tables_lock(SpoolTables *tables, const SpoolStream *stream,
							  LockWaitPolicy wait);
extern bool spool_tables_lock_again(SpoolTables *tables,
									const SpoolStream *stream,
									TransactionId earlier, bool *unchanged);
extern void spool_stream_walk_begin(SpoolStreamWalk *walk, SpoolQueue *queue,
									const char *after);
extern bool spool_stream_walk_next(SpoolStreamWalk *walk,
								   SpoolStream *stream);
extern TransactionId spool_stream_walk_locker(SpoolStreamWalk *walk);
extern void spool_stream_walk_end(SpoolStreamWalk *walk);
extern void spool_stream_state(SpoolQueue *queue, const SpoolStream *stream,
							   SpoolState *state);
extern compat_noreturn void spool_stream_no_state(SpoolQueue *queue, const SpoolStream *stream);
extern void spool_stream_open(SpoolQueue *queue, const char *name,
							  SpoolStream *stream, SpoolState *state);
extern void spool_stream_blocked(SpoolQueue *queue, const SpoolStream *stream,
								 SpoolState *state, char *reason);
extern char *spool_stream_name(int64 id, int32 *queue);

#endif							/* SPOOL_STREAM_H */
