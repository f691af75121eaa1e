"""The documentation: every public name has a page, links lead somewhere, code blocks run."""

import importlib
import json
import re
import sys
from collections import Counter

import pages
import pytest

ROOT = pages.ROOT
SOURCES = sorted({*pages.sources(), "README.md"})
MODULES = ("fsb", "fsb.fourier", "fsb.testing", "fsb.networks", "fsb.data")


def public(module):
    home = importlib.import_module(module)
    return {name for name in home.__all__ if not hasattr(getattr(home, name), "__path__")}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_its_page(module):
    listed = {path.rpartition(".")[2] for path in pages.names() if path.startswith(f"{module}.")}
    text = (ROOT / "docs/api.md").read_text()
    blocks = re.findall(rf"```\{{names\}} {re.escape(module)}\n(.*?)```", text, re.S)
    counts = Counter(name for block in blocks for name in block.split())
    assert not public(module) - listed, "add them to docs/api.md"
    assert not counts.keys() - public(module), "take them out of docs/api.md"
    assert set(counts.values()) == {1}


def test_the_other_names_exist():
    for path in pages.names():
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name).__doc__, path


def anchors(path):
    """The anchors of the headings of a page, as GitHub and MyST make them."""
    text = "".join(piece for is_prose, piece in pages.prose(path.read_text()) if is_prose)
    for title in re.findall(r"^#+ (.*)$", text, re.M):
        yield re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("source", SOURCES)
def test_links_lead_somewhere(source):
    text = (ROOT / source).read_text()
    for target in pages.links(text):
        path, anchor = pages.resolve(source, target)
        assert (ROOT / path).exists(), f"{source}: {target}"
        if anchor:
            assert anchor in set(anchors(ROOT / path)), f"{source}: {target}"


def test_the_readme_is_one_screen():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 80


def test_every_page_is_in_the_menu():
    menu = set()
    for source in ("docs/README.md", "docs/examples/README.md"):
        text = (ROOT / source).read_text()
        for block in re.findall(r"```\{toctree\}\n(.*?)```", text, re.S):
            lines = [line for line in block.splitlines() if line and not line.startswith(":")]
            menu |= {re.sub(r".*<(.*)>", r"\1", line) for line in lines}
    written = {page for source, page in pages.sources().items() if source.startswith("docs/")}
    written = {page.removesuffix(".md") for page in written | {*pages.examples().values()}}
    missing = {page.removeprefix("examples/") for page in written} - menu
    assert missing == {"index"}, "add them to docs/README.md or docs/examples/README.md"


def test_every_example_is_recorded():
    record = json.loads((ROOT / "docs/examples/recorded.json").read_text())
    assert {f"examples/{name}.py" for name in record} == pages.examples().keys()
    assert all(re.search(r"commit [0-9a-f]{7},", run["made"]) for run in record.values())


def programs(source):
    """The Python blocks of a page that are no sessions, in order."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / source).read_text(), re.S | re.M)
    return [block for block in blocks if ">>>" not in block]


@pytest.mark.slow
@pytest.mark.parametrize("source", [source for source in SOURCES if programs(source)])
def test_programs_run(source, tmp_path, monkeypatch):
    """A block that begins with "# name.py" is that file for those that follow."""
    monkeypatch.syspath_prepend(tmp_path)
    names = {}
    for block in programs(source):
        if title := re.match(r"# (\w+)\.py\n", block):
            (tmp_path / f"{title[1]}.py").write_text(block)
            monkeypatch.delitem(sys.modules, title[1], raising=False)
        exec(compile(block, source, "exec"), names)
    assert names  # of what they define


@pytest.mark.slow
def test_the_pages_are_put_together(tmp_path):
    pages.write(tmp_path / "pages")
    for page in {*pages.sources().values(), *pages.examples().values(), *pages.names().values()}:
        assert (tmp_path / "pages" / page).exists(), page
    api = (tmp_path / "pages/api.md").read_text()
    assert "[`foust`](api/fsb.foust.rst) | FouST: straight-through" in api
    assert "{names}" not in api
    example = (tmp_path / "pages/examples/vae_jax.md").read_text()
    assert example.startswith("# A Boolean VAE in plain JAX, trained with FouST\n")
    assert "<svg" in example
    assert (tmp_path / "pages/examples/index.md").read_text().count("<svg") == len(pages.examples())
    start = (tmp_path / "pages/choose.md").read_text()
    assert "[experiments/lab_mnist](experiments/lab_mnist.md)" in start
    assert "[`darn()`](api/fsb.darn.rst)" in start
