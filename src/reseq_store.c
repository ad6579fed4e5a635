/*-------------------------------------------------------------------------
 * reseq_store.c
 *	  The resequencer's appended rows: states of lanes, and deliveries.
 *
 * A lane is a key's way to one target.  Its state is appended for each change
 * and never updated, as are deliveries, so a snapshot held elsewhere makes
 * nothing slower.  The newest state is the first that a backward scan of (key,
 * target, version) meets, in whatever segment (segment.c).  Of a delivery the
 * row with the highest version holds; the rows of one number, which its parts
 * have too, may lie in several segments.
 *
 * Both are read with the newest snapshot (snapshot.c), at every isolation
 * level, and appended under the key's lock by who read them under that lock.
 * A row that upkeep moves meanwhile is seen in one of its places.
 *
 * Rows that are not needed any more go with their segment (reseq_upkeep.c).
 *
 * Measured on 15, us of CPU: the newest state of a lane 4.0, of many in a row
 * 1.9 each; with states in three segments 6.9 and 3.4; by SELECT 21.  To append
 * 1, 10, 256 states 3.7, 2.1, 2.0 each.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "reseq_store.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "writer.h"

/* Columns of spool.reseq_lane. */
enum
{
	LANE_KEY = 1, LANE_TARGET, LANE_VERSION, LANE_HIGH, LANE_NEWEST,
	LANE_APPLIED, LANE_BUSY, LANE_TREES, LANE_PROMOTABLE, LANE_SEGMENT,
	LANE_RUN, LANE_LIVE, LANE_PARKED, LANE_REGISTERED, LANE_DELIVERED,
	LANE_SUPPRESSED, LANE_DEAD, LANE_EXPIRED, LANE_UNREGISTERED,
	LANE_DUPLICATES, LANE_FORCED, LANE_LOST, LANE_DUE, LANE_SINCE,
	LANE_RUN_SINCE
};

/* Columns of spool.reseq_delivery, and of its index. */
enum
{
	DELIVERY_KEY = 1, DELIVERY_TARGET, DELIVERY_RESEQUENCER, DELIVERY_SN,
	DELIVERY_VERSION, DELIVERY_SEGMENT, DELIVERY_STATE, DELIVERY_PARTS,
	DELIVERY_REGISTERED_AT, DELIVERY_SINCE, DELIVERY_PART, DELIVERY_DIGEST,
	DELIVERY_REASON
};
enum
{
	BY_KEY = 1, BY_TARGET, BY_SN, BY_VERSION
};

static void read_lane(const SpoolPart *part, SpoolLane *lane);
static void fill_lane(Datum *values, bool *nulls, const SpoolLane *lane);
static void seek(SpoolReseqTables *tables, int64 key, int32 target,
				 ScanKey keys, ScanDirection direction);
static bool load(SpoolReseqTables *tables, int segment);
static bool next_sn(SpoolReseqTables *tables, int64 *sn);
static void read_delivery(const SpoolPart *part, SpoolDelivery *delivery);
static int	compare_deliveries(const void *a, const void *b);
static bool same_part(const SpoolDelivery *a, const SpoolDelivery *b);
static void fill_delivery(Datum *values, bool *nulls, int32 resequencer,
						  const SpoolDelivery *delivery);
static int	compare_since(const void *a, const void *b);
static SpoolDelivery *const *in_order(SpoolDelivery *const *deliveries,
									  int n);

void
spool_reseq_open(SpoolReseqTables *tables)
{
	memset(tables, 0, sizeof(SpoolReseqTables));
	spool_parts_open(tables->lanes, INDEX_LANES);
	spool_parts_open(tables->deliveries, INDEX_DELIVERIES);
}

void
spool_reseq_close(SpoolReseqTables *tables)
{
	spool_parts_close(tables->deliveries);
	spool_parts_close(tables->lanes);
	spool_snapshot_end(&tables->newest);
}

/* A lane that has no state as yet. */
void
spool_lane_init(SpoolLane *lane, int64 key, int32 target)
{
	memset(lane, 0, sizeof(SpoolLane));
	lane->key = key;
	lane->target = target;
	lane->high = NO_SN;
	lane->newest = NO_SN;
	lane->applied = NO_SN;
	lane->busy = NO_SN;
	lane->due = DT_NOEND;
}

