/*-------------------------------------------------------------------------
 * reseq_register.c
 *	  Verbs that register: register, register_many, add_target.
 *
 * A registration is made in each lane of its targets that it is not stale in.
 * It is kept apart for each, so counts are counts of rows, and it is known
 * which target is still open.
 *
 * Of a number that is split, the whole and each part are deliveries.  A part
 * has the targets of its whole.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "args.h"
#include "queue.h"
#include "reseq_args.h"
#include "spool.h"

PG_FUNCTION_INFO_V1(spool_register);
PG_FUNCTION_INFO_V1(spool_register_many);
PG_FUNCTION_INFO_V1(spool_add_target);

/* A registration. */
typedef struct Registration
{
	SpoolReseqItem *item;
	int32		parts;			/* declared, or 0 */
	bool	   *targets;		/* which, by number - 1 */
} Registration;

static bool *choose_targets(SpoolResequencer *resequencer, text *key,
							ArrayType *targets);
static bool *targets_of_whole(SpoolReseqCall *call, SpoolReseqKey *key,
							  SpoolReseqItem *item);
static void check_same(SpoolReseqItem *item, int32 parts,
					   SpoolDelivery *known);
static void check_elsewhere(SpoolReseqCall *call, SpoolReseqKey *key,
							const Registration *registration);
static const char *gone_with(SpoolReseqCall *call, const SpoolSteps *steps);
static void check_declared(SpoolReseqItem *item, const SpoolSteps *steps);
static void tree_due(SpoolReseqCall *call, SpoolWay *way,
					 const SpoolSteps *steps);
static void join_tree(SpoolReseqCall *call, SpoolWay *way,
					  SpoolReseqItem *item, SpoolSteps *steps);
static const char *register_new(SpoolReseqCall *call, SpoolWay *way,
								const Registration *registration,
								SpoolSteps *steps);
static const char *register_again(SpoolReseqCall *call, SpoolWay *way,
								  const Registration *registration,
								  SpoolSteps *steps, SpoolStep *step,
								  bool *repeat);
static SpoolDecision register_in(SpoolReseqCall *call, SpoolWay *way,
								 const Registration *registration);
static void register_item(SpoolReseqCall *call, SpoolReseqKey *key,
						  Registration *registration);
static SpoolSteps *known_number(SpoolReseqCall *call, SpoolReseqKey *key,
								int64 sn, bool *applied);

/* The targets given, else those that the resequencer has for the key. */
static bool *
choose_targets(SpoolResequencer *resequencer, text *key, ArrayType *targets)
{
	bool	   *chosen = palloc0(resequencer->ntargets * sizeof(bool));
	Datum	   *names;
	bool	   *nulls;
	int			n;

	if (targets == NULL)
		targets = spool_resequencer_targets_for(resequencer, key);
	if (targets == NULL)
	{
		memset(chosen, true, resequencer->ntargets * sizeof(bool));
		return chosen;
	}
	deconstruct_array(targets, TEXTOID, -1, false, TYPALIGN_INT, &names,
					  &nulls, &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("targets must not be empty")));
	for (int i = 0; i < n; i++)
	{
		char	   *name;
		int			target;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("targets must not contain nulls")));
		name = TextDatumGetCString(names[i]);
		target = spool_resequencer_target(resequencer, name);
		if (target == 0)
			spool_reseq_no_target(resequencer, name);
		chosen[target - 1] = true;
	}
	return chosen;
}

/* The targets of a part: those that the whole was registered for. */
static bool *
targets_of_whole(SpoolReseqCall *call, SpoolReseqKey *key,
				 SpoolReseqItem *item)
{
	SpoolResequencer *resequencer = call->resequencer;
	bool	   *chosen = palloc0(resequencer->ntargets * sizeof(bool));
	bool		any = false;

	for (int i = 0; i < resequencer->ntargets; i++)
	{
		SpoolWay   *way = spool_way_open(call, key, i + 1);

		chosen[i] = item->sn <= way->lane.applied ||
			(item->sn <= way->lane.high &&
			 spool_way_number(call, way, item->sn)->n > 0);
		any |= chosen[i];
	}
	if (!any)
		spool_reseq_not_registered(item);
	return chosen;
}

