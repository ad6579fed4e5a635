
# The resequencer when something dies: a transaction that is prepared keeps its
# key over a restart (R60); what was not committed was not decided, and what was
# is answered again (R72); without timers deadlines come late and nothing else
# changes (R73); a batch that ends with an error in its middle leaves nothing
# (R76).

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--wal-segsize', '1' ]);
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'spool'\nrestart_after_crash = on\nmax_prepared_transactions = 5");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION spool;
	CREATE TABLE written (n serial, key text, sn bigint);
	-- a number that passes is written, in one transaction
	CREATE FUNCTION deliver(_key text, _sn bigint) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		_verdict text;
		_repeat boolean;
	BEGIN
		SELECT verdict, repeat INTO _verdict, _repeat FROM spool.resequence('r', _key, _sn);
		IF _verdict = 'pass' THEN
			INSERT INTO written (key, sn) VALUES (_key, _sn);
		END IF;
		RETURN _verdict || CASE WHEN _repeat THEN ', repeat' ELSE '' END;
	END $$;
	SELECT spool.create_resequencer('r');
	SELECT spool.create_resequencer('acked', delivery => 'acked');
});

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

# Kill a process of the server, which restarts then.
sub kill_process
{
	my ($process) = @_;
	my $offset = -s $node->logfile;

	kill 'KILL', $process;
	$node->wait_for_log(qr/database system is ready to accept connections/, $offset);
	return;
}

sub written
{
	my ($key) = @_;
	return sql("SELECT coalesce(string_agg(sn::text, ' ' ORDER BY n), '') FROM written WHERE key = '$key'");
}

# SQLSTATE of a statement that fails
sub sqlstate
{
	my ($statement) = @_;
	my ($rc, $out, $err) =
	  $node->psql('postgres', "\\set VERBOSITY sqlstate\n$statement");
	return $err =~ /ERROR:  (\w{5})/ ? $1 : "$rc $out";
}

# ---- a prepared transaction, and a restart ---------------------------------
sql(q{SELECT spool.register('r', key, 1) FROM unnest(ARRAY['committed', 'undone', 'other']) key});
foreach my $key ('committed', 'undone')
{
	is( sql("BEGIN; SELECT deliver('$key', 1); PREPARE TRANSACTION 'deliver $key'"),
		'pass', "R60: $key: passed and prepared");
}

sub check_prepared
{
	my ($when) = @_;
	foreach my $key ('committed', 'undone')
	{
		foreach my $verb ("register('r', '$key', 2)", "resequence('r', '$key', 1)",
			"reset('r', '$key')")
		{
			is(sqlstate("SET lock_timeout = '10ms'; SELECT spool.$verb"),
				'55P03', "R60: $when: $verb waits");
		}
	}
	is( sql("SELECT key, gid FROM spool.stat_keys WHERE resequencer = 'r' AND gid IS NOT NULL ORDER BY key"),
		"committed|deliver committed\nundone|deliver undone", "R60: $when: it is shown for what");
	return;
}
check_prepared('before the restart');
is(sql("SELECT deliver('other', 1)"), 'pass', 'R60: another key is free');
$node->stop('immediate');
$node->start;
check_prepared('after the restart');
is(sql("SELECT verdict FROM spool.register('r', 'other', 2); SELECT deliver('other', 2)"),
	"current\npass", 'R60: another key is free');

