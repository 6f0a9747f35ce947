"""Findings 1, 2 and 5: what compression does to energy and memory.

A decision costs the same however good it is, so cells with untrained baselines count here, except
where returns matter.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from squeezerl.analysis.bootstrap import expanded_interval, resample_weights
from squeezerl.analysis.finding import (
    FEWEST_CELLS,
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Finding,
    exponential,
    figure,
    inside,
    listing,
    over_cells,
    percent,
)
from squeezerl.analysis.frames import StudyData, of_agents
from squeezerl.analysis.hierarchy import STUDY_RESAMPLES
from squeezerl.analysis.methods import BASELINE
from squeezerl.analysis.published import DYNAMIC, NORMS, QUANTIZED, STATIC
from squeezerl.analysis.retention import THRESHOLD
from squeezerl.records import Interval

# Less than this is no improvement to speak of.
MARGIN = 0.05
# An episode may be shorter by as much as the return may be lower.
_EPISODE_MARGIN = 1 / THRESHOLD
# "About 1 %" less memory.
_ABOUT_1_PERCENT = (0.005, 0.02)
# More memory than this is more to speak of.
_MEMORY_MARGIN = 0.005
# Lengths that vary by less, as a share, cannot explain anything.
_LEAST_SPREAD = 0.05
# Exponents within this of 0 are none to speak of.
_SLOPE = 0.1
_CELL = ["agent", "method", "ratio"]
_SMALLER_CLAIM = "Neither quantization nor pruning improves energy use or memory"


@dataclass(frozen=True, kw_only=True, eq=False)
class CellCosts:
    """What each cell of the paper's methods costs in one runtime on one host, and how it acts.

    Args:
        frame: agent, method, ratio; `energy_times`, `memory_times` and `file_times`, which say how
            many times less than the float policy (geometric means over the trainings);
            `length_times`, how many times shorter its episodes are; `verdict`, `trained`.
        runtime, host_id: where it was measured; `None` where nothing was.
        hosts: how many hosts have measured it; only the one with the most rows counts.
        energy: how energy was measured, in words.
    """

    frame: pd.DataFrame
    runtime: str | None
    host_id: str | None
    hosts: int
    energy: str

    def logs(self, column: str, method: str, rows: pd.Series | None = None) -> pd.Series:
        """Logarithms of a column by cell: the mean over ratios where there are several."""
        chosen = self.frame[self.frame.method == method]
        if rows is not None:
            chosen = chosen[rows.loc[chosen.index]]
        return np.log(chosen[column]).groupby(chosen.agent).mean().dropna()


def cell_costs(data: StudyData, cells: pd.DataFrame, runtime: str = "ort") -> CellCosts:
    """Join costs with the cells; takes another runtime if the one asked for was not measured.

    Args:
        data: the study.
        cells: of `squeezerl.analysis.cells.cells`.
        runtime: whose costs; the paper's is ONNX Runtime.
    """
    costs = data.costs[data.costs.method.isin([*QUANTIZED, *NORMS])]
    runtimes = costs.runtime.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    if runtime not in runtimes.index and len(runtimes):
        runtime = str(runtimes.index[0])
    costs = costs[costs.runtime == runtime]
    hosts = costs.groupby("host_id").size().sort_values(ascending=False, kind="stable")
    host = None if hosts.empty else str(hosts.index[0])
    measured = costs[costs.host_id == host].copy()
    measured["ratio"] = pd.to_numeric(measured.ratio).astype(float).round(6)
    figures = {}
    for name in ("energy_times", "memory_times"):
        # Below the idle power there is no ratio.
        values = pd.to_numeric(measured[name]).astype(float)
        figures[name] = np.log(values.where(values > 0))
    by_cell = measured.assign(**figures).groupby(_CELL, dropna=False)[list(figures)].mean()
    frame = cells.merge(np.exp(by_cell).reset_index(), on=_CELL, how="left")
    frame = frame.merge(_length_times(data.returns), on=_CELL, how="left")
    sources = sorted(measured.energy_source.dropna().unique())
    kind = "estimated" if measured.energy_estimated.eq(True).any() else "measured"
    return CellCosts(
        frame=frame[frame.method.isin([*QUANTIZED, *NORMS])].reset_index(drop=True),
        runtime=None if host is None else runtime,
        host_id=host,
        hosts=len(hosts),
        energy=f"energy {kind} ({'; '.join(sources)})" if sources else "no energy was measured",
    )


def _length_times(returns: pd.DataFrame) -> pd.DataFrame:
    """How many times shorter episodes are than the float policy's, over the same trainings."""
    rows = of_agents(returns)[[*_CELL, "train_seed"]].copy()
    rows["ratio"] = pd.to_numeric(rows.ratio).astype(float).round(6)
    rows["train_seed"] = pd.to_numeric(rows.train_seed).astype(float).fillna(-1)
    rows["steps"] = [float(np.mean(lengths)) for lengths in returns.lengths.loc[rows.index]]
    baseline = rows[rows.method == BASELINE][["agent", "train_seed", "steps"]]
    rows = rows.merge(baseline, on=["agent", "train_seed"], suffixes=("", "_float"))
    means = rows.groupby(_CELL, dropna=False)[["steps", "steps_float"]].mean().reset_index()
    means["length_times"] = means.steps_float / means.steps
    return means[[*_CELL, "length_times"]]


