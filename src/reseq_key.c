/*-------------------------------------------------------------------------
 * reseq_key.c
 *	  Keys of resequencers: the locks of their lanes.
 *
 * A key's row of spool.reseq_key is locked by each verb that decides, to the
 * end of its transaction, so decisions about one key are made one after the
 * other, and pass and write of a target are one step.  What changes often
 * lies elsewhere (reseq_store.c), so that locking writes no new version.  The
 * row itself changes when the key is suspended or reset, and goes when the key
 * is forgotten: who waited for it looks again.
 *
 * Verbs with several keys lock them in the order of their bytes.
 *
 * A key has an id in each epoch: what was appended under an older one belongs
 * to no key, and goes with its segment.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "reseq_key.h"
#include "reseq_store.h"
#include "snapshot.h"
#include "spiutil.h"
#include "spool.h"

/* Columns of the index by name. */
enum
{
	NAME_INDEX_RESEQUENCER = 1, NAME_INDEX_KEY
};

static bool next_row(SpoolReseqKeys *keys);
static bool look_up(SpoolReseqKeys *keys, text *name, Snapshot snapshot);
static void read_slot(SpoolReseqKeys *keys, SpoolReseqKey *key);

/* Open the table with a lock to look at keys, or to lock them. */
void
spool_reseq_keys_open(SpoolReseqKeys *keys, int32 resequencer,
					  LOCKMODE lockmode)
{
	keys->resequencer = resequencer;
	keys->heap = table_open(spool_relation_oid("reseq_key"), lockmode);
	keys->index = index_open(spool_relation_oid("reseq_key_resequencer_key_key"),
							 AccessShareLock);
	keys->slot = table_slot_create(keys->heap, NULL);
	keys->desc = compat_index_beginscan(keys->heap, keys->index, SnapshotAny,
										NAME_INDEX_KEY);
	keys->context = CurrentMemoryContext;
}

void
spool_reseq_keys_close(SpoolReseqKeys *keys)
{
	index_endscan(keys->desc);
	ExecDropSingleTupleTableSlot(keys->slot);
	index_close(keys->index, NoLock);
	table_close(keys->heap, NoLock);
}

/* Read the next row of a scan into the slot. */
static bool
next_row(SpoolReseqKeys *keys)
{
	MemoryContext old = MemoryContextSwitchTo(keys->context);
	bool		found = index_getnext_slot(keys->desc, ForwardScanDirection,
										   keys->slot);

	MemoryContextSwitchTo(old);
	return found;
}

/*
 * Walk over all keys in the order of their bytes, or with a name to that one.
 * The row that the walk is at is in the slot.
 */
void
spool_reseq_walk(SpoolReseqKeys *keys, text *name, Snapshot snapshot)
{
	StrategyNumber strategy = BTGreaterStrategyNumber;
	ScanKeyData scankeys[2];

	if (name != NULL)
		strategy = BTEqualStrategyNumber;
	ScanKeyInit(&scankeys[0], NAME_INDEX_RESEQUENCER, BTEqualStrategyNumber,
				F_INT4EQ, Int32GetDatum(keys->resequencer));
	ScanKeyEntryInitialize(&scankeys[1], 0, NAME_INDEX_KEY, strategy,
						   InvalidOid, C_COLLATION_OID,
						   name ? F_TEXTEQ : F_TEXT_GT,
						   PointerGetDatum(name ? name : cstring_to_text("")));
	keys->desc->xs_snapshot = snapshot;
	index_rescan(keys->desc, scankeys, NAME_INDEX_KEY, NULL, 0);
}

/* Find the row of a key into the slot. */
static bool
look_up(SpoolReseqKeys *keys, text *name, Snapshot snapshot)
{
	spool_reseq_walk(keys, name, snapshot);
	return next_row(keys);
}

/* A key from the row in the slot. */
static void
read_slot(SpoolReseqKeys *keys, SpoolReseqKey *key)
{
	Datum	   *values;
	bool	   *nulls;

	slot_getallattrs(keys->slot);
	values = keys->slot->tts_values - 1;
	nulls = keys->slot->tts_isnull - 1;
	key->id = DatumGetInt64(values[KEY_ID]);
	key->name = DatumGetTextPCopy(values[KEY_KEY]);
	key->epoch = DatumGetInt32(values[KEY_EPOCH]);
	key->suspended = nulls[KEY_SUSPENDED] ? NULL :
		TextDatumGetCString(values[KEY_SUSPENDED]);
	key->suspended_since = nulls[KEY_SUSPENDED_SINCE] ? 0 :
		DatumGetTimestampTz(values[KEY_SUSPENDED_SINCE]);
	key->resumed_at = nulls[KEY_RESUMED_AT] ? 0 :
		DatumGetTimestampTz(values[KEY_RESUMED_AT]);
	key->blocking = nulls[KEY_BLOCKING] ? NO_SN :
		DatumGetInt64(values[KEY_BLOCKING]);
	key->blocking_target = nulls[KEY_BLOCKING_TARGET] ? 0 :
		DatumGetInt32(values[KEY_BLOCKING_TARGET]);
}

/* Find a key without a lock, for a look; false if there is none. */
bool
spool_reseq_key_find(SpoolReseqKeys *keys, text *name, Snapshot snapshot,
					 SpoolReseqKey *key)
{
	bool		found = look_up(keys, name, snapshot);

	if (found)
		read_slot(keys, key);
	ExecClearTuple(keys->slot);
	return found;
}

/* The next key; its row is in the slot, the rest in the current context. */
bool
spool_reseq_walk_next(SpoolReseqKeys *keys, SpoolReseqKey *key)
{
	bool		found = next_row(keys);

	if (found)
		read_slot(keys, key);
	return found;
}

