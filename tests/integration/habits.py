"""habits.py DIR: writes stacks into DIR in the manner of the programs that microscopes run, one function
a program. The same bytes come out each time, so that two folders can be compared. Where a program reads
while it writes, what it reads is checked here."""
import ctypes
import errno
import fcntl
import mmap
import os
import struct
import sys
import threading

import numpy

import minitiff
from minitiff import header, ifd, ifd_size, plane_entries, voxels

FALLOC_FL_KEEP_SIZE = 1
libc = ctypes.CDLL(None, use_errno=True)

PLANES, ROWS, WIDTH = 16, 256, 320
PLANE = ROWS * WIDTH * 2


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) < 0:
        code = ctypes.get_errno()
        if code not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise OSError(code, os.strerror(code), "fallocate")


def put(fd, data, offset):
    view = memoryview(data).cast("B")
    while view:
        n = os.pwrite(fd, view, offset)
        view, offset = view[n:], offset + n


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def expect_read(fd, data, offset):
    got = os.pread(fd, len(data), offset)
    while got and len(got) < len(data):
        more = os.pread(fd, len(data) - len(got), offset + len(got))
        if not more:
            break
        got += more
    expect(got == bytes(data), f"a reader sees other bytes at {offset} than were written")


def new(path, mode=os.O_RDWR):
    return os.open(path, mode | os.O_CREAT | os.O_TRUNC, 0o644)


# ---- programs ----

def imagej_save(path):
    """Write-only; header and IFD first, big-endian, voxels from an odd offset in pieces of 64 KiB."""
    text = b"ImageJ=1.53t\nimages=16\nslices=16\nunit=micron\nspacing=2.0\n\0"
    entries = plane_entries(WIDTH, ROWS, 441, PLANE) + [(270, minitiff.ASCII, len(text), 200)]
    head = (header(8, ">") + ifd(entries, 0, ">")).ljust(200, b"\0") + text
    data = head.ljust(441, b"\0") + voxels(1, PLANES, ROWS, WIDTH, ">").tobytes()
    fd = new(path, os.O_WRONLY)
    for at in range(0, len(data), 65536):
        expect(os.write(fd, data[at:at + 65536]) == len(data[at:at + 65536]), "short write")
    os.close(fd)


def tifffile_whole(path):
    """8-byte header, fallocate, all voxels in one write at 256, IFD into the hole, the others behind."""
    data = voxels(2, PLANES, ROWS, WIDTH)
    fd = new(path, os.O_WRONLY)
    put(fd, header(0), 0)
    fallocate(fd, FALLOC_FL_KEEP_SIZE, 256, data.nbytes)
    put(fd, data, 256)
    end = 256 + data.nbytes
    size = ifd_size(9)
    put(fd, ifd(plane_entries(WIDTH, ROWS, 256, PLANE), end), 8)
    for z in range(1, PLANES):
        link = end + z * size if z + 1 < PLANES else 0
        put(fd, ifd(plane_entries(WIDTH, ROWS, 256 + z * PLANE, PLANE), link), end + (z - 1) * size)
    put(fd, struct.pack("<I", 8), 4)
    os.close(fd)


def planes_with_holes(path):
    """BigTIFF plane by plane: voxels first, their IFD into the hole left before them, two patches."""
    data = voxels(3, PLANES, ROWS, WIDTH)
    fd = new(path, os.O_RDWR)
    put(fd, header(0, big=True), 0)
    at, link = 16, 8
    size = ifd_size(9, big=True)
    for z in range(PLANES):
        start = (at + size + 15) & ~15
        put(fd, data[z], start)
        put(fd, ifd(plane_entries(WIDTH, ROWS, start, PLANE), 0, big=True), at)
        put(fd, struct.pack("<Q", at), link)
        link = at + size - 8
        at = start + PLANE
    os.close(fd)


def memmap_sparse(path):
    """A file of holes with an IFD; the voxels come through mmap only, planes in a wild order."""
    data = voxels(4, PLANES, ROWS, WIDTH)
    fd = new(path)
    put(fd, header(8) + ifd(plane_entries(WIDTH, ROWS, 4096, data.nbytes, rows_per_strip=ROWS), 0), 0)
    os.ftruncate(fd, 4096 + data.nbytes)
    with mmap.mmap(fd, 0, mmap.MAP_SHARED) as view:
        for z in sorted(range(PLANES), key=lambda z: z * 7 % PLANES):
            view[4096 + z * PLANE:4096 + (z + 1) * PLANE] = data[z].tobytes()
            if z % 5 == 0:
                view.flush()
        expect(view[4096:4096 + PLANE] == data[0].tobytes(), "the mapping has lost its first plane")
        view.flush()
    expect_read(fd, data[3].tobytes(), 4096 + 3 * PLANE)
    os.close(fd)


