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
    kill_daemon
    wait "${writers[@]}" 2>/dev/null || true
    attach
    cat "$WORK"/log_? >"$WORK/certain"
    note "round $round, killed after $ms ms, $(grep -c certain "$WORK/certain" || true) fsyncs"
    "$PYTHON" "$HERE/partial.py" "$REF" "$MNT" "$WORK/certain"
    drain
    "$PYTHON" "$HERE/partial.py" "$REF" "$MNT" "$WORK/certain" >/dev/null
    unmount
    find "$STORE" -name '*.sqy' -print0 | xargs -0 -r "$SQYCTL" verify >/dev/null || fail "sqyctl verify"
done
attach
for n in 1 2 3 4; do
    cp "$REF/stack_$n.tif" "$MNT/"
done
prove
