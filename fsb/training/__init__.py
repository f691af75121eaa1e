"""The train step and what surrounds it: set-up, evaluation, records, images."""
