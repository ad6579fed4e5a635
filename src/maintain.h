/*-------------------------------------------------------------------------
 * maintain.h
 *	  Upkeep: removing what nobody needs any more.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_MAINTAIN_H
#define SPOOL_MAINTAIN_H

extern void spool_maintain_now(void);

#endif							/* SPOOL_MAINTAIN_H */
