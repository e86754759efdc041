"""The tables of camera.sh.

    camera.py report RESULTS [CSV]             from lines of JSON, one a measurement
    camera.py memory WATCHED.csv STATS.json MB  one line of JSON from what `stream watch` has seen"""
import collections
import csv
import json
import statistics
import sys

# Field, heading, digits: what a table shows where a measurement has it.
COLUMNS = {
    "write": ["accepted_gbs", "durable_gbs", "p99_ms", "max_ms", "ratio", "client_s_gb", "daemon_s_gb",
              "machine_s_gb"],
    "slow": ["accepted_gbs", "durable_gbs", "late_ms", "max_ms", "ratio", "client_s_gb", "daemon_s_gb"],
    "small": ["accepted_gbs", "durable_gbs", "p99_ms", "max_ms", "client_s_gb", "daemon_s_gb"],
    "read": ["accepted_gbs", "p50_ms", "p99_ms", "near_ms", "far_ms", "client_s_gb", "daemon_s_gb"],
    "stat": ["calls_s", "p50_ms", "p99_ms", "max_ms", "daemon_s"],
    "memory": ["durable_gbs", "max_ms", "daemon_s_gb"],
}
WORDS = {
    "accepted_gbs": "GB/s accepted", "durable_gbs": "GB/s durable", "p50_ms": "median ms", "p99_ms": "p99 ms",
    "max_ms": "max ms", "late_ms": "late ms", "ratio": "ratio", "client_s_gb": "client s/GB",
    "daemon_s_gb": "daemon s/GB", "machine_s_gb": "machine s/GB", "near_ms": "near ms", "far_ms": "far ms",
    "calls_s": "calls/s", "daemon_s": "daemon s", "measured_mbs": "MB/s measured",
}
LARGEST = {"max_ms", "late_ms"}  # of all rounds; of the others the median
PEERS = ["plain", "ext4", "btrfs"]


def load(path):
    """(item, name, target) -> round -> fields; and the lines that are no measurement."""
    runs, parts, memory = collections.OrderedDict(), [], []
    with open(path, encoding="utf-8") as f:
        for line in f:
            fields = json.loads(line)
            if "parts" in fields:
                parts.append(fields)
            elif "peak_mb" in fields:
                memory.append(fields)
            elif fields["item"]:
                key = fields["item"], fields["name"], fields["target"]
                runs.setdefault(key, {}).setdefault(fields["round"], {}).update(fields)
    return runs, parts, memory


def values(rounds, field):
    return [fields[field] for fields in rounds.values() if field in fields]


def middle(field, found):
    return max(found) if field in LARGEST else statistics.median(found)


def short(number):
    return f"{number:.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def cell(rounds, field):
    found = values(rounds, field)
    if not found:
        return "-"
    if len(found) == 1 or field in LARGEST or min(found) == max(found):
        return short(middle(field, found))
    return f"{short(middle(field, found))} ({short(min(found))}..{short(max(found))})"


def times(runs, item, name, peer, field, target="sqyfs"):
    """How many times the peer's: the median of what the same rounds give."""
    ours, theirs = runs.get((item, name, target), {}), runs.get((item, name, peer), {})
    both = [ours[r][field] / theirs[r][field] for r in ours
            if r in theirs and theirs[r].get(field) and ours[r].get(field)]
    return statistics.median(both) if both else None


def print_table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  " + "  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def compared(runs, item, name):
    words = []
    for peer in PEERS:
        for field in ("durable_gbs", "accepted_gbs", "calls_s"):
            ratio = times(runs, item, name, peer, field)
            if ratio is not None and not (item == "read" and field == "durable_gbs"):
                words.append(f"{ratio:.2f} x {peer} {field.split('_')[0]}")
    return ", ".join(words)


def print_item(runs, item):
    print(f"{item}: median (lowest..highest) of the rounds; max and late: the largest of all")
    for name in dict.fromkeys(key[1] for key in runs if key[0] == item):
        targets = {key[2]: rounds for key, rounds in runs.items() if key[:2] == (item, name)}
        columns = [c for c in COLUMNS[item] + ["measured_mbs"] if any(values(r, c) for r in targets.values())]
        rows = [[name] + [WORDS[c] for c in columns]]
        for target in sorted(targets, key=lambda t: (["sqyfs"] + PEERS + ["disk"]).index(t)):
            gb = values(targets[target], "bytes")
            size = f" {gb[0] / 1e9:.1f} GB" if gb and gb[0] else ""
            rows.append([target + size] + [cell(targets[target], c) for c in columns])
        print_table(rows)
        words = compared(runs, item, name)
        if words:
            print(f"  sqyfs is {words}")


