"""Puts the pages of the documentation together, for Sphinx: python scripts/pages.py FOLDER

The pages lie where people look for them: in docs/, beside the code (CHANGELOG.md), beside the
results (experiments/*/README.md). Here each gets its place in the site, and each link between them
follows. Two kinds are made: a page for every public name, from the blocks ``{names}`` of
docs/api.md, and a page for every example, from its file and docs/examples/recorded.json.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOVED = {
    "README.md": "index.md",
    "docs/README.md": "index.md",
    "docs/examples/README.md": "examples/index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "tests/MUTATIONS.md": "mutations.md",
    "experiments/README.md": "experiments/index.md",
    "experiments/CLAIMS.md": "experiments/claims.md",
}
LINK = re.compile(r"(!?)\[((?:[^][]|\[[^][]*\])*)\]\(([^()\s]+)\)")
CODE = re.compile(r"(?<!\[)`((?:fsb\.)?([A-Za-z]\w*)(?:\(.*?\))?)`(?!\])")
PLAIN = {"exact", "local", "only", "average", "switch", "init", "scan", "vmap", "remat"}


def sources() -> dict[str, str]:
    """File of the repository -> page of the site, for all that is written by hand."""
    found = {f"docs/{path.relative_to(ROOT / 'docs')}" for path in (ROOT / "docs").rglob("*.md")}
    pages = {source: source.removeprefix("docs/") for source in found}
    for path in (ROOT / "experiments").glob("*/README.md"):
        pages[f"experiments/{path.parent.name}/README.md"] = f"experiments/{path.parent.name}.md"
    for path in (ROOT / "experiments").glob("*/**/results.md"):  # linked from their README
        source = str(path.relative_to(ROOT))
        pages[source] = source
    pages |= {source: page for source, page in MOVED.items() if (ROOT / source).exists()}
    return pages


def names() -> dict[str, str]:
    """Public name with its module, as docs/api.md lists them -> its page."""
    text = (ROOT / "docs/api.md").read_text()
    return {
        f"{module}.{name}": f"api/{module}.{name}.rst"
        for module, block in re.findall(r"```\{names\} (\S+)\n(.*?)```", text, re.S)
        for name in block.split()
    }


def examples() -> dict[str, str]:
    return {
        f"examples/{path.name}": f"examples/{path.stem}.md"
        for path in (ROOT / "examples").glob("*.py")
    }


def prose(text: str) -> Iterator[tuple[bool, str]]:
    """The text in pieces: (True, prose) and (False, a fenced block)."""
    for i, piece in enumerate(re.split(r"(^```.*?^```$)", text, flags=re.S | re.M)):
        yield i % 2 == 0, piece


def links(text: str) -> list[str]:
    """Where the links of a page lead that do not leave the repository."""
    found = [m[3] for is_prose, piece in prose(text) if is_prose for m in LINK.finditer(piece)]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def resolve(source: str, target: str) -> tuple[str, str]:
    """A link of a file -> (path in the repository, anchor); a folder is its README.md."""
    path, _, anchor = target.partition("#")
    path = os.path.normpath(os.path.join(os.path.dirname(source), path)) if path else source
    if (ROOT / path / "README.md").exists():
        path = os.path.normpath(os.path.join(path, "README.md"))
    return path, anchor


def moved(source: str, page: str, pages: dict[str, str], out: Path) -> Callable[[re.Match], str]:
    """Gives a link of ``source`` its place in ``page``; pictures and files are copied."""

    def one(match: re.Match) -> str:
        picture, text, target = match.groups()
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            return match[0]
        path, anchor = resolve(source, target)
        if path in pages:
            place = pages[path] + (f"#{anchor}" if anchor else "")
        elif (ROOT / path).is_dir():
            return text
        else:
            place = f"files/{path}"
            (out / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, out / place)
        return f"{picture}[{text}]({os.path.relpath(place, os.path.dirname(page) or '.')})"

    return one


def to_names(page: str, listed: dict[str, str]) -> Callable[[re.Match], str]:
    """`foust(0.1)` -> a link to the page of ``fsb.foust``."""

    def one(match: re.Match) -> str:
        code, name = match[1], match[2]
        place = listed.get(f"fsb.{name}")
        if place is None or (name in PLAIN and code == name):
            return match[0]
        return f"[`{code}`]({os.path.relpath(place, os.path.dirname(page) or '.')})"

    return one


def summary(item: object) -> str:
    """The first line of a docstring."""
    return ((item.__doc__ or "").strip().splitlines() or [""])[0].removesuffix(".")


def table(module: str, block: str) -> str:
    """The list of a block ``{names}``: a table, and the entries of the menu."""
    home = importlib.import_module(module)
    listed = [(name, f"api/{module}.{name}") for name in block.split()]
    rows = [f"| [`{name}`]({page}.rst) | {summary(getattr(home, name))} |" for name, page in listed]
    menu = [f"{name} <{page}>" for name, page in listed]
    head = ["| name | what it is |", "|---|---|"]
    return "\n".join([*head, *rows, "", "```{toctree}", ":hidden:", "", *menu, "```", ""])


def name_page(path: str) -> str:
    """The page of a public name: what autodoc finds in its docstring."""
    module, _, name = path.rpartition(".")
    item = getattr(importlib.import_module(module), name)
    kind, more = "function", ""
    if inspect.isclass(item):
        kind, more = "class", "   :members:\n   :inherited-members: tuple, BaseException, Module\n"
    if inspect.isclass(item) and issubclass(item, Exception):
        kind, more = "exception", ""
    return f"{name}\n{'=' * len(name)}\n\n.. auto{kind}:: {path}\n{more}"


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def example_page(path: Path, recorded: dict) -> str:
    """The page of an example: its docstring, its curve, what it printed, and its code."""
    title, _, text = docstring(path).partition("\n")
    text = re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
    parts = [f"# {title.removesuffix('.')}", text]
    if path.stem in recorded:
        run = recorded[path.stem]
        parts += [
            f"```\n$ python examples/{path.name}\n{run['output'].strip()}\n```",
            raw(f'<div class="curve">{curve(run["losses"])}</div>'),
            f"Recorded by `python scripts/gallery.py`: {run['made']}. The curve is the loss "
            "of every step; its ends may be beyond the axis.",
        ]
    parts.append(f"## The program\n\n```python\n{path.read_text().strip()}\n```")
    return "\n\n".join(parts) + "\n"


def thumbnails(recorded: dict) -> str:
    """The curves of all examples, as links to their pages."""
    cards = []
    for name, run in recorded.items():
        title = docstring(ROOT / f"examples/{name}.py").partition("\n")[0].replace("``", "")
        picture = curve(run["losses"], bare=True)
        cards.append(f'<a href="{name}.html">{picture}{title}</a>')
    return raw(f'<div class="gallery">{"".join(cards)}</div>')


def raw(html: str) -> str:
    return f"```{{raw}} html\n{html}\n```\n"


def curve(losses: str, bare: bool = False) -> str:
    """A small plot, as SVG, that takes the colours of the page."""
    import numpy as np  # here, as the tests import this file and seldom draw
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "font.size": 10, "svg.hashsalt": "fsb"}):
        values = [float(loss) for loss in losses.split()]
        figure = Figure(figsize=(2, 1) if bare else (6, 2.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(values, lw=1, color="#0072B2")
        low, high = np.quantile(values, [0, 0.98])
        axes.set(xlabel="step", ylabel="loss", xlim=(0, len(values) - 1))
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.spines[["top", "right"]].set_visible(False)
        if bare:
            axes.set_axis_off()
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    svg = re.sub(r"#000000|(?<=: )black", "currentColor", svg)
    return svg.replace("<text ", '<text fill="currentColor" ').strip()


def filled(fence: str, out: Path, recorded: dict) -> str:
    """A fenced block, with what it stands for where it is one of ours."""
    if block := re.match(r"```\{names\} (\S+)\n(.*?)```", fence, re.S):
        return table(*block.groups())
    if fence.startswith("```{thumbnails}"):
        return thumbnails(recorded)
    if fence.startswith("```{report}"):
        link = '<p><a href="report.html">Open the report</a></p>'
        return raw(link) if (out / "extra/report.html").exists() else ""
    fence = re.sub(r"\n\n```$", "\n```", fence)  # the blank line that ends a doctest
    root = os.path.relpath(ROOT, out)
    return re.sub(r"^(```\{literalinclude\}) ", rf"\1 {root}/", fence)


def write(out: Path) -> None:
    """All pages, in an empty folder; build/report.html goes along if it is there."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(ROOT / "docs", out, ignore=shutil.ignore_patterns("*.md", "*.json"))
    (out / "extra").mkdir()
    if (ROOT / "build/report.html").exists():
        shutil.copyfile(ROOT / "build/report.html", out / "extra/report.html")
    recorded = json.loads((ROOT / "docs/examples/recorded.json").read_text())
    written, listed, shown = sources(), names(), examples()
    del written["README.md"]  # docs/README.md is the start page
    pages = {**sources(), **shown}
    for source, page in written.items():
        move, name = moved(source, page, pages, out), to_names(page, listed)
        text = "".join(
            CODE.sub(name, LINK.sub(move, piece)) if is_prose else filled(piece, out, recorded)
            for is_prose, piece in prose((ROOT / source).read_text())
        )
        if page == "experiments/index.md":
            text += "\n```{toctree}\n:hidden:\n:glob:\n\n[!ic]*\nc[!l]*\n```\n"
        if not source.startswith("docs/") and (page == "mutations.md" or "results" in page):
            text = "---\norphan: true\n---\n" + text  # not in the menu
        put(out / page, text)
    for path, page in listed.items():
        put(out / page, name_page(path))
    for source, page in shown.items():
        put(out / page, example_page(ROOT / source, recorded))


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
