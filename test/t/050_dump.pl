
# Databases that are dumped and restored, copied, or lose the extension and get
# it again, go on where they were.  The memory of a session does not grow with
# the jobs that it hands out or runs.  A standby can be looked at.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nspool.programs = on");
$node->start;

sub sql
{
	my ($db, $statement) = @_;
	return $node->safe_psql($db, $statement);
}

# ---- a database with something of everything -------------------------------
sql('postgres', 'CREATE ROLE reader; CREATE ROLE worker; CREATE DATABASE source');
sql('source', q{
CREATE EXTENSION spool;
CREATE TABLE done (seq bigint);
SELECT spool.create_queue('plain', history => 'all', retention => '1 day',
	timeout => '90 s', owner => 'worker');
SELECT spool.create_queue('numbered', on_error => 'dead', max_attempts => 3);
SELECT spool.create_queue('timed', order_by => 'timestamp');
SELECT spool.create_queue('free', order_by => 'none', on_error => 'leave');
SELECT spool.create_queue('newest', order_by => 'latest');
SELECT spool.create_queue('log', append_only => true);
SELECT spool.create_queue('stopped');
SELECT spool.set_handler('numbered', 'SELECT 1 / (($1).seq - 2)');
SELECT spool.set_program('plain', '/bin/cat', ARRAY['-', 'a b']);
SELECT spool.grant_queue('plain', 'reader', 'read');
SELECT spool.create_resequencer('records', '{a,b}', $$ARRAY[key]$$, on_invalid => 'queue:log', deadline => '1 min');
SELECT spool.grant_resequencer('records', 'reader', 'write');
SELECT spool.create_resequencer('feed', '{x,y}');
SELECT spool.create_resequencer('acks', delivery => 'acked', on_failure => 'suspend');

SELECT spool.enqueue('plain', 'job ' || i, stream => 's' || i % 3) FROM generate_series(1, 12) i;
SELECT seq FROM spool.take('plain', 3);
SELECT spool.pause_queue('plain', 's1', 'by hand');
SELECT spool.pause_queue('stopped', reason => 'all of it');
SELECT spool.enqueue('stopped', 'waits'::text);
SELECT spool.write('numbered', spool.make_packet(i, 'x'::text, ARRAY['p', ''], '{"e": 1}'), 'a')
  FROM unnest(ARRAY[1, 2, 3, 7, 8]) i;
SELECT spool.write('numbered', spool.make_packet(1, x), 'conflict') FROM unnest(ARRAY['x', 'y']) x;
SELECT spool.write('numbered', spool.make_packet(9, 'gap'::text), 'late');
SELECT spool.set_next_seq('numbered', 5, 'late');
SELECT spool.write('numbered', spool.make_packet(2, 'late'::text), 'late');
SELECT spool.enqueue('timed', 't' || i) FROM generate_series(1, 4) i;
SELECT seq FROM spool.take('timed', 2);
SELECT spool.enqueue('free', 'f' || i) FROM generate_series(1, 4) i;
SELECT seq FROM spool.take('free', 1);
SELECT spool.write('newest', spool.make_packet(i, 'n' || i), 'key') FROM generate_series(1, 3) i;
SELECT spool.enqueue('log', 'l' || i) FROM generate_series(1, 2) i;
SELECT spool.prepare('sender', 'x'::text) FROM generate_series(1, 5);
SELECT spool.enqueue('log', kind => 'fail');
});
sql('source', "CALL spool.process('numbered')");
sql('source', q{
SELECT spool.discard('numbered', spool.packet_id('numbered', 2, 'a'), 'no use');
SELECT seq FROM spool.take('numbered', 1, stream => 'a');

-- live, parked and promoted, split, ended, idle, in a second epoch
SELECT spool.register('feed', 'parked', n) FROM generate_series(1, 3) n;
SELECT spool.resequence('feed', 'parked', 1, 'x');
SELECT spool.register('feed', 'promoted', n, digest => 'same') FROM generate_series(1, 2) n;
SELECT spool.resequence('feed', 'promoted', 1, 'y');
SELECT spool.failed('feed', 'promoted', 2, 'y', error => 'no room');
SELECT spool.register('feed', 'tree', 1, '{x}', parts => 2), spool.register('feed', 'tree', 1, part => '{2}');
SELECT spool.resequence('feed', 'tree', 1, 'x', '{2}');
SELECT spool.register('feed', 'idle', 5, '{x}'), spool.resequence('feed', 'idle', 5, 'x');
SELECT spool.register('feed', 'gone', 5, '{x}'), spool.unregister('feed', 'gone', 5);
SELECT spool.register('feed', 'again', 9), spool.resequence('feed', 'again', 9, 'x'), spool.reset('feed', 'again');
SELECT spool.register('feed', 'again', 1);
SELECT spool.register('feed', 'held', 1), spool.suspend_key('feed', 'held', 'by hand');
SELECT spool.register('acks', 'passed', n) FROM generate_series(1, 2) n;
SELECT spool.resequence('acks', 'passed', n) FROM generate_series(2, 1, -1) n;
SELECT spool.register('acks', 'failed', 1), spool.resequence('acks', 'failed', 1), spool.failed('acks', 'failed', 1);

CREATE TABLE account (id int PRIMARY KEY, sn bigint) PARTITION BY RANGE (id);
CREATE TABLE account_1 PARTITION OF account FOR VALUES FROM (1) TO (9);
INSERT INTO account VALUES (1, 5);
SELECT spool.guard('account', 'id', 'sn');
});

