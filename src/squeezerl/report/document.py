"""A report as data: blocks of text, tables and figures, built once and rendered in several formats.

Blocks hold text as it is; each renderer escapes it for its own format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from squeezerl.errors import InvalidArgumentError

if TYPE_CHECKING:
    import pandas as pd

    from squeezerl.report.chart import Chart


@dataclass(frozen=True)
class Code:
    """A path, a hash or a command."""

    text: str


@dataclass(frozen=True)
class Strong:
    """Text that must not be overlooked."""

    text: str


@dataclass(frozen=True)
class Emphasis:
    """Text that is set apart."""

    text: str


@dataclass(frozen=True)
class Link:
    """A link to a file beside the report or to a page on the web.

    Raises:
        InvalidArgumentError: if the target is neither.
    """

    text: str
    target: str

    def __post_init__(self) -> None:
        scheme, colon, _ = self.target.partition(":")
        if colon and "/" not in scheme and scheme not in ("http", "https"):
            raise InvalidArgumentError(
                f"target {self.target!r}: a link leads to a relative path or to http(s)://"
            )


Inline = str | Code | Strong | Emphasis | Link
Text = Inline | tuple[Inline, ...]


def inlines(text: Text) -> tuple[Inline, ...]:
    """The parts of a text."""
    return text if isinstance(text, tuple) else (text,)


def plain(text: Text) -> str:
    """A text without markup."""
    return "".join(part if isinstance(part, str) else part.text for part in inlines(text))


@dataclass(frozen=True)
class Heading:
    """The title of a section (level 2) or subsection (level 3)."""

    text: Text
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: Text


@dataclass(frozen=True)
class Items:
    """A list of texts with bullets."""

    items: tuple[Text, ...]


@dataclass(frozen=True)
class Preformatted:
    """Lines whose spacing counts, such as a traceback."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture, as a file below the report's folder.

    `path` is a bitmap; `vector` is the same picture as SVG, `None` if there is none. `chart` is its
    data, which pages draw themselves; `alt` says what it shows to those who do not see it.
    """

    title: str
    path: str
    vector: str | None = None
    caption: Text = ""
    alt: str = ""
    chart: Chart | None = None

    @property
    def description(self) -> str:
        """What stands for the picture where it is not seen."""
        return self.alt or self.title


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video with a still picture, as files below the report's folder; it has no sound."""

    title: str
    path: str
    poster: str
    caption: Text = ""


@dataclass(frozen=True)
class Number:
    """A figure that stands out: "7.3", "times smaller", and how it came about."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Numbers:
    """A few figures in a row."""

    numbers: tuple[Number, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A table with an optional title above and a note below it.

    Args:
        header: titles of the columns.
        rows: the cells as text.
        left: the columns that hold words; the others are aligned to the right.
        title, note: what it shows and how to read it.
        name: of its files, without ending.
        frame: the tidy data behind it, with `_low` and `_high` beside what has an interval.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    left: tuple[int, ...] = (0,)
    title: str = ""
    note: Text = ""
    name: str = ""
    frame: pd.DataFrame | None = None

    @property
    def plain_rows(self) -> list[tuple[str, ...]]:
        """The cells without markup."""
        return [tuple(plain(cell) for cell in row) for row in self.rows]


@dataclass(frozen=True)
class Beside:
    """Blocks that stand beside each other where there is room."""

    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Folded:
    """Blocks that a page shows when their title is clicked."""

    title: str
    blocks: tuple[Block, ...]


Block = (
    Heading | Paragraph | Items | Preformatted | Figure | Table | Video | Numbers | Beside | Folded
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Document:
    """A report: its title and its blocks in order."""

    title: str
    blocks: tuple[Block, ...]


def charts(blocks: Iterable[Block]) -> Iterator[Figure]:
    """The figures with charts among blocks, those within others included."""
    for block in blocks:
        if isinstance(block, Figure) and block.chart is not None:
            yield block
        elif isinstance(block, Beside | Folded):
            yield from charts(block.blocks)
