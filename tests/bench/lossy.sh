#!/bin/bash
# Pipelines that lose something: ratio, speed and error of each, on generated stacks and on the light-sheet
# volumes of the shared corpus where there is one; then our video sinks beside the ffmpeg tool. A table a
# volume, the bars of all at the end.
#   lossy.sh [OPTION OF lossy...]
# The programs are found in the build folder $SQYFS_BUILD, or given as $LOSSY, $GROUPS_OF and $LIGHTSHEET.
# SQYFS_BENCH_KINDS: the generated stacks; SQYFS_BENCH_SIZE: theirs, 512x512x16.
# SQYFS_BENCH_CORPUS: folder of folders, "" for none; SQYFS_BENCH_STACKS: those of its folders that are taken.
# SQYFS_BENCH_OUT: folder that keeps the CSV and what was printed.
# SQYFS_BENCH_TURN: a command that each measuring program is run under, such as "taskset -c 2,3".
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
build=${SQYFS_BUILD:-$here/../../build}
lossy=${LOSSY:-$build/tests/bench/lossy}
lightsheet=${LIGHTSHEET:-$build/tests/tools/lightsheet}
size=${SQYFS_BENCH_SIZE:-512x512x16}
corpus=${SQYFS_BENCH_CORPUS-$here/../../../shared/corpus/bench}
read -ra turn <<<"${SQYFS_BENCH_TURN:-}"
work=$(mktemp -d "${TMPDIR:-/var/tmp}/sqyfs-lossy-XXXXXX")
trap 'rm -rf "$work"' EXIT
out=${SQYFS_BENCH_OUT:-$work}
mkdir -p "$out"

measure() { # VOLUME [OPTION OF lossy...]
    local volume=$1
    shift
    ${turn[@]+"${turn[@]}"} "$lossy" "$@" --csv "$work/part.csv" "$volume" >"$work/part.txt" || failed=1
    sed '/^bars:$/,$d' "$work/part.txt"
    sed '1,/^bars:$/d' "$work/part.txt" >>"$out/lossy.bars"
    tail -n +$((1 + began)) "$work/part.csv" >>"$out/lossy.csv"
    began=1
}

failed=0
began=0
: >"$out/lossy.csv"
: >"$out/lossy.bars"
for kind in ${SQYFS_BENCH_KINDS-embryo dense sparse}; do
    "$lightsheet" --kind "$kind" --size "$size" --seed 1 --format raw "$work/$kind.raw" >"$work/said"
    measure "$work/$kind.raw:${size%x*}" "$@"
    rm "$work/$kind.raw"
done
for name in ${SQYFS_BENCH_STACKS-cellfinder-crop-ch0 drosophila-simview lightsheet-drift sonneberg-tribolium}; do
    if [ -n "$corpus" ] && [ -d "$corpus/$name" ]; then
        measure "$corpus/$name" "$@"
    else
        echo "$name: passed over: no such folder in the corpus"
    fi
done
SQYFS_BENCH_OUT=$out ${turn[@]+"${turn[@]}"} "$here/lossy_ffmpeg.sh"
SQYFS_BENCH_OUT=$out SQYFS_BUILD=$build "$here/lossy_plane.sh" || [ $? = 77 ] || failed=1
echo
echo "bars:"
cat "$out/lossy.bars"
exit "$failed"
