/*-------------------------------------------------------------------------
 * handler.h
 *	  Run one job as an SQL statement.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_HANDLER_H
#define SPOOL_HANDLER_H

#include <signal.h>

#include "executor/spi.h"

#include "attempt.h"
#include "owner.h"
#include "queue.h"

/* A queue's handler, made ready for some jobs of one transaction. */
typedef struct SpoolHandler
{
	const char *statement;
	const char *path;
	Oid			type;			/* of its parameter */
	int64		timeout_ms;
	SpoolAsOwner was;			/* what to go back to */
} SpoolHandler;

/* Cancels that came, if this process counts them; else negative. */
extern volatile sig_atomic_t spool_cancels;

extern void spool_handler_check(const char *statement);
extern void spool_handler_begin(SpoolHandler *handler, SpoolQueue *queue);
extern void spool_handler_run(SpoolHandler *handler, Datum job,
							  SpoolAttempt *attempt);
extern void spool_handler_end(SpoolHandler *handler);

#endif							/* SPOOL_HANDLER_H */
