"""Environments by name: where they run, what they take, and whether a policy fits them."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec, load_env_creator

from squeezerl.errors import EnvError, InvalidArgumentError
from squeezerl.evaluation import envpool_support
from squeezerl.evaluation.stepping import OLD_API
from squeezerl.runtimes.base import Sizes

BACKENDS = ("auto", "envpool", "gymnasium")


@dataclass(frozen=True)
class Environment:
    """An environment that exists and can be made, and the sizes of what it gives and takes.

    `action_count` is `None` for continuous actions; then `action_low` and `action_high` have
    `action_shape`. `max_episode_steps` is `None` if the environment sets no limit.
    """

    id: str
    backend: Literal["envpool", "gymnasium"]
    observation_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    action_count: int | None
    action_low: npt.NDArray[np.float32] | None
    action_high: npt.NDArray[np.float32] | None
    max_episode_steps: int | None
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def find(
        cls, env_id: str, kwargs: Mapping[str, Any] | None = None, *, backend: str = "auto"
    ) -> Environment:
        """Look an environment up: EnvPool's if it has the same one, Gymnasium's otherwise.

        Args:
            env_id: a registered id, or `module:Id` for one that a module of yours registers.
            kwargs: passed to the environment.
            backend: "envpool" or "gymnasium" to insist on one.

        Raises:
            EnvError: if it is unknown, or cannot be made.
            InvalidArgumentError: if there is no such backend.
        """
        if backend not in BACKENDS:
            raise InvalidArgumentError(f"`backend` {backend!r} is not one of {', '.join(BACKENDS)}")
        kwargs = dict(kwargs or {})
        if "render_mode" in kwargs:
            raise EnvError("render_mode: evaluations are not rendered")
        limit = kwargs.get("max_episode_steps", 1)
        if not isinstance(limit, int) or limit < 1:
            raise EnvError(f"`max_episode_steps` must be a positive number, not {limit!r}")
        if backend != "gymnasium":
            space = envpool_support.find_spaces(env_id, kwargs)
            if space is not None and (
                backend == "envpool" or _is_gymnasiums_own(env_id, space, kwargs)
            ):
                return _describe(
                    env_id, "envpool", space.observation, space.action, space.max_steps, kwargs
                )
            if backend == "envpool":
                raise EnvError(
                    f"EnvPool cannot run {env_id!r}{_with(kwargs)}: it is not installed, does not "
                    "have this environment, or does not take these arguments"
                )
        env = make_gymnasium(env_id, kwargs)
        try:
            steps = env.spec.max_episode_steps if env.spec is not None else None
            return _describe(
                env_id, "gymnasium", env.observation_space, env.action_space, steps, kwargs
            )
        finally:
            env.close()

    def check_fits(self, policy: Sizes) -> None:
        """Check that a policy takes this environment's observations and gives its actions.

        Raises:
            EnvError: if not; it names the versions of the environment that do fit.
        """
        if self._fits(policy):
            return
        wants, gives = _sizes(policy), _sizes(self)
        fitting = [other for other in _alternatives(self.id, self.kwargs) if other._fits(policy)]
        advice = (
            "it fits "
            + ", ".join(
                other.id + (" without these arguments" if other.id == self.id else "")
                for other in fitting
            )
            if fitting
            else "no registered version of the environment fits; was it trained on another one, "
            "or with other `env_kwargs`?"
        )
        raise EnvError(
            f"the policy has {wants}; {self.id} has {gives}. {advice[0].upper()}{advice[1:]}"
        )

    def _fits(self, policy: Sizes) -> bool:
        return (
            self.observation_shape == policy.observation_shape
            and self.action_shape == policy.action_shape
            and self.action_count == policy.action_count
        )


def registration(env_id: str) -> Callable[[], None] | None:
    """What makes an environment known to another process that did not run the caller's script.

    `None` if Gymnasium does not list it here: EnvPool's, and `module:Id`, which names its module.
    """
    spec = gymnasium.registry.get(env_id)
    if spec is None:
        return None
    if isinstance(spec.entry_point, str) and spec.entry_point.startswith("__main__:"):
        spec = dataclasses.replace(spec, entry_point=load_env_creator(spec.entry_point))
    return functools.partial(_register, spec)


def _register(spec: EnvSpec) -> None:
    gymnasium.registry[spec.id] = spec


def make_gymnasium(env_id: str, kwargs: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """One Gymnasium environment; its advice about newer versions is muted.

    Raises:
        EnvError: if it is unknown or cannot be made.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return gymnasium.make(env_id, disable_env_checker=True, **kwargs)
    except gymnasium.error.UnregisteredEnv as error:
        raise EnvError(f"unknown environment {env_id!r}{_hint(env_id)}") from error
    except gymnasium.error.DependencyNotInstalled as error:
        raise EnvError(f"{env_id}: a package is missing: {error}") from error
    except ImportError as error:
        raise EnvError(f"{env_id}: {error}{_hint(env_id)}") from error
    except Exception as error:  # the environment's own constructor may raise anything
        if "must inherit from the gymnasium.Env class" in str(error):
            raise EnvError(f"{env_id} is not an environment of Gymnasium: {OLD_API}") from error
        raise EnvError(f"{env_id}{_with(kwargs)} cannot be made: {error}") from error


