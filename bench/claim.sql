SELECT array_agg(DISTINCT claim_id) AS claims FROM spool.claim('claim', 100) \gset
SELECT spool.ack(:claims::int8[]);
