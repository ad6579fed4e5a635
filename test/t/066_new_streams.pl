
# New streams, with the library preloaded: producers that create the same ones
# at a time in any order, some of whom roll back; more than there is room for;
# transactions that are prepared; a crash.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'spool'
max_prepared_transactions = 4
max_worker_processes = 16
});
$node->start;

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

# What a statement that fails writes.
sub refused
{
	my ($statement) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', $statement);
	return $status == 0 ? 'no error' : $stderr;
}

# A session in a transaction that has done something.
sub session
{
	my ($statement) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('BEGIN');
	$session->query_safe($statement);
	return $session;
}

sub end
{
	my ($session, $statement) = @_;
	$session->query_safe($statement);
	$session->quit;
	return;
}

sql('CREATE EXTENSION spool');

# ---- many at once -----------------------------------------------------------
# Each transaction enqueues into three of 200 streams and notes, in the same
# transaction, what it enqueued; a third of them roll back.  A consumer notes
# what it takes, in the order in which it gets it.
sql(q{
	SELECT spool.create_queue('q');
	CREATE TABLE sent (stream text, seq bigint);
	CREATE TABLE got (n bigserial, stream text, seq bigint);
});
my $produce = q{
	INSERT INTO sent SELECT 's' || :%s, spool.enqueue('q', 'x', 's' || :%s);
};
my $script = "\\set a random(1, 200)\n\\set b random(1, 200)\n\\set c random(1, 200)\nBEGIN;\n"
  . join('', map { sprintf($produce, $_, $_) } 'a', 'b', 'c');
my $consumer = $node->background_psql('postgres', timeout => 180);
$consumer->query_until(qr/begun/, q{
\echo begun
CREATE PROCEDURE consume() LANGUAGE plpgsql AS $$
DECLARE
	over boolean := false;
	more boolean;
BEGIN
	LOOP
		INSERT INTO got (stream, seq) SELECT stream, seq FROM spool.take('q', 50);
		more := FOUND;
		COMMIT;
		EXIT WHEN over AND NOT more;
		over := to_regclass('over') IS NOT NULL AND NOT more;
		IF NOT more THEN CALL spool.wait('q', '20 ms'); END IF;
	END LOOP;
END
$$;
CALL consume();
});
$node->pgbench(
	'-n -c 8 -j 2 -t 150 -M prepared', 0,
	[qr/actually processed: 1200\/1200/], [qr/^(?!.*(aborted|deadlock))/s],
	'stress: nobody fails, so there is no deadlock',
	{ '066_commit@2' => "$script\nCOMMIT;\n", '066_rollback@1' => "$script\nROLLBACK;\n" });
sql('CREATE TABLE over ()');
like($consumer->query_until(qr/consumed/, "\\echo consumed\n"), qr/consumed/, 'stress: the consumer ends');
$consumer->quit;
cmp_ok(sql('SELECT count(DISTINCT stream) FROM sent'), '>', 150, 'stress: streams were created');
cmp_ok(sql('SELECT count(*) FROM sent'), '>', 1500, 'stress: packets were enqueued');
is(sql('SELECT count(*) FROM (SELECT stream, seq FROM sent EXCEPT ALL SELECT stream, seq FROM got) s'),
	'0', 'stress: nothing is lost');
is(sql('SELECT count(*) FROM (SELECT stream, seq FROM got EXCEPT ALL SELECT stream, seq FROM sent) s'),
	'0', 'stress: nothing is there that was rolled back, or twice');
is(sql('SELECT count(*) FROM (SELECT seq <= lag(seq) OVER (PARTITION BY stream ORDER BY n) AS bad FROM got) s WHERE bad'),
	'0', 'stress: all is in order');
