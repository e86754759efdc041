"""What is created belongs to who made it: owner, group, umask, setgid directories, ACLs, set-user-id."""
import errno
import os
import shutil
import stat
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from mounted import MountedCase, as_user, main, read, skip, write, ROOT  # noqa: E402

UID, GID, OTHER = 1234, 1235, 1236
user = as_user(UID, GID)


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def acl(*args):
    subprocess.run(["setfacl", *args], check=True)


def getfacl(path):
    out = subprocess.run(["getfacl", "-c", "-p", "-n", path], check=True, capture_output=True)
    return [line.split("\t")[0] for line in out.stdout.decode().split("\n") if line]


def create_all(d):
    write(os.path.join(d, "file"), b"x")
    write(os.path.join(d, "stack.tif"), b"II*\0")
    write(os.path.join(d, "own.sqy"), b"x")
    os.mkdir(os.path.join(d, "dir"))
    os.symlink("x", os.path.join(d, "link"))
    os.mkfifo(os.path.join(d, "fifo"))


class Owner(MountedCase):
    names = ("file", "stack.tif", "own.sqy", "dir", "link", "fifo")

    def setUp(self):
        super().setUp()
        os.chmod(self.d, 0o777)

    def check(self, uid, gid):
        for name in self.names:
            st = os.lstat(self.p(name))
            self.assertEqual((name, st.st_uid, st.st_gid), (name, uid, gid))

    def test_belongs_to_the_caller(self):
        self.assertEqual(user(create_all, self.d), 0)
        self.check(UID, GID)

    def test_and_so_in_the_store(self):
        self.assertEqual(user(write, self.p("plain.txt"), b"x"), 0)
        st = os.stat(self.s("plain.txt"))
        self.assertEqual((st.st_uid, st.st_gid), (UID, GID))

    def test_setgid_directory(self):
        os.chown(self.d, -1, OTHER)
        os.chmod(self.d, 0o2777)
        self.assertEqual(user(create_all, self.d), 0)
        self.check(UID, OTHER)
        self.assertEqual(mode(self.p("dir")), 0o2755)
        self.assertEqual(mode(self.p("file")), 0o644)

    def test_umask(self):
        for umask in (0, 0o022, 0o077, 0o027):
            name = "f%o" % umask
            self.assertEqual(as_user(UID, GID, umask=umask)(write, self.p(name), b"", mode=0o666), 0)
            self.assertEqual(mode(self.p(name)), 0o666 & ~umask)
            self.assertEqual(as_user(UID, GID, umask=umask)(os.mkdir, self.p("d" + name)), 0)
            self.assertEqual(mode(self.p("d" + name)), 0o777 & ~umask)
            self.assertEqual(as_user(UID, GID, umask=umask)(os.mkfifo, self.p("p" + name)), 0)
            self.assertEqual(mode(self.p("p" + name)), 0o666 & ~umask)

    def test_privileged_bits_survive_creation(self):
        nobody = as_user(UID, GID, umask=0)
        self.assertEqual(nobody(os.close, -1), errno.EBADF)
        self.assertEqual(nobody(lambda: os.close(os.open(self.p("s"), os.O_CREAT | os.O_WRONLY,
                                                         0o6755))), 0)
        self.assertEqual(mode(self.p("s")), 0o6755)
        self.assertEqual(nobody(os.mkdir, self.p("t"), 0o1777), 0)
        self.assertEqual(mode(self.p("t")), 0o1777)

    def test_exclusive_creation_in_anothers_directory_leaves_nothing(self):
        os.chmod(self.d, 0o755)
        self.assertEqual(user(write, self.p("x"), b""), errno.EACCES)
        self.assertEqual(os.listdir(self.d), [])


