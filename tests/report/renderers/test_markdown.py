from __future__ import annotations

from markdown_it import MarkdownIt
from renderer_contract import RendererContract, document, table, without_tags

from squeezerl.report.document import Code, Paragraph, Preformatted
from squeezerl.report.renderers import render
from squeezerl.report.renderers.markdown import escape_markdown


class TestMarkdown(RendererContract):
    name = "markdown"

    def read(self, text: str) -> str:
        """As an independent implementation of CommonMark shows it."""
        return without_tags(
            MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
        )


def test_tables_are_aligned_and_names_are_no_markup() -> None:
    text = render(document(table(("a_0|b", "1.0 [0.9, 1.1] ✓")), title=""))
    assert text.splitlines() == [
        "| name | x [95 %] |",
        "| --- | ---: |",
        r"| a\_0\|b | 1.0 [0.9, 1.1] ✓ |",
    ]


def test_hostile_names_stay_in_one_line() -> None:
    hostile = escape_markdown("<script>*x* [a](javascript:b)\n# c")
    assert "<" not in hostile
    assert "](" not in hostile
    assert "\n" not in hostile


def test_code_with_backticks_and_bars_ends_where_it_should() -> None:
    text = render(document(Paragraph((Code("a`b"),)), title=""))
    assert text == "``a`b``\n"
    row = render(document(table((Code("x|y"), "1")), title="")).splitlines()[-1]
    assert row.startswith(r"| `x\|y` |")


def test_preformatted_text_is_left_alone() -> None:
    text = render(document(Preformatted("Traceback\n  E: layer <0> | *no*"), title=""))
    assert text == "    Traceback\n      E: layer <0> | *no*\n"
