/*-------------------------------------------------------------------------
 * crc32.h
 *	  CRC-32 as in IEEE 802.3 and zlib.
 *
 * Plain C without server headers, as packet.h.
 *-------------------------------------------------------------------------
 */
#ifndef SPOOL_CRC32_H
#define SPOOL_CRC32_H

#include <stddef.h>
#include <stdint.h>

extern uint32_t packet_crc32(const uint8_t *data, size_t len);

#endif							/* SPOOL_CRC32_H */
