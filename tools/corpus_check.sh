#!/bin/sh
# Many workflows through `rylagraph check`: how many are read, what they lack, and that none ends in a crash or takes long.
# usage: tools/corpus_check.sh PROGRAM FILE...      (exit code 1 if one crashed or took more than 20 seconds)
set -u
[ $# -ge 2 ] || { echo "usage: tools/corpus_check.sh PROGRAM FILE..." >&2; exit 2; }
program=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0
for file in "$@"; do
    timeout 20 "$program" check "$file" >"$folder/one" 2>&1
    code=$?
    case $code in
    0) echo good >>"$folder/kinds" ;;
    2) if grep -q "there is no class" "$folder/one"; then
           echo "read, unknown classes" >>"$folder/kinds"
       elif grep -q ": node " "$folder/one"; then
           echo "read, other errors (files, values)" >>"$folder/kinds"
       else
           echo "not read" >>"$folder/kinds"
           sed -n 1p "$folder/one" >>"$folder/unread"
       fi ;;
    *) echo "CRASH ($code)" >>"$folder/kinds"
       echo "crash, code $code: $file" >>"$folder/unread"
       failed=1 ;;
    esac
    sed -n 's/.*there is no class \(.*\)/\1/p' "$folder/one" | sed 's/; nearest.*//; s/ (nor for node.*//' >>"$folder/classes"
done
echo "$# files"
sort "$folder/kinds" | uniq -c | sort -rn
[ -s "$folder/unread" ] && { echo "not read:"; head -20 "$folder/unread"; }
echo "files per unknown class:"
sort "$folder/classes" | uniq -c | sort -rn | head -25
exit $failed
