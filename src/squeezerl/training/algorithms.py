"""The algorithms that can be trained, and the actions that each can choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from squeezerl.errors import InvalidArgumentError, did_you_mean
from squeezerl.evaluation.environment import Environment
from squeezerl.runtimes.sb3_predictor import FAMILIES, algorithm_class


@dataclass(frozen=True)
class Algorithm:
    """One algorithm of Stable-Baselines3 or sb3-contrib, and the actions that it can choose."""

    name: str
    on_policy: bool
    continuous: bool
    discrete: bool

    @property
    def family(self) -> str:
        """How its policies name their weights, as in `CheckpointMetadata`."""
        return FAMILIES[self.name]

    def load(self) -> Any:
        """Its class; imports Stable-Baselines3.

        Raises:
            UnsupportedPolicyError: if that is not installed.
        """
        return algorithm_class(self.name)


_ALL = (
    Algorithm("trpo", on_policy=True, continuous=True, discrete=True),
    Algorithm("ppo", on_policy=True, continuous=True, discrete=True),
    Algorithm("ddpg", on_policy=False, continuous=True, discrete=False),
    Algorithm("td3", on_policy=False, continuous=True, discrete=False),
    Algorithm("sac", on_policy=False, continuous=True, discrete=False),
    Algorithm("a2c", on_policy=True, continuous=True, discrete=True),
    Algorithm("dqn", on_policy=False, continuous=False, discrete=True),
    Algorithm("tqc", on_policy=False, continuous=True, discrete=False),
    Algorithm("qrdqn", on_policy=False, continuous=False, discrete=True),
)
ALGORITHMS = {algorithm.name: algorithm for algorithm in _ALL}


def find_algorithm(name: str) -> Algorithm:
    """An algorithm by its name.

    Raises:
        InvalidArgumentError: if there is none.
    """
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    hint = did_you_mean(name.lower(), ALGORITHMS)
    raise InvalidArgumentError(
        f"unknown algorithm {name!r}; known are {', '.join(ALGORITHMS)}{hint}"
    )


def check_actions(algorithm: Algorithm, environment: Environment) -> None:
    """Check that an algorithm can choose this environment's actions.

    Raises:
        InvalidArgumentError: if not; it names the algorithms that can.
    """
    discrete = environment.choices is not None
    several = discrete and environment.action_shape != ()

    def fits(one: Algorithm) -> bool:
        # Q-values are those of one choice.
        return one.discrete and (one.on_policy or not several) if discrete else one.continuous

    if fits(algorithm):
        return
    has = "discrete" if discrete else "continuous"
    takes = "discrete" if algorithm.discrete else "continuous"
    if several:
        has, takes = f"several {has}", f"single {takes}" if algorithm.discrete else takes
    raise InvalidArgumentError(
        f"{environment.id} has {has} actions, {algorithm.name} takes {takes} ones; "
        f"use {', '.join(a.name for a in _ALL if fits(a))}"
    )


def check_supports_qat(algorithm: Algorithm) -> None:
    """Check that an algorithm's policies can be trained for int8.

    Raises:
        InvalidArgumentError: if not.
    """
    if algorithm.family == "qrdqn":
        raise InvalidArgumentError(
            "`qat` is not possible with qrdqn: a QR-DQN policy acts on the mean of its quantiles, "
            "which is not on the int8 grid that they were trained on; use dqn, or compress the "
            "trained agent"
        )
