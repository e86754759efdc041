# Sourced by camera.sh (bash), after lib.sh and media.sh: a store and its peers on one medium, and one measurement
# on one of them. A target is sqyfs, plain (the medium as it is), ext4 or btrfs (images on it).

# ---- what is written ----

generate() { # KIND WIDTHxHEIGHT: leaves FRAMES
    local file=$DISK/$1-$2.raw
    [ -e "$file" ] || lightsheet --kind "$1" --size "$2x$planes" --format raw "$file"
    FRAMES=$file:$2
}

# ---- where to ----

# medium_up tmpfs|disk|image|slow:RATE BYTES [PEER...]: a store, a mount of it, and the peers; leaves MEDIUM,
# TARGETS, and ROOM: how many bytes a target can take that does not compress.
medium_up() {
    local kind=$1 bytes=$2 peer
    shift 2
    MEDIUM=$WORK/medium TARGETS="sqyfs $*"
    case $kind in
    tmpfs)
        ROOM=$(($(awk '/^MemAvailable/ { printf "%.0f", $2 * 1024 }' /proc/meminfo) / 2))
        tmpfs_up "$MEDIUM" "$ROOM"
        ;;
    disk)
        MEDIUM=$DISK/disk
        mkdir "$MEDIUM"
        undo_add rm -rf --one-file-system "$MEDIUM"
        TARGETS+=" plain"
        ;;
    image | slow:*)
        image_up "$DISK/store.img" $((bytes + 512 * MIB)) ext4 "$MEDIUM"
        TARGETS+=" plain"
        ;;
    esac
    local space
    space=$(free_bytes "$DISK")
    [ "$kind" = tmpfs ] || ROOM=$((space - 2048 * MIB))
    ROOM=$((ROOM * 8 / 10))
    [ $ROOM -gt $((64 * MIB)) ] || fail "no room on $kind"
    STORE=$MEDIUM/store
    mkdir "$STORE" "$MEDIUM/plain"
    for peer in "$@"; do
        if [ "$kind" = image ]; then
            image_up "$DISK/$peer.img" $((bytes + 512 * MIB)) "$peer" "$WORK/$peer"
        else
            image_up "$MEDIUM/$peer.img" $((bytes + 512 * MIB)) "$peer" "$WORK/$peer"
        fi
    done
    attach "$OPTIONS"
}

medium_down() {
    unmount
    undo_to "$1"
}

folder_of() {
    case $1 in
    sqyfs) echo "$MNT" ;;
    plain) echo "$MEDIUM/plain" ;;
    *) echo "$WORK/$1" ;;
    esac
}

# What is on it, of data alone where that can be told.
stored_bytes() {
    case $1 in
    sqyfs) du -s -B1 --exclude=.sqyfs "$STORE" | cut -f1 ;;
    plain) du -s -B1 "$MEDIUM/plain" | cut -f1 ;;
    *) sync -f "$WORK/$1" && df --output=used -B1 "$WORK/$1" | tail -n 1 ;;
    esac
}

clear_target() {
    find "$(folder_of "$1")" -mindepth 1 -maxdepth 1 ! -name .sqyfs ! -name lost+found -exec rm -rf {} +
    case $1 in
    sqyfs) drain ;;
    plain) sync -f "$MEDIUM/plain" ;;
    *) # what was removed is free, and trimmed from the image, once that is durable
        sync -f "$WORK/$1"
        fstrim "$WORK/$1" 2>/dev/null || true
        ;;
    esac
}

# Nothing of it is in memory.
cold() {
    case $1 in
    sqyfs)
        unmount
        "$STREAM" forget "$STORE"
        [ -z "${MEDIUM_IS_IMAGE:-}" ] || image_again "$MEDIUM"
        attach "$OPTIONS"
        ;;
    plain) "$STREAM" forget "$MEDIUM/plain" ;;
    *) image_again "$WORK/$1" ;;
    esac
}

# ---- measuring ----

warm_bytes() {
    local free
    free=$(awk '/^MemAvailable/ { printf "%.0f", $2 / 4096 }' /proc/meminfo)
    local mb=${SQYFS_BENCH_WARM_MB:-$((megabytes < 2048 ? megabytes : 2048))}
    echo $(((mb < free ? mb : free) * MIB))
}

fields() { # ITEM NAME TARGET
    printf '"item": "%s", "name": "%s", "target": "%s", "round": %d' "$1" "$2" "$3" "$round"
}

# measure ITEM NAME TARGET COMMAND [OPTION...] PATH...
measure() {
    local say daemon=()
    say=$(fields "$1" "$2" "$3")
    [ "$3" != sqyfs ] || daemon=(--daemon "$DAEMON")
    local command=$4
    shift 4
    "$STREAM" "$command" --say "$say" "${daemon[@]}" --warm "$(warm_bytes)" "$@" >>"$RESULTS"
}

# Writing, until it is durable.
measure_written() {
    local until=(--sync)
    [ "$3" != sqyfs ] || until=(--then "'$SQYCTL' drain '$MNT'")
    measure "$1" "$2" "$3" "$4" "${until[@]}" "${@:5}"
}

told() { # ITEM NAME TARGET FIELD VALUE
    echo "{$(fields "$1" "$2" "$3"), \"$4\": $5}" >>"$RESULTS"
}

# in_turns FUNCTION [ARGUMENT...]: for each target, in an order that moves on with the rounds.
in_turns() {
    local list=($TARGETS) i
    for ((round = 0; round < runs; round++)); do
        for ((i = 0; i < ${#list[@]}; i++)); do
            "$1" "${list[(i + round) % ${#list[@]}]}" "${@:2}"
        done
    done
}

two_paths() { # TARGET [raw|tiff]
    local folder
    folder=$(folder_of "$1")
    echo "$folder/one.${2:-raw} $folder/two.${2:-raw}"
}

smaller() {
    echo $(($1 < $2 ? $1 : $2))
}

# What a target may be given: a store takes more than a plain filesystem.
bytes_for() { # TARGET BYTES
    if [ "$1" = sqyfs ]; then
        smaller "$2" $((ROOM * 5 / 2))
    else
        smaller "$2" "$ROOM"
    fi
}
