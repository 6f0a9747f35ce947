"""What analysis reads: the results of a study as data frames with named columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from squeezerl.analysis.methods import (
    BASELINE,
    CONSTANT,
    RANDOM,
    REFERENCE,
    TRAINING,
    complete_methods,
)
from squeezerl.errors import InvalidArgumentError
from squeezerl.records import Interval, MethodRecord

RETURNS_COLUMNS = (
    *("agent", "algorithm", "env_id", "train_seed", "method", "ratio"),
    *("returns", "lengths", "first_seed", "file_bytes", "weight_bytes", "trained_steps", "host_id"),
)
_MEASURED = ("latency_s", "energy_j", "memory_bytes", "latency_times", "energy_times")
COSTS_COLUMNS = (
    *("agent", "algorithm", "env_id", "train_seed", "method", "ratio", "runtime"),
    *(f"{name}{bound}" for name in _MEASURED for bound in ("", "_low", "_high")),
    *("memory_times", "file_bytes", "energy_estimated", "energy_source", "host_id"),
)
TRAININGS_COLUMNS = (
    *("agent", "algorithm", "env_id", "train_seed", "method", "ratio"),
    *("steps", "seconds", "timesteps", "evaluations", "host_id"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyData:
    """The finished work of a study.

    Each row of a frame is about one policy. `agent` names an agent in one environment over all of
    its training seeds, for example "ppo-Hopper-v4"; `train_seed` tells its trainings apart and is
    missing for agents that were trained elsewhere. `method` is the name of a compression method,
    with the share of neurons removed as `ratio` where it removes any, or one of the references:
    "float" (the baseline), "random" (a random policy) and "constant" (the best of the constant
    actions that were tried). Random and constant policies belong to the environment: their agent
    and algorithm are "". Unknown figures are missing, never 0.

    Args:
        name: of the study.
        returns: `RETURNS_COLUMNS`; `returns` and `lengths` are arrays (episodes,) in the order of
            the seeds `first_seed`, `first_seed` + 1, ..., the same for all policies in one
            environment. `trained_steps` is known of float policies that were trained elsewhere.
        costs: `COSTS_COLUMNS`; one row for each policy and runtime. `..._times` says how many
            times less than the float policy of the same agent, seed, runtime and host, measured
            side by side; `_low` and `_high` bound the 95 % intervals.
        trainings: `TRAININGS_COLUMNS`; `timesteps` (evaluations,) and `evaluations`
            (evaluations, episodes) are the learning curve.
        hosts: facts of each host, by its id.
        methods: label, group and style of each method, by its name and in the order of tables and
            legends. Methods that were run and are not given get a record by default.
    """

    name: str
    returns: pd.DataFrame
    costs: pd.DataFrame
    trainings: pd.DataFrame
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    methods: Mapping[str, MethodRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for frame, columns in (
            (self.returns, RETURNS_COLUMNS),
            (self.costs, COSTS_COLUMNS),
            (self.trainings, TRAININGS_COLUMNS),
        ):
            if missing := [name for name in columns if name not in frame.columns]:
                raise InvalidArgumentError(f"the study's frame lacks {', '.join(missing)}")
        complete = complete_methods(self.methods, self._names(), self._names(with_ratio=True))
        # A frozen dataclass can be completed only this way.
        object.__setattr__(self, "methods", complete)

    @property
    def trained_steps(self) -> pd.DataFrame:
        """How long float policies were trained, where it is known: agent, algorithm, steps."""
        columns = ["agent", "algorithm", "steps"]
        elsewhere = self.returns.rename(columns={"trained_steps": "steps"})
        frames = [frame[frame["method"] == BASELINE] for frame in (self.trainings, elsewhere)]
        return pd.concat([frame[columns].dropna(subset=["steps"]) for frame in frames])

    @property
    def plain_methods(self) -> tuple[str, ...]:
        """The methods that were run without a ratio, such as quantizations; Table 1 has them."""
        ran = self._names() - self._names(with_ratio=True)
        return self._those(ran, lambda group: group != REFERENCE)

    @property
    def swept_methods(self) -> tuple[str, ...]:
        """The methods that were run at ratios, such as prunings; Tables 2 and 3 have them."""
        return self._those(self._names(with_ratio=True), lambda group: group != TRAINING)

    @property
    def ticket_methods(self) -> tuple[str, ...]:
        """The methods that were run at ratios and trained again."""
        return self._those(self._names(with_ratio=True), lambda group: group == TRAINING)

    def _those(self, names: set[str], of_group: Callable[[str], bool]) -> tuple[str, ...]:
        records = self.methods.values()
        return tuple(r.name for r in records if r.name in names and of_group(r.group))

    def _names(self, *, with_ratio: bool = False) -> set[str]:
        frames = (self.returns, self.costs, self.trainings)
        return {
            str(name)
            for frame in frames
            for name in (frame[frame["ratio"].notna()] if with_ratio else frame)["method"]
        }


def plain(value: Any) -> Any:
    """A value of a frame for JSON: missing ones are `None`, NumPy's numbers are Python's."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def interval_of(row: Mapping[Any, Any], name: str) -> Interval | None:
    """The interval in three columns of a row (see `bounded`); `None` where one is missing."""
    figures = [row[f"{name}{bound}"] for bound in ("", "_low", "_high")]
    if any(pd.isna(figure) for figure in figures):
        return None
    estimate, low, high = (float(figure) for figure in figures)
    return Interval(estimate=estimate, low=low, high=high)


def of_agents(returns: pd.DataFrame) -> pd.DataFrame:
    """The rows about agents' policies: all but the random and constant ones."""
    return returns[~returns["method"].isin((RANDOM, CONSTANT))]
