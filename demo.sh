#!/bin/bash
# Shows sqyfs at work: ./demo.sh [STORE MOUNTPOINT], by default below ~/sqyfs-demo.
# Installs what is missing from Debian (as root), builds, mounts a store, has an ordinary program write a
# light-sheet stack into it, and shows what came of it. From a terminal the mount stays up; otherwise
# everything that was made is taken away again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/etc/packages.sh"

die() {
    echo "demo.sh: $*" >&2
    exit 1
}

case $# in
0) base=${HOME:-/root}/sqyfs-demo store=$base/store mount=$base/mount ;;
2) base='' store=$1 mount=$2 ;;
*)
    echo "usage: ./demo.sh [STORE MOUNTPOINT]" >&2
    exit 2
    ;;
esac
build=${SQYFS_BUILD:-$here/build}
name=sqyfs-demo.tif
keep=
[ ! -t 0 ] || [ ! -t 1 ] || keep=yes
made=()
mounted_here=
new_store=
work=

is_mounted() {
    awk -v at="$mount" '$2 == at && $3 ~ /^fuse/ { found = 1 } END { exit !found }' /proc/self/mounts
}

cleanup() {
    local rc=$? i
    set +e
    [ -z "$work" ] || rm -rf "$work"
    if [ -n "$keep" ] && [ $rc = 0 ]; then
        exit 0
    fi
    if [ -n "$mounted_here" ] && is_mounted; then
        rm -f "$mount/$name"
        fusermount3 -u "$mount" && wait_for_the_end
    fi
    # what was here before this run stays
    [ -z "$new_store" ] || rm -rf "$store/.sqyfs" "$store/.sqyfs-policy"
    for ((i = ${#made[@]} - 1; i >= 0; i--)); do
        rmdir "${made[i]}" 2>/dev/null
    done
    exit $rc
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# fusermount3 returns before the store is let go.
wait_for_the_end() {
    local i
    for ((i = 0; i < 300; i++)); do
        flock -n "$store/.sqyfs/lock" true 2>/dev/null && return
        sleep 0.1
    done
}

make_directory() {
    [ ! -d "$1" ] || return 0
    mkdir "$1" || die "cannot make $1"
    made+=("$1")
}

seconds() {
    date +%s.%N
}

took() {
    awk -v from="$1" -v to="$2" 'BEGIN { printf "%.2f", to - from }'
}

grouped() {
    echo "$1" | sed ':a;s/\B[0-9]\{3\}\>/ &/;ta'
}

echo "== Packages"
packages_install "$here/etc/packages.txt" build demo || die "packages are missing"
echo "all there"
[ -c /dev/fuse ] || modprobe fuse 2>/dev/null || true
[ -c /dev/fuse ] || die "there is no /dev/fuse here: load the kernel module fuse, or let the container have the device"

echo "== Build"
[ -f "$build/build.ninja" ] || meson setup "$build" "$here" >/dev/null || {
    tail -n 5 "$build/meson-logs/meson-log.txt" >&2
    die "meson setup has failed"
}
ninja -C "$build" --quiet || die "the build has failed"
DESTDIR=$build/root meson install -C "$build" --no-rebuild --quiet >/dev/null || die "meson install has failed"
bin=$(dirname "$(find "$build/root" -type f -name sqyfs -perm -u+x -print -quit)")
PATH=$bin:$PATH
generator=$build/tests/tools/lightsheet
echo "sqyfs and sqyctl are in $bin"

echo "== Store and mount"
[ -z "$base" ] || make_directory "$base"
make_directory "$store"
make_directory "$mount"
store=$(cd "$store" && pwd) mount=$(cd "$mount" && pwd)
if is_mounted; then
    echo "$mount is mounted already"
else
    [ -n "$(ls -A "$store")" ] || new_store=yes
    echo "\$ sqyfs $store $mount"
    sqyfs "$store" "$mount"
    mounted_here=yes
fi

echo "== A stack from the microscope"
work=$(mktemp -d "${TMPDIR:-/tmp}/sqyfs-demo.XXXXXX")
"$generator" --kind embryo --size 1024x1024x100 --pages "$work/camera.tif"
tiffcp -r 64 "$work/camera.tif" "$work/$name"
rm -f "$mount/$name"
echo "\$ tiffcp -r 64 camera.tif $mount/$name"
t0=$(seconds)
tiffcp -r 64 "$work/camera.tif" "$mount/$name"
t1=$(seconds)
echo "\$ sqyctl drain $mount"
sqyctl drain "$mount"
t2=$(seconds)

echo "== What came of it"
plain=$(stat -c %s "$mount/$name")
stored=$(stat -c %s "$store/$name.sqy")
echo "plain size   $(grouped "$plain") bytes"
echo "stored size  $(grouped "$stored") bytes"
echo "ratio        $(awk -v a="$plain" -v b="$stored" 'BEGIN { printf "%.2f", a / b }')"
echo "time         $(took "$t0" "$t1") s to write, $(took "$t1" "$t2") s more until all of it was stored"
cmp "$work/$name" "$mount/$name" || die "what comes out is not what went in"
echo "cmp          what comes out of the mount is what went in"
sqyctl decode "$store/$name.sqy" - | cmp - "$work/$name" || die "sqyctl decodes other bytes"
echo "cmp          and what sqyctl decodes without a mount, too"
echo "\$ ls -l $store"
ls -l "$store"
echo "\$ sqyctl ls $store"
sqyctl ls "$store"

[ -n "$keep" ] || exit 0
cat <<TEXT

The mount is up. Put stacks into $mount, open them from there, for instance:
  PATH=$bin:\$PATH
  cp some-stack.tif $mount/
  sqyctl drain $mount
  sqyctl ls $store
Unmount with:
  fusermount3 -u $mount
What is kept lies in $store.
TEXT
