#!/usr/bin/env bash
# The web pages in headless Chromium: the server's own, and ComfyUI's (its package's static folder) served with --front-end-root.
# They are loaded, used and looked at: DOM, console, failed requests, screenshots. By hand, not part of the test suite: it needs node and
# Chromium, and ComfyUI's page is a package of its own.
#
#     tools/browser_check.sh [FRONT_END_FOLDER]
#
# RG_PROGRAM    the program (build/rylagraph)       RG_CHROMIUM  the browser (chromium)
# RG_FRONT_END  the same as FRONT_END_FOLDER, such as .../site-packages/comfyui_frontend_package/static; without it that half is skipped
# RG_SHOTS      a folder for screenshots; without it none are taken
# Exit code: 0 all passed, 1 something failed, 77 skipped.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
chromium=$(command -v "${RG_CHROMIUM:-chromium}") || { echo "SKIP: no Chromium; name one with RG_CHROMIUM"; exit 77; }
command -v node >/dev/null || { echo "SKIP: no node"; exit 77; }
export RG_PROGRAM=${RG_PROGRAM:-$here/build/rylagraph}
[ -x "$RG_PROGRAM" ] || { echo "SKIP: no program at $RG_PROGRAM"; exit 77; }
front=${1:-${RG_FRONT_END:-}}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
code=0
node "$here/tools/browser/own_page.js" "$chromium" "$work" || code=1
if [ -z "$front" ]; then
    echo "ComfyUI's page: skipped, its folder was not named"
elif [ ! -f "$front/index.html" ]; then
    echo "ComfyUI's page: no index.html in $front"
    code=1
else
    node "$here/tools/browser/front_end.js" "$chromium" "$work" "$front" || code=1
fi
exit $code
