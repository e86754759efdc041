"""Small files for the tests of sqyctl: TIFF stacks written and read without a library."""

import random
import struct


def voxels(width, height, depth, size=2, seed=1):
    """Smooth with noise, as an image has it, little-endian."""
    rng = random.Random(seed)
    mask = (1 << (8 * size)) - 1
    out = bytearray()
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                value = 100 + x + y + 3 * z + rng.getrandbits(3)
                out += (value & mask).to_bytes(size, "little")
    return bytes(out)


def swap(data, size):
    out = bytearray(len(data))
    for i in range(size):
        out[i::size] = data[size - 1 - i::size]
    return bytes(out)


def tiff(width, height, depth, data, size=2, order="<", big=False, rows=None, sample_format=1):
    """One IFD a plane, strips of `rows` rows, IFDs behind the voxels."""
    rows = rows or height
    plane = width * height * size
    if order == ">":
        data = swap(data, size)
    head = 16
    ifds_at = head + len(data)
    out = bytearray(b"II" if order == "<" else b"MM")
    if big:
        out += struct.pack(order + "HHHQ", 43, 8, 0, ifds_at)
    else:
        out += struct.pack(order + "HI", 42, ifds_at) + bytes(8)
    out += data
    for z in range(depth):
        n_strips = (height + rows - 1) // rows
        offsets = [head + z * plane + i * rows * width * size for i in range(n_strips)]
        counts = [min(rows, height - i * rows) * width * size for i in range(n_strips)]
        tags = [(256, 4, [width]), (257, 4, [height]), (258, 3, [8 * size]), (259, 3, [1]),
                (262, 3, [1]), (273, 4, offsets), (277, 3, [1]), (278, 4, [rows]),
                (279, 4, counts), (339, 3, [sample_format])]
        entry, room = (20, 8) if big else (12, 4)
        start = len(out)
        values_at = start + (8 if big else 2) + entry * len(tags) + (8 if big else 4)
        ifd, values = bytearray(), bytearray()
        ifd += struct.pack(order + ("Q" if big else "H"), len(tags))
        for tag, field, content in tags:
            raw = struct.pack(order + ("H" if field == 3 else "I") * len(content), *content)
            ifd += struct.pack(order + "HH" + ("Q" if big else "I"), tag, field, len(content))
            if len(raw) <= room:
                ifd += raw.ljust(room, b"\0")
            else:
                ifd += struct.pack(order + ("Q" if big else "I"), values_at + len(values))
                values += raw
        following = values_at + len(values) if z + 1 < depth else 0
        ifd += struct.pack(order + ("Q" if big else "I"), following)
        out += ifd + values
    return bytes(out)


def read_tiff(data):
    """(width, height, bits, sample format, planes) of a plain stack; checks what it stands on."""
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    planes, kinds = [], set()
    while at:
        n = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
        at += 8 if big else 2
        tags = {}
        for _ in range(n):
            tag, field = struct.unpack_from(order + "HH", data, at)
            count = struct.unpack_from(order + ("Q" if big else "I"), data, at + 4)[0]
            assert count == 1, (tag, count)
            where = at + (12 if big else 8)
            tags[tag] = struct.unpack_from(order + {3: "H", 4: "I", 16: "Q"}[field], data, where)[0]
            at += 20 if big else 12
        assert tags[259] == 1 and tags[277] == 1 and tags[278] == tags[257]
        assert tags[279] == tags[256] * tags[257] * tags[258] // 8
        planes.append(data[tags[273]:tags[273] + tags[279]])
        assert len(planes[-1]) == tags[279]
        kinds.add((tags[256], tags[257], tags[258], tags[339]))
        at = struct.unpack_from(order + ("Q" if big else "I"), data, at)[0]
    assert len(kinds) == 1
    return (*kinds.pop(), planes)
