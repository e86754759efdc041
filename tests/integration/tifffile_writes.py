"""tifffile_writes.py DIR: every way in which python3-tifffile writes a stack; the same bytes each time."""
import os
import sys
import uuid

import numpy
import tifffile

from minitiff import voxels

# OME-XML carries random identifiers; here they are always the same.
uuid.uuid1 = uuid.uuid4 = lambda *_: uuid.UUID(int=1)

VOLUME = voxels(1, 20, 200, 312)
SMALL = VOLUME[:4, :100, :77].copy()


def check(path, want, **how):
    got = tifffile.imread(path, **how)
    if got.shape != want.shape or not (got == want).all():
        sys.exit(f"FAILED: {path} reads back with other voxels, {got.shape}")


def write(root):
    def at(name):
        return os.path.join(root, name)

    tifffile.imwrite(at("plain.tif"), VOLUME)
    tifffile.imwrite(at("big-endian.tif"), VOLUME.astype(">u2"), byteorder=">")
    tifffile.imwrite(at("imagej.tif"), VOLUME.reshape(5, 4, 200, 312), imagej=True, byteorder=">",
                     resolution=(2.5, 2.5), metadata={"axes": "TZYX", "spacing": 2.0, "unit": "um"})
    tifffile.imwrite(at("ome.ome.tif"), VOLUME.reshape(2, 10, 200, 312), ome=True, metadata={
        "axes": "CZYX", "PhysicalSizeX": 0.4, "PhysicalSizeY": 0.4, "PhysicalSizeZ": 2.0})
    tifffile.imwrite(at("bigtiff.tif"), VOLUME, bigtiff=True)
    tifffile.imwrite(at("zlib.tif"), VOLUME, compression="zlib")
    tifffile.imwrite(at("tiles.tif"), VOLUME, tile=(64, 48))
    tifffile.imwrite(at("tiles-volume.tif"), VOLUME[:16], tile=(4, 64, 64), metadata=None)
    tifffile.imwrite(at("strips.tif"), VOLUME, rowsperstrip=7)
    tifffile.imwrite(at("float32.tif"), (VOLUME / 3).astype("f4"))
    tifffile.imwrite(at("float64.tif"), numpy.sqrt(SMALL))
    tifffile.imwrite(at("int16.tif"), (VOLUME.astype("i4") - 32768).astype("i2"))
    tifffile.imwrite(at("uint8.tif"), (VOLUME >> 2).astype("u1"))
    tifffile.imwrite(at("uint32.tif"), VOLUME.astype("u4") * 70000)
    tifffile.imwrite(at("rgb.tif"), numpy.moveaxis(VOLUME[:3], 0, -1), photometric="rgb")
    tifffile.imwrite(at("rgb-planar.tif"), VOLUME[:3], photometric="rgb", planarconfig="separate")
    tifffile.imwrite(at("one-plane.tif"), VOLUME[0])
    tifffile.imwrite(at("one-voxel.tif"), VOLUME[0, :1, :1])
    tifffile.imwrite(at("bilevel.tif"), VOLUME[0] > 105)

    with tifffile.TiffWriter(at("planes.tif")) as tif:
        for plane in VOLUME:
            tif.write(plane, contiguous=False, metadata=None)
    with tifffile.TiffWriter(at("planes-contiguous.tif"), bigtiff=True) as tif:
        for plane in VOLUME:
            tif.write(plane, contiguous=True)
    with tifffile.TiffWriter(at("planes-bigtiff.tif"), bigtiff=True, byteorder=">") as tif:
        for plane in VOLUME:
            tif.write(plane, contiguous=False, metadata=None)
    for plane in VOLUME[:12]:
        tifffile.imwrite(at("append.tif"), plane, append=True, metadata=None)
    with tifffile.TiffWriter(at("mixed.tif")) as tif:
        tif.write(VOLUME[0])
        tif.write((SMALL[0] >> 3).astype("u1"))
        tif.write(numpy.sqrt(SMALL[:3]), photometric="minisblack")
        tif.write(VOLUME[1:5], photometric="minisblack")
    with tifffile.TiffWriter(at("subifds.tif")) as tif:
        tif.write(VOLUME[0], subifds=2, tile=(64, 64))
        tif.write(VOLUME[0, ::2, ::2], subfiletype=1, tile=(64, 64))
        tif.write(VOLUME[0, ::4, ::4], subfiletype=1, tile=(64, 64))
    tifffile.imwrite(at("generator.tif"), iter(VOLUME), shape=VOLUME.shape, dtype="uint16")

    view = tifffile.memmap(at("memmap.tif"), shape=VOLUME.shape, dtype="uint16")
    for z in (7, 0, 19, 3):
        view[z] = VOLUME[z]
    view.flush()
    view[:] = VOLUME
    del view
    tifffile.imwrite(at("memmap-imagej.tif"), numpy.zeros_like(VOLUME), imagej=True, byteorder=">")
    view = tifffile.memmap(at("memmap-imagej.tif"), mode="r+")
    view[:, 50:150, 20:300] = VOLUME[:, 50:150, 20:300]
    del view
    raw = numpy.memmap(at("numpy.raw"), dtype="u2", mode="w+", shape=VOLUME.shape)
    raw[::-1] = VOLUME
    raw.flush()
    raw[3, 100] = 4095
    del raw
    VOLUME.tofile(at("tofile.raw"))
    numpy.save(at("array.npy"), VOLUME)
    edit(at)


def edit(at):
    """What is already closed is opened again for change."""
    view = tifffile.memmap(at("plain.tif"), mode="r+")
    view[10, 20:40] += 1
    del view
    with tifffile.TiffFile(at("strips.tif"), mode="r+b") as tif:
        tif.pages[0].tags["ImageDescription"].overwrite("edited later, and longer than it was at first")
    tifffile.imwrite(at("bigtiff.tif"), SMALL[0], append=True)


def read(root):
    def at(name):
        return os.path.join(root, name)

    changed = VOLUME.copy()
    changed[10, 20:40] += 1
    check(at("plain.tif"), changed)
    check(at("big-endian.tif"), VOLUME)
    check(at("imagej.tif"), VOLUME.reshape(5, 4, 200, 312))
    check(at("ome.ome.tif"), VOLUME.reshape(2, 10, 200, 312))
    for name in ("tiles", "strips", "planes", "planes-contiguous", "planes-bigtiff", "memmap", "generator"):
        check(at(name + ".tif"), VOLUME)
    check(at("float32.tif"), (VOLUME / 3).astype("f4"))
    check(at("append.tif"), VOLUME[:12])
    for z in (19, 0, 7):
        check(at("planes.tif"), VOLUME[z], key=z)
    view = tifffile.memmap(at("big-endian.tif"), mode="r")
    if not (view[::-1, 5:195:7, ::3] == VOLUME[::-1, 5:195:7, ::3]).all():
        sys.exit("FAILED: memmap reads other voxels")
    raw = numpy.memmap(at("numpy.raw"), dtype="u2", mode="r", shape=VOLUME.shape)
    if not (raw[0] == VOLUME[19]).all():
        sys.exit("FAILED: numpy.memmap reads other voxels")


{"write": write, "read": read}[sys.argv[1]](sys.argv[2])
