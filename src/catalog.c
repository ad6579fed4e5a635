/*-------------------------------------------------------------------------
 * catalog.c
 *	  Objects that have a name, an owner and rights: cache, locks, checks.
 *
 * Each backend caches the rows it uses.  Whoever changes a row calls
 * spool_catalog_changed(), which sends an invalidation of the table at
 * commit; every backend then reads again.  An object is opened by looking up
 * its name, locking its id, accepting invalidations and looking again, so
 * that what is returned is what holds while the lock is held.  A row that was
 * returned stays until the end of the transaction.
 *
 * Rights are checked in one function, spool_object_check, against the calling
 * role.  The owner of an object and members of that role may do everything.
 *
 * Locks: heavyweight locks of the class of the table, object = id, subobject
 * 0; the modes are those of the kind.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "catalog.h"
#include "shmem.h"
#include "spool.h"

/* An entry of the cache. */
typedef struct CachedObject
{
	char		name[SPOOL_NAME_SIZE];
	SpoolObject *object;
	MemoryContext context;		/* what holds object; NULL = read it again */
} CachedObject;

static void invalidate_cache(Datum arg, Oid relid);
static void notice_changes(SpoolCatalog *catalog);
static void make_cache(SpoolCatalog *catalog);
static void empty_cache(SpoolCatalog *catalog);
static CachedObject *enter_object(SpoolCatalog *catalog, const char *name);
static SpoolObject *read_object(SpoolCatalog *catalog, const char *name,
								MemoryContext context);
static void refuse_read_only(SpoolCatalog *catalog, SpoolObject *object);
static void report_missing(SpoolCatalog *catalog, const char *name);

/* Relation cache callback: a catalog's table changed, or everything did. */
static void
invalidate_cache(Datum arg, Oid relid)
{
	((SpoolCatalog *) DatumGetPointer(arg))->stale = true;
}

/* The same if we were told so before the invalidation comes. */
static void
notice_changes(SpoolCatalog *catalog)
{
	uint64		changes = spool_changes();

	catalog->stale |= changes != catalog->changes;
	catalog->changes = changes;
}

/* Tell all backends and the manager, at commit, that a row changed. */
void
spool_catalog_changed(SpoolCatalog *catalog)
{
	catalog->stale = true;
	CacheInvalidateRelcacheByRelid(spool_relation_oid(catalog->table));
	spool_hint_database();
}

static void
make_cache(SpoolCatalog *catalog)
{
	HASHCTL		info;

	memset(&info, 0, sizeof(info));
	info.keysize = SPOOL_NAME_SIZE;
	info.entrysize = sizeof(CachedObject);
	catalog->cache = hash_create(catalog->noun, 64, &info,
								 HASH_ELEM | HASH_STRINGS);
	CacheRegisterRelcacheCallback(invalidate_cache, PointerGetDatum(catalog));
}

/* Forget all rows; what this transaction still uses goes at its end. */
static void
empty_cache(SpoolCatalog *catalog)
{
	HASH_SEQ_STATUS seq;
	CachedObject *entry;

	hash_seq_init(&seq, catalog->cache);
	while ((entry = hash_seq_search(&seq)) != NULL)
	{
		if (entry->context)
			MemoryContextSetParent(entry->context, TopTransactionContext);
		entry->context = NULL;
	}
	catalog->stale = false;
}

/*
 * The object of a name, from the cache; 42704 or NULL if there is none.
 * Without a lock this is only a look.
 */
void *
spool_object_lookup(SpoolCatalog *catalog, const char *name, bool missing_ok)
{
	CachedObject *entry = NULL;

	if (catalog->cache == NULL)
		make_cache(catalog);
	notice_changes(catalog);
	if (catalog->stale)
		empty_cache(catalog);
	if (strlen(name) < SPOOL_NAME_SIZE)
	{
		entry = hash_search(catalog->cache, name, HASH_FIND, NULL);
		if (entry == NULL || entry->context == NULL)
			entry = enter_object(catalog, name);
	}
	if (entry == NULL && !missing_ok)
		report_missing(catalog, name);
	return entry ? entry->object : NULL;
}

/* Read an object into the cache; NULL if there is none. */
static CachedObject *
enter_object(SpoolCatalog *catalog, const char *name)
{
	MemoryContext context;
	SpoolObject *object;
	CachedObject *entry;

	context = AllocSetContextCreate(CurTransactionContext, "spool object",
									ALLOCSET_SMALL_SIZES);
	object = read_object(catalog, name, context);
	if (object == NULL)
		return NULL;
	entry = hash_search(catalog->cache, name, HASH_ENTER, NULL);
	entry->object = object;
	entry->context = context;
	MemoryContextSetParent(context, CacheMemoryContext);
	return entry;
}

