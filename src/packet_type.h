/*-------------------------------------------------------------------------
 * packet_type.h
 *	  The SQL type spool.packet: what other files need of it.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_PACKET_TYPE_H
#define SPOOL_PACKET_TYPE_H

#include "fmgr.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "packet.h"

/* The highest number that SQL sees: 2^63 - 2. */
#define SPOOL_MAX_SEQ (PG_INT64_MAX - 1)

/* The largest packet: larger values cannot be dumped. */
#define SPOOL_MAX_PACKET (500 * 1000 * 1000)

/* The time between 1970 and 2000, where timestamptz begins to count. */
#define SPOOL_UNIX_EPOCH_USECS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

extern int	spool_max_header_size;	/* spool.max_header_size, in kB */

/* Defines this file's settings. */
extern void spool_packet_init(void);

/*
 * Parameters and environment of packets to be made: converted once, used for
 * any number of packets.
 */
typedef struct PacketTemplate
{
	PacketFields fields;		/* seq, secs and nanos are the caller's */
} PacketTemplate;

/*
 * Fills params, env and kind; NULL means none, none and a command.  Allocates
 * in the current context and points into the arguments.
 */
extern void spool_packet_template(PacketTemplate *template, ArrayType *params,
								  Jsonb *env, text *kind);

/* What a packet's header says, to make another with the same. */
extern void spool_packet_template_of(PacketTemplate *template,
									 const PacketHeader *header);

/* A packet with the template's header and this payload. */
extern struct varlena *spool_packet_build(const PacketTemplate *template,
										  const char *payload, size_t len);

/* Is a packet of these sizes allowed?  22P03 and 54000 if not. */
extern void spool_packet_check_size(size_t header_size, size_t payload_size);

/*
 * The payload argument argno of an SQL function, which may be declared bytea,
 * text, json or jsonb; text is converted to UTF-8.  *len = 0 and a pointer to
 * nothing when it is NULL.  Keeps the declared types in flinfo->fn_extra, so
 * that such functions cannot use fn_extra for anything else.
 */
extern const char *spool_payload_arg(FunctionCallInfo fcinfo, int argno,
									 size_t *len);

/* The same for one element of an array argument, its type given. */
extern const char *spool_payload_datum(Datum value, Oid type, size_t *len);

/*
 * Read the header of a stored packet (possibly toasted: only a slice is
 * fetched).  The header's pointers live in the current memory context.
 */
extern void spool_packet_header(struct varlena *packet, PacketHeader *header);

/* The parts as SQL values.  Bytes that are no valid text: 22021 if strict,
 * else *null is set. */
extern Datum spool_packet_params(const PacketHeader *header, bool strict,
								 bool *null);
extern Datum spool_packet_env(const PacketHeader *header, bool strict,
							  bool *null);
extern Datum spool_packet_payload(struct varlena *packet, size_t header_size);
extern const char *spool_packet_kind_name(PacketKind kind);

/* Creation time; nanoseconds since 1970 and as timestamptz (floored). */
extern int64 spool_packet_nanoseconds(const PacketHeader *header);
extern TimestampTz spool_packet_ctime(const PacketHeader *header);

/* Creation time as RFC 3339, in UTC or the session's time zone. */
extern char *spool_packet_rfc3339(const PacketHeader *header, bool local);

/* Now, as seconds and nanoseconds since 1970. */
extern void spool_packet_now(int64 *secs, uint32 *nanos);

/* The number as SQL sees it; 22003 if it is too large. */
extern int64 spool_packet_seq(const PacketHeader *header);

/* Complains with 22003 about a number that SQL does not see. */
extern void spool_packet_check_seq(int64 seq);

/* True if a parameter or environment string holds a zero byte. */
extern bool spool_packet_has_nul(const PacketHeader *header);

/* fspl-<uuid>.fspl, palloc'd. */
extern char *spool_packet_filename(struct varlena *packet);

#endif							/* SPOOL_PACKET_TYPE_H */
