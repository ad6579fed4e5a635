/*-------------------------------------------------------------------------
 * program.c
 *	  Run one job as an OS program through the supervisor spool-exec.
 *
 * Per run there are fresh pipes for input and output, because a program may
 * change the mode of a pipe or hand it on.  The ends for the program go to
 * the supervisor with the request; ours are not blocking, and one wait set
 * watches them, the channel, the latch and the postmaster.  The timeout is
 * the supervisor's affair, so that it also holds while this backend is busy;
 * it counts from the start of the program, not the wait for the lock.
 *
 * The supervisor replies when the program and all that it started are gone;
 * so what is in the pipes then is the whole output, and two runs under one
 * lock name never overlap.  An error that leaves spool_program_run (a query
 * cancel) ends the supervisor first, and with it the program; so does the
 * end of this backend by any means.  Nothing is left on disk.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "catalog/pg_authid.h"
#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "packet_type.h"
#include "program.h"
#include "program_request.h"
#include "supervisor.h"

#define PIPE_SIZE	(1024 * 1024)	/* what we ask for with a large input */
#define READ_SIZE	(64 * 1024)
#define MAX_READS	16			/* in a row, before looking elsewhere */
#define MAX_EVENTS	6

bool		spool_programs = false;
int			spool_output_limit = 64;

/* What the program writes to one of its two outputs. */
typedef struct Output
{
	int			fd;				/* our end, or -1 after its end */
	StringInfoData data;		/* room for a varlena header, then the bytes */
} Output;

/* A run under way. */
typedef struct Execution
{
	SupervisorRequest request;
	const char *input;			/* what is still to be written */
	size_t		input_left;
	int			input_fd;		/* our end, or -1 */
	Output		outputs[2];
	WaitEventSet *wait_set;		/* NULL if it is to be made again */
	SpoolExecReply reply;
} Execution;

static Execution *new_execution(void);
static const char *prepare(const SpoolProgramRun *run, Execution *execution);
static const char *open_pipes(Execution *execution);
static void open_pipe(Execution *execution, int *ours, bool for_input);
static SupervisorState wait_for_reply(Execution *execution);
static SupervisorState serve_channel(Execution *execution);
static void make_wait_set(Execution *execution);
static void free_wait_set(Execution *execution);
static void feed(Execution *execution);
static void collect(Execution *execution, Output *output);
static void close_fd(int *fd);
static void release(Execution *execution);
static void set_outcome(const SpoolProgramRun *run,
						const SpoolExecReply *reply, SpoolAttempt *attempt);
static struct varlena *finish_output(Output *output);

void
spool_program_init(void)
{
	DefineCustomBoolVariable("spool.programs",
							 "Enables running jobs as programs.",
							 NULL,
							 &spool_programs,
							 false,
							 PGC_SUSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("spool.output_limit",
							"Sets how much of each output of a program is kept.",
							"Standard output and standard error count apart.",
							&spool_output_limit,
							64, 0, 256 * 1024,
							PGC_SUSET,
							GUC_UNIT_KB,
							NULL, NULL, NULL);
}

void
spool_program_check_rights(Oid role)
{
	if (spool_program_allowed(role))
		return;
	if (!spool_programs)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("programs may not be run"),
				 errhint("Set spool.programs to on.")));

	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to run a program"),
			 errdetail("Only superusers and roles with privileges of the role \"%s\" may run programs.",
					   "pg_execute_server_program")));
}

/* The same as a question. */
bool
spool_program_allowed(Oid role)
{
	return spool_programs &&
		has_privs_of_role(role, ROLE_PG_EXECUTE_SERVER_PROGRAM);
}

void
spool_program_check_path(const char *path)
{
	if (!is_absolute_path(path))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("program path must be absolute"),
				 errdetail("The path is \"%s\".", path)));
}

