/*-------------------------------------------------------------------------
 * writer.h
 *	  A table that is appended to past the executor.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_WRITER_H
#define SPOOL_WRITER_H

#include "nodes/execnodes.h"

/* A table opened for writing, with its indexes. */
typedef struct SpoolWriter
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *result;
} SpoolWriter;

extern void spool_writer_open(SpoolWriter *writer, const char *table);
extern void spool_writer_close(SpoolWriter *writer);
extern TupleTableSlot *spool_writer_slot(SpoolWriter *writer);

#endif							/* SPOOL_WRITER_H */