/* A registration that is known must say the same. */
static void
check_same(SpoolReseqItem *item, int32 parts, SpoolDelivery *known)
{
	if (item->digest != NULL && known->digest != NULL &&
		(VARSIZE_ANY_EXHDR(item->digest) != VARSIZE_ANY_EXHDR(known->digest) ||
		 memcmp(VARDATA_ANY(item->digest), VARDATA_ANY(known->digest),
				VARSIZE_ANY_EXHDR(item->digest)) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("number " INT64_FORMAT " of key \"%s\" is registered with another digest",
						item->sn, text_to_cstring(item->key))));
	if (parts > 0 && known->parts > 0 && parts != known->parts)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number " INT64_FORMAT " of key \"%s\" was declared to have %d parts, not %d",
						item->sn, text_to_cstring(item->key), known->parts,
						parts)));
}

/* Why a part of a tree comes in vain; NULL if it does not. */
static const char *
gone_with(SpoolReseqCall *call, const SpoolSteps *steps)
{
	SpoolStep  *whole = spool_steps_find(steps, 0, NULL);
	SpoolDeliveryState state = whole ? whole->delivery.state : DELIVERY_NONE;

	if (spool_tree_cut(steps))
		return "late";
	if (state == DELIVERY_SUPPRESSED)
		return "superseded";
	if (state == DELIVERY_DEAD || state == DELIVERY_EXPIRED ||
		(call->resequencer->rules.whole && spool_tree_failed(steps)))
		return "tree_incomplete";
	return NULL;
}

/* 22023 unless a part was declared. */
static void
check_declared(SpoolReseqItem *item, const SpoolSteps *steps)
{
	SpoolStep  *whole = spool_steps_find(steps, item->npart - 1, item->part);
	int32		place = item->part[item->npart - 1];

	if (whole == NULL || place > whole->delivery.parts)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("too many parts of number " INT64_FORMAT " of key \"%s\"",
						item->sn, text_to_cstring(item->key)),
				 errdetail("Part %d is registered where %d were declared.",
						   place, whole ? whole->delivery.parts : 0)));
}

/* Let a lane be looked at when the time of a tree is over. */
static void
tree_due(SpoolReseqCall *call, SpoolWay *way, const SpoolSteps *steps)
{
	spool_way_due(call, way, &spool_steps_find(steps, 0, NULL)->delivery);
}

/*
 * A part is to be added to its tree, which may be complete then, and for which
 * nobody may wait as yet.
 */
static void
join_tree(SpoolReseqCall *call, SpoolWay *way, SpoolReseqItem *item,
		  SpoolSteps *steps)
{
	check_declared(item, steps);
	tree_due(call, way, steps);
	way->look |= !call->resequencer->rules.whole;
}

/*
 * Register a delivery that is not known; returns why it comes in vain, or
 * NULL.
 */
static const char *
register_new(SpoolReseqCall *call, SpoolWay *way,
			 const Registration *registration, SpoolSteps *steps)
{
	SpoolReseqItem *item = registration->item;
	SpoolDelivery delivery = {0};

	if (item->npart > 0)
	{
		const char *gone = gone_with(call, steps);

		if (gone != NULL)
			return gone;
		join_tree(call, way, item, steps);
	}
	delivery.sn = item->sn;
	delivery.state = registration->parts > 0 ? DELIVERY_SPLIT :
		DELIVERY_REGISTERED;
	delivery.npart = item->npart;
	delivery.part = item->part;
	delivery.parts = registration->parts;
	delivery.digest = item->digest;
	(void) spool_way_add(call, way, &delivery);
	return NULL;
}

/*
 * Register one that is known, which may be declared to have parts now; returns
 * why it comes in vain, or NULL.  *repeat: nothing changes.
 */
static const char *
register_again(SpoolReseqCall *call, SpoolWay *way,
			   const Registration *registration, SpoolSteps *steps,
			   SpoolStep *step, bool *repeat)
{
	SpoolDeliveryState state = step->delivery.state;
	bool		splits;

	check_same(registration->item, registration->parts, &step->delivery);
	if (step->delivery.digest == NULL && registration->item->digest != NULL &&
		spool_delivery_live(state))
	{
		step->delivery.digest = registration->item->digest;
		step->changed = true;	/* the lane changes, too: it counts a repeat */
	}
	splits = registration->parts > 0 && step->delivery.parts == 0 &&
		spool_delivery_live(state) && state != DELIVERY_PASSED;
	/* no parts come to a tree that was cut, of a part neither */
	if (spool_tree_cut(steps) && registration->item->npart > 0 &&
		state != DELIVERY_APPLIED && (splits || !spool_delivery_live(state)))
		return "late";
	*repeat = !splits;
	if (splits)
	{
		spool_way_set(call, way, step, DELIVERY_SPLIT, NULL);
		step->delivery.parts = registration->parts;
		steps->complete = false;
		way->lane.trees = true;
		tree_due(call, way, steps);
	}
	return NULL;
}

