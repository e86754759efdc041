#!/bin/sh
# mount.sqyfs hands on what is the filesystem's, and nothing else. $1: the helper.
set -u
helper=$1
failed=0

expect() {
    wanted=$1
    shift
    got=$(sh "$helper" "$@" -f -v 2>&1)
    if [ "$got" != "$wanted" ]; then
        echo "mount.sqyfs $*: '$got', not '$wanted'"
        failed=1
    fi
}

expect 'sqyfs /s /m' /s /m
expect 'sqyfs /s /m' /s /m -o rw
expect 'sqyfs /s /m' /s /m -o defaults,nofail,noauto,_netdev,x-systemd.automount
expect 'sqyfs -o ro,allow_other /s /m' /s /m -o ro,defaults,allow_other
expect 'sqyfs -o raw=*.raw:4x4,cache=1G /s /m' -n -s -t sqyfs -o 'raw=*.raw:4x4' /s /m -o cache=1G
expect 'sqyfs -o nodev,nosuid /s p /m' '/s p' /m -onodev,nosuid

for wrong in '' '/s' '/s /m /x' '/s /m -o' '/s /m -Z'; do
    # shellcheck disable=SC2086
    if sh "$helper" $wrong -f >/dev/null 2>&1 && [ "$wrong" != '/s /m -o' ]; then
        echo "mount.sqyfs $wrong was accepted"
        failed=1
    fi
done
exit $failed
