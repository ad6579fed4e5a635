/*-------------------------------------------------------------------------
 * resequencer.h
 *	  Resequencers: options, rights, locks.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_RESEQUENCER_H
#define SPOOL_RESEQUENCER_H

#include "storage/lock.h"
#include "utils/array.h"

#include "catalog.h"
#include "reseq_rules.h"

/* What an outlet that is a queue begins with; its name follows. */
#define OUTLET_QUEUE_PREFIX "queue:"

/* Where to put what is invalid or not registered. */
typedef struct SpoolOutlet
{
	SpoolOutletKind kind;
	char	   *queue;			/* of OUTLET_QUEUE */
} SpoolOutlet;

/*
 * Modes of a resequencer's lock.  Verbs share it; alter and drop exclude all.
 */
#define RESEQ_USE		RowExclusiveLock
#define RESEQ_LOOK		AccessShareLock
#define RESEQ_ALTER		OBJECT_ALTER

/*
 * A resequencer's row.  Begins as SpoolObject does.  Valid until the end of the
 * transaction.
 */
typedef struct SpoolResequencer
{
	int32		id;
	char	   *name;
	Oid			owner;
	Acl		   *acl;			/* NULL = nobody but the owner */
	int			ntargets;
	char	  **targets;		/* number 1 is the first; none is removed */
	char	   *targets_by;		/* SQL expression over key, or NULL */
	SpoolOutlet on_unregistered;
	SpoolOutlet on_invalid;
	bool		acked;			/* a pass is acknowledged by applied() */
	bool		suspends;		/* on_failure: a failure suspends the key */
	int64		deadline_ms;
	int64		retention_ms;
	int64		tree_timeout_ms;	/* 0 = the deadline */
	SpoolReseqRules rules;
} SpoolResequencer;

extern SpoolCatalog spool_resequencers;

extern SpoolResequencer *spool_resequencer_open(text *name, AclMode right,
												LOCKMODE lockmode);
extern SpoolResequencer *spool_resequencer_lookup(const char *name,
												  bool missing_ok);
extern bool spool_resequencer_allows(SpoolResequencer *resequencer,
									 AclMode rights);
extern void spool_resequencer_changed(void);
extern int	spool_resequencer_target(SpoolResequencer *resequencer,
									 const char *name);
extern ArrayType *spool_resequencer_targets_for(SpoolResequencer *resequencer,
												text *key);
extern void spool_targets_by_check(const char *resequencer,
								   const char *targets_by, Oid owner,
								   const char *path);

#endif							/* SPOOL_RESEQUENCER_H */
