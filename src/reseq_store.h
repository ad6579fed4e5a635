/*-------------------------------------------------------------------------
 * reseq_store.h
 *	  The resequencer's appended rows: states of lanes, and deliveries.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_RESEQ_STORE_H
#define SPOOL_RESEQ_STORE_H

#include "access/sdir.h"
#include "storage/itemptr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "reseq_rules.h"
#include "segment.h"
#include "snapshot.h"

/* No number. */
#define NO_SN (-1)

/* The state of a lane: a key's way to one target.  Columns of spool.reseq_lane. */
typedef struct SpoolLane
{
	int64		key;
	int32		target;			/* place in the resequencer's targets, from 1 */
	int64		version;		/* 0 = there is no state as yet */
	int64		high;			/* the highest number registered, or NO_SN */
	int64		newest;			/* the highest live one, or NO_SN */
	int64		applied;		/* the highest applied, or NO_SN */
	int64		busy;			/* passed and not ended as a whole, or NO_SN */
	bool		trees;			/* some number above applied has parts */
	bool		promotable;		/* the lane is in spool.reseq_promotable */
	int32		run;			/* superseded since the last pass, */
	TimestampTz run_since;		/* since then; 0 = none was */
	TimestampTz due;			/* nothing ends by itself before; DT_NOEND */
	int64		live;			/* deliveries that have not ended */
	int64		parked;			/* of these, parked */
	int64		registered;		/* so far: deliveries registered, */
	int64		delivered;		/* applied, */
	int64		suppressed;
	int64		dead;
	int64		expired;
	int64		unregistered;
	int64		duplicates;		/* calls that repeat, or are stale */
	int64		forced;			/* passed by the valve or since disabled */
	int64		lost;			/* newest ones that failed, with none to pass */
	TimestampTz since;			/* when this state was written */
	TransactionId writer;		/* who wrote it; not stored */
} SpoolLane;

/* A delivery, as its newest row says.  Columns of spool.reseq_delivery. */
typedef struct SpoolDelivery
{
	int64		key;
	int32		target;
	int64		sn;
	int64		version;		/* of the lane's state it was written with */
	SpoolDeliveryState state;
	int			npart;			/* depth of part, 0 = the whole */
	int32	   *part;			/* path: {2,1} is the first part of the second */
	int32		parts;			/* so many parts were declared, 0 = not split;
								 * negative: cut, those missing may not come */
	TimestampTz registered_at;
	TimestampTz since;			/* when it was registered, passed or ended */
	struct varlena *digest;		/* bytea, or NULL */
	char	   *reason;			/* why it ended or waits, or NULL */
	int			segment;		/* the row lies there, */
	ItemPointerData tid;		/* in this place; neither is stored */
} SpoolDelivery;

/* All deliveries of one number in a lane, by part; the whole comes first. */
typedef struct SpoolNumber
{
	int64		sn;
	int			n;
	int			nrows;			/* older rows of the same come after those n */
	SpoolDelivery *deliveries;
} SpoolNumber;

/* The tables opened for reading. */
typedef struct SpoolReseqTables
{
	SpoolSnapshot newest;
	SpoolPart	lanes[SPOOL_SEGMENTS];
	SpoolPart	deliveries[SPOOL_SEGMENTS];
	SpoolPart  *part;			/* its slot has the state that was read last */
	/* the scan of deliveries */
	int64		serial;			/* of the snapshot that it uses */
	ScanDirection direction;
	bool		loaded[SPOOL_SEGMENTS]; /* slot has a row not yet returned */
	bool		done[SPOOL_SEGMENTS];
} SpoolReseqTables;

extern void spool_reseq_open(SpoolReseqTables *tables);
extern void spool_reseq_close(SpoolReseqTables *tables);
extern bool spool_lane_read(SpoolReseqTables *tables, int64 key, int32 target,
							SpoolLane *lane);
extern void spool_lane_init(SpoolLane *lane, int64 key, int32 target);
extern compat_noreturn void spool_reseq_not_serializable(void);
extern void spool_lane_check_snapshot(const SpoolLane *lane);
extern void spool_lanes_append(SpoolLane *const *lanes, int n);
extern void spool_deliveries_seek(SpoolReseqTables *tables, int64 key,
								  int32 target, int64 from, int64 to,
								  ScanDirection direction);
extern void spool_deliveries_seek_newer(SpoolReseqTables *tables, int64 key,
										int32 target, int64 sn, int64 version);
extern bool spool_deliveries_next(SpoolReseqTables *tables,
								  SpoolNumber *number);
extern int64 spool_part_sn(const SpoolPart *part);
extern void spool_deliveries_append(int32 resequencer,
									SpoolDelivery *const *deliveries, int n);

#endif							/* SPOOL_RESEQ_STORE_H */
