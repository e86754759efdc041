#!/bin/bash
# The daemon is killed at random moments while programs of many habits write. After the next mount all that
# their calls were told to be written is there, byte for byte, whether it was synced or not.
. "$(dirname "$0")/lib.sh"

[ -z "$SQYFS_PLAIN" ] || skip "needs a mount"
setup
RANDOM=${SQYFS_SEED:=$RANDOM}
note "seed $SQYFS_SEED"
options=(chunk=128K,raw=*.raw:512x512 chunk=1M,spool=64M,raw=*.raw:512x512 spool=16M,chunk=64K)

for ((round = 1; round <= ${SQYFS_ROUNDS:-6}; round++)); do
    attach "${options[round % 3]}"
    mkdir "$MNT/$round"
    "$PYTHON" "$HERE/accepted.py" write "$MNT/$round" "$WORK/accepted" >"$WORK/writing" &
    writer=$!
    until [ -s "$WORK/writing" ]; do sleep 0.01; done
    ms=$((RANDOM % 3000))
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
    kill_daemon "$writer"
    if ((round % 2 == 0)); then # and once more, right after it was mounted again
        attach
        kill_daemon
    fi
    attach
    found=$("$PYTHON" "$HERE/accepted.py" check "$MNT/$round" "$WORK/accepted") || fail "something is missing"
    note "round $round, killed after $ms ms: $found"
    remount
    "$PYTHON" "$HERE/accepted.py" check "$MNT/$round" "$WORK/accepted" >/dev/null || fail "something is missing"
    rm -r "${MNT:?}/$round"
    unmount
    "$SQYCTL" verify "$STORE" >"$WORK/verify.log" 2>&1 || { cat "$WORK/verify.log" >&2; fail "sqyctl verify"; }
done
