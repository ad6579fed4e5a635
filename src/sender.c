/*-------------------------------------------------------------------------
 * sender.c
 *	  Packets that leave this database, and copies between queues.
 *
 * A sender's counter is a static lock row and appended states, like a
 * stream's.  prepare holds the lock to the end of its transaction: numbers
 * have no gap, a rolled-back prepare burns none, and sessions that prepare
 * for one sender wait for each other.
 *
 * Counters lie in segments, and older ones go with theirs (rotate.c).  Who
 * moves the newest needs no lock: whoever reads it with the newest snapshot
 * sees it in one of its places.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "args.h"
#include "kept.h"
#include "packet_type.h"
#include "queue.h"
#include "sender.h"
#include "shmem.h"
#include "spiutil.h"
#include "spool.h"
#include "store.h"
#include "stream.h"
#include "write.h"

/* The newest counter of sender s. */
#define NEWEST_COUNTER \
	" CROSS JOIN LATERAL (SELECT n.ctid, n.segment FROM spool.sender_state n" \
	"  WHERE n.sender = s.name ORDER BY n.version DESC LIMIT 1) st"

PG_FUNCTION_INFO_V1(spool_prepare);
PG_FUNCTION_INFO_V1(spool_sender_next);
PG_FUNCTION_INFO_V1(spool_sender_set_next);
PG_FUNCTION_INFO_V1(spool_forward);

static bool find_sender(Datum name, bool lock);
static int64 newest_counter(Datum name, int64 *version);
static void append_counter(Datum name, int64 version, int64 next);
static int64 open_sender(Datum name, int64 *version);

/*
 * Find a sender's row and lock it if asked to; false if there is none.  42501
 * for another's.
 */
static bool
find_sender(Datum name, bool lock)
{
#define SENDER_QUERY "SELECT owner::oid FROM spool.sender WHERE name = $1"
	static SpoolPlan look = {
		SENDER_QUERY, SPI_OK_SELECT, PLAN_ARGS(TEXTOID)
	};
	static SpoolPlan take = {
		SENDER_QUERY " FOR UPDATE", SPI_OK_SELECT, PLAN_ARGS(TEXTOID)
	};
	SpoolSpi	spi;
	Oid			owner = InvalidOid;
	bool		found;

	spool_spi_begin(&spi);
	found = spool_exec(lock ? &take : &look, &name, NULL) == 1;
	if (found)
		owner = DatumGetObjectId(spool_field(0, 1, NULL));
	spool_spi_end(&spi);
	if (found && !has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for sender \"%s\"",
						TextDatumGetCString(name))));
	return found;
}

/* The next number of a sender and the version that says so; 1, 0 if none. */
static int64
newest_counter(Datum name, int64 *version)
{
	static SpoolPlan plan = {
		"SELECT next, version FROM spool.sender_state WHERE sender = $1"
		" ORDER BY version DESC LIMIT 1",
		SPI_OK_SELECT, PLAN_ARGS(TEXTOID)
	};
	SpoolSpi	spi;
	int64		next = 1;

	*version = 0;
	spool_spi_begin(&spi);
	if (spool_exec(&plan, &name, NULL) == 1)
	{
		next = DatumGetInt64(spool_field(0, 1, NULL));
		*version = DatumGetInt64(spool_field(0, 2, NULL));
	}
	spool_spi_end(&spi);
	return next;
}

/* Set a sender's next number. */
static void
append_counter(Datum name, int64 version, int64 next)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.sender_state (sender, version, next, segment)"
		" VALUES ($1, $2, $3, $4)",
		SPI_OK_INSERT, PLAN_ARGS(TEXTOID, INT8OID, INT8OID, INT4OID)
	};
	Datum		values[4];

	values[0] = name;
	values[1] = Int64GetDatum(version + 1);
	values[2] = Int64GetDatum(next);
	values[3] = Int32GetDatum(spool_segment_lock(INDEX_SENDERS));
	(void) spool_exec_alone(&plan, values, NULL);
	spool_hint_upkeep();
}

/* Whether a segment has the newest counter of a sender. */
bool
spool_senders_needed(int segment)
{
	static SpoolPlan plan = {
		"SELECT FROM spool.sender s" NEWEST_COUNTER
		" WHERE st.segment = $1 LIMIT 1",
		SPI_OK_SELECT, PLAN_ARGS(INT4OID)
	};
	Datum		values[1];

	values[0] = Int32GetDatum(segment);
	return spool_exec_alone(&plan, values, NULL) > 0;
}

/*
 * Move the newest counters of senders from a segment to the old one, so many
 * at the most; returns how many.
 */
int64
spool_senders_move(int segment, int max)
{
	static SpoolPlan plan = {
		"UPDATE spool.sender_state SET segment = 0 WHERE segment = $1"
		" AND ctid = ANY (ARRAY(SELECT st.ctid FROM spool.sender s"
		NEWEST_COUNTER " WHERE st.segment = $1 LIMIT $2))",
		SPI_OK_UPDATE, PLAN_ARGS(INT4OID, INT4OID)
	};
	Datum		values[2];

	values[0] = Int32GetDatum(segment);
	values[1] = Int32GetDatum(max);
	return (int64) spool_exec_alone(&plan, values, NULL);
}

