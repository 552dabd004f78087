# A CUDA C file as C++ for the emulator: kernel<<<grid, block, shared, stream>>>(arguments) becomes a call of emu_run().
use strict;
local $/;
my $text = <STDIN>;
my $parens = qr/(\((?:[^()]++|(?-1))*+\))/;
my $n = 0;
$text =~ s{([A-Za-z_]\w*)((?:<[\w\s,:*]*>)?)<<<((?:[^<>]|<(?!<<)|>(?!>>))*?)>>>\s*$parens}{
    my ($name, $types, $config, $arguments) = ($1, $2, $3, $4);
    $n++;
    $arguments =~ s/^\(//; $arguments =~ s/\)$//;
    my @c = split_list($config);
    push @c, '0' while @c < 3;
    push @c, '(cudaStream_t)0' if @c < 4;
    "emu_run(\"$name\", dim3($c[0]), dim3($c[1]), (size_t)($c[2]), $c[3], [](auto... emu_a) { $name$types(emu_a...); }, $arguments)"
}gex;
die "a launch was not understood: $&\n" if $text =~ /<<<.{0,80}/;
print $text;

sub split_list {                        # at commas outside of parentheses
    my ($list) = @_;
    my ($depth, $part, @parts) = (0, '');
    for my $ch (split //, $list) {
        $depth++ if $ch =~ /[({\[]/;
        $depth-- if $ch =~ /[)}\]]/;
        if ($ch eq ',' && !$depth) { push @parts, $part; $part = ''; next; }
        $part .= $ch;
    }
    return (@parts, $part);
}
