"""Shared mappings of files that others read and write at the same time, through handles of all kinds: what
goes past the page cache and what goes through it agree."""
import mmap
import os
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from mounted import MountedCase, main, read  # noqa: E402

PAGE = mmap.PAGESIZE
NEW = os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Mapping(MountedCase):
    def setUp(self):
        super().setUp()
        self.fds, self.readers = [], []

    def tearDown(self):
        for fd in self.fds:
            os.close(fd)

    def open(self, flags):
        fd = os.open(self.p("a"), flags, 0o644)
        self.fds.append(fd)
        if flags & os.O_ACCMODE != os.O_WRONLY:
            self.readers.append(fd)
        return fd

    def agree(self, m, off, data):
        """The mapping and all handles that can read see it."""
        self.assertEqual(m[off:off + len(data)], data)
        for fd in self.readers:
            self.assertEqual(os.pread(fd, len(data), off), data)

    def handles(self):
        return [self.open(flags) for flags in (NEW, os.O_RDONLY, os.O_RDWR, os.O_WRONLY)]

    def test_all_agree(self):
        new, _, old, writer = self.handles()
        os.pwrite(new, b"a" * 3 * PAGE, 0)
        for mapped in new, old:
            with mmap.mmap(mapped, 3 * PAGE) as m:
                os.pwrite(new, b"a" * 3 * PAGE, 0)
                self.agree(m, 0, b"a" * 3 * PAGE)
                m[10:20] = b"b" * 10
                self.agree(m, 0, b"a" * 10 + b"b" * 10 + b"a" * 10)
                for fd in new, old, writer:
                    m[PAGE:PAGE + 9] = b"dirty now"
                    os.pwrite(fd, b"%d" % fd * 3, PAGE + 5)  # into the dirty page
                    self.agree(m, PAGE, b"dirty" + b"%d" % fd * 3)
                os.ftruncate(new, 2 * PAGE + 100)
                os.ftruncate(old, 3 * PAGE)
                self.agree(m, 2 * PAGE, b"a" * 100 + bytes(PAGE - 100))
                m[2 * PAGE + 50:2 * PAGE + 200] = b"c" * 150
        want = b"a" * 50 + b"c" * 150 + bytes(PAGE - 200)
        self.assertEqual(read(self.p("a"))[2 * PAGE:], want)

    def test_two_mappings(self):
        new, _, old, _ = self.handles()
        os.ftruncate(new, 2 * PAGE)
        with mmap.mmap(new, 2 * PAGE) as m, mmap.mmap(old, 2 * PAGE) as n:
            m[1:4] = b"one"
            self.assertEqual(n[1:4], b"one")
            n[PAGE:PAGE + 3] = b"two"
            self.agree(m, PAGE, b"two")
        self.assertEqual(read(self.p("a")), b"\0one" + bytes(PAGE - 4) + b"two" + bytes(PAGE - 3))

    def test_a_mapping_grows_while_others_append(self):
        """Pages that are written through the mapping and such that are appended, at the same time."""
        new, _, _, writer = self.handles()
        n = 200
        os.ftruncate(new, n * PAGE)

        def append():
            for i in range(n, 2 * n):
                os.pwrite(writer, i.to_bytes(8, "little") * (PAGE // 8), i * PAGE)
        with mmap.mmap(new, n * PAGE) as m:
            thread = threading.Thread(target=append)
            thread.start()
            for i in range(n):
                m[i * PAGE:(i + 1) * PAGE] = i.to_bytes(8, "little") * (PAGE // 8)
            thread.join()
        data = read(self.p("a"))
        for i in range(2 * n):
            self.assertEqual(data[i * PAGE:(i + 1) * PAGE], i.to_bytes(8, "little") * (PAGE // 8), i)

    def test_private_mapping(self):
        new = self.open(NEW)
        os.pwrite(new, b"a" * PAGE, 0)
        with mmap.mmap(new, PAGE, mmap.MAP_PRIVATE) as m:
            m[:4] = b"mine"
            self.assertEqual(m[:5], b"minea")
        self.assertEqual(os.pread(new, PAGE, 0), b"a" * PAGE)

    def test_two_handles_extend_a_file(self):
        a, b = self.open(NEW), self.open(os.O_WRONLY)
        n = 300

        def work(fd, first):
            for i in range(first, n, 2):
                os.pwrite(fd, i.to_bytes(4, "little") * 1024, i * 4096)
        threads = [threading.Thread(target=work, args=job) for job in ((a, 0), (b, 1))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(os.fstat(a).st_size, n * 4096)
        self.assertEqual(read(self.p("a")), b"".join(i.to_bytes(4, "little") * 1024 for i in range(n)))


if __name__ == "__main__":
    main()
