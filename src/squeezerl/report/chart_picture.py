"""Charts as pictures for Markdown and print."""

from __future__ import annotations

from pathlib import Path

from squeezerl.report import document as doc
from squeezerl.report.chart import Axis
from squeezerl.report.panels import handle, rule_handle, study_style

_LEGEND_LETTERS = 110  # that fit side by side in a legend's line


def draw_chart(shown: doc.Figure, path: Path) -> None:
    """Draw a figure's chart to a file; its format follows from the name (PNG, SVG, PDF)."""
    from matplotlib.figure import Figure

    chart = shown.chart
    assert chart is not None
    path.parent.mkdir(exist_ok=True)
    x, y = chart.x.place, chart.y.place
    with study_style():
        size = (6.4, max(1.6, chart.height / 90))
        figure = Figure(figsize=size, dpi=160, layout="constrained")
        axes = figure.add_subplot()
        for line in chart.lines:
            axes.plot(
                [x(one) for one, _ in line.points], [y(one) for _, one in line.points],
                color="0.45", linewidth=0.4 if line.faint else 0.9, zorder=1,
                linestyle="--" if line.dashed else "-", alpha=0.4 if line.faint else 1.0,
            )  # fmt: skip
        row = abs(y(1) - y(0))
        for bar in chart.bars:
            axes.barh(
                y(bar.row), x(bar.end) - x(bar.start), bar.height * row, x(bar.start),
                color=bar.style.color, alpha=max(bar.strength, 0.03), zorder=2,
            )  # fmt: skip
        for mark in chart.marks:
            if mark.x_span is not None:
                axes.plot([x(end) for end in mark.x_span], [y(mark.y)] * 2, color=mark.style.color)
            if mark.y_span is not None:
                axes.plot([x(mark.x)] * 2, [y(end) for end in mark.y_span], color=mark.style.color)
            axes.plot(
                x(mark.x), y(mark.y), marker=mark.style.marker, color=mark.style.color,
                linestyle="none", markersize=9 if mark.stands_out else 6,
                alpha=0.5 if mark.faint else 1.0, zorder=4 if mark.stands_out else 3,
            )  # fmt: skip
            if mark.label:
                right = x(mark.x) > 0.6
                axes.annotate(
                    mark.label, (x(mark.x), y(mark.y)), xytext=(-9 if right else 9, -13),
                    textcoords="offset points", ha="right" if right else "left", weight="bold",
                )  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        _ticks(chart.x, axes.set_xticks)
        _ticks(chart.y, axes.set_yticks)
        axes.set_xlabel(chart.x.label)
        axes.set_ylabel(chart.y.label)
        axes.grid(visible=True, color="0.9", axis="x" if chart.y.names else "both")
        axes.set_title(shown.title, loc="left")
        handles = [handle(style, line=False) for style in chart.styles]
        named = {line.label: line for line in chart.lines if line.label}
        handles += [rule_handle(line.label, "--" if line.dashed else "-")
                    for line in named.values()]  # fmt: skip
        if len(handles) > 1:
            longest = max(len(str(one.get_label())) for one in handles)
            columns = min(4, max(1, _LEGEND_LETTERS // (longest + 6)))
            figure.legend(
                handles=handles, loc="outside lower center", ncols=columns, frameon=False,
                fontsize=7.5,
            )  # fmt: skip
        figure.savefig(path)


def _ticks(axis: Axis, put: object) -> None:
    assert callable(put)
    put([axis.place(value) for value, _ in axis.ticks], [text for _, text in axis.ticks])
