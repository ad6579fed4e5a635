#ifndef SPOOL_SCHEDULE_H
#define SPOOL_SCHEDULE_H
#include "utils/timestamp.h"
extern TimestampTz spool_schedule_move(void);
#endif
