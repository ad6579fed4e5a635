/*-------------------------------------------------------------------------
 * catalog.h
 *	  Objects that have a name, an owner and rights: cache, locks, checks.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_CATALOG_H
#define SPOOL_CATALOG_H

#include "fmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/hsearch.h"

#include "spiutil.h"

/* Rights on an object, as the bits of an aclitem. */
#define SPOOL_READ		ACL_SELECT	/* look */
#define SPOOL_WRITE		ACL_INSERT
#define SPOOL_PROCESS	ACL_EXECUTE /* take, claim, run; resequence */
#define SPOOL_ADMIN		ACL_CREATE
#define SPOOL_ANY		(SPOOL_READ | SPOOL_WRITE | SPOOL_PROCESS | SPOOL_ADMIN)

/* Names have fewer bytes. */
#define SPOOL_NAME_SIZE (NAMEDATALEN * 4)

/* The mode of an object's lock that excludes all others: alter and drop. */
#define OBJECT_ALTER	AccessExclusiveLock

/* What the cached rows of all kinds begin with. */
typedef struct SpoolObject
{
	int32		id;
	char	   *name;
	Oid			owner;
	Acl		   *acl;			/* NULL = nobody but the owner */
} SpoolObject;

#define spool_is_object(type) \
	StaticAssertDecl(offsetof(type, id) == offsetof(SpoolObject, id) && \
					 offsetof(type, name) == offsetof(SpoolObject, name) && \
					 offsetof(type, owner) == offsetof(SpoolObject, owner) && \
					 offsetof(type, acl) == offsetof(SpoolObject, acl), \
					 #type " must begin as SpoolObject does")

/* A kind of objects. */
typedef struct SpoolCatalog
{
	const char *noun;			/* for messages; in the plural with an s */
	const char *table;			/* in schema spool; also the class of locks */
	Size		size;			/* of a cached row */

	/* select id, owner, acl, ... by name, and what fills the rest of a row */
	SpoolPlan	read;
	void		(*fill) (void *row);
	SpoolPlan	set_acl;		/* by id */

	/* the cache, see catalog.c */
	HTAB	   *cache;
	bool		stale;
	uint64		changes;
} SpoolCatalog;

extern void *spool_object_lookup(SpoolCatalog *catalog, const char *name,
								 bool missing_ok);
extern void *spool_object_cached(SpoolCatalog *catalog, int32 id);
extern void *spool_object_open(SpoolCatalog *catalog, text *name,
							   AclMode right, LOCKMODE lockmode, bool changes);
extern void *spool_object_reopen(SpoolCatalog *catalog, void *object,
								 LOCKMODE lockmode);
extern void spool_catalog_changed(SpoolCatalog *catalog);
extern bool spool_object_allows(const void *object, Oid role, AclMode rights);
extern void spool_object_check(SpoolCatalog *catalog, const void *object,
							   AclMode right);

#endif							/* SPOOL_CATALOG_H */
