"""REBAR with nothing to learn, for the table of costs."""

import fsb


def rebar_fixed():
    return fsb.rebar(learn_temperature=False, learn_scale=False)
