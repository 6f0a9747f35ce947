"""Episodes step by step: what an environment or a policy does wrong becomes an error.

Each error names the episode, by its seed, and the step: 0 is what `reset` gives.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from squeezerl.errors import EnvError, SqueezeRLWarning

# An episode that is longer ends with an error where the environment sets no limit of its own.
ENDLESS = 100_000
HINT_AFTER = 10_000
# What is said where an environment does not have the interface of Gymnasium.
OLD_API = (
    "it has the interface of Gym before 0.26, and Gymnasium's is needed: `reset(self, *, "
    "seed=None, options=None)` returns (observation, info), and `step` returns (observation, "
    "reward, terminated, truncated, info). Change these two methods, or wrap the environment as "
    'docs/evaluation.md shows under "Environments of the old Gym"'
)

_NUMBERS, _TRUTHS = "fiub", "biu"  # kinds of NumPy's types: plain numbers, and truth values

Observation = npt.NDArray[Any]
Shape = tuple[int, ...]


def reset(env: gymnasium.Env[Any, Any], shape: Shape, env_id: str, seed: int) -> Observation:
    """The first observation of the episode of a seed, of the shape that the environment declares.

    Raises:
        EnvError: if the environment fails, or has the interface of the old Gym.
    """
    try:
        given = env.reset(seed=seed)
    except Exception as error:  # an environment's own code may raise anything
        if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
            raise EnvError(f"{env_id}: `reset` takes no `seed`: {OLD_API}") from error
        raise EnvError(f"{env_id} failed at the reset with seed {seed}: {error!r}") from error
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dict)):
        raise EnvError(f"{env_id}: `reset` does not return (observation, info): {OLD_API}")
    return _checked(given[0], shape, env_id, seed, 0)


def step(
    env: gymnasium.Env[Any, Any], action: Any, shape: Shape, env_id: str, seed: int, number: int
) -> tuple[Observation, float, bool]:
    """Step an environment; gives the observation, the reward, and whether the episode has ended.

    Args:
        env: in the episode of the seed.
        action: for it.
        shape: of the observations that the environment declares.
        env_id: for errors.
        seed: of the episode.
        number: of the step; the first one is 1.

    Raises:
        EnvError: if the environment fails, has the interface of the old Gym, or gives an
            observation of another shape or a reward that is not a finite number.
    """
    try:
        observation, reward, terminated, truncated, _ = env.step(action)
    except Exception as error:  # an environment's own code may raise anything
        if isinstance(error, ValueError) and "expected 5, got 4" in str(error):
            raise EnvError(f"{env_id}: `step` returns four values: {OLD_API}") from error
        raise EnvError(f"{env_id} failed in {_where(number, seed)}: {error!r}") from error
    earned = _scalar(reward, _NUMBERS, "reward", env_id, seed, number)
    if not math.isfinite(earned):
        raise EnvError(f"{env_id}: the reward of {_where(number, seed)} is {earned}")
    ended = any(
        _scalar(flag, _TRUTHS, what, env_id, seed, number)
        for flag, what in ((terminated, "`terminated`"), (truncated, "`truncated`"))
    )
    return _checked(observation, shape, env_id, seed, number), float(earned), ended


def all_finite(values: npt.NDArray[Any]) -> bool:
    """Whether all values are finite; a few microseconds for a batch."""
    return bool(np.isfinite(values).all())


def refuse_nan(
    values: npt.NDArray[Any],
    what: str,
    env_id: str,
    seeds: Sequence[int],
    steps: Sequence[int],
    *,
    infinite: bool = False,
) -> None:
    """Raise an `EnvError` if a batch holds NaN; ask `all_finite` first, which is fast.

    Args:
        values: (n, ...), one entry for each running episode.
        what: is in it, for the error.
        env_id: for the error.
        seeds: of the episodes.
        steps: that each episode is in.
        infinite: whether infinite values are refused, too.
    """
    rows = values.reshape(len(values), -1)
    broken = ~np.isfinite(rows) if infinite else np.isnan(rows)
    for row in np.flatnonzero(broken.any(axis=1)).tolist():
        raise EnvError(
            f"{env_id}: the {what} of {_where(steps[row], seeds[row])} is "
            f"{'not finite' if infinite else 'NaN'} in {broken[row].sum()} of its "
            f"{len(broken[row])} numbers"
        )


def check_length(env_id: str, limit: int | None, longest: int) -> None:
    """Raise an `EnvError` once an episode is too long; warn before that where there is no limit.

    Args:
        env_id: for the error.
        limit: that the environment sets, if any.
        longest: steps of the longest running episode.
    """
    if limit is None and longest == HINT_AFTER:
        warnings.warn(
            f"{env_id} sets no limit, and an episode has not ended after {longest:,} steps; "
            f"`max_episode_steps` sets one (without it, {ENDLESS:,} steps are an error)",
            SqueezeRLWarning,
            stacklevel=2,
        )
    if longest > (limit or ENDLESS):
        raise EnvError(
            f"{env_id}: an episode did not end after {longest - 1:,} steps; set a limit, for "
            "example `max_episode_steps=1000`"
        )


def _checked(observation: Any, shape: Shape, env_id: str, seed: int, number: int) -> Observation:
    try:
        array = np.asarray(observation)
    except ValueError:  # a list of lists that are not equally long
        array = np.empty(0, dtype=object)
    if array.shape != shape or array.dtype.kind not in _NUMBERS:
        raise EnvError(
            f"{env_id}: the observation of {_where(number, seed)} is of shape {array.shape} and "
            f"type {array.dtype}; the environment declares shape {shape}"
        )
    return array


def _scalar(value: Any, kinds: str, what: str, env_id: str, seed: int, number: int) -> Any:
    """The one number in what a step gave, which may be an array of one, as with SB3."""
    if isinstance(value, float if kinds == _NUMBERS else bool):
        return value
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in kinds:
        raise EnvError(
            f"{env_id}: the {what} of {_where(number, seed)} is {str(value)[:80]!r} of type "
            f"{type(value).__name__}; one {'number' if kinds == _NUMBERS else 'truth value'} is "
            "needed"
        )
    return array.item()


def _where(number: int, seed: int) -> str:
    return f"step {number} in the episode with seed {seed}"
