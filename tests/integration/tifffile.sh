#!/bin/bash
# python3-tifffile and numpy: plain, ImageJ, OME, BigTIFF, append, plane by plane, memmap for writing and reading.
. "$(dirname "$0")/lib.sh"

want_python numpy tifffile
setup
attach "raw=*.raw:312x200"
"$PYTHON" "$HERE/tifffile_writes.py" write "$REF"
"$PYTHON" "$HERE/tifffile_writes.py" write "$MNT"
"$PYTHON" "$HERE/tifffile_writes.py" read "$MNT"
prove
"$PYTHON" "$HERE/tifffile_writes.py" read "$MNT"
for stack in plain big-endian imagej bigtiff ome.ome tiles strips int16 planes memmap; do
    want_ratio "$MNT/$stack.tif" 1.8
done
want_ratio "$MNT/numpy.raw" 1.8
