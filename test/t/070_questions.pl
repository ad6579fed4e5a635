
# The ten questions of a DBA: the statements of that chapter of doc/spool.md are
# run one by one in a database where things are stuck, and answer.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION spool; CREATE ROLE clerk');

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

# The statements of each question, in order of the chapter.
sub read_questions
{
	my $text = slurp_file('doc/spool.md');
	my ($chapter) = $text =~ /^## \d+\. Ten questions of a DBA\n(.*?)(?=^## |\z)/ms
	  or die 'the chapter is not there';
	my @questions;
	foreach my $part (split /^(?=### )/m, $chapter)
	{
		my ($name) = $part =~ /^### \S+ (.*\?)\n/ or next;
		my ($block) = $part =~ /^```sql\n(.*?)^```/ms or die "no statement: $name";
		push @questions, [ $name, grep { /\S/ } split /(?<=;)\n/, $block ];
	}
	return @questions;
}

# Its jobs fail if they are "bad" and last while the lock is held if "slow".
sql(q{CREATE FUNCTION work(job spool.job) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF job.payload = 'bad' THEN
		RAISE EXCEPTION 'an address is missing';
	ELSIF job.payload = 'slow' THEN
		PERFORM pg_advisory_xact_lock(7);
	END IF;
END $$});
sql("SELECT spool.create_queue('$_'), spool.set_handler('$_', 'SELECT work(\$1)')")
  foreach qw(orders mail slow taken busy claimed);
sql(q{SELECT spool.alter_queue('orders', retention => '1 day', retry_delay => '0');
SELECT spool.alter_queue('mail', on_error => 'dead');
SELECT spool.enqueue_many('orders', '{a,bad,c}'::text[], 'paris');
SELECT spool.enqueue_many('orders', '{a,b,c,d}'::text[], 'rome');
SELECT spool.write('orders', spool.make_packet(3), 'oslo');
SELECT spool.enqueue('mail', 'bad');
SELECT spool.enqueue('slow', 'slow'), spool.enqueue('taken', 'a'), spool.enqueue('busy', 'a'), spool.enqueue('claimed', 'a')});
$node->psql('postgres', "CALL spool.process('orders')");
sql("CALL spool.process('mail')");
my $claim = sql("SET application_name = 'shop'; SELECT claim_id FROM spool.claim('claimed')");

# Sessions that hold something: one runs a job, one has taken, one has
# enqueued and not committed, and one waits for that one.
my %session = map { $_ => $node->background_psql('postgres') } qw(lock slow taken busy waiting);
my %pid = map { $_ => $session{$_}->query_safe('SELECT pg_backend_pid()') } keys %session;
$session{lock}->query_safe('SELECT pg_advisory_lock(7)');
$session{slow}->query_until(qr/started/, "\\echo started\nCALL spool.process('slow');\n");
$session{taken}->query_safe("BEGIN; SELECT seq FROM spool.take('taken')");
$session{busy}->query_safe("BEGIN; SELECT spool.enqueue('busy', 'b')");
$session{waiting}->query_until(qr/started/, "\\echo started\nSELECT spool.enqueue('busy', 'c');\n");
$node->poll_query_until('postgres',
	"SELECT count(*) = 2 FROM pg_stat_activity WHERE pid IN ($pid{slow}, $pid{waiting}) AND wait_event_type = 'Lock'")
  or die 'the sessions do not wait';

# What each statement answers: an expression, or a check of its own.
my %answers = (
	'What is stuck?' => [qr/\A(orders\|(oslo\|gap\|1|paris\|retrying\|2)\|[\d:.]+\n?){2}\z/],
	'Why?' => [
		qr/\Aoslo\|gap\|numbers 1 to 2 are missing\nparis\|retrying\|job 2 failed: an address is missing\z/,
		qr/\A2\|1\|error\|P0001\|an address is missing\z/
	],
	'Who holds it?' => [
		sub {
			my ($out) = @_;
			like($out, qr/^slow\|\|running\|$pid{slow}\|\S+\|active\|.*CALL spool\.process\('slow'\)/m, 'the process that runs a job');
			like($out, qr/^taken\|\|running\|$pid{taken}\|\S+\|idle in transaction\|.*spool\.take/m, 'the process that has taken');
			like($out, qr/^claimed\|\|claimed\|{6}$claim\|\w+\|shop\|\S+ \S+$/m, 'the claim');
		},
		qr/^$pid{waiting}\|.*'c'.*\|$pid{busy}\|idle in transaction\|.*'b'/m
	],
	'How do I skip it?' => [
		qr/\A2\z/,
		sub {
			is(sql("SELECT string_agg(concat_ws(' ', stream, cursor, waiting, state), ', ' ORDER BY stream) FROM spool.stat_streams WHERE queue = 'orders'"),
				'oslo 3 1 ready, paris 3 1 ready, rome 5 0 idle', 'nothing is stuck any more');
			is(sql("SELECT string_agg(action || ' ' || reason, ', ' ORDER BY at) FROM spool.actions"),
				'skip_gap the sender lost them, discard an address is missing', 'it is recorded');
		}
	],
	'How do I replay?' => [
		qr/\A1\|4\|4\z/,
		sub {
			is(sql("SELECT string_agg(seq || ' ' || state, ', ') FROM spool.ls('orders', 'rome')"), '1 done, 2 ready, 3 waiting, 4 waiting', 'they wait again');
		}
	],
	'How do I redrive dead letters?' => [
		qr/\A\d+\|\|1\|failed\|an address is missing\|[^|]+\z/,
		sub {
			my ($out) = @_;
			is($out, '1', 'one is redriven');
			is(sql("SELECT state FROM spool.ls('mail')"), 'ready', 'it may run');
		}
	],
	'How do I pause it?' => [
		sub {
			is(sql("SELECT DISTINCT state || ' ' || reason FROM spool.stat_streams WHERE queue = 'orders'"), 'paused the warehouse is closed', 'it is paused');
		},
		sub { is(sql("SELECT count(*) FROM spool.stat_streams WHERE state = 'paused'"), '0', 'it goes on') }
	],
	'How do I grant it?' => [
		sub { is(sql("SET ROLE clerk; SELECT string_agg(queue, ' ') FROM spool.stat_queues"), 'orders', 'the role sees the queue') },
		qr/^orders\|\S+\|\{.*clerk=r/m
	],
	'How much disk does it take?' => [
		sub {
			my ($out) = @_;
			like($out, qr/^segment 0\|old\|\d+ kB\|3\|$/m, 'the old segment, with what is replayed');
			like($out, qr/^segment 1\|current\|\d+ kB\|6\|$/m, 'the one that is appended to');
			like($out, qr/^kept\|\|\d+ kB\|\|$/m, 'another table');
		},
		qr/\A8\|\d+ bytes\z/
	],
	'How far behind is it?' => [
		sub {
			my ($out) = @_;
			my @lines = split /\n/, $out;
			is(scalar @lines, 6, 'all queues are told');
			like($out, qr/^orders\|[\d:.]+\|5\|0\|5\|\|$/m, 'what waits and what is done');
			like($out, qr/^slow\|[\d:.]+\|0\|1\|0\|\|00:00:00$/m, 'what runs');
		}
	]);

my @questions = read_questions();
is(join("\n", sort map { $_->[0] } @questions), join("\n", sort keys %answers), 'the questions of the chapter');
foreach my $question (@questions)
{
	my ($name, @statements) = @$question;
	my @checks = @{ $answers{$name} || [] };

	ok(@statements >= 1 && @statements <= 2, "$name at most two statements");
	is(scalar @checks, scalar @statements, "$name an answer for each");
	foreach my $check (@checks)
	{
		my ($rc, $out, $err) = $node->psql('postgres', shift @statements);
		is($rc, 0, "$name no error") or diag($err);
		if (ref $check eq 'CODE')
		{
			$check->($out);
		}
		else
		{
			like($out, $check, "$name the answer");
		}
	}
}

# A transaction with a snapshot of its own sees its moment.
foreach my $order ('sequence', 'timestamp', 'none')
{
	my $look = "SELECT waiting, enqueued, done FROM spool.stat_queues WHERE queue = '$order'";
	sql("SELECT spool.create_queue('$order', '$order'), spool.enqueue_many('$order', '{a,b,c}'::text[])");
	$session{lock}->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is($session{lock}->query_safe($look), '3|3|0', "$order: what waits");
	sql("SELECT spool.take('$order', 2)");
	is($session{lock}->query_safe($look), '3|3|0', "$order: a view is a picture of one moment");
	$session{lock}->query_safe('COMMIT');
	is($session{lock}->query_safe($look), '1|3|2', "$order: afterwards another one");
}

# Workers: asked for and not there, then there.
sub reason_of_mail
{
	return sql("SELECT concat_ws(' ', state, reason) FROM spool.stat_streams WHERE queue = 'mail'");
}
sql("SELECT spool.alter_queue('mail', workers => 1)");
is(reason_of_mail(), 'ready no workers run in this database', 'a queue that asks for workers says that there are none');
sql('SELECT spool.start()');
ok($node->poll_query_until('postgres', "SELECT state = 'idle' FROM spool.stat_streams WHERE queue = 'mail'"), 'they are started');
is(sql("SELECT waiting, done, failed, dead FROM spool.stat_queues WHERE queue = 'mail'"), '0|0|2|1', 'and have tried the job again');
sql('SELECT spool.stop()');

# A runner that dies
sql("SELECT pg_terminate_backend($pid{slow})");
(delete $session{slow})->{run}->finish;
ok($node->poll_query_until('postgres',
		"SELECT state = 'ready' AND reason = 'the runner died' AND pid IS NULL FROM spool.stat_streams WHERE queue = 'slow'"),
	'its stream may go on and says why it did not');
$session{lock}->query_safe('SELECT pg_advisory_unlock(7)');
sql("CALL spool.process('slow')");
$session{taken}->query_safe('COMMIT');
$session{busy}->query_safe('COMMIT');
$_->quit foreach values %session;
is(sql("SELECT string_agg(concat_ws(' ', queue, waiting, running, done, failed, oldest IS NULL), ', ' ORDER BY queue) FROM spool.stat_queues WHERE queue IN ('slow', 'taken', 'busy')"),
	'busy 3 0 0 0 f, slow 0 0 1 1 t, taken 0 0 1 0 t', 'after the sessions ended nothing is held');

$node->stop;
done_testing();
