/*-------------------------------------------------------------------------
 * claim.h
 *	  Claims: finding and holding one that is to be changed.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_CLAIM_H
#define SPOOL_CLAIM_H

#include "dispatch.h"

/* A claim that this transaction changes. */
typedef struct SpoolClaim
{
	int64		id;
	int32		queue_id;
	bool		kept;			/* of a queue without order, in kept */
	SpoolDispatch dispatch;		/* what its jobs are settled by */
	SpoolPick	pick;			/* its stream */
	SpoolJob  **jobs;			/* in the order handed out; NULL = gone */
	int			njobs;
} SpoolClaim;

extern TimestampTz spool_claim_lease(FunctionCallInfo fcinfo, int argno);
extern void spool_claims_hold(SpoolClaim *claims, int nclaims);
extern void spool_claim_load(SpoolClaim *claim);

#endif							/* SPOOL_CLAIM_H */
