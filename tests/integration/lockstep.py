"""lockstep.py [--seed N] [--steps N] [--single] [--without STEP] [--drain COMMAND] [--compact COMMAND]
            MOUNT PLAIN

Does the same random things to files in two folders and compares, after every step, what they did: results,
sizes, the bytes around; and all bytes now and then. It starts from what is there, so it can be run again
after a new mount. With --single: one small file, all of it compared after every step, more mappings.
"""
import argparse
import ctypes
import errno
import mmap
import os
import random
import subprocess
import sys

import minitiff

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
NAMES = ["a.tif", "b.tif", "c.raw", "d.txt", "e.sqy", "f.ome.tif", "sub/g.tif", "sub/h.tif"]
PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def attempt(function, *args):
    """The result, or the error's name: both folders must give the same."""
    try:
        return function(*args)
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)


def read_fully(fd, length, offset):
    out = b""
    while len(out) < length:
        piece = os.pread(fd, length - len(out), offset + len(out))
        if not piece:
            break
        out += piece
    return out


def first_difference(a, b):
    n = min(len(a), len(b))
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if a[low:middle + 1] == b[low:middle + 1]:
            low = middle + 1
        else:
            high = middle
    return low


class Pair:
    """An open file in both folders."""

    def __init__(self, name, fds, flags):
        self.name, self.fds, self.flags = name, fds, flags
        self.maps = None

    def writable(self):
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    def readable(self):
        return self.flags & os.O_ACCMODE != os.O_WRONLY

    def close(self):
        for m in self.maps or ():
            m.close()
        for fd in self.fds:
            os.close(fd)


