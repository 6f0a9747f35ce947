#!/usr/bin/env bash
# A PostgreSQL server for the tests, which start one of their own: installed where there is none and
# this may be done. Where it cannot be, the tests that need one are skipped.
set -uo pipefail

if command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing a PostgreSQL server for the tests"
    export DEBIAN_FRONTEND=noninteractive
    if apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null; then
        exit 0
    fi
fi
echo "warning: no PostgreSQL server; tests that need one are skipped" >&2
