/*-------------------------------------------------------------------------
 * rights.h
 *	  What operators do to names, owners and rights of objects.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_RIGHTS_H
#define SPOOL_RIGHTS_H

#include "catalog.h"

extern char *spool_object_name_arg(FunctionCallInfo fcinfo,
								   SpoolCatalog *catalog,
								   const char *argument);
extern void spool_object_exists(SpoolCatalog *catalog, const char *name,
								bool if_not_exists);
extern bool spool_object_gone(SpoolCatalog *catalog, const char *name,
							  bool if_exists);
extern void spool_arg_check_owner(FunctionCallInfo fcinfo, int argno);
extern Acl *spool_rights_of_owner(SpoolCatalog *catalog, const void *object,
								  Oid owner);
extern Datum spool_rights_change(FunctionCallInfo fcinfo,
								 SpoolCatalog *catalog, int how);
extern Datum spool_rights_has(FunctionCallInfo fcinfo, SpoolCatalog *catalog);

#endif							/* SPOOL_RIGHTS_H */
