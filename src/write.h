/*-------------------------------------------------------------------------
 * write.h
 *	  Packets into queues.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_WRITE_H
#define SPOOL_WRITE_H

#include "packet_type.h"
#include "queue.h"

/* Payloads to be numbered and stored together. */
typedef struct SpoolPayloads
{
	int			count;
	const char **data;
	size_t	   *sizes;
} SpoolPayloads;

/* What became of a written packet. */
typedef struct SpoolWritten
{
	int64		packet_id;		/* 0 = not stored */
	int64		seq;
	const char *status;
} SpoolWritten;

extern int64 spool_store_payloads(SpoolQueue *queue, const char *stream,
								  PacketTemplate *template,
								  const SpoolPayloads *payloads,
								  int64 *packet_id);
extern int64 spool_store_copy(SpoolQueue *queue, const char *stream,
							  struct varlena *packet, int64 *packet_id);
extern void spool_write_packets(SpoolQueue *queue, const char *stream,
								struct varlena **packets, int count,
								SpoolWritten *written);

extern Datum spool_written_row(FunctionCallInfo fcinfo,
							   const SpoolWritten *written);

#endif							/* SPOOL_WRITE_H */
