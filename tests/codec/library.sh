#!/bin/bash
# library.sh MESON SOURCE: builds the library alone, installs it under a temporary prefix and uses it from there.
set -eu -o pipefail
meson=$1 source=$2
here=$source/tests/codec
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "failed: $*"
    exit 1
}

for tool in pkg-config nm; do
    command -v "$tool" >/dev/null || {
        echo "skipped: there is no $tool"
        exit 77
    }
done
read -ra cc <<<"${CC:-cc}"
read -ra cxx <<<"${CXX:-c++}"
c99=("${cc[@]}" -std=c99 -pedantic -Wall -Wextra -Werror)
cpp11=("${cxx[@]}" -x c++ -std=c++11 -pedantic -Wall -Wextra -Werror)

"$meson" setup "$work/build" "$source" -Dprograms=false -Dbuildtype=plain -Doptimization=0 --prefix="$work/prefix" \
    --libdir=lib >"$work/log" || fail "$(tail -n 20 "$work/log")"
"$meson" install -C "$work/build" >"$work/log" || fail "$(tail -n 20 "$work/log")"
prefix=$work/prefix
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}

echo "== the header alone"
printf '#include <sqy.h>\n#include <sqy.h>\n' >"$work/alone.c"
"${c99[@]}" -Wc++-compat -I"$prefix/include" -fsyntax-only "$work/alone.c"
if command -v "${cxx[0]}" >/dev/null; then
    "${cpp11[@]}" -I"$prefix/include" -fsyntax-only "$work/alone.c"
else
    cpp11=()
    echo "without C++: there is no ${cxx[0]}"
fi

echo "== symbols"
grep -o '\bsqy_[a-z0-9_]*(' "$prefix/include/sqy.h" | tr -d '(' | sort -u >"$work/documented"
sed -n '/^SQY_API/,/;/p' "$prefix/include/sqy.h" | grep -o '\bsqy_[a-z0-9_]*(' | tr -d '(' | sort -u >"$work/declared"
[ "$(wc -l <"$work/declared")" -gt 20 ] || fail "the header declares too little to be read rightly"
nm -D --defined-only "$prefix/lib/libsqy.so" | awk '{ print $3 }' | sort -u >"$work/shared"
diff "$work/declared" "$work/shared" || fail "the shared library's symbols are not the header's"
diff "$work/declared" "$work/documented" || fail "comments name what there is not"
nm -g --defined-only "$prefix/lib/libsqy.a" | awk 'NF == 3 { print $3 }' | sort -u >"$work/static"
diff "$work/declared" "$work/static" || fail "the static library's symbols are not the header's"

echo "== the manual page"
page=$prefix/share/man/man3/libsqy.3
grep -o '\bsqy_[a-z0-9_]*(\|\bsqy_[a-z0-9_]* ()' "$page" | tr -d '( )' | sort -u >"$work/named"
[ -s "$work/named" ] || fail "the page names nothing"
[ -z "$(comm -23 "$work/named" "$work/declared")" ] || fail "the page names what there is not"

# use NAME PKG_CONFIG_OPTION...: builds the example and a user and runs them.
use() {
    local name=$1 flags
    shift
    read -ra flags <<<"$(pkg-config "$@" --cflags --libs sqy)"
    "${c99[@]}" -o "$work/volume-$name" "$source/examples/volume.c" "${flags[@]}"
    "$work/volume-$name"
    "$work/volume-$name" 'bitshuffle->zstd'
    "${c99[@]}" -o "$work/user-$name" "$here/library_user.c" "${flags[@]}"
    [ "$("$work/user-$name")" = "$version" ] || fail "user in C, $name"
    [ ${#cpp11[@]} -gt 0 ] || return 0
    "${cpp11[@]}" -c -o "$work/user.o" "$here/library_user.c" -I"$prefix/include"
    "${cxx[@]}" -o "$work/user-c++-$name" "$work/user.o" "${flags[@]}"
    [ "$("$work/user-c++-$name")" = "$version" ] || fail "user in C++, $name"
}

version=$(pkg-config --modversion sqy)
echo "== shared"
LD_LIBRARY_PATH=$prefix/lib use shared
echo "== static"
rm "$prefix"/lib/libsqy.so*
use static --static
