#!/bin/sh
# localise.sh ARCHIVE OUT OBJCOPY AR CC...: all of an archive in one object, whose hidden symbols are local, so
# that a program linked with it can have functions of the same names.
set -eu
archive=$1 out=$2 objcopy=$3 ar=$4
shift 4
object=${out%/*}/libsqy.o
"$@" -r -nostdlib -o "$object" -Wl,--whole-archive "$archive" -Wl,--no-whole-archive
"$objcopy" --localize-hidden "$object"
rm -f "$out"
"$ar" rcs "$out" "$object"
rm -f "$object"
