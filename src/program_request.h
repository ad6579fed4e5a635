/*-------------------------------------------------------------------------
 * program_request.h
 *	  The request to the supervisor for one run.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_PROGRAM_REQUEST_H
#define SPOOL_PROGRAM_REQUEST_H

#include "lib/stringinfo.h"

#include "exec/spool_exec.h"
#include "packet.h"
#include "program.h"

/*
 * Initialize data and write the request to it.  False if it is longer than
 * any system takes.
 */
extern bool spool_program_request(const SpoolProgramRun *run,
								  const PacketHeader *header,
								  StringInfo data);

#endif							/* SPOOL_PROGRAM_REQUEST_H */
