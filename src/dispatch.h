/*-------------------------------------------------------------------------
 * dispatch.h
 *	  Which packets come next, and consuming them.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_DISPATCH_H
#define SPOOL_DISPATCH_H

#include "kept.h"
#include "packet_type.h"
#include "queue.h"
#include "shmem.h"
#include "state.h"
#include "store.h"
#include "stream.h"
#include "utils/hsearch.h"

typedef enum DispatchMode
{
	DISPATCH_PEEK,				/* look, lock and change nothing */
	DISPATCH_TAKE,				/* consume in the caller's transaction */
	DISPATCH_CLAIM,				/* run elsewhere, acknowledged later */
	DISPATCH_RUN				/* run here, settle later */
} DispatchMode;

/* Whether the streams picked get an owner across commits. */
#define spool_owns(mode) ((mode) >= DISPATCH_CLAIM)

/* What becomes of a packet that is consumed. */
typedef enum SpoolFate
{
	FATE_NONE,					/* it stays */
	FATE_DONE,
	FATE_DEAD,
	FATE_LEFT,
	FATE_DELETED
} SpoolFate;

/* A stream that this transaction consumes, its row locked. */
typedef struct SpoolPick
{
	SpoolStream stream;
	SpoolState	state;			/* the newest; changed, then appended */
	SpoolState	before;			/* as it was read */
	bool		changed;		/* state must be appended */
	TransactionId locked_by;	/* the transaction that dispatched */
	bool		unchanged;		/* nobody changed the stream since */
	bool		cursor_set;		/* set_next_seq came while the jobs ran */
	bool		ended;			/* nothing more can be collected */
	bool		exhausted;		/* because there was nothing more */
	int64		from;			/* collect from this position on */
	int64		head;			/* id of the first packet collected */
	bool		kept;			/* some may be in kept, without order */
	bool		ahead_done;		/* none is left ahead of the cursor */
	int64		ahead_seq;		/* the last one collected ahead of it */
	int64		ahead_id;
	int64		claim;			/* that gets its jobs, or 0 */
	struct SpoolJob **jobs;
	int			njobs;
	int			space;
	int64		done_from;		/* positions consumed and to be retained, */
	int64		done_below;		/* not yet copied to kept */
	int64	   *forgotten;		/* ids of packets done, still in kept */
	int			nforgotten;
	int			space_forgotten;
} SpoolPick;

/* A packet that was picked. */
typedef struct SpoolJob
{
	SpoolPick  *pick;
	SpoolRow	row;			/* its packet is a copy, detoasted to run */
	PacketHeader header;
	int32		attempts;		/* failed attempts before this one */
	bool		ahead;			/* lies in kept */
	bool		spent;			/* it has failed as often as it may */
	bool		crashed;		/* the last time in a crash: it is not run */
	bool		handed;			/* a command, which counts for take */
	SpoolFate	fate;
	SpoolKept	kept;			/* what FATE_DEAD and FATE_LEFT record */
} SpoolJob;

/* The looks of one call, around the streams of its queue; round.c. */
typedef struct SpoolRound
{
	MemoryContext context;		/* of the names */
	bool		begun;
	bool		more;			/* a stream on the way may have more */
	char	   *from;			/* it began after this one; NULL = the first */
	char	   *at;				/* the last look ended after this one */
} SpoolRound;

