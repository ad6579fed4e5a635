/*-------------------------------------------------------------------------
 * segment_streams.c
 *	  The streams that a segment's index has entries of.
 *
 * Entries are read without a look at their rows, which may be consumed, moved
 * or not committed: with a snapshot held elsewhere those stay, and to look at
 * each again and again would take long.  A stream that has many entries is
 * passed over by a new look after it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/itup.h"
#include "access/relscan.h"
#include "access/table.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "compat.h"
#include "segment_streams.h"
#include "spool.h"

/* Entries of a stream that are read rather than passed over. */
#define NEAR_ENTRIES	64

/* Open a segment's index; its first column is the stream. */
void
spool_indexed_open(SpoolIndexedStreams *streams, SpoolIndex which, int segment,
				   Snapshot snapshot)
{
	memset(streams, 0, sizeof(SpoolIndexedStreams));
	streams->heap = table_open(spool_segment_heap(which, segment),
							   AccessShareLock);
	streams->index = index_open(spool_segment_index(which, segment),
								AccessShareLock);
	streams->desc = compat_index_beginscan(streams->heap, streams->index,
										   snapshot, 1);
	streams->desc->xs_want_itup = true;
}

/* The first stream after a given one, in ascending calls; or the end. */
int64
spool_indexed_next(SpoolIndexedStreams *streams, int64 after)
{
	IndexScanDesc desc = streams->desc;
	int			left = streams->begun ? NEAR_ENTRIES : 0;

	streams->begun = true;
	for (; streams->stream <= after; left--)
	{
		ScanKeyData key;
		bool		null;

		if (left == 0)
		{
			ScanKeyInit(&key, 1, BTGreaterStrategyNumber, F_INT8GT,
						Int64GetDatum(after));
			index_rescan(desc, &key, 1, NULL, 0);
		}
		if (index_getnext_tid(desc, ForwardScanDirection) == NULL)
			streams->stream = END_OF_STREAMS;
		else
			streams->stream = DatumGetInt64(index_getattr(desc->xs_itup, 1,
														  desc->xs_itupdesc,
														  &null));
	}
	return streams->stream;
}

void
spool_indexed_close(SpoolIndexedStreams *streams)
{
	index_endscan(streams->desc);
	index_close(streams->index, NoLock);
	table_close(streams->heap, NoLock);
}
