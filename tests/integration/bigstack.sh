#!/bin/bash
# A BigTIFF of more than 4 GiB is written through the mount with an ordinary program, read back, mounted
# again, read back in single planes; the daemon's memory stays within its spool, its cache and 512 MiB.
# SQYFS_BIG_PLANES=N makes it larger or smaller.
. "$(dirname "$0")/lib.sh"

want tiffcp:libtiff-tools tiffcmp:libtiff-tools
setup
planes=${SQYFS_BIG_PLANES:-520}
free_kb=$(df --output=avail -k "$WORK" | tail -n 1)
[ "$free_kb" -gt $((planes * 8192 * 3)) ] || skip "needs $((planes * 8192 * 3 / 1048576)) GiB of disk"
spool_mb=512 cache_mb=128
attach "spool=${spool_mb}M,cache=${cache_mb}M"

peak_kb() {
    awk '/^VmHWM/ { print $2 }' "/proc/$DAEMON/status"
}

bounded() {
    [ -z "$SQYFS_PLAIN" ] || return 0
    local peak limit=$(((spool_mb + cache_mb + 512) * 1024))
    peak=$(peak_kb)
    note "the daemon's memory has peaked at $((peak / 1024)) MiB ($1)"
    [ -n "$SANITIZED" ] || [ "$peak" -lt $limit ] || fail "more than $((limit / 1024)) MiB"
}

# All directories but the first one come after all voxels: planes are cut before they are told of.
cut_at_once() {
    [ -z "$SQYFS_PLAIN" ] || return 0
    "$SQYCTL" stats --json "$MNT" | "$PYTHON" -c '
import json, sys
stats = json.load(sys.stdin)
all, twice = stats["chunks_encoded"], stats["chunks_provisional"]
print(f"{twice} of {all} chunks were cut provisionally")
sys.exit(twice * 20 > all)' || fail "too many chunks are encoded twice"
}

lightsheet --kind embryo --size "2048x2048x$planes" --format bigtiff "$REF/big.tif"
start=$SECONDS
cp "$REF/big.tif" "$MNT/copied.tif"
note "cp: $((SECONDS - start)) s"
cut_at_once
start=$SECONDS
lightsheet --kind embryo --size "2048x2048x$planes" --format bigtiff --pages "$MNT/pages.tif"
note "plane by plane: $((SECONDS - start)) s"
bounded "while written"
start=$SECONDS
drain
note "drain: $((SECONDS - start)) s"
bounded "after drain"
same "$REF/big.tif" "$MNT/copied.tif"
bounded "after reading"
want_ratio "$MNT/copied.tif" 2
want_ratio "$MNT/pages.tif" 2
remount "spool=${spool_mb}M,cache=${cache_mb}M"
lightsheet --kind embryo --size "2048x2048x$planes" --format bigtiff --pages "$REF/pages.tif"
same "$REF/pages.tif" "$MNT/pages.tif"
same "$REF/big.tif" "$MNT/copied.tif"
tail -c 1000000 "$REF/big.tif" | cmp - <(tail -c 1000000 "$MNT/copied.tif") || fail "the tail"
bounded "after a new mount"
if [ -z "$SQYFS_PLAIN" ]; then
    unmount
    "$SQYCTL" decode "$STORE/copied.tif.sqy" - | cmp - "$REF/big.tif" || fail "sqyctl decode"
fi
