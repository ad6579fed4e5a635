/*-------------------------------------------------------------------------
 * reseq_rules.c
 *	  The decisions of the resequencer: facts in, verdict out.
 *
 * Nothing here reads or changes anything: callers gather the facts under the
 * key's lock and record what follows.  The order of the rules is that of the
 * documentation: the first that matches decides.
 *
 * What is safe: nothing below the highest applied number passes, and of two
 * that passed one has ended before the other may.  The rest is policy: which
 * of several live numbers goes first, and what becomes of the others.
 *-------------------------------------------------------------------------
 */
#include "reseq_rules.h"

#include <stddef.h>

static SpoolDecision answer(SpoolVerdict verdict, const char *reason,
							bool repeat);
static bool valve_is_open(const SpoolReseqRules *rules,
						  const SpoolFacts *facts);
static SpoolDecision decide_absent(const SpoolFacts *facts);
static SpoolDecision decide_live(const SpoolReseqRules *rules,
								 const SpoolFacts *facts);

static SpoolDecision
answer(SpoolVerdict verdict, const char *reason, bool repeat)
{
	SpoolDecision decision = {0};

	decision.verdict = verdict;
	decision.reason = reason;
	decision.repeat = repeat;
	return decision;
}

/*
 * Whether one that is superseded may pass all the same: it would be the last
 * of so many in a row, or that has gone on for so long.
 */
static bool
valve_is_open(const SpoolReseqRules *rules, const SpoolFacts *facts)
{
	if (rules->max_suppressed > 0 && facts->run >= rules->max_suppressed - 1)
		return true;
	return rules->max_suppress_us > 0 && facts->run > 0 &&
		facts->run_us >= rules->max_suppress_us;
}

/* A delivery that is not live. */
static SpoolDecision
decide_absent(const SpoolFacts *facts)
{
	SpoolDecision decision;

	if (facts->late && facts->state != DELIVERY_APPLIED)
		return answer(VERDICT_DEAD, "late",
					  facts->state != DELIVERY_NONE);
	if (facts->state != DELIVERY_NONE)
		return answer(VERDICT_DUPLICATE,
					  spool_delivery_state_name(facts->state), true);
	if (facts->place == PLACE_EQUAL)
		return answer(VERDICT_DUPLICATE, "applied", true);
	if (facts->place == PLACE_BELOW)
		return answer(VERDICT_SUPPRESS, "stale", false);
	decision = answer(VERDICT_UNREGISTERED, "not registered", false);
	decision.unregistered = true;
	return decision;
}

/* A live delivery, above all that was applied. */
static SpoolDecision
decide_live(const SpoolReseqRules *rules, const SpoolFacts *facts)
{
	bool		waits = facts->state == DELIVERY_WAITING;
	bool		superseded = facts->newer && !facts->begun;
	SpoolDecision decision;

	if (facts->state == DELIVERY_PASSED)
		return answer(VERDICT_PASS, NULL, true);
	if (facts->suspended)
		return answer(VERDICT_WAIT, "suspended", waits);
	if (spool_delivery_split(facts->state))
		return answer(VERDICT_WAIT, "split", true);
	if (facts->part && !facts->complete)
		return answer(VERDICT_WAIT, "tree", waits);
	if (facts->busy)
		return answer(VERDICT_WAIT, "busy", waits);
	if (facts->part && !facts->turn)
		return answer(VERDICT_WAIT, "order", waits);
	if (superseded && !valve_is_open(rules, facts))
		return rules->parks ?
			answer(VERDICT_PARK, "superseded",
				   facts->state == DELIVERY_PARKED) :
			answer(VERDICT_SUPPRESS, "superseded", false);
	decision = answer(VERDICT_PASS, superseded ? "valve" : NULL, false);
	decision.forced = superseded;
	return decision;
}

