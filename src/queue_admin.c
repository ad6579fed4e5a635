/*-------------------------------------------------------------------------
 * queue_admin.c
 *	  What operators do to queues: create, alter, drop, commands, rights.
 *
 * Each verb changes rows of spool.queue in the caller's transaction, under
 * the queue's lock in mode QUEUE_ALTER (but for create, where the unique name
 * decides), and tells all backends.  QUEUE_ALTER waits for open producers,
 * takers and the job that runs.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "args.h"
#include "handler.h"
#include "kept.h"
#include "program.h"
#include "queue.h"
#include "rights.h"
#include "schedule.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "store.h"

/* The most jobs of a queue that workers run at once: what a server can have. */
#define MAX_QUEUE_WORKERS	1024

/* Arguments that create_queue and alter_queue share. */
enum
{
	ARG_QUEUE, ARG_ORDER_BY, ARG_APPEND_ONLY, ARG_MAX_ATTEMPTS, ARG_ON_ERROR,
	ARG_RETRY_DELAY, ARG_RETRY_DELAY_MAX, ARG_GAP_TIMEOUT, ARG_TIMEOUT,
	ARG_QUIET, ARG_MAX_WAIT, ARG_ALLOW_JOB_PARAMS, ARG_IGNORE_PAYLOAD,
	ARG_RETENTION, ARG_HISTORY, ARG_WORKERS, ARG_OWNER, NUM_OPTIONS
};

PG_FUNCTION_INFO_V1(spool_create_queue);
PG_FUNCTION_INFO_V1(spool_alter_queue);
PG_FUNCTION_INFO_V1(spool_drop_queue);
PG_FUNCTION_INFO_V1(spool_set_handler);
PG_FUNCTION_INFO_V1(spool_set_program);
PG_FUNCTION_INFO_V1(spool_grant_queue);
PG_FUNCTION_INFO_V1(spool_revoke_queue);
PG_FUNCTION_INFO_V1(spool_has_queue_privilege);

static void check_options(FunctionCallInfo fcinfo, bool complete);
static void check_quiet(FunctionCallInfo fcinfo, const SpoolQueue *queue);
static void change_order(SpoolQueue *queue, SpoolOrder order);
static void remove_contents(int32 queue);
static void set_command(SpoolQueue *queue, char *handler, char *path,
						char *program, Datum args);

/* Check all options; complete: those with a default must not be NULL. */
static void
check_options(FunctionCallInfo fcinfo, bool complete)
{
	static const char *const orders[] = {"sequence", "timestamp", "latest",
	"none", NULL};
	static const char *const on_errors[] = {"retry", "dead", "leave",
	"delete", NULL};
	static const char *const histories[] = {"failures", "all", "none", NULL};
	static const char *const names[] = {"queue", "order_by", "append_only",
		"max_attempts", "on_error", "retry_delay", "retry_delay_max",
		"gap_timeout", "timeout", "quiet", "max_wait", "allow_job_params",
	"ignore_payload", "retention", "history", "workers"};

	for (int i = 0; complete && i < (int) lengthof(names); i++)
		if (i != ARG_MAX_ATTEMPTS)
			spool_arg_required(fcinfo, i, names[i]);
	spool_arg_check_choice(fcinfo, ARG_ORDER_BY, "order_by", orders);
	spool_arg_check_choice(fcinfo, ARG_ON_ERROR, "on_error", on_errors);
	spool_arg_check_choice(fcinfo, ARG_HISTORY, "history", histories);
	for (int i = ARG_RETRY_DELAY; i <= ARG_MAX_WAIT; i++)
		spool_arg_check_interval(fcinfo, i, names[i]);
	spool_arg_check_interval(fcinfo, ARG_RETENTION, "retention");
	if (!PG_ARGISNULL(ARG_MAX_ATTEMPTS) && PG_GETARG_INT32(ARG_MAX_ATTEMPTS) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_attempts must not be negative"),
				 errhint("0 means no limit.")));
	if (!PG_ARGISNULL(ARG_WORKERS) &&
		(PG_GETARG_INT32(ARG_WORKERS) < 0 ||
		 PG_GETARG_INT32(ARG_WORKERS) > MAX_QUEUE_WORKERS))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("workers must be between 0 and %d",
						MAX_QUEUE_WORKERS)));
	spool_arg_check_owner(fcinfo, ARG_OWNER);
}

