/*-------------------------------------------------------------------------
 * segment_streams.h
 *	  The streams that a segment's index has entries of.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SEGMENT_STREAMS_H
#define SPOOL_SEGMENT_STREAMS_H

#include "segment.h"

#define END_OF_STREAMS PG_INT64_MAX

typedef struct SpoolIndexedStreams
{
	Relation	heap;
	Relation	index;
	IndexScanDesc desc;
	bool		begun;
	int64		stream;			/* the one read last */
} SpoolIndexedStreams;

extern void spool_indexed_open(SpoolIndexedStreams *streams, SpoolIndex which,
							   int segment, Snapshot snapshot);
extern int64 spool_indexed_next(SpoolIndexedStreams *streams, int64 after);
extern void spool_indexed_close(SpoolIndexedStreams *streams);

#endif							/* SPOOL_SEGMENT_STREAMS_H */
