/*-------------------------------------------------------------------------
 * reseq_due.c
 *	  Keys with deliveries whose deadline, or timeout of a tree, may be over.
 *
 * A delivery counts from its column since (reseq_lane.c), or from when its key
 * was resumed: it is due a delay after it, which is an option of its
 * resequencer.  So what is due next is found by indexes of these times;
 * spool.reseq_expired says up to when all was looked at.  This only says which
 * keys are to be looked at: what really is due is decided under the key's lock
 * (reseq_expire.c), or by the next call on the key.
 *
 * What is looked at must not pass a row that is not yet visible.  Who writes
 * one holds a lock of spool.reseq_key from before its since to its end; so it
 * stops at the oldest start of such a transaction, and does not move at all
 * while one holds the lock whose start is not known, as a prepared one.  The
 * present time is read first, then these transactions, then the deliveries.
 *
 * Who notes how far it looked may stay open for long, so others do not wait:
 * who does not get the lock of (reseq_expired, resequencer) notes nothing, and
 * looks again.
 *
 * A delay that is made shorter needs nothing here: more is due at once.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "reseq_store.h"
#include "reseq_upkeep.h"
#include "spiutil.h"
#include "spool.h"

/* Deliveries that are looked at to find when the next is due. */
#define NEXT_ROWS		100

/*
 * Live deliveries of a resequencer that count from after $2 up to $3, and keys
 * that were resumed then, as target 0.
 */
#define DELIVERIES_QUERY \
	"SELECT key, target, sn, since FROM spool.reseq_delivery" \
	" WHERE resequencer = $1 AND since > $2 AND since <= $3" \
	" AND state BETWEEN $4 AND $5" \
	" UNION ALL SELECT id, 0, 0, resumed_at FROM spool.reseq_key" \
	" WHERE resequencer = $1 AND resumed_at > $2 AND resumed_at <= $3" \
	" ORDER BY since FETCH FIRST $6 ROWS "
/* A time that is noted; if the clock was set back behind it, none is. */
#define PAST(column) \
	"CASE WHEN " column " <= clock_timestamp() THEN " column \
	" ELSE '-infinity' END"

#define DELIVERIES_ARGS \
	PLAN_ARGS(INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, CHAROID, CHAROID, \
			  INT4OID)

/* A delivery, or with target 0 a key, that was found. */
typedef struct Found
{
	int64		key;
	int64		sn;
	TimestampTz since;
	int32		target;
} Found;

static TimestampTz oldest_writer(void);
static void read_upto(int32 resequencer, TimestampTz *upto);
static Found *read_deliveries(SpoolPlan *plan, int32 resequencer,
							  SpoolReseqDelay delay, TimestampTz after,
							  TimestampTz upto, int max, uint64 *n);
static bool is_live(SpoolReseqTables *tables, const Found *found);
static void add_due(const SpoolResequencer *resequencer,
					SpoolReseqDelay delay, int64 delay_ms, TimestampTz now,
					int max, SpoolReseqDue *due);
static TimestampTz find_next(SpoolReseqTables *tables, int32 resequencer,
							 SpoolReseqDelay delay, int64 delay_ms,
							 TimestampTz now);
static int	compare_keys(const void *a, const void *b);

/*
 * Since when at least others write that have not ended; DT_NOEND if none
 * does, DT_NOBEGIN if it is not known.
 */
static TimestampTz
oldest_writer(void)
{
	static SpoolPlan plan = {
		"SELECT min(CASE WHEN l.pid IS NULL THEN '-infinity'"
		"  WHEN a.pid IS NULL THEN NULL"
		"  WHEN a.state IS NULL OR a.state = 'disabled' THEN '-infinity'"
		"  ELSE a.xact_start END)"
		" FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid"
		" WHERE l.locktype = 'relation' AND l.granted"
		" AND l.database = (SELECT oid FROM pg_database"
		"  WHERE datname = current_database())"
		" AND l.relation = 'spool.reseq_key'::regclass"
		" AND l.mode IN ('RowShareLock', 'RowExclusiveLock')"
		" AND l.pid IS DISTINCT FROM pg_backend_pid()",
		SPI_OK_SELECT, PLAN_NO_ARGS
	};
	SpoolSpi	spi;
	TimestampTz since;
	bool		null;

	/* what this transaction read before of others may be old */
	pgstat_clear_snapshot();
	spool_spi_begin(&spi);
	(void) spool_exec(&plan, NULL, NULL);
	since = DatumGetTimestampTz(spool_field(0, 1, &null));
	spool_spi_end(&spi);
	return null ? DT_NOEND : since;
}

