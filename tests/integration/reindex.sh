#!/bin/bash
# The index can be deleted at any time: the mount works at once, and the same rows come back.
. "$(dirname "$0")/lib.sh"

[ -z "$SQYFS_PLAIN" ] || skip "needs a mount"
setup
attach
for n in 1 2 3; do
    mkdir -p "$REF/day $n"
    lightsheet --size 200x150x10 --seed $n "$REF/day $n/plain.tif"
    lightsheet --size 200x150x10 --seed $n --format imagej --big-endian "$REF/day $n/imagej.tif"
done
cp -a "$REF/." "$MNT/"
drain
unmount

rows() { "$SQYCTL" ls --json "$STORE"; }
rows >"$WORK/rows.mount"
"$PYTHON" - "$WORK/rows.mount" <<'PYTHON' || fail "sqyctl ls --json"
import json
import sys

with open(sys.argv[1], encoding="utf-8") as f:
    text = f.read()
try:
    rows = json.loads(text)
except ValueError:
    rows = [json.loads(line) for line in text.splitlines()]
paths = sorted(row["path"] for row in rows)
want = sorted(f"day {n}/{name}.tif" for n in (1, 2, 3) for name in ("plain", "imagej"))
if paths != want:
    sys.exit(f"paths are {paths}")
for row in rows:
    if [row["depth"], row["height"], row["width"], row["type"]] != [10, 150, 200, "uint16"]:
        sys.exit(f"a row is {row}")
PYTHON
note "reindex"
"$SQYCTL" reindex "$STORE"
rows | diff "$WORK/rows.mount" - || fail "reindex gives other rows"
note "the index is gone"
rm -f "$STORE"/.sqyfs/index.db*
attach
same_tree "$REF" "$MNT"
unmount
"$SQYCTL" reindex "$STORE"
rows | diff "$WORK/rows.mount" - || fail "other rows after the index was deleted"
note "the index is rubbish"
head -c 100000 /dev/urandom >"$STORE/.sqyfs/index.db"
rm -f "$STORE"/.sqyfs/index.db-*
attach
same_tree "$REF" "$MNT"
mv "$MNT/day 1" "$MNT/day one"
rm "$MNT/day 2/plain.tif"
unmount
rows | grep -q 'day one/plain.tif' || fail "a renamed folder is not in the index"
! rows | grep -q 'day 1/' || fail "a renamed folder is still in the index by its old name"
! rows | grep -q 'day 2/plain.tif' || fail "an unlinked stack is still in the index"
note "a store changed behind the mount's back"
mv "$STORE/day 3/plain.tif.sqy" "$STORE/day 3/moved.tif.sqy"
attach
same "$REF/day 3/plain.tif" "$MNT/day 3/moved.tif"
[ ! -e "$MNT/day 3/plain.tif" ] || fail "a stack that is gone is still shown"
note "the index learns of it while it is mounted"
for ((i = 0; ; i++)); do
    rows >"$WORK/rows.now"
    grep -q 'day 3/moved.tif' "$WORK/rows.now" && ! grep -q 'day 3/plain.tif' "$WORK/rows.now" && break
    [ $i -lt 600 ] || fail "the index still has the old name, or has not got the new one: $(cat "$WORK/rows.now")"
    sleep 0.05
done
note "one has gone, and all others are as they were"
unmount
rm "$STORE/day 3/moved.tif.sqy"
attach
for ((i = 0; ; i++)); do
    rows >"$WORK/rows.now"
    ! grep -q 'day 3/moved.tif' "$WORK/rows.now" && break
    [ $i -lt 600 ] || fail "a stack that is gone is still in the index"
    sleep 0.05
done
grep -q 'day 3/imagej.tif' "$WORK/rows.now" || fail "the index has lost a stack that is there"
