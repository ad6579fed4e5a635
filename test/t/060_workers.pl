
# The life of the launcher, managers and workers: they are found and started by
# themselves, and are in nobody's way.  The sweep is an hour away, so that all
# that runs was told by a hint.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $prompt = 3;    # seconds that nothing here may take

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'spool'
max_worker_processes = 16
max_prepared_transactions = 2
restart_after_crash = on
autovacuum = off
spool.sweep_interval = '1h'
log_min_messages = warning
});
$node->start;

sub sql
{
	my ($db, $statement) = @_;
	return $node->safe_psql($db, $statement);
}

# Poll for a result, with the bound of poll_query_until.
sub eventually
{
	my ($db, $query, $want, $name) = @_;
	ok($node->poll_query_until($db, $query, $want), $name)
	  or diag(
		$node->safe_psql($db,
			"TABLE spool.workers; SELECT * FROM spool.attempts"));
	return;
}

my $processes =
  q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'spool %s'};

sub count_of
{
	my ($kind) = @_;
	return sprintf($processes, $kind);
}

# A queue whose jobs insert a row each.
sub make_queue
{
	my ($on, $db, $queue, $options) = @_;
	$on->safe_psql($db,
		"SELECT spool.create_queue('$queue'$options);"
		  . " SELECT spool.set_handler('$queue',"
		  . " 'INSERT INTO done VALUES ((\$1).queue, (\$1).stream, (\$1).seq)')"
	);
	return;
}

my $install = 'CREATE EXTENSION spool;'
  . ' CREATE TABLE done (queue text, stream text, seq bigint)';

# What a step took, and what the log said meanwhile.
sub timed
{
	my ($name, $step) = @_;
	my $offset = -s $node->logfile;
	my $start = time;
	$step->();
	my $took = time - $start;
	cmp_ok($took, '<', $prompt, "$name: prompt");
	unlike(
		slurp_file($node->logfile, $offset) =~
		  s/.*FATAL:  (terminating|the database system is) .*//gr,
		qr/ERROR|FATAL|WARNING|PANIC/,
		"$name: no complaint in the log");
	return;
}

# ---- found by themselves ----------------------------------------------------
sql('postgres', "CREATE DATABASE $_") foreach ('one', 'two', 'none');
foreach my $db ('one', 'two')
{
	sql($db, $install);
	make_queue($node, $db, 'q', ', workers => 1');
	sql($db, q{SELECT spool.enqueue('q', 'x')});
}
foreach my $db ('one', 'two')
{
	eventually($db, 'SELECT count(*) FROM done', '1', "$db: a job runs");
	eventually(
		$db,
		q{SELECT string_agg(state, ' ' ORDER BY state) FROM spool.workers},
		'idle manager',
		"$db: a manager and an idle worker");
}
is(sql('postgres', count_of('launcher')), '1', 'one launcher');
eventually('postgres', count_of('manager'),
	'2', 'no manager without the extension');
eventually(
	'one',
	q{SELECT count(*) FROM pg_locks l JOIN spool.workers w USING (pid)
	  WHERE l.locktype <> 'advisory'},
	'0', 'idle processes hold no locks');

# ---- options ----------------------------------------------------------------
sql('one', q{SELECT spool.alter_queue('q', workers => 0)});
sql('one', q{SELECT spool.enqueue('q', 'x', stream => s)
	FROM unnest('{a,b,c}'::text[]) s});
is(sql('one', 'SELECT count(*) FROM done'), '1', 'workers => 0: nothing runs');

my $holder = $node->background_psql('one');
$holder->query_safe('SELECT pg_advisory_lock(1)');
sql('one', q{SELECT spool.set_handler('q',
	'INSERT INTO done SELECT ($1).queue, ($1).stream, ($1).seq FROM pg_advisory_xact_lock_shared(1)')});
sql('one', q{SELECT spool.alter_queue('q', workers => 2, max_attempts => 1000)});
eventually('one',
	q{SELECT count(*) FROM spool.workers WHERE queue = 'q' AND seq = 1},
	'1', 'a worker runs what waited');
sql('one', q{SELECT spool.enqueue('q', 'x', stream => 'd')});
eventually('one',
	q{SELECT count(DISTINCT stream) FROM spool.workers WHERE queue = 'q' AND seq = 1},
	'2', 'workers => 2: another runs what comes');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
eventually('one', 'SELECT count(*) FROM done', '5', 'all run');
$holder->quit;

