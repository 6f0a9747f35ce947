"""What hypotheses are about, in each cell: retention, spread, convergence, robustness, costs.

All but costs give, for each cell, values that are independent between trainings (or between the
episodes of a single one), whose mean is the cell's figure. `effects` makes intervals of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from squeezerl.analysis.bootstrap import Array
from squeezerl.analysis.effects import CellEffect, Variation, mean_effect, variation_of
from squeezerl.analysis.frames import StudyData, of_agents
from squeezerl.analysis.hierarchy import (
    FLOAT,
    Key,
    common_window,
    key_of,
    mean_level,
    policies_of,
)
from squeezerl.analysis.methods import BASELINE, RANDOM
from squeezerl.analysis.timing import median_interval
from squeezerl.records import bounded

CONVERGED = 0.9  # of the way from a random policy to where the float policies end
_FEWEST_TO_SPREAD = 3
_RUNTIME = "ort"  # whose costs are asked about
_REACH = 1.96  # standard errors that a 95 % interval reaches to each side

Policies = Mapping[Key, Array]
"""Values (trainings, episodes) of one agent's policies, by method and ratio."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CellValues:
    """Values (trainings, episodes) of one cell, whose mean is its figure."""

    agent: str
    values: Array

    @property
    def over(self) -> str:
        """What the values that count as independent are."""
        return "trainings" if len(self.values) > 1 else "episodes"

    @property
    def effect(self) -> CellEffect | None:
        """Estimate and error; `None` for a single value."""
        units = self.values.mean(axis=1) if len(self.values) > 1 else self.values[0]
        return CellEffect.of(self.agent, units, self.over) if len(units) > 1 else None

    @property
    def variation(self) -> Variation:
        """How the values vary."""
        return variation_of(self.values)


def trained_agents(cells: pd.DataFrame) -> list[str]:
    """The agents whose baselines count as trained, from what `cells` says."""
    baselines = cells[(cells["method"] == BASELINE) & cells["trained"].eq(True)]
    return sorted(baselines["agent"].unique())


def retention_values(
    data: StudyData, agent: str, methods: Collection[str] | None = None
) -> Policies:
    """The normalised retention of an agent's policies, shape (trainings, episodes) each.

    A ratio of means has no value for each episode. These are its linear terms, as the delta method
    has them: their mean is the retention, and their variance that of its estimate. All policies are
    compared over the trainings that all of them have.

    Args:
        data: the study.
        agent: its name.
        methods: those that are wanted, beside the float policy; unless given, all.

    Raises:
        InvalidArgumentError: if policies met no common environment seeds.
    """
    frame = of_agents(data.returns)
    rows = frame[frame["agent"] == agent]
    levels = data.returns[
        (data.returns["method"] == RANDOM) & data.returns["env_id"].isin(rows["env_id"])
    ]
    if methods is not None:
        rows = rows[rows["method"].isin({BASELINE, *methods})]
    policies = policies_of(rows)
    if levels.empty or FLOAT not in policies:
        return {}
    seeds = sorted(set.intersection(*map(set, policies.values())), key=lambda seed: seed or 0)
    if not seeds:
        return {}
    random = mean_level(levels, RANDOM)
    several = {key: [trainings[seed] for seed in seeds] for key, trainings in policies.items()}
    window = common_window(
        [random, *(one for own in several.values() for one in own)], f"policies of {agent}"
    )
    low = random.within(window)
    gains = {key: np.array([one.within(window) for one in own]) - low
             for key, own in several.items()}  # fmt: skip
    span = gains[FLOAT]
    kept = {key: gain.mean() / span.mean() for key, gain in gains.items()}
    return {key: kept[key] + (gain - kept[key] * span) / span.mean() for key, gain in gains.items()}


