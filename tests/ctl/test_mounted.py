#!/usr/bin/env python3
"""sqyctl against a live mount."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import unittest

import stacks
from test_ctl import ODD_NAMES, Place, read, run, write

SQYFS = os.environ["SQYFS"]


def is_mounted(path):
    return os.path.ismount(path)


class Mounted(Place):
    def setUp(self):
        super().setUp()
        self.store, self.mount = self.path("store"), self.path("mount")
        os.mkdir(self.store)
        os.mkdir(self.mount)
        self.start()
        self.addCleanup(self.stop)
        self.data = stacks.tiff(120, 90, 8, stacks.voxels(120, 90, 8))
        self.file = os.path.join(self.mount, "stack.tif")
        write(self.file, self.data)

    def start(self, *options, mount=None):
        done = subprocess.run([SQYFS, *options, self.store, mount or self.mount], capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual(done.returncode, 0, done)

    def stop(self):
        if is_mounted(self.mount):
            subprocess.run(["fusermount3", "-u", self.mount], check=True, timeout=60)
        with open(os.path.join(self.store, ".sqyfs", "lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the daemon has ended

    def rows(self, *options):
        return {row.get("path_hex") or row["path"]: row for row in
                json.loads(self.good("ls", "--json", *options, self.store))}

    def test_drain(self):
        self.good("drain", self.mount)
        blob = os.path.join(self.store, "stack.tif.sqy")
        self.assertEqual(self.decoded(blob), self.data)
        self.good("verify", self.store)
        self.assertEqual(list(self.rows()), ["stack.tif"])
        other = self.path("other")
        os.mkdir(other)
        self.start("-o", "ro", mount=other)
        self.good("drain", other)
        subprocess.run(["fusermount3", "-u", other], check=True, timeout=60)
        self.failed("drain", self.file)
        self.failed("drain", self.store)

    def test_info(self):
        self.good("drain", self.mount)
        info = json.loads(self.good("info", "--json", self.file))
        self.assertEqual(info["kind"], "mounted")
        self.assertEqual(info["state"], "stored")
        self.assertEqual(info["plain_bytes"], len(self.data))
        self.assertGreater(info["ratio"], 1)
        self.assertNotEqual(info["pipeline"], "")
        self.assertIn(b"stored", self.good("info", self.file))
        notes = os.path.join(self.mount, "notes.txt")
        write(notes, b"some text")
        self.good("drain", self.mount)
        info = json.loads(self.good("info", "--json", notes))
        self.assertEqual(info["state"], "plain")
        self.assertEqual(info["pipeline"], "")
        self.good("info", notes)

    def test_bench(self):
        for _ in range(2):
            result = json.loads(self.good("bench", "--json", "--seconds", "0", self.file))
            self.assertEqual(result["voxel_bytes"], 120 * 90 * 8 * 2)
            self.assertEqual(result["plain_bytes"], len(self.data))
            self.good("drain", self.mount)

    def test_stats(self):
        stats = json.loads(self.good("stats", "--json", self.mount))
        self.assertIsInstance(stats, dict)
        for key in ["bytes_written", "written_bytes_per_second", "stored_bytes_per_second", "read_bytes_per_second",
                    "queue_depth", "queue_bytes", "lag_planes", "lag_chunks", "lag_seconds", "hours_left",
                    "chunks_target", "bytes_target", "chunks_fast", "bytes_fast", "chunks_raw", "bytes_raw",
                    "chunks_reencoded", "due_stacks", "due_reencode_bytes", "ratio", "disk_free_bytes"]:
            self.assertIsInstance(stats[key], (int, float, type(None)), key)
        self.assertEqual(stats["bytes_written"], len(self.data))
        self.assertEqual(stats["rung"], "target")
        self.assertIs(stats["reencoding"], False)
        text = self.good("stats", self.mount).decode()
        lines = [line.split()[0] for line in text.splitlines()]
        self.assertEqual(lines, ["in", "store", "out", "lag", "rung", "later", "disk", "cache", "stacks"])
        self.assertNotIn("nan", text)
        self.failed("stats", self.file)

    def test_verify(self):
        notes = os.path.join(self.mount, "notes.txt")
        write(notes, b"some text")
        self.assertIn(b"2 files", self.good("verify", self.mount))
        os.mkdir(os.path.join(self.mount, "empty"))
        self.assertIn(b"0 files", self.good("verify", os.path.join(self.mount, "empty")))
        self.good("verify", self.file, notes)
        self.good("drain", self.mount)
        self.stop()
        blob = os.path.join(self.store, "stack.tif.sqy")
        content = bytearray(read(blob))
        content[6000] ^= 0xff
        write(blob, content)
        self.start()
        done = run("verify", self.mount)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(os.fsencode(self.file) + b": damaged: bytes ", done.stdout)
        self.assertIn(b"1 damaged", done.stdout)

    def test_verify_names_a_cut_blob_that_nobody_writes(self):
        self.good("drain", self.mount)
        blob = os.path.join(self.store, "stack.tif.sqy")
        content = read(blob)
        for length in [len(content) - 1, len(content) // 2, 4100]:
            os.truncate(blob, length)
            for path in [self.store, blob]:
                done = run("verify", path)
                self.assertEqual(done.returncode, 1, (length, done))
                self.assertIn(os.fsencode(blob) + b": damaged: ", done.stdout)
            write(blob, content)
        self.good("verify", self.store)

    def test_verify_passes_what_is_being_written(self):
        with open(self.file, "r+b") as file:
            for number in range(40):
                file.seek(16 + number * 1000)
                file.write(os.urandom(500))
                file.flush()
                if number % 8 == 0:
                    os.fsync(file.fileno())
                self.good("verify", self.store)
        for number in range(10): # also while it is being stored
            write(self.file, os.urandom(100000) + self.data)
            self.good("verify", self.store)

    def test_compact(self):
        with open(self.file, "r+b") as file:
            for at in range(16, len(self.data) - 100, 3000):
                file.seek(at)
                file.write(self.data[at:at + 50])
                os.fsync(file.fileno())
        self.good("drain", self.mount)
        blob = os.path.join(self.store, "stack.tif.sqy")
        done = self.failed("compact", blob)
        self.assertIn(b"mounted", done.stderr)
        before = os.stat(self.file)
        self.good("compact", self.file)
        self.assertEqual(read(self.file), self.data)
        self.assertEqual(os.stat(self.file).st_mtime_ns, before.st_mtime_ns)
        self.good("verify", self.store)
        self.assertEqual(self.decoded(blob), self.data)
        with open(self.file, "r+b"):
            self.failed("compact", self.file)

    def test_index_of_a_mount_is_what_reindex_makes(self):
        for name in ODD_NAMES:
            write(os.path.join(os.fsencode(self.mount), b"odd-" + name), self.data)
        os.mkdir(self.mount + "/dir.sqy")
        write(self.mount + "/dir.sqy/in.tif", self.data)
        self.good("drain", self.mount)
        self.stop()
        indexed = self.rows()
        self.assertEqual(len(indexed), len(ODD_NAMES) + 2)
        self.assertEqual(indexed, self.rows("--scan"))
        self.good("reindex", self.store)
        self.assertEqual(indexed, self.rows())
        for suffix in ["", "-wal", "-shm"]:
            if os.path.exists(self.store + "/.sqyfs/index.db" + suffix):
                os.unlink(self.store + "/.sqyfs/index.db" + suffix)
        self.start()
        self.assertEqual(read(self.file), self.data)
        self.good("reindex", self.store)
        self.assertEqual(indexed, self.rows())

    def test_rows_stay_in_directories_that_have_another_name_in_the_store(self):
        os.mkdir(self.mount + "/dir.sqy")
        write(self.mount + "/dir.sqy/in.tif", self.data)
        write(self.mount + "/gone.tif", self.data)
        self.good("drain", self.mount)
        self.stop()
        os.unlink(self.store + "/gone.tif.sqy")
        self.assertIn("gone.tif", self.rows())
        self.start()
        while "gone.tif" in self.rows(): # all rows have been looked at before the first one goes
            time.sleep(0.01)
        self.assertIn("dir.sqy/in.tif", self.rows())

    def test_stores_are_not_mounts(self):
        below = os.path.join(self.mount, "below")
        os.mkdir(below)
        write(os.path.join(below, "user's.sqy"), b"")
        for command in ["ls", "reindex"]:
            for path in [self.mount, below]:
                done = self.failed(command, path)
                self.assertIn(b"lies in a mount", done.stderr)
        self.assertEqual(os.listdir(below), ["user's.sqy"])

    def test_what_a_mount_has_is_decoded_already(self):
        for options in [[], ["--salvage"]]:
            done = self.failed("decode", *options, self.file, self.path("out"))
            self.assertIn(b"copy it", done.stderr)

    def test_a_plain_file_is_not_compacted(self):
        notes = os.path.join(self.mount, "notes.txt")
        write(notes, b"some text")
        self.good("drain", self.mount)
        self.assertIn(b"only stacks", self.failed("compact", notes).stderr)

    def test_mounted_with_closed_streams(self):
        """A daemon that leaves its terminal must not close the store's files instead."""
        self.good("drain", self.mount)
        self.stop()
        script = 'exec "$@" <&- >&- 2>&-'
        done = subprocess.run(["sh", "-c", script, "sh", SQYFS, self.store, self.mount], timeout=130)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(read(self.file), self.data)
        write(self.file, self.data[::-1])
        self.good("drain", self.mount)
        self.assertEqual(read(self.file), self.data[::-1])

    def test_into_and_out_of_a_mount(self):
        """Outputs in a mount: no unnamed files there, so they get a name that is taken away."""
        plain = self.path("p.tif")
        write(plain, self.data)
        self.good("encode", plain, os.path.join(self.mount, "p.tif.sqy"))
        self.good("decode", os.path.join(self.mount, "p.tif.sqy"), os.path.join(self.mount, "q.tif"))
        self.assertEqual(read(os.path.join(self.mount, "q.tif")), self.data)
        self.assertEqual(sorted(os.listdir(self.mount)), ["p.tif.sqy", "q.tif", "stack.tif"])


if __name__ == "__main__":
    if not os.path.exists("/dev/fuse") or shutil.which("fusermount3") is None:
        print("no /dev/fuse here: nothing can be mounted")
        sys.exit(77)
    unittest.main(verbosity=1)
