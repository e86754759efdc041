#!/bin/bash
# Random work on a mount and on a plain folder, step by step, see lockstep.py; mounted anew in between.
# Arguments: further options. SQYFS_SEED=N repeats a run, SQYFS_ROUNDS=N makes it longer.
. "$(dirname "$0")/lib.sh"

want_python numpy
setup
seed=${SQYFS_SEED:-$RANDOM$RANDOM}
options=()
[ -n "$SQYFS_PLAIN" ] || options=(--drain "$SQYCTL drain" --compact "$SQYCTL compact")
# small pieces and little room, so that every limit is met
attach "chunk=64K,spool=16M,cache=4M,raw=*.raw:300x200"
for ((round = 0; round < ${SQYFS_ROUNDS:-4}; round++)); do
    "$PYTHON" "$HERE/lockstep.py" "$@" "${options[@]}" --seed $((seed + round)) "$MNT" "$REF"
    remount "chunk=64K,spool=16M,cache=4M"
    same_tree "$REF" "$MNT"
done
for dir in "$REF" "$MNT"; do
    lightsheet --size 300x200x5 "$dir/last.tif"
done
prove
