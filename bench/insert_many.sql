INSERT INTO bench.many SELECT 1, n, n, n, NULL, 0, packet FROM (SELECT nextval('bench.number') AS n, packet FROM bench.batch, unnest(packets) AS packet) numbered;