# All that can be seen of a database.
sub picture
{
	my ($db) = @_;
	return join "\n", map { sql($db, $_) } (
		'SELECT * FROM spool.queues ORDER BY queue',
		'SELECT * FROM spool.resequencers ORDER BY resequencer',
		'SELECT * FROM spool.resequencer ORDER BY id',
		q{SELECT q.queue, l.* FROM spool.queues q, spool.ls(q.queue) l ORDER BY 1, l.packet_id},
		q{SELECT q.queue, l.packet_id, md5(spool.get_packet(q.queue, l.packet_id)::bytea)
			FROM spool.queues q, spool.ls(q.queue) l ORDER BY 1, 2},
		q{SELECT q, s, spool.next_seq(q, s) FROM (VALUES ('plain', 's0'), ('plain', 's1'),
			('plain', 's2'), ('numbered', 'a'), ('numbered', 'late'), ('numbered', 'conflict'),
			('newest', 'key'), ('stopped', '')) v (q, s)},
		q{SELECT q.queue, g.* FROM spool.queues q, spool.gaps(q.queue) g
			WHERE NOT q.append_only ORDER BY 1, 2, 3},
		'SELECT * FROM spool.dead_letters ORDER BY packet_id, name, stream, seq',
		'SELECT * FROM spool.stat_keys ORDER BY resequencer, key, target',
		'SELECT * FROM spool.registrations ORDER BY resequencer, key, target, sn, part',
		'SELECT * FROM spool.stat_resequencers ORDER BY resequencer',
		q{SELECT r.resequencer, p.* FROM spool.resequencers r, spool.promoted(r.resequencer) p ORDER BY 1, 2, 3, 4},
		'SELECT * FROM spool.attempts ORDER BY started_at',
		'SELECT * FROM spool.actions ORDER BY at, action',
		q{SELECT spool.sender_next('sender')});
}

# What happens when a database goes on.
sub go_on
{
	my ($db) = @_;
	sql($db, q{
		SELECT spool.resume_queue('plain', 's1');
		SELECT spool.resume_queue('stopped');
		SELECT spool.write('numbered', spool.make_packet(i, 'late'::text), 'a') FROM generate_series(4, 6) i;
	});
	return join "\n", map { sql($db, $_) } (
		(   map {
				"SELECT spool.enqueue('$_', 'more'::text, stream => "
				  . ($_ eq 'plain' ? "'s1'" : "''") . ')'
			} qw(plain stopped timed free)),
		q{SELECT seq, spool.kind(p) FROM (SELECT spool.prepare('sender', 'y'::text) AS p) x, spool.seq(p) AS seq},
		(   map {
				"SELECT queue, stream, seq, params, env, convert_from(payload, 'UTF8') FROM spool.take('$_', 100)"
			} qw(plain timed free newest stopped numbered)),
		q{SELECT q.queue, l.stream, l.seq, l.state FROM spool.queues q, spool.ls(q.queue) l
			ORDER BY 1, 2, 3, l.packet_id},
		q{SELECT spool.set_next_seq('plain', 1, 's0')},
		q{SELECT seq, convert_from(payload, 'UTF8') FROM spool.take('plain', 1, stream => 's0')},
		q{SELECT spool.redrive('numbered')},
		q{SELECT seq, convert_from(payload, 'UTF8') FROM spool.take('numbered', 10)},
		(   map { "SELECT spool.$_" } (
				"resequence('feed', 'parked', 1, 'x')",
				"resequence('feed', 'parked', 3, 'x')",
				"register('feed', 'parked', 2)",
				"resequence('feed', 'promoted', 1, 'y')",
				"resequence('feed', 'promoted', 2, 'y')",
				"register('feed', 'promoted', 1, digest => 'same')",
				"register('feed', 'tree', 1, part => '{1}')",
				"resequence('feed', 'tree', 1, 'x', '{1}')",
				"resequence('feed', 'tree', 1, 'x', '{2}')",
				"resequence('feed', 'idle', 5, 'x')",
				"resequence('feed', 'idle', 4, 'x')",
				"register('feed', 'idle', 4)",
				"register('feed', 'gone', 5)",
				"resequence('feed', 'again', 1, 'x')",
				"resequence('feed', 'held', 1, 'x')",
				"resume_key('feed', 'held')",
				"resequence('feed', 'held', 1, 'x')",
				"register('feed', 'new', 1)",
				"resequence('acks', 'passed', 2)",
				"resequence('acks', 'passed', 1)",
				"applied('acks', 'passed', 2)",
				"resequence('acks', 'failed', 1)",
				"skip_delivery('acks', 'failed', 1)",
				"expire('feed')")),
		q{SELECT key, epoch, target, applied, latest, live, parked, state FROM spool.stat_keys ORDER BY key, target},
		q{SELECT count(*), count(DISTINCT id) FROM spool.reseq_key},
		q{CALL spool.maintain()},
		q{SELECT spool.create_resequencer('more'), spool.alter_resequencer('records', '{a,b,c}')},
		q{SELECT id, name, targets FROM spool.resequencer ORDER BY id},
		q{SELECT spool.drop_resequencer(resequencer) FROM spool.resequencers},
		q{SELECT spool.drop_queue(queue, true) FROM spool.queues},
		q{SELECT count(*) FROM spool.store},
		q{SELECT count(*) FROM spool.reseq_key});
}

