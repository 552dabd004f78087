#!/bin/bash
# The server's figures (tools/bench_server.sh), few repetitions and 30 times as much time: that nothing has come to grow by another
# order, that kill -9 loses nothing, and that the script works.
if grep -q '^RG_SANITIZE:STRING=.' "$RG_BUILD/CMakeCache.txt"; then
    echo "SKIP: a program under sanitizers has other figures"
    exit 77
fi
exec "$(dirname "$0")/../../tools/bench_server.sh" --quick
