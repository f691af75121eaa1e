#!/usr/bin/env bash
# A training in pieces, for a machine that is lent for minutes: each call trains for so many seconds
# and saves; the next one goes on, bit for bit.
#
#   scripts/timed.sh pack FOLDER PARTS             a data folder cut into files of at most 60 MB
#   scripts/timed.sh unpack PARTS FOLDER           and put together again
#   scripts/timed.sh train SECONDS RUN SETTINGS... a run in the folder RUN, begun or resumed
#
# Figure 3 of the FouST paper, ten minutes at a time, S-ResNet A on CIFAR-10 with three estimators:
#
#   for estimator in foust darn st; do
#       scripts/timed.sh train 180 runs/fig3/$estimator experiment=fig3_cifar10 hydra.mode=RUN \
#           estimator=$estimator model.dtype=bfloat16
#   done
#   python scripts/compare.py runs/fig3 experiments/fig3_cifar10
#   python scripts/utilisation.py runs/fig3/foust 989e12    # of an H100's or H200's bfloat16 peak
set -euo pipefail
PYTHON=${PYTHON:-python}

case "${1:-}" in
pack)
    mkdir -p "$3"
    tar -C "$2" -c . | split -b 60M - "$3/part."
    ls -l "$3"
    ;;
unpack)
    mkdir -p "$3"
    cat "$2"/part.* | tar -C "$3" -x
    ;;
train)
    seconds=$2 run=$3
    shift 3
    if [ -f "$run/config.yaml" ]; then
        set -- "resume=$run"
    else
        set -- "$@" "hydra.run.dir=$run"
    fi
    # It saves when told to end, within a chunk; 124 is timeout's word for that.
    timeout --signal=TERM --kill-after=120 "$seconds" "$PYTHON" -m fsb.train "$@" ||
        [ $? = 124 ] || exit 1
    ;;
*)
    sed -n '2,/^set/p' "$0" | grep '^#' | cut -c3-
    exit 2
    ;;
esac