/* The state of a lane from the row that a scan is at. */
static void
read_lane(const SpoolPart *part, SpoolLane *lane)
{
	Datum	   *values;

	slot_getallattrs(part->slot);
	values = part->slot->tts_values - 1;
	lane->writer = spool_slot_writer(part->slot);
	lane->key = DatumGetInt64(values[LANE_KEY]);
	lane->target = DatumGetInt32(values[LANE_TARGET]);
	lane->version = DatumGetInt64(values[LANE_VERSION]);
	lane->high = DatumGetInt64(values[LANE_HIGH]);
	lane->newest = DatumGetInt64(values[LANE_NEWEST]);
	lane->applied = DatumGetInt64(values[LANE_APPLIED]);
	lane->busy = DatumGetInt64(values[LANE_BUSY]);
	lane->trees = DatumGetBool(values[LANE_TREES]);
	lane->promotable = DatumGetBool(values[LANE_PROMOTABLE]);
	lane->run = DatumGetInt32(values[LANE_RUN]);
	lane->live = DatumGetInt64(values[LANE_LIVE]);
	lane->parked = DatumGetInt64(values[LANE_PARKED]);
	lane->registered = DatumGetInt64(values[LANE_REGISTERED]);
	lane->delivered = DatumGetInt64(values[LANE_DELIVERED]);
	lane->suppressed = DatumGetInt64(values[LANE_SUPPRESSED]);
	lane->dead = DatumGetInt64(values[LANE_DEAD]);
	lane->expired = DatumGetInt64(values[LANE_EXPIRED]);
	lane->unregistered = DatumGetInt64(values[LANE_UNREGISTERED]);
	lane->duplicates = DatumGetInt64(values[LANE_DUPLICATES]);
	lane->forced = DatumGetInt64(values[LANE_FORCED]);
	lane->lost = DatumGetInt64(values[LANE_LOST]);
	lane->due = DatumGetTimestampTz(values[LANE_DUE]);
	lane->since = DatumGetTimestampTz(values[LANE_SINCE]);
	lane->run_since = part->slot->tts_isnull[LANE_RUN_SINCE - 1] ? 0 :
		DatumGetTimestampTz(values[LANE_RUN_SINCE]);
}

/*
 * Read the newest state of a lane with the newest snapshot, which ends a scan
 * of deliveries.  False if there is none.
 *
 * It is looked for from the version that this backend saw last, as in state.c.
 */
bool
spool_lane_read(SpoolReseqTables *tables, int64 key, int32 target,
				SpoolLane *lane)
{
	static struct
	{
		int64		key;
		int64		version;
		int32		target;
	}			seen[4096];
	int			place = (int) (((uint64) key + target) % lengthof(seen));
	bool		hint = seen[place].key == key && seen[place].target == target;

	spool_snapshot_renew(&tables->newest);
	tables->part = spool_parts_newest(tables->lanes, &tables->newest, key,
									  target,
									  hint ? seen[place].version : PG_INT64_MIN,
									  LANE_VERSION);
	if (tables->part == NULL)
		return false;
	read_lane(tables->part, lane);
	seen[place].key = key;
	seen[place].target = target;
	seen[place].version = lane->version;
	return true;
}

/* 40001: the transaction's own snapshot does not see what holds for a key. */
void
spool_reseq_not_serializable(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent use of the key"),
			 errhint("Retry the transaction.")));
}

/*
 * For who decides: 40001 if the transaction's own snapshot does not see the
 * state.  It may see it where it was before it was moved.
 */
void
spool_lane_check_snapshot(const SpoolLane *lane)
{
	SpoolLane	seen;
	SpoolReseqTables tables;
	volatile bool same = false;

	if (!spool_snapshot_misses(lane->writer))
		return;

	spool_read_with(GetTransactionSnapshot());
	PG_TRY();
	{
		spool_reseq_open(&tables);
		same = spool_lane_read(&tables, lane->key, lane->target, &seen) &&
			seen.version == lane->version;
		spool_reseq_close(&tables);
	}
	PG_FINALLY();
	{
		spool_read_with(NULL);
	}
	PG_END_TRY();
	if (!same)
		spool_reseq_not_serializable();
}

