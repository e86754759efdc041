#!/bin/bash
# libtiff's programs write into the mount, patch what is stored, and read it.
. "$(dirname "$0")/lib.sh"

want tiffcp:libtiff-tools tiffset:libtiff-tools tiffcmp:libtiff-tools tiffinfo:libtiff-tools
setup
attach
src=$WORK/src
mkdir "$src"
lightsheet --size 300x200x12 "$src/plain.tif"
lightsheet --size 300x200x12 --big-endian --pages "$src/big-endian.tif"
lightsheet --size 300x200x12 --format bigtiff --kind dense "$src/bigtiff.tif"

note "tiffcp"
write() {
    local dir=$1 tif
    for tif in plain big-endian bigtiff; do
        tiffcp "$src/$tif.tif" "$dir/$tif.tif"
        tiffcp -r 1 "$src/$tif.tif" "$dir/$tif-rows.tif"
        tiffcp -r 7 -B "$src/$tif.tif" "$dir/$tif-B.tif"
        tiffcp -r 200 -L "$src/$tif.tif" "$dir/$tif-L.tif"
        tiffcp -t -w 64 -l 48 "$src/$tif.tif" "$dir/$tif-tiles.tif"
        tiffcp -8 "$src/$tif.tif" "$dir/$tif-8.tif"
        tiffcp -c lzw:2 "$src/$tif.tif" "$dir/$tif-lzw.tif"
        tiffcp -c zip "$src/$tif.tif" "$dir/$tif-zip.tif"
        tiffcp -c none "$dir/$tif-lzw.tif" "$dir/$tif-from-lzw.tif"
        tiffcp "$src/$tif.tif" "$dir/$tif-more.tif"
        tiffcp -a "$src/$tif.tif" "$dir/$tif-more.tif"
    done
    mkdir -p "$dir/split"
    tiffsplit "$dir/plain.tif" "$dir/split/z"
}
write "$REF"
write "$MNT"
same_tree "$REF" "$MNT"

note "tiffset on stacks that are being stored, and on stored ones"
patch() {
    tiffset -s 270 "$2" "$1/plain.tif"
    tiffset -d 3 -s 270 "$2" "$1/bigtiff-tiles.tif"
    tiffset -d 5 -s 305 "$2" "$1/big-endian-rows.tif"
}
for dir in "$REF" "$MNT"; do patch "$dir" "soon after"; done
same_tree "$REF" "$MNT"
drain
want_ratio "$MNT/plain.tif" 1.5
want_ratio "$MNT/big-endian-B.tif" 1.5
want_ratio "$MNT/bigtiff-tiles.tif" 1.5
for dir in "$REF" "$MNT"; do patch "$dir" "when it was long stored, in a longer text than before"; done
for dir in "$REF" "$MNT"; do tiffcp -a "$src/plain.tif" "$dir/plain-rows.tif"; done

note "tiffcmp, tiffinfo"
for tif in plain big-endian bigtiff; do
    tiffcmp "$src/$tif.tif" "$MNT/$tif-tiles.tif" >"$WORK/tiffcmp.log" 2>&1 || fail "tiffcmp $tif-tiles"
    tiffcmp "$src/$tif.tif" "$MNT/$tif-B.tif" >"$WORK/tiffcmp.log" 2>&1 || fail "tiffcmp $tif-B"
done
for tif in "$REF"/*.tif; do
    diff <(cd "$REF" && tiffinfo -s "${tif##*/}" 2>&1) <(cd "$MNT" && tiffinfo -s "${tif##*/}" 2>&1) ||
        fail "tiffinfo ${tif##*/}"
done
prove
want_ratio "$MNT/plain.tif" 1.5
