/*-------------------------------------------------------------------------
 * schedule.h
 *	  Packets that wait for their time.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SCHEDULE_H
#define SPOOL_SCHEDULE_H

#include "utils/timestamp.h"

#include "packet_type.h"
#include "queue.h"

/* A scheduled packet. */
typedef struct SpoolScheduled
{
	SpoolQueue *queue;			/* only of one that is being moved */
	int64		packet_id;
	char	   *stream;
	TimestampTz run_at;
	text	   *key;			/* NULL = none */
	struct varlena *packet;		/* as stored, possibly toasted */
} SpoolScheduled;

extern void spool_schedule_add(SpoolQueue *queue, const char *stream,
							   TimestampTz run_at, text *key,
							   PacketTemplate *template, const char *payload,
							   size_t size);
extern TimestampTz spool_schedule_move(void);
extern int	spool_schedule_move_queue(int32 queue);
extern int	spool_schedule_list(SpoolQueue *queue, const char *stream,
								int64 limit, SpoolScheduled **list);
extern struct varlena *spool_schedule_packet(SpoolQueue *queue,
											 int64 packet_id);
extern char *spool_schedule_discard(SpoolQueue *queue, int64 packet_id,
									const char *reason);
extern bool spool_schedule_any(int32 queue);

#endif							/* SPOOL_SCHEDULE_H */
