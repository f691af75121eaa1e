"""python -m fsb.lab: bias, variance and cost of estimators, side by side on one problem."""
