"""Variants of ``debias`` and others at more evaluations, for the tables."""

import fsb


def debias_st():
    return fsb.debias(fsb.st())


def debias_st_2():
    return fsb.debias(fsb.st(), 2)


def debias_st_4():
    return fsb.debias(fsb.st(), 4)


def debias_st_plain():
    return fsb.debias(fsb.st(), learn=False)


def debias_mve():
    return fsb.debias(fsb.mve(4.0))


def debias_darn():
    return fsb.debias(fsb.darn())


def debias_darn_plain():
    return fsb.debias(fsb.darn(), learn=False)
