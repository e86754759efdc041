#!/usr/bin/env python3
"""sqyctl as its users see it: every command, every error, odd names, damage everywhere."""

import csv
import fcntl
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import unittest

import stacks

SQYCTL = os.environ["SQYCTL"]
SHARED = os.environ.get("SQYFS_SHARED", "")
COMMANDS = ["encode", "decode", "info", "verify", "ls", "reindex", "drain", "stats", "compact", "bench", "codecs"]
PIPELINES = ["pass_through", "lz4", "bitswap1->lz4", "bitshuffle->lz4", "zstd(level=3)",
             "bitshuffle->zstd"]
ODD_NAMES = [b"plain.tif", b"with space.tif", b"quote'\".tif", b"new\nline.tif", b"-dash.tif",
             b"caf\xc3\xa9.tif", b"latin\xe9.tif", b"\xff\xfe.tif", b"back\\slash.tif", b"%s%n.tif",
             b"x.sqy", b"x.SQY.sqy"]


def run(*args, **kwargs):
    kwargs.setdefault("timeout", 120)
    return subprocess.run([SQYCTL, *args], stdin=subprocess.DEVNULL, capture_output=True, **kwargs)


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Place(unittest.TestCase):
    """A temporary directory, and what is expected of a run."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="test-ctl-")
        self.addCleanup(shutil.rmtree, self.dir)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def good(self, *args, **kwargs):
        done = run(*args, **kwargs)
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(done.stderr, b"", done)
        return done.stdout

    def failed(self, *args, lines=1, **kwargs):
        done = run(*args, **kwargs)
        self.assertEqual(done.returncode, 1, done)
        self.assertEqual(done.stderr.count(b"\n"), lines, done)
        self.assertTrue(done.stderr.startswith(b"sqyctl"), done)
        return done

    def misused(self, *args):
        done = run(*args)
        self.assertEqual(done.returncode, 2, done)
        self.assertIn(b"usage: sqyctl", done.stderr)
        self.assertEqual(done.stdout, b"")
        return done

    def make(self, name="stack.tif", width=40, height=30, depth=6, pipeline=None, **kwargs):
        """A stack and its blob beside it; returns both paths and the stack's bytes."""
        data = stacks.tiff(width, height, depth,
                           stacks.voxels(width, height, depth, kwargs.get("size", 2)), **kwargs)
        plain = self.path(name)
        write(plain, data)
        self.good("encode", *(["-p", pipeline] if pipeline else []), plain, plain + ".sqy")
        return plain, plain + ".sqy", data

    def decoded(self, blob):
        out = self.path("decoded.out")
        self.good("decode", blob, out)
        data = read(out)
        os.unlink(out)
        return data


