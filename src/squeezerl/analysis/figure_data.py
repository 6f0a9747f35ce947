"""What the study's figures show, as tidy frames with `value`, `low` and `high`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd

from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.methods import CONSTANT, RANDOM
from squeezerl.analysis.published import ALGORITHMS, ENVIRONMENTS

_CELL = ["agent", "algorithm", "env_id", "method", "ratio"]
_TIMES = {"time": "latency_times", "energy": "energy_times", "memory": "memory_times"}


def scaled_costs(data: StudyData, methods: Collection[str]) -> pd.DataFrame:
    """Figures 1 to 3: time and energy of a decision, and memory, as shares of the baseline's.

    Of several training seeds it gives the median and an interval that covers all of theirs.

    Returns:
        runtime, host_id, agent, algorithm, env_id, method, ratio, quantity ("time", "energy" or
        "memory"), value, low, high (missing where there is no interval), seeds, estimated (whether
        the energy is an estimate).
    """
    place = ["runtime", "host_id"]
    chosen = data.costs[data.costs["method"].isin(list(methods))]
    parts = []
    for quantity, times in _TIMES.items():
        part = chosen[[*place, *_CELL]].copy()
        part["quantity"] = quantity
        part["value"] = 1 / chosen[times].astype("float64")
        # The most times less is the smallest share.
        for end, other in (("low", "high"), ("high", "low")):
            bound = f"{times}_{other}"
            part[end] = 1 / chosen[bound].astype("float64") if bound in chosen else np.nan
        part["estimated"] = chosen["energy_estimated"].eq(True) & (quantity == "energy")
        parts.append(part[part["value"].notna()])
    every = pd.concat(parts, ignore_index=True)
    grouped = every.groupby([*place, *_CELL, "quantity"], sort=False, dropna=False)
    return grouped.agg(
        value=("value", "median"),
        low=("low", "min"),
        high=("high", "max"),
        seeds=("value", "size"),
        estimated=("estimated", "max"),
    ).reset_index()


def retention_by_ratio(cells: pd.DataFrame, methods: Collection[str]) -> pd.DataFrame:
    """Normalised retention against the share of neurons removed, untrained cells included.

    Args:
        cells: what `squeezerl.analysis.cells.cells` gives.
        methods: those to show; only what was run at a ratio is.

    Returns:
        agent, algorithm, env_id, method, ratio, value, low, high (missing where untrained),
        trained.
    """
    chosen = cells[cells["method"].isin(list(methods)) & cells["ratio"].notna()]
    names = {"retention": "value", "retention_low": "low", "retention_high": "high"}
    frame = chosen[[*_CELL, *names, "trained"]].rename(columns=names)
    return frame.sort_values(["agent", "method", "ratio"]).reset_index(drop=True)


def untrained_agents(cells: pd.DataFrame) -> frozenset[str]:
    """Agents whose baseline does not count as trained (see `cells`)."""
    return frozenset(cells.loc[cells["trained"].eq(False), "agent"])


def learning_curves(data: StudyData) -> pd.DataFrame:
    """The mean evaluation return of each training over its steps.

    Returns:
        agent, algorithm, env_id, method, ratio, train_seed, timesteps (steps), value; one row for
        each evaluation.
    """
    keys = [*_CELL, "train_seed"]
    parts = []
    for row in data.trainings.to_dict("records"):
        evaluations = np.asarray(row["evaluations"], dtype=np.float64)
        if not evaluations.size:
            continue
        part = {key: row[key] for key in keys}
        parts.append(
            pd.DataFrame(
                part
                | {
                    "timesteps": np.asarray(row["timesteps"], dtype=np.int64),
                    "value": evaluations.reshape(len(evaluations), -1).mean(axis=1),
                }
            )
        )
    if not parts:
        return pd.DataFrame(columns=[*keys, "timesteps", "value"])
    return pd.concat(parts, ignore_index=True).sort_values(
        ["agent", "method", "ratio", "train_seed", "timesteps"], ignore_index=True
    )


def mean_curve(curves: pd.DataFrame) -> pd.DataFrame:
    """The mean over the trainings of one agent and method, with the lowest and the highest of them.

    Only steps at which every training was evaluated, so that the mean is always of the same ones.

    Returns:
        timesteps, value, low, high, seeds.
    """
    seeds = curves["train_seed"].nunique(dropna=False)
    grouped = curves.groupby("timesteps")["value"]
    frame = grouped.agg(["mean", "min", "max", "size"]).reset_index()
    frame.columns = pd.Index(["timesteps", "value", "low", "high", "seeds"])
    return frame[frame["seeds"] == seeds].reset_index(drop=True)


def reference_levels(data: StudyData) -> dict[str, dict[str, float]]:
    """Mean return of the random and the best constant policy, by method and environment."""
    return {
        name: {
            str(env_id): float(np.mean(np.concatenate(list(group["returns"]))))
            for env_id, group in data.returns[data.returns["method"] == name].groupby("env_id")
        }
        for name in (RANDOM, CONSTANT)
    }


def in_order(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Names without duplicates: known ones first, whatever their version, then others by name."""
    place = {name: number for number, name in enumerate(known)}
    return sorted(
        set(names), key=lambda name: (place.get(name.rpartition("-v")[0] or name, len(known)), name)
    )


def panels(agents: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The agents of a frame as (agent, algorithm, env_id), by environment, then algorithm."""
    seen = agents[["agent", "algorithm", "env_id"]].drop_duplicates()
    found = [(str(a), str(b), str(c)) for a, b, c in seen.itertuples(index=False)]
    environments = in_order((env_id for _, _, env_id in found), ENVIRONMENTS)
    algorithms = in_order((algorithm for _, algorithm, _ in found), ALGORITHMS)
    return sorted(
        found, key=lambda cell: (environments.index(cell[2]), algorithms.index(cell[1]), cell[0])
    )


def grid_shape(of: Sequence[tuple[str, str, str]]) -> tuple[list[str], list[str]] | None:
    """Environments and algorithms where the panels fill a grid of the two, each at most once."""
    environments = in_order((env_id for _, _, env_id in of), ENVIRONMENTS)
    algorithms = in_order((algorithm for _, algorithm, _ in of), ALGORITHMS)
    pairs = {(env_id, algorithm) for _, algorithm, env_id in of}
    enough = len(of) > 0.6 * len(environments) * len(algorithms)
    if len(pairs) != len(of) or min(len(environments), len(algorithms)) < 2 or not enough:
        return None
    return environments, algorithms
