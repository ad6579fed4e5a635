/*-------------------------------------------------------------------------
 * reseq_expire.c
 *	  The resequencer's timers: deliveries whose deadline, and trees whose
 *	  timeout, is over.
 *
 * What is ended here would be ended by the next call on the key, too, so that
 * a timer that comes late, or never, delays but decides nothing.  Keys that
 * may have something due are found without a lock (reseq_due.c); under the
 * key's lock it is looked again.
 *
 * expire() waits for keys that others have locked, and locks all in the order of
 * their bytes.  Upkeep leaves them, and resequencers that are being altered, to
 * its next round.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#include "args.h"
#include "queue.h"
#include "reseq_expire.h"
#include "reseq_lane.h"
#include "reseq_upkeep.h"
#include "spiutil.h"
#include "spool.h"

/*
 * Deliveries that upkeep looks at together, and how often it does if some are
 * due.  Of many that are not, as it saw them before, it looks at more.
 */
#define MAX_DELIVERIES	1000
#define MAX_ROUNDS		10
#define MAX_OVER		32000

PG_FUNCTION_INFO_V1(spool_expire);

static uint64 names_of(const int64 *keys, int n, text ***names);
static int64 expire_key(SpoolReseqCall *call, SpoolReseqKey *key);
static int64 expire_keys(SpoolResequencer *resequencer,
						 const SpoolReseqDue *due, LockWaitPolicy wait,
						 bool *left);
static int64 expire(SpoolResequencer *resequencer, LockWaitPolicy wait,
					TimestampTz *next);
static bool lock_now(int32 resequencer);

/* The names of keys, in the order in which they are locked. */
static uint64
names_of(const int64 *keys, int n, text ***names)
{
	static SpoolPlan plan = {
		"SELECT key FROM spool.reseq_key WHERE id = ANY ($1) ORDER BY key",
		SPI_OK_SELECT, PLAN_ARGS(INT8ARRAYOID)
	};
	Datum	   *ids = palloc(Max(n, 1) * sizeof(Datum));
	Datum		values[1];

	for (int i = 0; i < n; i++)
		ids[i] = Int64GetDatum(keys[i]);
	values[0] = PointerGetDatum(construct_array(ids, n, INT8OID, 8,
												FLOAT8PASSBYVAL,
												TYPALIGN_DOUBLE));
	return spool_reseq_key_names(&plan, values, names);
}

/*
 * End what is due of a key; returns how many deliveries.  Also what is due
 * only since a delay was made shorter, which the lanes do not know.
 */
static int64
expire_key(SpoolReseqCall *call, SpoolReseqKey *key)
{
	int64		count = 0;

	for (int i = 0; i < call->resequencer->ntargets; i++)
	{
		SpoolWay   *way = spool_way_open(call, key, i + 1);

		if (way->lane.live == 0)
			continue;
		way->lane.due = Min(way->lane.due, call->now);
		count += spool_way_expire(call, way);
	}
	return count;
}

/* The same for the keys found; *left: some are locked and wait is to skip. */
static int64
expire_keys(SpoolResequencer *resequencer, const SpoolReseqDue *due,
			LockWaitPolicy wait, bool *left)
{
	SpoolReseqCall call;
	int64		count = 0;
	text	  **names;
	uint64		n;

	n = names_of(due->keys, due->n, &names);
	spool_reseq_begin_on(&call, resequencer, RESEQ_USE);
	call.wait = wait;
	for (uint64 i = 0; i < n; i++)
	{
		SpoolReseqKey *key = spool_reseq_lock(&call, names[i]);

		CHECK_FOR_INTERRUPTS();
		if (key != NULL)
			count += expire_key(&call, key);
		else
			*left |= wait == LockWaitSkip;
	}
	spool_reseq_finish(&call);
	return count;
}

/*
 * End what is due of a resequencer; *next: when to look again.  Who waits locks
 * all keys in one round: what comes in the next one may be before them.  Keys
 * that are left, or who writes for long, keep back what is noted
 * (reseq_due.c), not what is ended: so rounds count that find something.
 */
static int64
expire(SpoolResequencer *resequencer, LockWaitPolicy wait, TimestampTz *next)
{
	int			max = wait == LockWaitBlock ? PG_INT32_MAX : MAX_DELIVERIES;
	SpoolReseqDue due = {0};
	bool		left = false;
	int64		count = 0;
	int			rounds = 0;

	do
	{
		spool_reseq_due_keys(resequencer, max, &due);
		count += expire_keys(resequencer, &due, wait, &left);
		rounds += due.n > 0;
		max = due.n > 0 ? MAX_DELIVERIES : Min(2 * (int64) max, MAX_OVER);
	} while (due.more && rounds < MAX_ROUNDS);
	*next = due.more ? GetCurrentTimestamp() : due.next;
	if (left && (count == 0 || !due.more))
		*next = GetCurrentTimestamp() + USECS_PER_MINUTE;
	if (!left)
		spool_reseq_due_done(resequencer->id, &due);
	return count;
}

/* expire(resequencer) */
Datum
spool_expire(PG_FUNCTION_ARGS)
{
	SpoolResequencer *resequencer;
	TimestampTz next;

	spool_args_required(fcinfo, 1, "resequencer");
	resequencer = spool_resequencer_open(PG_GETARG_TEXT_PP(0), SPOOL_ADMIN,
										 RESEQ_USE);
	PG_RETURN_INT64(expire(resequencer, LockWaitBlock, &next));
}

/* Lock a resequencer for use unless it is being altered. */
static bool
lock_now(int32 resequencer)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, spool_relation_oid("resequencer"),
					   resequencer, 0);
	if (LockAcquire(&tag, RESEQ_USE, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return true;
}

/* End what is due of all resequencers; returns when to look again. */
TimestampTz
spool_reseq_expire_all(void)
{
	static SpoolPlan plan = {
		"SELECT id, name FROM spool.resequencer ORDER BY id",
		SPI_OK_SELECT, PLAN_NO_ARGS
	};
	MemoryContext context = CurrentMemoryContext;
	TimestampTz next = DT_NOEND;
	SpoolSpi	spi;
	int32	   *ids;
	char	  **names;
	uint64		n;

	spool_spi_begin(&spi);
	n = spool_exec(&plan, NULL, NULL);
	ids = MemoryContextAlloc(context, Max(n, 1) * sizeof(int32));
	names = MemoryContextAlloc(context, Max(n, 1) * sizeof(char *));
	for (uint64 i = 0; i < n; i++)
	{
		ids[i] = DatumGetInt32(spool_field(i, 1, NULL));
		names[i] = MemoryContextStrdup(context,
									   TextDatumGetCString(spool_field(i, 2, NULL)));
	}
	spool_spi_end(&spi);
	for (uint64 i = 0; i < n; i++)
	{
		SpoolResequencer *resequencer;
		TimestampTz then = GetCurrentTimestamp() + USECS_PER_MINUTE;

		if (lock_now(ids[i]))
		{
			resequencer = spool_resequencer_lookup(names[i], true);
			if (resequencer == NULL || resequencer->id != ids[i])
				continue;
			(void) expire(resequencer, LockWaitSkip, &then);
		}
		next = Min(next, then);
	}
	return next;
}
