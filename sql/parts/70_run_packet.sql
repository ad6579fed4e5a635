CREATE FUNCTION spool.run_packet(
    packet spool.packet,
    program text,
    args text[] DEFAULT '{}')
RETURNS spool.attempts
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'spool_run_packet';

COMMENT ON FUNCTION spool.run_packet(spool.packet, text, text[]) IS
'Runs a program with one packet as its input, outside any queue, and returns the attempt.';
