/*-------------------------------------------------------------------------
 * reseq_lane.h
 *	  Lanes of locked keys, in memory while a verb works on them.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_RESEQ_LANE_H
#define SPOOL_RESEQ_LANE_H

#include "compat.h"
#include "nodes/lockoptions.h"
#include "nodes/pg_list.h"

#include "reseq_key.h"
#include "reseq_store.h"
#include "resequencer.h"

/* A delivery, and whether it must be appended. */
typedef struct SpoolStep
{
	SpoolDelivery delivery;
	bool		changed;
} SpoolStep;

/* What is known of a number in a lane: all of it. */
typedef struct SpoolSteps
{
	int64		sn;
	int			n;
	int			space;
	SpoolStep **steps;			/* by part; the whole comes first */
	bool		complete;		/* found to be; false if nobody looked */
} SpoolSteps;

/* A lane that a verb works on; its key is locked. */
typedef struct SpoolWay
{
	SpoolReseqKey *key;
	SpoolLane	lane;
	bool		changed;
	bool		look;			/* one that had to wait may pass now */
	int			nnumbers;		/* those that were read or are new, ascending */
	int			space;
	SpoolSteps **numbers;
} SpoolWay;

/* One call of a verb. */
typedef struct SpoolReseqCall
{
	SpoolResequencer *resequencer;
	SpoolReseqKeys keys;
	SpoolReseqTables tables;
	List	   *ways;			/* of all keys, in the order of their use */
	SpoolReseqKey *key;			/* locked last, or NULL */
	bool		looks;			/* nothing is locked or changed */
	LockWaitPolicy wait;		/* for keys that others have locked */
	TimestampTz now;
} SpoolReseqCall;

extern void spool_reseq_begin(SpoolReseqCall *call, text *resequencer,
							  AclMode right, LOCKMODE lockmode);
extern void spool_reseq_begin_on(SpoolReseqCall *call,
								 SpoolResequencer *resequencer,
								 LOCKMODE lockmode);
extern void spool_reseq_finish(SpoolReseqCall *call);
extern SpoolReseqKey *spool_reseq_lock(SpoolReseqCall *call, text *name);
extern SpoolReseqKey *spool_reseq_make(SpoolReseqCall *call,
									   text *const *names, int n);
extern SpoolWay *spool_way_open(SpoolReseqCall *call, SpoolReseqKey *key,
								int32 target);
extern SpoolPlace spool_way_place(const SpoolWay *way, int64 sn);
extern SpoolSteps *spool_way_number(SpoolReseqCall *call, SpoolWay *way,
									int64 sn);
extern void spool_way_load(SpoolReseqCall *call, SpoolWay *way, int64 from);
extern void spool_steps_take(SpoolSteps *steps, const SpoolNumber *number);
extern SpoolStep *spool_steps_find(const SpoolSteps *steps, int npart,
								   const int32 *part);
extern SpoolStep *spool_way_add(SpoolReseqCall *call, SpoolWay *way,
								const SpoolDelivery *delivery);
extern void spool_way_set(SpoolReseqCall *call, SpoolWay *way,
						  SpoolStep *step, SpoolDeliveryState state,
						  const char *reason);
extern bool spool_steps_live(const SpoolSteps *steps);
extern int64 spool_way_next_below(SpoolReseqCall *call, SpoolWay *way,
								  int64 sn);

/* reseq_recall.c */
extern void spool_steps_read(SpoolReseqCall *call, const SpoolLane *lane,
							 SpoolSteps *steps);
extern void spool_steps_leave(const SpoolReseqCall *call);

/* reseq_end.c */
extern TimestampTz spool_reseq_due_of(const SpoolResequencer *resequencer,
									  const SpoolReseqKey *key,
									  const SpoolDelivery *delivery);
extern void spool_way_due(SpoolReseqCall *call, SpoolWay *way,
						  const SpoolDelivery *delivery);
extern void spool_way_pass(SpoolReseqCall *call, SpoolWay *way, int64 sn,
						   SpoolStep *step);
extern void spool_way_deliver(SpoolReseqCall *call, SpoolWay *way, int64 sn,
							  SpoolStep *step);
extern void spool_way_end(SpoolReseqCall *call, SpoolWay *way,
						  SpoolStep *step, SpoolDeliveryState state,
						  const char *reason, const char *message);
extern void spool_way_suppress(SpoolReseqCall *call, SpoolWay *way,
							   SpoolStep *step, const char *reason);
extern int64 spool_way_expire(SpoolReseqCall *call, SpoolWay *way);
extern SpoolStep *spool_way_candidate(SpoolReseqCall *call, SpoolWay *way);

/* reseq_tree.c */
extern bool spool_tree_complete(SpoolSteps *steps);
extern bool spool_tree_cut(const SpoolSteps *steps);
extern bool spool_tree_arrived(const SpoolSteps *steps, const SpoolStep *but);
extern bool spool_tree_turn(const SpoolSteps *steps, const SpoolStep *step);
extern bool spool_tree_failed(const SpoolSteps *steps);
extern bool spool_tree_begun(const SpoolSteps *steps);
extern bool spool_tree_over(SpoolSteps *steps);

#endif							/* SPOOL_RESEQ_LANE_H */
