/*-------------------------------------------------------------------------
 * reseq_rules.h
 *	  The decisions of the resequencer: facts in, verdict out.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_RESEQ_RULES_H
#define SPOOL_RESEQ_RULES_H

#include <stdbool.h>
#include <stdint.h>

/* What is answered; names by spool_verdict_name. */
typedef enum SpoolVerdict
{
	VERDICT_PASS,
	VERDICT_PARK,
	VERDICT_SUPPRESS,
	VERDICT_WAIT,
	VERDICT_DUPLICATE,
	VERDICT_DEAD,
	VERDICT_UNREGISTERED,
	VERDICT_CURRENT,			/* register: the newest known */
	VERDICT_SUPERSEDED,			/* register: a newer one is live */
	VERDICT_STALE,				/* register: a newer one was applied */
	VERDICT_APPLIED,			/* applied, unregister: it was */
	VERDICT_EXPIRED,
	VERDICT_SUSPENDED,			/* failed, suspend_key: the key is */
	VERDICT_RESUMED,			/* resume_key */
	VERDICT_RESET				/* reset */
} SpoolVerdict;

/*
 * States of a delivery (a number, or a part of it, for one target), as
 * spool.reseq_delivery has them.  Capitals have ended.
 */
typedef enum SpoolDeliveryState
{
	DELIVERY_NONE = 0,			/* not registered, or forgotten */
	DELIVERY_REGISTERED = 'r',
	DELIVERY_WAITING = 'w',		/* came, and has to wait */
	DELIVERY_PARKED = 'k',		/* came, while a newer one is live */
	DELIVERY_PASSED = 'p',		/* passed, to be acknowledged */
	DELIVERY_SPLIT = 'n',		/* declared to consist of parts */
	DELIVERY_APPLIED = 'A',
	DELIVERY_SUPPRESSED = 'S',
	DELIVERY_DEAD = 'D',
	DELIVERY_EXPIRED = 'E',
	DELIVERY_UNREGISTERED = 'U'
} SpoolDeliveryState;

#define spool_delivery_live(state) ((state) >= 'a')
#define spool_delivery_split(state) ((state) == DELIVERY_SPLIT)

/* Where input goes that cannot be decided. */
typedef enum SpoolOutletKind
{
	OUTLET_ERROR,
	OUTLET_DEAD,
	OUTLET_QUEUE,
	OUTLET_REGISTER,
	OUTLET_WAIT
} SpoolOutletKind;

/* Options of a resequencer that decisions depend on. */
typedef struct SpoolReseqRules
{
	bool		enabled;		/* else everything passes */
	bool		parks;			/* supersede: park, else suppress */
	bool		whole;			/* on_incomplete: all_or_nothing */
	int32_t		max_suppressed; /* 0 = no valve */
	int64_t		max_suppress_us;	/* 0 = no valve */
} SpoolReseqRules;

/* A number's place relative to the highest that was applied. */
typedef enum SpoolPlace
{
	PLACE_BELOW = -1,
	PLACE_EQUAL = 0,
	PLACE_ABOVE = 1
} SpoolPlace;

/* What resequence is decided by. */
typedef struct SpoolFacts
{
	SpoolDeliveryState state;	/* of the delivery */
	SpoolPlace	place;
	bool		late;			/* a part of a tree that was cut without it */
	bool		suspended;		/* the key is */
	bool		part;			/* it is a part of a tree, */
	bool		complete;		/* of which all is there that is needed; */
	bool		turn;			/* all parts before it have ended; */
	bool		begun;			/* some part has passed */
	bool		busy;			/* another number passed and has not ended */
	bool		newer;			/* a live one with a higher number exists */
	int32_t		run;			/* superseded since the last pass */
	int64_t		run_us;			/* and for so long */
} SpoolFacts;

typedef struct SpoolDecision
{
	SpoolVerdict verdict;
	const char *reason;			/* or NULL */
	bool		repeat;			/* nothing changes: it was answered before */
	bool		unregistered;	/* to be treated by on_unregistered */
	bool		forced;			/* passed by the valve, or since disabled */
} SpoolDecision;

extern SpoolDecision spool_rules_resequence(const SpoolReseqRules *rules,
											const SpoolFacts *facts);
extern SpoolDecision spool_rules_register(SpoolDeliveryState state,
										  SpoolPlace place, bool newer);
extern SpoolDecision spool_rules_ended(SpoolDeliveryState state,
									   SpoolPlace place);
extern const char *spool_verdict_name(SpoolVerdict verdict);
extern const char *spool_delivery_state_name(SpoolDeliveryState state);

#endif							/* SPOOL_RESEQ_RULES_H */