def bar_lines(runs, memory):
    """(what, measured, wanted, met) of everything that the bar says and the run has measured."""
    def at(item, name, field, target="sqyfs"):
        found = values(runs.get((item, name, target), {}), field)
        return middle(field, found) if found else None

    lines = []

    def want(what, measured, bound, most=False):
        if measured is not None and bound is not None:
            met = measured <= bound if most else measured >= bound
            lines.append([what, short(measured), ("<= " if most else ">= ") + short(bound), "met" if met else "missed"])

    for item, name in dict.fromkeys(key[:2] for key in runs):
        what = f"{item}, {name}: "
        if item == "write":
            want_write(runs, want, at, what, name)
        elif item == "small":
            for field in ("accepted_gbs", "durable_gbs"):
                want(f"{what}x ext4, {field.split('_')[0]}", times(runs, item, name, "ext4", field), 0.5)
        elif item == "slow":
            want(what + "accepted GB/s", at(item, name, "accepted_gbs"), 0.98 * float(name.split()[1][:-1]) / 1000)
        elif item == "stat" and name.endswith("cold"):
            want(what + "stat a second", at(item, name, "calls_s"), 20000)
        elif item == "read":
            want_read(runs, want, at, what, name)
    for one in memory:
        want("memory, peak MB", one["peak_mb"], one["limit_mb"], most=True)
        quarters = one["anon_quarters_mb"]
        if len(quarters) == 4:
            want("memory, last quarter of the time, MB", quarters[3], 1.1 * quarters[1], most=True)
    return lines


def want_write(runs, want, at, what, name):
    medium = name.split()[0]
    if medium == "tmpfs":
        want(what + "GB/s", at("write", name, "durable_gbs"), 1.7)
    else:
        disk, ratio = at("write", name, "durable_gbs", "plain"), at("write", name, "ratio")
        if disk and ratio:
            want(what + "GB/s", at("write", name, "durable_gbs"), 0.9 * min(1.7, ratio * disk))
    want(what + "longest call, ms", at("write", name, "max_ms"), 100, most=True)
    if "embryo" in name:
        want(what + "ratio", at("write", name, "ratio"), 3)
    want(what + "x btrfs", times(runs, "write", name, "btrfs", "durable_gbs"), 4)
    want(what + "x ext4", times(runs, "write", name, "ext4", "durable_gbs"), 1)


def want_read(runs, want, at, what, name):
    medium, kind = name.split(" ", 1)
    if kind == "sequential, cold":
        want(what + "GB/s", at("read", name, "accepted_gbs"), 1.5)
        want(what + "x btrfs", times(runs, "read", name, "btrfs", "accepted_gbs"), 2)
    elif kind == "sequential, again":
        want(what + "x ext4", times(runs, "read", name, "ext4", "accepted_gbs"), 1)
    elif kind == "planes at random, cold":
        median = at("read", name, "p50_ms")
        want(what + "p99, ms", at("read", name, "p99_ms"), 4 * median if median else None, most=True)
        near = at("read", name, "near_ms")
        want(what + "far planes, ms", at("read", name, "far_ms"), 1.2 * near if near else None, most=True)
    elif kind.startswith("mmap"):
        read = at("read", name.replace("mmap", "sequential"), "accepted_gbs")
        want(what + "GB/s", at("read", name, "accepted_gbs"), 0.8 * read if read else None)


def print_parts(parts):
    for one in parts:
        print(f"parts of {one['name']}: the daemon's CPU seconds per GB, by {one['samples']} samples")
        print_table([[part, f"{seconds:.3f}"] for part, seconds in one["parts"].items()] +
                    [["all", f"{sum(one['parts'].values()):.3f}"]])


def print_memory(memory):
    for one in memory:
        quarters = " ".join(f"{mb:.0f}" for mb in one["anon_quarters_mb"])
        print(f"memory: {one['written_mb']:.0f} MB written and read, peak {one['peak_mb']:.0f} MB of "
              f"{one['limit_mb']:.0f}; highest anonymous MB in each quarter of the time: {quarters}; shared "
              f"{one['shmem_mb']:.0f}; at most {one['threads']} threads, {one['descriptors']} descriptors")


def report(path, csv_path=""):
    runs, parts, memory = load(path)
    for item in dict.fromkeys(key[0] for key in runs):
        if item != "parts":
            print_item(runs, item)
    print_memory(memory)
    print_parts(parts)
    lines = bar_lines(runs, memory)
    if lines:
        print("the bar")
        print_table([["what", "measured", "wanted", ""]] + lines)
    if csv_path:
        write_csv(runs, csv_path)


def write_csv(runs, path):
    with open(path, "w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(["item", "name", "target", "field", "rounds", "median", "lowest", "highest"])
        for key, rounds in runs.items():
            for field in dict.fromkeys(field for fields in rounds.values() for field in fields):
                found = values(rounds, field)
                if field not in ("item", "name", "target", "round"):
                    out.writerow([*key, field, len(found), statistics.median(found), min(found), max(found)])


def memory_line(watched, stats_path, written_mb):
    with open(watched, encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    with open(stats_path, encoding="utf-8") as f:
        stats = json.load(f)

    def highest(field, some):
        return max((int(row[field]) for row in some), default=0)

    quarter = max(1, (len(rows) + 3) // 4)
    limit = (stats["spool_limit"] + stats["cache_limit"]) / 1e6 + 200
    print(json.dumps({
        "item": "memory", "name": "peak", "target": "sqyfs", "round": 0, "written_mb": float(written_mb),
        "peak_mb": highest("VmHWM", rows) * 1024 / 1e6, "limit_mb": limit,
        "shmem_mb": highest("RssShmem", rows) * 1024 / 1e6,
        "anon_quarters_mb": [highest("RssAnon", rows[i:i + quarter]) * 1024 / 1e6
                             for i in range(0, len(rows), quarter)],
        "threads": highest("threads", rows), "descriptors": highest("descriptors", rows)}))


if __name__ == "__main__":
    {"report": report, "memory": memory_line}[sys.argv[1]](*sys.argv[2:])
