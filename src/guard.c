/*-------------------------------------------------------------------------
 * guard.c
 *	  A table that refuses stale writes by itself.
 *
 * guard() creates a trigger on the table: BEFORE UPDATE, FOR EACH ROW, with a
 * WHEN condition that compares the numbers of the old and of the new row.  Of
 * a row that keeps its key and gets a lower number, or none, the trigger's
 * function refuses the update: the row stays as it is, and the statement does
 * not count it.  The server evaluates the condition on the newest version of
 * the row, under the row's lock, so the order in which transactions decided
 * and wrote does not matter.  An equal number is the same write again.
 *
 * The trigger belongs to the table, not to the extension: it is created and
 * dropped by SQL statements with the caller's rights, follows renames, and is
 * dumped with the table.  A guard is any trigger whose function is
 * spool.refuse_stale, whatever its name is now.  The condition names operators
 * with their schemas: equality is that of the unique index on the key, "less"
 * that of the default order of the number's type.
 *
 * A row that is gone has no number: the trigger cannot refuse an insert after
 * a delete, nor a DELETE, which brings no number.  Nor can it refuse an update
 * of the key.  The unique index, without which a stale INSERT would add a
 * second row, is looked for when the guard is created, and not held.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "args.h"
#include "spool.h"

PG_FUNCTION_INFO_V1(spool_guard);
PG_FUNCTION_INFO_V1(spool_unguard);
PG_FUNCTION_INFO_V1(spool_refuse_stale);

/* One of the two columns that a guard compares. */
typedef struct GuardColumn
{
	AttrNumber	attnum;
	Oid			type;			/* of a domain, what it is based on */
	Oid			comparison;		/* operator: "=" for a key, "<" for a number */
	Oid			collation;		/* to compare with; 0 is the column's */
	char	   *old_value;		/* OLD.column */
	char	   *new_value;		/* NEW.column */
} GuardColumn;

static GuardColumn column_of(Relation table, const char *name);
static bool is_key(Relation table, Relation index, GuardColumn *key);
static void find_key(Relation table, GuardColumn *key);
static void find_order(GuardColumn *number);
static void append_comparison(StringInfo sql, const char *left,
							  const char *right, GuardColumn *column);
static char *guard_statement(Relation table, const char *key_name,
							 const char *number_name);
static char *guard_of(Oid table);
static char *table_name(Oid table);
static void run_as_caller(const char *sql);

/* A column of a table, or 42703. */
static GuardColumn
column_of(Relation table, const char *name)
{
	GuardColumn column = {0};

	column.attnum = get_attnum(RelationGetRelid(table), name);
	if (column.attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						name, RelationGetRelationName(table))));
	column.type = getBaseType(get_atttype(RelationGetRelid(table),
										  column.attnum));
	column.old_value = psprintf("OLD.%s", quote_identifier(name));
	column.new_value = psprintf("NEW.%s", quote_identifier(name));
	return column;
}

/*
 * Whether an index lets a second row with the same key in neither now nor
 * later in the transaction; if so, notes how it compares keys.
 */
static bool
is_key(Relation table, Relation index, GuardColumn *key)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indimmediate || !form->indisvalid ||
		index->rd_rel->relam != BTREE_AM_OID ||
		form->indnkeyatts != 1 || form->indkey.values[0] != key->attnum ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	key->comparison = get_opfamily_member(index->rd_opfamily[0],
										  index->rd_opcintype[0],
										  index->rd_opcintype[0],
										  BTEqualStrategyNumber);
	if (index->rd_indcollation[0] !=
		TupleDescAttr(table->rd_att, key->attnum - 1)->attcollation)
		key->collation = index->rd_indcollation[0];
	return OidIsValid(key->comparison);
}

/* How the unique index on a key compares, or 42P10. */
static void
find_key(Relation table, GuardColumn *key)
{
	bool		found = false;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(table))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found = is_key(table, index, key);
		index_close(index, AccessShareLock);
		if (found)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
			 errmsg("there is no unique constraint on the key column of table \"%s\"",
					RelationGetRelationName(table)),
			 errdetail("A guard needs a unique index on exactly the key column that is neither partial nor deferrable: without it, a stale INSERT adds a second row.")));
}

/* How numbers are compared, or 42883. */
static void
find_order(GuardColumn *number)
{
	number->comparison = lookup_type_cache(number->type,
										   TYPECACHE_LT_OPR)->lt_opr;
	if (!OidIsValid(number->comparison))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an ordering operator for type %s",
						format_type_be(number->type))));
}

/*
 * Append left OPERATOR right; both are values of a column.  They lose their
 * type modifier, with which a cast to a polymorphic type would be one.
 */
