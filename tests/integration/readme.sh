#!/bin/bash
# The README's commands work as printed, one after the other, in a home folder of their own. Installing and
# the demo are left out: they are checked by being run.
. "$(dirname "$0")/lib.sh"

[ -z "$SQYFS_PLAIN" ] || skip "needs a mount"
want tiffinfo:libtiff-tools rsync setfattr:attr
want_python numpy tifffile
setup
readme=$HERE/../../README.md
PATH=$(dirname "$SQYFS"):$(dirname "$SQYCTL"):$PATH
export PATH HOME=$WORK/home
mkdir "$HOME"
awk '/^```sh$/ { on = 1; block = ""; next }
     /^```$/ && on { on = 0; if (block !~ /(demo|check)\.sh|meson/) printf "%s", block; next }
     on { block = block $0 "\n" }' "$readme" >"$WORK/commands"
[ "$(grep -c . "$WORK/commands")" -gt 20 ] || fail "the README has lost its commands"
cd "$HOME"
trap 'for m in "$HOME"/*; do detach "$m"; done; cleanup' EXIT
bash -eux "$WORK/commands" >"$WORK/said" 2>&1 || {
    cat "$WORK/said"
    fail "a command in the README"
}
cat "$WORK/said"
