"""slowcopy.py FROM TO [SYNC]: copies in pieces of many sizes, with an fsync now and then, and prints after
each fsync how many bytes are certain."""
import os
import random
import sys

source, target = sys.argv[1:3]
sync = len(sys.argv) > 3
rng = random.Random(source)
with open(source, "rb") as f:
    data = f.read()
fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
done = 0
while done < len(data):
    n = rng.choice((100, 4096, 65536, 524288, 1 << 20))
    done += os.write(fd, data[done:done + n])
    if sync and rng.random() < 0.2:
        os.fsync(fd)
        print("certain", target, done, flush=True)
os.close(fd)
print("closed", target, done, flush=True)
