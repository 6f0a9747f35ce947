"""Documents as LaTeX to be included in a paper: mostly tables, with booktabs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from squeezerl.report import document as doc
from squeezerl.report.renderers import RENDERERS, Renderer

_LONG = 40  # rows that still fit a page
_ESCAPES = {
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
    "τ": r"$\tau$",
}


class LatexRenderer(Renderer):
    """Blocks as a part of a LaTeX document; its first line names the packages it needs."""

    def render(self, document: doc.Document, folder: Path) -> str:
        """As `Renderer.render`; `folder` is not needed."""
        packages = ["booktabs", "amssymb"]
        title = [rf"\section*{{{_text(document.title)}}}"] if document.title else []
        text = "\n\n".join([*title, *map(_block, document.blocks)])
        if r"\begin{longtable}" in text:
            packages.append("longtable")
        if r"\includegraphics" in text:
            packages.append("graphicx")
        return f"% needs {', '.join(packages)}\n{text}\n"


def _block(block: doc.Block) -> str:
    match block:
        case doc.Heading():
            command = "section" if block.level == 2 else "subsection"
            return rf"\{command}{{{_text(block.text)}}}"
        case doc.Paragraph():
            return _text(block.text)
        case doc.Items():
            items = "\n".join(rf"\item {{}}{_text(item)}" for item in block.items)
            return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"
        case doc.Preformatted():
            # Not verbatim, whose end the text could contain.
            lines = (_text(line) + r"\\" for line in block.text.splitlines() if line.strip())
            return "\n".join([r"\begin{flushleft}\ttfamily\small", *lines, r"\end{flushleft}"])
        case doc.Figure():
            return _picture(block.path, block.title, block.caption)
        case doc.Video():
            return _picture(block.poster, block.title, block.caption)
        case doc.Numbers():
            items = "\n".join(
                rf"\item {{}}\textbf{{{_text(one.value)}}} "
                + _text(f"{one.label}: {one.note}" if one.note else one.label)
                for one in block.numbers
            )
            return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"
        case doc.Beside():
            return "\n\n".join(map(_block, block.blocks))
        case doc.Folded():
            title = rf"\subsection{{{_text(block.title)}}}"
            return "\n\n".join([title, *map(_block, block.blocks)])
        case doc.Table():
            return "\n".join(_table(block))


def _picture(path: str, title: str, caption: doc.Text) -> str:
    return "\n".join(
        [
            r"\begin{figure}",
            r"\centering",
            rf"\includegraphics[width=\linewidth]{{\detokenize{{{path}}}}}",
            rf"\caption{{{_caption(title, caption)}}}",
            r"\end{figure}",
        ]
    )


def _is_long(table: doc.Table) -> bool:
    return len(table.rows) > _LONG


def _table(table: doc.Table) -> list[str]:
    spec = "".join("l" if index in table.left else "r" for index in range(len(table.header)))
    caption = [rf"\caption{{{_caption(table.title, table.note)}}}"] if table.title else []
    label = [rf"\label{{tab:{escape_latex(table.name)}}}"] if table.name else []
    head = _row(table.header)
    body = [_row(row) for row in table.rows]
    if _is_long(table):
        top = [r"\toprule", head, r"\midrule"]
        return [
            rf"\begin{{longtable}}{{{spec}}}",
            *([f"{' '.join([*caption, *label])} \\\\"] if caption or label else []),
            *(*top, r"\endfirsthead", *top, r"\endhead"),
            *body,
            r"\bottomrule",
            r"\end{longtable}",
        ]
    return [
        *(r"\begin{table}", r"\centering", *caption, *label),
        *(rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head, r"\midrule"),
        *body,
        *(r"\bottomrule", r"\end{tabular}", r"\end{table}"),
    ]


def _caption(title: str, more: doc.Text) -> str:
    ended = _text(title) if title.endswith((".", "?", "!")) else f"{_text(title)}."
    return f"{ended} {_text(more)}" if doc.plain(more) else ended


def _row(cells: Sequence[doc.Text]) -> str:
    # An empty group keeps a bracket at the start from being taken for an option of the line above.
    texts = (_text(cell) for cell in cells)
    return " & ".join("{}" + text if text.startswith("[") else text for text in texts) + r" \\"


def _text(text: doc.Text) -> str:
    return "".join(_inline(part) for part in doc.inlines(text)).strip()


def _inline(part: doc.Inline) -> str:
    match part:
        case str():
            return escape_latex(part)
        case doc.Code():
            return rf"\texttt{{{escape_latex(part.text)}}}"
        case doc.Strong():
            return rf"\textbf{{{escape_latex(part.text)}}}"
        case doc.Emphasis():
            return rf"\emph{{{escape_latex(part.text)}}}"
        case doc.Link():
            return escape_latex(part.text)


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is, in one line."""
    return "".join(_ESCAPES.get(c, " " if c.isspace() else c) for c in text)


RENDERERS.register("latex", LatexRenderer())
