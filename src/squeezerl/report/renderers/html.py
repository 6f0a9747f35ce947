"""Documents as one HTML page that needs nothing else, pictures included."""

from __future__ import annotations

import base64
import re
import zlib
from html import escape
from pathlib import Path
from urllib.parse import quote

from squeezerl.report import document as doc
from squeezerl.report.renderers import RENDERERS, Renderer
from squeezerl.report.renderers.chart_svg import chart_svg

_KINDS = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".mp4": "video/mp4",
}
_WORDS = 36  # letters from which on a cell may be broken into lines
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2327; --soft: #56616b; --line: #d9dee3; --tint: #f4f6f8;
        --paper: #ffffff; --link: #0b5cad; --mark: none; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaee; --soft: #a3aeb8; --line: #39424a; --tint: #1f262c; --paper: #14191d;
          --link: #7cb8f5; --mark: brightness(1.45); }
}
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper);
       font: 15px/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
main { max-width: 76rem; margin: 0 auto; padding: 2rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 1rem; padding-top: .9rem;
     border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
p, li { max-width: 50rem; }
h1 + p { font-size: 1.15rem; }
a { color: var(--link); }
nav { margin: 1.2rem 0; padding: .8rem 1.1rem; background: var(--tint); border-radius: 6px; }
nav ul { margin: 0; padding: 0; list-style: none; columns: 3 14rem; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: 12.5px; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .45rem; text-align: left; vertical-align: top; white-space: nowrap; }
th { border-bottom: 2px solid var(--ink); font-weight: 600; }
td { border-bottom: 1px solid var(--line); }
th.number, td.number { text-align: right; }
td.words { white-space: normal; min-width: 14rem; }
tbody tr:hover { background: var(--tint); }
figure { margin: 1.4rem 0; }
.picture { overflow-x: auto; background: white; border-radius: 6px; margin: 0 0 .4rem; }
img { max-width: 100%; height: auto; display: block; }
video { width: 100%; height: auto; display: block; border-radius: 6px; background: #14181c; }
pre { padding: .8rem 1rem; background: var(--tint); overflow-x: auto; font-size: 12.5px;
      border-radius: 6px; position: relative; }
pre button { position: absolute; top: .4rem; right: .4rem; font: 12px system-ui, sans-serif; }
code { font-size: .92em; }
.note, figcaption { color: var(--soft); font-size: 13.5px; max-width: 62rem; }
figcaption em { font-style: normal; }
figcaption b { color: var(--ink); font-weight: 650; }
strong { font-weight: 650; }
details { margin: .8rem 0; border: 1px solid var(--line); border-radius: 6px; padding: 0 1rem; }
summary { cursor: pointer; padding: .55rem 0; font-weight: 600; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem;
           margin: 1.4rem 0; }
.numbers div { background: var(--tint); border-radius: 8px; padding: .8rem 1rem; display: flex;
               flex-direction: column; }
.numbers dd { margin: 0; }
.numbers dt { order: 2; font-weight: 600; }
.numbers .value { font-size: 2rem; font-weight: 700; line-height: 1.2;
                  font-variant-numeric: tabular-nums; }
.numbers .note { order: 3; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr));
          gap: 0 2rem; align-items: start; }