/*
 * 22023 unless quiet and max_wait go with each other and with the order;
 * queue: whose options hold where the argument is NULL, or NULL.
 */
static void
check_quiet(FunctionCallInfo fcinfo, const SpoolQueue *queue)
{
	SpoolOrder	order;
	int64		quiet;
	int64		max_wait;

	order = PG_ARGISNULL(ARG_ORDER_BY) ? queue->order :
		spool_order_from_name(spool_arg_text(fcinfo, ARG_ORDER_BY, NULL));
	quiet = PG_ARGISNULL(ARG_QUIET) ? queue->quiet_ms :
		spool_interval_ms(PG_GETARG_INTERVAL_P(ARG_QUIET));
	max_wait = PG_ARGISNULL(ARG_MAX_WAIT) ? queue->max_wait_ms :
		spool_interval_ms(PG_GETARG_INTERVAL_P(ARG_MAX_WAIT));

	if (order != ORDER_LATEST && (quiet > 0 || max_wait > 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("quiet and max_wait are options of queues in order \"latest\""),
				 errhint("Set both to 0, or order_by to \"latest\".")));
	if (max_wait > 0 && quiet == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_wait must not be set without quiet"),
				 errhint("max_wait is how long quiet is waited for at the most.")));
	if (max_wait > 0 && max_wait < quiet)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_wait must not be shorter than quiet"),
				 errhint("0 means no limit.")));
}

/* create_queue(queue, ...options, if_not_exists) */
Datum
spool_create_queue(PG_FUNCTION_ARGS)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.queue (id, name, order_by, append_only,"
		" max_attempts, on_error, retry_delay, retry_delay_max, gap_timeout,"
		" timeout, quiet, max_wait, allow_job_params, ignore_payload,"
		" retention, history, workers, owner)"
		" VALUES (nextval('spool.queue_id_seq'), $1, $2, $3, $4, $5, $6, $7,"
		" $8, $9, $10, $11, $12, $13, $14, $15, $16, $17::oid::regrole)"
		" ON CONFLICT (name) DO NOTHING",
		SPI_OK_INSERT,
		PLAN_ARGS(TEXTOID, TEXTOID, BOOLOID, INT4OID, TEXTOID, INTERVALOID,
				  INTERVALOID, INTERVALOID, INTERVALOID, INTERVALOID,
				  INTERVALOID, BOOLOID, BOOLOID, INTERVALOID, TEXTOID,
				  INT4OID, OIDOID)
	};
	bool		if_not_exists;
	char	   *name = spool_object_name_arg(fcinfo, &spool_queues, "queue");
	Datum		values[NUM_OPTIONS];
	char		nulls[NUM_OPTIONS];

	if_not_exists = !PG_ARGISNULL(NUM_OPTIONS) && PG_GETARG_BOOL(NUM_OPTIONS);
	check_options(fcinfo, true);
	check_quiet(fcinfo, NULL);
	spool_arg_values(fcinfo, NUM_OPTIONS, values, nulls);
	if (nulls[ARG_OWNER] == 'n')
	{
		nulls[ARG_OWNER] = ' ';
		values[ARG_OWNER] = ObjectIdGetDatum(GetUserId());
	}
	if (spool_exec_alone(&plan, values, nulls) == 0)
		spool_object_exists(&spool_queues, name, if_not_exists);
	spool_queue_changed();
	PG_RETURN_VOID();
}

