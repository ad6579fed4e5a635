/*-------------------------------------------------------------------------
 * hooks.c
 *	  Statements that concern workers.
 *
 * Only with preload, which is where workers are found by themselves.
 *
 * DROP DATABASE, CREATE DATABASE of a template, and ALTER DATABASE to rename
 * or move want nobody else in the database.  Manager and workers are told to
 * leave it before, and nothing is started there until the transaction ended;
 * a job that runs longer is treated as any session is.  Only roles that may
 * do such a thing are listened to.
 *
 * COMMIT PREPARED and ROLLBACK PREPARED: what the transaction did is not known
 * here, so all queues are looked at; that is announced before it is done.
 *
 * CREATE, ALTER and DROP EXTENSION, and statements that change what a role may
 * do: managers look again whether the extension is there, and whether owners
 * can run jobs.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "compat.h"
#include "hooks.h"
#include "shared.h"
#include "spool.h"

/* How long workers may take to leave a database. */
#define LEAVE_MS 4000

/* What is told when a statement's transaction commits. */
typedef enum After
{
	AFTER_NOTHING,
	AFTER_DATABASES,
	AFTER_ROLE
} After;

static ProcessUtility_hook_type previous_utility_hook = NULL;
static object_access_hook_type previous_access_hook = NULL;

static void utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *environment, DestReceiver *dest,
					QueryCompletion *completion);
static void object_access(ObjectAccessType access, Oid class, Oid object,
						  int subobject, void *arg);
static void clear_database(const char *name, bool copied, SpoolAwait await);
static bool may_create_databases(Oid role);
static const char *option_text(List *options, const char *name);
static After before(Node *statement);

void
spool_hooks_init(void)
{
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	previous_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	previous_access_hook = object_access_hook;
	object_access_hook = object_access;
}

static void
utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
		ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *environment, DestReceiver *dest,
		QueryCompletion *completion)
{
	/* the statement may be gone when it is done */
	After		after = before(pstmt->utilityStmt);

	if (previous_utility_hook)
		previous_utility_hook(pstmt, query, read_only_tree, context, params,
							  environment, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params,
								environment, dest, completion);
	switch (after)
	{
		case AFTER_DATABASES:
			spool_hint_databases();
			break;
		case AFTER_ROLE:
			spool_hint_roles();
			break;
		case AFTER_NOTHING:
			break;
	}
}

/* An extension was created, changed or dropped. */
static void
object_access(ObjectAccessType access, Oid class, Oid object, int subobject,
			  void *arg)
{
	if (previous_access_hook)
		previous_access_hook(access, class, object, subobject, arg);
	if (class == ExtensionRelationId &&
		(access == OAT_POST_CREATE || access == OAT_POST_ALTER ||
		 access == OAT_DROP))
		spool_hint_extension();
}

/* The text of an option of CREATE or ALTER DATABASE, or NULL. */
static const char *
option_text(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* Whether a role may create databases. */
static bool
may_create_databases(Oid role)
{
	HeapTuple	tuple;
	bool		may = superuser_arg(role);

	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	if (HeapTupleIsValid(tuple))
	{
		may |= ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return may;
}

/* Have our processes leave a database, if the caller may ask for that. */
static void
clear_database(const char *name, bool copied, SpoolAwait await)
{
	Oid			database = get_database_oid(name, true);
	bool		allowed;

	if (!OidIsValid(database) || RecoveryInProgress())
		return;
	allowed = compat_owns_database(database, GetUserId());
	if (copied && !allowed)
	{
		HeapTuple	tuple = SearchSysCache1(DATABASEOID,
											ObjectIdGetDatum(database));

		allowed = HeapTupleIsValid(tuple) &&
			((Form_pg_database) GETSTRUCT(tuple))->datistemplate &&
			may_create_databases(GetUserId());
		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
	}
	if (!allowed)
		return;
	spool_database_hold(database);
	if (spool_tell_leave(database))
		spool_await_leave(database, await, LEAVE_MS);
}

/* Do what comes before a statement; returns what comes after it. */
static After
before(Node *statement)
{
	const char *template;
	DropdbStmt *drop;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			/* with FORCE those who run jobs are terminated */
			drop = castNode(DropdbStmt, statement);
			clear_database(drop->dbname, false,
						   drop->options != NIL ? AWAIT_IDLE : AWAIT_ALL);
			return AFTER_NOTHING;
		case T_CreatedbStmt:
			template = option_text(castNode(CreatedbStmt, statement)->options,
								   "template");
			clear_database(template ? template : "template1", true,
						   AWAIT_ALL);
			return AFTER_DATABASES;
		case T_AlterDatabaseStmt:
			if (option_text(castNode(AlterDatabaseStmt, statement)->options,
							"tablespace") != NULL)
				clear_database(castNode(AlterDatabaseStmt, statement)->dbname,
							   false, AWAIT_ALL);
			return AFTER_DATABASES;
		case T_RenameStmt:
			if (castNode(RenameStmt, statement)->renameType != OBJECT_DATABASE)
				return AFTER_NOTHING;
			clear_database(castNode(RenameStmt, statement)->subname, false,
						   AWAIT_ALL);
			return AFTER_DATABASES;
		case T_AlterRoleStmt:
		case T_AlterRoleSetStmt:
		case T_DropRoleStmt:
		case T_GrantRoleStmt:
			return AFTER_ROLE;
		case T_TransactionStmt:
			switch (castNode(TransactionStmt, statement)->kind)
			{
				case TRANS_STMT_COMMIT_PREPARED:
				case TRANS_STMT_ROLLBACK_PREPARED:
					spool_hint_prepared();
					return AFTER_NOTHING;
				default:
					return AFTER_NOTHING;
			}
		default:
			return AFTER_NOTHING;
	}
}