def retention(
    data: StudyData, agents: Collection[str], methods: Sequence[str], against: Sequence[str] = ()
) -> list[CellValues]:
    """The retention of methods, less that of those that they are held against.

    Methods with ratios are compared at the ratios that both have. Several policies count as their
    mean.
    """
    found = []
    for agent in sorted(agents):
        kept = retention_values(data, agent, {*methods, *against})
        ours, theirs = ([key for key in kept if key[0] in names] for names in (methods, against))
        common = {ratio for _, ratio in ours} & {ratio for _, ratio in theirs} - {None}
        if common:
            ours, theirs = ([k for k in keys if k[1] in common] for keys in (ours, theirs))
        if not ours or (against and not theirs):
            continue
        values = np.mean([kept[key] for key in ours], axis=0)
        if against:
            values = values - np.mean([kept[key] for key in theirs], axis=0)
        found.append(CellValues(agent=agent, values=values))
    return found


def spread(data: StudyData, agents: Collection[str], methods: Sequence[str]) -> list[CellValues]:
    """The logarithm of how many times as much methods' returns vary between trainings as float's.

    The ratio of the standard deviations of the trainings' mean returns. Cells need three trainings
    and float policies that differ.
    """

    def ratio(agent: str) -> CellValues | None:
        policies = _mean_returns(data, agent)
        chosen = [key for key in policies if key[0] in methods]
        floats = policies.get(FLOAT, {})
        values = []
        for key in chosen:
            seeds = sorted(set(policies[key]) & set(floats))
            if len(seeds) < _FEWEST_TO_SPREAD:
                continue
            both = np.array([[policies[key][s], floats[s]] for s in seeds])
            values.append(_pseudo_values(both, _log_deviations))
        values = [one for one in values if np.isfinite(one).all()]
        return _mean_of(agent, values)

    return [one for agent in sorted(agents) if (one := ratio(agent)) is not None]


def retention_spread(kept: Array) -> float:
    """The standard deviation over trainings of the retention, (trainings, episodes) → number.

    It is NaN for one training. The noise of the episodes is in it: play enough of them.
    """
    return float(kept.mean(axis=1).std(ddof=1)) if len(kept) > 1 else math.nan


def convergence_steps(timesteps: Array, evaluations: Array, level: float) -> float:
    """The steps after which a training's mean return first reached a level; infinite if never.

    Args:
        timesteps: (evaluations,), at which the policy was evaluated.
        evaluations: returns (evaluations, episodes).
        level: to be reached; between two evaluations the mean return is a straight line.
    """
    means = np.asarray(evaluations, dtype=np.float64).mean(axis=1)
    reached = np.flatnonzero(means >= level)
    if not len(reached):
        return math.inf
    place = int(reached[0])
    if place == 0:
        return float(timesteps[0])
    share = (level - means[place - 1]) / (means[place] - means[place - 1])
    return float(timesteps[place - 1] + share * (timesteps[place] - timesteps[place - 1]))


def convergence(
    data: StudyData, agents: Collection[str], methods: Sequence[str]
) -> list[CellValues]:
    """The logarithm of how many times as many steps methods that train take as float takes.

    See `_curves` for the level. Trainings that never reach it count with their whole length, so
    that the ratio is a lower bound where methods fail to; pairs of which both fail are left out.
    """

    def ratio(agent: str) -> CellValues | None:
        curves = _curves(data, agent)
        floats = curves.get(FLOAT, {})
        values = []
        for key in (key for key in curves if key[0] in methods):
            seeds = sorted(set(curves[key]) & set(floats))
            pairs = np.array([[curves[key][s], floats[s]] for s in seeds]).reshape(-1, 2, 2)
            pairs = pairs[np.isfinite(pairs[:, :, 0]).any(axis=1)]
            if len(pairs):
                steps = np.minimum(pairs[:, :, 0], pairs[:, :, 1])
                values.append(np.log(steps[:, 0] / steps[:, 1]))
        return _mean_of(agent, values)

    return [one for agent in sorted(agents) if (one := ratio(agent)) is not None]