/* Read an object's row into a context; NULL if there is none. */
static SpoolObject *
read_object(SpoolCatalog *catalog, const char *name, MemoryContext context)
{
	SpoolObject *object = NULL;
	SpoolSpi	spi;
	Datum		values[1];

	values[0] = CStringGetTextDatum(name);
	spool_spi_begin(&spi);
	if (spool_exec(&catalog->read, values, NULL) == 1)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		Datum		acl;
		bool		null;

		object = palloc0(catalog->size);
		object->name = pstrdup(name);
		object->id = DatumGetInt32(spool_field(0, 1, NULL));
		object->owner = DatumGetObjectId(spool_field(0, 2, NULL));
		acl = spool_field(0, 3, &null);
		object->acl = null ? NULL : DatumGetAclPCopy(acl);
		catalog->fill(object);
		MemoryContextSwitchTo(old);
	}
	spool_spi_end(&spi);
	return object;
}

/* The object of an id if the cache has it, or NULL. */
void *
spool_object_cached(SpoolCatalog *catalog, int32 id)
{
	HASH_SEQ_STATUS seq;
	CachedObject *entry;

	notice_changes(catalog);
	if (catalog->cache == NULL || catalog->stale)
		return NULL;
	hash_seq_init(&seq, catalog->cache);
	while ((entry = hash_seq_search(&seq)) != NULL)
		if (entry->context != NULL && entry->object->id == id)
		{
			hash_seq_term(&seq);
			return entry->object;
		}
	return NULL;
}

/* 42704 */
static void
report_missing(SpoolCatalog *catalog, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("%s \"%s\" does not exist", catalog->noun, name)));
}

/*
 * Rows are written past the executor, so its checks are made here: 55000 on a
 * standby, 25006 in a read-only transaction.
 */
static void
refuse_read_only(SpoolCatalog *catalog, SpoolObject *object)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot change %s \"%s\" during recovery",
						catalog->noun, object->name),
				 errdetail("On a standby %ss can only be looked at.",
						   catalog->noun)));
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot change %s \"%s\" in a read-only transaction",
						catalog->noun, object->name)));
}

/*
 * Open an object for a verb: check the right, lock it, check again.  changes:
 * the verb is no look.
 */
void *
spool_object_open(SpoolCatalog *catalog, text *name, AclMode right,
				  LOCKMODE lockmode, bool changes)
{
	SpoolObject *object;

	object = spool_object_lookup(catalog, text_to_cstring(name), false);
	spool_object_check(catalog, object, right);
	if (changes)
		refuse_read_only(catalog, object);
	object = spool_object_reopen(catalog, object, lockmode);
	if (object == NULL)
		report_missing(catalog, text_to_cstring(name));
	spool_object_check(catalog, object, right);
	return object;
}

/*
 * Lock an object that was looked up and look again, until what is locked is
 * what the name means.  NULL if the object is gone.
 */
void *
spool_object_reopen(SpoolCatalog *catalog, void *object, LOCKMODE lockmode)
{
	SpoolObject *found = object;
	char	   *name = pstrdup(found->name);
	int32		id = found->id;

	for (;;)
	{
		Oid			relid = spool_relation_oid(catalog->table);

		LockDatabaseObject(relid, id, 0, lockmode);
		found = spool_object_lookup(catalog, name, true);
		if (found == NULL || found->id == id)
			break;
		UnlockDatabaseObject(relid, id, 0, lockmode);
		id = found->id;
	}
	pfree(name);
	return found;
}

/* Whether a role has one of some rights on an object. */
bool
spool_object_allows(const void *object, Oid role, AclMode rights)
{
	const SpoolObject *checked = object;

	return has_privs_of_role(role, checked->owner) ||
		(checked->acl != NULL &&
		 aclmask(checked->acl, role, checked->owner, rights,
				 ACLMASK_ANY) != 0);
}

/* 42501 unless the calling role has a right on an object. */
void
spool_object_check(SpoolCatalog *catalog, const void *object, AclMode right)
{
	if (!spool_object_allows(object, GetUserId(), right))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for %s \"%s\"", catalog->noun,
						((const SpoolObject *) object)->name)));
}
