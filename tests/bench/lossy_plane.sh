#!/bin/bash
# What a mount decodes for one plane of a stack that has been archived as video: by its own counters, plane by
# plane at random, each on a mount that has decoded nothing of it yet.
#   lossy_plane.sh [PLANES READ]     (5)
# SQYFS_BENCH_OUT: a folder for the bars.
. "$(dirname "$0")/../integration/lib.sh"

setup
want setfattr:attr
width=512 rows=512 planes=64 gop=8
plane=$((width * rows * 2))
out=${SQYFS_BENCH_OUT:-$WORK}
mkdir -p "$out"
RANDOM=${SQYFS_SEED:-1}

# where_planes_are FILE: a line for each, its first byte and its length; it lies in one piece. Found in a plain
# copy, for the way there touches every plane.
where_planes_are() {
    "$PYTHON" - "$1" <<'END'
import struct, sys
with open(sys.argv[1], "rb") as f:
    data = f.read()
at = struct.unpack_from("<4xI", data)[0]
while at:
    n = struct.unpack_from("<H", data, at)[0]
    tags = {t: (k, c, v) for t, k, c, v in struct.iter_unpack("<HHII", data[at + 2:at + 2 + 12 * n])}
    at = struct.unpack_from("<I", data, at + 2 + 12 * n)[0]
    def values(tag):
        kind, count, value = tags[tag]
        return [value] if count == 1 else struct.unpack_from("<%d%s" % (count, "HI"[kind == 4]), data, value)
    print(values(273)[0], sum(values(279)))
END
}

# read_bytes FLAG FIRST LENGTH: as a program that knows what it wants.
read_bytes() {
    "$PYTHON" -c '
import mmap, os, sys
first, length = int(sys.argv[3]), int(sys.argv[4])
fd = os.open(sys.argv[1], os.O_RDONLY | getattr(os, sys.argv[2], 0))
assert os.preadv(fd, [memoryview(mmap.mmap(-1, length))[:length]], first) == length' "$MNT/a/stack.tif" "$@"
}

# count FLAG INDEX: in DECODED the planes, by the mount's counter, for the one of that index.
count() {
    local bytes
    remount
    bytes=$(number bytes_decoded)
    # shellcheck disable=SC2086
    read_bytes "$1" ${where[$2]}
    DECODED=$(awk -v b="$(($(number bytes_decoded) - bytes))" -v p="$plane" 'BEGIN { printf "%.3f", b / p }')
}

attach
mkdir "$MNT/a"
setfattr -n user.sqyfs.archive -v "noise(q=0.5)->hevc(bits=10,gop=$gop,preset=ultrafast,qp=4)" "$MNT/a"
lightsheet --kind embryo --size "${width}x${rows}x$planes" --seed 1 --format tiff --pages "$REF/stack.tif"
mapfile -t where < <(where_planes_are "$REF/stack.tif")
cp "$REF/stack.tif" "$MNT/a/stack.tif"
drain
until await archive_due "x == 0" && await archiving "x == 0" && [ "$(number archive_due)" = 0 ]; do :; done
note "a stack of $planes planes is $(attr "$MNT/a/stack.tif" pipeline), $(attr "$MNT/a/stack.tif" ratio) times smaller"

most=0
for _ in $(seq "${1:-5}"); do
    index=$((RANDOM % planes))
    count O_DIRECT "$index"
    exact=$DECODED
    count none "$index"
    note "plane $index: $exact planes decoded; $DECODED where the kernel rounds to whole pages"
    most=$(awk -v a="$most" -v b="$exact" 'BEGIN { print (a > b ? a : b) }')
done
awk -v n="$most" -v gop="$gop" 'BEGIN {
    printf "  %-28s %-66s %9.3f  wanted <= %d       %s\n", "archived as hevc", "planes decoded for one, of a group of " gop,
        n, gop, (n <= gop ? "met" : "MISSED") }' | tee -a "$out/lossy.bars"
unmount
