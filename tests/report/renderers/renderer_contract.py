"""What each renderer must do; its test class inherits this one."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import ClassVar

from PIL import Image

from squeezerl.registry import Registry
from squeezerl.report.document import (
    Beside,
    Block,
    Code,
    Document,
    Emphasis,
    Figure,
    Folded,
    Heading,
    Items,
    Link,
    Number,
    Numbers,
    Paragraph,
    Preformatted,
    Strong,
    Table,
    Text,
    Video,
)
from squeezerl.report.renderers import RENDERERS, render

HOSTILE = (
    "<script>alert(1)</script>",
    "a|b_c*d`e",
    "[x](http://evil.example)",
    r"\\input{/etc/passwd} $x$ 100 % #1 & ~^{}",
    "# heading",
    "1. item",
    "- item",
    "quote \" and ' apostrophe",
    "two\nlines",
)


def document(*blocks: Block, title: str = "A title") -> Document:
    return Document(title=title, blocks=blocks)


def table(*rows: tuple[Text, ...], title: str = "", note: str = "") -> Table:
    return Table(header=("name", "x [95 %]"), rows=rows, title=title, note=note, name="t")


class RendererContract:
    """Tests of any renderer."""

    name: ClassVar[str]

    def read(self, text: str) -> str:
        """The words of a rendered document as a reader sees them, without markup."""
        raise NotImplementedError

    def test_it_is_registered_under_its_name(self) -> None:
        assert isinstance(RENDERERS, Registry)
        assert self.name in RENDERERS.names
        assert RENDERERS.get(self.name) in list(RENDERERS)

    def test_all_blocks_are_there_in_order(self, tmp_path: Path) -> None:
        Image.new("RGB", (4, 4)).save(tmp_path / "picture.png")
        text = render(
            document(
                Heading("First section"),
                Paragraph(("some ", Strong("strong"), " and ", Emphasis("soft"), " words")),
                Items(("one item", (Code("a/path"), " beside"))),
                Preformatted("ErrorA: x\n  ErrorB: y"),
                Heading("Sub section", 3),
                table(("cell", "1.0"), title="Table title", note="Table note"),
                Figure(title="Picture", path="picture.png", caption="Picture caption"),
                Video(title="Video", path="v.mp4", poster="picture.png", caption="Video caption"),
                Numbers((Number("7.3", "smaller", "its note"), Number("9 J", "energy"))),
                Beside((Paragraph("left block"), Paragraph("right block"))),
                Folded("Folded title", (Paragraph("folded words"),)),
                Paragraph(("see ", Link("the file", "tables/t.csv"))),
            ),
            self.name,
            tmp_path,
        )
        read = self.read(text)
        places = [
            read.index(words)
            for words in (
                "A title", "First section", "some strong and soft words", "one item",
                "a/path beside", "ErrorA: x", "ErrorB: y", "Sub section", "cell", "Picture caption",
                "Video caption", "left block", "right block", "Folded title", "folded words",
                "see the file",
            )
        ]  # fmt: skip
        assert places == sorted(places)
        for words in ("7.3", "smaller", "its note", "9 J", "energy"):
            assert words in read
        for words in ("Table title", "Table note", "name", "x [95 %]", "1.0"):
            assert words in read

    def test_names_from_results_show_as_they_are_and_are_no_markup(self, tmp_path: Path) -> None:
        for name in HOSTILE:
            line = " ".join(name.split())
            blocks = (
                Heading(name),
                Paragraph(name),
                Paragraph((Strong(name),)),
                Items((name,)),
                table((name, "1"), title=name, note=name),
                Figure(title=name, path="missing.png", caption=name),
                Video(title=name, path="missing.mp4", poster="missing.png", caption=name),
                Numbers((Number(name, name, name),)),
                Folded(name, (Paragraph(name),)),
            )
            for block in blocks:
                rendered = render(document(block, title="t"), self.name, tmp_path)
                read = " ".join(self.read(rendered).split())
                assert line in read, (name, block)

    def test_a_hostile_title_shows_as_it_is(self, tmp_path: Path) -> None:
        for name in HOSTILE:
            read = self.read(render(document(title=name), self.name, tmp_path))
            assert " ".join(name.split()) in " ".join(read.split())

    def test_a_document_without_blocks_has_its_title(self, tmp_path: Path) -> None:
        assert "A title" in self.read(render(document(), self.name, tmp_path))

    def test_the_same_document_gives_the_same_text(self, tmp_path: Path) -> None:
        made = document(Heading("h"), table(("a", "1")))
        assert render(made, self.name, tmp_path) == render(made, self.name, tmp_path)


def without_tags(page: str) -> str:
    """The text of HTML."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    alternatives = re.sub(r'<img alt="([^"]*)"[^>]*>', r"\1", body)
    return unescape(re.sub(r"<[^>]+>", "", alternatives))
