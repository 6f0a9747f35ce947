"""The wrappers that rl-zoo's settings put around an environment, as data.

Among an environment's arguments, each is one text, such as "FrameSkip:skip=2". What they do stands
in `evaluation/wrappers.py`; the classes that the settings name are never imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from squeezerl.errors import InvalidArgumentError, UnsupportedPolicyError
from squeezerl.records import ENV_WRAPPERS

Argument = bool | int | float


@dataclass(frozen=True)
class _Known:
    """A wrapper: its arguments, and what it means for whoever deploys the policy."""

    defaults: Mapping[str, Argument]
    note: str
    observes: bool = True


_HISTORY = (
    "holds the last {horizon} observations and behind them the last {horizon} actions, each with "
    "the oldest first; before the first there are zeros"
)
_SUCCESS = "episodes end after {n_successes} steps of success in a row"
_KNOWN = {
    "TimeFeatureWrapper": _Known(
        {"max_steps": 1000, "test_mode": False},
        "the last number of the observation is the share of the episode that remains, which falls "
        "from 1 to 0; without episodes, 1 is what rl-zoo tests with",
    ),
    "HistoryWrapper": _Known({"horizon": 2}, f"the observation {_HISTORY}"),
    "HistoryWrapperObsDict": _Known({"horizon": 2}, f"the entry `observation` {_HISTORY}"),
    "FrameStack": _Known({"num_stack": 4}, "the observation holds the last {num_stack}"),
    "FlattenObservation": _Known({}, "the observation is flat"),
    "FrameSkip": _Known({"skip": 4}, "each action is held for {skip} steps", False),
    "TimeLimit": _Known(
        {"max_episode_steps": 1000}, "episodes end after {max_episode_steps} steps", False
    ),
    "DoneOnSuccessWrapper": _Known({"reward_offset": 0.0, "n_successes": 1}, _SUCCESS, False),
    "TruncatedOnSuccessWrapper": _Known({"reward_offset": 0.0, "n_successes": 1}, _SUCCESS, False),
}
_OTHER_NAMES = {"FrameStackObservation": "FrameStack", "stack_size": "num_stack"}
_MODULES = re.compile(
    r"(sb3_contrib\.common|rl_zoo3|utils)\.wrappers|(gym|gymnasium)\.wrappers(\.\w+)?"
)
_MOST = 100_000


@dataclass(frozen=True, kw_only=True)
class EnvWrapper:
    """One wrapper; all of its arguments are set.

    Raises:
        InvalidArgumentError: if there is no such wrapper or argument.
    """

    name: str
    arguments: Mapping[str, Argument]

    def __post_init__(self) -> None:
        if self.name not in _KNOWN:
            raise InvalidArgumentError(
                f"there is no wrapper {self.name[:80]!r}; known are {', '.join(_KNOWN)}"
            )
        defaults = _KNOWN[self.name].defaults
        for name, value in self.arguments.items():
            kind = type(defaults.get(name))
            takes = (int, float) if kind is float else (kind,)
            if name not in defaults or type(value) not in takes:
                raise InvalidArgumentError(
                    f"{self.name} takes {dict(defaults)}, not {str(name)[:40]}={str(value)[:40]}"
                )
            if kind is int and not 1 <= value <= _MOST:
                raise InvalidArgumentError(f"{self.name}: {name}={value} is out of range")
        object.__setattr__(self, "arguments", {**defaults, **self.arguments})

    @classmethod
    def of(cls, text: Any) -> Self:
        """The wrapper of a text, such as "HistoryWrapper:horizon=3"."""
        name, *pairs = str(text).split(":")
        given = {key: _value(value) for key, _, value in (pair.partition("=") for pair in pairs)}
        return cls(name=name, arguments=given)

    def __str__(self) -> str:
        defaults = _KNOWN[self.name].defaults
        pairs = [f"{k}={v}" for k, v in self.arguments.items() if defaults[k] != v]
        return ":".join([self.name, *pairs])

    @property
    def observes(self) -> bool:
        """Whether it changes what the policy observes."""
        return _KNOWN[self.name].observes

    @property
    def note(self) -> str:
        """What it means for whoever deploys the policy."""
        return _KNOWN[self.name].note.format(**self.arguments)


def wrappers_in(env_kwargs: Mapping[str, Any]) -> list[EnvWrapper]:
    """The wrappers among an environment's arguments, the innermost first.

    Raises:
        InvalidArgumentError: if one is unknown.
    """
    texts = env_kwargs.get(ENV_WRAPPERS, [])
    return [EnvWrapper.of(text) for text in ([texts] if isinstance(texts, str) else texts)]


def notes_on(env_kwargs: Mapping[str, Any]) -> dict[str, str]:
    """What whoever deploys a policy must know of its environment, under short names."""
    return {wrapper.name: wrapper.note for wrapper in wrappers_in(env_kwargs)}


def read_setting(setting: Any) -> list[str]:
    """The texts of the wrappers that rl-zoo's `env_wrapper` names, the innermost first.

    Args:
        setting: one name, a mapping of a name to its arguments, or a list of these.

    Raises:
        UnsupportedPolicyError: if one is not known.
    """
    items = setting if isinstance(setting, list) else [setting] if setting else []
    texts: list[str] = []
    for item in items:
        pairs = item.items() if isinstance(item, dict) else [(item, None)]
        # Without a limit of its own, a TimeLimit is the one that the environment has anyway.
        texts += [
            _read(str(path), arguments)
            for path, arguments in pairs
            if arguments or not str(path).endswith(".TimeLimit")
        ]
    return texts


def _read(path: str, arguments: Any) -> str:
    module, _, name = path.rpartition(".")
    given = arguments if isinstance(arguments, dict) else {}
    try:
        if not _MODULES.fullmatch(module) or (arguments and arguments is not given):
            raise InvalidArgumentError(f"known are {', '.join(_KNOWN)}, of rl-zoo and Gymnasium")
        return str(
            EnvWrapper(
                name=_OTHER_NAMES.get(name, name),
                arguments={_OTHER_NAMES.get(k, str(k)): value for k, value in given.items()},
            )
        )
    except InvalidArgumentError as error:
        raise UnsupportedPolicyError(
            f"trained behind the wrapper {path[:80]!r}, which is not supported: {error}"
        ) from error


def _value(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    try:
        return int(text) if re.fullmatch(r"-?\d{1,9}", text) else float(text)
    except ValueError:
        return text
