"""Attributes: the file's own pass through, ours are made up and not listed."""
import errno
import json
import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
from mounted import MountedCase, Mounted, main, write, ROOT  # noqa: E402


class PassThrough(MountedCase):
    def test_set_get_list_remove(self):
        write(self.p("a"), b"x")
        os.setxattr(self.p("a"), "user.note", b"binary\0value")
        self.assertEqual(os.getxattr(self.p("a"), "user.note"), b"binary\0value")
        self.assertEqual(os.getxattr(self.s("a"), "user.note"), b"binary\0value")
        self.assertEqual(os.listxattr(self.p("a")), ["user.note"])
        self.fails(errno.EEXIST, os.setxattr, self.p("a"), "user.note", b"", os.XATTR_CREATE)
        self.fails(errno.ENODATA, os.setxattr, self.p("a"), "user.x", b"", os.XATTR_REPLACE)
        os.removexattr(self.p("a"), "user.note")
        self.fails(errno.ENODATA, os.getxattr, self.p("a"), "user.note")
        self.assertEqual(os.listxattr(self.p("a")), [])

    def test_empty_and_large_values(self):
        write(self.p("a"), b"x")
        os.setxattr(self.p("a"), "user.empty", b"")
        self.assertEqual(os.getxattr(self.p("a"), "user.empty"), b"")
        os.setxattr(self.p("a"), "user.large", b"v" * 2000)
        self.assertEqual(os.getxattr(self.p("a"), "user.large"), b"v" * 2000)

    def test_directories_and_links(self):
        os.setxattr(self.d, "user.note", b"1")
        self.assertEqual(os.getxattr(self.d, "user.note"), b"1")
        os.symlink("a", self.p("l"))
        self.fails(errno.EPERM, os.setxattr, self.p("l"), "user.note", b"1", follow_symlinks=False)
        if ROOT:
            os.setxattr(self.p("l"), "trusted.note", b"1", follow_symlinks=False)
            self.assertEqual(os.getxattr(self.p("l"), "trusted.note", follow_symlinks=False), b"1")


class Own(MountedCase):
    files = ("state", "pipeline", "ratio", "stored_bytes")

    def test_of_files(self):
        write(self.p("a"), b"x" * 1000)
        state = os.getxattr(self.p("a"), "user.sqyfs.state").decode()
        self.assertIn(state, ("spooled", "encoding", "stored", "plain"))
        self.assertGreater(float(os.getxattr(self.p("a"), "user.sqyfs.ratio")), 0)
        self.assertGreaterEqual(int(os.getxattr(self.p("a"), "user.sqyfs.stored_bytes")), 0)
        os.getxattr(self.p("a"), "user.sqyfs.pipeline")
        self.assertEqual(os.listxattr(self.p("a")), [])

    def test_are_read_only(self):
        write(self.p("a"), b"x")
        for name in self.files + ("stats", "other"):
            self.fails(errno.EPERM, os.setxattr, self.p("a"), "user.sqyfs." + name, b"1")
            self.fails(errno.EPERM, os.removexattr, self.p("a"), "user.sqyfs." + name)
        self.fails(errno.ENODATA, os.getxattr, self.p("a"), "user.sqyfs.other")
        self.fails(errno.ENODATA, os.getxattr, self.d, "user.sqyfs.state")
        self.fails(errno.ENODATA, os.getxattr, self.d, "user.sqyfs.stats")

    def test_policy_of_a_directory(self):
        self.fails(errno.ENODATA, os.getxattr, self.d, "user.sqyfs.pipeline")
        os.setxattr(self.d, "user.sqyfs.pipeline", b"lz4")
        self.assertEqual(os.getxattr(self.d, "user.sqyfs.pipeline"), b"lz4")
        self.assertEqual(os.listxattr(self.d), [])
        self.fails(errno.EINVAL, os.setxattr, self.d, "user.sqyfs.pipeline", b"no!such")
        self.fails(errno.EINVAL, os.setxattr, self.d, "user.sqyfs.pipeline", b"lz4\0x")
        os.removexattr(self.d, "user.sqyfs.pipeline")
        self.fails(errno.ENODATA, os.getxattr, self.d, "user.sqyfs.pipeline")

    def test_policy_of_the_root(self):
        os.setxattr(self.m.path(), "user.sqyfs.pipeline", b"lz4")
        self.assertEqual(os.getxattr(self.m.path(), "user.sqyfs.pipeline"), b"lz4")
        os.removexattr(self.m.path(), "user.sqyfs.pipeline")

    def test_stats(self):
        self.assertIsInstance(json.loads(os.getxattr(self.m.path(), "user.sqyfs.stats")), dict)

    def test_commands(self):
        write(self.p("a"), b"x")
        os.setxattr(self.m.path(), "user.sqyfs.command", b"drain")
        self.fails(errno.EINVAL, os.setxattr, self.m.path(), "user.sqyfs.command", b"drains")
        self.fails(errno.EINVAL, os.setxattr, self.d, "user.sqyfs.command", b"drain")
        self.fails(errno.EINVAL, os.setxattr, self.p("a"), "user.sqyfs.command", b"")
        self.fails(errno.ENODATA, os.getxattr, self.m.path(), "user.sqyfs.command")


class ReadOnly(MountedCase):
    options = ()

    def test_nothing_is_set(self):
        write(self.p("a"), b"x")
        self.m.options = ["ro"]
        self.m.restart()
        try:
            self.fails(errno.EROFS, os.setxattr, self.d, "user.sqyfs.pipeline", b"lz4")
            self.fails(errno.EROFS, os.setxattr, self.m.path(), "user.sqyfs.command", b"drain")
            self.fails(errno.EROFS, write, self.p("b"))
            self.fails(errno.EROFS, os.unlink, self.p("a"))
            self.assertIn(os.getxattr(self.p("a"), "user.sqyfs.state"), (b"plain", b"stored"))
        finally:
            self.m.options = []
            self.m.restart()


if __name__ == "__main__":
    main()
