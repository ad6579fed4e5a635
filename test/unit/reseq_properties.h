/*-------------------------------------------------------------------------
 * reseq_properties.h
 *	  What holds for every combination of facts and options.
 *
 * A delivery at or below the applied number is never handed over as live: no
 * combination has that.
 *-------------------------------------------------------------------------
 */
#ifndef RESEQ_PROPERTIES_H
#define RESEQ_PROPERTIES_H

#include <stddef.h>

#include "reseq_cases.h"

/* One combination, and what is decided. */
typedef struct Combination
{
	const State *state;
	SpoolReseqRules rules;
	SpoolFacts	facts;
	SpoolDecision decision;
} Combination;

/* What a property says of a combination. */
typedef enum Outcome
{
	BROKEN = false,
	HOLDS = true,
	SILENT
} Outcome;

typedef struct Property
{
	const char *name;
	Outcome		(*check) (const Combination *c);
} Property;

/* Facts and options that are flags. */
static const struct
{
	const char *name;
	size_t		offset;
}			flags[] = {
	{"late", offsetof(SpoolFacts, late)},
	{"suspended", offsetof(SpoolFacts, suspended)},
	{"part", offsetof(SpoolFacts, part)},
	{"complete", offsetof(SpoolFacts, complete)},
	{"turn", offsetof(SpoolFacts, turn)},
	{"begun", offsetof(SpoolFacts, begun)},
	{"busy", offsetof(SpoolFacts, busy)},
	{"newer", offsetof(SpoolFacts, newer)}
};

#define FLAGS ((int) lengthof(flags))

static bool *
flag_of(SpoolFacts *facts, int i)
{
	return (bool *) ((char *) facts + flags[i].offset);
}

/* Whether it passes, and did not before. */
static bool
passes(const Combination *c)
{
	return c->decision.verdict == VERDICT_PASS && !c->decision.repeat;
}

static bool
held_back(const Combination *c)
{
	return c->decision.verdict == VERDICT_WAIT ||
		c->decision.verdict == VERDICT_PARK;
}

static bool
is_wait(const Combination *c, const char *reason)
{
	return c->decision.verdict == VERDICT_WAIT &&
		same_text(c->decision.reason, reason);
}

static Outcome
pass_is_live_and_above(const Combination *c)
{
	if (!c->rules.enabled || c->decision.verdict != VERDICT_PASS)
		return SILENT;
	return c->state->live && c->facts.place == PLACE_ABOVE;
}

static Outcome
below_is_over(const Combination *c)
{
	if (!c->rules.enabled || c->facts.place != PLACE_BELOW)
		return SILENT;
	return !passes(c) && !held_back(c) &&
		c->decision.verdict != VERDICT_UNREGISTERED;
}

static Outcome
ended_is_over(const Combination *c)
{
	if (!c->rules.enabled || c->state->live ||
		c->facts.state == DELIVERY_NONE)
		return SILENT;
	return c->decision.verdict == VERDICT_DUPLICATE ||
		(c->decision.verdict == VERDICT_DEAD && c->facts.late);
}

/* What comes too late is a dead letter once. */
static Outcome
late_is_dead_once(const Combination *c)
{
	if (!c->rules.enabled || c->state->live || !c->facts.late ||
		c->facts.state == DELIVERY_APPLIED)
		return SILENT;
	return c->decision.verdict == VERDICT_DEAD &&
		c->decision.repeat == (c->facts.state != DELIVERY_NONE);
}

static Outcome
absent_is_not_kept(const Combination *c)
{
	if (!c->rules.enabled || c->state->live)
		return SILENT;
	return !held_back(c) && c->decision.verdict != VERDICT_PASS;
}

static Outcome
pass_is_alone(const Combination *c)
{
	if (!c->rules.enabled || !passes(c))
		return SILENT;
	return !c->facts.busy;
}

static Outcome
pass_is_not_suspended(const Combination *c)
{
	if (!c->rules.enabled || !passes(c))
		return SILENT;
	return !c->facts.suspended;
}

static Outcome
pass_is_in_order(const Combination *c)
{
	if (!c->rules.enabled || !passes(c))
		return SILENT;
	return !c->state->split &&
		(!c->facts.part || (c->facts.complete && c->facts.turn));
}

static Outcome
pass_superseded_by_valve(const Combination *c)
{
	bool		counted = c->rules.max_suppressed > 0 &&
	c->facts.run + 1 >= c->rules.max_suppressed;
	bool		aged = c->rules.max_suppress_us > 0 && c->facts.run > 0 &&
	c->facts.run_us >= c->rules.max_suppress_us;

	if (!c->rules.enabled || !passes(c) || !c->facts.newer || c->facts.begun)
		return SILENT;
	return (counted || aged) && c->decision.forced;
}

static Outcome
forced_is_superseded_pass(const Combination *c)
{
	if (!c->rules.enabled || !c->decision.forced)
		return SILENT;
	return passes(c) && c->facts.newer && !c->facts.begun &&
		same_text(c->decision.reason, "valve");
}

