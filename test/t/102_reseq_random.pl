
# Eight sessions call the resequencer's verbs at random for fifty keys, with
# rollbacks, and note what was answered, in the same transaction and under the
# key's lock.  What was noted must show the invariants (R52, R35).

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{RESEQ_SEED} || 1 + int(rand(2**31 - 2));
note("RESEQ_SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'spool'
max_worker_processes = 16
log_error_verbosity = verbose
client_min_messages = warning
});
$node->start;

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

sub is_none
{
	my ($query, $name) = @_;
	is(sql($query), '', $name);
	return;
}

sql(q{
CREATE EXTENSION spool;
SELECT spool.create_resequencer('acked', targets => '{a,b}', delivery => 'acked', max_suppressed => 4, deadline => '3 s'),
	spool.create_resequencer('atomic', targets => '{a,b}', on_unregistered => 'dead'),
	spool.create_resequencer('trees', targets => '{a,b}', on_unregistered => 'wait', deadline => '3 s', tree_timeout => '2 s'),
	spool.create_resequencer('resets', targets => '{a,b}', on_unregistered => 'register');

-- What the targets show; those of acked delivery are guarded.
CREATE TABLE shown (record text PRIMARY KEY, sn bigint);
CREATE TABLE guarded (LIKE shown INCLUDING ALL);
SELECT spool.guard('guarded', 'record', 'sn');

-- What was answered, in the order of the calls for one key.
CREATE TABLE log (
	n bigserial, reseq text, key text, epoch int, target text, sn bigint, part int[],
	verb text, verdict text, reason text, repeat bool
);
CREATE TABLE written (n bigserial, record text, sn bigint);
CREATE SEQUENCE verbs;
-- What passed and is to be delivered, by whom.
CREATE TABLE passed (pid int, key text, target text, sn bigint);

CREATE FUNCTION note(r text, k text, t text, s bigint, p int[], verb text, v text, reason text, repeat bool) RETURNS void
LANGUAGE sql AS $$
	INSERT INTO log (reseq, key, epoch, target, sn, part, verb, verdict, reason, repeat)
	SELECT r, k, (SELECT y.epoch FROM spool.reseq_key y JOIN spool.resequencer q ON q.id = y.resequencer WHERE q.name = r AND y.key = k),
		t, s, p, verb, v, reason, repeat
$$;

-- Deliver what passed, in the transaction of the pass, or remember it.
CREATE FUNCTION deliver(r text, k text, t text, s bigint) RETURNS void
LANGUAGE sql AS $$
	INSERT INTO passed SELECT pg_backend_pid(), k, t, s WHERE r = 'acked';
	INSERT INTO shown SELECT concat_ws(' ', r, k, t), s WHERE r <> 'acked'
		ON CONFLICT (record) DO UPDATE SET sn = excluded.sn;
$$;

-- One verb.  What it refuses is noted, too.
CREATE FUNCTION verb(what text, r text, k text, s bigint, t text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	v     record;
	part  int[] := CASE WHEN r = 'trees' AND s % 3 = 0 AND random() < 0.8 THEN ARRAY[1 + floor(random() * 3)::int] END;
	parts int := CASE WHEN r = 'trees' AND s % 3 = 0 AND part IS NULL THEN 3 END;
	state text;
BEGIN
	PERFORM nextval('verbs');
	CASE what
		WHEN 'register' THEN
			v := spool.register(r, k, s, CASE WHEN part IS NULL AND random() < 0.2 THEN ARRAY[t] END, parts => parts, part => part);
		WHEN 'add_target' THEN
			v := spool.add_target(r, k, s, t);
		WHEN 'resequence' THEN
			v := spool.resequence(r, k, s, t, part);
			IF v.verdict = 'pass' THEN
				PERFORM deliver(r, k, t, s);
			END IF;
		WHEN 'failed' THEN
			v := spool.failed(r, k, s, t, part, error => 'at random');
		WHEN 'unregister' THEN
			v := spool.unregister(r, k, s, CASE WHEN random() < 0.5 THEN t END, part);
		WHEN 'skip' THEN
			v := spool.skip_delivery(r, k, s, t, part);
		WHEN 'suspend' THEN
			v := spool.suspend_key(r, k, 'at random');
		WHEN 'resume' THEN
			v := spool.resume_key(r, k);
		WHEN 'reset' THEN
			v := spool.reset(r, k);
	END CASE;
	PERFORM note(r, k, t, s, part, what, v.verdict, v.reason, v.repeat);
EXCEPTION
	-- not registered; not passed; no such key; parts in disagreement
	WHEN no_data_found OR object_not_in_prerequisite_state OR undefined_object OR unique_violation OR invalid_parameter_value THEN
		GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;
		PERFORM note(r, k, t, s, part, what, 'error', state, false);
END $$;

-- Numbers of a key that are called for now: some of them at any time.
CREATE FUNCTION number(r text) RETURNS bigint
LANGUAGE sql AS $$
	SELECT CASE WHEN r = 'resets' THEN 0 ELSE last_value / 500 END + floor(random() * 6)::bigint FROM verbs
$$;

CREATE FUNCTION key() RETURNS text
LANGUAGE sql AS $$ SELECT 'k' || (1 + floor(random() * 50)::int) $$;

CREATE FUNCTION target() RETURNS text
LANGUAGE sql AS $$ SELECT CASE WHEN random() < 0.5 THEN 'a' ELSE 'b' END $$;

-- Some verbs for one key, some of them rolled back to a savepoint.
CREATE FUNCTION some_verbs(r text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	k     text := key();
	named record;
	dice  float8;
BEGIN
	IF random() < 0.3 THEN
		SELECT * INTO named FROM spool.promoted(r) p ORDER BY random() LIMIT 1;
		IF FOUND THEN
			k := named.key;
			PERFORM verb('resequence', r, k, named.sn, named.target);
		END IF;
	END IF;
	FOR i IN 1 .. 1 + floor(random() * 4) LOOP
		dice := random();
		BEGIN
			PERFORM verb(CASE
				WHEN dice < 0.40 THEN 'register'
				WHEN dice < 0.80 THEN 'resequence'
				WHEN dice < 0.85 THEN 'failed'
				WHEN dice < 0.89 THEN 'unregister'
				WHEN dice < 0.93 THEN 'add_target'
				WHEN dice < 0.94 THEN 'suspend'
				WHEN dice < 0.98 THEN 'resume'
				WHEN dice < 0.99 OR r <> 'resets' THEN 'skip'
				ELSE 'reset' END, r, k, number(r), target());
			IF random() < 0.15 THEN
				RAISE EXCEPTION USING ERRCODE = 'SBACK', MESSAGE = 'rolled back';
			END IF;
		EXCEPTION WHEN SQLSTATE 'SBACK' THEN
			NULL;
		END;
	END LOOP;
END $$;

-- The verbs for many keys, which lock them in one order.
CREATE FUNCTION batch(r text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	keys text[];
	sns  bigint[];
	t    text := target();
	v    record;
BEGIN
	SELECT array_agg(key()), array_agg(number(r)) INTO keys, sns FROM generate_series(1, 8);
	PERFORM nextval('verbs') FROM generate_series(1, 8);
	IF random() < 0.5 THEN
		PERFORM note(r, m.key, t, m.sn, NULL, 'register', m.verdict, m.reason, m.repeat)
		   FROM spool.register_many(r, keys, sns) m;
		RETURN;
	END IF;
	-- only those that exist, so that none is refused
	SELECT array_agg(x.key), array_agg(x.sn) INTO keys, sns
	  FROM (SELECT x.key, x.sn FROM spool.registrations x WHERE x.resequencer = r AND x.target = t AND x.part IS NULL ORDER BY random() LIMIT 8) x;
	IF keys IS NOT NULL THEN
		FOR v IN SELECT * FROM spool.resequence_many(r, keys, sns, t) LOOP
			PERFORM note(r, v.key, t, v.sn, NULL, 'resequence', v.verdict, v.reason, v.repeat);
			IF v.verdict = 'pass' THEN
				PERFORM deliver(r, v.key, t, v.sn);
			END IF;
		END LOOP;
	END IF;
EXCEPTION WHEN no_data_found THEN
	NULL;		-- one that expired and was forgotten meanwhile
END $$;

-- Deliver something that passed in a transaction before, perhaps too late.
CREATE FUNCTION apply() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	p passed;
	v record;
BEGIN
	DELETE FROM passed
	 WHERE ctid = (SELECT q.ctid FROM passed q WHERE q.pid = pg_backend_pid() ORDER BY random() LIMIT 1)
	RETURNING * INTO p;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	PERFORM nextval('verbs');
	INSERT INTO guarded VALUES (p.key || ' ' || p.target, p.sn)
		ON CONFLICT (record) DO UPDATE SET sn = excluded.sn;
	IF FOUND THEN
		INSERT INTO written (record, sn) VALUES (p.key || ' ' || p.target, p.sn);
	END IF;
	BEGIN
		v := spool.applied('acked', p.key, p.sn, p.target);
		PERFORM note('acked', p.key, p.target, p.sn, NULL, 'applied', v.verdict, v.reason, v.repeat);
	EXCEPTION WHEN object_not_in_prerequisite_state THEN
		NULL;		-- ended, and registered again
	END;
END $$;
});

# act(MODES, TRANSACTIONS): what eight sessions do, each so many
my %weights = (verbs => 12, rollback => 2, batch => 2, batch_rollback => 1, apply => 8, expire => 1);

sub act
{
	my ($resequencers, $transactions) = @_;
	my $n = () = $resequencers =~ /\w+/g;
	my $start = "\\set chance random(0, 1000000)\n\\set r random(1, $n)\n";
	my $set = 'SELECT setseed(:chance::float8 / 1000000);';
	my $which = "('{$resequencers}'::text[])[:r]";
	my %scripts = (
		verbs => "$set\nSELECT some_verbs($which);\n",
		rollback => "BEGIN;\n$set\nSELECT some_verbs($which);\nROLLBACK;\n",
		batch => "$set\nSELECT batch($which);\n",
		batch_rollback => "BEGIN;\n$set\nSELECT batch($which);\nROLLBACK;\n",
		apply => "$set\nSELECT apply();\n",
		expire => "SELECT spool.expire($which);\n");
	$node->pgbench(
		"-n -c 8 -j 2 -M prepared -t $transactions --random-seed=$seed", 0,
		[qr/actually processed/], [qr/^(?!.*(aborted|deadlock|ERROR))/s],
		"R52: $resequencers: no verb fails, so there is no deadlock",
		{ map { ("101_${resequencers}_$_\@$weights{$_}" =~ s/,/_/r => $start . $scripts{$_}) } keys %scripts });
	return;
}

act('acked,atomic', 1200);
cmp_ok(sql('SELECT last_value FROM verbs'), '>=', 20000, 'R52: 20,000 verbs');
act('trees', 150);
act('resets', 150);

# ---- nothing is forgotten -----------------------------------------------------
# Keys are resumed, and what never came is taken back: then all that had to wait
# is named, passes and ends, or is over by what passed.  (In the others it may
# end by its deadline meanwhile.)
sql(q{
SELECT spool.resume_key(resequencer, key) FROM (SELECT DISTINCT resequencer, key FROM spool.stat_keys WHERE state = 'suspended') k;
SELECT spool.unregister(resequencer, key, sn, target) FROM spool.registrations
 WHERE resequencer IN ('atomic', 'resets') AND live AND state = 'registered';
CREATE FUNCTION drain(r text, OUT passed int, OUT others int) LANGUAGE plpgsql AS $$
DECLARE
	p record;
BEGIN
	passed := 0;
	others := 0;
	LOOP
		SELECT * INTO p FROM spool.promoted(r);
		EXIT WHEN NOT FOUND OR others > 0;
		PERFORM verb('resequence', r, p.key, p.sn, p.target);
		PERFORM FROM log WHERE n = currval('log_n_seq') AND verdict = 'pass';
		passed := passed + FOUND::int;
		others := others + (NOT FOUND)::int;
	END LOOP;
END $$;
CREATE FUNCTION finish() RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	PERFORM spool.expire(r) FROM unnest('{acked,trees}'::text[]) r;
	RETURN NOT EXISTS (SELECT FROM spool.stat_resequencers WHERE resequencer IN ('acked', 'trees') AND (live > 0 OR parked > 0));
END $$;
});
foreach my $resequencer ('atomic', 'resets')
{
	my ($passed, $others) = split /\|/, sql("SELECT passed, others FROM drain('$resequencer')");
	is($others, '0', "I3: $resequencer: what is named passes");
	cmp_ok($passed, '>', 0, "I3: $resequencer: some were") if $resequencer eq 'atomic';
	is(sql("SELECT live, parked FROM spool.stat_resequencers WHERE resequencer = '$resequencer'"), '0|0', "I3: $resequencer: so nothing is forgotten");
}
ok($node->poll_query_until('postgres', 'SELECT finish()'), 'R52: after the deadline nothing is live');
is_none('SELECT * FROM spool.registrations WHERE live', 'R52: no registration is');
is_none('SELECT p FROM spool.resequencers r, spool.promoted(r.resequencer) p', 'R52: nothing is promoted any more');

# ---- invariants ---------------------------------------------------------------
# high: the highest number that was applied before; known: that was called.
sql(q{
ANALYZE log;
CREATE TABLE seen AS
SELECT l.*, max(sn) FILTER (WHERE done) OVER (lane ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS high,
	max(sn) FILTER (WHERE verb IN ('register', 'add_target', 'resequence')) OVER (PARTITION BY reseq, key, epoch ORDER BY n) AS known
  FROM (SELECT *, CASE reseq WHEN 'acked' THEN verb = 'applied' AND verdict = 'applied' ELSE verb = 'resequence' AND verdict = 'pass' END AND NOT repeat AS done
          FROM log WHERE verdict <> 'error') l
WINDOW lane AS (PARTITION BY reseq, key, epoch, target ORDER BY n);
});
is_none("SELECT * FROM unnest('{pass,park,wait,suppress,duplicate,dead,unregistered,current,superseded,stale,applied,suspended,resumed,reset,error}'::text[]) v
	WHERE v NOT IN (SELECT verdict FROM log)", 'all verdicts were given');
is_none(q{
	SELECT * FROM (SELECT *, (sn, coalesce(part, '{}')) <= lag((sn, coalesce(part, '{}'))) OVER (PARTITION BY reseq, key, epoch, target ORDER BY n) AS falls
		FROM seen WHERE done) s WHERE falls},
	'I1: the numbers that were applied rise');
is_none('SELECT * FROM (SELECT *, sn < lag(sn) OVER (PARTITION BY record ORDER BY n) AS falls FROM written) s WHERE falls',
	'I1: so do those that a guarded table shows');
is_none(q{
	SELECT * FROM shown x JOIN (SELECT DISTINCT ON (reseq, key, target) concat_ws(' ', reseq, key, target) AS record, sn
		FROM seen WHERE done ORDER BY reseq, key, target, n DESC) l USING (record) WHERE x.sn <> l.sn},
	'I1: the other shows what was applied last');
is_none("SELECT * FROM seen WHERE verdict = 'pass' AND sn <= high AND (part IS NULL OR sn < high)",
	'I2: nothing passes after something newer was applied');
is_none(q{
	SELECT * FROM (SELECT *, lag(sn) OVER lane AS open, lag(n) OVER lane AS since FROM seen
		WHERE reseq = 'acked' AND verb = 'resequence' AND verdict = 'pass' AND NOT repeat WINDOW lane AS (PARTITION BY key, target ORDER BY n)) p
	 WHERE p.open <> p.sn
	   AND NOT EXISTS (SELECT FROM seen e WHERE e.reseq = p.reseq AND e.key = p.key AND e.sn = p.open AND e.n BETWEEN p.since AND p.n
		AND e.verb IN ('applied', 'failed', 'unregister', 'skip'))
	   AND NOT EXISTS (SELECT FROM spool.dead_letters d WHERE d.name = p.reseq AND d.stream = p.key AND d.target = p.target AND d.seq = p.open AND d.reason = 'deadline')},
	'I2: of two that passed one has ended before');
is_none("SELECT * FROM seen WHERE verb = 'resequence' AND reason = 'stale' AND (sn < high) IS NOT TRUE",
	'I2: only what is older is stale');
is_none("SELECT * FROM seen WHERE reason = 'superseded' AND verb = 'resequence' AND sn >= known",
	'I2: the newest is never superseded');
is_none('SELECT * FROM spool.reseq_lane WHERE registered <> delivered + suppressed + dead + expired + unregistered + live',
	'I5, R35: all states of all lanes add up');
is_none('SELECT * FROM spool.stat_resequencers WHERE registered <> applied + suppressed + dead + expired + unregistered + live OR registered = 0',
	'I5, R35: so do resequencers');
sql(q{
CREATE VIEW counted AS
SELECT r.name AS reseq, r.targets[c.target] AS target, sum(delivered) AS delivered, sum(dead) AS dead, sum(expired) AS expired, sum(forced) AS forced
  FROM (SELECT k.resequencer, l.target, l.delivered, l.dead, l.expired, l.forced
          FROM (SELECT DISTINCT ON (key, target) * FROM spool.reseq_lane ORDER BY key, target, version DESC) l
          JOIN spool.reseq_key k ON k.id = l.key
        UNION ALL
        SELECT t.resequencer, t.target, t.delivered, t.dead, t.expired, t.forced FROM spool.reseq_tally t) c
  JOIN spool.resequencer r ON r.id = c.resequencer
 GROUP BY 1, 2;
});
is( sql("SELECT string_agg(concat_ws(' ', reseq, target, delivered, forced), ', ' ORDER BY reseq, target) FROM counted WHERE reseq <> 'trees'"),
	sql(q{
		SELECT string_agg(concat_ws(' ', reseq, target, delivered, forced), ', ' ORDER BY reseq, target)
		  FROM (SELECT reseq, target, count(*) FILTER (WHERE done) AS delivered,
			count(*) FILTER (WHERE verdict = 'pass' AND reason = 'valve' AND NOT repeat) AS forced
			FROM seen WHERE reseq <> 'trees' GROUP BY 1, 2) s}),
	'I5: what was applied is counted');
is( sql("SELECT string_agg(concat_ws(' ', reseq, target, dead, expired), ', ' ORDER BY reseq, target) FROM counted WHERE reseq <> 'trees' AND dead + expired > 0"),
	sql(q{
		SELECT string_agg(concat_ws(' ', reseq, target, dead, expired), ', ' ORDER BY reseq, target)
		  FROM (SELECT r.name AS reseq, d.target, count(*) FILTER (WHERE reason IN ('failed', 'skipped')) AS dead,
			count(*) FILTER (WHERE reason = 'deadline') AS expired
			FROM spool.reseq_dead d JOIN spool.resequencer r ON r.id = d.resequencer WHERE r.name <> 'trees' GROUP BY 1, 2) s
		 WHERE dead + expired > 0}),
	'I5: what failed or expired is a dead letter');

$node->stop;
unlike(slurp_file($node->logfile), qr/(ERROR|PANIC|FATAL): +(XX000|40P01)/, 'no internal error, no deadlock');
done_testing();
