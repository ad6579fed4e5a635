/*-------------------------------------------------------------------------
 * spool_exec.c
 *	  The supervisor: runs programs for one backend, one after the other.
 *
 * A backend starts it by posix_spawn with a socket as descriptor 3, /dev/null
 * as 0, 1 and 2, in a session of its own, and gives as the only argument the
 * directory of the lock files.  The supervisor reads a request, takes the
 * lock file, starts the program in a process group of its own, waits for it
 * and replies.  It never runs two at once.
 *
 * Guarantees:
 * - Nothing outlives a job.  The supervisor is the subreaper of all that the
 *	 program starts.  When the program ends, when its time is over, and when
 *	 the channel ends because the backend gave up or died by any means, every
 *	 descendant is killed and reaped before the lock file is given up and
 *	 before the reply is sent.  A descendant that may not be killed, such as
 *	 one that changed its user, is waited for instead.
 * - Two jobs under one lock name never overlap: the lock is held by the
 *	 supervisor, thus still after the death of its backend until the last
 *	 descendant is gone.
 * - The supervisor blocks all signals and ends by the end of its channel.  If
 *	 it is killed itself, the program gets SIGKILL from the kernel; what the
 *	 program has started then goes on, and its backend sees the channel end.
 *
 * A lock file is removed by whoever holds it; a waiter checks that what it
 * locked is still what the name stands for.  A crash leaves files behind that
 * nobody holds; the next run under that name takes them over.
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "spool_exec.h"

#define FIRST_READ	(64 * 1024)
#define OOM_SCORE	500
#define POLL_MS		10			/* for what nothing tells us about */

/* One request, decoded.  Pointers point into the buffer of requests. */
typedef struct Job
{
	const char *lock_name;
	const char *path;
	char	  **argv;
	char	  **envp;
	int64_t		timeout_ms;
	int			fds[SPOOL_EXEC_FDS];	/* stdout, stderr, stdin */
	int			nfds;
} Job;

static char *buffer;			/* the request, header and strings */
static size_t buffer_size;
static int	lock_dir = -1;		/* directory of the lock files, once opened */
static sigset_t wait_mask;		/* everything but SIGCHLD */

static pid_t program;			/* the running program, or 0 */
static int	program_status;		/* of the one that ended last */
static volatile int start_errno;	/* written by the vfork child */

static void setup(void);
static void raise_oom_score(void);
static bool read_request(Job *job);
static bool receive(size_t *have, Job *job);
static bool decode_strings(Job *job, const SpoolExecRequest *request);
static void take_fds(struct msghdr *msg, Job *job);
static bool run(const Job *job, const char *directory, SpoolExecReply *reply);
static int	start_program(const Job *job);
static bool wait_program(int64_t timeout_ms, bool *timed_out);
static void end_descendants(void);
static bool reap(void);
static void kill_children(void);
static int	take_lock(const char *directory, const char *name, int *fd);
static int	try_lock(const char *name, int *fd);
static bool pause_or_end(int64_t ms);
static bool reply_with(const SpoolExecReply *reply);
static int64_t clock_us(clockid_t clock);

int
main(int argc, char **argv)
{
	Job			job;

	if (argc != 2)
	{
		fputs("spool-exec is started by the PostgreSQL extension spool\n",
			  stderr);
		return 2;
	}
	setup();

	while (read_request(&job))
	{
		SpoolExecReply reply = {.magic = SPOOL_EXEC_MAGIC};
		bool		go_on;

		go_on = run(&job, argv[1], &reply) && reply_with(&reply);

		/* Not before the reply: their end would only wake the backend up. */
		close(job.fds[0]);
		close(job.fds[1]);
		free(job.argv);
		if (!go_on)
			break;
	}
	return 0;
}

/* SIGCHLD only has to interrupt ppoll. */
static void
wake_up(int signo)
{
	(void) signo;
}

static void
setup(void)
{
	struct sigaction action = {.sa_handler = wake_up};
	sigset_t	all;
	int			fd;

	/* The backend's files may have come along. */
	if (syscall(SYS_close_range, SPOOL_EXEC_CHANNEL + 1, ~0U, 0) != 0)
		for (fd = SPOOL_EXEC_CHANNEL + 1; fd < sysconf(_SC_OPEN_MAX); fd++)
			close(fd);

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &wait_mask);
	sigfillset(&wait_mask);
	sigdelset(&wait_mask, SIGCHLD);
	sigemptyset(&action.sa_mask);

	buffer_size = FIRST_READ;
	buffer = malloc(buffer_size);

	if (buffer == NULL ||
		sigaction(SIGCHLD, &action, NULL) != 0 ||
		fcntl(SPOOL_EXEC_CHANNEL, F_SETFD, FD_CLOEXEC) != 0 ||
		prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 ||
		chdir("/") != 0)
		exit(1);
	raise_oom_score();
}

/* Programs should die of a lack of memory before the server does. */
static void
raise_oom_score(void)
{
	FILE	   *file = fopen("/proc/self/oom_score_adj", "r+e");
	int			score;

	if (file == NULL)
		return;
	if (fscanf(file, "%d", &score) == 1 && score < OOM_SCORE)
	{
		rewind(file);
		fprintf(file, "%d", OOM_SCORE);
	}
	fclose(file);
}

