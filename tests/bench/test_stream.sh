#!/bin/bash
# What stream writes is there, and is a TIFF; what is not what it wrote is told; every way to read reads it all.
set -euo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/sqyfs-stream-XXXXXX")
trap 'rm -rf "$work"' EXIT

must_fail() {
    if "$@" >"$work/out" 2>&1; then
        cat "$work/out"
        exit 1
    fi
}

says() { # FIELD VALUE
    grep -q "\"$1\": $2[,}]" "$work/said" || {
        cat "$work/said"
        exit 1
    }
}

"$LIGHTSHEET" --kind embryo --size 128x96x5 --format raw "$work/frames.raw" >"$work/out"
frames=(--frames "$work/frames.raw:128x96" --bytes 800K)
for format in "" --tiff; do
    "$STREAM" write "${frames[@]}" $format --block 8K --sync "$work/a" "$work/b" >"$work/said"
    says paths 2
    "$STREAM" check "${frames[@]}" $format "$work/a" "$work/b" >"$work/out"
    must_fail "$STREAM" check "${frames[@]}" $format "$work/b" "$work/a"
    printf x >>"$work/b"
    must_fail "$STREAM" check "${frames[@]}" $format "$work/a" "$work/b"
done
"$STREAM" write "${frames[@]}" "$work/a" >"$work/said"
says bytes $((34 * 128 * 96 * 2))
"$STREAM" forget "$work"
for mode in sequential descending mmap; do
    "$STREAM" read --mode $mode --plane 24K --block 5000 "$work/a" >"$work/said"
    says bytes $((34 * 128 * 96 * 2))
done
"$STREAM" read --mode planes --plane 24K --count 30 "$work/a" >"$work/said"
says calls 30
"$STREAM" libtiff "${frames[@]}" --block 8K --sync "$work/strips.tif" >"$work/said"
says calls $((34 * 3))
mkdir "$work/many"
"$STREAM" many --frames "$work/frames.raw:128x96" --count 12 --sync "$work/many" >"$work/said"
says calls 12
"$STREAM" stat --count 12 --say '"name": "x"' "$work/many" >"$work/said"
says name '"x"'
must_fail "$STREAM" stat --count 13 "$work/many"
"$STREAM" write "${frames[@]}" --rate 8M --then true "$work/a" >"$work/said"
must_fail "$STREAM" write "${frames[@]}" --then false "$work/a"
must_fail "$STREAM" write "${frames[@]}" --block 0 "$work/a"
must_fail "$STREAM" write --frames "$work/none:128x96" "$work/a"
