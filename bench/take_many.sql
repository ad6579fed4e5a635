SELECT * FROM spool.take('waiting', 1000);
