"""Losses as traces: evaluated at many values at once, checked for kinks, differentiated."""
