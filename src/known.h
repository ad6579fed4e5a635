/*-------------------------------------------------------------------------
 * known.h
 *	  Which streams of a queue may have anything to be handed out.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_KNOWN_H
#define SPOOL_KNOWN_H

#include "datatype/timestamp.h"

/* Streams of one queue that are remembered; beyond that nothing is known. */
#define SPOOL_MAX_KNOWN 256

/* All streams of a queue that may have anything, as they were asked for. */
typedef struct SpoolKnown
{
	uint32		generation;
	int			nstreams;
	int64		streams[SPOOL_MAX_KNOWN];
	uint32		news[SPOOL_MAX_KNOWN];
} SpoolKnown;

/* One look at all streams of a queue. */
typedef struct SpoolKnownLook
{
	uint32		generation;
	TimestampTz begun;
	int			ncommits;
	int		   *backends;		/* that were about to commit, */
	uint32	   *commits;		/* with this count */
} SpoolKnownLook;

/* shmem.c */
extern Size spool_known_size(void);
extern void spool_known_start(int tranche);

/* Who gives work; hint.c. */
extern void spool_known_commit_begin(void);
extern uint32 spool_known_announce(int32 queue, int64 stream);
extern void spool_known_told(int32 queue, int64 stream, uint32 generation,
							 bool committed);
extern void spool_known_forget(void);
extern void spool_known_commit_end(void);

/* Who looks for it; around.c. */
extern bool spool_known_get(int32 queue, SpoolKnown *known);
extern void spool_known_idle(int32 queue, const SpoolKnown *known,
							 const int *places, int nplaces);
extern bool spool_known_look_begin(int32 queue, SpoolKnownLook *look);
extern void spool_known_look_end(int32 queue, SpoolKnownLook *look,
								 const int64 *streams, int nstreams);
extern void spool_known_look_vain(int32 queue, SpoolKnownLook *look);

/* Where a backend that has not looked begins; round.c. */
extern int64 spool_known_place(int32 queue);
extern void spool_known_set_place(int32 queue, int64 stream);

#endif							/* SPOOL_KNOWN_H */
