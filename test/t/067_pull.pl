
# The pull form of the resequencer with processes: workers and CALL spool.wait
# come back when a stream is quiet (the sweep is set so slow that only what they
# were told can make them), one job of a record is in flight whatever comes
# meanwhile, and what an ended session held is offered again.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'spool'
spool.sweep_interval = '1h'
max_worker_processes = 20
});
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION spool;
CREATE TABLE done (id serial, queue text, stream text, seq bigint, attempt int, body text, at timestamptz DEFAULT clock_timestamp());
-- The body "slow" waits for the gate.
CREATE FUNCTION work(job spool.job) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF convert_from(job.payload, 'UTF8') = 'slow' THEN
		PERFORM pg_advisory_xact_lock_shared(1);
	END IF;
	INSERT INTO done (queue, stream, seq, attempt, body)
	VALUES (job.queue, job.stream, job.seq, job.attempt, convert_from(job.payload, 'UTF8'));
END $$;
});

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('postgres', $query);
}

sub poll
{
	my ($query, $expected, $what) = @_;
	ok($node->poll_query_until('postgres', $query, $expected), $what)
	  or diag("\"$query\": last was " . sql($query));
	return;
}

sub queue
{
	my ($name, $options) = @_;
	sql("SELECT spool.create_queue('$name', 'latest', $options);"
		  . " SELECT spool.set_handler('$name', 'SELECT work(\$1)')");
	return;
}

sub done
{
	my ($queue) = @_;
	return "SELECT coalesce(string_agg(body, ' ' ORDER BY id), 'none') FROM done WHERE queue = '$queue'";
}

# How many seconds after a time a packet was done.
sub delay
{
	my ($time, $body, $queue) = @_;
	return sql("SELECT extract(epoch FROM at - '$time') FROM done WHERE queue = '$queue' AND body = '$body'");
}

# A session in CALL spool.wait, which says when that ended.
sub start_wait
{
	my ($queue) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_until(qr/started/,
		"\\echo started\nCALL spool.wait('$queue', '1 day');\nSELECT 'ended ' || :'SQLSTATE';\n");
	$node->poll_query_until('postgres',
		"SELECT wait_event IN ('SpoolWait', 'Extension') FROM pg_stat_activity WHERE pid = $pid")
	  or die "nobody waits for $queue";
	return $session;
}

sub end_wait
{
	my ($session, $what) = @_;
	like($session->query_until(qr/ended \w+/, ''), qr/ended 00000/, $what);
	$session->quit;
	return;
}

# ---- workers come when it is quiet, or max_wait is over --------------------
queue('quiet', "workers => 1, quiet => '400 ms'");
my $created = sql('SELECT clock_timestamp()');
sql("SELECT spool.enqueue('quiet', 'one', 'k'); SELECT spool.enqueue('quiet', 'two', 'k')");
poll(done('quiet'), 'two', 'R83: a worker runs the newest');
cmp_ok(delay($created, 'two', 'quiet'), '>=', 0.4, 'R83: when it was quiet for so long');

# the first of each turn came two days ago, but for half a second
queue('max', "workers => 1, quiet => '24 hours', max_wait => '48 hours'");
foreach my $turn (1, 2)
{
	$created = sql("SELECT clock_timestamp()");
	sql("BEGIN; SELECT spool.enqueue('max', 'old$turn', 'k');"
		  . " UPDATE spool.store SET arrived = clock_timestamp() - interval '48 hours' + interval '500 ms'"
		  . " WHERE packet_id = (SELECT max(packet_id) FROM spool.ls('max'));"
		  . " SELECT spool.enqueue('max', 'new$turn', 'k'); COMMIT");
	poll("SELECT max(body) FROM done WHERE queue = 'max'", "new$turn", "R83: the newest, though it never is quiet: $turn");
	cmp_ok(delay($created, "new$turn", 'max'), '>=', 0.5, 'R83: when max_wait is over');
}
is(sql("SELECT done || ' ' || superseded FROM spool.stat_queues WHERE queue = 'max'"), '2 2', 'R83: nothing else ran');

# ---- so does CALL wait, and when the options change ------------------------
queue('wait', "quiet => '400 ms'");
my $start = time;
sql("SELECT spool.enqueue('wait', 'x', 'k')");
sql("CALL spool.wait('wait', '1 day')");
cmp_ok(time - $start, '>=', 0.4, 'R83: wait waits until it is quiet');
is(sql("SELECT count(*) FROM spool.take('wait')"), '1', 'R83: then there is a job');

