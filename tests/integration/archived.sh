#!/bin/bash
# Directories that say what closed stacks below them become: what tifffile and ImageJ have written is archived when
# nobody writes, keeps its bound, and tells what it has lost; what must not be is left alone. The daemon is killed at it.
. "$(dirname "$0")/lib.sh"

[ -z "$SQYFS_PLAIN" ] || skip "needs a mount"
want_python numpy tifffile
setup
RANDOM=${SQYFS_SEED:=$RANDOM}
note "seed $SQYFS_SEED"

policy() { # POLICY VALUE DIRECTORY
    "$PYTHON" -c 'import os, sys; os.setxattr(sys.argv[3], "user.sqyfs." + sys.argv[1], sys.argv[2].encode())' "$@"
}

await_archived() {
    until await archive_due "x == 0" && await archiving "x == 0" && [ "$(number archive_due)" = 0 ]; do :; done
}

check() { # NAME KIND [SIGMA]
    "$PYTHON" "$HERE/archive.py" check "$REF/${1##*/}" "$MNT/$1" "${@:2}" || exit 1
}

voxels='plain big-endian hyperstack bigtiff int16 strips planes'
others='hashed.ome float zlib'
lightsheet --size 200x150x16 --format raw "$WORK/voxels.raw"
"$PYTHON" "$HERE/archive.py" write "$REF" "$WORK/voxels.raw"
lightsheet --size 400x300x40 --seed 3 --format tiff "$REF/large.tif"

