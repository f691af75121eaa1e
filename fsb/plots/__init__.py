"""Plots: training curves and image grids."""
