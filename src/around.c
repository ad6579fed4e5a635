/*-------------------------------------------------------------------------
 * around.c
 *	  The streams of a queue, round and round.
 *
 * A look for work goes through the streams in order of their names, from
 * where a round begins to where it ends (round.c).  It walks over all of them;
 * but after some that were idle it asks which may have anything at all
 * (known.c), and if that is known, goes on with those, and with what its own
 * transaction gave work.  Nothing is missed by that, nor does the order change.
 *
 * If it is not known, and still more are idle, the look becomes one at all
 * streams: it notes those that are not idle, and when it has what it was made
 * for, goes on until it is where it began to note, only looking.  The walk is
 * begun anew then, because a walk sees the streams that were there when it
 * began.
 *
 * Streams to which the own transaction gave work, or whose state it changed,
 * are never taken for idle: what they are now may be rolled back.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "around.h"
#include "spiutil.h"
#include "spool.h"

/* After so many idle streams it asks, and looks at all. */
#ifndef SPOOL_ASK_AFTER
#define SPOOL_ASK_AFTER 16
#define SPOOL_LOOK_AFTER 64
#endif

/* Names that a backend remembers. */
#define MAX_NAMES 4096

/* The name of a stream, which never changes. */
typedef struct StreamName
{
	int64		id;
	char	   *name;
} StreamName;

static HTAB *names = NULL;
static MemoryContext names_context = NULL;
static Oid	names_of = InvalidOid;	/* the table of streams */

static const char *name_of(SpoolQueue *queue, int64 id);
static void forget_names(void);
static int	compare_names(const void *a, const void *b);
static void stop_walk(SpoolAround *around);
static bool is_given(const SpoolAround *around, int64 id);
static void note_idle(SpoolAround *around, int place);
static void ask(SpoolAround *around);
static void add_known(SpoolAround *around, int64 id, int place);
static void begin_to_look(SpoolAround *around);
static bool next_of_lap(SpoolAround *around, SpoolStream *stream);
static void look_on(SpoolAround *around, const char *after, const char *upto);
static void finish_look(SpoolAround *around);

/* Begin to go around the queue of a look. */
void
spool_around_begin(SpoolAround *around, SpoolDispatch *d)
{
	memset(around, 0, sizeof(SpoolAround));
	around->d = d;
	around->plain = d->mode == DISPATCH_PEEK;
	around->over = !spool_round_begin(d, &around->start, &around->end);
	around->last_lap = around->start != NULL && around->end != NULL &&
		strcmp(around->start, around->end) < 0;
	around->has_at = around->start != NULL;
	if (around->has_at)
		strlcpy(around->at, around->start, sizeof(around->at));
}

