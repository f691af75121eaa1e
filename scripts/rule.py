"""The rule for a verdict, as the program applies it and as the ledger prints it."""

from __future__ import annotations

from ledger import MARGIN, OPEN, VERDICTS, decide

from fsb.errors import FsbError

SEEDS, SHARE = 3, 0.2
WORDS = f"""\
**The rule.** A verdict is made by the program from checks: our number, the number it is held
against, and a tolerance. Without them a row has no verdict.

- *Drawn or in closed form* (a bias, a variance, a rate): the checks decide; what is equal may be
  off by 4 standard errors of the draws, or by the tolerance that stands with the check.
- *Trained*: at least {SEEDS} seeds and {100 * SHARE:.0f} % of the published length, where the paper
  tells it; a difference counts from {MARGIN} standard errors over the seeds on.
- *Timed*: a ratio on another kind of machine than the paper's can bear a claim out, not refute it.

What falls short of this is *{OPEN}*; the row says what it lacks and what was found so far.
*Holds with correction*: not as printed, but as the notes say. Our own additions stand below each
paper's claims and are not counted among them.
"""


def shortfall(kind, record):
    """What a record lacks of the rule for claims of its kind, in words; empty if it may decide.

    >>> shortfall("trained", {"checks": [{"error": 0.1}], "seeds": 1, "share": 0.01})
    '1 of 3 seeds; 1 % of the published length'
    >>> shortfall("drawn", {"checks": [{}]})
    ''
    """
    if kind != "trained":
        return ""
    found, share = [], record.get("share")
    if record.get("seeds", 1) < SEEDS:
        found.append(f"{record.get('seeds', 1)} of {SEEDS} seeds")
    if share is not None and share < SHARE:
        found.append(f"{100 * share:.2g} % of the published length")
    checks = [*record.get("checks", ()), *record.get("corrected", ())]
    if not found and any(check.get("error") is None for check in checks):
        found.append("no standard error over the seeds")
    return "; ".join(found)


def verdict(claim, record, where):
    """The verdict of a record by the rule, and what it lacks.

    Raises:
      FsbError: for a verdict in words that no check stands behind, or one there is not.
    """
    said, lacks = record.get("verdict"), shortfall(claim.kind, record)
    if not record.get("checks"):
        if said in VERDICTS:
            raise FsbError(f"{where}: {claim.id!r}: '{said}' needs checks; without it is '{OPEN}'")
        if said != OPEN:
            raise FsbError(f"{where}: {claim.id!r}: verdict must be one of {', '.join(STATES)}")
        return OPEN, lacks
    found = decide(record["checks"], record.get("corrected", ()))
    if lacks:
        return OPEN, lacks
    if claim.kind == "timed" and not record.get("same_machine") and found != VERDICTS[0]:
        return OPEN, "another kind of machine"
    return found, ""


STATES = (*VERDICTS, OPEN)
