"""The report: one HTML file of everything that was recorded, build/report.html.

    python scripts/report.py [--out FILE] [--experiments FOLDER]

Nothing is computed or trained: it reads experiments/ and configs/. The page is one file and loads
nothing. Every number stands beside its record, the commit and the command that made it; a record
without them ends the program with one line that names it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import rule
from claims import collect
from ledger import CLAIMS, PAPERS
from reporting import ledger_section, sections
from reporting.page import Page, whole

from fsb.errors import FsbError
from fsb.storage.atomic import write_text_atomic

ROOT = Path(__file__).resolve().parent.parent
INTRODUCTION = """\
<h1>What became of four papers</h1>
<p><code>fsb</code> re-implements the gradient estimators for stochastic networks of four papers and
measures what the papers claim. This page is made of the recorded results alone. Under every number
stands the record it is from, the commit and, when opened, the command that made it.</p>
<p>Curves: hover for values, drag to zoom, double-click to go back, click a name to hide its line.
Bands are one standard deviation over seeds. The first view leaves out the opening of a curve;
double-click shows all of it.</p>
"""


def build(experiments, out, plotly):
    """The text of the page."""
    page, found = Page(out, ROOT), collect(experiments)
    papers = {f"{letter}. {name.partition(': ')[2] or name}": letter
              for letter, name in PAPERS.items()}  # fmt: skip
    parts = {
        heading: sections.of_paper(page, experiments, letter, heading, CLAIMS, found)
        for heading, letter in papers.items()
    }
    rest = {
        "Estimators": lambda: sections.estimators(page, experiments),
        "Samples and reconstructions": lambda: sections.pictures(page, experiments),
        "Further experiments": lambda: sections.further(page, experiments, found),
        "Configurations": lambda: sections.configurations(page),
        "Environment": lambda: sections.environment(page, experiments),
    }
    parts |= {heading: sections.title(heading) + make() for heading, make in rest.items()}
    summary = (
        sections.title("The ledger in short")
        + ledger_section.counts(CLAIMS, found)
        + page.markdown(rule.WORDS)
        + "<p class=controls>Choose what the sections below show of it:</p>"
        + ledger_section.controls()
    )
    body = INTRODUCTION + summary + "".join(parts.values())
    return whole("fsb: the report", {"The ledger in short": "", **parts}, body, plotly)


def plotly_js():
    """plotly.js, to stand in the page."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise FsbError("the report needs plotly: pip install 'fsb[report]'") from error
    return get_plotlyjs()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "report.html")
    parser.add_argument("--experiments", type=Path, default=ROOT / "experiments")
    arguments = parser.parse_args()
    try:
        text = build(arguments.experiments.resolve(), arguments.out.resolve(), plotly_js())
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(arguments.out, text)
    except FsbError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{arguments.out} ({len(text.encode()) / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
