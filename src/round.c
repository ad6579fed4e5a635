/*-------------------------------------------------------------------------
 * round.c
 *	  Where looks for work begin and end among the streams of a queue.
 *
 * Streams are looked at in order of their names, round and round: a look
 * begins after the stream where this backend's last one ended; the first one
 * where those of others ended lately, if that is known (known.c).
 *
 * The looks of a call (process.c) make rounds.  A round ends after the stream
 * where it began if each stream was found empty, or was emptied, on the way:
 * what came since is not for this call.  If one may have more, the next look
 * begins a new round.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "dispatch.h"
#include "known.h"
#include "spool.h"

/* Others are told of the end of one in so many looks. */
#define TELL_EVERY 64

/* Where the last look of this backend ended, by queue. */
typedef struct RoundRobin
{
	int32		queue;
	int			ended;			/* so many looks, since others were told */
	char		last[SPOOL_MAX_STREAM_NAME + 1];
} RoundRobin;

static HTAB *round_robins = NULL;

static RoundRobin *find_robin(SpoolQueue *queue, HASHACTION action);
static RoundRobin *follow_others(SpoolQueue *queue);
static void set_name(SpoolRound *round, char **place, const char *name);

/* The entry of a queue, or NULL. */
static RoundRobin *
find_robin(SpoolQueue *queue, HASHACTION action)
{
	RoundRobin *entry;
	bool		found;

	if (round_robins == NULL)
	{
		HASHCTL		info;

		memset(&info, 0, sizeof(info));
		info.keysize = sizeof(int32);
		info.entrysize = sizeof(RoundRobin);
		round_robins = hash_create("spool round robin", 16, &info,
								   HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(round_robins, &queue->id, action, &found);
	if (action == HASH_ENTER && !found)
	{
		entry->ended = 0;
		entry->last[0] = '\0';
	}
	return entry;
}

/*
 * The entry of a queue that this backend has not looked at, where others
 * ended; NULL if that is not known.  It need not pass by what they emptied.
 */
static RoundRobin *
follow_others(SpoolQueue *queue)
{
	int64		place = spool_known_place(queue->id);
	SpoolStream stream;
	RoundRobin *entry;

	if (place == 0 || !spool_stream_by_id(queue, place, &stream))
		return NULL;
	entry = find_robin(queue, HASH_ENTER);
	strlcpy(entry->last, stream.name, SPOOL_MAX_STREAM_NAME + 1);
	return entry;
}

/* Put a copy of a name, or NULL, into a round. */
static void
set_name(SpoolRound *round, char **place, const char *name)
{
	char	   *copy = name ? MemoryContextStrdup(round->context, name) : NULL;

	if (*place != NULL)
		pfree(*place);
	*place = copy;
}

/*
 * Where a look begins, after *start, and ends, with *end; NULL stands for the
 * first and the last stream.  False if the round is over.
 */
bool
spool_round_begin(SpoolDispatch *d, char **start, char **end)
{
	SpoolRound *round = d->round;
	RoundRobin *entry = find_robin(d->queue, HASH_FIND);

	if (entry == NULL)
		entry = follow_others(d->queue);
	*start = *end = entry ? pstrdup(entry->last) : NULL;
	d->passed = false;
	if (round == NULL)
		return true;
	if (round->begun)
		*start = round->at;
	else
		set_name(round, &round->at, *start);
	if (!round->begun || round->more)
		set_name(round, &round->from, *start);
	else if (round->from != NULL && strcmp(round->at, round->from) == 0)
		return false;
	round->begun = true;
	round->more = false;
	*end = round->from;
	return true;
}

/* A look ended after a stream; a name of NULL: it found nothing. */
void
spool_round_at(SpoolDispatch *d, const char *name, int64 stream)
{
	RoundRobin *entry;

	if (name == NULL || d->mode == DISPATCH_PEEK)
		return;
	entry = find_robin(d->queue, HASH_ENTER);
	strlcpy(entry->last, name, SPOOL_MAX_STREAM_NAME + 1);
	if (++entry->ended == TELL_EVERY)
	{
		spool_known_set_place(d->queue->id, stream);
		entry->ended = 0;
	}
	if (d->round != NULL)
		set_name(d->round, &d->round->at, name);
}

/* After a look: whether one of its streams may have more. */
void
spool_round_end(SpoolDispatch *d)
{
	ListCell   *cell;

	if (d->round == NULL)
		return;
	d->round->more |= d->passed;
	foreach(cell, d->picks)
		d->round->more |= !((SpoolPick *) lfirst(cell))->exhausted;
}
