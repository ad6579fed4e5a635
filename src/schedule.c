#include "postgres.h"
#include "schedule.h"
TimestampTz
spool_schedule_move(void)
{
	return DT_NOEND;
}
