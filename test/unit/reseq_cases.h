/*-------------------------------------------------------------------------
 * reseq_cases.h
 *	  The states of a delivery; cases of resequence, by name: facts, and what is
 *	  decided.
 *
 * The numbers of rules are those of the decision, first rule that matches;
 * R... are scenarios.
 *-------------------------------------------------------------------------
 */
#ifndef RESEQ_CASES_H
#define RESEQ_CASES_H

#include <string.h>

#include "reseq_rules.h"

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

typedef struct State
{
	SpoolDeliveryState state;
	const char *name;
	bool		live;
	bool		split;
} State;

static const State states[] = {
	{DELIVERY_NONE, "unregistered", false, false},
	{DELIVERY_REGISTERED, "registered", true, false},
	{DELIVERY_WAITING, "waiting", true, false},
	{DELIVERY_PARKED, "parked", true, false},
	{DELIVERY_PASSED, "passed", true, false},
	{DELIVERY_SPLIT, "split", true, true},
	{DELIVERY_APPLIED, "applied", false, false},
	{DELIVERY_SUPPRESSED, "suppressed", false, false},
	{DELIVERY_DEAD, "dead", false, false},
	{DELIVERY_EXPIRED, "expired", false, false},
	{DELIVERY_UNREGISTERED, "unregistered", false, false}
};

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
same_decision(const SpoolDecision *a, const SpoolDecision *b)
{
	return a->verdict == b->verdict && same_text(a->reason, b->reason) &&
		a->repeat == b->repeat && a->unregistered == b->unregistered &&
		a->forced == b->forced;
}

#define SECOND INT64_C(1000000)

static const SpoolReseqRules parks = {true, true, true, 0, 0};
static const SpoolReseqRules discards = {true, false, true, 0, 0};
static const SpoolReseqRules fifth = {true, true, true, 5, 0};
static const SpoolReseqRules always = {true, true, true, 1, 0};
static const SpoolReseqRules timed = {true, true, true, 0, 3 * SECOND};
static const SpoolReseqRules both = {true, false, true, 5, 3 * SECOND};
static const SpoolReseqRules off = {false, true, true, 0, 0};

#define ABOVE(s) .state = DELIVERY_##s, .place = PLACE_ABOVE
#define EQUAL(s) .state = DELIVERY_##s, .place = PLACE_EQUAL
#define BELOW(s) .state = DELIVERY_##s, .place = PLACE_BELOW
#define PART .part = true, .complete = true, .turn = true

typedef struct NamedCase
{
	const char *name;
	const SpoolReseqRules *rules;
	SpoolFacts	facts;
	SpoolVerdict verdict;
	const char *reason;
	const char *flag;			/* the one that is set, or "" */
} NamedCase;

