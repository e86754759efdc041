#!/bin/bash
# ImageJ opens, opens as virtual stack, edits and saves in the mount, and sees and writes what it does in a plain
# folder. SQYFS_SCREENSHOT=FILE.png keeps a picture of its window with a stack out of the mount.
. "$(dirname "$0")/lib.sh"

want java:default-jre-headless xvfb-run:xvfb xauth:xauth
jar=/usr/share/java/ij.jar
[ -f $jar ] || skip "ImageJ is not installed (Debian: imagej)"
setup
attach
lightsheet --size 400x300x20 --format imagej --big-endian "$REF/embryo.tif"
cp "$REF/embryo.tif" "$MNT/embryo.tif"
drain

ij() {
    HOME=$WORK timeout 240 xvfb-run -a -s '-screen 0 1100x800x24' \
        java -Xmx1g -jar $jar -ijpath "$WORK" "$@"
}

for dir in "$REF" "$MNT"; do
    ij -batch "$HERE/imagej.ijm" "$dir/|embryo.tif" >"$WORK/said" 2>"$WORK/complained" || {
        cat "$WORK/said" "$WORK/complained" >&2
        fail "ImageJ in $dir"
    }
    grep -q '^done' "$WORK/said" || { cat "$WORK/said" "$WORK/complained" >&2 && fail "the macro stopped"; }
    mv "$WORK/said" "$WORK/said.${dir##*/}"
done
sed 's/^/    /' "$WORK/said.mnt"
same "$WORK/said.ref" "$WORK/said.mnt"
prove
want_ratio "$MNT/saved.tif" 1.5
want_ratio "$MNT/substack.tif" 1.5

command -v import >/dev/null || exit 0
note "a picture of ImageJ with a stack out of the mount"
picture=${SQYFS_SCREENSHOT:-$WORK/imagej.png}
cat >"$WORK/show.ijm" <<MACRO
open("$MNT/embryo.tif");
setSlice(10);
run("Enhance Contrast", "saturated=0.35");
setLocation(40, 160);
run("TIFF Virtual Stack...", "open=[$MNT/saved.tif]");
setSlice(5);
run("Enhance Contrast", "saturated=0.35");
setLocation(500, 260);
wait(1500);
exec("import", "-window", "root", "$picture");
run("Quit");
MACRO
ij -macro "$WORK/show.ijm" >"$WORK/said" 2>&1 || true
[ -s "$picture" ] || { cat "$WORK/said" >&2 && fail "there is no picture"; }
same_tree "$REF" "$MNT"
