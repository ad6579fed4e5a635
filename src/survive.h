/*-------------------------------------------------------------------------
 * survive.h
 *	  What of a segment is still needed.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SURVIVE_H
#define SPOOL_SURVIVE_H

/* A walk through the streams of a segment, in steps. */
typedef struct SpoolWalk
{
	int			segment;
	int64		stream;			/* those up to this one were seen */
	int64		entered;		/* a stream that a step ended in, */
	int64		position;		/* at this position */
	bool		left;			/* something could not be moved */
} SpoolWalk;

extern bool spool_survivors_move(SpoolWalk *walk);
extern bool spool_consumed_remove(SpoolWalk *walk);
extern bool spool_survivors_any(int segment);
extern bool spool_survivors_most(int segment);

#endif							/* SPOOL_SURVIVE_H */
