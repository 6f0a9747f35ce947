"""Documents as one HTML page that needs nothing else, pictures included."""

from __future__ import annotations

import base64
import re
from html import escape
from pathlib import Path
from urllib.parse import quote

from squeezerl.report import document as doc
from squeezerl.report.renderers import RENDERERS, Renderer

_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
_WORDS = 36  # letters from which on a cell may be broken into lines
_STYLE = """
:root { color-scheme: light; --ink: #1d2327; --soft: #5b6670; --line: #d9dee3; --tint: #f6f8fa; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: white; font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 2rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; margin: 0 0 1rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 1rem; padding-top: .9rem;
     border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
p, li { max-width: 50rem; }
a { color: #0b5cad; }
nav { margin: 1.2rem 0; padding: .8rem 1.1rem; background: var(--tint); border-radius: 6px; }
nav ul { margin: 0; padding: 0; list-style: none; columns: 3 14rem; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .65rem; text-align: left; vertical-align: top; white-space: nowrap; }
th { border-bottom: 2px solid var(--ink); font-weight: 600; }
td { border-bottom: 1px solid var(--line); }
th.number, td.number { text-align: right; }
td.words { white-space: normal; min-width: 14rem; }
tbody tr:hover { background: var(--tint); }
figure { margin: 1.4rem 0; }
img { max-width: 100%; height: auto; display: block; margin: 0 0 .4rem; }
pre { padding: .8rem 1rem; background: var(--tint); overflow-x: auto; font-size: 12.5px; }
code { font-size: .92em; }
.note, figcaption { color: var(--soft); font-size: 13.5px; max-width: 62rem; }
figcaption em { font-style: normal; }
strong { font-weight: 650; }
@media print { nav { display: none; } h2 { break-after: avoid; } }
""".strip()


class HtmlRenderer(Renderer):
    """Blocks as HTML, with a table of contents of the sections and without scripts."""

    def render(self, document: doc.Document, folder: Path) -> str:
        """As `Renderer.render`; figures are read from `folder` and stand inside the page."""
        sections = [
            block
            for block in document.blocks
            if isinstance(block, doc.Heading) and block.level == 2
        ]
        names = {id(block): f"section-{number}" for number, block in enumerate(sections, 1)}
        contents = "\n".join(
            f'<li><a href="#{names[id(block)]}">{_text(block.text)}</a></li>' for block in sections
        )
        body = [f"<h1>{escape(document.title)}</h1>"] if document.title else []
        for block in document.blocks:
            if sections and block is sections[0]:
                body.append(f"<nav><ul>\n{contents}\n</ul></nav>")
            body.append(_block(block, names.get(id(block)), folder))
        return "\n".join(
            [
                "<!doctype html>",
                '<html lang="en">',
                '<meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{escape(document.title)}</title>",
                f"<style>\n{_STYLE}\n</style>",
                "<main>",
                *body,
                "</main>",
                "</html>",
                "",
            ]
        )


def _block(block: doc.Block, name: str | None, folder: Path) -> str:
    match block:
        case doc.Heading():
            own = f' id="{name}"' if name else ""
            return f"<h{block.level}{own}>{_text(block.text)}</h{block.level}>"
        case doc.Paragraph():
            return f"<p>{_text(block.text)}</p>"
        case doc.Items():
            items = "\n".join(f"<li>{_text(item)}</li>" for item in block.items)
            return f"<ul>\n{items}\n</ul>"
        case doc.Preformatted():
            return f"<pre>{escape(block.text)}</pre>"
        case doc.Figure():
            caption = f"<figcaption>{_text(block.caption)}</figcaption>" if block.caption else ""
            image = f'<img alt="{escape(block.title)}" src="{_source(block, folder)}">'
            return f"<figure>{image}{caption}</figure>"
        case doc.Table():
            return _table(block)


def _table(table: doc.Table) -> str:
    numbers = {index for index in range(len(table.header)) if index not in table.left}
    head = "".join(
        _cell("th", title, "number" if index in numbers else "")
        for index, title in enumerate(table.header)
    )
    rows = [
        "<tr>"
        + "".join(
            _cell("td", cell, _kind(cell, index in numbers)) for index, cell in enumerate(row)
        )
        + "</tr>"
        for row in table.rows
    ]
    return "\n".join(
        [
            *([f"<h3>{escape(table.title)}</h3>"] if table.title else []),
            '<div class="wide"><table>',
            f"<thead><tr>{head}</tr></thead>",
            "<tbody>",
            *(f"<tr>{row}</tr>" for row in rows),
            "</tbody></table></div>",
            *([f'<p class="note">{_text(table.note)}</p>'] if table.note else []),
        ]
    )


def _kind(cell: doc.Text, number: bool) -> str:
    if number:
        return "number"
    return "words" if len(doc.plain(cell)) >= _WORDS else ""


def _cell(tag: str, text: doc.Text, kind: str) -> str:
    kind = f' class="{kind}"' if kind else ""
    return f"<{tag}{kind}>{_text(text)}</{tag}>"


def _source(figure: doc.Figure, folder: Path) -> str:
    """The picture as data in an `img`: its scripts do not run, and its ids clash with no others."""
    path = folder / (figure.vector or figure.path)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None or not path.is_file():
        return escape(quote(figure.path))
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:{kind};base64,{data}"


def _text(text: doc.Text) -> str:
    return "".join(_inline(part) for part in doc.inlines(text))


def _inline(part: doc.Inline) -> str:
    match part:
        case str():
            return escape(part)
        case doc.Code():
            return f"<code>{escape(part.text)}</code>"
        case doc.Strong():
            return f"<strong>{escape(part.text)}</strong>"
        case doc.Emphasis():
            return f"<em>{escape(part.text)}</em>"
        case doc.Link():
            target = re.sub(r"\s", "%20", part.target)
            return f'<a href="{escape(target)}">{escape(part.text)}</a>'


RENDERERS.register("html", HtmlRenderer())
