
# The documentation: the examples of the chapters about resequencers are run as
# a reader would run them, and psql must print what they show.  All links lead
# to a heading.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

# The text below a heading, up to the next one of its level.
sub chapter
{
	my ($file, $name) = @_;
	my $text = slurp_file($file);
	my ($chapter) = $text =~ /^## (?:\d+\. )?\Q$name\E\n(.*?)(?=^## |\z)/ms
	  or die "$file has no chapter $name";
	return $chapter;
}

# The statements of its SQL blocks, each with the output that is shown below it,
# in the block or in one that follows at once.  A statement begins with a capital
# word or a backslash, a row with neither.
sub statements
{
	my ($text) = @_;
	my @statements;
	foreach my $block ($text =~ /^```sql\n(.*?^```\n(?:```\n.*?^```\n)?)/msg)
	{
		$block =~ s/^```\n//mg;
		my $open = 0;
		my $quoted = 0;
		foreach my $line (split /^/, $block)
		{
			if (!$open && $line =~ /^(?:[A-Z]+\b(?!:| \d+:)|\\|-- )/)
			{
				push @statements, { sql => '', output => '' };
				$open = 1;
			}
			next unless @statements;
			$statements[-1]{ $open ? 'sql' : 'output' } .= $line;
			next unless $open;
			$quoted ^= 1 & (() = $line =~ /\$\w*\$/g);
			$open = $quoted || $line !~ /;\s*(?:--.*)?$|\\g|^\\/;
		}
	}
	return @statements;
}

# Without blank lines, and blanks at the end of a line.
sub squeeze
{
	my ($output) = @_;
	$output =~ s/[ \t]+$//mg;
	$output =~ s/\n{2,}/\n/g;
	$output =~ s/\A\n//;
	return $output;
}

# What psql prints for each of some statements, in one session.
sub run_statements
{
	my ($dbname, @statements) = @_;
	my $script = join '', map { "$_->{sql}\n\\echo %%%\n" } @statements;
	my $output = '';
	my $psql = IPC::Run::run(
		[
			'psql', '-X', '-q', '-P', 'footer=off', '-v', 'SHOW_CONTEXT=never',
			'-d', $node->connstr($dbname)
		],
		'<', \$script, '>&', \$output);
	ok($psql, "$dbname: psql ran to its end");
	return split /^%%%\n/m, $output, scalar(@statements) + 1;
}

# Functions that return nothing print an empty row, which is left out.
sub check_chapter
{
	my ($dbname, $file, $name) = @_;
	my @statements = statements(chapter($file, $name));
	$node->safe_psql('postgres', "CREATE DATABASE $dbname");
	$node->safe_psql($dbname, 'CREATE EXTENSION spool');
	my @outputs = run_statements($dbname, @statements);
	foreach my $statement (@statements)
	{
		my $output = squeeze(shift @outputs);
		my $shown = squeeze($statement->{output});
		my ($first) = $statement->{sql} =~ /(.*)/;
		$output = '' if $shown eq '' && $output =~ /\A[^\n]+\n[-+]+\n[ |\n]*\z/;
		is($output, $shown, "$file: $first");
	}
	return scalar @statements;
}

cmp_ok(check_chapter('reference', 'doc/spool.md', 'Resequencing'),
	'>', 80, 'the chapter has examples');
cmp_ok(check_chapter('readme', 'README.md', 'Resequencing'),
	'>', 2, 'so has the introduction');

# A DBA's statements about resequencers answer.
my @questions = chapter('doc/spool.md', 'Ten questions of a DBA') =~
  /^\| [^|]+ \| `(SELECT [^`]*(?:stat_keys|resequencer)[^`]*)` \|$/mg;
cmp_ok(scalar @questions, '>', 3, 'there are such statements');
foreach my $statement (@questions)
{
	my ($ret) = $node->psql('reference', $statement);
	is($ret, 0, $statement);
}

# What a heading is called in links.
sub anchor
{
	my ($heading) = @_;
	$heading = lc $heading;
	$heading =~ s/[^\w\- ]//g;
	$heading =~ s/ /-/g;
	return $heading;
}

my %anchors;
foreach my $file (qw(README.md CHANGELOG.md doc/spool.md doc/performance.md))
{
	my $text = slurp_file($file);
	$text =~ s/^```.*?^```//msg;
	$anchors{$file} = { map { anchor($_) => 1 } $text =~ /^#+ (.*)/mg };
}
foreach my $file (sort keys %anchors)
{
	my $text = slurp_file($file);
	my ($folder) = $file =~ m{^(.*/)?};
	my @broken;
	while ($text =~ /\]\(((?!https?:)[^)#\s]*)(?:#([^)\s]+))?\)/g)
	{
		my ($path, $anchor) = ($1, $2);
		my $target = $path eq '' ? $file : ($folder // '') . $path;
		$target =~ s{^doc/\.\./}{};
		push @broken, "$path#" . ($anchor // '')
		  if !-e $target || (defined $anchor && !$anchors{$target}{$anchor});
	}
	is_deeply(\@broken, [], "the links of $file lead somewhere");
}

# Sections are numbered in order, and the contents list the chapters.
my $reference = slurp_file('doc/spool.md');
my @chapters = $reference =~ /^## (\d+\. .*)/mg;
is_deeply([ map { /^(\d+)/ } @chapters ],
	[ 1 .. @chapters ], 'chapters are numbered');
is_deeply(
	[ map { s/\[(.*)\]/$1/r } $reference =~ /^(\d+\. \[.*?\])\(#/mg ],
	\@chapters, 'the contents have all of them');

done_testing();
