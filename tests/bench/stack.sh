#!/bin/bash
# A generated 2048x2048 stack is written plane by plane into a mount and read back, next to the same on the
# plain filesystem that holds the store; runs are interleaved. Printed are medians and the range, in GB/s of
# plain bytes or what stands there. SQYFS_BENCH_PLANES and SQYFS_BENCH_RUNS change the size; SQYFS_BENCH_KINDS
# the stacks; SQYFS_BENCH_SMALL how many small ones are made at last (0: none).
. "$(dirname "$0")/../integration/lib.sh"

setup
planes=${SQYFS_BENCH_PLANES:-64} runs=${SQYFS_BENCH_RUNS:-5} small=${SQYFS_BENCH_SMALL:-10000}
io() { "$PYTHON" "$(dirname "$0")/io.py" "$@"; }

results=$WORK/results
one_run() { # KIND
    io write "$WORK/$1.tif" "$REF/$1.tif" "plain write, until close" >>"$results"
    io write "$WORK/$1.tif" "$MNT/$1.tif" "sqyfs write, until close" >>"$results"
    io drain "$WORK/$1.tif" "sqyfs drain, from close on" "${SQYCTL:-true}" drain "$MNT" >>"$results"
    io read "$REF/$1.tif" "plain read, cold" >>"$results"
    remount
    io read "$MNT/$1.tif" "sqyfs read, cold" >>"$results"
    io read "$MNT/$1.tif" "sqyfs read, again" >>"$results"
    io planes "$MNT/$1.tif" "sqyfs planes at random" >>"$results"
    io down "$MNT/$1.tif" "sqyfs planes downwards" >>"$results"
    io mapped "$MNT/$1.tif" "sqyfs read, cold, mapped" >>"$results"
    io together "$MNT/$1.tif" "sqyfs read, cold, by two" >>"$results"
}

# What stat(2) of many small stacks takes after a mount: by name, and as ls -l does it.
many_small() {
    local run
    : >"$results"
    lightsheet --size 32x32x2 "$WORK/small.tif"
    attach
    io make_many "$WORK/small.tif" "$MNT/small" "$small"
    drain
    for ((run = 0; run < runs; run++)); do
        remount
        io stat_all "$MNT/small" "$small" "sqyfs stat, by name" >>"$results"
        remount
        io list_all "$MNT/small" "sqyfs stat, of a listing" >>"$results"
    done
    unmount
    echo "$small small stacks"
    io report "$results"
}

for kind in ${SQYFS_BENCH_KINDS:-embryo dense sparse}; do
    : >"$results"
    limit=$("$LIGHTSHEET" --kind "$kind" --size "2048x2048x$planes" --json "$WORK/$kind.tif" |
        sed 's/.*"noise_limit": \([0-9.]*\).*/\1/')
    attach
    for ((run = 0; run < runs; run++)); do
        one_run "$kind"
    done
    ratio=1
    [ -n "$SQYFS_PLAIN" ] || ratio=$(attr "$MNT/$kind.tif" ratio)
    unmount
    echo "$kind: $planes planes, $(stat -c %s "$WORK/$kind.tif") bytes, ratio $ratio (the noise allows $limit)"
    io report "$results"
    rm -f "$WORK/$kind.tif" "$REF/$kind.tif"
    rm -rf "${STORE:?}"/* "$STORE"/.sqyfs*
done
[ "$small" = 0 ] || many_small
