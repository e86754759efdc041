#!/bin/bash
# Every pipeline stores and returns stacks; a folder's own pipeline decides for what is created below it, also
# in a copy of the store that has lost its attributes; compaction in an upstream pipeline gives files that a
# reader of sqeazy's form decodes.
. "$(dirname "$0")/lib.sh"

[ -z "$SQYFS_PLAIN" ] || skip "needs a mount"
want setfattr:attr rsync
setup
lightsheet --size 300x200x24 "$WORK/a.tif"
lightsheet --size 300x200x24 --kind dense --format imagej --big-endian "$WORK/b.tif"
head -c 300001 "$WORK/a.tif" >"$WORK/torn.tif"

fill() {
    mkdir -p "$1/$2"
    cp "$WORK/a.tif" "$WORK/b.tif" "$WORK/torn.tif" "$1/$2/"
}

n=0
for pipeline in pass_through lz4 'bitswap1->lz4' 'bitshuffle->lz4' 'zstd(level=3)' 'bitshuffle->zstd' interlace \
    'interlace(entropy=0)'; do
    note "mounted with pipeline=$pipeline"
    n=$((n + 1))
    # a comma would end the option
    attach "pipeline=$pipeline"
    fill "$REF" $n
    fill "$MNT" $n
    drain
    same_tree "$REF" "$MNT"
    got=$(attr "$MNT/$n/a.tif" pipeline)
    [ "$got" = "$pipeline" ] || fail "a stack says '$got'"
    "$SQYCTL" compact "$MNT/$n/a.tif" || fail "sqyctl compact"
    same "$REF/$n/a.tif" "$MNT/$n/a.tif"
    unmount
    "$SQYCTL" decode "$STORE/$n/a.tif.sqy" - | cmp - "$REF/$n/a.tif" || fail "sqyctl decode after compact"
done

attach
note "policies of folders"
mkdir -p "$MNT/set/below" "$MNT/unset"
setfattr -n user.sqyfs.pipeline -v 'bitswap1->lz4' "$MNT/set" || fail "setfattr"
! setfattr -n user.sqyfs.pipeline -v 'fish->lz4' "$MNT/unset" 2>/dev/null || fail "takes a wrong pipeline"
for unfit in 'quantiser->lz4' 'zcurve_reorder->lz4'; do
    ! setfattr -n user.sqyfs.pipeline -v "$unfit" "$MNT/unset" 2>/dev/null || fail "takes $unfit"
done
mkdir -p "$REF/set/below" "$REF/unset"
fill "$MNT" set/below/deep
fill "$REF" set/below/deep
fill "$MNT" unset/deep
fill "$REF" unset/deep
drain
[ "$(attr "$MNT/set/below/deep/a.tif" pipeline)" = 'bitswap1->lz4' ] || fail "not the folder's pipeline"
[ "$(attr "$MNT/unset/deep/a.tif" pipeline)" = 'interlace' ] || fail "not the mount's pipeline"
prove
unmount
rsync -r --exclude=/.sqyfs/ "$STORE/" "$WORK/copy/"
MNT2=$WORK/mnt2
mkdir -p "$MNT2"
daemon_start "$WORK/copy" "$MNT2"
fill "$MNT2" set/later
"$SQYCTL" drain "$MNT2"
[ "$(attr "$MNT2/set/later/a.tif" pipeline)" = 'bitswap1->lz4' ] || fail "a plain copy has lost the policy"
daemon_stop "$STARTED" "$MNT2"
