"""Environments by name: where they run, what they take, and whether a policy fits them."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Literal

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec, load_env_creator

from squeezerl.agents.env_wrappers import wrappers_in
from squeezerl.errors import EnvError, InvalidArgumentError
from squeezerl.evaluation import envpool_support
from squeezerl.evaluation.stepping import OLD_API
from squeezerl.evaluation.wrappers import flattened, wrapped
from squeezerl.records import (
    CHANNELS_FIRST,
    DICT_PARTS,
    ENV_WRAPPERS,
    FRAME_PADDING,
    FRAME_STACK,
    WRAPPED_SIZE,
)
from squeezerl.runtimes.base import Sizes

BACKENDS = ("auto", "envpool", "gymnasium")


@dataclass(frozen=True)
class Environment:
    """An environment that exists and can be made, and the sizes of what it gives and takes.

    `choices` says for each index in a discrete action how many values it can take; it is `None` for
    continuous actions, and then `action_low` and `action_high` have `action_shape`.
    `max_episode_steps` is `None` if the environment sets no limit. `change` is done to each
    environment of Gymnasium's that is made.
    """

    id: str
    backend: Literal["envpool", "gymnasium"]
    observation_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    choices: tuple[int, ...] | None
    action_low: npt.NDArray[np.float32] | None
    action_high: npt.NDArray[np.float32] | None
    max_episode_steps: int | None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[gymnasium.Env[Any, Any]], None] | None = None

    def make(self) -> gymnasium.Env[Any, Any]:
        """One of Gymnasium's environments; see `make_gymnasium`."""
        env = make_gymnasium(self.id, self.kwargs)
        if self.change is not None:
            self.change(env)
        return env

    @classmethod
    def find(
        cls, env_id: str, kwargs: Mapping[str, Any] | None = None, *, backend: str = "auto"
    ) -> Environment:
        """Look an environment up: EnvPool's if it has the same one, Gymnasium's otherwise.

        Args:
            env_id: a registered id, or `module:Id` for one that a module of yours registers.
            kwargs: passed to the environment; but `max_episode_steps` limits its episodes, and
                `vec_frame_stack` stacks so many observations, `vec_frame_padding` standing for
                those before the first, `vec_channels_first` transposes images, and `env_wrappers`
                names wrappers, such as "TimeFeatureWrapper".
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
        for key in ("max_episode_steps", FRAME_STACK):
            number = kwargs.get(key, 1)
            if not isinstance(number, int) or number < 1:
                name = key.removeprefix("vec_")
                raise EnvError(f"`{name}` must be a positive number, not {number!r}")
        changed = not {FRAME_STACK, CHANNELS_FIRST, ENV_WRAPPERS, DICT_PARTS}.isdisjoint(kwargs)
        if changed and backend == "envpool":
            raise InvalidArgumentError(
                "environments are wrapped, and observations stacked and transposed, in Gymnasium "
                "only, not in EnvPool"
            )
        if backend != "gymnasium" and not changed:
            space = _find_in_envpool(env_id, kwargs, insist=backend == "envpool")
            if space is not None:
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
        fitting = list(self._alternatives(policy))
        advice = (
            "It fits " + ", ".join(other._name_beside(self) for other in fitting)
            if fitting
            else "No registered version of the environment fits; was it trained on another one, "
            "or with other `env_kwargs`?"
        )
        raise EnvError(
            f"the policy has {_sizes(policy)}; {self.id} has {_sizes(self)}. {advice}",
            try_with=next(filter(None, (other._changes_from(self) for other in fitting)), None),
        )

    def _alternatives(self, policy: Sizes) -> Iterator[Environment]:
        """What fits a policy instead, the closest first."""
        shape, wanted = self.observation_shape, policy.observation_shape
        names = _sibling_names(self.id)
        choices: list[tuple[str, Mapping[str, Any]]] = []
        if shape[:-1] == wanted[:-1] and shape and wanted[-1] % shape[-1] == 0:
            choices.append((self.id, {**self.kwargs, FRAME_STACK: wanted[-1] // shape[-1]}))
        if len(shape) == len(wanted) == 1 and wanted[0] == shape[0] + 1:
            texts = [*map(str, wrappers_in(self.kwargs)), "TimeFeatureWrapper"]
            choices.append((self.id, {**self.kwargs, ENV_WRAPPERS: texts}))
        if len(shape) == len(wanted) == 3:
            choices.append((self.id, {**self.kwargs, CHANNELS_FIRST: True}))
        choices += [(self.id, {**self.kwargs, **switch}) for switch in _switches(self.id)]
        choices += [(self.id, {})] if self.kwargs else []
        choices += [(name, self.kwargs) for name in names]
        choices += [
            (name, {**self.kwargs, **switch}) for name in names for switch in _switches(name)
        ]
        fits_as_it_is: set[str] = set()
        for name, kwargs in choices:
            if name in fits_as_it_is:  # no switch is needed then
                continue
            try:
                found = Environment.find(name, kwargs)
            except EnvError:
                continue
            if found._fits(policy):
                if kwargs == self.kwargs:
                    fits_as_it_is.add(name)
                yield found

    def _name_beside(self, other: Environment) -> str:
        if self.id == other.id and not self.kwargs:
            return f"{self.id} without these arguments"
        more = self._more_than(other)
        if FRAME_STACK in more:
            return f"{self.id} with its last {more[FRAME_STACK]} observations (`frame_stack`)"
        given = " and ".join(f"{name}={value}" for name, value in more.items())
        return f"{self.id} with {given}" if given else self.id

    def _changes_from(self, other: Environment) -> dict[str, Any] | None:
        """The arguments that lead from one to the other; `None` if some would have to go."""
        if other.kwargs.keys() - self.kwargs.keys():
            return None
        more = self._more_than(other)
        changes: dict[str, Any] = {} if self.id == other.id else {"env": self.id}
        if FRAME_STACK in more:
            changes["frame_stack"] = more.pop(FRAME_STACK)
        return changes | ({"env_kwargs": more} if more else {})

    def _more_than(self, other: Environment) -> dict[str, Any]:
        """The arguments that the other does not have, or has otherwise."""
        return {k: v for k, v in self.kwargs.items() if other.kwargs.get(k) != v}

    def _fits(self, policy: Sizes) -> bool:
        return (
            self.observation_shape == policy.observation_shape
            and self.action_shape == policy.action_shape
            and self.choices == policy.choices
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
    given = dict(kwargs)
    stack, padding = given.pop(FRAME_STACK, 1), given.pop(FRAME_PADDING, 0)
    channels_first = given.pop(CHANNELS_FIRST, False)
    wrappers, size = given.pop(ENV_WRAPPERS, []), given.pop(WRAPPED_SIZE, None)
    parts = [str(part).rpartition(":")[0] for part in given.pop(DICT_PARTS, [])]
    try:
        env = wrapped(_make_muted(env_id, given), wrappers_in({ENV_WRAPPERS: wrappers}), size)
        env = flattened(env, parts)
        env = env if stack == 1 else _stacked(env, stack, padding)
        return _with_channels_first(env) if channels_first else env
    except gymnasium.error.UnregisteredEnv as error:
        raise EnvError(
            f"unknown environment {env_id!r}{_hint(env_id)}", try_with=_instead(env_id)
        ) from error
    except gymnasium.error.DependencyNotInstalled as error:
        raise EnvError(f"{env_id}: a package is missing: {error}") from error
    except ImportError as error:
        raise EnvError(f"{env_id}: {error}{_hint(env_id)}", try_with=_instead(env_id)) from error
    except gymnasium.error.DeprecatedEnv as error:
        raise EnvError(f"{env_id} is retired: {error}", try_with=_instead(env_id)) from error
    except Exception as error:  # the environment's own constructor may raise anything
        if "must inherit from the gymnasium.Env class" in str(error):
            raise EnvError(f"{env_id} is not an environment of Gymnasium: {OLD_API}") from error
        raise EnvError(f"{env_id}{_with(kwargs)} cannot be made: {error}") from error


def _make_muted(env_id: str, kwargs: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    # A module that an id names may register others' ids anew, as gymnasium_robotics does with the
    # retired ones of MuJoCo: these stay what they were.
    before = dict(gymnasium.registry)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return gymnasium.make(env_id, disable_env_checker=True, **kwargs)
    finally:
        gymnasium.registry.update(before)


def _stacked(env: gymnasium.Env[Any, Any], count: int, padding: Any) -> gymnasium.Env[Any, Any]:
    """The environment with its last observations along the last axis."""
    space = env.observation_space
    if not isinstance(space, gymnasium.spaces.Box) or not space.shape:
        raise EnvError(f"{type(space).__name__} observations are not stacked")
    low, high = (np.concatenate([bound] * count, axis=-1) for bound in (space.low, space.high))
    before = np.broadcast_to(np.asarray(padding, space.dtype), space.shape)
    return gymnasium.wrappers.TransformObservation(
        gymnasium.wrappers.FrameStackObservation(env, count, padding_type=before),
        lambda stacked: np.concatenate(list(stacked), axis=-1),
        gymnasium.spaces.Box(low, high, dtype=space.dtype.type),
    )


def _with_channels_first(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """The environment with its images as Stable-Baselines3's policies see them.

    It takes the shortest of the three sides for the channels.
    """
    space = env.observation_space
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 3:
        return env
    if space.dtype != np.uint8 or np.argmin(space.shape) == 0:
        return env
    return gymnasium.wrappers.TransformObservation(
        env,
        lambda image: np.transpose(image, (2, 0, 1)),
        gymnasium.spaces.Box(*(np.transpose(x, (2, 0, 1)) for x in (space.low, space.high))),
    )


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
    low = high = None
    try:
        choices = choices_of(action)
    except EnvError as error:
        raise EnvError(f"{env_id}: {error}") from error
    if isinstance(action, gymnasium.spaces.Box):
        low, high = action.low.astype(np.float32), action.high.astype(np.float32)
    assert action.shape is not None
    return Environment(
        env_id, backend, observation.shape, action.shape, choices, low, high, max_steps, kwargs
    )


def choices_of(space: gymnasium.Space[Any]) -> tuple[int, ...] | None:
    """For each index in a discrete action, how many values it can take; `None` for boxes.

    Raises:
        EnvError: for other spaces.
    """
    if isinstance(space, gymnasium.spaces.Box):
        return None
    starts, counts = np.zeros(1), np.empty(0)
    if isinstance(space, gymnasium.spaces.Discrete | gymnasium.spaces.MultiDiscrete):
        starts = np.asarray(space.start)
        counts = np.asarray(space.nvec if hasattr(space, "nvec") else space.n)
    elif isinstance(space, gymnasium.spaces.MultiBinary):
        counts = np.full(space.shape, 2)
    if counts.shape != space.shape or counts.ndim > 1 or starts.any():
        raise EnvError(f"actions of {space} are not supported")
    return tuple(int(count) for count in counts.ravel())


def _find_in_envpool(
    env_id: str, kwargs: Mapping[str, Any], *, insist: bool
) -> envpool_support.Spaces | None:
    """EnvPool's environment; unless one insists, `None` if it stands for another of that name."""
    spec = None if insist else gymnasium.registry.get(env_id)
    if spec is None:
        return envpool_support.find_spaces(env_id, kwargs)
    entry = spec.entry_point
    retired = callable(entry)  # how Gymnasium says that it retired HalfCheetah-v3
    if not (entry.__module__ if callable(entry) else str(entry)).startswith("gymnasium.envs"):
        return None
    spaces = envpool_support.find_spaces(env_id, kwargs)
    limit = kwargs.get("max_episode_steps", spec.max_episode_steps)
    return spaces if retired or (spaces is not None and limit == spaces.max_steps) else None


