/*-------------------------------------------------------------------------
 * reseq_pass.c
 *	  Verbs that decide and end: resequence, applied, failed, unregister.
 *
 * Each locks its keys, lets expire what is due in their lanes, gathers the
 * facts, has reseq_rules.c decide, and records what follows, in the caller's
 * transaction.  In atomic delivery a pass is that the delivery was made: pass
 * and write of the target commit together.  Else it is made when the target
 * says so (applied), and until then nothing else passes in the lane.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "args.h"
#include "queue.h"
#include "reseq_args.h"
#include "spool.h"

PG_FUNCTION_INFO_V1(spool_resequence);
PG_FUNCTION_INFO_V1(spool_resequence_many);
PG_FUNCTION_INFO_V1(spool_applied);
PG_FUNCTION_INFO_V1(spool_failed);
PG_FUNCTION_INFO_V1(spool_unregister);

static int	target_of(SpoolReseqCall *call, SpoolReseqItem *item);
static SpoolStep *find_delivery(SpoolReseqCall *call, SpoolWay *way,
								SpoolReseqItem *item, SpoolFacts *facts);
static SpoolStep *find_step(SpoolReseqCall *call, SpoolWay *way,
							SpoolReseqItem *item, SpoolFacts *facts);
static void gather(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item,
				   SpoolStep *step, SpoolFacts *facts);
static void record(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item,
				   SpoolStep *step);
static void add_late(SpoolReseqCall *call, SpoolWay *way,
					 SpoolReseqItem *item);
static void pass_disabled(SpoolReseqCall *call, SpoolWay *way,
						  SpoolReseqItem *item, SpoolStep *step);
static SpoolStray stray_of(SpoolReseqItem *item, const char *reason,
						   int sqlstate, char *message);
static bool put_out(SpoolReseqCall *call, SpoolReseqItem *item);
static bool check_item(SpoolReseqCall *call, SpoolReseqItem *item);
static void resequence_item(SpoolReseqCall *call, SpoolReseqItem *item);
static SpoolWay *open_delivery(FunctionCallInfo fcinfo, SpoolReseqCall *call,
							   SpoolReseqItem *item, SpoolStep **step);
static void answer_ended(SpoolReseqCall *call, SpoolWay *way,
						 SpoolReseqItem *item);
static void conclude(SpoolReseqItem *item, SpoolVerdict verdict,
					 const char *reason, bool repeat);
static void suspend_by(SpoolReseqCall *call, SpoolWay *way,
					   SpoolReseqItem *item, SpoolStep *step,
					   const char *error);
static bool end_in(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item,
				   SpoolDeliveryState state, const char *reason,
				   const char *message);

/* The number of an item's target; 0 if there is no such, or none was given. */
static int
target_of(SpoolReseqCall *call, SpoolReseqItem *item)
{
	if (item->target != NULL)
		return spool_resequencer_target(call->resequencer, item->target);
	return call->resequencer->ntargets == 1 ? 1 : 0;
}

/* The delivery of an item and what it tells; NULL if there is none. */
static SpoolStep *
find_delivery(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item,
			  SpoolFacts *facts)
{
	SpoolSteps *steps;
	SpoolStep  *step;

	facts->place = spool_way_place(way, item->sn);
	facts->state = DELIVERY_NONE;
	if (facts->place == PLACE_BELOW ||
		(facts->place == PLACE_EQUAL && !way->lane.trees))
		return NULL;
	steps = spool_way_number(call, way, item->sn);
	step = spool_steps_find(steps, item->npart, item->part);
	if (step != NULL && (facts->place == PLACE_ABOVE ||
						 !spool_delivery_live(step->delivery.state)))
		facts->state = step->delivery.state;
	facts->late = item->npart > 0 && spool_tree_cut(steps) &&
		(facts->state == DELIVERY_NONE || facts->state == DELIVERY_DEAD ||
		 facts->state == DELIVERY_EXPIRED);
	return step;
}

/*
 * The same to decide on it: NULL also for the newest number of a lane where
 * nothing but its registration matters.
 */