/*
 * Wait for the next request.  False at the end of the channel, and for what
 * is no request: then the backend is not of our version.
 */
static bool
read_request(Job *job)
{
	SpoolExecRequest request;
	size_t		have = 0;

	memset(job, 0, sizeof(*job));

	while (have < sizeof(request))
		if (!receive(&have, job))
			return false;

	memcpy(&request, buffer, sizeof(request));
	if (request.magic != SPOOL_EXEC_MAGIC ||
		request.length > SPOOL_EXEC_MAX_LENGTH)
		return false;

	if (buffer_size < sizeof(request) + request.length)
	{
		char	   *larger;

		larger = realloc(buffer, sizeof(request) + request.length);
		if (larger == NULL)
			return false;
		buffer = larger;
		buffer_size = sizeof(request) + request.length;
	}

	while (have < sizeof(request) + request.length)
		if (!receive(&have, job))
			return false;

	return have == sizeof(request) + request.length &&
		job->nfds >= 2 && decode_strings(job, &request);
}

/* Read more of the request.  False at the end of the channel. */
static bool
receive(size_t *have, Job *job)
{
	union
	{
		struct cmsghdr align;
		char		space[CMSG_SPACE(SPOOL_EXEC_FDS * sizeof(int))];
	}			control;
	struct iovec piece = {
		.iov_base = buffer + *have,
		.iov_len = buffer_size - *have
	};
	struct msghdr msg = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)
	};
	ssize_t		got;

	do
		got = recvmsg(SPOOL_EXEC_CHANNEL, &msg, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);

	if (got <= 0)
		return false;
	take_fds(&msg, job);
	*have += got;
	return true;
}

static void
take_fds(struct msghdr *msg, Job *job)
{
	struct cmsghdr *part = CMSG_FIRSTHDR(msg);
	size_t		count;

	if (part == NULL || part->cmsg_level != SOL_SOCKET ||
		part->cmsg_type != SCM_RIGHTS || job->nfds > 0)
		return;

	count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	if (count > SPOOL_EXEC_FDS)
		count = SPOOL_EXEC_FDS;
	memcpy(job->fds, CMSG_DATA(part), count * sizeof(int));
	job->nfds = count;
}

/* Point into the strings of a request.  False if they are not as announced. */
static bool
decode_strings(Job *job, const SpoolExecRequest *request)
{
	char	   *pos = buffer + sizeof(*request);
	char	   *end = pos + request->length;
	uint64_t	count = (uint64_t) request->nargs + request->nenv + 2;
	uint64_t	i;
	char	  **strings;

	/* each takes a byte, so this also bounds what is allocated */
	if (count > request->length || end[-1] != '\0')
		return false;

	/* argv and envp in one piece, a null pointer after each */
	strings = malloc(count * sizeof(char *));
	if (strings == NULL)
		return false;
	job->argv = strings;
	job->envp = strings + request->nargs + 1;
	job->timeout_ms = request->timeout_ms;

	for (i = 0; i < count && pos < end; i++)
	{
		if (i == 0)
			job->lock_name = pos;
		else if (i == 1)
			job->path = pos;
		else if (i < (uint64_t) request->nargs + 2)
			job->argv[i - 2] = pos;
		else
			job->envp[i - 2 - request->nargs] = pos;
		pos += strlen(pos) + 1;
	}
	job->argv[request->nargs] = NULL;
	job->envp[request->nenv] = NULL;

	return i == count && pos == end;
}

/* Run one job.  False if the channel has ended meanwhile. */
static bool
run(const Job *job, const char *directory, SpoolExecReply *reply)
{
	int			lock = -1;
	bool		timed_out = false;
	bool		go_on = true;

	if (*job->lock_name != '\0')
	{
		int			rc = take_lock(directory, job->lock_name, &lock);

		if (rc < 0)
			return false;
		if (rc > 0)
		{
			reply->result = EXEC_NOT_LOCKED;
			reply->error = rc;
		}
	}

	reply->started_us = clock_us(CLOCK_REALTIME);
	if (reply->error == 0)
	{
		reply->error = start_program(job);
		if (reply->error != 0)
			reply->result = EXEC_NOT_STARTED;
	}

	/* Only the program shall read its input, so that its end is seen. */
	if (job->nfds > 2)
		close(job->fds[2]);

	if (reply->error == 0)
	{
		go_on = wait_program(job->timeout_ms, &timed_out);
		end_descendants();
		reply->result = timed_out ? EXEC_TIMEOUT : EXEC_ENDED;
		reply->status = program_status;
	}

	if (lock >= 0)
	{
		unlinkat(lock_dir, job->lock_name, 0);
		close(lock);
	}
	return go_on;
}

/*
 * Start the program in its own process group.  Returns 0 or the reason.
 *
 * The child shares our memory until exec, so it does system calls only.
 */
