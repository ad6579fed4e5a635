/*-------------------------------------------------------------------------
 * reseq_lane.c
 *	  Lanes of locked keys, in memory while a verb works on them.
 *
 * A call locks keys, reads the newest states of their lanes with a snapshot
 * taken after the lock, works on them here, and appends what changed at its
 * end: deliveries and states of lanes, in the caller's transaction.  A
 * rollback, also to a savepoint, leaves all as it was.
 *
 * The state of a lane is enough for the common way: a number higher than all
 * before is registered; the newest passes, and with it all below are over.
 * Deliveries are read where a decision needs one that is not the newest.
 * Those at or below the applied number have ended, whatever their rows say:
 * nothing is written to end them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "reseq_lane.h"
#include "spiutil.h"
#include "spool.h"

static bool same_name(const text *a, const text *b);
static int	number_place(const SpoolWay *way, int64 sn);
static SpoolSteps *number_in_memory(const SpoolWay *way, int64 sn);
static SpoolSteps *add_number(SpoolWay *way, int64 sn);
static void add_step(SpoolSteps *steps, int place, SpoolStep *step);
static SpoolSteps *take_number(SpoolWay *way, const SpoolNumber *number);
static int	compare_parts(int na, const int32 *a, int nb, const int32 *b);
static int	step_place(const SpoolSteps *steps, int npart, const int32 *part,
					   bool *found);
static void note_promotable(SpoolReseqCall *call, SpoolWay *way);

/* Begin a call of a verb; with RESEQ_LOOK, of one that changes nothing. */
void
spool_reseq_begin(SpoolReseqCall *call, text *resequencer, AclMode right,
				  LOCKMODE lockmode)
{
	spool_reseq_begin_on(call,
						 spool_resequencer_open(resequencer, right, lockmode),
						 lockmode);
}

/* The same for a resequencer that is open. */
void
spool_reseq_begin_on(SpoolReseqCall *call, SpoolResequencer *resequencer,
					 LOCKMODE lockmode)
{
	memset(call, 0, sizeof(SpoolReseqCall));
	call->resequencer = resequencer;
	call->looks = lockmode == RESEQ_LOOK;
	spool_reseq_keys_open(&call->keys, resequencer->id,
						  call->looks ? AccessShareLock : RowShareLock);
	spool_reseq_open(&call->tables);
	call->now = GetCurrentTimestamp();
}

