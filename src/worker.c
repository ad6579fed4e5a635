#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "shared.h"

PGDLLEXPORT void spool_worker_main(Datum arg);

void
spool_worker_main(Datum arg)
{
	Oid			database;
	Oid			owner;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	spool_worker_attach(arg, &database, &owner);
	BackgroundWorkerInitializeConnectionByOid(database, owner, compat_bypass_login);
	for (;;)
	{
		int32		queue;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (spool_work_stopping())
			proc_exit(0);
		if (spool_work_enter(&queue))
		{
			SpoolWork	work;

			do
			{
				spool_work_take(queue, SPOOL_MAX_HINTS, &work);
				elog(DEBUG1, "spool worker: queue %d all %d streams %d", queue, work.all, work.nstreams);
				if (work.nstreams > 0)
					spool_work_running(work.streams[0], 1);
			} while (work.all || work.nstreams > 0);
			spool_work_leave(queue);
			continue;
		}
		if (WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (spool_worker_idle_timeout > 0 ? WL_TIMEOUT : 0),
					  spool_worker_idle_timeout, compat_wait_event("SpoolWorkerMain")) & WL_TIMEOUT)
			proc_exit(0);
	}
}
