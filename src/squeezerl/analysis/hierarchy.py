"""The hierarchical bootstrap of a study: trainings are resampled, and within them episodes."""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from squeezerl.analysis.bootstrap import (
    CONFIDENCE,
    Array,
    percentile_interval,
    resample_weights,
    student_interval,
)
from squeezerl.analysis.frames import StudyData, of_agents
from squeezerl.analysis.methods import BASELINE, CONSTANT, RANDOM
from squeezerl.errors import InvalidArgumentError
from squeezerl.records import Interval

# The bounds of an interval then vary by about 2 % of its width from one generator to another.
STUDY_RESAMPLES = 2_000

Key = tuple[str, float | None]
"""Method and ratio."""
FLOAT: Key = (BASELINE, None)
Window = tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class MethodDraws:
    """Mean returns of one method of one agent: the estimate first, then those of the resamples.

    All arrays are (1 + resamples,), from the same trainings and the same environment seeds: those
    of the method, of the float policy, of the random policy and of the best constant action;
    `None` where there is no such policy. `episodes` counts those of one training.
    """

    policy: Array
    baseline: Array | None
    random: Array | None
    train_seeds: int
    episodes: int
    constant: Array | None = None

    @cached_property
    def trained(self) -> bool | None:
        """Whether the float policy learnt something, `None` where that is unknown.

        It must be better than the random policy, and than the best constant action where one was
        played, in every resample.
        """
        if self.baseline is None or self.random is None:
            return None
        if self.train_seeds * self.episodes <= 1:
            return False
        levels = [level for level in (self.random, self.constant) if level is not None]
        return all(bool((self.baseline > level).all()) for level in levels)

    @cached_property
    def retention(self) -> Array | None:
        """The normalised retention; `None` where the float policy is not clearly trained."""
        if self.baseline is None or self.random is None or not self.trained:
            return None
        return np.asarray((self.policy - self.random) / (self.baseline - self.random))

    @property
    def ratio(self) -> Array | None:
        """The plain ratio of returns; `None` where the float policy's is not clearly positive."""
        if self.baseline is None or not (self.baseline > 0).all():
            return None
        return np.asarray(self.policy / self.baseline)

    @property
    def kept(self) -> float:
        """The estimate of the normalised retention; NaN where it is missing."""
        return math.nan if self.retention is None else float(self.retention[0])

    def interval(self, values: Array, confidence: float = CONFIDENCE) -> Interval:
        """The interval of a statistic, shape (1 + resamples,), over these trainings."""
        if self.train_seeds == 1:
            # Nothing can be said of other trainings: the interval is over episodes.
            return percentile_interval(values[0], values[1:], confidence)
        return student_interval(values, self.train_seeds, confidence)


@dataclass(frozen=True, kw_only=True, eq=False)
class AgentDraws:
    """All methods of one agent, resampled together: methods with the same trainings are paired."""

    agent: str
    algorithm: str
    env_id: str
    methods: Mapping[Key, MethodDraws]

    @property
    def who(self) -> dict[str, str]:
        """The columns of a row that name the agent."""
        return {"agent": self.agent, "algorithm": self.algorithm, "env_id": self.env_id}

    def is_trained(self, key: Key) -> bool:
        """Whether the method was run, and on an agent that counts as trained."""
        return key in self.methods and bool(self.methods[key].trained)


def agent_draws(
    data: StudyData, rng: np.random.Generator, resamples: int = STUDY_RESAMPLES
) -> Iterator[AgentDraws]:
    """Resample every agent of a study, in the order of their names.

    Trainings are drawn with replacement, and within each of them episodes: the same ones for all
    methods and the float policy. The random and constant policies have one row of episodes for all
    trainings: they take the draw of one of them, so that their own uncertainty is neither forgotten
    nor divided by the number of trainings. With one training only episodes are drawn, as in
    `retention`. A method is compared with the float policy over the trainings that both have and
    the environment seeds that all of them met.

    Raises:
        InvalidArgumentError: if a policy was evaluated twice, returns are not finite, or policies
            to be compared met no common environment seeds.
    """
    frame = data.returns
    levels = {
        name: {
            env_id: mean_level(rows, name)
            for env_id, rows in frame[frame.method == name].groupby("env_id")
        }
        for name in (RANDOM, CONSTANT)
    }
    stream = int(rng.integers(2**62))
    for agent, rows in of_agents(frame).groupby("agent"):
        first = rows.iloc[0]
        own = {name: found[first.env_id] for name, found in levels.items() if first.env_id in found}
        yield AgentDraws(
            agent=str(agent),
            algorithm=first.algorithm,
            env_id=first.env_id,
            methods=_draws(str(agent), policies_of(rows), own, stream, resamples),
        )


def key_of(method: str, ratio: Any) -> Key:
    """Method and ratio, the latter `None` where it is missing and without rounding errors."""
    return method, None if ratio is None or math.isnan(ratio) else round(float(ratio), 6)


@dataclass(frozen=True, kw_only=True, eq=False)
class Episodes:
    """Returns of the environment seeds from `first` on."""

    first: int
    returns: Array

    @property
    def end(self) -> int:
        """The environment seed after the last."""
        return self.first + len(self.returns)

    def within(self, window: Window) -> Array:
        """The returns of these environment seeds."""
        return self.returns[window[0] - self.first : window[1] - self.first]