/* Remove counters in the old segment that are not the newest. */
void
spool_senders_purge(void)
{
	static SpoolPlan plan = {
		"DELETE FROM spool.sender_state old WHERE old.segment = 0"
		" AND EXISTS (SELECT FROM spool.sender_state n"
		"  WHERE n.sender = old.sender AND n.version > old.version)",
		SPI_OK_DELETE, PLAN_NO_ARGS
	};

	(void) spool_exec_alone(&plan, NULL, NULL);
}

/* Lock a sender, making it if there is none; returns its counter. */
static int64
open_sender(Datum name, int64 *version)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.sender (name, owner) VALUES ($1, $2::oid::regrole)"
		" ON CONFLICT DO NOTHING",
		SPI_OK_INSERT, PLAN_ARGS(TEXTOID, OIDOID)
	};

	if (!find_sender(name, true))
	{
		Datum		values[2];

		values[0] = name;
		values[1] = ObjectIdGetDatum(GetUserId());
		(void) spool_exec_alone(&plan, values, NULL);
		(void) find_sender(name, true);
	}
	return newest_counter(name, version);
}

/* prepare(sender, payload, params, env, kind) */
Datum
spool_prepare(PG_FUNCTION_ARGS)
{
	PacketTemplate template;
	const char *payload;
	size_t		size;
	int64		seq = 1;

	payload = spool_payload_arg(fcinfo, 1, &size);
	spool_packet_template(&template,
						  PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2),
						  PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3),
						  PG_ARGISNULL(4) ? NULL : PG_GETARG_TEXT_PP(4));
	if (!PG_ARGISNULL(0))
	{
		int64		version;

		PreventCommandIfReadOnly("spool.prepare()");
		seq = open_sender(PG_GETARG_DATUM(0), &version);
		spool_packet_check_seq(seq);
		append_counter(PG_GETARG_DATUM(0), version, seq + 1);
	}
	template.fields.seq = seq;
	spool_packet_now(&template.fields.secs, &template.fields.nanos);
	PG_RETURN_POINTER(spool_packet_build(&template, payload, size));
}

/* sender_next(sender): a look, without a lock */
Datum
spool_sender_next(PG_FUNCTION_ARGS)
{
	int64		version;

	spool_args_required(fcinfo, 1, "sender");
	(void) find_sender(PG_GETARG_DATUM(0), false);
	PG_RETURN_INT64(newest_counter(PG_GETARG_DATUM(0), &version));
}

/* sender_set_next(sender, seq) */
Datum
spool_sender_set_next(PG_FUNCTION_ARGS)
{
	int64		version;

	spool_args_required(fcinfo, 2, "sender", "seq");
	PreventCommandIfReadOnly("spool.sender_set_next()");
	spool_packet_check_seq(PG_GETARG_INT64(1));
	(void) open_sender(PG_GETARG_DATUM(0), &version);
	append_counter(PG_GETARG_DATUM(0), version, PG_GETARG_INT64(1));
	PG_RETURN_VOID();
}

/* forward(queue, packet_id, target, stream, renumber) */
Datum
spool_forward(PG_FUNCTION_ARGS)
{
	SpoolQueue *source;
	SpoolQueue *target;
	int64		packet_id;
	char	   *stream;
	bool		renumber = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	char	   *kept_state;
	SpoolRow	row;
	int32		queue_id = 0;
	SpoolWritten written;

	spool_args_required(fcinfo, 3, "queue", "packet_id", "target");
	source = spool_queue_open(PG_GETARG_TEXT_PP(0), SPOOL_READ, QUEUE_LOOK);
	target = spool_queue_open(PG_GETARG_TEXT_PP(2), SPOOL_WRITE,
							  QUEUE_PRODUCE);
	packet_id = PG_GETARG_INT64(1);
	stream = NULL;
	if (spool_store_by_id(packet_id, &row) ||
		spool_kept_by_id(packet_id, &row, &kept_state))
		stream = spool_stream_name(row.stream, &queue_id);
	if (stream == NULL || queue_id != source->id)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("packet " INT64_FORMAT " does not exist in queue \"%s\"",
						packet_id, source->name)));
	if (!PG_ARGISNULL(3))
		stream = text_to_cstring(PG_GETARG_TEXT_PP(3));

	row.packet = PG_DETOAST_DATUM_PACKED(PointerGetDatum(row.packet));
	if (renumber)
	{
		written.seq = spool_store_copy(target, stream, row.packet,
									   &written.packet_id);
		written.status = "stored";
	}
	else
		spool_write_packets(target, stream, &row.packet, 1, &written);

	return spool_written_row(fcinfo, &written);
}
