#!/bin/bash
# Every coder that is built in gives back a small stack, and a wrong shape is told.
set -euo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/sqyfs-peers-XXXXXX")
trap 'rm -rf "$work"' EXIT

must_fail() {
    if "$@" >"$work/out" 2>&1; then
        cat "$work/out"
        exit 1
    fi
}

"$LIGHTSHEET" --kind embryo --size 301x203x7 --format raw "$work/a.raw" >"$work/said"
"$LIGHTSHEET" --kind dense --size 301x203x7 --format tiff --big-endian --pages "$work/b.tif" >>"$work/said"
"$PEERS" --rounds 1 --csv "$work/out.csv" -p 'zstd(level=5)' "$work/a.raw:301x203:3.5" "$work/b.tif" >"$work/said"
n=$(grep -c '"a.raw"' "$work/out.csv")
[ "$n" -ge 11 ]
[ "$(grep -c '"b.tif"' "$work/out.csv")" = "$n" ]
must_fail grep -E 'NOT EXACT|cannot encode' "$work/said"
awk -F, 'NR > 1 && ($4 < 1 || $6 != 1) { exit 1 }' "$work/out.csv"
"$PEERS" --rounds 1 --only lz4 "$work/a.raw" | grep -q 'passed over: raw'
must_fail "$PEERS" --rounds 1 "$work/none"
must_fail "$PEERS" --rounds 0 "$work/a.raw"
