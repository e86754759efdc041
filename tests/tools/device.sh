#!/bin/bash
# device.sh: what NVIDIA's encoder and decoder make of our streams on this machine. Lies beside the device.tar.gz
# that device_pack.sh made.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/streams"
tar -C "$work" -xzf "$here/device.tar.gz" || exit

echo "== machine"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
grep -m 1 'model name' /proc/cpuinfo
nproc
ls -l /usr/local/nvidia/lib64/lib{cuda,nvidia-encode,nvcuvid}.so* 2>/dev/null
ldconfig -p | grep -E 'lib(cuda|nvidia-encode|nvcuvid)\.so'

echo "== streams"
SQY_NVIDIA_LIBRARIES=$work/driver LD_LIBRARY_PATH=$work/lib timeout 70 "$work/device" make "$work/streams" || exit
LD_LIBRARY_PATH=$work/lib timeout 160 "$work/device" check "$work/streams"
rc=$?
echo "device check: $rc"
exit $rc
