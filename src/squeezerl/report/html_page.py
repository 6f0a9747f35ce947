"""A Markdown report as one HTML page that needs nothing else, pictures included."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

from squeezerl.errors import StudyError

_IMAGE = re.compile(r'<img alt="([^"]*)" src="(figures/[\w.-]+)\.png" />')
_WORDS = re.compile(r"<td>([^\n]{36,})</td>")  # a cell with a sentence, which may be broken
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
p:has(img) { max-width: none; }
a { color: #0b5cad; }
nav { margin: 1.2rem 0; padding: .8rem 1.1rem; background: var(--tint); border-radius: 6px; }
nav ul { margin: 0; padding: 0; list-style: none; columns: 3 14rem; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .65rem; text-align: left; vertical-align: top; white-space: nowrap; }
th { border-bottom: 2px solid var(--ink); font-weight: 600; }
td { border-bottom: 1px solid var(--line); }
td.words { white-space: normal; min-width: 14rem; }
tbody tr:hover { background: var(--tint); }
img { max-width: 100%; height: auto; display: block; margin: 1.4rem 0 .4rem; }
pre { padding: .8rem 1rem; background: var(--tint); overflow-x: auto; font-size: 12.5px; }
code { font-size: .92em; }
.wide + p, p:has(img) + p { color: var(--soft); font-size: 13.5px; max-width: 62rem; }
p:has(img) + p em { font-style: normal; }
strong { font-weight: 650; }
@media print { nav { display: none; } h2 { break-after: avoid; } }
""".strip()


def html_page(markdown_text: str, folder: Path, title: str) -> str:
    """Render a report; pictures `figures/*.png` are taken in as the SVG beside them.

    Args:
        markdown_text: of the report.
        folder: that holds `figures/`.
        title: of the page.

    Raises:
        StudyError: if the package markdown is not installed.
    """
    try:
        import markdown
    except ModuleNotFoundError as error:
        raise StudyError('reports need markdown: pip install "squeezerl[studies]"') from error

    renderer = markdown.Markdown(
        extensions=["tables", "toc"], extension_configs={"toc": {"toc_depth": "2-2"}}
    )
    body = renderer.convert(markdown_text)
    body = _IMAGE.sub(lambda match: _inlined(match, folder), body)
    body = body.replace("<table>", '<div class="wide"><table>').replace(
        "</table>", "</table></div>"
    )
    body = _WORDS.sub(r'<td class="words">\1</td>', body)
    contents = f"<nav>{renderer.toc}</nav>"
    body = body.replace("<h2 ", f"{contents}\n<h2 ", 1)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            f"<style>\n{_STYLE}\n</style>",
            f"<main>\n{body}\n</main>",
            "</html>",
            "",
        ]
    )


def _inlined(match: re.Match[str], folder: Path) -> str:
    """The SVG as data, in an image, where no script runs and no name meets another's."""
    data = base64.b64encode((folder / f"{match[2]}.svg").read_bytes()).decode("ascii")
    return f'<img alt="{match[1]}" src="data:image/svg+xml;base64,{data}">'