def _sibling_names(env_id: str) -> list[str]:
    """Other versions of an environment that are registered; whether they work is not tried."""
    base = re.sub(r"-v\d+$", "", env_id)
    known = {*gymnasium.registry, *envpool_support.ids()} - {env_id}
    return sorted(name for name in known if re.sub(r"-v\d+$", "", name) == base)


def _switches(env_id: str) -> list[dict[str, bool]]:
    """Each truth value that an environment's constructor takes, the other way round.

    Versions differ in these, for example in whether contact forces are observed.
    """
    spec = gymnasium.registry.get(env_id)
    if spec is None or spec.entry_point is None:
        return []
    try:
        entry = spec.entry_point
        make = entry if callable(entry) else load_env_creator(entry)
        parameters = signature(make).parameters.values()
    except Exception:  # a module that cannot be imported may raise anything
        return []
    return [{p.name: not p.default} for p in parameters if isinstance(p.default, bool)]


def _sizes(of: Sizes) -> str:
    action = (
        f"actions of shape {of.action_shape}"
        if of.choices is None
        else f"{' and '.join(map(str, of.choices))} discrete actions"
    )
    return f"observations of shape {of.observation_shape} and {action}"


def _with(kwargs: Mapping[str, Any]) -> str:
    return f" with {dict(kwargs)}" if kwargs else ""


def _instead(env_id: str) -> dict[str, Any] | None:
    """The closest version of a retired or unknown environment that can be made."""
    for name in _close(env_id):
        if envpool_support.find_spaces(name, {}) is not None:
            return {"env": name}
        try:
            # Not `make_gymnasium`, whose own error would look for the closest of this one.
            _make_muted(name, {}).close()
        except Exception:  # the environment's own constructor may raise anything
            continue
        return {"env": name}
    return None


def _close(env_id: str) -> list[str]:
    known = sorted({*gymnasium.registry, *envpool_support.ids()} - {env_id})
    return _sibling_names(env_id) or difflib.get_close_matches(env_id, known, n=3)


def _hint(env_id: str) -> str:
    close = _close(env_id)
    return f"; did you mean {' or '.join(close)}?" if close else "; is its package imported?"
