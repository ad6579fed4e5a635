/*-------------------------------------------------------------------------
 * scan.h
 *	  Scans of a stream's packets in order.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SCAN_H
#define SPOOL_SCAN_H

#include "access/sdir.h"
#include "storage/itemptr.h"
#include "utils/timestamp.h"

#include "segment.h"
#include "snapshot.h"

/* Columns of a segment of packets. */
enum
{
	STORE_STREAM = 1, STORE_POSITION, STORE_SEQ, STORE_PACKET_ID,
	STORE_ARRIVED, STORE_SEGMENT, STORE_PACKET
};

/* A packet in the store. */
typedef struct SpoolRow
{
	int64		stream;
	int64		position;
	int64		seq;
	int64		packet_id;
	TimestampTz arrived;
	bool		has_arrived;	/* else it arrived when it was created */
	struct varlena *packet;		/* as stored, possibly toasted */
	int			segment;		/* it lies there, */
	ItemPointerData tid;		/* in this place */
} SpoolRow;

#define ALL_SEGMENTS (-1)

/* The scan of one segment. */
typedef struct SpoolScanPart
{
	int64		bound;			/* the index is read up to here as yet */
	bool		done;			/* the index scan must not be asked again */
	bool		loaded;			/* row is the next one of this segment */
	SpoolRow	row;
} SpoolScanPart;

/* Scans of streams' packets, one at a time. */
typedef struct SpoolScan
{
	SpoolSnapshot *newest;
	SpoolSnapshot own;			/* of who reads nothing else with it */
	int64		serial;			/* of the snapshot that the scan uses */
	int64		stream;
	int64		from;
	int64		to;
	ScanDirection direction;
	int			only;			/* the segment that is read, or ALL_SEGMENTS */
	int			asked;			/* so often for the next packet */
	int			last;			/* segment of the packet returned last, or -1 */
	SpoolPart	segments[SPOOL_SEGMENTS];
	SpoolScanPart parts[SPOOL_SEGMENTS];
} SpoolScan;

extern void spool_scan_row(SpoolRow *row, TupleTableSlot *slot);
extern TimestampTz spool_row_arrived(const SpoolRow *row);
extern void spool_row_copy(SpoolRow *row);
extern void spool_store_open(SpoolScan *scan, SpoolSnapshot *newest);
extern void spool_store_limit(SpoolScan *scan, int segment);
extern void spool_store_seek(SpoolScan *scan, int64 stream, int64 from,
							 int64 to, ScanDirection direction, int64 want);
extern void spool_store_close(SpoolScan *scan);
extern void spool_store_scan_begin(SpoolScan *scan, int64 stream,
								   int64 from, ScanDirection direction);
extern void spool_store_scan_range(SpoolScan *scan, int64 stream,
								   int64 from, int64 to,
								   ScanDirection direction);
extern bool spool_store_scan_next(SpoolScan *scan, SpoolRow *row);
extern void spool_store_scan_end(SpoolScan *scan);

#endif							/* SPOOL_SCAN_H */
