
# A job that kills its worker, in a batch with jobs of other streams: it alone
# is to blame.  The others run one by one and are done once.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'spool'\nrestart_after_crash = on");
$node->start;
$node->safe_psql('postgres', <<'SETUP');
CREATE EXTENSION spool;
CREATE TABLE done (queue text, stream text, attempt int);
CREATE FUNCTION handle(job spool.job) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO done VALUES (job.queue, job.stream, job.attempt);
    IF convert_from(job.payload, 'UTF8') = 'poison' THEN
        COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID';
        PERFORM pg_sleep(3600);
    END IF;
END $$;
SETUP

foreach my $order ('sequence', 'latest', 'none')
{
	$node->safe_psql('postgres', <<"QUEUE");
SELECT spool.create_queue('$order', order_by => '$order', workers => 1, on_error => 'dead', max_attempts => 2);
SELECT spool.set_handler('$order', 'SELECT public.handle(\$1)');
SELECT spool.enqueue('$order', CASE n WHEN 15 THEN 'poison' ELSE 'x' END, CASE '$order' WHEN 'none' THEN '' ELSE n::text END)
  FROM generate_series(1, 30) n;
QUEUE
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM spool.dead_letters WHERE name = '$order'")
	  or die 'the job that kills is not dead';
	ok( $node->poll_query_until('postgres',
			"SELECT count(*) = 29 FROM done WHERE queue = '$order'"),
		"$order: the other jobs are done");
	is( $node->safe_psql('postgres',
			"SELECT count(DISTINCT stream), max(attempt) FROM done WHERE queue = '$order'"),
		$order eq 'none' ? '1|1' : '29|1', 'each at its first attempt');
	is( $node->safe_psql('postgres',
			"SELECT string_agg(attempt || ' ' || outcome, ', ' ORDER BY attempt) FROM spool.attempts WHERE queue = '$order'"),
		'1 crashed, 2 crashed', 'F76: two attempts of the one that kills are shown');
}

$node->stop;
done_testing();
