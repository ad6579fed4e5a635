
# What disturbs workers: settings, rights that are taken away, errors that are
# no job's, processes that are told to end, transactions that give work back.
# None of it makes a process busy, and none keeps work from being found.  The
# sweep is an hour away, so that all that runs was told by a hint.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'spool'
max_worker_processes = 16
autovacuum = off
spool.sweep_interval = '1h'
spool.programs = on
});
$node->start;

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

# Poll for a result, with the bound of poll_query_until.
sub eventually
{
	my ($query, $want, $name) = @_;
	ok($node->poll_query_until('postgres', $query, $want), $name)
	  or diag(sql('TABLE spool.workers; SELECT * FROM spool.stat_streams'));
	return;
}

sub pid_of
{
	my ($kind) = @_;
	return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'spool $kind'"
	);
}

# How often a text is in the log since an offset.
sub times_in_log
{
	my ($text, $offset) = @_;
	return scalar(() = slurp_file($node->logfile, $offset) =~ /$text/g);
}

# A queue whose jobs insert a row each, after what is given.
sub make_queue
{
	my ($queue, $options, $before) = @_;
	$before ||= 'SELECT 1';
	sql("SELECT spool.create_queue('$queue', workers => 1 $options)");
	sql("SELECT spool.set_handler('$queue', \$\$ WITH before AS MATERIALIZED ($before)"
		  . ' INSERT INTO done SELECT ($1).queue, ($1).stream, ($1).seq FROM before $$)'
	);
	return;
}

sub done
{
	my ($queue, $want, $name) = @_;
	eventually("SELECT count(*) FROM done WHERE queue = '$queue'",
		$want, $name);
	return;
}

# What was timed for two seconds from now has happened.
sub two_seconds
{
	sql(q{DELETE FROM done WHERE queue = 'clock';
		SELECT spool.enqueue('clock', run_at => now() + '2 s')});
	$node->poll_query_until('postgres',
		q{SELECT count(*) FROM done WHERE queue = 'clock'}, '1');
	return;
}

sql(q{CREATE EXTENSION spool;
	CREATE TABLE done (queue text, stream text, seq bigint);
	CREATE ROLE clerk LOGIN; GRANT ALL ON done TO clerk});
make_queue('clock', '');

# ---- a command that may not run ---------------------------------------------
sql(q{GRANT pg_execute_server_program TO clerk;
	SELECT spool.create_queue('program', workers => 1, owner => 'clerk');
	SELECT spool.set_program('program', '/bin/true')});
sub program_runs
{
	my ($problem, $take, $give) = @_;

	# one that is being started may miss the change of a setting
	eventually(
		q{SELECT count(*) FROM pg_stat_activity
		  WHERE backend_type = 'spool worker' AND usename = 'clerk' AND state = 'idle'},
		'1', "$problem: a worker is there");
	my $offset = -s $node->logfile;
	$take->();
	sql(q{SELECT spool.enqueue('program', 'x')});
	$node->wait_for_log(
		qr/WARNING:  jobs of queue "program" cannot run: $problem/, $offset);
	eventually(q{SELECT count(*) FROM spool.workers WHERE queue = 'program'},
		'0', "$problem: the worker leaves the queue");
	two_seconds();
	is(times_in_log('WARNING:  jobs of queue', $offset),
		1, '... and tells that once');
	my $start = time;
	$give->();
	eventually(
		q{SELECT waiting FROM spool.stat_queues WHERE queue = 'program'},
		'0', '... until it may');
	cmp_ok(time - $start, '<', 30, '... which it learns');
	return;
}
sub set_programs
{
	my ($value) = @_;
	$node->append_conf('postgresql.conf', "spool.programs = $value");
	$node->reload;
	$node->poll_query_until('postgres', 'SHOW spool.programs', $value);
	return;
}
program_runs('programs may not be run',
	sub { set_programs('off') }, sub { set_programs('on') });
program_runs(
	'the owner of the queue may not run programs',
	sub { sql('REVOKE pg_execute_server_program FROM clerk') },
	sub { sql('GRANT pg_execute_server_program TO clerk') });

# ---- an owner that is dropped -----------------------------------------------
sql('CREATE ROLE leaver LOGIN; GRANT ALL ON done TO leaver');
make_queue('left', q{, owner => 'leaver'});
sql(q{SELECT spool.enqueue('left', 'x')});
done('left', '1', 'a job of a role');
my $offset = -s $node->logfile;
sql('DROP OWNED BY leaver; DROP ROLE leaver');
$node->wait_for_log(
	qr/WARNING:  owner of queue "left" does not exist any more/, $offset);
pass('DROP ROLE: a warning');
sql(q{SELECT spool.enqueue('left', 'x')});
two_seconds();
is(sql(q{SELECT count(*) FROM spool.workers WHERE queue = 'left'}),
	'0', '... and nobody tries its queue');
