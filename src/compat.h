/*-------------------------------------------------------------------------
 * compat.h
 *	  Differences between the supported versions of PostgreSQL: 15, 17, 18.
 *	  The only file that looks at PG_VERSION_NUM.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_COMPAT_H
#define SPOOL_COMPAT_H

#include "access/genam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "executor/executor.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#include "varatt.h"
#endif
#if PG_VERSION_NUM < 170000
#include "storage/sinvaladt.h"
#endif

/* 16 lets the caller of an input function get its error as a value */
#if PG_VERSION_NUM < 160000
#define errsave(context, ...) ereport(ERROR, __VA_ARGS__)
#define ereturn(context, dummy, ...) ereport(ERROR, __VA_ARGS__)
#endif

/* 18 added instrumentation */
#if PG_VERSION_NUM >= 180000
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* 18 has a word of its own */
#if PG_VERSION_NUM >= 180000
#define compat_noreturn	pg_noreturn
#else
#define compat_noreturn	pg_attribute_noreturn()
#endif

/* 17 moved the local transaction id */
#if PG_VERSION_NUM >= 170000
#define compat_my_lxid	(MyProc->vxid.lxid)
#else
#define compat_my_lxid	(MyProc->lxid)
#endif

/* 17 numbers processes otherwise */
#if PG_VERSION_NUM >= 170000
#define compat_vxid_proc(vxid)	ProcNumberGetProc((vxid).procNumber)
#else
#define compat_vxid_proc(vxid)	BackendIdGetProc((vxid).backendId)
#endif

/* 17 made it a variable */
#if PG_VERSION_NUM >= 170000
#define compat_my_proc_number	MyProcNumber
#else
#define compat_my_proc_number	(MyProc->pgprocno)
#endif

/* 17 can ask for a stronger mode */
#if PG_VERSION_NUM >= 170000
#define compat_lock_held(tag, mode)	LockHeldByMe(tag, mode, false)
#else
#define compat_lock_held(tag, mode)	LockHeldByMe(tag, mode)
#endif

/* 16 asks whether the member may SET ROLE */
#if PG_VERSION_NUM >= 160000
#define compat_check_can_set_role(member, role) \
	check_can_set_role(member, role)
#else
#define compat_check_can_set_role(member, role) \
	check_is_member_of_role(member, role)
#endif

/* 17: a wait set belongs to a resource owner, or to nobody but us */
#if PG_VERSION_NUM >= 170000
#define compat_create_wait_set(nevents) \
	CreateWaitEventSet(NULL, nevents)
#else
#define compat_create_wait_set(nevents) \
	CreateWaitEventSet(TopMemoryContext, nevents)
#endif

/* 17: a worker can connect as a role that may not log in */
#if PG_VERSION_NUM >= 170000
#define compat_bypass_login	BGWORKER_BYPASS_ROLELOGINCHECK
#else
#define compat_bypass_login	0
#endif

/* 15.4 marks databases whose removal was interrupted */
#ifdef DATCONNLIMIT_INVALID_DB
#define compat_database_is_invalid(form) database_is_invalid_form(form)
#else
#define compat_database_is_invalid(form) false
#endif

/* 16 asks for any kind of object whose it is */
#if PG_VERSION_NUM >= 160000
#define compat_owns_database(database, role) \
	object_ownercheck(DatabaseRelationId, database, role)
#else
#define compat_owns_database(database, role) \
	pg_database_ownercheck(database, role)
#endif

#if PG_VERSION_NUM >= 160000
#define compat_owns_relation(relation, role) \
	object_ownercheck(RelationRelationId, relation, role)
#else
#define compat_owns_relation(relation, role) \
	pg_class_ownercheck(relation, role)
#endif

/* 17: extensions can name what they wait for */
#if PG_VERSION_NUM >= 170000
#define compat_wait_event(name) WaitEventExtensionNew(name)
#else
#define compat_wait_event(name) PG_WAIT_EXTENSION
#endif

#endif							/* SPOOL_COMPAT_H */
