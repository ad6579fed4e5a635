INSERT INTO bench.tiny VALUES (1);
