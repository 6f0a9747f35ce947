"""The score cards of a study: one for each cell, runtime and host."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import pandas as pd

from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.hierarchy import key_of
from squeezerl.analysis.score import Score, score
from squeezerl.records import Interval

_BASELINES = ("float", "random")
UNTRAINED = "no score: the baseline is not clearly better than a random policy"


@dataclass(frozen=True, kw_only=True)
class ScoreCard:
    """The score of a cell.

    `score` is `None` where the baseline is not clearly better than random. `runtime` and `host_id`
    tell where energy and speed were measured, `None` where they were not; `energy_estimated` is
    `None` where energy is unknown; `verdict` is the cell's.
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
    """Score every compressed cell, in the order of `cells`.

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
    for cell in cells[~cells["method"].isin(_BASELINES)].to_dict("records"):
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
        baseline = sizes.get((key[0], "float", None), {})
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
                retention=_interval(cell, "retention"),
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
    intervals = [_interval(row, name) for row in rows]
    known = [interval for interval in intervals if interval is not None]
    if not known or len(known) < len(intervals):
        return None
    return Interval(
        estimate=median(interval.estimate for interval in known),
        low=min(interval.low for interval in known),
        high=max(interval.high for interval in known),
    )


def _interval(row: dict[Any, Any], name: str) -> Interval | None:
    figures = [_known(row[f"{name}{end}"]) for end in ("", "_low", "_high")]
    if any(figure is None for figure in figures):
        return None
    estimate, low, high = (float(figure) for figure in figures if figure is not None)
    return Interval(estimate=estimate, low=low, high=high)


def _known(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
