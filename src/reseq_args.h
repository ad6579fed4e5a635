/*-------------------------------------------------------------------------
 * reseq_args.h
 *	  Arguments and results of the resequencer's verbs.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_RESEQ_ARGS_H
#define SPOOL_RESEQ_ARGS_H

#include "fmgr.h"
#include "utils/array.h"

#include "compat.h"

#include "reseq_lane.h"
#include "reseq_outlet.h"

/* What a verb is about, and what it answers. */
typedef struct SpoolReseqItem
{
	int			index;			/* in the call */
	text	   *key;			/* NULL: none was given */
	int64		sn;
	bool		sn_null;
	int			npart;
	int32	   *part;
	const char *target;			/* or NULL */
	struct varlena *digest;		/* register: bytea, or NULL */
	SpoolDecision decision;
	int64		latest;			/* or NO_SN */
} SpoolReseqItem;

extern bool spool_reseq_check(const SpoolReseqItem *item, SpoolStray *stray);
extern void spool_reseq_require(const SpoolReseqItem *item);
extern int	spool_reseq_part(ArrayType *array, int32 **part);
extern void spool_reseq_item(FunctionCallInfo fcinfo, int target_arg,
							 int part_arg, SpoolReseqItem *item);
extern SpoolReseqItem *spool_reseq_items(ArrayType *keys, ArrayType *sns,
										 int *n);
extern void spool_reseq_digests(ArrayType *digests, SpoolReseqItem *items,
								int n);
extern SpoolReseqItem **spool_reseq_sort(SpoolReseqItem *items, int n);
extern compat_noreturn void spool_reseq_no_target(SpoolResequencer *resequencer,
												  const char *target);
extern void spool_reseq_check_target(SpoolResequencer *resequencer,
									 const char *target);
extern compat_noreturn void spool_reseq_not_registered(const SpoolReseqItem *item);
extern Datum spool_reseq_answer(FunctionCallInfo fcinfo,
								const SpoolReseqItem *item);
extern Datum spool_reseq_answers(FunctionCallInfo fcinfo,
								 const SpoolReseqItem *items, int n);

/* reseq_pass.c */
extern void spool_reseq_end_item(SpoolReseqCall *call, SpoolReseqKey *key,
								 SpoolReseqItem *item,
								 SpoolDeliveryState state,
								 const char *reason, const char *message);

#endif							/* SPOOL_RESEQ_ARGS_H */