my $waiter = $node->background_psql('postgres');
my $pid = $waiter->query_safe('SELECT pg_backend_pid()');
$waiter->query_until(qr/begun/, "\\echo begun\nSELECT verdict, latest FROM spool.register('r', 'committed', 0);\n\\echo answered\n");
$node->poll_query_until('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid")
  or die 'does not wait';
sql("COMMIT PREPARED 'deliver committed'");
like($waiter->query_until(qr/answered/, "\n"), qr/^stale\|1$/m, 'R60: who waits goes on when it ends');
$waiter->quit;
sql("ROLLBACK PREPARED 'deliver undone'");
is(written('committed'), '1', 'R60: committed: it was delivered');
is(sql("SELECT deliver('committed', 1)"), 'duplicate, repeat', 'and a repeat says so');
is(written('undone'), '', 'R60: rolled back: it was not');
is(sql("SELECT deliver('undone', 1)"), 'pass', 'and passes now');

# ---- a tree that was read in it --------------------------------------------
sub parts
{
	my ($verb, @parts) = @_;
	return join('; ', map { "SELECT (spool.$verb('trees', 'k', 1, part => ARRAY[$_])).verdict" } @parts);
}
sql(q{SELECT spool.create_resequencer('trees'); SELECT spool.register('trees', 'k', 1, parts => 3)});
my $reader = $node->background_psql('postgres', on_error_stop => 0);
is( $reader->query_safe("BEGIN;\n" . join(";\n", map { parts($_, 1) } 'register', 'resequence', 'unregister')),
	"current\nwait\nunregistered", 'R60: a part came and was taken back');
$reader->query_safe("PREPARE TRANSACTION 'tree'");
sql("ROLLBACK PREPARED 'tree'");
is(sql(parts('register', 2, 3) . ';' . parts('resequence', 2, 3)), "current\ncurrent\nwait\nwait", 'R60: rolled back: others come');
is($reader->query(parts('resequence', 1)), '', 'R60: who prepared it does not know the part');
like($reader->{stderr}, qr/is not registered/, 'R60: which is not registered');
$reader->quit;

# ---- between pass and commit -----------------------------------------------
foreach my $how ('kill', 'stop', 'terminate')
{
	sql("SELECT spool.register('r', '$how', 1)");
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$pid = $session->query_safe('SELECT pg_backend_pid()');
	is($session->query_safe("BEGIN; SELECT deliver('$how', 1)"), 'pass', "R72: $how: it passes");
	if ($how eq 'kill')
	{
		kill_process($pid);
	}
	elsif ($how eq 'stop')
	{
		$node->stop('immediate');
	}
	else
	{
		is(sql("SELECT pg_terminate_backend($pid, 60000)"), 't', 'terminated');
	}
	$session->{run}->finish;
	$node->start if $how eq 'stop';
	is(written($how), '', "R72: $how: nothing was delivered");
	is( sql("SELECT sn, state, live FROM spool.registrations WHERE key = '$how'"),
		'1|registered|t', "R72: $how: the delivery is live");
	is(sql("SELECT deliver('$how', 1)"), 'pass', "R72: $how: it passes again");
	is(written($how), '1', "R72: $how: and is delivered once");
}

# ---- committed, and the client is gone before it reads the answer ----------
foreach my $resequencer ('r', 'acked')
{
	sql("SELECT spool.register('$resequencer', 'answer', 1)");
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_until(qr/begun/, "\\echo begun\nBEGIN\\; SELECT verdict FROM spool.resequence('$resequencer', 'answer', 1)\\;"
		  . " INSERT INTO written (key, sn) VALUES ('answer $resequencer', 1)\\; COMMIT\\; SELECT pg_sleep(86400);\n");
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM written WHERE key = 'answer $resequencer'")
	  or die 'does not commit';
	kill_process($pid);
	$session->{run}->finish;
	is(written("answer $resequencer"), '1', "R72: $resequencer: it was delivered");
}
is(sql("SELECT verdict, reason, repeat FROM spool.resequence('r', 'answer', 1)"),
	'duplicate|applied|t', 'R72: a repeat says that it was applied');
is(sql("SELECT verdict, reason, repeat FROM spool.resequence('acked', 'answer', 1)"),
	'pass||t', 'R72: or passed, if it must be acknowledged');
is(sql("SELECT verdict, repeat FROM spool.applied('acked', 'answer', 1)"), 'applied|f', 'as it is now');
is(sql("SELECT verdict, reason, repeat FROM spool.resequence('acked', 'answer', 1)"),
	'duplicate|applied|t', 'which is known to a repeat');

# ---- the process with timers is killed, and then there is none -------------
my $manager = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'spool manager'};
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($manager) m") or die 'no manager';
sql(q{SELECT spool.register('r', 'manager', n) FROM generate_series(1, 2) n});
is(sql("SELECT deliver('manager', 1)"), 'park', 'one is parked');
my $session = $node->background_psql('postgres', on_error_stop => 0);
is($session->query_safe("BEGIN; SELECT deliver('manager', 2)"), 'pass', 'one passes');
kill_process(sql($manager));
$session->{run}->finish;
is( sql("SELECT sn, state FROM spool.registrations WHERE key = 'manager' ORDER BY sn"),
	"1|parked\n2|registered", 'R73: kill -9 of the manager: what was committed is there');
is(sql("SELECT deliver('manager', 1); SELECT deliver('manager', 2); SELECT deliver('manager', 1)"),
	"park, repeat\npass\nsuppress", 'R73: and nothing older passes after the newest');

