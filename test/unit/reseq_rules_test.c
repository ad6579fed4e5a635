/*-------------------------------------------------------------------------
 * reseq_rules_test.c
 *	  Tests of the resequencer's decisions, without a server.
 *
 * Cases by name (reseq_cases.h), and what holds for every combination of facts
 * and options (reseq_properties.h).  Prints TAP.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "reseq_cases.h"
#include "reseq_properties.h"
#include "reseq_rules.h"

static int	tests = 0;
static int	failures = 0;

static void
ok(bool passed, const char *name, const char *detail)
{
	tests++;
	if (!passed)
		failures++;
	printf("%sok %d - %s%s%s\n", passed ? "" : "not ", tests, name,
		   detail ? ": " : "", detail ? detail : "");
}

/* What was decided, in words. */
static const char *
decision_text(const SpoolDecision *decision)
{
	static char text[200];

	snprintf(text, sizeof(text), "%s (%s)%s%s%s",
			 spool_verdict_name(decision->verdict),
			 decision->reason ? decision->reason : "no reason",
			 decision->repeat ? " repeat" : "",
			 decision->forced ? " forced" : "",
			 decision->unregistered ? " unregistered" : "");
	return text;
}

/* Compare a decision with what is expected; flag: the only one, or "". */
static void
decided(const char *name, SpoolDecision decision, SpoolVerdict verdict,
		const char *reason, const char *flag)
{
	SpoolDecision expected = {verdict, reason, strcmp(flag, "repeat") == 0,
	strcmp(flag, "unregistered") == 0, strcmp(flag, "forced") == 0};
	bool		same = same_decision(&decision, &expected);

	ok(same, name, same ? NULL : decision_text(&decision));
}


/* ---------------------------------------------------------------------
 * Names and states
 * ---------------------------------------------------------------------
 */

static const struct
{
	SpoolVerdict verdict;
	const char *name;
}			verdicts[] = {
	{VERDICT_PASS, "pass"},
	{VERDICT_PARK, "park"},
	{VERDICT_SUPPRESS, "suppress"},
	{VERDICT_WAIT, "wait"},
	{VERDICT_DUPLICATE, "duplicate"},
	{VERDICT_DEAD, "dead"},
	{VERDICT_UNREGISTERED, "unregistered"},
	{VERDICT_CURRENT, "current"},
	{VERDICT_SUPERSEDED, "superseded"},
	{VERDICT_STALE, "stale"},
	{VERDICT_APPLIED, "applied"},
	{VERDICT_EXPIRED, "expired"},
	{VERDICT_SUSPENDED, "suspended"},
	{VERDICT_RESUMED, "resumed"},
	{VERDICT_RESET, "reset"}
};

static void
test_names(void)
{
	size_t		i;

	for (i = 0; i < lengthof(verdicts); i++)
		ok(same_text(spool_verdict_name(verdicts[i].verdict),
					 verdicts[i].name), "name of a verdict", verdicts[i].name);
	for (i = 0; i < lengthof(states); i++)
		ok(same_text(spool_delivery_state_name(states[i].state),
					 states[i].name) &&
		   spool_delivery_live(states[i].state) == states[i].live &&
		   spool_delivery_split(states[i].state) == states[i].split,
		   "name and kind of a state", states[i].name);
	ok(spool_delivery_state_name((SpoolDeliveryState) 'x') == NULL,
	   "a state that does not exist has no name", NULL);
}


/* ---------------------------------------------------------------------
 * Cases of resequence
 * ---------------------------------------------------------------------
 */

static void
test_cases(void)
{
	size_t		i;

	for (i = 0; i < lengthof(cases); i++)
		decided(cases[i].name,
				spool_rules_resequence(cases[i].rules, &cases[i].facts),
				cases[i].verdict, cases[i].reason, cases[i].flag);
}

/*
 * A key that is superseded at each of many calls: the longest row of calls
 * that do not pass, and the longest time.
 */
static void
starve(const SpoolReseqRules *rules, int64_t interval, int *row,
	   int64_t *time)
{
	SpoolFacts	facts = {ABOVE(REGISTERED), .newer = true};
	int64_t		passed = 0;
	int64_t		began = 0;
	int64_t		now;

	*row = 0;
	*time = 0;
	for (now = interval; now <= 2000 * interval; now += interval)
	{
		if (now - passed > *time)
			*time = now - passed;
		facts.run_us = facts.run > 0 ? now - began : 0;
		if (spool_rules_resequence(rules, &facts).verdict == VERDICT_PASS)
		{
			passed = now;
			facts.run = 0;
			continue;
		}
		if (facts.run++ == 0)
			began = now;
		if (facts.run > *row)
			*row = facts.run;
	}
}

