/*-------------------------------------------------------------------------
 * tally.h
 *	  Counts of streams beside those of their states.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_TALLY_H
#define SPOOL_TALLY_H

/* What one transaction adds to a stream's counts. */
typedef struct SpoolTally
{
	int64		stream;
	int64		consumed;
	int64		done;
	int64		failed;
	int64		dead;
	int64		late;
	int64		duplicates;
} SpoolTally;

extern void spool_tally_add(const SpoolTally *tally);
extern void spool_tally_fold(void);

#endif							/* SPOOL_TALLY_H */
