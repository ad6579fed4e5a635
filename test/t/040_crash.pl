
# Jobs that are interrupted: the session is killed, terminated or cancelled, or
# the server goes down in the middle of CALL process.  Nothing of a program
# lives on, what is unfinished runs again, nothing overlaps, and what a handler
# did is done once.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $dir = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf',
	"spool.programs = on\nrestart_after_crash = on");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION spool;'
	  . ' CREATE TABLE done (queue text, seq bigint, attempt int)');

my $mark = "86400.$$";    # an argument of sleep that nobody else uses

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

sub poll_until
{
	my ($condition) = @_;
	for (1 .. 20 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if $condition->();
		usleep(50_000);
	}
	return 0;
}

# Processes whose arguments hold the mark; zombies have none.
sub marked
{
	my @found;
	foreach my $file (glob '/proc/[0-9]*/cmdline')
	{
		open my $fh, '<', $file or next;
		my $line = do { local $/; <$fh> }
		  // '';
		push @found, $file if $line =~ /sleep\0\Q$mark\E/;
	}
	return scalar @found;
}

sub attempts
{
	my ($queue) = @_;
	return sql("SELECT coalesce(string_agg(seq || ' ' || attempt || ' ' || outcome, ', ' ORDER BY started_at, seq), 'none')"
		  . " FROM spool.attempts WHERE queue = '$queue'");
}

sub log_of
{
	my ($queue) = @_;
	return join ' ', split /\n/, slurp_file("$dir/$queue.log");
}

# A queue of three jobs and a program that writes when it starts and ends, and
# notes if the run before it is still there.  Job 2 lasts until it is killed,
# with a child and one in another group, unless the file "go" is there.
sub program_queue
{
	my ($queue, $options) = @_;
	my $script = "cd $dir; log=$queue.log; pid=$queue.pid;"
	  . ' if [ -e $pid ] && kill -0 $(cat $pid) 2>/dev/null; then echo overlap >>$log; fi;'
	  . ' echo $$ >$pid; echo start $FSPL_SEQ >>$log;'
	  . " if [ \$FSPL_SEQ = 2 ] && [ ! -e $queue.go ]; then"
	  . " sleep $mark & setsid sleep $mark & sleep $mark; fi;"
	  . ' echo end $FSPL_SEQ >>$log; rm $pid';
	sql("SELECT spool.create_queue('$queue', history => 'all'$options);"
		  . " SELECT spool.set_program('$queue', '/bin/sh', ARRAY['-c', '$script']);"
		  . " SELECT spool.write('$queue', spool.make_packet(i)) FROM generate_series(1, 3) i");
	return;
}

# A queue of jobs for a handler; job 5 waits while somebody holds the lock.
sub handler_queue
{
	my ($queue) = @_;
	sql("SELECT spool.create_queue('$queue', history => 'all');"
		  . " SELECT spool.set_handler('$queue', \$\$"
		  . "WITH waited AS MATERIALIZED (SELECT CASE WHEN (\$1).seq = 5 THEN pg_advisory_xact_lock(5) END AS x)"
		  . " INSERT INTO done SELECT (\$1).queue, (\$1).seq, (\$1).attempt FROM waited WHERE x::text IS DISTINCT FROM 'x' \$\$);"
		  . " SELECT spool.enqueue_many('$queue', array_fill('x'::text, '{10}'))");
	return;
}

sub done
{
	my ($queue) = @_;
	return sql("SELECT string_agg(seq || ':' || n, ' ' ORDER BY seq)"
		  . " FROM (SELECT seq, count(*) AS n FROM done WHERE queue = '$queue' GROUP BY seq) s");
}
my $done_once = join ' ', map { "$_:1" } 1 .. 10;

# A pass in a session of its own; returns the session and the server's pid.
sub start_pass
{
	my ($queue) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_until(qr/started/,
		"\\echo started\nCALL spool.process('$queue');\n");
	return ($session, $pid);
}

sub start_program
{
	my ($queue) = @_;
	my ($session, $pid) = start_pass($queue);
	poll_until(sub { marked() == 3 }) or die "$queue does not run";
	return ($session, $pid);
}

