/*-------------------------------------------------------------------------
 * reseq_expire.h
 *	  The resequencer's timers.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_RESEQ_EXPIRE_H
#define SPOOL_RESEQ_EXPIRE_H

#include "utils/timestamp.h"

extern TimestampTz spool_reseq_expire_all(void);

#endif							/* SPOOL_RESEQ_EXPIRE_H */