sql(q{SELECT spool.alter_queue('left', owner => 'clerk')});
done('left', '2', '... until it has another owner');

# ---- settings ---------------------------------------------------------------
# a worker that comes while the handler is set may wait for a lock
make_queue('settings', q{, owner => 'clerk'}, q{SELECT 1 WHERE
	current_setting('transaction_read_only') = 'off'});
sql(q{ALTER ROLE clerk SET default_transaction_read_only = on;
	ALTER ROLE clerk SET default_transaction_isolation = 'serializable';
	ALTER DATABASE postgres SET default_transaction_deferrable = on;
	ALTER DATABASE postgres SET lock_timeout = '1ms'});
sql('SELECT spool.stop()');
sql('SELECT spool.start()');
$offset = -s $node->logfile;
sql(q{SELECT spool.enqueue('settings', 'x');
	SELECT spool.enqueue('settings', 'x', run_at => now() + '1 s')});
done('settings', '2', 'settings of role and database');
is(times_in_log('ERROR', $offset), 0, '... raise no error');
sql(q{ALTER ROLE clerk RESET ALL; ALTER DATABASE postgres RESET ALL});
sql('SELECT spool.stop()');
sql('SELECT spool.start()');

# ---- an error that is no job's ----------------------------------------------
make_queue('error', '');
$offset = -s $node->logfile;
sql(q{ALTER SEQUENCE spool.runner_id_seq RENAME TO other;
	SELECT spool.enqueue('error', 'x')});
my $start = time;
$node->wait_for_log(qr/(ERROR:  relation "spool.runner_id_seq" does not exist.*){3}/s,
	$offset);
sql(q{ALTER SEQUENCE spool.other RENAME TO runner_id_seq});
cmp_ok(times_in_log('ERROR:  relation', $offset),
	'<=', time - $start + 2, 'an error comes at most once a second');
done('error', '1', '... and when it is over the job runs');

# ---- a job's error that looks like a cancel ---------------------------------
sql(q{CREATE FUNCTION poison(stream text) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		IF stream = 'a' THEN
			RAISE 'remote' USING ERRCODE = 'query_canceled';
		END IF;
		RETURN 1;
	END $$});
make_queue('poison', '', 'SELECT poison(($1).stream)');
sql(q{BEGIN; SELECT spool.enqueue('poison', 'x', stream => s)
	FROM unnest('{a,b,c}'::text[]) s; COMMIT});
done('poison', '2', 'a handler raises 57014: other streams go on');
eventually(
	q{SELECT DISTINCT outcome || ' ' || sqlstate || ' ' || stream
	  FROM spool.attempts WHERE queue = 'poison'},
	'error 57014 a', '... and it is a failed attempt');
sql(q{SELECT spool.drop_queue('poison', force => true)});

# ---- a cancel ---------------------------------------------------------------
make_queue('cancel', '', 'SELECT pg_advisory_xact_lock(1)');
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(1)');
sql(q{SELECT spool.enqueue('cancel', 'x')});
eventually(
	q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 1},
	'1', 'a job waits');
sql(q{SELECT pg_cancel_backend(pid) FROM pg_locks
	WHERE locktype = 'advisory' AND NOT granted AND objid = 1});
$holder->query_safe('SELECT pg_advisory_unlock(1)');
done('cancel', '1', 'a worker that was cancelled runs the job again');
is(sql(q{SELECT count(*) FROM spool.attempts WHERE queue = 'cancel'}),
	'0', '... and counts no attempt');
$holder->quit;

# ---- the launcher is terminated ---------------------------------------------
my ($launcher, $manager) = (pid_of('launcher'), pid_of('manager'));
sql("SELECT pg_terminate_backend($launcher)");
eventually(
	"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'spool launcher' AND pid <> $launcher",
	'1', 'the launcher comes back');
sql('CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION spool');
eventually(
	q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'spool manager' AND datname = 'other'},
	'1', '... and starts managers');
is( sql(q{SELECT string_agg(pid::text, ' ') FROM pg_stat_activity
	  WHERE backend_type = 'spool manager' AND datname = 'postgres'}),
	$manager,
	'... but no second one');
sql("SELECT pg_terminate_backend($manager)");
eventually(
	"SELECT count(*) FROM spool.workers WHERE state = 'manager' AND pid <> $manager",
	'1', '... and sees those end that it found');

# ---- the manager waits for a lock when it is told ---------------------------
# it has no workers, whose end would wake it
$holder = $node->background_psql('other');
$holder->query_safe('BEGIN; LOCK TABLE spool.queue IN ACCESS EXCLUSIVE MODE');
sql('ALTER ROLE clerk NOINHERIT');
eventually(
	q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'spool manager'
	  AND datname = 'other' AND wait_event_type = 'Lock'},
	'1', 'the manager waits for a lock');
