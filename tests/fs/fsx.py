"""Random operations on one file through several handles and a mapping, against a model in memory.

    fsx.py [SEED [OPERATIONS [RUNS]]]
"""
import ctypes
import mmap
import os
import random
import sys

sys.path.insert(0, os.path.dirname(__file__))
from mounted import Mounted, require_fuse  # noqa: E402

LIBC = ctypes.CDLL(None, use_errno=True)
MAX_SIZE = 3 << 20
KEEP_SIZE, PUNCH, ZERO = 1, 2, 16


class Run:
    def __init__(self, m, seed, kind):
        self.m = m
        self.random = random.Random(seed)
        self.path = m.path("file-%d.%s" % (seed, kind))
        self.model = bytearray()
        self.log = []
        self.fds = []
        self.reopen()
        if kind == "tif":  # a little stack, so that chunks of voxels are edited
            self.start_stack()

    def start_stack(self):
        width, height, planes = 256, 128, 12
        header = b"II*\0" + (8).to_bytes(4, "little")
        plane = width * height * 2
        ifd_bytes = 2 + 9 * 12 + 4
        data = bytearray(header)
        for z in range(planes):
            at = 8 + z * (ifd_bytes + plane)
            entries = [(256, 3, width), (257, 3, height), (258, 3, 16), (259, 3, 1), (262, 3, 1),
                       (273, 4, at + ifd_bytes), (277, 3, 1), (278, 3, height), (279, 4, plane)]
            data += len(entries).to_bytes(2, "little")
            for tag, kind, value in entries:
                data += (tag.to_bytes(2, "little") + kind.to_bytes(2, "little") +
                         (1).to_bytes(4, "little") + value.to_bytes(4, "little"))
            following = at + ifd_bytes + plane if z + 1 < planes else 0
            data += following.to_bytes(4, "little")
            data += b"".join((100 + (x * 7 + z) % 50).to_bytes(2, "little") * 4
                             for x in range(plane // 8))
        os.pwrite(self.fds[0], data, 0)
        self.model[:] = data

    def reopen(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = [os.open(self.path, os.O_CREAT | flags) for flags in (os.O_RDWR, os.O_WRONLY)]
        self.fds.append(os.open(self.path, os.O_RDONLY))

    def place(self, limit=MAX_SIZE):
        off = self.random.randrange(limit)
        return off, self.random.choice((1, 2, 511, 4096, 65536, 300_000)) + self.random.randrange(64)

    def grow(self, size):
        if len(self.model) < size:
            self.model.extend(bytes(size - len(self.model)))

    def op_write(self):
        off, n = self.place()
        data = self.random.randbytes(n)
        self.log.append(("write", off, n))
        os.pwrite(self.random.choice(self.fds[:2]), data, off)
        self.grow(off + n)
        self.model[off:off + n] = data

    def op_read(self):
        off, n = self.place()
        self.log.append(("read", off, n))
        self.compare(os.pread(self.random.choice((self.fds[0], self.fds[2])), n, off), off, n)

    def op_truncate(self):
        size = self.random.choice((0, self.random.randrange(MAX_SIZE), len(self.model) // 2))
        self.log.append(("truncate", size))
        os.ftruncate(self.fds[1], size)
        del self.model[size:]
        self.grow(size)

    def op_map(self):
        if not self.model:
            return
        off, n = self.place(len(self.model))
        n = min(n, len(self.model) - off)
        self.log.append(("map", off, n))
        with mmap.mmap(self.fds[0], len(self.model)) as m:
            self.compare(m[off:off + n], off, n)
            data = self.random.randbytes(n)
            m[off:off + n] = data
            if self.random.random() < 0.5:
                m.flush()
        self.model[off:off + n] = data

    def op_allocate(self):
        off, n = self.place()
        mode = self.random.choice((0, KEEP_SIZE, PUNCH | KEEP_SIZE, ZERO, ZERO | KEEP_SIZE))
        self.log.append(("fallocate", mode, off, n))
        if LIBC.fallocate(self.fds[0], mode, ctypes.c_long(off), ctypes.c_long(n)) < 0:
            self.log[-1] += ("refused",)
            return
        if not mode & KEEP_SIZE:
            self.grow(off + n)
        if mode & (PUNCH | ZERO):
            end = min(off + n, len(self.model))
            self.model[off:end] = bytes(max(0, end - off))

    def op_sync(self):
        self.log.append(("fsync",))
        os.fsync(self.fds[1])

    def op_reopen(self):
        self.log.append(("reopen",))
        self.reopen()

    def op_append(self):
        data = self.random.randbytes(self.random.randrange(1, 100_000))
        if len(self.model) + len(data) > MAX_SIZE:
            return
        self.log.append(("append", len(data)))
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, data)
        os.close(fd)
        self.model += data

    def compare(self, got, off, n):
        expected = bytes(self.model[off:off + n])
        if got == expected:
            return
        at = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b),
                  min(len(got), len(expected)))
        raise AssertionError("%s: byte %d differs, got %d bytes for %d; last operations:\n%s" % (
            self.path, off + at, len(got), len(expected), "\n".join(map(str, self.log[-12:]))))

    def check(self):
        if os.stat(self.path).st_size != len(self.model):
            raise AssertionError("%s: size %d for %d; last operations:\n%s" % (
                self.path, os.stat(self.path).st_size, len(self.model),
                "\n".join(map(str, self.log[-12:]))))
        with open(self.path, "rb") as f:
            self.compare(f.read(), 0, len(self.model) + 1)

    def go(self, n):
        ops = ([self.op_write] * 6 + [self.op_read] * 6 + [self.op_truncate] + [self.op_map] * 2 +
               [self.op_allocate] + [self.op_sync] + [self.op_reopen] + [self.op_append])
        for _ in range(n):
            self.random.choice(ops)()
        self.check()


def main():
    require_fuse()
    seed, n, runs = [int(a) for a in sys.argv[1:4]] + [1, 400, 3][len(sys.argv) - 1:]
    with Mounted("spool=16M", "chunk=64K") as m:
        files = [Run(m, seed + i, kind) for i in range(runs) for kind in ("tif", "bin")]
        for _ in range(4):
            for f in files:
                f.go(n // 4)
        for f in files:
            for fd in f.fds:
                os.close(fd)
            f.fds = []
        os.setxattr(m.mnt, "user.sqyfs.command", b"drain")
        for f in files:
            f.check()
        m.restart()
        for f in files:
            f.check()


if __name__ == "__main__":
    main()
