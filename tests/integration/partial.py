"""partial.py REFERENCE MOUNT [CERTAIN]: what is in the mount is a state that the writing of the reference
files passed through: each file is readable to its end, no longer than its reference, and each byte of it is
the reference's or zero. CERTAIN is what slowcopy.py printed: so much of a file must be there."""
import os
import sys

BLOCK = 4096


def explain(name, got, want):
    for at in range(0, len(got), BLOCK):
        have, due = got[at:at + BLOCK], want[at:at + BLOCK]
        if have == due:
            continue
        for i, (a, b) in enumerate(zip(have, due)):
            if a and a != b:
                sys.exit(f"FAILED: {name}: byte {at + i} is neither as written nor zero")


def read_certain(path):
    certain = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            word, name, n = line.split()
            if word == "certain":
                certain[os.path.basename(name)] = int(n)
    return certain


def main():
    reference, mount = sys.argv[1:3]
    certain = read_certain(sys.argv[3]) if sys.argv[3:] else {}
    for name in set(certain) - set(os.listdir(mount)):
        sys.exit(f"FAILED: {name} was synced and is gone")
    for name in sorted(os.listdir(mount)):
        with open(os.path.join(mount, name), "rb") as f:
            got = f.read()
        with open(os.path.join(reference, name), "rb") as f:
            want = f.read()
        if len(got) != os.stat(os.path.join(mount, name)).st_size:
            sys.exit(f"FAILED: {name}: size and bytes disagree")
        if len(got) > len(want):
            sys.exit(f"FAILED: {name}: longer than what was written")
        n = certain.get(name, 0)
        if got[:n] != want[:n]:
            sys.exit(f"FAILED: {name}: {n} bytes were synced, {len(got)} are there, or other ones")
        if got != want[:len(got)]:
            explain(name, got, want)
        print(f"* {name}: {len(got)} of {len(want)} bytes, {n} synced")


main()