is( sql(q{
	SELECT count(*) FROM spool.stream s WHERE NOT EXISTS (SELECT FROM spool.numbering n WHERE n.stream = s.id AND n.by_queue)
		OR (SELECT count(*) FROM spool.state st WHERE st.stream = s.id AND st.version = 1) <> 1}),
	'0', 'stress: each stream has one first state, and is numbered by the queue');
is(sql('SELECT count(*) FROM spool.store p WHERE NOT EXISTS (SELECT FROM spool.stream s WHERE s.id = p.stream)'),
	'0', 'stress: each packet has its stream');

# ---- more than there is room for --------------------------------------------
sql("SELECT spool.create_queue('many')");
my $many = "SELECT sum(spool.enqueue('many', 'x', 's' || n)) FROM generate_series(1, 5000) n";
my $first = session($many);
my $second = session("SELECT spool.enqueue('many', 'x', 's1'), spool.enqueue('many', 'x', 's2')");
my $third = session("SELECT spool.enqueue('t', 'x') FROM spool.create_queue('t', order_by => 'timestamp')");
end($first, 'COMMIT');
end($second, 'COMMIT');
end($third, 'COMMIT');
is(sql("SELECT count(*), count(DISTINCT stream) FROM spool.take('many', 10000)"), '5002|5000',
	'room: what finds none is created at once');
is(sql("$many" =~ s/'s'/'r'/r), '5000', 'room: it is given back');

# ---- prepared transactions --------------------------------------------------
sql("SELECT spool.create_queue('l', order_by => 'latest')");
sql("BEGIN; SELECT spool.enqueue('l', 'x', 'p'); PREPARE TRANSACTION 'p'");
my $meets = session("SELECT spool.enqueue('l', 'y', 'p')");
$meets->query_until(qr/asked/, "\\echo asked\nCOMMIT;\n");
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query = 'COMMIT;'");
sql("COMMIT PREPARED 'p'");
$meets->query_until(qr/ended/, "\\echo ended\n");
$meets->quit;
like(slurp_file($node->logfile), qr/ERROR:  stream "p" of queue "l" was created concurrently/, 'prepare: who meets its stream fails');
is(sql("SELECT convert_from(payload, 'UTF8') FROM spool.take('l')"), 'x', 'prepare: its stream is there');
sql("BEGIN; SELECT spool.enqueue('l', 'x', 'r'); PREPARE TRANSACTION 'r'; ROLLBACK PREPARED 'r'");
is(sql("SELECT count(*) FROM spool.stream WHERE name = 'r'"), '0', 'prepare: or not');

# ---- the extension ----------------------------------------------------------
sql("BEGIN; SELECT spool.enqueue('q', 'x', 'gone'); DROP EXTENSION spool CASCADE; COMMIT");
is(sql("SELECT count(*) FROM pg_extension WHERE extname = 'spool'"), '0', 'extension: dropped by who has new streams');
sql("CREATE EXTENSION spool; SELECT spool.create_queue('q')");
sql("BEGIN; SELECT spool.enqueue('q', 'x', 'old'); DROP EXTENSION spool CASCADE; CREATE EXTENSION spool; "
	  . "SELECT spool.create_queue('q'); SELECT spool.enqueue('q', 'x', 'new'); COMMIT");
is(sql("SELECT string_agg(name, ' ') FROM spool.stream"), 'new', 'extension: created again, it has the new streams only');

# ---- a crash ----------------------------------------------------------------
my $crashed = session("SELECT spool.enqueue('q', 'x', 'crash'), spool.enqueue('q', 'x', 'new')");
sql("SELECT spool.enqueue('q', 'y', 'crash')");
$node->stop('immediate');
$node->start;
eval { $crashed->quit };
is(sql("SELECT spool.enqueue('q', 'z', 'crash')"), '3', 'crash: numbers go on');
is(sql("SELECT string_agg(seq::text, ' ' ORDER BY seq) FROM spool.take('q', 10, stream => 'crash')"), '2 3',
	'crash: what was committed is there');

$node->stop;
done_testing();