/* Fill the columns of a row but segment; both arrays count from 1. */
static void
fill_lane(Datum *values, bool *nulls, const SpoolLane *lane)
{
	values[LANE_KEY] = Int64GetDatum(lane->key);
	values[LANE_TARGET] = Int32GetDatum(lane->target);
	values[LANE_VERSION] = Int64GetDatum(lane->version);
	values[LANE_HIGH] = Int64GetDatum(lane->high);
	values[LANE_NEWEST] = Int64GetDatum(lane->newest);
	values[LANE_APPLIED] = Int64GetDatum(lane->applied);
	values[LANE_BUSY] = Int64GetDatum(lane->busy);
	values[LANE_TREES] = BoolGetDatum(lane->trees);
	values[LANE_PROMOTABLE] = BoolGetDatum(lane->promotable);
	values[LANE_RUN] = Int32GetDatum(lane->run);
	values[LANE_LIVE] = Int64GetDatum(lane->live);
	values[LANE_PARKED] = Int64GetDatum(lane->parked);
	values[LANE_REGISTERED] = Int64GetDatum(lane->registered);
	values[LANE_DELIVERED] = Int64GetDatum(lane->delivered);
	values[LANE_SUPPRESSED] = Int64GetDatum(lane->suppressed);
	values[LANE_DEAD] = Int64GetDatum(lane->dead);
	values[LANE_EXPIRED] = Int64GetDatum(lane->expired);
	values[LANE_UNREGISTERED] = Int64GetDatum(lane->unregistered);
	values[LANE_DUPLICATES] = Int64GetDatum(lane->duplicates);
	values[LANE_FORCED] = Int64GetDatum(lane->forced);
	values[LANE_LOST] = Int64GetDatum(lane->lost);
	values[LANE_DUE] = TimestampTzGetDatum(lane->due);
	values[LANE_SINCE] = TimestampTzGetDatum(lane->since);
	values[LANE_RUN_SINCE] = TimestampTzGetDatum(lane->run_since);
	nulls[LANE_RUN_SINCE] = lane->run_since == 0;
}

/*
 * Append states as the newest ones of their lanes.  The caller holds the
 * keys' locks and read the states that these derive from under them.
 */
void
spool_lanes_append(SpoolLane *const *lanes, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	SpoolWriter writer;
	int			segment;

	if (n == 0)
		return;
	segment = spool_segment_lock(INDEX_LANES);
	spool_writer_open(&writer, spool_segment_heap(INDEX_LANES, segment), n);
	for (int i = 0; i < n; i++)
	{
		bool	   *nulls;
		Datum	   *values = spool_writer_row(&writer, &nulls);

		lanes[i]->version++;
		lanes[i]->since = now;
		lanes[i]->writer = GetCurrentTransactionId();
		fill_lane(values - 1, nulls - 1, lanes[i]);
		values[LANE_SEGMENT - 1] = Int16GetDatum(segment);
	}
	spool_writer_close(&writer);
	spool_hint_upkeep();
}

/* Begin a scan of deliveries of a lane by two more of the index's columns. */
static void
seek(SpoolReseqTables *tables, int64 key, int32 target, ScanKey keys,
	 ScanDirection direction)
{
	ScanKeyInit(&keys[0], BY_KEY, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(key));
	ScanKeyInit(&keys[1], BY_TARGET, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(target));
	spool_snapshot_renew(&tables->newest);
	tables->serial = tables->newest.serial;
	tables->direction = direction;
	for (int i = 0; i < SPOOL_SEGMENTS; i++)
	{
		tables->loaded[i] = false;
		tables->done[i] = !spool_part_seek(&tables->deliveries[i],
										   &tables->newest, keys, 4);
	}
}

/*
 * Scan the deliveries of a lane, of numbers from one to another, in one or the
 * other direction, with the newest snapshot.  Ends at the next seek, and when
 * the state of a lane is read.
 */
void
spool_deliveries_seek(SpoolReseqTables *tables, int64 key, int32 target,
					  int64 from, int64 to, ScanDirection direction)
{
	ScanKeyData keys[4];

	ScanKeyInit(&keys[2], BY_SN, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(from));
	ScanKeyInit(&keys[3], BY_SN, BTLessEqualStrategyNumber, F_INT8LE,
				Int64GetDatum(to));
	seek(tables, key, target, keys, direction);
}

/* The same for the rows of one number with higher versions than a given one. */
void
spool_deliveries_seek_newer(SpoolReseqTables *tables, int64 key, int32 target,
							int64 sn, int64 version)
{
	ScanKeyData keys[4];

	ScanKeyInit(&keys[2], BY_SN, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(sn));
	ScanKeyInit(&keys[3], BY_VERSION, BTGreaterStrategyNumber, F_INT8GT,
				Int64GetDatum(version));
	seek(tables, key, target, keys, ForwardScanDirection);
}