sub lock_5
{
	my $holder = $node->background_psql('postgres');
	$holder->query_safe('SELECT pg_advisory_lock(5)');
	return $holder;
}

sub start_handler
{
	my ($queue) = @_;
	my ($session, $pid) = start_pass($queue);
	$node->poll_query_until('postgres',
		"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid")
	  or die "$queue does not run";
	return ($session, $pid);
}

# The pass of a session has ended by a cancel; the session goes on.
sub is_cancelled
{
	my ($session, $what) = @_;
	$session->query('SELECT 1');
	like($session->{stderr}, qr/ERROR:  canceling statement due to user request/, $what);
	$session->{stderr} = '';
	return;
}

# After a process was killed: until then the server has not seen it.
sub wait_for_server
{
	my ($killed) = @_;
	ok(poll_until(sub {
				return 0 if kill 0, $killed;
				my ($rc) = $node->psql('postgres', 'SELECT 1');
				return $rc == 0;
			}), 'the server is back');
	return;
}

sub go
{
	my ($queue) = @_;
	open my $file, '>', "$dir/$queue.go" or die $!;
	return;
}

# ---- kill -9 of the session, with a program --------------------------------
program_queue('kill', '');
my ($session, $pid) = start_program('kill');
kill 'KILL', $pid;
$session->{run}->finish;
wait_for_server($pid);
go('kill');
is(sql("CALL spool.process('kill')"), '2', 'F74: kill -9: the next pass goes on');
is(marked(), 0, 'F75: nothing of the program lives on');
is(log_of('kill'), 'start 1 end 1 start 2 start 2 end 2 start 3 end 3',
	'F74, F75: the job ran again, without overlap');
is(attempts('kill'), '1 1 ok, 2 1 crashed, 2 2 ok, 3 1 ok',
	'F74, F76: the first run is shown as crashed');

# ---- an immediate shutdown -------------------------------------------------
program_queue('stop', '');
($session, $pid) = start_program('stop');
$node->stop('immediate');
$session->{run}->finish;
$node->start;
go('stop');
is(sql("CALL spool.process('stop')"), '2', 'stop immediate: the next pass goes on');
is(marked(), 0, 'nothing of the program lives on');
is(log_of('stop'), 'start 1 end 1 start 2 start 2 end 2 start 3 end 3',
	'the job ran again, without overlap');
is(attempts('stop'), '1 1 ok, 2 1 crashed, 2 2 ok, 3 1 ok', 'the attempts');

# ---- pg_terminate_backend --------------------------------------------------
foreach my $queue ('terminate', 'none')
{
	program_queue($queue, $queue eq 'none' ? ", order_by => 'none'" : '');
	($session, $pid) = start_program($queue);
	is(sql("SELECT pg_terminate_backend($pid, 60000)"), 't', "$queue: terminated");
	is(marked(), 0, 'nothing of the program is left when the session is');
	$session->{run}->finish;
	go($queue);
	is(sql("CALL spool.process('$queue')"), '2', 'the next pass goes on');
	is(log_of($queue), 'start 1 end 1 start 2 start 2 end 2 start 3 end 3',
		'the job ran again, without overlap');
	is(attempts($queue), '1 1 ok, 2 1 crashed, 2 2 ok, 3 1 ok', 'the attempts');
}

# ---- a crash beside a pass -------------------------------------------------
# The server restarts because another session was killed.
program_queue('beside', '');
($session, $pid) = start_program('beside');
my $other = $node->background_psql('postgres', on_error_stop => 0);
my $killed = $other->query_safe('SELECT pg_backend_pid()');
kill 'KILL', $killed;
$_->{run}->finish for ($session, $other);
wait_for_server($killed);
go('beside');
is(sql("CALL spool.process('beside')"), '2', 'a crash elsewhere: the next pass goes on');
is(log_of('beside'), 'start 1 end 1 start 2 start 2 end 2 start 3 end 3',
	'the job ran again, without overlap');

