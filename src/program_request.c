/*-------------------------------------------------------------------------
 * program_request.c
 *	  What the supervisor is asked to run: arguments and environment.
 *
 * The path and the fixed arguments are the operator's.  The packet decides
 * arguments after these, if that is allowed, and the values of variables
 * whose names start with FSPL_; it cannot name any other variable.  Its bytes
 * are handed on as they are.  Nothing of the server's environment is passed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgtime.h"

#include "packet_type.h"
#include "program_request.h"

/* Whatever the server's own are. */
#define PROGRAM_PATH \
	"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define PROGRAM_LANG "C.UTF-8"

/* No system takes that many arguments or variables. */
#define MAX_STRINGS 1000000

/* The strings of a request, and how many of them. */
typedef struct Strings
{
	StringInfo	data;
	uint32		count;
	bool		too_long;
} Strings;

/* One variable of the packet. */
typedef struct Variable
{
	char	   *data;			/* name=value */
	size_t		len;
	size_t		name_len;
	uint32		index;
} Variable;

static void add_lock_name(Strings *strings, const char *name);
static void add_parameters(Strings *strings, PacketItems items);
static void add_environment(Strings *strings, const SpoolProgramRun *run,
							const PacketHeader *header);
static void add_numbered(Strings *strings, PacketItems items);
static void add_set_variables(Strings *strings, PacketItems items);
static void read_variable(PacketItems *items, Variable *variable);
static int	compare_variables(const void *a, const void *b);
static void add(Strings *strings, const char *data, size_t len);
static void add_text(Strings *strings, char *string);

/* Write the request.  False if it is longer than any system takes. */
bool
spool_program_request(const SpoolProgramRun *run, const PacketHeader *header,
					  StringInfo data)
{
	SpoolExecRequest request = {
		.magic = SPOOL_EXEC_MAGIC,
		.timeout_ms = run->timeout_ms
	};
	Strings		strings = {.data = data};
	int			i;

	initStringInfo(data);
	appendBinaryStringInfo(data, (char *) &request, sizeof(request));

	add_lock_name(&strings, run->lock_name);
	add(&strings, run->path, strlen(run->path));

	strings.count = 0;
	add(&strings, run->path, strlen(run->path));
	for (i = 0; i < run->nargs; i++)
		add(&strings, run->args[i], strlen(run->args[i]));
	if (run->allow_job_params)
		add_parameters(&strings, header->params);
	request.nargs = strings.count;

	strings.count = 0;
	add_environment(&strings, run, header);
	request.nenv = strings.count;

	request.length = data->len - sizeof(request);
	memcpy(data->data, &request, sizeof(request));
	return !strings.too_long;
}

/* A lock name is any text or NULL; the file's name is a hash of it. */
static void
add_lock_name(Strings *strings, const char *name)
{
	uint64		hash;

	if (name == NULL)
	{
		add(strings, "", 0);
		return;
	}
	hash = hash_bytes_extended((const unsigned char *) name, strlen(name), 0);
	add_text(strings, psprintf("%u-%016llx", MyDatabaseId,
							   (unsigned long long) hash));
}

/* The packet's parameters as arguments. */
static void
add_parameters(Strings *strings, PacketItems items)
{
	while (items.count > 0 && !strings->too_long)
	{
		size_t		len = packet_item_length(&items);
		char	   *value = palloc(len + 1);

		packet_item_copy(&items, (uint8_t *) value);
		add(strings, value, len);
		pfree(value);
	}
}

