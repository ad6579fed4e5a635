/*-------------------------------------------------------------------------
 * shared.h
 *	  What lies in shared memory; for the files that work on it.
 *
 * Everything is guarded by the one lock, but for what says otherwise.  It may
 * lie in a dynamic segment, at another address in each process: links are
 * places in arrays, not pointers.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SHARED_H
#define SPOOL_SHARED_H

#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "shmem.h"

#define SPOOL_MAX_QUEUES 16384
#define SPOOL_MAX_DATABASES 256
#define SPOOL_MAX_WORKERS 1024

/* No place in an array. */
#define SPOOL_NOWHERE (-1)

/* What a slot is used for. */
typedef enum SlotState
{
	SLOT_FREE,					/* next: STARTING */
	SLOT_STARTING,				/* taken, process not there; next: both */
	SLOT_RUNNING				/* attached by its process; next: FREE */
} SlotState;

/* Why a process ended. */
typedef enum SlotEnd
{
	END_FAILED,
	END_ABSENT,					/* the database has no extension spool */
	END_TOLD
} SlotEnd;

/* A manager or worker.  Workers have the first slots. */
typedef struct SpoolSlot
{
	SlotState	state;
	uint32		generation;		/* changes with each use */
	SlotEnd		end;			/* of the last use, until the next */
	bool		manager;
	bool		ready;			/* it connected and does its work */
	bool		leave;			/* it is to end after the running job */
	Oid			database;
	Oid			owner;			/* role of a worker */
	PGPROC	   *proc;
	int			pid;
	TimestampTz started_at;

	/* of a worker that was asked to make room: for whom, and how long */
	Oid			heir_database;
	Oid			heir;
	TimestampTz heir_until;

	/* of a worker */
	bool		idle;			/* it sleeps until its latch is set */
	int32		queue;			/* it works on; 0 = none */
	int			ntaken;			/* streams it took to look at */
	int64		taken[SPOOL_MAX_HINTS];
	uint32		again;			/* of these (bits): there is news */
	int64		stream;			/* of the job; written without the lock */
	int64		seq;
	TimestampTz job_at;

	/* of a manager */
	bool		called;			/* to see whether workers are needed */
	bool		starved;		/* it could not start all it needs */
	bool		changed;		/* the extension or spool.queue did */
	bool		active;			/* something happened in the database */
	TimestampTz wake_at;		/* it sleeps until then at the longest */
	TimestampTz schedule_at;	/* a job comes into its queue then */
} SpoolSlot;

typedef struct SpoolHint
{
	int64		stream;
	TimestampTz due;			/* 0 = now */
} SpoolHint;

/* Lists of entries. */
typedef enum EntryList
{
	LIST_READY,					/* work and room for a worker */
	LIST_TIMED,					/* work later */
	NUM_ENTRY_LISTS
} EntryList;

typedef struct EntryLink
{
	bool		linked;
	int32		prev;
	int32		next;
} EntryLink;

/* A queue that has workers, is waited for, or worked lately. */
typedef struct SpoolEntry
{
	Oid			database;		/* with queue the key; invalid = free */
	int32		queue;
	int32		chain;			/* next of the same hash, or next free one */
	EntryLink	links[NUM_ENTRY_LISTS];
	Oid			owner;
	int32		limit;			/* workers it may have at once */
	uint32		version;		/* of its row, as the manager read it */
	bool		seen;			/* by the manager that reads the queues */
	int32		running;		/* workers on it */
	int32		waiters;
	bool		all;			/* look at all streams */
	TimestampTz all_due;		/* look at all then, 0 = never ... */
	TimestampTz all_until;		/* ... and from time to time until then */
	int			nhints;
	int			ndue;			/* of these for now */
	SpoolHint	hints[SPOOL_MAX_HINTS];
	TimestampTz rest_until;		/* workers leave it alone, 0 = they do not */
	int			refusals;		/* its command may not run, as was warned */
	TimestampTz skipped_at;		/* somebody passed a locked stream by */
	bool		active;			/* something happened since the last sweep */
	bool		unswept;		/* it did before that */
	TimestampTz swept_at;
	uint64		news;			/* counts what waiters are told */
	ConditionVariable cv;
	float8		rates[SPOOL_NUM_RATES]; /* jobs per second; see rates.c */
	TimestampTz rates_since;	/* jobs are counted since then */
	TimestampTz rates_at;		/* the rates are of then; 0 = none counted */
} SpoolEntry;

