"""scripts/report.py: one page of everything that was recorded, or one line that says what lacks."""

import importlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = "/* plotly.js stands here */"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module


class Loaded(HTMLParser):
    """What a browser would fetch, the links, the ids, and whether every element is closed."""

    VOID = ("meta", "link", "img", "input", "br", "hr")

    def __init__(self, text):
        super().__init__()
        self.fetched, self.links, self.ids, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.fetched += [found[key] for key in ("src", "srcset", "data", "poster") if key in found]
        (self.fetched if tag == "link" else self.links).extend(filter(None, [found.get("href")]))
        self.ids += filter(None, [found.get("id")])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_the_report_of_the_records(load):
    """Every claim has a card, every card its record; nothing is fetched."""
    report, ledger = load("report"), load("ledger")
    experiments, out = ROOT / "experiments", ROOT / "build" / "report.html"
    text = report.build(experiments, out, LIBRARY)
    page = Loaded(text)
    assert not page.open, "elements that nothing closes"
    assert all(url.startswith("data:") for url in page.fetched)
    assert not re.search(r"@import|url\((?!data:)", text)
    assert LIBRARY in text
    assert len(text) < 7_000_000  # plotly.js has 5 MB more

    anchor = load("reporting.page").anchor
    found = load("claims").collect(experiments)
    for claim in ledger.CLAIMS:
        card = re.search(f'<article class=claim id="{anchor(claim.id)}".*?</article>', text, re.S)
        assert card, claim.id
        if claim.id in found:
            record = found[claim.id]
            assert f'data-verdict="{record["verdict"]}"' in card[0]
            assert f"{record['folder']}/claims.json" in card[0]
            assert record["command"].split()[1] in card[0]
    assert len(set(page.ids)) == len(page.ids)
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids, link
        elif not re.match(r"[a-z]+:", link):
            assert (out.parent / link.partition("#")[0]).resolve().exists(), link
    for table in ("A table 1", "A table 2", "C table 3", "D table 2", "D table 3"):
        assert f'id="{anchor(table)}-beside"' in text
    for number in ("-112.91", "-119.69 ± 0.02", "-110.87 ± 0.2"):  # ours, ours, theirs
        assert number in text


@pytest.fixture
def home(tmp_path):
    """The records of two folders, in a place where they can be spoiled."""
    for name in ("compare_mnist", "lab_mnist"):
        shutil.copytree(ROOT / "experiments" / name, tmp_path / name)
    return tmp_path


def without(path, key):
    """The record as it would be had nobody noted ``key``."""
    records = json.loads(path.read_text())
    name = next(iter(records))
    del records[name][key]
    path.write_text(json.dumps(records))
    return name


@pytest.mark.parametrize("key", ["commit", "command"])
def test_a_claim_without_its_origin_fails_the_build(load, home, monkeypatch, capsys, key):
    report = load("report")
    monkeypatch.setattr(report.sections.published, "TABLES", ())
    name = without(home / "compare_mnist" / "claims.json", key)
    out = home / "page.html"
    arguments = ["report.py", "--experiments", str(home), "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    assert report.main() == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"'{name}' has no {key}" in line
    assert "compare_mnist" in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("lab_mnist/linear/summary.json", '"git_commit"', '"by"', "linear/table.csv has no commit"),
        ("compare_mnist/README.md", "```\n", "", "compare_mnist/curves.csv has no command"),
        ("lab_mnist/linear/summary.json", "{", "", "summary.json: cannot be read"),
    ],
)
def test_a_table_without_its_origin_fails_the_build(load, home, monkeypatch, file, old, new, words):
    report, errors = load("report"), load("fsb.errors")
    monkeypatch.setattr(report.sections.published, "TABLES", ())
    if "lab" in file:  # nor may its notes say it
        readme = home / "lab_mnist" / "README.md"
        readme.write_text(readme.read_text().replace("commits:", "by:").replace("commit", "by"))
    assert report.build(home, home / "page.html", LIBRARY) if "compare" in file else True
    path = home / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(errors.FsbError, match=re.escape(words)) as error:
        report.build(home, home / "page.html", LIBRARY)
    assert "\n" not in str(error.value)


def test_a_folder_without_notes_fails_the_build(load, home, monkeypatch):
    report, errors = load("report"), load("fsb.errors")
    monkeypatch.setattr(report.sections.published, "TABLES", ())
    (home / "compare_mnist" / "README.md").unlink()
    with pytest.raises(errors.FsbError, match=r"compare_mnist has no README\.md") as error:
        report.build(home, home / "page.html", LIBRARY)
    assert "\n" not in str(error.value)


def test_notes_of_what_waits_need_no_commit(load, home, monkeypatch):
    report = load("report")
    monkeypatch.setattr(report.sections.published, "TABLES", ())
    (home / "fig9").mkdir()
    (home / "fig9" / "README.md").write_text("# Nine\n\n```\nmake nine\n```\n\nNot run yet.\n")
    assert "make nine" in report.build(home, home / "page.html", LIBRARY)
    (home / "fig9" / "README.md").write_text("# Nine\n\n```\nmake nine\n```\n\nIt is 9.\n")
    with pytest.raises(load("fsb.errors").FsbError, match=r"fig9/README\.md has no commit"):
        report.build(home, home / "page.html", LIBRARY)


def test_curves_over_seeds_and_names(load):
    """A band of one standard deviation over seeds; names without what tells nothing apart."""
    figures = load("reporting.figures")
    rows = [{"run": "st", "seed": seed, "step": step, "test_elbo": -100.0 + seed + step}
            for seed in (0, 2) for step in (0, 10)]  # fmt: skip
    views = figures.curves(rows)
    band, mean = views["test ELBO, nats"]["data"]
    assert mean["x"] == [0, 10]
    assert mean["y"] == [-99.0, -89.0]
    assert band["y"][:2] == pytest.approx([-99 + 2**0.5, -89 + 2**0.5], abs=1e-3)
    names = ["a (low -1, high 1, d 0)", "a (low -1, high 1, d 2)", "a (low -2, high 2, d 0)"]
    assert list(figures.brief(names).values()) == ["high 1, d 0", "high 1, d 2", "high 2, d 0"]
    assert figures.brief(["a (k 1)", "b"]) == {"a (k 1)": "a (k 1)", "b": "b"}


def test_the_library_is_whole(load):
    """plotly.js itself: it may stand in a script, and fetches nothing for lines and points."""
    script = load("report").plotly_js()
    assert "</script" not in script
    assert len(script) < 6_000_000
