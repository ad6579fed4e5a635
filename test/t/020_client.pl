
# The shell client bin/spool, with packets of the real fspl.

use strict;
use warnings;

use Digest::MD5;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

if (system('fspl --version >/dev/null 2>&1') != 0)
{
	plan skip_all => 'fspl is not installed';
}

my $dir = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION spool');
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';

sub write_file
{
	my ($path, $bytes) = @_;

	open my $file, '>:raw', $path or die "$path: $!";
	print $file $bytes;
	close $file or die "$path: $!";
	return $path;
}

sub md5
{
	my ($path) = @_;

	open my $file, '<:raw', $path or die "$path: $!";
	return Digest::MD5->new->addfile($file)->hexdigest;
}

# Run a program; exit status, standard output, standard error.
sub run_it
{
	my ($in, @command) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run(\@command, '<', $in, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# Make a packet by fspl: of a sender, with a payload.
sub packet
{
	my ($name, $sender, $payload) = @_;

	write_file("$dir/payload", $payload);
	system("fspl prepare -s '$dir/$sender' -i - -- '$name' < '$dir/payload' > '$dir/$name'") == 0
	  or die 'fspl';
	return "$dir/$name";
}

sub queue
{
	my ($name) = @_;
	$node->safe_psql('postgres', "SELECT spool.create_queue('$name')");
	return;
}

sub waiting
{
	my ($queue) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM spool.ls('$queue')");
}

sub entries
{
	my ($path) = @_;
	opendir my $handle, $path or die "$path: $!";
	my @found = sort grep { !/^\.\.?$/ } readdir $handle;
	return @found;
}

sub poll_until
{
	my ($condition) = @_;
	for (1 .. 20 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if $condition->();
		usleep(50_000);
	}
	return 0;
}

# ---- write and ls ----------------------------------------------------------
my $all_bytes = join '', map { chr } 0 .. 255;
my @made = (
	packet('one', 's', $all_bytes),
	packet('two', 's', ''),
	packet('three', 's', "\\.\n\377\377\n"));

queue('q');
is_deeply([ run_it($made[2], 'spool', 'write', 'q') ],
	[ 0, "3 stored\n", '' ], 'a packet from standard input');
is_deeply(
	[ run_it($made[1], 'spool', 'write', 'q', $made[0], '-') ],
	[ 0, "1 stored\n2 stored\n", '' ],
	'packets from a file and from standard input');
is_deeply([ run_it('/dev/null', 'spool', 'write', 'q', @made) ],
	[ 0, "1 duplicate\n2 duplicate\n3 duplicate\n", '' ],
	'F15: the same packets again');
is_deeply(
	[ run_it(packet('other', 't', ''), 'spool', 'write', 'q') ],
	[ 0, "1 conflict\n", '' ],
	'another packet with the same number');

my ($rc, $out, $err) = run_it('/dev/null', 'spool', 'ls', 'q');
is($rc, 0, 'ls');
is_deeply(
	[ map { /^\s+(\d+) command (\w+)/ ? "$1 $2" : () } split /\n/, $out ],
	[ '1 conflict', '1 conflict', '2 waiting', '3 waiting' ],
	'F18: ls shows all, in order of numbers');
like($out, qr/^stream\s+number\s+kind\s+state\s/, 'ls has a header');

my $name = q(a 'quoted' "name" \ with $HOME);
queue('odd');
is_deeply([ run_it($made[0], 'spool', 'write', 'odd', '-s', $name) ],
	[ 0, "1 stored\n", '' ], 'a stream by name');
is_deeply([ run_it($made[0], 'spool', 'write', 'odd', '-s', '') ],
	[ 0, "1 stored\n", '' ], 'the stream without a name');
foreach my $case ([ [ '-s', $name ], 1 ], [ [ '-s', '' ], 1 ], [ [], 2 ])
{
	($rc, $out) = run_it('/dev/null', 'spool', 'ls', 'odd', @{ $case->[0] });
	my $rows = () = $out =~ / command /g;
	is($rows, $case->[1], "ls @{ $case->[0] }");
}

# ---- what is refused -------------------------------------------------------
my $bytes = slurp_file($made[0]);
my %bad = (
	'too short' => '',
	'wrong magic' => 'x' . substr($bytes, 1),
	'header checksum mismatch' => substr($bytes, 0, 40) . "\0" . substr($bytes, 41));
queue('bad');
foreach my $reason (sort keys %bad)
{
	($rc, $out, $err) = run_it(write_file("$dir/bad", $bad{$reason}),
		'spool', 'write', 'bad', $made[0], '-', $made[1]);
	is("$rc $out", "1 1 stored\n", "F60: $reason: an error after the packet before it");
	like($err, qr/\AERROR:  invalid packet: \Q$reason\E\nDETAIL:  .*offset.*\n\z/,
		"F60: $reason: the server's error");
	is(waiting('bad'), 1, 'F60: nothing else was stored');
	$node->safe_psql('postgres', "SELECT spool.drop_queue('bad', true)");
	queue('bad');
}
($rc, $out, $err) = run_it($made[0], 'spool', 'write', 'none');
is_deeply([ $rc, $out, $err ], [ 1, '', qq(ERROR:  queue "none" does not exist\n) ],
	'no such queue');
($rc, $out, $err) = run_it('/dev/null', 'spool', 'write', 'q', "$dir/missing");
is("$rc $out", '1 ', 'no such file');
($rc, $out, $err) = run_it('/dev/null', 'spool', 'read', 'q', '-d', "$dir/missing");
is("$rc $out$err", "1 spool: no such directory: $dir/missing\n", 'no such directory');
foreach my $wrong (
	[], ['write'], [ 'x', 'q' ], [ 'read', 'q' ], [ 'ls', 'q', 'x' ],
	[ 'read', 'q', '-d', $dir, '-n', '1x' ], [ 'write', 'q', '-d', $dir ])
{
	($rc) = run_it('/dev/null', 'spool', @$wrong);
	is($rc, 2, "wrong usage: @$wrong");
}

# ---- read ------------------------------------------------------------------
queue('r');
mkdir "$dir/out" or die $!;
run_it('/dev/null', 'spool', 'write', 'r', @made);
($rc, $out) = run_it('/dev/null', 'spool', 'read', 'r', '-d', "$dir/out", '-n', '2');
is($rc, 0, 'read two');
my @names = split /\n/, $out;
is_deeply([ map { md5("$dir/out/$_") } @names ],
	[ map { md5($_) } @made[ 0, 1 ] ],
	'F57: what was written comes out with the same bytes, in order');
is_deeply([ entries("$dir/out") ], [ sort @names ], 'and nothing else is there');
like("@names", qr/\A(fspl-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.fspl ?){2}\z/,
	"names as fspl's");
is(waiting('r'), 1, 'one is left');
($rc, $out) = run_it('/dev/null', 'spool', 'read', 'r', '-d', "$dir/out", '-s', 'x');
is("$rc $out", '0 ', 'none in another stream');
($rc, $out) = run_it('/dev/null', 'spool', 'read', 'r', '-d', "$dir/out");
is($rc, 0, 'read the rest');
is(scalar(entries("$dir/out")), 3, 'it is there');
is_deeply([ run_it('/dev/null', 'spool', 'read', 'r', '-d', "$dir/out") ],
	[ 0, '', '' ], 'an empty queue is no error');

# fspl takes them from there
system("fspl queue-init -q '$dir/fspl' && cp '$dir'/out/*.fspl '$dir/fspl/jobs'") == 0 or die;
($rc, $out) = run_it('/dev/null', 'fspl', 'queue-process', '-q', "$dir/fspl",
	'--allow-job-params', 'echo');
is("$rc $out", "0 one\ntwo\nthree\n", 'F56: fspl runs what was read');

# ---- a read that fails or is killed ----------------------------------------
# Programs that read calls, first in the PATH.
my $bin = "$dir/bin";
mkdir $bin or die $!;
my %fakes = (
	head => "#!/bin/sh\nprintf part\nexit 1\n",
	mv => "#!/bin/sh\necho >$dir/reached\nexec sleep 600\n",
	sync => "#!/bin/sh\ncase \$1 in -d) exit 0;; esac\necho >$dir/reached\nexec sleep 600\n");

sub with_fake
{
	my ($program) = @_;
	unlink glob("$bin/*"), "$dir/reached";
	write_file("$bin/$program", $fakes{$program});
	chmod 0755, "$bin/$program";
	return "$bin:$ENV{PATH}";
}

queue('k');
mkdir "$dir/k" or die $!;
run_it('/dev/null', 'spool', 'write', 'k', @made);
{
	local $ENV{PATH} = with_fake('head');
	($rc, $out, $err) = run_it('/dev/null', 'spool', 'read', 'k', '-d', "$dir/k");
	is("$rc $out", '1 ', 'a write that fails is an error');
	like($err, qr/^spool: could not write to \Q$dir\E\/k$/m, 'with a message');
	is_deeply([ entries("$dir/k") ], [], 'no file is left');
	is(waiting('k'), 3, 'no packet is lost');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM spool.claims'), 0,
		'its claim is released');
}
foreach my $where (
	[ 'mv', 'before the rename' ],
	[ 'sync', 'between the rename and the acknowledgement' ])
{
	my ($program, $when) = @$where;
	my $path = with_fake($program);
	my $pid = fork;

	die "fork: $!" if !defined $pid;
	if ($pid == 0)
	{
		$ENV{PATH} = $path;
		POSIX::setsid();
		open STDOUT, '>', '/dev/null';
		exec 'spool', 'read', 'k', '-d', "$dir/k" or POSIX::_exit(127);
	}
	ok(poll_until(sub { -e "$dir/reached" }), "a read is $when");
	is($node->safe_psql('postgres',
			"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"),
		0, "a read that is $when has no transaction open");
	kill 'KILL', -$pid;
	waitpid $pid, 0;
	is(waiting('k'), 3, "killed $when: the packet is still there");
	is(scalar(grep { /^fspl-/ } entries("$dir/k")), $program eq 'mv' ? 0 : 1,
		"killed $when: no incomplete file has its name");
	is_deeply([ run_it('/dev/null', 'spool', 'read', 'k', '-d', "$dir/k") ],
		[ 0, '', '' ], "killed $when: it is claimed until the lease is over");
	is($node->safe_psql('postgres',
			"SELECT count(spool.extend_claim(claim_id, '1 us')) FROM spool.claims"),
		1, "killed $when: the lease ends");
}
$node->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM pg_stat_activity WHERE query ~ 'SPOOL|spool.get_packet' AND pid <> pg_backend_pid()")
  or die 'a killed client stays';
($rc, $out) = run_it('/dev/null', 'spool', 'read', 'k', '-d', "$dir/k");
is_deeply([ map { md5("$dir/k/$_") } split /\n/, $out ],
	[ map { md5($_) } @made ],
	'the next read gets all packets');
is_deeply([ grep { /^fspl-/ } entries("$dir/k") ], [ sort split /\n/, $out ],
	'the one that was there has the same name');

# ---- a large packet --------------------------------------------------------
queue('large');
mkdir "$dir/large" or die $!;
{
	open my $file, '>:raw', "$dir/payload" or die $!;
	my $block = join '', map { chr rand 256 } 1 .. 999_996;
	print $file pack('N', $_), $block for 1 .. 200;
	close $file or die $!;
}
system("fspl prepare -s '$dir/l' -i - < '$dir/payload' > '$dir/big'") == 0 or die;
cmp_ok(-s "$dir/big", '>', 200_000_000, 'a packet of 200 MB');
is_deeply([ run_it("$dir/big", 'spool', 'write', 'large') ],
	[ 0, "1 stored\n", '' ], '200 MB through write');
($rc, $out) = run_it('/dev/null', 'spool', 'read', 'large', '-d', "$dir/large");
chomp $out;
is($rc, 0, '200 MB through read');
is(md5("$dir/large/$out"), md5("$dir/big"), 'the same bytes');

$node->stop;
done_testing();
