/*-------------------------------------------------------------------------
 * spool.c
 *	  Ordered queues of job packets: the module's start and its settings.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "birth.h"
#include "compat.h"
#include "hooks.h"
#include "key.h"
#include "launcher.h"
#include "numbers.h"
#include "packet_type.h"
#include "program.h"
#include "rotate.h"
#include "shared.h"
#include "unborn.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/* Define the settings; preloaded, also set up what workers need. */
void
_PG_init(void)
{
	spool_packet_init();
	spool_program_init();
	spool_key_init();
	spool_rotate_init();
	spool_shmem_init();
	spool_numbers_init();
	spool_birth_init();
	spool_unborn_init();
	spool_hint_init();
	spool_hooks_init();
	spool_launcher_init();

	MarkGUCPrefixReserved("spool");
}
