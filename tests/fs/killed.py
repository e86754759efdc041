#!/usr/bin/python3
"""The daemon is killed right after a file was replaced: the old one or the new one is there."""
import os
import signal
import subprocess
import unittest

import mounted
from mounted import Mounted, eventually, read, write

TIFF = b"II*\0\x08\0\0\0"


def kill(m):
    m.signal(signal.SIGKILL)
    m.process.wait()
    subprocess.run(["umount", "-l", m.mnt] if mounted.ROOT else ["fusermount3", "-uz", m.mnt],
                   check=True)
    eventually(lambda: not os.path.ismount(m.mnt), "the end of the mount")
    m.log.close()


class Killed(unittest.TestCase):
    def replaced(self, old, new, source):
        with Mounted("chunk=64K") as m:
            write(m.path("kept.tif"), old)
            fd = os.open(m.path("kept.tif"), os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
            write(m.path(source), new)
            os.rename(m.path(source), m.path("kept.tif"))
            kill(m)
            m.start()
            self.assertIn(read(m.path("kept.tif")), (old, new))

    def test_a_blob_over_a_blob(self):
        self.replaced(TIFF + b"old " * 50000, TIFF + b"new " * 60000, "saved.tif")

    def test_a_blob_over_a_plain_file(self):
        self.replaced(b"old " * 50000, TIFF + b"new " * 60000, "saved.tif")

    def test_a_few_bytes_over_a_blob(self):
        self.replaced(TIFF + b"old " * 50000, b"new", "saved.tmp")

    def test_a_plain_file_over_a_blob(self):
        self.replaced(TIFF + b"old " * 50000, b"new " * 60000, "saved.txt")


if __name__ == "__main__":
    mounted.main()
