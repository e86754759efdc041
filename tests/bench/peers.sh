#!/bin/bash
# Our pipelines beside other lossless coders, on generated stacks (whose bytes are checked against
# generated.sha256) and on the 16-bit volumes of the shared corpus where there is one.
#   peers.sh [OPTION OF peers...]
# The programs are found in the build folder $SQYFS_BUILD, or given as $PEERS and $LIGHTSHEET.
# SQYFS_BENCH_KINDS: the generated stacks; SQYFS_BENCH_CORPUS: folder of folders, "" for none.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
build=${SQYFS_BUILD:-$here/../../build}
peers=${PEERS:-$build/tests/bench/peers}
lightsheet=${LIGHTSHEET:-$build/tests/tools/lightsheet}
corpus=${SQYFS_BENCH_CORPUS-$here/../../../shared/corpus/bench}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/sqyfs-peers-XXXXXX")
trap 'rm -rf "$work"' EXIT

volumes=()
for kind in ${SQYFS_BENCH_KINDS-embryo dense sparse}; do
    limit=$("$lightsheet" --kind "$kind" --size 2048x2048x16 --seed 1 --format raw --json "$work/$kind.raw" |
        sed 's/.*"noise_limit": \([0-9.]*\).*/\1/')
    (cd "$work" && grep " $kind.raw\$" "$here/generated.sha256" | sha256sum --check --quiet -) || {
        echo "$kind: the generator gives other bytes than those that figures are known of" >&2
        exit 1
    }
    volumes+=("$work/$kind.raw:2048x2048:$limit")
done
if [ -d "$corpus" ]; then
    for folder in "$corpus"/*/; do
        case $folder in
        */klb-testdata/) volumes+=("${folder}img.raw:101x151") ;; # img.tif has the same voxels
        *) volumes+=("$folder") ;;
        esac
    done
fi
"$peers" "$@" "${volumes[@]}"
