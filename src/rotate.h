/*-------------------------------------------------------------------------
 * rotate.h
 *	  Rotation: segments are emptied as a whole.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_ROTATE_H
#define SPOOL_ROTATE_H

/* When the next step can be made. */
typedef enum SpoolRotation
{
	ROTATION_DONE,				/* when there is something to do */
	ROTATION_LATER,				/* in a minute */
	ROTATION_MORE				/* at once, in another transaction */
} SpoolRotation;

extern void spool_rotate_init(void);
extern SpoolRotation spool_rotate_step(bool now, bool alone);
extern void spool_segments_summarize(void);

#endif							/* SPOOL_ROTATE_H */
