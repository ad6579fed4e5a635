/*-------------------------------------------------------------------------
 * rights.c
 *	  What operators do to names, owners and rights of objects.
 *
 * Rights are granted in the name of the owner, and become the new owner's
 * with the object.  What changes a row holds the object's lock in the mode
 * OBJECT_ALTER to the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "args.h"
#include "rights.h"
#include "spool.h"

static AclMode right_from_name(const char *name, bool any);

/* The name of an object, which may not be NULL, empty or too long. */
char *
spool_object_name_arg(FunctionCallInfo fcinfo, SpoolCatalog *catalog,
					  const char *argument)
{
	char	   *name;

	spool_arg_required(fcinfo, 0, argument);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (name[0] == '\0' || strlen(name) >= SPOOL_NAME_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s name: \"%s\"", catalog->noun, name),
				 errdetail("A %s's name has 1 to %d bytes.", catalog->noun,
						   SPOOL_NAME_SIZE - 1)));
	return name;
}

/* 42710, or a notice, since the object to be created is there. */
void
spool_object_exists(SpoolCatalog *catalog, const char *name,
					bool if_not_exists)
{
	ereport(if_not_exists ? NOTICE : ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 if_not_exists ?
			 errmsg("%s \"%s\" already exists, skipping", catalog->noun,
					name) :
			 errmsg("%s \"%s\" already exists", catalog->noun, name)));
}

/* Whether the object to be dropped is not there and need not be; a notice. */
bool
spool_object_gone(SpoolCatalog *catalog, const char *name, bool if_exists)
{
	if (!if_exists || spool_object_lookup(catalog, name, true) != NULL)
		return false;
	ereport(NOTICE,
			(errmsg("%s \"%s\" does not exist, skipping", catalog->noun,
					name)));
	return true;
}

/* An owner must be a role that the caller can become; NULL is no error. */
void
spool_arg_check_owner(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		return;
	(void) GetUserNameFromId(PG_GETARG_OID(argno), false);
	compat_check_can_set_role(GetUserId(), PG_GETARG_OID(argno));
}

/* The rights of an object that gets a new owner; 42501 unless the caller may. */
Acl *
spool_rights_of_owner(SpoolCatalog *catalog, const void *object, Oid owner)
{
	const SpoolObject *changed = object;

	if (!has_privs_of_role(GetUserId(), changed->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of %s \"%s\"", catalog->noun,
						changed->name)));
	return changed->acl ? aclnewowner(changed->acl, changed->owner, owner) :
		NULL;
}

/* The bit of a right; any: also the name "any". */
static AclMode
right_from_name(const char *name, bool any)
{
	if (strcmp(name, "read") == 0)
		return SPOOL_READ;
	if (strcmp(name, "write") == 0)
		return SPOOL_WRITE;
	if (strcmp(name, "process") == 0)
		return SPOOL_PROCESS;
	if (strcmp(name, "admin") == 0)
		return SPOOL_ADMIN;
	if (any && strcmp(name, "any") == 0)
		return SPOOL_ANY;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized privilege: \"%s\"", name),
			 errhint("Allowed values are \"read\", \"write\", \"process\" and \"admin\".")));
}

/* grant_... and revoke_...(name, role, privilege) */
Datum
spool_rights_change(FunctionCallInfo fcinfo, SpoolCatalog *catalog, int how)
{
	SpoolObject *object;
	AclItem		item;
	Acl		   *acl;
	Datum		values[2];

	spool_args_required(fcinfo, 3, catalog->noun, "role", "privilege");
	object = spool_object_open(catalog, PG_GETARG_TEXT_PP(0), SPOOL_ADMIN,
							   OBJECT_ALTER, true);
	item.ai_grantee = PG_GETARG_OID(1);
	if (how == ACL_MODECHG_ADD && item.ai_grantee != ACL_ID_PUBLIC)
		(void) GetUserNameFromId(item.ai_grantee, false);
	item.ai_grantor = object->owner;
	ACLITEM_SET_RIGHTS(item,
					   right_from_name(text_to_cstring(PG_GETARG_TEXT_PP(2)),
									   false));
	acl = aclupdate(object->acl ? object->acl : make_empty_acl(), &item, how,
					object->owner, DROP_RESTRICT);
	values[0] = Int32GetDatum(object->id);
	values[1] = PointerGetDatum(acl);
	(void) spool_exec_alone(&catalog->set_acl, values, NULL);
	spool_catalog_changed(catalog);
	PG_RETURN_VOID();
}

/* has_..._privilege(name, privilege); NULL if there is no such object */
Datum
spool_rights_has(FunctionCallInfo fcinfo, SpoolCatalog *catalog)
{
	SpoolObject *object;
	AclMode		right;

	object = spool_object_lookup(catalog,
								 text_to_cstring(PG_GETARG_TEXT_PP(0)), true);
	right = right_from_name(text_to_cstring(PG_GETARG_TEXT_PP(1)), true);
	if (object == NULL)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(spool_object_allows(object, GetUserId(), right));
}