void
spool_program_run(const SpoolProgramRun *run, SpoolAttempt *attempt)
{
	Execution  *execution = new_execution();
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	const char *reason;
	volatile SupervisorState state = SUPERVISOR_BUSY;

	memset(attempt, 0, sizeof(*attempt));
	attempt->started_at = GetCurrentTimestamp();
	attempt->outcome = OUTCOME_START_FAILED;

	context = AllocSetContextCreate(caller, "spool program",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	reason = prepare(run, execution);

	ReserveExternalFD();		/* our ends of three pipes */
	ReserveExternalFD();
	ReserveExternalFD();
	PG_TRY();
	{
		if (reason == NULL)
			reason = open_pipes(execution);
		if (reason == NULL)
			reason = spool_supervisor_begin(&execution->request);
		if (reason == NULL)
		{
			state = wait_for_reply(execution);
			if (state == SUPERVISOR_LOST)
				reason = "supervisor of the program ended unexpectedly";
		}
		else
			state = SUPERVISOR_REPLIED;
	}
	PG_FINALLY();
	{
		/* without a reply something may still run */
		if (state != SUPERVISOR_REPLIED)
			spool_supervisor_end();
		release(execution);
	}
	PG_END_TRY();

	MemoryContextSwitchTo(caller);
	attempt->finished_at = GetCurrentTimestamp();
	if (state == SUPERVISOR_LOST)
		attempt->outcome = OUTCOME_CRASHED;
	if (reason != NULL)
		attempt->message = pstrdup(reason);
	else
		set_outcome(run, &execution->reply, attempt);
	attempt->output = finish_output(&execution->outputs[0]);
	attempt->errors = finish_output(&execution->outputs[1]);

	MemoryContextDelete(context);
	pfree(execution);
}

/* Nothing is open yet. */
static Execution *
new_execution(void)
{
	Execution  *execution = palloc0(sizeof(Execution));
	int			i;

	execution->input_fd = -1;
	for (i = 0; i < SPOOL_EXEC_FDS; i++)
		execution->request.fds[i] = -1;
	for (i = 0; i < (int) lengthof(execution->outputs); i++)
	{
		execution->outputs[i].fd = -1;
		initStringInfo(&execution->outputs[i].data);
		execution->outputs[i].data.len = VARHDRSZ;
	}
	return execution;
}

/*
 * Find the input and write the request.  Returns NULL, or the reason why the
 * packet cannot be handed to a program.
 */
static const char *
prepare(const SpoolProgramRun *run, Execution *execution)
{
	PacketHeader header;

	spool_packet_header(run->packet, &header);
	if (!run->ignore_payload)
	{
		execution->input = (char *) VARDATA_ANY(run->packet) + header.size;
		execution->input_left = VARSIZE_ANY_EXHDR(run->packet) - header.size;
	}

	if (header.params.count > 0 && !run->allow_job_params)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("parameters of the packet are ignored"),
				 errhint("The queue's option allow_job_params appends them to the arguments.")));

	if (spool_packet_has_nul(&header))
		return "parameter or environment of the packet contains a zero byte";
	if (!spool_program_request(run, &header, &execution->request.data))
		return psprintf("could not run program \"%s\": %s",
						run->path, strerror(E2BIG));
	return NULL;
}

/* Make the pipes.  Returns NULL or the reason why not. */
static const char *
open_pipes(Execution *execution)
{
	int			saved;

	errno = 0;
	open_pipe(execution, &execution->outputs[0].fd, false);
	open_pipe(execution, &execution->outputs[1].fd, false);
	if (execution->input_left > 0)
		open_pipe(execution, &execution->input_fd, true);
	saved = errno;

	if (execution->outputs[0].fd < 0 || execution->outputs[1].fd < 0 ||
		(execution->input_left > 0 && execution->input_fd < 0))
		return psprintf("could not create pipe: %s", strerror(saved));

	/* A short input goes into the pipe before the program is there. */
	if (execution->input_fd >= 0)
	{
		if (execution->input_left > READ_SIZE)
			(void) fcntl(execution->input_fd, F_SETPIPE_SZ, PIPE_SIZE);
		feed(execution);
	}
	return NULL;
}

/* One pipe: one end for us, which does not block, one for the request. */
static void
open_pipe(Execution *execution, int *ours, bool for_input)
{
	SupervisorRequest *request = &execution->request;
	int			ends[2];

	if (errno != 0 || pipe2(ends, O_CLOEXEC) != 0)
		return;
	*ours = ends[for_input ? 1 : 0];
	request->fds[request->nfds++] = ends[for_input ? 0 : 1];
	(void) fcntl(*ours, F_SETFL, O_NONBLOCK);
}

/* Serve the pipes until the supervisor replies or is gone. */
static SupervisorState
wait_for_reply(Execution *execution)
{
	static uint32 wait_event = 0;
	SupervisorState state = SUPERVISOR_BUSY;
	int			i;

	if (wait_event == 0)
		wait_event = compat_wait_event("SpoolProgram");

	/* The program's ends are only its own now. */
	for (i = 0; i < execution->request.nfds; i++)
		close_fd(&execution->request.fds[i]);

	while (state == SUPERVISOR_BUSY)
	{
		WaitEvent	events[MAX_EVENTS];
		int			count;

		make_wait_set(execution);
		count = WaitEventSetWait(execution->wait_set, -1, events,
								 lengthof(events), wait_event);
		for (i = 0; i < count; i++)
		{
			if (events[i].events & WL_LATCH_SET)
				ResetLatch(MyLatch);
			else if (events[i].fd == spool_supervisor_channel())
				state = serve_channel(execution);
			else if (events[i].fd == execution->input_fd)
				feed(execution);
			else if (events[i].fd == execution->outputs[0].fd)
				collect(execution, &execution->outputs[0]);
			else if (events[i].fd == execution->outputs[1].fd)
				collect(execution, &execution->outputs[1]);
		}
		if (state == SUPERVISOR_BUSY)
			CHECK_FOR_INTERRUPTS();
	}

	/* Nobody writes any more. */
	collect(execution, &execution->outputs[0]);
	collect(execution, &execution->outputs[1]);
	return state;
}

