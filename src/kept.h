/*-------------------------------------------------------------------------
 * kept.h
 *	  Packets set aside: done, left, dead, or ahead of their stream's cursor.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_KEPT_H
#define SPOOL_KEPT_H

#include "store.h"

/* States of a kept packet, as spool.kept has them. */
#define KEPT_DONE		"done"	/* consumed, retained */
#define KEPT_FAILED		"failed"	/* left after its last attempt */
#define KEPT_DEAD		"dead"	/* dead letter */
#define KEPT_READY		"ready" /* to be handed out ahead of the cursor */
#define KEPT_RUNNING	"running"	/* dispatched, of a queue without order */

/* Reasons of those that are not done. */
#define REASON_FAILED	"failed"
#define REASON_LATE		"late"
#define REASON_PASSED	"passed over"
#define REASON_DISCARDED "discarded"

typedef struct SpoolKept
{
	const char *state;
	const char *reason;
	const char *sqlstate;
	const char *message;
	int32		attempts;
	int64		runner;			/* or a claim, if it is due */
	TimestampTz due;			/* ready: not before; running: end of the
								 * lease; 0 = none */
	const char *role;			/* who claimed */
	const char *application;
} SpoolKept;

/* A packet that somebody runs, of a queue without order. */
typedef struct SpoolOrphan
{
	int64		packet_id;
	int64		runner;
	TimestampTz due;			/* end of the lease of a claim, or 0 */
} SpoolOrphan;

extern void spool_kept_append(const SpoolRow *const *rows,
							  const SpoolKept *kept, int n);
extern void spool_kept_add(const SpoolRow *row, const SpoolKept *kept);
extern int64 spool_kept_add_range(int64 stream, int64 from, int64 below,
								  const char *state, const char *reason);
extern int64 spool_kept_same(int64 stream, int64 seq, struct varlena *packet);
extern bool spool_kept_has_ahead(int64 stream);
extern int	spool_kept_ahead(int64 stream, int64 after_seq, int64 after_id,
							 int limit, TimestampTz until, TimestampTz due,
							 SpoolRow *rows, int32 *attempts, bool lock);
extern TimestampTz spool_kept_next_due(int64 stream);
extern void spool_kept_set(int64 packet_id, const SpoolKept *kept);
extern void spool_kept_remove(const int64 *ids, int n);
extern bool spool_kept_by_id(int64 packet_id, SpoolRow *row, char **state);
extern bool spool_kept_lock(int64 packet_id, char **state);
extern int	spool_kept_restore(int64 stream, int64 from, int64 below,
							   int32 queue);
extern bool spool_kept_any(int32 queue);
extern uint64 spool_kept_purge(void);
extern int	spool_kept_running(int64 stream, SpoolOrphan **running);

extern bool spool_same_packet(struct varlena *a, struct varlena *b);

#endif							/* SPOOL_KEPT_H */
