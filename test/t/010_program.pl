# Programs: what they get, what comes back, and that nothing of them is left.
# Runs outside queues (run_packet); timeouts and locks belong to queues.

use strict;
use warnings;

use Compress::Zlib ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# Of the server's own environment nothing is passed on.
$ENV{FSPL_PARAM_9} = 'server';
$ENV{FSPL_SET_X} = 'server';
$ENV{LD_SPOOL_TEST} = 'server';

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "log_min_messages = warning\nautovacuum = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION spool');

my $mark = "86400.$$";    # an argument of sleep that nobody else uses
my $bin = PostgreSQL::Test::Utils::tempdir();
chmod 0755, $bin;

sub sql
{
	my ($statement, %options) = @_;
	$options{settings} //= 'SET spool.programs = on';
	my ($rc, $out, $err) = $node->psql(
		'postgres',
		"\\set VERBOSITY verbose\nLOAD 'spool';\n$options{settings};\n$statement",
		on_error_stop => 0);
	return wantarray ? ($out, $err) : $out;
}

# One run; the result is the given expression of the attempt.
sub run_packet
{
	my ($want, $packet, $program, @args) = @_;
	return sql("SELECT $want FROM spool.run_packet($packet, '$program', "
		  . array(@args) . ") AS a");
}

