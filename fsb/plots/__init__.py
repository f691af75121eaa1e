"""Pictures: curves of runs and grids of images."""
