#!/bin/bash
# Writers faster than the encoders: chunks go down the ladder, every step is counted, and they are encoded again when
# nobody writes; a daemon that is killed over that has lost nothing, and the next mount goes on with it.
. "$(dirname "$0")/lib.sh"

want_python numpy
setup
[ -z "$SQYFS_PLAIN" ] || skip "a plain folder has no ladder"

OPTIONS="pipeline=zstd(level=9),spool=16M,threads=1,chunk=256K,raw=*.raw:640x480"
attach "$OPTIONS"
for n in 1 2; do
    lightsheet --size 640x480x100 --seed $n --format "$([ $n = 1 ] && echo raw || echo tiff)" "$WORK/$n.src"
done
cp "$WORK/1.src" "$REF/1.raw"
cp "$WORK/2.src" "$REF/2.tif"
cp "$WORK/1.src" "$MNT/1.raw" &
writers=($!)
cp "$WORK/2.src" "$MNT/2.tif" &
writers+=($!)
wait "${writers[@]}"
drain
"$SQYCTL" stats "$MNT"
[ "$(number bytes_written)" = $((2 * 640 * 480 * 100 * 2 + $(stat -c %s "$WORK/2.src") - 640 * 480 * 100 * 2)) ] ||
    fail "not all that was written is counted"
await chunks_fast "x > 0"
same_tree "$REF" "$MNT"

note "killed in the middle of it"
await chunks_reencoded "x > 0"
kill_daemon
attach "$OPTIONS"
same_tree "$REF" "$MNT"
await chunks_reencoded "x > 0"
note "unmounted in the middle of it"
remount "$OPTIONS"
await_again
await chunks_reencoded "x > 0"
unmount
for blob in "$STORE"/*.sqy; do
    "$SQYCTL" info --json "$blob" >"$WORK/info.json"
    "$PYTHON" -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["provisional_bytes"] != 0)' "$WORK/info.json" ||
        fail "chunks of ${blob##*/} are on a lower rung still"
done

note "overload that lasts is told, and its end"
said=$(wc -l <"$WORK/daemon.log")
says() {
    tail -n "+$((said + 1))" "$WORK/daemon.log" | grep -q "$1"
}
attach "$OPTIONS"
n=0
until says "encoders cannot keep up"; do
    cp "$WORK/1.src" "$MNT/3.raw"
    n=$((n + 1))
    [ $n -lt 300 ] || fail "nobody tells of it"
done
until says "encoders keep up again"; do
    sleep 0.1
done
cp "$WORK/1.src" "$REF/3.raw"
prove
