"""python -m fsb.bench: what a train step costs, as ratios within one interleaved run."""