/* alter_queue(queue, ...options) */
Datum
spool_alter_queue(PG_FUNCTION_ARGS)
{
	static SpoolPlan plan = {
		"UPDATE spool.queue SET order_by = COALESCE($2, order_by),"
		" append_only = COALESCE($3, append_only),"
		" max_attempts = COALESCE($4, max_attempts),"
		" on_error = COALESCE($5, on_error),"
		" retry_delay = COALESCE($6, retry_delay),"
		" retry_delay_max = COALESCE($7, retry_delay_max),"
		" gap_timeout = COALESCE($8, gap_timeout),"
		" timeout = COALESCE($9, timeout),"
		" quiet = COALESCE($10, quiet), max_wait = COALESCE($11, max_wait),"
		" allow_job_params = COALESCE($12, allow_job_params),"
		" ignore_payload = COALESCE($13, ignore_payload),"
		" retention = COALESCE($14, retention),"
		" history = COALESCE($15, history),"
		" workers = COALESCE($16, workers),"
		" owner = COALESCE($17::oid::regrole, owner), acl = $18"
		" WHERE name = $1",
		SPI_OK_UPDATE,
		PLAN_ARGS(TEXTOID, TEXTOID, BOOLOID, INT4OID, TEXTOID, INTERVALOID,
				  INTERVALOID, INTERVALOID, INTERVALOID, INTERVALOID,
				  INTERVALOID, BOOLOID, BOOLOID, INTERVALOID, TEXTOID,
				  INT4OID, OIDOID, ACLITEMARRAYOID)
	};
	Datum		values[NUM_OPTIONS + 1];
	char		nulls[NUM_OPTIONS + 1];
	SpoolQueue *queue;
	Acl		   *acl;

	(void) spool_object_name_arg(fcinfo, &spool_queues, "queue");
	check_options(fcinfo, false);
	queue = spool_queue_open(PG_GETARG_TEXT_PP(ARG_QUEUE), SPOOL_ADMIN,
							 QUEUE_ALTER);
	check_quiet(fcinfo, queue);
	acl = queue->acl;
	spool_arg_values(fcinfo, NUM_OPTIONS, values, nulls);
	if (!PG_ARGISNULL(ARG_OWNER))
		acl = spool_rights_of_owner(&spool_queues, queue,
									PG_GETARG_OID(ARG_OWNER));
	if (!PG_ARGISNULL(ARG_ORDER_BY))
		change_order(queue,
					 spool_order_from_name(spool_arg_text(fcinfo, ARG_ORDER_BY,
														  NULL)));
	values[NUM_OPTIONS] = PointerGetDatum(acl);
	nulls[NUM_OPTIONS] = acl ? ' ' : 'n';
	(void) spool_exec_alone(&plan, values, nulls);
	if (!PG_ARGISNULL(ARG_QUIET) || !PG_ARGISNULL(ARG_MAX_WAIT))
		spool_hint(queue->id, SPOOL_ALL_STREAMS);	/* who sleeps till then */
	spool_queue_changed();
	PG_RETURN_VOID();
}

/*
 * Let a queue have another order, which gives positions another meaning: only
 * while it holds nothing but consumed packets.
 */
static void
change_order(SpoolQueue *queue, SpoolOrder order)
{
	if (order == queue->order)
		return;
	if (spool_store_has_waiting(queue->id, spool_by_number(queue->order)) ||
		spool_schedule_any(queue->id) || spool_kept_any(queue->id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot change the order of queue \"%s\" while it holds packets",
						queue->name),
				 errdetail("Packets that wait, that are retained and dead letters count.")));
	remove_contents(queue->id);
}

/*
 * Remove all streams of a queue and what they hold, and its keys.  The streams
 * are locked first, so that nothing of them is being moved when that is read
 * (survive.c).
 */
static void
remove_contents(int32 queue)
{
	static SpoolPlan lock = {
		"SELECT count(*) FROM (SELECT FROM spool.stream WHERE queue = $1"
		" ORDER BY id FOR UPDATE) s",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID)
	};
	static SpoolPlan plan = {
		"WITH s AS (DELETE FROM spool.stream WHERE queue = $1 RETURNING id),"
		" p AS (DELETE FROM spool.store"
		"  WHERE stream = ANY (ARRAY(SELECT id FROM s))),"
		" k AS (DELETE FROM spool.kept"
		"  WHERE stream = ANY (ARRAY(SELECT id FROM s))),"
		" t AS (DELETE FROM spool.tally"
		"  WHERE stream = ANY (ARRAY(SELECT id FROM s))),"
		" n AS (DELETE FROM spool.numbering"
		"  WHERE stream = ANY (ARRAY(SELECT id FROM s))),"
		" d AS (DELETE FROM spool.scheduled WHERE queue = $1),"
		" i AS (DELETE FROM spool.key WHERE queue = $1)"
		" DELETE FROM spool.state WHERE consumer = 0"
		"  AND stream = ANY (ARRAY(SELECT id FROM s))",
		SPI_OK_DELETE, PLAN_ARGS(INT4OID)
	};
	Datum		values[1];

	values[0] = Int32GetDatum(queue);
	(void) spool_exec_alone(&lock, values, NULL);
	(void) spool_exec_alone(&plan, values, NULL);
}