static bool
same_name(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* Lock a key; NULL if there is none, or others have it and are not waited for. */
SpoolReseqKey *
spool_reseq_lock(SpoolReseqCall *call, text *name)
{
	SpoolReseqKey *key = call->key;

	if (key != NULL && same_name(key->name, name))
		return key;
	key = palloc(sizeof(SpoolReseqKey));
	if (!spool_reseq_key_lock(&call->keys, name, call->wait, key))
		return NULL;
	call->now = GetCurrentTimestamp();
	call->key = key;
	return key;
}

/*
 * Lock a key, making it if there is none.  Others follow in the order of
 * their bytes: those that do not exist, up to the first that does, are made
 * with it.
 */
SpoolReseqKey *
spool_reseq_make(SpoolReseqCall *call, text *const *names, int n)
{
	SpoolReseqKey *key;

	while ((key = spool_reseq_lock(call, names[0])) == NULL)
	{
		text	  **missing = palloc(n * sizeof(text *));
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		SpoolReseqKey other;
		int			nmissing = 0;

		missing[nmissing++] = names[0];
		for (int i = 1; i < n; i++)
		{
			if (same_name(names[i], missing[nmissing - 1]))
				continue;
			if (spool_reseq_key_find(&call->keys, names[i], snapshot, &other))
				break;
			missing[nmissing++] = names[i];
		}
		UnregisterSnapshot(snapshot);
		spool_reseq_keys_create(call->resequencer->id, missing, nmissing);
		pfree(missing);
	}
	return key;
}

/* The lane of the key that was locked last, for a target. */
SpoolWay *
spool_way_open(SpoolReseqCall *call, SpoolReseqKey *key, int32 target)
{
	SpoolWay   *way;

	for (int i = list_length(call->ways) - 1; i >= 0; i--)
	{
		way = list_nth(call->ways, i);
		if (way->key != key)
			break;
		if (way->lane.target == target)
			return way;
	}
	way = palloc0(sizeof(SpoolWay));
	way->key = key;
	if (!spool_lane_read(&call->tables, key->id, target, &way->lane))
		spool_lane_init(&way->lane, key->id, target);
	else if (!call->looks)
		spool_lane_check_snapshot(&way->lane);
	call->ways = lappend(call->ways, way);
	return way;
}

/* The place of a number relative to the highest that was applied. */
SpoolPlace
spool_way_place(const SpoolWay *way, int64 sn)
{
	return sn > way->lane.applied ? PLACE_ABOVE :
		sn == way->lane.applied ? PLACE_EQUAL : PLACE_BELOW;
}

/* Where a number is in memory, or would be. */
static int
number_place(const SpoolWay *way, int64 sn)
{
	int			low = 0;
	int			high = way->nnumbers;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (way->numbers[middle]->sn < sn)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static SpoolSteps *
number_in_memory(const SpoolWay *way, int64 sn)
{
	int			place = number_place(way, sn);

	return place < way->nnumbers && way->numbers[place]->sn == sn ?
		way->numbers[place] : NULL;
}

/* Add a number without deliveries. */
static SpoolSteps *
add_number(SpoolWay *way, int64 sn)
{
	int			place = number_place(way, sn);
	SpoolSteps *steps = palloc0(sizeof(SpoolSteps));

	if (way->nnumbers == way->space)
	{
		way->space = Max(4, 2 * way->space);
		way->numbers = way->numbers == NULL ?
			palloc(way->space * sizeof(SpoolSteps *)) :
			repalloc(way->numbers, way->space * sizeof(SpoolSteps *));
	}
	memmove(&way->numbers[place + 1], &way->numbers[place],
			(way->nnumbers - place) * sizeof(SpoolSteps *));
	way->numbers[place] = steps;
	way->nnumbers++;
	steps->sn = sn;
	return steps;
}

/* Add a delivery to its number. */
static void
add_step(SpoolSteps *steps, int place, SpoolStep *step)
{
	if (steps->n == steps->space)
	{
		steps->space = Max(1, 2 * steps->space);
		steps->steps = steps->steps == NULL ?
			palloc(steps->space * sizeof(SpoolStep *)) :
			repalloc(steps->steps, steps->space * sizeof(SpoolStep *));
	}
	memmove(&steps->steps[place + 1], &steps->steps[place],
			(steps->n - place) * sizeof(SpoolStep *));
	steps->steps[place] = step;
	steps->n++;
	steps->complete = false;
}

/* Add a number that was read, unless it is in memory. */
static SpoolSteps *
take_number(SpoolWay *way, const SpoolNumber *number)
{
	SpoolSteps *steps = number_in_memory(way, number->sn);

	if (steps == NULL)
	{
		steps = add_number(way, number->sn);
		spool_steps_take(steps, number);
	}
	return steps;
}

/* A number with all its deliveries; none if it is not registered. */
SpoolSteps *
spool_way_number(SpoolReseqCall *call, SpoolWay *way, int64 sn)
{
	SpoolSteps *steps = number_in_memory(way, sn);

	if (steps == NULL)
	{
		steps = add_number(way, sn);
		if (sn <= way->lane.high)
			spool_steps_read(call, &way->lane, steps);
	}
	return steps;
}

/* Read all numbers from one on. */
void
spool_way_load(SpoolReseqCall *call, SpoolWay *way, int64 from)
{
	SpoolNumber number;

	spool_deliveries_seek(&call->tables, way->lane.key, way->lane.target,
						  from, PG_INT64_MAX, ForwardScanDirection);
	while (spool_deliveries_next(&call->tables, &number))
		(void) take_number(way, &number);
}

/* The highest live number below one, or NO_SN. */
int64
spool_way_next_below(SpoolReseqCall *call, SpoolWay *way, int64 sn)
{
	int64		best = NO_SN;
	SpoolNumber number;

	if (way->lane.live == 0)
		return NO_SN;
	for (int i = number_place(way, sn) - 1; i >= 0 && best == NO_SN; i--)
		if (way->numbers[i]->sn > way->lane.applied &&
			spool_steps_live(way->numbers[i]))
			best = way->numbers[i]->sn;
	spool_deliveries_seek(&call->tables, way->lane.key, way->lane.target,
						  Max(best, way->lane.applied) + 1, sn - 1,
						  BackwardScanDirection);
	while (spool_deliveries_next(&call->tables, &number))
		if (number_in_memory(way, number.sn) == NULL &&
			spool_steps_live(take_number(way, &number)))
			return number.sn;
	return best;
}

static int
compare_parts(int na, const int32 *a, int nb, const int32 *b)
{
	for (int i = 0; i < na && i < nb; i++)
		if (a[i] != b[i])
			return a[i] < b[i] ? -1 : 1;
	return na < nb ? -1 : na > nb;
}

/* Where a part is among the deliveries of a number, or would be. */
static int
step_place(const SpoolSteps *steps, int npart, const int32 *part, bool *found)
{
	int			low = 0;
	int			high = steps->n;

	*found = false;
	while (low < high && !*found)
	{
		int			middle = low + (high - low) / 2;
		const SpoolDelivery *delivery = &steps->steps[middle]->delivery;
		int			order = compare_parts(delivery->npart, delivery->part,
										  npart, part);

		*found = order == 0;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return high;
}

/* Take over deliveries as they were read, those that are known as they are now. */
void
spool_steps_take(SpoolSteps *steps, const SpoolNumber *number)
{
	for (int i = 0; i < number->n; i++)
	{
		const SpoolDelivery *delivery = &number->deliveries[i];
		bool		found;
		int			place = step_place(steps, delivery->npart, delivery->part,
									   &found);

		if (!found)
			add_step(steps, place, palloc(sizeof(SpoolStep)));
		else if (steps->steps[place]->delivery.parts != delivery->parts)
			steps->complete = false;
		steps->steps[place]->delivery = *delivery;
		steps->steps[place]->changed = false;
	}
}

/* The delivery of a part, or of the whole if npart is 0; NULL if none is. */
SpoolStep *
spool_steps_find(const SpoolSteps *steps, int npart, const int32 *part)
{
	bool		found;
	int			place = step_place(steps, npart, part, &found);

	return found ? steps->steps[place] : NULL;
}

/* Whether anything of a number is live. */
bool
spool_steps_live(const SpoolSteps *steps)
{
	for (int i = 0; i < steps->n; i++)
		if (spool_delivery_live(steps->steps[i]->delivery.state))
			return true;
	return false;
}

/* Register a delivery; key, target and times are filled in. */
SpoolStep *
spool_way_add(SpoolReseqCall *call, SpoolWay *way,
			  const SpoolDelivery *delivery)
{
	SpoolSteps *steps = spool_way_number(call, way, delivery->sn);
	SpoolLane  *lane = &way->lane;
	SpoolStep  *step = palloc(sizeof(SpoolStep));
	bool		found;
	int			place;

	place = step_place(steps, delivery->npart, delivery->part, &found);
	Assert(!found);
	step->delivery = *delivery;
	step->delivery.key = lane->key;
	step->delivery.target = lane->target;
	step->delivery.registered_at = call->now;
	step->delivery.since = call->now;
	step->changed = true;
	add_step(steps, place, step);

	lane->registered++;
	lane->live++;
	lane->high = Max(lane->high, delivery->sn);
	lane->newest = Max(lane->newest, delivery->sn);
	lane->trees |= delivery->npart > 0 || delivery->parts > 0;
	spool_way_due(call, way, &step->delivery);
	way->changed = true;
	return step;
}

/* Let a delivery have another state, and count it. */
void
spool_way_set(SpoolReseqCall *call, SpoolWay *way, SpoolStep *step,
			  SpoolDeliveryState state, const char *reason)
{
	SpoolLane  *lane = &way->lane;
	SpoolDelivery *delivery = &step->delivery;

	lane->parked += (state == DELIVERY_PARKED) -
		(delivery->state == DELIVERY_PARKED);
	lane->live -= spool_delivery_live(delivery->state) &&
		!spool_delivery_live(state);
	lane->delivered += state == DELIVERY_APPLIED;
	lane->suppressed += state == DELIVERY_SUPPRESSED;
	lane->dead += state == DELIVERY_DEAD;
	lane->expired += state == DELIVERY_EXPIRED;
	lane->unregistered += state == DELIVERY_UNREGISTERED;
	delivery->state = state;
	delivery->reason = reason ? pstrdup(reason) : NULL;
	/* what waits is due by the time of its registration (reseq_due.c) */
	delivery->since = spool_delivery_live(state) && state != DELIVERY_PASSED ?
		delivery->registered_at : call->now;
	step->changed = true;
	way->changed = true;
}

/* Note whether a delivery that had to wait in a lane may pass now. */
static void
note_promotable(SpoolReseqCall *call, SpoolWay *way)
{
	static SpoolPlan insert = {
		"INSERT INTO spool.reseq_promotable (resequencer, key, target, since)"
		" VALUES ($1, $2, $3, clock_timestamp()) ON CONFLICT DO NOTHING",
		SPI_OK_INSERT, PLAN_ARGS(INT4OID, INT8OID, INT4OID)
	};
	static SpoolPlan delete = {
		"DELETE FROM spool.reseq_promotable WHERE resequencer = $1"
		" AND key = $2 AND target = $3",
		SPI_OK_DELETE, PLAN_ARGS(INT4OID, INT8OID, INT4OID)
	};
	bool		may = spool_way_candidate(call, way) != NULL;
	Datum		values[3];

	if (may == way->lane.promotable)
		return;
	values[0] = Int32GetDatum(call->resequencer->id);
	values[1] = Int64GetDatum(way->lane.key);
	values[2] = Int32GetDatum(way->lane.target);
	(void) spool_exec_alone(may ? &insert : &delete, values, NULL);
	way->lane.promotable = may;
	way->changed = true;
}

/* Append what changed, and end the call. */
void
spool_reseq_finish(SpoolReseqCall *call)
{
	SpoolLane **lanes = palloc(Max(list_length(call->ways), 1) *
							   sizeof(SpoolLane *));
	List	   *deliveries = NIL;
	SpoolDelivery **array;
	ListCell   *cell;
	int			n = 0;

	foreach(cell, call->ways)
	{
		SpoolWay   *way = lfirst(cell);

		if (way->look || (way->changed && way->lane.promotable))
			note_promotable(call, way);
		if (!way->changed)
			continue;
		lanes[n++] = &way->lane;
		for (int i = 0; i < way->nnumbers; i++)
			for (int j = 0; j < way->numbers[i]->n; j++)
			{
				SpoolStep  *step = way->numbers[i]->steps[j];

				if (!step->changed)
					continue;
				step->delivery.version = way->lane.version + 1;
				deliveries = lappend(deliveries, &step->delivery);
			}
	}
	spool_reseq_close(&call->tables);
	spool_reseq_keys_close(&call->keys);

	array = palloc(Max(list_length(deliveries), 1) * sizeof(SpoolDelivery *));
	foreach(cell, deliveries)
		array[foreach_current_index(cell)] = lfirst(cell);
	spool_deliveries_append(call->resequencer->id, array,
							list_length(deliveries));
	spool_lanes_append(lanes, n);
	spool_steps_leave(call);
}
