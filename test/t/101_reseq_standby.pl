
# R75: a synchronous standby takes over in the middle of verbs.  What a client
# was told is there, numbers applied to a target increase, nothing passes below
# them, and counts add up: before, across and after the change.

use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $CLIENTS = 4;
my $VERBS = 600;    # of each client
my $KEYS = 5;
my $CHANGE = 600;    # verbs before the change

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "fsync = off\nsynchronous_standby_names = '*'\nsynchronous_commit = local");
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE EXTENSION spool;
	SELECT spool.create_resequencer('r', '{x,y}', on_unregistered => 'wait');
	-- what each client did, in the order in which it was decided for a key
	CREATE TABLE log (id bigserial, client int, step int, verb text, key text, sn bigint, target text, verdict text);
	CREATE SEQUENCE sns;
	-- One verb, of a kind that changes with the step.  The newest numbers are
	-- resequenced, and some that are older.
	CREATE FUNCTION act(_client int, _step int, _keys int) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE
		_key text := 'key ' || (_client * 7 + _step * 3) % _keys;
		_target text := CASE WHEN (_step / 5) % 2 = 0 THEN 'x' ELSE 'y' END;
		_verb text;
		_sn bigint;
		_verdict text;
	BEGIN
		_verb := CASE WHEN _step % 3 = 0 THEN 'register' WHEN _step % 23 = 0 THEN 'unregister'
			WHEN _step % 29 = 0 THEN 'failed' ELSE 'resequence' END;
		-- locks the key: numbers are registered in their order
		PERFORM spool.resequence('r', _key, 0, _target);
		IF _verb = 'register' THEN
			_sn := nextval('sns');
			SELECT verdict INTO _verdict FROM spool.register('r', _key, _sn);
		ELSE
			SELECT sn INTO _sn FROM spool.registrations
				WHERE resequencer = 'r' AND key = _key AND target = _target AND live
				ORDER BY CASE WHEN _step % 4 = 0 THEN sn ELSE -sn END LIMIT 1;
			_sn := coalesce(_sn, _step % 50);
			CASE _verb
				WHEN 'unregister' THEN
					SELECT verdict INTO _verdict FROM spool.unregister('r', _key, _sn, _target);
				WHEN 'failed' THEN
					SELECT verdict INTO _verdict FROM spool.failed('r', _key, _sn, _target);
				ELSE
					SELECT verdict INTO _verdict FROM spool.resequence('r', _key, _sn, _target);
			END CASE;
		END IF;
		INSERT INTO log (client, step, verb, key, sn, target, verdict)
			VALUES (_client, _step, _verb, _key, _sn, _target, _verdict);
		RETURN _step;
	END $$;
	-- each key is there, with a number that has ended
	INSERT INTO log (client, step, verb, key, sn, verdict)
		SELECT 0, 0, 'register', key, 0, (spool.register('r', key, 0)).verdict
		FROM (SELECT 'key ' || n AS key FROM generate_series(0, 4) n) k;
	SELECT spool.unregister('r', key, 0) FROM log;
});
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);
$primary->safe_psql('postgres', 'ALTER SYSTEM SET synchronous_commit = on');
$primary->reload;
$primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'})
  or die 'not synchronous';

# Start clients that go on from a step each; what they are told is in files.
sub told
{
	my ($client) = @_;
	return "$dir/told.$client";
}

sub start_clients
{
	my ($node, @from) = @_;
	my @runs;
	foreach my $client (0 .. $CLIENTS - 1)
	{
		my $script = "$dir/client.$client.sql";
		PostgreSQL::Test::Utils::append_to_file($script, "\\set ON_ERROR_STOP 1\n"
			  . join '', map { "SELECT act($client, $_, $KEYS);\n" } $from[$client] .. $VERBS);
		push @runs,
		  IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $script ],
			'<', '/dev/null', '>', told($client), '2>', "$dir/error.$client",
			IPC::Run::timeout(4 * $PostgreSQL::Test::Utils::timeout_default));
	}
	return @runs;
}

