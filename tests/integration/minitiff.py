"""Just enough TIFF to imitate writers piece by piece: headers and IFDs as bytes."""
import struct

import numpy

SHORT, LONG, LONG8, ASCII = 3, 4, 16, 2


def voxels(seed, planes, rows, width, order="<"):
    """A camera-like volume: offset, noise and a few bright blobs."""
    rng = numpy.random.default_rng(seed)
    volume = rng.normal(105, 4, (planes, rows, width))
    y, x = numpy.mgrid[:rows, :width]
    for _ in range(6):
        cy, cx, r = rng.integers(rows), rng.integers(width), rng.integers(4, 20)
        blob = 800 * numpy.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2.0 * r * r))
        volume[rng.integers(planes)] += blob
    return volume.clip(0, 65535).astype(order + "u2")


def header(first_ifd, order="<", big=False):
    mark = b"II" if order == "<" else b"MM"
    if big:
        return mark + struct.pack(order + "HHHQ", 43, 8, 0, first_ifd)
    return mark + struct.pack(order + "HI", 42, first_ifd)


def ifd_size(n_entries, big=False):
    return 8 + 20 * n_entries + 8 if big else 2 + 12 * n_entries + 4


def ifd(entries, next_ifd, order="<", big=False):
    """entries: (tag, type, count, value or offset)."""
    out = struct.pack(order + ("Q" if big else "H"), len(entries))
    for tag, kind, count, value in sorted(entries):
        out += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count)
        room = 8 if big else 4
        code = "I" if kind == ASCII and not big else "Q" if kind == ASCII else \
            {SHORT: "H", LONG: "I", LONG8: "Q"}[kind] if count == 1 else "Q" if big else "I"
        out += struct.pack(order + code, value).ljust(room, b"\0")
    return out + struct.pack(order + ("Q" if big else "I"), next_ifd)


def plane_entries(width, rows, offset, n_bytes, n_strips=1, rows_per_strip=None, compression=1):
    return [
        (256, LONG, 1, width), (257, LONG, 1, rows), (258, SHORT, 1, 16), (259, SHORT, 1, compression),
        (262, SHORT, 1, 1), (273, LONG8 if offset > 0xffffffff else LONG, n_strips, offset),
        (277, SHORT, 1, 1), (278, LONG, 1, rows_per_strip or rows), (279, LONG, n_strips, n_bytes),
    ]
