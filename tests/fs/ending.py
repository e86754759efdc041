"""Ways in which a mount ends; what was accepted is in the store afterwards."""
import contextlib
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from mounted import DEADLINE_S, Mounted, eventually, main, read, write, PROGRAM, ROOT  # noqa: E402

SIZE = 3 << 20


class Ending(unittest.TestCase):
    def setUp(self):
        self.m = Mounted().start()
        self.addCleanup(self.m.__exit__, None)

    def check_after(self, code, name, data):
        self.assertEqual(code, 0)
        self.assertEqual(os.listdir(self.m.mnt), [])
        self.m.start()
        self.assertEqual(read(self.m.path(name)), data)

    def write_some(self, name="a.bin"):
        data = os.urandom(SIZE)
        write(self.m.path(name), data)
        return data

    def test_unmount(self):
        data = self.write_some()
        self.m.unmount()
        self.check_after(0, "a.bin", data)

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            data = self.write_some()
            self.m.signal(number)
            self.check_after(self.m.wait(), "a.bin", data)

    def test_signals_in_a_row(self):
        data = self.write_some()
        for _ in range(5):
            self.m.signal()
        self.check_after(self.m.wait(), "a.bin", data)

    def test_signal_while_mapped_pages_are_dirty(self):
        data = os.urandom(SIZE)
        fd = os.open(self.m.path("map"), os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, SIZE)
        m = mmap.mmap(fd, SIZE)
        os.close(fd)
        m[:] = data
        self.m.signal()  # busy: the mapping keeps the mount
        code = self.m.wait()
        self.check_after(code, "map", data)
        with self.assertRaises(OSError):
            m.flush()
        m.close()

    def test_signal_after_a_mapping_was_closed(self):
        data = os.urandom(SIZE)
        fd = os.open(self.m.path("map"), os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, SIZE)
        m = mmap.mmap(fd, SIZE)
        m[:] = data
        m.close()
        os.close(fd)
        self.m.signal()
        self.check_after(self.m.wait(), "map", data)

    def test_signal_while_a_file_is_open_and_written(self):
        fd = os.open(self.m.path("open"), os.O_CREAT | os.O_WRONLY)
        data = os.urandom(SIZE)
        os.write(fd, data)
        os.chdir(self.m.mnt)
        self.m.signal()
        code = self.m.wait()
        os.chdir("/")
        with self.assertRaises(OSError):
            os.write(fd, b"more")
        with contextlib.suppress(OSError):
            os.close(fd)
        self.check_after(code, "open", data)

    def test_lazy_unmount(self):
        fd = os.open(self.m.path("open"), os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"1")
        subprocess.run(["umount" if ROOT else "fusermount3", *([] if ROOT else ["-u"]),
                        "-l" if ROOT else "-z", self.m.mnt], check=True)
        os.write(fd, b"2")
        os.close(fd)
        self.check_after(self.m.wait(), "open", b"12")

    def test_signal_after_a_lazy_unmount(self):
        fd = os.open(self.m.path("open"), os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"1")
        subprocess.run(["umount", "-l", self.m.mnt] if ROOT else ["fusermount3", "-u", "-z", self.m.mnt],
                       check=True)
        self.m.signal()
        code = self.m.wait()
        with self.assertRaises(OSError):
            os.fstat(fd)
        with contextlib.suppress(OSError):
            os.close(fd)
        self.check_after(code, "open", b"1")

    def test_mount_again_while_the_last_one_is_still_storing(self):
        data = self.write_some()
        last = self.m.process
        subprocess.run(["umount", self.m.mnt] if ROOT else ["fusermount3", "-u", self.m.mnt],
                       check=True)
        self.m.start()  # waits for the lock
        self.assertEqual(last.wait(), 0)
        self.assertEqual(read(self.m.path("a.bin")), data)

    def test_daemon_ends_and_leaves_no_mount(self):
        self.m.unmount()
        subprocess.run([PROGRAM, self.m.store, self.m.mnt], check=True)
        self.assertTrue(os.path.ismount(self.m.mnt))
        write(self.m.path("a"), b"x")
        subprocess.run(["umount", self.m.mnt] if ROOT else ["fusermount3", "-u", self.m.mnt],
                       check=True)
        self.m.start()
        self.assertEqual(read(self.m.path("a")), b"x")

    def test_killed(self):
        self.write_some()
        fd = os.open(self.m.path("a.bin"), os.O_RDONLY)
        self.m.process.kill()
        self.m.process.wait()
        with self.assertRaises(OSError):
            os.fstat(fd)
        with contextlib.suppress(OSError):
            os.close(fd)
        r = subprocess.run([PROGRAM, self.m.store, self.m.mnt], capture_output=True, text=True)
        self.assertEqual(r.returncode, 1)
        self.assertIn("has died: run fusermount3 -u", r.stderr)
        subprocess.run(["fusermount3", "-u", self.m.mnt], check=True)
        self.m.process = None
        self.m.start()
        self.m.path("a.bin")

    def test_killed_while_it_flushes_files_that_are_being_synced(self):
        """Flushing asks the mount itself, and whoever is asked dies: it must not take all down."""
        def work(fd):
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    os.pwrite(fd, b"II*\0" + bytes(1 << 20), 0)
                    os.fsync(fd)
        for _ in range(4):
            fds = [os.open(self.m.path("%d.tif" % i), os.O_CREAT | os.O_RDWR) for i in range(4)]
            threads = [threading.Thread(target=work, args=(fd,), daemon=True) for fd in fds]
            for t in threads:
                t.start()
            time.sleep(0.2)
            self.m.signal()
            eventually(lambda: "still in use" in self.m.messages(), "the flush")
            self.m.process.kill()
            self.assertEqual(self.m.process.wait(DEADLINE_S), -signal.SIGKILL)
            for t in threads:
                t.join(DEADLINE_S)
                self.assertFalse(t.is_alive())
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)
            subprocess.run(["umount", "-l", self.m.mnt] if ROOT else
                           ["fusermount3", "-u", "-z", self.m.mnt], stderr=subprocess.DEVNULL)
            self.m.start()  # nobody has kept the lock of the store


if __name__ == "__main__":
    main()
