#!/bin/bash
# Many writers at once, in wild orders, of far more than the spool holds, some through mappings: nobody waits for
# ever, no byte is lost, the daemon's memory stays bounded.
. "$(dirname "$0")/lib.sh"

want_python numpy
setup
attach "spool=16M,cache=8M,raw=*.raw:640x480"
writers=()
for n in 1 2 3 4 5 6; do
    lightsheet --size 640x480x60 --seed $n --format "$([ $((n % 2)) = 0 ] && echo raw || echo tiff)" "$WORK/$n.src"
    name=$n.$([ $((n % 2)) = 0 ] && echo raw || echo tif)
    cp "$WORK/$n.src" "$REF/$name"
    "$PYTHON" "$HERE/wildcopy.py" "$WORK/$n.src" "$MNT/$name" $n &
    writers+=($!)
done
for pid in "${writers[@]}"; do
    wait "$pid" || fail "a writer"
done
if [ -z "$SQYFS_PLAIN" ]; then
    peak=$(awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$DAEMON/status")
    note "the daemon's memory has peaked at $peak MiB"
    [ -n "$SANITIZED" ] || [ "$peak" -lt 512 ] || fail "that is more than 512 MiB"
fi
prove
await_again
want_ratio "$MNT/1.tif" 1.5
