# Sourced by camera.sh (bash): what stores and peers lie on. Each thing that is set up leaves its undoing on a
# list that is gone through backwards, whatever happens.

UNDO=()

undo_add() {
    UNDO+=("$(printf '%q ' "$@")")
}

# undo_to N: until N entries are left.
undo_to() {
    while [ ${#UNDO[@]} -gt "$1" ]; do
        eval "${UNDO[-1]}" || echo "cannot undo: ${UNDO[-1]}" >&2
        unset 'UNDO[-1]'
    done
}

unmount_image() {
    local i
    for ((i = 0; i < 50; i++)); do
        mountpoint -q "$1" || return 0
        umount "$1" 2>/dev/null && return 0
        sleep 0.1
    done
    umount -l "$1"
}

# tmpfs_up FOLDER BYTES
tmpfs_up() {
    mkdir -p "$1"
    mount -t tmpfs -o "size=$2" sqyfs-bench "$1"
    undo_add umount -l "$1"
}

# loop_up FILE BYTES: a sparse file as a disk, past the page cache below it where that can be; leaves LOOP.
loop_up() {
    truncate -s "$2" "$1"
    undo_add rm -f "$1"
    LOOP=$(losetup --direct-io=on --find --show "$1" 2>/dev/null) || LOOP=$(losetup --find --show "$1")
    undo_add losetup -d "$LOOP"
}

mount_image() { # DEVICE TYPE FOLDER
    local options=noatime
    [ "$2" != btrfs ] || options=noatime,compress-force=zstd:1
    mount -t "$2" -o "$options" "$1" "$3"
}

# image_up FILE BYTES ext4|btrfs FOLDER: a filesystem in a file; leaves LOOP.
image_up() {
    loop_up "$1" "$2"
    case $3 in
    ext4) mkfs.ext4 -q -F -m 0 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$LOOP" ;;
    btrfs) mkfs.btrfs -q -f -K -d single -m single "$LOOP" >/dev/null ;;
    esac
    mkdir -p "$4"
    mount_image "$LOOP" "$3" "$4"
    undo_add unmount_image "$4"
}

# image_again FOLDER: mounted anew, nothing of it is in memory.
image_again() {
    local device type
    device=$(findmnt -n -o SOURCE "$1") type=$(findmnt -n -o FSTYPE "$1")
    unmount_image "$1"
    mount_image "$device" "$type" "$1"
}

# A device takes at most so many bytes a second: in cgroup v1 by the root group's throttle, which counts every
# write to it, writeback too; in v2, whose root has none, by io.max of a group that this shell goes into.
# Little of what waits for it may lie in memory: what is measured is the disk, not the page cache.
throttle_up() { # DEVICE BYTES_PER_SECOND
    local number bdi v1=/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device
    number=$(cat "/sys/class/block/${1#/dev/}/dev") bdi=/sys/class/bdi/$number
    if [ -w "$v1" ]; then
        echo "$number $2" >"$v1"
        undo_add write_to "$v1" "$number 0"
    else
        throttle_v2 "$number" "$2" || return 1
    fi
    write_to "$bdi/max_ratio" 1
    undo_add write_to "$bdi/max_ratio" 100
    write_to "$bdi/strict_limit" 1
    undo_add write_to "$bdi/strict_limit" 0
}

throttle_v2() { # NUMBER BYTES_PER_SECOND
    local root=/sys/fs/cgroup group was
    was=$root$(sed -n 's/^0:://p' /proc/self/cgroup) group=$root/sqyfs-bench.$$
    grep -qw io "$root/cgroup.controllers" 2>/dev/null || return 1
    write_to "$root/cgroup.subtree_control" "+io +memory" && mkdir "$group" || return 1
    undo_add rmdir "$group"
    write_to "$group/io.max" "$1 wbps=$2" && write_to "$group/cgroup.procs" $$ || return 1
    undo_add write_to "$was/cgroup.procs" $$
}

write_to() { # FILE TEXT
    echo "$2" 2>/dev/null >"$1"
}

free_bytes() {
    df --output=avail -B1 "$1" | tail -n 1
}
