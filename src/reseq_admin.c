/*-------------------------------------------------------------------------
 * reseq_admin.c
 *	  What operators do to resequencers: create, alter, drop, rights.
 *
 * Each verb changes rows of spool.resequencer in the caller's transaction,
 * under the resequencer's lock in mode RESEQ_ALTER (but for create, where the
 * unique name decides), and tells all backends.  RESEQ_ALTER waits for open
 * verbs.
 *
 * targets_by is evaluated, and outlets are written to, as the resequencer's
 * owner: so who sets the one must be able to become that role, and who sets
 * the other must be allowed to write to the queue, as the owner must.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "args.h"
#include "queue.h"
#include "resequencer.h"
#include "rights.h"
#include "spiutil.h"
#include "spool.h"

/* Arguments that create_resequencer and alter_resequencer share. */
enum
{
	ARG_NAME, ARG_TARGETS, ARG_TARGETS_BY, ARG_SUPERSEDE, ARG_ON_UNREGISTERED,
	ARG_ON_INVALID, ARG_DELIVERY, ARG_ON_FAILURE, ARG_DEADLINE, ARG_RETENTION,
	ARG_MAX_SUPPRESSED, ARG_MAX_SUPPRESS_AGE, ARG_TREE_TIMEOUT,
	ARG_ON_INCOMPLETE, ARG_ENABLED, ARG_OWNER, NUM_OPTIONS
};

PG_FUNCTION_INFO_V1(spool_create_resequencer);
PG_FUNCTION_INFO_V1(spool_alter_resequencer);
PG_FUNCTION_INFO_V1(spool_drop_resequencer);
PG_FUNCTION_INFO_V1(spool_grant_resequencer);
PG_FUNCTION_INFO_V1(spool_revoke_resequencer);
PG_FUNCTION_INFO_V1(spool_has_resequencer_privilege);

static void check_options(FunctionCallInfo fcinfo, bool complete);
static void check_choices(FunctionCallInfo fcinfo);
static void check_outlet_choice(FunctionCallInfo fcinfo, int argno,
								const char *name,
								const char *const *allowed);
static void check_above_zero(FunctionCallInfo fcinfo, int argno,
							 const char *name);
static Datum checked_targets(FunctionCallInfo fcinfo);
static void check_added(SpoolResequencer *resequencer, Datum targets);
static void check_outlet(FunctionCallInfo fcinfo, int argno,
						 const SpoolOutlet *present, Oid owner);
static const char *outlet_queue(FunctionCallInfo fcinfo, int argno);
static void check_owner_may(const char *queue_name, Oid owner);
static void set_targets_by(FunctionCallInfo fcinfo, const char *name,
						   Oid owner, Datum *path, char *null);
static void remove_contents(int32 resequencer);

/* Check what needs no look at the resequencer; complete: nothing is left out. */
static void
check_options(FunctionCallInfo fcinfo, bool complete)
{
	static const char *const names[] = {"name", "targets", "targets_by",
		"supersede", "on_unregistered", "on_invalid", "delivery",
		"on_failure", "deadline", "retention", "max_suppressed",
	"max_suppress_age", "tree_timeout", "on_incomplete", "enabled"};

	for (int i = 0; complete && i < (int) lengthof(names); i++)
		if (i != ARG_TARGETS_BY)
			spool_arg_required(fcinfo, i, names[i]);
	check_choices(fcinfo);
	check_above_zero(fcinfo, ARG_DEADLINE, "deadline");
	check_above_zero(fcinfo, ARG_RETENTION, "retention");
	spool_arg_check_interval(fcinfo, ARG_MAX_SUPPRESS_AGE, "max_suppress_age");
	spool_arg_check_interval(fcinfo, ARG_TREE_TIMEOUT, "tree_timeout");
	if (!PG_ARGISNULL(ARG_MAX_SUPPRESSED) &&
		PG_GETARG_INT32(ARG_MAX_SUPPRESSED) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_suppressed must not be negative"),
				 errhint("0 means no limit.")));
	spool_arg_check_owner(fcinfo, ARG_OWNER);
}

