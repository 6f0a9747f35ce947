"""Charts as data, apart from their drawing: a page draws them as SVG, `chart_picture` as a file.

Every chart is made of marks with intervals, bars and lines between two axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from squeezerl.report.panels import Styled

_STEPS = (1, 2, 5)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Where values lie between two ends.

    `ticks` are values with their texts. `names` is true for categories, which lie at 0, 1, ...
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False
    names: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)

    @classmethod
    def over(cls, values: Iterable[float], label: str, *, log: bool = False) -> Axis:
        """An axis with all these values and room beside them; on a log scale all are positive."""
        found = [value for value in values if math.isfinite(value)]
        low, high = min(found), max(found)
        if log:
            room = (high / low) ** 0.08 if high > low else 2.0
            low, high = low / room, high * room
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            all_ticks = [step * 10.0**power for power in powers for step in _STEPS]
            ticks = [tick for tick in all_ticks if low <= tick <= high]
            if len(ticks) > 7:
                ticks = [tick for tick in ticks if f"{tick:e}".startswith("1")]
            ticks = ticks[:: math.ceil(len(ticks) / 8) or 1]
        else:
            room = 0.08 * (high - low) or max(abs(high), 1.0) / 2
            low, high = low - room, high + room
            rough = (high - low) / 5
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
            first, last = math.ceil(low / step), math.floor(high / step)
            ticks = [number * step for number in range(first, last + 1)]
        return cls(
            label=label, low=low, high=high, log=log,
            ticks=tuple((tick, f"{tick:,.10g}") for tick in ticks),
        )  # fmt: skip

    @classmethod
    def of(cls, names: Sequence[str], label: str = "") -> Axis:
        """Categories, the first one on top of a vertical axis."""
        ticks = tuple(enumerate(names))
        return cls(label=label, low=len(names) - 0.5, high=-0.5, ticks=ticks, names=True)

    def with_texts(self, texts: Sequence[str]) -> Axis:
        """The same with other texts at its ticks."""
        ticks = tuple((value, text) for (value, _), text in zip(self.ticks, texts, strict=True))
        return Axis(
            label=self.label, low=self.low, high=self.high, ticks=ticks, log=self.log,
            names=self.names,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point; its intervals, if any; and what is said of it where the pointer is over it.

    A mark that `stands_out` is larger, has a ring and is reached with the keyboard.
    """

    x: float
    y: float
    style: Styled
    tip: str
    x_span: tuple[float, float] | None = None
    y_span: tuple[float, float] | None = None
    stands_out: bool = False
    label: str = ""
    faint: bool = False


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A horizontal bar in a row of categories, whose `height` is a share of the row's.

    `strength` from 0 to 1 is how dark it is.
    """

    start: float
    end: float
    row: float
    style: Styled
    tip: str
    strength: float = 1.0
    height: float = 0.36


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points that are joined; grey, and faint or dashed."""

    points: tuple[tuple[float, float], ...]
    label: str = ""
    dashed: bool = False
    faint: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What a figure shows. `height` is that of the whole in pixels of a page."""

    x: Axis
    y: Axis
    marks: tuple[Mark, ...] = ()
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    height: int = 360

    @property
    def styles(self) -> list[Styled]:
        """Those of the marks and bars, one for each label, for the legend."""
        styles = [*(mark.style for mark in self.marks), *(bar.style for bar in self.bars)]
        return list({style.label: style for style in styles}.values())
