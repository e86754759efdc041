"""A store and a mount of it for one test, and what the tests here share.

    with Mounted("chunk=64K") as m:
        ... m.path("a") in the mount, m.stored("a.sqy") in the store

SQYFS names the program. Where nothing can be mounted the test is skipped (exit 77).
"""
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = os.environ.get("SQYFS", "sqyfs")
DEADLINE_S = 120  # for what is certain to happen; only a failure waits so long
ROOT = os.geteuid() == 0


def skip(reason):
    print("skipped:", reason)
    sys.exit(77)


def require_fuse():
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        skip("no access to /dev/fuse")
    if not ROOT and not shutil.which("fusermount3"):
        skip("no fusermount3")


def eventually(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("did not come: " + what)
        time.sleep(0.01)


class Mounted:
    def __init__(self, *options, store=None, limits=None):
        self.dir = tempfile.mkdtemp(prefix="sqyfs-test-")
        os.chmod(self.dir, 0o755)
        self.store = store or os.path.join(self.dir, "store")
        self.mnt = os.path.join(self.dir, "mnt")
        os.makedirs(self.store, exist_ok=True)
        os.mkdir(self.mnt)
        self.options = list(options)
        self.limits = limits
        self.process = None

    def path(self, *parts):
        return os.path.join(self.mnt, *parts)

    def stored(self, *parts):
        return os.path.join(self.store, *parts)

    def start(self):
        args = [PROGRAM, "-f"]
        if self.options:
            args += ["-o", ",".join(self.options)]
        self.log = open(os.path.join(self.dir, "log"), "w+b")
        self.process = subprocess.Popen(args + [self.store, self.mnt], stderr=self.log,
                                        preexec_fn=self.limits)
        eventually(lambda: self.process.poll() is not None or self.is_up(), "the mount")
        if self.process.poll() is not None:
            raise AssertionError("ended at once: " + self.messages())
        return self

    def is_up(self):
        with open("/proc/self/mountinfo") as f:
            if not any(line.split()[4] == self.mnt for line in f):
                return False
        with contextlib.suppress(OSError):
            os.statvfs(self.mnt)
            return True
        return False

    def messages(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def wait(self):
        """Its exit code, after whatever has made it end."""
        code = self.process.wait(DEADLINE_S)
        self.process = None
        text = self.messages()
        for word in ("ERROR: AddressSanitizer", "runtime error", "ERROR: LeakSanitizer",
                     "WARNING: ThreadSanitizer"):
            assert word not in text, text
        self.log.close()
        assert not os.path.ismount(self.mnt)
        return code

    def unmount(self):
        command = ["umount", self.mnt] if ROOT else ["fusermount3", "-u", self.mnt]
        # a mount that is just up is busy while the daemon itself looks whether it answers
        eventually(lambda: subprocess.run(command).returncode == 0, "the end of the mount")
        code = self.wait()
        assert code == 0, code

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def restart(self):
        self.unmount()
        self.start()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if self.process is not None:
            try:
                if kind is None:
                    self.unmount()
            finally:
                if self.process is not None:
                    print(self.messages(), file=sys.stderr)
                    self.process.terminate()
                    self.process.wait(DEADLINE_S)
                self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class as_user:
    """Runs a function in a child process as somebody else; returns its errno, 0 for none."""

    def __init__(self, uid, gid, groups=(), umask=0o022):
        self.who = uid, gid, groups, umask

    def __call__(self, function, *args, **kwargs):
        child = os.fork()
        if child == 0:
            code = 255
            try:
                uid, gid, groups, umask = self.who
                os.setgroups(list(groups))
                os.setgid(gid)
                os.setuid(uid)
                os.umask(umask)
                function(*args, **kwargs)
                code = 0
            except OSError as e:
                code = e.errno
            except BaseException as e:  # shown, and told by the code
                print(repr(e), file=sys.stderr)
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class MountedCase(unittest.TestCase):
    """One mount for all tests of a class; each test has a directory `self.d` in it."""
    options = ()

    @classmethod
    def setUpClass(cls):
        cls.m = Mounted(*cls.options)
        cls.m.start()
        cls.n = 0

    @classmethod
    def tearDownClass(cls):
        try:
            cls.m.unmount()
        finally:
            shutil.rmtree(cls.m.dir, ignore_errors=True)

    def setUp(self):
        type(self).n += 1
        self.name = "%d" % self.n
        self.d = self.m.path(self.name)
        os.mkdir(self.d, 0o755)

    def p(self, *parts):
        return os.path.join(self.d, *parts)

    def s(self, *parts):
        return self.m.stored(self.name, *parts)

    def fails(self, code, function, *args, **kwargs):
        with self.assertRaises(OSError) as context:
            function(*args, **kwargs)
        self.assertEqual(os.strerror(context.exception.errno), os.strerror(code))


def write(path, data=b"", flags=os.O_CREAT | os.O_TRUNC, mode=0o644):
    fd = os.open(path, os.O_WRONLY | flags, mode)
    with os.fdopen(fd, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def main():
    require_fuse()
    unittest.main(verbosity=1)
