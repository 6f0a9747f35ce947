from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from squeezerl.report.study_tables import (
    StudyTable,
    escape_latex,
    escape_markdown,
    latex,
    markdown_lines,
    write_table,
)


def _table(rows: int = 2) -> StudyTable:
    return StudyTable(
        name="t",
        title="A & B",
        note="100 % of_it.",
        header=("name", "x [95 %]"),
        rows=tuple((f"a_{n}|b", "1.0 [0.9, 1.1] ✓") for n in range(rows)),
        left=(0,),
        frame=pd.DataFrame({"name": [f"a_{n}|b" for n in range(rows)], "x": 1 / 3}),
    )


def test_markdown_keeps_names_from_being_markup() -> None:
    assert markdown_lines(_table(1)) == [
        "| name | x [95 %] |",
        "| --- | ---: |",
        r"| a\_0\|b | 1.0 [0.9, 1.1] ✓ |",
    ]
    hostile = escape_markdown("<script>*x* [a](javascript:b)\n# c")
    assert "<" not in hostile
    assert "](" not in hostile
    assert "\n" not in hostile


def test_latex_has_rules_and_escapes() -> None:
    text = latex(_table())
    assert text.startswith("% needs booktabs")
    assert re.findall(r"\\(\w+rule)", text) == [
        "toprule", "midrule", "bottomrule",
    ]  # fmt: skip
    assert r"\caption{A \& B. 100 \% of\_it.}" in text
    assert r"a\_0|b & 1.0 [0.9, 1.1] $\checkmark$ \\" in text
    assert r"\begin{tabular}{lr}" in text
    assert escape_latex("a\\b") == r"a\textbackslash{}b"


def test_long_tables_break_over_pages() -> None:
    text = latex(_table(50))
    assert r"\begin{longtable}{lr}" in text
    assert r"\begin{table}" not in text
    assert text.count(r"\toprule") == 2  # on the first page and on those that follow


def test_csv_is_the_tidy_data_in_full(tmp_path: Path) -> None:
    write_table(_table(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.md", "t.tex"]
    frame = pd.read_csv(tmp_path / "t.csv")
    assert frame["x"].tolist() == pytest.approx([1 / 3, 1 / 3], abs=0)
