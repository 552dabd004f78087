#!/usr/bin/env bash
# The same workflow gives the same bytes: run after run, with one thread and two, and whether or not another run came before it.
. "$(dirname "$0")/lib.sh"
cd "$work"
small=(--set 8.steps=2 --set 7.width=128 --set 7.height=128)

same() {
    cmp -s "$1" "$2" || fail "$1 and $2 differ: $3"
}
for dtype in f32 bf16; do
    for cfg in 1.0 2.5; do
        options=("${small[@]}" --set 8.cfg=$cfg --dtype $dtype --quiet)
        d=$dtype-$cfg
        OMP_NUM_THREADS=1 expect 0 run demo "${options[@]}" --set 8.seed=3 --output $d-one
        OMP_NUM_THREADS=2 expect 0 run demo "${options[@]}" --set 8.seed=3 --output $d-two
        expect 0 run demo "${options[@]}" --set 8.seed=3 --output $d-again
        same $d-one/demo_00001_.png $d-two/demo_00001_.png "one thread, two threads"
        same $d-two/demo_00001_.png $d-again/demo_00001_.png "two runs"
        # the second and third of one process: models loaded, text encoded, memory used before
        expect 0 run demo "${options[@]}" --set 8.seed=1 --set 8.seed=3 --set 8.seed=2 --set 8.seed=3 --output $d-warm
        has_files 4 $d-warm
        same $d-one/demo_00001_.png $d-warm/demo_00002_.png "cold, warm"
        same $d-warm/demo_00002_.png $d-warm/demo_00004_.png "warm, warm again"
        ! cmp -s $d-warm/demo_00001_.png $d-warm/demo_00002_.png || fail "two seeds, one picture"
    done
    ! cmp -s $dtype-1.0-one/demo_00001_.png $dtype-2.5-one/demo_00001_.png || fail "two values of cfg, one picture"
done
finish