/* Read up to when all was looked at, by each delay. */
static void
read_upto(int32 resequencer, TimestampTz *upto)
{
	static SpoolPlan plan = {
		"SELECT " PAST("upto") ", " PAST("tree_upto")
		" FROM spool.reseq_expired WHERE resequencer = $1",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID)
	};
	SpoolSpi	spi;
	Datum		values[1];
	bool		found;

	values[0] = Int32GetDatum(resequencer);
	spool_spi_begin(&spi);
	found = spool_exec(&plan, values, NULL) == 1;
	for (int i = 0; i < NUM_RESEQ_DELAYS; i++)
		upto[i] = found ? DatumGetTimestampTz(spool_field(0, 1 + i, NULL)) :
			DT_NOBEGIN;
	spool_spi_end(&spi);
}

/* Read deliveries that count from after a time up to another. */
static Found *
read_deliveries(SpoolPlan *plan, int32 resequencer, SpoolReseqDelay delay,
				TimestampTz after, TimestampTz upto, int max, uint64 *n)
{
	MemoryContext context = CurrentMemoryContext;
	bool		trees = delay == DELAY_TREE;
	SpoolSpi	spi;
	Datum		values[6];
	Found	   *found;

	values[0] = Int32GetDatum(resequencer);
	values[1] = TimestampTzGetDatum(after);
	values[2] = TimestampTzGetDatum(upto);
	values[3] = CharGetDatum(trees ? DELIVERY_SPLIT : 'a');
	values[4] = CharGetDatum(trees ? DELIVERY_SPLIT : 'z');
	values[5] = Int32GetDatum(max);
	spool_spi_begin(&spi);
	/* the plan is made once, and must do for large tables */
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	*n = spool_exec(plan, values, NULL);
	found = MemoryContextAllocHuge(context, (*n + 1) * sizeof(Found));
	for (uint64 i = 0; i < *n; i++)
	{
		found[i].key = DatumGetInt64(spool_field(i, 1, NULL));
		found[i].target = DatumGetInt32(spool_field(i, 2, NULL));
		found[i].sn = DatumGetInt64(spool_field(i, 3, NULL));
		found[i].since = DatumGetTimestampTz(spool_field(i, 4, NULL));
	}
	spool_spi_end(&spi);
	return found;
}

/* Whether a delivery may be live, by the state of its lane; a key may have one. */
static bool
is_live(SpoolReseqTables *tables, const Found *found)
{
	SpoolLane	lane;

	return found->target == 0 ||
		(spool_lane_read(tables, found->key, found->target, &lane) &&
		 lane.live > 0 && found->sn > lane.applied);
}

/* Add keys of what may be due by one delay. */
static void
add_due(const SpoolResequencer *resequencer, SpoolReseqDelay delay,
		int64 delay_ms, TimestampTz now, int max, SpoolReseqDue *due)
{
	static SpoolPlan plan = {
		DELIVERIES_QUERY "WITH TIES", SPI_OK_SELECT, DELIVERIES_ARGS
	};
	TimestampTz upto = TimestampTzPlusMilliseconds(now, -delay_ms);
	SpoolReseqTables tables;
	Found	   *found;
	uint64		n;

	found = read_deliveries(&plan, resequencer->id, delay, due->at[delay],
							upto, max, &n);
	due->keys = repalloc_huge(due->keys, (due->n + n + 1) * sizeof(int64));
	spool_reseq_open(&tables);
	for (uint64 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_live(&tables, &found[i]))
			due->keys[due->n++] = found[i].key;
	}
	if (n >= (uint64) max)
	{
		due->more = true;
		upto = found[n - 1].since;
	}
	else
		due->next = Min(due->next,
						find_next(&tables, resequencer->id, delay, delay_ms,
								  now));
	spool_reseq_close(&tables);
	pfree(found);
	due->found[delay] |= n > 0 || due->at[delay] < upto - USECS_PER_MINUTE;
	due->at[delay] = Max(due->at[delay], upto);
	due->upto[delay] = due->at[delay];
	if (due->writer <= due->at[delay])
		due->upto[delay] = TIMESTAMP_IS_NOBEGIN(due->writer) ? DT_NOBEGIN :
			due->writer - 1;
}