def energy_does_not_improve(costs: CellCosts) -> Finding:
    """Finding 1a."""
    return _no_improvement(costs, "energy", "energy per decision", "a", costs.energy)


def memory_does_not_improve(costs: CellCosts) -> Finding:
    """Finding 1b."""
    return _no_improvement(costs, "memory", "memory of the process", "b", "memory measured")


def models_get_smaller(costs: CellCosts) -> Finding:
    """Finding 1c."""
    each = _each(costs, "file_times")
    known = [interval for interval in each.values() if interval]
    verdict = UNDECIDED
    if any(interval.high < 1 for interval in known):
        verdict = REFUTED
    elif _both_families(each) and all(interval.low > 1 for interval in known):
        verdict = SUPPORTED
    return Finding(
        number=1,
        part="c",
        claim=f"{_SMALLER_CLAIM}, although models get smaller.",
        hypothesis="The files of all methods are smaller than the float policy's: supported if the "
        "intervals of all are, refuted if one is larger.",
        statistic="times smaller files, geometric mean over cells, of the method with the least",
        estimate=min(known, key=lambda interval: interval.estimate, default=None),
        verdict=verdict,
        evidence=f"Times smaller: {listing(each)}."
        if known
        else f"Takes the sizes of files in at least {FEWEST_CELLS} cells.",
        cells=_cells(costs, "file_times"),
    )


def energy_falls_only_with_the_return(costs: CellCosts) -> Finding:
    """Finding 2a."""
    frame = costs.frame
    frame = frame.assign(episode_times=frame.energy_times * frame.length_times)
    episodes = replace(costs, frame=frame)
    kept = frame.verdict.eq("keeps")
    each = _each(episodes, "episode_times", kept)
    # A method that hardly ever keeps the return says nothing of this.
    deciding = {method: interval for method, interval in each.items() if interval}
    lost = frame.verdict.eq("loses")
    fallen = {
        method: exponential(over_cells(episodes.logs("episode_times", method, lost)))
        for method in each
    }
    return Finding(
        number=2,
        part="a",
        claim="Energy falls only where the return falls.",
        hypothesis=f"Where {100 * THRESHOLD:g} % of the return are kept (verdict of the cell), an "
        "episode takes hardly less energy than the baseline's: supported if with no method it "
        f"takes {_EPISODE_MARGIN:.2f} times less by the intervals, as it would for being that much "
        "shorter, refuted if with one it clearly does (Bonferroni over methods).",
        statistic="times less energy of an episode where the return is kept, geometric mean over "
        "cells, of the method with the most",
        estimate=max(deciding.values(), key=lambda interval: interval.estimate, default=None),
        verdict=_no_method_above(deciding, _EPISODE_MARGIN),
        evidence=f"Times less an episode where the return is kept: {listing(each)}; where it is "
        f"lost: {listing(fallen)}; {_where(costs)}, {costs.energy}."
        if deciding
        else f"Takes {FEWEST_CELLS} cells with energy that keep their return: {costs.energy}.",
        cells=int(frame[kept & frame.episode_times.notna()].agent.nunique()),
    )