def _describe(
    env_id: str,
    backend: Literal["envpool", "gymnasium"],
    observation: gymnasium.Space[Any],
    action: gymnasium.Space[Any],
    max_steps: int | None,
    kwargs: dict[str, Any],
) -> Environment:
    if not isinstance(observation, gymnasium.spaces.Box):
        raise EnvError(f"{env_id}: {type(observation).__name__} observations are not supported yet")
    if isinstance(action, gymnasium.spaces.Discrete):
        if action.start != 0:
            raise EnvError(f"{env_id}: discrete actions that start at {action.start}")
        shape, count, low, high = (), int(action.n), None, None
    elif isinstance(action, gymnasium.spaces.Box):
        shape, count = action.shape, None
        low, high = action.low.astype(np.float32), action.high.astype(np.float32)
    else:
        raise EnvError(f"{env_id}: {type(action).__name__} actions are not supported yet")
    return Environment(
        env_id, backend, observation.shape, shape, count, low, high, max_steps, kwargs
    )


def _is_gymnasiums_own(
    env_id: str, spaces: envpool_support.Spaces, kwargs: Mapping[str, Any]
) -> bool:
    """Whether EnvPool's environment stands for Gymnasium's of that name, not for another."""
    spec = gymnasium.registry.get(env_id)
    if spec is None:
        return True
    if callable(spec.entry_point):  # how Gymnasium says that it retired HalfCheetah-v3
        return str(spec.entry_point.__module__).startswith("gymnasium.")
    own = str(spec.entry_point).startswith("gymnasium.envs.")
    limit = kwargs.get("max_episode_steps", spec.max_episode_steps)
    return own and bool(limit == spaces.max_steps)


def _sibling_names(env_id: str) -> list[str]:
    """Other versions of an environment that are registered; whether they work is not tried."""
    base = re.sub(r"-v\d+$", "", env_id)
    known = {*gymnasium.registry, *envpool_support.ids()} - {env_id}
    return sorted(name for name in known if re.sub(r"-v\d+$", "", name) == base)


def _alternatives(env_id: str, kwargs: Mapping[str, Any]) -> list[Environment]:
    """What may fit instead: the environment without its arguments, and its other versions."""
    choices: list[tuple[str, Mapping[str, Any]]] = [(env_id, {})] if kwargs else []
    choices += [(name, kwargs) for name in _sibling_names(env_id)]
    found = []
    for name, arguments in choices:
        try:
            found.append(Environment.find(name, arguments))
        except EnvError:
            continue
    return found


def _sizes(of: Sizes) -> str:
    action = (
        f"actions of shape {of.action_shape}"
        if of.action_count is None
        else f"{of.action_count} discrete actions"
    )
    return f"observations of shape {of.observation_shape} and {action}"


def _with(kwargs: Mapping[str, Any]) -> str:
    return f" with {dict(kwargs)}" if kwargs else ""


def _hint(env_id: str) -> str:
    known = sorted({*gymnasium.registry, *envpool_support.ids()} - {env_id})
    close = _sibling_names(env_id) or difflib.get_close_matches(env_id, known, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else "; is its package imported?"