$node->append_conf('postgresql.conf', "spool.databases = ''");
$node->reload;
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM ($manager) m") or die 'still a manager';
sql(q{SELECT spool.create_resequencer('due', deadline => '1 ms')});
sql(q{SELECT spool.register_many('due', ARRAY['k', 'k', 'k', 'idle', 'idle', 'idle'], ARRAY[1, 2, 3, 1, 2, 3])});
$node->poll_query_until('postgres', q{SELECT bool_and(deadline < clock_timestamp()) FROM spool.registrations WHERE resequencer = 'due'})
  or die 'not over';
is( sql(q{SELECT key, count(*), bool_and(live) FROM spool.registrations WHERE resequencer = 'due' GROUP BY key ORDER BY key}),
	"idle|3|t\nk|3|t", 'R73: what is over is live as long as nobody works on the key');
is(sql("SELECT verdict, reason, repeat FROM spool.resequence('due', 'k', 3)"),
	'duplicate|expired|t', 'R73: the next call of the key lets it expire');
sql("SELECT spool.alter_resequencer('due', deadline => '1 hour')");
is(sql("SELECT verdict, reason FROM spool.register('due', 'k', 4)"), 'current|', 'and what comes then is new');
is(sql("SELECT verdict FROM spool.resequence('due', 'k', 4)"), 'pass', 'passes');
is(sql("SELECT verdict, reason FROM spool.resequence('due', 'k', 2)"), 'suppress|stale', 'R73: nothing older does');
sql("SELECT spool.alter_resequencer('due', deadline => '1 ms')");
is(sql("SELECT spool.expire('due')"), '3', 'the other key waits for who looks');
is( sql(q{SELECT registered, applied, expired, live FROM spool.stat_resequencers WHERE resequencer = 'due'}),
	'7|1|6|0', 'counts add up');
$node->append_conf('postgresql.conf', "spool.databases = '*'");
$node->reload;
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($manager) m"), 'a manager is back');

# ---- errors in the middle of a batch ---------------------------------------
sql(q{SELECT spool.create_resequencer('batch')});
sql(q{SELECT spool.register('batch', 'key 5', 1, digest => 'one')});
sub count_all
{
	return sql(q{SELECT (SELECT count(*) FROM spool.reseq_key), (SELECT count(*) FROM spool.reseq_lane),
		(SELECT count(*) FROM spool.reseq_delivery)});
}
my $before = count_all();
my $many = q{SELECT count(*) FROM spool.register_many('batch', ARRAY(SELECT 'key ' || n FROM generate_series(1, %s) n),
	ARRAY(SELECT 1 FROM generate_series(1, %s)))};
is(sqlstate("SET statement_timeout = '50ms'; " . sprintf($many, 1_000_000, 1_000_000)),
	'57014', 'R76: statement_timeout');
is(count_all(), $before, 'nothing of the batch is there');
is( sqlstate(q{SELECT spool.register_many('batch', ARRAY(SELECT 'key ' || n FROM generate_series(1, 9) n),
		array_fill(1::bigint, ARRAY[9]), digests => array_fill('two'::bytea, ARRAY[9]))}),
	'23505', 'R76: another digest');
is(count_all(), $before, 'nothing of the batch is there');

# A disk that is full: no file may grow beyond 8 MB.
SKIP:
{
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	skip 'no prlimit', 6 unless defined $postmaster
	  and system("prlimit --pid $postmaster --fsize=8388608: 2>/dev/null") == 0;
	my $offset = -s $node->logfile;
	my ($rc, $out, $err) = $node->psql('postgres', sprintf($many, 200_000, 200_000));
	like($err, qr/^psql:<stdin>:\d+: ERROR:  could not extend file/, 'R76: no room: an error');
	is(count_all(), $before, 'nothing of the batch is there');
	is(sql("SELECT verdict FROM spool.register('batch', 'key 5', 2)"), 'current', 'smaller ones have room');
	system_or_bail('prlimit', '--pid', $postmaster, '--fsize=unlimited:');
	is(sql(sprintf($many, 200_000, 200_000)), '200000', 'with room it is done');
	is( sql(q{SELECT registered, live, duplicates FROM spool.stat_resequencers WHERE resequencer = 'batch'}),
		'200001|200001|1', 'as a whole');
	unlike(slurp_file($node->logfile, $offset), qr/PANIC|terminated by signal/, 'and no process was harmed');
}

$node->stop;
done_testing();