static void
forget_names(void)
{
	HASHCTL		info;

	if (names_context == NULL)
		names_context = AllocSetContextCreate(CacheMemoryContext,
											  "spool stream names",
											  ALLOCSET_DEFAULT_SIZES);
	names = NULL;
	MemoryContextReset(names_context);
	memset(&info, 0, sizeof(info));
	info.keysize = sizeof(int64);
	info.entrysize = sizeof(StreamName);
	info.hcxt = names_context;
	names = hash_create("spool stream names", 256, &info,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* The name of a stream of a queue; NULL if there is none. */
static const char *
name_of(SpoolQueue *queue, int64 id)
{
	Oid			table = spool_relation_oid("stream");
	StreamName *entry;
	SpoolStream stream;
	char	   *name;

	if (names == NULL || names_of != table)
		forget_names();
	names_of = table;
	entry = hash_search(names, &id, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->name;
	if (!spool_stream_by_id(queue, id, &stream))
		return NULL;
	name = MemoryContextStrdup(names_context, stream.name);
	entry = hash_search(names, &id, HASH_ENTER, NULL);
	entry->name = name;
	return name;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(((const AroundStream *) a)->name,
				  ((const AroundStream *) b)->name);
}

static void
stop_walk(SpoolAround *around)
{
	if (around->walking)
		spool_stream_walk_end(&around->walk);
	around->walking = false;
}

/* Whether this transaction gave a stream work. */
static bool
is_given(const SpoolAround *around, int64 id)
{
	for (int i = 0; i < around->ngiven; i++)
		if (around->given[i] == id)
			return true;
	return false;
}

/* A stream of the list need not be there. */
static void
note_idle(SpoolAround *around, int place)
{
	if (place >= 0 && around->nplaces < SPOOL_MAX_KNOWN)
		around->places[around->nplaces++] = place;
}

/* Ask which streams may have anything, and go on with those. */
static void
ask(SpoolAround *around)
{
	int32		queue = around->d->queue->id;
	SpoolKnown *known = palloc(sizeof(SpoolKnown));

	around->asked = true;
	around->ngiven = spool_hint_given(queue, around->given);
	if (around->ngiven < 0)
	{
		around->plain = true;
		return;
	}
	if (!spool_known_get(queue, known))
		return;
	stop_walk(around);
	if (names != NULL && hash_get_num_entries(names) > MAX_NAMES)
		forget_names();
	around->known = known;
	around->places = palloc(SPOOL_MAX_KNOWN * sizeof(int));
	around->streams = palloc((SPOOL_MAX_KNOWN + SPOOL_MAX_PENDING) *
							 sizeof(AroundStream));
	for (int i = 0; i < known->nstreams; i++)
		if (!is_given(around, known->streams[i]))
			add_known(around, known->streams[i], i);
	for (int i = 0; i < around->ngiven; i++)
		add_known(around, around->given[i], -1);
	qsort(around->streams, around->nstreams, sizeof(AroundStream),
		  compare_names);
	while (around->has_at && around->next < around->nstreams &&
		   strcmp(around->streams[around->next].name, around->at) <= 0)
		around->next++;
}

/* Add a stream that may have anything; one that is gone has nothing. */
static void
add_known(SpoolAround *around, int64 id, int place)
{
	const char *name = name_of(around->d->queue, id);

	if (name == NULL)
	{
		note_idle(around, place);
		return;
	}
	around->streams[around->nstreams].id = id;
	around->streams[around->nstreams].name = name;
	around->streams[around->nstreams++].place = place;
}

/* From here on, note what is not idle. */
static void
begin_to_look(SpoolAround *around)
{
	if (!spool_known_look_begin(around->d->queue->id, &around->look))
	{
		around->refused = true;
		return;
	}
	stop_walk(around);
	around->looking = true;
	around->wrapped = false;
	around->look_from = around->has_at ? pstrdup(around->at) : NULL;
	around->busy = palloc(SPOOL_MAX_KNOWN * sizeof(int64));
	around->nbusy = 0;
}

/* The next stream of this lap. */
static bool
next_of_lap(SpoolAround *around, SpoolStream *stream)
{
	if (around->known != NULL)
	{
		while (around->next < around->nstreams)
		{
			AroundStream *one = &around->streams[around->next++];

			around->place = one->place;
			if (spool_stream_by_id(around->d->queue, one->id, stream))
				return true;
			note_idle(around, one->place);
		}
		return false;
	}
	if (!around->walking)
		spool_stream_walk_begin(&around->walk, around->d->queue,
								around->has_at ? around->at : NULL);
	around->walking = true;
	return spool_stream_walk_next(&around->walk, stream);
}

/* The next stream; false at the end. */
bool
spool_around_next(SpoolAround *around, SpoolStream *stream)
{
	if (!around->plain && !around->over && around->known == NULL)
	{
		if (!around->asked && around->nidle >= SPOOL_ASK_AFTER)
			ask(around);
		if (!around->plain && around->asked && around->known == NULL &&
			!around->looking && !around->refused &&
			around->nidle >= SPOOL_LOOK_AFTER)
			begin_to_look(around);
	}
	while (!around->over)
	{
		if (next_of_lap(around, stream))
		{
			if (around->last_lap && strcmp(stream->name, around->end) > 0)
			{
				around->over = true;
				return false;
			}
			strlcpy(around->at, stream->name, sizeof(around->at));
			around->has_at = true;
			return true;
		}
		stop_walk(around);
		around->has_at = false;
		around->wrapped = true;
		around->next = 0;
		around->over = around->last_lap || around->end == NULL;
		around->last_lap = true;
	}
	return false;
}

/* The stream returned last was looked at. */
void
spool_around_seen(SpoolAround *around, const SpoolStream *stream, bool idle)
{
	if (around->plain)
		return;
	idle &= !is_given(around, stream->id);
	around->nidle += idle;
	if (around->known != NULL && idle)
		note_idle(around, around->place);
	if (!around->looking || idle)
		return;
	if (around->nbusy == SPOOL_MAX_KNOWN)
	{
		around->looking = false;
		around->refused = true;
		spool_known_look_vain(around->d->queue->id, &around->look);
		return;
	}
	around->busy[around->nbusy++] = stream->id;
}

/* Note what is not idle among the streams after a name, up to another. */
static void
look_on(SpoolAround *around, const char *after, const char *upto)
{
	SpoolStream stream;

	spool_stream_walk_begin(&around->walk, around->d->queue, after);
	around->walking = true;
	while (around->looking &&
		   spool_stream_walk_next(&around->walk, &stream) &&
		   (upto == NULL || strcmp(stream.name, upto) <= 0))
	{
		CHECK_FOR_INTERRUPTS();
		spool_around_seen(around, &stream,
						  spool_stream_idle(around->d, &stream));
		pfree(stream.name);
	}
	stop_walk(around);
}

/* Look at the rest of the streams, and let know what was found. */
static void
finish_look(SpoolAround *around)
{
	char	   *at = around->has_at ? pstrdup(around->at) : NULL;

	if (!around->wrapped)
	{
		look_on(around, at, NULL);
		at = NULL;
	}
	if (around->look_from != NULL)
		look_on(around, at, around->look_from);
	if (around->looking)
		spool_known_look_end(around->d->queue->id, &around->look,
							 around->busy, around->nbusy);
}

/* The look has ended. */
void
spool_around_end(SpoolAround *around)
{
	stop_walk(around);
	if (around->looking)
		finish_look(around);
	if (around->nplaces > 0)
		spool_known_idle(around->d->queue->id, around->known, around->places,
						 around->nplaces);
}
