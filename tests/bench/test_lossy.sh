#!/bin/bash
# A tiny stack through what is there: the table has a line for each row, measured or skipped with a reason,
# and losses are counted alike twice.
set -euo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/sqyfs-lossy-XXXXXX")
trap 'rm -rf "$work"' EXIT

must_fail() {
    if "$@" >"$work/out" 2>&1; then
        cat "$work/out"
        exit 1
    fi
}

lines() { # of the CSV, without its head; commas inside of quotes become blanks
    tail -n +2 "$work/out.csv" | awk -F'"' -v OFS='' '{ for (i = 2; i <= NF; i += 2) gsub(",", " ", $i) } 1'
}

"$LIGHTSHEET" --kind embryo --size 301x203x9 --format raw "$work/a.raw" >"$work/said"
"$LOSSY" --quick --rounds 1 --threads 2 --csv "$work/out.csv" -p interlace -p 'quantiser->lz4' -p nothing \
    "$work/a.raw:301x203" >"$work/said"
columns=$(head -1 "$work/out.csv" | tr ',' '\n' | wc -l)
[ "$(lines | wc -l)" = 3 ]
lines | awk -F, -v columns="$columns" 'NF != columns { exit 1 }'
lines | awk -F, '$2 == "interlace" && ($5 != "" || $8 < 1 || $11 <= 0 || $20 <= 0 || $26 != 0) { exit 1 }'
lines | awk -F, '$2 == "quantiser->lz4" && ($5 != "" || $8 < 1) { exit 1 }'
lines | awk -F, '$2 == "nothing" && ($5 == "" || $9 != 0) { exit 1 }'
grep -q 'skipped: ' "$work/said"
must_fail grep 'RECEIPT IS WRONG' "$work/said"

"$LOSSY" --quick --rounds 1 --threads 3 --csv "$work/out.csv" "$work/a.raw:301x203" >"$work/said"
[ "$(lines | wc -l)" -ge 5 ]
lines | awk -F, -v columns="$columns" 'NF != columns { exit 1 }'
grep -q '^bars:' "$work/said"
must_fail grep 'RECEIPT IS WRONG' "$work/said"
must_fail "$LOSSY" --rounds 1 "$work/none"
must_fail "$LOSSY" --threads 0 "$work/a.raw:301x203"
