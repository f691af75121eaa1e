"""How a verdict is made of numbers."""

from __future__ import annotations

VERDICTS = ("holds", "holds with correction", "does not hold")


def met(check):
    """Whether the number stands to the other as the check says, within its tolerance."""
    ours, than, tolerance = check["ours"], check["than"], check["tolerance"]
    return {
        "=": abs(ours - than) <= tolerance,
        "<": ours < than + tolerance,
        ">": ours > than - tolerance,
    }[check["relation"]]


def decide(checks, corrected=()):
    """The verdict: of the claim as stated, else of the claim as it should read.

    >>> decide([{"ours": 0.99, "relation": "=", "than": 1, "tolerance": 0.02}])
    'holds'
    """
    if checks and all(map(met, checks)):
        return VERDICTS[0]
    return VERDICTS[1] if corrected and all(map(met, corrected)) else VERDICTS[2]
