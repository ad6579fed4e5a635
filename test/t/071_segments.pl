
# Who keeps a segment from being emptied: whoever holds a lock of its tables is
# shown, and nobody afterwards.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fills = 0;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nmax_prepared_transactions = 5");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION spool');

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

# Upkeep, as if a minute had gone by since the last one.
sub maintain
{
	return sql(q{UPDATE spool.segment SET moved_at = moved_at - interval '1 min', emptied_at = emptied_at - interval '1 min';
CALL spool.maintain()});
}

sub blocked
{
	return sql(q{SELECT state || ' ' || coalesce(blocked_by::text, '') FROM spool.segments WHERE no = 1});
}

# Segment 1 has consumed packets and is to be emptied.
sub fill
{
	$fills++;
	sql(q{SELECT spool.create_queue(o, o, if_not_exists => true) FROM unnest('{sequence,none}'::text[]) o;
SELECT spool.enqueue_many(o, '{a,b,c,d}'::text[]) FROM unnest('{sequence,none}'::text[]) o;
SELECT FROM spool.take('sequence', 2)});
	for (1 .. 20)
	{
		return if sql('SELECT state FROM spool.segments WHERE no = 1') eq 'moved';
		sql(q{SELECT FROM spool.enqueue('sequence', 'x'); SELECT FROM spool.take('sequence')});
		maintain();
	}
	die 'segment 1 is not moved';
}

my $take = "SELECT FROM spool.take('none'); SELECT FROM spool.store";
my $toast = sql("SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'spool.segment_1'::regclass");
my @holders = (
	[ 'an open take that looks at the table', $take ],
	[ 'a lock as of pg_dump', 'LOCK TABLE spool.segment_1 IN ACCESS SHARE MODE' ],
	[ 'a lock of the states', 'LOCK TABLE spool.state_1 IN ACCESS SHARE MODE' ],
	[ 'a lock of the counters of senders', 'LOCK TABLE spool.sender_1 IN ACCESS SHARE MODE' ],
	[ 'a lock of the states of lanes', 'LOCK TABLE spool.lane_1 IN ACCESS SHARE MODE' ],
	[ 'a lock of deliveries', 'LOCK TABLE spool.delivery_1 IN ACCESS SHARE MODE' ],
	[ 'a reader of the table for overflowing columns', "SELECT count(*) FROM $toast" ]);

foreach my $holder (@holders)
{
	my ($name, $statement) = @$holder;
	my $session = $node->background_psql('postgres');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');

	fill();
	is(blocked(), 'moved ', "$name: at first nobody holds it");
	$session->query_safe("BEGIN; $statement");
	is(blocked(), "moved {$pid}", "$name: is shown");
	maintain();
	is(blocked(), "moved {$pid}", "$name: it is not emptied");
	$session->query_safe('ROLLBACK');
	is(blocked(), 'moved ', "$name: afterwards nobody is shown");
	maintain();
	unlike(blocked(), qr/^moved/, "$name: and it is emptied");
	$session->quit;
}

# Prepared transactions are 0, and that once.
fill();
sql("BEGIN; $take; PREPARE TRANSACTION '$_'") foreach 'one', 'two';
is(blocked(), 'moved {0}', 'prepared transactions are shown as 0');
maintain();
is(blocked(), 'moved {0}', 'and keep it from being emptied');
sql("ROLLBACK PREPARED '$_'") foreach 'one', 'two';
is(blocked(), 'moved ', 'afterwards nobody is shown');
maintain();
unlike(blocked(), qr/^moved/, 'and it is emptied');

is(sql("SELECT count(*) FROM spool.take('none', 100)"), 4 * $fills, 'nothing was lost');

$node->stop;
done_testing();
