"""`policy_kwargs`: what the networks look like, and their optimizer."""

from __future__ import annotations

from typing import Any

from squeezerl.errors import HyperparameterError
from squeezerl.training.hyperparameters.check import Check, Number, mapping, refusal, switch
from squeezerl.training.hyperparameters.literal import read_literal
from squeezerl.training.hyperparameters.tables import AMOUNT, COUNT, POSITIVE

_CLASSES = ("features_extractor_class", "features_extractor_kwargs", "optimizer_class")


def _activation(name: str, value: Any) -> str:
    from squeezerl.network.activations import ACTIVATIONS

    activation = read_literal(value) if isinstance(value, str) and "." in value else value
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise refusal(name, value, f"one of {', '.join(sorted(ACTIVATIONS))}")
    return activation


def _betas(name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise refusal(name, value, "two numbers")
    first, second = (Number(high=1)(name, item) for item in value)
    return first, second


def _optimizer(name: str, value: Any) -> dict[str, Any]:
    checks: dict[str, Check] = {
        "betas": _betas,
        "eps": POSITIVE,
        "weight_decay": AMOUNT,
        "amsgrad": switch,
        "fused": switch,
        "foreach": switch,
    }
    return mapping(name, value, checks)


def _widths(name: str, value: Any) -> list[int]:
    if not isinstance(value, list | tuple):
        raise refusal(name, value, "a list of layer widths")
    return [COUNT(f"each width of {name}", width) for width in value]


def _actor_critic_widths(name: str, value: Any) -> list[int] | dict[str, list[int]]:
    # rl-zoo wrote [dict(pi=..., vf=...)] when layers could still be shared between the two.
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    if isinstance(value, dict):
        return mapping(name, value, {"pi": _widths, "vf": _widths})
    return _widths(name, value)


def _actor_and_critics_widths(name: str, value: Any) -> list[int] | dict[str, list[int]]:
    if not isinstance(value, dict):
        return _widths(name, value)
    if set(value) != {"pi", "qf"}:
        raise refusal(name, value, "a list of layer widths, or dict(pi=[...], qf=[...])")
    return mapping(name, value, {"pi": _widths, "qf": _widths})


_COMMON: dict[str, Check] = {"activation_fn": _activation, "optimizer_kwargs": _optimizer}
_NOISE: dict[str, Check] = {
    "log_std_init": Number(low=float("-inf")),
    "use_expln": switch,
}
_ON_POLICY: dict[str, Check] = {
    **_COMMON,
    **_NOISE,
    "net_arch": _actor_critic_widths,
    "ortho_init": switch,
    "full_std": switch,
    "squash_output": switch,
    "share_features_extractor": switch,
}
_OFF_POLICY: dict[str, Check] = {
    **_COMMON,
    "net_arch": _actor_and_critics_widths,
    "n_critics": COUNT,
    "share_features_extractor": switch,
}
_SAC: dict[str, Check] = {**_OFF_POLICY, **_NOISE, "clip_mean": AMOUNT}
_DQN: dict[str, Check] = {**_COMMON, "net_arch": _widths}

POLICIES: dict[str, dict[str, Check]] = {
    "trpo": _ON_POLICY,
    "ppo": _ON_POLICY,
    "ddpg": _OFF_POLICY,
    "td3": _OFF_POLICY,
    "sac": _SAC,
    "a2c": _ON_POLICY,
    "dqn": _DQN,
    "tqc": {**_SAC, "n_quantiles": COUNT},
    "qrdqn": {**_DQN, "n_quantiles": COUNT},
}


def read_policy_kwargs(algorithm: str, value: Any) -> dict[str, Any]:
    """`policy_kwargs`, given as a mapping or in Python's words; activations by their name.

    Raises:
        HyperparameterError: if a key or a value is not allowed.
    """
    given = read_literal(value) if isinstance(value, str) else value
    for key in _CLASSES:
        if isinstance(given, dict) and given.get(key):
            raise HyperparameterError(
                f"{key} in policy_kwargs is not supported; only the classes of MlpPolicy are"
            )
    return mapping("policy_kwargs", given or {}, POLICIES[algorithm])


def write_policy_kwargs(values: dict[str, Any]) -> str:
    """`policy_kwargs` in the words that rl-zoo reads."""
    items = (
        f"{key}=nn.{value}" if key == "activation_fn" else f"{key}={value!r}"
        for key, value in values.items()
    )
    return f"dict({', '.join(items)})"
