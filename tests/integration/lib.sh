# Sourced by the integration tests (bash). Each runs against a mount of its own in a temporary folder:
#
#   $MNT    the mount             $STORE  the store behind it
#   $REF    a plain folder: what is done in $MNT is done here too, and prove() compares
#   $WORK   the temporary folder  $PYTHON Debian's Python, which has Debian's modules
#
# The programs are found in the build folder $SQYFS_BUILD, or given as $SQYFS and $SQYCTL.
# SQYFS_PLAIN=1 puts a plain folder where the mount would be: a check of the tests themselves.

set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTHON=${PYTHON:-/usr/bin/python3}
export PYTHONDONTWRITEBYTECODE=1
SQYFS_PLAIN=${SQYFS_PLAIN:-}
SQYFS_SHARED=${SQYFS_SHARED:-$HERE/../../../shared}
DAEMON=

skip() {
    echo "skipped: $*"
    exit 77
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

note() {
    echo "* $*"
}

# Programs that the test cannot do without, as "command" or "command:Debian package".
want() {
    local one
    for one in "$@"; do
        command -v "${one%%:*}" >/dev/null || skip "${one%%:*} is not installed (Debian: ${one##*:})"
    done
}

want_python() {
    local module
    for module in "$@"; do
        "$PYTHON" -c "import $module" 2>/dev/null ||
            skip "Python module $module is not installed (Debian: python3-$module)"
    done
}

built() {
    [ -n "${SQYFS_BUILD:-}" ] || return 1
    find "$SQYFS_BUILD/$1" -type f -name "$2" -perm -u+x -print -quit 2>/dev/null | grep .
}

find_programs() {
    LIGHTSHEET=${LIGHTSHEET:-$(built tests/tools lightsheet)} || fail "no lightsheet in SQYFS_BUILD"
    [ -z "$SQYFS_PLAIN" ] || return 0
    SQYFS=${SQYFS:-$(built src sqyfs)} || skip "sqyfs is not built"
    SQYCTL=${SQYCTL:-$(built src sqyctl)} || skip "sqyctl is not built"
    SANITIZED=
    ! grep -qE '__(asan|tsan)_init' "$SQYFS" || SANITIZED=1 # where memory is several times what is used
    [ -c /dev/fuse ] && { : <>/dev/fuse; } 2>/dev/null || skip "/dev/fuse cannot be opened here"
    [ "$(id -u)" = 0 ] || want fusermount3:fuse3
}

# Call once, before anything else.
setup() {
    find_programs
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/sqyfs-test.XXXXXX")
    STORE=$WORK/store MNT=$WORK/mnt REF=$WORK/ref
    mkdir "$STORE" "$MNT" "$REF"
    trap cleanup EXIT
    trap 'exit 130' INT TERM
}

cleanup() {
    local rc=$?
    trap - EXIT INT TERM
    set +e
    detach "$MNT"
    [ -z "${MNT2:-}" ] || detach "$MNT2"
    if [ -n "$DAEMON" ]; then
        kill "$DAEMON" 2>/dev/null
        wait "$DAEMON"
    fi
    if [ $rc != 0 ] && [ $rc != 77 ] && [ -s "$WORK/daemon.log" ]; then
        echo "--- what the daemon said, last lines:" >&2
        tail -n 60 "$WORK/daemon.log" >&2
    fi
    [ -n "${SQYFS_KEEP:-}" ] || { forget_spool; rm -rf --one-file-system "$WORK"; }
    exit $rc
}

# What a killed daemon has left lies elsewhere.
forget_spool() {
    [ ! -L "$STORE/.sqyfs/spool" ] || rm -f "$(readlink "$STORE/.sqyfs/spool")"
}

is_mounted() {
    grep -qF " $1 fuse" /proc/self/mounts
}

detach() {
    is_mounted "$1" || return 0
    fusermount3 -u -q "$1" 2>/dev/null || umount "$1" 2>/dev/null || fusermount3 -uz "$1" 2>/dev/null ||
        umount -l "$1"
}

lightsheet() {
    "$LIGHTSHEET" "$@" >/dev/null
}

# daemon_start STORE MOUNTPOINT [OPTIONS]: in the foreground, so that its end and its words are seen;
# leaves the pid in STARTED.
daemon_start() {
    local store=$1 mnt=$2 options=${3:-${SQYFS_OPTIONS:-}} i
    "$SQYFS" -f ${options:+-o "$options"} "$store" "$mnt" >>"$WORK/daemon.log" 2>&1 &
    STARTED=$!
    for ((i = 0; i < 600; i++)); do
        is_mounted "$mnt" && stat -t "$mnt" >/dev/null 2>&1 && return 0
        kill -0 "$STARTED" 2>/dev/null || break
        sleep 0.05
    done
    cat "$WORK/daemon.log" >&2
    fail "sqyfs ${options:+-o $options }does not mount"
}

# daemon_stop PID MOUNTPOINT: unmounts, and wants a clean end.
daemon_stop() {
    local pid=$1 mnt=$2 i rc=0
    for ((i = 0; ; i++)); do
        fusermount3 -u "$mnt" 2>"$WORK/unmount.log" && break
        [ $i -lt 100 ] || fail "cannot unmount: $(cat "$WORK/unmount.log")"
        sleep 0.1
    done
    wait "$pid" || rc=$?
    [ $rc = 0 ] || fail "sqyfs ended with status $rc"
    ! grep -E 'ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:' \
        "$WORK/daemon.log" >&2 || fail "a sanitizer has something to say"
}

# attach [OPTIONS]
attach() {
    if [ -n "$SQYFS_PLAIN" ]; then
        return 0
    fi
    daemon_start "$STORE" "$MNT" "${1:-}"
    DAEMON=$STARTED
}

unmount() {
    if [ -n "$SQYFS_PLAIN" ]; then
        return 0
    fi
    local pid=$DAEMON
    DAEMON=
    daemon_stop "$pid" "$MNT"
}

remount() {
    unmount
    attach "${1:-}"
}

# kill_daemon [PID...]: the daemon dies as in an accident; the writers given are waited for before the dead
# mount goes, so that none of them goes on in the folder below it.
kill_daemon() {
    kill -9 "$DAEMON"
    wait "$DAEMON" "$@" 2>/dev/null || true
    DAEMON=
    fusermount3 -uz "$MNT" 2>/dev/null || umount -l "$MNT"
}

drain() {
    if [ -n "$SQYFS_PLAIN" ]; then
        return 0
    fi
    "$SQYCTL" drain "$MNT" || fail "sqyctl drain"
}

attr() {
    "$PYTHON" -c 'import os, sys; print(os.getxattr(sys.argv[1], "user.sqyfs." + sys.argv[2]).decode())' \
        "$1" "$2"
}

# number KEY: of the mount's statistics.
number() {
    "$SQYCTL" stats --json "$MNT" |
        "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]] or 0)' "$1"
}

# await KEY CONDITION: of awk, on x
await() {
    until awk -v x="$(number "$1")" "BEGIN { exit !($2) }"; do
        sleep 0.05
    done
}

# What overload has stored on lower rungs is as its pipeline wants it.
await_again() {
    [ -z "$SQYFS_PLAIN" ] || return 0
    await due_stacks "x == 0"
    await reencoding "x == 0"
}

# want_memory MIB: at its peak the daemon has not had more than spool, cache and so much.
want_memory() {
    [ -z "$SQYFS_PLAIN" ] || return 0
    local peak limit
    peak=$(awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$DAEMON/status")
    limit=$((($(number spool_limit) + $(number cache_limit)) / 1048576 + $1))
    note "the daemon's memory has peaked at $peak MiB"
    [ -n "$SANITIZED" ] || [ "$peak" -lt $limit ] || fail "more than $limit MiB"
}

# want_ratio FILE NUMBER: the file in the mount is stored, and so much smaller.
want_ratio() {
    [ -z "$SQYFS_PLAIN" ] || return 0
    local state ratio
    state=$(attr "$1" state) ratio=$(attr "$1" ratio)
    [ "$state" = stored ] || fail "${1##*/} is '$state', not stored"
    awk -v is="$ratio" -v want="$2" 'BEGIN { exit !(is >= want) }' ||
        fail "${1##*/} has a ratio of $ratio, expected $2"
}

same() {
    cmp "$1" "$2" || fail "$1 and $2 differ"
}

# same_tree A B: names, kinds and bytes.
same_tree() {
    diff -r --no-dereference "$1" "$2" || fail "$1 and $2 differ"
}

# Every blob of a store decodes to the file of the same name in a folder.
blobs_decode() {
    local store=$1 ref=$2 blob name n=0
    while IFS= read -r -d '' blob; do
        name=${blob#"$store"/} name=${name%.sqy}
        "$SQYCTL" decode "$blob" - | cmp - "$ref/$name" || fail "sqyctl decode $name.sqy"
        n=$((n + 1))
    done < <(find "$store" -path "$store/.sqyfs*" -prune -o -type f -name '*.sqy' -print0)
    note "$n blobs decoded"
    [ $n -gt 0 ] || fail "there is no blob in the store"
}

backup() {
    rsync -aHX --exclude=/.sqyfs/ "$1/" "$2/"
}

# prove [REF]: the mount holds what the plain folder holds: now, drained, mounted again, decoded without
# a mount, and from a backup on a second mount.
prove() {
    local ref=${1:-$REF}
    note "compare while encoding"
    same_tree "$ref" "$MNT"
    if [ -n "$SQYFS_PLAIN" ]; then
        return 0
    fi
    drain
    note "compare after drain"
    same_tree "$ref" "$MNT"
    remount
    note "compare after a new mount"
    same_tree "$ref" "$MNT"
    find "$STORE" -path "$STORE/.sqyfs*" -prune -o -type f -name '*.sqy' -print0 |
        xargs -0 -r "$SQYCTL" verify >"$WORK/verify.log" 2>&1 || {
        cat "$WORK/verify.log" >&2
        fail "sqyctl verify"
    }
    blobs_decode "$STORE" "$ref"
    prove_backup "$ref"
}

prove_backup() {
    command -v rsync >/dev/null || return 0
    note "compare a backup on a second mount"
    MNT2=$WORK/mnt2
    mkdir -p "$WORK/backup" "$MNT2"
    backup "$STORE" "$WORK/backup"
    daemon_start "$WORK/backup" "$MNT2"
    same_tree "$1" "$MNT2"
    daemon_stop "$STARTED" "$MNT2"
    rm -rf "$WORK/backup"
}
