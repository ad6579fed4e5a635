/*-------------------------------------------------------------------------
 * spiutil.c
 *	  spool's own SQL statements.
 *
 * Statements run as the extension's owner (whose the tables are), with
 * search_path = pg_catalog, pg_temp, between spool_spi_begin and
 * spool_spi_end.  Both settings are undone by the server when an error leaves
 * the (sub)transaction.  Each statement sees the newest snapshot, at every
 * isolation level: state and packets must never be read with an older one.
 *
 * The oids of relations are cached until the server tells of a change of any
 * relation.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "spiutil.h"
#include "spool.h"

static Snapshot chosen_snapshot = NULL;

/* The oids of the extension's relations that this backend used. */
typedef struct CachedRelation
{
	char		name[NAMEDATALEN];
	Oid			relid;
} CachedRelation;

static HTAB *relations = NULL;
static bool relations_stale = false;
static uint64 relation_changes = 1;

static void invalidate_relations(Datum arg, Oid relid);
static Oid	cached_relation(const char *name);
static int64 interval_us(const Interval *interval);

/*
 * Whether the database has the extension, which then stays until the end of
 * the transaction.
 */
bool
spool_extension_present(void)
{
	Oid			extension = get_extension_oid("spool", true);

	if (!OidIsValid(extension))
		return false;
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	AcceptInvalidationMessages();
	return get_extension_oid("spool", true) == extension;
}

/* Relation cache callback: a relation changed, maybe one of ours. */
static void
invalidate_relations(Datum arg, Oid relid)
{
	relations_stale = true;
	relation_changes++;
}

/* The oid of a relation that is cached, or InvalidOid. */
static Oid
cached_relation(const char *name)
{
	CachedRelation *entry;

	if (relations == NULL)
	{
		HASHCTL		info;

		memset(&info, 0, sizeof(info));
		info.keysize = NAMEDATALEN;
		info.entrysize = sizeof(CachedRelation);
		relations = hash_create("spool relations", 32, &info,
								HASH_ELEM | HASH_STRINGS);
		CacheRegisterRelcacheCallback(invalidate_relations, (Datum) 0);
	}
	if (relations_stale)
	{
		HASH_SEQ_STATUS seq;

		hash_seq_init(&seq, relations);
		while ((entry = hash_seq_search(&seq)) != NULL)
			(void) hash_search(relations, entry->name, HASH_REMOVE, NULL);
		relations_stale = false;
	}
	entry = hash_search(relations, name, HASH_FIND, NULL);
	return entry ? entry->relid : InvalidOid;
}

/* Counts the changes of relations that this backend was told of. */
uint64
spool_relation_changes(void)
{
	return relation_changes;
}

/* Oid of a table, index or sequence of the extension. */
Oid
spool_relation_oid(const char *name)
{
	Oid			relid = cached_relation(name);
	CachedRelation *entry;

	if (OidIsValid(relid))
		return relid;
	relid = get_relname_relid(name, get_namespace_oid("spool", false));
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"spool.%s\" does not exist", name),
				 errhint("Run ALTER EXTENSION spool UPDATE or create the extension again.")));
	entry = hash_search(relations, name, HASH_ENTER, NULL);
	entry->relid = relid;
	return relid;
}

/* Oid of a type of the extension. */
Oid
spool_type_oid(const char *name)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
						   CStringGetDatum(name),
						   ObjectIdGetDatum(get_namespace_oid("spool", false)));
}

/* The next value of one of the extension's sequences. */
int64
spool_nextval(const char *sequence)
{
	return nextval_internal(spool_relation_oid(sequence), false);
}

/* The snapshot that state and packets are read with. */
Snapshot
spool_newest_snapshot(void)
{
	return chosen_snapshot != NULL ? chosen_snapshot : GetLatestSnapshot();
}

/* Whether that is the newest one. */
bool
spool_reads_newest(void)
{
	return chosen_snapshot == NULL;
}

/*
 * Read with a given snapshot, or with NULL the newest ones again.  For looks
 * only: who decides by what it reads needs the newest.
 */
void
spool_read_with(Snapshot snapshot)
{
	chosen_snapshot = snapshot;
}

/* Connect to SPI as the extension's owner with a safe search_path. */
void
spool_spi_begin(SpoolSpi *spi)
{
	HeapTuple	tuple;
	Oid			owner;

	tuple = SearchSysCache1(RELOID,
							ObjectIdGetDatum(spool_relation_oid("queue")));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation \"spool.queue\"");
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);

	spi->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	GetUserIdAndSecContext(&spi->userid, &spi->sec_context);
	SetUserIdAndSecContext(owner,
						   spi->sec_context | SECURITY_LOCAL_USERID_CHANGE);
}

