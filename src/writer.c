/*-------------------------------------------------------------------------
 * writer.c
 *	  A table that is appended to past the executor.
 *
 * Rows go through the table access method, many at a time, which costs one
 * heap and the index insertions and no statement.  The caller checks rights
 * and what the executor would check: the columns of spool's tables have no
 * defaults, and its triggers and constraints, but for uniqueness, are none.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "utils/rel.h"

#include "spool.h"
#include "writer.h"

static void flush(SpoolWriter *writer);

/* Open a table and its indexes for appending so many rows. */
void
spool_writer_open(SpoolWriter *writer, Oid table, int nrows)
{
	writer->rel = table_open(table, RowExclusiveLock);
	writer->estate = CreateExecutorState();
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, writer->rel, 1, NULL, 0);
	ExecOpenIndices(writer->result, false);
	writer->bulk = nrows > 1 ? GetBulkInsertState() : NULL;
	writer->nslots = 0;
	writer->nrows = 0;
}

/*
 * The columns of the next row and which of them are null, none of them at
 * first.  What they point to is kept until the writer is closed.
 */
Datum *
spool_writer_row(SpoolWriter *writer, bool **nulls)
{
	TupleTableSlot *slot;

	if (writer->nrows == SPOOL_WRITER_ROWS)
		flush(writer);
	if (writer->nrows == writer->nslots)
		writer->slots[writer->nslots++] =
			MakeSingleTupleTableSlot(RelationGetDescr(writer->rel),
									 table_slot_callbacks(writer->rel));
	slot = writer->slots[writer->nrows++];
	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0,
		   slot->tts_tupleDescriptor->natts * sizeof(bool));
	*nulls = slot->tts_isnull;
	return slot->tts_values;
}

/* Insert the rows. */
static void
flush(SpoolWriter *writer)
{
	CommandId	command = GetCurrentCommandId(true);

	for (int i = 0; i < writer->nrows; i++)
		ExecStoreVirtualTuple(writer->slots[i]);
	if (writer->nrows == 1)
		table_tuple_insert(writer->rel, writer->slots[0], command, 0,
						   writer->bulk);
	else if (writer->nrows > 1)
		table_multi_insert(writer->rel, writer->slots, writer->nrows, command,
						   0, writer->bulk);
	for (int i = 0; i < writer->nrows; i++)
	{
		(void) compat_insert_index_tuples(writer->result, writer->slots[i],
										  writer->estate);
		ResetPerTupleExprContext(writer->estate);
	}
	writer->nrows = 0;
}

/*
 * Insert what is left and close; locks are kept to the end of the
 * transaction.  What was written is visible to the next snapshot of this
 * transaction.
 */
void
spool_writer_close(SpoolWriter *writer)
{
	flush(writer);
	if (writer->bulk != NULL)
		FreeBulkInsertState(writer->bulk);
	/* last one first: the resource owner finds it at the end of its list */
	while (writer->nslots > 0)
		ExecDropSingleTupleTableSlot(writer->slots[--writer->nslots]);
	ExecCloseIndices(writer->result);
	ExecResetTupleTable(writer->estate->es_tupleTable, false);
	FreeExecutorState(writer->estate);
	table_close(writer->rel, NoLock);
	CommandCounterIncrement();
}
