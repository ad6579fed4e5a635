
# Jobs run by the database's workers: started at the commit, in order, one at a
# time in a stream, with delays after failures, over gaps, and after crashes of
# the worker, of the backend by its own job, and of the postmaster.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $dir = PostgreSQL::Test::Utils::tempdir;
my $mark = "86400.$$";    # an argument of sleep that nobody else uses

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf',
	    "shared_preload_libraries = 'spool'\nspool.programs = on\n"
	  . "restart_after_crash = on\nmax_worker_processes = 20\n"
	  . "autovacuum = off\nmax_prepared_transactions = 5");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION spool;'
	  . ' CREATE TABLE done (id bigint GENERATED ALWAYS AS IDENTITY, queue text, stream text,'
	  . '  seq bigint, attempt int, pid int DEFAULT pg_backend_pid(), at timestamptz DEFAULT clock_timestamp());'
	  . ' CREATE TABLE broken (queue text, seq bigint, stream text DEFAULT \'\')');

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

# Also while the server restarts.
sub poll
{
	my ($query, $expected) = @_;
	my $stdout = '';
	my $stderr;
	for (1 .. 20 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$stdout = '';
		$node->psql('postgres', $query, stdout => \$stdout, stderr => \$stderr);
		return 1 if $stdout eq ($expected // 't');
		usleep(50_000);
	}
	diag("$query: last was \"$stdout\", wanted \"" . ($expected // 't') . '"');
	return 0;
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

# Process ids of programs that hold the mark.
sub marked
{
	my @found;
	foreach my $file (glob '/proc/[0-9]*/cmdline')
	{
		open my $fh, '<', $file or next;
		my $line = do { local $/; <$fh> }
		  // '';
		push @found, $file =~ /(\d+)/ if $line =~ /sleep\0\Q$mark\E/;
	}
	return @found;
}

# Whether none of some processes is left; one that took over an id has no mark.
sub gone
{
	my %left = map { $_ => 1 } marked();
	return !grep { $left{$_} } @_;
}

# A queue with workers whose handler fails for what is in broken.
sub queue
{
	my ($name, $options) = @_;
	sql("SELECT spool.create_queue('$name', workers => 1, history => 'all'$options);"
		  . " SELECT spool.set_handler('$name', \$\$"
		  . 'WITH bad AS MATERIALIZED (SELECT 1 / (1 - count(*)) AS x FROM broken b WHERE (b.queue, b.seq, b.stream) = (($1).queue, ($1).seq, ($1).stream))'
		  . ' INSERT INTO done (queue, stream, seq, attempt)'
		  . ' SELECT ($1).queue, ($1).stream, ($1).seq, ($1).attempt FROM bad WHERE x > 0 $$)');
	return;
}

sub done
{
	my ($queue) = @_;
	return "SELECT coalesce(string_agg(seq::text, ' ' ORDER BY id), 'none') FROM done WHERE queue = '$queue'";
}

sub attempts
{
	my ($queue) = @_;
	return "SELECT coalesce(string_agg(seq || ' ' || attempt || ' ' || outcome, ', ' ORDER BY started_at, seq), 'none')"
	  . " FROM spool.attempts WHERE queue = '$queue'";
}

#---------------------------------------------------------------------------
# F85, F9: started at the commit
#---------------------------------------------------------------------------

queue('f85', '');
sql("SELECT spool.enqueue('f85', 'warm up')");
ok(poll(done('f85'), '1'), 'F85: a job runs by itself');
my ($enqueued) = sql("SELECT spool.enqueue('f85', 'a'); SELECT clock_timestamp()") =~ /(.*)\z/;
ok(poll(done('f85'), '1 2'), 'F85: and the next one');
is( sql("SELECT at - '$enqueued' < '1 s' FROM done WHERE queue = 'f85' AND seq = 2"
	),
	't',
	'F85: within a second');
is(sql(attempts('f85')), '1 1 ok, 2 1 ok', 'F85: they are in the history');
my $rolled = $node->background_psql('postgres');
$rolled->query_safe("BEGIN; SELECT spool.enqueue('f85', 'open')");
is(sql(done('f85')), '1 2', 'F85: an open transaction starts nothing');
$rolled->query_safe('COMMIT');
$rolled->quit;
ok(poll(done('f85'), '1 2 3'), 'F85: its commit does');
sql("SELECT spool.write('f85 seq', spool.make_packet(2)) FROM spool.create_queue('f85 seq', workers => 1)");
sql("SELECT spool.set_handler('f85 seq', 'INSERT INTO done (queue, seq) VALUES ((\$1).queue, (\$1).seq)')");
sql("SELECT spool.write('f85 seq', spool.make_packet(1))");
ok(poll(done('f85 seq'), '1 2'), 'F85: in order, also where a handler is set later');

sql("SELECT spool.create_queue('f9', workers => 1);"
	  . " SELECT spool.set_handler('f9', \$\$WITH i AS (INSERT INTO done (queue, seq) VALUES ((\$1).queue, (\$1).seq))"
	  . " SELECT spool.enqueue('f9', 'next') WHERE (\$1).seq < 5\$\$);"
	  . " SELECT spool.enqueue('f9', 'first')");
ok(poll(done('f9'), '1 2 3 4 5'),
	'F9: a job that a job enqueues runs without help');

# prepared transactions
sql("BEGIN; SELECT spool.write('f85', spool.make_packet(1), 'prepared'); PREPARE TRANSACTION 'spool'");
sql("COMMIT PREPARED 'spool'");
ok(poll(done('f85'), '1 2 3 1'), 'F85: COMMIT PREPARED starts it');

#---------------------------------------------------------------------------
# F71, F68: one stream, one worker; several workers share the streams
#---------------------------------------------------------------------------

# none is through before both are there
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(71)');
sql("SELECT spool.create_queue('f71', workers => 2);"
	  . " SELECT spool.set_handler('f71', 'INSERT INTO done (queue, stream, seq) SELECT (\$1).queue, (\$1).stream, (\$1).seq FROM pg_advisory_xact_lock_shared(71)');"
	  . " SELECT spool.enqueue_many('f71', array_fill('x'::text, '{40}'), 'stream ' || i) FROM generate_series(1, 10) i"
);
ok(poll("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 71 AND NOT granted", '2'),
	'F71: two workers wait');
$gate->quit;
ok(poll("SELECT count(*) FROM done WHERE queue = 'f71'", '400'),
	'F71: two workers run all');
is( sql("SELECT count(DISTINCT pid) FROM done WHERE queue = 'f71'"),
	'2', 'F71: both take part');
is( sql("SELECT count(*) FROM (SELECT seq, row_number() OVER (PARTITION BY stream ORDER BY id) AS n FROM done WHERE queue = 'f71') s WHERE seq <> n"
	),
	'0',
	'F71: each stream in order, nothing twice');

# a long stream does not delay short ones
sql("SELECT spool.create_queue('fair', workers => 1); SELECT spool.pause_queue('fair');"
	  . " SELECT spool.set_handler('fair', 'INSERT INTO done (queue, stream, seq) VALUES ((\$1).queue, (\$1).stream, (\$1).seq)');"
	  . " SELECT spool.enqueue_many('fair', array_fill('x'::text, '{20000}'), 'long');"
	  . " SELECT spool.enqueue('fair', 'x', 'short ' || i) FROM generate_series(1, 100) i;"
	  . " SELECT spool.resume_queue('fair')");
ok( poll("SELECT count(*) FROM done WHERE queue = 'fair' AND stream LIKE 'short%'",
		'100'),
	'a stream with 20,000 packets and 100 with one');
cmp_ok(
	sql("SELECT count(*) FROM done WHERE queue = 'fair' AND stream = 'long' AND id < (SELECT max(id) FROM done WHERE queue = 'fair' AND stream LIKE 'short%')"
	),
	'<', 2000,
	'the short ones do not wait for the long one');
sql("SELECT spool.drop_queue('fair', force => true)");

#---------------------------------------------------------------------------
# F35, F36: retries at growing distances; blocked streams
#---------------------------------------------------------------------------

queue('f35', ", max_attempts => 3, on_error => 'dead', retry_delay => '200 ms'");
sql("INSERT INTO broken VALUES ('f35', 1); SELECT spool.enqueue_many('f35', '{a,b}'::text[])");
ok(poll(done('f35'), '2'), 'F35: after the third failure the queue goes on');
is( sql(attempts('f35')),
	'1 1 error, 1 2 error, 1 3 error, 2 1 ok',
	'F35, F36: three attempts in the history');
# each was put off by 200 ms, or the double, and is not tried before
is( sql("SELECT string_agg(concat(trunc(extract(epoch FROM s.retry_at - a.finished_at) / 0.2), n.started_at >= s.retry_at), ' ' ORDER BY a.attempt)"
		  . " FROM spool.attempts a JOIN spool.attempts n ON (n.queue, n.seq, n.attempt) = (a.queue, a.seq, a.attempt + 1)"
		  . " JOIN (SELECT DISTINCT s.attempts, s.retry_at FROM spool.state s JOIN spool.stream t ON t.id = s.stream JOIN spool.queue q ON q.id = t.queue WHERE q.name = 'f35' AND s.retry_at IS NOT NULL) s ON s.attempts = a.attempt"
		  . " WHERE a.queue = 'f35' AND a.seq = 1"
	),
	'1t 2t',
	'F35: at growing distances');
is( sql("SELECT reason || ' ' || attempts || ' ' || message FROM spool.dead_letters WHERE name = 'f35'"),
	'failed 3 division by zero',
	'F35: then it is a dead letter');
like(
	slurp_file($node->logfile),
	qr/stream "" of queue "f35" is blocked: job 1 failed: division by zero/,
	'the log tells that the stream is blocked');
my $blocked = () =
  slurp_file($node->logfile) =~ /queue "f35" is blocked/g;
is($blocked, 1, 'once');
sql("DELETE FROM broken; SELECT spool.redrive('f35')");
ok(poll(done('f35'), '2 1'), 'F35: redriven, it runs');

queue('blocked', ", max_attempts => 2, retry_delay => '50 ms'");
sql("INSERT INTO broken VALUES ('blocked', 1); SELECT spool.enqueue_many('blocked', '{a,b}'::text[]); SELECT spool.enqueue('blocked', 'c', 'other')");
ok( poll("SELECT string_agg(stream || attempt || outcome, ' ' ORDER BY stream, attempt) FROM spool.attempts WHERE queue = 'blocked'",
		'1error 2error other1ok'),
	'F35: under retry the stream stays blocked after the last attempt, others go on');
sql('TRUNCATE broken');
sql("SELECT spool.retry_now('blocked', '')");
ok(poll(done('blocked'), '1 1 2'), 'F35: retry_now starts it again');

#---------------------------------------------------------------------------
# F5: gap_timeout
#---------------------------------------------------------------------------

queue('f5', ", gap_timeout => '300 ms'");
my $written = sql('SELECT clock_timestamp()');
sql("SELECT spool.write('f5', spool.make_packet(i)) FROM unnest('{1,2,4,5}'::int[]) i");
ok(poll(done('f5'), '1 2 4 5'), 'F5: missing numbers are passed over in time');
is( sql("SELECT action || ' ' || first_seq || ' ' || last_seq FROM spool.actions WHERE queue = 'f5'"),
	'gap_timeout 3 3',
	'F5: which is recorded');
is( sql("SELECT at - '$written' >= '300 ms' FROM done WHERE queue = 'f5' AND seq = 4"),
	't',
	'F5: not before');
queue('f5 never', '');
sql("SELECT spool.write('f5 never', spool.make_packet(i)) FROM unnest('{1,2,4,5}'::int[]) i");
ok(poll(done('f5 never'), '1 2'), 'F5: with the default policy they never run');
sql("SELECT spool.write('f5 never', spool.make_packet(3))");
ok(poll(done('f5 never'), '1 2 3 4 5'), 'F5: until the number is there');

#---------------------------------------------------------------------------
# Every order
#---------------------------------------------------------------------------

queue('times', ", order_by => 'timestamp'");
sql("SELECT spool.write('times', spool.make_packet(i, ctime => timestamptz '2001-01-01' - i * interval '1 s')) FROM generate_series(1, 5) i");
ok(poll(done('times'), '5 4 3 2 1'), 'F20: workers run by creation time');
queue('newest', ", order_by => 'latest'");
sql("SELECT spool.write('newest', spool.make_packet(i)) FROM generate_series(1, 5) i");
ok(poll(done('newest'), '5'), 'workers run only the newest');
sql("SELECT spool.create_queue('any', order_by => 'none', workers => 3, retry_delay => '100 ms', max_attempts => 2, on_error => 'dead');"
	  . " INSERT INTO broken VALUES ('any', 7);"
	  . " SELECT spool.set_handler('any', \$\$WITH bad AS MATERIALIZED (SELECT 1 / (1 - count(*)) AS x FROM broken b WHERE (b.queue, b.seq) = ((\$1).queue, (\$1).seq))"
	  . " INSERT INTO done (queue, seq, attempt) SELECT (\$1).queue, (\$1).seq, (\$1).attempt FROM bad, pg_sleep(0.01) WHERE x > 0\$\$);"
	  . " SELECT spool.write('any', spool.make_packet(i)) FROM generate_series(1, 100) i");
ok(poll("SELECT count(*) || ' ' || count(DISTINCT seq) || ' ' || (count(DISTINCT pid) > 1) FROM done WHERE queue = 'any'",
		'99 99 true'),
	'F92: without order several workers share one stream, each packet once');
ok(poll("SELECT seq || ' ' || attempts FROM spool.dead_letters WHERE name = 'any'", '7 2'),
	'F92: the failing one is tried again and then dead');

#---------------------------------------------------------------------------
# F74, F75, F76: crashes
#---------------------------------------------------------------------------

sub program
{
	my ($queue, $options) = @_;
	my $script = "cd $dir; log=$queue.log; pid=$queue.pid;"
	  . ' if [ -e $pid ] && kill -0 $(cat $pid) 2>/dev/null; then echo overlap >>$log; fi;'
	  . ' echo $$ >$pid; echo start $FSPL_SEQ >>$log;'
	  . " if [ \$FSPL_SEQ = 2 ] && [ ! -e $queue.go ]; then"
	  . " sleep $mark & setsid sleep $mark & sleep $mark; fi;"
	  . ' echo end $FSPL_SEQ >>$log; rm $pid';
	sql("SELECT spool.create_queue('$queue', workers => 1, history => 'all', retry_delay => '100 ms'$options);"
		  . " SELECT spool.set_program('$queue', '/bin/sh', ARRAY['-c', '$script']);"
		  . " SELECT spool.write('$queue', spool.make_packet(i)) FROM generate_series(1, 3) i");
	return;
}

# The worker that runs job 2 of a queue.
sub worker_of
{
	my ($queue) = @_;
	poll_until(sub { my @pids = marked(); return @pids == 3 }) or diag('job 2 does not run');
	return sql("SELECT pid FROM spool.workers WHERE queue = '$queue' AND seq = 2");
}

program('f74', '');
my $pid = worker_of('f74');
like($pid, qr/^\d+$/, 'F74: the view workers shows who runs the job');
is( sql("SELECT query FROM pg_stat_activity WHERE pid = $pid"),
	'queue "f74", stream "", job 2',
	'pg_stat_activity shows queue, stream and number');
is( sql("SELECT backend_xmin IS NULL AND backend_xid IS NULL FROM pg_stat_activity WHERE pid = $pid"),
	't',
	'a program that runs holds no snapshot and no transaction id');
is(sql("SELECT state FROM spool.ls('f74') WHERE seq = 2"), 'running', 'F72: ls shows it');
sql("CREATE TABLE dead_rows AS SELECT 1 AS x; DELETE FROM dead_rows");
ok( poll_until(sub {			# the manager may, for a moment
			return ($node->psql('postgres', 'VACUUM (VERBOSE) dead_rows',
					on_error_die => 0))[2] =~
			  /(tuples: 1 removed, 0 remain, 0 are dead but not yet removable|removed 1 )/;
		}), 'nor the xmin horizon');
my @programs = marked();
kill 'KILL', $pid;
ok(poll('SELECT true'), 'F74: the server restarts after kill -9 of a worker');
ok(poll_until(sub { gone(@programs) }),
	'F75: nothing of the program lives on');
append_to_file("$dir/f74.go", '');
ok( poll("SELECT next FROM spool.state s JOIN spool.stream t ON t.id = s.stream JOIN spool.queue q ON q.id = t.queue"
		  . " WHERE q.name = 'f74' ORDER BY version DESC LIMIT 1", '4'),
	'F74: the job runs again, and the rest');
like(sql(attempts('f74')), qr/^1 1 ok, 2 1 crashed, (2 2 crashed, )?2 \d ok, 3 1 ok$/,
	'F76: the attempt shows crashed');
unlike(slurp_file("$dir/f74.log"), qr/overlap/, 'F75: no overlap');

# a job that takes the server down
my $config = $ENV{PG_CONFIG} || 'pg_config';
chomp(my $include = `$config --includedir-server`);
append_to_file("$dir/crash.c",
	'#include "postgres.h"' . "\n"
	  . '#include "fmgr.h"' . "\n"
	  . 'PG_MODULE_MAGIC; PG_FUNCTION_INFO_V1(crash);' . "\n"
	  . 'Datum crash(PG_FUNCTION_ARGS) { abort(); }' . "\n");
system_or_bail('gcc', "-I$include", '-fPIC', '-shared', '-o', "$dir/crash.so", "$dir/crash.c");
chmod 0755, $dir;
sql("CREATE FUNCTION crash() RETURNS int LANGUAGE c AS '$dir/crash', 'crash'");
sql("SELECT spool.create_queue('abort', workers => 1, history => 'all', max_attempts => 2, on_error => 'dead', retry_delay => '100 ms');"
	  . " SELECT spool.set_handler('abort', \$\$INSERT INTO done (queue, seq) SELECT (\$1).queue, (\$1).seq WHERE CASE WHEN (\$1).seq = 3 THEN crash() ELSE 1 END > 0\$\$);"
	  . " SELECT spool.pause_queue('abort'); SELECT spool.enqueue_many('abort', array_fill('x'::text, '{5}'))");
# the server may go down before it answers
$node->psql('postgres', "SELECT spool.resume_queue('abort')");
ok(poll(done('abort'), '1 2 4 5'),
	'a handler that aborts: the jobs before it, then the ones behind it');
is( sql("SELECT seq || ' ' || attempts || ' ' || message FROM spool.dead_letters WHERE name = 'abort'"),
	'3 2 the runner died',
	'it is found, counted, and a dead letter after its last attempt');
is(sql("SELECT count(*) FROM done WHERE queue = 'abort'"), '4', 'each of the others ran once');

# the postmaster
program('f74b', '');
worker_of('f74b');
$node->kill9;
ok(poll_until(sub { !marked() }), 'F75: nothing of a program outlives the postmaster');
append_to_file("$dir/f74b.go", '');
ok( poll_until(sub { $node->{_pid} = undef; return $node->start(fail_ok => 1) }),
	'the server starts again');
ok(poll(attempts('f74b'), '1 1 ok, 2 1 crashed, 2 2 ok, 3 1 ok'),
	'F74, F76: the job runs again');
unlike(slurp_file("$dir/f74b.log"), qr/overlap/, 'F75: no overlap');

#---------------------------------------------------------------------------
# F73, F82, F86, F87, F88
#---------------------------------------------------------------------------

program('f73', '');
worker_of('f73');
is(sql("SELECT spool.next_seq('f73')"), '2', 'F73: the cursor is read while a job runs');
sql("SELECT spool.set_next_seq('f73', 3)");
append_to_file("$dir/f73.go", '');
kill 'KILL', marked();
ok(poll("SELECT spool.next_seq('f73')", '4'), 'F73: set_next takes effect after the job');
like(slurp_file("$dir/f73.log"), qr/start 2\n(end 2\n)?start 3\nend 3/, 'F73: job 3 runs after it');

sql("SELECT spool.create_queue('q82 ' || i, workers => 1), spool.set_handler('q82 ' || i, 'INSERT INTO done (queue, seq) VALUES (''q82'', (\$1).seq)') FROM generate_series(1, 1000) i");
my $before = time;
sql("SELECT spool.enqueue('q82 777', 'x')");
ok(poll(done('q82'), '1'), 'F82: one of 1,000 queues gets a packet');
cmp_ok(time - $before, '<', 5, 'F82: and is started soon');

queue('f86', '');
sql("SELECT spool.write('f86', spool.make_packet(i)) FROM (SELECT i FROM generate_series(1, 20) i ORDER BY md5(i::text)) s");
ok(poll(done('f86'), join ' ', 1 .. 20), 'F86: increments written in any order are applied in order');

sql("SELECT spool.create_queue('f87', workers => 1, order_by => 'timestamp', on_error => 'leave', allow_job_params => true, history => 'all');"
	  . " SELECT spool.set_program('f87', '/bin/sh', ARRAY['-c', 'echo pull \$1; [ \$1 != bad ]', 'sh']);"
	  . " SELECT spool.write('f87', spool.make_packet(i, params => ARRAY[b], ctime => timestamptz '2001-01-01' + i * interval '1 s')) FROM (VALUES (3, 'main'), (1, 'bad'), (2, 'fix')) v(i, b)");
ok(poll("SELECT string_agg(convert_from(stdout, 'UTF8') || outcome, ' ' ORDER BY started_at) FROM spool.attempts WHERE queue = 'f87'",
		"pull bad\nexit pull fix\nok pull main\nok"),
	'F87: the branch is the last argument; a failing one is left');

sql("SELECT spool.create_queue('f88', append_only => true); SELECT spool.write('f88', spool.make_packet(1))");
queue('f88 verified', '');
is(sql(done('f88 verified')), 'none', 'F88: nothing runs until it is verified');
sql("SELECT spool.forward('f88', spool.packet_id('f88', 1), 'f88 verified')");
ok(poll(done('f88 verified'), '1'), 'F88: then it runs');

#---------------------------------------------------------------------------
# In the end nothing is left
#---------------------------------------------------------------------------

ok(!marked(), 'no program is left');
ok(poll("SELECT count(*) FROM spool.workers WHERE state = 'running'", '0'), 'no worker runs');
$node->stop('fast');
unlike(slurp_file($node->logfile), qr/(PANIC|FailedAssertion|TRAP:)/, 'no panic');

done_testing();
