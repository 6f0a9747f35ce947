"""What a method keeps over all cells: the aggregates that the field reports, method by method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from squeezerl.analysis.aggregate import (
    iqm,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stratified_interval,
)
from squeezerl.analysis.bootstrap import Array
from squeezerl.analysis.cells import bounded
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.hierarchy import Key, key_of

THRESHOLDS = np.linspace(0.0, 1.2, 41)
_RESAMPLES = 2_000
_MOST_NUMBERS = 2_000_000  # resampled at a time; fewer resamples where there are more scores


@dataclass(frozen=True, kw_only=True, eq=False)
class MethodScores:
    """Scores of one method: 0 is random, 1 the mean of the cell's float policies.

    `scores` is (runs, tasks): a task is a trained cell, a run is one training of it, or, where no
    cell has two trainings, one episode (`over` is then "episodes", else "trainings"). Runs that
    were not made are NaN.
    """

    method: str
    ratio: float | None
    tasks: tuple[str, ...]
    scores: npt.NDArray[np.float64]
    over: str

    @property
    def resamples(self) -> int:
        """As many as memory and time allow."""
        return max(200, min(_RESAMPLES, _MOST_NUMBERS // self.scores.size))


def method_scores(data: StudyData, cells: pd.DataFrame) -> dict[Key, MethodScores]:
    """The scores of every method in the trained cells, by method and ratio.

    Args:
        data: of the study.
        cells: what `squeezerl.analysis.cells.cells` says of it.
    """
    levels = cells[cells["trained"].eq(True) & (cells["method"] == "float")]
    scale = {
        row.agent: (row.random_return, row.baseline_return - row.random_return)
        for row in levels.itertuples()
    }
    runs: dict[Key, dict[str, list[Array]]] = defaultdict(lambda: defaultdict(list))
    for row in data.returns.itertuples():
        if row.agent in scale:
            low, span = scale[row.agent]
            returns = (np.asarray(row.returns, dtype=np.float64) - low) / span
            runs[key_of(row.method, row.ratio)][row.agent].append(returns)
    several = any(len(made) > 1 for tasks in runs.values() for made in tasks.values())
    return {
        key: MethodScores(
            method=key[0],
            ratio=key[1],
            tasks=tuple(tasks),
            scores=_matrix(tasks.values(), several),
            over="trainings" if several else "episodes",
        )
        for key, tasks in runs.items()
    }


def _matrix(tasks: Collection[list[Array]], several: bool) -> Array:
    columns = [np.array([r.mean() for r in made]) if several else made[0] for made in tasks]
    matrix = np.full((max(len(column) for column in columns), len(columns)), np.nan)
    for task, column in enumerate(columns):
        matrix[: len(column), task] = column
    return matrix


def aggregate_table(scores: dict[Key, MethodScores], rng: np.random.Generator) -> pd.DataFrame:
    """One row a method and ratio.

    Returns:
        method, ratio, tasks, runs (most of a task), over, and with `_low` and `_high`: iqm,
        optimality_gap (to 1) and improvement (the probability that a run of it scores higher than
        one of the float policy, over the tasks that have both; missing for "float").
    """
    rows: list[dict[str, Any]] = []
    for (method, ratio), own in scores.items():
        row = {
            "method": method,
            "ratio": np.nan if ratio is None else ratio,
            "tasks": len(own.tasks),
            "runs": len(own.scores),
            "over": own.over,
        }
        row |= bounded("iqm", stratified_interval(iqm, own.scores, rng, own.resamples))
        gap = stratified_interval(optimality_gap, own.scores, rng, own.resamples)
        row |= bounded("optimality_gap", gap)
        better = None
        baseline = scores.get(("float", None))
        if baseline is not None and method != "float":
            both = [task for task in own.tasks if task in baseline.tasks]
            better = probability_of_improvement(
                _of(own, both), _of(baseline, both), rng, own.resamples
            )
        rows.append(row | bounded("improvement", better))
    columns = ["method", "ratio", "tasks", "runs", "over"]
    for name in ("iqm", "optimality_gap", "improvement"):
        columns += [name, f"{name}_low", f"{name}_high"]
    return pd.DataFrame(rows, columns=columns)


def _of(own: MethodScores, tasks: Collection[str]) -> Array:
    return own.scores[:, [own.tasks.index(task) for task in tasks]]


def profile_table(
    scores: dict[Key, MethodScores], keys: Iterable[Key], rng: np.random.Generator
) -> pd.DataFrame:
    """Performance profiles: the share of runs that score above a threshold, mean over tasks.

    Returns:
        method, ratio, threshold, value, low, high; a row for each of `THRESHOLDS`.
    """
    parts = []
    for method, ratio in keys:
        own = scores[(method, ratio)]
        value, low, high = performance_profile(
            own.scores, THRESHOLDS, rng, max(200, own.resamples // 4)
        )
        parts.append(
            pd.DataFrame(
                {
                    "method": method,
                    "ratio": np.nan if ratio is None else ratio,
                    "threshold": THRESHOLDS,
                    "value": value,
                    "low": low,
                    "high": high,
                }
            )
        )
    columns = ["method", "ratio", "threshold", "value", "low", "high"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