sub array
{
	return
	  'ARRAY['
	  . join(', ', map { s/'/''/gr =~ s/^(.*)$/'$1'/sr } @_)
	  . ']::text[]';
}

sub text_of { return "convert_from($_[0], 'UTF8')" }

# Processes whose arguments hold the mark; zombies have none.
sub marked
{
	my @found;
	foreach my $file (glob '/proc/[0-9]*/cmdline')
	{
		open my $fh, '<', $file or next;
		my $line = do { local $/; <$fh> }
		  // '';
		push @found, $file if $line =~ /sleep\0\Q$mark\E/;
	}
	return scalar @found;
}

sub poll_until
{
	my ($condition) = @_;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if $condition->();
		usleep(100_000);
	}
	return 0;
}

sub gone { return poll_until(sub { marked() == 0 }) }

sub children
{
	my ($pid) = @_;
	open my $fh, '<', "/proc/$pid/task/$pid/children" or return '';
	return <$fh> // '';
}

sub executable
{
	my ($name, $content, $mode) = @_;
	open my $fh, '>', "$bin/$name" or die $!;
	print $fh $content;
	close $fh;
	chmod $mode, "$bin/$name";
	return "$bin/$name";
}

my $hi = 'spool.make_packet(1, E\'Hi\n\'::text)';
my $both = "sleep $mark & setsid sleep $mark & exec sleep $mark";

# ---- rights ----------------------------------------------------------------
my ($out, $err) =
  sql("SELECT spool.run_packet($hi, '/bin/true')", settings => 'SELECT');
like(
	$err,
	qr/ERROR:  42501: programs may not be run\nHINT:  Set spool.programs to on\./,
	'programs are off by default');

$node->safe_psql('postgres',
	    'CREATE ROLE plain; CREATE ROLE runner;'
	  . ' GRANT pg_execute_server_program TO runner;'
	  . ' GRANT USAGE ON SCHEMA spool TO plain, runner;'
	  . ' GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA spool TO plain, runner');
($out, $err) =
  sql("SET ROLE plain; SELECT spool.run_packet($hi, '/bin/true')");
like(
	$err,
	qr/ERROR:  42501: permission denied to run a program\nDETAIL:  Only superusers and roles with privileges of the role "pg_execute_server_program" may run programs\./,
	'a role needs pg_execute_server_program');
is(sql("SET ROLE runner; SELECT outcome FROM spool.run_packet($hi, '/bin/true')"),
	'ok', '... which is enough');
($out, $err) = sql("SET ROLE runner; SET spool.output_limit = 1");
like($err, qr/ERROR:  42501/, 'the limit of outputs is not for everybody');
($out, $err) = sql("SET ROLE runner; SET spool.programs = on");
like($err, qr/ERROR:  42501/, '... nor is the switch');

# ---- arguments of run_packet -----------------------------------------------
foreach my $path ('bin/true', '', './true')
{
	($out, $err) = sql("SELECT spool.run_packet($hi, '$path')");
	like(
		$err,
		qr/ERROR:  22023: program path must be absolute\nDETAIL:  The path is "\Q$path\E"/,
		"path \"$path\"");
}
foreach my $call (
	[ 'packet', "NULL, '/bin/true'" ],
	[ 'program', "$hi, NULL" ],
	[ 'args', "$hi, '/bin/true', NULL" ])
{
	($out, $err) = sql("SELECT spool.run_packet($call->[1])");
	like($err, qr/ERROR:  22004: $call->[0] must not be null/,
		"$call->[0] is null");
}
($out, $err) = sql("SELECT spool.run_packet($hi, '/bin/true', '{a,NULL}')");
like($err, qr/ERROR:  22004: args must not contain nulls/, 'a null in args');

# ---- outcomes --------------------------------------------------------------
is( sql("SELECT queue, stream, seq, packet_id, attempt, outcome, exit_code,"
		  . " signal, sqlstate, message, stdout, stderr,"
		  . " finished_at >= started_at AND started_at >= statement_timestamp()"
		  . " FROM spool.run_packet($hi, '/bin/true')"),
	'||1||1|ok|||||\x|\x|t',
	'F54: success, with empty outputs');
is(run_packet('outcome, exit_code, message', $hi, '/bin/sh', '-c', 'exit 7'),
	'exit|7|program exited with status 7', 'exit status');
is( run_packet(
		'outcome, signal, message', $hi, '/bin/sh', '-c', 'kill -15 $$'),
	'signal|15|program was terminated by signal 15: Terminated',
	'F37: signal 15');
is(run_packet('outcome', $hi, '/bin/sh', '-c', 'kill -9 $$'),
	'signal', 'SIGKILL that is not ours is no timeout');
is( sql("SELECT outcome, message FROM spool.run_packet("
		  . "spool.make_packet(1, kind => 'nop'), '/bin/false')"),
	'ok|',
	'F33: a NOP packet runs nothing');
is( sql("SELECT outcome, message FROM spool.run_packet("
		  . "spool.make_packet(1, kind => 'fail'), '/bin/true')"),
	'error|Fail packet',
	'F32: a Fail packet fails');

my $plain_file = executable('plain', "#!/bin/sh\n", 0644);
my $no_format = executable('noformat', "just text\n", 0755);
my $no_shell = executable('noshell', "#!/no/such/shell\n", 0755);
my %failures = (
	"$bin/missing" => 'No such file or directory',
	'/bin/echo hi' => 'No such file or directory',    # F51
	$plain_file => 'Permission denied',
	$bin => 'Permission denied',
	$no_format => 'Exec format error',
	$no_shell => 'No such file or directory',
	"$plain_file/x" => 'Not a directory');
foreach my $path (sort keys %failures)
{
	is( run_packet('outcome, message, stdout, exit_code', $hi, $path),
		qq(start_failed|could not run program "$path": $failures{$path}|\\x|),
		"F31, F51: $failures{$path}");
}
foreach my $size (200_000, 20_000_000)
{
	is( sql("SELECT outcome, message FROM spool.run_packet($hi, '/bin/true',"
			  . " ARRAY[repeat('x', $size)])"),
		'start_failed|could not run program "/bin/true": Argument list too long',
		"an argument of $size bytes");
}
is( sql("SELECT outcome, message FROM spool.run_packet($hi, '/bin/true',"
		  . " array_fill('x'::text, '{1000001}'))"),
	'start_failed|could not run program "/bin/true": Argument list too long',
	'a million arguments');
is( sql("SELECT outcome, length(stdout) FROM spool.run_packet($hi, '/bin/echo',"
		  . " array_fill(repeat('x', 99), '{10000}'))",
		settings => 'SET spool.programs = on; SET spool.output_limit = 2000'),
	'ok|1000000',
	'a megabyte of arguments');

# ---- arguments, environment ------------------------------------------------
my $show = 'for a; do printf "[%s]" "$a"; done';
is( run_packet(
		text_of('stdout'), $hi,
		'/bin/sh', '-c', $show, 'sh',
		'c1', 'j two', '', '$HOME;rm', "'\"\\"),
	'[c1][j two][][$HOME;rm][\'"\\]',
	'F43: arguments are exact, no shell sees them');
is(run_packet(text_of('stdout'), $hi, '/bin/cat', '/proc/self/comm'),
	"cat\n", 'F51: no shell in between');

my $params =
  "spool.make_packet(1, 'x'::text, ARRAY['j1', 'j two', ''], '{\"N\": 1}')";
($out, $err) = run_packet(text_of('stdout'),
	$params, '/bin/sh', '-c',
	"$show; printf ' %s|%s|%s|%s' \"\$FSPL_PARAM_1\" \"\$FSPL_PARAM_2\" \"\$FSPL_PARAM_3\" \"\${FSPL_PARAM_4-unset}\"",
	'sh', 'c1', 'c2');
is($out, '[c1][c2] j1|j two||unset', 'F44: parameters are variables only');
like(
	$err,
	qr/WARNING:  01000: parameters of the packet are ignored\nHINT:  .*allow_job_params/,
	'F44: ... with a warning');
($out, $err) = run_packet('outcome', $hi, '/bin/true');
is($err, '', 'no warning without parameters');

foreach my $zone ('UTC', 'America/New_York')
{
	# F90 is the first one: FOO=123 in packet 1, outside any queue
	foreach my $ctime (
		'2022-05-25 00:52:01+00', '1901-12-13 20:45:51.5+00',
		'2106-02-07 06:28:17+00', '1699-07-01 12:00:00+00')
	{
		is( sql("SELECT regexp_split_to_array("
				  . "rtrim(" . text_of('stdout') . ", E'\\n')"
				  . ", '\\n(?=[A-Z])') @> array_agg(name || '=' || value)"
				  . " FROM spool.make_packet(1, 'x'::text, '{}',"
				  . " '{\"FOO\": 123, \"B\": \"two\\nlines\", \"\": \"\"}',"
				  . " ctime => '$ctime') AS p,"
				  . " LATERAL spool.run_packet(p, '/usr/bin/env'),"
				  . " LATERAL spool.info(p) GROUP BY stdout",
				settings =>
				  "SET spool.programs = on; SET TimeZone = '$zone'"),
			't',
			"F47, F90: the variables are those of info: $ctime, $zone");
	}
}
is( run_packet(
		text_of('stdout'),
		"spool.make_packet(7, 'x'::text, '{}', '{\"FOO\": \"bar\", \"PATH\": \"/evil\", \"LD_PRELOAD\": \"x\"}', ctime => '2022-05-25 00:52:01.25+00')",
		'/usr/bin/env'),
	join("\n",
		'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
		'LANG=C.UTF-8',
		'TZ=' . sql('SHOW TimeZone'),
		'FSPL_SEQ=7',
		'FSPL_CTIME_SECS=1653439921',
		'FSPL_CTIME_NANOS=250000000',
		'FSPL_CTIME_RFC3339_UTC=2022-05-25T00:52:01Z',
		'FSPL_CTIME_RFC3339_LOCAL=' . sql(
			"SELECT to_char(timestamptz '2022-05-25 00:52:01+00', 'YYYY-MM-DD\"T\"HH24:MI:SSTZH:TZM')"
		),
		'FSPL_SET_FOO=bar',
		'FSPL_SET_LD_PRELOAD=x',
		"FSPL_SET_PATH=/evil\n"),
	'F45, F46, F52: the whole environment');

is( run_packet(
		text_of('stdout'), $hi, '/bin/sh', '-c',
		'pwd; exec ls /proc/self/fd'),
	"/\n0\n1\n2\n3\n",		# the last one is the directory that ls reads
	'directory and descriptors of a program');

# The C library's own two signals, 32 and 33, may be ignored.
like(
	run_packet(text_of('stdout'), $hi, '/bin/grep', '-E',
		'^(Sig|Shd)(Pnd|Blk|Ign)', '/proc/self/status'),
	qr/^SigPnd:\t0+\nShdPnd:\t0+\nSigBlk:\t0+\nSigIgn:\t0+(180000000)?\n$/,
	'signals of a program');

# A packet as a hostile sender makes it.  Strings are arrays of bytes.
sub raw_list { return pack('C', 0x90 + @_) . join('', @_) }

sub raw_string
{
	return raw_list(map { ord > 127 ? "\xcc$_" : $_ } split //, shift);
}

sub raw_packet
{
	my ($params, $env) = @_;
	my $meta =
	    "\x83\xa3seq\x01\xa5ctime\x92\x01\x00\xa8cmd_type\x81\xa7Command"
	  . "\x82\xa6params"
	  . raw_list(map { raw_string($_) } @$params)
	  . "\xa3env"
	  . raw_list(
		map { raw_list(map { raw_string($_) } @$_) } @$env);
	my $prefix = '*FILESPOOLER'
	  . pack('nQ>N', 1, length($meta), Compress::Zlib::crc32($meta));

	return
	    "spool.packet('\\x"
	  . unpack('H*',
		$prefix . pack('N', Compress::Zlib::crc32($prefix)) . $meta . 'data')
	  . "'::bytea)";
}

my $nul =
  'start_failed|parameter or environment of the packet contains a zero byte';
is(run_packet('outcome, message', raw_packet([ 'a', "b\0c" ], []), '/bin/true'),
	$nul, 'F64: zero byte in a parameter');
is( run_packet(
		'outcome, message', raw_packet([], [ [ 'a', "\0" ] ]), '/bin/true'),
	$nul,
	'F64: zero byte in the environment');
is( run_packet(
		"encode(stdout, 'escape')", raw_packet([ "\xff\xfe" ], []),
		'/bin/sh', '-c', 'printf %s "$FSPL_PARAM_1"'),
	'\377\376',
	'bytes that are no text are passed on');
is( run_packet(
		text_of('stdout'),
		raw_packet([], [ [ 'b', '1' ], [ 'a', '1' ], [ 'a', '2' ], [ 'a=', '3' ], [ '', '4' ] ]),
		'/bin/sh', '-c', 'env | grep SET | sort'),
	"FSPL_SET_=4\nFSPL_SET_a==3\nFSPL_SET_b=1\n",
	'of equal names the last one counts');

# ---- input and output ------------------------------------------------------
my $all_bytes = "(SELECT string_agg(set_byte('\\x00', 0, i), '' ORDER BY i)"
  . " FROM generate_series(0, 255) AS i)";
is( sql("SELECT stdout = b FROM $all_bytes AS t(b),"
		  . " LATERAL spool.run_packet(spool.make_packet(1, b), '/bin/cat')"),
	't',
	'F48: all byte values');
is( run_packet(
		text_of('stdout'), 'spool.make_packet(1)',
		'/bin/sh', '-c', 'wc -c; readlink /proc/$$/fd/0'),
	"0\n/dev/null\n",
	'F48, F50: no payload is an empty input');
is(run_packet(text_of('stdout'), $hi, '/usr/bin/base64'),
	"SGkK\n", 'F89: base64');

my $large = "spool.make_packet(1, convert_to(repeat('0123456789', 2000000), 'UTF8'))";
is( run_packet(text_of('stdout'), $large, '/usr/bin/md5sum'),
	sql("SELECT md5(repeat('0123456789', 2000000))") . "  -\n",
	'F48: 20 MB');
is(run_packet('outcome, stdout', $large, '/bin/true'),
	'ok|\x', 'F49: 20 MB that nobody reads');
is( run_packet(
		text_of('stdout'), $large, '/bin/sh', '-c', 'head -c 5; exit 0'),
	'01234', 'F49: 20 MB of which some is read');

is( run_packet(
		'outcome, ' . text_of('stdout') . ', ' . text_of('stderr'),
		$hi, '/bin/sh', '-c', 'printf out; printf err >&2; exit 3'),
	'exit|out|err',
	'F53: outputs are kept apart');
is( sql("SELECT outcome, length(stdout), length(stderr),"
		  . " length(replace(encode(stdout, 'escape'), 'o', ''))"
		  . " FROM spool.run_packet($hi, '/bin/sh', "
		  . array('-c',
			'head -c 300000 /dev/zero | tr "\0" o; head -c 300000 /dev/zero >&2')
		  . ')',
		settings => "SET spool.programs = on; SET spool.output_limit = '3kB'"),
	'ok|3072|3072|0',
	'F53: each output is capped, the program goes on');
is( sql("SELECT length(stdout), length(stderr) FROM spool.run_packet("
		  . "$hi, '/bin/sh', '{-c, echo a; echo b >&2}')",
		settings => 'SET spool.programs = on; SET spool.output_limit = 0'),
	'0|0',
	'F53: a cap of nothing');
is( sql("SELECT length(stdout) FROM spool.run_packet($hi, '/bin/sh', "
		  . array('-c', 'head -c 300000 /dev/zero')
		  . ')'),
	'65536',
	'F53: the default cap');

$node->safe_psql('postgres',
	    "CREATE TABLE large AS SELECT spool.make_packet(1,"
	  . " convert_to(repeat('0123456789abcdef', 12500000), 'UTF8')) AS packet");
is( sql("SELECT outcome, length(stdout), md5(stdout) = md5(spool.payload(packet))"
		  . " FROM large, LATERAL spool.run_packet(packet, '/bin/cat')",
		settings => "SET spool.programs = on; SET spool.output_limit = '250MB'"),
	'ok|200000000|t',
	'F48: 200 MB through a program');
$node->safe_psql('postgres', 'DROP TABLE large');

# ---- nothing is left -------------------------------------------------------
is( run_packet('outcome', $hi, '/bin/sh', '-c',
		"sleep $mark & setsid sleep $mark & exit 0"),
	'ok',
	'a program that leaves children behind');
is(marked(), 0, '... which are dead when the outcome is known');

($out, $err) = sql("SELECT spool.run_packet($hi, '/bin/sh', "
	  . array('-c', $both)
	  . "); RESET statement_timeout; SELECT count(*), stdout FROM spool.run_packet($hi, '/bin/echo') GROUP BY 2",
	settings => "SET spool.programs = on; SET statement_timeout = '300ms'");
like($err, qr/ERROR:  57014: canceling statement due to statement timeout/,
	'a run can be cancelled');
is(marked(), 0, '... and everything was dead before the error left');
is($out, '1|\x0a', '... and the session can run the next program');

# A run in a session of its own; returns the session and the server's pid.
sub start_run
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('SET spool.programs = on');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_until(qr/started/,
		    "\\echo started\nSELECT spool.run_packet($hi, '/bin/sh', "
		  . array('-c', $both)
		  . ");\n");
	ok(poll_until(sub { marked() == 3 }), 'three processes run');
	return ($session, $pid);
}

my ($session, $pid) = start_run();
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 60000)");
is(marked(), 0, 'a terminated session leaves no process');
$session->{run}->finish;

