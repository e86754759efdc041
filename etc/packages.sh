# Sourced (sh): installs what is missing from Debian. packages_install LIST KIND...

packages_missing() {
    list=$1
    shift
    for kind in "$@"; do
        sed -n "s/^$kind //p" "$list"
    done | while read -r package; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q ' installed$' || echo "$package"
    done
}

packages_install() {
    if ! command -v dpkg-query >/dev/null; then
        echo "This is no Debian: please install what $1 names." >&2
        return 0
    fi
    missing=$(packages_missing "$@" | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        echo "Missing Debian packages. As root: apt-get install $missing" >&2
        return 1
    fi
    echo "Installing from Debian: $missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update </dev/null || return 1
    # shellcheck disable=SC2086
    apt-get -q -y install --no-install-recommends $missing </dev/null >"${TMPDIR:-/tmp}/sqyfs-apt.$$" 2>&1 || {
        cat "${TMPDIR:-/tmp}/sqyfs-apt.$$" >&2
        rm -f "${TMPDIR:-/tmp}/sqyfs-apt.$$"
        echo "apt-get could not install: $missing" >&2
        return 1
    }
    rm -f "${TMPDIR:-/tmp}/sqyfs-apt.$$"
}
