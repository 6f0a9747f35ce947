#!/usr/bin/env bash
# What the tests use beside Python: a PostgreSQL server, which they start one of their own of, and
# QEMU, which emulates an older processor. Each is installed where it is missing and this may be
# done. Where it cannot be, the tests that need it are skipped.
set -uo pipefail

has_postgresql() {
    command -v initdb || ls /usr/lib/postgresql/*/bin/initdb
}

has_qemu() {
    [ "$(uname -m)" != x86_64 ] || command -v qemu-x86_64
}

missing=()
has_postgresql >/dev/null 2>&1 || missing+=(postgresql)
has_qemu >/dev/null 2>&1 || missing+=(qemu-user)
[ "${#missing[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing for the tests: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    for package in "${missing[@]}"; do
        apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
            echo "warning: $package cannot be installed" >&2
    done
fi
has_postgresql >/dev/null 2>&1 || echo "warning: no PostgreSQL; tests that need it are skipped" >&2
has_qemu >/dev/null 2>&1 || echo "warning: no qemu-x86_64; tests that need it are skipped" >&2
exit 0
