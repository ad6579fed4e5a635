
# Packets are exchanged with the real fspl: 1,000 of its packets are read and
# come out with the same bytes, 1,000 of ours are read and run by it.
#
# SPOOL_SEED repeats a run.

use strict;
use warnings;

use List::Util qw(shuffle);
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $N = 1000;

if (system('fspl --version >/dev/null 2>&1') != 0)
{
	plan skip_all => 'fspl is not installed';
}

my $seed = $ENV{SPOOL_SEED} || time;
srand($seed);
diag("SPOOL_SEED=$seed");

# Times are printed in it by both sides.
$ENV{TZ} = 'UTC';

my $dir = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION spool');

# Run fspl with standard input and output in files; dies if it fails.
sub fspl
{
	my ($in, $out, @args) = @_;
	my $pid = fork;

	die "fork: $!" if !defined $pid;
	if ($pid == 0)
	{
		open STDIN, '<', $in or POSIX::_exit(126);
		open STDOUT, '>', $out or POSIX::_exit(126);
		exec 'fspl', @args or POSIX::_exit(127);
	}
	waitpid $pid, 0;
	die "fspl @args: status $?" if $? != 0;
	return;
}

sub read_file
{
	my ($path) = @_;

	open my $file, '<:raw', $path or die "$path: $!";
	local $/ = undef;
	my $bytes = <$file>;
	close $file;
	return $bytes;
}

sub write_file
{
	my ($path, $bytes) = @_;

	open my $file, '>:raw', $path or die "$path: $!";
	print $file $bytes;
	close $file or die "$path: $!";
	return;
}

# Run SQL from a file, return its lines.
sub query
{
	my ($sql) = @_;

	write_file("$dir/query.sql", $sql);
	return split /\n/, $node->safe_psql('postgres', "\\i $dir/query.sql");
}

# Up to $max bytes out of a range, more often few.
sub random_bytes
{
	my ($max, $low, $high) = @_;
	my $len = int(rand(rand($max + 1)));

	return join '', map { chr($low + int(rand($high - $low + 1))) } 1 .. $len;
}

# Words in UTF-8, without anything that would end a line.
sub random_text
{
	my @words = ('', 'a', 'two words', "\xc3\xa9", "\xf0\x9f\x98\x80", '$HOME',
		"it's", '\\x', '"', '=', '%s', 'x' x 40);

	return join '', map { $words[rand @words] } 1 .. rand 4;
}

sub random_seq
{
	my $power = int(rand(65));

	return '18446744073709551615' if $power == 64;
	return 2**$power - int(rand(2)) if $power < 50;
	return (1 << $power) - int(rand(2)) if $power < 63;
	return '9223372036854775806';
}


#
# fspl's packets
#

my (@bytes, @info);
my @no_text;

for my $i (0 .. $N - 1)
{
	my $text = $i % 2;
	my $kind = rand(10);

	local %ENV = %ENV;
	write_file("$dir/seq", random_seq() . "\n");
	if ($kind < 2)
	{
		fspl('/dev/null', "$dir/packet", $kind < 1 ? 'prepare-nop' : 'prepare-fail',
			'-s', "$dir/seq");
	}
	else
	{
		# fspl takes UTF-8 only in parameters, anything in the environment
		my @params = map { random_text() } 1 .. rand 6;

		for (1 .. rand 6)
		{
			my $name = $text ? random_text() : random_bytes(20, 1, 255);

			$name =~ tr/=//d;
			$ENV{"FSPL_SET_$name"} = $text ? random_text() : random_bytes(60, 1, 255);
		}
		write_file("$dir/payload", random_bytes(5000, 0, 255));
		fspl("$dir/payload", "$dir/packet", 'prepare', '-s', "$dir/seq",
			'-i', '-', '--', @params);
	}
	$bytes[$i] = read_file("$dir/packet");
	$no_text[$i] = !$text && $kind >= 2;
	next if $no_text[$i];
	fspl("$dir/packet", "$dir/info", 'stdin-info');
	$info[$i] = read_file("$dir/info");
}

write_file("$dir/copy",
	join '', map { "$_\t\\\\x" . unpack('H*', $bytes[$_]) . "\n" } 0 .. $N - 1);
$node->safe_psql(
	'postgres', qq{
	CREATE TABLE theirs (i int, packet spool.packet);
	COPY theirs FROM '$dir/copy';
	COPY theirs TO '$dir/copy.bin' (FORMAT binary);
	CREATE TABLE again (LIKE theirs);
	COPY again FROM '$dir/copy.bin' (FORMAT binary);
});

my @got = query("SELECT encode(packet::bytea, 'hex') FROM theirs ORDER BY i;");
is(scalar @got, $N, "F57: $N packets of fspl were read");
is(join("\n", @got), join("\n", map { unpack 'H*', $_ } @bytes),
	'F57: they come out with the same bytes');
is( join('', query('SELECT count(*) FROM theirs JOIN again USING (i)'
				. ' WHERE theirs.packet OPERATOR(spool.=) again.packet;')),
	$N, 'F57: binary COPY keeps the bytes');
is( join('',
		query('SELECT count(*) FROM theirs t'
				. ' LEFT JOIN LATERAL (SELECT count(*) FROM spool.env_raw(t.packet)) e ON true'
				. ' WHERE spool.params_raw(t.packet) IS NOT NULL'
				. ' AND spool.payload(t.packet) IS NOT NULL;')),
	$N, 'F57: parts of all of them can be read as bytes');

