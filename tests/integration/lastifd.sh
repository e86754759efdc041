#!/bin/bash
# BigTIFFs whose directories all come after their voxels, far longer than the spool: until the end nothing says
# what the bytes are. They get through, in few bytes meanwhile, and in the end they are images like any.
#   --full: with the sizes of a microscope; SQYFS_BIG_PLANES=N makes it larger or smaller
. "$(dirname "$0")/lib.sh"

setup
side=1024 planes=80 many=1000 OPTIONS="spool=16M,cache=32M"
[ "${1:-}" != --full ] || side=2048 planes=${SQYFS_BIG_PLANES:-1250} many=4000 OPTIONS="cache=256M"
size=$((side * side * 2 * planes))
free_kb=$(df --output=avail -k "$WORK" | tail -n 1)
[ "$free_kb" -gt $((size / 1024 * 2)) ] || skip "needs $((size / 1048576 * 2)) MiB of disk"
attach "$OPTIONS"

late() { # write|check FILE SHAPE PLANES CALL HOW
    "$PYTHON" "$HERE/lastifd.py" "$1" "$WORK/frames:$3" "$MNT/$2" "${@:4}"
}

bytes_in_store() {
    [ -n "$SQYFS_PLAIN" ] || stat -c %s "$STORE/$1.sqy"
}

# Byte chunks that wait to be cut: only what came before it was clear that directories are late.
cut_as_samples() {
    [ -z "$SQYFS_PLAIN" ] || return 0
    local chunks
    chunks=$(number chunks_provisional)
    note "$chunks chunks were provisional bytes"
    [ "$chunks" -lt 70 ] || fail "samples were taken for bytes"
}

late_one() { # SHAPE PLANES CALL HOW
    local name=$4.$3.tif
    lightsheet --kind embryo --size "${1}x16" --format raw "$WORK/frames"
    note "$*: $(late write "$name" "$@")"
    cut_as_samples
    note "stored meanwhile: $(bytes_in_store "$name")"
    drain
    note "stored after drain: $(bytes_in_store "$name")"
    late check "$name" "$@" || fail "after drain"
    await_again
    note "stored in the end: $(bytes_in_store "$name")"
    want_ratio "$MNT/$name" 3
    want_memory 200
    [ -n "$SQYFS_PLAIN" ] || remount "$OPTIONS"
    late check "$name" "$@" || fail "after a new mount"
    rm "$MNT/$name"
}

late_one "${side}x$side" $planes $((1 << 20)) zero
late_one "${side}x$side" $planes $((8 << 20)) ahead
late_one 128x128 $many $((1 << 20)) zero
