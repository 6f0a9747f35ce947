from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from renderer_contract import HOSTILE, RendererContract, document, table, without_tags

from squeezerl.errors import InvalidArgumentError
from squeezerl.report.document import Figure, Heading, Link, Paragraph
from squeezerl.report.renderers import render


class TestHtml(RendererContract):
    name = "html"

    def read(self, text: str) -> str:
        return without_tags(text)


class _Page(HTMLParser):
    """Collects tags and what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def _page(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    return page


def test_hostile_names_make_no_tags() -> None:
    for name in HOSTILE:
        plain, hostile = (
            _page(render(document(Heading(word), table((word, word)), title=word), "html"))
            for word in ("x", name)
        )
        assert hostile.tags == plain.tags


def test_figures_stand_inside_the_page_as_svg_where_there_is_one(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.svg").write_text("<svg/>")
    for vector, kind in (("a.svg", "svg+xml"), (None, "png")):
        page = render(document(Figure(title="f", path="a.png", vector=vector)), "html", tmp_path)
        (source,) = _page(page).sources
        assert source.startswith(f"data:image/{kind};base64,")
    assert base64.b64decode(source.partition(",")[2]) == (tmp_path / "a.png").read_bytes()


def test_the_contents_lead_to_the_sections() -> None:
    page = render(document(Paragraph("p"), Heading("One"), Heading("Two")), "html")
    assert page.index("<nav>") < page.index('<h2 id="section-1">One</h2>')
    assert '<a href="#section-2">Two</a>' in page
    assert "<nav>" not in render(document(Paragraph("p")), "html")


@pytest.mark.parametrize("target", ["javascript:alert(1)", "data:text/html,x", "file:///etc"])
def test_links_lead_to_files_beside_or_to_the_web(target: str) -> None:
    with pytest.raises(InvalidArgumentError, match="relative path"):
        Link("x", target)
    assert Link("x", "tables/a:b.md").target == "tables/a:b.md"
    assert Link("x", "https://example.org").target == "https://example.org"