/* Register in one lane. */
static SpoolDecision
register_in(SpoolReseqCall *call, SpoolWay *way,
			const Registration *registration)
{
	SpoolReseqItem *item = registration->item;
	SpoolPlace	place = spool_way_place(way, item->sn);
	SpoolDeliveryState state = DELIVERY_NONE;
	SpoolDecision decision = {VERDICT_STALE, NULL, false, false, false};
	bool		repeat = true;

	if (place == PLACE_ABOVE)
	{
		SpoolSteps *steps = spool_way_number(call, way, item->sn);
		SpoolStep  *step = spool_steps_find(steps, item->npart, item->part);

		if (step == NULL)
		{
			repeat = false;
			decision.reason = register_new(call, way, registration, steps);
		}
		else
		{
			state = step->delivery.state;
			decision.reason = register_again(call, way, registration, steps,
											 step, &repeat);
			if (!repeat)
				state = DELIVERY_NONE;
		}
	}
	if (decision.reason != NULL || repeat)
	{
		way->lane.duplicates++;
		way->changed = true;
	}
	return decision.reason != NULL ? decision :
		spool_rules_register(state, place, way->lane.newest > item->sn);
}

/* What is registered elsewhere under a number has the same digest. */
static void
check_elsewhere(SpoolReseqCall *call, SpoolReseqKey *key,
				const Registration *registration)
{
	SpoolReseqItem *item = registration->item;

	for (int i = 0; i < call->resequencer->ntargets; i++)
	{
		SpoolWay   *way;
		SpoolStep  *step;

		if (registration->targets[i])
			continue;
		way = spool_way_open(call, key, i + 1);
		if (item->sn <= way->lane.applied || item->sn > way->lane.high)
			continue;
		step = spool_steps_find(spool_way_number(call, way, item->sn),
								item->npart, item->part);
		if (step != NULL)
			check_same(item, registration->parts, &step->delivery);
	}
}

/* Register in all lanes: the best of their verdicts counts. */
static void
register_item(SpoolReseqCall *call, SpoolReseqKey *key,
			  Registration *registration)
{
	SpoolReseqItem *item = registration->item;
	bool		repeat = true;
	bool		first = true;

	if (item->npart > 0)
		registration->targets = targets_of_whole(call, key, item);
	if (item->digest != NULL)
		check_elsewhere(call, key, registration);
	for (int i = 0; i < call->resequencer->ntargets; i++)
	{
		SpoolWay   *way;
		SpoolDecision decision;

		if (!registration->targets[i])
			continue;
		way = spool_way_open(call, key, i + 1);
		(void) spool_way_expire(call, way);
		decision = register_in(call, way, registration);
		repeat &= decision.repeat;
		if (first || decision.verdict < item->decision.verdict)
			item->decision = decision;
		item->latest = Max(item->latest, way->lane.high);
		first = false;
	}
	item->decision.repeat = repeat;
}

/* register(resequencer, key, sn, targets, digest, parts, part) */
Datum
spool_register(PG_FUNCTION_ARGS)
{
	SpoolReseqItem item;
	Registration registration = {&item, 0, NULL};
	SpoolReseqCall call;
	SpoolReseqKey *key;

	spool_reseq_item(fcinfo, 0, 6, &item);
	spool_reseq_require(&item);
	if (!PG_ARGISNULL(4))
		item.digest = PG_GETARG_VARLENA_PP(4);
	if (!PG_ARGISNULL(5))
	{
		registration.parts = PG_GETARG_INT32(5);
		if (registration.parts < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("parts must be at least 1")));
	}
	if (item.npart > 0 && !PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("targets must not be given for a part"),
				 errdetail("A part has the targets of its whole.")));

	spool_reseq_begin(&call, PG_GETARG_TEXT_PP(0), SPOOL_WRITE, RESEQ_USE);
	if (item.npart == 0)
		registration.targets = choose_targets(call.resequencer, item.key,
											  PG_ARGISNULL(3) ? NULL :
											  PG_GETARG_ARRAYTYPE_P(3));
	key = spool_reseq_make(&call, &item.key, 1);
	register_item(&call, key, &registration);
	spool_reseq_finish(&call);
	return spool_reseq_answer(fcinfo, &item);
}