static int
start_program(const Job *job)
{
	pid_t		supervisor = getpid();
	sigset_t	none;
	pid_t		pid;

	sigemptyset(&none);
	start_errno = 0;

	pid = vfork();
	if (pid == 0)
	{
		setpgid(0, 0);
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
			getppid() == supervisor &&
			dup2(job->fds[0], STDOUT_FILENO) >= 0 &&
			dup2(job->fds[1], STDERR_FILENO) >= 0 &&
			(job->nfds < 3 || dup2(job->fds[2], STDIN_FILENO) >= 0) &&
			sigprocmask(SIG_SETMASK, &none, NULL) == 0)
			execve(job->path, job->argv, job->envp);
		start_errno = errno;
		_exit(127);
	}

	if (pid < 0)
		return errno;
	if (start_errno != 0)
	{
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return start_errno;
	}
	program = pid;
	return 0;
}

/*
 * Wait for the end of the program, or of its time, or of the channel.  False
 * if it was the channel.
 */
static bool
wait_program(int64_t timeout_ms, bool *timed_out)
{
	int64_t		deadline = 0;

	if (timeout_ms > 0)
		deadline = clock_us(CLOCK_MONOTONIC) / 1000 + timeout_ms;

	while (reap(), program != 0)
	{
		int64_t		left = -1;

		if (timeout_ms > 0)
		{
			left = deadline - clock_us(CLOCK_MONOTONIC) / 1000;
			if (left <= 0)
			{
				*timed_out = true;
				return true;
			}
		}
		if (!pause_or_end(left))
			return false;
	}
	return true;
}

/*
 * Kill and reap everything that was started, the program included.
 *
 * A dying process leaves its children to us, so we look again until none is
 * left.
 */
static void
end_descendants(void)
{
	struct timespec interval = {.tv_nsec = POLL_MS * 1000000L};

	if (program != 0)
		kill(-program, SIGKILL);
	while (reap())
	{
		kill_children();
		ppoll(NULL, 0, &interval, &wait_mask);
	}
	program = 0;
}

/* Take the status of all children that have ended.  True if any are left. */
static bool
reap(void)
{
	for (;;)
	{
		int			status;
		pid_t		pid = waitpid(-1, &status, WNOHANG);

		if (pid == 0)
			return true;
		if (pid < 0 && errno != EINTR)
			return false;
		if (pid > 0 && pid == program)
		{
			program = 0;
			program_status = status;
		}
	}
}

/* Kill our direct children, whatever process group they are in. */
static void
kill_children(void)
{
	FILE	   *file = fopen("/proc/thread-self/children", "re");
	int			pid;

	if (file == NULL)
		return;
	while (fscanf(file, "%d", &pid) == 1)
		kill(pid, SIGKILL);
	fclose(file);
}

/*
 * Take the lock of this name, waiting for it.  Returns 0, the reason why not,
 * or -1 if the channel has ended.
 */
static int
take_lock(const char *directory, const char *name, int *fd)
{
	if (lock_dir < 0)
	{
		if (mkdir(directory, 0700) != 0 && errno != EEXIST)
			return errno;
		lock_dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (lock_dir < 0)
			return errno;
	}

	for (;;)
	{
		int			rc = try_lock(name, fd);

		if (rc != EWOULDBLOCK)
			return rc;
		if (!pause_or_end(POLL_MS))
			return -1;
	}
}

/* One attempt.  Returns 0, EWOULDBLOCK if somebody has it, or the reason. */
static int
try_lock(const char *name, int *fd)
{
	struct stat held;
	struct stat named;
	int			rc = 0;

	*fd = openat(lock_dir, name,
				 O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (*fd < 0)
		return errno;

	if (flock(*fd, LOCK_EX | LOCK_NB) != 0 || fstat(*fd, &held) != 0)
		rc = errno;
	else if (fstatat(lock_dir, name, &named, AT_SYMLINK_NOFOLLOW) != 0)
		rc = errno == ENOENT ? EWOULDBLOCK : errno;
	else if (held.st_ino != named.st_ino || held.st_dev != named.st_dev)
		rc = EWOULDBLOCK;

	if (rc != 0)
	{
		close(*fd);
		*fd = -1;
	}
	return rc;
}

/*
 * Wait for a child to end or for some time (-1: for ever).  False if the
 * channel has ended; data that came there is not in our protocol.
 */
static bool
pause_or_end(int64_t ms)
{
	struct pollfd channel = {
		.fd = SPOOL_EXEC_CHANNEL,
		.events = POLLIN
	};
	struct timespec interval;
	int			rc;

	interval.tv_sec = ms / 1000;
	interval.tv_nsec = ms % 1000 * 1000000;
	rc = ppoll(&channel, 1, ms < 0 ? NULL : &interval, &wait_mask);

	return rc == 0 || (rc < 0 && errno == EINTR);
}

/* Replies are small, and the backend waits for them. */
static bool
reply_with(const SpoolExecReply *reply)
{
	ssize_t		sent;

	do
		sent = send(SPOOL_EXEC_CHANNEL, reply, sizeof(*reply), MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);

	return sent == (ssize_t) sizeof(*reply);
}

static int64_t
clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}
