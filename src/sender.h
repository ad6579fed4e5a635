/*-------------------------------------------------------------------------
 * sender.h
 *	  The counters of senders in segments.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SENDER_H
#define SPOOL_SENDER_H

extern bool spool_senders_needed(int segment);
extern int64 spool_senders_move(int segment, int max);
extern void spool_senders_purge(void);

#endif							/* SPOOL_SENDER_H */