static void
check_choices(FunctionCallInfo fcinfo)
{
	static const char *const supersedes[] = {"park", "suppress", NULL};
	static const char *const unregistered[] = {"error", "dead", "register",
	"wait", OUTLET_QUEUE_PREFIX "NAME", NULL};
	static const char *const invalid[] = {"error", "dead",
	OUTLET_QUEUE_PREFIX "NAME", NULL};
	static const char *const deliveries[] = {"atomic", "acked", NULL};
	static const char *const failures[] = {"promote", "suspend", NULL};
	static const char *const incomplete[] = {"all_or_nothing", "in_sequence",
	NULL};

	spool_arg_check_choice(fcinfo, ARG_SUPERSEDE, "supersede", supersedes);
	check_outlet_choice(fcinfo, ARG_ON_UNREGISTERED, "on_unregistered",
						unregistered);
	check_outlet_choice(fcinfo, ARG_ON_INVALID, "on_invalid", invalid);
	spool_arg_check_choice(fcinfo, ARG_DELIVERY, "delivery", deliveries);
	spool_arg_check_choice(fcinfo, ARG_ON_FAILURE, "on_failure", failures);
	spool_arg_check_choice(fcinfo, ARG_ON_INCOMPLETE, "on_incomplete",
						   incomplete);
}

/* 22023 unless an outlet is NULL, a queue, or one of a list. */
static void
check_outlet_choice(FunctionCallInfo fcinfo, int argno, const char *name,
					const char *const *allowed)
{
	if (outlet_queue(fcinfo, argno) == NULL)
		spool_arg_check_choice(fcinfo, argno, name, allowed);
}

/* 22023 unless an interval is above 0.  NULL is no error. */
static void
check_above_zero(FunctionCallInfo fcinfo, int argno, const char *name)
{
	Interval	zero = {0, 0, 0};

	spool_arg_check_interval(fcinfo, argno, name);
	if (!PG_ARGISNULL(argno) &&
		DatumGetBool(DirectFunctionCall2(interval_eq,
										 PG_GETARG_DATUM(argno),
										 IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be greater than zero", name)));
}

/* The argument targets, checked; its subscripts begin with 1. */
static Datum
checked_targets(FunctionCallInfo fcinfo)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(ARG_TARGETS);
	Datum	   *targets;
	int			n;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("targets must be a one-dimensional array")));
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("targets must not contain nulls")));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &targets, NULL,
					  &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("targets must not be empty")));
	for (int i = 0; i < n; i++)
	{
		char	   *target = TextDatumGetCString(targets[i]);

		if (target[0] == '\0' || strlen(target) >= NAMEDATALEN)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid target name: \"%s\"", target),
					 errdetail("A target's name has 1 to %d bytes.",
							   NAMEDATALEN - 1)));
		for (int j = 0; j < i; j++)
			if (strcmp(TextDatumGetCString(targets[j]), target) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("target \"%s\" is given twice", target)));
	}
	return PointerGetDatum(construct_array(targets, n, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

/* 22023 unless targets begin with those that there are: rows have their places. */
static void
check_added(SpoolResequencer *resequencer, Datum targets)
{
	Datum	   *added;
	int			n;
	int			same = 0;

	deconstruct_array(DatumGetArrayTypeP(targets), TEXTOID, -1, false,
					  TYPALIGN_INT, &added, NULL, &n);
	while (same < resequencer->ntargets && same < n &&
		   strcmp(TextDatumGetCString(added[same]),
				  resequencer->targets[same]) == 0)
		same++;
	if (same < resequencer->ntargets)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("targets of resequencer \"%s\" can only be added to",
						resequencer->name),
				 errhint("Give all that there are, in the same order, and then the new ones.")));
}

/* The queue that an argument names as outlet, or NULL. */
static const char *
outlet_queue(FunctionCallInfo fcinfo, int argno)
{
	const char *prefix = OUTLET_QUEUE_PREFIX;
	char	   *outlet = spool_arg_text(fcinfo, argno, NULL);

	return outlet != NULL && strncmp(outlet, prefix, strlen(prefix)) == 0 ?
		outlet + strlen(prefix) : NULL;
}

/*
 * An outlet that is a queue: 42704 if there is none, 42501 unless who sets it
 * and the owner may write to it.  One that stays needs to suit a new owner.
 */
static void
check_outlet(FunctionCallInfo fcinfo, int argno, const SpoolOutlet *present,
			 Oid owner)
{
	const char *queue = outlet_queue(fcinfo, argno);

	if (queue != NULL)
	{
		spool_queue_check(spool_queue_lookup(queue, false), SPOOL_WRITE);
		check_owner_may(queue, owner);
	}
	else if (PG_ARGISNULL(argno) && present->kind == OUTLET_QUEUE &&
			 !PG_ARGISNULL(ARG_OWNER))
		check_owner_may(present->queue, owner);
}

/* 42501 unless an owner may write to a queue. */
static void
check_owner_may(const char *queue_name, Oid owner)
{
	if (!spool_object_allows(spool_queue_lookup(queue_name, false), owner,
							 SPOOL_WRITE))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for queue \"%s\"", queue_name),
				 errdetail("The owner of the resequencer, \"%s\", must be allowed to write to it.",
						   GetUserNameFromId(owner, false))));
}