static SpoolStep *
find_step(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item,
		  SpoolFacts *facts)
{
	const SpoolLane *lane = &way->lane;

	if (!lane->trees && item->npart == 0 && item->sn == lane->newest &&
		lane->busy == NO_SN && way->key->suspended == NULL &&
		!call->resequencer->acked)
	{
		facts->place = PLACE_ABOVE;
		facts->state = DELIVERY_REGISTERED;
		return NULL;
	}
	return find_delivery(call, way, item, facts);
}

/* Gather the facts that an item is decided by. */
static void
gather(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item,
	   SpoolStep *step, SpoolFacts *facts)
{
	SpoolLane  *lane = &way->lane;

	facts->suspended = way->key->suspended != NULL;
	facts->part = item->npart > 0;
	facts->begun = lane->busy == item->sn;
	facts->busy = lane->busy != NO_SN && lane->busy != item->sn;
	facts->newer = lane->newest > item->sn;
	facts->run = lane->run;
	if (lane->run > 0)
		facts->run_us = call->now - lane->run_since;
	if (step != NULL && item->npart > 0)
	{
		SpoolSteps *steps = spool_way_number(call, way, item->sn);

		facts->complete = spool_tree_complete(steps) &&
			(!call->resequencer->rules.whole || facts->begun ||
			 spool_tree_arrived(steps, step));
		facts->turn = spool_tree_turn(steps, step);
	}
}

/* Record what follows from a decision on an item. */
static void
record(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item,
	   SpoolStep *step)
{
	SpoolLane  *lane = &way->lane;
	const SpoolDecision *decision = &item->decision;

	if (decision->repeat || decision->verdict == VERDICT_DUPLICATE ||
		(decision->verdict == VERDICT_SUPPRESS && step == NULL))
	{
		lane->duplicates++;
		way->changed = true;
		return;
	}
	switch (decision->verdict)
	{
		case VERDICT_PASS:
			lane->forced += decision->forced;
			if (call->resequencer->rules.enabled)
				spool_way_pass(call, way, item->sn, step);
			else
				spool_way_deliver(call, way, item->sn, step);
			break;
		case VERDICT_PARK:
		case VERDICT_SUPPRESS:
			if (decision->verdict == VERDICT_PARK)
				spool_way_set(call, way, step, DELIVERY_PARKED,
							  decision->reason);
			else
				spool_way_suppress(call, way, step, decision->reason);
			if (lane->run++ == 0)
				lane->run_since = call->now;
			break;
		case VERDICT_WAIT:
			if (step->delivery.state == DELIVERY_REGISTERED)
				spool_way_set(call, way, step, DELIVERY_WAITING,
							  decision->reason);
			way->look |= item->npart > 0;
			break;
		default:
			elog(ERROR, "unexpected verdict: %d", decision->verdict);
	}
}

/* A part that was never registered comes after its tree was cut: it is dead. */
static void
add_late(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item)
{
	SpoolDelivery delivery = {0};
	int64		newest = way->lane.newest;
	SpoolStep  *step;

	delivery.sn = item->sn;
	delivery.state = DELIVERY_REGISTERED;
	delivery.npart = item->npart;
	delivery.part = item->part;
	step = spool_way_add(call, way, &delivery);
	spool_way_set(call, way, step, DELIVERY_DEAD, item->decision.reason);
	way->lane.newest = newest;
	spool_reseq_dead(call->resequencer, item->key, &step->delivery,
					 item->decision.reason, NULL);
}

/*
 * While disabled: what comes and is not live passes, and is counted.  Of a
 * number that is not known, a part is taken for the whole.
 */
static void
pass_disabled(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item,
			  SpoolStep *step)
{
	SpoolLane  *lane = &way->lane;
	SpoolDelivery delivery = {0};

	lane->forced++;
	way->changed = true;
	if (spool_way_place(way, item->sn) != PLACE_ABOVE)
	{
		lane->registered++;
		lane->delivered++;
		return;
	}
	delivery.sn = item->sn;
	delivery.state = DELIVERY_REGISTERED;
	if (step != NULL)
	{
		lane->registered++;
		lane->live++;
		step->delivery.state = DELIVERY_REGISTERED;
	}
	else
	{
		if (spool_way_number(call, way, item->sn)->n > 0)
		{
			delivery.npart = item->npart;
			delivery.part = item->part;
		}
		step = spool_way_add(call, way, &delivery);
	}
	spool_way_deliver(call, way, item->sn, step);
}