def episodes_end_early(costs: CellCosts, rng: np.random.Generator) -> Finding:
    """Finding 2b."""
    frame = costs.frame[costs.frame.trained.eq(True)]
    frame = frame.assign(
        length=-np.log(frame.length_times), energy=-np.log(frame.energy_times.astype(float))
    ).dropna(subset=["length", "energy"])
    slope, spread = _slope(frame, rng)
    cells = int(frame.agent.nunique())
    verdict = inside(slope, -_SLOPE, _SLOPE) if cells >= FEWEST_CELLS else UNDECIDED
    if frame.empty:
        evidence = f"Takes trained cells with energy and lengths: {costs.energy}."
    elif slope is None:
        evidence = (
            f"Lengths of episodes differ from the baseline's by {100 * spread:.1f} % only "
            f"(standard deviation over {cells} cells): hardly any ended early."
        )
    else:
        evidence = (
            f"Energy of a decision goes with the length of episodes to the power {figure(slope)}; "
            f"that of an episode to the power {1 + slope.estimate:.2f}; {_where(costs)}, "
            f"{costs.energy}."
        )
    return Finding(
        number=2,
        part="b",
        claim="Energy falls because episodes end early.",
        hypothesis="The energy of a decision does not depend on how long episodes are, so that an "
        "episode's is proportional to its length. With the energy of a decision as a power of the "
        "length, both relative to the baseline's and within each method and ratio: supported if "
        f"the interval of the exponent is within {_SLOPE:g} of 0, refuted if outside.",
        statistic="exponent of episode length in the energy of a decision",
        estimate=slope,
        verdict=verdict,
        evidence=evidence,
        cells=cells,
    )


def pruning_saves_1_percent_of_memory(costs: CellCosts) -> Finding:
    """Finding 5a."""
    pruned = [costs.logs("memory_times", norm) for norm in NORMS]
    by_cell = pd.concat(pruned).groupby(level=0).mean()
    less = over_cells(1 - np.exp(-by_cell))
    low, high = _ABOUT_1_PERCENT
    return Finding(
        number=5,
        part="a",
        claim="Pruning gives about 1 % less memory.",
        hypothesis="Pruned policies take about 1 % less memory than their baselines: supported if "
        f"the interval is within {100 * low:g} to {100 * high:g} %, refuted if outside.",
        statistic="share of memory less, mean over cells (and over ratios and norms within them)",
        estimate=less,
        verdict=inside(less, low, high) if len(by_cell) >= FEWEST_CELLS else UNDECIDED,
        evidence=f"Pruned policies take {percent(less, 2)} less memory; {_where(costs)}."
        if less
        else "Takes the memory of pruned policies in several cells.",
        cells=len(by_cell),
    )


def quantization_may_use_more_memory(costs: CellCosts) -> Finding:
    """Finding 5b."""
    methods = (DYNAMIC, STATIC)
    more = {}
    for method in methods:
        logs = costs.logs("memory_times", method)
        more[method] = over_cells(np.exp(-logs) - 1, len(methods)) if _enough(logs) else None
    known = [interval for interval in more.values() if interval]
    verdict = UNDECIDED
    if len(known) == len(methods) and all(i.high < _MEMORY_MARGIN for i in known):
        verdict = REFUTED
    elif any(interval.low > 0 for interval in known):
        verdict = SUPPORTED
    shares = ", ".join(f"{method} {percent(interval, 2)}" for method, interval in more.items())
    return Finding(
        number=5,
        part="b",
        claim="PTDQ and PTSQ may use more memory than the baseline, from the library's overhead.",
        hypothesis="PTDQ or PTSQ takes more memory than the baseline: refuted if both take less "
        f"than {100 * _MEMORY_MARGIN:g} % more by the intervals, else supported if one clearly "
        "takes more (Bonferroni over both). Where it goes is another question.",
        statistic="share of memory more, mean over cells, of the method with the most",
        estimate=max(known, key=lambda interval: interval.estimate, default=None),
        verdict=verdict,
        evidence=f"More memory than the baseline: {shares}; {_where(costs)}."
        if known
        else "Takes the memory of PTDQ and PTSQ in several cells.",
        cells=min((len(costs.logs("memory_times", method)) for method in methods), default=0),
    )


