#!/usr/bin/env bash
# A workflow as the editor saves it runs, its picture carries it, and the picture runs again to the same bytes.
. "$(dirname "$0")/lib.sh"
cd "$work"
cat >editor.json <<'END'
{"nodes": [{"id": 1, "type": "EmptyImage", "widgets_values": [64, 64, 1, 255]}, {"id": 2, "type": "Note", "widgets_values": ["hi"]},
 {"id": 4, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 4}]},
 {"id": 3, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 5}], "widgets_values": ["x"]}],
 "links": [[4, 1, 0, 4, 0, "IMAGE"], [5, 4, 0, 3, 0, "IMAGE"]], "extra": {"mark": "kept as it is"}}
END
expect 0 run editor.json --quiet
has_files 1 output
grep -q '"mark": "kept as it is"' output/x_00001_.png || fail "the picture does not carry the editor's workflow"
expect 0 run output/x_00001_.png --quiet
has_files 2 output
cmp -s output/x_00001_.png output/x_00002_.png || fail "the picture made another one than itself"
expect 0 run output/x_00001_.png --set 1.width=32 --quiet
! cmp -s output/x_00001_.png output/x_00003_.png || fail "--set did nothing to a picture's workflow"
expect 0 run editor.json --disable-metadata --quiet
! grep -q mark output/x_00004_.png || fail "metadata in spite of --disable-metadata"
expect 0 check output/x_00001_.png
expect 2 run output/x_00004_.png
says "carries no workflow"
finish
