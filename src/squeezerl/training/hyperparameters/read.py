"""Merged settings, as rl-zoo writes them, become the parts that a training is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from squeezerl.errors import HyperparameterError
from squeezerl.training.hyperparameters.check import (
    Check,
    mapping,
    refusal,
    shown,
    switch,
    to_number,
    unknown,
)
from squeezerl.training.hyperparameters.literal import read_literal
from squeezerl.training.hyperparameters.network import read_policy_kwargs
from squeezerl.training.hyperparameters.tables import ALGORITHMS, COUNT, NOISY, POSITIVE

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
# A file that has one of these at its top is one environment's settings, as config.yml is.
SETTINGS = frozenset({*_SHARED, *_NOISE_KEYS, *_UNSUPPORTED}.union(*ALGORITHMS.values()))


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """What Stable-Baselines3's VecNormalize does; its gamma is the algorithm's."""

    norm_obs: bool = True
    norm_reward: bool = True
    clip_obs: float = 10.0
    clip_reward: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Settings for one algorithm on one environment, checked, as plain data.

    Args:
        n_envs: environments that are played side by side.
        n_timesteps: steps to train for; `None` if the settings do not say.
        normalize: what is normalised; `None` for nothing.
        model: keywords for the algorithm's class; schedules are text such as "lin_0.001".
        policy_kwargs: keywords for MlpPolicy; the activation is a name such as "ReLU".
        noise: kind ("normal" or "ornstein-uhlenbeck") and deviation of the action noise.
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


def read_settings(algorithm: str, settings: Mapping[str, Any]) -> Hyperparameters:
    """The parts of merged settings.

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
    """What each setting alone does not show.

    Raises:
        HyperparameterError: if two do not go together.
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