/* What is known of an item that goes to an outlet. */
static SpoolStray
stray_of(SpoolReseqItem *item, const char *reason, int sqlstate,
		 char *message)
{
	SpoolStray	stray = {0};

	stray.key = item->key;
	stray.sn = &item->sn;
	stray.target = item->target;
	stray.npart = item->npart;
	stray.part = item->part;
	stray.sqlstate = sqlstate;
	stray.reason = reason;
	stray.message = message;
	return stray;
}

/* Put out an item that is not registered; true: it is to be registered now. */
static bool
put_out(SpoolReseqCall *call, SpoolReseqItem *item)
{
	SpoolOutlet *outlet = &call->resequencer->on_unregistered;
	SpoolStray	stray;

	if (outlet->kind == OUTLET_REGISTER && item->npart == 0)
		return true;
	stray = stray_of(item, "not registered", ERRCODE_NO_DATA_FOUND,
					 psprintf("number " INT64_FORMAT " of key \"%s\" is not registered",
							  item->sn, text_to_cstring(item->key)));
	item->decision = spool_reseq_put_out(call->resequencer, outlet, &stray);
	return false;
}

/* False if an item was invalid and went to the outlet. */
static bool
check_item(SpoolReseqCall *call, SpoolReseqItem *item)
{
	SpoolResequencer *resequencer = call->resequencer;
	SpoolStray	stray;

	if (spool_reseq_check(item, &stray))
	{
		if (target_of(call, item) != 0)
			return true;
		if (item->target != NULL && resequencer->on_invalid.kind == OUTLET_ERROR)
			spool_reseq_no_target(resequencer, item->target);
		stray.sqlstate = item->target ? ERRCODE_INVALID_PARAMETER_VALUE :
			ERRCODE_NULL_VALUE_NOT_ALLOWED;
		stray.message = item->target ?
			psprintf("resequencer \"%s\" has no target \"%s\"",
					 resequencer->name, item->target) :
			psprintf("target must not be null: resequencer \"%s\" has several",
					 resequencer->name);
	}
	item->decision = spool_reseq_put_out(resequencer, &resequencer->on_invalid,
										 &stray);
	return false;
}

/* Decide on an item. */
static void
resequence_item(SpoolReseqCall *call, SpoolReseqItem *item)
{
	const SpoolReseqRules *rules = &call->resequencer->rules;
	SpoolReseqKey *key;
	SpoolFacts	facts = {0};
	SpoolStep  *step;
	SpoolWay   *way;

	if (!check_item(call, item))
		return;
	key = spool_reseq_lock(call, item->key);
	if (key == NULL && rules->enabled && !put_out(call, item))
		return;
	if (key == NULL)
		key = spool_reseq_make(call, &item->key, 1);
	way = spool_way_open(call, key, target_of(call, item));
	(void) spool_way_expire(call, way);
	step = find_step(call, way, item, &facts);
	if (facts.state == DELIVERY_NONE && facts.place == PLACE_ABOVE &&
		!facts.late && rules->enabled)
	{
		SpoolDelivery delivery = {0};

		item->latest = way->lane.high;
		if (!put_out(call, item))
			return;
		delivery.sn = item->sn;
		delivery.state = DELIVERY_REGISTERED;
		step = spool_way_add(call, way, &delivery);
		facts.state = DELIVERY_REGISTERED;
	}
	gather(call, way, item, step, &facts);
	item->decision = spool_rules_resequence(rules, &facts);
	if (item->decision.verdict == VERDICT_DEAD && !item->decision.repeat)
		add_late(call, way, item);
	else if (!rules->enabled && !spool_delivery_live(facts.state))
		pass_disabled(call, way, item, step);
	else
		record(call, way, item, step);
	item->latest = way->lane.high;
}

/* resequence(resequencer, key, sn, target, part) */
Datum
spool_resequence(PG_FUNCTION_ARGS)
{
	SpoolReseqItem item;
	SpoolReseqCall call;

	spool_reseq_item(fcinfo, 3, 4, &item);
	spool_reseq_begin(&call, PG_GETARG_TEXT_PP(0), SPOOL_PROCESS, RESEQ_USE);
	resequence_item(&call, &item);
	spool_reseq_finish(&call);
	return spool_reseq_answer(fcinfo, &item);
}

