/*-------------------------------------------------------------------------
 * numbering.h
 *	  Who numbers a stream, and the numbers that the queue gives.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_NUMBERING_H
#define SPOOL_NUMBERING_H

#include "numbers.h"
#include "queue.h"
#include "stream.h"

typedef enum SpoolNumbering
{
	NUMBERED_BY_NOBODY,			/* no packet was ever stored */
	NUMBERED_BY_SENDER,
	NUMBERED_BY_QUEUE
} SpoolNumbering;

extern SpoolNumbering spool_numbering(int64 stream);
extern void spool_numbering_begin(SpoolQueue *queue,
								  const SpoolStream *stream, bool by_queue);
extern int64 spool_numbering_next(SpoolQueue *queue,
								  const SpoolStream *stream, int count);
extern bool spool_numbering_try(SpoolQueue *queue, const SpoolStream *stream);
extern void spool_numbering_settle(SpoolQueue *queue,
								   const SpoolStream *stream, int64 next);
extern int64 spool_numbering_bound(int64 stream, int64 seen,
								   SpoolHolder *holder);

#endif							/* SPOOL_NUMBERING_H */
