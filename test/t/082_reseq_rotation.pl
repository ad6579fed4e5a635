
# Rotation of what the resequencer knows, beside sessions that hold something:
# nothing waits, nothing breaks, and what is kept from going goes later.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
max_prepared_transactions = 5
CONF
$node->start;
my $db;

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql($db, $statement);
}

# A database of its own for each topic, with a resequencer.
sub topic
{
	my ($name) = @_;
	$db = $name;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	sql("CREATE EXTENSION spool; SELECT spool.create_resequencer('r', retention => '1 day')");
	return;
}

# Upkeep as if a minute had gone by since the last one.
sub maintain
{
	my ($times) = @_;
	for (1 .. $times // 1)
	{
		sql(q{UPDATE spool.segment SET moved_at = moved_at - interval '1 min', emptied_at = emptied_at - interval '1 min'});
		sql('CALL spool.maintain()');
	}
	return;
}

# Number $sn of so many keys is registered and passes.
sub use_keys
{
	my ($sn, $many) = @_;
	my $arrays = "(SELECT array_agg('key ' || i ORDER BY i) FROM generate_series(1, $many) i), (SELECT array_agg($sn) FROM generate_series(1, $many) i)";
	sql("SELECT count(*) FROM spool.register_many('r', $arrays)");
	return sql("SELECT DISTINCT verdict FROM spool.resequence_many('r', $arrays)");
}

# States of lanes, deliveries
sub rows
{
	return sql('SELECT (SELECT count(*) FROM spool.reseq_lane), (SELECT count(*) FROM spool.reseq_delivery)');
}

# As if the retention had gone by.
sub age
{
	sql(q{UPDATE spool.reseq_lane SET since = since - interval '1 day'});
	return;
}

# Bytes of young segments, and of all.
sub bytes
{
	return split /\|/, sql(q{SELECT sum(pg_total_relation_size(inhrelid)) FILTER (WHERE inhrelid::regclass::text !~ '_0$'), sum(pg_total_relation_size(inhrelid))
		FROM pg_inherits WHERE inhparent IN ('spool.reseq_lane'::regclass, 'spool.reseq_delivery'::regclass)});
}

sub session
{
	my ($start) = @_;
	my $session = $node->background_psql($db, on_error_stop => 0);
	$session->query_safe($start);
	return $session;
}

sub end_session
{
	my ($session, $end) = @_;
	$session->query_safe($end);
	$session->quit;
	return;
}

# ---- a snapshot held elsewhere ----------------------------------------------
topic('snapshot');
my $holder = session('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
my @young;
foreach my $round (1 .. 8)
{
	my $answer = use_keys($round, 1000);
	is($answer, 'pass', "a held snapshot, round $round: all pass") if $round == 1 || $round == 8;
	maintain();
	push @young, (bytes())[0];
}
cmp_ok($young[7], '<', 1.5 * $young[3], 'young segments are emptied all the same');
maintain(2);
is(rows(), '1000|0', 'what is needed is a state of each key');
age();
maintain();
is(rows() . '|' . sql('SELECT count(*) FROM spool.reseq_key'), '0|0|0', 'keys are forgotten');
my $before = (bytes())[1];
end_session($holder, 'ROLLBACK');
sql('VACUUM spool.lane_0, spool.delivery_0, spool.reseq_key');
is(sql('SELECT sum(pg_relation_size(r)) FROM unnest(ARRAY[\'spool.lane_0\'::regclass, \'spool.delivery_0\', \'spool.reseq_key\']) r'), 0, 'when the snapshot is gone, disk is given back');
cmp_ok($before, '>', (bytes())[1], 'which it had kept');
is(sql('SELECT registered || \' \' || delivered FROM spool.reseq_tally'), '8000 8000', 'counts are kept');

# ---- a segment held elsewhere -------------------------------------------------
topic('held');
use_keys(1, 100);
$holder = session('BEGIN; SELECT count(*) FROM spool.delivery_1');
maintain(3);
is(sql('SELECT count(*) FROM spool.lane_1'), 100, 'who looks at a segment keeps it');
is(use_keys(2, 100), 'pass', 'and the keys go on');
end_session($holder, 'ROLLBACK');
maintain(3);
is(rows(), '100|0', 'afterwards it is emptied');

# An open call wrote to the segment that is closed.
$holder = session(q{BEGIN; SELECT spool.register('r', 'key 1', 3)});
maintain(2);
is(sql('SELECT count(*) FROM spool.segment WHERE closed_at IS NOT NULL AND moved_at IS NULL'), 1, 'an open call keeps the segment that it wrote to');
end_session($holder, 'COMMIT');
maintain(3);
is(rows(), '100|1', 'what it wrote is not lost');
is(sql(q{SELECT verdict FROM spool.resequence('r', 'key 1', 3)}), 'pass', 'and passes');

# ---- an old snapshot of the caller ---------------------------------------------
my $old = session('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
maintain();
is($old->query_safe(q{SELECT verdict FROM spool.resequence('r', 'key 2', 1)}), 'suppress', 'an old snapshot: a state that was moved is the same');
$old->query_safe('ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
use_keys(4, 100);
maintain();
$old->query(q{SELECT verdict FROM spool.resequence('r', 'key 2', 1)});
like($old->{stderr}, qr/could not serialize access due to concurrent use of the key/, 'an old snapshot: not one that changed');
$old->query('ROLLBACK');
$old->quit;

# ---- forgetting beside calls ----------------------------------------------------
topic('forget');
use_keys(1, 3);
maintain();
age();
$holder = session(q{BEGIN; SELECT spool.register('r', 'key 1', 2)});
maintain();
is(sql('SELECT string_agg(key, \',\') FROM spool.reseq_key'), 'key 1', 'a key that a call has is not forgotten, nor waited for');
end_session($holder, 'ROLLBACK');

# Who waits for a key that is being forgotten makes it anew.
sql('UPDATE spool.reseq_lane SET promotable = true');
$holder = session('BEGIN; LOCK TABLE spool.reseq_promotable IN SHARE MODE');
my $upkeep = session('SELECT 1');
my $caller = session('SELECT 1');
$upkeep->query_until(qr/forgetting/, "\\echo forgetting\nCALL spool.maintain();\n\\echo forgotten\n");
ok($node->poll_query_until($db, q{SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'spool.reseq_promotable'::regclass AND NOT granted)}), 'a key is being forgotten');
$caller->query_until(qr/calling/, "\\echo calling\nSELECT 'register ' || verdict || ' ' || latest FROM spool.register('r', 'key 1', 1);\n\\echo called\n");
ok($node->poll_query_until($db, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query ~ 'register' AND wait_event = 'transactionid')}), 'a call waits for it');
end_session($holder, 'COMMIT');
like($caller->query_until(qr/called\n/, "\n"), qr/register current 1/, 'it finds the key as new');
$upkeep->query_until(qr/forgotten\n/, "\n");
$_->quit foreach $upkeep, $caller;
is(sql('SELECT count(*) FROM spool.reseq_key') . rows(), '11|1', 'which has its rows');
is(sql(q{SELECT verdict FROM spool.resequence('r', 'key 1', 1)}), 'pass', 'and passes');
is(sql('SELECT sum(registered) FROM spool.reseq_tally'), 3, 'all that was forgotten is counted');

# ---- what is due, beside calls that are not yet visible ----------------------------
topic('due');
sql(q{SELECT spool.alter_resequencer('r', deadline => '1 ms')});
$holder = session(q{BEGIN; SELECT spool.register('r', 'open', 1)});
sql(q{BEGIN; SELECT spool.register('r', 'prepared', 1); PREPARE TRANSACTION 'call'});
foreach my $round (1, 2)
{
	sql(qq{SELECT spool.register('r', 'other', $round)});
	ok($node->poll_query_until($db, q{SELECT spool.expire('r') = 1}), 'what is due expires beside an open and a prepared call');
}
sql(q{COMMIT PREPARED 'call'});
is(sql(q{SELECT spool.expire('r')}), 1, 'later what the prepared one wrote');
end_session($holder, 'COMMIT');
is(sql(q{SELECT spool.expire('r')}), 1, 'and the open one');
is(sql(q{SELECT string_agg(key || ' ' || reason, ', ' ORDER BY key, sn) FROM spool.reseq_dead}), 'open deadline, other deadline, other deadline, prepared deadline', 'all became dead letters');
is(sql(q{SELECT spool.expire('r')}), 0, 'once');

# ---- a prepared call, a crash ------------------------------------------------------
topic('crash');
use_keys(1, 2000);
sql(q{BEGIN; SELECT spool.register('r', 'key 1', 2); SELECT spool.resequence('r', 'key 1', 2); PREPARE TRANSACTION 'call'});
maintain(2);
$node->stop('immediate');
$node->start;
maintain(2);
is(sql('SELECT count(*) FROM spool.segment WHERE closed_at IS NOT NULL AND moved_at IS NULL'), 1, 'a prepared call keeps the segment that it wrote to');
sql(q{COMMIT PREPARED 'call'});
maintain(3);
is(rows(), '2000|0', 'when it is committed, a state of each key is left');
is(sql(q{SELECT string_agg(DISTINCT verdict || ' ' || latest, ', ') FROM spool.resequence_many('r', '{key 1,key 2}', '{1,1}')}), 'duplicate 1, suppress 2', 'with the number that was applied last');

$node->stop;
done_testing();
