/*-------------------------------------------------------------------------
 * owner.h
 *	  Run what users wrote as the owner of the object they wrote it for.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_OWNER_H
#define SPOOL_OWNER_H

/* What spool_owner_begin changed and spool_owner_end restores. */
typedef struct SpoolAsOwner
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} SpoolAsOwner;

extern void spool_owner_begin(SpoolAsOwner *was, Oid owner, const char *path);
extern void spool_owner_end(SpoolAsOwner *was);

#endif							/* SPOOL_OWNER_H */
