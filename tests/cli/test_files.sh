#!/usr/bin/env bash
# What is written where: counters, subfolders, confinement, and nothing half-written when the disk says no or somebody says stop.
. "$(dirname "$0")/lib.sh"
cd "$work"

# ---- names and counters ----
for i in 1 2 3; do
    expect 0 run demo "${tiny[@]}" --output out
    [ "$(cat "$work/.stdout")" = "$work/out/demo_0000${i}_.png" ] || fail "printed $(cat "$work/.stdout"), wanted $work/out/demo_0000${i}_.png"
done
[ "$(wc -l <"$work/.stdout")" -eq 1 ] || fail "more than one line on stdout"
has_files 3 out
expect 0 run demo "${tiny[@]}" --set 10.filename_prefix=a/b/c --output out
[ -s out/a/b/c_00001_.png ] || fail "no out/a/b/c_00001_.png"
expect 0 run demo "${tiny[@]}" --set '10.filename_prefix=s%8.seed%_%width%x%height%' --output out
[ -s out/s0_64x64_00001_.png ] || [ -s out/s%8.seed%_64x64_00001_.png ] || fail "no out/..._64x64_00001_.png: $(ls out)"
expect 0 run demo "${tiny[@]}" --output out --quiet
[ ! -s "$work/.stderr" ] || fail "--quiet, but something on stderr"

# ---- metadata ----
grep -qa '"class_type": *"KSampler"' out/demo_00001_.png || fail "the picture does not hold its workflow"
expect 0 run demo "${tiny[@]}" --output bare --disable-metadata
! grep -qa class_type bare/demo_00001_.png || fail "--disable-metadata, but the picture holds its workflow"

# ---- nothing outside the output folder ----
mkdir inner
for prefix in ../escaped a/../../escaped /tmp/escaped_$$; do
    expect 1 run demo "${tiny[@]}" --set "10.filename_prefix=$prefix" --output inner/out
done
has_files 0 inner
[ ! -e escaped_00001_.png ] || fail "wrote outside the output folder"
! ls /tmp/escaped_$$* 2>/dev/null || fail "wrote to an absolute path"

# ---- nothing outside the input folder ----
mkdir -p in
cp out/demo_00001_.png in/picture.png
cp out/demo_00001_.png secret.png
cat >load.json <<'JSON'
{"1": {"class_type": "LoadImage", "inputs": {"image": "picture.png"}},
 "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "loaded"}}}
JSON
expect 0 run load.json --input in --output loaded
[ -s loaded/loaded_00001_.png ] || fail "no loaded picture"
for name in ../secret.png "$work/secret.png" ../secret.png\ [input] sub/../../secret.png none.png ''; do
    expect 2 run load.json --set "1.image=\"$name\"" --input in --output none
done
: >in/empty.png
head -c 300 in/picture.png >in/half.png
head -c 300 /dev/urandom >in/noise.png
# a picture of 100,000 x 100,000: only its header says so
printf '\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\x01\x86\xa0\0\x01\x86\xa0\x08\x02\0\0\0' >in/huge.png
for name in empty half noise huge; do
    "$program" run load.json --set "1.image=$name.png" --input in --output none >"$work/.stdout" 2>"$work/.stderr"
    code=$?
    [ $code -eq 1 ] || [ $code -eq 2 ] || fail "$name.png: exit code $code, wanted 1 or 2"
    says $name.png
done
has_files 0 none

# ---- the disk says no ----
: >file
expect_no() {           # an output that cannot be written: 1 or 2 and a reason
    "$program" run demo "${tiny[@]}" --output "$1" >"$work/.stdout" 2>"$work/.stderr" </dev/null
    local code=$?
    [ $code -eq 1 ] || [ $code -eq 2 ] || fail "exit code $code for --output $1, wanted 1 or 2"
    [ ! -s "$work/.stdout" ] || fail "a path was printed for --output $1"
    says "$1"
}
expect_no file
expect_no file/below
expect_no /proc/rylagraph
if [ "$(id -u)" -ne 0 ]; then   # root may write anywhere
    mkdir locked && chmod 555 locked
    expect_no locked
    chmod 755 locked
fi
# full: no file may grow past 1 KiB, and the signal that would come with it is ignored
( trap '' XFSZ; ulimit -f 1; exec "$program" run demo "${tiny[@]}" --output full --quiet >/dev/null 2>"$work/.stderr" )
code=$?
[ $code -eq 1 ] || fail "exit code $code on a full disk, wanted 1"
has_files 0 full
# also where the signal is not ignored: the program must not die of it
( ulimit -f 1; exec "$program" run demo "${tiny[@]}" --output full2 --quiet >/dev/null 2>/dev/null )
code=$?
[ $code -eq 1 ] || fail "exit code $code on a file-size limit, wanted 1"
has_files 0 full2

# ---- somebody says stop ----
"$program" run demo --set 8.steps=10000 --output stopped >"$work/.stdout" 2>"$work/.stderr" </dev/null &
pid=$!
sleep 2
kill -INT $pid
for i in $(seq 50); do
    kill -0 $pid 2>/dev/null || break
    sleep 0.2
done
kill -KILL $pid 2>/dev/null && fail "still running 10 s after the interrupt"
wait $pid
code=$?
[ $code -eq 130 ] || fail "exit code $code after an interrupt, wanted 130"
has_files 0 stopped
[ ! -s "$work/.stdout" ] || fail "an interrupted run printed $(cat "$work/.stdout")"
finish
