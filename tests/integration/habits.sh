#!/bin/bash
# The writers of microscopes, each in its own manner: see habits.py.
. "$(dirname "$0")/lib.sh"

want_python numpy
setup
attach "raw=*.raw:320x256"
"$PYTHON" "$HERE/habits.py" "$REF"
"$PYTHON" "$HERE/habits.py" "$MNT"
same_tree "$REF" "$MNT"
drain
for stack in imagej_save tifffile_whole planes_with_holes memmap_sparse libtiff_strips itk_patches \
    micromanager ndtiff bioformats two_handles; do
    want_ratio "$MNT/$stack.tif" 1.8
done
want_ratio "$MNT/append_each_plane.raw" 1.8
prove
