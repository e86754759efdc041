#!/bin/sh
# Every way in which a start fails: its exit code, one line that says what to do, and nothing mounted.
. "$(dirname "$0")/mount.sh"
cd "$work"

# refused CODE WORDS ARGUMENT...
refused() {
    code=$1 words=$2
    shift 2
    got=0
    "$SQYFS" "$@" >out 2>err || got=$?
    [ $got = "$code" ] || fail "'$*' gave $got: $(cat err)"
    [ ! -s out ] || fail "'$*' wrote to standard output"
    [ "$(wc -l <err)" = 1 ] || fail "'$*' said: $(cat err)"
    grep -q "^sqyfs: " err && grep -qF -- "$words" err || fail "'$*' said: $(cat err)"
}
refused_on_mnt() { refused "$@" "$store" "$mnt"; is_up && fail "mounted: $*" || true; }

# The command line: each of these says the usage too.
usage="usage: sqyfs [-f]"
refused 2 "STORE is missing"
refused 2 "MOUNTPOINT is missing" "$store"
refused 2 "unexpected argument: x" "$store" "$mnt" x
refused 2 "without its value" -o
for arguments in "" "$store" "-o wrong $store $mnt" "-o wrong none none" "--wrong none $mnt"; do
    refused 2 "$usage" $arguments
done
odd_name='a
b'
refused 1 'a\x0ab' "$odd_name" "$mnt"
for option in --help --version; do
    "$SQYFS" $option >/dev/full 2>err && fail "$option to a full disk" || true
    [ "$(wc -l <err)" = 1 ] || fail "$option to a full disk: $(cat err)"
done
refused_on_mnt 2 "unknown option" --wrong
refused_on_mnt 2 "unknown option" -o wrong
refused_on_mnt 2 "unknown option" -o wrong=1
refused_on_mnt 2 "a size is wanted" -o cache=much
refused_on_mnt 2 "a size is wanted" -o spool=
refused_on_mnt 2 "a size is wanted" -o spool=-1
refused_on_mnt 2 "at least 16" -o spool=15M
refused_on_mnt 2 "at least 64" -o chunk=1K
refused_on_mnt 2 "at most 64" -o chunk=65M
refused_on_mnt 2 "a size is wanted" -o chunk=99999999999999999999
refused_on_mnt 2 "a number from 1" -o threads=0
refused_on_mnt 2 "a number from 1" -o threads=2x
refused_on_mnt 2 "a number from 1" -o threads=99999999999999999999
refused_on_mnt 2 "no stage 'none'" -o pipeline=none
refused_on_mnt 2 "option pipeline=" -o pipeline=
refused_on_mnt 2 "option pipeline=lz4->" -o "pipeline=lz4->"
refused_on_mnt 2 "option raw=" -o raw=nothing
refused_on_mnt 2 "option raw=" -o "raw=*.raw:0x10"
refused_on_mnt 2 "a value is wanted" -o statedir=

for option in -h --help; do
    "$SQYFS" $option >out 2>err
    grep -q "^usage: sqyfs" out && [ ! -s err ] || fail "$option"
done
for option in -V --version; do
    "$SQYFS" $option >out 2>err
    grep -q "^sqyfs [0-9]" out && [ ! -s err ] || fail "$option"
done

# The directories.
echo x >file
mkdir full "$store/inside"
echo x >full/x
refused 1 "there is no store" none "$mnt"
refused 1 "is not a directory" file "$mnt"
refused 1 "there is no mount point" "$store" none
refused 1 "is not a directory" "$store" file
refused 1 "is not empty" "$store" full
refused 1 "lies in the store" "$store" "$store/inside"
refused 1 "lies in the store" "$store" "$store"
rmdir "$store/inside"
refused 1 "full" full "$mnt"
[ "$(ls -A full)" = x ] || fail "something was made in what is not a store"
is_up && fail "mounted"

refused 1 "make it first" -o statedir=none "$store" "$mnt"

