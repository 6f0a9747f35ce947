"""Documents as Markdown (CommonMark with tables, as GitHub shows it)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from squeezerl.report import document as doc
from squeezerl.report.renderers import RENDERERS, Renderer

_BLOCK_START = re.compile(r"^(?=[#+=>~-]|\[)|^(\d+)(?=[.)])")


class MarkdownRenderer(Renderer):
    """Blocks as Markdown, with an empty line between them."""

    def render(self, document: doc.Document, folder: Path) -> str:
        """As `Renderer.render`; `folder` is not needed."""
        parts = [f"# {_text(document.title)}"] if document.title else []
        parts += [_block(block) for block in document.blocks]
        return "\n\n".join(parts) + "\n"


def _block(block: doc.Block) -> str:
    match block:
        case doc.Heading():
            return f"{'#' * block.level} {_text(block.text)}"
        case doc.Paragraph():
            return _start(block.text)
        case doc.Items():
            return "\n".join(f"- {_start(item)}" for item in block.items)
        case doc.Preformatted():
            # Indented text needs no fence that its content could close.
            return "\n".join(f"    {line}" for line in block.text.splitlines())
        case doc.Figure():
            image = f"![{_text(block.title)}]({_target(block.path)})"
            return f"{image}\n\n{_start(block.caption)}" if block.caption else image
        case doc.Video():
            still = f"![{_text(block.title)}]({_target(block.poster)})"
            video = f"[{still}]({_target(block.path)})"
            return f"{video}\n\n{_start(block.caption)}" if block.caption else video
        case doc.Numbers():
            return "\n".join(
                f"- **{_text(one.value)}** {_text(one.label)}"
                + (f": {_text(one.note)}" if one.note else "")
                for one in block.numbers
            )
        case doc.Beside():
            return "\n\n".join(map(_block, block.blocks))
        case doc.Folded():
            return "\n\n".join([f"### {_text(block.title)}", *map(_block, block.blocks)])
        case doc.Table():
            parts = [f"### {_text(block.title)}"] if block.title else []
            parts.append("\n".join(_grid(block)))
            parts += [_start(block.note)] if block.note else []
            return "\n\n".join(parts)


def _grid(table: doc.Table) -> list[str]:
    rule = ["---" if index in table.left else "---:" for index in range(len(table.header))]
    rows = [_row(table.header), f"| {' | '.join(rule)} |", *(_row(row) for row in table.rows)]
    return rows


def _row(cells: Sequence[doc.Text]) -> str:
    # The bar of a cell's code would end the cell; that of its text is escaped already.
    texts = (re.sub(r"(?<!\\)\|", r"\\|", _text(cell)) for cell in cells)
    return f"| {' | '.join(texts)} |"


def _start(text: doc.Text) -> str:
    """Text at the beginning of a line, where some characters would begin another block."""
    return _BLOCK_START.sub(lambda match: f"{match[1] or ''}\\", _text(text))


def _text(text: doc.Text) -> str:
    return "".join(_inline(part) for part in doc.inlines(text))


def _inline(part: doc.Inline) -> str:
    match part:
        case str():
            return escape_markdown(part)
        case doc.Code():
            return _code(" ".join(part.text.split()))
        case doc.Strong():
            return f"**{escape_markdown(part.text)}**"
        case doc.Emphasis():
            return f"*{escape_markdown(part.text)}*"
        case doc.Link():
            return f"[{escape_markdown(part.text)}]({_target(part.target)})"


def _code(text: str) -> str:
    """Code between more backticks than it has in a row."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def _target(path: str) -> str:
    return quote(path, safe="/:?&=#%~.-_")


def escape_markdown(text: str) -> str:
    """Text in one line that shows as it is: neither markup nor HTML."""
    start, line, end = _trimmed(text)
    for character, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        line = line.replace(character, safe)
    line = "".join(f"\\{c}" if c in "\\`*_|$" else c for c in line)
    line = line.replace("~~", "\\~\\~")
    # Brackets alone are an interval's; these would be a link's.
    return start + line.replace("](", "]\\(").replace("][", "]\\[") + end


def _trimmed(text: str) -> tuple[str, str, str]:
    """The trimmed text, and one space before and after it where there was any.

    Inline parts stand beside each other, so these spaces count.
    """
    line = " ".join(text.split())
    return " " * text[:1].isspace() if line else "", line, " " * text[-1:].isspace()


RENDERERS.register("markdown", MarkdownRenderer())