class Bits(MountedCase):
    """Who may not keep set-user-id loses it by writing; root keeps it."""

    def make(self, bits=0o6777):
        write(self.p("a"), b"content")
        os.chmod(self.p("a"), bits)
        self.assertEqual(mode(self.p("a")), bits)

    def rewrite(self, flags):
        fd = os.open(self.p("a"), flags)
        os.write(fd, b"x")
        os.close(fd)

    def test_direct_write(self):
        self.make()
        self.assertEqual(user(self.rewrite, os.O_WRONLY), 0)
        self.assertEqual(mode(self.p("a")), 0o777)

    def test_cached_write(self):
        self.make()
        self.assertEqual(user(self.rewrite, os.O_RDWR), 0)
        self.assertEqual(mode(self.p("a")), 0o777)

    def test_truncation(self):
        self.make()
        self.assertEqual(user(os.truncate, self.p("a"), 1), 0)
        self.assertEqual(mode(self.p("a")), 0o777)
        self.make()
        self.assertEqual(user(lambda: os.close(os.open(self.p("a"), os.O_WRONLY | os.O_TRUNC))), 0)
        self.assertEqual(mode(self.p("a")), 0o777)

    def test_chown(self):
        self.make()
        os.chown(self.p("a"), UID, GID)
        self.assertEqual(mode(self.p("a")), 0o777)

    def test_setgid_without_group_execution_is_no_privilege(self):
        self.make(0o2766)
        self.assertEqual(user(self.rewrite, os.O_WRONLY), 0)
        self.assertEqual(mode(self.p("a")), 0o2766)

    def test_root_keeps_them(self):
        self.make()
        self.rewrite(os.O_WRONLY)
        self.assertEqual(mode(self.p("a")), 0o6777)

    def test_chmod_outside_ones_group(self):
        self.make(0o644)
        os.chown(self.p("a"), UID, OTHER)
        self.assertEqual(user(os.chmod, self.p("a"), 0o2755), 0)
        self.assertEqual(mode(self.p("a")), 0o755)


@unittest.skipUnless(shutil.which("setfacl"), "no setfacl")
class Acl(MountedCase):
    def setUp(self):
        super().setUp()
        os.chmod(self.d, 0o777)

    def test_grants_and_denies(self):
        write(self.p("a"), b"x", mode=0o600)
        self.assertEqual(user(read, self.p("a")), errno.EACCES)
        acl("-m", "u:%d:r" % UID, self.p("a"))
        self.assertEqual(user(read, self.p("a")), 0)
        self.assertIn("user:%d:r--" % UID, getfacl(self.p("a")))
        self.assertIn("user:%d:r--" % UID, getfacl(self.s("a")))
        acl("-x", "u:%d" % UID, self.p("a"))
        self.assertEqual(user(read, self.p("a")), errno.EACCES)

    def test_mask_is_the_group_mode(self):
        write(self.p("a"), b"x", mode=0o640)
        acl("-m", "u:%d:rw" % OTHER, self.p("a"))
        self.assertEqual(mode(self.p("a")), 0o660)
        os.chmod(self.p("a"), 0o600)
        self.assertIn("mask::---", getfacl(self.p("a")))

    def test_default_is_inherited_and_the_umask_then_is_not_used(self):
        acl("-d", "-m", "u::rwx,g::rwx,o::---,u:%d:rwx" % OTHER, self.d)
        self.assertEqual(as_user(UID, GID, umask=0o077)(create_all, self.d), 0)
        for name in ("file", "stack.tif", "own.sqy"):
            self.assertIn("user:%d:rwx" % OTHER, getfacl(self.p(name)))
            self.assertEqual((name, mode(self.p(name))), (name, 0o640))
            self.assertEqual(os.stat(self.p(name)).st_uid, UID)
        self.assertIn("default:user:%d:rwx" % OTHER, getfacl(self.p("dir")))

    def test_only_the_owner_sets_it(self):
        write(self.p("a"), b"x", mode=0o666)
        self.assertEqual(user(os.setxattr, self.p("a"), "system.posix_acl_access",
                              bytes.fromhex("02000000" "01000600ffffffff" "04000600ffffffff"
                                            "20000600ffffffff")), errno.EPERM)


if __name__ == "__main__":
    if not ROOT:
        skip("needs root, to be others")
    main()