/* Have the next row of a segment in its slot; false at the end. */
static bool
load(SpoolReseqTables *tables, int segment)
{
	if (!tables->loaded[segment] && !tables->done[segment])
	{
		tables->loaded[segment] = spool_part_next(&tables->deliveries[segment],
												  tables->direction);
		tables->done[segment] = !tables->loaded[segment];
	}
	return tables->loaded[segment];
}

/* The number of the delivery that a scan is at. */
int64
spool_part_sn(const SpoolPart *part)
{
	bool		null;

	return DatumGetInt64(slot_getattr(part->slot, DELIVERY_SN, &null));
}

/* The number that comes next; false at the end. */
static bool
next_sn(SpoolReseqTables *tables, int64 *sn)
{
	bool		found = false;

	for (int i = 0; i < SPOOL_SEGMENTS; i++)
	{
		int64		here;

		if (!load(tables, i))
			continue;
		here = spool_part_sn(&tables->deliveries[i]);
		if (!found || (here < *sn) == ScanDirectionIsForward(tables->direction))
			*sn = here;
		found = true;
	}
	return found;
}

/* A copy of the delivery that a scan is at. */
static void
read_delivery(const SpoolPart *part, SpoolDelivery *delivery)
{
	Datum	   *values;
	bool	   *nulls;

	slot_getallattrs(part->slot);
	values = part->slot->tts_values - 1;
	nulls = part->slot->tts_isnull - 1;
	memset(delivery, 0, sizeof(SpoolDelivery));
	delivery->key = DatumGetInt64(values[DELIVERY_KEY]);
	delivery->target = DatumGetInt32(values[DELIVERY_TARGET]);
	delivery->sn = DatumGetInt64(values[DELIVERY_SN]);
	delivery->version = DatumGetInt64(values[DELIVERY_VERSION]);
	delivery->state = (SpoolDeliveryState) DatumGetChar(values[DELIVERY_STATE]);
	delivery->parts = DatumGetInt32(values[DELIVERY_PARTS]);
	delivery->registered_at =
		DatumGetTimestampTz(values[DELIVERY_REGISTERED_AT]);
	delivery->since = DatumGetTimestampTz(values[DELIVERY_SINCE]);
	if (!nulls[DELIVERY_PART])
	{
		ArrayType  *path = DatumGetArrayTypePCopy(values[DELIVERY_PART]);

		delivery->npart = ArrayGetNItems(ARR_NDIM(path), ARR_DIMS(path));
		delivery->part = (int32 *) ((char *) path +
									ARR_OVERHEAD_NONULLS(ARR_NDIM(path)));
	}
	if (!nulls[DELIVERY_DIGEST])
		delivery->digest = PG_DETOAST_DATUM_COPY(values[DELIVERY_DIGEST]);
	if (!nulls[DELIVERY_REASON])
		delivery->reason = TextDatumGetCString(values[DELIVERY_REASON]);
	delivery->segment = part->segment;
	delivery->tid = part->slot->tts_tid;
}

/* By path, the whole first; of one part the newest first. */
static int
compare_deliveries(const void *a, const void *b)
{
	const SpoolDelivery *left = a;
	const SpoolDelivery *right = b;

	for (int i = 0; i < left->npart && i < right->npart; i++)
		if (left->part[i] != right->part[i])
			return left->part[i] < right->part[i] ? -1 : 1;
	if (left->npart != right->npart)
		return left->npart < right->npart ? -1 : 1;
	if (left->version != right->version)
		return left->version > right->version ? -1 : 1;
	return 0;
}

static bool
same_part(const SpoolDelivery *a, const SpoolDelivery *b)
{
	return a->npart == b->npart &&
		(a->npart == 0 ||
		 memcmp(a->part, b->part, a->npart * sizeof(int32)) == 0);
}

/*
 * The next number of a scan with the newest row of each part, and the older
 * ones behind, allocated in the current memory context; false at the end.
 */
