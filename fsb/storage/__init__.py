"""All that is written to disk: run folders, checkpoints, metrics, plots, loggers."""
