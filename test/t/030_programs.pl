
# Queues whose jobs are programs: order, policies, limits and timeouts, what a
# program gets and what is kept of it.  Where that is cheap the real fspl does
# the same beside it.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# Of the server's own environment nothing is passed on.
$ENV{FSPL_PARAM_9} = 'server';
$ENV{FSPL_SET_X} = 'server';

my $dir = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf',
	"fsync = off\nspool.programs = on\ntimezone = 'Europe/Paris'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION spool');
delete @ENV{qw(FSPL_PARAM_9 FSPL_SET_X)};

my $mark = "86400.$$";    # an argument of sleep that nobody else uses

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

sub literal { return "'" . $_[0] =~ s/'/''/gr . "'" }

# A new queue with a program; the queue is named as its test.
sub queue
{
	my ($name, $options, $program, @args) = @_;
	sql("SELECT spool.create_queue('$name', history => 'all'$options);"
		  . " SELECT spool.set_program('$name', "
		  . literal($program) . ', ARRAY['
		  . join(', ', map { literal($_) } @args)
		  . ']::text[])');
	return;
}

sub put
{
	my ($name, @seqs) = @_;
	sql("SELECT spool.write('$name', spool.make_packet($_, 'job $_'::text))")
	  for @seqs;
	return;
}

# One pass: what CALL returns, and its error or warning.
sub process
{
	my ($name, $more) = @_;
	my ($rc, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nCALL spool.process('$name'" . ($more // '') . ')',
		on_error_stop => 0);
	$err =~ s/^(psql:<stdin>:\d+: )?LOCATION:.*\n?//mg;
	$err =~ s/^psql:<stdin>:\d+: //mg;
	return wantarray ? ($out, $err) : "$out$err";
}

# Attempts in the order in which they were made.
sub attempts
{
	my ($name, $what) = @_;
	$what //= "seq, outcome";
	return sql("SELECT $what FROM spool.attempts WHERE queue = '$name'"
		  . ' ORDER BY started_at');
}

sub ls
{
	my ($name) = @_;
	return sql("SELECT seq, state FROM spool.ls('$name')");
}

sub next_seq
{
	my ($name) = @_;
	return sql("SELECT spool.next_seq('$name')");
}

sub lines { return join "\n", @_ }

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

sub text_of { return "convert_from($_[0], 'UTF8')" }

# ---- order, beside fspl ----------------------------------------------------
my $has_fspl = system('fspl --version >/dev/null 2>&1') == 0;

# What fspl does with packets delivered in this order: numbers run, exit
# status, next number, packets left.
sub by_fspl
{
	my ($name, $seqs, $command, @options) = @_;
	my $q = "$dir/$name";

	system("fspl queue-init -q $q") == 0 or die;
	foreach my $seq (@$seqs)
	{
		system("echo $seq >$dir/seq; fspl prepare -s $dir/seq | fspl queue-write -q $q") == 0
		  or die;
	}
	system("fspl queue-process -q $q @options sh -- -c '$command' sh $q.log >/dev/null 2>&1");
	my $status = $? >> 8;
	return ((-e "$q.log" ? slurp_file("$q.log") =~ s/\n/ /gr : '') . "exit $status next "
		  . `fspl queue-get-next -q $q` =~ s/\n//r . ' left '
		  . scalar(() = glob "$q/jobs/*.fspl"));
}

sub by_spool
{
	my ($name, $seqs, $command, $options) = @_;

	queue($name, $options, '/bin/sh', '-c', $command, 'sh', "$dir/$name.spool");
	put($name, @$seqs);
	my $status = process($name) =~ /ERROR/ ? 1 : 0;
	return ((-e "$dir/$name.spool" ? slurp_file("$dir/$name.spool") =~ s/\n/ /gr : '')
		  . "exit $status next " . next_seq($name) . ' left '
		  . sql("SELECT count(*) FROM spool.ls('$name') WHERE state <> 'dead'"));
}

my $note = 'echo $FSPL_SEQ >>$1';
my $fail_2 = "$note; test \$FSPL_SEQ != 2";
my %sets = (
	F1 => [ [ 3, 2, 1 ], $note, '1 2 3 exit 0 next 4 left 0', [], '' ],
	F2 => [ [ 1, 2, 4, 5 ], $note, '1 2 exit 0 next 3 left 2', [], '' ],
	F6 => [ [], $note, 'exit 0 next 1 left 0', [], '' ],
	F26 => [
		[ 1, 2, 3 ], $fail_2, '1 2 exit 1 next 2 left 2',
		[ '--on-error', 'Retry' ], ", on_error => 'retry'"
	],
	F28 => [
		[ 1, 2, 3 ], $fail_2, '1 2 3 exit 0 next 4 left 0',
		[ '--on-error', 'Delete' ], ", on_error => 'delete'"
	],
	F29 => [
		[ 1, 2, 3 ], $fail_2, '1 2 3 exit 0 next 4 left 1',
		[ '--on-error', 'Leave' ], ", on_error => 'leave'"
	]);
foreach my $name (sort keys %sets)
{
	my ($seqs, $command, $expected, $fspl_options, $options) = @{ $sets{$name} };

	is(by_spool($name, $seqs, $command, $options), $expected, "$name: a pass");
  SKIP:
	{
		skip 'fspl is not installed', 1 if !$has_fspl;
		is(by_fspl($name, $seqs, $command, @$fspl_options),
			$expected, "$name: fspl does the same");
	}
}
put('F2', 3);
process('F2');
is(attempts('F2', 'seq'), lines(1 .. 5), 'F3: the missing one came, all run');

queue('F14', '', '/bin/true');
sql("SELECT spool.write('F14', spool.make_packet(1, x)) FROM unnest(ARRAY['a', 'b']) x");
like(process('F14'), qr/\AERROR:  21000: packets \d+ and \d+ of queue "F14" have the same number 1\n/,
	'F14: two packets with one number at the head');
is(attempts('F14'), '', 'F14: nothing ran');
is(process('F14', ", order_by => 'timestamp'"), '2', 'F16: by creation time both run');
is(attempts('F14'), "1|ok\n1|ok", 'F16: with one number');
is(next_seq('F14'), 1, 'F16: the counter is unchanged');

# ---- failures --------------------------------------------------------------
is(ls('F26'), lines('2|retrying', '3|waiting'), 'F26: what is left');
queue('F26b', '', '/bin/sh', '-c', 'test $FSPL_SEQ != 2 || exit 7');
put('F26b', 1 .. 3);
my ($out, $err) = process('F26b');
like(
	$err,
	qr/\AERROR:  38000: job 2 of stream "" of queue "F26b" failed\nDETAIL:  program exited with status 7\n/,
	'F26: the error tells the status');
process('F26b');
is( attempts('F26b', 'seq, attempt, outcome, exit_code, signal, message'),
	lines(
		'1|1|ok|||',
		'2|1|exit|7||program exited with status 7',
		'2|2|exit|7||program exited with status 7'),
	'F27: the next pass begins with 2 again; attempts tell the code');
is(ls('F29'), '2|failed', 'F29: the failed packet stays visible');
like(process('F29'), qr/\A0\z/, 'F29: and does not run again');
is(attempts('F29'), lines('1|ok', '2|exit', '3|ok'), 'F29: attempts');
sql("SELECT spool.discard('F26b', spool.packet_id('F26b', 2), 'by hand')");
process('F26b');
is(next_seq('F26b'), 4, 'F34: a head that was discarded is passed');

foreach my $policy (qw(retry dead leave delete))
{
	my $name = "F31$policy";
	queue($name, ", on_error => '$policy'", "$dir/missing");
	put($name, 1, 2);
	($out, $err) = process($name);
	like(
		$err,
		qr/\AERROR:  38000: .*\nDETAIL:  could not run program "\Q$dir\E\/missing": No such file or directory\n/,
		"F31: $policy: a program that cannot be started is an error");
	is(ls($name) =~ s/\|\w+//gr, lines(1, 2), "F31: $policy: nothing was consumed");
	is(sql("SELECT attempts FROM spool.ls('$name') WHERE seq = 1"),
		0, "F31: $policy: no attempt was counted");
	is( attempts($name, 'seq, outcome, message'),
		"1|start_failed|could not run program \"$dir/missing\": No such file or directory",
		"F31: $policy: but is shown");
	sql("SELECT spool.set_program('$name', '/bin/true')");
	is(process($name), '2', "F31: $policy: it goes on when repaired");
}

queue('F32', '', '/bin/true');
sql("SELECT spool.write('F32', spool.make_packet(1));"
	  . " SELECT spool.write('F32', spool.make_packet(2, kind => 'fail'));"
	  . " SELECT spool.write('F32', spool.make_packet(3))");
like(process('F32'), qr/^ERROR:  38000: job 2 .*\nDETAIL:  Fail packet$/m,
	'F32: a Fail packet is a barrier');
is(next_seq('F32'), 2, 'F32: at its number');
queue('F32b', ", on_error => 'leave'", '/bin/true');
sql("SELECT spool.write('F32b', spool.make_packet(1, kind => 'fail'));"
	  . " SELECT spool.write('F32b', spool.make_packet(2))");
is(process('F32b'), '2', 'F32: other policies go on after it');
is(attempts('F32b', 'seq, outcome, exit_code'), lines('1|error|', '2|ok|'),
	'F32: nothing was run for it');

queue('F33', '', '/bin/sh', '-c', "echo x >>$dir/nop");
sql("SELECT spool.write('F33', spool.make_packet(1, kind => 'nop'));"
	  . " SELECT spool.write('F33', spool.make_packet(2, kind => 'nop'))");
is(process('F33') . next_seq('F33') . (-e "$dir/nop" ? 'ran' : ''),
	'23', 'F33: NOP packets are counted, nothing runs');

queue('F37', '', '/bin/sh', '-c', 'kill -15 $$');
put('F37', 1);
like(process('F37'), qr/DETAIL:  program was terminated by signal 15: Terminated/,
	'F37: a signal is a failure');
is(attempts('F37', 'outcome, exit_code, signal'), 'signal||15', 'F37: signal 15');

# ---- limits ----------------------------------------------------------------
queue('F38', '', '/bin/true');
put('F38', 1 .. 5);
is(process('F38', ', max_jobs => 0') . next_seq('F38'), '01', 'F38: limit 0');
is(process('F38', ', max_jobs => 2') . next_seq('F38'), '23', 'F38: limit 2');
queue('F39', ", on_error => 'delete'", '/bin/false');
sql("SELECT spool.write('F39', spool.make_packet(1, kind => 'nop'))");
put('F39', 2 .. 4);
is(process('F39', ', max_jobs => 2') . next_seq('F39'),
	'23', 'F39: NOP and failed jobs count');

# ---- timeouts --------------------------------------------------------------
my $group = "sleep $mark & setsid sleep $mark & exec sleep $mark";
foreach my $case ([ 'F40', '1 s', 1 ], [ 'F42', '0.9 s', 0.9 ])
{
	my ($name, $timeout, $seconds) = @$case;

	queue($name, ", timeout => '$timeout', on_error => 'leave'",
		'/bin/sh', '-c', "test \$FSPL_SEQ = 2 || { $group; }");
	put($name, 1, 2);
	my $begin = time;
	is(process($name), '2', "$name: a job that takes longer is ended, the policy applies");
	cmp_ok(time - $begin, '<', $seconds + 5, "$name: in time");
	is(marked(), 0, "F41: $name: nothing of it is left");
	is( attempts($name,
			"seq, outcome, exit_code, signal, message, finished_at - started_at >= interval '$timeout'"),
		lines(
			'1|timeout|||program was killed after ' . 1000 * $seconds . ' ms|t',
			'2|ok||||f'),
		"$name: the reason is recorded");
}
queue('F40b', ", timeout => '300 ms'", '/bin/sleep', $mark);
put('F40b', 1);
like(process('F40b'), qr/ERROR:  38000: .*\nDETAIL:  program was killed after 300 ms/,
	'F40: under retry it stays');
is(ls('F40b'), '1|retrying', 'F40: at the head');

# ---- arguments, environment, input -----------------------------------------
my $show = 'for a; do printf "[%s]" "$a"; done;'
  . ' printf " %s|%s|%s|%s" "$FSPL_PARAM_1" "$FSPL_PARAM_2" "$FSPL_PARAM_3" "${FSPL_PARAM_4-unset}"';
my $params = "spool.make_packet(1, 'x'::text, ARRAY['j1', 'j two', ''])";
queue('F43', ', allow_job_params => true', '/bin/sh', '-c', $show, 'sh', 'c1', '$c 2');
sql("SELECT spool.write('F43', $params)");
is(process('F43'), '1', 'F43: no warning');
is(attempts('F43', text_of('stdout')),
	'[c1][$c 2][j1][j two][] j1|j two||unset', 'F43: arguments are exact');
queue('F44', '', '/bin/sh', '-c', $show, 'sh', 'c1', 'c2');
sql("SELECT spool.write('F44', $params)");
($out, $err) = process('F44');
like($err, qr/\AWARNING:  01000: parameters of the packet are ignored\n/,
	'F44: a warning');
is(attempts('F44', text_of('stdout')), '[c1][c2] j1|j two||unset',
	'F44: parameters are variables only');

queue('F45', '', '/usr/bin/env');
my $ctime = '1901-12-13 20:45:51.25+00';
my $packet = "spool.make_packet(1, 'x'::text, '{}',"
  . " '{\"FOO\": \"bar\", \"PATH\": \"/evil\", \"LD_PRELOAD\": \"x\"}', ctime => '$ctime')";
sql("SELECT spool.write('F45', $packet)");
process('F45');
my $filename = sql("SELECT spool.filename($packet)");
is( attempts('F45', text_of('stdout')),
	lines(
		'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
		'LANG=C.UTF-8',
		'TZ=Europe/Paris',
		'FSPL_SEQ=1',
		'FSPL_CTIME_SECS=-2147483649',
		'FSPL_CTIME_NANOS=250000000',
		'FSPL_CTIME_RFC3339_UTC=1901-12-13T20:45:51Z',
		'FSPL_CTIME_RFC3339_LOCAL=1901-12-13T20:55:12+00:09',
		'FSPL_SET_FOO=bar',
		'FSPL_SET_LD_PRELOAD=x',
		'FSPL_SET_PATH=/evil',
		"FSPL_JOB_FILENAME=$filename",
		"FSPL_JOB_QUEUEDIR=F45\n"),
	'F45, F46, F47, F52: the whole environment');

queue('F48', ", retention => '1 hour'", '/usr/bin/md5sum');
my @payloads = (
	"(SELECT string_agg(set_byte('\\x00', 0, i), '' ORDER BY i) FROM generate_series(0, 255) AS i)",
	"''::bytea",
	"convert_to(repeat('0123456789', 2000000), 'UTF8')",
	"convert_to(repeat('0123456789abcdef', 12500000), 'UTF8')");
sql("SELECT spool.enqueue('F48', $_)") for @payloads;
is(process('F48'), '4', 'F48: all bytes, none, 20 MB, 200 MB');
is( attempts('F48', "left(convert_from(stdout, 'UTF8'), 32)"),
	lines(map { sql("SELECT md5($_)") } @payloads),
	'F48: payloads arrive unchanged');
is( sql("SELECT md5(spool.payload(spool.get_packet('F48', packet_id)))"
		  . " FROM spool.ls('F48') WHERE state = 'done' ORDER BY seq"),
	attempts('F48', "left(convert_from(stdout, 'UTF8'), 32)"),
	'F48: and so they come out');
sql("SELECT spool.drop_queue('F48', true)");

queue('F49', '', '/bin/true');
sql("SELECT spool.enqueue('F49', $payloads[2])");
is(process('F49'), '1', 'F49: 20 MB that nobody reads');
queue('F50', ', ignore_payload => true', '/usr/bin/wc', '-c');
sql("SELECT spool.enqueue('F50', 'not to be seen'::text)");
process('F50');
is(attempts('F50', text_of('stdout')), "0\n", 'F50: a payload that is ignored');
queue('F51', '', '/bin/echo hi');
put('F51', 1);
like(process('F51'), qr/could not run program "\/bin\/echo hi": No such file/,
	'F51: a program with a space is not split');

queue('F53', '', '/bin/sh', '-c', 'printf "out $FSPL_SEQ"; printf err >&2; exit 3');
put('F53', 1);
process('F53') for 1 .. 2;
is( attempts('F53', 'attempt, ' . text_of('stdout') . ', ' . text_of('stderr')),
	lines('1|out 1|err', '2|out 1|err'),
	'F53: outputs are kept of each attempt, apart');
queue('F53b', '', '/bin/sh', '-c',
	'head -c 300000 /dev/zero | tr "\0" o; head -c 300000 /dev/zero >&2');
put('F53b', 1);
is(process('F53b'), '1', 'F53: output beyond the limit is no failure');
is(attempts('F53b', 'length(stdout), length(stderr)'),
	'65536|65536', 'F53: each output is capped');
queue('F54', '', '/bin/true');
put('F54', 1);
process('F54');
is(attempts('F54', 'stdout, stderr'), '\x|\x', 'F54: empty outputs are kept too');

# ---- flows -----------------------------------------------------------------
queue('F87',
	", order_by => 'timestamp', on_error => 'leave', allow_job_params => true",
	'/bin/sh', '-c', "echo \"\$@\" >>$dir/gitsync; test \"\$2\" != broken", 'sh', 'push');
foreach my $branch (qw(main broken feature))
{
	sql("SELECT spool.write('F87', spool.prepare(NULL, 'bundle'::text, ARRAY['$branch']))");
}
is(process('F87'), '3', 'F87: gitsync: all branches');
is(slurp_file("$dir/gitsync"), "push main\npush broken\npush feature\n",
	'F87: by creation time, the branch as last argument');
is(ls('F87'), '1|failed', 'F87: the failed one is left');
is(process('F87'), '0', 'F87: and not run again');

sql("SELECT spool.create_queue('F88in', append_only => true)");
queue('F88', '', '/usr/bin/base64');
sql("SELECT spool.write('F88in', spool.make_packet(1, E'Hi\\n'::text))");
like(process('F88in'), qr/^ERROR:  55000: .*append.only/m,
	'F88: what is not verified is never run');
is(sql("SELECT status FROM spool.ls('F88in') l, spool.forward('F88in', l.packet_id, 'F88')"),
	'stored', 'F88: verified');
is(process('F88'), '1', 'F88: and run');
is(attempts('F88', text_of('stdout')), "SGkK\n", 'F89: base64');

# ---- streams --------------------------------------------------------------
queue('F17', '', '/bin/sh', '-c', 'test "$FSPL_SET_FAIL" != 1');
foreach my $stream ('a', 'b')
{
	sql("SELECT spool.write('F17', spool.make_packet($_, env => '{\"FAIL\": "
		  . ($stream eq 'a' && $_ == 2 ? 1 : 0) . "}'), '$stream')") for 1 .. 3;
}
like(process('F17'), qr/^ERROR:  38000: job 2 of stream "a"/m,
	'F17: a stream that fails');
is(sql("SELECT stream, spool.next_seq('F17', stream) FROM unnest(ARRAY['a', 'b']) AS stream"),
	lines('a|2', 'b|4'), 'F17: stops no other');

# ---- beside a job that runs ------------------------------------------------
# Sessions that look, write or move the cursor do not wait for it.
queue('F72', ", retention => '1 hour'", '/bin/sh', '-c',
	'echo $FSPL_SEQ >>"$1"; until [ -e "$2" ]; do sleep 0.05; done', 'sh', "$dir/long", "$dir/go");
put('F72', 1 .. 5);
my $pass = $node->background_psql('postgres', on_error_stop => 0);
$pass->query_until(qr/started/, "\\echo started\nCALL spool.process('F72');\n");
for (1 .. 20 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if -s "$dir/long";
	usleep(50_000);
}
is(ls('F72'), lines('1|running', map { "$_|waiting" } 2 .. 5), 'F72: ls shows the job that runs');
is( sql("SELECT i.value, convert_from(spool.payload(p), 'UTF8')"
		  . " FROM (SELECT spool.get_packet('F72', spool.packet_id('F72', 1)) AS p) x, spool.info(p) i WHERE i.name = 'FSPL_SEQ'"),
	'1|job 1', 'F72: info and payload, too');

my @out;
my @writers = map {
	$out[$_] = '';
	IPC::Run::start(
		[   'psql', '-XAtqd', $node->connstr('postgres'),
			'-v', 'ON_ERROR_STOP=1',
			'-c', "SELECT status FROM spool.write('F72', spool.make_packet(5 + $_))",
			'-c', "SELECT spool.seq(spool.prepare('F69', 'x'))"
		],
		'>', \$out[$_], '2>', '/dev/null')
} 1 .. 40;
is(scalar(grep { $_->finish } @writers), 40, 'F68, F69: 40 concurrent writers, none fails');
shift @out;
is(scalar(grep { /\Astored\n/ } @out), 40, 'F68: each packet is stored');
is(join(' ', sort { $a <=> $b } map { /(\d+)\n\z/ } @out), "@{[1 .. 40]}",
	'F69: 40 distinct consecutive numbers');
is(next_seq('F72'), 1, 'F73: the cursor can be read');
sql("SELECT spool.set_next_seq('F72', 4)");
is(slurp_file("$dir/long"), "1\n", 'F68, F73: all this while job 1 ran');
is(sql("SELECT seq, reason FROM spool.dead_letters WHERE name = 'F72' ORDER BY seq"),
	lines('2|passed over', '3|passed over'), 'F73: what waits below the new cursor is set aside');
append_to_file("$dir/go", '');
$pass->quit;
process('F72');
is(slurp_file("$dir/long"), join('', map { "$_\n" } 1, 4 .. 45),
	'F73: set_next_seq takes effect after the job, all others run in order');

$node->stop;
done_testing();
