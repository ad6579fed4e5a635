/*-------------------------------------------------------------------------
 * runner.h
 *	  Who runs jobs across commits, and whether it is alive.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_RUNNER_H
#define SPOOL_RUNNER_H

extern int64 spool_runner_begin(int32 queue);
extern void spool_runner_end(int64 runner);
extern bool spool_runner_alive(int64 runner);
extern int	spool_runner_pid(int64 runner);

#endif							/* SPOOL_RUNNER_H */