($session, $pid) = start_run();
my ($supervisor) = children($pid) =~ /^(\d+) $/;
kill 'TERM', $supervisor;
is(marked(), 3, 'a supervisor does not listen to SIGTERM');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
ok(gone(), 'cancelled');
is($session->query("SELECT 1"), '1', 'the session lives on');
$session->quit;

# The program of a killed supervisor is killed; its children are not known.
$session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe('SET spool.programs = on');
$pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_until(qr/started/,
	    "\\echo started\nSELECT outcome, message FROM spool.run_packet($hi, '/bin/sleep', '{$mark}');\n");
ok(poll_until(sub { marked() == 1 }), 'a process runs');
($supervisor) = children($pid) =~ /^(\d+) $/;
kill 'KILL', $supervisor;
like(
	$session->query('SELECT 1'),
	qr/^crashed\|supervisor of the program ended unexpectedly$/m,
	'a killed supervisor: the outcome is not known');
ok(gone(), '... and the program is killed');

is($session->query_safe("SELECT outcome FROM spool.run_packet($hi, '/bin/true')"),
	'ok', '... and there is a new one');
($supervisor) = children($pid) =~ /^(\d+) $/;
kill 'KILL', $supervisor;
# a signal may take its time; its parent has not waited for it yet
poll_until(
	sub {
		my $stat = eval { slurp_file("/proc/$supervisor/stat") } // ') Z';
		return $stat =~ /\) [ZX]/;
	});
