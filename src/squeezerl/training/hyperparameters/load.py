"""Reads and checks settings for training: packaged ones, rl-zoo's files and the user's pairs."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squeezerl.agents.sources.stable_baselines3.files import read_yaml
from squeezerl.errors import CheckpointError, HyperparameterError
from squeezerl.training.hyperparameters.literal import read_literal, shown
from squeezerl.training.hyperparameters.tables import (
    ALGORITHMS,
    COUNT,
    NOISY,
    POLICIES,
    POSITIVE,
    Check,
    mapping,
    read_policy_kwargs,
    refusal,
    switch,
    to_number,
    unknown,
    write_policy_kwargs,
)

_YAML = (".yml", ".yaml")
_PAIR = re.compile(r"\s*([A-Za-z_]\w*)\s*:\s*(.*?)\s*", re.DOTALL)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "none": None}
# These are kept as text, so that rl-zoo can read them again.
_CODE = ("policy_kwargs", "normalize", "env_kwargs")
_NOISES = ("normal", "ornstein-uhlenbeck")
_UNSUPPORTED = (
    "callback",
    "env_wrapper",
    "frame_stack",
    "monitor_kwargs",
    "optimize_memory_usage",
    "replay_buffer_class",
    "replay_buffer_kwargs",
    "rollout_buffer_class",
    "rollout_buffer_kwargs",
    "vec_env_wrapper",
)
_SHARED = ("policy", "n_envs", "n_timesteps", "normalize", "policy_kwargs", "env_kwargs")
_NOISE_KEYS = ("noise_type", "noise_std")
# A file with one of these at its top level holds the settings of one environment, as config.yml.
SETTINGS = frozenset({*_SHARED, *_NOISE_KEYS, *_UNSUPPORTED}.union(*ALGORITHMS.values()))


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """The settings of Stable-Baselines3's VecNormalize; its gamma is the algorithm's."""

    norm_obs: bool = True
    norm_reward: bool = True
    clip_obs: float = 10.0
    clip_reward: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Checked settings for one algorithm in one environment, as plain data.

    Args:
        n_envs: number of parallel environments.
        n_timesteps: steps to train for; `None` if the settings do not say.
        normalize: what is normalised; `None` for nothing.
        model: keywords for the algorithm's class; schedules are text such as "lin_0.001".
        policy_kwargs: keywords for MlpPolicy; the activation is a name such as "ReLU".
        noise: kind ("normal" or "ornstein-uhlenbeck") and standard deviation of the action noise.
        env_kwargs: keywords for the environment.
        raw: the same settings as rl-zoo writes them to config.yml.
    """

    n_envs: int
    n_timesteps: int | None
    normalize: Normalization | None
    model: Mapping[str, Any]
    policy_kwargs: Mapping[str, Any]
    noise: tuple[str, float] | None
    env_kwargs: Mapping[str, Any]
    raw: Mapping[str, Any]


def load_hyperparameters(
    algorithm: str, env_id: str, given: str | Sequence[str] | Mapping[str, Any] = ()
) -> Hyperparameters:
    """Settings for an algorithm in an environment: the packaged ones, or the user's.

    Args:
        algorithm: for example "ppo".
        env_id: a Gymnasium id; without an entry of its own it gets the entry `default`.
        given: at most one path of a YAML file, whose entry for this environment (or `default`, or
            the whole file if it is a config.yml) replaces the packaged entry; and pairs such as
            "learning_rate:1e-3", each of which replaces one setting. A setting of the networks
            such as "net_arch:[64, 64]" replaces that one in `policy_kwargs`. A mapping holds
            complete settings and replaces the packaged entry as a file does.

    Raises:
        HyperparameterError: if a file cannot be read, or a setting is unknown, impossible or not
            supported.
    """
    if algorithm not in ALGORITHMS:
        raise unknown("algorithm", algorithm, ALGORITHMS)
    if isinstance(given, Mapping):
        return read_settings(algorithm, given)
    given = (given,) if isinstance(given, str) else given
    files = [item for item in given if _is_file(item)]
    if len(files) > 1:
        raise HyperparameterError(f"give one file of settings, not {' and '.join(files)}")
    path = Path(files[0]) if files else Path(__file__).with_name(f"{algorithm}.yml")
    settings = dict(_entry(path, env_id))
    for item in given:
        if item not in files:
            settings |= _override(algorithm, settings, item)
    return read_settings(algorithm, settings)


def _is_file(item: str) -> bool:
    return item.lower().endswith(_YAML) or not _PAIR.fullmatch(item)


def _entry(path: Path, env_id: str) -> Mapping[str, Any]:
    try:
        data = _packaged(path) if path.parent == Path(__file__).parent else read_yaml(path)
    except CheckpointError as error:
        is_yaml = path.suffix.lower() in _YAML
        hint = "" if is_yaml else "; give a YAML file, or pairs such as gamma:0.99"
        raise HyperparameterError(f"{error}{hint}") from error
    if not SETTINGS.isdisjoint(data):
        return data
    names = (env_id, env_id.rpartition(":")[2], "default")
    name = next((name for name in names if name in data), None)
    if name is None:
        raise unknown(f"environment in {path}:", env_id, [str(key) for key in data])
    entry = data[name]
    if not isinstance(entry, dict):
        raise HyperparameterError(f"{path}: {name} is {shown(entry)}, not settings")
    return entry


