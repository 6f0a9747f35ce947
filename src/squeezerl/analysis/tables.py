"""The paper's kinds of tables from our own results, with intervals: all methods that were run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from squeezerl.analysis.bootstrap import Array
from squeezerl.analysis.cells import CELL_COLUMNS, SIZE_COLUMNS, cell_row
from squeezerl.analysis.hierarchy import FLOAT, AgentDraws, Key, MethodDraws
from squeezerl.analysis.methods import BASELINE
from squeezerl.analysis.retention import THRESHOLD, mean_share

RULES = ("mean", "interval")
_WHO = ("agent", "algorithm", "env_id")
RETURNS_TABLE_COLUMNS = (*(name for name in CELL_COLUMNS if name not in SIZE_COLUMNS), "best")
_BOUNDS = ("", "_low", "_high")
BEST_COLUMNS = (
    *(*_WHO, "rule", "by", "trained", "norm", "ratio", "verdict"),
    *(f"retention{bound}" for bound in _BOUNDS),
)


def pruned_columns(norms: Iterable[str]) -> tuple[str, ...]:
    """The columns of `table_pruned` for these pruning methods."""
    return (
        *BEST_COLUMNS,
        *(f"{norm}_ratio" for norm in norms),
        *(f"{name}{bound}" for name in ("baseline", "pruned") for bound in _BOUNDS),
    )


def table_returns(agents: Iterable[AgentDraws], methods: Sequence[str]) -> pd.DataFrame:
    """Table 1: the returns of the float policy and these methods; `RETURNS_TABLE_COLUMNS`.

    One row for each agent and method, as in `cells`. `best` is "best" for the one method whose
    return is higher than that of each other by a paired interval that excludes 0. Where there is
    none it is "tied" for all that are not clearly lower than the highest mean. It is "" for the
    others, for the baseline, where the baseline is untrained and where there is only one method.
    """
    rows: list[dict[str, Any]] = []
    for agent in agents:
        best = best_methods(agent, methods)
        rows += [
            cell_row(agent, (method, None)) | {"best": best.get(method, "")}
            for method in (BASELINE, *methods)
            if (method, None) in agent.methods
        ]
    return pd.DataFrame(rows, columns=list(RETURNS_TABLE_COLUMNS))


def best_methods(agent: AgentDraws, methods: Iterable[str]) -> dict[str, str]:
    """Those of the methods that are "best" or "tied" (see `table_returns`)."""
    draws = {
        method: agent.methods[method, None] for method in methods if (method, None) in agent.methods
    }
    if len(draws) < 2 or not all(one.trained for one in draws.values()):
        return {}
    top = max(draws, key=lambda method: draws[method].policy[0])
    rivals = [
        method
        for method in draws
        if method != top and not clearly_higher(draws[top], draws[method])
    ]
    return dict.fromkeys([top, *rivals], "tied") if rivals else {top: "best"}


def table_pruned(agents: Iterable[AgentDraws], norms: Sequence[str]) -> pd.DataFrame:
    """Tables 2 and 3: the returns at the chosen percentage, by both rules; `pruned_columns`.

    Two rows for each agent. By the rule "mean", which is the paper's, a pruning method reaches the
    highest ratio whose mean return is at least 90 % of the baseline's (`by` is "ratio"). Where the
    baseline's mean is not positive that makes no sense, and the estimate of the normalised
    retention must reach 90 % instead (`by` is "retention"). By the rule "interval" a method reaches
    the highest ratio up to which the verdict is "keeps" at every ratio that was tried. Tested in
    this order, each at its own 95 %, the chance of going too far is that of one test (the
    fixed-sequence procedure).

    `norm` is the method of one step (see `of_one_step`) that got furthest. If several did, it is
    the one with the higher mean; by the rule "interval" only if the difference is clear, else "tie"
    (with the figures of the highest mean). Ratios are missing where no ratio will do. With an
    untrained baseline, the rule "mean" chooses among noise and the rule "interval" nothing.

    Args:
        agents: resampled.
        norms: the pruning methods.
    """
    rows = [
        _pruned_row(agent, norms, rule)
        for agent in agents
        if any(method in norms for method, _ in agent.methods)
        for rule in RULES
    ]
    return pd.DataFrame(rows, columns=list(pruned_columns(norms)))


def _pruned_row(agent: AgentDraws, norms: Sequence[str], rule: str) -> dict[str, Any]:
    pruned = {key: cell_row(agent, key) for key in agent.methods if key[0] in norms}
    baseline = agent.methods.get(FLOAT)
    positive = baseline is not None and baseline.policy[0] > 0
    by = "ratio" if rule == "mean" and positive else "retention"
    reached = {norm: _reached(pruned, norm, rule, by) for norm in norms}
    norm, key = _better_norm(agent, {norm: reached[norm] for norm in of_one_step(norms)}, rule)
    float_row = {} if baseline is None else cell_row(agent, FLOAT)
    chosen = {} if key is None else pruned[key]
    row = {
        **agent.who,
        "rule": rule,
        "by": by,
        "trained": None if baseline is None else baseline.trained,
        "norm": norm,
        "ratio": math.nan if key is None else key[1],
        "verdict": chosen.get("verdict"),
        **{f"{norm}_ratio": ratio for norm, ratio in reached.items()},
    }
    for bound in _BOUNDS:
        row[f"baseline{bound}"] = float_row.get(f"mean_return{bound}", math.nan)
        row[f"pruned{bound}"] = chosen.get(f"mean_return{bound}", math.nan)
        row[f"retention{bound}"] = chosen.get(f"retention{bound}", math.nan)
    return row


def of_one_step(norms: Sequence[str]) -> Sequence[str]:
    """The methods that only prune; all methods if each does more, such as "l2+recover".

    A policy that learns after pruning would win in every cell, so Table 3 would not compare norms.
    """
    return [norm for norm in norms if "+" not in norm] or norms


def _reached(pruned: Mapping[Key, Mapping[str, Any]], norm: str, rule: str, by: str) -> float:
    """The highest ratio that the rule accepts for a norm; NaN if it accepts none."""
    last = math.nan
    for (method, ratio), row in sorted(pruned.items(), key=lambda item: item[0][1] or 0.0):
        if method != norm or ratio is None:
            continue
        if rule == "mean":
            origin = 0.0 if by == "ratio" else row["random_return"]
            share = mean_share(row["mean_return"], row["baseline_return"], origin)
            last = ratio if share >= THRESHOLD else last
        elif row["verdict"] == "keeps":
            last = ratio
        else:
            break
    return last


def _better_norm(
    agent: AgentDraws, reached: Mapping[str, float], rule: str
) -> tuple[str | None, Key | None]:
    keys: list[Key] = [(norm, ratio) for norm, ratio in reached.items() if not math.isnan(ratio)]
    if not keys:
        return None, None
    top = max(keys, key=lambda key: (key[1] or 0.0, agent.methods[key].policy[0]))
    if rule == "interval":
        rivals = [key for key in keys if key != top and key[1] == top[1]]
        if any(not clearly_higher(agent.methods[top], agent.methods[key]) for key in rivals):
            return "tie", top
    return top[0], top


def clearly_higher(one: MethodDraws, other: MethodDraws) -> bool:
    """Whether the interval of the difference excludes 0, the fewer trainings deciding its width."""
    fewer = min(one, other, key=lambda draws: draws.train_seeds)
    return fewer.interval(difference(one, other)).low > 0


def difference(one: MethodDraws, other: MethodDraws) -> Array:
    """How much higher the mean return is, (1 + resamples,); equal policies differ by exactly 0."""
    apart = one.policy - other.policy
    rounding = 1e-9 * np.maximum(np.abs(one.policy), np.abs(other.policy))
    return np.where(np.abs(apart) > rounding, apart, 0.0)
