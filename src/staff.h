/*-------------------------------------------------------------------------
 * staff.h
 *	  The workers of a database.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_STAFF_H
#define SPOOL_STAFF_H

#include "utils/timestamp.h"

/* What the manager may be short of. */
typedef enum SpoolShortage
{
	SHORT_SLOTS,
	SHORT_PROCESSES,
	SHORT_ENTRIES,
	NUM_SHORTAGES
} SpoolShortage;

extern void spool_staff_init(void);
extern TimestampTz spool_staff_start(TimestampTz now, bool *failed);
extern void spool_staff_short(SpoolShortage shortage, bool is_short);
extern bool *spool_staff_warned(Oid role);

#endif							/* SPOOL_STAFF_H */