/* May a delivery go to its target? */
SpoolDecision
spool_rules_resequence(const SpoolReseqRules *rules, const SpoolFacts *facts)
{
	SpoolDecision decision;

	if (!rules->enabled && facts->state != DELIVERY_PASSED)
	{
		decision = answer(VERDICT_PASS, "disabled", false);
		decision.forced = true;
		return decision;
	}
	return spool_delivery_live(facts->state) ?
		decide_live(rules, facts) : decide_absent(facts);
}

/*
 * What is answered to who registers: a number that has ended stays so.  newer:
 * a live one with a higher number exists.
 */
SpoolDecision
spool_rules_register(SpoolDeliveryState state, SpoolPlace place, bool newer)
{
	if (place == PLACE_EQUAL)
		return answer(VERDICT_STALE, "applied", true);
	if (place == PLACE_BELOW)
		return answer(VERDICT_STALE, "stale", false);
	if (state != DELIVERY_NONE && !spool_delivery_live(state))
		return answer(VERDICT_STALE, spool_delivery_state_name(state), true);
	if (newer)
		return answer(VERDICT_SUPERSEDED, "superseded",
					  state != DELIVERY_NONE);
	return answer(VERDICT_CURRENT, NULL, state != DELIVERY_NONE);
}

/* What is answered to who ends a delivery that is not live. */
SpoolDecision
spool_rules_ended(SpoolDeliveryState state, SpoolPlace place)
{
	SpoolDecision decision;

	switch (state)
	{
		case DELIVERY_APPLIED:
			return answer(VERDICT_APPLIED, NULL, true);
		case DELIVERY_SUPPRESSED:
			return answer(VERDICT_SUPPRESS, "superseded", true);
		case DELIVERY_DEAD:
			return answer(VERDICT_DEAD, NULL, true);
		case DELIVERY_EXPIRED:
			return answer(VERDICT_EXPIRED, NULL, true);
		case DELIVERY_UNREGISTERED:
			return answer(VERDICT_UNREGISTERED, NULL, true);
		default:
			break;
	}
	if (place == PLACE_EQUAL)
		return answer(VERDICT_APPLIED, NULL, true);
	if (place == PLACE_BELOW)
		return answer(VERDICT_SUPPRESS, "stale", true);
	decision = answer(VERDICT_UNREGISTERED, "not registered", false);
	decision.unregistered = true;
	return decision;
}

const char *
spool_verdict_name(SpoolVerdict verdict)
{
	static const char *const names[] = {
		[VERDICT_PASS] = "pass",
		[VERDICT_PARK] = "park",
		[VERDICT_SUPPRESS] = "suppress",
		[VERDICT_WAIT] = "wait",
		[VERDICT_DUPLICATE] = "duplicate",
		[VERDICT_DEAD] = "dead",
		[VERDICT_UNREGISTERED] = "unregistered",
		[VERDICT_CURRENT] = "current",
		[VERDICT_SUPERSEDED] = "superseded",
		[VERDICT_STALE] = "stale",
		[VERDICT_APPLIED] = "applied",
		[VERDICT_EXPIRED] = "expired",
		[VERDICT_SUSPENDED] = "suspended",
		[VERDICT_RESUMED] = "resumed",
		[VERDICT_RESET] = "reset"
	};

	return names[verdict];
}

const char *
spool_delivery_state_name(SpoolDeliveryState state)
{
	switch (state)
	{
		case DELIVERY_NONE:
			return "unregistered";
		case DELIVERY_REGISTERED:
			return "registered";
		case DELIVERY_WAITING:
			return "waiting";
		case DELIVERY_PARKED:
			return "parked";
		case DELIVERY_PASSED:
			return "passed";
		case DELIVERY_SPLIT:
			return "split";
		case DELIVERY_APPLIED:
			return "applied";
		case DELIVERY_SUPPRESSED:
			return "suppressed";
		case DELIVERY_DEAD:
			return "dead";
		case DELIVERY_EXPIRED:
			return "expired";
		case DELIVERY_UNREGISTERED:
			return "unregistered";
	}
	return NULL;
}
