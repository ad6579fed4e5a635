
# Claims across sessions and crashes, and CALL spool.wait, with shared memory
# (the sweep is set so slow that only news can end a wait) and without.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node;

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('postgres', $query);
}

# An error of a statement: its SQLSTATE and text.
sub refused
{
	my ($query) = @_;
	my ($rc, $out, $err) =
	  $node->psql('postgres', "\\set VERBOSITY verbose\n$query");
	return $err =~ /ERROR:  (\w{5}): (.*)/ ? "$1 $2" : "no error: $out";
}

# Claim in a session that ends; returns the jobs.
sub claimed
{
	my ($queue, $jobs, $lease) = @_;
	return sql("SELECT string_agg(concat(stream, seq, '/', attempt), ' ')"
		  . " FROM spool.claim('$queue', $jobs, '$lease')");
}

# A session that waits for a queue, and its server's pid.  When the wait ends,
# it says how.
sub start_wait
{
	my ($queue, $time) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_until(qr/started/,
		"\\echo started\nCALL spool.wait('$queue', '$time');\n"
		  . "SELECT 'ended ' || :'SQLSTATE';\n");
	$node->poll_query_until('postgres',
		"SELECT wait_event IN ('SpoolWait', 'Extension') FROM pg_stat_activity WHERE pid = $pid")
	  or die "nobody waits for $queue";
	return ($session, $pid);
}

sub end_wait
{
	my ($session, $state, $what) = @_;
	like($session->query_until(qr/ended \w+/, ''), qr/ended $state/, $what);
	$session->{stderr} = '';
	$session->quit;
	return;
}

sub still_waits
{
	my ($pid, $what) = @_;
	is(sql("SELECT query LIKE 'CALL%' AND state = 'active' FROM pg_stat_activity WHERE pid = $pid"), 't', $what);
	return;
}

# ---- what every server does, and by news where there is shared memory ------
sub test_wait
{
	my ($how) = @_;
	my ($session, $pid, $other);

	sql("SELECT spool.create_queue('q', retry_delay => '200 ms')");
	sql("SELECT spool.create_queue('none', order_by => 'none'), spool.create_queue('archive', append_only => true)");
	sql("CREATE ROLE nobody LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE worker LOGIN;"
		  . " SELECT spool.grant_queue('q', 'reader', 'read'), spool.grant_queue('q', 'worker', 'process')");

	is(refused("BEGIN; CALL spool.wait('q', '1 s');"),
		'25001 spool.wait must not be called in a transaction block', "$how: in a transaction block");
	is(refused("DO \$\$ BEGIN CALL spool.wait('q', '1 s'); EXCEPTION WHEN division_by_zero THEN NULL; END \$\$"),
		'25001 spool.wait must not be called in a transaction block', "$how: in a subtransaction");
	is(refused("CALL spool.wait('q', '-1 s');"), '22023 timeout must not be negative', "$how: a negative time");
	is(refused("CALL spool.wait(NULL, '1 s');"), '22004 queue must not be null', "$how: no queue");
	is(refused("CALL spool.wait('nowhere', '1 s');"), '42704 queue "nowhere" does not exist', "$how: a queue that is not there");
	is(refused("CALL spool.wait('archive', '1 s');"), '55000 queue "archive" is append-only', "$how: an append-only queue");
	is(refused("SET ROLE nobody; CALL spool.wait('q', '1 s');"), '42501 permission denied for queue "q"', "$how: a queue of others");

	foreach my $queue ('q', 'none')
	{
		my $start = time;
		sql("CALL spool.wait('$queue', '0.3 s')");
		cmp_ok(time - $start, '>=', 0.3, "$how: an empty queue is waited for as long as said: $queue");
		($session, $pid) = start_wait($queue, '1 day');
		# but for its looks now and then
		ok($node->poll_query_until('postgres', "SELECT wait_event IN ('SpoolWait', 'Extension') AND backend_xid IS NULL AND backend_xmin IS NULL FROM pg_stat_activity WHERE pid = $pid"),
			"$how: who waits holds no transaction: $queue");
		ok($node->poll_query_until('postgres', "SELECT count(*) FROM pg_locks WHERE pid = $pid AND locktype <> 'virtualxid'", '0'),
			"$how: and no lock: $queue");
		sql("BEGIN; SELECT spool.enqueue('$queue', 'x'); ROLLBACK");
		still_waits($pid, "$how: what is rolled back ends no wait: $queue");
		sql("SELECT spool.enqueue('$queue', 'x')");
		end_wait($session, '00000', "F85: $how: a commit ends it: $queue");
		foreach my $role ('postgres', 'reader', 'worker')
		{
			next if $queue eq 'none' && $role ne 'postgres';
			$start = time;
			sql("SET ROLE $role; CALL spool.wait('$queue', '1 day')");
			cmp_ok(time - $start, '<', $PostgreSQL::Test::Utils::timeout_default,
				"$how: a job that is there ends it at once: $queue, $role");
		}
		sql("SELECT spool.take('$queue')");
	}

	# what does not end it, and when it does
	sql("SELECT spool.enqueue('q', 'x')");
	$other = $node->background_psql('postgres');
	$other->query_safe("BEGIN; SELECT seq FROM spool.take('q')");
	($session, $pid) = start_wait('q', '1 day');
	still_waits($pid, "$how: F71: what somebody takes ends no wait");
	$other->query_safe('ROLLBACK');
	end_wait($session, '00000', "$how: F71: the end of the other transaction does");
	$other->quit;

	is(claimed('q', 1, '1 day'), '2/1', "$how: claimed");
	($session, $pid) = start_wait('q', '1 day');
	still_waits($pid, "$how: what is claimed ends no wait");
	sql("SELECT spool.release(claim_id) FROM spool.claims");
	end_wait($session, '00000', "$how: its release does");
	is(claimed('q', 1, '1 day'), '2/1', "$how: claimed");
	($session, $pid) = start_wait('q', '1 day');
	sql("SELECT spool.nack(claim_id, spool.packet_id('q', 2), 'no') FROM spool.claims");
	end_wait($session, '00000', "$how: F35: or the time of its retry");
	is(claimed('q', 1, '0.3 s'), '2/2', "$how: claimed");
	sql("CALL spool.wait('q', '1 day')");
	is(claimed('q', 1, '1 day'), '2/3', "$how: or the end of its lease");
	sql("SELECT spool.ack(claim_id) FROM spool.claims");

	sql("SELECT spool.enqueue('q', 'x'), spool.pause_queue('q')");
	($session, $pid) = start_wait('q', '1 day');
	still_waits($pid, "$how: F88: a paused queue ends no wait");
	sql("SELECT spool.resume_queue('q')");
	end_wait($session, '00000', "$how: F88: its resumption does");
	sql("SELECT spool.take('q')");
	sql("SELECT spool.write('q', spool.make_packet(2, 'x'), 'numbered')");
	($session, $pid) = start_wait('q', '1 day');
	still_waits($pid, "$how: F2: a packet behind a gap ends no wait");
	sql("SELECT spool.write('q', spool.make_packet(1, 'x'), 'numbered')");
	end_wait($session, '00000', "$how: F3: what fills the gap does");
	sql("SELECT spool.take('q', 9)");

	# ends of another kind
	($session, $pid) = start_wait('q', '1 day');
	sql("SELECT pg_cancel_backend($pid)");
	end_wait($session, '57014', "$how: a cancel ends it");
	($session, $pid) = start_wait('q', '1 day');
	sql("SELECT pg_terminate_backend($pid)");
	ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"),
		"$how: a termination too");
	$session->{run}->finish;
	($session, $pid) = start_wait('q', '1 day');
	sql("SELECT spool.drop_queue('q')");
	end_wait($session, '42704', "$how: and the end of the queue");
	sql("SELECT spool.create_queue('q')");
	($session, $pid) = start_wait('q', '1 day');
	sql("SELECT spool.enqueue('q', 'x')");
	end_wait($session, '00000', "$how: after all that, a wait for a queue of that name works");
	sql("SELECT spool.drop_queue(queue, true) FROM spool.queues");
	sql('DROP ROLE nobody, reader, worker');
	return;
}

