/*-------------------------------------------------------------------------
 * owner.c
 *	  Run what users wrote as the owner of the object they wrote it for.
 *
 * Between spool_owner_begin and spool_owner_end the session is the owner, in a
 * security-restricted operation: it cannot become another role, and nothing
 * that is done is put off until a time when the session is its caller again.
 * search_path is that of the session that wrote, temporary objects come last.
 * Settings that change are taken back.  An error that leaves the
 * (sub)transaction ends all of it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "owner.h"

/* Become an owner. */
void
spool_owner_begin(SpoolAsOwner *was, Oid owner, const char *path)
{
	char	   *safe_path = psprintf("%s%spg_temp", path, path[0] ? ", " : "");

	GetUserIdAndSecContext(&was->userid, &was->sec_context);
	was->guc_level = NewGUCNestLevel();
	SetUserIdAndSecContext(owner, was->sec_context |
						   SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	(void) set_config_option("search_path", safe_path, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	pfree(safe_path);
}

/* Become the caller again. */
void
spool_owner_end(SpoolAsOwner *was)
{
	AtEOXact_GUC(false, was->guc_level);
	SetUserIdAndSecContext(was->userid, was->sec_context);
}
