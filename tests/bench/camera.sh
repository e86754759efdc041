#!/bin/bash
# Two cameras write into a mount and programs read from it, beside plain ext4 and btrfs on the same medium, in turns:
#   camera.sh [--full] [ITEM...]
#     write    two writers of 8 MiB calls, until drain has returned, on tmpfs and on the disk
#     slow     the store on a disk that is slower than the cameras
#     small    libtiff's strips, small calls, many small files
#     read     sequential, descending, planes at random, mmap, again, two readers
#     stat     of many stored stacks after a new mount
#     memory   of the daemon, over a long run; its threads and descriptors
#     parts    the daemon's CPU seconds by what they went into (needs perf)
# Defaults end in minutes; --full takes the sizes that the bar is about, as far as there is room. As root,
# and not under nice: kernel threads, which do the peers' work, are not nice.
#   SQYFS_BENCH_RUNS    rounds                     SQYFS_BENCH_MB     MB written a round, all writers together
#   SQYFS_BENCH_MEDIA   tmpfs, disk                SQYFS_BENCH_DISK   a folder on the disk that is meant
#   SQYFS_BENCH_KINDS   embryo, dense, sparse      SQYFS_BENCH_PLANES that are generated, then repeated
#   SQYFS_BENCH_CALLS   format:bytes ... of write  SQYFS_BENCH_FILES  of small and stat
#   SQYFS_BENCH_SLOW    camera:disk ..., MB/s      SQYFS_BENCH_LONG_MB of memory
#   SQYFS_BENCH_OUT     a folder for the results   SQYFS_BENCH_WARM_MB memory touched before each run
#   SQYFS_BENCH_PEERS   ext4 btrfs
#   SQYFS_OPTIONS       of the mount
. "$(dirname "$0")/../integration/lib.sh"
. "$(dirname "$0")/media.sh"
. "$(dirname "$0")/targets.sh"

here=$(cd "$(dirname "$0")" && pwd)
full=
[ "${1:-}" != --full ] || { full=1 && shift; }
items=${*:-write slow small read stat memory parts}
sized() { # SMALL FULL
    [ -n "$full" ] && echo "$2" || echo "$1"
}
runs=${SQYFS_BENCH_RUNS:-$(sized 3 5)}
megabytes=${SQYFS_BENCH_MB:-$(sized 1024 20480)}
long_mb=${SQYFS_BENCH_LONG_MB:-$(sized 4096 61440)}
media=${SQYFS_BENCH_MEDIA:-tmpfs disk}
kinds=${SQYFS_BENCH_KINDS:-embryo}
planes=${SQYFS_BENCH_PLANES:-64}
calls=${SQYFS_BENCH_CALLS:-raw:8M tiff:8M}
files=${SQYFS_BENCH_FILES:-$(sized 1000 10000)}
slow=${SQYFS_BENCH_SLOW:-$(sized 300:100 "300:100 1700:600")}
peers=${SQYFS_BENCH_PEERS-ext4 btrfs}
OPTIONS=raw='*.raw:2048x2048'${SQYFS_OPTIONS:+,$SQYFS_OPTIONS}
MIB=$((1 << 20))
round=0

finish() {
    local rc=$?
    trap - EXIT INT TERM
    set +e
    detach "$MNT"
    [ -z "$DAEMON" ] || wait "$DAEMON"
    DAEMON=
    undo_to 0
    (exit $rc)
    cleanup
}

[ "$(id -u)" = 0 ] || skip "loop devices and mounts need root"
setup
trap finish EXIT
want losetup:mount mkfs.ext4:e2fsprogs
[ -e /dev/loop-control ] || skip "there are no loop devices here"
for peer in $peers; do
    [ "$peer" != btrfs ] || command -v mkfs.btrfs >/dev/null || {
        note "btrfs is left out: mkfs.btrfs is missing (Debian: btrfs-progs)"
        peers=${peers/btrfs/}
    }
done
STREAM=${STREAM:-$(built tests/bench stream)} || skip "stream is not built"
DISK=$WORK
if [ -n "${SQYFS_BENCH_DISK:-}" ]; then
    DISK=$(mktemp -d "$SQYFS_BENCH_DISK/sqyfs-bench.XXXXXX")
    undo_add rm -rf --one-file-system "$DISK"
fi
RESULTS=$WORK/results
[ -z "${SQYFS_BENCH_OUT:-}" ] || { mkdir -p "$SQYFS_BENCH_OUT" && RESULTS=$SQYFS_BENCH_OUT/camera.jsonl; }
: >"$RESULTS"

# ---- write ----

