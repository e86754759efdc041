#!/bin/bash
# Installs what is missing (Debian, as root), builds, runs every test, and ends with one line:
#   N passed, N failed, N skipped
# The status is 0 where nothing has failed. SQYFS_CHECK_FULL=1 adds all tests under the sanitizers, clang and
# the slow tests. Build folders: build-check*.
set -u
cd "$(dirname "$0")" || exit 1
exec </dev/null
export LSAN_OPTIONS="suppressions=$PWD/tests/lsan.supp:print_suppressions=0"
. etc/packages.sh

passed=0 failed=0 skipped=0

# A step that is no test: counts only when it fails.
step() {
    local what=$1
    shift
    echo "== $what"
    "$@" && return 0
    echo "FAILED: $what"
    failed=$((failed + 1))
    return 1
}

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
    exit
}

# configure FOLDER [MESON OPTION...]
configure() {
    local folder=$1 again=
    shift
    [ ! -f "$folder/build.ninja" ] || again=--reconfigure
    meson setup $again "$folder" "$@" >/dev/null || {
        tail -n 30 "$folder/meson-logs/meson-log.txt"
        return 1
    }
}

# The thread sanitizer of gcc 12 does not stand newer kernels' random addresses.
unrandomised() {
    if setarch "$(uname -m)" -R true 2>/dev/null; then
        setarch "$(uname -m)" -R "$@"
    else
        "$@"
    fi
}

# count FOLDER: adds up what meson has noted down, and says why tests were skipped.
count() {
    local summary
    summary=$(python3 - "$1/meson-logs/testlog.json" <<'PYTHON'
import json
import sys

counts = {"passed": 0, "failed": 0, "skipped": 0}
with open(sys.argv[1], encoding="utf-8") as log:
    for line in log:
        test = json.loads(line)
        kind = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}.get(test["result"], "failed")
        counts[kind] += 1
        if kind == "skipped":
            words = (test.get("stdout") or "").strip().splitlines()
            print(f"skipped {test['name']}: {words[-1] if words else 'no reason given'}", file=sys.stderr)
        if kind == "failed":
            print(f"failed {test['name']}: {test['result']}", file=sys.stderr)
print(counts["passed"], counts["failed"], counts["skipped"])
PYTHON
    ) || return 1
    set -- $summary
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# run_tests WHAT FOLDER [MESON TEST OPTION...]
run_tests() {
    local what=$1 folder=$2
    shift 2
    echo "== $what"
    rm -f "$folder/meson-logs/testlog.json"
    unrandomised meson test -C "$folder" --no-rebuild --print-errorlogs "$@"
    count "$folder" || {
        echo "FAILED: $what: no tests were run"
        failed=$((failed + 1))
    }
}

# sanitized FOLDER SANITIZERS PATTERN: the tests whose "suite / name" the pattern matches.
sanitized() {
    local folder=$1 sanitizers=$2 pattern=$3 names
    step "configure with $sanitizers" configure "$folder" -Db_sanitize="$sanitizers" -Db_lundef=false || return
    step "build with $sanitizers" ninja -C "$folder" --quiet || return
    mapfile -t names < <(meson test -C "$folder" --no-rebuild --list 2>/dev/null |
        grep -P "$pattern" | sed 's,.* / ,,')
    run_tests "tests with $sanitizers" "$folder" --timeout-multiplier 5 "${names[@]}"
}

step "packages" packages_install etc/packages.txt build demo test || finish
step "configure" configure build-check || finish
step "build" ninja -C build-check --quiet || finish
run_tests "tests" build-check --no-suite slow
if [ -z "${SQYFS_CHECK_FULL:-}" ]; then
    sanitized build-check-address address,undefined ':unit / '
    # what has one thread only is as slow there as it is pointless
    sanitized build-check-thread thread ':unit / (?!image|codec|names|tiff|policy|store (fuzz|locate|table|powercut|page|blob_large))'
else
    run_tests "slow tests" build-check --suite slow
    sanitized build-check-address address,undefined ':(unit|ctl|fuse|integration) / '
    sanitized build-check-thread thread ':(unit|ctl|fuse|integration) / '
    if command -v clang >/dev/null; then
        export CC=clang
        step "configure with clang" configure build-check-clang -Dwerror=true &&
            step "build with clang" ninja -C build-check-clang --quiet
    fi
fi
finish
