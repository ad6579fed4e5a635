
# Numbers in shared memory when the server crashes, on a standby and its
# promotion, beside a transaction that was prepared when the library was not
# preloaded; and many producers that commit, roll back and take their time.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf(
	'postgresql.conf', q{
max_worker_processes = 16
max_prepared_transactions = 4
restart_after_crash = on
});
$node->start;

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

my $rows = "coalesce(string_agg(seq::text, ' ' ORDER BY seq), 'none')";

sub taken
{
	my ($queue, $stream) = @_;
	$stream = '' if !defined $stream;
	return sql("SELECT $rows FROM spool.take('$queue', 100, stream => '$stream')");
}

sub producer
{
	my ($enqueued) = @_;
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN');
	$session->query_safe("SELECT spool.enqueue($enqueued)");
	return $session;
}

sub end
{
	my ($session, $statement) = @_;
	$session->query_safe($statement);
	$session->quit;
	return;
}

# ---- prepared without preload -----------------------------------------------
sql("CREATE EXTENSION spool; SELECT spool.create_queue('p'); SELECT spool.enqueue('p', 'x', s) FROM unnest('{a,b}'::text[]) s");
sql("BEGIN; SELECT spool.enqueue('p', 'prepared', 'a'); SAVEPOINT s; SELECT spool.enqueue('p', 'prepared', 'a'); PREPARE TRANSACTION 'a'");
sql("BEGIN; SELECT spool.enqueue('p', 'prepared', 'b'); PREPARE TRANSACTION 'b'");
sql("SELECT spool.enqueue('p', 'later', 'a', run_at => clock_timestamp() + '200 ms')");
# without a manager, who would move what is due between two statements
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'spool'\nspool.databases = ''");
$node->restart;
is(taken('p', 'a'), '1', 'prepared: what is before it is handed out');
my ($status, $stdout, $stderr) = $node->psql('postgres',
	"SET lock_timeout = '100ms'; SELECT spool.enqueue('p', 'x', 'a')");
like($stderr, qr/lock timeout/, 'prepared: producers wait for it');
ok( $node->poll_query_until('postgres',
		"SELECT ctime < clock_timestamp() FROM spool.ls('p', 'a', 'scheduled')"),
	'prepared: a job is due');
sql('CALL spool.maintain()');
is(sql("SELECT state FROM spool.ls('p', 'a')"), 'scheduled',
	'prepared: who moves what is due does not');
sql("COMMIT PREPARED 'a'; ROLLBACK PREPARED 'b'");
is(sql("SELECT spool.enqueue('p', 'x', 'a'), spool.enqueue('p', 'x', 'b')"),
	'4|2', 'prepared: numbers go on after its end');
sql('CALL spool.maintain()');
is(taken('p', 'a'), '2 3 4 5', 'prepared: all is handed out');
is(taken('p', 'b'), '1 2', 'prepared: and what follows a rollback');
sql("SET lock_timeout = '1s'; SELECT spool.enqueue('p', 'x', 'a')");

# ---- a crash ----------------------------------------------------------------
sql("SELECT spool.create_queue('c'); SELECT spool.enqueue('c', 'x')");
my $open = producer("'c', 'open'");
sql("SELECT spool.enqueue('c', 'behind')");
is(taken('c'), '1', 'crash: one is open');
my $backend = $open->query_safe('SELECT pg_backend_pid()');
kill 'KILL', $backend;
ok($node->poll_query_until('postgres', 'SELECT 1', '1'), 'crash: a session is killed');
ok( $node->poll_query_until('postgres', "SELECT $rows FROM spool.peek('c')", '3'),
	'crash: its number is passed over');
$open->{run}->kill_kill;
$open = producer("'c', 'open'");
$node->kill9;
$open->{run}->kill_kill;
my $tries = 10 * $PostgreSQL::Test::Utils::timeout_default;

# its children must have noticed
while (!$node->start(fail_ok => 1) && $tries-- > 0)
{
	select(undef, undef, undef, 0.1);
	$node->stop('fast', fail_ok => 1);
}
is(sql("SELECT spool.enqueue('c', 'x')"), '4', 'crash: the server is killed, numbers go on');
is(taken('c'), '3 4', 'crash: nobody waits for those that were open');

# ---- a standby --------------------------------------------------------------
sql("SELECT spool.create_queue('s'); SELECT spool.enqueue('s', 'x', s) FROM unnest('{open,hole}'::text[]) s");
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;

sub peeked
{
	my ($stream) = @_;
	$node->wait_for_catchup($standby);
	return $standby->safe_psql('postgres', "SELECT $rows FROM spool.peek('s', 10, stream => '$stream')");
}

