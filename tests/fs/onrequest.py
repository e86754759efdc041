"""What may happen to a request on its way: signals, the end of who asked, of the connection or of the
mount, and requests of all lengths."""
import os
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from mounted import DEADLINE_S, Mounted, ROOT, main, read, write  # noqa: E402

BLOCK = 3 << 20  # several requests
N_WRITERS = 3

# Writes blocks that differ, each under a number, and tells after each how many there are.
WRITER = """
import os, signal, sys
sys.path.insert(0, %r)
from onrequest import block
if len(sys.argv) > 3:
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
fd = os.open(sys.argv[1], int(sys.argv[2]), 0o644)
for i in range(int(sys.argv[3]) if len(sys.argv) > 3 else 100000):
    data = block(i)
    while data:
        try:
            data = data[os.write(fd, data):]
        except OSError:
            sys.exit(3)
    print(i + 1, flush=True)
signal.setitimer(signal.ITIMER_REAL, 0)
""" % os.path.dirname(os.path.abspath(__file__))


def block(i):
    return i.to_bytes(8, "little") * (BLOCK // 8)


class Requests(unittest.TestCase):
    def setUp(self):
        self.m = Mounted("spool=16M").start()
        self.addCleanup(self.m.__exit__, None)

    def writer(self, name, flags=os.O_CREAT | os.O_WRONLY, *more):
        return subprocess.Popen([sys.executable, "-c", WRITER, self.m.path(name), str(flags), *more],
                                stdout=subprocess.PIPE, bufsize=0)

    def writers(self):
        flags = os.O_CREAT | os.O_WRONLY, os.O_CREAT | os.O_RDWR
        started = [self.writer("%d.bin" % i, flags[i % 2]) for i in range(N_WRITERS)]
        for w in started:
            w.stdout.readline()
        return started

    def accepted(self, writers):
        """How many blocks each of them has got rid of; they have ended or will soon."""
        counts = []
        for w in writers:
            lines = w.communicate(timeout=DEADLINE_S)[0].split()
            counts.append(int(lines[-1]) if lines else 1)
        return counts

    def check(self, counts, more=b""):
        for i, n in enumerate(counts):
            with open(self.m.path("%d.bin" % i), "rb") as f:
                for k in range(n):
                    self.assertEqual(f.read(BLOCK), block(k), (i, k))
                rest = f.read()
                self.assertEqual(rest, block(n)[:len(rest)])

    def test_writes_under_signals(self):
        for flags in os.O_WRONLY, os.O_RDWR:
            w = self.writer("0.bin", os.O_CREAT | os.O_TRUNC | flags, "40")
            counts = self.accepted([w])
            self.assertEqual((w.returncode, counts), (0, [40]))
            self.check(counts)

    def test_killed_writers(self):
        writers = self.writers()
        for w in writers:
            w.kill()
        self.check(self.accepted(writers))
        write(self.m.path("after"), b"x")
        self.m.restart()
        self.assertEqual(read(self.m.path("after")), b"x")

    def test_signal_while_many_write(self):
        writers = self.writers()
        self.m.signal()
        self.assertEqual(self.m.wait(), 0)
        counts = self.accepted(writers)
        self.assertEqual([w.returncode for w in writers], [3] * N_WRITERS)
        self.m.start()
        self.check(counts)

    @unittest.skipUnless(ROOT, "only root may")
    def test_aborted_connection(self):
        control = tempfile.mkdtemp(dir=self.m.dir)
        if subprocess.run(["mount", "-t", "fusectl", "none", control]).returncode != 0:
            self.skipTest("no fusectl")
        abort = os.path.join(control, str(os.minor(os.stat(self.m.mnt).st_dev)), "abort")
        writers = self.writers()
        try:
            with open(abort, "w") as f:
                f.write("1")
        finally:
            subprocess.run(["umount", control], check=True)
        counts = self.accepted(writers)
        self.assertEqual([w.returncode for w in writers], [3] * N_WRITERS)
        subprocess.run(["umount", "-l", self.m.mnt], check=True)
        self.assertEqual(self.m.wait(), 0)
        self.m.start()
        self.check(counts)

    def test_lengths(self):
        d = self.m.mnt
        for n in list(range(1, 60)) + [255]:
            a, b = os.path.join(d, "a" * n), os.path.join(d, "b" * n)
            write(a, b"x" * n)
            os.rename(a, b)
            self.assertEqual(read(b), b"x" * n)
        for n in (1, 39, 40, 41, 1000, 4000):
            link = os.path.join(d, "link%d" % n)
            os.symlink("t" * n, link)
            self.assertEqual(os.readlink(link), "t" * n)

    def test_long_attributes(self):
        beside = os.path.join(self.m.dir, "beside")
        write(beside)
        write(self.m.path("a"))
        for n in (1, 80, 3000, 20000, 65536):
            value, errors = os.urandom(n), []
            for path in beside, self.m.path("a"):
                try:
                    os.setxattr(path, "user." + "n" * 200, value)
                    self.assertEqual(os.getxattr(path, "user." + "n" * 200), value)
                    errors.append(0)
                except OSError as e:
                    errors.append(e.errno)
            self.assertEqual(errors[0], errors[1], n)


if __name__ == "__main__":
    main()
