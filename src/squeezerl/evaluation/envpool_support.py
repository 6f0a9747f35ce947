"""What EnvPool has to offer, if it is installed (it is built for Linux and macOS only)."""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import gymnasium

# Settings of the pool itself, which are ours to choose.
_RESERVED = {
    *("num_envs", "batch_size", "num_threads", "seed", "env_seed", "env_type"),
    *("max_num_players", "thread_affinity_offset", "base_path", "gym_reset_return_info"),
}
# The families that have Gymnasium's environments.
_COMMON = ("mujoco.gym", "classic_control", "box2d", "toy_text", "atari")


@dataclass(frozen=True)
class Spaces:
    """The spaces and the step limit of one of EnvPool's environments."""

    observation: gymnasium.Space[Any]
    action: gymnasium.Space[Any]
    max_steps: int | None


@functools.cache
def library() -> Any:
    """The package, `None` if it is not installed. It knows `_COMMON` only, until `ids` is asked.

    To register all its families takes EnvPool more than a second, most of it for drawing Jumanji's.
    """
    if "envpool" in sys.modules:
        return sys.modules["envpool"]
    sys.modules["envpool.entry"] = ModuleType("envpool.entry")  # it would register them all
    try:
        import envpool
    except ImportError:
        return None
    finally:
        del sys.modules["envpool.entry"]
    for family in _COMMON:
        with suppress(ImportError):  # another release may lack it
            importlib.import_module(f"envpool.{family}.registration")
    return envpool


@functools.cache
def ids() -> frozenset[str]:
    """The environments that EnvPool has; none if it is not installed."""
    if library() is None:
        return frozenset()
    importlib.import_module("envpool.entry")
    return frozenset(library().list_all_envs())


def make_pool(env_id: str, kwargs: Mapping[str, Any], seeds: Sequence[int], threads: int) -> Any:
    """An environment for each seed, stepped together by so many threads at most."""
    return library().make(
        env_id,
        env_type="gymnasium",
        num_envs=len(seeds),
        seed=list(seeds),
        num_threads=min(threads, len(seeds)),
        **kwargs,
    )


def _has(env_id: str) -> bool:
    known = library() is not None and env_id in library().list_all_envs()
    return known or (":" not in env_id and env_id in ids())  # `module:Id` is Gymnasium's


def find_spaces(env_id: str, kwargs: Mapping[str, Any]) -> Spaces | None:
    """The spaces of an environment; `None` if EnvPool lacks it or refuses the arguments."""
    if _RESERVED & kwargs.keys() or not _has(env_id):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "Box low's precision lowered"
            spec = library().make_spec(env_id, **kwargs)
            observation, action = spec.gymnasium_observation_space, spec.gymnasium_action_space
    except Exception:  # EnvPool rejects arguments with bare assertions and its own errors
        return None
    unknown = set(kwargs) - set(spec.config._fields)
    if unknown or isinstance(observation, gymnasium.spaces.Dict):
        return None
    return Spaces(observation, action, spec.config.max_episode_steps)
