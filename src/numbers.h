/*-------------------------------------------------------------------------
 * numbers.h
 *	  Numbers of streams in shared memory: the next, and those that open
 *	  transactions have.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_NUMBERS_H
#define SPOOL_NUMBERS_H

#include "storage/lock.h"
#include "utils/timestamp.h"

/* What the caller knows of who numbers a stream. */
typedef enum SpoolChecked
{
	NUMBERS_UNCHECKED,			/* nothing */
	NUMBERS_CHECKED,			/* the queue, as this transaction sees it */
	NUMBERS_FIXED				/* the queue, and that is committed */
} SpoolChecked;

typedef enum SpoolGiven
{
	NUMBERS_GIVEN,
	NUMBERS_MISSING,			/* the stream is not in memory, or unchecked */
	NUMBERS_EXHAUSTED,			/* no such numbers are left */
	NUMBERS_FULL				/* no memory is left */
} SpoolGiven;

/* A transaction that has numbers of a stream. */
typedef struct SpoolHolder
{
	int64		number;			/* the lowest that it has */
	int			pid;			/* 0 = no such transaction */
	TimestampTz since;
	VirtualTransactionId vxid;
} SpoolHolder;

extern int	spool_max_streams_in_memory;

extern void spool_numbers_init(void);
extern bool spool_numbers_shared(void);
extern SpoolGiven spool_numbers_give(int64 stream, int count, int64 least,
									 SpoolChecked checked, int64 *first);
extern int64 spool_numbers_bound(int64 stream, int64 seen,
								 SpoolHolder *holder);
extern bool spool_numbers_release(bool committed);

#endif							/* SPOOL_NUMBERS_H */
