/*-------------------------------------------------------------------------
 * program.h
 *	  Run one job as an OS program through the supervisor spool-exec.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_PROGRAM_H
#define SPOOL_PROGRAM_H

#include "attempt.h"

extern bool spool_programs;		/* spool.programs */
extern int	spool_output_limit; /* spool.output_limit, in kB */

/* Defines this file's settings. */
extern void spool_program_init(void);

/* Who may have a program run: checked when it is set and when it runs. */
extern void spool_program_check_rights(Oid role);
extern bool spool_program_allowed(Oid role);

/* 22023 if it is not absolute; to be called where a path is set. */
extern void spool_program_check_path(const char *path);

/* One run.  Nothing in here comes from the packet but what it may decide. */
typedef struct SpoolProgramRun
{
	const char *path;			/* absolute */
	int			nargs;
	char	  **args;			/* fixed arguments, without argv[0] */
	struct varlena *packet;		/* detoasted; its payload is stdin */
	const char *queue;			/* FSPL_JOB_QUEUEDIR, or NULL outside one */
	bool		allow_job_params;	/* append the packet's parameters */
	bool		ignore_payload; /* stdin is empty */
	int64		timeout_ms;		/* 0 = none */
	const char *lock_name;		/* one run at a time under this name, or NULL */
} SpoolProgramRun;

/*
 * Run it and wait.  Never raises an error for what the program does or for
 * its failing to start: that is the outcome.  Output is allocated in the
 * current context.  Holds no snapshot itself; the caller should not either.
 */
extern void spool_program_run(const SpoolProgramRun *run,
							  SpoolAttempt *attempt);

#endif							/* SPOOL_PROGRAM_H */
