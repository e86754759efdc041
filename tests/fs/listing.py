"""readdir: complete, stable while the directory changes, positions that can be returned to."""
import ctypes
import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
from mounted import MountedCase, main, write  # noqa: E402

LIBC = ctypes.CDLL(None, use_errno=True)


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("len", ctypes.c_uint16),
                ("type", ctypes.c_uint8), ("name", ctypes.c_char * 256)]


LIBC.opendir.restype = ctypes.c_void_p
LIBC.readdir.restype = ctypes.POINTER(Dirent)
LIBC.telldir.restype = ctypes.c_long
for f in (LIBC.readdir, LIBC.telldir, LIBC.closedir, LIBC.rewinddir):
    f.argtypes = [ctypes.c_void_p]
LIBC.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


class Dir:
    def __init__(self, path):
        self.dir = LIBC.opendir(os.fsencode(path))

    def next(self):
        d = LIBC.readdir(self.dir)
        return d.contents.name.decode() if d else None

    def rest(self):
        return list(iter(self.next, None))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        LIBC.closedir(self.dir)


class Listing(MountedCase):
    def fill(self, n):
        names = ["file%05d.sqy" % i if i % 3 else "f%d" % i for i in range(n)]
        for name in names:
            write(self.p(name))
        return names

    def test_stream_that_begins_in_the_middle(self):
        self.fill(500)
        with Dir(self.d) as a, Dir(self.d) as b:
            for _ in range(100):
                a.next()
            LIBC.seekdir(b.dir, LIBC.telldir(a.dir))
            self.assertEqual(b.rest(), a.rest())

    def test_complete_and_once(self):
        names = self.fill(3000)
        with Dir(self.d) as d:
            listed = d.rest()
        self.assertEqual(sorted(listed), sorted(names + [".", ".."]))
        os.sync()
        with os.scandir(self.d) as entries:
            for e in entries:
                self.assertTrue(e.is_file(follow_symlinks=False))
                self.assertEqual(e.inode(), os.stat(e.path).st_ino)

    def test_order_is_the_stores(self):
        self.fill(200)
        with Dir(self.d) as here, Dir(self.s()) as there:
            self.assertEqual(here.rest(), [n[:-4] if n.endswith(".sqy") else n for n in there.rest()])

    def test_positions(self):
        self.fill(1500)
        with Dir(self.d) as d:
            order, at = [], []
            while True:
                at.append(LIBC.telldir(d.dir))
                name = d.next()
                if name is None:
                    break
                order.append(name)
            for i in (0, 1, 700, 1501, 3, 1499):
                LIBC.seekdir(d.dir, at[i])
                self.assertEqual(d.rest(), order[i:])
            LIBC.rewinddir(d.dir)
            self.assertEqual(d.rest(), order)

    def test_removal_while_reading(self):
        names = self.fill(1000)
        seen = []
        with Dir(self.d) as d:
            while True:
                name = d.next()
                if name is None:
                    break
                if name not in (".", ".."):
                    seen.append(name)
                    os.unlink(self.p(name))
        self.assertEqual(sorted(seen), sorted(names))
        self.assertEqual(os.listdir(self.d), [])

    def test_rewind_sees_what_is_new(self):
        with Dir(self.d) as d:
            d.rest()
            write(self.p("new"))
            LIBC.rewinddir(d.dir)
            self.assertEqual(sorted(d.rest()), [".", "..", "new"])

    def test_two_readers_of_one_directory(self):
        names = sorted(self.fill(700) + [".", ".."])
        with Dir(self.d) as a, Dir(self.d) as b:
            x, y = [], []
            for _ in range(len(names)):
                x.append(a.next())
                y.append(b.next())
            self.assertEqual((sorted(x), sorted(y)), (names, names))

    def test_types(self):
        os.mkdir(self.p("d.sqy"))
        os.symlink("x", self.p("l"))
        os.mkfifo(self.p("p"))
        write(self.p("f.sqy"))
        with os.scandir(self.d) as entries:
            kinds = {e.name: (e.is_dir(follow_symlinks=False), e.is_symlink()) for e in entries}
        self.assertEqual(kinds, {"d.sqy": (True, False), "l": (False, True), "p": (False, False),
                                 "f.sqy": (False, False)})

    def test_files_behind_the_mounts_back(self):
        write(self.s("new.txt"), b"x")
        self.assertEqual(os.listdir(self.d), ["new.txt"])
        os.unlink(self.s("new.txt"))
        self.assertEqual(os.listdir(self.d), [])


if __name__ == "__main__":
    main()