/* resequence_many(resequencer, keys, sns, target) */
Datum
spool_resequence_many(PG_FUNCTION_ARGS)
{
	SpoolReseqItem *items;
	SpoolReseqItem **sorted;
	SpoolReseqCall call;
	const char *target = spool_arg_text(fcinfo, 3, NULL);
	int			n;

	spool_args_required(fcinfo, 3, "resequencer", "keys", "sns");
	items = spool_reseq_items(PG_GETARG_ARRAYTYPE_P(1),
							  PG_GETARG_ARRAYTYPE_P(2), &n);
	sorted = spool_reseq_sort(items, n);
	spool_reseq_begin(&call, PG_GETARG_TEXT_PP(0), SPOOL_PROCESS, RESEQ_USE);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		sorted[i]->target = target;
		resequence_item(&call, sorted[i]);
	}
	spool_reseq_finish(&call);
	return spool_reseq_answers(fcinfo, items, n);
}

/*
 * Open the lane of an item and find its delivery.  If that is not live, the
 * item's decision says what became of it, and *step is NULL.
 */
static SpoolWay *
open_delivery(FunctionCallInfo fcinfo, SpoolReseqCall *call,
			  SpoolReseqItem *item, SpoolStep **step)
{
	SpoolReseqKey *key;
	SpoolFacts	facts = {0};
	SpoolWay   *way;
	int			target;

	spool_reseq_item(fcinfo, 3, 4, item);
	spool_reseq_require(item);
	spool_reseq_begin(call, PG_GETARG_TEXT_PP(0), SPOOL_PROCESS, RESEQ_USE);
	spool_reseq_check_target(call->resequencer, item->target);
	target = target_of(call, item);
	if (target == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("target must not be null: resequencer \"%s\" has several",
						call->resequencer->name)));
	*step = NULL;
	item->decision = spool_rules_ended(DELIVERY_NONE, PLACE_ABOVE);
	key = spool_reseq_lock(call, item->key);
	if (key == NULL)
		return NULL;
	way = spool_way_open(call, key, target);
	(void) spool_way_expire(call, way);
	item->latest = way->lane.high;
	*step = find_delivery(call, way, item, &facts);
	if (!spool_delivery_live(facts.state))
	{
		*step = NULL;
		item->decision = spool_rules_ended(facts.state, facts.place);
	}
	return way;
}

/* Answer for a delivery that is not live, or was never registered. */
static void
answer_ended(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item)
{
	if (item->decision.unregistered)
	{
		if (call->resequencer->on_unregistered.kind == OUTLET_ERROR)
			spool_reseq_not_registered(item);
		return;
	}
	way->lane.duplicates++;
	way->changed = true;
}

static void
conclude(SpoolReseqItem *item, SpoolVerdict verdict, const char *reason,
		 bool repeat)
{
	item->decision.verdict = verdict;
	item->decision.reason = reason;
	item->decision.repeat = repeat;
	item->decision.unregistered = false;
}

/* A delivery that failed suspends its key, to be tried again. */
static void
suspend_by(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item,
		   SpoolStep *step, const char *error)
{
	SpoolDeliveryState state = step->delivery.state;

	if (!spool_delivery_split(state))
		state = DELIVERY_REGISTERED;
	if (way->key->suspended != NULL && way->key->blocking == item->sn &&
		state == step->delivery.state)
	{
		conclude(item, VERDICT_SUSPENDED, way->key->suspended, true);
		way->lane.duplicates++;
		way->changed = true;
		return;
	}
	spool_way_set(call, way, step, state, error);
	if (way->lane.busy == item->sn &&
		!spool_tree_begun(spool_way_number(call, way, item->sn)))
		way->lane.busy = NO_SN;
	if (way->key->suspended == NULL)
		spool_reseq_key_suspend(way->key, error ? error : "failed", item->sn,
								way->lane.target);
	conclude(item, VERDICT_SUSPENDED, way->key->suspended, false);
}

