#!/bin/bash
# Files are written in random order through mappings, far larger than the spool: planes, rows, pages, and a TIFF of
# numpy's. Nobody waits for ever, no byte is lost, also of what msync(2) has confirmed before a kill; afterwards the
# blob is as small as that of a stack that was written from its beginning to its end.
#   --full: with the sizes of a microscope
. "$(dirname "$0")/lib.sh"

want_python numpy
setup
side=1024 planes=80 spool_mb=16 cache_mb=8
[ "${1:-}" != --full ] || side=2048 planes=320 spool_mb=256 cache_mb=64
plane=$((side * side * 2)) size=$((side * side * 2 * planes))
free_kb=$(df --output=avail -k "$WORK" | tail -n 1)
[ "$free_kb" -gt $((size / 1024 * 5)) ] || skip "needs $((size / 1048576 * 5)) MiB of disk"
OPTIONS="spool=${spool_mb}M,cache=${cache_mb}M,raw=*.raw:${side}x$side"
attach "$OPTIONS"
lightsheet --kind embryo --size "${side}x${side}x31" --format raw "$WORK/frames"

mapped() { # write|check FILE UNIT [SYNCED]
    "$PYTHON" "$HERE/mapped.py" "$1" "$WORK/frames" "$MNT/$2" "$size" "${@:3:1}" 7 "${@:4}"
}

# Each piece that lies alone in a chunk has all of it decoded when its plane is put together.
decoded_few_times() {
    [ -z "$SQYFS_PLAIN" ] || return 0
    local decoded
    decoded=$(number bytes_decoded)
    note "$((decoded / 1048576)) MiB were decoded so far, of $((size / 1048576)) that were written each time"
    [ "$decoded" -lt $((size * 40)) ] || fail "chunks are decoded again and again"
}

attach_again() { [ -n "$SQYFS_PLAIN" ] || remount "$OPTIONS"; }

for unit in $plane $((side * 2)) 4096; do
    note "pieces of $unit bytes: $(mapped write "$unit.raw" "$unit")"
    mapped check "$unit.raw" "$unit" >/dev/null || fail "after close"
    drain
    mapped check "$unit.raw" "$unit" >/dev/null || fail "after drain"
    await_again
    decoded_few_times
    want_memory 200
    want_ratio "$MNT/$unit.raw" 3
    attach_again
    mapped check "$unit.raw" "$unit" >/dev/null || fail "after a new mount"
    if [ -z "$SQYFS_PLAIN" ]; then
        [ "$(stat -c %s "$STORE/$unit.raw.sqy")" -lt $((size / 3)) ] || fail "the blob is full of what is dead"
        "$SQYCTL" verify "$STORE/$unit.raw.sqy" >/dev/null || fail "sqyctl verify"
    fi
    rm "$MNT/$unit.raw"
done

if [ -z "$SQYFS_PLAIN" ]; then
    for after in 3 9; do
        mapped write killed.raw 4096 "$WORK/synced" >"$WORK/writing" 2>&1 &
        writer=$!
        until [ "$(wc -l <"$WORK/writing")" -ge $after ]; do sleep 0.02; done
        kill_daemon "$writer"
        attach "$OPTIONS"
        note "killed: $(mapped check killed.raw 4096 "$WORK/synced")" || fail "what was synced is gone"
        attach_again
        mapped check killed.raw 4096 "$WORK/synced" >/dev/null || fail "after one more mount"
        rm "$MNT/killed.raw"
    done
fi

"$PYTHON" - "$WORK/frames" "$MNT/numpy.tif" $side $planes <<'END' || fail "numpy's TIFF"
import os, random, sys
import numpy
try:
    import tifffile
except ImportError:
    sys.exit(0)
frames, name, side, planes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
volume = numpy.fromfile(frames, "<u2").reshape(-1, side, side)
stack = tifffile.memmap(name, shape=(planes, side, side), dtype="<u2")
order = list(range(planes * 4))
random.Random(3).shuffle(order)
for i in order:
    z, rows = i // 4, slice(i % 4 * side // 4, (i % 4 + 1) * side // 4)
    stack[z, rows] = volume[z % len(volume), rows]
    if i % 16 == 0:
        stack.flush()
stack.flush()
del stack
got = tifffile.imread(name)
for z in range(planes):
    assert (got[z] == volume[z % len(volume)]).all(), z
END
if [ -e "$MNT/numpy.tif" ]; then
    drain
    await_again
    want_ratio "$MNT/numpy.tif" 3
fi
want_memory 200
