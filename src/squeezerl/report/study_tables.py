"""Tables as Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from squeezerl.report.text import markdown_table

_LONG = 40  # rows that still fit a page
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "−": "$-$",
    "✓": r"$\checkmark$",
    "✗": r"$\times$",
    "★": r"$\star$",
    "☆": r"$\diamond$",
    "µ": r"$\mu$",
    "≥": r"$\geq$",
    "×": r"$\times$",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyTable:
    """A table of the report.

    `rows` are the cells as text, `left` the columns of words, `frame` the tidy data behind them,
    with `_low` and `_high` beside what has an interval.
    """

    name: str
    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[int, ...]
    frame: pd.DataFrame


def markdown_lines(table: StudyTable) -> list[str]:
    """The table alone."""
    return markdown_table(
        [escape_markdown(title) for title in table.header],
        [[escape_markdown(cell) for cell in row] for row in table.rows],
        left=table.left,
    )


def latex(table: StudyTable) -> str:
    """The table with its caption; needs booktabs, amssymb and, if long, longtable."""
    spec = "".join("l" if index in table.left else "r" for index in range(len(table.header)))
    caption = rf"\caption{{{escape_latex(table.title)}. {escape_latex(table.note)}}}".replace(
        "..", "."
    )
    label = rf"\label{{tab:{table.name}}}"
    head = _latex_row(table.header)
    body = [_latex_row(row) for row in table.rows]
    if len(body) > _LONG:
        top = [r"\toprule", head, r"\midrule"]
        lines = [
            rf"\begin{{longtable}}{{{spec}}}",
            rf"{caption} {label} \\",
            *top,
            r"\endfirsthead",
            *top,
            r"\endhead",
            *body,
            r"\bottomrule",
            r"\end{longtable}",
        ]
    else:
        lines = [
            r"\begin{table}",
            r"\centering",
            caption,
            label,
            rf"\begin{{tabular}}{{{spec}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    packages = "booktabs, amssymb" + (", longtable" if len(body) > _LONG else "")
    return "\n".join([f"% needs {packages}", *lines, ""])


def write_table(table: StudyTable, folder: Path) -> None:
    """Write `name`.md, .tex and .csv; the CSV is the tidy data, in full precision."""
    text = [f"# {escape_markdown(table.title)}", "", *markdown_lines(table), "", table.note, ""]
    (folder / f"{table.name}.md").write_text("\n".join(text), encoding="utf-8")
    (folder / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")
    table.frame.to_csv(folder / f"{table.name}.csv", index=False, lineterminator="\n")


def escape_markdown(text: str) -> str:
    """Names and messages as they are, whatever is in them: no markup, no HTML, one line."""
    line = " ".join(text.split())
    for character, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        line = line.replace(character, safe)
    line = "".join(f"\\{c}" if c in "\\`*_|" else c for c in line)
    # Brackets alone are an interval's; these would be a link's.
    return line.replace("](", "]\\(").replace("][", "]\\[")


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"
