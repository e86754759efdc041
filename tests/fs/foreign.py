"""Files of sqeazy's own in the store: they show as the TIFF stacks that they decode to.

SQYCTL names the tool; SQYFS_DATA a folder with such files, SQYFS_VECTORS another that may be missing."""
import errno
import glob
import mmap
import os
import shutil
import subprocess
import sys
import tarfile
import threading

sys.path.insert(0, os.path.dirname(__file__))
from mounted import Mounted, MountedCase, eventually, main, read, write  # noqa: E402

SQYCTL = os.environ.get("SQYCTL", "sqyctl")
DATA = os.environ["SQYFS_DATA"]
VECTORS = os.environ.get("SQYFS_VECTORS", "")
OLD = os.path.join(DATA, "volume-old.sqy")
NEW = os.path.join(DATA, "volumes", "raster_reorder-lz4-uint16.sqy")


def decoded(path):
    """What sqyctl decode makes of it; None where it does not."""
    done = subprocess.run([SQYCTL, "decode", path, "-"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=False)
    return done.stdout if done.returncode == 0 else None


def sqyctl(*args):
    done = subprocess.run([SQYCTL, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    return done.returncode, done.stdout.decode()


def state(path, what="state"):
    return os.getxattr(path, "user.sqyfs." + what).decode()


class Foreign(MountedCase):
    def drop(self, source, name):
        shutil.copyfile(source, self.s(name))
        return decoded(source)

    def check_all(self, files):
        wanted = {}
        for i, path in enumerate(files):
            content = decoded(path)
            self.drop(path, "%d.sqy" % i)
            if content is not None:
                wanted["%d.tif" % i] = content
        self.assertEqual(len(os.listdir(self.d)), len(files))
        for name, content in wanted.items():
            self.assertEqual(os.stat(self.p(name)).st_size, len(content))
            self.assertEqual(read(self.p(name)), content)
        return len(wanted)

    def test_golden_files(self):
        files = sorted(glob.glob(os.path.join(DATA, "volumes", "*.sqy")))
        self.assertEqual(self.check_all(files + [OLD]), len(files) + 1)

    def test_reference_vectors(self):
        files = sorted(glob.glob(os.path.join(VECTORS, "*", "*.sqy"))) if VECTORS else []
        if files:
            self.assertGreater(self.check_all(files), len(files) // 2)

    def test_what_it_looks_like(self):
        content = self.drop(NEW, "a.sqy")
        self.drop(OLD, "b.tif.sqy")
        self.drop(OLD, "C.TIFF.SQY")
        self.assertEqual(sorted(os.listdir(self.d)), ["C.TIFF", "a.tif", "b.tif"])
        self.fails(errno.ENOENT, os.stat, self.p("a"))
        self.fails(errno.ENOENT, os.stat, self.p("a.sqy"))
        there, here = os.stat(self.s("a.sqy")), os.stat(self.p("a.tif"))
        self.assertEqual((here.st_ino, here.st_mtime_ns, here.st_blocks, here.st_mode),
                         (there.st_ino, there.st_mtime_ns, there.st_blocks, there.st_mode))
        self.assertEqual(state(self.p("a.tif")), "stored")
        self.assertEqual(state(self.p("a.tif"), "pipeline"), "raster_reorder(tile_size=8)->lz4")
        self.assertEqual(int(state(self.p("a.tif"), "stored_bytes")), there.st_size)
        code, text = sqyctl("ls", self.m.store)
        self.assertEqual(code, 0)
        self.assertIn(self.name + "/a.tif", text)
        self.assertIn("%d" % len(content), sqyctl("info", self.s("a.sqy"))[1])
        self.assertEqual(sqyctl("verify", self.s())[0], 0)
        self.assertEqual(sqyctl("verify", self.d)[0], 0)

    def test_any_part_can_be_read(self):
        content = self.drop(NEW, "a.sqy")
        fd = os.open(self.p("a.tif"), os.O_RDONLY)
        for off in [0, 5, 15, 16, 17, len(content) // 2, len(content) - 300, len(content) - 1]:
            for n in [1, 7, 4096]:
                self.assertEqual(os.pread(fd, n, off), content[off:off + n])
        self.assertEqual(os.pread(fd, 10, len(content)), b"")
        self.assertEqual(os.lseek(fd, 3, os.SEEK_DATA), 3)
        self.assertEqual(os.lseek(fd, 3, os.SEEK_HOLE), len(content))
        self.fails(errno.ENXIO, os.lseek, fd, len(content), os.SEEK_DATA)
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as mapped:
            self.assertEqual(mapped[:], content)
        os.fsync(fd)
        os.close(fd)

    def test_copies_of_it(self):
        content = self.drop(NEW, "a.sqy")
        subprocess.run(["cp", "-a", self.p("a.tif"), self.p("copy.tif")], check=True)
        self.assertEqual(read(self.p("copy.tif")), content)
        out = os.path.join(self.m.dir, "copy.tar")
        subprocess.run(["tar", "-C", self.m.mnt, "-Scf", out, self.name], check=True)
        with tarfile.open(out) as tar:
            self.assertEqual(tar.extractfile(self.name + "/a.tif").read(), content)
        os.setxattr(self.m.mnt, "user.sqyfs.command", b"drain")
        backup = os.path.join(self.m.dir, "backup")
        shutil.copytree(self.s(), os.path.join(backup, "sub"))
        write(os.path.join(backup, ".sqyfs-policy"))
        with Mounted("ro", store=backup) as m:
            self.assertEqual(sorted(os.listdir(m.path("sub"))), ["a.tif", "copy.tif"])
            for name in ["a.tif", "copy.tif"]:
                self.assertEqual(read(m.path("sub", name)), content)

    def test_it_is_not_written_to(self):
        content = self.drop(NEW, "a.sqy")
        before = read(self.s("a.sqy"))
        for flags in [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_CREAT]:
            self.fails(errno.EROFS, os.open, self.p("a.tif"), flags)
        self.fails(errno.EEXIST, os.open, self.p("a.tif"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self.fails(errno.EROFS, os.truncate, self.p("a.tif"), 100)
        os.utime(self.p("a.tif"), ns=(10**18, 10**18 + 5))
        os.chmod(self.p("a.tif"), 0o640)
        os.setxattr(self.p("a.tif"), "user.note", b"seen")
        st = os.stat(self.p("a.tif"))
        self.assertEqual((st.st_mtime_ns, st.st_mode & 0o777), (10**18 + 5, 0o640))
        self.assertEqual(read(self.p("a.tif")), content)
        self.assertEqual(read(self.s("a.sqy")), before)

    def test_it_is_replaced(self):
        for name in ["a", "b.tif"]:
            for how in ["open", "truncate", "rename"]:
                tif = name if name.endswith(".tif") else name + ".tif"
                self.drop(NEW, name + ".sqy")
                self.assertEqual(os.listdir(self.d), [tif])
                if how == "open":
                    write(self.p(tif), b"new")
                elif how == "truncate":
                    os.truncate(self.p(tif), 0)
                    self.assertEqual((os.listdir(self.d), read(self.p(tif))), ([tif], b""))
                    write(self.p(tif), b"new", flags=0)
                else:
                    write(self.p("t"), b"new")
                    os.rename(self.p("t"), self.p(tif))
                self.assertEqual((os.listdir(self.d), read(self.p(tif))), ([tif], b"new"))
                os.unlink(self.p(tif))
                self.assertEqual(os.listdir(self.s()), [])

    def test_it_is_moved_and_removed(self):
        content = self.drop(NEW, "a.sqy")
        os.mkdir(self.p("sub"))
        with open(self.p("a.tif"), "rb") as held:
            os.rename(self.p("a.tif"), self.p("sub", "b.tif"))
            self.assertEqual(os.listdir(self.s("sub")), ["b.tif.sqy"])
            self.fails(errno.EXDEV, os.rename, self.p("sub", "b.tif"), self.p("b"))
            shutil.move(self.p("sub", "b.tif"), self.p("b"))
            self.assertEqual(held.read(), content)
        self.assertEqual((read(self.p("b")), os.listdir(self.d + "/sub")), (content, []))
        self.drop(OLD, "c.sqy")
        self.assertEqual(read(self.p("c.tif")), decoded(OLD))
        os.unlink(self.p("c.tif"))
        self.fails(errno.ENOENT, os.stat, self.p("c.tif"))
        self.assertFalse(os.path.exists(self.s("c.sqy")))
        self.drop(OLD, "d.sqy")
        os.link(self.p("d.tif"), self.p("e.tif"))
        self.fails(errno.EBUSY, os.truncate, self.p("d.tif"), 0)
        self.assertEqual(read(self.p("e.tif")), decoded(OLD))

    def test_a_name_that_is_there_wins(self):
        content = self.drop(NEW, "a.sqy")
        self.assertEqual(read(self.p("a.tif")), content)
        write(self.p("a"), b"no relation")
        self.assertEqual(sorted(os.listdir(self.d)), ["a", "a.tif"])
        os.unlink(self.p("a"))
        self.assertEqual(sqyctl("verify", self.s())[0], 0)
        write(self.s("a.tif"), b"plain")
        eventually(lambda: read(self.p("a.tif")) == b"plain", "the plain file")
        self.assertEqual(os.listdir(self.d), ["a.tif"])
        code, text = sqyctl("verify", self.s())
        self.assertEqual(code, 1)
        self.assertIn("a.sqy: hidden", text)
        os.unlink(self.p("a.tif"))
        self.assertEqual(os.listdir(self.d), ["a.tif"])
        self.assertEqual(read(self.p("a.tif")), content)

    def test_many_readers(self):
        content = self.drop(NEW, "a.sqy")
        wrong = []

        def reader():
            if read(self.p("a.tif")) != content:
                wrong.append(1)
        threads = [threading.Thread(target=reader) for _ in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])

    def test_damage(self):
        whole = read(NEW)
        write(self.s("short.sqy"), whole[:-200])
        write(self.s("cut.sqy"), whole[:len(whole) // 3])
        write(self.s("shape.sqy"), whole.replace(b'"dim": "5"', b'"dim": "99999999999999"'))
        write(self.s("text.sqy"), b"no blob at all")
        for name in ["short.tif", "cut.tif", "cut", "shape.tif", "text"]:
            if os.path.exists(self.p(name)):
                self.fails(errno.EIO, read, self.p(name))
                self.assertEqual(state(self.p(name)), "damaged")
        self.assertTrue(os.path.exists(self.p("short.tif")))
        self.assertIn("short.tif: is sqeazy's and damaged", self.m.messages())
        code, text = sqyctl("verify", self.s("short.sqy"))
        self.assertEqual(code, 1)
        self.assertIn("damaged", text)
        content = self.drop(NEW, "short.sqy")
        eventually(lambda: os.stat(self.p("short.tif")).st_size == len(content), "the whole file")
        self.assertEqual(read(self.p("short.tif")), content)
        self.assertEqual(state(self.p("short.tif")), "stored")

    def test_another_takes_its_place(self):
        self.drop(NEW, "a.sqy")
        self.assertEqual(read(self.p("a.tif")), decoded(NEW))
        self.drop(OLD, "a.sqy")
        eventually(lambda: os.stat(self.p("a.tif")).st_size == len(decoded(OLD)), "the other")
        self.assertEqual(read(self.p("a.tif")), decoded(OLD))

    def test_mounted_again(self):
        content = self.drop(NEW, "a.sqy")
        self.assertEqual(read(self.p("a.tif")), content)
        for _ in range(2):
            self.m.restart()
            self.assertEqual(os.stat(self.p("a.tif")).st_size, len(content))
            self.assertEqual(read(self.p("a.tif")), content)
            code, text = sqyctl("ls", self.m.store)
            self.assertIn(self.name + "/a.tif", text)


if __name__ == "__main__":
    main()
