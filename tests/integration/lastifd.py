"""lastifd.py write|check FRAMES.raw:WxH FILE PLANES CALL zero|ahead: a BigTIFF whose directories all come after its
voxels, in calls of CALL bytes; the header's offset is zero until the end, or points there from the beginning. The
planes are those of FRAMES, again and again. write says how many seconds calls and close took."""
import os
import sys
import time

import minitiff

HEADER = 16


def parts(frames, planes, rows, width, first):
    plane = rows * width * 2
    n = len(frames) // plane
    yield minitiff.header(first, big=True)
    for z in range(planes):
        yield frames[z % n * plane:(z % n + 1) * plane]
    at = HEADER + planes * plane
    size = minitiff.ifd_size(9, big=True)
    directories = bytearray()
    for z in range(planes):
        after = at + (z + 1) * size if z + 1 < planes else 0
        directories += minitiff.ifd(minitiff.plane_entries(width, rows, HEADER + z * plane, plane), after, big=True)
    yield memoryview(directories)


def calls(all_parts, call):
    for part in all_parts:
        for at in range(0, len(part), call):
            yield part[at:at + call]


def write(name, all_parts, call, first):
    start, longest = time.monotonic(), 0.0
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for data in calls(all_parts, call):
        began = time.monotonic()
        if os.write(fd, data) != len(data):
            sys.exit(f"FAILED: {name}: a short write")
        longest = max(longest, time.monotonic() - began)
    if first is not None:
        os.pwrite(fd, minitiff.header(first, big=True), 0)
    size = os.fstat(fd).st_size
    os.close(fd)
    took = time.monotonic() - start
    print(f"{size / took / 1e9:.2f} GB/s, the longest call {longest * 1000:.0f} ms")


def check(name, all_parts):
    with open(name, "rb") as f:
        for data in calls(all_parts, 1 << 20):
            at = f.tell()
            if f.read(len(data)) != data:
                sys.exit(f"FAILED: {name}: not what was written, from byte {at} on")
        if f.read(1):
            sys.exit(f"FAILED: {name} is too long")


def main():
    what, source, name, planes, call, how = sys.argv[1:7]
    source, shape = source.rsplit(":", 1)
    width, rows = map(int, shape.split("x"))
    planes = int(planes)
    with open(source, "rb") as f:
        frames = memoryview(f.read())
    first = HEADER + planes * width * rows * 2
    if what == "check":
        check(name, parts(frames, planes, rows, width, first))
    elif how == "zero":
        write(name, parts(frames, planes, rows, width, 0), int(call), first)
    else:
        write(name, parts(frames, planes, rows, width, first), int(call), None)


main()
