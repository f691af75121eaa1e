#!/bin/sh
# Runs the fast tests on each supported Python with the newest JAX that it allows, and on one more
# JAX between the oldest and the newest. Every environment is made anew.
set -eu
failed=
run() { # PYTHON_VERSION [JAX_VERSION]
  folder=.venv-py$1${2:+-jax$2}
  echo "== Python $1, jax ${2:-newest}"
  rm -rf "$folder"
  scripts/venv.sh "$folder" "$1" ${2:+"jax==$2" "jaxlib==$2"}
  "$folder/bin/python" -c "import sys, jax; print('Python', sys.version.split()[0], 'jax', jax.__version__)"
  "$folder/bin/python" -m pytest -n auto --no-loadscope-reorder -m "not slow" tests ||
    failed="$failed $folder"
}
run 3.11
run 3.12 0.11.2
run 3.12
run 3.13
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