is( $session->query_safe(
		"SELECT outcome FROM spool.run_packet($hi, '/bin/true')"),
	'ok',
	'an idle supervisor that was killed is replaced');

# ---- nothing leaks ---------------------------------------------------------
my $runs = 'SELECT count(*) FROM generate_series(1, 2000) AS i,'
  . " LATERAL spool.run_packet(spool.make_packet(i, 'x'::text), CASE i % 4 WHEN 0 THEN '/no' WHEN 1 THEN '/bin/false' ELSE '/bin/true' END) AS a"
  . " WHERE outcome = CASE i % 4 WHEN 0 THEN 'start_failed' WHEN 1 THEN 'exit' ELSE 'ok' END";
($supervisor) = children($pid) =~ /^(\d+) $/;
my $files = sub {
	my ($of) = @_;
	my @found = glob "/proc/$of/fd/*";
	return scalar @found;
};
$session->query_safe($runs);
my @before = ($files->($pid), $files->($supervisor));
is($session->query_safe($runs), '2000', '2,000 runs');
is_deeply([ $files->($pid), $files->($supervisor) ],
	\@before, '... leave no descriptor open');
is(children($pid), "$supervisor ", '... by one supervisor, and no zombie');
is(children($supervisor), '', '... which has none either');

$session->quit;
ok( poll_until(sub { !-d "/proc/$supervisor" }),
	'the supervisor ends with its session');

# ---- a killed server process -----------------------------------------------
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->reload;
($session, $pid) = start_run();
kill 'KILL', $pid;
ok(gone(), 'F75: kill -9 of the server process leaves no process');
$session->{run}->finish;
$node->poll_query_until('postgres', 'SELECT 1', '1')
  or die 'server does not come back';

($session, $pid) = start_run();
$node->stop('immediate');
ok(gone(), 'nor does an immediate shutdown');
$session->{run}->finish;

done_testing();
