"""What a program's samples went into: perf script's chains on standard input.

    parts.py NAME BUILD_FOLDER RESULTS

The last line of RESULTS says how many CPU seconds a GB it was in all; the parts are added there."""
import collections
import glob
import json
import re
import subprocess
import sys

# The first that any frame of the chain matches, in this order: what is deep inside comes first.
KERNEL = [
    ("page faults", r"^(asm_)?exc_page_fault|^handle_mm_fault|^fault_in_"),
    ("fuse transport", r"^fuse_dev_|^fuse_copy|^fuse_uring"),
    ("store: fsync", r"^(do_|vfs_)?fsync|fdatasync|syncfs|sync_file_range"),
    ("store: write", r"^vfs_write|^ksys_p?write|pwritev?64|^vfs_iter_write|fallocate"),
    ("store: read", r"^vfs_read|^ksys_p?read|pread64|preadv|readahead|fadvise"),
    ("locks, scheduler", r"futex|schedule|sched_yield|nanosleep|epoll|poll"),
    ("memory maps", r"madvise|munmap|mmap|^do_brk|mprotect"),
]
USER = [
    ("copies", r"mem(cpy|move|set|cmp|chr)|_erms|_avx_unaligned"),
    ("locks, scheduler", r"pthread|lll_|futex|sem_(wait|post)|clock_gettime|^syscall"),
    ("malloc", r"malloc|calloc|realloc|^_?_?(int_)?free|sbrk"),
    ("checksums", r"XXH|crc32|checksum"),
]
LIBRARIES = [("codec", r"zstd|lz4|blosc"), ("checksums", r"xxhash"), ("index", r"sqlite"),
             ("libfuse", r"libfuse")]


def rooms(build):
    """Functions of the program -> the room that defines them."""
    found = {}
    for archive in sorted(glob.glob(f"{build}/src/*/*.a")):
        room = archive.split("/")[-2]
        out = subprocess.run(["nm", "--defined-only", archive], capture_output=True, text=True, check=False)
        for line in out.stdout.splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in "tT":
                found.setdefault(words[2], room)
    return found


def first(table, text):
    return next((part for part, pattern in table if re.search(pattern, text)), None)


def part_of(chain, owners):
    """chain: (symbol, object), from the innermost on."""
    symbol, where = chain[0]
    if where.startswith("[") and where != "[vdso]":
        for part, pattern in KERNEL:
            if any(w.startswith("[") and re.search(pattern, s) for s, w in chain):
                return part
        return "kernel, other"
    room = owners.get(re.sub(r"\.(part|cold|constprop|isra|lto_priv).*", "", symbol))
    return (first(USER[3:], symbol) or room or first(LIBRARIES, where) or first(USER, symbol) or
            "program, other")


def samples(lines):
    chain = []
    for line in lines:
        match = re.match(r"\s+[0-9a-f]+ (.*) \((.*)\)$", line)
        if match:
            chain.append((match[1].split("+")[0], match[2]))
        elif not line.strip():
            if chain:
                yield chain
            chain = []
    if chain:
        yield chain


def main(name, build, results):
    owners = rooms(build)
    counts = collections.Counter(part_of(chain, owners) for chain in samples(sys.stdin))
    with open(results, encoding="utf-8") as f:
        last = json.loads(f.readlines()[-1])
    total = sum(counts.values())
    parts = {part: n / total * last["daemon_s_gb"] for part, n in counts.most_common()}
    with open(results, "a", encoding="utf-8") as f:
        print(json.dumps({"item": "parts", "name": name, "target": "sqyfs", "round": 0, "samples": total,
                          "parts": parts}), file=f)


if __name__ == "__main__":
    main(*sys.argv[1:])