/* applied(resequencer, key, sn, target, part) */
Datum
spool_applied(PG_FUNCTION_ARGS)
{
	SpoolReseqItem item;
	SpoolReseqCall call;
	SpoolStep  *step;
	SpoolWay   *way = open_delivery(fcinfo, &call, &item, &step);

	if (step == NULL)
		answer_ended(&call, way, &item);
	else if (step->delivery.state != DELIVERY_PASSED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("number " INT64_FORMAT " of key \"%s\" has not passed",
						item.sn, text_to_cstring(item.key)),
				 errhint("Call spool.resequence() first and deliver only what passes.")));
	else
	{
		spool_way_deliver(&call, way, item.sn, step);
		conclude(&item, VERDICT_APPLIED, NULL, false);
	}
	spool_reseq_finish(&call);
	return spool_reseq_answer(fcinfo, &item);
}

/* failed(resequencer, key, sn, target, part, error) */
Datum
spool_failed(PG_FUNCTION_ARGS)
{
	SpoolReseqItem item;
	SpoolReseqCall call;
	SpoolStep  *step;
	SpoolWay   *way = open_delivery(fcinfo, &call, &item, &step);
	const char *error = spool_arg_text(fcinfo, 5, NULL);

	if (step == NULL)
		answer_ended(&call, way, &item);
	else if (call.resequencer->suspends)
		suspend_by(&call, way, &item, step, error);
	else
	{
		spool_way_end(&call, way, step, DELIVERY_DEAD, "failed", error);
		conclude(&item, VERDICT_DEAD, "failed", false);
	}
	spool_reseq_finish(&call);
	return spool_reseq_answer(fcinfo, &item);
}

/* End an item's delivery in one lane; false if it is not live there. */
static bool
end_in(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item,
	   SpoolDeliveryState state, const char *reason, const char *message)
{
	SpoolFacts	facts = {0};
	SpoolStep  *step = NULL;
	SpoolDecision decision;

	(void) spool_way_expire(call, way);
	item->latest = Max(item->latest, way->lane.high);
	facts.place = spool_way_place(way, item->sn);
	if (facts.place == PLACE_ABOVE)
		step = spool_steps_find(spool_way_number(call, way, item->sn),
								item->npart, item->part);
	if (step != NULL)
		facts.state = step->delivery.state;
	if (spool_delivery_live(facts.state))
	{
		spool_way_end(call, way, step, state, reason, message);
		return true;
	}
	decision = spool_rules_ended(facts.state, facts.place);
	if (item->decision.unregistered || facts.state == state)
		item->decision = decision;
	return false;
}

/*
 * End an item's delivery for its target, or for all if it names none.  If it
 * is live for none, the decision says what became of it.
 */
void
spool_reseq_end_item(SpoolReseqCall *call, SpoolReseqKey *key,
					 SpoolReseqItem *item, SpoolDeliveryState state,
					 const char *reason, const char *message)
{
	bool		ended = false;

	for (int i = 0; i < call->resequencer->ntargets; i++)
		if (item->target == NULL ||
			strcmp(item->target, call->resequencer->targets[i]) == 0)
			ended |= end_in(call, spool_way_open(call, key, i + 1), item,
							state, reason, message);
	if (ended)
		conclude(item, spool_rules_ended(state, PLACE_ABOVE).verdict, reason,
				 false);
	else if (!item->decision.unregistered)
		ereport(NOTICE,
				(errmsg("number " INT64_FORMAT " of key \"%s\" has ended already",
						item->sn, text_to_cstring(item->key))));
}

/* unregister(resequencer, key, sn, target, part) */
Datum
spool_unregister(PG_FUNCTION_ARGS)
{
	SpoolReseqItem item;
	SpoolReseqCall call;
	SpoolReseqKey *key;

	spool_reseq_item(fcinfo, 3, 4, &item);
	spool_reseq_require(&item);
	spool_reseq_begin(&call, PG_GETARG_TEXT_PP(0), SPOOL_WRITE, RESEQ_USE);
	spool_reseq_check_target(call.resequencer, item.target);
	item.decision = spool_rules_ended(DELIVERY_NONE, PLACE_ABOVE);
	key = spool_reseq_lock(&call, item.key);
	if (key != NULL)
		spool_reseq_end_item(&call, key, &item, DELIVERY_UNREGISTERED, NULL,
							 NULL);
	if (item.decision.unregistered)
		answer_ended(&call, NULL, &item);
	spool_reseq_finish(&call);
	return spool_reseq_answer(fcinfo, &item);
}
