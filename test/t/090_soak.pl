
# Soak: producers and workers at work while jobs fail at random, producers roll
# back, and workers and the postmaster are killed.  At the end every packet
# committed has exactly one success, in the order of its stream, and nothing is
# left running.  SOAK_SECONDS says how long it goes on; "make soak" sets it.
#
# What happened is told by three witnesses.  Each producer's transaction writes
# what it enqueues into "sent", and the producer notes in a file what it was
# told of the commit; of the one that was under way when the connection broke,
# it notes nothing.  A handler writes into "done"; a program, into the file
# "runs" when it starts and ends.

use strict;
use warnings;

use Fcntl qw(:flock);
use List::Util qw(max);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;
use Time::HiRes qw(time usleep);

my $seconds = $ENV{SOAK_SECONDS} // 20;
my $producers = 8;
my $streams = 200;           # each fourth in the queue of programs
my $backlog = 2000;          # producers hold on while more is waiting
my $patience = $PostgreSQL::Test::Utils::timeout_default;

my $main = $$;
my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'spool'
max_worker_processes = 20
restart_after_crash = on
log_statement = none
spool.max_workers = 4
spool.programs = on
CONF
$node->start;

# A run of the program holds a lock of its stream, and so does its child.
append_to_file("$dir/program", <<'PROGRAM');
read -r payload stream
cd "$1"
exec 9>>"lock.$stream"
flock -n 9 || echo "overlap $stream $FSPL_SEQ $payload" >>runs
echo "start $stream $FSPL_SEQ $payload" >>runs
case $((RANDOM % 40)) in
	0) sleep 0.2 ;;
	1) sleep 3600 & ;;
	2) exit 3 ;;
esac
echo "end $stream $FSPL_SEQ $payload" >>runs
PROGRAM

$node->safe_psql('postgres', <<"SETUP");
CREATE EXTENSION spool;
CREATE TABLE sent (queue text, stream text, seq bigint, payload text);
CREATE TABLE done (id bigserial, queue text, stream text, seq bigint, payload text);
CREATE TABLE told (what text, payload text);
CREATE TABLE runs (id bigserial, what text, stream text, seq bigint, payload text);
CREATE FUNCTION handle(job spool.job) RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN
    INSERT INTO done (queue, stream, seq, payload)
    VALUES (job.queue, job.stream, job.seq, split_part(convert_from(job.payload, 'UTF8'), ' ', 1));
    CASE (random() * 100)::int
        WHEN 1 THEN PERFORM pg_sleep(0.05);
        WHEN 2 THEN RAISE 'bad luck';
        ELSE NULL;
    END CASE;
END \$\$;
SELECT spool.create_queue(name, workers => 4, history => 'all',
           retry_delay => '20 ms', retry_delay_max => '200 ms')
  FROM unnest('{handler,program}'::text[]) name;
SELECT spool.set_handler('handler', 'SELECT public.handle(\$1)');
SELECT spool.set_program('program', '/bin/bash', ARRAY['$dir/program', '$dir']);
SETUP

# ---- producers ----

# One transaction of a producer, as psql's input.
sub transaction
{
	my ($name) = @_;
	my @payloads = map { "$name.$_" } 1 .. 1 + int rand 3;
	my %of = map { 1 + int rand $streams => $_ } @payloads;
	my $end = rand() < 0.1 ? 'rollback' : 'commit';
	my $sql = "BEGIN;\n";
	my $told = '';

	# numbers are given in the order of streams: no deadlock
	foreach my $stream (sort { $a <=> $b } keys %of)
	{
		my $queue = $stream % 4 ? 'handler' : 'program';
		my $payload = $of{$stream};
		my $insert = "INSERT INTO sent SELECT '$queue', '$stream',"
		  . " spool.enqueue('$queue', '$payload $stream', '$stream'), '$payload';\n";
		my $undone = rand() < 0.05;
		$sql .= $undone ? "SAVEPOINT s;\n${insert}ROLLBACK TO s;\n" : $insert;
		$told .= '\echo ' . ($undone ? 'rollback' : $end) . " $payload\n";
	}
	return "$sql$end;\n$told";
}