my $before = picture('source');
like($before, qr/\|conflict\|.*\|division by zero\|/s, 'the picture shows states and attempts');
$node->command_ok(
	[ 'pg_dump', '-f', "$dir/dump.sql", $node->connstr('source') ],
	'pg_dump');
sql('postgres', 'CREATE DATABASE restored');
$node->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dir/dump.sql", $node->connstr('restored') ],
	'restored');
sql('postgres', 'CREATE DATABASE copied TEMPLATE source');
$node->command_ok(
	[ 'pg_dump', '-Fc', '-f', "$dir/dump", $node->connstr('restored') ],
	'pg_dump of what was restored');
sql('postgres', 'CREATE DATABASE again');
$node->command_ok(
	[ 'pg_restore', '--exit-on-error', '-d', $node->connstr('again'), "$dir/dump" ],
	'pg_restore');
is(picture('source'), $before, 'nothing changed by that');
is(picture($_), $before, "R77: $_: the same can be seen")
  foreach qw(restored copied again);
is(sql($_, 'UPDATE account SET sn = 4 RETURNING sn; UPDATE account SET sn = 6 RETURNING sn'),
	'6', "$_: a guarded table refuses stale writes")
  foreach qw(source restored copied again);

my $after = go_on('source');
like($after, qr/^plain\|s1\|5\|.*\|more$/m, 'going on shows jobs');
like($after, qr/^\(park,superseded,3,t\)\n\(pass,,3,f\)\n/m, '... and verdicts');
is(go_on($_), $after, "R77: $_: it goes on as the source did")
  foreach qw(restored copied again);

