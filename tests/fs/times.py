"""Which times move, and when: by what somebody does to a file, never by its being stored."""
import ctypes
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from mounted import MountedCase, eventually, main, read, write, ROOT  # noqa: E402

LIBC = ctypes.CDLL(None, use_errno=True)
TICK_S = 0.02  # the clock of a filesystem has moved on after this long
TIFF = b"II*\0" + bytes(range(256)) * 400


def ctime(path):
    return os.lstat(path).st_ctime_ns


def punch(path):
    fd = os.open(path, os.O_RDWR)
    assert LIBC.fallocate(fd, 3, ctypes.c_long(10), ctypes.c_long(10)) == 0
    os.close(fd)


class Times(MountedCase):
    def moves(self, name, action):
        before = ctime(self.p(name))
        time.sleep(TICK_S)
        action(self.p(name))
        self.assertGreater(ctime(self.p(name)), before)

    def moved_by_everything(self, name):
        self.moves(name, lambda p: write(p, b"x", 0))
        self.moves(name, lambda p: os.truncate(p, 5000))
        self.moves(name, lambda p: os.truncate(p, 700))
        self.moves(name, punch)
        self.moves(name, lambda p: os.chmod(p, 0o600))
        self.moves(name, lambda p: os.setxattr(p, "user.a", b"v"))
        self.moves(name, lambda p: os.removexattr(p, "user.a"))
        self.moves(name, lambda p: os.utime(p, ns=(1, 2)))
        self.moves(name, lambda p: os.link(p, p + "-link"))
        self.moves(name, lambda p: os.truncate(p, 0))

    def stored(self, name):
        state = lambda: os.getxattr(self.p(name), "user.sqyfs.state")  # noqa: E731
        eventually(lambda: state() in (b"stored", b"plain"), "storing")

    def test_change_time_moves_at_once(self):
        write(self.p("stack"), TIFF)
        self.moved_by_everything("stack")
        write(self.p("old"), TIFF)
        self.stored("old")
        self.moved_by_everything("old")
        write(self.p("text"), b"text" * 500)
        self.moved_by_everything("text")

    def test_change_time_of_a_file_that_is_only_sized(self):
        write(self.p("a"))
        self.moves("a", lambda p: os.truncate(p, 123))
        self.moves("a", lambda p: os.truncate(p, 77))

    @unittest.skipUnless(ROOT, "chown")
    def test_chown_to_nobody_moves_change_time(self):
        write(self.p("a"), TIFF)
        self.moves("a", lambda p: os.chown(p, -1, -1))
        os.mkdir(self.p("d"))
        self.moves("d", lambda p: os.chown(p, -1, -1))

    def test_change_time_rests_while_a_stack_is_stored(self):
        fd = os.open(self.p("a"), os.O_CREAT | os.O_RDWR)
        os.write(fd, TIFF)
        sparse = os.open(self.p("sparse"), os.O_CREAT | os.O_RDWR)
        os.ftruncate(sparse, 60000)
        before = ctime(self.p("a")), ctime(self.p("sparse"))
        time.sleep(TICK_S)
        os.fsync(fd)
        self.assertEqual(ctime(self.p("a")), before[0])
        os.close(fd)
        os.close(sparse)
        time.sleep(1.5)
        self.stored("a")
        self.stored("sparse")
        self.assertEqual((ctime(self.p("a")), ctime(self.p("sparse"))), before)

    def test_what_is_made_later_is_not_older(self):
        for i in range(100):
            write(self.p("a%d" % i), TIFF if i % 2 else b"text")
            write(self.p("b%d" % i))
            a, b = os.stat(self.p("a%d" % i)), os.stat(self.p("b%d" % i))
            self.assertLessEqual(a.st_mtime_ns, b.st_mtime_ns)

    def test_directory_keeps_its_time_when_a_file_becomes_a_stack(self):
        fd = os.open(self.p("a"), os.O_CREAT | os.O_RDWR)
        before = os.stat(self.d).st_mtime_ns
        time.sleep(TICK_S)
        os.pwrite(fd, TIFF, 0)
        self.assertTrue(os.path.exists(self.s("a.sqy")))
        os.ftruncate(fd, 0)
        self.assertFalse(os.path.exists(self.s("a.sqy")))
        os.close(fd)
        self.assertEqual(read(self.p("a")), b"")
        self.assertEqual(os.stat(self.d).st_mtime_ns, before)
        self.assertEqual(os.stat(self.s()).st_mtime_ns, before)
        write(self.p("b"))
        self.assertGreater(os.stat(self.d).st_mtime_ns, before)


if __name__ == "__main__":
    main()