def robustness(
    data: StudyData, agents: Collection[str], methods: Sequence[str]
) -> list[CellValues]:
    """How much the retention of methods differs between settings of the same training.

    Agents of one algorithm in one environment are the settings; the figure is the standard
    deviation over them of the mean retention. Noise adds to it. Cells are named after the algorithm
    and environment, and need two settings.
    """
    settings: dict[tuple[str, str], list[str]] = {}
    frame = of_agents(data.returns)
    for row in frame[["agent", "algorithm", "env_id"]].drop_duplicates().itertuples():
        if row.agent in agents:
            settings.setdefault((row.algorithm, row.env_id), []).append(row.agent)
    found = []
    for (algorithm, env_id), several in sorted(settings.items()):
        values = []
        policies = [retention_values(data, agent) for agent in sorted(several)]
        for key in dict.fromkeys(key for own in policies for key in own if key[0] in methods):
            kept = [own[key] for own in policies if key in own]
            trainings = min((len(one) for one in kept), default=0)
            if len(kept) > 1 and trainings > 1:
                means = np.array([one[:trainings].mean(axis=1) for one in kept]).T
                values.append(_pseudo_values(means, lambda means: means.mean(axis=0).std(ddof=1)))
        if (one := _mean_of(f"{algorithm}-{env_id}", values)) is not None:
            found.append(one)
    return found


def costs(
    data: StudyData, agents: Collection[str], methods: Sequence[str], quantity: str
) -> list[CellEffect]:
    """The logarithm of how many times less than the float policy a decision takes, in ONNX Runtime.

    Over processes that measured; several policies count as their mean, with the errors as if these
    were one.

    Args:
        data: the study.
        agents: the cells.
        methods: those that were measured.
        quantity: "latency" or "energy".
    """
    rows = data.costs[(data.costs["runtime"] == _RUNTIME) & data.costs["method"].isin(methods)]
    name = f"{quantity}_times"
    rows = rows.dropna(subset=[name, f"{name}_low", f"{name}_high"])
    found = []
    for agent, own in rows[rows["agent"].isin(agents)].groupby("agent"):
        low, middle, high = (np.log(own[f"{name}{bound}"]) for bound in ("_low", "", "_high"))
        error = float(((high - low) / (2 * _REACH)).mean())
        found.append(
            CellEffect(
                agent=str(agent),
                estimate=float(middle.mean()),
                error=error,
                freedom=math.inf,
                over="measurements",
            )
        )
    return found