# ---- DROP EXTENSION and CREATE EXTENSION in one session --------------------
sql('postgres', 'CREATE DATABASE twice');
my $use = q{
	CREATE EXTENSION spool;
	SELECT spool.create_queue('q', history => 'all');
	SELECT spool.create_queue('p');
	SELECT spool.set_handler('q', 'INSERT INTO done VALUES (($1).seq)');
	SELECT spool.set_program('p', '/bin/true');
	SELECT spool.enqueue_many('q', ARRAY['a', 'b', 'c']);
	SELECT spool.enqueue('p', 'x'::text);
	SELECT seq, payload FROM spool.take('q');
	CALL spool.process('q');
	CALL spool.process('p');
	SELECT spool.next_seq('q'), count(*) FROM spool.attempts;
	SELECT spool.seq(spool.prepare('s', 'x'::text));
	INSERT INTO spool.inbox VALUES ('p', 'x', spool.make_packet(1));
	SELECT seq FROM spool.peek('p');
	CALL spool.maintain();
	SELECT state FROM spool.ls('p');
};
my $out = sql('twice', "CREATE TABLE done (seq bigint);\n$use\nDROP EXTENSION spool;\n\\echo again\n$use");
my ($first, $second) = split /^again\n/m, $out;
is($second, $first =~ s/\n\z//r, 'a session goes on with the extension created again');
is(sql('twice', 'SELECT count(*) FROM done'), '4', 'handlers ran');

# ---- memory ----------------------------------------------------------------
my $N = 100_000;
my $memory = 'SELECT sum(used_bytes) FROM pg_backend_memory_contexts';
sql('postgres', 'CREATE DATABASE large');
sql('large', qq{
	CREATE EXTENSION spool;
	CREATE TABLE memory (seq bigint, bytes bigint);
	SELECT spool.create_queue('p');
	SELECT spool.create_queue('t');
	SELECT spool.set_handler('p', \$\$
		INSERT INTO memory SELECT (\$1).seq, (${memory}) WHERE (\$1).seq % 10000 = 0 \$\$);
	SELECT spool.enqueue_many(q, array_fill('payload'::text, '{$N}')) FROM unnest(ARRAY['p', 't']) q;
});
is(sql('large', "CALL spool.process('p')"), $N, "$N jobs by process");
my ($early, $late) = split /\|/,
  sql('large', "SELECT max(bytes) FILTER (WHERE seq = 10000), max(bytes) FILTER (WHERE seq = $N) FROM memory");
cmp_ok($late - $early, '<', 16_000, 'F84: memory does not grow while they run')
  or diag sql('large', 'TABLE memory');

my $takes = join ";\n",
  ("SELECT FROM (SELECT count(*) FROM spool.take('t', 990)) x") x ($N / 1000),
  ("SELECT FROM (SELECT count(*) FROM spool.take('t')) x") x ($N / 100);
my @numbers = grep { /\d/ } split /\n/,
  sql('large', "SELECT FROM spool.take('t', 990);\nSELECT FROM spool.take('t');\n$memory;\n"
	  . "$takes;\n$memory;\nSELECT spool.next_seq('t')");
is($numbers[2], $N + 1, "$N jobs by take");
cmp_ok($numbers[1] - $numbers[0], '<', 16_000, 'F84: memory does not grow while they are taken');

# ---- a standby: looking works, the rest is refused -------------------------
my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE EXTENSION spool;
	SELECT spool.create_queue('q'), spool.set_handler('q', 'SELECT 1');
	SELECT spool.enqueue('q', 'x');
	SELECT spool.create_resequencer('r'), spool.register('r', 'k', 1);
});
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
is( $standby->safe_psql('postgres', q{
		SELECT l.state, convert_from(p.payload, 'UTF8'), spool.next_seq('q'), spool.seq(spool.get_packet('q', l.packet_id))
		  FROM spool.ls('q') l, spool.peek('q') p}),
	'ready|x|1|1', 'F72: a standby can be looked at');

# a job that runs on the primary
my %session = map { $_ => $primary->background_psql('postgres') } qw(lock runner);
$session{lock}->query_safe('SELECT pg_advisory_lock(7)');
$primary->safe_psql('postgres', q{SELECT spool.create_queue('busy'),
	spool.set_handler('busy', 'SELECT pg_advisory_xact_lock(7)'), spool.enqueue('busy', 'x')});
$session{runner}->query_until(qr/started/, "\\echo started\nCALL spool.process('busy');\n");
ok($primary->poll_query_until('postgres', "SELECT state = 'running' AND pid > 0 FROM spool.stat_streams WHERE queue = 'busy'"),
	'it is shown there');
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT queue, waiting, state, reason, pid FROM spool.stat_streams ORDER BY queue'),
	"busy|0|running||\nq|1|ready||", 'F72: and on the standby, but for its process');
is($standby->safe_psql('postgres', 'SELECT queue, waiting, running, done FROM spool.stat_queues ORDER BY queue'),
	"busy|0|1|0\nq|1|0|0", 'F72: counts on a standby');
is($standby->safe_psql('postgres', 'SELECT resequencer, targets FROM spool.resequencers'), 'r|{default}', 'resequencers on a standby');
is( $standby->safe_psql('postgres', q{
		SELECT key, latest, state, spool.is_current('r', key, 1), (SELECT count(*) FROM spool.promoted('r')) FROM spool.stat_keys}),
	'k|1|live|t|0', '... and what they know');
is($standby->safe_psql('postgres', "SELECT state FROM spool.ls('busy')"), 'running', 'F72: it is listed as that');
$session{lock}->query_safe('SELECT pg_advisory_unlock(7)');
$_->quit foreach values %session;
foreach my $statement (
	q{SELECT spool.enqueue('q', 'y')},
	q{SELECT spool.write('q', spool.make_packet(1))},
	q{SELECT spool.take('q')},
	q{CALL spool.process('q')},
	q{SELECT spool.set_next_seq('q', 7)},
	q{SELECT spool.alter_queue('q')},
	q{SELECT spool.alter_resequencer('r')},
	q{SELECT spool.drop_resequencer('r')},
	q{SELECT spool.register('r', 'k', 2)},
	q{SELECT spool.resequence_many('r', ARRAY['k'], ARRAY[1])},
	q{SELECT spool.expire('r')})
{
	my ($rc, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\n$statement", on_error_stop => 0);
	like($err, qr/ERROR:  55000: cannot change (queue "q"|resequencer "r") during recovery\nDETAIL:  On a standby (queue|resequencer)s can only be looked at/, "F72: refused: $statement");
}
$standby->stop;
$primary->stop;

$node->stop;
done_testing();