def _no_improvement(costs: CellCosts, kind: str, what: str, part: str, how: str) -> Finding:
    each = _each(costs, f"{kind}_times")
    known = [interval for interval in each.values() if interval]
    return Finding(
        number=1,
        part=part,
        claim=f"{_SMALLER_CLAIM}, although models get smaller.",
        hypothesis=f"No method takes {1 + MARGIN:g} times less {what} than the float policy in the "
        "same runtime: supported if the intervals of all are below, refuted if that of one is "
        "above (Bonferroni over methods).",
        statistic=f"times less {what}, geometric mean over cells, of the method with the most",
        estimate=max(known, key=lambda interval: interval.estimate, default=None),
        verdict=_no_method_above(each, 1 + MARGIN),
        evidence=f"Times less {what}: {listing(each, 3)}; {_where(costs)}, {how}."
        if known
        else f"Takes the {what} in at least {FEWEST_CELLS} cells.",
        cells=_cells(costs, f"{kind}_times"),
    )


def _each(
    costs: CellCosts, column: str, rows: pd.Series | None = None
) -> dict[str, Interval | None]:
    """Each method's geometric mean over cells; the intervals allow for choosing the best method."""
    logs = {
        method: costs.logs(column, method, rows)
        for method in (*QUANTIZED, *NORMS)
        if (costs.frame.method == method).any()
    }
    return {
        method: exponential(over_cells(values, len(logs))) if _enough(values) else None
        for method, values in logs.items()
    }


def _enough(values: Collection[float]) -> bool:
    return len(values) >= FEWEST_CELLS


def _no_method_above(each: Mapping[str, Interval | None], bound: float) -> str:
    known = [interval for interval in each.values() if interval]
    if any(interval.low > bound for interval in known):
        return REFUTED
    below = len(known) == len(each) and all(interval.high < bound for interval in known)
    return SUPPORTED if below and _both_families(each) else UNDECIDED


def _both_families(each: Mapping[str, Interval | None]) -> bool:
    return all(any(each.get(method) for method in family) for family in (QUANTIZED, NORMS))


def _cells(costs: CellCosts, column: str) -> int:
    return int(costs.frame[costs.frame[column].notna()].agent.nunique())


def _where(costs: CellCosts) -> str:
    others = f", the one of {costs.hosts} with most rows" if costs.hosts > 1 else ""
    return f"in {costs.runtime} on host {costs.host_id}{others}"


def _slope(frame: pd.DataFrame, rng: np.random.Generator) -> tuple[Interval | None, float]:
    """The slope of energy on length within methods and ratios, and the spread of lengths.

    The interval of the slope is over resampled cells.
    """
    if frame.empty:
        return None, 0.0
    frame = frame.assign(kind=frame.method + frame.ratio.map(str))
    length, energy = (
        frame.pivot_table(index="agent", columns="kind", values=name).to_numpy(dtype=np.float64)
        for name in ("length", "energy")
    )
    known = (~np.isnan(length)).astype(np.float64)
    x, y = np.nan_to_num(length), np.nan_to_num(energy)
    cells = len(x)
    if cells < 2:
        return None, 0.0
    weights = np.vstack([np.full(cells, 1 / cells), resample_weights(cells, rng, STUDY_RESAMPLES)])
    count = np.maximum(weights @ known, 1e-12)
    mean_x, mean_y = weights @ x / count, weights @ y / count
    squares = (weights @ x**2 - count * mean_x**2).sum(axis=1)
    products = (weights @ (x * y) - count * mean_x * mean_y).sum(axis=1)
    spread = math.sqrt(max(float(squares[0] / count[0].sum()), 0.0))
    if spread < _LEAST_SPREAD:
        return None, spread
    # A resample of cells whose lengths are all alike has no slope.
    slopes = products[squares > 1e-12] / squares[squares > 1e-12]
    return expanded_interval(slopes, cells), spread
