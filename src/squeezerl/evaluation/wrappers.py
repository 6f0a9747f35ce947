"""What the wrappers of rl-zoo's settings do, around an environment of Gymnasium's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Dict

from squeezerl.agents.env_wrappers import EnvWrapper
from squeezerl.errors import EnvError

Env: TypeAlias = gymnasium.Env[Any, Any]
_PART = "observation"  # the entry of a dict observation that wrappers change


def wrapped(env: Env, wrappers: Sequence[EnvWrapper], size: int | None = None) -> Env:
    """The environment behind wrappers, the first of which is the innermost.

    Args:
        env: to be wrapped.
        wrappers: what to put around it.
        size: numbers that the policy observes, if known. Where the environment gives as many by
            itself, wrappers that change the observation are not put on again.

    Raises:
        EnvError: if a wrapper cannot be put around it.
    """
    fits = size is not None and gymnasium.spaces.flatdim(env.observation_space) == size
    for wrapper in wrappers:
        if not (fits and wrapper.observes):
            env = _MAKERS[wrapper.name](env, **wrapper.arguments)
    return env


def flattened(env: Env, names: Sequence[str] = ()) -> Env:
    """The environment with the boxes of its dict observations behind each other.

    Args:
        env: left as it is if it has no dict observations.
        names: of the entries that the policy sees, in its order; unless given, all of them.

    Raises:
        EnvError: if an entry is missing, or no box.
    """
    space = env.observation_space
    if not isinstance(space, Dict):
        return env
    names = names or list(space.spaces)
    boxes = [space.spaces.get(name) for name in names]
    for name, box in zip(names, boxes, strict=True):
        if not isinstance(box, Box):
            raise EnvError(f"{name!r} of the dict observation is {box}; boxes are supported")
    low, high = (
        np.concatenate([end.ravel().astype(np.float32) for end in ends])
        for ends in ([box.low for box in boxes], [box.high for box in boxes])
    )
    return gymnasium.wrappers.TransformObservation(
        env,
        lambda entries: np.concatenate([np.ravel(entries[name]) for name in names]),
        Box(low, high),
    )


def _box(env: Env) -> Box:
    """The space that wrappers change: all of it, or one entry of a dict."""
    space = env.observation_space
    part = space.spaces.get(_PART) if isinstance(space, Dict) else space
    if not isinstance(part, Box) or len(part.shape) != 1:
        raise EnvError(f"the observation of {env} is not flat, which its wrappers need")
    return part


def _replaced(whole: Any, part: Any) -> Any:
    """The observation, or its space, with the part that wrappers change exchanged for this one."""
    if isinstance(whole, Dict):
        return Dict({**whole.spaces, _PART: part})
    return {**whole, _PART: part} if isinstance(whole, dict) else part


def _part(observation: Any) -> npt.NDArray[Any]:
    return np.asarray(observation[_PART] if isinstance(observation, dict) else observation)


@final
class _TimeFeature(gymnasium.Wrapper[Any, Any, Any, Any]):  # type: ignore[misc]
    """Adds the share of the episode that remains (Pardo et al. 2018, arXiv 1712.00378)."""

    def __init__(self, env: Env, *, max_steps: int, test_mode: bool) -> None:
        super().__init__(env)
        box, limit = _box(env), None if env.spec is None else env.spec.max_episode_steps
        low, high = np.append(box.low, 0), np.append(box.high, 1)
        self.observation_space = _replaced(
            env.observation_space, Box(low, high, dtype=box.dtype.type)
        )
        self._steps, self._limit, self._is_still = 0, limit or max_steps, test_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._steps = 0
        observation, info = self.env.reset(seed=seed, options=options)
        return self._with_time(observation), info

    def step(self, action: Any) -> Any:
        self._steps += 1
        observation, *others = self.env.step(action)
        return (self._with_time(observation), *others)

    def _with_time(self, observation: Any) -> Any:
        part = _part(observation)
        remaining = 1.0 if self._is_still else 1 - self._steps / self._limit
        return _replaced(observation, np.append(part, remaining).astype(part.dtype))


@final
class _History(gymnasium.Wrapper[Any, Any, Any, Any]):  # type: ignore[misc]
    """Gives the last observations, and behind them the last actions."""

    def __init__(self, env: Env, *, horizon: int) -> None:
        super().__init__(env)
        box, actions = _box(env), env.action_space
        if not isinstance(actions, Box) or len(actions.shape) != 1:
            raise EnvError(f"{env} has no flat continuous actions to keep a history of")
        low, high = (
            np.concatenate([np.tile(end, horizon) for end in ends]).astype(box.dtype)
            for ends in ((box.low, actions.low), (box.high, actions.high))
        )
        self.observation_space = _replaced(
            env.observation_space, Box(low, high, dtype=box.dtype.type)
        )
        self._seen = np.zeros((horizon, *box.shape), box.dtype)
        self._done = np.zeros((horizon, *actions.shape), box.dtype)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        observation, info = self.env.reset(seed=seed, options=options)
        self._seen, self._done = np.zeros_like(self._seen), np.zeros_like(self._done)
        return self._with_history(observation), info

    def step(self, action: Any) -> Any:
        observation, *others = self.env.step(action)
        self._done = np.concatenate([self._done[1:], np.asarray(action)[None]])
        return (self._with_history(observation), *others)

    def _with_history(self, observation: Any) -> Any:
        self._seen = np.concatenate([self._seen[1:], _part(observation)[None]])
        parts = (self._seen.ravel(), self._done.ravel())
        return _replaced(observation, np.concatenate(parts).astype(self._seen.dtype))


@final
class _FrameSkip(gymnasium.Wrapper[Any, Any, Any, Any]):  # type: ignore[misc]
    """Holds each action for some steps, whose rewards are added."""

    def __init__(self, env: Env, *, skip: int) -> None:
        super().__init__(env)
        self._skip = skip

    def step(self, action: Any) -> Any:
        earned = 0.0
        for _ in range(self._skip):
            observation, reward, terminated, truncated, info = self.env.step(action)
            earned += float(reward)
            if terminated or truncated:
                break
        return observation, earned, terminated, truncated, info


@final
class _EndsOnSuccess(gymnasium.Wrapper[Any, Any, Any, Any]):  # type: ignore[misc]
    """Ends an episode after some steps of success in a row."""

    def __init__(self, env: Env, *, reward_offset: float, n_successes: int) -> None:
        super().__init__(env)
        self._offset, self._needed, self._reached = reward_offset, n_successes, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._reached = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._reached = self._reached + 1 if info.get("is_success") else 0
        truncated = truncated or self._reached >= self._needed
        return observation, float(reward) + self._offset, terminated, truncated, info


def _stacked(env: Env, *, num_stack: int) -> Env:
    return gymnasium.wrappers.FrameStackObservation(env, num_stack, padding_type="reset")


_MAKERS: dict[str, Callable[..., Env]] = {
    "TimeFeatureWrapper": _TimeFeature,
    "HistoryWrapper": _History,
    "HistoryWrapperObsDict": _History,
    "FrameStack": _stacked,
    "FlattenObservation": gymnasium.wrappers.FlattenObservation,
    "FrameSkip": _FrameSkip,
    "TimeLimit": gymnasium.wrappers.TimeLimit,
    "DoneOnSuccessWrapper": _EndsOnSuccess,
    "TruncatedOnSuccessWrapper": _EndsOnSuccess,
}