/* Something happened on the channel. */
static SupervisorState
serve_channel(Execution *execution)
{
	SupervisorRequest *request = &execution->request;

	if (request->sent < request->data.len && spool_supervisor_send(request))
		free_wait_set(execution);
	return spool_supervisor_reply(&execution->reply);
}

/* Watch everything there is.  The set is kept until something closes. */
static void
make_wait_set(Execution *execution)
{
	SupervisorRequest *request = &execution->request;
	WaitEventSet *set;
	uint32		channel_events = WL_SOCKET_READABLE;
	int			i;

	if (execution->wait_set != NULL)
		return;
	if (request->sent < request->data.len)
		channel_events |= WL_SOCKET_WRITEABLE;

	set = compat_create_wait_set(MAX_EVENTS);
	execution->wait_set = set;
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, channel_events, spool_supervisor_channel(),
					  NULL, NULL);
	for (i = 0; i < (int) lengthof(execution->outputs); i++)
		if (execution->outputs[i].fd >= 0)
			AddWaitEventToSet(set, WL_SOCKET_READABLE,
							  execution->outputs[i].fd, NULL, NULL);
	if (execution->input_fd >= 0)
		AddWaitEventToSet(set, WL_SOCKET_WRITEABLE, execution->input_fd,
						  NULL, NULL);
}

static void
free_wait_set(Execution *execution)
{
	if (execution->wait_set != NULL)
		FreeWaitEventSet(execution->wait_set);
	execution->wait_set = NULL;
}

/*
 * Write as much input as the pipe takes; close it at the end.  A program need
 * not read its input.
 */
static void
feed(Execution *execution)
{
	while (execution->input_left > 0)
	{
		ssize_t		rc = write(execution->input_fd, execution->input,
							   execution->input_left);

		if (rc >= 0)
		{
			execution->input += rc;
			execution->input_left -= rc;
		}
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		else if (errno != EINTR)
			break;
	}
	free_wait_set(execution);
	close_fd(&execution->input_fd);
}

/* Read what is there, and keep as much as is allowed. */
static void
collect(Execution *execution, Output *output)
{
	static char buffer[READ_SIZE];
	int			limit = VARHDRSZ + spool_output_limit * 1024;
	int			reads;

	if (output->fd < 0)
		return;
	for (reads = 0; reads < MAX_READS; reads++)
	{
		ssize_t		rc = read(output->fd, buffer, sizeof(buffer));

		if (rc < 0 && errno == EINTR)
			continue;
		if (rc < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (rc <= 0)
		{
			free_wait_set(execution);
			close_fd(&output->fd);
			return;
		}
		if (output->data.len < limit)
			appendBinaryStringInfo(&output->data, buffer,
								   Min((int) rc, limit - output->data.len));
	}
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Give up all that the operating system lent us. */
static void
release(Execution *execution)
{
	int			i;

	free_wait_set(execution);
	close_fd(&execution->input_fd);
	for (i = 0; i < (int) lengthof(execution->outputs); i++)
		close_fd(&execution->outputs[i].fd);
	for (i = 0; i < SPOOL_EXEC_FDS; i++)
		close_fd(&execution->request.fds[i]);
	for (i = 0; i < SPOOL_EXEC_FDS; i++)
		ReleaseExternalFD();
}

/* Translate the supervisor's reply. */
static void
set_outcome(const SpoolProgramRun *run, const SpoolExecReply *reply,
			SpoolAttempt *attempt)
{
	int			status = reply->status;

	attempt->started_at = reply->started_us -
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;

	if (reply->result == EXEC_NOT_LOCKED)
		attempt->message = psprintf("could not lock a file for program \"%s\": %s",
									run->path, strerror(reply->error));
	else if (reply->result == EXEC_NOT_STARTED)
		attempt->message = psprintf("could not run program \"%s\": %s",
									run->path, strerror(reply->error));
	else if (reply->result == EXEC_TIMEOUT)
	{
		attempt->outcome = OUTCOME_TIMEOUT;
		attempt->message = psprintf("program was killed after %lld ms",
									(long long) run->timeout_ms);
	}
	else if (WIFSIGNALED(status))
	{
		attempt->outcome = OUTCOME_SIGNAL;
		attempt->signal = WTERMSIG(status);
		attempt->message = psprintf("program was terminated by signal %d: %s",
									attempt->signal,
									pg_strsignal(attempt->signal));
	}
	else if (WEXITSTATUS(status) != 0)
	{
		attempt->outcome = OUTCOME_EXIT;
		attempt->exit_code = WEXITSTATUS(status);
		attempt->message = psprintf("program exited with status %d",
									attempt->exit_code);
	}
	else
		attempt->outcome = OUTCOME_OK;
}

static struct varlena *
finish_output(Output *output)
{
	SET_VARSIZE(output->data.data, output->data.len);
	return (struct varlena *) output->data.data;
}
