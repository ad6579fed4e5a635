/*-------------------------------------------------------------------------
 * state.c
 *	  The states of streams.
 *
 * A state is appended for each change and never updated, so a snapshot held
 * elsewhere makes nothing slower: the newest one is the first that a backward
 * scan of (stream, consumer, version) meets, in whatever segment (segment.c).
 * It is read with the newest snapshot (snapshot.c), at every isolation level,
 * and appended under the stream's lock (stream.c) by who read it under that
 * lock.
 *
 * A REPEATABLE READ or SERIALIZABLE transaction that consumes and whose own
 * snapshot is older than the newest state gets 40001: for it the packets were
 * handed out in the future.
 *
 * Older states go with their segment (rotate.c).
 *
 * Measured on 15, us of CPU: the newest state 3.7, by SELECT 31; to append 1,
 * 10, 60 states 6.2, 2.5, 1.9 each, by INSERT ... SELECT 20, 4.8, 3.5, by an
 * INSERT for each 13.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "runner.h"
#include "spiutil.h"
#include "spool.h"
#include "state.h"
#include "writer.h"

/* Columns of spool.state. */
enum
{
	STATE_CONSUMER = 1, STATE_STREAM, STATE_VERSION, STATE_NEXT, STATE_HIGH,
	STATE_LOW, STATE_LOOKED, STATE_AHEAD, STATE_ATTEMPTS,
	STATE_ATTEMPT_PACKET, STATE_RUNNER, STATE_RUN_PACKET, STATE_RUN_LAST,
	STATE_RUN_JOBS, STATE_SOLO, STATE_SEGMENT, STATE_CONSUMED, STATE_DONE, STATE_FAILED,
	STATE_DEAD, STATE_SUPERSEDED, STATE_SINCE, STATE_RUN_SINCE,
	STATE_RETRY_AT, STATE_DEADLINE, STATE_CLAIMED, STATE_ROLE,
	STATE_APPLICATION, STATE_FAILURE, STATE_PAUSED
};

/* Columns of its index; what differs most comes first. */
enum
{
	INDEX_STREAM = 1, INDEX_CONSUMER, INDEX_VERSION,
	INDEX_COLUMNS = INDEX_VERSION
};

static char *text_or_null(Datum value, bool null);
static TimestampTz time_or_zero(Datum value, bool null);
static void read_claimed(Datum value, bool null, SpoolState *state);
static void read_slot(const SpoolPart *part, SpoolState *state);
static Datum claimed_array(const SpoolState *state);
static void fill_nullable(Datum *values, bool *nulls, const SpoolState *state);
static void fill_row(Datum *values, bool *nulls, const SpoolState *state);

/* The first state of a new stream. */
void
spool_state_init(SpoolState *state, int64 stream)
{
	memset(state, 0, sizeof(SpoolState));
	state->stream = stream;
	state->next = 1;
	state->high = 0;
	state->low = PG_INT64_MIN;
}

/* A state from the row that a scan is at. */
static void
read_slot(const SpoolPart *part, SpoolState *state)
{
	TupleTableSlot *slot = part->slot;
	Datum	   *values;
	bool	   *nulls;

	slot_getallattrs(slot);
	values = slot->tts_values - 1;
	nulls = slot->tts_isnull - 1;
	state->writer = spool_slot_writer(part->slot);
	state->version = DatumGetInt64(values[STATE_VERSION]);
	state->next = DatumGetInt64(values[STATE_NEXT]);
	state->high = DatumGetInt64(values[STATE_HIGH]);
	state->low = DatumGetInt64(values[STATE_LOW]);
	state->looked = DatumGetTimestampTz(values[STATE_LOOKED]);
	state->ahead = DatumGetInt32(values[STATE_AHEAD]);
	state->attempts = DatumGetInt32(values[STATE_ATTEMPTS]);
	state->attempt_packet = DatumGetInt64(values[STATE_ATTEMPT_PACKET]);
	state->runner = DatumGetInt64(values[STATE_RUNNER]);
	state->run_packet = DatumGetInt64(values[STATE_RUN_PACKET]);
	state->run_last = DatumGetInt64(values[STATE_RUN_LAST]);
	state->run_jobs = DatumGetInt32(values[STATE_RUN_JOBS]);
	state->solo = DatumGetInt32(values[STATE_SOLO]);
	state->consumed = DatumGetInt64(values[STATE_CONSUMED]);
	state->done = DatumGetInt64(values[STATE_DONE]);
	state->failed = DatumGetInt64(values[STATE_FAILED]);
	state->dead = DatumGetInt64(values[STATE_DEAD]);
	state->superseded = DatumGetInt64(values[STATE_SUPERSEDED]);
	state->since = DatumGetTimestampTz(values[STATE_SINCE]);
	state->run_since = time_or_zero(values[STATE_RUN_SINCE],
									nulls[STATE_RUN_SINCE]);
	state->retry_at = time_or_zero(values[STATE_RETRY_AT],
								   nulls[STATE_RETRY_AT]);
	state->deadline = time_or_zero(values[STATE_DEADLINE],
								   nulls[STATE_DEADLINE]);
	read_claimed(values[STATE_CLAIMED], nulls[STATE_CLAIMED], state);
	state->role = text_or_null(values[STATE_ROLE], nulls[STATE_ROLE]);
	state->application = text_or_null(values[STATE_APPLICATION],
									  nulls[STATE_APPLICATION]);
	state->failure = text_or_null(values[STATE_FAILURE],
								  nulls[STATE_FAILURE]);
	state->paused = text_or_null(values[STATE_PAUSED],
								 nulls[STATE_PAUSED]);
}

