"""The score cards of a study: one for each cell, runtime and host."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.score import Score, score
from squeezerl.records import Interval

_BASELINES = ("float", "random")
UNTRAINED = "no score: the baseline is not clearly better than a random policy"


@dataclass(frozen=True, kw_only=True)
class ScoreCard:
    """The score of a cell.

    `score` is `None` where the baseline is not clearly better than random. `runtime` and `host_id`
    tell where energy and speed were measured, `None` where they were not; `energy_estimated` is
    `None` where energy is unknown.
    """

    agent: str
    algorithm: str
    env_id: str
    method: str
    ratio: float | None
    runtime: str | None
    host_id: str | None
    energy_estimated: bool | None
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
    keys = ["agent", "method"]
    costs = dict(iter(data.costs.groupby(keys, sort=False)))
    sizes = dict(iter(data.returns.groupby(keys, sort=False)))
    cards: list[ScoreCard] = []
    for cell in cells[~cells["method"].isin(_BASELINES)].to_dict("records"):
        cards += _cards(cell, costs, sizes)
    return tuple(cards)


def _cards(
    cell: dict[Any, Any], costs: dict[Any, pd.DataFrame], sizes: dict[Any, pd.DataFrame]
) -> Iterable[ScoreCard]:
    key = (cell["agent"], cell["method"])
    compression = _compression(
        sizes.get((cell["agent"], "float")), _of_ratio(sizes.get(key), cell["ratio"])
    )
    measured = _of_ratio(costs.get(key), cell["ratio"])
    places: list[tuple[str | None, str | None, pd.DataFrame | None]] = [(None, None, None)]
    if measured is not None and len(measured):
        places = [
            (runtime, host, group)
            for (runtime, host), group in measured.groupby(
                ["runtime", "host_id"], sort=False, dropna=False
            )
        ]
    for runtime, host, group in places:
        energy = _envelope(group, "energy_times")
        yield ScoreCard(
            agent=cell["agent"],
            algorithm=cell["algorithm"],
            env_id=cell["env_id"],
            method=cell["method"],
            ratio=_known(cell["ratio"]),
            runtime=runtime,
            host_id=host,
            energy_estimated=None
            if energy is None or group is None
            else bool((group["energy_estimated"] == True).any()),  # noqa: E712 - may be missing
            score=score(
                retention=_interval(cell, "retention"),
                compression=compression,
                energy=energy,
                speed=_envelope(group, "latency_times"),
                verdict=cell["verdict"] if isinstance(cell["verdict"], str) else None,
            )
            if _unknown(cell["trained"]) or cell["trained"]
            else None,
        )


def _of_ratio(frame: pd.DataFrame | None, ratio: Any) -> pd.DataFrame | None:
    if frame is None:
        return None
    known = _known(ratio)
    ratios = frame["ratio"].astype("float64")
    return frame[ratios.isna() if known is None else (ratios - known).abs() < 1e-6]


def _compression(baseline: pd.DataFrame | None, policy: pd.DataFrame | None) -> Interval | None:
    """How many times smaller the file is, over the training seeds that have both."""
    if baseline is None or policy is None:
        return None
    pairs = baseline[["train_seed", "file_bytes"]].merge(
        policy[["train_seed", "file_bytes"]], on="train_seed", suffixes=("_float", "")
    )
    times = (pairs["file_bytes_float"] / pairs["file_bytes"]).dropna()
    if times.empty:
        return None
    return Interval(estimate=float(times.median()), low=float(times.min()), high=float(times.max()))


def _envelope(frame: pd.DataFrame | None, name: str) -> Interval | None:
    """One interval around those of all rows; `None` where a row lacks its own."""
    if frame is None:
        return None
    bounds = frame[[name, f"{name}_low", f"{name}_high"]].astype("float64")
    if bounds.empty or bounds.isna().to_numpy().any():
        return None
    estimate, low, high = (bounds[column] for column in bounds.columns)
    return Interval(estimate=float(estimate.median()), low=float(low.min()), high=float(high.max()))


def _interval(row: dict[Any, Any], name: str) -> Interval | None:
    figures = [_known(row[f"{name}{end}"]) for end in ("", "_low", "_high")]
    if any(figure is None for figure in figures):
        return None
    estimate, low, high = (float(figure) for figure in figures if figure is not None)
    return Interval(estimate=estimate, low=low, high=high)


def _unknown(value: Any) -> bool:
    return value is None or value != value


def _known(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
