/*-------------------------------------------------------------------------
 * reseq_end.c
 *	  How deliveries pass and end.
 *
 * A number that was delivered ends all below it in its lane: their rows need
 * no change.  One that fails, expires or is unregistered is recorded as ended,
 * and the next lower one is the newest then: if it came already and had to
 * wait, the lane is noted as promotable.
 *
 * Of a tree single parts end; the number is over with the last of them.
 *
 * Nothing here depends on a timer: who works on a lane whose time is over
 * first lets expire what is due.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "reseq_lane.h"
#include "reseq_outlet.h"
#include "spool.h"

static bool has_parts(const SpoolSteps *steps);
static void leave_behind(SpoolWay *way, int64 sn);
static void number_over(SpoolReseqCall *call, SpoolWay *way, int64 sn);
static void tree_settle(SpoolReseqCall *call, SpoolWay *way,
						SpoolSteps *steps, SpoolDeliveryState state);
static void bury(SpoolReseqCall *call, SpoolWay *way, SpoolStep *step,
				 SpoolDeliveryState state, const char *reason,
				 const char *message);
static void tree_fell(SpoolReseqCall *call, SpoolWay *way, SpoolSteps *steps);
static void after_end(SpoolReseqCall *call, SpoolWay *way, SpoolSteps *steps,
					  bool failed);
static bool is_due(SpoolReseqCall *call, SpoolWay *way,
				   const SpoolDelivery *delivery);
static void expire_tree(SpoolReseqCall *call, SpoolWay *way,
						SpoolSteps *steps, SpoolStep *whole);
static void expire_number(SpoolReseqCall *call, SpoolWay *way,
						  SpoolSteps *steps);
static void number_due(SpoolReseqCall *call, SpoolWay *way,
					   SpoolSteps *steps);

/* When a live delivery ends by itself; of a whole: when its tree is cut. */
TimestampTz
spool_reseq_due_of(const SpoolResequencer *resequencer,
				   const SpoolReseqKey *key, const SpoolDelivery *delivery)
{
	int64		ms = resequencer->deadline_ms;
	TimestampTz start;

	start = delivery->state == DELIVERY_PASSED ? delivery->since :
		delivery->registered_at;
	if (delivery->parts != 0)
	{
		if (delivery->parts < 0 || delivery->npart > 0)
			return DT_NOEND;	/* with the rest of the tree */
		if (resequencer->tree_timeout_ms > 0)
			ms = resequencer->tree_timeout_ms;
	}
	if (key->suspended != NULL)
		return DT_NOEND;
	return TimestampTzPlusMilliseconds(Max(start, key->resumed_at), ms);
}

/* Let a lane be looked at when a delivery is due. */
void
spool_way_due(SpoolReseqCall *call, SpoolWay *way,
			  const SpoolDelivery *delivery)
{
	TimestampTz due = spool_reseq_due_of(call->resequencer, way->key, delivery);

	way->lane.due = Min(way->lane.due, due);
}

static bool
has_parts(const SpoolSteps *steps)
{
	return steps->n > 1 || (steps->n == 1 &&
							(steps->steps[0]->delivery.npart > 0 ||
							 steps->steps[0]->delivery.parts != 0));
}

/* Forget the numbers up to one, but for its own parts. */
static void
leave_behind(SpoolWay *way, int64 sn)
{
	int			n = 0;

	for (int i = 0; i < way->nnumbers; i++)
	{
		SpoolSteps *steps = way->numbers[i];

		if (steps->sn > sn || (steps->sn == sn && has_parts(steps)))
			way->numbers[n++] = steps;
	}
	way->nnumbers = n;
}

/*
 * A number was delivered as a whole: all below it are over.  Live ones of its
 * own are delivered, too.  A higher one may have passed before, if this one
 * did while the resequencer was disabled.
 */
static void
number_over(SpoolReseqCall *call, SpoolWay *way, int64 sn)
{
	SpoolLane  *lane = &way->lane;
	SpoolSteps *own = NULL;
	int64		live = 0;
	int64		parked = 0;
	int64		top = NO_SN;
	int64		busy = NO_SN;

	if (sn < lane->newest)
		spool_way_load(call, way, sn + 1);
	for (int i = way->nnumbers - 1; i >= 0 && way->numbers[i]->sn >= sn; i--)
	{
		SpoolSteps *steps = way->numbers[i];

		if (steps->sn == sn)
		{
			own = steps;
			continue;
		}
		for (int j = 0; j < steps->n; j++)
		{
			SpoolDeliveryState state = steps->steps[j]->delivery.state;

			live += spool_delivery_live(state);
			parked += state == DELIVERY_PARKED;
			if (spool_delivery_live(state))
				top = Max(top, steps->sn);
		}
		if (spool_steps_live(steps) && spool_tree_begun(steps))
			busy = steps->sn;
	}
	if (own != NULL && has_parts(own))
	{
		for (int i = 0; i < own->n; i++)
			if (spool_delivery_live(own->steps[i]->delivery.state))
				spool_way_set(call, way, own->steps[i], DELIVERY_APPLIED,
							  NULL);
		lane->trees = true;
	}
	else
	{
		lane->delivered++;
		lane->live--;
		lane->trees &= live > 0;
	}
	lane->suppressed += lane->live - live;
	lane->live = live;
	lane->parked = parked;
	lane->newest = top;
	lane->applied = sn;
	lane->busy = busy;
	lane->run = 0;
	lane->run_since = 0;
	if (live == 0)
		lane->due = DT_NOEND;
	way->changed = true;
	way->look |= live > 0;
	leave_behind(way, sn);
}

