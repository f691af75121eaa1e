"""Pieces of the page: tables, figures, notes. Everything is escaped, and everything is inside."""

from __future__ import annotations

import base64
import json
import os
import re
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

HERE = Path(__file__).parent
DRAWN = {"train_elbo.png", "test_elbo.png", "gradient_variance.png", "lab.png"}  # as curves here


def anchor(text):
    return re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-")


def number(value):
    """Four digits; text as it is, nothing for what was not measured."""
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return "" if value is None else str(value)


def table(columns, lines, kind=""):
    """A table that scrolls by itself on a narrow screen. A line of one cell heads a group."""
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in columns)
    body = ""
    for line in lines:
        if len(line) == 1:
            body += f"<tr class=group><th colspan={len(columns)}>{escape(line[0])}</th></tr>"
        else:
            first, *rest = (escape(number(cell)) for cell in line)
            body += f"<tr><th scope=row>{first}</th>{''.join(f'<td>{c}</td>' for c in rest)}</tr>"
    return (
        f'<div class=wide><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def details(summary, content, kind=""):
    return f'<details class="{kind}"><summary>{summary}</summary>{content}</details>'


def code(text):
    return f"<pre><code>{escape(text)}</code></pre>"


class Page:
    """What knows where the page will lie, so that it can link to the records."""

    def __init__(self, out, root):
        self.out, self.root, self.figures = Path(out), Path(root), 0

    def link(self, path, text=None):
        target = os.path.relpath(path, self.out.parent).replace(os.sep, "/")
        shown = text or os.path.relpath(path, self.root).replace(os.sep, "/")
        return f'<a href="{escape(target)}">{escape(shown)}</a>'

    def source(self, origin):
        """The line under every number: record, commit, and the command on demand."""
        where = f"Record: {self.link(origin.path)}, commit <code>{escape(origin.commit)}</code>"
        return details(where, code(origin.command), "source")

    def figure(self, title, views, origin):
        """Curves, one view at a time; ``views``: name -> {"data": ..., "layout": ...} of plotly."""
        self.figures += 1
        name = f"figure-{self.figures}"
        choices = "".join(f"<option>{escape(view)}</option>" for view in views)
        hidden = " hidden" if len(views) == 1 else ""
        content = json.dumps(views, separators=(",", ":")).replace("</", "<\\/")
        return (
            f"<figure class=plot id={name}><figcaption>{escape(title)}"
            f"<label{hidden}> show <select aria-label='what the figure shows'>{choices}</select>"
            f"</label></figcaption><div class=canvas></div>"
            f"<script type=application/json>{content}</script>{self.source(origin)}</figure>"
        )

    def picture(self, path, caption, origin, alt=""):
        data = base64.b64encode(path.read_bytes()).decode()
        return (
            f'<figure class=picture><img alt="{escape(alt or caption)}" loading=lazy '
            f'src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption>'
            f"{self.source(origin)}</figure>"
        )

    def markdown(self, text):
        return MarkdownIt("commonmark", {"html": False}).render(text)

    def notes(self, readme):
        """A README: its pictures inside, its links towards the files, its title left out."""
        markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
        tokens = markdown.parse(readme.read_text())
        for token in tokens:
            if token.type.startswith("heading"):
                token.tag = f"h{min(int(token.tag[1]) + 3, 6)}"
            for child in token.children or ():
                self._resolve(child, readme.parent)
        text = markdown.renderer.render(tokens, markdown.options, {})
        text = re.sub(r"<h4>.*?</h4>", "", text, count=1, flags=re.S)
        text = text.replace('<img src="" alt="" />', "")
        return text.replace("<table>", "<div class=wide><table>").replace(
            "</table>", "</table></div>"
        )

    def _resolve(self, token, folder):
        if token.type == "image":
            file = folder / token.attrs["src"]
            if file.name in DRAWN or not file.exists():
                token.attrs, token.children = {"src": "", "alt": ""}, []
            else:
                data = base64.b64encode(file.read_bytes()).decode()
                token.attrs["src"] = f"data:image/png;base64,{data}"
        elif token.type == "link_open":
            target = token.attrs["href"]
            if not re.match(r"[a-z]+:|#", target):
                path = os.path.relpath(folder / target, self.out.parent)
                token.attrs["href"] = path.replace(os.sep, "/")


def inner(part):
    """The headings of a section that can be linked to."""
    found = re.findall(r'<h3 id="([^"]+)">(.*?)</h3>', part)
    lines = "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in found)
    return f"<ul>{lines}</ul>" if lines else ""


def whole(title, contents, body, plotly):
    """The page: style, script and the plotting library inside. ``contents``: heading -> section."""
    style, script = ((HERE / name).read_text() for name in ("page.css", "page.js"))
    entries = "".join(
        f'<li><a href="#{anchor(name)}">{escape(name)}</a>{inner(part)}</li>'
        for name, part in contents.items()
    )
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        '<link rel=icon href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<nav aria-label=contents><details open><summary>Contents</summary><ol>{entries}</ol>"
        f"</details></nav><main>{body}</main><script>{plotly}</script><script>{script}</script>"
        "</body></html>\n"
    )
