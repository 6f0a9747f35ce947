"""The paper's tables as published, and our results beside them, cell by cell.

H. Lu, M. Alemi, R. Rawassizadeh, "The Impact of Quantization and Pruning on Deep Reinforcement
Learning Models", arXiv 2407.04803v1, July 2024. Returns are means over at least ten repetitions,
without intervals, in Gymnasium's MuJoCo v4 environments. Table 3 does not always name what Table 2
says was reached, for example L1 5 % for PPO in HumanoidStandup after 10 % in both norms.

This is also the only module that names the methods which the paper compared.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import pandas as pd

from squeezerl.analysis.cells import cell_row
from squeezerl.analysis.hierarchy import AgentDraws, Key
from squeezerl.analysis.retention import THRESHOLD

SOURCE = "Lu, Alemi, Rawassizadeh 2024, arXiv 2407.04803v1"
DYNAMIC, STATIC, TRAINED = QUANTIZED = ("ptdq", "ptsq", "qat")
L1, L2 = NORMS = ("l1", "l2")
TICKETS = tuple(f"ticket-{norm}" for norm in NORMS)
RANDOM_TICKET = "ticket-random"
# As in the order of its tables.
ALGORITHMS = ("trpo", "ppo", "ddpg", "td3", "sac")
ENVIRONMENTS = ("HalfCheetah", "HumanoidStandup", "Ant", "Humanoid", "Hopper")

_BOUNDS = ("", "_low", "_high")
_OURS = (
    *("trained", "verdict", "baseline_return"),
    *(f"{name}{bound}" for name in ("mean_return", "retention") for bound in _BOUNDS),
)
COMPARISON_COLUMNS = (
    *("agent", "algorithm", "env_id", "environment", "method", "norm", "ratio"),
    *("published_baseline", "published_return", "published_change", "published_retention"),
    *("published_keeps", "published_direction"),
    *_OURS,
    *("change", "change_low", "change_high", "direction", "keeps_agrees", "direction_agrees"),
)
PERCENTAGES_COLUMNS = (
    *("agent", "algorithm", "env_id", "environment", "norm", "trained"),
    *("published_ratio", "ratio_mean", "ratio_interval"),
)


def published_quantized() -> pd.DataFrame:
    """Table 1, 25 rows: algorithm, environment; returns as baseline, ptdq, ptsq and qat."""
    return _table("table1")


def published_pruned() -> pd.DataFrame:
    """Table 2, 25 rows: algorithm, environment; returns as baseline and pruned.

    `l1_ratio` and `l2_ratio` are the shares of neurons removed that each norm reached.
    """
    return _table("table2")


def published_best() -> pd.DataFrame:
    """Table 3, 25 rows: algorithm, environment; the best norm ("l1" or "l2") and its ratio."""
    return _table("table3")


def published_cell(algorithm: str, env_id: str) -> tuple[str, str]:
    """Algorithm and environment as the tables name them: ("PPO", "Hopper") for "Hopper-v4".

    An environment with arguments is none of the tables'.
    """
    name = re.fullmatch(r"(?:.*[:/])?([^:/]+)-v\d+", env_id)
    return algorithm.upper(), name[1] if name else env_id


def compare_published(agents: Iterable[AgentDraws]) -> pd.DataFrame:
    """Our changes relative to the baseline beside the published ones; `COMPARISON_COLUMNS`.

    Four rows for each of our agents that has a published cell: one for each quantization (Table 1)
    and "pruned" (Table 2), ours with the norm and at the ratio that Table 3 names. `change` is the
    return divided by the baseline's, less 1. The normalised retention stands beside it; the
    published one is computed with our random policy's return and missing where the published
    baseline is not above that.

    Each row answers two questions with "agrees", "differs", "undecided" (our interval leaves it
    open), "untrained" (our baseline, or the published one by our random policy's return) or
    "missing" (not run). `keeps_agrees` is about whether 90 % of the return are kept: the published
    mean as a share of the published baseline's, against our verdict. `direction_agrees` is about
    whether the return rises or falls: ours by the interval of the normalised retention around 1
    ("up" or "down"), the published one by its mean ("same" where it is equal, which a clear change
    of ours differs from).
    """
    rows: list[dict[str, Any]] = []
    published = _published()
    for agent in agents:
        cell = published_cell(agent.algorithm, agent.env_id)
        rows += [
            _row(agent, cell[1], method, figures)
            for method, figures in published.get(cell, {}).items()
        ]
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))


def compare_percentages(pruned: pd.DataFrame) -> pd.DataFrame:
    """The ratios that L1 and L2 reached beside those of Table 2; `PERCENTAGES_COLUMNS`.

    Args:
        pruned: what `table_pruned` gives; ours are by both of its rules, and missing where no ratio
            will do.
    """
    theirs = published_pruned().set_index(["algorithm", "environment"])
    rows: list[dict[str, Any]] = []
    for agent, ours in pruned.groupby("agent"):
        by_rule = ours.set_index("rule")
        first = ours.iloc[0]
        cell = published_cell(first.algorithm, first.env_id)
        if cell not in theirs.index:
            continue
        rows += [
            {
                "agent": agent,
                "algorithm": first.algorithm,
                "env_id": first.env_id,
                "environment": cell[1],
                "norm": norm,
                "trained": first.trained,
                "published_ratio": theirs.loc[cell, f"{norm}_ratio"],
                "ratio_mean": by_rule.loc["mean"].get(f"{norm}_ratio", math.nan),
                "ratio_interval": by_rule.loc["interval"].get(f"{norm}_ratio", math.nan),
            }
            for norm in NORMS
        ]
    return pd.DataFrame(rows, columns=list(PERCENTAGES_COLUMNS))


def _published() -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Baseline, return, norm and ratio of each method of each cell."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in published_quantized().to_dict("records"):
        found[row["algorithm"], row["environment"]] = {
            method: {
                "baseline": row["baseline"],
                "return": row[method],
                "norm": None,
                "ratio": None,
            }
            for method in QUANTIZED
        }
    best = published_best().set_index(["algorithm", "environment"])
    for row in published_pruned().to_dict("records"):
        cell = row["algorithm"], row["environment"]
        found[cell]["pruned"] = {
            "baseline": row["baseline"],
            "return": row["pruned"],
            "norm": best.loc[cell, "norm"],
            "ratio": float(best.loc[cell, "ratio"]),
        }
    return found


def _row(
    agent: AgentDraws, environment: str, method: str, theirs: Mapping[str, Any]
) -> dict[str, Any]:
    key: Key = (theirs["norm"] or method, theirs["ratio"])
    run = key in agent.methods
    ours: Mapping[str, Any] = cell_row(agent, key) if run else {}
    change = theirs["return"] / theirs["baseline"] - 1
    random = ours.get("random_return", math.nan)
    above_random = theirs["baseline"] > random
    published = "same" if change == 0 else "up" if change > 0 else "down"
    published_keeps = theirs["return"] >= THRESHOLD * theirs["baseline"]
    direction = _direction(ours)
    verdict = ours.get("verdict")
    # What stands in the way of an answer, if anything does.
    known = run and ours["trained"] is not None
    answered = bool(known and ours["trained"] and above_random)
    absent = "untrained" if known else "missing"
    return {
        **agent.who,
        "environment": environment,
        "method": method,
        "norm": theirs["norm"],
        "ratio": theirs["ratio"],
        "published_baseline": theirs["baseline"],
        "published_return": theirs["return"],
        "published_change": change,
        "published_retention": (theirs["return"] - random) / (theirs["baseline"] - random)
        if above_random
        else math.nan,
        "published_keeps": published_keeps,
        "published_direction": published,
        **{
            name: ours.get(name, None if name in ("trained", "verdict") else math.nan)
            for name in _OURS
        },
        **{f"change{b}": ours.get(f"return_ratio{b}", math.nan) - 1 for b in _BOUNDS},
        "direction": direction,
        "keeps_agrees": _agrees(verdict, "keeps" if published_keeps else "loses")
        if answered
        else absent,
        "direction_agrees": _agrees(direction, published) if answered else absent,
    }


def _direction(ours: Mapping[str, Any]) -> str | None:
    """Whether the return rises or falls, by the interval of the normalised retention."""
    if not ours or not ours["trained"]:
        return None
    if ours["retention_low"] > 1:
        return "up"
    return "down" if ours["retention_high"] < 1 else "undecided"


def _agrees(ours: str | None, theirs: str) -> str:
    if ours == "undecided":
        return "undecided"
    return "agrees" if ours == theirs else "differs"


def _table(name: str) -> pd.DataFrame:
    file = resources.files("squeezerl.analysis") / "published" / f"{name}.csv"
    with file.open(encoding="utf-8") as lines:
        return pd.read_csv(lines, comment="#")
