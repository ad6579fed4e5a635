/*-------------------------------------------------------------------------
 * writer.c
 *	  A table that is appended to past the executor.
 *
 * Rows go through the table access method, which costs one heap and the
 * index insertions and no statement.  The caller checks rights and what the
 * executor would check: the columns of spool's tables have no defaults, and
 * its triggers and constraints, but for uniqueness, are none.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "utils/rel.h"

#include "spiutil.h"
#include "spool.h"
#include "writer.h"

/* Open a table and its indexes for appending. */
void
spool_writer_open(SpoolWriter *writer, const char *table)
{
	writer->rel = table_open(spool_relation_oid(table), RowExclusiveLock);
	writer->estate = CreateExecutorState();
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, writer->rel, 1, NULL, 0);
	ExecOpenIndices(writer->result, false);
}

/*
 * Close it; locks are kept to the end of the transaction.  What was written
 * is visible to the next snapshot of this transaction.
 */
void
spool_writer_close(SpoolWriter *writer)
{
	ExecCloseIndices(writer->result);
	ExecResetTupleTable(writer->estate->es_tupleTable, false);
	FreeExecutorState(writer->estate);
	table_close(writer->rel, NoLock);
	CommandCounterIncrement();
}

/* An empty slot for a row of the table. */
TupleTableSlot *
spool_writer_slot(SpoolWriter *writer)
{
	return MakeSingleTupleTableSlot(RelationGetDescr(writer->rel),
									table_slot_callbacks(writer->rel));
}
