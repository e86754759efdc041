"""archive.py write DIR VOXELS.raw | check REF FILE exact|lossy [SIGMA]

write: stacks of every habit. check: FILE, in a mount, beside what it was: bytes that are no voxels are the same, and
what voxels have lost is what user.sqyfs.quality says, computed anew here."""
import os
import re
import sys

import numpy
import tifffile

OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" Type="uint16"
 DimensionOrder="XYZCT" SizeX="200" SizeY="150" SizeZ="16" SizeC="1" SizeT="1"><Channel ID="Channel:0:0"/>
<TiffData IFD="0"/><Plane TheC="0" TheT="0" TheZ="0"><HashSHA1>da39a3ee5e6b4b0d3255bfef95601890afd80709</HashSHA1>
</Plane></Pixels></Image></OME>"""


def write(root, raw):
    volume = numpy.fromfile(raw, "<u2").reshape(16, 150, 200)
    def at(name):
        return os.path.join(root, name)
    tifffile.imwrite(at("plain.tif"), volume)
    tifffile.imwrite(at("big-endian.tif"), volume.astype(">u2"), byteorder=">")
    tifffile.imwrite(at("hyperstack.tif"), volume.reshape(4, 4, 150, 200), imagej=True, byteorder=">",
                     metadata={"axes": "TZYX"})
    tifffile.imwrite(at("bigtiff.tif"), volume, bigtiff=True)
    tifffile.imwrite(at("int16.tif"), (volume.astype("i4") - 32768).astype("i2"))
    tifffile.imwrite(at("strips.tif"), volume, rowsperstrip=7)
    with tifffile.TiffWriter(at("planes.tif")) as tif:
        for plane in volume:
            tif.write(plane, contiguous=False, metadata=None)
    tifffile.imwrite(at("hashed.ome.tif"), volume, description=OME, metadata=None)
    tifffile.imwrite(at("float.tif"), (volume / 3).astype("f4"))
    tifffile.imwrite(at("zlib.tif"), volume, compression="zlib")


def voxel_mask(path, size):
    """Which bytes are voxels, and their type."""
    mask = numpy.zeros(size, bool)
    with tifffile.TiffFile(path) as tif:
        dtype = numpy.dtype(tif.byteorder + tif.pages[0].dtype.char)
        for series in tif.series:
            if series.dataoffset is not None:
                mask[series.dataoffset:series.dataoffset + series.nbytes] = True
        for page in tif.pages:
            for offset, count in zip(page.dataoffsets, page.databytecounts):
                mask[offset:offset + count] = True
    return mask, dtype


def number(quality, key):
    return float(re.search(r"[ ,=]" + key + r"[=:]([0-9.e+-]+|inf)", quality).group(1))


def fail(path, why):
    sys.exit(f"FAILED: {path}: {why}")


def check_lossy(path, was, now, mask, dtype, quality, sigma_most):
    if not quality.startswith("lossy "):
        fail(path, f"it is {quality}, not lossy")
    if (was[~mask] != now[~mask]).any():
        fail(path, "bytes that are no voxels have changed")
    a = was[mask].view(dtype).astype("i8")
    error = numpy.abs(a - now[mask].view(dtype).astype("i8"))
    if dtype.kind == "i":
        a = a + 32768
    light = numpy.maximum(a - number(quality, "offset"), 0)
    sigma = numpy.sqrt(number(quality, "gain") * light + number(quality, "read") ** 2)
    mine = {
        "max_error": error.max(),
        "max_sigma": (error / sigma).max(),
        "rms": numpy.sqrt((error.astype(float) ** 2).mean()),
        "rms_sigma": numpy.sqrt(((error / sigma) ** 2).mean()),
        "psnr": 20 * numpy.log10(a.max() / numpy.sqrt((error.astype(float) ** 2).mean())),
        "within_sigma": (error <= sigma).mean(),
    }
    for key, value in mine.items():
        told = number(quality, key)
        if abs(told - value) > 1e-3 + 1e-4 * abs(value):
            fail(path, f"{key} is {value}, told {told}")
    if not 0 < mine["max_sigma"] <= sigma_most + 1e-6:
        fail(path, f"a voxel is off by {mine['max_sigma']} sigma")


def check(ref, path, want, sigma_most):
    # The quality is asked for before and after, since a stack may be archived meanwhile.
    while True:
        quality = os.getxattr(path, "user.sqyfs.quality").decode()
        with open(path, "rb") as file:
            now = numpy.frombuffer(file.read(), "u1")
            if os.getxattr(path, "user.sqyfs.quality").decode() == quality:
                break
    was = numpy.fromfile(ref, "u1")
    if was.size != now.size or os.stat(ref).st_mtime_ns != os.stat(path).st_mtime_ns:
        fail(path, "size or time are not what they were")
    if want == "either":
        want = "lossy" if quality.startswith("lossy ") else "exact"
    if want == "lossy":
        mask, dtype = voxel_mask(ref, was.size)
        check_lossy(path, was, now, mask, dtype, quality, sigma_most)
    elif quality != "lossless" or (was != now).any():
        fail(path, f"it is not what it was ({quality})")


if sys.argv[1] == "write":
    write(*sys.argv[2:4])
else:
    check(*sys.argv[2:5], float(sys.argv[5]) if len(sys.argv) > 5 else 0.6)
