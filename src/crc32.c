/*-------------------------------------------------------------------------
 * crc32.c
 *	  CRC-32 as in IEEE 802.3 and zlib, eight bytes at a time.
 *
 * The server's own function for this polynomial takes one byte at a time.
 *-------------------------------------------------------------------------
 */
#include "crc32.h"

/* filled at the first use */
static uint32_t crc_table[8][256];

static void
fill_table(void)
{
	int			n;
	int			k;

	for (n = 0; n < 256; n++)
	{
		uint32_t	c = (uint32_t) n;

		for (k = 0; k < 8; k++)
			c = (c >> 1) ^ ((c & 1) ? 0xEDB88320 : 0);
		crc_table[0][n] = c;
	}
	for (k = 1; k < 8; k++)
	{
		for (n = 0; n < 256; n++)
		{
			uint32_t	c = crc_table[k - 1][n];

			crc_table[k][n] = (c >> 8) ^ crc_table[0][c & 0xff];
		}
	}
}

uint32_t
packet_crc32(const uint8_t *data, size_t len)
{
	uint32_t	c = 0xFFFFFFFF;

	if (crc_table[0][1] == 0)
		fill_table();

	for (; len >= 8; data += 8, len -= 8)
	{
		c ^= (uint32_t) data[0] | (uint32_t) data[1] << 8 |
			(uint32_t) data[2] << 16 | (uint32_t) data[3] << 24;
		c = crc_table[7][c & 0xff] ^ crc_table[6][(c >> 8) & 0xff] ^
			crc_table[5][(c >> 16) & 0xff] ^ crc_table[4][c >> 24] ^
			crc_table[3][data[4]] ^ crc_table[2][data[5]] ^
			crc_table[1][data[6]] ^ crc_table[0][data[7]];
	}
	for (; len > 0; data++, len--)
		c = (c >> 8) ^ crc_table[0][(c ^ *data) & 0xff];
	return c ^ 0xFFFFFFFF;
}