write_target() { # TARGET ITEM NAME CALL RATE: both writers' files lie there afterwards
    local target=$1 item=$2 name=$3 format=${4%%:*} block=${4#*:} rate=() bytes before after what
    bytes=$(bytes_for "$target" $((megabytes * MIB)))
    what=(--frames "$FRAMES" --bytes $((bytes / 2)))
    [ "$format" = raw ] || what+=(--tiff)
    [ "$5" = 0 ] || rate=(--rate $(($5 * 1000000 / 2)))
    clear_target "$target"
    before=$(stored_bytes "$target")
    # shellcheck disable=SC2046
    measure_written "$item" "$name" "$target" write "${what[@]}" "${rate[@]}" --block "$block" \
        $(two_paths "$target" "$format")
    after=$(stored_bytes "$target")
    told "$item" "$name" "$target" ratio "$(awk -v b="$bytes" -v s=$((after - before)) 'BEGIN { print b / s }')"
    if [ "$round" = 0 ] && [ "$target" = sqyfs ]; then
        cold sqyfs
        # shellcheck disable=SC2046
        "$STREAM" check "${what[@]}" $(two_paths sqyfs "$format") >"$WORK/check" ||
            fail "what $name has written is not what was given"
    fi
    clear_target "$target"
}

item_write() {
    local medium kind call mark=${#UNDO[@]}
    for medium in $media; do
        # shellcheck disable=SC2086
        medium_up "$medium" "$((megabytes * MIB))" $peers
        for kind in $kinds; do
            generate "$kind" 2048x2048
            for call in $calls; do
                in_turns write_target write "$medium $kind $call" "$call" 0
            done
        done
        medium_down "$mark"
    done
}

# ---- slow ----

item_slow() {
    local one mark=${#UNDO[@]} camera disk
    generate embryo 2048x2048
    for one in $slow; do
        camera=${one%:*} disk=${one#*:}
        medium_up "slow:$disk" $((megabytes * MIB))
        if ! throttle_up "$LOOP" $((disk * 1000000)); then
            note "slow is left out: no cgroup here slows a device down"
            medium_down "$mark"
            return 0
        fi
        round=0 told slow "camera $camera, disk $disk MB/s" disk measured_mbs "$(direct_mbs "$MEDIUM" "$disk")"
        in_turns write_target slow "camera $camera, disk $disk MB/s" raw:8M "$camera"
        medium_down "$mark"
    done
}

# direct_mbs FOLDER MB: what the disk takes without a page cache.
direct_mbs() {
    local start end
    start=$(date +%s%N)
    dd if=/dev/zero of="$1/probe" bs=1M count="$2" oflag=direct conv=fsync status=none
    end=$(date +%s%N)
    rm -f "$1/probe"
    echo $(($2 * MIB * 1000 / (end - start)))
}

# ---- small ----

small_target() { # TARGET MEDIUM
    local target=$1 folder bytes
    folder=$(folder_of "$1") bytes=$(bytes_for "$target" $((megabytes * MIB / 4)))
    generate embryo 2048x2048
    clear_target "$target"
    measure_written small "$2 libtiff 8 KiB strips" "$target" libtiff --frames "$FRAMES" --bytes "$bytes" \
        --block 8K "$folder/one.tif"
    clear_target "$target"
    for block in 8K 64K 1M; do
        measure_written small "$2 calls of ${block}iB" "$target" write --frames "$FRAMES" --bytes "$bytes" \
            --block $block "$folder/one.raw"
        clear_target "$target"
    done
    generate embryo 512x512
    mkdir "$folder/many"
    measure_written small "$2 files of one plane" "$target" many --frames "$FRAMES" --count \
        "$(smaller "$files" $((ROOM / 2 / 525000)))" "$folder/many"
    clear_target "$target"
}

item_small() {
    local medium mark=${#UNDO[@]}
    for medium in $media; do
        # shellcheck disable=SC2086
        medium_up "$medium" $((megabytes * MIB / 2 + files * 530000)) ${peers/btrfs/}
        in_turns small_target "$medium"
        medium_down "$mark"
    done
}

# ---- read ----

fill_target() {
    # shellcheck disable=SC2046
    measure_written "" "" "$1" write --frames "$FRAMES" \
        --bytes $(($(bytes_for "$1" $((megabytes * MIB))) / 2)) $(two_paths "$1")
}

read_one() { # TARGET NAME MODE PATH...
    measure read "$2" "$1" read --mode "$3" --block 1M "${@:4}"
}

read_target() { # TARGET MEDIUM
    local target=$1 folder
    folder=$(folder_of "$1")
    cold "$target"
    read_one "$target" "$2 sequential, cold" sequential "$folder/one.raw"
    read_one "$target" "$2 sequential, again" sequential "$folder/one.raw"
    cold "$target"
    read_one "$target" "$2 descending, cold" descending "$folder/one.raw"
    cold "$target"
    read_one "$target" "$2 planes at random, cold" planes --count 200 "$folder/one.raw"
    cold "$target"
    read_one "$target" "$2 mmap, cold" mmap "$folder/one.raw"
    read_one "$target" "$2 mmap, again" mmap "$folder/one.raw"
    cold "$target"
    read_one "$target" "$2 two readers, cold" sequential "$folder/one.raw" "$folder/two.raw"
}

item_read() {
    local medium target mark=${#UNDO[@]}
    generate embryo 2048x2048
    for medium in $media; do
        # shellcheck disable=SC2086
        medium_up "$medium" $((megabytes * MIB)) $peers
        # All of them lie there at once.
        ROOM=$((ROOM / 4))
        for target in $TARGETS; do
            fill_target "$target" "$medium"
        done
        in_turns read_target "$medium"
        medium_down "$mark"
    done
}

# ---- stat ----

stat_target() {
    cold "$1"
    measure stat "$files stacks, cold" "$1" stat --count "$files" "$(folder_of "$1")/many"
    measure stat "$files stacks, again" "$1" stat --count "$files" "$(folder_of "$1")/many"
}

item_stat() {
    local target mark=${#UNDO[@]} MEDIUM_IS_IMAGE=1
    generate embryo 128x128
    medium_up image $((files * 60000)) ext4
    TARGETS="sqyfs ext4"
    for target in $TARGETS; do
        mkdir "$(folder_of "$target")/many"
        measure_written "" "" "$target" many --frames "$FRAMES" --count "$files" "$(folder_of "$target")/many"
    done
    in_turns stat_target
    medium_down "$mark"
}

# ---- memory ----

# Writes as much as is asked for, in turns of what fits, and reads each once.
item_memory() {
    local mark=${#UNDO[@]} medium=${media##* } left=$((long_mb * MIB)) bytes log watcher
    log=${SQYFS_BENCH_OUT:-$WORK}/memory.csv
    generate embryo 2048x2048
    medium_up "$medium" $((megabytes * MIB))
    TARGETS=sqyfs
    "$STREAM" watch --daemon "$DAEMON" --count 200 >"$log" &
    watcher=$!
    for ((round = 0; left > 0; round++)); do
        bytes=$(smaller "$left" $((ROOM * 2)))
        bytes=$(smaller "$bytes" $((megabytes * MIB * 2)))
        # shellcheck disable=SC2046
        measure_written memory "$medium, passes one after the other" sqyfs write --frames "$FRAMES" --bytes \
            $((bytes / 2)) --warm 0 $(two_paths sqyfs)
        # shellcheck disable=SC2046
        "$STREAM" read --block 1M $(two_paths sqyfs) >"$WORK/read"
        clear_target sqyfs
        left=$((left - bytes))
    done
    "$SQYCTL" stats --json "$MNT" >"$WORK/stats.json"
    medium_down "$mark"
    wait "$watcher"
    "$PYTHON" "$here/camera.py" memory "$log" "$WORK/stats.json" "$((long_mb))" >>"$RESULTS"
}

# ---- parts ----

# perf_of NAME COMMAND...: COMMAND with perf on the daemon, then what it went into.
perf_of() {
    local perf
    perf record -q -F 499 -g -p "$DAEMON" -o "$WORK/perf.data" >/dev/null 2>"$WORK/perf.log" &
    perf=$!
    sleep 0.5
    "${@:2}"
    kill -INT "$perf"
    wait "$perf" || true
    perf script -i "$WORK/perf.data" -F comm,ip,sym,dso 2>>"$WORK/perf.log" |
        "$PYTHON" "$here/parts.py" "$1" "$SQYFS_BUILD" "$RESULTS"
}

parts_write() {
    clear_target sqyfs
    # shellcheck disable=SC2046
    measure_written parts write sqyfs write --frames "$FRAMES" --bytes $((megabytes * MIB / 2)) $(two_paths sqyfs)
}

parts_read() {
    # shellcheck disable=SC2046
    measure parts read sqyfs read --block 1M $(two_paths sqyfs)
}

item_parts() {
    local mark=${#UNDO[@]}
    if ! perf record -q -e cpu-clock -o "$WORK/perf.data" true >/dev/null 2>&1; then
        note "parts is left out: perf is missing or does not work here (Debian: linux-perf)"
        return 0
    fi
    generate embryo 2048x2048
    medium_up "${media%% *}" $((megabytes * MIB))
    round=0
    parts_write # the daemon's memory has been touched, as it has after a minute of any day
    perf_of write parts_write
    cold sqyfs
    perf_of read parts_read
    medium_down "$mark"
}

for item in $items; do
    case $item in
    write | slow | small | read | stat | memory | parts)
        note "$item"
        "item_$item"
        ;;
    *) fail "there is no item $item" ;;
    esac
done
"$PYTHON" "$here/camera.py" report "$RESULTS" "${SQYFS_BENCH_OUT:+$SQYFS_BENCH_OUT/camera.csv}"
