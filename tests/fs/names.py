"""Both spellings, and odd names, on a live mount: what is `x` here is `x` or `x.sqy` in the store."""
import errno
import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
from mounted import MountedCase, Mounted, main, read, write  # noqa: E402


class Spellings(MountedCase):
    def test_users_own_sqy(self):
        data = os.urandom(100_000)
        for name in ("x.sqy", "y.SQY", "stack.tif.sqy", ".sqy", "a.sqy.sqy"):
            write(self.p(name), data)
            self.assertEqual(read(self.p(name)), data)
        self.assertEqual(sorted(os.listdir(self.d)),
                         sorted(["x.sqy", "y.SQY", "stack.tif.sqy", ".sqy", "a.sqy.sqy"]))
        self.assertTrue(os.path.exists(self.s("x.sqy.sqy")))
        self.assertFalse(os.path.exists(self.s("x.sqy")))

    def test_directories_that_look_like_blobs(self):
        os.makedirs(self.p("d.sqy", "e.sqy"))
        write(self.p("d.sqy", "e.sqy", "f"), b"deep")
        os.rename(self.p("d.sqy"), self.p("plain"))
        self.assertEqual(read(self.p("plain", "e.sqy", "f")), b"deep")
        self.assertEqual(os.listdir(self.d), ["plain"])
        os.rename(self.p("plain"), self.p("again.sqy"))
        os.symlink("again.sqy", self.p("l.sqy"))
        os.mkfifo(self.p("p.sqy"))
        self.assertEqual(sorted(os.listdir(self.d)), ["again.sqy", "l.sqy", "p.sqy"])
        self.assertEqual(os.listdir(self.p("l.sqy")), ["e.sqy"])

    def test_plain_wins_over_its_shadow(self):
        write(self.p("x"), b"plain")
        os.sync()
        write(self.s("x.sqy"), b"behind the mount's back")
        self.assertEqual(read(self.p("x")), b"plain")
        self.assertEqual(os.listdir(self.d), ["x"])
        os.unlink(self.p("x"))
        self.assertEqual(os.listdir(self.d), [])
        self.assertEqual(os.listdir(self.s()), [])

    def test_rename_over_both(self):
        write(self.p("a"), b"A")
        write(self.p("b"), b"B")
        write(self.s("b.sqy"), b"shadow")
        os.rename(self.p("a"), self.p("b"))
        self.assertEqual((os.listdir(self.d), read(self.p("b"))), (["b"], b"A"))
        self.assertEqual(len(os.listdir(self.s())), 1)

    def test_creation_sees_both(self):
        write(self.p("a.sqy"), b"1")
        self.assertFalse(os.path.exists(self.p("a")))
        self.fails(errno.EEXIST, os.mkdir, self.p("a.sqy"))
        os.mkdir(self.p("a"))
        self.assertEqual(sorted(os.listdir(self.d)), ["a", "a.sqy"])

    def test_rename_of_a_plain_file_onto_a_blobs_name_needs_a_copy(self):
        write(self.p("a.txt"), b"text")
        try:
            os.rename(self.p("a.txt"), self.p("a.sqy"))
        except OSError as e:
            self.assertEqual(e.errno, errno.EXDEV)
            self.assertEqual(os.listdir(self.d), ["a.txt"])
            self.assertEqual(os.spawnvp(os.P_WAIT, "mv", ["mv", self.p("a.txt"), self.p("a.sqy")]), 0)
        self.assertEqual(os.listdir(self.d), ["a.sqy"])
        self.assertEqual(read(self.p("a.sqy")), b"text")


class Odd(MountedCase):
    def test_long_names(self):
        for n in (250, 251, 252, 255):
            name = "n" * n
            write(self.p(name), b"%d" % n)
            self.assertEqual(read(self.p(name)), b"%d" % n)
        self.fails(errno.ENAMETOOLONG, write, self.p("n" * 256))
        self.fails(errno.ENAMETOOLONG, os.stat, self.p("n" * 256))
        self.fails(errno.ENAMETOOLONG, write, self.p("n" * 248 + ".sqy"))
        write(self.p("n" * 247 + ".sqy"), b"fits")
        self.assertEqual(len(os.listdir(self.d)), 5)
        long = "m" * 252 + ".tif"
        self.fails(errno.ENAMETOOLONG, write, self.p(long))
        tif = "m" * 251 + ".tif"  # too long for the suffix: verbatim in the store
        write(self.p(tif), b"II*\0" + bytes(1000))
        self.assertEqual(read(self.p(tif)), b"II*\0" + bytes(1000))

    def test_any_bytes(self):
        names = [b"\xff\xfe", b"a\nb", b" ", b"\\", b"'\"", b"*", b"-rf", b"\x01", "ü".encode(),
                 b"x (deleted)", b"...", b"..sqy", b"...sqy"]
        for name in names:
            write(os.fsencode(self.d) + b"/" + name, name)
        self.assertEqual(sorted(os.listdir(os.fsencode(self.d))), sorted(names))
        for name in names:
            self.assertEqual(read(os.fsencode(self.d) + b"/" + name), name)

    def test_deep_directories(self):
        fd = os.open(self.d, os.O_RDONLY)
        for _ in range(40):
            os.mkdir("d" * 200, dir_fd=fd)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        f = os.open("file.tif", os.O_CREAT | os.O_RDWR, dir_fd=fd)
        os.write(f, b"II*\0 deeper than any path")
        os.close(f)
        f = os.open("file.tif", os.O_RDONLY, dir_fd=fd)
        self.assertEqual(os.read(f, 100), b"II*\0 deeper than any path")
        os.close(f)
        os.rename("file.tif", "g", src_dir_fd=fd, dst_dir_fd=fd)
        os.unlink("g", dir_fd=fd)
        os.close(fd)


class Reserved(MountedCase):
    def test_hidden_and_refused_at_the_root(self):
        root = self.m.path()
        self.assertTrue(os.path.exists(self.m.stored(".sqyfs")))
        self.assertNotIn(".sqyfs", os.listdir(root))
        self.fails(errno.ENOENT, os.stat, self.m.path(".sqyfs"))
        self.fails(errno.ENOENT, os.listdir, self.m.path(".sqyfs"))
        self.fails(errno.EACCES, os.mkdir, self.m.path(".sqyfs2"))
        self.fails(errno.EACCES, write, self.m.path(".sqyfs-policy"))
        self.fails(errno.EACCES, os.rename, self.d, self.m.path(".sqyfs"))
        self.fails(errno.ENOENT, os.rename, self.m.path(".sqyfs"), self.p("got it"))
        os.mkdir(self.p(".sqyfs"))


if __name__ == "__main__":
    main()
