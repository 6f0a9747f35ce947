"""Handles of legends, and the order in which methods are shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from squeezerl.report.style import METHODS, Style


def ordered(methods: Iterable[str]) -> list[str]:
    """Methods in the style's order, those of the study's own after them."""
    found = set(methods)
    return [*(name for name in METHODS if name in found), *sorted(found - set(METHODS))]


def handle(style: Style, *, line: bool = True, marker: bool = True) -> Any:
    """A legend's entry for a style."""
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=style.color, marker=style.marker if marker else "", markersize=5,
        linestyle=style.dash if line else "none", linewidth=1.4, label=style.label,
    )  # fmt: skip


def rule_handle(label: str, dash: str = "--") -> Any:
    """A legend's entry for a grey reference line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color="0.3", linestyle=dash, linewidth=1.0, label=label)
