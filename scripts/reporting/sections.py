"""The sections of the page: papers, estimators, pictures, configurations, environment."""

from __future__ import annotations

import inspect
from html import escape

import fsb
from fsb.errors import FsbError
from reporting import figures, published, records
from reporting.ledger_section import paper, row
from reporting.page import anchor, code, details, table

MOST_ROWS = 60  # of a table on the page; the record has them all
WAITING = "\nNot run yet"  # in the notes of an experiment that waits for a machine
PROGRAMS = "bias_variance"  # the folder with one program for each claim


def title(text):
    return f'<h2 id="{anchor(text)}">{escape(text)}</h2>'


def letters(found, folder):
    """The papers that the claims of a folder belong to."""
    return sorted({name.split()[0] for name, r in found.items() if r["folder"] == folder.name})


def folders(experiments):
    """Every experiment; one without notes would be a record that nobody can make again."""
    found = sorted(path for path in experiments.iterdir() if any(path.rglob("*.*")))
    for folder in found:
        if folder.is_dir() and not (folder / "README.md").exists():
            raise FsbError(f"{folder} has no README.md: nothing tells the command that made it")
    return [folder for folder in found if folder.is_dir()]


def of_paper(page, experiments, letter, heading, claims, found):
    """Claims, tables beside the paper's, and the experiments that bear on them."""
    mine = [claim for claim in claims if paper(claim) == letter]
    mine.sort(key=lambda claim: claim.ours)  # our additions come last
    claims_of = (
        f'<h3 id="claims-{letter.lower()}">{sum(not claim.ours for claim in mine)} claims</h3>'
    )
    out = [title(heading), claims_of]
    out += [row(page, experiments, claim, found) for claim in mine]
    tables = [make(experiments) for make in published.TABLES]
    out += [beside(page, experiments, one, found) for one in tables if one.claim[0] == letter]
    for folder in folders(experiments):
        if folder.name != PROGRAMS and letters(found, folder)[:1] == [letter]:
            out.append(experiment(page, experiments, folder))
    return "".join(out) + programs(page, experiments, letter, found)


def beside(page, experiments, one, found):
    """A table of the paper, our numbers in the columns before theirs."""
    lines = []
    groups = dict.fromkeys([*one.theirs, *(g for column in one.ours.values() for g in column)])
    for group in groups:
        lines.append([group])
        ours = [column.get(group, {}) for column in one.ours.values()]
        theirs = one.theirs.get(group, {})
        names = dict.fromkeys([*theirs, *(name for column in ours for name in column)])
        lines += [[name, *(c.get(name) for c in ours), theirs.get(name)] for name in names]
    note = found.get(one.claim, {}).get("note", "")
    shown = table(["", *one.ours, "paper"], lines)
    sources = "".join(page.source(records.of_file(experiments, path)) for path in one.paths)
    name = one.claim.partition(",")[0]
    heading = f'<h3 id="{anchor(name)}-beside">{escape(name)}: {escape(one.title)}</h3>'
    return f"{heading}<p class=note>{escape(note)}</p>{shown}{sources}"


def experiment(page, experiments, folder):
    """The curves of a folder, the pictures its notes leave out, and the notes."""
    readme = folder / "README.md"
    heading = readme.read_text().splitlines()[0].removeprefix("# ")
    out = [f'<h3 id="{anchor(folder.name)}">{escape(heading)}</h3>']
    for path in sorted(folder.rglob("curves.csv")):
        part = "" if path.parent == folder else f", {path.parent.name}"
        origin = records.of_file(experiments, path)
        out.append(page.figure(folder.name + part, figures.curves(records.rows(path)), origin))
    table_of = records.rows(folder / "table.csv")
    if table_of and "to_pathwise" in table_of[0]:
        origin = records.of_file(experiments, folder / "table.csv")
        out.append(page.figure(heading, figures.families(table_of), origin))
    results = records.rows(folder / "results.csv")
    if results and next(iter(results[0])) == "step":  # a line for each column
        origin = records.of_file(experiments, folder / "results.csv")
        views = figures.columns(results, "test accuracy")
        out.append(page.figure(folder.name, views, origin))
    out += [numbers(page, experiments, path) for path in sorted(folder.rglob("results.csv"))]
    return "".join(out) + notes(page, experiments, folder)


def notes(page, experiments, folder):
    readme = folder / "README.md"
    said = details(f"{folder.name}: what was done, and what it shows", page.notes(readme), "part")
    if WAITING in readme.read_text():
        return said  # there are no numbers whose commit could be named
    return said + page.source(records.of_file(experiments, readme))


FINAL = (
    "run", "seed", "train_elbo", "valid_elbo", "test_elbo", "test_bound_100", "test_bound_200",
    "steps", "parameters", "git_commit", "device",
)  # fmt: skip


def numbers(page, experiments, path):
    """The last numbers of the runs of a folder, or the rows of a benchmark."""
    lines = records.rows(path)
    names = list(dict.fromkeys(key for line in lines for key in line))
    if names[0] == "step":  # curves
        return ""
    if "git_commit" in names:
        names = [name for name in FINAL if name in names]
    cells = [
        [records.short(v) if isinstance(v := line.get(name), str) else v for name in names]
        for line in lines
    ]
    shown = table([name.replace("_", " ") for name in names], cells, "sortable")
    where = path.parent.relative_to(experiments)
    content = shown + page.source(records.of_file(experiments, path))
    return details(f"Numbers: {escape(str(where))}", content, "part")


