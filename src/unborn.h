/*-------------------------------------------------------------------------
 * unborn.h
 *	  Streams that this transaction makes before it commits.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_UNBORN_H
#define SPOOL_UNBORN_H

#include "access/xact.h"

#include "queue.h"
#include "stream.h"

/* Stands for all queues. */
#define SPOOL_ALL_QUEUES 0

extern void spool_unborn_init(void);
extern void spool_unborn_get(SpoolQueue *queue, const char *name,
							 SpoolStream *stream);
extern void spool_unborn_make(int32 queue);
extern void spool_unborn_make_all(void);
extern void spool_unborn_end(void);

#endif							/* SPOOL_UNBORN_H */
