"""What EnvPool has to offer, if it is installed (it is built for Linux and macOS only)."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium

# Settings of the pool itself, which are ours to choose.
_RESERVED = {
    *("num_envs", "batch_size", "num_threads", "seed", "env_seed", "env_type"),
    *("max_num_players", "thread_affinity_offset", "base_path", "gym_reset_return_info"),
}


@dataclass(frozen=True)
class Spaces:
    """The spaces and the step limit of one of EnvPool's environments."""

    observation: gymnasium.Space[Any]
    action: gymnasium.Space[Any]
    max_steps: int | None


@functools.cache
def library() -> Any:
    """The package, `None` if it is not installed; it takes a second to import."""
    try:
        import envpool
    except ImportError:
        return None
    return envpool


@functools.cache
def ids() -> frozenset[str]:
    """The environments that EnvPool has; none if it is not installed."""
    return frozenset() if library() is None else frozenset(library().list_all_envs())


def find_spaces(env_id: str, kwargs: Mapping[str, Any]) -> Spaces | None:
    """The spaces of an environment; `None` if EnvPool lacks it or refuses the arguments."""
    if env_id not in ids() or _RESERVED & kwargs.keys():
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