/* A delivery may go to its target; step NULL: the newest number, a whole. */
void
spool_way_pass(SpoolReseqCall *call, SpoolWay *way, int64 sn, SpoolStep *step)
{
	if (!call->resequencer->acked)
	{
		spool_way_deliver(call, way, sn, step);
		return;
	}
	spool_way_set(call, way, step, DELIVERY_PASSED, NULL);
	way->lane.busy = sn;
	way->lane.run = 0;
	way->lane.run_since = 0;
}

/* A delivery was made. */
void
spool_way_deliver(SpoolReseqCall *call, SpoolWay *way, int64 sn,
				  SpoolStep *step)
{
	if (step == NULL || step->delivery.npart == 0)
	{
		number_over(call, way, sn);
		return;
	}
	spool_way_set(call, way, step, DELIVERY_APPLIED, NULL);
	way->lane.busy = sn;
	way->lane.run = 0;
	way->lane.run_since = 0;
	way->look = true;
	tree_settle(call, way, spool_way_number(call, way, sn), DELIVERY_APPLIED);
}

/*
 * If nothing of a tree is to come any more: it was delivered if some part
 * was, else what is left of it ends as state says.
 */
static void
tree_settle(SpoolReseqCall *call, SpoolWay *way, SpoolSteps *steps,
			SpoolDeliveryState state)
{
	if (!has_parts(steps) ||
		(!spool_tree_over(steps) && spool_steps_live(steps)))
		return;
	if (spool_tree_begun(steps))
	{
		number_over(call, way, steps->sn);
		return;
	}
	for (int i = 0; i < steps->n; i++)
		if (spool_delivery_live(steps->steps[i]->delivery.state))
			spool_way_set(call, way, steps->steps[i], state, NULL);
}

/* End a delivery, with a dead letter unless somebody took it back. */
static void
bury(SpoolReseqCall *call, SpoolWay *way, SpoolStep *step,
	 SpoolDeliveryState state, const char *reason, const char *message)
{
	spool_way_set(call, way, step, state, reason);
	if (state != DELIVERY_UNREGISTERED)
		spool_reseq_dead(call->resequencer, way->key->name, &step->delivery,
						 reason, message);
}

/* What is left of a tree dies with a part of it. */
static void
tree_fell(SpoolReseqCall *call, SpoolWay *way, SpoolSteps *steps)
{
	for (int i = 0; i < steps->n; i++)
		if (spool_delivery_live(steps->steps[i]->delivery.state))
			bury(call, way, steps->steps[i], DELIVERY_DEAD, "tree_incomplete",
				 NULL);
	if (spool_tree_begun(steps))
		number_over(call, way, steps->sn);
}

/*
 * After deliveries of a number ended without being made; failed: nobody took
 * them back.
 */
static void
after_end(SpoolReseqCall *call, SpoolWay *way, SpoolSteps *steps, bool failed)
{
	SpoolLane  *lane = &way->lane;
	int64		sn = steps->sn;

	way->look = true;
	if (lane->busy == sn && !spool_tree_begun(steps))
		lane->busy = NO_SN;
	if (sn > lane->applied && sn == lane->newest && !spool_steps_live(steps))
	{
		lane->newest = spool_way_next_below(call, way, sn);
		lane->lost += failed && lane->live == 0;
	}
	if (lane->live == 0)
		lane->due = DT_NOEND;
}

/*
 * End a live delivery without its being made: it failed, expired or was
 * unregistered.
 */
void
spool_way_end(SpoolReseqCall *call, SpoolWay *way, SpoolStep *step,
			  SpoolDeliveryState state, const char *reason,
			  const char *message)
{
	SpoolSteps *steps = spool_way_number(call, way, step->delivery.sn);
	bool		failed = state != DELIVERY_UNREGISTERED;

	bury(call, way, step, state, reason, message);
	if (failed && has_parts(steps) && call->resequencer->rules.whole)
		tree_fell(call, way, steps);
	else
		tree_settle(call, way, steps, state);
	after_end(call, way, steps, failed);
}

/* A newer one is to go instead: of a number that is split, nothing goes. */
void
spool_way_suppress(SpoolReseqCall *call, SpoolWay *way, SpoolStep *step,
				   const char *reason)
{
	SpoolSteps *steps = spool_way_number(call, way, step->delivery.sn);

	for (int i = 0; i < steps->n; i++)
		if (spool_delivery_live(steps->steps[i]->delivery.state))
			spool_way_set(call, way, steps->steps[i], DELIVERY_SUPPRESSED,
						  reason);
}

