/*-------------------------------------------------------------------------
 * launcher.h
 *	  The launcher: one manager in each database that has the extension.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_LAUNCHER_H
#define SPOOL_LAUNCHER_H

extern void spool_launcher_init(void);
extern bool spool_database_named(const char *name);
extern PGDLLEXPORT void spool_launcher_main(Datum arg);

#endif							/* SPOOL_LAUNCHER_H */
