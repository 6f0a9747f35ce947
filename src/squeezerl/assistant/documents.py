"""Passages from pages: our documentation, and files that the user adds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from squeezerl.assistant.passage import Kind, Passage
from squeezerl.errors import InvalidArgumentError

_LONGEST = 1_800  # characters of a passage
_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*$")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
# Paragraphs and items of lists.
BLOCKS = re.compile(r"\n\s*\n|\n(?=(?:- |\d+\. )\S)")
_TEXTS = (".md", ".markdown", ".rst", ".txt")


def docs_passages() -> list[Passage]:
    """The pages of our documentation and the README, as they come with the package."""
    package = Path(__file__).parents[1]
    # In a wheel they lie in the package, in a checkout beside it.
    folder = package / "pages" if (package / "pages").is_dir() else package.parents[1]
    pages = [folder / "README.md", *sorted((folder / "docs").glob("*.md"))]
    return [
        passage
        for page in pages
        if page.is_file()
        for passage in split_markdown(
            page.read_text(encoding="utf-8"), page.relative_to(folder).as_posix(), "docs"
        )
    ]


def read_file(path: Path) -> list[Passage]:
    """The passages of a user's file: PDF, Markdown, text or a notebook; nothing in it is executed.

    Raises:
        InvalidArgumentError: if it is of another kind or cannot be read.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".pdf":
            return _pdf(path)
        if suffix not in (*_TEXTS, ".ipynb"):
            known = ", ".join((*_TEXTS, ".ipynb", ".pdf"))
            raise InvalidArgumentError(f"{path}: the assistant reads {known}")
        text = path.read_text(encoding="utf-8")
        if suffix == ".ipynb":
            text = "\n\n".join(_cells(json.loads(text)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(f"{path}: cannot be read: {error}") from error
    return split_markdown(text, path.name, "yours")


def split_markdown(text: str, source: str, kind: Kind) -> list[Passage]:
    """One passage for each section, or several for a long one; each with the headings above it."""
    passages: list[Passage] = []
    seen: dict[str, int] = {}
    for headings, body in _sections(text):
        for part in _parts(body):
            slug = re.sub(r"[^\w]+", "-", (headings or [""])[-1].lower()).strip("-")
            number = seen[slug] = seen.get(slug, 0) + 1
            passages.append(
                Passage(
                    id=f"{source}#{slug}" + (f"-{number}" if number > 1 else ""),
                    title=": ".join(headings) or source,
                    text=part,
                    source=f"{source}, {headings[-1]}" if headings else source,
                    kind=kind,
                )
            )
    return passages


def _sections(text: str) -> Iterator[tuple[list[str], str]]:
    """Each section's headings, outermost first, and its text without links' targets."""
    headings: dict[int, str] = {}
    lines: list[str] = []
    fenced = False
    for line in [*text.splitlines(), "# "]:
        fenced ^= line.lstrip().startswith("```")
        match = None if fenced else _HEADING.match(line)
        if match is None and line != "# ":
            lines.append(line if fenced else _LINK.sub(r"\1", line))
            continue
        if body := "\n".join(lines).strip():
            yield [headings[level] for level in sorted(headings)], body
        lines = []
        if match:
            level = len(match[1])
            headings = {k: v for k, v in headings.items() if k < level}
            headings[level] = _LINK.sub(r"\1", match[2]).replace("`", "")


def _parts(body: str) -> Iterator[str]:
    """The text in pieces of at most about `_LONGEST` characters, cut between blocks or rows."""
    part = ""
    for block in BLOCKS.split(body):
        lines = block.splitlines()
        table = len(lines) > 2 and lines[0].startswith("|") and set(lines[1]) <= set("|-: ")
        pieces = [block]
        if len(block) > _LONGEST:
            head = "\n".join(lines[:2]) if table else ""
            pieces = list(_packed(lines[2:] if table else lines, head))
        for piece in pieces:
            if part and len(part) + len(piece) > _LONGEST:
                yield part
                part = ""
            part = f"{part}\n\n{piece}" if part else piece
    if part.strip():
        yield part


def _packed(lines: list[str], head: str) -> Iterator[str]:
    piece = head
    for line in (cut for whole in lines for cut in _cut(whole)):
        if piece != head and len(piece) + len(line) > _LONGEST:
            yield piece
            piece = head
        piece = f"{piece}\n{line}" if piece else line
    yield piece


def _cut(line: str) -> Iterator[str]:
    for start in range(0, max(len(line), 1), _LONGEST):
        yield line[start : start + _LONGEST]


def _cells(notebook: dict[str, Any]) -> Iterator[str]:
    """A notebook's text and code, and what its code printed."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        yield source if cell["cell_type"] == "markdown" else f"```\n{source}\n```"
        for output in cell.get("outputs", ()):
            yield "".join(output.get("text", output.get("data", {}).get("text/plain", "")))


def _pdf(path: Path) -> list[Passage]:
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise InvalidArgumentError(
            f'{path}: reading PDFs needs pypdf: pip install "squeezerl[assistant]"'
        ) from error
    try:
        pages = [page.extract_text() for page in PdfReader(path).pages]
    except PyPdfError as error:
        raise InvalidArgumentError(f"{path}: cannot be read: {error}") from error
    return [
        passage
        for number, text in enumerate(pages, 1)
        for passage in split_markdown(text, f"{path.name}, page {number}", "yours")
    ]
