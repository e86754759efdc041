#!/bin/bash
# device_pack.sh BUILD FOLDER: fills FOLDER with all that device.sh needs on a bare machine (no packages, no
# network): the program `device`, the driver that stands in for NVIDIA's, and the libraries that both need,
# packed. What libavcodec is linked with but does not need here (drawing, speech) is replaced by empty shells, as
# it is most of the bytes.
set -eu
build=$1 out=$2
lib=$(dirname "$(ldd "$build/tests/tools/device" | awk '/libavcodec/ {print $3}')")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lib" "$work/driver" "$work/shell" "$out"

for name in librsvg-2.so.2 libgobject-2.0.so.0 libglib-2.0.so.0 libcairo.so.2 libcodec2.so.1.0; do
    [ -e "$lib/$name" ] || continue
    nm -D --defined-only "$lib/$name" |
        awk '$2 ~ /^[TWDBR]$/ {sub(/@.*/, "", $3); if (!seen[$3]++) print "void " $3 "(void);void " $3 "(void){}"}' |
        gcc -shared -fPIC -w -x c - -Wl,-soname,"$name" -o "$work/shell/$name"
done
cp "$build/tests/tools/device" "$work/"
cp "$build/tests/codec/standin/libstandin.so" "$work/driver/libcuda.so.1"
ln -s libcuda.so.1 "$work/driver/libnvidia-encode.so.1"
LD_LIBRARY_PATH=$work/shell ldd "$work/device" "$work/driver/libcuda.so.1" |
    awk '$3 ~ /^\// {print $3}' | sort -u |
    grep -v -E '/(libc|libm|libpthread|libdl|librt)\.so' |
    while read -r path; do cp -L "$path" "$work/lib/"; done
rm -rf "$work/shell"
tar -C "$work" -czf "$out/device.tar.gz" .
cp "$(dirname "$0")/device.sh" "$out/"
du -h "$out/device.tar.gz"