bool
spool_deliveries_next(SpoolReseqTables *tables, SpoolNumber *number)
{
	int			size = 4;
	int			n = 0;

	Assert(tables->serial == tables->newest.serial);
	if (!next_sn(tables, &number->sn))
		return false;
	number->deliveries = palloc(size * sizeof(SpoolDelivery));
	for (int i = 0; i < SPOOL_SEGMENTS; i++)
		while (load(tables, i) &&
			   spool_part_sn(&tables->deliveries[i]) == number->sn)
		{
			if (n == size)
				number->deliveries =
					repalloc_huge(number->deliveries,
								  (Size) (size *= 2) * sizeof(SpoolDelivery));
			read_delivery(&tables->deliveries[i], &number->deliveries[n++]);
			tables->loaded[i] = false;
		}
	if (n > 1)
		qsort(number->deliveries, n, sizeof(SpoolDelivery),
			  compare_deliveries);
	number->nrows = n;
	number->n = 1;
	for (int i = 1; i < n; i++)
	{
		SpoolDelivery row = number->deliveries[i];

		if (same_part(&row, &number->deliveries[number->n - 1]))
			continue;
		number->deliveries[i] = number->deliveries[number->n];
		number->deliveries[number->n++] = row;
	}
	return true;
}

/* Fill the columns of a row but segment; both arrays count from 1. */
static void
fill_delivery(Datum *values, bool *nulls, int32 resequencer,
			  const SpoolDelivery *delivery)
{
	values[DELIVERY_RESEQUENCER] = Int32GetDatum(resequencer);
	values[DELIVERY_KEY] = Int64GetDatum(delivery->key);
	values[DELIVERY_TARGET] = Int32GetDatum(delivery->target);
	values[DELIVERY_SN] = Int64GetDatum(delivery->sn);
	values[DELIVERY_VERSION] = Int64GetDatum(delivery->version);
	values[DELIVERY_STATE] = CharGetDatum((char) delivery->state);
	values[DELIVERY_PARTS] = Int32GetDatum(delivery->parts);
	values[DELIVERY_REGISTERED_AT] =
		TimestampTzGetDatum(delivery->registered_at);
	values[DELIVERY_SINCE] = TimestampTzGetDatum(delivery->since);
	nulls[DELIVERY_PART] = delivery->npart == 0;
	if (delivery->npart > 0)
	{
		Datum	   *path = palloc(delivery->npart * sizeof(Datum));

		for (int i = 0; i < delivery->npart; i++)
			path[i] = Int32GetDatum(delivery->part[i]);
		values[DELIVERY_PART] =
			PointerGetDatum(construct_array(path, delivery->npart, INT4OID,
											sizeof(int32), true, TYPALIGN_INT));
	}
	nulls[DELIVERY_DIGEST] = delivery->digest == NULL;
	values[DELIVERY_DIGEST] = PointerGetDatum(delivery->digest);
	nulls[DELIVERY_REASON] = delivery->reason == NULL;
	if (delivery->reason != NULL)
		values[DELIVERY_REASON] = CStringGetTextDatum(delivery->reason);
}

static int
compare_since(const void *a, const void *b)
{
	TimestampTz left = (*(SpoolDelivery *const *) a)->since;
	TimestampTz right = (*(SpoolDelivery *const *) b)->since;

	return left < right ? -1 : left > right;
}

/* Deliveries in order of since, which a BRIN index wants (writer.c). */
static SpoolDelivery *const *
in_order(SpoolDelivery *const *deliveries, int n)
{
	SpoolDelivery **sorted;
	int			i = 1;

	while (i < n && deliveries[i - 1]->since <= deliveries[i]->since)
		i++;
	if (i >= n)
		return deliveries;
	sorted = palloc(n * sizeof(SpoolDelivery *));
	memcpy(sorted, deliveries, n * sizeof(SpoolDelivery *));
	qsort(sorted, n, sizeof(SpoolDelivery *), compare_since);
	return sorted;
}

/*
 * Append deliveries as their newest rows, with the versions of the states that
 * their lanes get, under the keys' locks.
 */
void
spool_deliveries_append(int32 resequencer, SpoolDelivery *const *deliveries,
						int n)
{
	TimestampTz now = GetCurrentTimestamp();
	SpoolWriter writer;
	int			segment;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		if (deliveries[i]->since == 0)
			deliveries[i]->since = now;
	deliveries = in_order(deliveries, n);
	segment = spool_segment_lock(INDEX_DELIVERIES);
	spool_writer_open(&writer, spool_segment_heap(INDEX_DELIVERIES, segment),
					  n);
	for (int i = 0; i < n; i++)
	{
		bool	   *nulls;
		Datum	   *values = spool_writer_row(&writer, &nulls);

		fill_delivery(values - 1, nulls - 1, resequencer, deliveries[i]);
		values[DELIVERY_SEGMENT - 1] = Int16GetDatum(segment);
	}
	spool_writer_close(&writer);
	spool_hint_upkeep();
}
