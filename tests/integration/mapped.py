"""mapped.py write|check FRAMES FILE SIZE UNIT SEED [SYNCED]: a file of SIZE bytes is written through a shared mapping, in
pieces of UNIT bytes in random order; its bytes are those of FRAMES, again and again. Now and then msync(2) makes
what is there durable, and SYNCED gets the number of pieces that are. check: these are there, and no byte of any
other piece is anything but the right one or zero; without SYNCED, all are there."""
import mmap
import os
import random
import sys
import time

PAGE = 4096
SYNCS = 16  # in all


def pieces(size, unit, seed):
    order = list(range((size + unit - 1) // unit))
    random.Random(int(seed)).shuffle(order)
    return order


def repeated(frames, off, n):
    """n bytes at `off` of the frames, again and again."""
    at = off % len(frames)
    part = frames[at:at + n]
    return part if len(part) == n else bytes(part) + repeated(frames, off + len(part), n - len(part))


def write(frames, name, size, unit, seed, synced):
    longest = 0.0
    with open(name, "r+b") as f, mmap.mmap(f.fileno(), size) as mapping:
        order = pieces(size, unit, seed)
        every = max(1, len(order) // SYNCS)
        for n, i in enumerate(order, 1):
            start = time.monotonic()
            off = i * unit
            mapping[off:off + unit] = repeated(frames, off, min(unit, size - off))
            if n % every == 0:
                mapping.flush()
                if synced:
                    with open(synced, "w", encoding="utf-8") as out:
                        out.write(f"{n}\n")
                    print(n, flush=True)
            longest = max(longest, time.monotonic() - start)
    print(f"longest {longest:.3f}")


def check_torn(got, want, name, off):
    """Pages of a piece that no msync has confirmed: as written, or not yet."""
    for at in range(0, len(got), PAGE):
        page = bytes(got[at:at + PAGE])
        if page != bytes(want[at:at + PAGE]) and page.strip(b"\0"):
            sys.exit(f"FAILED: {name}: page at {off + at} is neither as written nor zero")


def check(frames, name, size, unit, seed, synced):
    order = pieces(size, unit, seed)
    certain = len(order)
    if synced:
        with open(synced, encoding="utf-8") as f:
            certain = int(f.read() or 0)
    sure = set(order[:certain])
    with open(name, "rb") as f:
        for i in range(len(order)):
            off = i * unit
            want = repeated(frames, off, min(unit, size - off))
            got = f.read(len(want))
            if got == want:
                continue
            if i in sure or len(got) != len(want):
                sys.exit(f"FAILED: {name}: what was synced at {off} is not there")
            check_torn(got, want, name, off)
        if f.read(1):
            sys.exit(f"FAILED: {name} is too long")
    print(f"{certain} of {len(order)} pieces were synced")


def main():
    what, source, name, size, unit, seed = sys.argv[1:7]
    synced = sys.argv[7] if sys.argv[7:] else None
    with open(source, "rb") as f:
        frames = memoryview(f.read())
    size, unit = int(size), int(unit)
    if what == "write":
        os.truncate(os.open(name, os.O_RDWR | os.O_CREAT, 0o644), size)
        write(frames, name, size, unit, seed, synced)
    else:
        check(frames, name, size, unit, seed, synced)


main()
