"""Threads that make, move, link, list and remove the same few names at the same time. Nothing may be
answered but what a race may answer, no file may hold another's bytes, and the mount ends cleanly.

    stress.py [SEED [ROUNDS]]
"""
import errno
import os
import random
import sys
import threading

sys.path.insert(0, os.path.dirname(__file__))
from mounted import Mounted, require_fuse  # noqa: E402

NAMES = ["a", "a.sqy", "b.tif", "b.tif.sqy", "c", "d", "d/x.tif", "d/y", "e.sqy", "e.sqy/z"]
EXPECTED = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EINVAL,
            errno.EXDEV, errno.ESTALE, errno.EPERM, errno.ELOOP, errno.EBUSY}
THREADS = 6


def one(m, rng, tag):
    a, b = m.path(rng.choice(NAMES)), m.path(rng.choice(NAMES))
    kind = rng.randrange(10)
    if kind == 0:
        os.mkdir(a)
    elif kind == 1:
        os.rename(a, b)
    elif kind == 2:
        os.unlink(a)
    elif kind == 3:
        os.rmdir(a)
    elif kind == 4:
        os.link(a, b)
    elif kind == 5:
        os.listdir(m.mnt)
        for e in os.scandir(a):
            e.stat()
    elif kind == 6:
        st = os.stat(a)
        os.utime(a, ns=(1, 2))
        os.chmod(a, 0o755 | st.st_mode & 0o22)
    elif kind == 7:
        os.truncate(a, rng.randrange(100_000))
    else:
        fd = os.open(a, rng.choice((os.O_RDWR, os.O_WRONLY, os.O_RDONLY)) | os.O_CREAT |
                     rng.choice((0, os.O_TRUNC, os.O_EXCL)))
        try:
            data = b"II*\0" * 5000
            if rng.random() < 0.7:
                os.pwrite(fd, data, 4 * rng.randrange(1000))
            back = os.pread(fd, 100_000, 0)
            if set(back) - {0, *b"II*"}:
                raise AssertionError("foreign bytes in " + a)
        except OSError as e:
            if e.errno != errno.EBADF:
                raise
        finally:
            os.close(fd)


def main():
    require_fuse()
    seed, rounds = [int(a) for a in sys.argv[1:3]] + [1, 600][len(sys.argv) - 1:]
    failures = []

    def work(number):
        rng = random.Random(seed * 1000 + number)
        for _ in range(rounds):
            try:
                one(m, rng, number)
            except OSError as e:
                if e.errno not in EXPECTED:
                    failures.append(repr(e))
            except AssertionError as e:
                failures.append(str(e))

    with Mounted("spool=16M", "chunk=64K") as m:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failures, failures[:20]
        for top, dirs, files in os.walk(m.mnt):
            for name in files:
                with open(os.path.join(top, name), "rb") as f:
                    assert not set(f.read()) - {0, *b"II*"}, name
            os.listdir(top)


if __name__ == "__main__":
    main()
