/*-------------------------------------------------------------------------
 * spool.c
 *	  Ordered queues of job packets: the module's start and its settings.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "compat.h"
#include "key.h"
#include "packet_type.h"
#include "program.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/* Define the settings. */
void
_PG_init(void)
{
	spool_packet_init();
	spool_program_init();
	spool_key_init();

	MarkGUCPrefixReserved("spool");
}