static TimestampTz
time_or_zero(Datum value, bool null)
{
	return null ? 0 : DatumGetTimestampTz(value);
}

/* The ids of a claim's packets. */
static void
read_claimed(Datum value, bool null, SpoolState *state)
{
	ArrayType  *array;

	state->claimed = NULL;
	state->nclaimed = 0;
	if (null)
		return;
	array = DatumGetArrayTypePCopy(value);
	state->claimed = (int64 *) ((char *) array +
								ARR_OVERHEAD_NONULLS(ARR_NDIM(array)));
	state->nclaimed = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

/* Open the states for reading with a snapshot that others read with, too. */
void
spool_states_open(SpoolStates *states, SpoolSnapshot *newest)
{
	states->newest = newest;
	states->serial = 0;
	spool_parts_open(states->segments, INDEX_STATES);
}

void
spool_states_close(SpoolStates *states)
{
	spool_parts_close(states->segments);
}

/*
 * Read the newest state of a stream with the newest snapshot; strings are
 * allocated in the current context.  False if there is none.
 *
 * It is looked for from the version that this backend saw last, because a
 * look reads all index entries of its range on the page where it ends.
 * Nothing depends on the version remembered: if there is none from there on,
 * as after a rollback, the look is made from the first.
 *
 * The state that was read last is still there if nothing has changed since.
 */
bool
spool_states_newest(SpoolStates *states, int64 stream, SpoolState *state)
{
	static struct
	{
		int64		stream;
		int64		version;
	}			seen[4096];
	int			place = (int) (stream % lengthof(seen));
	bool		hint = seen[place].stream == stream;

	spool_snapshot_renew(states->newest);
	if (states->serial != states->newest->serial || states->stream != stream)
	{
		states->serial = 0;
		states->part =
			spool_parts_newest(states->segments, states->newest, stream,
							   SPOOL_CONSUMER,
							   hint ? seen[place].version : PG_INT64_MIN,
							   STATE_VERSION);
		if (states->part == NULL)
			return false;
		states->serial = states->newest->serial;
		states->stream = stream;
	}
	read_slot(states->part, state);
	state->stream = stream;
	seen[place].stream = stream;
	seen[place].version = state->version;
	return true;
}

/*
 * Begin a scan of a stream's states below a version that lie in a segment;
 * NULL if it has no rows.
 */
SpoolPart *
spool_states_older(SpoolStates *states, int segment, int64 stream,
				   int64 version)
{
	SpoolPart  *part = &states->segments[segment];
	ScanKeyData keys[INDEX_COLUMNS];

	ScanKeyInit(&keys[0], INDEX_STREAM, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(stream));
	ScanKeyInit(&keys[1], INDEX_CONSUMER, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(SPOOL_CONSUMER));
	ScanKeyInit(&keys[2], INDEX_VERSION, BTLessStrategyNumber, F_INT8LT,
				Int64GetDatum(version));
	states->serial = 0;
	return spool_part_seek(part, states->newest, keys, INDEX_COLUMNS) ?
		part : NULL;
}

/* The newest state of one stream alone. */
bool
spool_state_newest(int64 stream, SpoolState *state)
{
	SpoolSnapshot newest = {0};
	SpoolStates states;
	bool		found;

	spool_states_open(&states, &newest);
	found = spool_states_newest(&states, stream, state);
	spool_states_close(&states);
	spool_snapshot_end(&newest);
	return found;
}

/*
 * For who consumes: 40001 if the transaction's own snapshot does not see the
 * state.  It may see it where it was before it was moved (rotate.c).
 */
void
spool_state_check_snapshot(const SpoolState *state)
{
	SpoolState	seen;
	volatile bool same = false;

	if (!spool_snapshot_misses(state->writer))
		return;

	spool_read_with(GetTransactionSnapshot());
	PG_TRY();
	{
		same = spool_state_newest(state->stream, &seen) &&
			seen.version == state->version;
	}
	PG_FINALLY();
	{
		spool_read_with(NULL);
	}
	PG_END_TRY();
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent consumption of the stream"),
				 errhint("Retry the transaction.")));
}

static char *
text_or_null(Datum value, bool null)
{
	return null ? NULL : TextDatumGetCString(value);
}