attach
mkdir -p "$MNT/noise/exact/deep" "$MNT/video" "$MNT/context" "$MNT/later"
policy archive 'noise(q=1)->default' "$MNT/noise"
policy archive 'noise(q=1)->hevc(preset=ultrafast) max_error=2sigma' "$MNT/video" 2>"$WORK/said" && video=1 || video=
policy archive context "$MNT/context"
policy lossless always "$MNT/noise/exact"
! policy archive 'noise(q=1)->default' "$MNT/noise/exact/deep" 2>"$WORK/said" || fail "lossless=always does not forbid"
grep -q PermissionError "$WORK/said" || fail "it is not EPERM"
! policy pipeline 'noise(q=1)->default' "$MNT/noise" 2>/dev/null || fail "a lossy pipeline for what is written"
[ "$(attr "$MNT/noise/exact" lossless)" = always ] || fail "the policy is not told"
for dir in noise noise/exact/deep context ${video:+video}; do
    cp -p "$REF"/*.tif "$MNT/$dir"
done
if command -v java >/dev/null && command -v xvfb-run >/dev/null && [ -f /usr/share/java/ij.jar ]; then
    note "ImageJ writes one"
    for dir in "$REF" "$MNT/noise"; do
        echo "open(\"$REF/big-endian.tif\"); saveAs(\"Tiff\", \"$dir/imagej.tif\"); run(\"Quit\");" >"$WORK/save.ijm"
        HOME=$WORK timeout 240 xvfb-run -a java -Xmx1g -jar /usr/share/java/ij.jar -ijpath "$WORK" \
            -batch "$WORK/save.ijm" >"$WORK/said" 2>&1 || { cat "$WORK/said" >&2; fail "ImageJ"; }
    done
    touch -r "$REF/imagej.tif" "$MNT/noise/imagej.tif"
    voxels+=' imagej'
fi
drain
await_archived

check_all() {
    local stack
    for stack in $voxels large; do
        check "noise/$stack.tif" lossy
        [ -z "$video" ] || [ "$stack" = imagej ] || check "video/$stack.tif" lossy 2
        [ "$stack" = imagej ] || check "noise/exact/deep/$stack.tif" exact
        [ "$stack" = imagej ] || check "context/$stack.tif" exact
    done
    for stack in $others; do
        check "noise/$stack.tif" exact
    done
}
note "archived: $(number stacks_archived), left as they are: $(number stacks_not_archived)"
check_all
[ "$(attr "$MNT/context/plain.tif" pipeline)" = context ] || fail "context did not take"
"$SQYCTL" info --json --chunks "$STORE/noise/plain.tif.sqy" | "$PYTHON" -c '
import json, sys
info = json.load(sys.stdin)
told, chunks = info["archived"]["receipt"], [c for c in info["chunks"] if c["lossy"]]
assert info["archived"]["lossy_chunks"] == len(chunks) > 0
assert told["voxels"] == sum(c["voxels"] for c in chunks) == 16 * 150 * 200
assert told["max_error"] == max(c["max_error"] for c in chunks)
assert info["archived"]["original"] != info["archived"]["served"]
' || fail "sqyctl info"

note "again on a new mount, which finds nothing to do; and without an index"
remount
await_archived
[ "$(number stacks_archived)" = 0 ] || fail "something was archived twice"
check_all
unmount
rm "$STORE/.sqyfs/index.db"
attach
await_archived
[ "$(number stacks_archived)" = 0 ] || fail "something was archived twice"
policy archive 'noise(q=3)->default' "$MNT/noise"
await_archived
[ "$(number stacks_archived)" = 0 ] || fail "what is lossy was archived again"
check_all

note "readers who have pages of it in their cache see what it has become"
cp -p "$REF/plain.tif" "$MNT/later/plain.tif"
drain
same "$REF/plain.tif" "$MNT/later/plain.tif"
policy archive 'noise(q=1)->default' "$MNT/later"
await_archived
check later/plain.tif lossy
"$SQYCTL" decode "$STORE/later/plain.tif.sqy" - | cmp - "$MNT/later/plain.tif" || fail "the cache shows older bytes"

note "an edit is exact"
cp -p "$MNT/noise/large.tif" "$WORK/edited.tif"
for file in "$WORK/edited.tif" "$MNT/noise/large.tif"; do
    printf 'abcdefghijkl' | dd of="$file" bs=1 seek=300000 conv=notrunc status=none
done
drain
await_archived
same "$WORK/edited.tif" "$MNT/noise/large.tif"
attr "$MNT/noise/large.tif" quality | grep -q 'edited=yes' || fail "the edit is not told"
cp -p "$REF/large.tif" "$MNT/noise/large.tif" # a new one in its place
drain
await_archived
check noise/large.tif lossy 1.6
unmount
"$SQYCTL" verify "$STORE" >"$WORK/verify.log" 2>&1 || { cat "$WORK/verify.log" >&2; fail "sqyctl verify"; }

note "a writer comes while stacks are archived"
attach
for i in 1 2 3 4; do cp -p "$REF/large.tif" "$MNT/later/large$i.tif"; done
drain
await archiving "x != 0"
cp "$REF/large.tif" "$MNT/new.tif"
cmp "$REF/large.tif" "$MNT/new.tif" || fail "what was written meanwhile"
drain
await_archived
for i in 1 2 3 4; do
    cp -p "$REF/large.tif" "$REF/large$i.tif"
    check "later/large$i.tif" lossy
done

for ((round = 1; round <= ${SQYFS_ROUNDS:-4}; round++)); do
    for i in 1 2 3 4; do rm -f "$MNT/later/large$i.tif" && cp -p "$REF/large.tif" "$MNT/later/large$i.tif"; done
    drain
    await archiving "x != 0"
    ms=$((RANDOM % 400))
    sleep "0.$(printf %03d $ms)"
    kill_daemon
    attach
    for i in 1 2 3 4; do check "later/large$i.tif" either; done
    note "killed after $ms ms of archiving"
    await_archived
    for i in 1 2 3 4; do check "later/large$i.tif" lossy; done
done
unmount
"$SQYCTL" verify "$STORE" >"$WORK/verify.log" 2>&1 || { cat "$WORK/verify.log" >&2; fail "sqyctl verify"; }
