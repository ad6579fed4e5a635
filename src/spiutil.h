/*-------------------------------------------------------------------------
 * spiutil.h
 *	  spool's own SQL statements.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_SPIUTIL_H
#define SPOOL_SPIUTIL_H

#include "executor/spi.h"

#define SPOOL_MAX_ARGS 20

/* A statement that is prepared at its first use and kept. */
typedef struct SpoolPlan
{
	const char *sql;
	int			expected;		/* SPI_OK_... */
	int			nargs;
	Oid			argtypes[SPOOL_MAX_ARGS];	/* 0 stands for spool.packet */
	SPIPlanPtr	plan;
	Oid			packet_type;	/* what 0 stood for, if it did */
} SpoolPlan;

/* The rest of an initializer after sql and expected: types of parameters. */
#define PLAN_ARGS(...) \
	.nargs = lengthof(((Oid[]) {__VA_ARGS__})), .argtypes = {__VA_ARGS__}
#define PLAN_NO_ARGS .nargs = 0

/* What spool_spi_begin changed and spool_spi_end restores. */
typedef struct SpoolSpi
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} SpoolSpi;

extern Snapshot spool_newest_snapshot(void);
extern bool spool_reads_newest(void);
extern void spool_read_with(Snapshot snapshot);
extern void spool_spi_begin(SpoolSpi *spi);
extern void spool_spi_end(SpoolSpi *spi);
extern uint64 spool_exec(SpoolPlan *plan, Datum *values, const char *nulls);
extern uint64 spool_exec_alone(SpoolPlan *plan, Datum *values,
							   const char *nulls);
extern Datum spool_field(uint64 row, int column, bool *null);
extern Datum spool_field_copy(uint64 row, int column, Oid type, bool *null,
							  MemoryContext context);
extern char *spool_field_text(uint64 row, int column);
extern int	spool_field_texts(uint64 row, int column, char ***texts);
extern int64 spool_field_us(uint64 row, int column);
extern int64 spool_field_ms(uint64 row, int column);
extern int64 spool_interval_ms(const Interval *interval);

extern bool spool_extension_present(void);
extern Oid	spool_relation_oid(const char *name);
extern uint64 spool_relation_changes(void);
extern Oid	spool_type_oid(const char *name);
extern int64 spool_nextval(const char *sequence);

#endif							/* SPOOL_SPIUTIL_H */