class Arguments(Place):
    def test_help(self):
        for flag in ["--help", "-h"]:
            text = self.good(flag).decode()
            for command in COMMANDS:
                self.assertIn("  " + command + " ", text)
                one = self.good(command, flag).decode()
                self.assertIn("usage: sqyctl " + command, one)

    def test_version(self):
        for flag in ["--version", "-V"]:
            for args in [[flag], *([command, flag] for command in COMMANDS)]:
                self.assertRegex(self.good(*args).decode(), r"^sqyctl \d+\.\d+\.\d+\n$")

    def test_wrong_arguments_cannot_make_lines(self):
        for args in [["no\nsuch"], ["encode", "--no\nsuch", "a", "b"], ["encode", "-p", "x\ny\33", "a", "b"],
                     ["encode", "--raw", "x\ny", "a", "b"], ["info", "-\n", "a"]]:
            done = self.misused(*args)
            self.assertTrue(done.stderr.split(b"\n")[1].startswith(b"usage: sqyctl"), done)
            self.assertNotIn(b"\33", done.stderr)

    def test_wrong_arguments(self):
        self.misused()
        self.misused("nonsense")
        self.misused("--nonsense")
        for command in COMMANDS:
            if command != "codecs":
                self.misused(command)
            self.misused(command, "--nonsense", "a", "b")
            self.misused(command, "-Z", "a", "b")
            if command not in ["verify", "bench"]:
                self.misused(command, "a", "b", "c")
        self.misused("encode", "a")
        self.misused("decode", "a")
        self.misused("info", "--json=yes", "a")
        self.misused("encode", "a", "-")
        for option in [["-p"], ["--pipeline"], ["--raw"], ["--chunk"], ["--threads"]]:
            self.misused("encode", "a", "b", *option)
        for option in [["-p"], ["--raw"], ["--chunk"], ["--sample"], ["--seconds"], ["--csv"]]:
            self.misused("bench", "a", *option)

    def test_codecs(self):
        text = self.good("codecs").decode()
        self.assertRegex(text, r"(?m)^zstd +sink +exact +- +write +read ")
        stages = json.loads(self.good("codecs", "--json"))["stages"]
        self.assertEqual([stage["name"] for stage in stages],
                         [line.split()[0] for line in text.splitlines() if line[0] != " "])
        for stage in stages:
            if stage["name"] in ["h264", "hevc"]:
                self.assertTrue(stage["notes"])
                self.assertFalse(stage["lossless"])
            self.assertTrue(stage["read"] or stage["notes"], stage)

    def test_wrong_values(self):
        plain = self.path("x")
        write(plain, b"x")
        out = self.path("x.sqy")
        for option in [["-p", "nonsense"], ["-p", ""], ["-p", "lz4->"], ["-p", "lz4(accel=)"],
                       ["-p", "quantiser->h264(preset=quick)"], ["-p", "hevc(foo=1)"],
                       ["--raw", "x"], ["--raw", "*:0x5"], ["--raw", "*:4x4:float12"],
                       ["--raw", "*:4x4:uint16:le?"], ["--chunk", "1"], ["--chunk", "1T"],
                       ["--chunk", "-1"], ["--threads", "0"], ["--threads", "x"],
                       ["--threads", "99999999999999999999"]]:
            done = self.misused("encode", *option, plain, out)
            self.assertTrue(done.stderr.startswith(b"sqyctl encode: "), done)
            self.assertFalse(os.path.exists(out))

    def test_output_that_cannot_be_written(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        for args in [["--help"], ["--version"], ["encode", "--help"], ["ls", "--version"]]:
            with open("/dev/full", "wb") as full:
                done = subprocess.run([SQYCTL, *args], stdout=full, stderr=subprocess.PIPE)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(b"standard output", done.stderr)


    def test_closed_streams(self):
        """What is opened next would get their numbers, and what is printed would go into it."""
        plain, blob, data = self.make()
        damaged, out = self.path("damaged.sqy"), self.path("out")
        content = bytearray(read(blob))
        content[5000] ^= 1
        write(damaged, content)
        script = 'exec "$@" <&- >&- 2>&-'
        for args, code in [(["encode", plain, out], 0), (["decode", blob, out], 0), (["compact", blob], 0),
                           (["decode", "--salvage", damaged, out], 1), (["verify", blob], 1),
                           (["decode", blob, "-"], 1), (["--version"], 1)]:
            done = subprocess.run(["sh", "-c", script, "sh", SQYCTL, *args], timeout=60)
            self.assertEqual(done.returncode, code, args)
        self.assertEqual(self.decoded(blob), data)
        self.assertEqual(len(read(out)), len(data))
        self.assertNotIn(b"sqyctl:", read(out))


class RoundTrip(Place):
    def check(self, data, *options, name="x.tif"):
        plain, blob = self.path(name), self.path(name + ".sqy")
        write(plain, data)
        self.good("encode", *options, plain, blob)
        self.assertEqual(self.decoded(blob), data)
        self.good("verify", blob)
        return len(data) / max(1, os.path.getsize(blob))

    def test_pipelines_and_forms(self):
        forms = [dict(), dict(order=">"), dict(big=True), dict(order=">", big=True), dict(rows=7),
                 dict(size=1), dict(size=4, sample_format=3)]
        for pipeline in PIPELINES:
            for form in forms:
                with self.subTest(pipeline=pipeline, form=form):
                    size = form.get("size", 2)
                    data = stacks.tiff(37, 29, 5, stacks.voxels(37, 29, 5, size), **form)
                    self.check(data, "-p", pipeline)

    def test_images_become_smaller(self):
        data = stacks.tiff(256, 128, 4, stacks.voxels(256, 128, 4))
        self.assertGreater(self.check(data), 2)

    def test_any_bytes(self):
        rng = random.Random(3)
        for data in [b"", b"x", b"II*\0", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08\xff\xff", bytes(70000),
                     rng.randbytes(3 << 20), b"|01307#!" * 1000, b"\x50\x2a\x4d\x18" * 5000]:
            for pipeline in ["bitswap1->lz4", "bitshuffle->zstd", "pass_through"]:
                with self.subTest(data=data[:16], pipeline=pipeline):
                    self.check(data, "-p", pipeline)

    def test_blob_of_a_blob(self):
        plain, blob, data = self.make()
        self.check(read(blob), name="inner.sqy")

    def test_raw_policies(self):
        data = stacks.voxels(64, 48, 9)
        plain = self.check(data, "-p", "lz4", name="t.raw")
        shaped = self.check(data, "-p", "bitshuffle->zstd", "--raw", "*.raw:64x48", name="t.raw")
        self.assertGreater(shaped, plain)
        self.check(stacks.swap(data, 2), "--raw", "*.dat:1x1", "--raw", "t*:64x48:uint16:be",
                   name="t.raw")
        self.check(data + b"tail", "--raw", "t*:64x48", name="t.raw")
        self.check(data[:100], "--raw", "t*:64x48", name="t.raw")

    def test_loss_that_is_forbidden(self):
        plain, blob, data = self.make()
        os.makedirs(self.path("store", "kept", "deep"))
        write(self.path("store", ".sqyfs-policy"), b"lossless\talways\tkept/\r\n")
        kept, other = self.path("store", "kept", "deep", "a.tif.sqy"), self.path("store", "a.tif.sqy")
        for pipeline in ["quantiser->lz4", "noise(q=1)->lz4"]:
            done = self.failed("encode", "-p", pipeline, plain, kept)
            self.assertIn(b"lossless=always", done.stderr)
            self.assertFalse(os.path.exists(kept))
        self.good("encode", "-p", "lz4", plain, kept)
        run("encode", "-p", "quantiser->lz4", plain, other)
        self.assertTrue(os.path.exists(other))
        done = run("encode", "-p", "quantiser->lz4", plain, "a.tif.sqy", cwd=os.path.dirname(kept))
        self.assertIn(b"lossless=always", done.stderr)
        try:
            os.setxattr(plain, "user.sqyfs.quality", b"lossy pipeline=noise")
        except OSError:
            return
        done = self.failed("encode", "-p", "quantiser->lz4", plain, other)
        self.assertIn(b"lost something already", done.stderr)
        self.good("encode", "-p", "lz4", plain, other)

    def test_chunks_and_threads(self):
        data = stacks.tiff(300, 200, 20, stacks.voxels(300, 200, 20))
        for options in [["--chunk", "64K"], ["--chunk", "64M", "--threads", "1"],
                        ["--chunk", "65537", "--threads", "7"]]:
            for pipeline in ["bitswap1->lz4", "bitshuffle->lz4", "bitshuffle->zstd"]:
                with self.subTest(options=options, pipeline=pipeline):
                    self.check(data, "-p", pipeline, *options)

    def test_sparse_stays_sparse(self):
        plain, blob, out = self.path("s.tif"), self.path("s.tif.sqy"), self.path("out")
        with open(plain, "wb") as file:
            file.truncate(200 << 20)
            file.seek(100 << 20)
            file.write(b"in the middle")
        self.good("encode", plain, blob)
        self.good("decode", blob, out)
        self.assertEqual(subprocess.run(["cmp", plain, out]).returncode, 0)
        self.assertLess(os.stat(out).st_blocks * 512, 40 << 20)

    def test_sqeazys_form(self):
        """Without our key in the header the payload has to be what sqeazy itself would read."""
        header = """{"pipename": "%s", "raw": {"type": "uint%d", "rank": "3",
            "shape": {"dim": "%d", "dim": "%d", "dim": "%d"}}, "encoded": {"bytes": "%d"}}
|01307#!"""
        for width, height, depth, size in [(64, 48, 9, 2), (37, 29, 5, 2), (37, 29, 5, 1),
                                           (700, 500, 7, 2)]:
            voxels = stacks.voxels(width, height, depth, size)
            for pipeline in PIPELINES:
                with self.subTest(pipeline=pipeline, width=width, size=size):
                    plain, blob, out = self.path("x.tif"), self.path("x.sqy"), self.path("out.tif")
                    write(plain, stacks.tiff(width, height, depth, voxels, size=size, order=">"))
                    self.good("encode", "-p", pipeline, "--chunk", "64K", plain, blob)
                    wanted = pipeline in ["lz4", "bitswap1->lz4", "bitshuffle->lz4"]
                    info = json.loads(self.good("info", "--json", blob))
                    self.assertEqual(info["upstream"], wanted)
                    if not wanted:
                        continue
                    content = read(blob)
                    payload = content[content.index(b"|01307#!") + 8:]
                    write(blob, (header % (pipeline, 8 * size, depth, height, width,
                                           len(payload))).encode() + payload)
                    self.good("decode", blob, out)
                    got = stacks.read_tiff(read(out))
                    self.assertEqual(got[:3], (width, height, 8 * size))
                    self.assertTrue(b"".join(got[4]) == voxels)

    def whole(self, pipeline, data, name="w.tif"):
        """A file of sqeazy's own, and the TIFF that it decodes to."""
        plain, blob, out = self.path(name), self.path("w.sqy"), self.path("w.out.tif")
        write(plain, data)
        done = run("encode", "-p", pipeline, plain, blob)
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(done.stderr.count(b"\n"), 1, done)
        self.assertIn(b"voxels alone", done.stderr)
        self.assertNotIn(b'"sqyfs"', read(blob).split(b"|01307#!")[0])
        self.assertEqual(json.loads(self.good("info", "--json", blob))["kind"], "sqeazy")
        self.good("verify", blob)
        self.good("decode", blob, out)
        return done.stderr, stacks.read_tiff(read(out))

    def test_whole_volumes(self):
        for size, order in [(1, "<"), (2, "<"), (2, ">")]:
            voxels = stacks.voxels(37, 29, 5, size)
            data = stacks.tiff(37, 29, 5, voxels, size=size, order=order)
            for pipeline in ["zcurve_reorder->lz4", "raster_reorder(tile_size=4)->bitswap1->lz4",
                             "frame_shuffle->lz4", "tile_shuffle(tile_size=7)->lz4", "diff3x3x1",
                             "diff3x3x1->bitshuffle->lz4", "tile_shuffle"]:
                with self.subTest(pipeline=pipeline, size=size, order=order):
                    told, got = self.whole(pipeline, data)
                    self.assertNotIn(b"with loss", told)
                    self.assertEqual(got[:3], (37, 29, 8 * size))
                    self.assertEqual(b"".join(got[4]), voxels)
            for pipeline in ["quantiser->lz4", "remove_background(threshold=9)->lz4",
                             "rmestbkrd->bitswap1->lz4",
                             "quantiser(weighting_function=power_of_1_2)->bitshuffle->lz4"]:
                with self.subTest(pipeline=pipeline, size=size, order=order):
                    told, got = self.whole(pipeline, data)
                    self.assertIn(b"with loss", told)
                    self.assertEqual(got[:3], (37, 29, 8 * size))
        self.whole("quantiser->lz4", stacks.tiff(20, 10, 3, stacks.voxels(20, 10, 3), rows=3))

    def test_whole_volumes_that_cannot_be(self):
        stack = stacks.tiff(37, 29, 5, stacks.voxels(37, 29, 5))
        floats = stacks.tiff(37, 29, 5, stacks.voxels(37, 29, 5, 4), size=4, sample_format=3)
        signed = stacks.tiff(37, 29, 5, stacks.voxels(37, 29, 5), sample_format=2)
        for data, pipeline in [(b"no image", "quantiser->lz4"), (floats, "quantiser->lz4"),
                               (floats, "zcurve_reorder->lz4"), (signed, "quantiser->lz4"),
                               (stack, "quantiser->zstd"), (stack, "zcurve_reorder->zstd"),
                               (stack, "rmbkrd_neighbor5x5x5->lz4"), (stack, "zcurve_reorder(tile_size=8)"),
                               (stack, "raster_reorder(tile_size=5)->lz4")]:
            with self.subTest(pipeline=pipeline, data=data[:8]):
                plain = self.path("c.tif")
                write(plain, data)
                self.failed("encode", "-p", pipeline, plain, self.path("c.sqy"))
                self.assertFalse(os.path.exists(self.path("c.sqy")))
        self.misused("encode", "-p", "quantiser->h263", plain, self.path("c.sqy"))

    def test_odd_names(self):
        data = stacks.tiff(20, 10, 2, stacks.voxels(20, 10, 2))
        for name in ODD_NAMES:
            with self.subTest(name=name):
                plain = os.path.join(os.fsencode(self.dir), name)
                write(plain, data)
                self.good("encode", "--", plain, plain + b".sqy")
                self.good("decode", "--", plain + b".sqy", plain + b".out")
                self.assertEqual(read(plain + b".out"), data)
                self.good("info", "--", plain + b".sqy")
        os.chdir(self.dir)
        self.addCleanup(os.chdir, "/")
        self.good("decode", "--", "-dash.tif.sqy", "-o")
        self.assertEqual(read("-o"), data)

    def test_times_and_permissions(self):
        plain, blob, data = self.make()
        os.chmod(plain, 0o640)
        os.utime(plain, ns=(10**18, 1234567890_123456789))
        os.unlink(blob)
        self.good("encode", plain, blob)
        self.assertEqual(os.stat(blob).st_mtime_ns, 1234567890_123456789)
        self.assertEqual(os.stat(blob).st_mode & 0o777, 0o640)
        os.utime(blob)
        out = self.path("out")
        self.good("decode", blob, out)
        self.assertEqual(os.stat(out).st_mtime_ns, 1234567890_123456789)
        self.assertEqual(os.stat(out).st_mode & 0o777, 0o640)
        os.chmod(out, 0o604)
        self.good("decode", blob, out)
        self.assertEqual(os.stat(out).st_mode & 0o777, 0o604)

    def test_corpus(self):
        corpus = os.path.join(SHARED, "corpus")
        if not os.path.isdir(corpus):
            self.skipTest("no corpus beside the project")
        blob, out = self.path("b.sqy"), self.path("out")
        for dir_path, _, names in os.walk(corpus):
            for number, name in enumerate(sorted(names)):
                source = os.path.join(dir_path, name)
                pipeline = PIPELINES[number % len(PIPELINES)]
                with self.subTest(source=source, pipeline=pipeline):
                    self.good("encode", "-p", pipeline, source, blob)
                    self.good("decode", blob, out)
                    self.assertTrue(read(source) == read(out))


class Outputs(Place):
    def leftovers(self, *known):
        return sorted(set(os.listdir(self.dir)) - set(known))

    def test_standard_output(self):
        plain, blob, data = self.make()
        self.assertEqual(self.good("decode", blob, "-"), data)

    def test_pipe_closed_early(self):
        plain = self.path("big")
        write(plain, os.urandom(8 << 20))
        self.good("encode", "-p", "lz4", plain, plain + ".sqy")
        for ignore in [False, True]:
            child = subprocess.Popen([SQYCTL, "decode", plain + ".sqy", "-"],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     restore_signals=not ignore)
            child.stdout.read(10)
            child.stdout.close()
            error = child.stderr.read()
            child.stderr.close()
            self.assertIn(child.wait(timeout=60), [1] if ignore else [-signal.SIGPIPE])
            self.assertEqual(error.count(b"\n"), 1 if ignore else 0)

    def test_devices_and_pipes_are_written_to(self):
        plain, blob, data = self.make()
        self.good("decode", blob, "/dev/null")
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))
        self.failed("decode", blob, "/dev/full")
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/full").st_mode))
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        child = subprocess.Popen([SQYCTL, "decode", blob, fifo])
        self.assertEqual(read(fifo), data)
        self.assertEqual(child.wait(timeout=60), 0)
        self.assertTrue(stat.S_ISFIFO(os.stat(fifo).st_mode))
        self.failed("encode", plain, "/dev/null")

    def test_output_is_replaced_only_on_success(self):
        plain, blob, data = self.make()
        out = self.path("out")
        write(out, b"precious")
        damaged = self.path("damaged.sqy")
        content = bytearray(read(blob))
        for at in range(5000, len(content), 97):
            content[at] ^= 0x55
        write(damaged, content)
        before = os.stat(out)
        self.failed("decode", damaged, out)
        self.failed("decode", plain, out)
        self.failed("decode", self.path("nothing"), out)
        self.failed("encode", self.path("nothing"), out)
        self.failed("encode", self.dir, out)
        self.assertEqual(read(out), b"precious")
        self.assertEqual(os.stat(out).st_ino, before.st_ino)
        self.good("decode", blob, out)
        self.assertEqual(read(out), data)
        self.assertEqual(self.leftovers("stack.tif", "stack.tif.sqy", "out", "damaged.sqy"), [])

    def test_input_is_never_the_output(self):
        plain, blob, data = self.make()
        os.link(plain, self.path("other"))
        os.symlink(plain, self.path("link"))
        for out in [plain, self.path("other"), self.path("link"), self.path(".", "stack.tif")]:
            self.failed("encode", plain, out)
        content = read(blob)
        self.failed("decode", blob, blob)
        self.assertEqual(read(plain), data)
        self.assertEqual(read(blob), content)

    def test_places_that_cannot_be(self):
        plain, blob, data = self.make()
        for out in [self.dir, self.dir + "/", self.path("no", "x"), self.path("stack.tif", "x"),
                    self.path("n" * 300), self.path("."), ""]:
            self.failed("decode", blob, out)
            self.failed("encode", plain, out)
        self.assertEqual(self.leftovers("stack.tif", "stack.tif.sqy"), [])

    def test_links_stay_links(self):
        plain, blob, data = self.make()
        target, link = self.path("target"), self.path("link")
        write(target, b"old")
        os.symlink("target", link)
        self.good("decode", blob, link)
        self.assertTrue(os.path.islink(link))
        self.assertEqual(read(target), data)

    def test_links_to_nowhere_are_not_replaced(self):
        plain, blob, data = self.make()
        for target in ["nowhere", "link"]:
            link = self.path("link")
            os.symlink(target, link)
            for args in [["decode", blob], ["encode", plain]]:
                self.assertIn(b"leads nowhere", self.failed(*args, link).stderr)
            self.assertEqual(os.readlink(link), target)
            os.unlink(link)
        self.assertIn(b"no such", self.failed("decode", blob, "").stderr)

    def test_full_disk(self):
        disk = self.path("disk")
        os.mkdir(disk)
        if os.geteuid() != 0 or subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk],
                capture_output=True).returncode != 0:
            self.skipTest("no filesystem can be mounted here")
        self.addCleanup(subprocess.run, ["umount", disk])
        plain = self.path("big")
        write(plain, random.Random(1).randbytes(5 << 20))
        blob = plain + ".sqy"
        self.good("encode", plain, blob)
        write(disk + "/old", b"old")
        for args in [["encode", plain], ["decode", blob]]:
            done = self.failed(*args, disk + "/old")
            self.assertIn(b"space", done.stderr)
            self.assertEqual(os.listdir(disk), ["old"])
            self.assertEqual(read(disk + "/old"), b"old")

    def test_progress_on_a_terminal(self):
        plain = self.path("big")
        write(plain, os.urandom(3 << 20))
        blob, out = plain + ".sqy", self.path("out")
        for label, args in [(b"encoding", ["encode", plain, blob]), (b"verifying", ["verify", blob]),
                            (b"decoding", ["decode", blob, out]), (b"compacting", ["compact", blob]),
                            (b"measuring", ["bench", "--seconds", "0", "--raw", "512x512", plain])]:
            master, slave = os.openpty()
            done = subprocess.run([SQYCTL, *args], stdout=subprocess.DEVNULL, stderr=slave, timeout=60)
            os.close(slave)
            shown = os.read(master, 1 << 16)
            os.close(master)
            self.assertEqual(done.returncode, 0)
            self.assertIn(label, shown)
            self.assertIn(b"%", shown)
            self.assertTrue(shown.endswith(b"\r\x1b[K"), shown)

    def test_interrupted(self):
        plain = self.path("big")
        write(plain, os.urandom(30 << 20))
        blob = plain + ".sqy"
        for number in [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]:
            child = subprocess.Popen([SQYCTL, "encode", plain, blob], stderr=subprocess.DEVNULL)
            child.send_signal(number)
            code = child.wait(timeout=120)
            self.assertIn(code, [0, 1, -number])
            self.assertEqual(self.leftovers("big", "big.sqy"), [])
            self.assertEqual(os.path.exists(blob), code == 0)
            if code == 0:
                os.unlink(blob)


