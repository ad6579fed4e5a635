SELECT array_agg(DISTINCT claim_id) AS claims, 1 / (count(*) / 100) AS full FROM spool.claim('claim', 100) \gset
SELECT spool.ack(:claims::int8[]);