# ---- a job that always kills its session -----------------------------------
program_queue('poison', ", on_error => 'dead', max_attempts => 5");
foreach my $time (1 .. 5)
{
	($session, $pid) = start_program('poison');
	sql("SELECT pg_terminate_backend($pid, 60000)");
	$session->{run}->finish;
}
sql("CALL spool.process('poison')");
is(attempts('poison'), '1 1 ok, 2 1 crashed, 2 2 crashed, 2 3 crashed, 2 4 crashed, 2 5 crashed, 3 1 ok',
	'R71: a job that takes its session along is dead after its attempts');
is(sql("SELECT seq, attempts FROM spool.dead_letters WHERE name = 'poison'"),
	'2|5', 'R71: and is a dead letter');

# ---- cancel, with a program ------------------------------------------------
program_queue('cancel', '');
($session, $pid) = start_program('cancel');
sql("SELECT pg_cancel_backend($pid)");
is_cancelled($session, 'cancel: the pass ends with an error');
is(marked(), 0, 'nothing of the program lives on');
is(attempts('cancel'), '1 1 ok', 'no attempt is counted');
is(sql("SELECT seq, state, attempts FROM spool.ls('cancel')"),
	"2|ready|0\n3|waiting|0", 'the job is ready again');
go('cancel');
is($session->query_safe("CALL spool.process('cancel')"), '2',
	'the next pass, of the same session, runs it');
is(log_of('cancel'), 'start 1 end 1 start 2 start 2 end 2 start 3 end 3',
	'without overlap');
is(attempts('cancel'), '1 1 ok, 2 1 ok, 3 1 ok', 'as a first attempt');
$session->quit;

# ---- kill -9 of the session, with a handler --------------------------------
handler_queue('hkill');
my $holder = lock_5();
($session, $pid) = start_handler('hkill');
kill 'KILL', $pid;
$_->{run}->finish for ($session, $holder);
wait_for_server($pid);
is(done('hkill'), '', 'handler: kill -9: nothing of the batch is done');
is(sql("SELECT string_agg(DISTINCT attempts::text, ' ') || count(*) FROM spool.ls('hkill')"),
	'010', 'all wait');

# The jobs of that batch run one by one, so the one that kills is found.
$holder = lock_5();
($session, $pid) = start_handler('hkill');
is(done('hkill'), '1:1 2:1 3:1 4:1', 'those before it are done now');
kill 'KILL', $pid;
$_->{run}->finish for ($session, $holder);
wait_for_server($pid);
is(sql("CALL spool.process('hkill')"), '6', 'the next pass goes on');
is(done('hkill'), $done_once, 'F76, F77: each is done once');
is(sql("SELECT attempt FROM done WHERE queue = 'hkill' AND seq = 5"), '2',
	'the job that was killed is told so');
is( sql("SELECT seq, attempt FROM spool.attempts WHERE queue = 'hkill' AND outcome = 'crashed'"),
	'5|1', 'the one that died is shown as crashed');

# ---- cancel and terminate, with a handler ----------------------------------
foreach my $how ('cancel', 'terminate')
{
	my $queue = "h$how";
	handler_queue($queue);
	$holder = lock_5();
	($session, $pid) = start_handler($queue);
	sql("SELECT pg_${how}_backend($pid)");
	if ($how eq 'cancel')
	{
		is_cancelled($session, 'handler: cancelled');
		is(attempts($queue), 'none', 'no attempt is counted');
		is(sql("SELECT count(*) FROM spool.ls('$queue') WHERE attempts = 0"),
			'10', 'nor shown');
		$holder->quit;
		is($session->query_safe("CALL spool.process('$queue')"), '10',
			'the next pass, of the same session, runs them');
		$session->quit;
	}
	else
	{
		$session->{run}->finish;
		$holder->quit;
		is(sql("CALL spool.process('$queue')"), '10',
			'handler: terminated: the next pass runs them');
	}
	is(done($queue), $done_once, 'each is done once');
	is(sql("SELECT count(*) FROM spool.attempts WHERE queue = '$queue' AND outcome <> 'ok'"),
		'0', 'without a failure');
}

$node->stop;
done_testing();
