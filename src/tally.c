/*-------------------------------------------------------------------------
 * tally.c
 *	  Counts of streams beside those of their states.
 *
 * Who consumes from a queue without order appends no state, and who writes a
 * packet late or twice holds no lock of a consumer.  Both add a row to
 * spool.tally instead, so that nobody waits for a counter.  Readers add the
 * rows up; spool_tally_fold puts those of each stream together.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "spiutil.h"
#include "spool.h"
#include "tally.h"
#include "writer.h"

/* Add to a stream's counts, unless there is nothing to add. */
void
spool_tally_add(const SpoolTally *tally)
{
	SpoolWriter writer;
	Datum	   *values;
	bool	   *nulls;

	if (tally->consumed == 0 && tally->failed == 0 && tally->late == 0 &&
		tally->duplicates == 0)
		return;
	spool_writer_open(&writer, spool_relation_oid("tally"), 1);
	values = spool_writer_row(&writer, &nulls);
	values[0] = Int64GetDatum(tally->stream);
	values[1] = Int64GetDatum(tally->consumed);
	values[2] = Int64GetDatum(tally->done);
	values[3] = Int64GetDatum(tally->failed);
	values[4] = Int64GetDatum(tally->dead);
	values[5] = Int64GetDatum(tally->late);
	values[6] = Int64GetDatum(tally->duplicates);
	spool_writer_close(&writer);
}

/*
 * Make one row of all those of a stream.  Counts that are added meanwhile
 * stay rows of their own, and so do those that others remove.
 */
void
spool_tally_fold(void)
{
	static SpoolPlan plan = {
		"WITH old AS (DELETE FROM spool.tally WHERE ctid = ANY (ARRAY("
		"   SELECT ctid FROM spool.tally WHERE stream IN"
		"    (SELECT stream FROM spool.tally GROUP BY stream"
		"      HAVING count(*) > 1)"
		"    FOR UPDATE SKIP LOCKED)) RETURNING *)"
		" INSERT INTO spool.tally"
		" (stream, consumed, done, failed, dead, late, duplicates)"
		" SELECT stream, sum(consumed), sum(done), sum(failed), sum(dead),"
		" sum(late), sum(duplicates) FROM old GROUP BY stream",
		SPI_OK_INSERT, PLAN_NO_ARGS
	};

	(void) spool_exec_alone(&plan, NULL, NULL);
}