/* Check the argument targets_by, and note the search_path it is to have. */
static void
set_targets_by(FunctionCallInfo fcinfo, const char *name, Oid owner,
			   Datum *path, char *null)
{
	char	   *targets_by = spool_arg_text(fcinfo, ARG_TARGETS_BY, "");

	*null = 'n';
	*path = (Datum) 0;
	if (targets_by[0] == '\0')
		return;
	compat_check_can_set_role(GetUserId(), owner);
	spool_targets_by_check(name, targets_by, owner, namespace_search_path);
	*null = ' ';
	*path = CStringGetTextDatum(namespace_search_path);
}

/* create_resequencer(name, ...options, if_not_exists) */
Datum
spool_create_resequencer(PG_FUNCTION_ARGS)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.resequencer (id, name, targets, targets_by,"
		" supersede, on_unregistered, on_invalid, delivery, on_failure,"
		" deadline, retention, max_suppressed, max_suppress_age, tree_timeout,"
		" on_incomplete, enabled, owner, targets_path)"
		" VALUES (nextval('spool.reseq_id_seq'), $1, $2, NULLIF($3, ''), $4,"
		" $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,"
		" $16::oid::regrole, $17)"
		" ON CONFLICT (name) DO NOTHING",
		SPI_OK_INSERT,
		PLAN_ARGS(TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
				  TEXTOID, TEXTOID, INTERVALOID, INTERVALOID, INT4OID,
				  INTERVALOID, INTERVALOID, TEXTOID, BOOLOID, OIDOID, TEXTOID)
	};
	const SpoolOutlet none = {OUTLET_ERROR, NULL};
	char	   *name = spool_object_name_arg(fcinfo, &spool_resequencers, "name");
	bool		if_not_exists;
	Datum		values[NUM_OPTIONS + 1];
	char		nulls[NUM_OPTIONS + 1];
	Oid			owner;

	if_not_exists = !PG_ARGISNULL(NUM_OPTIONS) && PG_GETARG_BOOL(NUM_OPTIONS);
	check_options(fcinfo, true);
	owner = PG_ARGISNULL(ARG_OWNER) ? GetUserId() : PG_GETARG_OID(ARG_OWNER);
	check_outlet(fcinfo, ARG_ON_UNREGISTERED, &none, owner);
	check_outlet(fcinfo, ARG_ON_INVALID, &none, owner);
	spool_arg_values(fcinfo, NUM_OPTIONS, values, nulls);
	values[ARG_TARGETS] = checked_targets(fcinfo);
	values[ARG_OWNER] = ObjectIdGetDatum(owner);
	nulls[ARG_OWNER] = ' ';
	set_targets_by(fcinfo, name, owner, &values[NUM_OPTIONS],
				   &nulls[NUM_OPTIONS]);
	if (spool_exec_alone(&plan, values, nulls) == 0)
		spool_object_exists(&spool_resequencers, name, if_not_exists);
	spool_resequencer_changed();
	PG_RETURN_VOID();
}

