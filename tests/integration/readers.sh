#!/bin/bash
# Programs that only read: GDAL, vips, ImageMagick, od. They see in the mount what they see in a plain folder.
. "$(dirname "$0")/lib.sh"

setup
attach
for format in tiff bigtiff imagej; do
    lightsheet --size 257x129x9 --format $format "$REF/$format.tif"
    lightsheet --size 257x129x9 --format $format --big-endian "$REF/$format-be.tif"
done
lightsheet --size 257x129x9 --pages "$REF/pages.tif"
cp "$REF"/* "$MNT"
drain
remount

n=0
compare() { # NAME COMMAND...: the command is run in both folders for each stack
    local name=$1 tif
    shift
    command -v "$1" >/dev/null || return 0
    note "$name"
    for tif in "$REF"/*.tif; do
        tif=${tif##*/}
        (cd "$REF" && "$@" "$tif") >"$WORK/a" 2>/dev/null || fail "$name fails on a plain $tif"
        (cd "$MNT" && "$@" "$tif") >"$WORK/b" 2>/dev/null || fail "$name fails on $tif in the mount"
        same "$WORK/a" "$WORK/b"
    done
    n=$((n + 1))
}
sum() {
    gdalinfo -checksum "$1" | grep -E 'Size|Checksum|Type'
}
vips_average() { vips avg "$1" && vips extract_area "$1" "$WORK/vips.v" 17 5 100 50 && cat "$WORK/vips.v"; }
command -v gdalinfo >/dev/null && compare "GDAL" sum
command -v vips >/dev/null && compare "vips" vips_average
command -v identify >/dev/null && compare "ImageMagick" identify -format '%w %h %z %#\n'
compare "tail first" tail -c 4096
compare "od" od -An -tx2 -v
[ $n -ge 3 ] || skip "neither GDAL nor vips nor ImageMagick is installed"
same_tree "$REF" "$MNT"
