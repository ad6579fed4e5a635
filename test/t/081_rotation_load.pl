
# Rotation under load: producers, takers and owners of claims of whom some roll
# back, workers, and upkeep in a loop as if a minute went by each time.  Every
# packet committed is handed out exactly once, by number in order.
# ROTATION_SECONDS says how long it goes on, ROTATION_SEED repeats a run.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{ROTATION_SECONDS} // 8;
my $seed = $ENV{ROTATION_SEED} // int rand 1e6;
note("seed $seed");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'spool'
max_worker_processes = 20
fsync = off
spool.max_workers = 2
CONF
$node->start;

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

sql(q{
CREATE EXTENSION spool;
CREATE TABLE sent (queue text, stream text, seq bigint, payload text);
CREATE TABLE done (id bigserial, queue text, stream text, seq bigint, payload text);
CREATE TABLE emptied (no int, at timestamptz);

-- what is rolled back, and how long a transaction is
CREATE PROCEDURE finish() LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.02 THEN
        PERFORM pg_sleep(random() * 0.3);
    END IF;
    IF random() < 0.15 THEN
        ROLLBACK;
    ELSE
        COMMIT;
    END IF;
END $$;

CREATE PROCEDURE produce(name text, seconds float, seed float) LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := clock_timestamp() + make_interval(secs => seconds);
    queues text[] := '{plain,worked,claimed,timed,free}';
    queue text;
    stream text;
    n int := 0;
BEGIN
    PERFORM setseed(seed);
    COMMIT;
    WHILE clock_timestamp() < until LOOP
        queue := queues[1 + floor(random() * 5)];
        stream := CASE WHEN queue IN ('timed', 'free') THEN '' ELSE 's' || floor(random() * 20) END;
        FOR i IN 1 .. 1 + floor(random() * 3)::int LOOP
            n := n + 1;
            INSERT INTO sent SELECT queue, stream, spool.enqueue(queue, name || n || repeat('x', (random() ^ 20 * 10000)::int), stream), name || n;
        END LOOP;
        CALL finish();
    END LOOP;
END $$;

CREATE PROCEDURE take(seconds float, seed float) LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := clock_timestamp() + make_interval(secs => seconds);
    queues text[] := '{plain,timed,free}';
BEGIN
    PERFORM setseed(seed);
    COMMIT;
    WHILE clock_timestamp() < until LOOP
        INSERT INTO done (queue, stream, seq, payload)
        SELECT queue, stream, seq, rtrim(convert_from(payload, 'UTF8'), 'x') FROM spool.take(queues[1 + floor(random() * 3)], 1 + (random() * 20)::int);
        CALL finish();
    END LOOP;
END $$;

CREATE PROCEDURE claim(seconds float, seed float) LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := clock_timestamp() + make_interval(secs => seconds);
    jobs spool.job[];
BEGIN
    PERFORM setseed(seed);
    COMMIT;
    WHILE clock_timestamp() < until LOOP
        SELECT array_agg(j ORDER BY n) INTO jobs FROM
            (SELECT j::spool.job, row_number() OVER () AS n FROM spool.claim((ARRAY['claimed', 'free'])[1 + floor(random() * 2)], 5) j) x;
        COMMIT;
        CONTINUE WHEN jobs IS NULL;
        IF random() < 0.1 THEN
            PERFORM spool.release(c) FROM (SELECT DISTINCT claim_id AS c FROM unnest(jobs)) x;
            COMMIT;
            CONTINUE;
        END IF;
        INSERT INTO done (queue, stream, seq, payload)
        SELECT queue, stream, seq, rtrim(convert_from(payload, 'UTF8'), 'x') FROM unnest(jobs);
        PERFORM spool.ack(array_agg(DISTINCT claim_id)) FROM unnest(jobs);
        COMMIT;
    END LOOP;
END $$;

CREATE PROCEDURE rotate(seconds float) LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := clock_timestamp() + make_interval(secs => seconds);
BEGIN
    WHILE clock_timestamp() < until LOOP
        UPDATE spool.segment SET moved_at = moved_at - interval '1 min', emptied_at = emptied_at - interval '1 min';
        COMMIT;
        CALL spool.maintain();
        INSERT INTO emptied SELECT no, emptied_at FROM spool.segment WHERE emptied_at > clock_timestamp() - interval '30 s';
        COMMIT;
    END LOOP;
END $$;

CREATE FUNCTION handle(job spool.job) RETURNS void LANGUAGE sql AS $$
    INSERT INTO done (queue, stream, seq, payload)
    VALUES (job.queue, job.stream, job.seq, rtrim(convert_from(job.payload, 'UTF8'), 'x'))
$$;
SELECT spool.create_queue(q) FROM unnest('{plain,claimed}'::text[]) q;
SELECT spool.create_queue('worked', workers => 2);
SELECT spool.create_queue('timed', order_by => 'timestamp');
SELECT spool.create_queue('free', order_by => 'none');
SELECT spool.set_handler('worked', 'SELECT public.handle($1)');
});

