/*-------------------------------------------------------------------------
 * key.c
 *	  Keys of enqueue: what is stored once.
 *
 * A row of spool.key is written in the transaction that stores the key's
 * packet.  Until that packet has a number (it is scheduled, or about to be
 * stored in this transaction) the row has none and does not expire.
 *
 * Two transactions that give one key at the same time meet at the primary
 * key: the second waits, then finds the first one's row, or takes the key if
 * the first rolled back.  No row is locked that is not changed, so a key that
 * is found delays nobody.  At REPEATABLE READ and SERIALIZABLE a transaction
 * that had to wait gets 40001.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "key.h"
#include "spiutil.h"
#include "spool.h"

static int	key_retention = SECS_PER_DAY;

static TimestampTz expired_before(void);
static bool find_key(Datum *values, int64 *seq, TimestampTz *since);

/* Define the settings. */
void
spool_key_init(void)
{
	DefineCustomIntVariable("spool.key_retention",
							"Sets how long a key given to enqueue stands for the packet it was first given with.",
							"The time counts from when that packet got its number.",
							&key_retention,
							SECS_PER_DAY, 1, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_S,
							NULL, NULL, NULL);
}

/* Keys whose time began before it are expired. */
static TimestampTz
expired_before(void)
{
	return GetCurrentTimestamp() - key_retention * USECS_PER_SEC;
}

/* Look for a key (values: queue, key); *since: when its time began. */
static bool
find_key(Datum *values, int64 *seq, TimestampTz *since)
{
	static SpoolPlan plan = {
		"SELECT seq, since FROM spool.key WHERE queue = $1 AND key = $2",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID, TEXTOID)
	};
	SpoolSpi	spi;
	bool		found;
	bool		null;

	spool_spi_begin(&spi);
	found = spool_exec(&plan, values, NULL) == 1;
	if (found)
	{
		*seq = DatumGetInt64(spool_field(0, 1, &null));
		if (null)
			*seq = SPOOL_KEY_NO_SEQ;
		*since = DatumGetTimestampTz(spool_field(0, 2, NULL));
	}
	spool_spi_end(&spi);
	return found;
}

/*
 * Take a key for a packet that the caller stores or schedules.  False if it
 * stands for another, whose number is in *seq.
 */
bool
spool_key_take(SpoolQueue *queue, text *key, int64 *seq)
{
	static SpoolPlan insert = {
		"INSERT INTO spool.key (queue, key, since)"
		" VALUES ($1, $2, clock_timestamp()) ON CONFLICT DO NOTHING",
		SPI_OK_INSERT, PLAN_ARGS(INT4OID, TEXTOID)
	};
	static SpoolPlan update = {
		"UPDATE spool.key SET seq = NULL, since = clock_timestamp()"
		" WHERE queue = $1 AND key = $2 AND seq IS NOT NULL AND since < $3",
		SPI_OK_UPDATE, PLAN_ARGS(INT4OID, TEXTOID, TIMESTAMPTZOID)
	};
	Datum		values[3];
	TimestampTz since;

	if (VARSIZE_ANY_EXHDR(key) > SPOOL_MAX_KEY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key is too long"),
				 errdetail("A key has at most %d bytes.", SPOOL_MAX_KEY)));

	values[0] = Int32GetDatum(queue->id);
	values[1] = PointerGetDatum(key);
	for (;;)
	{
		TimestampTz before = expired_before();
		bool		found = find_key(values, seq, &since);

		if (found && (*seq == SPOOL_KEY_NO_SEQ || since >= before))
			return false;
		values[2] = TimestampTzGetDatum(before);
		if (spool_exec_alone(found ? &update : &insert, values, NULL) == 1)
			return true;
		/* another transaction took, removed or renewed it: look again */
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Record the number of the packet that a key was taken for.  restart: its
 * time counts from now; else from when the key was taken, which leaves the
 * indexes alone.
 */
void
spool_key_set(SpoolQueue *queue, text *key, int64 seq, bool restart)
{
	static SpoolPlan plan = {
		"UPDATE spool.key SET seq = $3,"
		" since = CASE WHEN $4 THEN clock_timestamp() ELSE since END"
		" WHERE queue = $1 AND key = $2",
		SPI_OK_UPDATE, PLAN_ARGS(INT4OID, TEXTOID, INT8OID, BOOLOID)
	};
	Datum		values[4];

	values[0] = Int32GetDatum(queue->id);
	values[1] = PointerGetDatum(key);
	values[2] = Int64GetDatum(seq);
	values[3] = BoolGetDatum(restart);
	(void) spool_exec_alone(&plan, values, NULL);
}

/* Forget a key whose packet gets no number. */
void
spool_key_forget(SpoolQueue *queue, text *key)
{
	static SpoolPlan plan = {
		"DELETE FROM spool.key WHERE queue = $1 AND key = $2",
		SPI_OK_DELETE, PLAN_ARGS(INT4OID, TEXTOID)
	};
	Datum		values[2];

	values[0] = Int32GetDatum(queue->id);
	values[1] = PointerGetDatum(key);
	(void) spool_exec_alone(&plan, values, NULL);
}

/* Remove expired keys, but for those that another transaction renews. */
void
spool_key_purge(void)
{
	static SpoolPlan plan = {
		"WITH old AS MATERIALIZED (SELECT queue, key FROM spool.key"
		"  WHERE since < $1 AND seq IS NOT NULL FOR UPDATE SKIP LOCKED)"
		" DELETE FROM spool.key k USING old"
		" WHERE k.queue = old.queue AND k.key = old.key",
		SPI_OK_DELETE, PLAN_ARGS(TIMESTAMPTZOID)
	};
	Datum		values[1];

	values[0] = TimestampTzGetDatum(expired_before());
	(void) spool_exec_alone(&plan, values, NULL);
}
