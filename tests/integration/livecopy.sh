#!/bin/bash
# A store is copied again and again while stacks are being written into its mount. Every copy mounts, every
# stack in it opens, and what it holds is what was written: no other bytes, zeros where none are yet.
. "$(dirname "$0")/lib.sh"

[ -z "$SQYFS_PLAIN" ] || skip "needs a mount"
want rsync
setup
attach
for n in 1 2 3 4; do
    lightsheet --size 512x512x48 --seed $n "$REF/stack_$n.tif"
done

write_stacks() {
    local n
    for n in 1 2 3 4 1 2 3 4; do
        rm -f "$MNT/stack_$n.tif"
        "$PYTHON" "$HERE/slowcopy.py" "$REF/stack_$n.tif" "$MNT/stack_$n.tif"
    done
}

# Files may vanish while rsync is under way: 24, or 23 where it was at their attributes.
copy_store() {
    local r=0
    backup "$STORE" "$1" 2>"$WORK/said" || r=$?
    cat "$WORK/said" >&2
    [ $r = 0 ] || [ $r = 24 ] ||
        { [ $r = 23 ] && ! grep '^rsync: ' "$WORK/said" | grep -qv 'No such file or directory'; }
}

write_stacks &
writer=$!
copies=0
while kill -0 $writer 2>/dev/null && [ $copies -lt 6 ]; do
    copies=$((copies + 1))
    mkdir "$WORK/copy$copies"
    copy_store "$WORK/copy$copies" || fail "rsync"
done
wait $writer
drain
same_tree "$REF" "$MNT"
note "$copies copies taken"
MNT2=$WORK/mnt2
mkdir "$MNT2"
for ((n = 1; n <= copies; n++)); do
    daemon_start "$WORK/copy$n" "$MNT2"
    "$PYTHON" "$HERE/partial.py" "$REF" "$MNT2"
    daemon_stop "$STARTED" "$MNT2"
done
