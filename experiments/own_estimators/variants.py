"""Variants of ``debias`` and of RODEO, for the tables."""

import fsb


def debias_st():
    return fsb.debias(fsb.st())


def debias_darn():
    return fsb.debias(fsb.darn())


def debias_2():
    """Two flips."""
    return fsb.debias(fsb.mve(8.0), 2)


def debias_plain():
    """Nothing learned."""
    return fsb.debias(fsb.mve(8.0), learn=False)


def debias_darn_plain():
    return fsb.debias(fsb.darn(), learn=False)


def rodeo_2():
    """Learned from half of the examples."""
    return fsb.rodeo(every=2)


def rodeo_1():
    """Learned from all examples, as published."""
    return fsb.rodeo(every=1)
