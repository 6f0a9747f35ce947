"""Charts as SVG inside a page.

Places are percentages, so the page stretches the chart to its width without a script while letters
keep their size. What is said of a mark is its `title`, which browsers show
where the pointer rests; the page's script shows it at once, and for the keyboard.
"""

from __future__ import annotations

from html import escape
from itertools import pairwise

import numpy as np

from squeezerl.report.chart import Axis, Chart, Mark

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 30, 44
_SIZE, _LARGE = 11, 15  # pixels of a mark
_NAME = 0.36  # of a row, by which its name stands above its middle


def chart_svg(chart: Chart, description: str, name: str) -> str:
    """A chart as an `svg` element and its legend.

    Args:
        chart: to draw.
        description: for those who do not see it.
        name: of the chart, which begins the ids of its shapes.
    """
    left = 4 if chart.y.names else _LEFT
    inside = chart.height - _TOP - _BOTTOM
    shapes: dict[tuple[str, int], str] = {}
    body = [*_grid(chart, inside), *_lines(chart), *_bars(chart, inside)]
    body += [_mark(chart, mark, shapes, name) for mark in chart.marks]
    body += _names(chart.y, inside)
    drawn = "".join(
        f'<path id="{one}" d="{_path(marker, size)}"/>' for (marker, size), one in shapes.items()
    )
    y_label = (
        ""
        if chart.y.names
        else f'<text class="axis" x="-{left}" y="-16">{escape(chart.y.label)}</text>'
    )
    return "\n".join(
        [
            f'<div class="chart" style="padding: {_TOP}px {_RIGHT}px {_BOTTOM}px {left}px">',
            f'<svg width="100%" height="{inside}" role="group" aria-label="{escape(description)}">',
            f"<defs>{drawn}</defs>",
            y_label,
            f'<text class="axis" x="100%" y="{inside + 36}" text-anchor="end">'
            f"{escape(chart.x.label)}</text>",
            *body,
            "</svg></div>",
            _legend(chart),
        ]
    )


def _grid(chart: Chart, inside: int) -> list[str]:
    parts = []
    for value, text in chart.x.ticks:
        x = _percent(chart.x.place(value))
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="100%"/>')
        parts.append(
            f'<text class="tick" x="{x}" y="{inside + 16}" text-anchor="middle">'
            f"{escape(text)}</text>"
        )
    for value, text in () if chart.y.names else chart.y.ticks:
        y = _percent(1 - chart.y.place(value))
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text class="tick" x="-6" y="{y}" dy=".35em" text-anchor="end">{escape(text)}</text>'
        )
    return parts


def _names(axis: Axis, inside: int) -> list[str]:
    """Names of rows stand above them, where they need no margin."""
    if not axis.names:
        return []
    above = _NAME * inside / len(axis.ticks)
    return [
        f'<text class="name" x="2" y="{_percent(1 - axis.place(value))}" '
        f'dy="-{above:.0f}">{escape(text)}</text>'
        for value, text in axis.ticks
    ]


def _lines(chart: Chart) -> list[str]:
    parts = []
    for line in chart.lines:
        kind = "line" + " dashed" * line.dashed + " faint" * line.faint
        places = [_place(chart, x, y) for x, y in line.points]
        parts += [
            f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'
            for (x1, y1), (x2, y2) in pairwise(places)
        ]
    return parts


def _bars(chart: Chart, inside: int) -> list[str]:
    row = inside * abs(chart.y.place(1) - chart.y.place(0))
    parts = []
    for bar in chart.bars:
        x, y = _place(chart, bar.start, bar.row)
        width = _percent(chart.x.place(bar.end) - chart.x.place(bar.start))
        height = bar.height * row
        parts.append(
            f'<svg x="{x}" y="{y}" overflow="visible" width="{width}"><rect class="mark" '
            f'width="100%" y="{-height / 2:.1f}" height="{height:.1f}" '
            f'fill="{_color(bar.style.color)}" fill-opacity="{max(bar.strength, 0.03):.2f}">'
            f"<title>{escape(bar.tip)}</title></rect></svg>"
        )
    return parts


def _mark(chart: Chart, mark: Mark, shapes: dict[tuple[str, int], str], chart_name: str) -> str:
    x, y = _place(chart, mark.x, mark.y)
    color, parts = _color(mark.style.color), []
    for low, high in [mark.x_span] if mark.x_span else []:
        (x1, _), (x2, _) = _place(chart, low, mark.y), _place(chart, high, mark.y)
        parts.append(f'<line class="span" stroke="{color}" x1="{x1}" x2="{x2}" y1="{y}" y2="{y}"/>')
    for low, high in [mark.y_span] if mark.y_span else []:
        (_, y1), (_, y2) = _place(chart, mark.x, low), _place(chart, mark.x, high)
        parts.append(f'<line class="span" stroke="{color}" x1="{x}" x2="{x}" y1="{y1}" y2="{y2}"/>')
    key = (mark.style.marker, _LARGE if mark.stands_out else _SIZE)
    name = shapes.setdefault(key, f"{chart_name}-{len(shapes)}")
    if mark.stands_out:
        parts.append(f'<circle class="ring" cx="{x}" cy="{y}" r="12"/>')
    reach = ' tabindex="0"' if mark.stands_out else ""
    kind = "mark faint" if mark.faint else "mark"
    parts.append(
        f'<use class="{kind}" href="#{name}" x="{x}" y="{y}" fill="{color}" stroke="{color}"'
        f"{reach}><title>{escape(mark.tip)}</title></use>"
    )
    if mark.label:
        right = chart.x.place(mark.x) > 0.5
        anchor, shift = ("end", -8) if right else ("start", 8)
        parts.append(
            f'<text class="label" x="{x}" y="{y}" dx="{shift}" dy="-15" text-anchor="{anchor}">'
            f"{escape(mark.label)}</text>"
        )
    return "".join(parts)


def _legend(chart: Chart) -> str:
    entries = []
    for style in chart.styles:
        shape = _path(style.marker, _SIZE)
        color = _color(style.color)
        entries.append(
            f'<li><svg width="16" height="16" viewBox="-8 -8 16 16" aria-hidden="true"><path '
            f'd="{shape}" fill="{color}" stroke="{color}"/></svg>{escape(style.label)}</li>'
        )
    for label, line in {one.label: one for one in chart.lines if one.label}.items():
        kind = "line dashed" if line.dashed else "line"
        entries.append(
            f'<li><svg width="22" height="16" aria-hidden="true"><line class="{kind}" x1="0" '
            f'x2="22" y1="8" y2="8"/></svg>{escape(label)}</li>'
        )
    return f'<ul class="legend">{"".join(entries)}</ul>' if len(entries) > 1 else ""


def _place(chart: Chart, x: float, y: float) -> tuple[str, str]:
    return _percent(chart.x.place(x)), _percent(1 - chart.y.place(y))


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def _color(color: str) -> str:
    return "currentColor" if color == "#000000" else escape(color)


def _path(marker: str, size: int) -> str:
    """One of matplotlib's markers around the origin."""
    from matplotlib.markers import MarkerStyle

    shape = MarkerStyle(marker)
    path = shape.get_path().transformed(shape.get_transform())
    steps = []
    for polygon in path.to_polygons(closed_only=False):
        scaled = np.asarray(polygon) * (size, -size)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in scaled.tolist())
        steps.append(f"M{points}" + ("Z" if shape.is_filled() else ""))
    return "".join(steps)