def programs(page, experiments, letter, found):
    """The analytic experiments whose first claim is this paper's: a picture and a table each."""
    home, out = experiments / PROGRAMS, []
    for path in sorted(home.glob("*/table.csv")):
        name = path.parent.name
        shown = [c for c, r in found.items() if r.get("command", "").endswith(f"/{name}.py")]
        if not shown or shown[0].split()[0] != letter:
            continue
        lines, origin = records.rows(path), records.of_file(experiments, path)
        heading = f"{name.replace('_', ' ')}: {', '.join(shown)}"
        block = [f"<h4>{escape(heading)}</h4>"]
        if "step" in lines[0] and "p" in lines[0]:
            block.append(page.figure(name, figures.curves(lines), origin))
        else:
            block.append(page.picture(path.parent / "picture.png", "", origin, heading))
        names = list(dict.fromkeys(key for line in lines for key in line))
        cells = [[line.get(key) for key in names] for line in lines[:MOST_ROWS]]
        size = f"{min(len(lines), MOST_ROWS)} of {len(lines)} rows"
        block.append(details(f"Its numbers, {size}", table(names, cells, "sortable"), "part"))
        out += block
    said = "Measured on the estimators themselves"
    head = f'<h3 id="measured-{letter.lower()}">{said}</h3>'
    return head + "".join(out) if out else ""


COLUMNS = {
    "estimator": "estimator", "evaluations": "evaluations", "bias_percent": "bias, %",
    "bias_error_percent": "± %", "bias_z": "bias / error", "variance": "variance", "snr": "SNR",
    "cosine": "cosine", "time_ratio": "time / ST",
}  # fmt: skip


def estimators(page, experiments):
    """Every laboratory's table and figure, then each estimator by itself."""
    out, cards = [], {}
    for path in sorted(experiments.rglob("table.csv")):
        lines = records.rows(path)
        if "bias_percent" not in lines[0]:
            continue
        name = f"{path.parent.parent.name}, {path.parent.name}"
        origin = records.of_file(experiments, path)
        settings = records.read_json(path.with_name("summary.json"))
        keys = [key for key in COLUMNS if key in lines[0]]
        cells = [[line.get(key) for key in keys] for line in lines]
        reference = escape(settings["reference"])
        out.append(
            f'<h3 id="{anchor(name)}">{escape(name)}</h3>'
            f"<p>Bias against {reference}, "
            f"{settings['draws'] * settings['batches']} draws, seed {settings['seed']}. A bias "
            "within four of its errors is none that these draws could show.</p>"
            + page.figure(name, figures.laboratory(lines), origin)
            + table([COLUMNS[key] for key in keys], cells, "sortable")
            + page.source(origin)
        )
        for line in lines:
            cards.setdefault(line["estimator"], []).append((name, line, path))
    out.append('<h3 id="each-estimator">Each estimator by itself</h3>')
    out += [card(page, name, cards[name]) for name in sorted(cards)]
    return "".join(out + [notes(page, experiments, folder) for folder in laboratories(experiments)])


def laboratories(experiments):
    """The folders whose tables are those of ``python -m fsb.lab``."""
    found = [path.parent.parent for path in experiments.glob("*/*/table.csv")
             if "bias_percent" in path.read_text().partition("\n")[0]]  # fmt: skip
    return sorted(set(found))


def card(page, name, measured):
    """What it is, its bias, variance and cost in every laboratory, its configuration."""
    factory = getattr(fsb, name, None)
    about = (inspect.getdoc(factory) or "").split("\n\n")[0] if factory else ""
    lines = [
        [where, line["bias_percent"], line["bias_error_percent"], line["variance"],
         line["evaluations"], line.get("time_ratio")] for where, line, _ in measured
    ]  # fmt: skip
    content = f"<p>{escape(about)}</p>" if about else ""
    content += table(["net", "bias, %", "± %", "variance", "evaluations", "time / ST"], lines)
    content += "<p class=source>Records: " + ", ".join(page.link(p) for *_, p in measured) + "</p>"
    file = page.root / "configs/estimator" / f"{name}.yaml"
    if file.exists():
        content += f"<p>{page.link(file)}</p>{code(file.read_text())}"
    return details(f"<code>{escape(name)}</code>", content, "part")


def further(page, experiments, found):
    """Experiments that no claim of the papers hangs on."""
    shown = [experiments / PROGRAMS, *laboratories(experiments)]
    left = [f for f in folders(experiments) if f not in shown and not letters(found, f)]
    return "".join(experiment(page, experiments, folder) for folder in left)


def pictures(page, experiments):
    """Samples and reconstructions."""
    out = []
    for path in sorted(experiments.rglob("*.png")):
        if path.stem.endswith(("samples", "reconstructions")):
            who, _, what = path.stem.rpartition("_")
            origin = records.of_file(experiments, path)
            out.append(page.picture(path, f"{what} of {who}: {path.parent.name}", origin))
    return f"<div class=gallery>{''.join(out)}</div>"


def configurations(page):
    """The published settings as they are composed for ``python -m fsb.train``."""
    files = sorted((page.root / "configs/experiment").glob("*.yaml"))
    return "".join(
        details(f"experiment={escape(file.stem)}", page.link(file) + code(file.read_text()), "part")
        for file in files
    )


def environment(page, experiments):
    lines = []
    for (machine, versions), paths in records.environments(experiments).items():
        shown = ", ".join(page.link(path) for path in paths)
        lines.append(
            f"<h4>{escape(machine)}</h4><p>{escape(versions)}</p>"
            + details(f"{len(paths)} records", f"<p>{shown}</p>", "source")
        )
    return "".join(lines)
