/*-------------------------------------------------------------------------
 * reseq_args.c
 *	  Arguments and results of the resequencer's verbs.
 *
 * Keys have 1 to 1,024 bytes and are compared by bytes; numbers are
 * 0 .. 2^63 - 2; a part is a path of numbers from 1 on.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "args.h"
#include "reseq_args.h"
#include "spool.h"

/* The longest key: it is an index key. */
#define MAX_KEY		1024

/* The deepest split. */
#define MAX_DEPTH	32

static int	compare_items(const void *a, const void *b);
static void fill_answer(const SpoolReseqItem *item, Datum *values,
						bool *nulls);

/* Check key and number; false, and why, if they are not valid. */
bool
spool_reseq_check(const SpoolReseqItem *item, SpoolStray *stray)
{
	Size		length = item->key ? VARSIZE_ANY_EXHDR(item->key) : 0;

	memset(stray, 0, sizeof(SpoolStray));
	stray->key = length == 0 || length > MAX_KEY ? NULL : item->key;
	stray->sn = item->sn_null ? NULL : &item->sn;
	stray->target = item->target;
	stray->npart = item->npart;
	stray->part = item->part;
	stray->reason = "invalid";
	if (item->key == NULL || item->sn_null)
	{
		stray->sqlstate = ERRCODE_NULL_VALUE_NOT_ALLOWED;
		stray->message = psprintf("%s must not be null",
								  item->key == NULL ? "key" : "sn");
	}
	else if (length == 0)
	{
		stray->sqlstate = ERRCODE_INVALID_PARAMETER_VALUE;
		stray->message = pstrdup("key must not be empty");
	}
	else if (length > MAX_KEY)
	{
		stray->sqlstate = ERRCODE_INVALID_PARAMETER_VALUE;
		stray->message = psprintf("key is longer than %d bytes", MAX_KEY);
	}
	else if (item->sn < 0 || item->sn == PG_INT64_MAX)
	{
		stray->sqlstate = ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE;
		stray->message = psprintf("sn " INT64_FORMAT " is out of range 0 .. " INT64_FORMAT,
								  item->sn, PG_INT64_MAX - 1);
	}
	return stray->message == NULL;
}

/* The same, but raise an error. */
void
spool_reseq_require(const SpoolReseqItem *item)
{
	SpoolStray	stray;

	if (!spool_reseq_check(item, &stray))
		ereport(ERROR,
				(errcode(stray.sqlstate),
				 errmsg_internal("%s", stray.message)));
}

/* 22023 for a target that the resequencer does not have. */
void
spool_reseq_no_target(SpoolResequencer *resequencer, const char *target)
{
	StringInfoData targets;

	initStringInfo(&targets);
	for (int i = 0; i < resequencer->ntargets; i++)
		appendStringInfo(&targets, "%s\"%s\"", i == 0 ? "" : ", ",
						 resequencer->targets[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("resequencer \"%s\" has no target \"%s\"",
					resequencer->name, target),
			 errhint("Its targets are %s.", targets.data)));
}

/* The same unless it has it; NULL: none was given. */
void
spool_reseq_check_target(SpoolResequencer *resequencer, const char *target)
{
	if (target != NULL && spool_resequencer_target(resequencer, target) == 0)
		spool_reseq_no_target(resequencer, target);
}

/* P0002 for a number that is not registered. */
void
spool_reseq_not_registered(const SpoolReseqItem *item)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("number " INT64_FORMAT " of key \"%s\" is not registered",
					item->sn, text_to_cstring(item->key)),
			 item->npart > 0 ?
			 errhint("Register the whole with its count of parts before its parts.") : 0));
}

/* The path of a part; returns its depth, 0 for the whole. */
int
spool_reseq_part(ArrayType *array, int32 **part)
{
	int			depth = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	Datum	   *numbers;

	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("part must not contain nulls")));
	if (ARR_NDIM(array) > 1 || depth > MAX_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("part must be a path of at most %d numbers",
						MAX_DEPTH)));
	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &numbers, NULL, &depth);
	*part = palloc(Max(depth, 1) * sizeof(int32));
	for (int i = 0; i < depth; i++)
	{
		(*part)[i] = DatumGetInt32(numbers[i]);
		if ((*part)[i] < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("parts are numbered from 1")));
	}
	return depth;
}

