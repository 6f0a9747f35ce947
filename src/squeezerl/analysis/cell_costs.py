"""What each cell of a study costs in one runtime on one host, beside what it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.tables import NORMS, QUANTIZED

_CELL = ["agent", "method", "ratio"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CellCosts:
    """What each cell costs in one runtime on one host, and how well and how long it acts.

    Args:
        frame: agent, method, ratio; `energy_times`, `memory_times` and `file_times`, geometric
            means over the trainings of how many times less than the float policy; `length_times`,
            how many times shorter its episodes are; `verdict`, `trained`.
        runtime, host_id: where; `None` where nothing was measured.
        hosts: on how many it was measured: only the one with most cells counts.
        energy: how energy was measured, in words.
    """

    frame: pd.DataFrame
    runtime: str | None
    host_id: str | None
    hosts: int
    energy: str

    def logs(self, column: str, method: str, rows: pd.Series | None = None) -> pd.Series:
        """Logarithms by cell, the mean over ratios where there are several."""
        chosen = self.frame[self.frame.method == method]
        if rows is not None:
            chosen = chosen[rows.loc[chosen.index]]
        return np.log(chosen[column]).groupby(chosen.agent).mean().dropna()


def cell_costs(data: StudyData, cells: pd.DataFrame, runtime: str = "ort") -> CellCosts:
    """Join costs with the cells; another runtime than asked for if it has not been measured.

    Args:
        data: the study.
        cells: of `squeezerl.analysis.cells.cells`.
        runtime: the study's is ONNX Runtime.
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
    """How many times shorter than the float policy's episodes are, over the same trainings."""
    rows = returns[returns.method != "random"][["agent", "method", "ratio", "train_seed"]].copy()
    rows["ratio"] = pd.to_numeric(rows.ratio).astype(float).round(6)
    rows["train_seed"] = pd.to_numeric(rows.train_seed).astype(float).fillna(-1)
    rows["steps"] = [float(np.mean(lengths)) for lengths in returns.lengths.loc[rows.index]]
    baseline = rows[rows.method == "float"][["agent", "train_seed", "steps"]]
    rows = rows.merge(baseline, on=["agent", "train_seed"], suffixes=("", "_float"))
    means = rows.groupby(_CELL, dropna=False)[["steps", "steps_float"]].mean().reset_index()
    means["length_times"] = means.steps_float / means.steps
    return means[[*_CELL, "length_times"]]