static const NamedCase cases[] = {
	/* rule 2: it passed, or has ended */
	{"rule 2, R7: passed and not ended: again", &parks,
	{ABOVE(PASSED)}, VERDICT_PASS, NULL, "repeat"},
	{"rule 2, R7: passed before a newer one came", &parks,
	{ABOVE(PASSED), .newer = true}, VERDICT_PASS, NULL, "repeat"},
	{"rule 2 before 6: passed before the key was suspended", &parks,
	{ABOVE(PASSED), .suspended = true}, VERDICT_PASS, NULL, "repeat"},
	{"rule 2, R7: it was applied", &parks,
	{ABOVE(APPLIED)}, VERDICT_DUPLICATE, "applied", "repeat"},
	{"rule 2, R66: it was suppressed, the newer one failed", &discards,
	{ABOVE(SUPPRESSED)}, VERDICT_DUPLICATE, "suppressed", "repeat"},
	{"rule 2, R38: it died", &parks,
	{ABOVE(DEAD)}, VERDICT_DUPLICATE, "dead", "repeat"},
	{"rule 2, R68: it expired", &parks,
	{ABOVE(EXPIRED)}, VERDICT_DUPLICATE, "expired", "repeat"},
	{"rule 2, R32: it was unregistered", &parks,
	{ABOVE(UNREGISTERED)}, VERDICT_DUPLICATE, "unregistered", "repeat"},
	{"rule 2 before 3: a part of the applied number died", &parks,
	{EQUAL(DEAD)}, VERDICT_DUPLICATE, "dead", "repeat"},
	{"rule 2 before 4: an ended one below", &parks,
	{BELOW(DEAD)}, VERDICT_DUPLICATE, "dead", "repeat"},
	{"rule 2, R39: a part that came too late", &parks,
	{ABOVE(NONE), .late = true, .part = true}, VERDICT_DEAD, "late", ""},
	{"rule 2, R39: it expired when the tree was cut", &parks,
	{ABOVE(EXPIRED), .late = true, .part = true}, VERDICT_DEAD, "late",
	"repeat"},
	{"rule 2, R39: it was recorded as late when it came", &parks,
	{ABOVE(DEAD), .late = true, .part = true}, VERDICT_DEAD, "late",
	"repeat"},
	{"rule 2, R39: too late for a tree that was applied", &parks,
	{EQUAL(NONE), .late = true, .part = true}, VERDICT_DEAD, "late", ""},
	{"rule 7, R39: a part of a cut tree that was in time", &parks,
	{ABOVE(WAITING), PART, .late = true}, VERDICT_PASS, NULL, ""},
	{"rule 2, R39: an applied part of a cut tree", &parks,
	{ABOVE(APPLIED), .late = true, .part = true}, VERDICT_DUPLICATE,
	"applied", "repeat"},

	/* rules 3 to 5: the number against what was applied */
	{"rule 3, R34: the applied one, its row forgotten", &parks,
	{EQUAL(NONE)}, VERDICT_DUPLICATE, "applied", "repeat"},
	{"rule 4, R48: 1 comes after 2 was applied", &parks,
	{BELOW(NONE)}, VERDICT_SUPPRESS, "stale", ""},
	{"rule 4, R11: also where the superseded are discarded", &discards,
	{BELOW(NONE)}, VERDICT_SUPPRESS, "stale", ""},
	{"rule 4 before 6: stale though the key is suspended", &parks,
	{BELOW(NONE), .suspended = true}, VERDICT_SUPPRESS, "stale", ""},
	{"rule 5, R14: never registered", &parks,
	{ABOVE(NONE)}, VERDICT_UNREGISTERED, "not registered", "unregistered"},
	{"rule 5, R18: above all that is known: not suppressed", &discards,
	{ABOVE(NONE), .newer = false}, VERDICT_UNREGISTERED, "not registered",
	"unregistered"},
	{"rule 5 before 9: not registered, below a live one", &discards,
	{ABOVE(NONE), .newer = true}, VERDICT_UNREGISTERED, "not registered",
	"unregistered"},
	{"rule 5 before 8: not registered, another has passed", &parks,
	{ABOVE(NONE), .busy = true}, VERDICT_UNREGISTERED, "not registered",
	"unregistered"},

	/* rule 6: the key is suspended */
	{"rule 6, R69: the key is suspended", &parks,
	{ABOVE(REGISTERED), .suspended = true}, VERDICT_WAIT, "suspended", ""},
	{"rule 6, R69: it waited already", &parks,
	{ABOVE(WAITING), .suspended = true}, VERDICT_WAIT, "suspended", "repeat"},
	{"rule 6, R69: it was parked", &parks,
	{ABOVE(PARKED), .suspended = true}, VERDICT_WAIT, "suspended", ""},
	{"rule 6 before 9: suspended and superseded", &discards,
	{ABOVE(REGISTERED), .suspended = true, .newer = true}, VERDICT_WAIT,
	"suspended", ""},
	{"rule 6 before 7: a split one of a suspended key", &parks,
	{ABOVE(SPLIT), .suspended = true}, VERDICT_WAIT, "suspended", ""},

	/* rule 7: trees */
	{"rule 7: a split one waits for its parts", &parks,
	{ABOVE(SPLIT)}, VERDICT_WAIT, "split", "repeat"},
	{"rule 7, R36: a part, others are missing", &parks,
	{ABOVE(REGISTERED), .part = true, .turn = true}, VERDICT_WAIT, "tree",
	""},
	{"rule 7, R36: the same again", &parks,
	{ABOVE(WAITING), .part = true, .turn = true}, VERDICT_WAIT, "tree",
	"repeat"},
	{"rule 7 before 8: an incomplete tree, another has passed", &parks,
	{ABOVE(REGISTERED), .part = true, .busy = true}, VERDICT_WAIT, "tree",
	""},
	{"rule 7 before 9, R41: an incomplete tree is superseded", &discards,
	{ABOVE(REGISTERED), .part = true, .newer = true}, VERDICT_WAIT, "tree",
	""},
	{"rule 7, R36: all are there, one before has not ended", &parks,
	{ABOVE(WAITING), .part = true, .complete = true}, VERDICT_WAIT, "order",
	"repeat"},
	{"rule 7, R36: all are there and it is its turn", &parks,
	{ABOVE(WAITING), PART}, VERDICT_PASS, NULL, ""},
	{"rule 7, R39: the next part of a cut tree", &parks,
	{ABOVE(WAITING), PART, .begun = true}, VERDICT_PASS, NULL, ""},
	{"rule 7: a whole needs neither parts nor a turn", &parks,
	{ABOVE(REGISTERED), .complete = false, .turn = false}, VERDICT_PASS,
	NULL, ""},

	/* rule 8: another number has passed */
	{"rule 8: another has passed", &parks,
	{ABOVE(REGISTERED), .busy = true}, VERDICT_WAIT, "busy", ""},
	{"rule 8: the same again", &parks,
	{ABOVE(WAITING), .busy = true}, VERDICT_WAIT, "busy", "repeat"},
	{"rule 8: a parked one stays parked", &parks,
	{ABOVE(PARKED), .busy = true}, VERDICT_WAIT, "busy", ""},
	{"rule 8 before 9: busy and superseded", &discards,
	{ABOVE(REGISTERED), .busy = true, .newer = true}, VERDICT_WAIT, "busy",
	""},
	{"rule 8 before 10: an open valve does not help", &always,
	{ABOVE(REGISTERED), .busy = true, .newer = true, .run = 9}, VERDICT_WAIT,
	"busy", ""},
	{"rule 8: before the order of parts", &parks,
	{ABOVE(REGISTERED), .part = true, .complete = true, .busy = true},
	VERDICT_WAIT, "busy", ""},

	/* rule 9: superseded */
	{"rule 9, R2: 1 while 2 is live", &parks,
	{ABOVE(REGISTERED), .newer = true}, VERDICT_PARK, "superseded", ""},
	{"rule 9, R2: the same again", &parks,
	{ABOVE(PARKED), .newer = true}, VERDICT_PARK, "superseded", "repeat"},
	{"rule 9, R3: it waited, and is superseded now", &parks,
	{ABOVE(WAITING), .newer = true}, VERDICT_PARK, "superseded", ""},
	{"rule 9, R66: 1 while 2 is live, discarded", &discards,
	{ABOVE(REGISTERED), .newer = true}, VERDICT_SUPPRESS, "superseded", ""},
	{"rule 9, R66: parked before superseded ones were discarded", &discards,
	{ABOVE(PARKED), .newer = true}, VERDICT_SUPPRESS, "superseded", ""},
	{"rule 9, R41: a complete tree that has not begun", &parks,
	{ABOVE(REGISTERED), PART, .newer = true}, VERDICT_PARK, "superseded", ""},
	{"rule 9, R41: a tree that has begun is not superseded", &discards,
	{ABOVE(REGISTERED), PART, .newer = true, .begun = true}, VERDICT_PASS,
	NULL, ""},
	{"rule 9, R79: no valve, however many and long", &parks,
	{ABOVE(REGISTERED), .newer = true, .run = INT32_MAX,
	.run_us = INT64_MAX}, VERDICT_PARK, "superseded", ""},
	{"rule 9, R80: the 4th in a row of 5", &fifth,
	{ABOVE(REGISTERED), .newer = true, .run = 3}, VERDICT_PARK, "superseded",
	""},
	{"rule 9, R81: just before the time", &timed,
	{ABOVE(REGISTERED), .newer = true, .run = 1, .run_us = 3 * SECOND - 1},
	VERDICT_PARK, "superseded", ""},
	{"rule 9, R81: none was superseded before", &timed,
	{ABOVE(REGISTERED), .newer = true, .run_us = 9 * SECOND}, VERDICT_PARK,
	"superseded", ""},
	{"rule 9, R80 and R81: neither valve is open", &both,
	{ABOVE(REGISTERED), .newer = true, .run = 3, .run_us = 3 * SECOND - 1},
	VERDICT_SUPPRESS, "superseded", ""},

	/* rule 10: it passes */
	{"rule 10, R1: registered, and nothing else", &parks,
	{ABOVE(REGISTERED)}, VERDICT_PASS, NULL, ""},
	{"rule 10, R5: 2 after 1 was applied", &discards,
	{ABOVE(REGISTERED)}, VERDICT_PASS, NULL, ""},
	{"rule 10, R17: it waited for its registration", &parks,
	{ABOVE(WAITING)}, VERDICT_PASS, NULL, ""},
	{"rule 10, R65: parked, and the newer one failed", &parks,
	{ABOVE(PARKED)}, VERDICT_PASS, NULL, ""},
	{"rule 10, R67: the same after many were superseded", &fifth,
	{ABOVE(PARKED), .run = 40}, VERDICT_PASS, NULL, ""},
	{"rule 10, R80: the 5th in a row of 5", &fifth,
	{ABOVE(REGISTERED), .newer = true, .run = 4}, VERDICT_PASS, "valve",
	"forced"},
	{"rule 10, R80: a parked one after 5", &fifth,
	{ABOVE(PARKED), .newer = true, .run = 5}, VERDICT_PASS, "valve",
	"forced"},
	{"rule 10, R80: the first in a row of 1", &always,
	{ABOVE(REGISTERED), .newer = true}, VERDICT_PASS, "valve", "forced"},
	{"rule 10, R81: the time is over", &timed,
	{ABOVE(REGISTERED), .newer = true, .run = 1, .run_us = 3 * SECOND},
	VERDICT_PASS, "valve", "forced"},
	{"rule 10, R80: the 5th, before the time", &both,
	{ABOVE(REGISTERED), .newer = true, .run = 4, .run_us = SECOND},
	VERDICT_PASS, "valve", "forced"},
	{"rule 10, R81: the time is over, before the 5th", &both,
	{ABOVE(REGISTERED), .newer = true, .run = 1, .run_us = 4 * SECOND},
	VERDICT_PASS, "valve", "forced"},

	/* disabled */
	{"R13: disabled, registered", &off,
	{ABOVE(REGISTERED)}, VERDICT_PASS, "disabled", "forced"},
	{"R13: disabled, superseded", &off,
	{ABOVE(PARKED), .newer = true}, VERDICT_PASS, "disabled", "forced"},
	{"R13: disabled, stale", &off,
	{BELOW(NONE)}, VERDICT_PASS, "disabled", "forced"},
	{"R13: disabled, applied already", &off,
	{EQUAL(APPLIED)}, VERDICT_PASS, "disabled", "forced"},
	{"R13: disabled, never registered", &off,
	{ABOVE(NONE)}, VERDICT_PASS, "disabled", "forced"},
	{"R13: disabled, passed and not ended: again", &off,
	{ABOVE(PASSED)}, VERDICT_PASS, NULL, "repeat"}
};

#endif							/* RESEQ_CASES_H */
