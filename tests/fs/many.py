"""More files than descriptors: the kernel is asked to forget the oldest."""
import os
import resource
import sys

sys.path.insert(0, os.path.dirname(__file__))
from mounted import Mounted, eventually, require_fuse, write  # noqa: E402

LIMIT, FILES, DIRECTORIES = 2000, 4000, 1200


def descriptors(m):
    return len(os.listdir("/proc/%d/fd" % m.process.pid))


def limits():
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


def main():
    require_fuse()
    with Mounted(limits=limits) as m:
        held = os.open(m.path("held"), os.O_CREAT | os.O_RDWR)
        os.mkdir(m.path("d"))
        for i in range(FILES):
            write(m.path("d", "f%d" % i), b"%d" % i)
        eventually(lambda: descriptors(m) < LIMIT * 3 // 4 + 200, "descriptors given back")
        for _ in range(2):
            for i in range(FILES):
                assert os.stat(m.path("d", "f%d" % i)).st_size == len("%d" % i)
        for e in os.scandir(m.path("d")):
            e.stat()
        for i in range(0, FILES, 7):
            with open(m.path("d", "f%d" % i), "rb") as f:
                assert f.read() == b"%d" % i
        for i in range(DIRECTORIES):
            os.makedirs(m.path("t", "d%d" % i, "below"))
        assert sum(len(files) for _, _, files in os.walk(m.mnt)) == FILES + 1
        os.write(held, b"still here")
        assert os.pread(held, 100, 0) == b"still here"
        assert os.stat(m.path("held")).st_ino == os.fstat(held).st_ino
        os.close(held)
        eventually(lambda: descriptors(m) < LIMIT * 3 // 4 + 200, "descriptors given back")


if __name__ == "__main__":
    main()
