"""What is promised of a stack's inode, times and blocks while it is encoded behind the writer's back, and
that more than the spool holds goes through."""
import os
import random
import sys

sys.path.insert(0, os.path.dirname(__file__))
from mounted import MountedCase, eventually, main, read, write  # noqa: E402

WIDTH, HEIGHT = 512, 256


def stack(planes, seed=1):
    """A little-endian TIFF, ImageJ's way: one IFD, contiguous planes; noise in the low bits."""
    rng = random.Random(seed)
    plane = WIDTH * HEIGHT * 2
    text = b"ImageJ=1.53t\nimages=%d\nslices=%d\n\0" % (planes, planes)
    at = 8 + 2 + 11 * 12 + 4
    entries = [(254, 4, 1, 0), (256, 3, 1, WIDTH), (257, 3, 1, HEIGHT), (258, 3, 1, 16),
               (259, 3, 1, 1), (262, 3, 1, 1), (270, 2, len(text), at), (273, 4, 1, at + len(text)),
               (277, 3, 1, 1), (278, 3, 1, HEIGHT), (279, 4, 1, plane)]
    out = bytearray(b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little"))
    for tag, kind, n, value in entries:
        out += (tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + n.to_bytes(4, "little") +
                value.to_bytes(4, "little"))
    out += bytes(4) + text
    for _ in range(planes):
        voxels = bytearray(plane)
        voxels[0::2] = rng.randbytes(plane // 2)
        out += voxels
    return bytes(out)


class Rules(MountedCase):
    options = ("spool=16M", "cache=4M")

    def drain(self):
        os.setxattr(self.m.mnt, "user.sqyfs.command", b"drain")

    def state(self, *parts):
        return os.getxattr(self.p(*parts), "user.sqyfs.state").decode()

    def test_stack_becomes_a_blob_under_its_name(self):
        data = stack(20)
        write(self.p("a.tif"), data)
        self.drain()
        self.assertEqual(os.listdir(self.s()), ["a.tif.sqy"])
        self.assertEqual(os.listdir(self.d), ["a.tif"])
        self.assertEqual(self.state("a.tif"), "stored")
        self.assertGreater(float(os.getxattr(self.p("a.tif"), "user.sqyfs.ratio")), 1.2)
        self.assertLess(os.stat(self.s("a.tif.sqy")).st_size, len(data))
        self.assertEqual(read(self.p("a.tif")), data)

    def test_other_files_stay_verbatim(self):
        write(self.p("notes.txt"), b"text" * 1000)
        self.drain()
        self.assertEqual(read(self.s("notes.txt")), b"text" * 1000)
        self.assertEqual(self.state("notes.txt"), "plain")

    def test_inode_stays(self):
        fd = os.open(self.p("a.tif"), os.O_CREAT | os.O_WRONLY)
        first = os.fstat(fd).st_ino
        os.write(fd, stack(4))
        self.assertEqual(os.fstat(fd).st_ino, first)
        os.close(fd)
        self.drain()
        self.assertEqual(os.stat(self.p("a.tif")).st_ino, first)
        self.assertEqual(os.stat(self.s("a.tif.sqy")).st_ino, first)
        self.m.restart()
        self.assertEqual(os.stat(self.p("a.tif")).st_ino, first)

    def test_mtime_is_the_writers(self):
        write(self.p("a.tif"), stack(8))
        written = os.stat(self.p("a.tif")).st_mtime_ns
        self.drain()
        self.assertEqual(os.stat(self.p("a.tif")).st_mtime_ns, written)
        os.utime(self.p("a.tif"), ns=(1, 1_234_567_891))
        self.drain()
        self.m.restart()
        self.assertEqual(os.stat(self.p("a.tif")).st_mtime_ns, 1_234_567_891)
        self.assertEqual(os.stat(self.s("a.tif.sqy")).st_mtime_ns, 1_234_567_891)

    def test_size_is_exact_and_blocks_are_the_stores(self):
        data = stack(16)
        fd = os.open(self.p("a.tif"), os.O_CREAT | os.O_WRONLY)
        for i in range(0, len(data), 300_000):
            os.write(fd, data[i:i + 300_000])
            st = os.fstat(fd)
            self.assertEqual(st.st_size, min(len(data), i + 300_000))
            self.assertGreater(st.st_blocks, 0)
        os.close(fd)
        self.drain()
        st = os.stat(self.p("a.tif"))
        self.assertEqual(st.st_size, len(data))
        self.m.restart()
        self.assertEqual(os.stat(self.p("a.tif")).st_blocks,
                         os.stat(self.s("a.tif.sqy")).st_blocks)

    def test_tiny_files_have_blocks(self):
        write(self.p("tiny.tif"), b"II*\0")
        self.assertGreater(os.stat(self.p("tiny.tif")).st_blocks, 0)
        self.drain()
        self.assertGreater(os.stat(self.p("tiny.tif")).st_blocks, 0)

    def test_more_than_the_spool_holds_and_cold_reads(self):
        data = stack(200)  # 52 MB through 16 MB
        write(self.p("big.tif"), data)
        self.assertEqual(read(self.p("big.tif")), data)
        self.drain()
        self.m.restart()
        fd = os.open(self.p("big.tif"), os.O_RDONLY)
        for off in range(len(data) - 4096, 0, -len(data) // 40):
            self.assertEqual(os.pread(fd, 4096, off), data[off:off + 4096])
        os.close(fd)
        self.assertEqual(read(self.p("big.tif")), data)

    def test_rename_and_unlink_while_writing(self):
        data = stack(12)
        fd = os.open(self.p("tmp"), os.O_CREAT | os.O_WRONLY)
        os.write(fd, data[:1_000_000])
        os.rename(self.p("tmp"), self.p("a.tif"))
        os.write(fd, data[1_000_000:])
        os.close(fd)
        gone = os.open(self.p("gone.tif"), os.O_CREAT | os.O_RDWR)
        os.write(gone, data)
        os.unlink(self.p("gone.tif"))
        self.drain()
        self.assertEqual(os.pread(gone, len(data), 0), data)
        os.close(gone)
        self.assertEqual(read(self.p("a.tif")), data)
        self.assertEqual(os.listdir(self.s()), ["a.tif.sqy"])

    def test_what_gets_a_stacks_name_in_a_directory_of_another_name_becomes_one(self):
        data = stack(3)
        os.mkdir(self.p("d.sqy"))
        write(self.p("d.sqy", "part"), b"text that is no stack")
        self.drain()
        with open(self.p("d.sqy", "part"), "r+b") as file:
            file.write(data)
        os.rename(self.p("d.sqy", "part"), self.p("d.sqy", "a.tif"))
        eventually(lambda: os.listdir(self.s("d.sqy.sqy")) == ["a.tif.sqy"], "the stack")
        self.assertEqual(read(self.p("d.sqy", "a.tif")), data)

    def test_blob_over_plain_and_plain_over_blob(self):
        data = stack(3)
        for first, second in ((b"text", data), (data, b"text")):
            write(self.p("b.tif"), first)
            write(self.p("a.tif"), second)
            self.drain()
            os.rename(self.p("a.tif"), self.p("b.tif"))
            self.assertEqual(read(self.p("b.tif")), second)
            self.assertEqual(os.listdir(self.d), ["b.tif"])
            self.assertEqual(len(os.listdir(self.s())), 1)

    def test_stack_emptied_behind_the_mounts_back(self):
        data = stack(3)
        write(self.p("a.tif"), data)
        self.m.restart()  # with the writer's release, which close(2) does not wait for, it may settle once more
        self.assertEqual(read(self.p("a.tif")), data)
        os.truncate(self.s("a.tif.sqy"), 0)
        eventually(lambda: os.stat(self.p("a.tif")).st_size == 0, "the empty file")
        self.assertEqual(read(self.p("a.tif")), b"")
        write(self.p("a.tif"), data)
        self.drain()
        self.m.restart()
        self.assertEqual(read(self.p("a.tif")), data)


if __name__ == "__main__":
    main()
