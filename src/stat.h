/*-------------------------------------------------------------------------
 * stat.h
 *	  Monitoring: what each stream of a queue does, and why not more.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_STAT_H
#define SPOOL_STAT_H

#include "packet_type.h"
#include "queue.h"
#include "state.h"
#include "store.h"
#include "stream.h"

/* Packets of a stream that are counted; beyond that they are estimated. */
#define SPOOL_STAT_COUNT 10000

/* Packets that one look counts so; then it counts few of a stream. */
#define SPOOL_STAT_BUDGET (20 * SPOOL_STAT_COUNT)

/* One look at a queue. */
typedef struct SpoolLook
{
	SpoolQueue *queue;
	const char *problem;		/* why its command may not run, or NULL */
	char	   *paused;			/* why it is paused, or NULL */
	TimestampTz paused_since;
	TimestampTz now;
	int64		budget;			/* packets that may still be counted */
	SpoolSnapshot newest;
	SpoolStates states;			/* this and the next: open during a walk */
	SpoolScan	packets;
} SpoolLook;

/* What is found of a stream. */
typedef struct SpoolStreamStat
{
	SpoolStream stream;
	SpoolState	state;
	TransactionId locker;		/* who holds its lock */
	int64		stored;			/* packets that wait in the store */
	bool		has_head;
	SpoolRow	head;			/* which comes next; without its bytes */
	PacketKind	kind;			/* of the head */
	bool		has_twin;		/* another packet lies at its position */
	int64		waiting;
	int64		running;
	const char *shown;			/* state, as the view has it */
	char	   *reason;
	TimestampTz since;			/* 0 = not known */
	int			pid;			/* who holds it, or 0 */
	int64		claim_id;		/* or 0 */
} SpoolStreamStat;

/* What is called for each stream of a queue that has a state. */
typedef void (*SpoolStatVisit) (SpoolLook *look, SpoolStreamStat *stat,
								void *arg);

extern void spool_stat_walk(SpoolLook *look, SpoolStatVisit visit, void *arg);
extern void spool_stat_count(SpoolLook *look, SpoolStreamStat *stat,
							 int segment);
extern void spool_stat_show(SpoolStreamStat *stat, const char *state,
							char *reason, TimestampTz since);
extern bool spool_stat_pause(SpoolLook *look, SpoolStreamStat *stat);
extern void spool_stat_ready(SpoolLook *look, SpoolStreamStat *stat);

/* stat_none.c */
extern void spool_stat_none(SpoolLook *look, SpoolStreamStat *stat);

#endif							/* SPOOL_STAT_H */
