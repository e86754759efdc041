#!/bin/bash
# Real images from many programs, broken and fuzzed ones among them, come back byte for byte.
. "$(dirname "$0")/lib.sh"

corpus=$SQYFS_SHARED/corpus
[ -d "$corpus" ] || skip "no corpus in $SQYFS_SHARED"
setup
attach
cp -a "$corpus/." "$MNT/"
prove "$corpus"
note "compare times and modes"
list() { (cd "$1" && find . -printf '%p %y %m %s %T@ %U:%G\n' | grep -v '^\. ' | sort); }
[ -n "$SQYFS_PLAIN" ] || diff <(list "$corpus" | awk '$2 == "f"') <(list "$MNT" | awk '$2 == "f"') ||
    fail "times, sizes or modes differ"
