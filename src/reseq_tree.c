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

static bool is_below(const SpoolSteps *steps, int place,
					 const SpoolDelivery *node);
static bool complete_at(const SpoolSteps *steps, int *place);

/* Whether there is a part in a place, and it is of a node's tree. */
static bool
is_below(const SpoolSteps *steps, int place, const SpoolDelivery *node)
{
	const SpoolDelivery *part;

	if (place >= steps->n)
		return false;
	part = &steps->steps[place]->delivery;
	return part->npart > node->npart &&
		(node->npart == 0 ||
		 memcmp(part->part, node->part, node->npart * sizeof(int32)) == 0);
}

/*
 * Whether all declared parts of the node in a place are registered, theirs
 * included; *place is behind all of them then.
 */
static bool
complete_at(const SpoolSteps *steps, int *place)
{
	const SpoolDelivery *node = &steps->steps[(*place)++]->delivery;

	for (int i = 1; i <= node->parts; i++)
	{
		const SpoolDelivery *part;

		if (!is_below(steps, *place, node))
			return false;
		part = &steps->steps[*place]->delivery;
		if (part->npart > node->npart + 1 || part->part[node->npart] != i ||
			!complete_at(steps, place))
			return false;
	}
	while (is_below(steps, *place, node))
		(*place)++;				/* not declared: it passed while disabled */
	return true;
}

/* Whether a number is all there, as far as is waited for. */
bool
spool_tree_complete(SpoolSteps *steps)
{
	SpoolStep  *whole = spool_steps_find(steps, 0, NULL);
	int			place = 0;

	if (whole == NULL)
		return false;
	if (whole->delivery.parts < 0)
		return true;
	if (!steps->complete)
		steps->complete = steps->n > whole->delivery.parts &&
			complete_at(steps, &place);
	return steps->complete;
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
spool_tree_over(SpoolSteps *steps)
{
	for (int i = 0; i < steps->n; i++)
	{
		SpoolDeliveryState state = steps->steps[i]->delivery.state;

		if (spool_delivery_live(state) && !spool_delivery_split(state))
			return false;
	}
	return spool_tree_complete(steps);
}
