/*-------------------------------------------------------------------------
 * maintain.h
 *	  Upkeep: removing what nobody needs any more.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_MAINTAIN_H
#define SPOOL_MAINTAIN_H

#include "utils/timestamp.h"

extern TimestampTz spool_maintain_now(void);

#endif							/* SPOOL_MAINTAIN_H */
