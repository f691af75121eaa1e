#!/usr/bin/env bash
# Everything that the project wants of a GPU or TPU, in pieces of minutes; see docs/accelerator.md.
#
#   scripts/accelerator.sh [MINUTES] [--plan] [--miniature] [--out FOLDER] [--only ITEM ...]
#   scripts/accelerator.sh --pack FOLDER [DATA ...]   what a machine without a network needs
#
# PYTHON names the Python, by default the first found that has jax; PACKED the folder of what was
# packed, by default build/accelerator; FSB_DATA the data, by default those in PACKED.
set -euo pipefail
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$scripts")
packed=${PACKED:-$root/build/accelerator}

has() { "${python:?}" -c "import $1" 2>/dev/null; }

for python in ${PYTHON:-"$root/.venv/bin/python" python3 python}; do
    has jax && break
done
has jax || { echo "fsb: error: no Python with jax; PYTHON=path/to/python names one" >&2; exit 2; }

export PYTHONPATH="$scripts${PYTHONPATH:+:$PYTHONPATH}"
if [ -d "$root/fsb" ]; then PYTHONPATH="$PYTHONPATH:$root"; fi
if ! has "fsb, hydra, pydantic"; then
    PYTHONPATH="$PYTHONPATH:$packed/site"
    if [ ! -d "$packed/site" ] && ls "$packed"/1/wheels/*.whl >/dev/null 2>&1; then
        "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
            --target "$packed/site" "$packed"/1/wheels/*.whl
    fi
    has "fsb, hydra, pydantic" || {
        echo "fsb: error: $python lacks fsb, hydra or pydantic, and $packed/1/wheels has none" >&2
        exit 2
    }
fi
if [ "${1:-}" = --pack ]; then
    shift
    exec "$python" -m accelerator.pack "$@"
fi
if [ -z "${FSB_DATA:-}" ] && ls -d "$packed"/*/data >/dev/null 2>&1; then
    mkdir -p "$packed/data"
    for part in "$packed"/[0-9]*/data; do cp -ru "$part/." "$packed/data"; done
    export FSB_DATA=$packed/data
fi
if [ -z "${FSB_COMMIT:-}" ] && [ -f "$packed/1/commit" ]; then
    FSB_COMMIT=$(cat "$packed/1/commit")
    export FSB_COMMIT
fi
exec "$python" -m accelerator "$@"
