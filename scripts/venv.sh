#!/bin/sh
# Makes a virtual environment with fsb in it: scripts/venv.sh FOLDER [PYTHON_VERSION [PACKAGE ...]]
# Takes the newest supported Python that it finds, or one of PYTHON_VERSION; PYTHON=path/to/python
# overrides the search. If there is none, uv, where it is installed, brings one.
set -eu
folder=$1
wanted=${2:-}
[ $# -gt 1 ] && shift 2 || shift

runs() { # does "$1" run, with all that an environment needs, and is it Python "$2"?
  "$1" -c "import sys, ensurepip, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$2')" 2>/dev/null
}

find_python() {
  for version in ${wanted:-3.13 3.12 3.11}; do
    for candidate in ${PYTHON:-"python$version" "$HOME/.pyenv/versions/$version".*/bin/python python3 python}; do
      if runs "$candidate" "$version"; then echo "$candidate"; return; fi
    done
  done
}

python=$(find_python)
if [ -n "${PYTHON:-}" ] && [ -z "$python" ]; then
  echo "fsb: error: PYTHON=$PYTHON is not a Python ${wanted:-3.11, 3.12 or 3.13} with venv" >&2
  exit 2
elif command -v uv >/dev/null 2>&1; then
  uv venv --quiet --allow-existing --python "${python:-${wanted:-3.13}}" "$folder"
  uv pip install --quiet --python "$folder/bin/python" -e ".[dev]" "$@"
elif [ -n "$python" ]; then
  "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[dev]" "$@"
else
  echo "fsb: error: needs Python ${wanted:-3.11, 3.12 or 3.13}, found $(python3 --version 2>&1 || true);" \
    "install one, or uv (which brings its own), and run make again" >&2
  exit 2
fi