/* What the launcher is told about a database. */
typedef struct SpoolDatabase
{
	Oid			database;		/* invalid = unused */
	int			holds;			/* nothing is to run in it */
	bool		stopped;		/* by stop() */
	bool		asked;			/* it may have got the extension */
} SpoolDatabase;

typedef struct SpoolShared
{
	LWLock		lock;
	int			tranche;
	bool		polling;		/* other sessions give no hints */
	PGPROC	   *launcher;
	bool		ask_all;		/* look for databases */
	pg_atomic_uint64 changes;	/* of queues and the extension, anywhere */
	bool		ask_every;		/* any may have got the extension */
	ConditionVariable slots_cv; /* a slot changed its state */
	SpoolDatabase databases[SPOOL_MAX_DATABASES];
	int32		heads[NUM_ENTRY_LISTS];
	int32		tails[NUM_ENTRY_LISTS];
	int32		free_entry;
	int32		nentries;		/* those behind were never used */
	int32		clock;			/* where the search for an old entry goes on */
	int32		buckets[SPOOL_MAX_QUEUES];
	SpoolEntry	entries[SPOOL_MAX_QUEUES];
	int			nworkers;		/* slots of workers */
	int			nslots;			/* with those of managers after them */
	SpoolSlot	slots[FLEXIBLE_ARRAY_MEMBER];
} SpoolShared;

/* Whose end is waited for. */
typedef enum SpoolAwait
{
	AWAIT_MANAGER,
	AWAIT_IDLE,					/* all but who runs a job */
	AWAIT_ALL
} SpoolAwait;

extern SpoolShared *spool_shared;	/* NULL = not attached */
extern dsm_handle spool_shared_handle;	/* of the segment, if it is one */
extern int	spool_max_workers;
extern int	spool_sweep_interval;
extern int	spool_worker_idle_timeout;

#define spool_lock() LWLockAcquire(&spool_shared->lock, LW_EXCLUSIVE)
#define spool_unlock() LWLockRelease(&spool_shared->lock)

/* shmem.c */
extern void spool_shmem_init(void);
extern dsm_segment *spool_segment_create(void);
extern SpoolShared *spool_segment_attach(dsm_handle handle,
										 dsm_segment **segment);
extern SpoolEntry *spool_entry_find(Oid database, int32 queue);
extern SpoolEntry *spool_entry_make(Oid database, int32 queue);
extern void spool_entry_release(SpoolEntry *entry);
extern void spool_entry_link(SpoolEntry *entry);
extern void spool_entry_last(SpoolEntry *entry);
extern SpoolEntry *spool_entry_next(EntryList list, const SpoolEntry *entry);
extern void spool_entry_add(SpoolEntry *entry, int64 stream, TimestampTz due);
extern void spool_entry_rest(SpoolEntry *entry, TimestampTz until);
extern void spool_entry_rested(SpoolEntry *entry);
extern void spool_entry_close(SpoolEntry *entry);
extern TimestampTz spool_entries_due(Oid database, TimestampTz now);
extern SpoolDatabase *spool_database_find(Oid database, bool make);

/* hint.c */
extern void spool_hint_init(void);
extern void spool_database_hold(Oid database);
extern void spool_hint_databases(void);
extern void spool_hint_roles(void);

/* tell.c */
extern void spool_database_active(Oid database);
extern void spool_entry_active(SpoolEntry *entry);
extern void spool_entry_tell(SpoolEntry *entry, int64 stream,
							 TimestampTz due);
extern void spool_entry_told(SpoolEntry *entry);

/* rates.c */
extern void spool_rates_count(SpoolEntry *entry, int64 jobs);

/* slot.c */
extern SpoolSlot *spool_my_slot;
extern int	spool_slot_take(bool manager, Oid database, Oid owner);
extern bool spool_slot_launch(int place, BackgroundWorkerHandle **handle);
extern bool spool_slot_check(int place, uint32 generation,
							 BackgroundWorkerHandle *handle);
extern bool spool_slot_adopt(int place, Oid *database, uint32 *generation);
extern void spool_slot_attach(Datum arg, bool manager);
extern void spool_slot_settings(void);
extern void spool_slot_ready(void);
extern SpoolSlot *spool_manager_slot(Oid database);
extern void spool_wake(SpoolSlot *slot);
extern void spool_wake_worker(const SpoolEntry *entry);
extern void spool_make_room(Oid database, Oid owner);
extern bool spool_tell_leave(Oid database);
extern void spool_await_leave(Oid database, SpoolAwait which, long timeout_ms);
extern void spool_wake_launcher(void);

#endif							/* SPOOL_SHARED_H */
