/*-------------------------------------------------------------------------
 * launcher.c
 *	  The launcher: one manager in each database that has the extension.
 *
 * It is connected to no database and reads pg_database only.  A manager that
 * finds no extension ends at once and is not started again until a session of
 * that database asks for it: CREATE EXTENSION and changes of queues do, at
 * commit.  One that failed is started again, after a delay that grows.  At the
 * start the managers come one after the other.  A launcher that was terminated
 * is started again, and finds those that run.
 *
 * No polling: the launcher sleeps until a manager ends or is ready, somebody
 * asks, or a delay is over.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

#include "compat.h"
#include "launcher.h"
#include "shared.h"
#include "spool.h"

/* A manager that is not ready after that does not hold up the next. */
#define PATIENCE_MS 5000

/* What is known about a database. */
typedef enum DatabaseState
{
	DATABASE_DOWN,				/* next: UP, and again DOWN if it failed */
	DATABASE_UP,				/* has a manager; next: DOWN, ABSENT */
	DATABASE_ABSENT				/* has no extension; next, if asked: DOWN */
} DatabaseState;

typedef struct Database
{
	Oid			oid;
	NameData	name;
	DatabaseState state;
	bool		exists;
	bool		listed;			/* it is to have a manager */
	int			place;			/* of the manager's slot */
	uint32		generation;
	BackgroundWorkerHandle *handle; /* NULL = adopted */
	TimestampTz started_at;
	TimestampTz next_try;
	int			delay_ms;
} Database;

static char *spool_databases;

static HTAB *databases;
static bool short_of_processes = false;

static bool check_databases(char **newval, void **extra, GucSource source);
static Database *known_database(Oid oid);
static void adopt_managers(void);
static void read_databases(void);
static void forget_dropped(void);
static void collect(Database *database, TimestampTz now);
static void later(Database *database, TimestampTz now);
static bool wanted(Database *database, bool *asked);
static bool start_manager(Database *database, TimestampTz now);
static TimestampTz do_round(bool *rescan);
static void forget_launcher(int code, Datum arg);

/* Define the setting, and register the launcher if preloaded. */
void
spool_launcher_init(void)
{
	BackgroundWorker worker;

	DefineCustomStringVariable("spool.databases",
							   "Sets the databases in which queues have workers.",
							   "A list of names, or \"*\" for all.",
							   &spool_databases, "*", PGC_SIGHUP,
							   GUC_LIST_INPUT, check_databases, NULL, NULL);
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 5;
	strlcpy(worker.bgw_library_name, "spool", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "spool_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "spool launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "spool launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* Check hook: a list of identifiers. */
static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names;
	bool		valid = SplitIdentifierString(copy, ',', &names);

	if (!valid)
		GUC_check_errdetail("List syntax is invalid.");
	list_free(names);
	pfree(copy);
	return valid;
}

/* Whether spool.databases names a database. */
bool
spool_database_named(const char *name)
{
	char	   *copy = pstrdup(spool_databases);
	List	   *names;
	ListCell   *cell;
	bool		found = false;

	(void) SplitIdentifierString(copy, ',', &names);
	foreach(cell, names)
	{
		const char *named = lfirst(cell);

		found |= strcmp(named, "*") == 0 || strcmp(named, name) == 0;
	}
	list_free(names);
	pfree(copy);
	return found;
}

/* What is known about a database; made if there is nothing. */
static Database *
known_database(Oid oid)
{
	bool		found;
	Database   *database = hash_search(databases, &oid, HASH_ENTER, &found);

	if (!found)
		memset((char *) database + sizeof(Oid), 0,
			   sizeof(Database) - sizeof(Oid));
	return database;
}

/* Managers that run already were started by a launcher that ended. */
static void
adopt_managers(void)
{
	for (int i = spool_shared->nworkers; i < spool_shared->nslots; i++)
	{
		Oid			oid;
		uint32		generation;
		Database   *database;

		if (!spool_slot_adopt(i, &oid, &generation))
			continue;
		database = known_database(oid);
		database->state = DATABASE_UP;
		database->place = i;
		database->generation = generation;
		database->started_at = GetCurrentTimestamp();
	}
}

/* Read which databases there are. */
static void
read_databases(void)
{
	HASH_SEQ_STATUS seq;
	Database   *database;
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	hash_seq_init(&seq, databases);
	while ((database = hash_seq_search(&seq)) != NULL)
		database->exists = database->listed = false;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	pgstat_report_activity(STATE_RUNNING, "spool: reading the databases");
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		database = known_database(form->oid);
		database->name = form->datname;
		database->exists = true;
		database->listed = form->datallowconn && !form->datistemplate &&
			!compat_database_is_invalid(form) &&
			spool_database_named(NameStr(form->datname));
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, NULL);

	hash_seq_init(&seq, databases);
	while ((database = hash_seq_search(&seq)) != NULL)
	{
		if (database->state == DATABASE_UP && !database->listed)
			(void) spool_tell_leave(database->oid);
		else if (database->state != DATABASE_UP && !database->exists)
			(void) hash_search(databases, &database->oid, HASH_REMOVE, NULL);
	}
	forget_dropped();
}