static Outcome
passed_passes_again(const Combination *c)
{
	if (c->facts.state != DELIVERY_PASSED)
		return SILENT;
	return c->decision.verdict == VERDICT_PASS && c->decision.repeat &&
		c->decision.reason == NULL;
}

static Outcome
disabled_passes(const Combination *c)
{
	if (c->rules.enabled)
		return SILENT;
	return c->decision.verdict == VERDICT_PASS &&
		(c->facts.state == DELIVERY_PASSED ||
		 (c->decision.forced &&
		  same_text(c->decision.reason, "disabled")));
}

static Outcome
one_flag_at_most(const Combination *c)
{
	return c->decision.repeat + c->decision.forced +
		c->decision.unregistered <= 1;
}

static Outcome
plain_pass_has_no_reason(const Combination *c)
{
	bool		plain = c->decision.verdict == VERDICT_PASS &&
	!c->decision.forced;

	return plain == (c->decision.reason == NULL);
}

static Outcome
verdict_is_of_the_verb(const Combination *c)
{
	return c->decision.verdict <= VERDICT_UNREGISTERED;
}

static Outcome
unregistered_is_unknown_and_above(const Combination *c)
{
	bool		unknown = c->facts.state == DELIVERY_NONE &&
	c->facts.place == PLACE_ABOVE && !c->facts.late;

	if (!c->rules.enabled)
		return SILENT;
	return unknown == c->decision.unregistered &&
		unknown == (c->decision.verdict == VERDICT_UNREGISTERED);
}

static Outcome
live_is_not_lost(const Combination *c)
{
	if (!c->state->live)
		return SILENT;
	return passes(c) || c->decision.repeat || held_back(c) ||
		(!c->rules.parks && c->facts.newer);
}

static Outcome
parked_is_superseded(const Combination *c)
{
	if (!c->state->live || (c->decision.verdict != VERDICT_PARK &&
							c->decision.verdict != VERDICT_SUPPRESS))
		return SILENT;
	return c->facts.newer && !c->facts.begun &&
		c->rules.parks == (c->decision.verdict == VERDICT_PARK);
}

static Outcome
newest_passes(const Combination *c)
{
	if (!c->rules.enabled || !c->state->live || c->state->split ||
		c->facts.suspended || c->facts.busy || c->facts.newer ||
		(c->facts.part && !(c->facts.complete && c->facts.turn)))
		return SILENT;
	return c->decision.verdict == VERDICT_PASS && !c->decision.forced;
}

static Outcome
wait_tells_why(const Combination *c)
{
	if (c->decision.verdict != VERDICT_WAIT)
		return SILENT;
	return (c->facts.suspended && is_wait(c, "suspended")) ||
		(c->state->split && is_wait(c, "split")) ||
		(c->facts.part && !c->facts.complete && is_wait(c, "tree")) ||
		(c->facts.busy && is_wait(c, "busy")) ||
		(c->facts.part && !c->facts.turn && is_wait(c, "order"));
}

/*
 * What was decided is recorded, and asked again: the same is answered, but
 * that a suppressed one is a duplicate.  A parked one that has to wait stays
 * parked, and its answer is not a repeat.
 */
static Outcome
again_is_repeat(const Combination *c)
{
	SpoolFacts	facts = c->facts;
	SpoolVerdict verdict = c->decision.verdict;
	SpoolDecision again;

	if (!c->rules.enabled || !c->state->live)
		return SILENT;
	if (verdict == VERDICT_PASS)
		facts.state = DELIVERY_PASSED;
	else if (verdict == VERDICT_PARK)
		facts.state = DELIVERY_PARKED;
	else if (verdict == VERDICT_SUPPRESS)
		facts.state = DELIVERY_SUPPRESSED;
	else if (facts.state == DELIVERY_REGISTERED)
		facts.state = DELIVERY_WAITING;
	facts.late = false;
	again = spool_rules_resequence(&c->rules, &facts);
	if (verdict == VERDICT_SUPPRESS)
		return again.verdict == VERDICT_DUPLICATE && again.repeat;
	if (verdict == VERDICT_PASS)
		return again.verdict == VERDICT_PASS && again.repeat;
	return again.verdict == verdict &&
		same_text(again.reason, c->decision.reason) &&
		(again.repeat || facts.state != DELIVERY_WAITING) &&
		(again.repeat || verdict != VERDICT_PARK);
}

/* A repeat changes nothing: the state is the one that the answer leaves. */
static Outcome
repeat_is_in_its_state(const Combination *c)
{
	if (!c->decision.repeat)
		return SILENT;
	switch (c->decision.verdict)
	{
		case VERDICT_PASS:
			return c->facts.state == DELIVERY_PASSED;
		case VERDICT_PARK:
			return c->facts.state == DELIVERY_PARKED;
		case VERDICT_WAIT:
			return c->facts.state == DELIVERY_WAITING || c->state->split;
		case VERDICT_DUPLICATE:
			return !c->state->live;
		case VERDICT_DEAD:
			return c->facts.late && !c->state->live &&
				c->facts.state != DELIVERY_NONE &&
				c->facts.state != DELIVERY_APPLIED;
		default:
			return BROKEN;
	}
}