/* Undo spool_spi_begin. */
void
spool_spi_end(SpoolSpi *spi)
{
	SetUserIdAndSecContext(spi->userid, spi->sec_context);
	SPI_finish();
	AtEOXact_GUC(false, spi->guc_level);
}

/* Prepare a plan, also again when the extension was created again. */
static void
prepare(SpoolPlan *plan)
{
	Oid			argtypes[SPOOL_MAX_ARGS];
	Oid			packet_type = InvalidOid;
	SPIPlanPtr	prepared;

	for (int i = 0; i < plan->nargs; i++)
	{
		argtypes[i] = plan->argtypes[i];
		if (!OidIsValid(argtypes[i]))
			argtypes[i] = packet_type = spool_type_oid("packet");
	}
	if (plan->plan != NULL && plan->packet_type == packet_type)
		return;

	if (plan->plan != NULL)
		SPI_freeplan(plan->plan);
	plan->plan = NULL;
	prepared = SPI_prepare(plan->sql, plan->nargs, argtypes);
	if (prepared == NULL || SPI_keepplan(prepared) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", plan->sql,
			 SPI_result_code_string(SPI_result));
	plan->plan = prepared;
	plan->packet_type = packet_type;
}

/* Run a statement; returns the number of rows. */
uint64
spool_exec(SpoolPlan *plan, Datum *values, const char *nulls)
{
	int			rc;
	Snapshot	snapshot;

	prepare(plan);
	snapshot = RegisterSnapshot(spool_newest_snapshot());
	rc = SPI_execute_snapshot(plan->plan, values, nulls, snapshot,
							  InvalidSnapshot, false, true, 0);
	UnregisterSnapshot(snapshot);
	if (rc != plan->expected)
		elog(ERROR, "unexpected result of \"%s\": %s", plan->sql,
			 SPI_result_code_string(rc));
	return SPI_processed;
}

/* Run a statement whose rows are not wanted, with its own begin and end. */
uint64
spool_exec_alone(SpoolPlan *plan, Datum *values, const char *nulls)
{
	SpoolSpi	spi;
	uint64		rows;

	spool_spi_begin(&spi);
	rows = spool_exec(plan, values, nulls);
	spool_spi_end(&spi);
	return rows;
}

/* A field of the last result; columns count from 1. */
Datum
spool_field(uint64 row, int column, bool *null)
{
	bool		ignored;

	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 column, null ? null : &ignored);
}

/* The same, copied to a context that outlives SPI. */
Datum
spool_field_copy(uint64 row, int column, Oid type, bool *null,
				 MemoryContext context)
{
	Datum		value = spool_field(row, column, null);
	MemoryContext old;
	int16		typlen;
	bool		typbyval;

	if (*null)
		return (Datum) 0;
	get_typlenbyval(type, &typlen, &typbyval);
	old = MemoryContextSwitchTo(context);
	value = datumCopy(value, typbyval, typlen);
	MemoryContextSwitchTo(old);
	return value;
}

/* A text field of the last result, or NULL. */
char *
spool_field_text(uint64 row, int column)
{
	bool		null;
	Datum		value = spool_field(row, column, &null);

	return null ? NULL : TextDatumGetCString(value);
}

/*
 * A field of type text[] without nulls as an array, NULL if it is NULL; returns
 * their number.
 */
int
spool_field_texts(uint64 row, int column, char ***texts)
{
	bool		null;
	Datum		value = spool_field(row, column, &null);
	Datum	   *elements;
	int			count;

	*texts = NULL;
	if (null)
		return 0;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, &count);
	*texts = palloc(Max(count, 1) * sizeof(char *));
	for (int i = 0; i < count; i++)
		(*texts)[i] = TextDatumGetCString(elements[i]);
	return count;
}

/*
 * Microseconds of an interval, a month being 30 days.  None is longer than
 * spool_arg_check_interval lets it be.
 */
static int64
interval_us(const Interval *interval)
{
	return interval->time + USECS_PER_DAY *
		(interval->day + (int64) DAYS_PER_MONTH * interval->month);
}

/* The same in milliseconds; at least 1 if above 0. */
int64
spool_interval_ms(const Interval *interval)
{
	int64		us = interval_us(interval);

	return us > 0 ? Max(us / 1000, 1) : 0;
}

/* Those of a field that is not NULL. */
int64
spool_field_us(uint64 row, int column)
{
	return interval_us(DatumGetIntervalP(spool_field(row, column, NULL)));
}

int64
spool_field_ms(uint64 row, int column)
{
	return spool_interval_ms(DatumGetIntervalP(spool_field(row, column, NULL)));
}