/* All that the program sees in its environment. */
static void
add_environment(Strings *strings, const SpoolProgramRun *run,
				const PacketHeader *header)
{
	const char *zone = pg_get_timezone_name(session_timezone);

	add_text(strings, psprintf("PATH=%s", PROGRAM_PATH));
	add_text(strings, psprintf("LANG=%s", PROGRAM_LANG));
	add_text(strings, psprintf("TZ=%s", zone));

	add_text(strings, psprintf("FSPL_SEQ=%llu",
							   (unsigned long long) header->seq));
	add_text(strings, psprintf("FSPL_CTIME_SECS=%lld",
							   (long long) header->secs));
	add_text(strings, psprintf("FSPL_CTIME_NANOS=%u", header->nanos));
	add_text(strings, psprintf("FSPL_CTIME_RFC3339_UTC=%s",
							   spool_packet_rfc3339(header, false)));
	add_text(strings, psprintf("FSPL_CTIME_RFC3339_LOCAL=%s",
							   spool_packet_rfc3339(header, true)));
	add_numbered(strings, header->params);
	add_set_variables(strings, header->env);

	if (run->queue != NULL)
	{
		add_text(strings, psprintf("FSPL_JOB_FILENAME=%s",
								   spool_packet_filename(run->packet)));
		add_text(strings, psprintf("FSPL_JOB_QUEUEDIR=%s", run->queue));
	}
}

/* FSPL_PARAM_1 ... */
static void
add_numbered(Strings *strings, PacketItems items)
{
	uint32		n = 0;

	while (items.count > 0 && !strings->too_long)
	{
		size_t		len = packet_item_length(&items);
		char	   *variable = palloc(len + sizeof("FSPL_PARAM_4294967295="));
		int			name_len;

		name_len = sprintf(variable, "FSPL_PARAM_%u=", ++n);
		packet_item_copy(&items, (uint8_t *) variable + name_len);
		add(strings, variable, name_len + len);
		pfree(variable);
	}
}

/* FSPL_SET_<name>; of equal names the last one counts. */
static void
add_set_variables(Strings *strings, PacketItems items)
{
	uint32		count = items.count / 2;
	Variable   *variables;
	uint32		i;

	if (count == 0)
		return;
	if (count > MAX_STRINGS)
	{
		strings->too_long = true;
		return;
	}

	variables = palloc(count * sizeof(Variable));
	for (i = 0; i < count; i++)
	{
		read_variable(&items, &variables[i]);
		variables[i].index = i;
	}

	qsort(variables, count, sizeof(Variable), compare_variables);
	for (i = 0; i < count; i++)
	{
		Variable   *variable = &variables[i];

		if (i + 1 == count ||
			variable->name_len != variable[1].name_len ||
			memcmp(variable->data, variable[1].data, variable->name_len) != 0)
			add(strings, variable->data, variable->len);
		pfree(variable->data);
	}
	pfree(variables);
}

/* The next name and value. */
static void
read_variable(PacketItems *items, Variable *variable)
{
	size_t		prefix = strlen("FSPL_SET_");
	size_t		len = prefix + packet_item_length(items);
	size_t		value_len;
	char	   *data = palloc(len + 1);

	memcpy(data, "FSPL_SET_", prefix);
	packet_item_copy(items, (uint8_t *) data + prefix);
	data[len++] = '=';

	value_len = packet_item_length(items);
	data = repalloc(data, len + value_len + 1);
	packet_item_copy(items, (uint8_t *) data + len);

	/* a name that has an equals sign ends there for everybody else */
	variable->name_len = (char *) memchr(data, '=', len) - data;
	variable->data = data;
	variable->len = len + value_len;
}

/* By name, then by place in the packet. */
static int
compare_variables(const void *a, const void *b)
{
	const Variable *x = a;
	const Variable *y = b;
	int			rc = memcmp(x->data, y->data, Min(x->name_len, y->name_len));

	if (rc == 0)
		rc = (x->name_len > y->name_len) - (x->name_len < y->name_len);
	if (rc == 0)
		rc = (x->index > y->index) - (x->index < y->index);
	return rc;
}

/* Add one string to a request. */
static void
add(Strings *strings, const char *data, size_t len)
{
	if (strings->too_long || strings->count >= MAX_STRINGS ||
		len >= (size_t) (SPOOL_EXEC_MAX_LENGTH - strings->data->len))
	{
		strings->too_long = true;
		return;
	}
	appendBinaryStringInfo(strings->data, data, len);
	appendStringInfoChar(strings->data, '\0');
	strings->count++;
}

/* The same for a string, which is freed. */
static void
add_text(Strings *strings, char *string)
{
	add(strings, string, strlen(string));
	pfree(string);
}
