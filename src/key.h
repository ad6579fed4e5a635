/*-------------------------------------------------------------------------
 * key.h
 *	  Keys of enqueue: what is stored once.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_KEY_H
#define SPOOL_KEY_H

#include "queue.h"

/* The longest key: it is an index key. */
#define SPOOL_MAX_KEY 1024

/* The number of a key whose packet has none yet. */
#define SPOOL_KEY_NO_SEQ (-1)

/* Defines this file's settings. */
extern void spool_key_init(void);

extern bool spool_key_take(SpoolQueue *queue, text *key, int64 *seq);
extern void spool_key_set(SpoolQueue *queue, text *key, int64 seq,
						  bool restart);
extern void spool_key_forget(SpoolQueue *queue, text *key);
extern void spool_key_purge(void);

#endif							/* SPOOL_KEY_H */