static void
test_starving(void)
{
	int			row;
	int64_t		time;

	starve(&parks, SECOND, &row, &time);
	ok(row == 2000, "R79: without a valve none of 2000 passes", NULL);
	starve(&fifth, SECOND, &row, &time);
	ok(row == 4, "R80: every 5th passes", NULL);
	starve(&always, SECOND, &row, &time);
	ok(row == 0, "R80: every one passes", NULL);
	starve(&timed, SECOND / 10, &row, &time);
	ok(time > 3 * SECOND && time <= 3 * SECOND + 2 * SECOND / 10,
	   "R81: one passes each 3 seconds and two calls", NULL);
	starve(&both, SECOND / 10, &row, &time);
	ok(row == 4, "R80, R81: the 5th is earlier than the time", NULL);
	starve(&both, SECOND, &row, &time);
	ok(row == 3, "R80, R81: the time is earlier than the 5th", NULL);
}


/* ---------------------------------------------------------------------
 * Properties of all combinations
 * ---------------------------------------------------------------------
 */

/* What was found of a property. */
typedef struct Found
{
	long		held;
	long		broken;
	Combination first;			/* that broke it */
} Found;

static Found found[lengthof(properties)];

static void
check_all(Combination *c)
{
	size_t		i;

	c->decision = spool_rules_resequence(&c->rules, &c->facts);
	for (i = 0; i < lengthof(properties); i++)
	{
		Outcome		outcome = properties[i].check(c);

		if (outcome == BROKEN && found[i].broken++ == 0)
			found[i].first = *c;
		found[i].held += outcome == HOLDS;
	}
}

/* All combinations of options, with the facts of a delivery. */
static void
with_all_options(Combination *c)
{
	static const int32_t counts[] = {0, 1, 3};
	static const int64_t times[] = {0, 10};
	size_t		n;
	size_t		t;
	int			i;

	for (n = 0; n < lengthof(counts); n++)
		for (t = 0; t < lengthof(times); t++)
			for (i = 0; i < 8; i++)
			{
				c->rules.enabled = i & 1;
				c->rules.parks = i & 2;
				c->rules.whole = i & 4;
				c->rules.max_suppressed = counts[n];
				c->rules.max_suppress_us = times[t];
				check_all(c);
			}
}

/* All combinations of facts, of a state and a place. */
static void
with_all_facts(const State *state, SpoolPlace place)
{
	static const int64_t ages[] = {0, 9, 10};
	Combination c = {0};
	size_t		age;
	int			bits;
	int			i;

	c.state = state;
	c.facts.state = state->state;
	c.facts.place = place;
	for (bits = 0; bits < 1 << FLAGS; bits++)
	{
		for (i = 0; i < FLAGS; i++)
			*flag_of(&c.facts, i) = bits >> i & 1;
		for (c.facts.run = 0; c.facts.run <= 3; c.facts.run++)
			for (age = 0; age < lengthof(ages); age++)
			{
				c.facts.run_us = ages[age];
				with_all_options(&c);
			}
	}
}

/* A combination in words. */
static const char *
combination_text(const Combination *c)
{
	static char text[600];
	SpoolFacts	facts = c->facts;
	int			len;
	int			i;

	len = snprintf(text, sizeof(text),
				   "%s%s%s max %d, %ld us: state %s place %d run %d, %ld us",
				   c->rules.enabled ? "enabled" : "disabled",
				   c->rules.parks ? " parks" : "",
				   c->rules.whole ? " whole" : "", c->rules.max_suppressed,
				   (long) c->rules.max_suppress_us, c->state->name,
				   facts.place, facts.run, (long) facts.run_us);
	for (i = 0; i < FLAGS; i++)
		if (*flag_of(&facts, i))
			len += snprintf(text + len, sizeof(text) - len, " %s",
							flags[i].name);
	snprintf(text + len, sizeof(text) - len, " -> %s",
			 decision_text(&c->decision));
	return text;
}

static void
test_properties(void)
{
	size_t		i;
	int			place;

	for (i = 0; i < lengthof(states); i++)
		for (place = PLACE_BELOW; place <= PLACE_ABOVE; place++)
			if (!states[i].live || place == PLACE_ABOVE)
				with_all_facts(&states[i], place);
	for (i = 0; i < lengthof(properties); i++)
		ok(found[i].broken == 0 && found[i].held > 0, properties[i].name,
		   found[i].broken > 0 ? combination_text(&found[i].first) :
		   found[i].held > 0 ? NULL : "nothing to check");
}