class Lockstep:
    def __init__(self, options):
        self.options = options
        self.roots = (options.mount, options.plain)
        self.rng = random.Random(options.seed)
        self.names = NAMES[:1] if options.single else NAMES
        self.max_size = 300_000 if options.single else 3_000_000
        self.open = []
        self.said = "start"
        self.models = [self.tiff(order, seed) for order in "<>" for seed in range(2)]
        for root in self.roots:
            os.makedirs(os.path.join(root, "sub"), exist_ok=True)

    @staticmethod
    def tiff(order, seed):
        """A TIFF of which random pieces get written where they belong."""
        planes = minitiff.voxels(seed, 24, 200, 300, order)
        size = minitiff.ifd_size(9)
        out = minitiff.header(8, order)
        for z, plane in enumerate(planes):
            at = len(out)
            link = at + size + plane.nbytes if z + 1 < len(planes) else 0
            out += minitiff.ifd(minitiff.plane_entries(300, 200, at + size, plane.nbytes), link, order)
            out += plane.tobytes()
        return out

    # -- comparing --

    def die(self, what):
        sys.exit(f"FAILED: seed {self.options.seed}, step {self.step}: {what}; the step was: {self.said}")

    def same(self, results, what):
        if results[0] != results[1]:
            if isinstance(results[0], bytes) and isinstance(results[1], bytes):
                a, b = results
                at = first_difference(a, b)
                results = (f"{len(a)} bytes, at {at}: {a[at:at + 16].hex()}",
                           f"{len(b)} bytes, at {at}: {b[at:at + 16].hex()}")
            self.die(f"{what}: mount {results[0]!r}, plain {results[1]!r}")
        return results[1]

    def both(self, what, function, *args):
        return self.same([attempt(function, root, *args) for root in self.roots], what)

    def path(self, root, name):
        return os.path.join(root, name)

    def compare_window(self, pair, offset, length):
        start = max(0, offset - 5000)
        length += offset - start + 5000
        if pair.readable():
            self.same([read_fully(fd, length, start) for fd in pair.fds], f"{pair.name} at {start}")
        self.same([os.fstat(fd).st_size for fd in pair.fds], f"size of {pair.name}")
        self.compare_map(pair)

    def compare_map(self, pair):
        for other in self.open:
            if not other.maps or not self.same_file(other, pair):
                continue
            end = min(len(other.maps[0]), (os.fstat(other.fds[1]).st_size + PAGE - 1) // PAGE * PAGE)
            self.same([m[:end] for m in other.maps], f"mapping of {other.name}")

    @staticmethod
    def same_file(a, b):
        return os.path.sameopenfile(a.fds[1], b.fds[1])

    def compare_names(self):
        for sub in ("", "sub"):
            self.both("names in " + (sub or "the root"),
                      lambda root, sub=sub: sorted(os.listdir(self.path(root, sub))))

    def compare_all(self):
        self.compare_names()
        for name in self.names:
            self.both(f"all of {name}", self.whole, name)
            self.both(f"stat of {name}", self.facts, name)

    def whole(self, root, name):
        with open(self.path(root, name), "rb") as f:
            return f.read()

    def facts(self, root, name):
        st = os.stat(self.path(root, name))
        return st.st_size, st.st_nlink, st.st_mode

    # -- steps --

    def data(self, offset, length):
        kind = self.rng.random()
        if kind < 0.6:
            model = self.rng.choice(self.models)
            piece = model[offset:offset + length]
            return piece + bytes(length - len(piece))
        if kind < 0.7:
            return bytes(length)
        if kind < 0.8:
            return bytes([self.rng.randrange(256)]) * length
        return self.rng.randbytes(length)

    def extent(self):
        length = self.rng.choice((1, 2, 7, 100, 512, 4095, 4096, 8192, 65536, 120000, 131072, 1 << 20))
        length = min(length, self.max_size // 2)
        offset = self.rng.randrange(self.max_size - length)
        if self.rng.random() < 0.3:
            offset &= ~4095
        if self.rng.random() < 0.15:
            offset = 0
        return offset, length

    def pick(self, test):
        pairs = [p for p in self.open if test(p)]
        return self.rng.choice(pairs) if pairs else None

    def do_open(self):
        if len(self.open) >= 10:
            return self.do_close()
        name = self.rng.choice(self.names)
        flags = self.rng.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR))
        if self.rng.random() < 0.7:
            flags |= os.O_CREAT
        if flags & os.O_ACCMODE and self.rng.random() < 0.1:
            flags |= os.O_TRUNC
        if flags & os.O_ACCMODE and self.rng.random() < 0.1:
            flags |= os.O_APPEND
        if self.rng.random() < 0.05:
            flags |= os.O_EXCL
        self.said = f"open {name} {flags:o}"
        fds = [attempt(os.open, self.path(root, name), flags, 0o644) for root in self.roots]
        if any(isinstance(fd, str) for fd in fds):
            self.same([fd if isinstance(fd, str) else "open" for fd in fds], "open")
        else:
            self.open.append(Pair(name, fds, flags))

    def do_close(self):
        pair = self.pick(lambda p: True)
        if pair:
            self.said = f"close {pair.name}"
            self.open.remove(pair)
            pair.close()

    def do_write(self):
        pair = self.pick(Pair.writable)
        if not pair:
            return self.do_open()
        offset, length = self.extent()
        data = self.data(offset, length)
        if pair.flags & os.O_APPEND:
            if os.fstat(pair.fds[1]).st_size + length > 2 * self.max_size:
                return
            self.said = f"append {length} to {pair.name}"
            self.same([attempt(os.write, fd, data) for fd in pair.fds], "write")
            offset = os.fstat(pair.fds[1]).st_size - length
        else:
            self.said = f"write {pair.name} {offset}+{length}"
            self.same([attempt(os.pwrite, fd, data, offset) for fd in pair.fds], "write")
        self.compare_window(pair, offset, length)

    def do_read(self):
        pair = self.pick(Pair.readable)
        if pair:
            offset, length = self.extent()
            self.said = f"read {pair.name} {offset}+{length}"
            self.compare_window(pair, offset, length)

    def do_truncate(self):
        size = self.rng.choice((0, self.rng.randrange(self.max_size), self.rng.randrange(self.max_size)))
        pair = self.pick(Pair.writable)
        if pair and self.rng.random() < 0.6:
            self.said = f"ftruncate {pair.name} {size}"
            self.same([attempt(os.ftruncate, fd, size) for fd in pair.fds], "ftruncate")
            self.compare_window(pair, max(0, size - 10000), 20000)
        else:
            name = self.rng.choice(self.names)
            self.said = f"truncate {name} {size}"
            self.both("truncate", lambda root: os.truncate(self.path(root, name), size))

    def do_fallocate(self):
        pair = self.pick(Pair.writable)
        if not pair:
            return
        mode = self.rng.choice((0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE))
        offset, length = self.extent()
        self.said = f"fallocate {pair.name} mode {mode} {offset}+{length}"
        got = attempt(fallocate, pair.fds[0], mode, offset, length)
        if got == "EOPNOTSUPP":
            return
        self.same([got, attempt(fallocate, pair.fds[1], mode, offset, length)], "fallocate")
        self.compare_window(pair, offset, length)

    def do_map(self):
        pair = self.pick(lambda p: p.flags & os.O_ACCMODE == os.O_RDWR and not p.maps)
        if not pair:
            return
        size = os.fstat(pair.fds[1]).st_size
        if size:
            self.said = f"mmap {pair.name} {size}"
            pair.maps = [mmap.mmap(fd, size, mmap.MAP_SHARED) for fd in pair.fds]
            self.compare_map(pair)

    def do_map_write(self):
        pair = self.pick(lambda p: p.maps)
        if not pair:
            return self.do_map()
        end = min(len(pair.maps[0]), os.fstat(pair.fds[1]).st_size)
        offset, length = self.extent()
        length = min(length, end - offset)
        if length <= 0:
            return
        data = self.data(offset, length)
        self.said = f"store {pair.name} {offset}+{length} through a mapping"
        for m in pair.maps:
            m[offset:offset + length] = data
        if self.rng.random() < 0.3:
            self.said += ", msync"
            for m in pair.maps:
                m.flush()
        self.compare_window(pair, offset, length)

    def do_unmap(self):
        pair = self.pick(lambda p: p.maps)
        if pair:
            self.said = f"munmap {pair.name}"
            for m in pair.maps:
                m.close()
            pair.maps = None

    def do_fsync(self):
        pair = self.pick(Pair.writable)
        if pair:
            self.said = f"fsync {pair.name}"
            call = self.rng.choice((os.fsync, os.fdatasync))
            self.same([attempt(call, fd) for fd in pair.fds], "fsync")

    def two_names(self, what, function):
        a, b = self.rng.choice(self.names), self.rng.choice(self.names)
        self.said = f"{what} {a} {b}"
        got = attempt(function, self.path(self.roots[0], a), self.path(self.roots[0], b))
        if got == "EXDEV" and ".sqy" in a + b:
            return  # files with several names, plain ones, do not get a name that is a blob's in the store
        self.same([got, attempt(function, self.path(self.roots[1], a), self.path(self.roots[1], b))], what)
        self.compare_names()

    def do_rename(self):
        self.two_names("rename", os.rename)

    def do_link(self):
        self.two_names("link", os.link)

    def do_unlink(self):
        name = self.rng.choice(self.names)
        self.said = f"unlink {name}"
        self.both("unlink", lambda root: os.unlink(self.path(root, name)))
        self.compare_names()

    def do_times(self):
        name = self.rng.choice(self.names)
        ns = self.rng.randrange(1 << 60)
        self.said = f"utimens {name} {ns}"
        # dirty pages of a mapping would move the time when they are written
        if not any(p.writable() for p in self.open):
            self.both("utimens", lambda root: os.utime(self.path(root, name), ns=(ns, ns)))
            self.both("mtime", lambda root: os.stat(self.path(root, name)).st_mtime_ns)

    def do_stat(self):
        name = self.rng.choice(self.names)
        self.said = f"stat {name}"
        self.both("stat", self.facts, name)

    def do_holes(self):
        """Where the mount says hole there is nothing but zeros."""
        pair = self.pick(Pair.readable)
        if not pair:
            return
        fd, size = pair.fds[0], os.fstat(pair.fds[0]).st_size
        self.said = f"SEEK_HOLE {pair.name}"
        at = 0
        while at < size:
            try:
                data = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as e:
                if e.errno != errno.ENXIO:
                    self.die(f"SEEK_DATA: {e}")
                data = size
            if read_fully(pair.fds[1], data - at, at).strip(b"\0"):
                self.die(f"a hole at {at}..{data} has data in it")
            if data >= size:
                break
            at = os.lseek(fd, data, os.SEEK_HOLE)
            if at <= data:
                self.die(f"SEEK_HOLE of {data} gives {at}")

    def mtimes(self):
        quiet = not any(p.writable() for p in self.open)
        return [attempt(lambda name=name: os.stat(self.path(self.roots[0], name)).st_mtime_ns)
                for name in self.names] if quiet else None

    def do_drain(self):
        if self.options.drain:
            self.said = "drain"
            before = self.mtimes()
            self.command(self.options.drain, self.roots[0])
            self.same([self.mtimes(), before], "times after drain")
            if self.options.single:
                return
            self.compare_all()

    def do_compact(self):
        if self.options.compact:
            name = self.rng.choice(self.names)
            self.said = f"compact {name}"
            before = self.mtimes()
            self.command(self.options.compact, self.path(self.roots[0], name), may_fail=True)
            self.same([self.mtimes(), before], "times after compact")
            self.both(f"all of {name}", self.whole, name)

    def command(self, text, argument, may_fail=False):
        done = subprocess.run(text.split() + [argument], capture_output=True, text=True, check=False)
        if done.returncode < 0 or done.returncode and not may_fail:
            self.die(f"{text}: status {done.returncode}: {done.stderr}")

    STEPS = {
        do_open: 8, do_close: 7, do_write: 30, do_read: 12, do_truncate: 4, do_fallocate: 5, do_map: 2,
        do_map_write: 8, do_unmap: 2, do_fsync: 2, do_rename: 3, do_link: 1, do_unlink: 2, do_times: 3,
        do_stat: 4, do_holes: 3, do_drain: 1, do_compact: 1,
    }
    SINGLE = {
        do_open: 3, do_close: 2, do_write: 30, do_read: 20, do_truncate: 10, do_fallocate: 8, do_map: 3,
        do_map_write: 25, do_unmap: 2, do_fsync: 2, do_holes: 3, do_drain: 1, do_compact: 1,
    }

    def run(self):
        self.step = 0
        self.compare_all()
        steps = {step: weight for step, weight in (self.SINGLE if self.options.single else self.STEPS).items()
                 if step.__name__[3:] not in self.options.without}
        for self.step in range(1, self.options.steps + 1):
            self.rng.choices(list(steps), list(steps.values()))[0](self)
            if self.options.trace:
                print(self.step, self.said, flush=True)
            if self.options.single or self.step % 40 == 0:
                self.compare_all()
        self.said = "close everything"
        for pair in self.open:
            pair.close()
        self.open = []
        self.compare_all()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--single", action="store_true")
    parser.add_argument("--trace", action="store_true", help="print every step")
    parser.add_argument("--without", action="append", default=[], help="leave steps out, to corner a fault")
    parser.add_argument("--drain")
    parser.add_argument("--compact")
    parser.add_argument("mount")
    parser.add_argument("plain")
    options = parser.parse_args()
    print(f"* seed {options.seed}", flush=True)
    Lockstep(options).run()


main()