# Queue free is shared by takers and owners of claims, and by a slow snapshot.
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
my @calls = (
	(map { "CALL produce('p$_.', $seconds, " . ($seed % 1000 + $_) / 2000 . ')' } 1 .. 3),
	(map { "CALL take($seconds, " . ($seed % 1000 + 10 + $_) / 2000 . ')' } 1 .. 2),
	(map { "CALL claim($seconds, " . ($seed % 1000 + 20 + $_) / 2000 . ')' } 1 .. 2),
	"CALL rotate($seconds)");
my @running;
foreach my $call (@calls)
{
	my ($out, $err) = ('', '');
	push @running, [ $call, \$err, IPC::Run::start([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', $call ],
			'>', \$out, '2>', \$err) ];
}
foreach my $one (@running)
{
	my ($call, $err, $run) = @$one;
	$run->finish;
	is($$err, '', $call =~ s/\(.*//r);
}
$holder->query_safe('COMMIT');
$holder->quit;

# The rest
foreach my $queue (qw(plain claimed timed free))
{
	my $n = 1;
	$n = sql(qq{WITH t AS (INSERT INTO done (queue, stream, seq, payload)
		SELECT queue, stream, seq, rtrim(convert_from(payload, 'UTF8'), 'x') FROM spool.take('$queue', 1000) RETURNING 1) SELECT count(*) FROM t})
	  while $n > 0;
}
ok($node->poll_query_until('postgres', q{SELECT count(*) = (SELECT count(*) FROM done WHERE queue = 'worked') FROM sent WHERE queue = 'worked'}),
	'workers ran all');

note(sql(q{SELECT count(*) || ' packets, ' || (SELECT count(DISTINCT (no, at)) FROM emptied) || ' segments emptied' FROM sent}));
cmp_ok(sql('SELECT count(*) FROM sent'), '>', 100, 'there was some load');
cmp_ok(sql('SELECT count(DISTINCT (no, at)) FROM emptied'), '>', 3, 'segments were emptied meanwhile');
is(sql('SELECT * FROM (SELECT queue, stream, seq, payload FROM sent EXCEPT ALL SELECT queue, stream, seq, payload FROM done) x LIMIT 5'), '', 'nothing was lost');
is(sql('SELECT * FROM (SELECT queue, stream, seq, payload FROM done EXCEPT ALL SELECT queue, stream, seq, payload FROM sent) x LIMIT 5'), '', 'nothing was handed out twice');
is(sql(q{SELECT * FROM (SELECT queue, stream, seq, lag(seq) OVER (PARTITION BY queue, stream ORDER BY id) AS before FROM done
	WHERE queue IN ('plain', 'claimed', 'worked')) x WHERE before >= seq LIMIT 5}), '', 'each stream in order');
is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'}), 0, 'nobody waits');

$node->stop;
done_testing();
