/*-------------------------------------------------------------------------
 * supervisor.c
 *	  The backend's end of the channel to its supervisor spool-exec.
 *
 * A backend has no supervisor until it runs its first program, then one that
 * serves all further ones.  Closing our direction of the channel makes the
 * supervisor kill what it runs and exit, and so does our own death, because
 * nobody else has our end: it is close-on-exec.
 *
 * The supervisor is reaped by its process id only, so that nobody else's
 * children are taken away.  It is looked for beside the loaded library, so
 * that both are of the same installation wherever that is.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"

#include "supervisor.h"

/* Directory of the lock files, in the data directory. */
#define RUN_DIRECTORY "pg_spool_run"

/* How long we wait for a supervisor to kill what it runs. */
#define END_TIMEOUT_MS 5000

static pid_t supervisor_pid = 0;
static int	channel = -1;
static bool exit_registered = false;

static char *start_supervisor(void);
static int	spawn(const char *path, int remote, pid_t *pid);
static bool send_first(SupervisorRequest *request);
static void end_at_exit(int code, Datum arg);

const char *
spool_supervisor_begin(SupervisorRequest *request)
{
	int			tries;

	/* An idle supervisor may have been killed since the last program. */
	for (tries = 0; tries < 2; tries++)
	{
		if (channel < 0)
		{
			char	   *reason = start_supervisor();

			if (reason != NULL)
				return reason;
		}
		if (send_first(request))
			return NULL;
		spool_supervisor_end();
	}
	return psprintf("could not reach the supervisor: %s", strerror(errno));
}

bool
spool_supervisor_send(SupervisorRequest *request)
{
	while (request->sent < request->data.len)
	{
		ssize_t		rc = send(channel, request->data.data + request->sent,
							  request->data.len - request->sent,
							  MSG_NOSIGNAL);

		if (rc >= 0)
			request->sent += rc;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return false;
		else if (errno != EINTR)
			return true;		/* reading tells that it is gone */
	}
	return true;
}

SupervisorState
spool_supervisor_reply(SpoolExecReply *reply)
{
	ssize_t		rc;

	do
		rc = recv(channel, reply, sizeof(*reply), 0);
	while (rc < 0 && errno == EINTR);

	if (rc < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return SUPERVISOR_BUSY;

	/* so few bytes come in one piece */
	if (rc == sizeof(*reply) && reply->magic == SPOOL_EXEC_MAGIC)
		return SUPERVISOR_REPLIED;
	return SUPERVISOR_LOST;
}

int
spool_supervisor_channel(void)
{
	return channel;
}

void
spool_supervisor_end(void)
{
	int			save_errno = errno;
	struct pollfd end = {
		.fd = channel,
		.events = POLLIN
	};
	char		rest[64];
	bool		ended;
	ssize_t		rc;

	if (channel < 0)
		return;

	/*
	 * Wait for it to close its end.  A process stuck in the kernel could let
	 * us wait for ever; then it is left to the supervisor, which goes on
	 * waiting, and holds the lock file.
	 */
	shutdown(channel, SHUT_WR);
	do
	{
		do
			rc = poll(&end, 1, END_TIMEOUT_MS);
		while (rc < 0 && errno == EINTR);
		ended = rc > 0;
		if (ended)
			rc = recv(channel, rest, sizeof(rest), 0);
	} while (ended && rc > 0);

	close(channel);
	channel = -1;
	ReleaseExternalFD();

	while (waitpid(supervisor_pid, NULL, ended ? 0 : WNOHANG) < 0 &&
		   errno == EINTR)
		;
	supervisor_pid = 0;
	errno = save_errno;
}

/* Returns NULL or the reason why it could not be started. */
static char *
start_supervisor(void)
{
	Dl_info		library;
	char		path[MAXPGPATH];
	int			ends[2];
	int			rc;

	if (!exit_registered)
	{
		before_shmem_exit(end_at_exit, (Datum) 0);
		exit_registered = true;
	}

	if (dladdr((void *) spool_supervisor_begin, &library) == 0)
		return pstrdup("could not find the directory of the supervisor");
	strlcpy(path, library.dli_fname, sizeof(path));
	get_parent_directory(path);
	strlcat(path, "/spool-exec", sizeof(path));

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return psprintf("could not create socket: %s", strerror(errno));

	rc = fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0 ? errno :
		spawn(path, ends[1], &supervisor_pid);
	close(ends[1]);
	if (rc != 0)
	{
		close(ends[0]);
		return psprintf("could not run supervisor \"%s\": %s",
						path, strerror(rc));
	}

	ReserveExternalFD();
	channel = ends[0];
	return NULL;
}

/* Start the supervisor with its end of the channel.  Returns 0 or errno. */
static int
spawn(const char *path, int remote, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t	signals;
	char		directory[MAXPGPATH];
	char		name[] = "spool-exec";
	char	   *argv[] = {name, directory, NULL};
	char	   *envp[] = {NULL};
	int			rc;
	int			i;

	snprintf(directory, sizeof(directory), "%s/%s", DataDir, RUN_DIRECTORY);

	rc = posix_spawn_file_actions_init(&actions);
	if (rc != 0)
		return rc;
	rc = posix_spawnattr_init(&attributes);
	if (rc != 0)
	{
		posix_spawn_file_actions_destroy(&actions);
		return rc;
	}

	rc = posix_spawn_file_actions_adddup2(&actions, remote,
										  SPOOL_EXEC_CHANNEL);
	for (i = 0; i < SPOOL_EXEC_CHANNEL && rc == 0; i++)
		rc = posix_spawn_file_actions_addopen(&actions, i, "/dev/null",
											  i == 0 ? O_RDONLY : O_WRONLY, 0);

	/* A session of its own, out of reach of the postmaster's signals. */
	if (rc == 0)
		rc = posix_spawnattr_setflags(&attributes,
									  POSIX_SPAWN_SETSIGDEF |
									  POSIX_SPAWN_SETSIGMASK |
									  POSIX_SPAWN_SETSID);
	sigfillset(&signals);
	if (rc == 0)
		rc = posix_spawnattr_setsigdefault(&attributes, &signals);
	sigemptyset(&signals);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(&attributes, &signals);

	if (rc == 0)
		rc = posix_spawn(pid, path, &actions, &attributes, argv, envp);

	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return rc;
}

/* Send the descriptors with the first bytes.  False if nobody is there. */
static bool
send_first(SupervisorRequest *request)
{
	union
	{
		struct cmsghdr align;
		char		space[CMSG_SPACE(SPOOL_EXEC_FDS * sizeof(int))];
	}			control;
	struct iovec piece = {
		.iov_base = request->data.data,
		.iov_len = request->data.len
	};
	struct msghdr msg = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(request->nfds * sizeof(int))
	};
	struct cmsghdr *part;
	ssize_t		rc;

	memset(&control, 0, sizeof(control));
	part = CMSG_FIRSTHDR(&msg);
	part->cmsg_level = SOL_SOCKET;
	part->cmsg_type = SCM_RIGHTS;
	part->cmsg_len = CMSG_LEN(request->nfds * sizeof(int));
	memcpy(CMSG_DATA(part), request->fds, request->nfds * sizeof(int));

	do
		rc = sendmsg(channel, &msg, MSG_NOSIGNAL);
	while (rc < 0 && errno == EINTR);

	if (rc <= 0)
		return false;
	request->sent = rc;
	return true;
}

static void
end_at_exit(int code, Datum arg)
{
	spool_supervisor_end();
}