queue('alter', "quiet => '1 day', max_wait => '2 days'");
sql("SELECT spool.enqueue('alter', 'x', 'k')");
my $session = start_wait('alter');
sql("SELECT spool.alter_queue('alter', quiet => '0', max_wait => '0')");
end_wait($session, 'R83: a change of the options ends it');
sql("SELECT spool.alter_queue('alter', quiet => '1 day', workers => 1)");
is(sql("SELECT state FROM spool.stat_streams WHERE queue = 'alter'"), 'waiting', 'R83: it waits');
is(sql(done('alter')), 'none', 'R83: nothing runs');
sql("SELECT spool.alter_queue('alter', quiet => '0')");
poll(done('alter'), 'x', 'R83: a change of the options makes workers run it');

# ---- a thousand while one is in flight -------------------------------------
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(1)');
queue('many', 'workers => 2');
sql("SELECT spool.enqueue('many', 'slow', 'k')");
poll("SELECT count(*) FROM spool.workers WHERE queue = 'many' AND state = 'running'", '1', 'R82: one is in flight');
sql("SELECT spool.enqueue('many', 'new' || i, 'k') FROM generate_series(1, 500) i");
sql("SELECT spool.enqueue('many', 'new' || i, 'k') FROM generate_series(501, 1000) i");
sql("SELECT spool.enqueue('many', 'other', 'other')");
poll(done('many'), 'other', 'R82: of another record one runs beside it');
$gate->query_safe('SELECT pg_advisory_unlock(1)');
poll(done('many'), 'other slow new1000', 'R82: then one more, the newest');
poll("SELECT enqueued || ' ' || done || ' ' || superseded || ' ' || waiting + running FROM spool.stat_queues WHERE queue = 'many'",
	'1002 3 999 0', 'R82: nothing else runs');

# ---- sessions that end while they hold the first of g ----------------------
# Numbers are those of a sender, so that in both orders g1 is to come again.
foreach my $order ('sequence', 'latest')
{
	my $first = $order eq 'sequence' ? 1 : 2;
	my $rest = $order eq 'sequence' ? 'g1/1 g2/1' : 'g2/1';
	my $again = $order eq 'sequence' ? 'g1/2 g2/1' : 'g2/2';
	my $offered = "SELECT coalesce(string_agg(concat(stream, seq, '/', attempt), ' '), 'none') FROM spool.take('g', 9)";

	foreach my $verb ('take', 'claim', 'process')
	{
		sql("SELECT spool.create_queue('g', '$order');"
			  . " SELECT spool.set_handler('g', 'SELECT work(\$1)')");
		sql("SELECT spool.write('g', spool.make_packet(n, CASE n WHEN $first THEN 'slow' ELSE 'x' END), 'g') FROM generate_series(1, 2) n");
		$gate->query_safe('SELECT pg_advisory_lock(1)');
		my $holder = $node->background_psql('postgres', on_error_stop => 0);
		my $pid = $holder->query_safe('SELECT pg_backend_pid()');
		if ($verb eq 'take')
		{
			is($holder->query_safe("BEGIN; SELECT seq FROM spool.take('g')"), $first, "R54: $order: taken");
		}
		elsif ($verb eq 'claim')
		{
			is($holder->query_safe("SELECT seq FROM spool.claim('g')"), $first, "R54: $order: claimed");
		}
		else
		{
			$holder->query_until(qr/started/, "\\echo started\nCALL spool.process('g', 1);\n");
			poll("SELECT count(*) FROM pg_locks WHERE pid = $pid AND locktype = 'advisory' AND NOT granted AND objid = 1", '1', "R54: $order: it runs");
		}
		is(sql($offered), 'none', "R54: $order: $verb: nobody else gets any of its stream");
		is(sql("SELECT pg_terminate_backend($pid, 60000)"), 't', "R54: $order: the session is ended");
		$holder->{run}->finish;
		$gate->query_safe('SELECT pg_advisory_unlock(1)');
		if ($verb eq 'claim')
		{
			is(sql($offered), 'none', "R54: $order: a claim is there for its lease");
			sql("SELECT spool.extend_claim(claim_id, '1 us') FROM spool.claims");
		}
		is(sql($offered), $verb eq 'take' ? $rest : $again, "R54: $order: $verb: offered again, first");
		sql("SELECT spool.drop_queue('g', true)");
	}
}
$gate->quit;

$node->stop('fast');
done_testing();
