
# Numbers in shared memory: what its size means, who is refused, who is shown,
# and that workers go on when an open producer ends.  The sweep is an hour away,
# so that all that runs was told by a hint.

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
spool.max_streams_in_memory = 16
spool.sweep_interval = '1h'
max_worker_processes = 16
max_prepared_transactions = 4
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

sub taken
{
	my ($queue, $stream) = @_;
	return sql("SELECT coalesce(string_agg(seq::text, ' ' ORDER BY seq), 'none') FROM spool.take('$queue', 100, stream => '$stream')");
}

sub eventually
{
	my ($query, $want, $name) = @_;
	ok($node->poll_query_until('postgres', $query, $want), $name);
	return;
}

# A session in a transaction that has enqueued.
sub producer
{
	my (@enqueued) = @_;
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN');
	$session->query_safe("SELECT spool.enqueue($_)") foreach @enqueued;
	return $session;
}

sub end
{
	my ($session, $statement) = @_;
	$session->query_safe($statement);
	$session->quit;
	return;
}

sql('CREATE EXTENSION spool; CREATE TABLE done (n serial, queue text, stream text, seq bigint)');

# ---- PREPARE TRANSACTION ----------------------------------------------------
sql("SELECT spool.create_queue('p'); SELECT spool.create_queue('t', order_by => 'timestamp')");
is(sql("SELECT spool.enqueue('p', 'x')"), '1', 'the first number');
my $refusal = qr/cannot PREPARE a transaction that has enqueued into a stream ordered by number/;
like(refused("BEGIN; SELECT spool.enqueue('p', 'x'); PREPARE TRANSACTION 'p'"),
	qr/$refusal.*DETAIL: .*HINT: /s, 'prepare: an enqueue is refused');
like(refused("BEGIN; SAVEPOINT s; SELECT spool.enqueue('p', 'x'); ROLLBACK TO s; PREPARE TRANSACTION 'p'"),
	$refusal, 'prepare: so is one of a savepoint that was rolled back');
like(refused("BEGIN; SELECT spool.set_next_seq('p', 5); PREPARE TRANSACTION 'p'"),
	$refusal, 'prepare: and a cursor that was set');
sql("BEGIN; SELECT spool.enqueue('t', 'x'); PREPARE TRANSACTION 'p'");
sql("COMMIT PREPARED 'p'");
is(sql("SELECT count(*) FROM spool.take('t')"), '1', 'prepare: other orders may');
is(sql("SELECT spool.enqueue('p', 'x')"), '5', 'prepare: numbers go on');
is(taken('p', ''), '1 5', 'prepare: and nothing waits for those refused');

# ---- workers behind an open producer ----------------------------------------
sql(q{
	SELECT spool.create_queue('w', workers => 2);
	SELECT spool.set_handler('w', 'INSERT INTO done (queue, stream, seq) VALUES (($1).queue, ($1).stream, ($1).seq)');
	SELECT spool.enqueue('w', 'x');
});
my $done = "SELECT string_agg(seq::text, ' ' ORDER BY n) FROM done WHERE queue = 'w' AND stream = ''";
my $others = 0;
my $idle = "SELECT count(*) FROM spool.workers WHERE state = 'running'";
eventually($done, '1', 'worker: it runs a job');
foreach my $how (
	[ 'ROLLBACK', '1 3', 'rolls back' ],
	[ 'COMMIT', '1 3 4 5', 'commits' ])
{
	my ($statement, $want, $name) = @$how;
	my $before = sql($done);
	my $open = producer("'w', 'open'");
	my $pid = $open->query_safe('SELECT pg_backend_pid()');
	sql("SELECT spool.enqueue('w', 'behind')");
	sql("SELECT spool.enqueue('w', 'x', 'other')");
	eventually("SELECT count(*) FROM done WHERE stream = 'other'",
		++$others, "worker: other streams go on until it $name");
	eventually($idle, '0', "worker: nothing runs until it $name");
	is(sql($done), $before, "worker: what is behind waits until it $name");
	is( sql("SELECT state, reason, pid, since <= now() FROM spool.stat_streams WHERE queue = 'w' AND stream = ''"),
		"waiting|an open transaction has number "
		  . ($statement eq 'COMMIT' ? 4 : 2)
		  . "|$pid|t",
		"worker: who holds it back is shown until it $name");
	end($open, $statement);
	eventually($done, $want, "worker: it goes on at once when it $name");
}
my $open = producer("'w', 'open'");
sql("SELECT spool.enqueue('w', 'behind')");
sql("SELECT pg_terminate_backend(" . $open->query_safe('SELECT pg_backend_pid()') . ")");
eventually($done, '1 3 4 5 7', 'worker: ... and when its session is terminated');
$open->{run}->finish;

