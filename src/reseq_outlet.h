/*-------------------------------------------------------------------------
 * reseq_outlet.h
 *	  Where a resequencer puts what it cannot decide or deliver.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_RESEQ_OUTLET_H
#define SPOOL_RESEQ_OUTLET_H

#include "utils/array.h"

#include "reseq_store.h"
#include "resequencer.h"

/* A call that cannot be decided; what is not known is NULL. */
typedef struct SpoolStray
{
	text	   *key;
	const int64 *sn;
	const char *target;
	int			npart;
	const int32 *part;
	int			sqlstate;		/* of the error that it would be */
	const char *reason;
	char	   *message;
} SpoolStray;

extern ArrayType *spool_part_array(int npart, const int32 *part);
extern void spool_reseq_dead(SpoolResequencer *resequencer, text *key,
							 const SpoolDelivery *delivery,
							 const char *reason, const char *message);
extern void spool_reseq_bury(SpoolResequencer *resequencer,
							 const SpoolStray *stray);
extern SpoolDecision spool_reseq_put_out(SpoolResequencer *resequencer,
										 const SpoolOutlet *outlet,
										 const SpoolStray *stray);

#endif							/* SPOOL_RESEQ_OUTLET_H */
