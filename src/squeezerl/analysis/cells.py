"""What each method did to each agent: one row for each, with intervals and a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from squeezerl.analysis.frames import StudyData, of_agents
from squeezerl.analysis.hierarchy import FLOAT, AgentDraws, Key, MethodDraws, agent_draws, key_of
from squeezerl.analysis.methods import BASELINE
from squeezerl.analysis.retention import THRESHOLD, verdict_of
from squeezerl.records import Interval, bounded

CELL_KEYS = ("agent", "algorithm", "env_id", "method", "ratio")
SIZE_COLUMNS = ("file_bytes", "weight_bytes", "file_times", "weight_times")
CELL_COLUMNS = (
    *CELL_KEYS,
    *("train_seeds", "episodes", "over", "trained", "verdict", "threshold"),
    *("mean_return", "mean_return_low", "mean_return_high"),
    *("baseline_return", "random_return", "constant_return"),
    *("retention", "retention_low", "retention_high"),
    *("return_ratio", "return_ratio_low", "return_ratio_high"),
    *SIZE_COLUMNS,
)


def cells(data: StudyData, rng: np.random.Generator) -> pd.DataFrame:
    """One row for each agent, method and ratio, in this order; `CELL_COLUMNS`.

    `mean_return` is over all trainings and episodes, `retention` the normalised retention and
    `return_ratio` the plain ratio, all with 95 % intervals from the hierarchical bootstrap (see
    `agent_draws`). `over` says what an interval is over: "episodes" of the one training that there
    is, or "seeds and episodes"; `episodes` counts those of one training. For normal returns, the
    intervals over two to ten trainings cover the true retention in 94 to 97 % of cases where only
    trainings differ, and in up to 100 % where episodes differ too, since the variation between
    episodes then counts twice.

    `trained` is False where the float policy is not clearly better than the random policy and, if
    constant actions were played, than the best of them. Retention and verdict are then missing, for
    nothing is known of what compression did. It is None where the float or the random policy was
    not evaluated. `verdict` is "keeps", "loses" or "undecided" for 90 %, as in
    `retention`, but over all trainings. `file_times` and `weight_times` say how many times smaller
    than the float policy a policy is.

    Args:
        data: the study.
        rng: decides the resamples.
    """
    return cells_of(agent_draws(data, rng), data)


def cells_of(agents: Iterable[AgentDraws], data: StudyData) -> pd.DataFrame:
    """The cells of agents that were resampled already; the study gives their sizes."""
    rows = [
        cell_row(draws, key)
        for draws in agents
        for key in sorted(draws.methods, key=lambda key: (key != FLOAT, key[0], key[1] or 0.0))
    ]
    frame = pd.DataFrame(rows, columns=[name for name in CELL_COLUMNS if name not in SIZE_COLUMNS])
    return _with_sizes(frame.astype({"ratio": np.float64}), data.returns)


def cell_row(agent: AgentDraws, key: Key) -> dict[str, Any]:
    """The row of `cells` for one method of an agent, without its sizes."""
    method, ratio = key
    draws = agent.methods[key]
    retention = None if draws.retention is None else draws.interval(draws.retention)
    return_ratio = None if draws.ratio is None else draws.interval(draws.ratio)
    return {
        **agent.who,
        "method": method,
        "ratio": math.nan if ratio is None else ratio,
        "train_seeds": draws.train_seeds,
        "episodes": draws.episodes,
        "over": "episodes" if draws.train_seeds == 1 else "seeds and episodes",
        "trained": draws.trained,
        "verdict": _verdict(method, draws, retention),
        "threshold": THRESHOLD,
        **bounded("mean_return", draws.interval(draws.policy)),
        "baseline_return": math.nan if draws.baseline is None else draws.baseline[0],
        "random_return": math.nan if draws.random is None else draws.random[0],
        "constant_return": math.nan if draws.constant is None else draws.constant[0],
        **bounded("retention", retention),
        **bounded("return_ratio", return_ratio),
    }


def _verdict(method: str, draws: MethodDraws, retention: Interval | None) -> str | None:
    if retention is None or method == BASELINE:
        return None
    return verdict_of(retention, THRESHOLD, draws.train_seeds * draws.episodes)


def _with_sizes(frame: pd.DataFrame, returns: pd.DataFrame) -> pd.DataFrame:
    """Add the mean bytes over the trainings, and how many times fewer they are than in float."""
    sizes = of_agents(returns)[
        ["agent", "method", "ratio", "train_seed", "file_bytes", "weight_bytes"]
    ].copy()
    keys = [key_of(row.method, row.ratio) for row in sizes.itertuples()]
    sizes["ratio"] = [math.nan if ratio is None else ratio for _, ratio in keys]
    for name in ("train_seed", "file_bytes", "weight_bytes"):
        sizes[name] = pd.to_numeric(sizes[name]).astype(float)
    sizes["train_seed"] = sizes.train_seed.fillna(-1)
    baseline = sizes[sizes.method == BASELINE].drop(columns=["method", "ratio"])
    sizes = sizes.merge(baseline, on=["agent", "train_seed"], how="left", suffixes=("", "_float"))
    for name in ("file", "weight"):
        both = sizes[f"{name}_bytes"].notna()
        sizes[f"{name}_bytes_float"] = sizes[f"{name}_bytes_float"].where(both)
    grouped = sizes.groupby(["agent", "method", "ratio"], dropna=False)
    means = (
        grouped[["file_bytes", "weight_bytes", "file_bytes_float", "weight_bytes_float"]]
        .mean()
        .reset_index()
    )
    for name in ("file", "weight"):
        means[f"{name}_times"] = means.pop(f"{name}_bytes_float") / means[f"{name}_bytes"]
    return frame.merge(means, on=["agent", "method", "ratio"], how="left")[list(CELL_COLUMNS)]