# All that must hold at every commit.
sub check
{
	my ($node, $when) = @_;
	is( $node->safe_psql('postgres', q{
			SELECT count(*) FROM (SELECT sn, max(sn) OVER (PARTITION BY key, target ORDER BY id
					ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
				FROM log WHERE verdict = 'pass') p WHERE sn <= before}),
		'0', "R75: $when: I1, I2: what passes increases");
	is( $node->safe_psql('postgres', q{
			SELECT count(*) FROM spool.stat_keys s LEFT JOIN (SELECT key, target, max(sn) AS sn, count(*) AS n
					FROM log WHERE verdict = 'pass' GROUP BY key, target) p USING (key, target)
				WHERE s.applied IS DISTINCT FROM p.sn}),
		'0', "R75: $when: the highest that passed is what was applied");
	is( $node->safe_psql('postgres', q{
			SELECT registered = applied + suppressed + dead + expired + unregistered + live,
				registered = (SELECT count(*) * 2 FROM log WHERE verb = 'register'),
				applied = (SELECT count(*) FROM log WHERE verdict = 'pass'),
				live = (SELECT count(*) FROM spool.registrations WHERE live)
			FROM spool.stat_resequencers}),
		't|t|t|t', "R75: $when: I5: counts add up, and are those of the calls");
	return;
}

my @runs = start_clients($primary, (1) x $CLIENTS);
$primary->poll_query_until('postgres', "SELECT count(*) >= $CHANGE FROM log") or die 'too slow';
$primary->stop('immediate');
$_->finish foreach @runs;
my @acknowledged = map { (split /\n/, slurp_file(told($_)))[-1] // 0 } 0 .. $CLIENTS - 1;
unlink glob "$dir/client.*";
$standby->promote;

check($standby, 'promoted');
my @reached = split /\n/,
  $standby->safe_psql('postgres', "SELECT coalesce(max(step), 0) FROM generate_series(0, $CLIENTS - 1) c LEFT JOIN log ON client = c GROUP BY c ORDER BY c");
foreach my $client (0 .. $CLIENTS - 1)
{
	my $lead = $reached[$client] - $acknowledged[$client];
	ok($lead == 0 || $lead == 1, "R75: client $client: all it was told of is there, and at most one more")
	  or diag "told $acknowledged[$client], there $reached[$client]";
}
cmp_ok($standby->safe_psql('postgres', 'SELECT count(*) FROM log'), '<', $CLIENTS * $VERBS, 'in the middle');

@runs = start_clients($standby, map { $_ + 1 } @reached);
$_->finish foreach @runs;
is($standby->safe_psql('postgres', 'SELECT client, count(DISTINCT step), max(step) FROM log WHERE step > 0 GROUP BY client ORDER BY client'),
	join("\n", map { "$_|$VERBS|$VERBS" } 0 .. $CLIENTS - 1), 'clients went on to the end');
check($standby, 'at the end');
cmp_ok($standby->safe_psql('postgres', "SELECT count(*) FROM log WHERE verdict = 'pass'"), '>', 50, 'many passed');
cmp_ok($standby->safe_psql('postgres', "SELECT count(DISTINCT verdict) FROM log"), '>', 5, 'and many did not');

# the newest of each key passes still
$standby->safe_psql('postgres', q{
	INSERT INTO log (client, step, verb, key, sn, target, verdict)
	SELECT 0, 0, 'resequence', key, sn, target, (spool.resequence('r', key, sn, target)).verdict
		FROM (SELECT DISTINCT ON (key, target) key, sn, target FROM spool.registrations WHERE live
			ORDER BY key, target, sn DESC) newest});
is($standby->safe_psql('postgres', "SELECT DISTINCT verdict FROM log WHERE step = 0 AND verb = 'resequence'"), 'pass', 'the newest passes');
is($standby->safe_psql('postgres', 'SELECT live FROM spool.stat_resequencers'), '0', 'and nothing is live any more');
check($standby, 'then');

$standby->stop;
done_testing();
