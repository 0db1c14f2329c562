# needs: perl
# A perl script: hashes, expressions, sorting, closures, a fork, formats.
cat >script.pl <<'PERL'
use strict; use warnings;
my %count; open(my $in, '<', $ARGV[0]) or die; while (<$in>) { $count{$_}++ for /\b(ka\w+)/g; }
my @top = (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0..19];
printf "%-20s %5d\n", $_, $count{$_} for @top;
my $fibonacci; $fibonacci = sub { my $n = shift; $n < 2 ? $n : $fibonacci->($n-1) + $fibonacci->($n-2) };
print $fibonacci->(16), "\n";
my $pid = fork(); if (!$pid) { print "child\n"; exit 3 } waitpid($pid, 0); print $? >> 8, "\n";
eval { die { code => 42 } }; print $@->{code}, "\n";
print join(',', map { sprintf '%x', $_ } unpack('N*', pack('w/a', 'some text here'))), "\n";
local $SIG{ALRM} = sub { print "alarm\n" }; alarm 1; select(undef, undef, undef, 3); print "awake\n";
print STDERR "to standard error\n"; exit 7;
PERL
run perl script.pl "$INPUT/small.txt"; echo "status $?"
