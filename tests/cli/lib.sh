# What the black-box tests share. A test sources this, calls expect and its friends, and ends with finish.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
program=$(realpath -m "${RG_PROGRAM:-$here/build/rylagraph}")
[ -x "$program" ] || { echo "SKIP: no program at $program"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
# one step of a 64x64 picture: every stage runs, in a fraction of a second
tiny=(--set 8.steps=1 --set 7.width=64 --set 7.height=64)

fail() {
    failures=$((failures + 1))
    echo "FAIL (${BASH_SOURCE[-1]##*/}:${BASH_LINENO[-2]}): $*"
    [ ! -s "$work/.stderr" ] || sed 's/^/    stderr: /' "$work/.stderr" | head -n 12
}

# expect CODE ARGUMENT...: run the program; its output is then in $work/.stdout and $work/.stderr
expect() {
    local wanted=$1
    shift
    "$program" "$@" >"$work/.stdout" 2>"$work/.stderr" </dev/null
    local got=$?
    [ $got -eq "$wanted" ] || fail "exit code $got, wanted $wanted: rylagraph $*"
}

# says TEXT...: every text stands in what the program printed as its errors
says() {
    local text
    for text in "$@"; do
        grep -qiF -- "$text" "$work/.stderr" || fail "stderr does not say '$text'"
    done
}

# has_files N FOLDER: exactly N files below it, of whatever name (half-written ones count too)
has_files() {
    local n
    n=$(find "$2" -type f 2>/dev/null | wc -l)
    [ "$n" -eq "$1" ] || fail "$n files in $2, wanted $1: $(find "$2" -type f | head -n 5 | tr '\n' ' ')"
}

# graph SED-SCRIPT: a plain workflow made from the demo's, on stdout
graph() {
    sed -n '/^  "graph": {$/,$p' "$here/workflows/demo.json" | sed '1s/.*/{/; $d' | sed "$@"
}

finish() {
    [ $failures -eq 0 ] || { echo "$failures failed"; exit 1; }
    exit 0
}