/* alter_resequencer(name, ...options) */
Datum
spool_alter_resequencer(PG_FUNCTION_ARGS)
{
	static SpoolPlan plan = {
		"UPDATE spool.resequencer SET targets = COALESCE($2, targets),"
		" targets_by = CASE WHEN $3 IS NULL THEN targets_by"
		" ELSE NULLIF($3, '') END,"
		" supersede = COALESCE($4, supersede),"
		" on_unregistered = COALESCE($5, on_unregistered),"
		" on_invalid = COALESCE($6, on_invalid),"
		" delivery = COALESCE($7, delivery),"
		" on_failure = COALESCE($8, on_failure),"
		" deadline = COALESCE($9, deadline),"
		" retention = COALESCE($10, retention),"
		" max_suppressed = COALESCE($11, max_suppressed),"
		" max_suppress_age = COALESCE($12, max_suppress_age),"
		" tree_timeout = COALESCE($13, tree_timeout),"
		" on_incomplete = COALESCE($14, on_incomplete),"
		" enabled = COALESCE($15, enabled),"
		" owner = COALESCE($16::oid::regrole, owner),"
		" targets_path = CASE WHEN $3 IS NULL THEN targets_path ELSE $17 END,"
		" acl = $18 WHERE name = $1",
		SPI_OK_UPDATE,
		PLAN_ARGS(TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
				  TEXTOID, TEXTOID, INTERVALOID, INTERVALOID, INT4OID,
				  INTERVALOID, INTERVALOID, TEXTOID, BOOLOID, OIDOID, TEXTOID,
				  ACLITEMARRAYOID)
	};
	SpoolResequencer *resequencer;
	Datum		values[NUM_OPTIONS + 2];
	char		nulls[NUM_OPTIONS + 2];
	Oid			owner;
	Acl		   *acl;

	(void) spool_object_name_arg(fcinfo, &spool_resequencers, "name");
	check_options(fcinfo, false);
	resequencer = spool_resequencer_open(PG_GETARG_TEXT_PP(ARG_NAME),
										 SPOOL_ADMIN, RESEQ_ALTER);
	acl = resequencer->acl;
	owner = resequencer->owner;
	if (!PG_ARGISNULL(ARG_OWNER))
	{
		owner = PG_GETARG_OID(ARG_OWNER);
		acl = spool_rights_of_owner(&spool_resequencers, resequencer, owner);
	}
	check_outlet(fcinfo, ARG_ON_UNREGISTERED, &resequencer->on_unregistered,
				 owner);
	check_outlet(fcinfo, ARG_ON_INVALID, &resequencer->on_invalid, owner);
	spool_arg_values(fcinfo, NUM_OPTIONS, values, nulls);
	if (!PG_ARGISNULL(ARG_TARGETS))
	{
		values[ARG_TARGETS] = checked_targets(fcinfo);
		check_added(resequencer, values[ARG_TARGETS]);
	}
	set_targets_by(fcinfo, resequencer->name, owner, &values[NUM_OPTIONS],
				   &nulls[NUM_OPTIONS]);
	values[NUM_OPTIONS + 1] = PointerGetDatum(acl);
	nulls[NUM_OPTIONS + 1] = acl ? ' ' : 'n';
	(void) spool_exec_alone(&plan, values, nulls);
	spool_resequencer_changed();
	PG_RETURN_VOID();
}

/*
 * Remove all that a resequencer knows.  Its keys are locked first, so that
 * nothing of them is being written when the rest is read.
 */
static void
remove_contents(int32 resequencer)
{
	static SpoolPlan lock = {
		"SELECT count(*) FROM (SELECT FROM spool.reseq_key"
		" WHERE resequencer = $1 ORDER BY id FOR UPDATE) k",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID)
	};
	static SpoolPlan plan = {
		"WITH k AS (DELETE FROM spool.reseq_key WHERE resequencer = $1"
		"  RETURNING id),"
		" l AS (DELETE FROM spool.reseq_lane"
		"  WHERE key = ANY (ARRAY(SELECT id FROM k))),"
		" d AS (DELETE FROM spool.reseq_delivery"
		"  WHERE key = ANY (ARRAY(SELECT id FROM k))),"
		" p AS (DELETE FROM spool.reseq_promotable WHERE resequencer = $1),"
		" b AS (DELETE FROM spool.reseq_dead WHERE resequencer = $1),"
		" t AS (DELETE FROM spool.reseq_tally WHERE resequencer = $1),"
		" e AS (DELETE FROM spool.reseq_expired WHERE resequencer = $1)"
		" DELETE FROM spool.resequencer WHERE id = $1",
		SPI_OK_DELETE, PLAN_ARGS(INT4OID)
	};
	Datum		values[1];

	values[0] = Int32GetDatum(resequencer);
	(void) spool_exec_alone(&lock, values, NULL);
	(void) spool_exec_alone(&plan, values, NULL);
}

/* drop_resequencer(name, if_exists) */
Datum
spool_drop_resequencer(PG_FUNCTION_ARGS)
{
	char	   *name = spool_object_name_arg(fcinfo, &spool_resequencers, "name");
	bool		if_exists = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	SpoolResequencer *resequencer;

	if (spool_object_gone(&spool_resequencers, name, if_exists))
		PG_RETURN_VOID();
	resequencer = spool_resequencer_open(PG_GETARG_TEXT_PP(0), SPOOL_ADMIN,
										 RESEQ_ALTER);
	remove_contents(resequencer->id);
	spool_resequencer_changed();
	PG_RETURN_VOID();
}

Datum
spool_grant_resequencer(PG_FUNCTION_ARGS)
{
	return spool_rights_change(fcinfo, &spool_resequencers, ACL_MODECHG_ADD);
}

Datum
spool_revoke_resequencer(PG_FUNCTION_ARGS)
{
	return spool_rights_change(fcinfo, &spool_resequencers, ACL_MODECHG_DEL);
}

Datum
spool_has_resequencer_privilege(PG_FUNCTION_ARGS)
{
	return spool_rights_has(fcinfo, &spool_resequencers);
}
