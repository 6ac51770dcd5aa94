#!/usr/bin/env bash
# Makes .deps/python, the virtual environment of the bench's Python peer and of docs/examples/read.py.
# Nothing else needs Python.
set -euo pipefail
# shellcheck source=infra/setup/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

wanted=$root/bench/python/requirements.txt
venv=$deps/python

cmp -s "$wanted" "$venv/requirements.txt" && exit 0
command -v python3 >/dev/null || die "python3 is missing (apt-get install python3-venv)"
say "install the Python packages of bench/python/requirements.txt"
rm -rf "$venv"
python3 -m venv "$venv" || die "python3 cannot make a virtual environment (apt-get install python3-venv)"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
cp "$wanted" "$venv/requirements.txt" # last: it says that all is there