static void
append_comparison(StringInfo sql, const char *left, const char *right,
				  GuardColumn *column)
{
	char	   *type = format_type_extended(column->type, -1,
											FORMAT_TYPE_TYPEMOD_GIVEN |
											FORMAT_TYPE_FORCE_QUALIFY);

	left = psprintf("%s::%s", left, type);
	right = psprintf("%s::%s", right, type);
	if (OidIsValid(column->collation))
		left = psprintf("(%s COLLATE %s)", left,
						generate_collation_name(column->collation));
	generate_operator_clause(sql, left, column->type, column->comparison,
							 right, column->type);
}

/* The statement that creates the trigger; does all checks of arguments. */
static char *
guard_statement(Relation table, const char *key_name, const char *number_name)
{
	GuardColumn key = column_of(table, key_name);
	GuardColumn number = column_of(table, number_name);
	StringInfoData sql;

	if (key.attnum == number.attnum)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_column and sn_column must be different columns")));
	find_key(table, &key);
	find_order(&number);

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "CREATE TRIGGER spool_guard BEFORE UPDATE ON %s FOR EACH ROW WHEN ((",
					 table_name(RelationGetRelid(table)));
	append_comparison(&sql, key.old_value, key.new_value, &key);
	appendStringInfo(&sql, " OR %s IS NULL AND %s IS NULL) AND (",
					 key.old_value, key.new_value);
	append_comparison(&sql, number.new_value, number.old_value, &number);
	appendStringInfo(&sql,
					 " OR %s IS NULL AND NOT (%s IS NULL))) EXECUTE FUNCTION spool.refuse_stale()",
					 number.new_value, number.old_value);
	return sql.data;
}

/* The name of a table's guard, or NULL.  The caller holds a lock. */
static char *
guard_of(Oid table)
{
	Oid			function;
	Relation	relation;
	TriggerDesc *triggers;
	char	   *name = NULL;

	function = LookupFuncName(list_make2(makeString(pstrdup("spool")),
										 makeString(pstrdup("refuse_stale"))),
							  0, NULL, false);
	relation = relation_open(table, NoLock);
	triggers = relation->trigdesc;
	for (int i = 0; triggers && i < triggers->numtriggers && !name; i++)
		if (triggers->triggers[i].tgfoid == function)
			name = pstrdup(triggers->triggers[i].tgname);
	relation_close(relation, NoLock);
	return name;
}

/* A table's name, with schema and quotes. */
static char *
table_name(Oid table)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
									  get_rel_name(table));
}

/* Run a utility statement with the rights of the caller. */
static void
run_as_caller(const char *sql)
{
	int			rc;

	SPI_connect();
	rc = SPI_execute(sql, false, 0);
	if (rc != SPI_OK_UTILITY)
		elog(ERROR, "unexpected result of \"%s\": %s", sql,
			 SPI_result_code_string(rc));
	SPI_finish();
}

/* guard(tbl, key_column, sn_column) */
Datum
spool_guard(PG_FUNCTION_ARGS)
{
	Oid			table;
	Relation	relation;
	AclResult	acl;
	char	   *sql;

	spool_args_required(fcinfo, 3, "tbl", "key_column", "sn_column");
	PreventCommandIfReadOnly("spool.guard()");
	table = PG_GETARG_OID(0);
	/* who may not create triggers does not get the lock either */
	acl = pg_class_aclcheck(table, GetUserId(), ACL_TRIGGER);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, get_relkind_objtype(get_rel_relkind(table)),
					   get_rel_name(table));

	relation = relation_open(table, ShareRowExclusiveLock);
	if (relation->rd_rel->relkind != RELKIND_RELATION &&
		relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("relation \"%s\" cannot be guarded",
						RelationGetRelationName(relation)),
				 errdetail_relkind_not_supported(relation->rd_rel->relkind)));
	if (guard_of(table) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is already guarded",
						RelationGetRelationName(relation))));
	sql = guard_statement(relation, NameStr(*PG_GETARG_NAME(1)),
						  NameStr(*PG_GETARG_NAME(2)));
	relation_close(relation, NoLock);
	run_as_caller(sql);
	PG_RETURN_VOID();
}

/* unguard(tbl) */
Datum
spool_unguard(PG_FUNCTION_ARGS)
{
	Oid			table;
	char	   *name;

	spool_args_required(fcinfo, 1, "tbl");
	PreventCommandIfReadOnly("spool.unguard()");
	table = PG_GETARG_OID(0);
	if (!compat_owns_relation(table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER,
					   get_relkind_objtype(get_rel_relkind(table)),
					   get_rel_name(table));

	LockRelationOid(table, AccessExclusiveLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", table)));
	name = guard_of(table);
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not guarded", get_rel_name(table))));
	for (; name != NULL; name = guard_of(table))
		run_as_caller(psprintf("DROP TRIGGER %s ON %s", quote_identifier(name),
							   table_name(table)));
	PG_RETURN_VOID();
}

/* The function of the trigger: the condition found the new row to be stale. */
Datum
spool_refuse_stale(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						"refuse_stale")));
	if (!TRIGGER_FIRED_BEFORE(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		!TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired BEFORE UPDATE for each row",
						"refuse_stale")));
	return PointerGetDatum(NULL);
}
