DELETE FROM bench.waiting WHERE ctid = ANY (ARRAY(SELECT ctid FROM bench.waiting WHERE stream = 1 ORDER BY position, seq LIMIT 1000 FOR UPDATE SKIP LOCKED)) RETURNING *;