/* Forget what was told of databases that are gone. */
static void
forget_dropped(void)
{
	spool_lock();
	for (int i = 0; i < SPOOL_MAX_DATABASES; i++)
	{
		SpoolDatabase *known = &spool_shared->databases[i];

		if (!OidIsValid(known->database) ||
			hash_search(databases, &known->database, HASH_FIND, NULL) != NULL)
			continue;
		known->stopped = known->asked = false;
	}
	spool_unlock();
}

/* See what became of a manager. */
static void
collect(Database *database, TimestampTz now)
{
	SpoolSlot  *slot = &spool_shared->slots[database->place];

	if (spool_slot_check(database->place, database->generation,
						 database->handle))
	{
		if (slot->ready)
			database->delay_ms = 0;
		return;
	}
	if (database->handle != NULL)
		pfree(database->handle);
	database->state = DATABASE_DOWN;
	if (slot->end == END_ABSENT)
		database->state = DATABASE_ABSENT;
	else if (slot->end == END_FAILED)
		later(database, now);
}

/* The next try comes after twice the time of the last. */
static void
later(Database *database, TimestampTz now)
{
	database->delay_ms = Min(Max(database->delay_ms * 2, 1000), 60000);
	database->next_try = TimestampTzPlusMilliseconds(now, database->delay_ms);
}

/* Whether a database is to get a manager; asked: whether somebody asked. */
static bool
wanted(Database *database, bool *asked)
{
	SpoolDatabase *known;
	bool		may;

	spool_lock();
	known = spool_database_find(database->oid, false);
	may = known == NULL || (known->holds == 0 && !known->stopped);
	*asked = known != NULL && known->asked && database->state != DATABASE_UP;
	if (*asked)
		known->asked = false;
	spool_unlock();
	return may && database->listed;
}

/* Start the manager of a database; false if that has to wait. */
static bool
start_manager(Database *database, TimestampTz now)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	int			place = spool_slot_take(true, database->oid, InvalidOid);
	bool		started = false;

	if (place != SPOOL_NOWHERE)
	{
		database->place = place;
		database->generation = spool_shared->slots[place].generation;
		started = spool_slot_launch(place, &database->handle);
	}
	MemoryContextSwitchTo(old);
	if (started)
	{
		database->state = DATABASE_UP;
		database->started_at = now;
		short_of_processes = false;
		return true;
	}
	if (!short_of_processes)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start the spool manager of database \"%s\"",
						NameStr(database->name)),
				 errdetail("There are too few background worker slots."),
				 errhint("You might need to increase \"max_worker_processes\".")));
	short_of_processes = true;
	later(database, now);
	return false;
}

/* Do what is to be done; returns when to look again, DT_NOEND for never. */
static TimestampTz
do_round(bool *rescan)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;
	HASH_SEQ_STATUS seq;
	Database   *database;
	bool		waits = false;
	bool		every;

	spool_lock();
	*rescan |= spool_shared->ask_all;
	every = spool_shared->ask_every;
	spool_shared->ask_all = spool_shared->ask_every = false;
	spool_unlock();
	if (*rescan)
		read_databases();
	*rescan = false;

	hash_seq_init(&seq, databases);
	while ((database = hash_seq_search(&seq)) != NULL)
	{
		if (database->state != DATABASE_UP)
			continue;
		collect(database, now);
		if (database->state == DATABASE_UP &&
			!spool_shared->slots[database->place].ready &&
			!TimestampDifferenceExceeds(database->started_at, now,
										PATIENCE_MS))
		{
			waits = true;
			next = Min(next, TimestampTzPlusMilliseconds(database->started_at,
														 PATIENCE_MS + 1));
		}
	}
	hash_seq_init(&seq, databases);
	while ((database = hash_seq_search(&seq)) != NULL)
	{
		bool		asked;
		bool		may = wanted(database, &asked);

		if (database->state == DATABASE_UP)
			continue;
		if (asked || every)
		{
			database->state = DATABASE_DOWN;
			database->next_try = now;
		}
		if (!may)
			continue;
		if (database->state == DATABASE_ABSENT)
			continue;
		if (database->next_try > now || waits)
			next = Min(next, Max(database->next_try, now));
		else if (start_manager(database, now))
		{
			waits = true;
			next = Min(next, TimestampTzPlusMilliseconds(now, PATIENCE_MS + 1));
		}
		else
			next = Min(next, database->next_try);
	}
	return next;
}

/* At exit. */
static void
forget_launcher(int code, Datum arg)
{
	spool_lock();
	spool_shared->launcher = NULL;
	spool_unlock();
}

/* Main function of the launcher. */
void
spool_launcher_main(Datum arg)
{
	HASHCTL		info;
	bool		rescan = true;
	uint32		event;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	spool_lock();
	spool_shared->launcher = MyProc;
	spool_unlock();
	before_shmem_exit(forget_launcher, (Datum) 0);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("spool launcher");
	event = compat_wait_event("SpoolLauncherMain");
	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(Database);
	databases = hash_create("spool databases", 32, &info,
							HASH_ELEM | HASH_BLOBS);
	adopt_managers();
	ereport(LOG, (errmsg("spool launcher started")));

	for (;;)
	{
		int			flags = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
		long		timeout = -1;
		TimestampTz next;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			rescan = true;
		}
		next = do_round(&rescan);
		if (next != DT_NOEND)
		{
			timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													  next);
			flags |= WL_TIMEOUT;
		}
		(void) WaitLatch(MyLatch, flags, timeout, event);
	}
}
