/*-------------------------------------------------------------------------
 * stat_none.c
 *	  Monitoring of queues without order.
 *
 * What waits lies in the store, but for what was dispatched, tried or
 * redriven: that lies in kept, with the runner or claim that has it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dispatch.h"
#include "reason.h"
#include "runner.h"
#include "spiutil.h"
#include "spool.h"
#include "stat.h"

static void count_running(SpoolLook *look, SpoolStreamStat *stat);
static TimestampTz count_kept(SpoolLook *look, SpoolStreamStat *stat);

/*
 * Count the packets of a queue without order that somebody has; those of dead
 * owners wait.
 */
static void
count_running(SpoolLook *look, SpoolStreamStat *stat)
{
	static SpoolPlan plan = {
		"SELECT runner, due, count(*), min(since) FROM spool.kept"
		" WHERE stream = $1 AND state = 'running'"
		"  AND state IN ('ready', 'running')"
		" GROUP BY runner, due ORDER BY min(since)",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID)
	};
	SpoolSpi	spi;
	Datum		values[1];
	uint64		found;

	values[0] = Int64GetDatum(stat->stream.id);
	spool_spi_begin(&spi);
	found = spool_exec(&plan, values, NULL);
	for (uint64 i = 0; i < found; i++)
	{
		int64		owner = DatumGetInt64(spool_field(i, 1, NULL));
		int64		jobs = DatumGetInt64(spool_field(i, 3, NULL));
		bool		runner;
		TimestampTz due = DatumGetTimestampTz(spool_field(i, 2, &runner));

		if (runner ? !spool_runner_alive(owner) : due <= look->now)
		{
			stat->waiting += jobs;
			continue;
		}
		if (stat->running == 0)
		{
			/* the oldest stands for all */
			spool_stat_show(stat, runner ? "running" : "claimed", NULL,
							DatumGetTimestampTz(spool_field(i, 4, NULL)));
			if (runner)
				stat->pid = spool_runner_pid(owner);
			else
				stat->claim_id = owner;
		}
		stat->running += jobs;
	}
	spool_spi_end(&spi);
}

/*
 * Count the packets of a queue without order that were tried or redriven;
 * returns when the first of them may run, DT_NOEND if there is none.
 */
static TimestampTz
count_kept(SpoolLook *look, SpoolStreamStat *stat)
{
	static SpoolPlan plan = {
		"SELECT count(*) OVER (), seq, due, message, since FROM"
		" (SELECT seq, due, message, since FROM spool.kept"
		"   WHERE stream = $1 AND state = 'ready'"
		"    AND state IN ('ready', 'running') LIMIT $2) ready"
		" ORDER BY due NULLS FIRST LIMIT 1",
		SPI_OK_SELECT, PLAN_ARGS(INT8OID, INT8OID)
	};
	MemoryContext context = CurrentMemoryContext;
	TimestampTz due = DT_NOEND;
	SpoolSpi	spi;
	Datum		values[2];

	values[0] = Int64GetDatum(stat->stream.id);
	values[1] = Int64GetDatum(SPOOL_STAT_COUNT);
	spool_spi_begin(&spi);
	if (spool_exec(&plan, values, NULL) == 1)
	{
		char	   *message = NULL;
		bool		null;
		Datum		value = spool_field(0, 4, &null);
		MemoryContext old;

		if (!null)
			message = TextDatumGetCString(value);
		due = DatumGetTimestampTz(spool_field(0, 3, &null));
		if (null)
			due = DT_NOBEGIN;
		stat->waiting += DatumGetInt64(spool_field(0, 1, NULL));
		if (due > look->now && stat->shown == NULL)
		{
			old = MemoryContextSwitchTo(context);
			spool_stat_show(stat, "retrying",
							spool_reason_failed(DatumGetInt64(spool_field(0, 2, NULL)),
												message),
							DatumGetTimestampTz(spool_field(0, 5, NULL)));
			MemoryContextSwitchTo(old);
		}
	}
	spool_spi_end(&spi);
	return due;
}

/*
 * The state of a queue without order: what may run comes before what runs,
 * that before what waits for its retry.
 */
void
spool_stat_none(SpoolLook *look, SpoolStreamStat *stat)
{
	TimestampTz due;

	stat->waiting = stat->stored;
	count_running(look, stat);
	due = count_kept(look, stat);
	if (look->paused != NULL || stat->state.paused != NULL)
	{
		if (stat->running == 0)
			(void) spool_stat_pause(look, stat);
	}
	else if (stat->waiting + stat->running == 0 || look->queue->append_only)
		spool_stat_show(stat, "idle", NULL, stat->state.since);
	else if (stat->has_head || due <= look->now)
		spool_stat_ready(look, stat);
	else if (stat->shown == NULL)
		spool_stat_show(stat, "ready", pstrdup(RUNNER_DIED), 0);
}
