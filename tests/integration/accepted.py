"""accepted.py write DIR LOG | check DIR LOG: programs with many habits write until the mount dies, and each
knows what was accepted from it; afterwards all of that must be there."""
import mmap
import os
import pickle
import random
import struct
import sys
import threading

PLANE = 320 * 240 * 2


class Died(Exception):
    """The mount is gone."""


class File:
    """A file in the mount and the same in memory. `doing`: the range that is just being changed, and the size
    that the file may have gotten by it."""

    def __init__(self, folder, name, flags=os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        self.folder, self.name, self.data, self.doing = folder, name, bytearray(), None
        self.gone = False
        self.fd = self.try_to(os.open, os.path.join(folder, name), flags, 0o644)

    @staticmethod
    def try_to(call, *args):
        try:
            return call(*args)
        except OSError as error:
            raise Died from error

    def begin(self, off, end, size):
        self.doing = (off, end, size)

    def resize(self, size):
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))

    def write(self, data, off):
        end = off + len(data)
        self.begin(off, end, max(len(self.data), end))
        n = self.try_to(os.pwrite, self.fd, data, off)
        assert n == len(data)
        self.put(data, off)

    def put(self, data, off):
        end = off + len(data)
        if end > len(self.data):
            self.resize(end)
        self.data[off:end] = data
        self.doing = None

    def append(self, data):
        self.write(data, len(self.data))

    def truncate(self, size):
        self.begin(size, max(size, len(self.data)), size)
        self.try_to(os.ftruncate, self.fd, size)
        self.resize(size)
        self.doing = None

    def rename(self, name):
        self.try_to(os.rename, os.path.join(self.folder, self.name), os.path.join(self.folder, name))
        self.name = name

    def close(self):
        fd, self.fd = self.fd, None
        self.try_to(os.close, fd)


VOXELS = b"".join(bytes((v & 63, 1)) for v in random.Random(0).randbytes(1 << 20)) * 6


def voxels(rng, n=PLANE):
    at = rng.randrange((len(VOXELS) - n) // 2) * 2
    return VOXELS[at:at + n]


def ifd(offset, next_ifd):
    """A directory of a plane of 320 x 240 voxels of 16 bits."""
    entries = [(256, 4, 320), (257, 4, 240), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, offset), (277, 3, 1),
               (278, 4, 240), (279, 4, PLANE)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", next_ifd)


IFD_BYTES = len(ifd(0, 0))


def planes_then_directories(rng, add, folder):
    for n in range(1000):
        f = add(File(folder, f"pages_{n}.tif"))
        f.append(b"II*\0" + struct.pack("<I", 8))
        for plane in range(30):
            at = len(f.data)
            last = plane == 29
            f.append(ifd(at + IFD_BYTES, 0 if last else at + IFD_BYTES + PLANE))
            f.append(voxels(rng))
        f.close()


def imagej(rng, add, folder):
    for n in range(1000):
        f = add(File(folder, f"imagej_{n}.tif", os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        f.append(b"II*\0" + struct.pack("<I", 8) + ifd(441, 0))
        f.append(bytes(441 - len(f.data)))
        data = voxels(rng, PLANE * 20)
        for off in range(0, len(data), 65536):
            f.append(data[off:off + 65536])
        f.close()


def raw_volume(rng, add, folder):
    for n in range(1000):
        f = add(File(folder, f"volume_{n}.raw", os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        for _ in range(8):
            f.append(voxels(rng, 1 << 20))
        f.close()


def rewriting(rng, add, folder):
    f = add(File(folder, "rewritten.raw"))
    for _ in range(1000000):
        what = rng.random()
        if what < 0.8:
            f.write(voxels(rng, rng.choice((100, 5000, 200000)) // 2 * 2), rng.randrange(4 << 20))
        elif what < 0.9:
            f.truncate(rng.randrange(4 << 20))
        elif what < 0.95:
            f.try_to(os.fsync, f.fd)
        else:
            f.close()
            f.fd = f.try_to(os.open, os.path.join(folder, f.name), os.O_RDWR)


def mapped(rng, add, folder):
    f = add(File(folder, "mapped.tif"))
    f.append(b"II*\0" + struct.pack("<I", 8) + ifd(4096, 0))
    f.truncate(1 << 20)
    view = File.try_to(mmap.mmap, f.fd, 0)
    for _ in range(1000000):
        off = rng.randrange(256) * 4096
        data = voxels(rng, 4096)
        f.begin(off, off + 4096, 1 << 20)
        view[off:off + 4096] = data
        File.try_to(view.flush, off, 4096)
        f.put(data, off)


def saving(rng, add, folder):
    """A new file takes the name of the one before."""
    current = None
    for n in range(1000000):
        f = add(File(folder, f"temporary_{n % 2}"))
        f.append(b"II*\0" + struct.pack("<I", 8) + ifd(200, 0) + bytes(12))
        f.append(voxels(rng, rng.choice((1000, 300000)) * 2))
        f.close()
        if current:
            current.gone = True
        f.rename("saved.tif")
        current = f


def many(rng, add, folder):
    for n in range(100000):
        f = add(File(folder, f"small_{n}.tif", os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        f.append(b"II*\0" + struct.pack("<I", 8) + ifd(8 + IFD_BYTES, 0) + voxels(rng))
        f.close()


def texts(rng, add, folder):
    f = add(File(folder, "notes.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    for n in range(1000000):
        f.append(b"line %d\n" % n)


HABITS = (planes_then_directories, imagej, raw_volume, rewriting, mapped, saving, many, texts)


def write(folder, log):
    files, lock = [], threading.Lock()

    def run(habit, seed):
        def add(f):
            with lock:
                files.append(f)
            return f
        try:
            habit(random.Random(seed), add, folder)
        except Died:
            pass

    threads = [threading.Thread(target=run, args=(habit, n)) for n, habit in enumerate(HABITS)]
    for thread in threads:
        thread.start()
    print("writing", flush=True)
    for thread in threads:
        thread.join()
    with open(log, "wb") as out:
        pickle.dump([(f.name, bytes(f.data), f.doing) for f in files if not f.gone], out)


def differs(data, got, doing):
    """Where they do, apart from what was under way; None."""
    off, end, size = doing or (0, 0, len(data))
    if len(got) != len(data) and not min(len(data), size) <= len(got) <= max(len(data), size):
        return f"{len(got)} bytes, not {len(data)}"
    data = data.ljust(len(got), b"\0")[:len(got)]
    for lo, hi in ((0, min(off, len(got))), (end, len(got))):
        if data[lo:hi] != got[lo:hi]:
            return next(f"byte {i}" for i in range(lo, hi) if data[i] != got[i])
    return None


def check(folder, log):
    with open(log, "rb") as source:
        files = pickle.load(source)
    wrong = total = 0
    names = [name for name, _, _ in files]
    for n, (name, data, doing) in enumerate(files):
        if name in names[n + 1:]:  # replaced in the very moment
            continue
        total += len(data)
        try:
            with open(os.path.join(folder, name), "rb") as source:
                what = differs(data, source.read(), doing)
        except FileNotFoundError:
            what = "is not there"
            if name.startswith("temporary"):  # renamed in the very moment
                continue
        if what and not (name == "saved.tif" and "temporary_0" in names + ["temporary_1"]):
            print(f"{name}: {what}, {doing}", file=sys.stderr)
            wrong += 1
    print(f"{len(files)} files, {total >> 20} MiB that were accepted")
    return wrong


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(*sys.argv[2:])
    else:
        sys.exit(check(*sys.argv[2:]) != 0)
