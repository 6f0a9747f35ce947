"""The score card of a cell: a weighted sum of steps, from intervals, and a recommendation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from squeezerl.errors import InvalidArgumentError
from squeezerl.records import Interval


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A part of the score: its weight, the figures that earn a score, and what the rest earns."""

    weight: float
    steps: tuple[tuple[float, float], ...]
    lowest: float
    noun: str

    def score(self, figure: float) -> float:
        """The score of the highest step that the figure reaches."""
        return next((score for reached, score in self.steps if figure >= reached), self.lowest)


PARTS: Mapping[str, Steps] = MappingProxyType(
    {
        "retention": Steps(
            weight=0.4,
            steps=((0.95, 1.0), (0.90, 0.8), (0.80, 0.6), (0.70, 0.4)),
            lowest=0.2,
            noun="of the return kept",
        ),
        "compression": Steps(
            weight=0.3,
            steps=((4.0, 1.0), (2.0, 0.8), (1.5, 0.6), (1.2, 0.4)),
            lowest=0.2,
            noun="times smaller",
        ),
        "energy": Steps(
            weight=0.2,
            steps=((1.2, 1.0), (1.1, 0.8), (0.95, 0.6)),
            lowest=0.3,
            noun="times more frugal",
        ),
        "speed": Steps(
            weight=0.1,
            steps=((2.0, 1.0), (1.5, 0.8), (1.2, 0.6), (1.05, 0.4)),
            lowest=0.2,
            noun="times faster",
        ),
    }
)
KEEP = 0.9  # the study's rule of what is still good
# The least that is a gain worth a deployment: above what a part's middle step forgives.
_GAIN = {"compression": 1.2, "energy": 1.1, "speed": 1.05}
_HARM = {"energy": "a decision's energy is", "speed": "a decision's time is"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a score card.

    `score` is what the interval's unfavourable end earns, `None` where the figure or its interval
    is unknown; `low` and `high` bound it: by the interval's ends, or by all that is possible.
    """

    name: str
    weight: float
    interval: Interval | None
    score: float | None
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Score:
    """The parts and their weighted sum.

    `total` is `None` where a part is unknown; then `low` and `high` say what it is at least and at
    most. `action` is "deploy", "more episodes", "measure first" or "don't"; `recommendation` says
    it with its reasons.
    """

    parts: tuple[Part, ...]
    total: float | None
    low: float
    high: float
    action: str
    recommendation: str

    def part(self, name: str) -> Part:
        """One of `PARTS`."""
        return next(part for part in self.parts if part.name == name)


def score_part(name: str, interval: Interval | None) -> Part:
    """Score one part.

    Args:
        name: one of `PARTS`.
        interval: how many times less than the baseline, or the retention; `None` for unknown.

    Raises:
        InvalidArgumentError: for another name, or an interval that is upside down or not a number.
    """
    if name not in PARTS:
        raise InvalidArgumentError(f"no part {name!r} in the score card; there are {list(PARTS)}")
    rule = PARTS[name]
    if interval is None:
        best = rule.steps[0][1]
        return Part(
            name=name, weight=rule.weight, interval=None, score=None, low=rule.lowest, high=best
        )
    if not interval.low <= interval.high:
        raise InvalidArgumentError(
            f"{name}: the interval [{interval.low}, {interval.high}] has no order"
        )
    low, high = rule.score(interval.low), rule.score(interval.high)
    return Part(name=name, weight=rule.weight, interval=interval, score=low, low=low, high=high)


def score(
    *,
    retention: Interval | None,
    compression: Interval | None,
    energy: Interval | None,
    speed: Interval | None,
    verdict: str | None = None,
) -> Score:
    """Score a compressed policy.

    Args:
        retention: normalised, 1 is the baseline.
        compression, energy, speed: how many times less than the baseline's; `None` for unknown.
        verdict: "keeps", "loses" or "undecided" at 90 %, where something stricter than the
            retention's interval decides it.
    """
    figures = {
        "retention": retention, "compression": compression, "energy": energy, "speed": speed,
    }  # fmt: skip
    parts = tuple(score_part(name, figures[name]) for name in PARTS)
    low = sum(part.weight * part.low for part in parts)
    known = all(part.score is not None for part in parts)
    action, words = _recommend(parts, verdict or _verdict(retention))
    return Score(
        parts=parts,
        total=round(low, 10) if known else None,
        low=round(low, 10),
        high=round(sum(part.weight * part.high for part in parts), 10),
        action=action,
        recommendation=words,
    )


def _verdict(retention: Interval | None) -> str | None:
    if retention is None:
        return None
    if retention.low >= KEEP:
        return "keeps"
    return "loses" if retention.high < KEEP else "undecided"


def _recommend(parts: tuple[Part, ...], verdict: str | None) -> tuple[str, str]:
    """What to do, and why in words; the return decides first, then whether there is a gain."""
    of = {part.name: part for part in parts}
    kept = of["retention"].interval
    rest = [of[name] for name in _GAIN]
    gains = [part for part in rest if part.interval and part.interval.low >= _GAIN[part.name]]
    maybe = [part for part in rest if _may_gain(part) and part not in gains]
    if kept is None or verdict is None:
        return "measure first", "measure first: how much of the return it keeps is unknown"
    if verdict == "loses":
        return "don't", f"don't: it keeps at most {_percent(kept.high)} of the return"
    if not gains and not maybe:
        return "don't", f"don't: nothing is gained, {_listed(rest, _range)}"
    cost = _harm(rest)
    if verdict == "undecided":
        why = f"between {_percent(kept.low)} and {_percent(kept.high)} of the return is kept"
        gain = f"; it is {_listed(gains, _least)}" if gains else ""
        return "more episodes", f"deploy only if more episodes say so: {why}{gain}{cost}"
    known = f"it keeps at least {_percent(kept.low)} of the return"
    if not gains:
        return "measure first", f"measure first: {known}, but {_listed(maybe, _open)}{cost}"
    unknown = [part for part in rest if part.interval is None]
    still = f"; {_listed(unknown, _open)}" if unknown else ""
    return "deploy", f"deploy: {known} and is {_listed(gains, _least)}{cost}{still}"


def _may_gain(part: Part) -> bool:
    return part.interval is None or part.interval.high >= _GAIN[part.name]


def _harm(parts: list[Part]) -> str:
    """What certainly gets worse, as times the baseline's at least."""
    words = [
        f"{_HARM[part.name]} at least {1 / part.interval.high:.2f} times the baseline's"
        for part in parts
        if part.name in _HARM and part.interval and part.interval.high < 1
    ]
    return f", but {' and '.join(words)}" if words else ""


def _listed(parts: Sequence[Part], say: Callable[[Part], str]) -> str:
    *rest, last = (say(part) for part in parts)
    return f"{', '.join(rest)} and {last}" if rest else last


def _least(part: Part) -> str:
    return f"at least {part.interval.low:.2f} {PARTS[part.name].noun}" if part.interval else ""


def _range(part: Part) -> str:
    return f"at most {part.interval.high:.2f} {PARTS[part.name].noun}" if part.interval else ""


def _open(part: Part) -> str:
    if part.interval is None:
        return f"{part.name} is unknown"
    return f"{part.name} is open ({part.interval.low:.2f} to {part.interval.high:.2f} times)"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
