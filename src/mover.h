/*-------------------------------------------------------------------------
 * mover.h
 *	  Rows are moved to the old segment.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_MOVER_H
#define SPOOL_MOVER_H

#include "segment.h"
#include "writer.h"

/* A table that rows are moved from, and where to.  Zero at first. */
typedef struct SpoolMover
{
	bool		opened;
	bool		locked;			/* else rows cannot be moved now */
	AttrNumber	segment;		/* the column */
	SpoolWriter writer;
} SpoolMover;

extern bool spool_mover_move(SpoolMover *mover, SpoolPart *part, Size *bytes);
extern void spool_mover_close(SpoolMover *mover);
extern bool spool_row_remove(Relation heap, const ItemPointerData *place);

#endif							/* SPOOL_MOVER_H */
