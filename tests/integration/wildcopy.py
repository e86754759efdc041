"""wildcopy.py FROM TO N: copies in one of several wild manners, chosen by N."""
import mmap
import os
import random
import sys

source, target, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
rng = random.Random(n)
with open(source, "rb") as f:
    data = f.read()


def pieces(size):
    out = list(range(0, len(data), size))
    rng.shuffle(out)
    return [(at, min(size, len(data) - at)) for at in out]


def by_mapping(fd):
    os.ftruncate(fd, len(data))
    with mmap.mmap(fd, len(data), mmap.MAP_SHARED) as view:
        for at, length in pieces(100_000):
            view[at:at + length] = data[at:at + length]


def by_pieces(fd, size):
    for at, length in pieces(size):
        while length:
            done = os.pwrite(fd, data[at:at + length], at)
            at, length = at + done, length - done


def backwards(fd):
    for at in reversed(range(0, len(data), 65536)):
        os.pwrite(fd, data[at:at + 65536], at)


fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
[by_mapping, lambda fd: by_pieces(fd, 7777), lambda fd: by_pieces(fd, 1 << 20), backwards][n % 4](fd)
os.close(fd)