# a consumer that waits
sql("SELECT spool.create_queue('wait'); SELECT spool.enqueue('wait', 'x'); SELECT count(*) FROM spool.take('wait')");
$open = producer("'wait', 'open'");
sql("SELECT spool.enqueue('wait', 'behind')");
my $waiter = $node->background_psql('postgres', timeout => 60);
$waiter->query_until(qr/^$/m, "CALL spool.wait('wait', '1 min');\nSELECT 'told';\n");
eventually("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension'"
	  . " AND query LIKE 'CALL spool.wait%'", '1', 'wait: it waits');
end($open, 'ROLLBACK');
like($waiter->query_until(qr/told/, ''), qr/told/, 'wait: told when the producer rolls back');
$waiter->quit;
is(taken('wait', ''), '3', 'wait: and then there is a job');

# ---- more streams than there is room for ------------------------------------
sql("SELECT spool.create_queue('many')");
foreach my $round (1 .. 3)
{
	is(sql("SELECT DISTINCT seq FROM (" . join(' UNION ALL ',
			map { "SELECT spool.enqueue('many', 'x', 's$_') AS seq" } 1 .. 15)
		  . ") s"), $round, "memory: round $round, in one transaction");
	is(join(' ', sort { $a <=> $b } keys %{ { map { $_ => 1 } split /\n/, sql(join('; ',
						map { "SELECT spool.enqueue('many', 'x', 't$_')" } 1 .. 40)) } }),
		$round, "memory: round $round, entries are used again");
}

# a stream that waits behind a number, while others come and go
$open = producer("'many', 'open', 's1'");
sql("SELECT spool.enqueue('many', 'behind', 's1')");
sql("SELECT spool.enqueue('many', 'x', 't$_')") foreach 1 .. 40;
is(taken('many', 's1'), '1 2 3', 'memory: open numbers are not forgotten');
end($open, 'ROLLBACK');
is(taken('many', 's1'), '5', 'memory: nor that they came back');

# all is open
sql("SELECT spool.enqueue('many', 'x', 'u$_')") foreach 1 .. 16;
$open = producer(map { "'many', 'x', 'u$_'" } 1 .. 16);
like(refused("SELECT spool.enqueue('many', 'x', 's2')"),
	qr/out of shared memory for numbers of stream "s2" of queue "many"\nDETAIL: .*\nHINT: .*spool.max_streams_in_memory/,
	'full: an error says what to do');
is( sql(q{DO $$ BEGIN PERFORM spool.enqueue('many', 'x', 's2'); EXCEPTION WHEN configuration_limit_exceeded THEN NULL; END $$; SELECT spool.enqueue('many', 'x', 'u1')}),
	'3', 'full: streams that are there go on');
is(taken('many', 's2'), '1 2 3', 'full: consumers need no room');
like(refused("SELECT spool.set_next_seq('many', 9, 's2')"),
	qr/out of shared memory/, 'full: who sets a cursor does');
sql("SELECT spool.enqueue('many', 'x', 's3', run_at => clock_timestamp() + '200 ms')");
eventually("SELECT ctime < clock_timestamp() FROM spool.ls('many', 's3', 'scheduled')",
	't', 'full: a job is due');
sql('CALL spool.maintain()');
is(sql("SELECT count(*) FROM spool.ls('many', 's3', 'scheduled')"),
	'1', 'full: what is scheduled waits, and the upkeep goes on');
is($open->query_safe("SELECT spool.enqueue('many', 'x', 'u16')"),
	'3', 'full: so does who has it all');
