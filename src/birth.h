/*-------------------------------------------------------------------------
 * birth.h
 *	  Streams that open transactions create, in shared memory.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_BIRTH_H
#define SPOOL_BIRTH_H

#include "storage/lock.h"

typedef enum SpoolBirth
{
	BIRTH_LATER,				/* the stream is made before the commit */
	BIRTH_AT_ONCE,				/* it is made now */
	BIRTH_WAIT					/* others will make it: wait for one's end */
} SpoolBirth;

extern void spool_birth_init(void);
extern SpoolBirth spool_birth_enter(int32 queue, const char *name, bool later,
									int64 *stream,
									VirtualTransactionId *other);
extern void spool_birth_leave(void);

#endif							/* SPOOL_BIRTH_H */