def training_table(data: StudyData, trained: Collection[str]) -> pd.DataFrame:
    """What differs between the trainings of an agent: a row for each (agent, method, ratio).

    Returns:
        agent, algorithm, env_id, method, ratio, trainings; `return_sd` and `retention_sd`, the
        standard deviations over trainings of mean return and retention (the latter for trained
        baselines); `steps_to_converge` with bounds, the median over trainings (see `convergence`),
        and `converged`, how many came that far. Agents with one training are left out.
    """
    rows: list[dict[str, Any]] = []
    frame = of_agents(data.returns)
    for row in frame[["agent", "algorithm", "env_id"]].drop_duplicates().itertuples():
        returns = _mean_returns(data, row.agent)
        if max(len(one) for one in returns.values()) < 2:
            continue
        kept = retention_values(data, row.agent) if row.agent in trained else {}
        curves = _curves(data, row.agent) if row.agent in trained else {}
        for key in sorted(returns, key=lambda key: (key != FLOAT, key[0], key[1] or 0.0)):
            steps = np.array([reached for reached, _ in curves.get(key, {}).values()])
            rows.append(
                {
                    "agent": row.agent,
                    "algorithm": row.algorithm,
                    "env_id": row.env_id,
                    "method": key[0],
                    "ratio": math.nan if key[1] is None else key[1],
                    "trainings": len(returns[key]),
                    "return_sd": float(np.std(list(returns[key].values()), ddof=1))
                    if len(returns[key]) > 1
                    else math.nan,
                    "retention_sd": retention_spread(kept[key])
                    if key in kept and key != FLOAT
                    else math.nan,
                    **_median(steps),
                    "converged": float(np.isfinite(steps).sum()) if len(steps) else math.nan,
                }
            )
    columns = ["agent", "algorithm", "env_id", "method", "ratio", "trainings", "return_sd",
               "retention_sd", *(f"steps_to_converge{b}" for b in ("", "_low", "_high")),
               "converged"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def robustness_table(data: StudyData, trained: Collection[str]) -> pd.DataFrame:
    """How much each method's retention differs between hyperparameters: see `robustness`.

    Returns:
        algorithm and environment as `cell`, method, and `retention_sd` with bounds.
    """
    methods = [name for name in of_agents(data.returns)["method"].unique() if name != BASELINE]
    rows = [
        {"cell": one.agent, "method": method}
        | bounded("retention_sd", mean_effect([effect]) if (effect := one.effect) else None)
        for method in methods
        for one in robustness(data, trained, [method])
    ]
    bounds = [f"retention_sd{bound}" for bound in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["cell", "method", *bounds])


def _median(steps: Array) -> dict[str, float]:
    """The median steps of trainings, of which half must have converged; bounds from six on."""
    finite = steps[np.isfinite(steps)]
    row = bounded("steps_to_converge", median_interval(finite))
    if len(finite) and 2 * len(finite) >= len(steps):
        row["steps_to_converge"] = float(np.median(finite))
    return row


def _mean_of(agent: str, several: Sequence[Array]) -> CellValues | None:
    """The mean of several values for each training, (trainings,); `None` if there are none."""
    if not several:
        return None
    trainings = min(len(one) for one in several)
    values = np.mean([one[:trainings] for one in several], axis=0)
    return CellValues(agent=agent, values=values[:, np.newaxis]) if trainings > 1 else None


def _mean_returns(data: StudyData, agent: str) -> dict[Key, dict[int, float]]:
    frame = of_agents(data.returns)
    return {
        key: {-1 if seed is None else seed: float(one.returns.mean()) for seed, one in own.items()}
        for key, own in policies_of(frame[frame["agent"] == agent]).items()
    }


def _curves(data: StudyData, agent: str) -> dict[Key, dict[int, tuple[float, float]]]:
    """Steps to converge and steps of the whole training, by method, ratio and training seed.

    A training has converged when its mean return first reaches 90 % of the way from the random
    policy to the mean of where the agent's float trainings end.
    """
    rows = data.trainings[data.trainings["agent"] == agent]
    floats = rows[rows["method"] == BASELINE]
    random = data.returns[
        (data.returns["method"] == RANDOM) & data.returns["env_id"].isin(rows["env_id"])
    ]
    if floats.empty or random.empty:
        return {}
    low = float(mean_level(random, RANDOM).returns.mean())
    end = float(np.mean([np.mean(row.evaluations[-1]) for row in floats.itertuples()]))
    level = low + CONVERGED * (end - low)
    found: dict[Key, dict[int, tuple[float, float]]] = {}
    for row in rows.itertuples():
        steps = convergence_steps(row.timesteps, row.evaluations, level)
        whole = float(row.timesteps[-1])
        found.setdefault(key_of(row.method, row.ratio), {})[int(row.train_seed)] = (steps, whole)
    return found


def _pseudo_values(samples: Array, statistic: Callable[[Array], Any]) -> Array:
    """The jackknife's pseudo-values of a statistic of samples (units, ...), shape (units,).

    Their mean is the statistic without its first-order bias, and their standard error is the
    jackknife's (Efron and Tibshirani 1993, chapter 11).
    """
    units = len(samples)
    whole = statistic(samples)
    without = [statistic(np.delete(samples, unit, axis=0)) for unit in range(units)]
    return np.asarray(units * whole - (units - 1) * np.array(without))


def _log_deviations(both: Array) -> float:
    """The logarithm of the ratio of the standard deviations of two columns."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = np.log(both.std(axis=0, ddof=1))
        return float(one - other)