/*
 * When the first live delivery that is not yet due will be, or may be;
 * DT_NOEND if there is none.  They are looked for in ranges, each larger than
 * the one before: the first has some of many, or the last the only one.
 */
static TimestampTz
find_next(SpoolReseqTables *tables, int32 resequencer, SpoolReseqDelay delay,
		  int64 delay_ms, TimestampTz now)
{
	static SpoolPlan plan = {
		DELIVERIES_QUERY "ONLY", SPI_OK_SELECT, DELIVERIES_ARGS
	};
	TimestampTz from = TimestampTzPlusMilliseconds(now, -delay_ms);
	int64		range = Max((now - from) / 4096, 1);

	while (from < now)
	{
		TimestampTz upto = Min(from + range, now);
		Found	   *found;
		uint64		n;
		uint64		i = 0;

		found = read_deliveries(&plan, resequencer, delay, from, upto,
								NEXT_ROWS, &n);
		while (i < n && !is_live(tables, &found[i]))
			i++;
		if (i < n || n == NEXT_ROWS)
			return TimestampTzPlusMilliseconds(found[Min(i, n - 1)].since,
											   delay_ms);
		pfree(found);
		from = upto;
		range *= 8;
	}
	return DT_NOEND;
}

static int
compare_keys(const void *a, const void *b)
{
	int64		left = *(const int64 *) a;
	int64		right = *(const int64 *) b;

	return left < right ? -1 : left > right;
}

/*
 * Find keys of a resequencer that are to be looked at, from about so many
 * deliveries.  *due is zero at first; while due->more is set, the next call
 * goes on with it.
 */
void
spool_reseq_due_keys(const SpoolResequencer *resequencer, int max,
					 SpoolReseqDue *due)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz writer = oldest_writer();
	int			n = 0;

	/* whom an earlier call saw may have ended, and written where it read */
	due->writer = due->more ? Min(due->writer, writer) : writer;
	if (!due->more)
		read_upto(resequencer->id, due->at);
	due->more = false;
	due->next = DT_NOEND;
	due->keys = palloc(sizeof(int64));
	due->n = 0;
	add_due(resequencer, DELAY_DEADLINE, resequencer->deadline_ms, now, max,
			due);
	if (resequencer->tree_timeout_ms > 0)
		add_due(resequencer, DELAY_TREE, resequencer->tree_timeout_ms, now,
				max, due);
	qsort(due->keys, due->n, sizeof(int64), compare_keys);
	for (int i = 0; i < due->n; i++)
		if (i == 0 || due->keys[i] != due->keys[i - 1])
			due->keys[n++] = due->keys[i];
	due->n = n;
}

/* The keys that were found were dealt with. */
void
spool_reseq_due_done(int32 resequencer, const SpoolReseqDue *due)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.reseq_expired AS e (resequencer, upto, tree_upto)"
		" VALUES ($1, $2, $3) ON CONFLICT (resequencer) DO UPDATE"
		" SET upto = greatest(" PAST("e.upto") ", excluded.upto),"
		"  tree_upto = greatest(" PAST("e.tree_upto") ", excluded.tree_upto)",
		SPI_OK_INSERT, PLAN_ARGS(INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID)
	};
	Datum		values[3];

	/* not of each second in which there was none */
	if (!due->found[DELAY_DEADLINE] && !due->found[DELAY_TREE])
		return;
	if (!ConditionalLockDatabaseObject(spool_relation_oid("reseq_expired"),
									   resequencer, 0, ExclusiveLock))
		return;
	values[0] = Int32GetDatum(resequencer);
	for (int i = 0; i < NUM_RESEQ_DELAYS; i++)
		values[1 + i] = TimestampTzGetDatum(due->found[i] ? due->upto[i] :
											DT_NOBEGIN);
	(void) spool_exec_alone(&plan, values, NULL);
}
