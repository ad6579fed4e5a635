/*-------------------------------------------------------------------------
 * hooks.h
 *	  Statements that concern workers.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_HOOKS_H
#define SPOOL_HOOKS_H

extern void spool_hooks_init(void);

#endif							/* SPOOL_HOOKS_H */
