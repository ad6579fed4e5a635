/*-------------------------------------------------------------------------
 * supervisor.h
 *	  This backend's supervisor process and the channel to it.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SUPERVISOR_H
#define SPOOL_SUPERVISOR_H

#include "lib/stringinfo.h"

#include "exec/spool_exec.h"

/* A request on its way.  The descriptors stay the caller's. */
typedef struct SupervisorRequest
{
	StringInfoData data;		/* SpoolExecRequest and its strings */
	int			sent;			/* bytes gone */
	int			fds[SPOOL_EXEC_FDS];	/* stdout, stderr, stdin */
	int			nfds;
} SupervisorRequest;

typedef enum SupervisorState
{
	SUPERVISOR_BUSY,			/* nothing to tell yet */
	SUPERVISOR_REPLIED,
	SUPERVISOR_LOST				/* it ended; the outcome is not known */
} SupervisorState;

/*
 * Start the supervisor if there is none, and send the request or a first
 * piece of it.  Returns NULL, or a reason why nothing was sent.
 */
extern const char *spool_supervisor_begin(SupervisorRequest *request);

/* Send more of it.  True if all has been sent or nobody is there. */
extern bool spool_supervisor_send(SupervisorRequest *request);

/* Look for the reply, without waiting. */
extern SupervisorState spool_supervisor_reply(SpoolExecReply *reply);

/* The channel, to wait on. */
extern int	spool_supervisor_channel(void);

/* End it, and by that all that it runs; waits until that is done. */
extern void spool_supervisor_end(void);

#endif							/* SPOOL_SUPERVISOR_H */
