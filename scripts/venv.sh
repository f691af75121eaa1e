#!/bin/sh
# Makes a virtual environment with fsb in it: scripts/venv.sh FOLDER [PYTHON_VERSION [PACKAGE ...]]
# Takes any Python 3.11, 3.12 or 3.13 it finds, or the version asked for; else lets uv bring one.
set -eu
folder=$1
wanted=${2:-}
[ $# -gt 1 ] && shift 2 || shift

supported() { # is "$1" a Python that runs, of a version we support (or the one asked for)?
  "$1" -c "import sys, ensurepip, venv; v = '%d.%d' % sys.version_info[:2]; \
sys.exit(v not in ('${wanted:-3.11}', '${wanted:-3.12}', '${wanted:-3.13}'))" 2>/dev/null
}

python=
for candidate in ${PYTHON:-} python3 python3.12 python3.13 python3.11 python \
  "$HOME"/.pyenv/versions/3.1[123]*/bin/python; do
  if supported "$candidate"; then python=$candidate; break; fi
done

if command -v uv >/dev/null 2>&1; then
  uv venv --quiet --allow-existing --python "${python:-${wanted:-3.12}}" "$folder"
  uv pip install --quiet --python "$folder/bin/python" -e ".[dev]" "$@"
elif [ -n "$python" ]; then
  "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[dev]" "$@"
else
  echo "fsb: error: needs Python ${wanted:-3.11, 3.12 or 3.13}, found $(python3 --version 2>&1 || true);" \
    "install one, or uv (which brings its own), and run make again" >&2
  exit 2
fi