class Damage(Place):
    """What verify passes must decode to the very bytes; what it does not pass is told, never served."""

    def check(self, path, data):
        out = self.path("out")
        verified = run("verify", path)
        self.assertIn(verified.returncode, [0, 1], verified)
        decoded = run("decode", path, out)
        self.assertIn(decoded.returncode, [0, 1], decoded)
        if decoded.returncode == 0:
            torn = b"incomplete" in verified.stdout
            self.assertTrue(torn or read(out) == data, (verified, decoded))
            os.unlink(out)
        else:
            self.assertFalse(os.path.exists(out))
        if verified.returncode == 0:
            self.assertEqual(decoded.returncode, 0, (verified, decoded))
        else:
            self.assertIn(os.fsencode(path), verified.stdout + verified.stderr)
        return verified.returncode

    def blobs(self):
        for pipeline in ["bitswap1->lz4", "bitshuffle->zstd", "pass_through"]:
            plain, blob, data = self.make(width=200, height=100, depth=4, pipeline=pipeline)
            yield pipeline, blob, data

    def test_every_region(self):
        rng = random.Random(9)
        for pipeline, blob, data in self.blobs():
            good = read(blob)
            found = 0
            places = sorted({0, 1, 60, 200, 4087, 4095, 4096, 4100, len(good) - 1, len(good) - 9,
                             *(rng.randrange(len(good)) for _ in range(60))})
            for at in places:
                with self.subTest(pipeline=pipeline, at=at):
                    bad = bytearray(good)
                    bad[at] ^= 1 << rng.randrange(8)
                    write(blob, bad)
                    found += self.check(blob, data)
            self.assertGreater(found, len(places) // 2)

    def test_truncated_anywhere(self):
        rng = random.Random(10)
        for pipeline, blob, data in self.blobs():
            good = read(blob)
            for length in sorted({1, 100, 4095, 4096, 4097, len(good) - 1,
                                  *(rng.randrange(len(good)) for _ in range(25))}):
                with self.subTest(pipeline=pipeline, length=length):
                    write(blob, good[:length])
                    self.assertEqual(self.check(blob, data), 1)

    def test_zeroed_and_foreign_blocks(self):
        for pipeline, blob, data in self.blobs():
            good = read(blob)
            for at in range(0, len(good), 4096):
                for block in [bytes(4096), good[:4096]]:
                    with self.subTest(pipeline=pipeline, at=at):
                        write(blob, good[:at] + block + good[at + 4096:])
                        self.check(blob, data)

    def test_appended_bytes(self):
        plain, blob, data = self.make()
        good = read(blob)
        for tail in [b"\0", b"x" * 5000, good[4096:]]:
            write(blob, good + tail)
            self.assertEqual(self.check(blob, data), 1)
            done = run("decode", blob, "-")
            self.assertEqual((done.returncode, done.stdout), (0, data))
            self.assertIn(b"unfinished", done.stderr)

    def test_ranges_and_salvage(self):
        data = bytes(random.Random(5).randbytes(6 << 20))
        plain, out = self.path("big.bin"), self.path("out")
        blob = plain + ".sqy"
        write(plain, data)
        self.good("encode", "-p", "lz4", plain, blob)
        content = bytearray(read(blob))
        content[len(content) // 2] ^= 1
        write(blob, content)
        done = run("verify", blob)
        self.assertEqual(done.returncode, 1)
        ranges = [tuple(map(int, pair)) for pair in
                  re.findall(rb"bytes (\d+) to (\d+) of the plain file", done.stdout)]
        self.assertEqual(len(ranges), 1, done)
        first, last = ranges[0]
        self.assertLess(last - first, 3 << 20)
        self.failed("decode", blob, out, lines=2)
        self.assertFalse(os.path.exists(out))
        self.failed("decode", "--salvage", blob, out)
        self.assertEqual(read(out), data[:first] + bytes(last + 1 - first) + data[last + 1:])
        piped = self.failed("decode", "--salvage", blob, "-")
        self.assertEqual(piped.stdout, read(out))

    def without_checkpoints(self, blob):
        """What a blob may look like whose every checkpoint is lost, but for that of its birth."""
        good = read(blob)
        yield good[:-1]
        yield good[:good.rindex(b"sqyfsCP1") - 5]
        bad = bytearray(good)
        for at in (m.start() for m in re.finditer(rb"sqyfsCP1", good)):
            bad[at] ^= 1
        yield bytes(bad)

    def test_salvage_without_any_checkpoint(self):
        voxels = stacks.voxels(64, 48, 9)
        out = self.path("out.tif")
        for pipeline in PIPELINES:
            plain, blob, data = self.make(width=64, height=48, depth=9, pipeline=pipeline, order=">")
            in_order = json.loads(self.good("info", "--json", blob))["upstream"]
            for bad in self.without_checkpoints(blob):
                with self.subTest(pipeline=pipeline, length=len(bad)):
                    write(blob, bad)
                    self.failed("decode", blob, out)
                    done = self.failed("decode", "--salvage", blob, out)
                    self.assertIn(b"every checkpoint", done.stderr)
                    self.assertIn(b"backup", done.stderr)
                    self.assertEqual(os.path.exists(out), in_order)
                    if in_order:
                        got = stacks.read_tiff(read(out))
                        self.assertEqual(got[:3], (64, 48, 16))
                        self.assertEqual(b"".join(got[4]), voxels)
                        os.unlink(out)
            for length in [4200, len(read(blob)) * 2 // 3]: # voxels are lost
                write(blob, read(blob)[:length])
                self.failed("decode", "--salvage", blob, out)
        self.failed("decode", "--salvage", plain, out)
        self.assertFalse(os.path.exists(out))

    def test_what_is_no_blob(self):
        for number, data in enumerate([b"\0", b"{", b"|01307#!", b"{}\n|01307#!", b"II*\0" * 100,
                                       bytes(100000), b"{" * 100000, os.urandom(100000)]):
            path = self.path("%d.bin" % number)
            write(path, data)
            self.failed("decode", path, self.path("out"))
            self.failed("info", path)
            self.failed("compact", path)
            self.assertEqual(run("verify", path).returncode, 1)
            self.assertEqual(read(path), data)

    def test_an_empty_file_is_an_empty_stack(self):
        blob, out = self.path("empty.sqy"), self.path("out")
        write(blob, b"")
        for command in (["decode", blob, out], ["verify", blob], ["info", blob], ["compact", blob]):
            self.good(*command)
        self.assertEqual(read(out), b"")
        self.assertEqual(read(blob), b"")

    def test_hostile_headers(self):
        header = """{ "pipename": "%s", "raw": { "type": "%s", "rank": "3",
            "shape": { "dim": "%s", "dim": "%s", "dim": "%s" } }, "encoded": { "bytes": "9" } }
|01307#!"""
        for values in [("lz4", "uint16", 2**40, 2**40, 2**40), ("lz4", "uint16", 2**31, 2**20, 4096),
                       ("lz4", "uint16", 0, 1, 1), ("lz4", "uint16", -1, 1, 1),
                       ("lz4", "complex", 1, 1, 1), ("lz4", "uint8", 2**62, 1, 1),
                       ("nonsense", "uint8", 4, 4, 4), ("lz4", "uint8", 100, 100, 100),
                       ("pass_through", "uint8", 3, 3, 3), ("h264", "uint16", 4, 4, 4)]:
            path = self.path("h.sqy")
            write(path, (header % values).encode() + b"payload")
            with self.subTest(values=values):
                self.failed("decode", path, self.path("out"))
                self.assertEqual(run("verify", path).returncode, 1)
                self.assertIn(run("info", path).returncode, [0, 1])
                self.assertFalse(os.path.exists(self.path("out")))

    def test_directories(self):
        plain, blob, data = self.make()
        deep = self.path("tree", "a", "b.sqy.sqy", "c")
        os.makedirs(deep)
        for name in ODD_NAMES:
            shutil.copy(blob, os.path.join(os.fsencode(deep), name + b".sqy"))
        write(self.path("tree", "notes.txt"), b"no blob")
        os.symlink(self.path("damaged.sqy"), self.path("tree", "link.sqy"))
        write(self.path("damaged.sqy"), b"damaged")
        os.symlink("..", self.path("tree", "loop"))
        done = self.good("verify", self.path("tree"))
        self.assertIn(b"%d files" % len(ODD_NAMES), done)
        victim = os.path.join(os.fsencode(deep), ODD_NAMES[1] + b".sqy")
        content = bytearray(read(victim))
        content[5000] ^= 0xff
        write(victim, content)
        done = run("verify", self.path("tree"), blob)
        self.assertEqual(done.returncode, 1)
        self.assertIn(os.fsencode(deep) + b"/with space.tif.sqy: damaged", done.stdout)
        self.assertIn(b"%d files" % (len(ODD_NAMES) + 1), done.stdout)
        self.assertIn(b"1 damaged", done.stdout)

    def test_directories_too_deep_are_told(self):
        deep = self.path("deep")
        self.addCleanup(subprocess.run, ["rm", "-rf", deep])
        os.makedirs(os.path.join(deep, *["d"] * 520))
        done = run("verify", deep)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"1 directories", done.stderr)

    def test_several_arguments(self):
        plain, blob, data = self.make()
        empty = self.path("empty")
        os.mkdir(empty)
        self.assertIn(b"1 files", self.failed("verify", empty, blob).stdout)
        self.failed("verify", self.path("nothing"), blob)
        self.assertIn(b"1 files", run("verify", self.path("nothing"), blob).stdout)

    def test_fifos_do_not_hang(self):
        os.mkdir(self.path("d"))
        os.mkfifo(self.path("d", "x.sqy"))
        shutil.copy(self.make()[1], self.path("d", "y.sqy"))
        self.assertIn(b"1 files", self.good("verify", self.path("d")))
        for command in ["info", "compact"]:
            self.failed(command, self.path("d", "x.sqy"))
        self.failed("decode", self.path("d", "x.sqy"), self.path("out"))
        self.failed("encode", self.path("d", "x.sqy"), self.path("out"))

    def test_what_is_no_file_is_called_so(self):
        os.mkfifo(self.path("fifo"))
        for path, word in [(self.path("fifo"), b"pipe"), ("/dev/null", b"device"), (self.dir, b"directory")]:
            self.assertIn(word, self.failed("decode", path, self.path("out")).stderr)
        for path in [self.path("fifo"), "/dev/zero"]:
            self.assertIn(b"pipe or a device", self.failed("verify", path).stderr)


class Info(Place):
    def test_json(self):
        plain, blob, data = self.make(width=40, height=30, depth=6, pipeline="bitswap1->lz4")
        info = json.loads(self.good("info", "--json", blob))
        self.assertEqual(info["path"], blob)
        self.assertEqual(info["kind"], "blob")
        self.assertEqual(info["state"], "stored")
        self.assertEqual(info["pipeline"], "bitswap1->lz4")
        self.assertEqual((info["width"], info["height"], info["depth"]), (40, 30, 6))
        self.assertEqual(info["type"], "uint16")
        self.assertEqual(info["plain_bytes"], len(data))
        self.assertEqual(info["stored_bytes"], os.path.getsize(blob))
        self.assertAlmostEqual(info["ratio"], len(data) / os.path.getsize(blob))
        self.assertTrue(info["upstream"])
        self.assertFalse(info["torn"])
        self.assertEqual(info["inode"], os.stat(blob).st_ino)
        text = self.good("info", blob).decode()
        self.assertIn("bitswap1->lz4", text)
        self.assertIn("40x30x6 uint16", text)

    def test_torn(self):
        plain, blob, data = self.make()
        with open(blob, "ab") as file:
            file.write(b"unfinished")
        self.assertTrue(json.loads(self.good("info", "--json", blob))["torn"])
        self.assertIn(b"torn", self.good("info", blob))

    def test_json_of_odd_names(self):
        plain, blob, data = self.make()
        for name in ODD_NAMES:
            path = os.path.join(os.fsencode(self.dir), b"odd-" + name)
            shutil.copy(blob, path)
            info = json.loads(self.good("info", "--json", path).decode("utf-8"))
            try:
                self.assertEqual(info["path"], path.decode("utf-8"))
                self.assertNotIn("path_hex", info)
            except UnicodeDecodeError:
                self.assertEqual(bytes.fromhex(info["path_hex"]), path)
                self.assertIn("\ufffd", info["path"])

    def test_no_file(self):
        for path in [self.path("nothing"), self.dir, "/dev/null"]:
            self.failed("info", path)
        write(self.path("text"), b"text")
        done = self.failed("info", "--json", self.path("text"))
        self.assertIn("no blob", json.loads(done.stdout)["error"])


class Stores(Place):
    """A store without a mount: its tree of blobs, with or without an index."""

    def setUp(self):
        super().setUp()
        self.store = self.path("store")
        os.makedirs(self.path("store", "day 1", "deep"))
        plain, blob, self.data = self.make()
        self.names = []
        for name in ODD_NAMES:
            stored = os.path.join(os.fsencode(self.store), b"day 1/deep", name + b".sqy")
            shutil.copy(blob, stored)
            self.names.append(b"day 1/deep/" + name)
        write(self.path("store", "day 1", "notes.txt"), b"notes")

    def rows(self, *options):
        rows = json.loads(self.good("ls", "--json", *options, self.store).decode("utf-8"))
        for row in rows:
            row["path"] = bytes.fromhex(row["path_hex"]) if "path_hex" in row \
                else row["path"].encode()
        return rows

    def test_reindex_and_ls(self):
        scanned = self.rows()
        self.assertEqual(sorted(row["path"] for row in scanned), sorted(self.names))
        self.assertIn(b"%d stacks, 0 damaged" % len(self.names), self.good("reindex", self.store))
        indexed = self.rows()
        self.assertEqual([row["path"] for row in indexed], sorted(self.names))
        key = lambda row: row["path"]
        self.assertEqual(sorted(scanned, key=key), indexed)
        self.assertEqual(sorted(self.rows("--scan"), key=key), indexed)
        text = self.good("ls", self.store)
        self.assertEqual(text.count(b"\n"), len(self.names) + 1)
        self.assertIn(b"day 1/deep/new\\x0aline.tif\n", text)

    def test_index_is_used_and_replaced(self):
        self.good("reindex", self.store)
        os.unlink(self.path("store", "day 1", "deep", "plain.tif.sqy"))
        self.assertEqual(len(self.rows()), len(self.names))
        self.assertEqual(len(self.rows("--scan")), len(self.names) - 1)
        self.good("reindex", self.store)
        self.assertEqual(len(self.rows()), len(self.names) - 1)
        db = sqlite3.connect(self.path("store", ".sqyfs", "index.db"))
        self.assertEqual(db.execute("SELECT count(*) FROM stacks").fetchone()[0],
                         len(self.names) - 1)
        db.close()

    def test_bad_indexes_do_not_matter(self):
        self.good("reindex", self.store)
        index = self.path("store", ".sqyfs", "index.db")
        for content in [b"", b"junk" * 5000]:
            write(index, content)
            self.assertEqual(len(self.rows()), len(self.names))
            self.assertEqual(read(index), content)
            self.good("reindex", self.store)
            self.assertEqual(len(self.rows()), len(self.names))

    def test_damage_and_shadows(self):
        write(self.path("store", "bad.tif.sqy"), b"damaged")
        write(self.path("store", "new.tif.sqy"), b"")
        write(self.path("store", "day 1", "deep", "plain.tif"), b"in front of the blob")
        os.symlink("bad.tif.sqy", self.path("store", "link.tif.sqy"))
        os.mkdir(self.path("store", "dir.sqy.sqy"))
        shutil.copy(self.path("stack.tif.sqy"), self.path("store", "dir.sqy.sqy", "in.tif.sqy"))
        write(self.path("store", ".sqyfs-hidden.sqy"), b"damaged")
        done = self.failed("reindex", self.store)
        rows = {row["path"]: row for row in self.rows()}
        self.assertEqual(rows[b"bad.tif"]["state"], "damaged")
        self.assertEqual(rows[b"new.tif"]["state"], "stored")
        self.assertEqual(rows[b"new.tif"]["plain_bytes"], 0)
        self.assertIn(b"dir.sqy/in.tif", rows)
        self.assertNotIn(b"day 1/deep/plain.tif", rows)
        self.assertNotIn(b"link.tif", rows)
        self.assertNotIn(b".sqyfs-hidden", rows)
        self.assertEqual(len(rows), len(self.names) - 1 + 3)

    def test_what_is_no_store(self):
        plain = self.path("file")
        write(plain, b"x")
        os.mkdir(self.path("empty"))
        for command in ["ls", "reindex"]:
            self.failed(command, plain)
            self.failed(command, self.path("nothing"))
        write(self.path("empty", "notes.txt"), b"no blob")
        for args in [["reindex"], ["ls"], ["ls", "--json"], ["ls", "--scan"], ["verify"]]:
            for path in [self.path("empty"), self.path("empty", "")]:
                done = self.failed(*args, path)
                self.assertIn(b"no store", done.stderr)
                self.assertEqual(done.stdout, b"")
        self.assertEqual(os.listdir(self.path("empty")), ["notes.txt"])

    def test_an_empty_store_is_one(self):
        for mark in [".sqyfs", ".sqyfs-policy"]:
            store = self.path("of" + mark)
            os.makedirs(store + "/day")
            if mark == ".sqyfs":
                os.mkdir(os.path.join(store, mark))
            else:
                write(os.path.join(store, mark), b"")
            for path in [store, store + "/day"]:
                self.assertIn(b"0 files", self.good("verify", path))
                self.assertEqual(json.loads(self.good("ls", "--json", path)), [])
                self.assertEqual(self.good("ls", path).count(b"\n"), 1)
            self.assertIn(b"0 stacks", self.good("reindex", store))

    def test_closed_pipe(self):
        for number in range(400): # more than a pipe holds
            os.link(self.path("stack.tif.sqy"), self.path("store", "%0240d.sqy" % number))
        child = subprocess.Popen([SQYCTL, "ls", self.store], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        child.stdout.close()
        child.stderr.read()
        child.stderr.close()
        self.assertIn(child.wait(timeout=60), [1, -signal.SIGPIPE])

    def test_not_mounts(self):
        for command in ["drain", "stats"]:
            for path in [self.store, self.path("nothing"), self.path("stack.tif")]:
                self.failed(command, path)


class Compact(Place):
    def compacted(self, blob, data):
        self.good("compact", blob)
        self.assertEqual(self.decoded(blob), data)
        self.good("verify", blob)

    def test_keeps_everything(self):
        plain, blob, data = self.make(width=100, height=80, depth=10, pipeline="bitswap1->lz4")
        os.chmod(blob, 0o600)
        os.utime(blob, ns=(5 * 10**17, 987654321_000000001))
        if os.geteuid() == 0:
            os.chown(blob, 1234, 4321)
        try:
            os.setxattr(blob, b"user.note", b"kept\0\xff")
            has_xattrs = True
        except OSError:
            has_xattrs = False
        old = os.stat(blob)
        self.compacted(blob, data)
        new = os.stat(blob)
        self.assertEqual((new.st_mode, new.st_uid, new.st_gid, new.st_mtime_ns),
                         (old.st_mode, old.st_uid, old.st_gid, old.st_mtime_ns))
        if has_xattrs:
            self.assertEqual(os.getxattr(blob, b"user.note"), b"kept\0\xff")
        info = json.loads(self.good("info", "--json", blob))
        self.assertEqual(info["pipeline"], "bitswap1->lz4")
        self.assertTrue(info["upstream"])
        self.assertEqual(sorted(os.listdir(self.dir)), ["stack.tif", "stack.tif.sqy"])

    def test_raw_volumes_keep_their_shape(self):
        data = stacks.voxels(64, 48, 9)
        plain = self.path("t.raw")
        write(plain, data)
        blob = plain + ".sqy"
        self.good("encode", "--raw", "*:64x48", "-p", "bitshuffle->lz4", plain, blob)
        before = json.loads(self.good("info", "--json", blob))
        self.compacted(blob, data)
        after = json.loads(self.good("info", "--json", blob))
        for key in ["width", "height", "depth", "type", "pipeline", "plain_bytes", "upstream"]:
            self.assertEqual(before[key], after[key], key)
        self.assertEqual((after["width"], after["height"], after["depth"]), (64, 48, 9))

    def test_torn_tail_goes(self):
        plain, blob, data = self.make()
        with open(blob, "ab") as file:
            file.write(b"unfinished" * 1000)
        self.assertEqual(run("verify", blob).returncode, 1)
        self.compacted(blob, data)

    def test_refusals(self):
        plain, blob, data = self.make()
        content = read(blob)
        os.link(blob, self.path("second.sqy"))
        self.failed("compact", blob)
        os.unlink(self.path("second.sqy"))
        self.failed("compact", plain)
        self.failed("compact", self.dir)
        self.failed("compact", self.path("nothing"))
        bad = bytearray(content)
        bad[5000] ^= 1
        damaged = self.path("damaged.sqy")
        write(damaged, bad)
        self.failed("compact", damaged)
        self.assertEqual(read(damaged), bad)
        self.assertEqual(read(blob), content)

    def test_a_mounted_store_is_left_alone(self):
        store = self.path("store")
        os.makedirs(store + "/.sqyfs")
        os.makedirs(store + "/a/b")
        plain, blob, data = self.make()
        inside = store + "/a/b/x.tif.sqy"
        shutil.copy(blob, inside)
        content = read(inside)
        os.symlink(inside, self.path("outside.sqy"))
        with open(store + "/.sqyfs/lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for path in [inside, self.path("outside.sqy")]:
                done = self.failed("compact", path)
                self.assertIn(b"mounted", done.stderr)
            self.assertEqual(read(inside), content)
            with open(inside, "ab") as file:
                file.write(b"being written")
                file.flush()
                self.good("verify", store)
            self.assertEqual(run("verify", store).returncode, 1)
        self.assertEqual(run("verify", store).returncode, 1)
        self.compacted(inside, data)
        self.good("verify", store)


class Bench(Place):
    COLUMNS = ["pipeline", "ratio", "measured_bytes", "coded_bytes", "exact", "rounds", "encode_mb_s",
               "encode_lowest", "encode_highest", "decode_mb_s", "decode_lowest", "decode_highest"]

    def measured(self, *args):
        result = json.loads(self.good("bench", "--json", "--seconds", "0", *args))
        for one in result["pipelines"]:
            self.assertTrue(one["exact"])
            self.assertGreaterEqual(one["rounds"], 3)
            self.assertEqual(one["ratio"], result["measured_bytes"] / one["coded_bytes"])
            for speed in [one["encode_mb_s"], one["decode_mb_s"]]:
                self.assertLess(0, speed["lowest"])
                self.assertLessEqual(speed["lowest"], speed["median"])
                self.assertLessEqual(speed["median"], speed["highest"])
        return result

    def recommendation(self, result):
        lanes = result["pipelines"]
        fast = [one for one in lanes if one["encode_mb_s"]["median"] >= 850]
        best = max(fast, key=lambda one: one["ratio"]) if fast else max(
            lanes, key=lambda one: one["encode_mb_s"]["median"])
        return best["pipeline"]

    def test_a_stack(self):
        plain, _, _ = self.make(width=64, height=50, depth=9)
        result = self.measured(plain)
        self.assertEqual(result["measured_bytes"], 64 * 50 * 9 * 2)
        self.assertEqual(result["voxel_bytes"], result["measured_bytes"])
        self.assertEqual(result["plain_bytes"], os.path.getsize(plain))
        self.assertEqual((result["files"], result["type"]), (1, "uint16"))
        names = [one["pipeline"] for one in result["pipelines"]]
        self.assertLessEqual({"interlace", "interlace(entropy=0)", "bitshuffle->zstd", "lz4"}, set(names))
        self.assertEqual(result["recommended"], self.recommendation(result))
        self.assertTrue(result["reason"])

    def test_pipelines_that_were_named(self):
        plain, _, _ = self.make()
        result = self.measured("-p", "zstd(level=3)", "--pipeline", "lz4", plain)
        self.assertEqual([one["pipeline"] for one in result["pipelines"]], ["zstd(level=3)", "lz4"])
        for wrong in ["", "nonsense", "lz4->", "quantiser->lz4", "diff3x3x1->lz4"]:
            self.misused("bench", "-p", wrong, plain)
        self.misused("bench", *["-p", "lz4"] * 33, plain)

    def test_every_form_gives_the_same_chunks(self):
        voxels = stacks.voxels(64, 48, 40)
        paths = {name: self.path(name) for name in ["a.tif", "be.tif", "a.raw", "be.raw"]}
        write(paths["a.tif"], stacks.tiff(64, 48, 40, voxels))
        write(paths["be.tif"], stacks.tiff(64, 48, 40, voxels, order=">"))
        write(paths["a.raw"], voxels)
        write(paths["be.raw"], stacks.swap(voxels, 2))
        coded = {}
        for name, args in {"a.tif": [], "be.tif": [], "a.raw": ["--raw", "64x48"],
                           "be.raw": ["--raw", "64x48:uint16:be"]}.items():
            args = ["--chunk", "64K", "-p", "interlace", *args]
            result = self.measured(*args, paths[name])
            self.assertGreater(result["measured_chunks"], 2)
            coded[name] = result["pipelines"][0]["coded_bytes"]
            blob = paths[name] + ".sqy"
            self.good("encode", *[arg.replace("64x48", "*:64x48") for arg in args], paths[name], blob)
            for more in [args, args[:4]]:
                coded[name + repr(len(more))] = self.measured(*more, blob)["pipelines"][0]["coded_bytes"]
        self.assertEqual(len(set(coded.values())), 1, coded)

    def test_a_blob_of_sqeazys_own(self):
        blob = os.path.join(SHARED, "sqeazy-vectors", "authentic")
        if not os.path.isdir(blob):
            self.skipTest("no shared data")
        for name in sorted(os.listdir(blob)):
            if name.endswith(".sqy") and run("decode", os.path.join(blob, name), "-").returncode == 0:
                self.assertGreater(self.measured("-p", "lz4", os.path.join(blob, name))["voxel_bytes"], 0)

    def test_other_types(self):
        for size in [1, 4]:
            plain, _, _ = self.make("t%d.tif" % size, size=size)
            result = self.measured(plain)
            self.assertEqual(result["type"], "uint%d" % (8 * size))
            both = self.measured("-p", "lz4", plain, self.path("t1.tif"))
            self.assertEqual(both["files"], 2)
            self.assertEqual(both["type"], "uint8" if size == 1 else "various")

    def test_large_files_are_sampled(self):
        big = self.path("big.raw")
        with open(big, "wb") as file:
            for part in range(24):
                file.write(bytes([part, 0]) * (1 << 19))
        args = ["--raw", "512x512", "-p", "lz4", "--sample", "4M"]
        result = self.measured(*args, big)
        self.assertEqual(result["voxel_bytes"], 24 << 20)
        self.assertEqual(result["measured_bytes"], 4 << 20)
        text = self.good("bench", "--seconds", "0", *args, big, big).decode()
        self.assertIn("48.00 MiB of uint16 voxels; measured on 4.00 MiB of them", text)

    def test_table(self):
        plain, _, _ = self.make()
        text = self.good("bench", "--seconds", "0", "-p", "lz4", "-p", "bitshuffle->zstd", plain).decode()
        for line in ["1 file, ", r"lz4 +\d+\.\d+ +\d+ \(\d+\.\.\d+\) +\d+ \(\d+\.\.\d+\)$",
                     r"Recommended: (lz4|bitshuffle->zstd), the .*\.$"]:
            self.assertRegex(text, re.compile("^" + line, re.M))

    def test_csv(self):
        plain, _, _ = self.make()
        out = self.path("out.csv")
        table = self.good("bench", "--seconds", "0", "-p", "lz4(accel=9,blocksize_kb=64)", "-p", "zstd",
                          "--csv", out, plain)
        self.assertIn(b"Recommended", table)
        text = self.good("bench", "--seconds", "0", "-p", "zstd", "--csv", "-", plain).decode()
        self.assertNotIn("Recommended", text)
        for rows, names in [(read(out).decode(), ["lz4(accel=9,blocksize_kb=64)", "zstd"]), (text, ["zstd"])]:
            rows = list(csv.reader(rows.splitlines()))
            self.assertEqual(rows[0], self.COLUMNS)
            self.assertEqual([row[0] for row in rows[1:]], names)
            self.assertTrue(all(len(row) == len(rows[0]) and float(row[1]) > 0 for row in rows[1:]))
        self.misused("bench", "--json", "--csv", "-", plain)
        self.assertIn(b"no such", self.failed("bench", "--csv", self.path("no/out"), plain).stderr)
        self.failed("bench", "--csv", self.path("none.csv"), self.path("none"))
        self.assertFalse(os.path.exists(self.path("none.csv")))

    def test_what_cannot_be_measured(self):
        write(self.path("notes.txt"), b"text" * 1000)
        write(self.path("empty"), b"")
        write(self.path("broken.sqy"), b"no blob" * 1000)
        for name in ["notes.txt", "empty"]:
            self.assertIn(b"no voxels", self.failed("bench", self.path(name)).stderr)
        for name in ["broken.sqy", "none", "."]:
            self.failed("bench", self.path(name))
        plain, _, _ = self.make()
        self.assertEqual(self.measured("-p", "lz4", self.path("notes.txt"), plain)["files"], 2)
        os.mkfifo(self.path("fifo"))
        self.failed("bench", self.path("fifo"))

    def test_wrong_values(self):
        plain, _, _ = self.make()
        for option in [["--raw", "x"], ["--raw", "*:4x4"], ["--raw", "4x4:float12"], ["--chunk", "1"],
                       ["--sample", "1"], ["--sample", "1P"], ["--seconds", "x"], ["--seconds", "-1"],
                       ["--seconds", "nan"], ["--seconds", ""], ["--seconds", "3601"]]:
            self.misused("bench", *option, plain)


class Vectors(Place):
    """sqeazy's own blobs decode to TIFF stacks of the expected voxels."""

    VIDEO = {"h264", "hevc"}

    def setUp(self):
        super().setUp()
        self.vectors = os.path.join(SHARED, "sqeazy-vectors")
        if not os.path.isdir(self.vectors):
            self.skipTest("no reference vectors beside the project")

    def expected(self, name):
        stem = re.sub(r"__t\d+$", "", name[:-4])
        for path in [os.path.join(self.vectors, "dec", stem + ".raw"),
                     os.path.join(self.vectors, "in", stem.split("__")[0] + ".raw")]:
            if os.path.exists(path):
                return read(path)
        self.fail("no expectation for " + name)

    def check(self, name, pipename):
        blob, out = os.path.join(self.vectors, "blob", name), self.path("out.tif")
        known = not set(re.sub(r"\([^)]*\)", "", pipename).split("->")) & self.VIDEO
        done = run("decode", blob, out)
        if done.returncode == 1 and not known:
            self.assertEqual(done.stderr.count(b"\n"), 1, done)
            self.assertFalse(os.path.exists(out))
            return 0
        self.assertEqual(done.returncode, 0, done)
        width, height, depth, kind = re.search(r"_(\d+)x(\d+)x(\d+)_u(8|16)__", name).groups()
        got = stacks.read_tiff(read(out))
        self.assertEqual(got[:4], (int(width), int(height), int(kind), 1))
        self.assertEqual(len(got[4]), int(depth))
        self.assertEqual(b"".join(got[4]), self.expected(name))
        self.assertEqual(self.good("decode", blob, "-"), read(out))
        info = json.loads(self.good("info", "--json", blob))
        self.assertEqual(info["kind"], "sqeazy")
        self.assertEqual(info["plain_bytes"], os.path.getsize(out))
        self.good("verify", blob)
        os.unlink(out)
        return 1

    def test_vectors(self):
        decoded = 0
        for name in sorted(os.listdir(os.path.join(self.vectors, "blob"))):
            head = read(os.path.join(self.vectors, "blob", name)).split(b"|01307#!")[0]
            pipename = re.search(rb'"pipename": "(.*)"', head).group(1).decode()
            with self.subTest(name=name):
                decoded += self.check(name, pipename)
        stages = json.loads(self.good("codecs", "--json"))["stages"]
        video = any(stage["name"] == "h264" and stage["read"] for stage in stages)
        self.assertEqual(decoded, 164 if video else 149)

    def test_authentic(self):
        names = [n for n in os.listdir(self.vectors + "/authentic") if n.endswith(".sqy")]
        self.assertGreater(len(names), 5)
        for name in sorted(names):
            with self.subTest(name=name):
                stem = re.sub(r"^hist_(.*)_[0-9a-f]{8}\.sqy$", r"\1", name).removesuffix(".sqy")
                out = self.path("out.tif")
                self.good("decode", os.path.join(self.vectors, "authentic", name), out)
                if shutil.which("tiffcmp"):
                    wanted = os.path.join(self.vectors, "authentic", stem + ".tif")
                    done = subprocess.run(["tiffcmp", "-t", out, wanted], capture_output=True)
                    self.assertEqual(done.returncode, 0, done)

    def test_truncated_vectors(self):
        name = "syn_64x64x32_u16__lz4.sqy"
        good = read(os.path.join(self.vectors, "blob", name))
        bad = self.path("bad.sqy")
        for length in [len(good) - 1, len(good) // 2, good.index(b"|01307#!") + 8, 100, 5]:
            write(bad, good[:length])
            self.failed("decode", bad, self.path("out"))
            self.assertEqual(run("verify", bad).returncode, 1)
            self.assertEqual(os.listdir(self.dir), ["bad.sqy"])

    def test_they_are_not_compacted(self):
        path = self.path("v.sqy")
        shutil.copy(os.path.join(self.vectors, "blob", "syn_64x64x32_u16__lz4.sqy"), path)
        before = read(path)
        self.failed("compact", path)
        self.assertEqual(read(path), before)


if __name__ == "__main__":
    unittest.main(verbosity=1)