# ---- stop and start ---------------------------------------------------------
timed('stop', sub { sql('one', 'SELECT spool.stop()') });
eventually('one', 'SELECT count(*) FROM spool.workers', '0', 'stop: all end');
sql('one', q{SELECT spool.enqueue('q', 'x')});
sql('one', 'SELECT spool.start()');
eventually('one', 'SELECT count(*) FROM done', '6', 'start: jobs run again');
sql('one', 'SELECT spool.stop()');
sql('one', q{SELECT spool.enqueue('q', 'x')});
timed('restart', sub { $node->restart });
eventually('one', 'SELECT count(*) FROM done',
	'7', 'a stop ends with the server');

# ---- what other transactions leave ------------------------------------------
sql('one', q{BEGIN; SELECT spool.write('q', spool.make_packet(1), 'prepared'); PREPARE TRANSACTION 'p'});
is(sql('one', 'SELECT count(*) FROM done'), '7', 'prepared: nothing runs');
sql('one', q{COMMIT PREPARED 'p'});
eventually('one', 'SELECT count(*) FROM done', '8', 'COMMIT PREPARED: it runs');

# the worker meets a stream that a session holds, and is idle then
$holder = $node->background_psql('one');
my $taker = $node->background_psql('one');
sql('one', q{SELECT spool.alter_queue('q', workers => 1)});
$holder->query_safe('SELECT pg_advisory_lock(1)');
sql('one', q{SELECT spool.enqueue('q', 'x', stream => 'busy')});
eventually('one', q{SELECT stream FROM spool.workers WHERE state = 'running'},
	'busy', 'a worker is busy');
sql('one', q{SELECT spool.enqueue('q', 'x', stream => 'held')});
$taker->query_safe('BEGIN');
is($taker->query_safe(q{SELECT stream FROM spool.take('q', stream => 'held')}),
	'held', 'a session takes from another stream');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
eventually('one', q{SELECT count(*) FROM done WHERE stream = 'busy'},
	'1', 'the worker goes on');
eventually('one', q{SELECT DISTINCT state FROM spool.workers WHERE state <> 'manager'},
	'idle', '... and is idle');
$taker->query_safe('ROLLBACK');
eventually('one', q{SELECT count(*) FROM done WHERE stream = 'held'},
	'1', 'after the rollback it looks at that stream');
$taker->quit;
$holder->quit;

# ---- statements on databases ------------------------------------------------
timed('CREATE DATABASE TEMPLATE',
	sub { sql('postgres', 'CREATE DATABASE copy TEMPLATE one') });
eventually('copy', count_of('manager') . ' AND datname = current_database()',
	'1', 'a copy has its manager');
foreach my $db ('copy', 'one')
{
	sql($db, q{SELECT spool.enqueue('q', 'x', stream => 'copied')});
	eventually($db, q{SELECT count(*) FROM done WHERE stream = 'copied'},
		'1', "$db: jobs run after copying");
}
timed('ALTER DATABASE RENAME',
	sub { sql('postgres', 'ALTER DATABASE copy RENAME TO renamed') });
sql('renamed', q{SELECT spool.enqueue('q', 'x', stream => 'renamed')});
eventually('renamed', q{SELECT count(*) FROM done WHERE stream = 'renamed'},
	'1', 'jobs run after renaming');
timed('DROP DATABASE', sub { sql('postgres', 'DROP DATABASE renamed') });
sql('two', q{SELECT spool.set_handler('q', 'SELECT pg_sleep(1000)');
	SELECT spool.enqueue('q', 'x', stream => 'long')});
eventually('two', q{SELECT stream FROM spool.workers WHERE queue = 'q'},
	'long', 'a long job runs');
timed('DROP DATABASE FORCE',
	sub { sql('postgres', 'DROP DATABASE two WITH (FORCE)') });
eventually('postgres', count_of('manager'), '1', 'their managers are gone');
my ($rc, $out, $err) =
  $node->psql('one', 'SET ROLE pg_monitor; DROP DATABASE one');
isnt($rc, 0, 'who may not drop a database');
eventually('one', q{SELECT count(*) FROM spool.workers WHERE state = 'manager'},
	'1', '... does not disturb its manager');

