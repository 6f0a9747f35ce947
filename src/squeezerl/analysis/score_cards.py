"""Score cards: a weighted sum of steps, from intervals, and a recommendation for each cell."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import Any

import pandas as pd

from squeezerl.analysis.frames import StudyData, interval_of
from squeezerl.analysis.hierarchy import key_of
from squeezerl.analysis.methods import BASELINE, REFERENCE
from squeezerl.analysis.retention import THRESHOLD
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
UNTRAINED = "no score: the baseline does not count as trained"
# The least gain that is worth a deployment: above what a part's middle step forgives.
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
    if retention.low >= THRESHOLD:
        return "keeps"
    return "loses" if retention.high < THRESHOLD else "undecided"


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


@dataclass(frozen=True, kw_only=True)
class ScoreCard:
    """The score of a cell.

    `score` is `None` where the baseline does not count as trained. `runtime` and `host_id` say
    where energy and speed were measured, `None` where they were not; `energy_estimated` is `None`
    where energy is unknown; `verdict` is the cell's.
    """

    agent: str
    algorithm: str
    env_id: str
    method: str
    ratio: float | None
    runtime: str | None
    host_id: str | None
    energy_estimated: bool | None
    verdict: str | None
    score: Score | None

    @property
    def recommendation(self) -> str:
        """What to do and why."""
        if self.score is None:
            return UNTRAINED
        words = self.score.recommendation
        return f"{words} (energy is an estimate)" if self.energy_estimated else words


def score_cards(data: StudyData, cells: pd.DataFrame) -> tuple[ScoreCard, ...]:
    """Score each compressed cell, in the order of `cells`.

    Figures of several training seeds count as one interval that reaches from the least favourable
    low to the most favourable high, so that a step counts only if every seed's interval reaches it;
    hosts are not merged.

    Args:
        data: of the study.
        cells: what `squeezerl.analysis.cells.cells` says of it.
    """
    costs = _by_policy(data.costs)
    times = _times_smaller(data.returns)
    cards: list[ScoreCard] = []
    for cell in cells.to_dict("records"):
        if data.methods[cell["method"]].group == REFERENCE:
            continue
        key = (cell["agent"], *key_of(cell["method"], cell["ratio"]))
        cards += _cards(cell, costs.get(key, []), times.get(key))
    return tuple(cards)


_Policy = tuple[str, str, float | None]  # agent, method, ratio


def _by_policy(costs: pd.DataFrame) -> dict[_Policy, list[dict[Any, Any]]]:
    found: dict[_Policy, list[dict[Any, Any]]] = defaultdict(list)
    for row in costs.to_dict("records"):
        found[(row["agent"], *key_of(row["method"], row["ratio"]))].append(row)
    return found


def _times_smaller(returns: pd.DataFrame) -> dict[_Policy, Interval]:
    """How many times smaller the files are, over the training seeds that have both."""
    sizes: dict[_Policy, dict[float | None, float]] = defaultdict(dict)
    for row in returns.itertuples():
        size = _known(row.file_bytes)
        if size:
            key = (row.agent, *key_of(row.method, row.ratio))
            sizes[key][_known(row.train_seed)] = size
    found = {}
    for key, own in sizes.items():
        baseline = sizes.get((key[0], BASELINE, None), {})
        times = [baseline[seed] / own[seed] for seed in own if seed in baseline]
        if times:
            found[key] = Interval(estimate=median(times), low=min(times), high=max(times))
    return found


def _cards(
    cell: dict[Any, Any], costs: list[dict[Any, Any]], compression: Interval | None
) -> Iterable[ScoreCard]:
    places: dict[tuple[str | None, str | None], list[dict[Any, Any]]] = defaultdict(list)
    for row in costs:
        places[row["runtime"], row["host_id"]].append(row)
    if not costs:
        places[None, None] = []
    verdict = cell["verdict"] if isinstance(cell["verdict"], str) else None
    for (runtime, host), rows in places.items():
        energy = _envelope(rows, "energy_times")
        estimated = any(_known(row["energy_estimated"]) == 1 for row in rows)
        yield ScoreCard(
            agent=cell["agent"],
            algorithm=cell["algorithm"],
            env_id=cell["env_id"],
            method=cell["method"],
            ratio=_known(cell["ratio"]),
            runtime=runtime,
            host_id=host,
            energy_estimated=None if energy is None else estimated,
            verdict=verdict,
            score=score(
                retention=interval_of(cell, "retention"),
                compression=compression,
                energy=energy,
                speed=_envelope(rows, "latency_times"),
                verdict=verdict,
            )
            if _known(cell["trained"]) != 0
            else None,
        )


def _envelope(rows: list[dict[Any, Any]], name: str) -> Interval | None:
    """One interval around those of all rows; `None` where a row lacks its own."""
    intervals = [interval_of(row, name) for row in rows]
    known = [interval for interval in intervals if interval is not None]
    if not known or len(known) < len(intervals):
        return None
    return Interval(
        estimate=median(interval.estimate for interval in known),
        low=min(interval.low for interval in known),
        high=max(interval.high for interval in known),
    )


def _known(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