/* The options and facts of another combination decide the same. */
static bool
decides_same(const Combination *c, const SpoolReseqRules *rules,
			 const SpoolFacts *facts)
{
	SpoolDecision other = spool_rules_resequence(rules, facts);

	return same_decision(&other, &c->decision);
}

/*
 * The facts that were looked at when a decision fell: those of its own rule
 * and of the rules before it.
 */
static const char *
facts_that_count(const Combination *c)
{
	static const struct
	{
		const char *reason;
		const char *facts;
	}			waits[] = {
		{"suspended", "suspended"},
		{"split", "suspended"},
		{"tree", "suspended part complete"},
		{"busy", "suspended part complete busy"},
		{"order", "suspended part complete busy turn"}
	};
	size_t		i;

	if (!c->rules.enabled || c->facts.state == DELIVERY_PASSED)
		return "";
	if (!c->state->live)
		return "late";
	for (i = 0; i < lengthof(waits); i++)
		if (is_wait(c, waits[i].reason))
			return waits[i].facts;
	return "suspended part complete busy turn newer begun";
}

static Outcome
later_rules_do_not_matter(const Combination *c)
{
	const char *count = facts_that_count(c);
	int			i;

	for (i = 0; i < FLAGS; i++)
	{
		SpoolFacts	facts = c->facts;

		if (strstr(count, flags[i].name) != NULL)
			continue;
		*flag_of(&facts, i) = !*flag_of(&facts, i);
		if (!decides_same(c, &c->rules, &facts))
			return BROKEN;
	}
	return HOLDS;
}

static Outcome
options_matter_to_superseded(const Combination *c)
{
	SpoolReseqRules rules = c->rules;
	SpoolFacts	facts = c->facts;

	rules.whole = !rules.whole;
	if (!decides_same(c, &rules, &facts))
		return BROKEN;
	if (same_text(c->decision.reason, "superseded"))
		return HOLDS;
	rules.parks = !rules.parks;
	if (same_text(c->decision.reason, "valve"))
		return decides_same(c, &rules, &facts);
	rules.max_suppressed = 1;
	rules.max_suppress_us = 1;
	facts.run += 100;
	facts.run_us += 100;
	return decides_same(c, &rules, &facts);
}

static Outcome
open_valve_stays_open(const Combination *c)
{
	SpoolFacts	more = c->facts;
	SpoolFacts	longer = c->facts;

	if (!c->rules.enabled || !c->decision.forced)
		return SILENT;
	more.run++;
	longer.run_us++;
	return decides_same(c, &c->rules, &more) &&
		decides_same(c, &c->rules, &longer);
}

static const Property properties[] = {
	{"what passes is live and above all applied", pass_is_live_and_above},
	{"R11, R48: nothing below the applied number passes or is kept",
	below_is_over},
	{"R7: what has ended has ended", ended_is_over},
	{"R39: what comes too late is a dead letter, once", late_is_dead_once},
	{"what is not live neither passes nor waits nor is parked",
	absent_is_not_kept},
	{"nothing passes while another number has passed", pass_is_alone},
	{"nothing passes while the key is suspended", pass_is_not_suspended},
	{"R36: a part passes if its tree is complete, in turn", pass_is_in_order},
	{"R80, R81: a superseded one passes by an open valve only",
	pass_superseded_by_valve},
	{"only what the valve let pass is forced", forced_is_superseded_pass},
	{"R7: what has passed passes again, whatever else", passed_passes_again},
	{"R13: everything passes while disabled", disabled_passes},
	{"of repeat, forced and unregistered at most one", one_flag_at_most},
	{"all but a plain pass tell a reason", plain_pass_has_no_reason},
	{"verdicts are those of resequence", verdict_is_of_the_verb},
	{"R14, R18: unregistered is what is unknown and above",
	unregistered_is_unknown_and_above},
	{"R65: a live one passes, waits or is parked", live_is_not_lost},
	{"parked or suppressed, as set, is what is superseded",
	parked_is_superseded},
	{"the newest passes if nothing holds it back", newest_passes},
	{"a wait tells what for", wait_tells_why},
	{"asked again, the same is answered", again_is_repeat},
	{"a repeat finds the state that its answer leaves",
	repeat_is_in_its_state},
	{"what later rules look at does not matter", later_rules_do_not_matter},
	{"supersede and the valve matter to superseded ones only",
	options_matter_to_superseded},
	{"an open valve stays open", open_valve_stays_open}
};

#endif							/* RESEQ_PROPERTIES_H */