# ---- the extension goes and comes -------------------------------------------
timed('DROP EXTENSION', sub { sql('one', 'DROP EXTENSION spool CASCADE') });
eventually('one', count_of('manager'), '0', 'the manager ends');
eventually('one', count_of('worker'), '0', 'workers end');
timed(
	'CREATE EXTENSION',
	sub {
		sql('one', 'DROP TABLE done;' . $install);
		make_queue($node, 'one', 'q', ', workers => 1');
		sql('one', q{SELECT spool.enqueue('q', 'x')});
		eventually('one', 'SELECT count(*) FROM done',
			'1', 'jobs run in the new extension');
	});
timed('ALTER EXTENSION',
	sub { $node->psql('one', q{ALTER EXTENSION spool UPDATE}) });

# ---- settings ---------------------------------------------------------------
($rc, $out, $err) =
  $node->psql('one', q{ALTER SYSTEM SET spool.databases = 'a b'});
like($err, qr/invalid value for parameter "spool.databases"/, 'a list of names');
$node->append_conf('postgresql.conf', "spool.databases = 'none, postgres'");
$node->reload;
eventually('one', count_of('manager'), '0', 'a database that is not named');
($rc, $out, $err) = $node->psql('one', 'SELECT spool.start()');
like($err, qr/database "one" is not among "spool.databases"/,
	'cannot be started');
$node->append_conf('postgresql.conf', "spool.databases = 'none, one'");
$node->reload;
eventually('one', count_of('manager'), '1', 'one that is');

# ---- roles ------------------------------------------------------------------
my $offset = -s $node->logfile;
sql('one', 'CREATE ROLE batch NOLOGIN; GRANT ALL ON done TO batch');
make_queue($node, 'one', 'b', q{, workers => 1, owner => 'batch'});
sql('one', q{SELECT spool.enqueue('b', 'x')});
if ($node->pg_version < 17)
{
	$node->wait_for_log(
		qr/WARNING:  jobs of queue "b" cannot run as role "batch"/, $offset);
	is(sql('one', q{SELECT count(*) FROM done WHERE queue = 'b'}),
		'0', 'a role that may not log in');
	sql('one', 'ALTER ROLE batch LOGIN');
}
eventually('one', q{SELECT count(*) FROM done WHERE queue = 'b'},
	'1', 'jobs run as the queue\'s owner');
eventually(
	'one',
	q{SELECT count(*) FROM pg_stat_activity
	  WHERE backend_type = 'spool worker' AND usename = 'batch'},
	'1', 'which is the session user');

$offset = -s $node->logfile;
sql('one', 'CREATE ROLE gone LOGIN');
make_queue($node, 'one', 'g', q{, workers => 1, owner => 'gone'});
sql('one', 'DROP ROLE gone');
sql('one', q{SELECT spool.alter_queue('q', timeout => '1 hour')});
$node->wait_for_log(
	qr/WARNING:  owner of queue "g" does not exist any more/, $offset);
pass('an owner that does not exist: a warning');
sql('one', q{SELECT spool.drop_queue('g', force => true)});

# ---- crash ------------------------------------------------------------------
my $pid = sql('one', q{SELECT pid FROM spool.workers WHERE state = 'manager'});
sql('one', "SELECT pg_terminate_backend($pid)");
eventually('one',
	"SELECT count(*) FROM spool.workers WHERE state = 'manager' AND pid <> $pid",
	'1', 'a manager that was terminated comes back');
$pid = sql('one', q{SELECT pid FROM spool.workers WHERE state = 'manager'});
sql('one', q{SELECT spool.enqueue('q', 'x', stream => 'crash')});
kill 'KILL', $pid;
$node->poll_query_until('one', 'SELECT 1', '1');
$node->poll_query_until('one',
	"SELECT count(*) FROM spool.workers WHERE state = 'manager' AND pid <> $pid",
	'1');
sql('one', q{SELECT spool.enqueue('q', 'x', stream => 'crash')});
eventually('one', q{SELECT count(*) FROM done WHERE stream = 'crash'},
	'2', 'after kill -9 of the manager workers are back');

# ---- standby ----------------------------------------------------------------
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('one', count_of('launcher')),
	'0', 'no launcher on a standby');
($rc, $out, $err) = $standby->psql('one', 'SELECT spool.start()');
like($err, qr/cannot start workers during recovery/, 'nor by start()');
timed('stop of the server', sub { $node->stop('fast') });
$standby->promote;
$standby->safe_psql('one', q{SELECT spool.enqueue('q', 'x', stream => 'new')});
ok( $standby->poll_query_until(
		'one', q{SELECT count(*) FROM done WHERE stream = 'new'}, '1'),
	'workers start at promotion');
