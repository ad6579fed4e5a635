/*-------------------------------------------------------------------------
 * spool_exec.h
 *	  What a backend and its supervisor spool-exec say to each other.
 *
 * The channel is a stream socket.  The backend sends a request with the
 * program's standard output, standard error and, if it has an input, its
 * standard input as SCM_RIGHTS, and sends nothing more until the reply is
 * there.  The end of the stream ends the job and the supervisor.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_EXEC_H
#define SPOOL_EXEC_H

#include <stdint.h>

#define SPOOL_EXEC_MAGIC	0x73706531
#define SPOOL_EXEC_CHANNEL	3	/* the supervisor's end */
#define SPOOL_EXEC_FDS		3	/* most descriptors of a request */

/* No system takes that many bytes of arguments and environment. */
#define SPOOL_EXEC_MAX_LENGTH (16 * 1024 * 1024)

/*
 * A request: this, then strings that each end with a zero byte: name of the
 * lock file (empty for none), path, nargs arguments with argv[0], nenv
 * variables.
 */
typedef struct SpoolExecRequest
{
	uint32_t	magic;
	uint32_t	length;			/* bytes of the strings */
	uint32_t	nargs;
	uint32_t	nenv;
	int64_t		timeout_ms;		/* from the start of the program; 0 = none */
} SpoolExecRequest;

typedef enum SpoolExecResult
{
	EXEC_ENDED,					/* the program ran, status is set */
	EXEC_TIMEOUT,				/* it ran and was killed: its time was over */
	EXEC_NOT_LOCKED,			/* no lock file, error is set */
	EXEC_NOT_STARTED			/* no program, error is set */
} SpoolExecResult;

typedef struct SpoolExecReply
{
	uint32_t	magic;
	int32_t		result;			/* SpoolExecResult */
	int32_t		error;			/* errno */
	int32_t		status;			/* as waitpid gives it */
	int64_t		started_us;		/* when it started, since 1970 */
} SpoolExecReply;

#endif							/* SPOOL_EXEC_H */
