# To be sourced by tests in sh: a store, a mount of it with the program in $SQYFS, and their removal at
# the end.
#
#   . "$(dirname "$0")/mount.sh"
#   mount_up [OPTION,...]     waits until it answers
#   mount_down                unmounts, waits until everything is stored; fails where the daemon failed
#
# $store and $mnt are the directories, $work one for anything else. A test is skipped (77) where nothing
# can be mounted.
set -eu

: "${SQYFS:=sqyfs}"
[ -r /dev/fuse ] && [ -w /dev/fuse ] || { echo "skipped: no access to /dev/fuse"; exit 77; }
[ "$(id -u)" = 0 ] || command -v fusermount3 >/dev/null || { echo "skipped: no fusermount3"; exit 77; }

work=$(mktemp -d "${TMPDIR:-/tmp}/sqyfs-test.XXXXXX")
chmod 755 "$work"
store=$work/store mnt=$work/mnt
mkdir "$store" "$mnt"

is_up() { grep -q " $mnt fuse.sqyfs \| $mnt .* - fuse.sqyfs " /proc/self/mountinfo; }

# Waits for the lock that a writing mount holds until all is stored.
wait_stored() {
    [ ! -e "$store/.sqyfs/lock" ] || flock -w 120 "$store/.sqyfs/lock" true
}

mount_up() { "$SQYFS" ${1:+-o "$1"} "$store" "$mnt"; }

mount_down() {
    if [ "$(id -u)" = 0 ]; then umount "$mnt"; else fusermount3 -u "$mnt"; fi
    wait_stored
}

cleanup() {
    status=$?
    trap - EXIT
    cd /
    if is_up; then
        umount "$mnt" 2>/dev/null || fusermount3 -u "$mnt" 2>/dev/null ||
            fusermount3 -u -z "$mnt" || true
        wait_stored || true
    fi
    for left in "$work"/*/.sqyfs/spool; do
        [ ! -L "$left" ] || rm -f "$(readlink "$left")"
    done
    rm -rf "$work"
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

fail() { echo "FAILED: $*" >&2; exit 1; }
