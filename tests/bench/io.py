"""Timed reading and writing for stack.sh; each call prints a name, a number and its unit (GB/s where none)."""
import mmap
import os
import random
import statistics
import subprocess
import sys
import threading
import time

PIECE = 8 << 20  # a plane of 2048 x 2048 voxels


def told(name, n_bytes, seconds):
    print(f"{name}\t{n_bytes / seconds / 1e9}\tGB/s")


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


def line_buffer():
    """Where a page begins. Large blocks of malloc(), and so bytearrays, begin 16 bytes later, and there the copy
    out of the page cache alone takes 0.45 CPU-seconds per GB on some machines, here 0.15."""
    return mmap.mmap(-1, 1 << 20)


def read_all(fd, length, offset):
    buffer = line_buffer()
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
    """Each once, in no order: GB/s of all, and how long one takes, also of the lower and the upper half."""
    fd = os.open(path, os.O_RDONLY)
    forget(fd)
    size = os.fstat(fd).st_size
    places = list(range(0, size - PIECE, PIECE))
    random.Random(1).shuffle(places)
    times = []
    for at in places:
        start = time.monotonic()
        read_all(fd, PIECE, at)
        times.append((time.monotonic() - start, at))
    os.close(fd)
    told(name, len(places) * PIECE, sum(t for t, _ in times))
    ms = sorted(1e3 * t for t, _ in times)
    print(f"{name}, median\t{statistics.median(ms)}\tms")
    print(f"{name}, p99\t{ms[int(0.99 * (len(ms) - 1))]}\tms")
    for half, low in ("first", True), ("second", False):
        some = [1e3 * t for t, at in times if (at < size // 2) == low]
        print(f"{name}, {half} half\t{statistics.median(some)}\tms")


def mapped(path, name):
    fd = os.open(path, os.O_RDONLY)
    forget(fd)
    size = os.fstat(fd).st_size
    buffer = line_buffer()
    with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as memory:
        start = time.monotonic()
        for at in range(0, size, len(buffer)):
            n = min(len(buffer), size - at)
            buffer[:n] = memory[at:at + n]
        told(name, size, time.monotonic() - start)
    os.close(fd)


def down(path, name):
    """Plane by plane, from the last to the first."""
    fd = os.open(path, os.O_RDONLY)
    forget(fd)
    size = os.fstat(fd).st_size
    start = time.monotonic()
    for at in range((size - 1) // PIECE * PIECE, -1, -PIECE):
        read_all(fd, min(PIECE, size - at), at)
    told(name, size, time.monotonic() - start)
    os.close(fd)


def together(path, name):
    """Two readers of one stack, each half of it."""
    fds = [os.open(path, os.O_RDONLY) for _ in range(2)]
    forget(fds[0])
    size = os.fstat(fds[0]).st_size
    half = size // 2 // PIECE * PIECE
    readers = [threading.Thread(target=read_all, args=(fds[0], half, 0)),
               threading.Thread(target=read_all, args=(fds[1], size - half, half))]
    start = time.monotonic()
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    told(name, size, time.monotonic() - start)
    for fd in fds:
        os.close(fd)


def make_many(source, folder, count):
    with open(source, "rb") as f:
        data = f.read()
    os.makedirs(folder)
    for i in range(int(count)):
        with open(f"{folder}/{i:06}.tif", "wb") as f:
            f.write(data)


def stat_all(folder, count, name):
    """By name."""
    start = time.monotonic()
    for i in range(int(count)):
        os.stat(f"{folder}/{i:06}.tif")
    print(f"{name}\t{int(count) / (time.monotonic() - start) / 1e3}\tk/s")


def list_all(folder, name):
    """As ls -l does."""
    start = time.monotonic()
    with os.scandir(folder) as entries:
        n = sum(1 for entry in entries if entry.stat().st_size > 0)
    print(f"{name}\t{n / (time.monotonic() - start) / 1e3}\tk/s")


def report(path):
    series, units = {}, {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            name, value, units[name] = line.rstrip("\n").split("\t")
            series.setdefault(name, []).append(float(value))
    base = {}
    for name, values in series.items():
        median = statistics.median(values)
        word = name.split()[1].rstrip(",")
        base.setdefault(word, median)
        of_plain = f"  {median / base[word]:.2f} of plain" if name.startswith("sqyfs") and word in (
            "write", "read") else ""
        print(f"  {name:36} {median:6.2f} {units[name]}  ({min(values):.2f} .. {max(values):.2f}){of_plain}")


if __name__ == "__main__":
    {"write": write, "drain": drain, "read": read, "planes": planes, "mapped": mapped, "down": down,
     "together": together, "make_many": make_many, "stat_all": stat_all, "list_all": list_all,
     "report": report}[sys.argv[1]](*sys.argv[2:])