# Sessions of 20 transactions until the time is over; each ends early when its
# connection breaks, with what it was told until then.
sub produce
{
	my ($producer, $until) = @_;
	my $file = "$dir/producer.$producer";
	my $connection = $node->connstr('postgres');
	srand($$ + time);
	for (my $session = 1; time < $until && getppid == $main; $session++)
	{
		if (-e "$dir/hold")
		{
			usleep(20_000);
			next;
		}
		unlink "$file.sql";
		append_to_file("$file.sql",
			join '', map { transaction("$producer.$session.$_") } 1 .. 20);
		system("psql -XAtq -v ON_ERROR_STOP=1 -d \"$connection\" -f $file.sql"
			  . " >>$file.told 2>>$file.errors");
	}
	return;
}

sub start_producer
{
	my ($producer, $until) = @_;
	my $pid = fork // die "could not fork: $!";
	return $pid if $pid;
	eval { produce($producer, $until); 1 } or warn $@;
	POSIX::_exit($@ ? 1 : 0);
}

# ---- what goes wrong, and a look at how far it is ----
my %struck = (worker => 0, postmaster => 0, terminate => 0);

sub poll_until
{
	my ($what, $condition) = @_;
	my $until = time + $patience;
	until ($condition->())
	{
		die "soak: $what: not within $patience s\n" if time > $until;
		usleep(50_000);
	}
	return;
}

# The result of a query, or undef while there is no server: psql fails then, or
# ends before it has read the query, which is an exception.
sub ask
{
	my ($query) = @_;
	my ($rc, $stdout) = eval { $node->psql('postgres', $query) };
	return defined $rc && $rc == 0 ? $stdout : undef;
}

# How many jobs the handler has done, more or less; producers are told to hold
# on while too many wait.
sub progress
{
	my $answer = ask("SELECT last_value, (SELECT count(*) FROM unnest('{handler,program}'::text[]) q,"
		  . " spool.ls(q, max_rows => $backlog)) FROM done_id_seq");
	return 0 unless defined $answer;
	my ($done, $waiting) = split /\|/, $answer;
	if ($waiting < $backlog) { unlink "$dir/hold"; }
	else { append_to_file("$dir/hold", ''); }
	return $done;
}

sub strike
{
	my $kind = (qw(worker worker worker terminate postmaster))[ rand 5 ];
	if ($kind eq 'postmaster')
	{
		$node->kill9;
		poll_until('start of the server', sub {
				return 1 if $node->start(fail_ok => 1);
				$node->stop('fast', fail_ok => 1);
				return 0;
			});
	}
	else
	{
		my $pid = ask("SELECT pid FROM spool.workers WHERE state = 'running' ORDER BY random() LIMIT 1");
		return unless $pid;
		if ($kind eq 'worker') { kill 'KILL', $pid; }
		else { ask("SELECT pg_terminate_backend($pid)"); }
	}
	$struck{$kind}++;
	return;
}

# Processes whose arguments hold a text.
sub processes
{
	my ($text) = @_;
	my @found;
	foreach my $file (glob '/proc/[0-9]*/cmdline')
	{
		open my $fh, '<', $file or next;
		my $line = do { local $/; <$fh> } // '';
		push @found, $line =~ tr/\0/ /r if $line =~ /\Q$text\E/;
	}
	return join ', ', @found;
}

