#!/bin/bash
# The demo: by itself it leaves nothing behind, from a terminal it leaves the mount up, and it can be run again.
. "$(dirname "$0")/lib.sh"

[ -z "$SQYFS_PLAIN" ] || skip "needs a mount"
want tiffcp:libtiff-tools script:bsdutils
setup
export SQYFS_BUILD HOME=$WORK/home
mkdir "$HOME"
demo=$HERE/../../demo.sh

run_demo() {
    "$demo" "$@" </dev/null >"$WORK/said" 2>&1 || {
        cat "$WORK/said"
        fail "demo.sh $*"
    }
    grep -q '^ratio  *[2-9]' "$WORK/said" || { cat "$WORK/said" && fail "no ratio of two and more"; }
}

note "twice, by itself"
for run in 1 2; do
    run_demo
    [ -z "$(ls -A "$HOME")" ] || fail "run $run leaves $(ls -A "$HOME")"
done

note "in folders that exist"
mkdir "$WORK/s" "$WORK/m"
run_demo "$WORK/s" "$WORK/m"
[ -z "$(ls -A "$WORK/s" "$WORK/m" | grep -v :)" ] || fail "folders that were empty are not any more"

note "from a terminal, twice"
MNT2=$HOME/sqyfs-demo/mount
for run in 1 2; do
    script -qec "$demo" "$WORK/typescript" </dev/null >"$WORK/said" 2>&1 || {
        cat "$WORK/said"
        fail "demo.sh on a terminal"
    }
    [ -s "$MNT2/sqyfs-demo.tif" ] || { cat "$WORK/said" && fail "the mount is not up"; }
    grep -q 'fusermount3 -u' "$WORK/said" || fail "it does not say how to unmount"
done
fusermount3 -u "$MNT2"

note "wrong arguments, a store that is none"
! "$demo" one </dev/null >/dev/null 2>&1 || fail "takes one folder"
mkdir "$WORK/no-store"
echo precious >"$WORK/no-store/file"
! "$demo" "$WORK/no-store" "$WORK/m" </dev/null >"$WORK/said" 2>&1 || fail "takes a folder that is no store"
[ "$(cat "$WORK/no-store/file")" = precious ] || fail "touches what is not its own"
