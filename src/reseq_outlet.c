/*-------------------------------------------------------------------------
 * reseq_outlet.c
 *	  Where a resequencer puts what it cannot decide or deliver.
 *
 * Dead letters are rows of spool.reseq_dead: deliveries that failed or
 * expired, and, where an option says so, calls that could not be decided.  A
 * queue gets a packet that describes the call, as the resequencer's owner.
 * All in the caller's transaction: what raises an error leaves nothing.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "packet_type.h"
#include "queue.h"
#include "reseq_outlet.h"
#include "spiutil.h"
#include "spool.h"
#include "write.h"

static char *describe(SpoolResequencer *resequencer, const SpoolStray *stray);
static void enqueue(SpoolResequencer *resequencer, const char *queue_name,
					const SpoolStray *stray);

/* A path as an array. */
ArrayType *
spool_part_array(int npart, const int32 *part)
{
	Datum	   *elements = palloc(Max(npart, 1) * sizeof(Datum));

	for (int i = 0; i < npart; i++)
		elements[i] = Int32GetDatum(part[i]);
	return construct_array(elements, npart, INT4OID, sizeof(int32), true,
						   TYPALIGN_INT);
}

/* Record a dead letter. */
void
spool_reseq_bury(SpoolResequencer *resequencer, const SpoolStray *stray)
{
	static SpoolPlan plan = {
		"INSERT INTO spool.reseq_dead (resequencer, key, sn, target, part,"
		" reason, message, since)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp())",
		SPI_OK_INSERT,
		PLAN_ARGS(INT4OID, TEXTOID, INT8OID, TEXTOID, INT4ARRAYOID, TEXTOID,
				  TEXTOID)
	};
	Datum		values[7];
	char		nulls[7];

#define PUT(i, known, value) \
	(nulls[i] = (known) ? ' ' : 'n', values[i] = (known) ? (value) : (Datum) 0)

	PUT(0, true, Int32GetDatum(resequencer->id));
	PUT(1, stray->key != NULL, PointerGetDatum(stray->key));
	PUT(2, stray->sn != NULL, Int64GetDatum(*stray->sn));
	PUT(3, stray->target != NULL, CStringGetTextDatum(stray->target));
	PUT(4, stray->npart > 0,
		PointerGetDatum(spool_part_array(stray->npart, stray->part)));
	PUT(5, true, CStringGetTextDatum(stray->reason));
	PUT(6, stray->message != NULL, CStringGetTextDatum(stray->message));
#undef PUT
	(void) spool_exec_alone(&plan, values, nulls);
}

/* The dead letter of a delivery. */
void
spool_reseq_dead(SpoolResequencer *resequencer, text *key,
				 const SpoolDelivery *delivery, const char *reason,
				 const char *message)
{
	SpoolStray	stray = {0};

	stray.key = key;
	stray.sn = &delivery->sn;
	stray.target = resequencer->targets[delivery->target - 1];
	stray.npart = delivery->npart;
	stray.part = delivery->part;
	stray.reason = reason;
	stray.message = message ? pstrdup(message) : NULL;
	spool_reseq_bury(resequencer, &stray);
}

/* A call as a JSON object. */
static char *
describe(SpoolResequencer *resequencer, const SpoolStray *stray)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"resequencer\": ");
	escape_json(&json, resequencer->name);
	if (stray->key != NULL)
	{
		appendStringInfoString(&json, ", \"key\": ");
		escape_json(&json, text_to_cstring(stray->key));
	}
	if (stray->sn != NULL)
		appendStringInfo(&json, ", \"sn\": " INT64_FORMAT, *stray->sn);
	if (stray->target != NULL)
	{
		appendStringInfoString(&json, ", \"target\": ");
		escape_json(&json, stray->target);
	}
	for (int i = 0; i < stray->npart; i++)
		appendStringInfo(&json, "%s%d%s", i == 0 ? ", \"part\": [" : ", ",
						 stray->part[i], i == stray->npart - 1 ? "]" : "");
	appendStringInfoString(&json, ", \"reason\": ");
	escape_json(&json, stray->reason);
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* Enqueue a call's description, in the stream of its key. */
static void
enqueue(SpoolResequencer *resequencer, const char *queue_name,
		const SpoolStray *stray)
{
	char	   *json = describe(resequencer, stray);
	const char *data;
	PacketTemplate template;
	SpoolPayloads payloads;
	SpoolQueue *queue;
	size_t		size;
	Oid			userid;
	int			sec_context;

	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(resequencer->owner,
						   sec_context | SECURITY_LOCAL_USERID_CHANGE);
	queue = spool_queue_open(cstring_to_text(queue_name), SPOOL_WRITE,
							 QUEUE_PRODUCE);
	SetUserIdAndSecContext(userid, sec_context);
	spool_packet_template(&template, NULL, NULL, NULL);
	data = spool_payload_datum(CStringGetTextDatum(json), TEXTOID, &size);
	payloads.count = 1;
	payloads.data = &data;
	payloads.sizes = &size;
	(void) spool_store_payloads(queue, stray->key ?
								text_to_cstring(stray->key) : "",
								&template, &payloads, NULL);
}

/* Put a call where an option says; what is left to the caller is answered. */
SpoolDecision
spool_reseq_put_out(SpoolResequencer *resequencer, const SpoolOutlet *outlet,
					const SpoolStray *stray)
{
	SpoolDecision decision = {0};

	decision.reason = stray->reason;
	switch (outlet->kind)
	{
		case OUTLET_ERROR:
			ereport(ERROR,
					(errcode(stray->sqlstate),
					 errmsg_internal("%s", stray->message),
					 stray->target ?
					 errdetail("Target \"%s\" of resequencer \"%s\".",
							   stray->target, resequencer->name) : 0));
			break;
		case OUTLET_DEAD:
			spool_reseq_bury(resequencer, stray);
			decision.verdict = VERDICT_DEAD;
			break;
		case OUTLET_QUEUE:
			enqueue(resequencer, outlet->queue, stray);
			decision.verdict = VERDICT_UNREGISTERED;
			break;
		default:
			decision.verdict = VERDICT_WAIT;
			break;
	}
	return decision;
}