/* One look for work in a queue, and what it found. */
typedef struct SpoolDispatch
{
	SpoolQueue *queue;
	SpoolOrder	order;			/* the queue's or the call's */
	bool		override;		/* order is not the queue's */
	DispatchMode mode;
	bool		early;			/* try also heads that wait for their retry */
	bool		watching;		/* by a worker, who is to be told of more */
	bool		waiting;		/* only to see if there is anything */
	int64	   *hints;			/* ids of streams to look at, or NULL: all */
	int			nhints;
	int64		limit;			/* jobs at the most */
	int64		mark;			/* packets with a higher id are not for us */
	TimestampTz until;			/* nor kept packets changed later */
	HTAB	   *except;			/* ids of streams not to be tried, or NULL */
	SpoolRound *round;			/* of the call, or NULL */

	SpoolTables *tables;		/* open during the look */
	List	   *picks;
	SpoolJob  **jobs;			/* all, in the order to hand them out */
	int			njobs;
	int64		bytes;			/* of packets collected, in DISPATCH_RUN */
	bool		full;			/* nothing more is collected */
	int			tried;			/* hints that were looked at */
	bool		idle;			/* the stream looked at last is */
	bool		passed;			/* a stream was passed that others have */
	int64		rest[SPOOL_MAX_HINTS];	/* streams that were but had no room */
	int			nrest;
	bool		others;			/* streams are left that were not */
	TimestampTz due;			/* when one that waits now may be ready */
	int64		conflict[2];	/* two different packets at a head, or 0 */
	int64		conflict_seq;
	char	   *conflict_stream;
} SpoolDispatch;

/* Why an attempt counts as crashed. */
#define RUNNER_DIED "the runner died"
#define LEASE_OVER	"the lease was over"

/* Bytes of packets that one batch holds in memory at the most, beyond one. */
#define SPOOL_BATCH_BYTES (16 * 1024 * 1024)

/* collect.c */
extern void spool_collect(SpoolDispatch *d, SpoolPick *pick, int64 want);
extern int64 spool_collect_ahead(SpoolDispatch *d, SpoolPick *pick, int64 want);
extern void spool_remove_twin(SpoolDispatch *d, const SpoolRow *row);
extern bool spool_collected(SpoolPick *pick, const SpoolRow *row);
extern bool spool_dispatch_full(SpoolDispatch *d);
extern bool spool_collect_one(SpoolDispatch *d, SpoolPick *pick,
							  const SpoolRow *row, int32 attempts,
							  int64 *want);

/* unordered.c */
extern void spool_collect_unordered(SpoolDispatch *d, SpoolPick *pick,
									int64 want);

/* round.c */
extern bool spool_round_begin(SpoolDispatch *d, char **start, char **end);
extern void spool_round_at(SpoolDispatch *d, const char *name, int64 stream);
extern void spool_round_end(SpoolDispatch *d);

/* reclaim.c */
extern bool spool_is_crash(const char *failure);
extern void spool_reclaim(SpoolDispatch *d, SpoolPick *pick);
extern void spool_reclaim_orphans(SpoolDispatch *d, SpoolPick *pick);
extern void spool_look_at_kept(SpoolDispatch *d, int64 stream);

/* reason.c */
extern void spool_dispatch_raise_conflict(SpoolDispatch *d);

/* override.c */
extern SpoolOrder spool_dispatch_order(SpoolQueue *queue, const char *order_by);
extern void spool_dispatch_override(SpoolDispatch *d, const char *stream);

/* dispatch.c */
extern void spool_look_again(SpoolDispatch *d, int64 stream, TimestampTz when);
extern bool spool_stream_idle(SpoolDispatch *d, const SpoolStream *stream);
extern bool spool_may_consume(SpoolDispatch *d, SpoolPick *pick);
extern void spool_dispatch(SpoolDispatch *d, const char *stream);

/* consume.c */
extern void spool_consume(SpoolDispatch *d, SpoolJob *job);
extern void spool_consume_all(SpoolPick *pick, const int64 *ids, int nids,
							  int64 last);
extern void spool_picks_finish(SpoolDispatch *d, List *picks);
extern void spool_job_fail(SpoolDispatch *d, SpoolJob *job, const char *reason,
						   const char *sqlstate, const char *message);
extern void spool_run_passed_over(SpoolQueue *queue, SpoolState *state);
extern bool spool_attempts_spent(SpoolQueue *queue, int32 attempts);
extern bool spool_job_last_attempt(SpoolQueue *queue, const SpoolJob *job);
extern TimestampTz spool_retry_at(SpoolQueue *queue, int32 attempts);

#endif							/* SPOOL_DISPATCH_H */