def mean_level(rows: Any, name: str) -> Episodes:
    """The random or constant policy of one environment; several rows count as their mean."""
    several = [_episodes(row) for row in rows.itertuples()]
    window = common_window(several, f"{name} policies in {rows.env_id.iloc[0]}")
    returns = np.mean([episodes.within(window) for episodes in several], axis=0)
    return Episodes(first=window[0], returns=returns)


def _episodes(row: Any) -> Episodes:
    returns = np.asarray(row.returns, dtype=np.float64)
    if not len(returns) or not np.isfinite(returns).all():
        raise InvalidArgumentError(
            f"returns of {row.agent or row.env_id} ({row.method}) must be finite numbers"
        )
    return Episodes(first=int(row.first_seed), returns=returns)


def policies_of(rows: Any) -> dict[Key, dict[int | None, Episodes]]:
    """The episodes of an agent's policies, by method and ratio, then by training seed."""
    policies: dict[Key, dict[int | None, Episodes]] = defaultdict(dict)
    for row in rows.itertuples():
        trained = policies[key_of(row.method, row.ratio)]
        seed = None if pd.isna(row.train_seed) else int(row.train_seed)
        if seed in trained:
            raise InvalidArgumentError(
                f"{row.agent} has {row.method} twice for the same ratio and training seed {seed}"
            )
        trained[seed] = _episodes(row)
    return policies


def _draws(
    agent: str,
    policies: Mapping[Key, Mapping[int | None, Episodes]],
    levels: Mapping[str, Episodes],
    stream: int,
    resamples: int,
) -> dict[Key, MethodDraws]:
    """Methods with the same trainings and episodes share their resamples.

    The resamples depend on the agent, its trainings and its episodes alone, not on what else is
    drawn.
    """
    baseline = policies.get(FLOAT, {})
    groups = defaultdict(list)
    for key, trained in policies.items():
        seeds = tuple(sorted(set(trained) & set(baseline), key=_order))
        paired = bool(seeds)
        seeds = seeds or tuple(sorted(trained, key=_order))
        compared = [trained[seed] for seed in seeds]
        compared += [baseline[seed] for seed in seeds] if paired else []
        window = common_window(
            [*compared, *levels.values()],
            f"{key[0]} of {agent} and what it is compared with",
        )
        groups[seeds, window, paired].append(key)
    found: dict[Key, MethodDraws] = {}
    order = sorted(groups, key=lambda group: ([_order(seed) for seed in group[0]], *group[1:]))
    for seeds, window, paired in order:
        keys = sorted(groups[seeds, window, paired], key=lambda key: (key[0], key[1] or 0.0))
        columns = [policies[key] for key in keys] + ([baseline] if paired else [])
        sample = np.array(
            [[column[seed].within(window) for column in columns] for seed in seeds]
        )  # (seeds, columns, episodes)
        own = zlib.crc32(repr((agent, seeds, window, paired)).encode())
        rng = np.random.default_rng([stream, own])
        own_levels = np.array([level.within(window) for level in levels.values()])
        means, level_means = resampled_hierarchy(sample, own_levels, rng, resamples)
        level_of = dict(zip(levels, level_means.T, strict=True)) if levels else {}
        for column, key in enumerate(keys):
            found[key] = MethodDraws(
                policy=means[:, column],
                # Its own column for the float policy itself, which keeps exactly all.
                baseline=means[:, column if key == FLOAT else -1] if paired else None,
                random=level_of.get(RANDOM),
                constant=level_of.get(CONSTANT),
                train_seeds=len(seeds),
                episodes=window[1] - window[0],
            )
    return found


def resampled_hierarchy(
    sample: Array,
    levels: Array,
    rng: np.random.Generator,
    resamples: int = STUDY_RESAMPLES,
) -> tuple[Array, Array]:
    """Means over trainings and episodes: the estimate first, then those of the resamples.

    Args:
        sample: (trainings, policies, episodes).
        levels: (levels, episodes) of the random and constant policies; perhaps none.
        rng: decides the resamples.
        resamples: how many.

    Returns:
        (1 + resamples, policies) and (1 + resamples, levels).
    """
    trainings, policies, episodes = sample.shape
    levels = levels.reshape(-1, episodes)
    means = np.zeros((1 + resamples, policies))
    means[0] = sample.mean(axis=(0, 2))
    level_means = np.empty((1 + resamples, len(levels)))
    level_means[0] = levels.mean(axis=1)
    shares = (
        np.ones((resamples, 1)) if trainings == 1 else resample_weights(trainings, rng, resamples)
    )
    for training, policy_returns in enumerate(sample):
        weights = resample_weights(episodes, rng, resamples)
        means[1:] += shares[:, training, np.newaxis] * (weights @ policy_returns.T)
        if training == 0:
            level_means[1:] = weights @ levels.T
    return means, level_means


def _order(seed: int | None) -> int:
    return -1 if seed is None else seed


def common_window(several: Collection[Episodes], whose: str) -> Window:
    """The environment seeds that all met: the first, and the one after the last."""
    first = max(episodes.first for episodes in several)
    end = min(episodes.end for episodes in several)
    if first >= end:
        raise InvalidArgumentError(f"{whose} met no common environment seeds")
    return first, end
