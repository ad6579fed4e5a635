/*-------------------------------------------------------------------------
 * pass.h
 *	  A pass over a queue: the life of one runner.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_PASS_H
#define SPOOL_PASS_H

#include "batch.h"

extern const char *spool_command_problem(SpoolQueue *queue);
extern bool spool_command_may_run(SpoolQueue *queue);
extern bool spool_pass_wanted(SpoolQueue *queue);
extern void spool_pass_run(SpoolPass *pass);

#endif							/* SPOOL_PASS_H */