# Others.
mount_up
refused 1 "mount already" "$store" "$mnt"
mkdir second
refused 1 "store" "$store" second
grep -qi "mounted\|lock\|use" err || fail "a locked store: $(cat err)"
[ "$(ls -A second)" = "" ] || fail "something at the second mount point"
grep -q "process $(cut -d" " -f1 "$store/.sqyfs/lock");" err || fail "whose lock: $(cat err)"
echo data >"$mnt/f"
mount_down

# A lock that goes is waited for, and that is told; the command that waits can be interrupted.
flock -F "$store/.sqyfs/lock" sleep 3 &
holder=$!
sleep 0.2
"$SQYFS" "$store" "$mnt" 2>err || fail "did not wait: $(cat err)"
[ "$(wc -l <err)" = 1 ] && grep -q "waiting up to 120 s" err || fail "waited and said: $(cat err)"
wait $holder
[ "$(cat "$mnt/f")" = data ] || fail "content after waiting"
mount_down
flock -F "$store/.sqyfs/lock" sleep 30 &
holder=$!
sleep 0.2
timeout -s INT 2 "$SQYFS" -f "$store" "$mnt" 2>err && fail "mounted a locked store" || true
grep -q "^sqyfs: interrupted" err || fail "interrupted: $(cat err)"
"$SQYFS" "$store" "$mnt" 2>err &
waiting=$!
sleep 0.3
kill $waiting
wait $waiting && fail "mounted a locked store" || true
kill $holder
wait $holder || true
sleep 0.5
is_up && fail "mounted for nobody"

# A mount that only another namespace sees fails at once.
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
    unshare -m --propagation private "$SQYFS" "$store" "$mnt"
    is_up && fail "the mount is seen outside"
    holder=$(cut -d" " -f1 "$store/.sqyfs/lock")
    got=0
    timeout 20 "$SQYFS" "$store" second 2>err || got=$?
    [ $got = 1 ] && [ "$(wc -l <err)" = 1 ] && grep -q "process $holder;" err ||
        fail "mounted elsewhere: $got, $(cat err)"
    kill "$holder"
    wait_stored
fi

# A mount whose process was killed.
"$SQYFS" -f "$store" "$mnt" 2>log &
daemon=$!
tries=0
until is_up && stat -f "$mnt" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 1000 ] || fail "no mount: $(cat log)"
    sleep 0.02
done
kill -9 $daemon
wait $daemon || true
refused 1 "has died: run fusermount3 -u" "$store" "$mnt"
fusermount3 -u "$mnt"
mount_up ro
[ "$(cat "$mnt/f")" = data ] || fail "content"
! touch "$mnt/g" 2>/dev/null || fail "written to a read-only mount"
umount "$mnt" 2>/dev/null || fusermount3 -u "$mnt"

# Names with what mount options and mount tables treat specially; a relative path; a link.
odd="$work/a, b\\ ü"
mkdir "$odd" "$odd/store" "$odd/mnt"
(cd "$odd" && "$SQYFS" store mnt)
grep -q fuse.sqyfs /proc/self/mountinfo || fail "not mounted"
echo odd >"$odd/mnt/f"
refused 1 "mount already" "$odd/store" "$odd/mnt"
fusermount3 -u "$odd/mnt"
flock -w 120 "$odd/store/.sqyfs/lock" true
[ "$(cat "$odd/store/f")" = odd ] || fail "content under an odd name"
ln -s store "$odd/link"
"$SQYFS" "$odd/link" "$odd/mnt"
[ "$(cat "$odd/mnt/f")" = odd ] || fail "content through a link"
fusermount3 -u "$odd/mnt"
flock -w 120 "$odd/store/.sqyfs/lock" true

# All options at once.
mkdir state
mount_up "pipeline=bitswap1->lz4,chunk=256K,threads=2,cache=8M,spool=32M,statedir=state,noatime,nofail"
mount_down
mount_up "raw=*.raw:64x32:uint8,raw=*.vol:512x512:uint16:be"
mount_down