# ---- without shared memory -------------------------------------------------
$node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = on\nspool.sweep_interval = '50 ms'");
$node->start;
sql('CREATE EXTENSION spool');
test_wait('not preloaded');

# ---- a crash while jobs are claimed ----------------------------------------
sql("SELECT spool.create_queue('F74'), spool.enqueue_many('F74', array_fill('x'::text, '{4}'))");
is(claimed('F74', 2, '1 h'), '1/1 2/1', 'F74: two are claimed');
my $claim = sql('SELECT claim_id FROM spool.claims');
my $open = $node->background_psql('postgres');
$open->query_safe("BEGIN; SELECT spool.ack($claim, 1)");
$node->stop('immediate');
$open->{run}->finish;
$node->start;
is(sql("SELECT claim_id || ' ' || jobs FROM spool.claims"), "$claim 2",
	'F74: they are after a crash of the server; what was not committed is undone');
is(claimed('F74', 9, '1 h'), '', 'F75: nobody else gets them');
is(sql("SELECT spool.ack($claim, 1)"), 1, 'F76: acknowledged');
$node->stop('immediate');
$node->start;
is(sql("SELECT spool.next_seq('F74') || ' ' || jobs FROM spool.claims"), '2 1',
	'F76: what was acknowledged is so after a crash');
sql("SELECT spool.extend_claim($claim, '1 us')");
is(claimed('F74', 9, '1 us'), '2/2 3/1 4/1', 'F74: when the lease is over they come again, in order');
is(refused("SELECT spool.ack($claim);"), "55P03 claim $claim is no longer held", 'F75: the lost claim is fenced off');
ok(sql('SELECT claim_id FROM spool.claims') > $claim, 'F75: the new one has a higher number');
my $taken = sql("SELECT string_agg(seq::text, ' ') FROM spool.take('F74', 9)");
is($taken, '2 3 4', 'F74: a take gets what a lost claim had');

# ---- with shared memory ----------------------------------------------------
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'spool'\nspool.sweep_interval = '1 d'");
$node->restart;
test_wait('preloaded');

$node->stop;
done_testing();