/* ---------------------------------------------------------------------
 * What is answered to register, and for ended deliveries
 * ---------------------------------------------------------------------
 */

static void
test_register(void)
{
	bool		stale = true;
	bool		newest = true;
	bool		repeat = true;
	bool		flag = false;
	size_t		i;

	decided("R1: the first number",
			spool_rules_register(DELIVERY_NONE, PLACE_ABOVE, false),
			VERDICT_CURRENT, NULL, "");
	decided("R8: the newest again",
			spool_rules_register(DELIVERY_REGISTERED, PLACE_ABOVE, false),
			VERDICT_CURRENT, NULL, "repeat");
	decided("R3: below a live one",
			spool_rules_register(DELIVERY_NONE, PLACE_ABOVE, true),
			VERDICT_SUPERSEDED, "superseded", "");
	decided("R3, R8: below a live one, again",
			spool_rules_register(DELIVERY_PARKED, PLACE_ABOVE, true),
			VERDICT_SUPERSEDED, "superseded", "repeat");
	decided("R8: the applied one again",
			spool_rules_register(DELIVERY_NONE, PLACE_EQUAL, false),
			VERDICT_STALE, "applied", "repeat");
	decided("R48: below the applied one",
			spool_rules_register(DELIVERY_NONE, PLACE_BELOW, false),
			VERDICT_STALE, "stale", "");
	decided("R48: below the applied one and a live one",
			spool_rules_register(DELIVERY_NONE, PLACE_BELOW, true),
			VERDICT_STALE, "stale", "");
	decided("one that died stays dead",
			spool_rules_register(DELIVERY_DEAD, PLACE_ABOVE, false),
			VERDICT_STALE, "dead", "repeat");

	for (i = 0; i < lengthof(states) * 6; i++)
	{
		SpoolDeliveryState state = states[i / 6].state;
		SpoolPlace	place = (SpoolPlace) ((int) (i % 3) - 1);
		bool		newer = i / 3 % 2;
		SpoolDecision decision = spool_rules_register(state, place, newer);
		bool		over = place != PLACE_ABOVE ||
			(state != DELIVERY_NONE && !spool_delivery_live(state));

		stale &= (decision.verdict == VERDICT_STALE) == over;
		if (!over)
		{
			newest &= decision.verdict ==
				(newer ? VERDICT_SUPERSEDED : VERDICT_CURRENT);
			repeat &= decision.repeat == (state != DELIVERY_NONE);
		}
		flag |= decision.forced || decision.unregistered;
	}
	ok(stale, "register: stale is what is not above the applied one, or has ended", NULL);
	ok(newest, "register: current is the highest, not the last", NULL);
	ok(repeat, "register: a repeat is what is known", NULL);
	ok(!flag, "register: neither forced nor unregistered", NULL);
}

static void
test_ended(void)
{
	static const struct
	{
		SpoolDeliveryState state;
		SpoolVerdict verdict;
		const char *reason;
	}			ended[] = {
		{DELIVERY_APPLIED, VERDICT_APPLIED, NULL},
		{DELIVERY_SUPPRESSED, VERDICT_SUPPRESS, "superseded"},
		{DELIVERY_DEAD, VERDICT_DEAD, NULL},
		{DELIVERY_EXPIRED, VERDICT_EXPIRED, NULL},
		{DELIVERY_UNREGISTERED, VERDICT_UNREGISTERED, NULL}
	};
	size_t		i;

	for (i = 0; i < lengthof(ended) * 3; i++)
		decided("R32, R33: ended is ended, at any place",
				spool_rules_ended(ended[i / 3].state,
								  (SpoolPlace) ((int) (i % 3) - 1)),
				ended[i / 3].verdict, ended[i / 3].reason, "repeat");
	for (i = 0; i < lengthof(states); i++)
	{
		if (!states[i].live && states[i].state != DELIVERY_NONE)
			continue;
		decided("R33: the applied one", spool_rules_ended(states[i].state,
														  PLACE_EQUAL),
				VERDICT_APPLIED, NULL, "repeat");
		decided("below the applied one", spool_rules_ended(states[i].state,
														   PLACE_BELOW),
				VERDICT_SUPPRESS, "stale", "repeat");
	}
	decided("ended: never registered",
			spool_rules_ended(DELIVERY_NONE, PLACE_ABOVE),
			VERDICT_UNREGISTERED, "not registered", "unregistered");
}

int
main(void)
{
	test_names();
	test_cases();
	test_starving();
	test_properties();
	test_register();
	test_ended();
	printf("1..%d\n", tests);
	return failures > 0;
}
