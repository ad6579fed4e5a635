/*-------------------------------------------------------------------------
 * resequencer.c
 *	  Resequencers: options, rights, locks.
 *
 * Rows of spool.resequencer are cached, opened and checked as catalog.c says.
 *
 * Locks: heavyweight locks of the class spool.resequencer, object = its id;
 * modes in resequencer.h.
 *
 * targets_by is an expression that users wrote.  It is evaluated as the
 * resequencer's owner, as owner.c says, by a plan that is kept with the cached
 * row and goes with it.  It cannot write: a verb is at work, which holds keys
 * and knows their lanes, and would not notice a change.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_coerce.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/plancache.h"

#include "owner.h"
#include "resequencer.h"
#include "spiutil.h"
#include "spool.h"

/* A row as it is cached. */
typedef struct CachedResequencer
{
	SpoolResequencer shown;
	char	   *targets_path;	/* search_path of who set targets_by */
	SPIPlanPtr	plan;			/* of targets_by, NULL = not yet made */
	MemoryContextCallback forget;	/* frees the plan with the row */
} CachedResequencer;

/* What an error in targets_by tells. */
typedef struct TargetsContext
{
	ErrorContextCallback callback;
	const char *resequencer;
	const char *parsed;			/* the text that is being parsed, or NULL */
} TargetsContext;

static void fill_resequencer(void *row);
static void fill_rules(SpoolReseqRules *rules);
static SpoolOutlet outlet_from_name(char *name);
static void forget_plan(void *arg);
static SPIPlanPtr prepare_targets_by(const char *targets_by,
									 const char *cast);
static void targets_begin(TargetsContext *context, const char *resequencer);
static void targets_end(TargetsContext *context);
static void report_targets(void *arg);
static void check_parses(TargetsContext *context, const char *targets_by);
static void check_result(SPIPlanPtr plan);

SpoolCatalog spool_resequencers = {
	.noun = "resequencer",
	.table = "resequencer",
	.size = sizeof(CachedResequencer),
	.read = {
		"SELECT id, owner::oid, acl, targets, targets_by, targets_path,"
		" on_unregistered, on_invalid, delivery = 'acked',"
		" on_failure = 'suspend', deadline, retention, tree_timeout, enabled,"
		" supersede = 'park', on_incomplete = 'all_or_nothing',"
		" max_suppressed, max_suppress_age"
		" FROM spool.resequencer WHERE name = $1",
		SPI_OK_SELECT, PLAN_ARGS(TEXTOID)
	},
	.fill = fill_resequencer,
	.set_acl = {
		"UPDATE spool.resequencer SET acl = $2 WHERE id = $1",
		SPI_OK_UPDATE, PLAN_ARGS(INT4OID, ACLITEMARRAYOID)
	}
};

spool_is_object(SpoolResequencer);

/* Open a resequencer for a verb. */
SpoolResequencer *
spool_resequencer_open(text *name, AclMode right, LOCKMODE lockmode)
{
	return spool_object_open(&spool_resequencers, name, right, lockmode,
							 lockmode != RESEQ_LOOK);
}

/*
 * The resequencer of a name, from the cache; 42704 or NULL if there is none.
 * Without a lock this is only a look.
 */
SpoolResequencer *
spool_resequencer_lookup(const char *name, bool missing_ok)
{
	return spool_object_lookup(&spool_resequencers, name, missing_ok);
}

/* Whether the calling role has one of some rights on a resequencer. */
bool
spool_resequencer_allows(SpoolResequencer *resequencer, AclMode rights)
{
	return spool_object_allows(resequencer, GetUserId(), rights);
}

/* Tell all backends, at commit, that a row changed. */
void
spool_resequencer_changed(void)
{
	spool_catalog_changed(&spool_resequencers);
}

/* The number of a target, from 1; 0 if there is no such target. */
int
spool_resequencer_target(SpoolResequencer *resequencer, const char *name)
{
	for (int i = 0; i < resequencer->ntargets; i++)
		if (strcmp(resequencer->targets[i], name) == 0)
			return i + 1;
	return 0;
}

/* The options from the result's only row. */
static void
fill_resequencer(void *row)
{
	CachedResequencer *cached = row;
	SpoolResequencer *resequencer = row;

	resequencer->ntargets = spool_field_texts(0, 4, &resequencer->targets);
	resequencer->targets_by = spool_field_text(0, 5);
	cached->targets_path = spool_field_text(0, 6);
	resequencer->on_unregistered = outlet_from_name(spool_field_text(0, 7));
	resequencer->on_invalid = outlet_from_name(spool_field_text(0, 8));
	resequencer->acked = DatumGetBool(spool_field(0, 9, NULL));
	resequencer->suspends = DatumGetBool(spool_field(0, 10, NULL));
	resequencer->deadline_ms = spool_field_ms(0, 11);
	resequencer->retention_ms = spool_field_ms(0, 12);
	resequencer->tree_timeout_ms = spool_field_ms(0, 13);
	fill_rules(&resequencer->rules);
	cached->forget.func = forget_plan;
	cached->forget.arg = cached;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &cached->forget);
}

static void
fill_rules(SpoolReseqRules *rules)
{
	rules->enabled = DatumGetBool(spool_field(0, 14, NULL));
	rules->parks = DatumGetBool(spool_field(0, 15, NULL));
	rules->whole = DatumGetBool(spool_field(0, 16, NULL));
	rules->max_suppressed = DatumGetInt32(spool_field(0, 17, NULL));
	rules->max_suppress_us = spool_field_us(0, 18);
}