def libtiff_strips(path):
    """Strips of 8 KiB, each after a seek to the end; then the IFD, and the previous one's link."""
    data = voxels(5, PLANES, ROWS, WIDTH)
    fd = new(path)
    os.write(fd, header(0))
    rows = 8192 // (2 * WIDTH)
    link = 4
    for z in range(PLANES):
        offsets, counts = [], []
        for y in range(0, ROWS, rows):
            strip = data[z, y:y + rows].tobytes()
            offsets.append(os.lseek(fd, 0, os.SEEK_END))
            counts.append(len(strip))
            os.write(fd, strip)
        arrays = os.lseek(fd, 0, os.SEEK_END)
        n = len(offsets)
        os.write(fd, struct.pack(f"<{n}I", *offsets) + struct.pack(f"<{n}I", *counts))
        entries = [(t, k, c, arrays + 4 * n if t == 279 else v)
                   for t, k, c, v in plane_entries(WIDTH, ROWS, arrays, 0, n, rows)]
        at = os.lseek(fd, 0, os.SEEK_END)
        os.write(fd, ifd(entries, 0))
        os.lseek(fd, link, os.SEEK_SET)
        os.write(fd, struct.pack("<I", at))
        link = at + ifd_size(9) - 4
    os.close(fd)


def itk_patches(path):
    """One write a plane, then 8 small patches of its IFD, and many small reads of what is written."""
    data = voxels(6, PLANES, ROWS, WIDTH)
    fd = new(path)
    put(fd, header(8), 0)
    at, size = 8, ifd_size(9)
    for z in range(PLANES):
        start = at + size
        put(fd, data[z], start)
        block = ifd(plane_entries(WIDTH, ROWS, start, PLANE), start + PLANE if z + 1 < PLANES else 0)
        for i in range(0, len(block), (len(block) + 7) // 8):
            put(fd, block[i:i + (len(block) + 7) // 8], at + i)
        plane = data[z].tobytes()
        for i in range(100):
            where = i * 1601 % (PLANE - 40)
            expect_read(fd, plane[where:where + 40], start + where)
        at = start + PLANE
    os.close(fd)


def metaimage(path):
    """A text header and one write of everything: .mhd and .raw."""
    data = voxels(7, PLANES, ROWS, WIDTH)
    base = path[:-4]
    with open(base + ".mhd", "w", encoding="ascii") as f:
        f.write(f"NDims = 3\nDimSize = {WIDTH} {ROWS} {PLANES}\nElementType = MET_USHORT\n"
                f"ElementDataFile = {os.path.basename(base)}.raw\n")
    fd = new(base + ".raw", os.O_WRONLY)
    put(fd, data, 0)
    os.close(fd)


def compressed_strips(path):
    """Strips that are compressed already, in odd lengths."""
    rng = numpy.random.default_rng(8)
    fd = new(path)
    put(fd, header(8), 0)
    lengths = [3600 + 7 * i for i in range(64)]
    start = 8 + ifd_size(9) + 8 * 64
    offsets = numpy.cumsum([start] + lengths)[:-1]
    arrays = 8 + ifd_size(9)
    entries = [(t, k, c, arrays + 4 * 64 if t == 279 else v)
               for t, k, c, v in plane_entries(WIDTH, ROWS, arrays, 0, 64, 4, compression=5)]
    for offset, length in zip(offsets, lengths):
        put(fd, rng.bytes(length), int(offset))
    put(fd, ifd(entries, 0), 8)
    put(fd, struct.pack("<64I", *offsets) + struct.pack("<64I", *lengths), arrays)
    os.close(fd)


def ifd_first_offsets_patched(path):
    """As GDAL does: the IFD with zeros for offsets, then strips, each entered when it is written."""
    data = voxels(9, 1, ROWS, WIDTH)[0]
    rows, n = 16, ROWS // 16
    arrays = 8 + ifd_size(9)
    entries = [(t, k, c, arrays + 4 * n if t == 279 else v)
               for t, k, c, v in plane_entries(WIDTH, ROWS, arrays, 0, n, rows)]
    fd = new(path)
    put(fd, header(8) + ifd(entries, 0) + bytes(8 * n), 0)
    at = arrays + 8 * n
    for i in range(n):
        put(fd, data[i * rows:(i + 1) * rows], at)
        put(fd, struct.pack("<I", at), arrays + 4 * i)
        put(fd, struct.pack("<I", rows * WIDTH * 2), arrays + 4 * n + 4 * i)
        at += rows * WIDTH * 2
    os.close(fd)


def micromanager(path):
    """ftruncate to nearly 4 GiB, gathered writes of IFD, voxels and metadata, an index in the header, a
    reader on the same file, truncate at close."""
    data = voxels(10, PLANES, ROWS, WIDTH)
    fd = new(path)
    os.ftruncate(fd, (4 << 30) - 4096)
    reader = os.open(path, os.O_RDONLY)
    put(fd, header(1024), 0)
    at, index = 1024, []
    size = ifd_size(9)
    for z in range(PLANES):
        text = b'{"SliceIndex": %d}' % z
        start = at + size
        after = (start + PLANE + len(text) + 1) & ~1
        block = ifd(plane_entries(WIDTH, ROWS, start, PLANE), after if z + 1 < PLANES else 0)
        os.lseek(fd, at, os.SEEK_SET)
        written = os.writev(fd, [block, memoryview(data[z]).cast("B"), text])
        expect(written == size + PLANE + len(text), "short writev")
        expect_read(reader, data[z].tobytes(), start)
        expect_read(reader, bytes(4096), after + (100 << 20))
        index.append(at)
        put(fd, struct.pack(f"<{len(index)}I", *index), 64)
        at = after
    os.ftruncate(fd, at)
    expect(os.fstat(reader).st_size == at, "the reader sees another size")
    os.close(fd)
    os.close(reader)


def ndtiff(path):
    """One byte at the far end of 4 GiB, planes in sequence with links patched, truncate at close."""
    data = voxels(11, PLANES, ROWS, WIDTH)
    fd = new(path)
    put(fd, b"\0", (4 << 30) - 2)
    put(fd, header(28), 0)
    put(fd, struct.pack("<IIIII", 483729, 1, 2355492, 22, 0), 8)
    at, link = 28, None
    size = ifd_size(9)
    for z in range(PLANES):
        put(fd, ifd(plane_entries(WIDTH, ROWS, at + size, PLANE), 0), at)
        put(fd, data[z], at + size)
        if link:
            put(fd, struct.pack("<I", at), link)
        link = at + size - 4
        at += size + PLANE
    os.ftruncate(fd, at)
    os.close(fd)


def bioformats(path):
    """A second handle reads each plane; a provisional IFD, strips behind it, the same IFD again, and a
    comment that is overwritten at last."""
    data = voxels(12, PLANES, ROWS, WIDTH)
    fd = new(path)
    comment = b"provisional".ljust(200, b"\0")
    put(fd, header(8 + len(comment)), 0)
    put(fd, comment, 8)
    at, size = 8 + len(comment), ifd_size(9)
    for z in range(PLANES):
        put(fd, ifd(plane_entries(WIDTH, ROWS, 0, 0), 0), at)
        start = at + size
        for y in range(0, ROWS, 32):
            put(fd, data[z, y:y + 32], start + y * WIDTH * 2)
        put(fd, ifd(plane_entries(WIDTH, ROWS, start, PLANE), start + PLANE if z + 1 < PLANES else 0), at)
        second = os.open(path, os.O_RDONLY)
        expect_read(second, data[z].tobytes(), start)
        expect(os.fstat(second).st_size == start + PLANE, "the second handle sees another size")
        os.close(second)
        at = start + PLANE
    put(fd, b"<OME>in the end</OME>".ljust(200, b"\0"), 8)
    os.close(fd)


def hdf5(path):
    """flock, pieces of 256 KiB, a superblock and trees patched over and over."""
    data = voxels(13, PLANES, ROWS, WIDTH).tobytes()
    fd = new(path[:-4] + ".h5")
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    put(fd, b"\x89HDF\r\n\x1a\n" + bytes(2040), 0)
    for at in range(0, len(data), 1 << 18):
        put(fd, data[at:at + (1 << 18)], 2048 + at)
        put(fd, struct.pack("<Q", 2048 + at), 40)
        put(fd, struct.pack("<QQ", at, at * 3), 800 + at // (1 << 18) * 16)
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def h5py_real(path):
    """The library itself, where it is installed, with and without chunks; its times are switched off."""
    try:
        import h5py
    except ImportError:
        return
    data = voxels(14, PLANES, ROWS, WIDTH)
    with h5py.File(path[:-4] + ".h5", "w", track_order=False) as f:
        f.create_dataset("whole", data=data, track_times=False)
        chunked = f.create_dataset("chunked", shape=data.shape, dtype="u2", chunks=(1, 64, 64),
                                   track_times=False)
        for z in range(PLANES):
            chunked[z] = data[z]
        f.flush()
    with h5py.File(path[:-4] + ".h5", "r") as f:
        expect((f["chunked"][...] == data).all(), "h5py reads other voxels")


def append_each_plane(path):
    """A raw volume: the file is opened, extended by a plane and closed again."""
    data = voxels(15, PLANES, ROWS, WIDTH)
    path = path[:-4] + ".raw"
    os.close(new(path))
    for z in range(PLANES):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        expect(os.write(fd, data[z].tobytes()) == PLANE, "short write")
        os.close(fd)


def samba_copy(path):
    """The size first, then pieces out of order, and the times at last."""
    data = header(8) + ifd(plane_entries(WIDTH, ROWS, 8 + ifd_size(9), PLANES * PLANE), 0) + \
        voxels(16, PLANES, ROWS, WIDTH).tobytes()
    fd = new(path)
    os.ftruncate(fd, len(data))
    os.posix_fallocate(fd, 0, len(data))
    pieces = list(range(0, len(data), 1 << 16))
    for at in sorted(pieces, key=lambda at: (at // (1 << 16)) * 13 % len(pieces)):
        put(fd, data[at:at + (1 << 16)], at)
    expect_read(fd, data[-4096:], len(data) - 4096)
    os.utime(fd, ns=(1600000000123456700, 1600000000123456700))
    os.close(fd)
    expect(os.stat(path).st_mtime_ns == 1600000000123456700, "the time set before close is gone")


def two_handles(path):
    """Two writers, even and odd planes, and a reader that looks at what either has finished."""
    data = voxels(17, PLANES, ROWS, WIDTH)
    os.close(new(path))
    start = 8 + ifd_size(9)
    errors = []

    def write(first):
        try:
            fd = os.open(path, os.O_WRONLY)
            if first == 0:
                put(fd, header(8) + ifd(plane_entries(WIDTH, ROWS, start, PLANES * PLANE), 0), 0)
            reader = os.open(path, os.O_RDONLY)
            for z in range(first, PLANES, 2):
                put(fd, data[z], start + z * PLANE)
                expect_read(reader, data[z].tobytes(), start + z * PLANE)
            os.close(reader)
            os.close(fd)
        except BaseException as e:  # told to the main thread
            errors.append(e)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def renamed_while_writing(path):
    """Renamed twice, linked, the first name taken by another file; the handle stays with its stack."""
    data = voxels(18, PLANES, ROWS, WIDTH)
    fd = new(path)
    start = 8 + ifd_size(9)
    put(fd, header(8) + ifd(plane_entries(WIDTH, ROWS, start, PLANES * PLANE), 0), 0)
    for z in range(PLANES):
        put(fd, data[z], start + z * PLANE)
        if z == 3:
            os.rename(path, path + ".part")
            with open(path, "wb") as other:
                other.write(b"another one")
        if z == 7:
            os.rename(path + ".part", path[:-4] + "-moved.tif")
        if z == 10:
            os.link(path[:-4] + "-moved.tif", path[:-4] + "-linked.tif")
    expect_read(fd, data[0].tobytes(), start)
    os.close(fd)


def unlinked_while_writing(path):
    data = voxels(19, 4, ROWS, WIDTH)
    fd = new(path)
    put(fd, data[:2], 0)
    os.unlink(path)
    put(fd, data[2:], 2 * PLANE)
    expect_read(fd, data.tobytes(), 0)
    expect(os.fstat(fd).st_nlink == 0, "an unlinked file has links")
    os.close(fd)


def rewritten_in_place(path):
    """A finished stack: voxels edited here and there, truncated, extended, truncated to nothing and
    written anew as something else."""
    tifffile_whole(path)
    data = voxels(20, PLANES, ROWS, WIDTH)
    fd = os.open(path, os.O_RDWR)
    put(fd, data[5], 256 + 5 * PLANE)
    put(fd, b"\xff", 256 + 9 * PLANE + 777)
    os.ftruncate(fd, 256 + 12 * PLANE + 5)
    os.ftruncate(fd, 256 + 13 * PLANE)
    expect_read(fd, bytes(1000), 256 + 12 * PLANE + 5)
    os.close(fd)
    tifffile_whole(path[:-4] + "-anew.tif")
    fd = os.open(path[:-4] + "-anew.tif", os.O_WRONLY | os.O_TRUNC)
    put(fd, b"no image any more\n" * 1000, 0)
    os.close(fd)
    with open(path[:-4] + "-was-text.txt", "wb") as f:
        f.write(b"text\n" * 5000)
    os.rename(path[:-4] + "-was-text.txt", path[:-4] + "-was-text.tif")


HABITS = [
    imagej_save, tifffile_whole, planes_with_holes, memmap_sparse, libtiff_strips, itk_patches, metaimage,
    compressed_strips, ifd_first_offsets_patched, micromanager, ndtiff, bioformats, hdf5, h5py_real,
    append_each_plane, samba_copy, two_handles, renamed_while_writing, unlinked_while_writing,
    rewritten_in_place,
]


def main():
    root = sys.argv[1]
    failed = 0
    for habit in HABITS:
        if sys.argv[2:] and habit.__name__ not in sys.argv[2:]:
            continue
        try:
            habit(os.path.join(root, habit.__name__ + ".tif"))
        except (OSError, AssertionError) as e:
            print(f"FAILED: {habit.__name__}: {e!r}")
            failed = 1
    sys.exit(failed)


main()
