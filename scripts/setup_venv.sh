#!/usr/bin/env bash
# Create .venv with what requirements.lock pins, and this project in it, editable.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.11 python3.12 python3.13; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: SqueezeRL needs Python 3.11 or newer; set PYTHON to one" >&2
    return 1
}

python=$(find_python)
if [ ! -x .venv/bin/python ]; then
    if ! "$python" -m venv .venv; then
        # Debian and Ubuntu keep venv in a package of its own.
        rm -rf .venv
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            apt-get update -qq
            apt-get install -y -qq python3-venv
            "$python" -m venv .venv
        else
            echo "error: $python cannot create a virtual environment; install python3-venv" >&2
            exit 1
        fi
    fi
fi
echo "installing the pinned packages into .venv"
.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
# Zeus brings it, and does without; on a machine without AMD's own library it keeps Ray from loading.
if ! .venv/bin/python -c 'import amdsmi' >/dev/null 2>&1; then
    .venv/bin/pip uninstall --quiet --yes --disable-pip-version-check amdsmi
fi
touch .venv/.installed
