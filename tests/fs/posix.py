"""What POSIX says of names, types, links and errors, on a live mount."""
import errno
import fcntl
import mmap
import os
import socket
import stat
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(__file__))
from mounted import MountedCase, as_user, main, read, write, ROOT  # noqa: E402
import ctypes
import unittest

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, NOREPLACE, EXCHANGE = -100, 1, 2


def renameat2(a, b, flags):
    if LIBC.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")


class Create(MountedCase):
    def test_exclusive(self):
        write(self.p("a"), b"1", os.O_CREAT | os.O_EXCL)
        self.fails(errno.EEXIST, write, self.p("a"), b"2", os.O_CREAT | os.O_EXCL)
        self.assertEqual(read(self.p("a")), b"1")

    def test_exclusive_by_many(self):
        for round_ in range(20):
            made = []

            def make(name=self.p("x%d" % round_)):
                try:
                    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                    made.append(1)
                except FileExistsError:
                    pass
            threads = [threading.Thread(target=make) for _ in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual(len(made), 1)

    def test_truncates(self):
        write(self.p("a"), b"long content")
        write(self.p("a"), b"x")
        self.assertEqual(read(self.p("a")), b"x")
        fd = os.open(self.p("a"), os.O_RDWR | os.O_TRUNC)
        self.assertEqual(os.fstat(fd).st_size, 0)
        os.close(fd)

    def test_read_only_creation(self):
        fd = os.open(self.p("a"), os.O_CREAT | os.O_RDONLY, 0o644)
        self.assertEqual(os.read(fd, 10), b"")
        write(self.p("a"), b"later")
        self.assertEqual(os.pread(fd, 10, 0), b"later")
        os.close(fd)

    def test_mode_without_write_permission(self):
        fd = os.open(self.p("a"), os.O_CREAT | os.O_RDWR, 0o444)
        os.write(fd, b"data")
        os.close(fd)
        self.assertEqual(read(self.p("a")), b"data")
        self.assertEqual(os.stat(self.p("a")).st_mode, stat.S_IFREG | 0o444)

    def test_types(self):
        os.mkfifo(self.p("fifo"), 0o640)
        self.assertTrue(stat.S_ISFIFO(os.stat(self.p("fifo")).st_mode))
        s = socket.socket(socket.AF_UNIX)
        s.bind(self.p("socket"))
        self.assertTrue(stat.S_ISSOCK(os.stat(self.p("socket")).st_mode))
        c = socket.socket(socket.AF_UNIX)
        s.listen()
        c.connect(self.p("socket"))
        c.close()
        s.close()
        os.mknod(self.p("file"), stat.S_IFREG | 0o600)
        self.assertEqual(os.stat(self.p("file")).st_size, 0)
        if ROOT:
            os.mknod(self.p("dev"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
            self.assertEqual(os.stat(self.p("dev")).st_rdev, os.makedev(1, 3))

    def test_errors(self):
        write(self.p("f"))
        os.mkdir(self.p("d"))
        self.fails(errno.ENOENT, os.open, self.p("no"), os.O_RDONLY)
        self.fails(errno.ENOTDIR, os.open, self.p("f", "x"), os.O_CREAT | os.O_WRONLY)
        self.fails(errno.EISDIR, os.open, self.p("d"), os.O_WRONLY)
        self.fails(errno.EISDIR, os.open, self.p("d"), os.O_CREAT | os.O_WRONLY)
        self.fails(errno.EEXIST, os.mkdir, self.p("f"))
        self.fails(errno.EEXIST, os.symlink, "x", self.p("f"))
        self.fails(errno.ENOTEMPTY, os.rmdir, self.d)
        self.fails(errno.ENOTDIR, os.rmdir, self.p("f"))
        self.fails(errno.EISDIR, os.unlink, self.p("d"))
        self.fails(errno.EINVAL, os.readlink, self.p("f"))

    def test_tmpfile_is_refused_and_programs_fall_back(self):
        with tempfile.TemporaryFile(dir=self.d) as f:
            f.write(b"x")
        self.assertEqual(os.listdir(self.d), [])


class Links(MountedCase):
    def test_hard_link(self):
        write(self.p("a"), b"data")
        os.link(self.p("a"), self.p("b"))
        a, b = os.stat(self.p("a")), os.stat(self.p("b"))
        self.assertEqual((a.st_ino, a.st_nlink), (b.st_ino, 2))
        write(self.p("b"), b"other", 0)
        self.assertEqual(read(self.p("a")), b"other")
        os.unlink(self.p("a"))
        self.assertEqual(os.stat(self.p("b")).st_nlink, 1)
        self.assertEqual(read(self.p("b")), b"other")
        os.link(self.p("b"), self.p("c"))
        self.fails(errno.EEXIST, os.link, self.p("b"), self.p("c"))
        self.fails(errno.EPERM, os.link, self.d, self.p("dir"))

    def test_rename_of_one_link_onto_the_other(self):
        write(self.p("a"), b"data")
        os.link(self.p("a"), self.p("b"))
        os.rename(self.p("a"), self.p("b"))
        self.assertEqual(sorted(os.listdir(self.d)), ["a", "b"])

    def test_symlink(self):
        target = "t" * 4000
        os.symlink(target, self.p("s"))
        self.assertEqual(os.readlink(self.p("s")), target)
        self.assertEqual(os.lstat(self.p("s")).st_size, 4000)
        os.symlink("f", self.p("g"))
        write(self.p("f"), b"x")
        self.assertEqual(read(self.p("g")), b"x")
        os.link(self.p("g"), self.p("h"), follow_symlinks=False)
        self.assertEqual(os.readlink(self.p("h")), "f")
        os.utime(self.p("g"), ns=(5, 7), follow_symlinks=False)
        self.assertEqual(os.lstat(self.p("g")).st_mtime_ns, 7)
        self.assertNotEqual(os.stat(self.p("f")).st_mtime_ns, 7)

    def test_directory_links(self):
        os.mkdir(self.p("d"))
        n = os.stat(self.d).st_nlink
        os.mkdir(self.p("e"))
        self.assertEqual(os.stat(self.d).st_nlink, n + 1)
        os.rmdir(self.p("e"))
        self.assertEqual(os.stat(self.d).st_nlink, n)


class Rename(MountedCase):
    def test_replaces(self):
        write(self.p("a"), b"A")
        write(self.p("b"), b"B")
        old = os.open(self.p("b"), os.O_RDONLY)
        ino = os.stat(self.p("a")).st_ino
        os.rename(self.p("a"), self.p("b"))
        self.assertEqual(os.listdir(self.d), ["b"])
        self.assertEqual(os.stat(self.p("b")).st_ino, ino)
        self.assertEqual(os.read(old, 4), b"B")
        self.assertEqual(os.fstat(old).st_nlink, 0)
        os.close(old)

    def test_flags(self):
        write(self.p("a"), b"A")
        write(self.p("b"), b"B")
        self.fails(errno.EEXIST, renameat2, self.p("a"), self.p("b"), NOREPLACE)
        renameat2(self.p("a"), self.p("b"), EXCHANGE)
        self.assertEqual((read(self.p("a")), read(self.p("b"))), (b"B", b"A"))
        renameat2(self.p("a"), self.p("c"), NOREPLACE)
        self.assertEqual(sorted(os.listdir(self.d)), ["b", "c"])
        self.fails(errno.ENOENT, renameat2, self.p("b"), self.p("none"), EXCHANGE)

    def test_types(self):
        write(self.p("f"))
        os.mkdir(self.p("d"))
        os.mkdir(self.p("full"))
        write(self.p("full", "x"))
        self.fails(errno.EISDIR, os.rename, self.p("f"), self.p("d"))
        self.fails(errno.ENOTDIR, os.rename, self.p("d"), self.p("f"))
        self.fails(errno.ENOTEMPTY, os.rename, self.p("d"), self.p("full"))
        self.fails(errno.EINVAL, os.rename, self.p("d"), self.p("d", "in"))
        os.rename(self.p("full"), self.p("d"))
        self.assertEqual(os.listdir(self.p("d")), ["x"])

    def test_directory_with_open_files(self):
        os.mkdir(self.p("d"))
        fd = os.open(self.p("d", "f"), os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"1")
        os.rename(self.p("d"), self.p("e"))
        os.write(fd, b"2")
        os.close(fd)
        self.assertEqual(read(self.p("e", "f")), b"12")
        self.assertFalse(os.path.exists(self.p("d")))


class Unlinked(MountedCase):
    def test_open_file_lives_on(self):
        fd = os.open(self.p("a"), os.O_CREAT | os.O_RDWR)
        os.write(fd, b"before")
        os.unlink(self.p("a"))
        os.write(fd, b" after")
        self.assertEqual(os.pread(fd, 100, 0), b"before after")
        self.assertEqual(os.fstat(fd).st_nlink, 0)
        os.ftruncate(fd, 3)
        self.assertEqual(os.pread(fd, 100, 0), b"bef")
        os.fchmod(fd, 0o600)
        os.close(fd)
        self.assertEqual(os.listdir(self.d), [])

    def test_name_is_free_at_once(self):
        fd = os.open(self.p("a"), os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"old")
        os.unlink(self.p("a"))
        write(self.p("a"), b"new", os.O_CREAT | os.O_EXCL)
        os.write(fd, b"er")
        os.close(fd)
        self.assertEqual(read(self.p("a")), b"new")

    def test_removed_directory_that_is_open(self):
        os.mkdir(self.p("d"))
        fd = os.open(self.p("d"), os.O_RDONLY)
        os.rmdir(self.p("d"))
        self.assertEqual(os.listdir(fd), [])
        self.fails(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
        os.close(fd)


class Bytes(MountedCase):
    def test_append_of_two_handles(self):
        a = os.open(self.p("a"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        b = os.open(self.p("a"), os.O_WRONLY | os.O_APPEND)
        for i in range(10):
            os.write(a if i % 2 else b, b"%d" % i)
        os.close(a)
        os.close(b)
        self.assertEqual(read(self.p("a")), b"0123456789")

    def test_access_modes(self):
        write(self.p("a"), b"data")
        fd = os.open(self.p("a"), os.O_WRONLY)
        self.fails(errno.EBADF, os.read, fd, 1)
        os.close(fd)
        fd = os.open(self.p("a"), os.O_RDONLY)
        self.fails(errno.EBADF, os.write, fd, b"x")
        os.close(fd)

    def test_holes_and_sizes(self):
        fd = os.open(self.p("a"), os.O_CREAT | os.O_RDWR)
        os.pwrite(fd, b"end", 5_000_000)
        self.assertEqual(os.fstat(fd).st_size, 5_000_003)
        self.assertEqual(os.pread(fd, 4, 1_000_000), bytes(4))
        os.ftruncate(fd, 10_000_000)
        self.assertEqual(os.pread(fd, 4, 9_999_999), b"\0")
        self.assertEqual(os.pread(fd, 4, 10_000_000), b"")
        os.ftruncate(fd, 5_000_001)
        os.ftruncate(fd, 5_000_003)
        self.assertEqual(os.pread(fd, 9, 5_000_000), b"e\0\0")
        os.close(fd)
        self.fails(errno.EINVAL, os.truncate, self.p("a"), -1)
        self.fails(errno.EISDIR, os.truncate, self.d, 0)

    def test_large_requests(self):
        data = os.urandom(7 * 1024 * 1024 + 13)
        fd = os.open(self.p("a"), os.O_CREAT | os.O_WRONLY)
        self.assertEqual(os.write(fd, data), len(data))
        os.close(fd)
        self.assertEqual(read(self.p("a")), data)
        fd = os.open(self.p("a"), os.O_RDONLY)
        self.assertEqual(os.pread(fd, len(data) * 2, 0), data)
        self.assertEqual(os.pread(fd, 3_000_000, 1_500_001), data[1_500_001:4_500_001])
        os.close(fd)

    def test_direct_io(self):
        data = mmap.mmap(-1, 8192)
        data[:] = b"d" * 8192
        fd = os.open(self.p("a"), os.O_CREAT | os.O_RDWR | os.O_DIRECT)
        self.assertEqual(os.writev(fd, [data]), 8192)
        back = mmap.mmap(-1, 8192)
        self.assertEqual(os.preadv(fd, [back], 0), 8192)
        self.assertEqual(back[:], data[:])
        os.close(fd)

    def test_fallocate(self):
        fd = os.open(self.p("a"), os.O_CREAT | os.O_RDWR)
        os.write(fd, b"x" * 100_000)
        os.posix_fallocate(fd, 0, 200_000)
        self.assertEqual(os.fstat(fd).st_size, 200_000)
        self.assertEqual(LIBC.fallocate(fd, 1, ctypes.c_long(0), ctypes.c_long(500_000)), 0)
        self.assertEqual(os.fstat(fd).st_size, 200_000)
        self.assertEqual(LIBC.fallocate(fd, 3, ctypes.c_long(10_000), ctypes.c_long(50_000)), 0)
        self.assertEqual(os.pread(fd, 200_000, 0),
                         b"x" * 10_000 + bytes(50_000) + b"x" * 40_000 + bytes(100_000))
        os.close(fd)

    def test_seek_data_and_hole(self):
        fd = os.open(self.p("a"), os.O_CREAT | os.O_RDWR)
        os.write(fd, b"x" * 10)
        self.assertEqual(os.lseek(fd, 0, os.SEEK_DATA), 0)
        self.assertEqual(os.lseek(fd, 0, os.SEEK_HOLE), 10)
        self.fails(errno.ENXIO, os.lseek, fd, 10, os.SEEK_DATA)
        os.close(fd)

    def test_copy_file_range(self):
        write(self.p("a"), b"0123456789")
        a = os.open(self.p("a"), os.O_RDONLY)
        b = os.open(self.p("b"), os.O_CREAT | os.O_WRONLY)
        self.assertEqual(os.copy_file_range(a, b, 5, 2, 1), 5)
        os.close(a)
        os.close(b)
        self.assertEqual(read(self.p("b")), b"\0" + b"23456")

    def test_sync_calls(self):
        fd = os.open(self.p("a"), os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"x")
        os.fsync(fd)
        os.fdatasync(fd)
        os.close(fd)
        fd = os.open(self.d, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def test_locks(self):
        a = os.open(self.p("a"), os.O_CREAT | os.O_RDWR)
        b = os.open(self.p("a"), os.O_RDWR)
        fcntl.flock(a, fcntl.LOCK_EX)
        self.fails(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(a)
        fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(b)


class Mapped(MountedCase):
    def test_shared_mapping_reaches_readers(self):
        fd = os.open(self.p("a"), os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 3 * 4096)
        m = mmap.mmap(fd, 3 * 4096)
        m[5000:5005] = b"voxel"
        m.flush()
        self.assertEqual(read(self.p("a"))[5000:5005], b"voxel")
        w = os.open(self.p("a"), os.O_WRONLY)
        os.pwrite(w, b"other", 100)  # past the page cache
        os.close(w)
        self.assertEqual(m[100:105], b"other")
        m[8192:8195] = b"end"
        m.close()
        os.close(fd)
        self.assertEqual(read(self.p("a"))[8192:8195], b"end")

    def test_private_and_read_only(self):
        write(self.p("a"), b"x" * 10000)
        with open(self.p("a"), "rb") as f:
            m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
            self.assertEqual(m[:], b"x" * 10000)
            m.close()

    def test_execution(self):
        write(self.p("true"), read("/bin/true"), mode=0o755)
        self.assertEqual(os.spawnv(os.P_WAIT, self.p("true"), ["true"]), 0)


class Times(MountedCase):
    def test_nanoseconds(self):
        write(self.p("a"), b"x")
        os.utime(self.p("a"), ns=(1_000_000_007, 2_000_000_009))
        st = os.stat(self.p("a"))
        self.assertEqual((st.st_atime_ns, st.st_mtime_ns), (1_000_000_007, 2_000_000_009))
        os.utime(self.d, ns=(3, 4))
        self.assertEqual(os.stat(self.d).st_mtime_ns, 4)

    def test_set_on_an_open_file_stays(self):
        fd = os.open(self.p("a"), os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"x" * 100_000)
        os.utime(fd, ns=(11, 12))
        os.close(fd)
        self.assertEqual(os.stat(self.p("a")).st_mtime_ns, 12)

    def test_writes_move_them(self):
        write(self.p("a"), b"x")
        os.utime(self.p("a"), ns=(1, 2))
        write(self.p("a"), b"y", 0)
        self.assertGreater(os.stat(self.p("a")).st_mtime_ns, 10**18)
        os.utime(self.p("a"), ns=(1, 2))
        os.truncate(self.p("a"), 0)
        self.assertGreater(os.stat(self.p("a")).st_mtime_ns, 10**18)

    def test_now_and_omit(self):
        write(self.p("a"), b"x")
        os.utime(self.p("a"), ns=(1, 2))
        os.utime(self.p("a"))
        self.assertGreater(os.stat(self.p("a")).st_mtime_ns, 10**18)


@unittest.skipUnless(ROOT, "asks for other users")
class Permissions(MountedCase):
    user = as_user(1234, 1234)

    def test_are_checked(self):
        write(self.p("a"), b"secret", mode=0o600)
        os.mkdir(self.p("d"), 0o700)
        os.mkdir(self.p("sticky"))
        os.chmod(self.p("sticky"), 0o1777)
        write(self.p("sticky", "f"))
        self.assertEqual(self.user(read, self.p("a")), errno.EACCES)
        self.assertEqual(self.user(write, self.p("b")), errno.EACCES)
        self.assertEqual(self.user(os.listdir, self.p("d")), errno.EACCES)
        self.assertEqual(self.user(os.unlink, self.p("sticky", "f")), errno.EPERM)
        self.assertEqual(self.user(os.chmod, self.p("a"), 0o777), errno.EPERM)
        self.assertEqual(self.user(os.chown, self.p("a"), 1234, -1), errno.EPERM)
        self.assertEqual(self.user(os.truncate, self.p("a"), 0), errno.EACCES)
        self.assertEqual(self.user(os.utime, self.p("a")), errno.EACCES)
        self.assertEqual(read(self.p("a")), b"secret")


if __name__ == "__main__":
    main()