static Datum
claimed_array(const SpoolState *state)
{
	Datum	   *ids = palloc(state->nclaimed * sizeof(Datum));

	for (int i = 0; i < state->nclaimed; i++)
		ids[i] = Int64GetDatum(state->claimed[i]);
	return PointerGetDatum(construct_array(ids, state->nclaimed, INT8OID, 8,
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Fill the columns of a row that may be null; both arrays count from 1. */
static void
fill_nullable(Datum *values, bool *nulls, const SpoolState *state)
{
#define PUT(column, known, value) \
	(nulls[column] = !(known), values[column] = (known) ? (value) : (Datum) 0)

	PUT(STATE_RUN_SINCE, state->run_since != 0,
		TimestampTzGetDatum(state->run_since));
	PUT(STATE_RETRY_AT, state->retry_at != 0,
		TimestampTzGetDatum(state->retry_at));
	PUT(STATE_DEADLINE, state->deadline != 0,
		TimestampTzGetDatum(state->deadline));
	PUT(STATE_CLAIMED, state->nclaimed > 0, claimed_array(state));
	PUT(STATE_ROLE, state->role != NULL, CStringGetTextDatum(state->role));
	PUT(STATE_APPLICATION, state->application != NULL,
		CStringGetTextDatum(state->application));
	PUT(STATE_FAILURE, state->failure != NULL,
		CStringGetTextDatum(state->failure));
	PUT(STATE_PAUSED, state->paused != NULL,
		CStringGetTextDatum(state->paused));
#undef PUT
}

/*
 * Whether somebody owns the stream: a runner that is alive or a claim whose
 * lease is not over.
 */
bool
spool_state_owned(const SpoolState *state)
{
	if (state->deadline != 0)
		return state->deadline > GetCurrentTimestamp();
	return spool_runner_alive(state->runner);
}

/* Make a state name no owner. */
void
spool_state_disown(SpoolState *state)
{
	state->runner = 0;
	state->run_packet = 0;
	state->run_jobs = 0;
	state->solo = Max(state->solo, 0);
	state->run_since = 0;
	state->deadline = 0;
	state->nclaimed = 0;
	state->role = NULL;
	state->application = NULL;
}

/* Fill the columns of a row; both arrays count from 1. */
static void
fill_row(Datum *values, bool *nulls, const SpoolState *state)
{
	values[STATE_CONSUMER] = Int32GetDatum(SPOOL_CONSUMER);
	values[STATE_STREAM] = Int64GetDatum(state->stream);
	values[STATE_VERSION] = Int64GetDatum(state->version);
	values[STATE_NEXT] = Int64GetDatum(state->next);
	values[STATE_HIGH] = Int64GetDatum(state->high);
	values[STATE_LOW] = Int64GetDatum(state->low);
	values[STATE_LOOKED] = TimestampTzGetDatum(state->looked);
	values[STATE_AHEAD] = Int32GetDatum(state->ahead);
	values[STATE_ATTEMPTS] = Int32GetDatum(state->attempts);
	values[STATE_ATTEMPT_PACKET] = Int64GetDatum(state->attempt_packet);
	values[STATE_RUNNER] = Int64GetDatum(state->runner);
	values[STATE_RUN_PACKET] = Int64GetDatum(state->run_packet);
	values[STATE_RUN_LAST] = Int64GetDatum(state->run_last);
	values[STATE_RUN_JOBS] = Int32GetDatum(state->run_jobs);
	values[STATE_SOLO] = Int32GetDatum(state->solo);
	values[STATE_CONSUMED] = Int64GetDatum(state->consumed);
	values[STATE_DONE] = Int64GetDatum(state->done);
	values[STATE_FAILED] = Int64GetDatum(state->failed);
	values[STATE_DEAD] = Int64GetDatum(state->dead);
	values[STATE_SUPERSEDED] = Int64GetDatum(state->superseded);
	values[STATE_SINCE] = TimestampTzGetDatum(state->since);
	fill_nullable(values, nulls, state);
}

/*
 * Append states as the newest ones of their streams.  The caller holds the
 * streams' locks and read the states that these derive from under them.
 */
void
spool_states_append(SpoolState **states, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	SpoolWriter writer;
	int			segment;

	if (n == 0)
		return;
	segment = spool_segment_lock(INDEX_STATES);
	spool_writer_open(&writer, spool_segment_heap(INDEX_STATES, segment), n);
	for (int i = 0; i < n; i++)
	{
		bool	   *nulls;
		Datum	   *values = spool_writer_row(&writer, &nulls);

		states[i]->version++;
		states[i]->since = now;
		fill_row(values - 1, nulls - 1, states[i]);
		values[STATE_SEGMENT - 1] = Int16GetDatum(segment);
	}
	spool_writer_close(&writer);
}

/* The same for one. */
void
spool_state_append(SpoolState *state)
{
	spool_states_append(&state, 1);
}