$standby->stop('fast');

# ---- too few slots ----------------------------------------------------------
$node->append_conf('postgresql.conf',
	"max_worker_processes = 2\nspool.max_workers = 1");
$offset = -s $node->logfile;
$node->start;
$node->wait_for_log(
	qr/WARNING:  could not start the spool manager of database "one"\n.*\n.*HINT:  You might need to increase "max_worker_processes"/,
	$offset);
pass('too few processes for a manager: a warning and a hint');
$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$offset = -s $node->logfile;
$node->restart;
sql('one', q{SELECT spool.enqueue('q', 'x', stream => 'few')});
$node->wait_for_log(
	qr/WARNING:  too few background worker slots.*\n.*HINT:  You might need to increase "max_worker_processes"/,
	$offset);
pass('too few processes for a worker: a warning and a hint');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
$offset = -s $node->logfile;
sql('one', q{SELECT spool.enqueue('q', 'x', stream => 'few' || i),
	spool.enqueue('b', 'x', stream => 'few' || i) FROM generate_series(1, 50) i});
eventually('one', q{SELECT count(*) FROM done WHERE stream LIKE 'few_%'},
	'100', 'owners share one worker slot');
sql('one', q{SELECT spool.set_handler('q', 'SELECT pg_sleep(1000)');
	SELECT spool.enqueue('q', 'x', stream => 'long')});
eventually('one', q{SELECT stream FROM spool.workers WHERE queue = 'q'},
	'long', 'a long job occupies it');
sql('one', q{SELECT spool.enqueue('b', 'x')});
$node->wait_for_log(
	qr/WARNING:  too few worker slots.*\n.*HINT:  You might need to increase "spool.max_workers"/,
	$offset);
pass('too few workers: a warning and a hint');
timed_stop('a running job does not delay the stop');

sub timed_stop
{
	my ($name) = @_;
	my $start = time;
	$node->stop('fast');
	cmp_ok(time - $start, '<', $prompt, $name);
	return;
}

# ---- without preload --------------------------------------------------------
my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->append_conf('postgresql.conf', "spool.sweep_interval = '100ms'");
$plain->start;
$plain->safe_psql('postgres', $install);
make_queue($plain, 'postgres', 'q', ', workers => 1');
$plain->safe_psql('postgres', q{SELECT spool.enqueue('q', 'x')});
is($plain->safe_psql('postgres', 'SELECT count(*) FROM spool.workers'),
	'0', 'without preload nothing runs by itself');
$plain->safe_psql('postgres', 'SELECT spool.start()');
ok($plain->poll_query_until('postgres', 'SELECT count(*) FROM done', '1'),
	'but after start()');
$plain->safe_psql('postgres', q{SELECT spool.enqueue('q', 'x')});
ok($plain->poll_query_until('postgres', 'SELECT count(*) FROM done', '2'),
	'by polling');
$plain->safe_psql('postgres',
	q{SELECT spool.enqueue('q', 'x', 'due', run_at => clock_timestamp() + '1 s')});
ok( $plain->poll_query_until(
		'postgres', q{SELECT count(*) FROM done WHERE stream = 'due'}, '1'),
	'also what is scheduled');
is( $plain->safe_psql(
		'postgres',
		q{SELECT string_agg(state, ' ' ORDER BY state) FROM spool.workers}) =~
	  /^(idle|running) manager$|^manager running$/,
	1,
	'the view shows them');
($rc, $out, $err) = $plain->psql('postgres', 'SELECT spool.start()');
like($err, qr/NOTICE:  workers of this database are started already/,
	'a second start');
$plain->safe_psql('postgres', 'SELECT spool.stop()');
ok($plain->poll_query_until('postgres', sprintf($processes, 'worker'), '0'),
	'stop() ends workers');
ok($plain->poll_query_until('postgres', sprintf($processes, 'manager'), '0'),
	'and the manager');
$plain->safe_psql('postgres', q{SELECT spool.enqueue('q', 'x')});
$plain->safe_psql('postgres', 'SELECT spool.start()');
ok($plain->poll_query_until('postgres', 'SELECT count(*) FROM done', '4'),
	'start() again');
$plain->append_conf('postgresql.conf', 'max_worker_processes = 1');
$plain->restart;
($rc, $out, $err) = $plain->psql('postgres', 'SELECT spool.start()');
like($err, qr/could not start the spool manager of this database/,
	'too few processes for start()');
$plain->stop('fast');

done_testing();
