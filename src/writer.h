/*-------------------------------------------------------------------------
 * writer.h
 *	  A table that is appended to past the executor.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_WRITER_H
#define SPOOL_WRITER_H

#include "access/heapam.h"
#include "nodes/execnodes.h"

/* Rows that are inserted together at the most: some pages' worth. */
#define SPOOL_WRITER_ROWS	256

/* A table opened for writing, with its indexes. */
typedef struct SpoolWriter
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *result;
	BulkInsertState bulk;		/* NULL for a single row */
	int			nslots;			/* made */
	int			nrows;			/* in slots, not yet inserted */
	TupleTableSlot *slots[SPOOL_WRITER_ROWS];
} SpoolWriter;

extern void spool_writer_open(SpoolWriter *writer, Oid table, int nrows);
extern Datum *spool_writer_row(SpoolWriter *writer, bool **nulls);
extern void spool_writer_close(SpoolWriter *writer);

#endif							/* SPOOL_WRITER_H */