/* Lock a key; false if there is none, or others have it and wait is to skip. */
bool
spool_reseq_key_lock(SpoolReseqKeys *keys, text *name, LockWaitPolicy wait,
					 SpoolReseqKey *key)
{
	for (;;)
	{
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		TM_Result	result = TM_Deleted;
		TM_FailureData failure;
		bool		found = look_up(keys, name, snapshot);

		if (found)
		{
			ItemPointerData tid = keys->slot->tts_tid;

			result = table_tuple_lock(keys->heap, &tid, snapshot, keys->slot,
									  GetCurrentCommandId(true),
									  LockTupleExclusive, wait, 0,
									  &failure);
		}
		UnregisterSnapshot(snapshot);
		if (found && result == TM_Ok)
		{
			/* the states of lanes do not tell all: a reset leaves none */
			if (spool_snapshot_misses(spool_slot_writer(keys->slot)))
				spool_reseq_not_serializable();
			read_slot(keys, key);
		}
		ExecClearTuple(keys->slot);
		if (!found || result == TM_Ok)
			return found;
		if (result == TM_WouldBlock)
			return false;
		/* suspended, reset or forgotten meanwhile */
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Make keys, given in the order of their bytes.  One that another transaction
 * makes first is locked in its turn, by the condition that never holds.
 */
void
spool_reseq_keys_create(int32 resequencer, text *const *names, int n)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.reseq_key (id, resequencer, key, epoch)"
		" SELECT nextval('spool.reseq_key_id_seq'), $1, name, 0"
		" FROM unnest($2) WITH ORDINALITY AS u (name, n) ORDER BY n"
		" ON CONFLICT (resequencer, key) DO UPDATE SET epoch = excluded.epoch"
		"  WHERE false",
		SPI_OK_INSERT, PLAN_ARGS(INT4OID, TEXTARRAYOID)
	};
	Datum	   *elements = palloc(n * sizeof(Datum));
	Datum		values[2];

	for (int i = 0; i < n; i++)
		elements[i] = PointerGetDatum(names[i]);
	values[0] = Int32GetDatum(resequencer);
	values[1] = PointerGetDatum(construct_array(elements, n, TEXTOID, -1,
												false, TYPALIGN_INT));
	(void) spool_exec_alone(&plan, values, NULL);
}

/* Names of keys, which a statement gives in the order in which to lock them. */
uint64
spool_reseq_key_names(SpoolPlan *plan, Datum *values, text ***names)
{
	MemoryContext context = CurrentMemoryContext;
	SpoolSpi	spi;
	uint64		n;

	spool_spi_begin(&spi);
	n = spool_exec(plan, values, NULL);
	*names = MemoryContextAllocHuge(context, (n + 1) * sizeof(text *));
	for (uint64 i = 0; i < n; i++)
	{
		bool		null;

		(*names)[i] = DatumGetTextPP(spool_field_copy(i, 1, TEXTOID, &null,
													  context));
	}
	spool_spi_end(&spi);
	return n;
}

/* Suspend a key that is locked, or with NULL resume it. */
void
spool_reseq_key_suspend(SpoolReseqKey *key, const char *reason,
						int64 blocking, int32 target)
{
	static SpoolPlan plan = {
		"UPDATE spool.reseq_key SET suspended = $2,"
		" suspended_since = CASE WHEN $2 IS NOT NULL THEN clock_timestamp() END,"
		" resumed_at = clock_timestamp(), blocking = $3,"
		" blocking_target = $4 WHERE id = $1",
		SPI_OK_UPDATE, PLAN_ARGS(INT8OID, TEXTOID, INT8OID, INT4OID)
	};
	Datum		values[4];
	char		nulls[4] = {' ', ' ', ' ', ' '};

	values[0] = Int64GetDatum(key->id);
	values[1] = reason ? CStringGetTextDatum(reason) : (Datum) 0;
	nulls[1] = reason ? ' ' : 'n';
	values[2] = Int64GetDatum(blocking);
	values[3] = Int32GetDatum(target);
	nulls[2] = nulls[3] = blocking == NO_SN ? 'n' : ' ';
	(void) spool_exec_alone(&plan, values, nulls);
	key->suspended = reason ? pstrdup(reason) : NULL;
	key->resumed_at = GetCurrentTimestamp();
	key->blocking = blocking;
	key->blocking_target = target;
}

/*
 * Begin a new epoch of a key that is locked.  A number that suspended it is
 * gone, and so is that suspension.
 */
void
spool_reseq_key_renew(SpoolReseqKey *key)
{
	static SpoolPlan plan = {
		"UPDATE spool.reseq_key SET id = nextval('spool.reseq_key_id_seq'),"
		" epoch = epoch + 1, resumed_at = clock_timestamp(), blocking = NULL, blocking_target = NULL,"
		" suspended = CASE WHEN blocking IS NULL THEN suspended END,"
		" suspended_since = CASE WHEN blocking IS NULL THEN suspended_since END"
		" WHERE id = $1 RETURNING id, epoch",
		SPI_OK_UPDATE_RETURNING, PLAN_ARGS(INT8OID)
	};
	Datum		values[1];
	SpoolSpi	spi;

	values[0] = Int64GetDatum(key->id);
	spool_spi_begin(&spi);
	(void) spool_exec(&plan, values, NULL);
	key->id = DatumGetInt64(spool_field(0, 1, NULL));
	key->epoch = DatumGetInt32(spool_field(0, 2, NULL));
	spool_spi_end(&spi);
}