/* drop_queue(queue, force, if_exists) */
Datum
spool_drop_queue(PG_FUNCTION_ARGS)
{
	static SpoolPlan plan = {
		"WITH t AS (DELETE FROM spool.attempt WHERE queue = $1),"
		" a AS (DELETE FROM spool.action WHERE queue = $1)"
		" DELETE FROM spool.queue WHERE id = $1",
		SPI_OK_DELETE, PLAN_ARGS(INT4OID)
	};
	char	   *name = spool_object_name_arg(fcinfo, &spool_queues, "queue");
	bool		force = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	bool		if_exists = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	SpoolQueue *queue;
	Datum		values[1];

	if (spool_object_gone(&spool_queues, name, if_exists))
		PG_RETURN_VOID();
	queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_ADMIN, QUEUE_ALTER);
	if (!force &&
		(spool_store_has_waiting(queue->id, spool_by_number(queue->order)) ||
		 spool_schedule_any(queue->id)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot drop queue \"%s\" while packets wait",
						queue->name),
				 errhint("Use drop_queue(..., force => true) to drop them too.")));
	remove_contents(queue->id);
	values[0] = Int32GetDatum(queue->id);
	(void) spool_exec_alone(&plan, values, NULL);
	spool_queue_changed();
	spool_hint(queue->id, SPOOL_ALL_STREAMS);	/* who waits for it */
	PG_RETURN_VOID();
}

/*
 * Record a queue's command, at most one of handler and program.  It runs as
 * the queue's owner, so who sets it must be able to become that role.
 */
static void
set_command(SpoolQueue *queue, char *handler, char *path, char *program,
			Datum args)
{
	static SpoolPlan plan = {
		"UPDATE spool.queue SET handler = $2, handler_path = $3,"
		" program = $4, args = $5 WHERE id = $1",
		SPI_OK_UPDATE,
		PLAN_ARGS(INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID)
	};
	Datum		values[5];
	char		nulls[5];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int32GetDatum(queue->id);
	values[1] = handler ? CStringGetTextDatum(handler) : (Datum) 0;
	values[2] = path ? CStringGetTextDatum(path) : (Datum) 0;
	values[3] = program ? CStringGetTextDatum(program) : (Datum) 0;
	values[4] = args;
	nulls[1] = handler ? ' ' : 'n';
	nulls[2] = path ? ' ' : 'n';
	nulls[3] = program ? ' ' : 'n';
	nulls[4] = args ? ' ' : 'n';
	(void) spool_exec_alone(&plan, values, nulls);
	spool_queue_changed();
}

/* set_handler(queue, statement) */
Datum
spool_set_handler(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue;
	char	   *statement = NULL;

	(void) spool_object_name_arg(fcinfo, &spool_queues, "queue");
	queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_ADMIN, QUEUE_ALTER);
	compat_check_can_set_role(GetUserId(), queue->owner);
	if (!PG_ARGISNULL(1))
	{
		statement = text_to_cstring(PG_GETARG_TEXT_PP(1));
		spool_handler_check(statement);
	}
	set_command(queue, statement, statement ? namespace_search_path : NULL,
				NULL, (Datum) 0);
	PG_RETURN_VOID();
}

/* set_program(queue, program, args) */
Datum
spool_set_program(PG_FUNCTION_ARGS)
{
	SpoolQueue *queue;
	char	   *program = NULL;
	Datum		args = (Datum) 0;

	(void) spool_object_name_arg(fcinfo, &spool_queues, "queue");
	queue = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_ADMIN, QUEUE_ALTER);
	compat_check_can_set_role(GetUserId(), queue->owner);
	if (!PG_ARGISNULL(1))
	{
		program = text_to_cstring(PG_GETARG_TEXT_PP(1));
		spool_program_check_rights(GetUserId());
		spool_program_check_path(program);
		if (PG_ARGISNULL(2) ||
			array_contains_nulls(PG_GETARG_ARRAYTYPE_P(2)))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("args must not be null or contain nulls")));
		args = PG_GETARG_DATUM(2);
	}
	set_command(queue, NULL, NULL, program, args);
	PG_RETURN_VOID();
}

Datum
spool_grant_queue(PG_FUNCTION_ARGS)
{
	return spool_rights_change(fcinfo, &spool_queues, ACL_MODECHG_ADD);
}

Datum
spool_revoke_queue(PG_FUNCTION_ARGS)
{
	return spool_rights_change(fcinfo, &spool_queues, ACL_MODECHG_DEL);
}

Datum
spool_has_queue_privilege(PG_FUNCTION_ARGS)
{
	return spool_rights_has(fcinfo, &spool_queues);
}
