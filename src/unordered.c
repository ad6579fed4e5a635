/*-------------------------------------------------------------------------
 * unordered.c
 *	  Which packets of a queue without order come next.
 *
 * As by creation time (collect.c), but each packet is locked and those of
 * other consumers are skipped.  Choosing is done under a short lock, so that
 * consumers do not fight for the same packets.  Where to start is remembered
 * by the backend and forgotten when a transaction aborts.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/lmgr.h"
#include "utils/hsearch.h"

#include "dispatch.h"
#include "spiutil.h"
#include "spool.h"

/* Where a queue is looked at from; per backend. */
typedef struct QueueStart
{
	int64		stream;
	int64		low;
	TimestampTz looked;
} QueueStart;

static HTAB *starts = NULL;

static void forget_starts(void);
static void forget_at_abort(XactEvent event, void *arg);
static void forget_at_subabort(SubXactEvent event, SubTransactionId mine,
							   SubTransactionId parent, void *arg);
static int64 collect_from(SpoolDispatch *d, SpoolPick *pick, int64 from,
						  int64 below, int64 want, int64 *low);

/* Transaction callbacks: what was removed may be back. */
static void
forget_at_abort(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		forget_starts();
}

static void
forget_at_subabort(SubXactEvent event, SubTransactionId mine,
				   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_starts();
}

/* Forget where queues are looked at from. */
static void
forget_starts(void)
{
	HASH_SEQ_STATUS seq;
	QueueStart *start;

	if (starts == NULL)
		return;
	hash_seq_init(&seq, starts);
	while ((start = hash_seq_search(&seq)) != NULL)
		start->looked = 0;
}

/*
 * Lock and collect packets nobody else consumes, from a position to below
 * another.  *low gets a position below which only removed packets were seen.
 * Returns how many jobs are still wanted.
 */
static int64
collect_from(SpoolDispatch *d, SpoolPick *pick, int64 from, int64 below,
			 int64 want, int64 *low)
{
	SpoolScan  *scan = &d->tables->packets;
	SpoolRow	row;
	bool		skipped = false;

	spool_store_seek(scan, pick->stream.id, from, PG_INT64_MAX,
					 ForwardScanDirection, 0);
	while (spool_store_scan_next(scan, &row) && row.position < below)
	{
		bool		twin = spool_collected(pick, &row);

		if (!twin && (want <= 0 || spool_dispatch_full(d)))
			break;
		if (!skipped)
			*low = row.position;
		if (row.packet_id > d->mark ||
			(d->mode != DISPATCH_PEEK && !spool_store_lock(scan, &row)))
		{
			skipped = true;
			continue;
		}
		if (twin)
		{
			spool_remove_twin(d, &row);
			continue;
		}
		spool_row_copy(&row);
		if (!spool_collect_one(d, pick, &row, 0, &want))
			skipped = true;
	}
	return want;
}

/* Lock and collect up to want packets. */
void
spool_collect_unordered(SpoolDispatch *d, SpoolPick *pick, int64 want)
{
	TimestampTz now = GetCurrentTimestamp();
	Oid			class = spool_relation_oid("queue");
	int64		below = PG_INT64_MAX;
	QueueStart *start;
	bool		found;

	if (starts == NULL)
	{
		HASHCTL		info;

		memset(&info, 0, sizeof(info));
		info.keysize = sizeof(int64);
		info.entrysize = sizeof(QueueStart);
		starts = hash_create("spool queues without order", 16, &info,
							 HASH_ELEM | HASH_BLOBS);
		RegisterXactCallback(forget_at_abort, NULL);
		RegisterSubXactCallback(forget_at_subabort, NULL);
	}
	start = hash_search(starts, &pick->stream.id, HASH_ENTER, &found);
	if (!found)
		start->looked = 0;

	pick->ended = true;
	if (d->mode != DISPATCH_PEEK)
		LockDatabaseObject(class, d->queue->id, 2, ExclusiveLock);
	if (!TimestampDifferenceExceeds(start->looked, now, 1000))
	{
		below = start->low;
		want = collect_from(d, pick, below, PG_INT64_MAX, want, &start->low);
	}
	if (want > 0)
	{
		start->looked = now;
		want = collect_from(d, pick, PG_INT64_MIN, below, want, &start->low);
	}
	pick->exhausted = want > 0;
	if (d->mode != DISPATCH_PEEK)
		UnlockDatabaseObject(class, d->queue->id, 2, ExclusiveLock);
}