end($open, 'COMMIT');
is(sql("SELECT spool.enqueue('many', 'x', 's2')"), '4', 'full: there is room again');
sql('CALL spool.maintain()');
is(taken('many', 's3'), '1 2 3 4', 'full: what was scheduled is stored');
is(taken('many', 'u16'), '1 2 3', 'full: the numbers of the open one are right');
like(refused(join('; ', 'BEGIN', map { "SELECT spool.enqueue('many', 'x', 'v$_')" } 1 .. 17)),
	qr/out of shared memory for numbers of stream "v17"/,
	'full: one transaction with too many streams');
is(sql(join('; ', map { "SELECT spool.enqueue('many', 'x', 'v$_')" } 15 .. 17)),
	"1\n1\n1", 'full: its end makes room');

# ---- numbers that follow from what is committed -----------------------------
# memory that other streams have used since
sub forget
{
	sql("SELECT spool.enqueue('many', 'x', 'f$_')") foreach 1 .. 16;
	return;
}

sql("SELECT spool.create_queue('seed')");
sql("SELECT spool.enqueue_many('seed', array_fill('x'::text, '{5}'), '$_')")
  foreach 'waiting', 'some', 'all', 'gone', 'set', 'back', 'left';
sql("SELECT count(*) FROM spool.take('seed', 3, stream => 'some')");
taken('seed', $_) foreach 'all', 'gone', 'back';
sql("SELECT spool.set_next_seq('seed', 20, 'set'); SELECT spool.set_next_seq('seed', 2, 'back')");
sql("SELECT spool.discard('seed', spool.packet_id('seed', 5, 'left'))");
sql('CALL spool.maintain()');
foreach my $how ('forgotten', 'restart')
{
	$how eq 'restart' ? $node->restart : forget();
	is( sql(join('; ', map { "SELECT spool.enqueue('seed', 'x', '$_')" }
				'waiting', 'some', 'all', 'gone', 'set', 'back', 'left')),
		$how eq 'restart' ? "7\n7\n7\n7\n21\n7\n7" : "6\n6\n6\n6\n20\n6\n6",
		"seed: numbers go on, $how");
}
is(taken('seed', 'set'), '20 21', 'seed: from a cursor that was set');
is(taken('seed', 'gone'), '6 7', 'seed: where all was consumed');
is(taken('seed', 'left'), '1 2 3 4 6 7', 'seed: behind one that was discarded');

# trailing holes
$open = producer("'seed', 'x', 'all'");
my $second = producer("'seed', 'x', 'all'");
end($open, 'ROLLBACK');
end($second, 'ROLLBACK');
$node->restart;
is(sql("SELECT spool.enqueue('seed', 'x', 'all')"), '8', 'seed: numbers that nobody saw are given again');
is(taken('seed', 'all'), '6 7 8', 'seed: and handed out');

# many at once read the first number
sql("SELECT spool.enqueue('seed', 'x', 'race')");
foreach my $round (1 .. 5)
{
	forget();
	$node->pgbench(
		'-n -c 6 -t 1', 0, [qr/actually processed: 6\/6/], [],
		"seed: several ask at once, round $round",
		{ "064_race_$round" => "SELECT spool.enqueue('seed', 'x', 'race');" });
}
is(sql("SELECT count(*), count(DISTINCT seq), max(seq) FROM spool.take('seed', 100, stream => 'race')"),
	'31|31|31', 'seed: one reads, the others find it');

# ---- an extension that is created again -------------------------------------
sql("BEGIN; DROP EXTENSION spool CASCADE; ROLLBACK");
is(sql("SELECT spool.enqueue('seed', 'x', 'all')"), '9', 'extension: not dropped, numbers go on');
sql("DROP EXTENSION spool CASCADE; CREATE EXTENSION spool; SELECT spool.create_queue('seed')");
is(sql(join('; ', map { "SELECT spool.enqueue('seed', 'x', 'z$_')" } 1 .. 20)),
	join("\n", ('1') x 20), 'extension: created again, all begins with 1');
is(sql("SELECT count(*) FROM spool.take('seed', 100)"), '20', 'extension: and is handed out');

$node->stop;
done_testing();