static SpoolOutlet
outlet_from_name(char *name)
{
	SpoolOutlet outlet = {OUTLET_ERROR, NULL};

	if (strncmp(name, OUTLET_QUEUE_PREFIX, strlen(OUTLET_QUEUE_PREFIX)) == 0)
	{
		outlet.kind = OUTLET_QUEUE;
		outlet.queue = name + strlen(OUTLET_QUEUE_PREFIX);
	}
	else if (strcmp(name, "dead") == 0)
		outlet.kind = OUTLET_DEAD;
	else if (strcmp(name, "register") == 0)
		outlet.kind = OUTLET_REGISTER;
	else if (strcmp(name, "wait") == 0)
		outlet.kind = OUTLET_WAIT;
	return outlet;
}

/* The row's memory is given back: so is its plan. */
static void
forget_plan(void *arg)
{
	CachedResequencer *cached = arg;

	if (cached->plan != NULL)
		SPI_freeplan(cached->plan);
	cached->plan = NULL;
}

/* What targets_by says of a key; NULL if there is none or it is NULL. */
ArrayType *
spool_resequencer_targets_for(SpoolResequencer *resequencer, text *key)
{
	CachedResequencer *cached = (CachedResequencer *) resequencer;
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[1];
	Datum		targets = (Datum) 0;
	TargetsContext context;
	SpoolAsOwner was;
	bool		read_only;
	bool		null = true;

	if (resequencer->targets_by == NULL)
		return NULL;
	values[0] = PointerGetDatum(key);
	targets_begin(&context, resequencer->name);
	spool_owner_begin(&was, resequencer->owner, cached->targets_path);
	read_only = XactReadOnly;
	XactReadOnly = true;		/* also until an error ends the transaction */
	SPI_connect();
	if (cached->plan == NULL)
	{
		SPIPlanPtr	plan;

		plan = prepare_targets_by(resequencer->targets_by,
								  "::pg_catalog.text[]");
		(void) SPI_keepplan(plan);
		cached->plan = plan;
	}
	if (SPI_execute_plan(cached->plan, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of targets_by");
	if (SPI_processed > 0)
		targets = spool_field_copy(0, 1, TEXTARRAYOID, &null, caller);
	SPI_finish();
	XactReadOnly = read_only;
	spool_owner_end(&was);
	targets_end(&context);
	return null ? NULL : DatumGetArrayTypeP(targets);
}

/*
 * 22023, or what the parser says, unless targets_by is an expression that
 * gives text[], to be evaluated as an owner with a search_path.
 */
void
spool_targets_by_check(const char *resequencer, const char *targets_by,
					   Oid owner, const char *path)
{
	TargetsContext context;
	SpoolAsOwner was;

	targets_begin(&context, resequencer);
	check_parses(&context, targets_by);
	spool_owner_begin(&was, owner, path);
	SPI_connect();
	check_result(prepare_targets_by(targets_by, ""));
	SPI_finish();
	spool_owner_end(&was);
	targets_end(&context);
}

/* The error's context: from here on errors tell where they come from. */
static void
targets_begin(TargetsContext *context, const char *resequencer)
{
	context->resequencer = resequencer;
	context->parsed = NULL;
	context->callback.callback = report_targets;
	context->callback.arg = context;
	context->callback.previous = error_context_stack;
	error_context_stack = &context->callback;
}

static void
targets_end(TargetsContext *context)
{
	error_context_stack = context->callback.previous;
}

/* Error context callback. */
static void
report_targets(void *arg)
{
	TargetsContext *context = arg;
	int			position = geterrposition();

	if (position > 0 && context->parsed != NULL)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(context->parsed);
	}
	errcontext("targets_by of resequencer \"%s\"", context->resequencer);
}

/*
 * An expression must parse outside parentheses, too: it shall not close those
 * that it is put in.
 */
static void
check_parses(TargetsContext *context, const char *targets_by)
{
	context->parsed = psprintf("SELECT %s", targets_by);
	(void) raw_parser(context->parsed, RAW_PARSE_DEFAULT);
	context->parsed = NULL;
}

/* Prepare the statement that evaluates targets_by for $1 and casts it. */
static SPIPlanPtr
prepare_targets_by(const char *targets_by, const char *cast)
{
	Oid			type = TEXTOID;
	char	   *sql;
	SPIPlanPtr	plan;

	sql = psprintf("SELECT (%s\n)%s FROM (SELECT $1 AS key) AS k", targets_by,
				   cast);
	plan = SPI_prepare(sql, 1, &type);
	if (plan == NULL)
		elog(ERROR, "could not prepare targets_by: %s",
			 SPI_result_code_string(SPI_result));
	return plan;
}

/* 22023 unless a statement gives one text[]. */
static void
check_result(SPIPlanPtr plan)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	Oid			array = TEXTARRAYOID;
	Oid			type = TupleDescAttr(source->resultDesc, 0)->atttypid;

	if (!can_coerce_type(1, &type, &array, COERCION_IMPLICIT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("targets_by must give text[], not %s",
						format_type_be(type))));
	if (linitial_node(Query, source->query_list)->hasTargetSRFs)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("targets_by must not return a set")));
}