/* Arguments (resequencer, key, sn, ...); the caller checks key and number. */
void
spool_reseq_item(FunctionCallInfo fcinfo, int target_arg, int part_arg,
				 SpoolReseqItem *item)
{
	spool_args_required(fcinfo, 1, "resequencer");
	memset(item, 0, sizeof(SpoolReseqItem));
	item->latest = NO_SN;
	if (!PG_ARGISNULL(1))
		item->key = PG_GETARG_TEXT_PP(1);
	item->sn_null = PG_ARGISNULL(2);
	if (!item->sn_null)
		item->sn = PG_GETARG_INT64(2);
	if (target_arg > 0)
		item->target = spool_arg_text(fcinfo, target_arg, NULL);
	if (part_arg > 0 && !PG_ARGISNULL(part_arg))
		item->npart = spool_reseq_part(PG_GETARG_ARRAYTYPE_P(part_arg),
									   &item->part);
}

/* Items from arrays of keys and numbers. */
SpoolReseqItem *
spool_reseq_items(ArrayType *keys, ArrayType *sns, int *n)
{
	SpoolReseqItem *items;
	Datum	   *names;
	Datum	   *numbers;
	bool	   *key_nulls;
	bool	   *sn_nulls;
	int			nnumbers;

	deconstruct_array(keys, TEXTOID, -1, false, TYPALIGN_INT, &names,
					  &key_nulls, n);
	deconstruct_array(sns, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &numbers, &sn_nulls, &nnumbers);
	if (*n != nnumbers)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keys and sns must have the same number of elements")));
	items = palloc0(Max(*n, 1) * sizeof(SpoolReseqItem));
	for (int i = 0; i < *n; i++)
	{
		items[i].index = i;
		items[i].latest = NO_SN;
		items[i].sn_null = sn_nulls[i];
		if (!key_nulls[i])
			items[i].key = DatumGetTextPP(names[i]);
		if (!sn_nulls[i])
			items[i].sn = DatumGetInt64(numbers[i]);
	}
	return items;
}

/* Digests for items; NULL: none. */
void
spool_reseq_digests(ArrayType *digests, SpoolReseqItem *items, int n)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(digests, BYTEAOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &count);
	if (count != n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keys and digests must have the same number of elements")));
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			items[i].digest = PG_DETOAST_DATUM_PACKED(elements[i]);
}

static int
compare_items(const void *a, const void *b)
{
	const SpoolReseqItem *x = *(SpoolReseqItem *const *) a;
	const SpoolReseqItem *y = *(SpoolReseqItem *const *) b;
	Size		nx = x->key ? VARSIZE_ANY_EXHDR(x->key) : 0;
	Size		ny = y->key ? VARSIZE_ANY_EXHDR(y->key) : 0;
	int			order = 0;

	if (nx > 0 && ny > 0)
		order = memcmp(VARDATA_ANY(x->key), VARDATA_ANY(y->key), Min(nx, ny));
	if (order != 0)
		return order;
	return nx != ny ? (nx < ny ? -1 : 1) : x->index - y->index;
}

/* Items in the order in which their keys are locked. */
SpoolReseqItem **
spool_reseq_sort(SpoolReseqItem *items, int n)
{
	SpoolReseqItem **sorted = palloc(Max(n, 1) * sizeof(SpoolReseqItem *));

	for (int i = 0; i < n; i++)
		sorted[i] = &items[i];
	qsort(sorted, n, sizeof(SpoolReseqItem *), compare_items);
	return sorted;
}

/* Columns verdict, reason, latest, repeat. */
static void
fill_answer(const SpoolReseqItem *item, Datum *values, bool *nulls)
{
	const SpoolDecision *decision = &item->decision;

	values[0] = CStringGetTextDatum(spool_verdict_name(decision->verdict));
	nulls[1] = decision->reason == NULL;
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(decision->reason);
	nulls[2] = item->latest == NO_SN;
	values[2] = Int64GetDatum(item->latest);
	values[3] = BoolGetDatum(decision->repeat);
	nulls[0] = nulls[3] = false;
}

/* What a verb returns. */
Datum
spool_reseq_answer(FunctionCallInfo fcinfo, const SpoolReseqItem *item)
{
	Datum		values[4];
	bool		nulls[4];

	fill_answer(item, values, nulls);
	return spool_result_row(fcinfo, values, nulls);
}

/* What a verb with arrays returns: rows with key and number, in their order. */
Datum
spool_reseq_answers(FunctionCallInfo fcinfo, const SpoolReseqItem *items,
					int n)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
	{
		Datum		values[6];
		bool		nulls[6];

		values[0] = PointerGetDatum(items[i].key);
		nulls[0] = items[i].key == NULL;
		values[1] = Int64GetDatum(items[i].sn);
		nulls[1] = items[i].sn_null;
		fill_answer(&items[i], values + 2, nulls + 2);
		tuplestore_putvalues(result->setResult, result->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}
