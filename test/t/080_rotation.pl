
# Rotation: segments are closed, what is needed is moved, the rest is truncated;
# whoever holds something puts that off and loses nothing.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $dir = PostgreSQL::Test::Utils::tempdir;

# ---- the manager does it all alone -----------------------------------------
# It takes two minutes, during which the other tests run.
my $alone = PostgreSQL::Test::Cluster->new('alone');
$alone->init;
$alone->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'spool'
autovacuum = off
fsync = off
spool.segment_size = '64kB'
CONF
$alone->start;
$alone->safe_psql('postgres', q{
CREATE EXTENSION spool;
SELECT spool.create_queue('q');
SELECT spool.enqueue_many('q', array_agg(repeat('x', 500))) FROM generate_series(1, 400);
SELECT FROM spool.take('q', 390);
SELECT spool.create_resequencer('r', retention => '1 s');
SELECT FROM generate_series(1, 50) i, spool.register('r', 'key ' || i, 1), spool.resequence('r', 'key ' || i, 1)});

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

# A database of its own for each topic.
sub topic
{
	my ($name) = @_;
	$db = $name;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	sql('CREATE EXTENSION spool');
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

sub stage
{
	my ($no) = @_;
	return sql(qq{SELECT CASE WHEN opened_at IS NULL THEN 'empty' WHEN closed_at IS NULL THEN 'current'
		WHEN moved_at IS NULL THEN 'closed' ELSE 'moved' END FROM spool.segment WHERE no = $no});
}

sub current
{
	return sql('SELECT no FROM spool.segment WHERE opened_at IS NOT NULL AND closed_at IS NULL');
}

# Bytes of all segments.
sub bytes
{
	return sql(q{SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits
		WHERE inhparent IN ('spool.store'::regclass, 'spool.state'::regclass, 'spool.sender_state'::regclass, 'spool.reseq_lane'::regclass, 'spool.reseq_delivery'::regclass)});
}

sub session
{
	my ($start) = @_;
	my $session = $node->background_psql($db);
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

# How many a take of all of a queue gives, and whether in order.
sub take_all
{
	my ($queue) = @_;
	return sql(qq{SELECT count(*) || CASE WHEN bool_and(ordered) THEN ' in order' ELSE ' not in order' END FROM
		(SELECT COALESCE(seq > lag(seq) OVER (PARTITION BY stream ORDER BY n), true) AS ordered
			FROM spool.take('$queue', 1000000) WITH ORDINALITY AS t
				(packet_id, queue, stream, seq, ctime, kind, params, env, payload, attempt, claim_id, n)) x});
}

# ---- what is consumed goes, what is not stays, numbers go on ----------------
topic('basic');
sql(q{SELECT spool.create_queue(o, o) FROM unnest('{sequence,timestamp,latest,none}'::text[]) o;
	SELECT spool.enqueue(o, o || i, CASE WHEN o IN ('sequence', 'latest') THEN 's' || i % 3 ELSE '' END)
		FROM unnest('{sequence,timestamp,latest,none}'::text[]) o, generate_series(1, 30) i;
	SELECT FROM unnest('{sequence,timestamp,none}'::text[]) o, spool.take(o, 20);
	SELECT spool.enqueue('sequence', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i), 'big') FROM generate_series(1, 20);
	SELECT FROM spool.take('sequence', 19, stream => 'big');
	SELECT spool.enqueue('sequence', 'x', 'done'); SELECT FROM spool.take('sequence', stream => 'done')});
my $picture = q{SELECT s.queue, s.name, p.position, p.seq, p.packet_id, p.arrived, md5(p.packet::bytea)
	FROM spool.stream s, spool.store p WHERE p.stream = s.id AND (p.position >= (SELECT next FROM spool.state n
		WHERE n.stream = s.id ORDER BY version DESC LIMIT 1) OR p.position > 1000000) ORDER BY 1, 2, 3, 4, 5};
my $states = q{SELECT DISTINCT ON (stream) stream, version, next, high, low, looked, consumed, done, since
	FROM spool.state ORDER BY stream, version DESC};
my @before = (sql($picture), sql($states));
is(stage(1), 'current', 'at first segment 1 is the current one');
maintain();
is(stage(1), 'moved', 'it is closed and moved');
is(sql('SELECT count(*) FROM spool.segment_1 p'), 0 + sql(q{SELECT count(*) FROM spool.segment_1 p, spool.state n
	WHERE n.stream = p.stream AND p.position < n.next AND NOT EXISTS (SELECT FROM spool.state m WHERE m.stream = n.stream AND m.version > n.version)}),
	'only consumed packets are left there');
my @after = (sql($picture), sql($states));
is($after[0], $before[0], 'packets that wait are moved as they were, byte for byte');
is($after[1], $before[1], 'so are the newest states');
sql('CALL spool.maintain()');
is(stage(1), 'moved', 'not before a minute has gone by');
maintain();
is(stage(1), 'empty', 'it is emptied');
is(sql('SELECT pg_relation_size(r) FROM unnest(ARRAY[\'spool.segment_1\'::regclass, \'spool.state_1\']) r'), "0\n0", 'truncated');
is(sql($picture), $before[0], 'packets are as they were');
is(sql(q{SELECT spool.enqueue('sequence', 'y', 'done')}), 2, 'numbers go on in a stream of which nothing is left');
is(sql(q{SELECT seq FROM spool.take('sequence', stream => 'done')}), 2, 'and its packets are handed out');
is(sql(q{SELECT md5(payload) = md5((SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i))
	FROM spool.take('sequence', stream => 'big')}), 't', 'a large packet has its bytes');
is(take_all('sequence'), '10 in order', 'sequence: the rest');
is(take_all('latest'), '3 in order', 'latest: the newest');
is(take_all('timestamp'), '10 in order', 'timestamp: the rest');
like(take_all('none'), qr/^10 /, 'none: the rest');
maintain(4);
is(sql('SELECT count(*) FROM spool.store'), 0, 'in the end nothing is left');
is(sql('SELECT count(*) = count(DISTINCT stream) FROM spool.state'), 't', 'but a state of each stream');

# ---- at most one is emptied a minute ----------------------------------------
topic('minute');
sql(q{SELECT spool.create_queue('q')});
foreach (1, 2)
{
	sql(q{SELECT spool.enqueue('q', 'x') FROM generate_series(1, 20); SELECT FROM spool.take('q', 20)});
	sql('CALL spool.maintain()');
}
is(sql('SELECT count(*) FROM spool.segment WHERE moved_at IS NOT NULL'), 2, 'two segments are moved');
maintain();
is(sql('SELECT count(*) FROM spool.segment WHERE moved_at IS NOT NULL'), 1, 'one is emptied');
sql('CALL spool.maintain()');
is(sql('SELECT count(*) FROM spool.segment WHERE moved_at IS NOT NULL'), 1, 'not yet the other');
maintain();
is(sql('SELECT count(*) FROM spool.segment WHERE emptied_at IS NOT NULL'), 2, 'a minute later the other');

# ---- in a transaction block, in a function, by others, cancelled -----------
topic('callers');
sql(q{SELECT spool.create_queue('q'); SELECT spool.enqueue('q', 'x' || i) FROM generate_series(1, 20) i; SELECT FROM spool.take('q', 15);
	CREATE ROLE upkeep; GRANT EXECUTE ON PROCEDURE spool.maintain() TO upkeep});
sql('BEGIN; CALL spool.maintain(); ROLLBACK');
is(stage(1) . sql('SELECT count(*) FROM spool.segment_1'), 'current20', 'what is rolled back was not done');
sql('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; CALL spool.maintain(); COMMIT');
is(stage(1) . sql('SELECT count(*) FROM spool.segment_0'), 'closed5', 'a transaction block moves what is needed, but does not give up a segment');
sql('CALL spool.maintain()');
sql(q{UPDATE spool.segment SET moved_at = moved_at - interval '1 min'; BEGIN; CALL spool.maintain(); COMMIT});
is(stage(1), 'moved', 'nor truncates it');
sql(q{CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN CALL spool.maintain(); END'; SELECT f()});
is(stage(1), 'moved', 'nor does a function');
sql('SET ROLE upkeep; DO $$ BEGIN CALL spool.maintain(); END $$');
is(stage(1), 'empty', 'by whom that is granted, in a block of PL/pgSQL');
is(take_all('q'), '5 in order', 'nothing was lost');
{
	my $other = session('BEGIN; LOCK TABLE spool.segment IN SHARE UPDATE EXCLUSIVE MODE');
	sql('CALL spool.maintain()');
	pass('one session at a time makes the steps, others do not wait');
	end_session($other, 'ROLLBACK');
}
sql(q{SELECT spool.enqueue_many('q', array_agg(repeat('x', 2000)), 's' || s) FROM generate_series(1, 40) s, generate_series(1, 500) i GROUP BY s;
	SELECT FROM spool.take('q', 12000)});
$node->psql($db, "SET statement_timeout = '${_}ms'; CALL spool.maintain()") foreach 5, 20, 40, 80;
is(take_all('q'), '8000 in order', 'upkeep that is cancelled loses nothing');

# ---- a snapshot held elsewhere ----------------------------------------------
topic('snapshot');
sql(q{SELECT spool.create_queue('q'); SELECT spool.create_queue('free', order_by => 'none')});
my $holder = session('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
my @bytes;
foreach my $round (1 .. 24)
{
	sql(q{SELECT spool.enqueue(q, repeat('x', 100), CASE q WHEN 'q' THEN 's' || i % 50 ELSE '' END)
			FROM unnest('{q,free}'::text[]) q, generate_series(1, 500) i;
		SELECT FROM spool.take('q', 500); SELECT FROM spool.take('free', 500)});
	maintain();
	push @bytes, bytes();
}
cmp_ok($bytes[23], '<', 1.5 * $bytes[5], 'with a snapshot held elsewhere disk is bounded');
is(sql('SELECT count(*) FROM spool.segment WHERE emptied_at > now()'), 0, 'time was shifted');
end_session($holder, 'COMMIT');

# ---- an open take ------------------------------------------------------------
topic('take');
sql(q{SELECT spool.create_queue('q'); SELECT spool.enqueue('q', 'x' || i, 's' || i % 2) FROM generate_series(1, 20) i;
	SELECT FROM spool.take('q', 14)});
my $taker = session(q{BEGIN; SELECT seq FROM spool.take('q', 2, stream => 's0')});
maintain(3);
is(stage(1), 'closed', 'an open take puts it off');
is(sql(q{SELECT count(*) FROM spool.segment_0}), 3, 'what others wait for is moved');
end_session($taker, 'ROLLBACK');
is(sql(q{SELECT array_agg(seq) FROM spool.take('q', 3, stream => 's0')}), '{8,9,10}', 'its packets come back');
maintain(3);
is(sql(q{SELECT count(*) FROM spool.segment WHERE emptied_at IS NOT NULL}), 2, 'then it goes on');
is(take_all('q'), '3 in order', 'nothing was lost');

# one that began when its segment was moved is not in the way, and sees all
sql(q{SELECT spool.enqueue('q', 'x' || i) FROM generate_series(1, 20) i});
sql(q{SELECT FROM spool.take('q', 19)});
my $was = current();
maintain();
is(stage($was), 'moved', 'moved again');
$taker = session(q{BEGIN; SELECT seq FROM spool.take('q')});
maintain();
is(stage($was), 'empty', 'a take that began afterwards is not in the way');
maintain(3);
sql(q{SELECT spool.enqueue('q', 'late') FROM generate_series(1, 5)});
is($taker->query_safe(q{SELECT array_agg(seq) FROM spool.take('q', 10)}), '{21,22,23,24,25}', 'it finds what came into any segment since');
end_session($taker, 'COMMIT');

# ---- a producer that is slow to commit --------------------------------------
topic('producer');
sql(q{SELECT spool.create_queue('q', order_by => 'timestamp'); SELECT spool.create_queue('s');
	SELECT spool.enqueue('s', 'x') FROM generate_series(1, 50); SELECT FROM spool.take('s', 50)});
my $producer = session(q{BEGIN; SELECT spool.enqueue('q', 'slow')});
maintain(3);
is(stage(1), 'closed', 'a segment that is being written is not given up');
end_session($producer, 'COMMIT');
maintain();
is(stage(1) . sql('SELECT count(*) FROM spool.segment_0'), 'moved1', 'what was written late is moved');
maintain();
is(sql(q{SELECT convert_from(payload, 'UTF8') FROM spool.take('q', 5)}), 'slow', 'and handed out');

# ---- a prepared transaction --------------------------------------------------
topic('prepared');
sql(q{SELECT spool.create_queue(o, o) FROM unnest('{sequence,timestamp,latest,none}'::text[]) o;
	SELECT spool.enqueue('sequence', 'x') FROM generate_series(1, 50); SELECT FROM spool.take('sequence', 50);
	BEGIN; SELECT spool.enqueue(o, 'in doubt') FROM unnest('{timestamp,latest,none}'::text[]) o; PREPARE TRANSACTION 'p'});
maintain(3);
is(stage(1), 'closed', 'a prepared transaction puts it off');
$node->restart;
maintain(2);
is(stage(1), 'closed', 'also after a restart');
sql(q{COMMIT PREPARED 'p'});
maintain(2);
is(stage(1), 'empty', 'then it goes on');
like(take_all($_), qr/^1 /, "$_: what was in doubt is handed out") foreach qw(timestamp latest none);

# ---- pg_dump -----------------------------------------------------------------
topic('dump');
sql(q{SELECT spool.create_queue('q', retention => '1 day'); SELECT spool.create_queue('free', order_by => 'none')});
foreach my $round (1 .. 3)
{
	sql(q{SELECT spool.enqueue('q', repeat('x', 200), 's' || i % 5) FROM generate_series(1, 100) i;
		SELECT spool.enqueue('free', 'x') FROM generate_series(1, 100) i;
		SELECT FROM spool.take('q', 80); SELECT FROM spool.take('free', 80)});
	sql('CALL spool.maintain()') if $round < 3;
}
is(sql('SELECT count(DISTINCT segment) FROM spool.store'), 4, 'packets lie in all segments');
my $dumper = session(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1});
$dumper->query_safe(sql(q{SELECT string_agg(format('LOCK TABLE ONLY %s IN ACCESS SHARE MODE', c.oid::regclass), ';')
	FROM pg_class c WHERE relnamespace = 'spool'::regnamespace AND relkind = 'r'}));
maintain(3);
is(sql(q{SELECT count(*) FROM spool.segment WHERE emptied_at IS NOT NULL}), 0, 'a dump puts it off');
is($dumper->query_safe('SELECT count(*) FROM spool.store WHERE segment > 0'), $dumper->query_safe('SELECT count(*) FROM spool.store WHERE segment > 0'), 'it sees the same all the time');
end_session($dumper, 'COMMIT');
$node->command_ok([ 'pg_dump', '-f', "$dir/dump.sql", $node->connstr('dump') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/dump.sql", $node->connstr('restored') ], 'restored');
foreach my $database ('dump', 'restored')
{
	$db = $database;
	maintain(3);
	is(take_all('q'), '60 in order', "$db: all come in order");
	like(take_all('free'), qr/^60 /, "$db: and without");
	is(sql(q{SELECT spool.enqueue('q', 'more', 's1')}), 61, "$db: numbers go on");
	maintain(6);
	is(sql('SELECT count(*) FROM spool.store WHERE segment > 0'), 0, "$db: segments are emptied");
}

# ---- a vacuum of the table for overflowing columns ---------------------------
topic('toast');
sql(q{SELECT spool.create_queue('q'); SELECT spool.enqueue('q', (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 3000) WHERE i > 0)) FROM generate_series(1, 50) i;
	SELECT FROM spool.take('q', 45)});
my $toast = sql(q{SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'spool.segment_1'::regclass});
maintain();
is(stage(1), 'moved', 'with large packets it is moved');
my $vacuum = $node->background_psql($db, on_error_stop => 0);
$vacuum->query_safe(q{SET vacuum_cost_delay = '100ms'; SET vacuum_cost_limit = 1});
my $pid = $vacuum->query_safe('SELECT pg_backend_pid()');
$vacuum->query_until(qr/begun/, "\\echo begun\nVACUUM (DISABLE_PAGE_SKIPPING) $toast;\n");
ok($node->poll_query_until($db, qq{SELECT count(*) > 0 FROM pg_locks WHERE pid = $pid AND relation = '$toast'::regclass AND mode = 'ShareUpdateExclusiveLock'}), 'its large values are being vacuumed');
maintain();
is(stage(1), 'moved', 'that puts it off');
is(take_all('q'), '5 in order', 'and nobody waits for it');
is(sql(qq{SELECT count(*) FROM pg_locks WHERE pid = $pid AND relation = '$toast'::regclass}), 1, 'it is still under way');
sql("SELECT pg_cancel_backend($pid)");
$node->poll_query_until($db, qq{SELECT count(*) = 0 FROM pg_locks WHERE pid = $pid AND relation = '$toast'::regclass});
maintain();
is(stage(1), 'empty', 'then it goes on');
eval { $vacuum->quit };

# ---- a backlog that waits ----------------------------------------------------
topic('backlog');
$node->append_conf('postgresql.conf', "spool.segment_size = '64kB'");
$node->reload;
sql(q{SELECT spool.create_queue('paused'); SELECT spool.create_queue('busy');
	SELECT spool.pause_queue('paused'); SELECT spool.enqueue('paused', repeat('x', 1000)) FROM generate_series(1, 300)});
maintain();
is(join(' ', map { stage($_) } 1 .. 3), 'closed empty current', 'a segment that is mostly needed is closed, but waits');
my $places = 'SELECT md5(string_agg(ctid::text, \' \' ORDER BY position)) FROM spool.segment_0';
my ($moved, $emptied) = ('', 0);
foreach my $round (1 .. 12)
{
	sql(q{SELECT spool.enqueue('busy', repeat('x', 500)) FROM generate_series(1, 200); SELECT FROM spool.take('busy', 200)});
	maintain();
	next if sql('SELECT count(*) FROM spool.segment_0') == 0;
	$moved = sql($places) if $moved eq '';
	is(sql($places), $moved, "round $round: moved once and not again");
}
is(sql('SELECT count(*) FROM spool.segment_0'), $moved eq '' ? 0 : 300, 'all of it or nothing was moved');
cmp_ok(sql(q{SELECT sum(pg_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'spool.store'::regclass AND inhrelid <> 'spool.segment_0'::regclass}), '<', 1000000, 'others go on being emptied');

# two of them: the room of the first is enough for the others
sql(q{SELECT spool.create_queue('paused2'); SELECT spool.pause_queue('paused2')});
sql(q{SELECT spool.enqueue('paused2', repeat('x', 1000)) FROM generate_series(1, 300)}), maintain() foreach 1 .. 4;
is(sql(q{SELECT count(*) FROM spool.store p, spool.stream s, spool.queue q WHERE s.id = p.stream AND q.id = s.queue AND q.name LIKE 'paused%'}), 1500, 'all wait');
sql(q{SELECT spool.resume_queue(q) FROM unnest('{paused,paused2}'::text[]) q});
is(take_all('paused2'), '1200 in order', 'handed out in order, from wherever they lie');
is(take_all('paused'), '300 in order', 'the first, too');
maintain(6);
is(sql('SELECT count(*) FROM spool.store'), 0, 'consumed ones go from the old segment, too');
$node->append_conf('postgresql.conf', "spool.segment_size = '256MB'");
$node->reload;

# ---- retention, replay, redrive, claims -------------------------------------
topic('replay');
sql(q{SELECT spool.create_queue('q', retention => '1 hour', on_error => 'dead');
	SELECT spool.enqueue('q', 'x' || i) FROM generate_series(1, 20) i; SELECT FROM spool.take('q', 10);
	SELECT claim_id FROM spool.claim('q', 4) LIMIT 1});
maintain(3);
is(sql(q{SELECT spool.ack(array_agg(DISTINCT claim_id)) FROM spool.claims}), 4, 'a claim is acknowledged whose packets and state were moved');
is(sql(q{SELECT array_agg(seq) FROM spool.take('q', 3)}), '{15,16,17}', 'and the stream goes on');
sql(q{SELECT spool.set_next_seq('q', 1)});
is(sql(q{SELECT array_agg(seq) FROM spool.take('q', 5)}), '{1,2,3,4,5}', 'replay of what was retained');
maintain(3);
sql(q{SELECT spool.set_next_seq('q', 12); SELECT spool.set_next_seq('q', 3)});
maintain(3);
is(sql(q{SELECT array_agg(seq) FROM spool.take('q', 100)}), '{' . join(',', 3 .. 20) . '}', 'to and fro, each once');
is(sql(q{SELECT spool.enqueue('q', 'next')}), 21, 'the number after the last');
sql(q{SELECT spool.discard('q', spool.packet_id('q', 21)); SELECT spool.redrive('q')});
maintain(3);
is(sql(q{SELECT array_agg(seq) FROM spool.take('q', 100)}), '{21}', 'discarded, redriven');

# a cursor that is set past what runs
sql(q{SELECT spool.enqueue('q', 'run' || i) FROM generate_series(1, 9) i; SELECT FROM spool.claim('q', 4); SELECT spool.set_next_seq('q', 31)});
maintain(4);
sql(q{SELECT spool.nack(claim_id, spool.packet_id('q', 22), 'no') FROM spool.claims});
is(sql(q{SELECT array_agg(seq ORDER BY seq) FROM spool.dead_letters}), '{' . join(',', 22 .. 30) . '}', 'what ran when the cursor was set past it is a dead letter');

# in the transaction that takes
my $reader = session(q{BEGIN; SELECT spool.enqueue('q', 'mine')});
is($reader->query_safe(q{SELECT spool.seq(spool.get_packet('q', packet_id)) FROM spool.take('q')}), 31, 'a packet can be read by who has taken it');
maintain(2);
is($reader->query_safe(q{SELECT max(spool.seq(spool.get_packet('q', packet_id))) FROM spool.store WHERE seq = 31}), 31, 'until the transaction ends');
end_session($reader, 'COMMIT');

# a transaction with an old snapshot
sql(q{SELECT spool.enqueue('q', 'old')});
my $old = $node->background_psql($db, on_error_stop => 0);
$old->query_safe(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1});
maintain();
is($old->query_safe(q{SELECT seq FROM spool.take('q')}), 32, 'an old snapshot: a state that was moved is the same');
$old->query_safe(q{ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1});
is(sql(q{SELECT seq FROM spool.take('q')}), 32, 'taken by another');
maintain(2);
sql(q{SELECT spool.enqueue('q', 'new')});
$old->query(q{SELECT seq FROM spool.take('q')});
like($old->{stderr}, qr/could not serialize access/, 'an old snapshot: it is not handed out again');
$old->query('ROLLBACK');
$old->quit;

# ---- crash after each step ----------------------------------------------------
foreach my $how ('immediate', 'killed')
{
	topic("crash_$how");
	my $crash = sub {
		if ($how eq 'immediate')
		{
			$node->stop('immediate');
		}
		else
		{
			$node->kill9;
		}
		# backends of a postmaster that was killed may still be there
		my $tries = 10 * $PostgreSQL::Test::Utils::timeout_default;
		until ($node->start(fail_ok => 1) || --$tries == 0)
		{
			usleep(100_000);
			$node->stop('fast', fail_ok => 1);
		}
	};
	sql(q{SELECT spool.create_queue('q');
		SELECT spool.enqueue('q', repeat('x', 1000), 's' || i % 2) FROM generate_series(1, 100) i; SELECT FROM spool.take('q', 80)});
	my $first = session(q{BEGIN; SELECT FROM spool.take('q', 1, stream => 's0')});
	my $second = session(q{BEGIN; SELECT FROM spool.take('q', 1, stream => 's1')});
	maintain();
	is(stage(1) . sql('SELECT count(*) FROM spool.segment_0'), 'closed0', "$how: closed");
	$crash->();
	eval { $_->quit } foreach $first, $second;
	is(stage(1) . sql('SELECT count(*) FROM spool.store'), 'closed100', "$how: it is closed");
	$first = session(q{BEGIN; SELECT FROM spool.take('q', 1, stream => 's0')});
	maintain();
	is(stage(1) . sql('SELECT count(*) FROM spool.segment_0'), 'closed10', "$how: half moved");
	$crash->();
	eval { $first->quit };
	is(stage(1) . sql('SELECT count(*) FROM spool.segment_0'), 'closed10', "$how: half of it is moved");
	maintain();
	$crash->();
	is(stage(1) . sql('SELECT count(*) FROM spool.segment_0'), 'moved20', "$how: all of it is moved");
	maintain();
	$crash->();
	is(stage(1) . sql('SELECT pg_relation_size(\'spool.segment_1\')'), 'empty0', "$how: it is empty");
	is(take_all('q'), '20 in order', "$how: nothing is lost");
	is(sql(q{SELECT spool.enqueue('q', 'x', 's1')}), 51, "$how: numbers go on");
	maintain(4);
	is(take_all('q'), '1 in order', "$how: all goes on");
}
$node->stop;

# ---- the manager --------------------------------------------------------------
$db = 'postgres';
$node = $alone;
ok($node->poll_query_until($db, 'SELECT count(*) = 1 FROM spool.segment WHERE emptied_at IS NOT NULL'), 'the manager empties segments alone');
is(sql('SELECT min(emptied_at - moved_at_least) >= interval \'1 min\' FROM (SELECT emptied_at, (SELECT opened_at FROM spool.segment WHERE closed_at IS NULL AND opened_at IS NOT NULL) AS moved_at_least FROM spool.segment WHERE emptied_at IS NOT NULL) x'), 't', 'a minute after they were closed');
is(take_all('q'), '10 in order', 'what waited is there');
is(sql('SELECT (SELECT count(*) FROM spool.reseq_key), registered FROM spool.reseq_tally'), '0|50', 'keys of resequencers are forgotten');
my $awake = 0;					# it may be, now and then
$awake += sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'spool' AND wait_event IS NULL}) foreach 1 .. 20;
cmp_ok($awake, '<', 10, 'and then it rests');
$node->stop;

done_testing();
