#!/bin/bash
# Our video sinks beside the ffmpeg tool: the same planes from a file in memory, the same library, settings
# and threads, both as a process, in turns. Prints, for each setting, the least CPU seconds (user and system)
# and wall seconds of both, how many times as fast ours is, and the bytes that both wrote.
#   lossy_ffmpeg.sh [ROUNDS]     (3)
# Programs as in lossy.sh. SQYFS_BENCH_OUT: a folder for lossy_ffmpeg.csv and for the bars.
# SQYFS_BENCH_RAM: where the files lie, /dev/shm.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
build=${SQYFS_BUILD:-$here/../../build}
groups=${GROUPS_OF:-$build/tests/bench/groups}
lightsheet=${LIGHTSHEET:-$build/tests/tools/lightsheet}
rounds=${1:-3}
size=${SQYFS_BENCH_FFMPEG_SIZE:-1024x1024}
cores=$(nproc)
command -v ffmpeg >/dev/null || {
    echo "ffmpeg: passed over: it is not installed (Debian: ffmpeg)"
    exit 0
}
work=$(mktemp -d "${SQYFS_BENCH_RAM:-/dev/shm}/sqyfs-ffmpeg-XXXXXX")
trap 'rm -rf "$work"' EXIT
out=${SQYFS_BENCH_OUT:-$work}
mkdir -p "$out"
csv=$out/lossy_ffmpeg.csv
echo "codec,settings,bits,threads,planes,ours_cpu_s,ffmpeg_cpu_s,ours_wall_s,ffmpeg_wall_s,ours_bytes,ffmpeg_bytes" >"$csv"

# Small numbers, as a quantiser leaves them: bytes, and 16-bit samples of fewer than 1024 values.
make_planes() { # PLANES
    "$lightsheet" --kind embryo --size "${size}x$1" --seed 1 --format raw "$work/voxels" >"$work/said"
    "$groups" --size "$size" --group "$1" -p 'quantiser->pass_through' "$work/voxels" "$work/planes.8"
    "$groups" --size "$size" -p 'noise(q=1,offset=103.5,gain=2.2,read=4)->pass_through' "$work/voxels" "$work/planes.10"
    ln -f "$work/planes.10" "$work/planes.12"
    rm "$work/voxels"
}

take_planes() { # PLANES BITS
    local bytes=$(($1 * ${size%x*} * ${size#*x} * ($2 > 8 ? 2 : 1)))
    head -c "$bytes" "$work/planes.$2" >"$work/in"
}

timed() { # NAME COMMAND...: a line of CPU and wall seconds in NAME
    local name=$1 TIMEFORMAT='%3R %3U %3S'
    shift
    { time "$@" >"$work/said" 2>&1; } 2>"$work/time" || {
        cat "$work/said"
        return 1
    }
    awk '{ printf "%.3f %.3f\n", $2 + $3, $1 }' "$work/time" >>"$work/$name"
}

least() { # NAME COLUMN: of the rounds; whoever else is there only adds
    cut -d' ' -f"$2" "$work/$1" | sort -n | head -1
}

in_turns() { # the commands in the arrays ours and theirs, which compare() has
    : >"$work/ours"
    : >"$work/theirs"
    for _ in $(seq "$rounds"); do
        timed ours "${ours[@]}" && timed theirs "${theirs[@]}" || return 1
    done
}

compare() { # h264|hevc BITS THREADS PLANES PRESET QP
    local codec=$1 bits=$2 threads=$3 planes=$4 preset=$5 qp=$6 format=gray type=uint8
    local settings="preset=$preset,qp=$qp" ours theirs
    local x265="qp=$qp:open-gop=0:repeat-headers=1:log-level=none"
    [ "$bits" = 8 ] || format=gray${bits}le
    [ "$bits" = 8 ] || type=uint16
    [ "$threads" != 1 ] || x265+=:pools=none:frame-threads=1
    ours=("$groups" --size "$size" --type "$type" --threads "$threads"
        -p "$codec(bits=$bits,$settings)" "$work/in" "$work/out.ours")
    theirs=(ffmpeg -nostdin -loglevel error -y -f rawvideo -pix_fmt "$format" -s "$size" -i "$work/in"
        -threads "$threads" -preset "$preset" -g 8 -pix_fmt "$format")
    if [ "$codec" = h264 ]; then
        theirs+=(-c:v libx264 -qp "$qp" -f h264 "$work/out.theirs")
    else
        theirs+=(-c:v libx265 -x265-params "$x265" -f hevc "$work/out.theirs")
    fi
    take_planes "$planes" "$bits"
    in_turns || {
        printf '  %-34s skipped: %s\n' "$codec $settings $bits bits" "$(head -1 "$work/said")"
        return 0
    }
    report
}

report() { # of compare()
    local a b c d n m column=1 what="CPU seconds"
    a=$(least ours 1) b=$(least theirs 1) c=$(least ours 2) d=$(least theirs 2)
    n=$(stat -c %s "$work/out.ours") m=$(stat -c %s "$work/out.theirs")
    echo "$codec,\"$settings\",$bits,$threads,$planes,$a,$b,$c,$d,$n,$m" >>"$csv"
    awk -v w="$codec $settings $bits bits" -v t="$threads" -v a="$a" -v b="$b" -v c="$c" -v d="$d" -v n="$n" -v m="$m" \
        'BEGIN { printf "  %-34s %3d %7.2f %7.2f %6.2f %7.2f %7.2f %6.2f %10d %10d\n", w, t, a, b, b / a, c, d, d / c, n, m }'
    if [ "$threads" != 1 ]; then
        column=2
        what="wall seconds, $threads threads"
    fi
    awk -v w="$codec $settings $bits bits: times ffmpeg, $what" -v a="$(least ours $column)" -v b="$(least theirs $column)" 'BEGIN {
        printf "  %-28s %-66s %9.3f  wanted >= 1 %s\n", "planes of embryo", w, b / a, (b >= a ? "met" : "MISSED") }' >>"$out/lossy.bars"
}

most=64
make_planes "$most"
printf '\nour video sinks beside the ffmpeg tool, %s planes: CPU and wall seconds, bytes\n' "$size"
printf '  %-34s %3s %7s %7s %6s %7s %7s %6s %10s %10s\n' "" "thr" "ours" "ffmpeg" "times" "ours" "ffmpeg" "times" "ours" "ffmpeg"
compare h264 8 1 64 ultrafast 16
compare h264 8 "$cores" 64 ultrafast 16
compare h264 10 1 64 ultrafast 12
compare h264 8 1 16 medium 16
compare hevc 8 1 16 ultrafast 10
compare hevc 8 "$cores" 16 ultrafast 10
compare hevc 12 1 16 ultrafast 10
