/*-------------------------------------------------------------------------
 * store.h
 *	  How packets lie on disk.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_STORE_H
#define SPOOL_STORE_H

#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "storage/itemptr.h"
#include "utils/timestamp.h"

#include "snapshot.h"

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
	ItemPointerData tid;
} SpoolRow;

/* Scans of streams' packets, one at a time. */
typedef struct SpoolScan
{
	Relation	heap;
	Relation	index;
	IndexScanDesc desc;
	TupleTableSlot *slot;
	SpoolSnapshot *newest;
	SpoolSnapshot own;			/* of who reads nothing else with it */
	int64		serial;			/* of the snapshot that the scan uses */
	int64		stream;
	int64		from;
	int64		to;
	int64		bound;			/* the index is read up to here as yet */
	ScanDirection direction;
	int			asked;			/* so often for the next packet */
	bool		done;			/* the index scan must not be asked again */
	bool		again;			/* the packet in the slot comes next again */
	ScanKeyData keys[3];
} SpoolScan;

extern void spool_store_append(const SpoolRow *rows, int nrows);
extern void spool_store_open(SpoolScan *scan, SpoolSnapshot *newest);
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
extern bool spool_store_lock(SpoolScan *scan, const SpoolRow *row);
extern void spool_store_remove(const SpoolRow *row);
extern bool spool_store_find(SpoolRow *row);
extern int64 spool_store_count(int64 stream, int64 from, int64 below);
extern int64 spool_store_highest(int64 stream, int64 from);
extern bool spool_store_by_id(int64 packet_id, SpoolRow *row);
extern void spool_store_remove_range(int64 stream, int64 from, int64 below);
extern uint64 spool_store_purge(void);
extern bool spool_store_has_waiting(int32 queue, bool by_number);

#endif							/* SPOOL_STORE_H */
