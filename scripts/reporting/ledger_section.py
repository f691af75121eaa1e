"""The rows of the ledger on the page: verdict, numbers, record, and what the verdict is from."""

from __future__ import annotations

from html import escape

from claims import words
from ledger import DRAWING, OPEN, PAPERS, VERDICTS

from reporting import records
from reporting.page import anchor, details, table

STATES = (*VERDICTS, OPEN, DRAWING)
NICKNAMES = {"A": "FouST", "B": "tradeoffs", "C": "Fourier", "D": "MuProp"}


def state(claim, found):
    if claim.id in found:
        return found[claim.id]["verdict"]
    return DRAWING if claim.published == DRAWING else OPEN


def paper(claim):
    return claim.id.split()[0]


def counts(claims, found):
    """How many claims of each paper have which verdict; our own additions are not among them."""
    lines = []
    for letter in PAPERS:
        mine = [claim for claim in claims if paper(claim) == letter and not claim.ours]
        states = [state(claim, found) for claim in mine]
        lines.append([f"{letter}. {NICKNAMES[letter]}", *(states.count(s) for s in STATES[:-1])])
    totals = [sum(column) for column in list(zip(*lines, strict=True))[1:]]
    return table(["paper", *STATES[:-1]], [*lines, ["all", *totals]], "counts")


def controls():
    boxes = "".join(
        f'<label><input type=checkbox checked value="{escape(name)}"> {escape(name)}</label>'
        for name in STATES
    )
    return (
        f"<div class=controls id=verdicts>{boxes}<input type=search id=search "
        'placeholder="words in a claim, for example DARN" aria-label="search the claims">'
        "<span id=shown></span></div>"
    )


def row(page, experiments, claim, found):
    """One claim as a card."""
    record, verdict = found.get(claim.id), state(claim, found)
    if record is None:
        statement, body = claim.statement, ""
        if verdict != DRAWING:
            body = pair("ours", "", "theirs", claim.published)
        if claim.command:
            body += (
                f"<p class=source>What will measure it: <code>{escape(claim.command)}</code></p>"
            )
    else:
        statement = record.get("claim") or claim.statement
        theirs = record.get("theirs") or record.get("predicted") or claim.published
        named = "predicted" if record.get("predicted") else "theirs"
        body = pair("ours", words(record["ours"]), named, words(theirs))
        lacks = record["lacks"] and f"Lacks, by the rule: {record['lacks']}."
        said = " ".join(filter(None, (record.get("note"), lacks)))
        body += f"<p class=note>{escape(said)}</p>" if said else ""
        body += page.source(records.of_claim(experiments, claim.id, record))
        body += made_of(record)
    return (
        f'<article class=claim id="{anchor(claim.id)}" data-verdict="{escape(verdict)}">'
        f"<h4>{escape(claim.id)} <span class=badge>{escape(verdict)}</span>"
        f"{'<span class=badge>our addition</span>' if claim.ours else ''}</h4>"
        f"<p>{escape(statement)}</p>{body}</article>"
    )


def pair(first, ours, second, theirs):
    shown = [(first, ours), (second, theirs)]
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{escape(str(text).replace('+-', '±'))}</dd></div>"
        for name, text in shown
        if text
    )
    return f"<dl>{cells}</dl>" if cells else ""


def made_of(record):
    """The checks that the verdict follows from, with seed and machine."""
    lines = []
    for heading, key in (("as the paper states it", "checks"), ("as it should read", "corrected")):
        if record.get(key):
            lines.append([heading])
            lines += [
                [check["what"], check["ours"], f"{check['relation']} {check['than']:.4g}",
                 check["tolerance"]] for check in record[key]
            ]  # fmt: skip
    facts = [f"{key} {record[key]}" for key in ("seed", "machine") if record.get(key) is not None]
    content = f"<p>{escape('; '.join(facts))}</p>" if facts else ""
    if lines:
        content += table(["check", "ours", "should be", "tolerance"], lines)
    return details("Checks, seed, machine", content, "source") if content else ""
