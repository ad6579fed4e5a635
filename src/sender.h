/*-------------------------------------------------------------------------
 * sender.h
 *	  Upkeep.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SENDER_H
#define SPOOL_SENDER_H

extern void spool_maintain_now(void);

#endif							/* SPOOL_SENDER_H */
