/*-------------------------------------------------------------------------
 * segment.h
 *	  Segments: the partitions that packets and states lie in.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SEGMENT_H
#define SPOOL_SEGMENT_H

#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

#include "snapshot.h"

/* The old segment, and how many there are with the young ones after it. */
#define SPOOL_OLD_SEGMENT	0
#define SPOOL_SEGMENTS	4

/* What is looked up in the segments, by which index. */
typedef enum SpoolIndex
{
	INDEX_PACKETS,				/* by (stream, position, seq) */
	INDEX_STATES,				/* by (stream, consumer, version) */
	INDEX_SENDERS,				/* counters of senders, by (sender, version) */
	INDEX_LANES,				/* states of lanes, by (key, target, version) */
	INDEX_DELIVERIES,			/* by (key, target, sn, version) */
	NUM_SPOOL_TABLES,			/* each of those above has a table of its own */
	INDEX_CLAIMS = NUM_SPOOL_TABLES,	/* states, by claim */
	NUM_SPOOL_INDEXES
} SpoolIndex;

/* A segment opened for index scans. */
typedef struct SpoolPart
{
	SpoolIndex	which;
	int			segment;
	Relation	heap;			/* NULL: nothing in it is needed */
	Relation	index;			/* this and the next: NULL until needed */
	IndexScanDesc desc;
	TupleTableSlot *slot;
	MemoryContext context;		/* what the scan keeps is allocated there */
	int64		empty;			/* serial of a snapshot that saw no rows */
} SpoolPart;

extern int	spool_segment_lock(SpoolIndex which);
extern void spool_segment_changed(void);
extern Oid	spool_segment_heap(SpoolIndex which, int segment);
extern Oid	spool_segment_index(SpoolIndex which, int segment);
extern int64 spool_segment_size(int segment);
extern void spool_parts_open(SpoolPart *parts, SpoolIndex which);
extern void spool_part_open(SpoolPart *part);
extern bool spool_part_seek(SpoolPart *part, const SpoolSnapshot *newest,
							ScanKey keys, int nkeys);
extern bool spool_part_next(SpoolPart *part, ScanDirection direction);
extern SpoolPart *spool_parts_newest(SpoolPart *parts,
									 const SpoolSnapshot *newest,
									 int64 id, int32 part,
									 int64 version, AttrNumber column);
extern void spool_parts_close(SpoolPart *parts);

#endif							/* SPOOL_SEGMENT_H */
