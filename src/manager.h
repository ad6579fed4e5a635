/*-------------------------------------------------------------------------
 * manager.h
 *	  The manager of a database.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_MANAGER_H
#define SPOOL_MANAGER_H

#include "postgres.h"

/*
 * Classes of advisory locks, beside those of runners: "this database has its
 * manager", and "its shared memory is the segment of this handle".
 */
#define MANAGER_LOCK_CLASS 0x5351
#define SEGMENT_LOCK_CLASS 0x5352

extern PGDLLEXPORT void spool_manager_main(Datum arg);

#endif							/* SPOOL_MANAGER_H */
