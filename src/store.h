/*-------------------------------------------------------------------------
 * store.h
 *	  The packets: what is written and removed.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_STORE_H
#define SPOOL_STORE_H

#include "scan.h"

extern void spool_store_append(const SpoolRow *rows, int nrows);
extern bool spool_store_lock(SpoolScan *scan, const SpoolRow *row);
extern void spool_store_remove(const SpoolRow *row);
extern bool spool_store_find(SpoolRow *row);
extern int64 spool_store_count(int64 stream, int64 from, int64 below);
extern int64 spool_store_highest(int64 stream, int64 from);
extern bool spool_store_by_id(int64 packet_id, SpoolRow *row);
extern void spool_store_remove_range(int64 stream, int64 from, int64 below);
extern bool spool_store_has_waiting(int32 queue, bool by_number);

#endif							/* SPOOL_STORE_H */
