
# Among many idle streams, what has work is found without a look at all of
# them; the pages that are read tell.  And whatever brings back work to a stream
# that was known to be idle, or might seem so to one session only, is seen.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $streams = 20000;
my $few = 1000;					# pages

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'spool'
max_prepared_transactions = 10
restart_after_crash = on
CONF
$node->start;

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('postgres', $query);
}

# How many pages a query reads, after what comes before it in the session.
sub pages
{
	my ($query, $before) = @_;
	my $plan = $node->safe_psql('postgres',
		($before // '') . ";EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) $query");
	my ($hit) = $plan =~ /"Shared Hit Blocks": (\d+)/;
	my ($read) = $plan =~ /"Shared Read Blocks": (\d+)/;
	return $hit + $read;
}

# Take from a queue, in a session of its own: streams and numbers.
my $taken = "SELECT string_agg(stream || '/' || seq, ' ') FROM spool.take('q', 1000)";

sub take
{
	return sql($taken);
}

sub found
{
	my ($jobs, $what) = @_;
	is(take(), $jobs, $what);
	return;
}

# Nothing is there, and that is known: after one look at all if need be.
sub idle
{
	my ($what) = @_;
	found('', "$what: nothing is there");
	my $pages = pages("SELECT FROM spool.take('q')");
	cmp_ok($pages, '<', $few, "$what: nothing is known to be there");
	return;
}

sub enqueue
{
	my ($stream, $options) = @_;
	sql("SELECT spool.enqueue('q', 'x', '$stream'" . ($options // '') . ")");
	return;
}

# A session with an open transaction in which a query was executed.
sub open_transaction
{
	my ($query, $level) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('BEGIN ' . ($level // ''));
	my $result = $session->query_safe($query);
	return ($session, $result);
}

sub end_transaction
{
	my ($session, $how) = @_;
	$session->query_safe($how);
	$session->quit;
	return;
}

sub fill
{
	sql("SELECT count(spool.enqueue('q', 'x', n::text)) FROM generate_series(1, $streams) n");
	is(sql("SELECT count(*) FROM spool.take('q', $streams)"), $streams, 'all streams were emptied');
	return;
}

sql("CREATE EXTENSION spool; SELECT spool.create_queue('q', retention => '1 day', retry_delay => '3 s')");
fill();

# ---- pages ----
cmp_ok(pages("SELECT FROM spool.take('q')"), '>', $streams, 'a look at all reads pages of each stream');
idle('idle streams');
enqueue(17000);
cmp_ok(pages("SELECT FROM spool.take('q')"), '<', $few, 'a take of the only job reads few pages');
idle('after that');
enqueue(17000);
cmp_ok(pages("SELECT FROM spool.take('q', 10)", 'BEGIN'), '<', $few, 'so does one that asks for more');
found('17000/3', '... which was rolled back when its session ended');
enqueue(3);
cmp_ok(pages("SELECT spool.ack(claim_id) FROM spool.claim('q', 10)"), '<', $few, 'a claim reads few pages');
idle('after a claim');

# nobody else reads meanwhile
sql('SELECT spool.stop()');
my $before = sql("SELECT sum(idx_tup_read) FROM pg_stat_all_indexes WHERE schemaname = 'spool'");
sql("SELECT spool.set_handler('q', 'SELECT 1')");
enqueue(19000);
sql("CALL spool.process('q')");
sql("SELECT pg_stat_force_next_flush()");
$node->poll_query_until('postgres',
	"SELECT sum(idx_tup_read) > $before FROM pg_stat_all_indexes WHERE schemaname = 'spool'")
  or die 'no reads are counted';
cmp_ok(sql("SELECT sum(idx_tup_read) - $before FROM pg_stat_all_indexes WHERE schemaname = 'spool'"),
	'<', $few, 'process reads few rows');
sql('SELECT spool.start()');
idle('after process');

# ---- what is taken comes back ----
enqueue($_) foreach 5, 6;
sql("BEGIN; SELECT * FROM spool.take('q', 10); ROLLBACK");
found('5/2 6/2', 'a take is rolled back');
idle('after that');

enqueue(7);
sql("BEGIN; SAVEPOINT s; SELECT * FROM spool.take('q', 10); SELECT * FROM spool.take('q', 10); ROLLBACK TO s; SELECT * FROM spool.take('q', 0); COMMIT");
found('7/2', 'a take is rolled back to a savepoint');

enqueue(8);
my ($session, $jobs) = open_transaction("$taken; $taken");
like($jobs, qr/^8\/2/, 'a session takes the job, and sees the stream idle');
found('', 'it is locked for others');
found('', '... and stays so');
end_transaction($session, 'ROLLBACK');
found('8/2', 'it is free when that is rolled back');

enqueue(9);
sql("BEGIN; $taken; $taken; PREPARE TRANSACTION 'take'");
found('', 'a prepared transaction has it');
found('', '... and keeps it');
sql("ROLLBACK PREPARED 'take'");
found('9/2', 'it is free when that is rolled back');

enqueue(10);
is(sql("SELECT stream FROM spool.claim('q', 10, '300 ms')"), '10', 'a claim');
$node->poll_query_until('postgres', $taken, '10/2')
  or fail('the job of a claim comes back after its lease');
foreach my $end ('release(claim_id)', "nack(claim_id, packet_id, 'no', '0')")
{
	enqueue(11);
	my $claimed = sql("SELECT claim_id || ', ' || packet_id FROM spool.claim('q', 10)");
	found('', 'a claim has it');
	my ($claim_id, $packet_id) = split /, /, $claimed;
	sql("SELECT spool.release($claim_id)") if $end =~ /release/;
	sql("SELECT spool.nack($claim_id, $packet_id, 'no', '0')") if $end =~ /nack/;
	like(take(), qr(^11/\d$), "... until $end");
}
idle('after all that');

# ---- what comes is seen ----
($session) = open_transaction("SELECT spool.enqueue('q', 'x', '12')");
found('', 'a packet that is not committed');
end_transaction($session, 'COMMIT');
found('12/2', '... and now is');

sql("BEGIN; SELECT spool.write('q', spool.make_packet(1, 'x'), 'prepared'); PREPARE TRANSACTION 'write'");
idle('a prepared transaction');
sql("COMMIT PREPARED 'write'");
found('prepared/1', '... and now is committed');
idle('after that');

is(sql("BEGIN; SELECT spool.enqueue('q', 'x', '14'); $taken; ROLLBACK"), "2\n14/2",
	'a packet of the own transaction');
idle('a rolled back packet');
sql("BEGIN; SAVEPOINT s; SELECT spool.enqueue('q', 'x', '15'); ROLLBACK TO s; SELECT spool.enqueue('q', 'x', '15'); COMMIT");
like(take(), qr(^15/\d$), 'a packet after one that was rolled back');

($session) = open_transaction('SELECT 1', 'ISOLATION LEVEL REPEATABLE READ');
enqueue(16);
is($session->query_safe($taken), '16/2', 'REPEATABLE READ: a packet that came after the snapshot');
end_transaction($session, 'ROLLBACK');
found('16/2', '... comes back');
($session) = open_transaction('SELECT 1', 'ISOLATION LEVEL REPEATABLE READ');
enqueue(16);
found('16/3', 'it is taken meanwhile');
enqueue(16);
like($session->query("$taken;\n\\echo :SQLSTATE"), qr/40001/, 'REPEATABLE READ: a state that came after the snapshot');
$session->{stderr} = '';
end_transaction($session, 'ROLLBACK');
found('16/4', 'after that it is there');

sql("SELECT spool.enqueue('q', 'x', 'new')");
found('new/1', 'a new stream');
sql("BEGIN; SELECT spool.enqueue('q', 'x', n::text) FROM generate_series(100, 199) n; COMMIT");
is(sql("SELECT count(*) FROM spool.take('q', 1000)"), 100, 'more streams than a transaction tells');
idle('after that');
sql("SELECT spool.enqueue('q', 'x', '$_')") foreach 1000 .. 1299;
is(sql("SELECT count(*) FROM spool.take('q', 1000)"), 300, 'more streams than are remembered');
my $tries = 0;
while (pages("SELECT FROM spool.take('q')") > $few && $tries < 1000)
{
	$tries++;					# each takes a while
}
idle('after a time, again');

# ---- what waited goes on ----
sql("SELECT spool.pause_queue('q', '20')");
enqueue(20);
found('', 'a paused stream') foreach 1 .. 3;
sql("SELECT spool.resume_queue('q', '20')");
found('20/2', '... goes on');
sql("SELECT spool.pause_queue('q')");
enqueue(21);
found('', 'a paused queue') foreach 1 .. 2;
sql("SELECT spool.resume_queue('q')");
found('21/2', '... goes on');

sub write_packet
{
	my ($stream, $seq) = @_;
	sql("SELECT spool.write('q', spool.make_packet($seq, 'x'), '$stream')");
	return;
}

write_packet('gap', 2);
found('', 'a gap') foreach 1 .. 3;
write_packet('gap', 1);
found('gap/1 gap/2', '... is filled');
write_packet('gap', 4);
found('', 'a gap');
sql("SELECT spool.skip_gap('q', 'gap')");
found('gap/4', '... is skipped');
write_packet('gap', 6);
found('', 'a gap');
sql("SELECT spool.alter_queue('q', gap_timeout => '300 ms')");
$node->poll_query_until('postgres', $taken, 'gap/6')
  or fail('a gap is passed over after its time');
sql("SELECT spool.alter_queue('q', gap_timeout => '0')");
write_packet('gap', 8);
sql("BEGIN; SELECT spool.discard('q', spool.packet_id('q', 8, 'gap')); $taken; $taken; ROLLBACK");
found('', 'a gap, its packet discarded but not for long');
sql("SELECT spool.skip_gap('q', 'gap')");
found('gap/8', '... is skipped');

sql("SELECT spool.set_handler('q', 'SELECT 1/0')");
enqueue(22);
$node->psql('postgres', "CALL spool.process('q')");
is(sql("SELECT count(*) FROM spool.claim('q', 10)"), 0, 'a job that waits for its retry');
$node->poll_query_until('postgres', "SELECT stream FROM spool.claim('q', 10, '1 ms')", '22')
  or fail('it is tried again');
$node->poll_query_until('postgres', $taken, '22/2')
  or fail('it is taken');

my $shift = sql("SELECT spool.next_seq('q', '23')") - 1;
idle('before a replay');
sql("SELECT spool.set_next_seq('q', $shift, '23')");
found("23/$shift", 'a replay');
sql("SELECT spool.alter_queue('q', on_error => 'dead', max_attempts => 1)");
enqueue(24);
sql("CALL spool.process('q')");
idle('a dead letter');
sql("SELECT spool.redrive('q')");
found('24/2', '... is redriven');
idle('before a scheduled packet');
enqueue(25, ", run_at => now() + interval '3 s'");
found('', 'a scheduled packet');
$node->poll_query_until('postgres', $taken, '25/2')
  or fail('it is due');
idle('after that');

# ---- what is known is of this queue, of this server ----
enqueue(26);
$node->restart;
found('26/2', 'after a restart');
idle('after a restart');
enqueue(27);
$node->stop('immediate');
$node->start;
found('27/2', 'after a crash');
idle('after a crash');
enqueue(28);
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-f', $node->basedir . '/dump', 'postgres' ], 'a dump with a job');
found('28/2', 'it is taken');
idle('before the dump is restored');
sql('DROP EXTENSION spool CASCADE; DROP SCHEMA spool');
$node->command_ok([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-v', 'ON_ERROR_STOP=1', '-f', $node->basedir . '/dump', 'postgres' ], 'it is restored');
found('28/2', 'it is taken once more');
idle('after that');
sql("SELECT spool.drop_queue('q', force => true), spool.create_queue('q')");
enqueue(1);
found('1/1', 'a new queue of the same name');

# ---- everything at once ----
fill();
idle('before the load');
sql('CREATE TABLE sent (stream text, seq int8); CREATE TABLE done (stream text, seq int8, id int8 GENERATED ALWAYS AS IDENTITY)');
my %scripts = (
	enqueue => "\\set s random(1, $streams)\nINSERT INTO sent SELECT :s::text, spool.enqueue('q', 'x', :s::text);",
	roll_back => "\\set s random(1, $streams)\nBEGIN;SELECT spool.enqueue('q', 'x', :s::text);ROLLBACK;",
	savepoint => "\\set s random(1, $streams)\nBEGIN;SAVEPOINT s;SELECT spool.enqueue('q', 'x', :s::text);ROLLBACK TO s;INSERT INTO sent SELECT :s::text, spool.enqueue('q', 'x', :s::text);COMMIT;",
	prepare => "BEGIN;INSERT INTO sent SELECT concat('sent ', :client_id), count(*) + 1 FROM sent WHERE stream = concat('sent ', :client_id);"
	  . "SELECT spool.write('q', spool.make_packet(max(seq), 'x'), stream) FROM sent WHERE stream = concat('sent ', :client_id) GROUP BY stream;"
	  . "PREPARE TRANSACTION 'p:client_id';SELECT 1;COMMIT PREPARED 'p:client_id';",
	take => "INSERT INTO done (stream, seq) SELECT stream, seq FROM spool.take('q', 3);",
	take_back => "BEGIN;SELECT * FROM spool.take('q', 2);SELECT * FROM spool.take('q', 2);ROLLBACK;",
	claim => "BEGIN;CREATE TEMP TABLE c ON COMMIT DROP AS SELECT * FROM spool.claim('q', 3);INSERT INTO done (stream, seq) SELECT stream, seq FROM c;SELECT spool.ack(array_agg(DISTINCT claim_id)) FROM c HAVING count(*) > 0;COMMIT;",
);
my @load = ([ 3, [qw(enqueue enqueue roll_back savepoint prepare)] ], [ 3, [qw(take take take_back claim)] ]);
my @running;
foreach my $load (@load)
{
	my ($clients, $names) = @$load;
	my @files;
	foreach my $name (@$names)
	{
		my $file = $node->basedir . "/$name.sql";
		unlink $file;
		(my $script = $scripts{$name}) =~ s/;(?=.)/;\n/g;
		append_to_file($file, "$script\n");
		push @files, '-f', $file;
	}
	push @running, IPC::Run::start(
		[ 'pgbench', '-n', '-c', $clients, '-T', 8, '-h', $node->host, '-p', $node->port, @files, 'postgres' ],
		'>', \my $stdout, '2>', \my $stderr);
}
foreach my $run (@running)
{
	ok($run->finish, 'the load went well');
}
cmp_ok(sql('SELECT count(*) FROM done'), '>', 100, 'jobs were done meanwhile');
while (sql("WITH t AS (INSERT INTO done (stream, seq) SELECT stream, seq FROM spool.take('q', 100) RETURNING 1) SELECT count(*) FROM t") > 0)
{
}
is(sql("SELECT count(*) FROM spool.peek('q', 10)"), 0, 'a look at all finds nothing that a take left');
is(sql('SELECT count(*) FROM (TABLE sent EXCEPT ALL SELECT stream, seq FROM done) lost'), 0, 'nothing is lost');
is(sql('SELECT count(*) FROM (SELECT stream, seq FROM done EXCEPT ALL TABLE sent) more'), 0, 'nothing was handed out twice');

# A session that has not looked yet begins where others ended.
sql("SELECT spool.create_queue('round'); SELECT count(spool.enqueue('round', 'x', n::text)) FROM generate_series(1, $streams) n");
sql("DO \$\$ BEGIN FOR i IN 1 .. $streams / 2 LOOP PERFORM FROM spool.take('round'); COMMIT; END LOOP; END \$\$");
cmp_ok(pages("SELECT FROM spool.take('round')"), '<', $few, 'many streams are emptied: a new session does not look at them');
is(sql("SELECT count(*) FROM spool.take('round', $streams)"), $streams / 2 - 1, 'it finds all the others');

$node->stop;
done_testing();