$open = producer("'s', 'open', 'open'");
my $rolled = producer("'s', 'rolled back', 'hole'");
sql("SELECT spool.enqueue('s', 'behind', s) FROM unnest('{open,hole}'::text[]) s");
is(peeked('open'), '1', 'standby: nothing behind an open number');
is( $standby->safe_psql('postgres', "SELECT seq, state FROM spool.ls('s', 'open')"),
	"1|ready\n3|waiting", 'standby: it is shown as waiting');
end($open, 'COMMIT');
is(peeked('open'), '1 2 3', 'standby: when it is committed');
end($rolled, 'ROLLBACK');
is(peeked('hole'), '1', 'standby: nor behind one that was rolled back');
is(taken('s', 'hole'), '1 3', 'standby: the primary passes it over');
is(peeked('hole'), 'none', 'standby: and then the standby');
$rolled = producer("'s', 'rolled back', 'hole'");
$open = producer("'s', 'open', 'hole'");
sql("SELECT spool.enqueue('s', 'behind', 'hole')");
end($rolled, 'ROLLBACK');
is(peeked('hole'), 'none', 'standby: two numbers are missing');
is( $standby->safe_psql('postgres', "SELECT state, reason, pid FROM spool.stat_streams WHERE queue = 's' AND stream = 'hole'"),
	'waiting|numbers 4 to 5 are missing|', 'standby: which is told');
$open->query_safe('SELECT pg_current_wal_lsn()');
$node->wait_for_catchup($standby);
$node->stop('immediate');
$open->{run}->kill_kill;
$standby->promote;
$node = $standby;
ok($node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'promotion: it is a primary');
is(sql("SELECT spool.enqueue('s', 'x', 'hole'), spool.enqueue('s', 'x', 'open')"),
	'7|4', 'promotion: numbers go on');
is(taken('s', 'hole'), '6 7', 'promotion: those that were open never come');
is(taken('s', 'open'), '1 2 3 4', 'promotion: and nothing is lost');

# ---- many producers ---------------------------------------------------------
# Eight producers, of two streams in any order, who wait between enqueue and
# commit, roll back, and roll back to savepoints; two consumers take meanwhile.
sql(q{
	SELECT spool.create_queue('many');
	SELECT spool.enqueue('many', 'x', s) FROM unnest('{a,b}'::text[]) s;
	SELECT count(*) FROM spool.take('many', 2);
	CREATE TABLE made (stream text, seq bigint);
	CREATE TABLE taken (n bigserial, stream text, seq bigint);
	CREATE TABLE ended ();
	CREATE PROCEDURE consume(wanted text) LANGUAGE plpgsql AS $$
	DECLARE
		last boolean := false;
		found_any boolean;
	BEGIN
		LOOP
			last := EXISTS (SELECT FROM ended);
			COMMIT;
			WITH t AS (INSERT INTO taken (stream, seq)
				SELECT stream, seq FROM spool.take('many', 7, stream => wanted) RETURNING 1)
			SELECT count(*) > 0 INTO found_any FROM t;
			COMMIT;
			EXIT WHEN last AND NOT found_any;
		END LOOP;
	END $$;
});
my @consumers = map {
	my $out = '';
	IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "CALL consume('$_')" ],
		'<', \undef, '>&', \$out);
} 'a', 'b';
$node->pgbench(
	'-n -c 8 -j 2 -t 400', 0, [qr{processed: 3200/3200}], [], 'many: nobody fails',
	{
		'065_producer' => q{
\set delay random(0, 4000)
\set end random(1, 10)
\set swap random(0, 1)
BEGIN;
SELECT spool.enqueue('many', 'x', chr(97 + :swap)) AS first \gset
\sleep :delay us
SAVEPOINT s;
SELECT spool.enqueue('many', 'x', chr(98 - :swap)) AS second \gset
\if :end <= 2
ROLLBACK TO s;
\else
INSERT INTO made VALUES (chr(98 - :swap), :second);
\endif
INSERT INTO made VALUES (chr(97 + :swap), :first);
\if :end = 1 or :end = 10
ROLLBACK;
\else
COMMIT;
\endif
} });
sql('INSERT INTO ended DEFAULT VALUES');
ok($_->finish, 'many: a consumer comes to the end') foreach @consumers;
is( sql('SELECT count(*) FROM (SELECT seq, lag(seq) OVER (PARTITION BY stream ORDER BY n) AS before FROM taken) t WHERE seq <= before'),
	'0', 'many: nothing overtakes');
is( sql('SELECT count(*) FROM ((SELECT stream, seq FROM made EXCEPT ALL SELECT stream, seq FROM taken) UNION ALL (SELECT stream, seq FROM taken EXCEPT ALL SELECT stream, seq FROM made)) d'),
	'0', 'many: nothing is lost, nothing is there twice');
cmp_ok(sql('SELECT count(*) FROM taken'), '>', 3000, 'many: that were many');

$node->stop;
done_testing();