static bool
is_due(SpoolReseqCall *call, SpoolWay *way, const SpoolDelivery *delivery)
{
	return spool_reseq_due_of(call->resequencer, way->key, delivery) <=
		call->now;
}

/*
 * The time of a tree that is not complete is over: it ends, or goes without
 * what did not come.
 */
static void
expire_tree(SpoolReseqCall *call, SpoolWay *way, SpoolSteps *steps,
			SpoolStep *whole)
{
	if (call->resequencer->rules.whole)
	{
		for (int i = 0; i < steps->n; i++)
			if (spool_delivery_live(steps->steps[i]->delivery.state))
			{
				spool_way_end(call, way, steps->steps[i], DELIVERY_DEAD,
							  "tree_incomplete", NULL);
				break;
			}
		return;
	}
	whole->delivery.parts = -whole->delivery.parts;
	whole->changed = true;
	way->changed = true;
	for (int i = 0; i < steps->n; i++)
		if (steps->steps[i]->delivery.state == DELIVERY_REGISTERED)
			bury(call, way, steps->steps[i], DELIVERY_EXPIRED, "late", NULL);
	if (spool_tree_over(steps) && !spool_tree_begun(steps) &&
		spool_delivery_live(whole->delivery.state))
		bury(call, way, whole, DELIVERY_EXPIRED, "tree_incomplete", NULL);
	tree_settle(call, way, steps, DELIVERY_EXPIRED);
	after_end(call, way, steps, true);
}

/*
 * End what is due of a number: a tree that is not complete, or parts, or the
 * whole.
 */
static void
expire_number(SpoolReseqCall *call, SpoolWay *way, SpoolSteps *steps)
{
	SpoolStep  *whole = spool_steps_find(steps, 0, NULL);

	if (whole != NULL && whole->delivery.parts > 0 &&
		spool_steps_live(steps) && !spool_tree_complete(steps) &&
		is_due(call, way, &whole->delivery))
		expire_tree(call, way, steps, whole);
	for (int i = 0; i < steps->n && steps->sn > way->lane.applied; i++)
	{
		SpoolStep  *step = steps->steps[i];

		if (!spool_delivery_live(step->delivery.state) ||
			spool_delivery_split(step->delivery.state) ||
			!is_due(call, way, &step->delivery))
			continue;
		spool_way_end(call, way, step, DELIVERY_EXPIRED, "deadline", NULL);
	}
}

/* Let a lane be looked at when something of a number is due. */
static void
number_due(SpoolReseqCall *call, SpoolWay *way, SpoolSteps *steps)
{
	bool		waits = !spool_tree_complete(steps);

	if (!spool_steps_live(steps))
		return;
	for (int i = 0; i < steps->n; i++)
	{
		SpoolDelivery *delivery = &steps->steps[i]->delivery;

		if (delivery->parts != 0 ? waits : spool_delivery_live(delivery->state))
			spool_way_due(call, way, delivery);
	}
}

/* End what is due in a lane; returns how many deliveries ended. */
int64
spool_way_expire(SpoolReseqCall *call, SpoolWay *way)
{
	SpoolLane  *lane = &way->lane;
	int64		live = lane->live;
	SpoolSteps **numbers;
	int			n;

	if (lane->due > call->now || way->key->suspended != NULL)
		return 0;
	spool_way_load(call, way, lane->applied + 1);
	n = way->nnumbers;
	numbers = palloc(Max(n, 1) * sizeof(SpoolSteps *));
	memcpy(numbers, way->numbers, n * sizeof(SpoolSteps *));
	for (int i = 0; i < n; i++)
		if (numbers[i]->sn > lane->applied)
			expire_number(call, way, numbers[i]);

	lane->due = DT_NOEND;
	for (int i = 0; i < way->nnumbers; i++)
		if (way->numbers[i]->sn > lane->applied)
			number_due(call, way, way->numbers[i]);
	way->changed = true;
	return live - lane->live;
}

/* The delivery in a lane that had to wait and may pass now; NULL if none. */
SpoolStep *
spool_way_candidate(SpoolReseqCall *call, SpoolWay *way)
{
	SpoolLane  *lane = &way->lane;
	SpoolSteps *steps;

	if (way->key->suspended != NULL || lane->live == 0)
		return NULL;
	steps = spool_way_number(call, way,
							 lane->busy != NO_SN ? lane->busy : lane->newest);
	for (int i = 0; i < steps->n; i++)
	{
		SpoolStep  *step = steps->steps[i];
		SpoolDeliveryState state = step->delivery.state;

		if (!spool_delivery_live(state) || spool_delivery_split(state))
			continue;
		if (state != DELIVERY_WAITING && state != DELIVERY_PARKED)
			return NULL;		/* it comes by itself */
		if (step->delivery.npart > 0 &&
			!(spool_tree_complete(steps) &&
			  (!call->resequencer->rules.whole ||
			   spool_tree_arrived(steps, step))))
			return NULL;
		return step;
	}
	return NULL;
}
