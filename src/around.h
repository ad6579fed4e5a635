/*-------------------------------------------------------------------------
 * around.h
 *	  The streams of a queue, round and round.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_AROUND_H
#define SPOOL_AROUND_H

#include "dispatch.h"
#include "known.h"

/* A stream that may have something, by its place in what is known. */
typedef struct AroundStream
{
	int64		id;
	const char *name;
	int			place;			/* -1: this transaction gave it work */
} AroundStream;

/* One way around, as far as it is gone. */
typedef struct SpoolAround
{
	SpoolDispatch *d;
	char	   *start;			/* after this name; NULL = the first */
	char	   *end;			/* to this one; NULL = the last */
	bool		last_lap;		/* that ends at "end" */
	bool		over;
	bool		has_at;			/* in this lap, the last name was */
	char		at[SPOOL_MAX_STREAM_NAME + 1];
	SpoolStreamWalk walk;
	bool		walking;
	bool		plain;			/* nothing is to be known */
	int			nidle;			/* idle streams on the way */
	int			ngiven;			/* streams that this transaction gave work */
	int64		given[SPOOL_MAX_PENDING];

	/* only the streams that are known are looked at */
	bool		asked;
	SpoolKnown *known;			/* or NULL */
	AroundStream *streams;		/* by name */
	int			nstreams;
	int			next;
	int			place;			/* of the one returned last */
	int			nplaces;
	int		   *places;			/* of idle ones */

	/* all are looked at, to know them */
	bool		looking;
	bool		refused;
	bool		wrapped;		/* it came by the last name since it began */
	SpoolKnownLook look;
	char	   *look_from;		/* it began after this name */
	int64	   *busy;
	int			nbusy;
} SpoolAround;

extern void spool_around_begin(SpoolAround *around, SpoolDispatch *d);
extern bool spool_around_next(SpoolAround *around, SpoolStream *stream);
extern void spool_around_seen(SpoolAround *around, const SpoolStream *stream,
							  bool idle);
extern void spool_around_end(SpoolAround *around);

#endif							/* SPOOL_AROUND_H */
