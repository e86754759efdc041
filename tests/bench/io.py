"""Timed reading and writing for stack.sh; each call prints a name and GB/s."""
import mmap
import os
import random
import statistics
import subprocess
import sys
import time

PIECE = 8 << 20  # a plane of 2048 x 2048 voxels


def told(name, n_bytes, seconds):
    print(f"{name}\t{n_bytes / seconds / 1e9}")


def settle(n_bytes):
    """What earlier steps left to be written shall not count, nor, in a virtual machine, the first touch of
    memory."""
    os.sync()
    mmap.mmap(-1, n_bytes, mmap.MAP_PRIVATE | mmap.MAP_POPULATE | mmap.MAP_ANONYMOUS).close()


def write(source, target, name):
    with open(source, "rb") as f:
        data = memoryview(f.read())
    if os.path.exists(target):
        os.unlink(target)
    settle(2 * len(data))
    start = time.monotonic()
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for at in range(0, len(data), PIECE):
        piece = data[at:at + PIECE]
        while piece:
            piece = piece[os.write(fd, piece):]
    os.close(fd)
    told(name, len(data), time.monotonic() - start)


def drain(source, name, *command):
    start = time.monotonic()
    subprocess.run(command, check=True)
    told(name, os.path.getsize(source), time.monotonic() - start)


def forget(fd):
    """Out of the page cache."""
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def read_all(fd, length, offset):
    buffer = bytearray(1 << 20)
    end = offset + length
    while offset < end:
        n = os.preadv(fd, [memoryview(buffer)[:end - offset]], offset)
        if n == 0:
            sys.exit("a short file")
        offset += n


def read(path, name):
    fd = os.open(path, os.O_RDONLY)
    if name.endswith("cold"):
        forget(fd)
    settle(os.fstat(fd).st_size)
    size = os.fstat(fd).st_size
    start = time.monotonic()
    read_all(fd, size, 0)
    told(name, size, time.monotonic() - start)
    os.close(fd)


def planes(path, name):
    fd = os.open(path, os.O_RDONLY)
    forget(fd)
    size = os.fstat(fd).st_size
    places = list(range(0, size - PIECE, PIECE))
    random.Random(1).shuffle(places)
    start = time.monotonic()
    for at in places[:16]:
        read_all(fd, PIECE, at)
    told(name, min(16, len(places)) * PIECE, time.monotonic() - start)
    os.close(fd)


def report(path):
    series = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            name, value = line.rstrip("\n").split("\t")
            series.setdefault(name, []).append(float(value))
    base = {}
    for name, values in series.items():
        median = statistics.median(values)
        word = name.split()[1].rstrip(",")
        base.setdefault(word, median)
        of_plain = f"  {median / base[word]:.2f} of plain" if name.startswith("sqyfs") and word in (
            "write", "read") else ""
        print(f"  {name:28} {median:6.2f} GB/s  ({min(values):.2f} .. {max(values):.2f}){of_plain}")


if __name__ == "__main__":
    {"write": write, "drain": drain, "read": read, "planes": planes, "report": report}[sys.argv[1]](*sys.argv[2:])