# ---- the soak ----
my $started = time;
my $until = $started + $seconds;
my @pids = map { start_producer($_, $until) } 1 .. $producers;
while (time < $until)
{
	my $goal = max(1, progress()) + 50 + rand 1500;
	poll_until('progress', sub { return time > $until || progress() >= $goal });
	strike();
}
is(scalar(grep { waitpid($_, 0) == $_ && $? == 0 } @pids), $producers, 'producers came to their end');
poll_until('the server', sub { return defined ask('SELECT 1') });
poll_until('queues drained', sub {
		return (ask("SELECT count(*) FROM unnest('{handler,program}'::text[]) q, spool.ls(q, max_rows => 1)") // '') eq '0';
	});
poll_until('idle workers', sub {
		return (ask("SELECT count(*) FROM spool.workers WHERE state = 'running'") // '') eq '0';
	});
my $took = time - $started;

# ---- what must hold ----
foreach my $file (glob("$dir/producer.*.told"), "$dir/runs")
{
	$node->safe_psql('postgres', 'COPY '
		  . ($file =~ /runs$/ ? 'runs (what, stream, seq, payload)' : 'told')
		  . " FROM '$file' (DELIMITER ' ')");
}
$node->safe_psql('postgres', <<'VIEWS');
CREATE INDEX ON sent (payload);
CREATE TABLE tries AS
    SELECT queue, stream, seq, count(*) AS n, max(attempt) AS last, count(*) FILTER (WHERE outcome = 'ok') AS ok
      FROM spool.attempts GROUP BY queue, stream, seq;
ANALYZE;
VIEWS

# The query returns no row; if it does, the first ones are shown.
sub none
{
	my ($what, $query) = @_;
	is($node->safe_psql('postgres', "$query LIMIT 5"), '', $what);
	return;
}

none('what was told to be committed is', "SELECT * FROM told LEFT JOIN sent USING (payload)"
	  . " WHERE what = 'commit' AND sent.payload IS NULL");
none('what was rolled back is not', "SELECT * FROM told JOIN sent USING (payload) WHERE what = 'rollback'");
none('handler: every committed packet has one success, others have none',
	"SELECT payload, s.stream, s.seq, s.n, d.stream, d.seq, d.n FROM"
	  . " (SELECT payload, stream, seq, count(*) AS n FROM sent WHERE queue = 'handler' GROUP BY 1, 2, 3) s FULL JOIN"
	  . " (SELECT payload, stream, seq, count(*) AS n FROM done GROUP BY 1, 2, 3) d"
	  . " USING (payload) WHERE (s.stream, s.seq, s.n) IS DISTINCT FROM (d.stream, d.seq, d.n) OR s.n <> 1");
none('handler: successes of a stream are in the order of numbers',
	"SELECT * FROM (SELECT *, lag(seq) OVER (PARTITION BY stream ORDER BY id) AS before FROM done) d WHERE before >= seq");
none('program: every committed packet ran to its end, others never',
	"SELECT * FROM (SELECT * FROM sent WHERE queue = 'program') s FULL JOIN"
	  . " (SELECT payload, stream, seq, count(*) FILTER (WHERE what = 'end') AS ends FROM runs GROUP BY 1, 2, 3) r"
	  . " USING (payload, stream, seq) WHERE s.payload IS NULL OR ends IS NULL OR ends = 0");
none('program: a stream starts in the order of numbers',
	"SELECT * FROM (SELECT *, lag(seq) OVER (PARTITION BY stream ORDER BY id) AS before FROM runs) r WHERE before > seq");
none('program: never two at a time', "SELECT * FROM runs WHERE what = 'overlap'");
none('every committed packet has one attempt that succeeded',
	'SELECT * FROM sent FULL JOIN tries USING (queue, stream, seq) WHERE payload IS NULL OR ok IS DISTINCT FROM 1');
none('program: attempts are numbered, and each start is one of them',
	"SELECT stream, seq, t.n, t.last, r.n FROM (SELECT * FROM tries WHERE queue = 'program') t JOIN"
	  . " (SELECT stream, seq, count(*) AS n FROM runs WHERE what = 'start' GROUP BY 1, 2) r"
	  . ' USING (stream, seq) WHERE t.n <> last OR r.n > t.n');
# the manager may be, or a vacuum, but not for long
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_activity'
		  . " WHERE pid <> pg_backend_pid() AND (state <> 'idle' OR backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)"),
	'no session is at work');
is(join('', grep { /ERROR/ } map { slurp_file($_) } glob "$dir/producer.*.errors"),
	'', 'producers saw no error but lost connections');
is(processes("$dir/program"), '', 'no program is left');

my $figures = ask("SELECT count(*) || ' packets, ' || (SELECT count(*) FILTER (WHERE outcome = 'crashed')"
	  . " || ' crashed and ' || count(*) FILTER (WHERE outcome IN ('error', 'exit')) || ' failed attempts' FROM spool.attempts) FROM sent");
$node->stop;
# supervisors end when their workers have
poll_until('end of supervisors', sub { return processes($node->data_dir) eq '' });
pass('no process of the server is left');
is( join(', ', grep {
			open my $fh, '>>', $_ or die "$_: $!";
			!flock $fh, LOCK_EX | LOCK_NB;
		} glob($node->data_dir . '/pg_spool_run/*'), glob("$dir/lock.*")),
	'', 'no file is left locked');
note sprintf 'soak: %s, %d workers killed, %d terminated, %d servers killed, %d s',
  $figures, $struck{worker}, $struck{terminate}, $struck{postmaster}, $took;
done_testing();
