"""Sphinx: how the pages that scripts/pages.py has put together become the site (`make docs`)."""

import re

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

import fsb

project, author = "fsb", "The fsb authors"
version = release = fsb.__version__
copyright = "The fsb authors, Apache-2.0"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["files", "extra"]

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
suppress_warnings = ["myst.strikethrough"]

html_theme = "furo"
html_title = f"fsb {release}"
html_static_path, html_extra_path = ["_static"], ["extra"]
html_css_files = ["fsb.css"]
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False  # they would be fetched, which a page opened from disk may not
html_theme_options = {"navigation_with_keys": True}
highlight_language = "none"
pygments_style, pygments_dark_style = "tango", "monokai"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # else Flax explains each method of a module
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
add_module_names = False


# Equations become MathML: browsers draw it by themselves, with no script, no font to load and no
# network; screen readers read it.
LOGGER = logging.getLogger(__name__)
RENAMED = (
    (r"\\(?:bigg?|Bigg?)(?![a-zA-Z])", r"\\bigl"),
    (r"\\textstyle(?![a-zA-Z])", ""),
    (r"\\dots(?![a-zA-Z])", r"\\ldots"),
    (r"\\([td]?frac)(\d)(\d)", r"\\\1{\2}{\3}"),
)

# What docutils makes of a long overline, an accent with a subscript, a bar, a macron, which stands
# too low in most fonts, and of a function without brackets.
ACCENT = r'<mo stretchy="false">[\u02c9~\u02c6]</mo>'
MENDED = (
    (
        r'<mover accent="false">(.*?)<mo accent="true">_</mo>\s*</mover>',
        r'<mrow class="overline">\1</mrow>',
    ),
    (
        rf"<munderover>\s*(<mi>[^<]*</mi>)(.*?)({ACCENT})\s*</munderover>",
        r'<msub><mover accent="true">\1\3</mover>\2</msub>',
    ),
    (r"<mo([^>]*)>\|</mo>", r'<mo\1 lspace="0" rspace="0">|</mo>'),
    (">\u02c9</mo>", ">\u203e</mo>"),
    (r"<mo>(?:&ApplyFunction;|\u2061)</mo>(?!\s*<mo[^>]*>[(\[{|])", '<mspace width="0.17em"/>'),
)


def mathml(node, as_block):
    tex = node.astext()
    for old, new in RENAMED:
        tex = re.sub(old, new, tex)
    try:
        text = latex2mathml.tex2mathml(tex, as_block=as_block)
    except MathError as error:
        LOGGER.warning("%s in the equation %s", error, tex, location=node)
        return ""
    for old, new in MENDED:
        text = re.sub(old, new, text, flags=re.S)
    return text


def inline_equation(self, node):
    self.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def equation(self, node):
    self.body.append(f'<div class="equation">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


html_math_renderer = "mathml"

# Docstrings stay plain text. Here names of fsb and arXiv numbers become links, a bar is a bar, and
# the fields of a tuple a list; equations, literals and examples are left as they are.
NAMES = {name for name in fsb.__all__ if name not in ("init", "fourier")}
KEPT = r"^\.\. math::.*?(?=\n\n\S|\Z)|^ *>>>.*?(?=\n\n|\Z)|:math:`.*?`|``.*?``"


def reword(piece):
    if name := re.fullmatch(r"``(?:fsb\.)?(\w+)(\(\))?``", piece):
        known = name[1] in NAMES
        return f":py:obj:`{name[1]}{name[2] or ''} <fsb.{name[1]}>`" if known else piece
    if re.fullmatch(KEPT, piece, re.S | re.M):
        return piece
    piece = re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"`arXiv:\1 <https://arxiv.org/abs/\1>`__", piece)
    return re.sub(r"\||\*(?! )", r"\\\g<0>", piece)


def reword_docstring(app, what, name, item, options, lines):
    fields = "|".join(getattr(item, "__annotations__", ())) if what == "class" else ""
    if fields:
        entry = re.compile(rf"^((?:{fields})(?:, (?:{fields}))*): ")
        lines[:] = [entry.sub(r"* ``\1``: ", line) for line in lines]
        for i in range(1, len(lines)):
            if lines[i].startswith("* ``") and lines[i - 1] and lines[i - 1][0] not in "* ":
                lines[i] = "\n" + lines[i]
    text = "\n".join(lines)
    pieces = re.split(f"({KEPT})", text, flags=re.S | re.M)
    lines[:] = "".join(map(reword, pieces)).split("\n")


def skip_plain_fields(app, what, name, item, skip, options):
    return skip or str(item.__doc__).startswith("Alias for field number")


def without_flax(app, what, name, item, options, signature, returns):
    """A module's signature without the arguments that Flax adds to all of them."""
    return re.sub(r", parent: .*", ")", signature or "") or signature, returns


def setup(app):
    app.add_html_math_renderer("mathml", (inline_equation, None), (equation, None))
    app.connect("autodoc-process-docstring", reword_docstring)
    app.connect("autodoc-process-signature", without_flax)
    app.connect("autodoc-skip-member", skip_plain_fields)
