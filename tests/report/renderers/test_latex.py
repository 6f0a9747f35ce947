from __future__ import annotations

import re

from renderer_contract import RendererContract, document, table

from squeezerl.report.document import Table
from squeezerl.report.renderers import render
from squeezerl.report.renderers.latex import _ESCAPES, escape_latex


class TestLatex(RendererContract):
    name = "latex"

    def read(self, text: str) -> str:
        """What LaTeX would set: characters instead of their commands."""
        for character, command in sorted(_ESCAPES.items(), key=lambda item: -len(item[1])):
            text = text.replace(command, "\0" + character + "\0")
        text = re.sub(r"\\(section\*?|subsection|caption|text\w\w|emph|item)\b ?(?=\{)", "", text)
        return _kept_braces(text).replace("\0", "")


def _kept_braces(text: str) -> str:
    """Escaped braces stay; those that group do not."""
    return re.sub(r"(?<!\0)[{}]", "", text).replace("\0{\0", "{").replace("\0}\0", "}")


def _table(rows: int = 2) -> Table:
    return Table(
        header=("name", "x [95 %]"),
        rows=tuple((f"a_{n}|b", "1.0 [0.9, 1.1] ✓") for n in range(rows)),
        title="A & B",
        note="100 % of_it.",
        name="t",
    )


def test_tables_have_rules_and_escapes() -> None:
    text = render(document(_table(), title=""), "latex")
    assert text.startswith("% needs booktabs")
    assert re.findall(r"\\(\w+rule)", text) == ["toprule", "midrule", "bottomrule"]
    assert r"\caption{A \& B. 100 \% of\_it.}" in text
    assert r"\label{tab:t}" in text
    assert r"a\_0|b & 1.0 [0.9, 1.1] $\checkmark$ \\" in text
    assert r"\begin{tabular}{lr}" in text
    assert escape_latex("a\\b") == r"a\textbackslash{}b"


def test_a_bracket_after_a_line_is_no_option_of_it() -> None:
    text = render(document(table(("a", "1"), ("[b]", "2")), title=""), "latex")
    assert r"{}[b] & 2 \\" in text


def test_long_tables_break_over_pages() -> None:
    text = render(document(_table(50), title=""), "latex")
    assert "longtable" in text.splitlines()[0]
    assert r"\begin{longtable}{lr}" in text
    assert r"\begin{table}" not in text
    assert text.count(r"\toprule") == 2  # on the first page and on those that follow