my $stopper = $node->background_psql('other');
$start = time;
$stopper->query_until(qr/called/, "\\echo called\nSELECT spool.stop();\n");
eventually(
	q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%spool.stop%'
	  AND datname = 'other' AND state = 'active' AND wait_event_type = 'Extension'},
	'1', 'it is told to stop');
$holder->query_safe('ROLLBACK');
$stopper->quit;
cmp_ok(time - $start, '<', 8, '... which it does when it has the lock');
eventually(
	q{SELECT count(*) FROM pg_stat_activity
	  WHERE backend_type = 'spool manager' AND datname = 'other'},
	'0', '... for it is gone');
$holder->quit;

# ---- work that comes back ---------------------------------------------------
$holder = $node->background_psql('postgres');
my $taker = $node->background_psql('postgres');
make_queue('none', q{, order_by => 'none'}, 'SELECT pg_advisory_xact_lock_shared(1)');
$holder->query_safe('SELECT pg_advisory_lock(1)');
sql(q{SELECT spool.enqueue('none', 'x')});
eventually(q{SELECT count(*) FROM spool.workers WHERE queue = 'none'},
	'1', 'no order: a worker is busy');
sql(q{SELECT spool.enqueue('none', 'x')});
is($taker->query_safe(q{BEGIN; SELECT count(*) FROM spool.take('none')}),
	'1', '... and a session takes the next packet');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
done('none', '1', '... the worker goes on');
eventually(q{SELECT count(*) FROM spool.workers WHERE queue = 'none'},
	'0', '... and leaves');
$taker->query_safe('ROLLBACK');
done('none', '2', '... until the packet comes back');

# a packet that was tried before, and is taken
make_queue('again', q{, order_by => 'none', max_attempts => 9, retry_delay => '2 s'},
	q{SELECT 1 / (SELECT count(*) FROM done WHERE queue = 'may')});
sql(q{SELECT spool.enqueue('again', 'x')});
eventually(q{SELECT count(*) > 0 FROM spool.attempts WHERE queue = 'again'},
	't', 'no order: a job failed');
is($taker->query_safe(q{BEGIN; SELECT count(*) FROM spool.take('again')}),
	'1', '... and a session takes its packet');
two_seconds();
my $commits = q{SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'};
my $before = sql($commits);
two_seconds();
cmp_ok(sql($commits) - $before, '<', 300, '... which makes nobody busy');
sql(q{INSERT INTO done VALUES ('may')});
$taker->query_safe('ROLLBACK');
done('again', '1', '... it comes back');
$taker->quit;

# a call that dies; a worker saw its stream
make_queue('call', '', q{SELECT CASE WHEN current_setting('application_name') = 'caller'
	THEN pg_advisory_xact_lock(2) ELSE pg_advisory_xact_lock_shared(1) END});
$holder->query_safe('SELECT pg_advisory_lock(1), pg_advisory_lock(2)');
sql(q{SELECT spool.enqueue('call', 'x', stream => 'worker')});
eventually(q{SELECT count(*) FROM spool.workers WHERE queue = 'call'},
	'1', 'a worker is busy');
sql(q{SELECT spool.enqueue('call', 'x', stream => 'caller')});
my $caller = $node->background_psql('postgres', on_error_stop => 0);
$caller->query_safe(q{SET application_name = 'caller'});
$caller->query_until(qr/called/, "\\echo called\nCALL spool.process('call');\n");
eventually(
	q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'caller'
	  AND wait_event_type = 'Lock'},
	'1', '... and a call, too');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
eventually(q{SELECT count(*) FROM spool.workers WHERE queue = 'call'},
	'0', '... the worker leaves');
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE application_name = 'caller'});
done('call', '2', 'what a call ran that died is taken over');
$holder->quit;

# ---- idle streams cost nothing ----------------------------------------------
sql(q{SELECT spool.create_queue('wide', workers => 1);
	SELECT spool.set_program('wide', '/bin/true')});
sql(q{DO $$ BEGIN
	PERFORM spool.enqueue('wide', 'x', kind => 'nop', stream => i::text)
	  FROM generate_series(1, 500) i;
	END $$});
eventually(q{SELECT waiting FROM spool.stat_queues WHERE queue = 'wide'},
	'0', 'a queue of many streams');
my $looks = q{SELECT sum(idx_tup_fetch) FROM pg_stat_user_tables
	WHERE schemaname = 'spool' AND relname = 'stream'};
two_seconds();
$before = sql($looks);
sql(q{SELECT spool.alter_queue('wide', workers => 0)});
sql(q{SELECT spool.enqueue_many('wide', array_fill('x'::text, '{25}'), stream => s)
	FROM unnest('{77,300}'::text[]) s});
sql(q{SELECT spool.alter_queue('wide', workers => 1)});
eventually(q{SELECT waiting FROM spool.stat_queues WHERE queue = 'wide'},
	'0', '... two of which have jobs');
two_seconds();
cmp_ok(sql($looks) - $before, '<', 5000, '... the others are not looked at for each');

$node->stop('fast');
done_testing();
