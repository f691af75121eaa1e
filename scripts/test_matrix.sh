#!/bin/sh
# Runs the fast tests on every combination of Python and JAX that fsb promises.
set -eu
run() { # PYTHON_VERSION JAX_REQUIREMENT
  folder=.venv-py$1-$(echo "$2" | tr -c 'a-z0-9.\n' '-')
  echo "== Python $1, $2"
  scripts/venv.sh "$folder" "$1" "$2" "$(echo "$2" | sed 's/^jax/jaxlib/')"
  "$folder/bin/python" -c "import sys, jax; print('Python', sys.version.split()[0], 'jax', jax.__version__)"
  "$folder/bin/python" -m pytest -n auto --dist loadfile -m "not slow"
}
run 3.11 "jax==0.10.2"
run 3.12 "jax==0.11.2"
run 3.12 "jax>=0.12"