# info of those that are text, in one line each
my $info_sql =
	"(SELECT encode(string_agg(convert_to(format(E'%s=%s\\n', v.name, v.value), 'UTF8'), ''"
	. " ORDER BY v.n), 'hex') FROM spool.info(packet)"
	. ' WITH ORDINALITY AS v (name, value, n))';
my @textual = grep { !$no_text[$_] } 0 .. $N - 1;
@got = query("SELECT $info_sql FROM theirs WHERE i IN ("
		. join(',', @textual) . ') ORDER BY i;');
is_deeply(
	[ map { join "\n", sort split /\n/, pack 'H*', $_ } @got ],
	[ map { join "\n", sort split /\n/, $info[$_] } @textual ],
	'F55: info is what fspl stdin-info prints');


#
# Our packets
#

sub literal
{
	my ($bytes) = @_;

	return "convert_from('\\x" . unpack('H*', $bytes) . "', 'UTF8')";
}

my $sql = "CREATE TABLE ours (seq bigint, packet spool.packet);\n";
for my $i (1 .. $N)
{
	my $nop = rand(10) < 1;
	my @params = $nop ? () : map { literal(random_text()) } 1 .. rand 6;
	my @env = $nop ? () : map { literal(random_text()) } 1 .. 2 * int(rand 4);

	$sql .= sprintf "INSERT INTO ours SELECT %d, spool.make_packet(%d, '\\x%s'::bytea,"
		. " ARRAY[%s]::text[], jsonb_build_object(%s), '%s',"
		. " timestamptz '1970-01-01 00:00:00+00' + %d * interval '1 s', %d);\n",
		$i, $i, unpack('H*', random_bytes(5000, 0, 255)), join(',', @params),
		join(',', @env), $nop ? 'nop' : 'command',
		int(rand(2 * 9_000_000_000)) - 9_000_000_000, int(rand 1_000_000_000);
}
$sql = "SET client_min_messages = warning;\nBEGIN;\n$sql\nCOMMIT;\n";
query($sql);

my @rows = map { [ split /\|/, $_ ] }
	query("SELECT seq, encode(packet::bytea, 'hex'), $info_sql,"
		. " encode(spool.payload(packet), 'hex'), spool.kind(packet),"
		. ' spool.filename(packet) FROM ours ORDER BY seq;');
my ($good_info, $good_payload) = (0, 0);
my $expected = '';

mkdir "$dir/work" or die "mkdir: $!";
fspl('/dev/null', '/dev/null', 'queue-init', '-q', "$dir/queue");
for my $row (shuffle @rows)
{
	my (undef, $hex, $info, $payload, undef, $filename) = @$row;

	write_file("$dir/packet", pack 'H*', $hex);
	fspl("$dir/packet", "$dir/info", 'stdin-info');
	$good_info++ if read_file("$dir/info") eq pack 'H*', $info;
	fspl("$dir/packet", "$dir/payload", 'stdin-payload');
	$good_payload++ if read_file("$dir/payload") eq pack 'H*', $payload;
	rename "$dir/packet", "$dir/queue/jobs/$filename" or die "rename: $!";
}
is($good_info, $N, "F56: fspl stdin-info accepts $N of our packets");
is($good_payload, $N, 'F56: fspl stdin-payload finds their payloads');

for my $row (@rows)
{
	my ($seq, undef, undef, $payload, $kind) = @$row;

	$expected .= "$seq\n" . pack('H*', $payload) . "\n" if $kind eq 'command';
}
fspl('/dev/null', "$dir/output", 'queue-process', '-q', "$dir/queue", 'sh', '--',
	'-c', 'echo "$FSPL_SEQ"; cat; echo');
ok(read_file("$dir/output") eq $expected,
	'F56: fspl queue-process runs them in order');


#
# Databases in other encodings
#

my $umlaut = "SELECT spool.make_packet(1, x, ARRAY[x], jsonb_build_object(x, x), 'command',"
	. " '2000-01-01+00') FROM convert_from('\\xc3a4', 'UTF8') AS x";
my $packet = $node->safe_psql('postgres', $umlaut);

$node->safe_psql('postgres',
	"CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('latin1', 'CREATE EXTENSION spool');
is($node->safe_psql('latin1', $umlaut), $packet,
	'F64: text is UTF-8 in packets of a LATIN1 database');
is( $node->safe_psql(
		'latin1', "SELECT spool.params(p) = ARRAY[chr(228)],"
			. " spool.env(p) = jsonb_build_object(chr(228), chr(228)),"
			. " spool.payload(p) FROM (SELECT '$packet'::spool.packet AS p) s"),
	't|t|\xc3a4',
	'F64: and read as LATIN1');

my ($status, undef, $stderr) = $node->psql('latin1',
	"SELECT spool.params('"
		. $node->safe_psql('postgres',
		"SELECT spool.make_packet(1, '', ARRAY[chr(8364)])")
		. "')");
isnt($status, 0, 'F64: a character that LATIN1 lacks is refused');
like($stderr, qr/has no equivalent in encoding "LATIN1"/, 'F64: with a clear error');

$node->stop;
done_testing();
