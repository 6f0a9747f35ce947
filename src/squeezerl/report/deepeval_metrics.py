"""The score card as DeepEval metrics (extra `deepeval`); nothing else imports this module.

A policy's figures go into a test case as JSON, either as its `metadata` (`additional_metadata` in
older versions) or as its `actual_output`:

    {"retention": {"estimate": 0.97, "ci95": [0.94, 1.0]}, "compression": 3.9, "energy": null,
     "speed": {"estimate": 1.2, "ci95": [1.1, 1.3]}, "verdict": "keeps"}

A bare number is a figure that is known exactly. What is null or missing is unknown, and its metric
fails with a reason rather than guess: its score is what is certain, the lowest step. No language
model is asked and nothing leaves the process.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from squeezerl.analysis.score_cards import (
    PARTS,
    UNTRAINED,
    Part,
    Score,
    ScoreCard,
    score,
    score_part,
)
from squeezerl.errors import InvalidArgumentError, StudyError
from squeezerl.records import Interval

# DeepEval reports its use to its makers unless this is set before it is first imported.
os.environ.setdefault("DEEPEVAL_TELEMETRY_OPT_OUT", "1")
try:
    from deepeval.metrics import BaseMetric
except ModuleNotFoundError as error:
    raise StudyError('these metrics need deepeval: pip install "squeezerl[deepeval]"') from error

THRESHOLD = 0.6


def score_card_figures(card: ScoreCard) -> dict[str, Any]:
    """A card's figures as a test case takes them; all unknown where the baseline is untrained."""
    figures: dict[str, Any] = dict.fromkeys(PARTS)
    for part in card.score.parts if card.score else ():
        if part.interval is not None:
            interval = part.interval
            figures[part.name] = {
                "estimate": interval.estimate,
                "ci95": [interval.low, interval.high],
            }
    return figures | {"verdict": card.verdict, "untrained": card.score is None}


class _FigureMetric(BaseMetric):  # type: ignore[misc]
    """One part of the score card as a metric.

    Args:
        threshold: the least score that passes.
        strict_mode: whether only the highest score passes.
    """

    part = ""

    def __init__(self, threshold: float = THRESHOLD, *, strict_mode: bool = False) -> None:
        self.threshold = 1.0 if strict_mode else threshold
        self.strict_mode = strict_mode
        self.async_mode = False
        self.include_reason = True
        self.score: float | None = None
        self.success: bool | None = None
        self.reason: str | None = None
        self.error: str | None = None

    @property
    def __name__(self) -> str:
        """What DeepEval shows."""
        return f"SqueezeRL {self.part}"

    def measure(self, test_case: Any, *_: Any, **__: Any) -> float:
        """The score of the test case's figures, in 0 to 1.

        Raises:
            InvalidArgumentError: if the test case holds no figures, or ones that make no sense.
        """
        try:
            self.score, known, self.reason = self._judge(_figures(test_case))
        except InvalidArgumentError as error:
            self.error, self.success = str(error), False
            raise
        self.error = None
        self.success = known and self.score >= self.threshold
        return self.score

    async def a_measure(self, test_case: Any, *_: Any, **__: Any) -> float:
        """As `measure`."""
        return self.measure(test_case)

    def is_successful(self) -> bool:
        """Whether the last score is known and reaches the threshold."""
        return bool(self.error is None and self.success)

    def _judge(self, figures: Mapping[str, Any]) -> tuple[float, bool, str]:
        part = score_part(self.part, _interval(figures, self.part))
        return part.low, part.score is not None, _reason(part)


class RetentionMetric(_FigureMetric):
    """How much of the return is kept."""

    part = "retention"


class CompressionMetric(_FigureMetric):
    """How many times smaller the policy is."""

    part = "compression"


class EnergyMetric(_FigureMetric):
    """How many times less energy a decision takes."""

    part = "energy"


class SpeedMetric(_FigureMetric):
    """How many times faster a decision is."""

    part = "speed"


class ScoreCardMetric(_FigureMetric):
    """The weighted sum, with the recommendation as its reason."""

    part = "score card"

    def _judge(self, figures: Mapping[str, Any]) -> tuple[float, bool, str]:
        if figures.get("untrained"):
            return 0.0, False, UNTRAINED
        result = score_of(figures)
        self.score_breakdown = {part.name: part.low for part in result.parts}
        known = result.total is not None
        bounds = f"{result.low:.2f}" if known else f"unknown, {result.low:.2f} to {result.high:.2f}"
        return result.low, known, f"{bounds}; {result.recommendation}"


def score_of(figures: Mapping[str, Any]) -> Score:
    """The score of figures as a test case holds them."""
    return score(
        retention=_interval(figures, "retention"),
        compression=_interval(figures, "compression"),
        energy=_interval(figures, "energy"),
        speed=_interval(figures, "speed"),
        verdict=figures.get("verdict"),
    )


def _reason(part: Part) -> str:
    if part.interval is None:
        return f"{part.name} is unknown: at least {part.low:g}, at most {part.high:g}"
    figure = part.interval
    return (
        f"{figure.estimate:.3g} [{figure.low:.3g}, {figure.high:.3g}] {PARTS[part.name].noun}; "
        f"the low end reaches {part.low:g}, the high end {part.high:g}"
    )


def _figures(test_case: Any) -> Mapping[str, Any]:
    """What the test case holds of `PARTS`."""
    name = "metadata" if hasattr(test_case, "metadata") else "additional_metadata"
    metadata = getattr(test_case, name, None)
    if isinstance(metadata, Mapping) and (set(metadata) & set(PARTS)):
        return metadata
    try:
        figures = json.loads(getattr(test_case, "actual_output", None) or "")
    except ValueError:
        figures = None
    if not isinstance(figures, Mapping) or not set(figures) & set(PARTS):
        raise InvalidArgumentError(
            f"the test case has no figures: give {', '.join(PARTS)} as JSON in its metadata or its "
            "actual_output"
        )
    return figures


def _interval(figures: Mapping[str, Any], name: str) -> Interval | None:
    figure = figures.get(name)
    if figure is None:
        return None
    try:
        if isinstance(figure, Mapping):
            low, high = (float(end) for end in figure["ci95"])
            interval = Interval(estimate=float(figure["estimate"]), low=low, high=high)
        else:
            interval = Interval(estimate=float(figure), low=float(figure), high=float(figure))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f'{name}: give a number or {{"estimate": ..., "ci95": [low, high]}}, not {figure!r}'
        ) from error
    if not all(math.isfinite(end) for end in (interval.low, interval.high)):
        raise InvalidArgumentError(f"{name}: {figure!r} is not finite")
    return interval
