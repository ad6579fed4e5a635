/*-------------------------------------------------------------------------
 * spool.h
 *	  Words used in all files, and limits.
 *
 * queue	a named set of streams with one set of options
 * stream	the unit of order and of locking within a queue: a sender, a
 *			customer, a record; id is unique in the database
 * packet	a stored Filespooler packet: number, creation time, payload
 * number	(seq) a packet's place in its stream, 0 .. 2^63 - 2
 * position what a stream is ordered by: the number, or the creation time in
 *			nanoseconds
 * cursor	(state.next) nothing below it is handed out
 * state	a stream's appended row of what is next and who runs it
 * take		consume packets in the caller's transaction
 * job		a packet that is handed out to be run
 * runner	who runs jobs across commits: a session with a lock of its own
 * settle	record what came of a job
 * kept		a packet set aside: done and retained, left, dead, or to be handed
 *			out ahead of the cursor
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_H
#define SPOOL_H

#include "compat.h"

/* Jobs that one transaction runs: what a backend caches of subtransactions. */
#define SPOOL_MAX_BATCH 60

/* The consumer that a queue itself is. */
#define SPOOL_CONSUMER 0

#endif							/* SPOOL_H */
