/*-------------------------------------------------------------------------
 * rates.c
 *	  Jobs per second of a queue.
 *
 * Rates are averages that decay exponentially over 1, 5 and 15 minutes,
 * brought up to date when jobs are counted or the rates are asked for.  They
 * lie in the queue's entry in shared memory.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "shared.h"
#include "spool.h"

/* What rates are averages over. */
static const float8 rate_seconds[SPOOL_NUM_RATES] = {60, 300, 900};

static void decay(SpoolEntry *entry, TimestampTz now, float8 *rates);

/* The rates as they are now. */
static void
decay(SpoolEntry *entry, TimestampTz now, float8 *rates)
{
	float8		seconds = Max(now - entry->rates_at, 0) / 1000000.0;

	for (int i = 0; i < SPOOL_NUM_RATES; i++)
		rates[i] = entry->rates[i] * exp(-seconds / rate_seconds[i]);
}

/* Count jobs of a queue; in a transaction callback. */
void
spool_rates_count(SpoolEntry *entry, int64 jobs)
{
	TimestampTz now = GetCurrentTimestamp();

	if (entry->rates_at == 0)
		entry->rates_since = now;
	decay(entry, now, entry->rates);
	for (int i = 0; i < SPOOL_NUM_RATES; i++)
		entry->rates[i] += jobs / rate_seconds[i];
	entry->rates_at = now;
}

/*
 * Jobs per second of a queue, over 1, 5 and 15 minutes, or as long as they
 * are counted; false if nobody counts.
 */
bool
spool_rates(int32 queue, float8 *rates)
{
	TimestampTz now = GetCurrentTimestamp();
	SpoolEntry *entry;

	if (spool_shared == NULL)
		return false;
	memset(rates, 0, SPOOL_NUM_RATES * sizeof(float8));
	LWLockAcquire(&spool_shared->lock, LW_SHARED);
	entry = spool_entry_find(MyDatabaseId, queue);
	if (entry != NULL && entry->rates_at != 0)
	{
		float8		age = Max(now - entry->rates_since, USECS_PER_SEC) / 1000000.0;

		decay(entry, now, rates);
		for (int i = 0; i < SPOOL_NUM_RATES; i++)
			rates[i] /= 1 - exp(-age / rate_seconds[i]);
	}
	spool_unlock();
	return true;
}
