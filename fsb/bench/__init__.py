"""python -m fsb.bench: the speed of the train step, as ratios within one interleaved run."""
