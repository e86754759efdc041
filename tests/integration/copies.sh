#!/bin/bash
# rsync, tar, cp and dd in all their manners of writing, and out again.
. "$(dirname "$0")/lib.sh"

want rsync tar dd:coreutils
setup
attach
src=$WORK/src
mkdir -p "$src/day 1/embryo"
lightsheet --size 320x256x20 "$src/day 1/embryo/stack_0001.tif"
lightsheet --size 320x256x20 --seed 2 --format imagej --big-endian "$src/day 1/embryo/stack_0002.tif"
lightsheet --size 320x256x20 --format raw "$src/day 1/volume.raw"
echo "exposure 10 ms" >"$src/day 1/notes.txt"
truncate -s 5M "$src/holes.tif"
head -c 700000 "$src/day 1/embryo/stack_0001.tif" | dd of="$src/holes.tif" conv=notrunc status=none
dd if="$src/day 1/volume.raw" of="$src/holes.tif" bs=64k seek=40 count=3 conv=notrunc status=none
: >"$src/empty.tif"
ln -s "day 1/notes.txt" "$src/link"
touch -d '2020-02-02 12:34:56.789' "$src/day 1/embryo/stack_0001.tif"

note "rsync: temporary name and rename"
rsync -a "$src/" "$MNT/rsync/"
rsync -a "$src/" "$REF/rsync/"
[ -z "$(rsync -ain "$src/" "$MNT/rsync/")" ] || fail "rsync wants to copy again: sizes or times differ"
drain
[ -z "$(rsync -ainc "$src/" "$MNT/rsync/")" ] || fail "rsync wants to copy again after drain"

note "rsync --inplace over a changed stack, and -S"
for dir in "$REF" "$MNT"; do
    rsync -a --inplace --no-whole-file "$src/day 1/embryo/stack_0002.tif" \
        "$dir/rsync/day 1/embryo/stack_0001.tif"
    rsync -aS "$src/" "$dir/sparse/"
    rsync -a --append-verify "$src/day 1/volume.raw" "$dir/volume.raw"
done
head -c 1000000 "$src/day 1/volume.raw" >"$MNT/part.raw"
cp "$src/day 1/volume.raw" "$REF/part.raw"
rsync -a --append-verify "$src/day 1/volume.raw" "$MNT/part.raw"

note "tar"
for dir in "$REF" "$MNT"; do
    mkdir "$dir/tar" "$dir/tar-S"
    tar -C "$src" -cf - . | tar -C "$dir/tar" -xf -
    tar -C "$src" -cSf - . | tar -C "$dir/tar-S" -xSf -
    tar -C "$src" -cf "$dir/archive.tar" .
done

note "cp"
for dir in "$REF" "$MNT"; do
    cp -a --sparse=always "$src" "$dir/cp-sparse"
    cp -a --sparse=never "$src" "$dir/cp-full"
    cp -a --reflink=auto "$dir/cp-full" "$dir/cp-within"
    cp "$dir/cp-full/day 1/embryo/stack_0002.tif" "$dir/cp-full/day 1/embryo/stack_0001.tif"
done

note "dd"
for dir in "$REF" "$MNT"; do
    dd if="$src/day 1/volume.raw" of="$dir/dd.raw" bs=1M status=none
    dd if="$src/day 1/volume.raw" of="$dir/dd-odd.tif" bs=777 count=3000 status=none
    dd if="$src/day 1/notes.txt" of="$dir/dd.raw" bs=1 seek=123457 conv=notrunc status=none
    dd if="$src/day 1/volume.raw" of="$dir/dd.raw" oflag=append conv=notrunc bs=100k count=5 status=none
    dd if="$src/day 1/embryo/stack_0001.tif" of="$dir/dd-far.tif" bs=64k seek=100 status=none
    dd if="$src/day 1/embryo/stack_0001.tif" of="$dir/dd-sync.tif" bs=256k oflag=sync status=none
    dd if="$src/day 1/embryo/stack_0001.tif" of="$dir/dd-fsync.tif" bs=1M conv=fsync status=none
    dd if="$src/day 1/embryo/stack_0001.tif" of="$dir/dd-direct.tif" bs=64k oflag=direct conv=fsync \
        status=none 2>/dev/null || cp "$src/day 1/embryo/stack_0001.tif" "$dir/dd-direct.tif"
    cat "$src/day 1/embryo/stack_0001.tif" >>"$dir/appended.tif"
    cat "$src/day 1/notes.txt" >>"$dir/appended.tif"
done
prove

note "out of the mount: sparse archives and copies hold the bytes, not zeros"
mkdir "$WORK/out"
tar -C "$MNT" -cSf - sparse cp-full | tar -C "$WORK/out" -xf -
same_tree "$REF/sparse" "$WORK/out/sparse"
same_tree "$REF/cp-full" "$WORK/out/cp-full"
cp -a --sparse=always "$MNT/cp-sparse" "$WORK/out/cp-sparse"
same_tree "$REF/cp-sparse" "$WORK/out/cp-sparse"
rsync -a "$MNT/rsync/" "$WORK/out/rsync/"
same_tree "$REF/rsync" "$WORK/out/rsync"
dd if="$MNT/dd.raw" iflag=direct bs=64k status=none 2>/dev/null | cmp - "$REF/dd.raw" || fail "dd iflag=direct"
want_ratio "$MNT/rsync/day 1/embryo/stack_0002.tif" 1.5

note "a tree is moved and removed"
for dir in "$REF" "$MNT"; do
    mv "$dir/cp-full" "$dir/moved"
    mv "$dir/moved/day 1/embryo/stack_0002.tif" "$dir/moved/day 1/renamed.tif"
    mv "$dir/dd.raw" "$dir/dd-far.tif"
    rm -r "$dir/tar" "$dir/archive.tar"
done
prove
