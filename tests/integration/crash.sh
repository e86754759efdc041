#!/bin/bash
# The daemon is killed at random moments while stacks are being written. After the next mount every stack
# opens and is readable to its end; what was synced is all there; nothing is there that was never written.
. "$(dirname "$0")/lib.sh"

[ -z "$SQYFS_PLAIN" ] || skip "needs a mount"
setup
RANDOM=${SQYFS_SEED:=$RANDOM}
note "seed $SQYFS_SEED"
for n in 1 2 3; do
    lightsheet --size 400x300x40 --seed $n "$REF/stack_$n.tif"
done
lightsheet --size 400x300x40 --pages "$REF/stack_4.tif"

for ((round = 1; round <= ${SQYFS_ROUNDS:-10}; round++)); do
    attach "chunk=256K"
    writers=()
    for n in 1 2 3 4; do
        "$PYTHON" "$HERE/slowcopy.py" "$REF/stack_$n.tif" "$MNT/stack_$n.tif" sync \
            >"$WORK/log_$n" 2>/dev/null &
        writers+=($!)
    done
    if ((round % 3 == 0)); then
        "$SQYCTL" drain "$MNT" >/dev/null 2>&1 &
        writers+=($!)
    fi
    # a moment between the first bytes and well after the last
    ms=$((RANDOM % 1200))
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
    kill_daemon "${writers[@]}"
    attach
    cat "$WORK"/log_? >"$WORK/certain"
    note "round $round, killed after $ms ms, $(grep -c certain "$WORK/certain" || true) fsyncs"
    "$PYTHON" "$HERE/partial.py" "$REF" "$MNT" "$WORK/certain"
    drain
    "$PYTHON" "$HERE/partial.py" "$REF" "$MNT" "$WORK/certain" >/dev/null
    unmount
    # a blob may end in what no checkpoint covers, or have none yet, but nothing else may be wrong with it
    "$SQYCTL" verify "$STORE" >"$WORK/verify.log" 2>&1 ||
        ! grep "$STORE/" "$WORK/verify.log" | grep -v -e 'incomplete:' -e 'its last checkpoint lost' >&2 ||
        fail "sqyctl verify"
done
attach
for n in 1 2 3 4; do
    cp "$REF/stack_$n.tif" "$MNT/"
done
prove