/* register_many(resequencer, keys, sns, targets, digests) */
Datum
spool_register_many(PG_FUNCTION_ARGS)
{
	ArrayType  *targets = PG_ARGISNULL(3) ? NULL : PG_GETARG_ARRAYTYPE_P(3);
	SpoolReseqItem *items;
	SpoolReseqItem **sorted;
	SpoolReseqCall call;
	bool	   *chosen = NULL;
	text	  **names;
	int			n;

	spool_args_required(fcinfo, 3, "resequencer", "keys", "sns");
	items = spool_reseq_items(PG_GETARG_ARRAYTYPE_P(1),
							  PG_GETARG_ARRAYTYPE_P(2), &n);
	if (!PG_ARGISNULL(4))
		spool_reseq_digests(PG_GETARG_ARRAYTYPE_P(4), items, n);
	for (int i = 0; i < n; i++)
		spool_reseq_require(&items[i]);
	sorted = spool_reseq_sort(items, n);
	names = palloc(Max(n, 1) * sizeof(text *));
	for (int i = 0; i < n; i++)
		names[i] = sorted[i]->key;

	spool_reseq_begin(&call, PG_GETARG_TEXT_PP(0), SPOOL_WRITE, RESEQ_USE);
	for (int i = 0; i < n; i++)
	{
		Registration registration = {sorted[i], 0, NULL};

		CHECK_FOR_INTERRUPTS();
		if (chosen == NULL ||
			(targets == NULL && call.resequencer->targets_by != NULL))
			chosen = choose_targets(call.resequencer, names[i], targets);
		registration.targets = chosen;
		register_item(&call, spool_reseq_make(&call, names + i, n - i),
					  &registration);
	}
	spool_reseq_finish(&call);
	return spool_reseq_answers(fcinfo, items, n);
}

/*
 * A number as some lane of its key knows it; NULL if none does, *applied if
 * it went to a target and nothing more is known.
 */
static SpoolSteps *
known_number(SpoolReseqCall *call, SpoolReseqKey *key, int64 sn,
			 bool *applied)
{
	*applied = false;
	for (int i = 0; i < call->resequencer->ntargets; i++)
	{
		SpoolWay   *way = spool_way_open(call, key, i + 1);
		SpoolSteps *steps = spool_way_number(call, way, sn);

		if (steps->n > 0)
			return steps;
		*applied |= spool_way_place(way, sn) == PLACE_EQUAL;
	}
	return NULL;
}

/* add_target(resequencer, key, sn, target) */
Datum
spool_add_target(PG_FUNCTION_ARGS)
{
	SpoolReseqItem item;
	Registration registration = {&item, 0, NULL};
	SpoolReseqCall call;
	SpoolReseqKey *key;
	SpoolSteps *known = NULL;
	SpoolWay   *way;
	bool		applied = false;
	int			target;

	spool_reseq_item(fcinfo, 3, 0, &item);
	spool_reseq_require(&item);
	if (item.target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("target must not be null")));
	spool_reseq_begin(&call, PG_GETARG_TEXT_PP(0), SPOOL_WRITE, RESEQ_USE);
	target = spool_resequencer_target(call.resequencer, item.target);
	if (target == 0)
		spool_reseq_no_target(call.resequencer, item.target);

	key = spool_reseq_lock(&call, item.key);
	if (key != NULL)
		known = known_number(&call, key, item.sn, &applied);
	if (known == NULL && !applied)
		spool_reseq_not_registered(&item);
	way = spool_way_open(&call, key, target);
	(void) spool_way_expire(&call, way);
	/* parts first need their whole */
	for (int i = 0; i < (known ? known->n : 1); i++)
	{
		SpoolDecision decision;

		if (known != NULL)
		{
			const SpoolDelivery *model = &known->steps[i]->delivery;

			registration.parts = abs(model->parts);
			item.npart = model->npart;
			item.part = model->part;
			item.digest = model->digest;
		}
		decision = register_in(&call, way, &registration);
		if (i == 0)
			item.decision = decision;
	}
	item.latest = way->lane.high;
	spool_reseq_finish(&call);
	return spool_reseq_answer(fcinfo, &item);
}