@functools.cache
def _packaged(path: Path) -> Mapping[str, Any]:
    """The settings in a file of this package, which is read once, since that takes 20 ms."""
    return read_yaml(path)


def _override(algorithm: str, settings: Mapping[str, Any], item: str) -> dict[str, Any]:
    match = _PAIR.fullmatch(item)
    assert match is not None  # else it would have been taken for a file
    key, text = match[1], match[2]
    value = _read_value(text)
    if key in POLICIES[algorithm]:
        current = read_policy_kwargs(algorithm, settings.get("policy_kwargs"))
        changed = read_policy_kwargs(algorithm, {**current, key: value})
        return {"policy_kwargs": write_policy_kwargs(changed)}
    return {key: text if key in _CODE and isinstance(value, dict) else value}


def _read_value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if re.fullmatch(r"[A-Za-z][\w.+-]*", text):  # a word: auto, lin_3e-4, ornstein-uhlenbeck, ReLU
        return text
    value = read_literal(text)
    return list(value) if isinstance(value, tuple) else value


def read_settings(algorithm: str, settings: Mapping[str, Any]) -> Hyperparameters:
    """Check complete settings as rl-zoo writes them, and take them apart.

    Raises:
        HyperparameterError: if one is unknown, impossible or not supported.
    """
    for key in _UNSUPPORTED:
        if settings.get(key):
            raise HyperparameterError(
                f"{key} is not supported: agents are trained on the plain environment, with "
                "Stable-Baselines3's own buffers"
            )
    raw = {"policy": "MlpPolicy", **settings}
    raw = {key: to_number(value) for key, value in raw.items() if key not in _UNSUPPORTED}
    if raw["policy"] != "MlpPolicy":
        raise HyperparameterError(f"policy {shown(raw['policy'])} is not supported; MlpPolicy is")
    noise_keys = _NOISE_KEYS if algorithm in NOISY else ()
    checks = ALGORITHMS[algorithm]
    known = {*checks, *_SHARED, *noise_keys}
    for key in raw:
        if key not in known:
            raise unknown(f"setting of {algorithm}", key, known)
    steps = raw.get("n_timesteps")
    result = Hyperparameters(
        n_envs=COUNT("n_envs", raw.get("n_envs", 1)),
        n_timesteps=None if steps is None else COUNT("n_timesteps", steps),
        normalize=_read_normalize(raw.get("normalize", False)),
        model={
            key: checks[key](key, _from_text(key, value))
            for key, value in raw.items()
            if key in checks
        },
        policy_kwargs=read_policy_kwargs(algorithm, raw.get("policy_kwargs")),
        noise=_read_noise(raw),
        env_kwargs=_read_env_kwargs(raw.get("env_kwargs")),
        raw=dict(sorted(raw.items())),
    )
    _check_together(algorithm, result)
    return result


def _from_text(key: str, value: Any) -> Any:
    return read_literal(value) if key == "train_freq" and isinstance(value, str) else value


def _read_normalize(value: Any) -> Normalization | None:
    given = read_literal(value) if isinstance(value, str) else value
    if not given:
        return None
    checks: dict[str, Check] = {
        "norm_obs": switch,
        "norm_reward": switch,
        "clip_obs": POSITIVE,
        "clip_reward": POSITIVE,
    }
    return Normalization(**({} if given is True else mapping("normalize", given, checks)))


def _read_noise(settings: Mapping[str, Any]) -> tuple[str, float] | None:
    kind, std = (settings.get(key) for key in _NOISE_KEYS)
    if kind is None and std is None:
        return None
    if kind not in _NOISES:
        raise refusal("noise_type", kind, f"{' or '.join(_NOISES)}, with a noise_std")
    return kind, POSITIVE("noise_std", std)


def _read_env_kwargs(value: Any) -> dict[str, Any]:
    given = read_literal(value) if isinstance(value, str) else value or {}
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise refusal("env_kwargs", value, "a mapping of the environment's arguments")
    for key, item in given.items():
        items = item if isinstance(item, list | tuple) else [item]
        if not all(part is None or isinstance(part, bool | int | float | str) for part in items):
            raise refusal(f"env_kwargs {key}", item, "a number, text or a list of them")
    return dict(given)


def _check_together(algorithm: str, given: Hyperparameters) -> None:
    """Check which settings go together.

    Raises:
        HyperparameterError: if two settings contradict each other.
    """
    model, policy = given.model, given.policy_kwargs
    train_freq = model.get("train_freq")
    if given.n_envs > 1 and isinstance(train_freq, tuple) and train_freq[1] == "episode":
        raise HyperparameterError("train_freq in episodes needs n_envs: 1")
    if policy.get("squash_output") and not model.get("use_sde"):
        raise HyperparameterError("squash_output in policy_kwargs needs use_sde: true")
    if algorithm == "a2c" and model.get("use_rms_prop", True) and "optimizer_kwargs" in policy:
        raise HyperparameterError(
            "optimizer_kwargs in policy_kwargs would be ignored: A2C sets up RMSprop itself; "
            "add use_rms_prop: false"
        )
    quantiles, dropped = policy.get("n_quantiles", 25), model.get("top_quantiles_to_drop_per_net")
    if dropped is not None and dropped >= quantiles:
        raise HyperparameterError(
            f"top_quantiles_to_drop_per_net is {dropped}; it must be below n_quantiles, {quantiles}"
        )