.beside > * { min-width: 0; }
.chart svg { display: block; overflow: visible; }
.chart { font: 12px system-ui, sans-serif; color: var(--ink); }
.chart text { fill: var(--ink); }
.chart .tick, .chart .axis { fill: var(--soft); }
.chart .label { font-weight: 650; }
.chart .name { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
.chart .grid { stroke: var(--line); }
line.line { stroke: var(--soft); stroke-width: 1.4; }
line.dashed { stroke-dasharray: 5 4; }
.chart .faint { opacity: .55; }
.chart line.faint { opacity: .25; stroke-width: 1; }
.chart .span { stroke-width: 1.6; }
.chart .ring { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.mark, .span, .legend path { filter: var(--mark); }
.mark:hover { opacity: .7; }
.legend { list-style: none; margin: .2rem 0 .6rem; padding: 0; display: flex; flex-wrap: wrap;
          gap: .1rem 1.1rem; font-size: 13px; }
.legend li { display: flex; align-items: center; gap: .35rem; }
#tip { position: fixed; z-index: 9; max-width: 20rem; padding: .45rem .7rem; border-radius: 6px;
       background: var(--ink); color: var(--paper); font-size: 12.5px; white-space: pre-line;
       pointer-events: none; }
@media (max-width: 40rem) {
  main { padding: 1.2rem 1rem 4rem; }
  h1 { font-size: 1.5rem; }
  .numbers { grid-template-columns: 1fr 1fr; }
  .numbers .value { font-size: 1.5rem; }
  .picture img { max-width: none; width: 44rem; }
}
@media print {
  :root { --ink: #000; --soft: #444; --line: #ccc; --tint: #f4f4f4; --paper: #fff; --mark: none; }
  nav, pre button, video { display: none; } h2 { break-after: avoid; }
}
""".strip()
# Shows what is said of a mark beside the pointer or the focus, and copies code.
_SCRIPT = """
const tip = document.createElement('div');
tip.id = 'tip'; tip.hidden = true; document.body.append(tip);
const show = mark => {
  const box = mark.getBoundingClientRect();
  tip.textContent = mark.dataset.tip; tip.hidden = false;
  const most = innerWidth - tip.offsetWidth - 8;
  tip.style.left = Math.max(8, Math.min(box.right + 8, most)) + 'px';
  const above = box.top - tip.offsetHeight - 8;
  tip.style.top = (above < 8 ? box.bottom + 8 : above) + 'px';
};
const hide = () => { tip.hidden = true; };
for (const mark of document.querySelectorAll('.mark')) {
  const title = mark.querySelector('title');
  mark.dataset.tip = title.textContent;
  mark.setAttribute('aria-label', title.textContent); title.remove();
  mark.onpointerenter = mark.onfocus = () => show(mark);
  mark.onpointerleave = mark.onblur = hide;
}
for (const pre of document.querySelectorAll('pre')) {
  const text = pre.textContent, button = document.createElement('button');
  button.textContent = 'copy';
  button.onclick = () => navigator.clipboard.writeText(text).then(
    () => { button.textContent = 'copied'; },
    () => { getSelection().selectAllChildren(pre); });
  pre.append(button);
}
""".strip()


class HtmlRenderer(Renderer):
    """Blocks as HTML, with a table of contents of the sections; it loads nothing.

    A script of a few lines shows what is said of a chart's marks, and copies code.
    """

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
        text = "\n".join(body)
        needs_script = 'class="mark' in text or "<pre>" in text
        return "\n".join(
            [
                "<!doctype html>",
                '<html lang="en">',
                '<meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{escape(document.title)}</title>",
                f"<style>\n{_STYLE}\n</style>",
                "<main>",
                text,
                "</main>",
                *([f"<script>\n{_SCRIPT}\n</script>"] if needs_script else []),
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
            if block.chart is not None:
                # The ids in a page must differ.
                name = f"m{zlib.crc32((block.path + block.title).encode()):08x}"
                shown = chart_svg(block.chart, block.description, name)
                title = f"<b>{escape(block.title)}</b> "
                return f"<figure>{shown}{_caption(title, block.caption)}</figure>"
            source = _source(folder / (block.vector or block.path), block.path)
            image = f'<img alt="{escape(block.description)}" src="{source}">'
            return (
                f'<figure><div class="picture" tabindex="0">{image}</div>'
                f"{_caption('', block.caption)}</figure>"
            )
        case doc.Video():
            poster, source = (_source(folder / path, path) for path in (block.poster, block.path))
            title = f"<b>{escape(block.title)}</b> "
            return (
                f'<figure><video controls muted loop playsinline preload="metadata" '
                f'aria-label="{escape(block.title)}" poster="{poster}" src="{source}"></video>'
                f"{_caption(title, block.caption)}</figure>"
            )
        case doc.Numbers():
            tiles = "\n".join(
                f'<div><dt>{escape(one.label)}</dt><dd class="value">{escape(one.value)}</dd>'
                + (f'<dd class="note">{escape(one.note)}</dd>' if one.note else "")
                + "</div>"
                for one in block.numbers
            )
            return f'<dl class="numbers">\n{tiles}\n</dl>'
        case doc.Beside():
            inner = "\n".join(f"<div>{_block(one, None, folder)}</div>" for one in block.blocks)
            return f'<div class="beside">\n{inner}\n</div>'
        case doc.Folded():
            inner = "\n".join(_block(one, None, folder) for one in block.blocks)
            return f"<details><summary>{escape(block.title)}</summary>\n{inner}\n</details>"
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


def _caption(title: str, caption: doc.Text) -> str:
    text = f"{title}{_text(caption)}".strip()
    return f"<figcaption>{text}</figcaption>" if text else ""


def _source(path: Path, name: str) -> str:
    """A file as data in an `img`: its scripts do not run, and its ids clash with no others."""
    kind = _KINDS.get(path.suffix.lower())
    if kind is None or not path.is_file():
        return escape(quote(name))
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
