/*-------------------------------------------------------------------------
 * reseq_tree.c
 *	  Trees: numbers that consist of parts, in one lane.
 *
 * A number, or a part of it, that was declared to have parts is split: its
 * parts go to the target in its place, in the order of their paths.  What is
 * declared counts, not what is registered, so a part whose registration is
 * not committed yet is missed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "reseq_lane.h"

static bool complete_below(const SpoolSteps *steps, int npart,
						   const int32 *part);

/* Whether all declared parts of a node are registered, theirs included. */
static bool
complete_below(const SpoolSteps *steps, int npart, const int32 *part)
{
	SpoolStep  *node = spool_steps_find(steps, npart, part);
	int32	   *path;

	if (node == NULL)
		return false;
	path = palloc((npart + 1) * sizeof(int32));
	if (npart > 0)
		memcpy(path, part, npart * sizeof(int32));
	for (int i = 1; i <= node->delivery.parts; i++)
	{
		path[npart] = i;
		if (!complete_below(steps, npart + 1, path))
			return false;
	}
	return true;
}

/* Whether a number is all there, as far as is waited for. */
bool
spool_tree_complete(const SpoolSteps *steps)
{
	return spool_tree_cut(steps) || complete_below(steps, 0, NULL);
}

/* Whether what is missing of a number is not waited for any more. */
bool
spool_tree_cut(const SpoolSteps *steps)
{
	SpoolStep  *whole = spool_steps_find(steps, 0, NULL);

	return whole != NULL && whole->delivery.parts < 0;
}

/* Whether all live parts but one came to be resequenced. */
bool
spool_tree_arrived(const SpoolSteps *steps, const SpoolStep *but)
{
	for (int i = 0; i < steps->n; i++)
		if (steps->steps[i] != but &&
			steps->steps[i]->delivery.state == DELIVERY_REGISTERED)
			return false;
	return true;
}

/* Whether all parts before one have ended. */
bool
spool_tree_turn(const SpoolSteps *steps, const SpoolStep *step)
{
	for (int i = 0; i < steps->n && steps->steps[i] != step; i++)
	{
		SpoolDeliveryState state = steps->steps[i]->delivery.state;

		if (spool_delivery_live(state) && !spool_delivery_split(state))
			return false;
	}
	return true;
}

/* Whether something of a number ended and was not delivered, nor taken back. */
bool
spool_tree_failed(const SpoolSteps *steps)
{
	for (int i = 0; i < steps->n; i++)
	{
		SpoolDeliveryState state = steps->steps[i]->delivery.state;

		if (state == DELIVERY_SUPPRESSED || state == DELIVERY_DEAD ||
			state == DELIVERY_EXPIRED)
			return true;
	}
	return false;
}

/* Whether some part went to the target. */
bool
spool_tree_begun(const SpoolSteps *steps)
{
	for (int i = 0; i < steps->n; i++)
		if (steps->steps[i]->delivery.state == DELIVERY_APPLIED ||
			steps->steps[i]->delivery.state == DELIVERY_PASSED)
			return true;
	return false;
}

/* Whether nothing of a number can come any more, or need be waited for. */
bool
spool_tree_over(const SpoolSteps *steps)
{
	for (int i = 0; i < steps->n; i++)
	{
		SpoolDeliveryState state = steps->steps[i]->delivery.state;

		if (spool_delivery_live(state) && !spool_delivery_split(state))
			return false;
	}
	return spool_tree_complete(steps);
}
