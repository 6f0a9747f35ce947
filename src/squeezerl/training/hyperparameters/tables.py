"""Which settings each algorithm and its networks have, and which values each setting may have.

The names are those of Stable-Baselines3 2.9. A check takes a setting's name and value, and returns
the value that Stable-Baselines3 takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from squeezerl.errors import HyperparameterError, did_you_mean
from squeezerl.training.hyperparameters.literal import read_literal, shown

LINEAR = "lin_"  # before a number: a schedule that falls linearly from there to 0
Check = Callable[[str, Any], Any]
_MOST = 1e15  # no setting needs more; this keeps out infinities and what overflows a float


@dataclass(frozen=True, kw_only=True)
class Number:
    """Checks a number.

    Args:
        low: the smallest value that is allowed.
        above: whether `low` itself is excluded.
        high: the largest value that is allowed.
        whole: whether it must be an integer; 1e6 is one.
        others: values that are allowed besides numbers.
        prefix: text that may stand before a number, for example "lin_".
    """

    low: float = 0.0
    above: bool = False
    high: float = math.inf
    whole: bool = False
    others: tuple[int | str | None, ...] = ()
    prefix: str = ""

    def __call__(self, name: str, value: Any) -> Any:
        """The value, as an `int` if it must be whole.

        Raises:
            HyperparameterError: if it is not allowed.
        """
        if any(value == other and type(value) is type(other) for other in self.others):
            return value
        if self.prefix and isinstance(value, str) and value.startswith(self.prefix):
            number = to_number(value.removeprefix(self.prefix))
            if self._holds(number) and number > 0:
                return value
        elif self._holds(number := to_number(value)):
            return int(number) if self.whole else number
        raise refusal(name, value, self._described())

    def _holds(self, number: Any) -> bool:
        if isinstance(number, bool) or not isinstance(number, int | float):
            return False
        if not abs(number) <= _MOST or (self.whole and number != int(number)):
            return False
        return self.low <= number <= self.high and not (self.above and number == self.low)

    def _described(self) -> str:
        text = "a whole number" if self.whole else "a number"
        if self.low > -math.inf:
            text += f" {'above' if self.above else 'of at least'} {self.low:g}"
        if self.high < math.inf:
            text += f" and at most {self.high:g}"
        others = [str(other) for other in self.others]
        if self.prefix:
            others.append(f"{self.prefix} and a number above 0")
        return " or ".join([text, *others])


def to_number(value: Any) -> Any:
    """A text such as "1e-3", which YAML does not take for a number, as one; else the value."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def switch(name: str, value: Any) -> bool:
    """Checks `True` or `False`.

    Raises:
        HyperparameterError: if it is neither.
    """
    if not isinstance(value, bool):
        raise refusal(name, value, "true or false")
    return value


def mapping(name: str, value: Any, checks: dict[str, Check]) -> dict[str, Any]:
    """Checks a mapping: each of its keys must have a check, which its value must pass.

    Raises:
        HyperparameterError: if it is no mapping, has other keys, or a value does not pass.
    """
    if not isinstance(value, dict):
        raise refusal(name, value, "a mapping of settings")
    for key in value:
        if key not in checks:
            raise unknown(f"setting in {name}", key, checks)
    return {key: checks[key](key, item) for key, item in value.items()}


def refusal(name: str, value: Any, allowed: str) -> HyperparameterError:
    """The error for a value that is not allowed."""
    return HyperparameterError(f"{name} is {shown(value)}; it must be {allowed}")


def unknown(what: str, name: Any, known: Collection[str]) -> HyperparameterError:
    """The error for a name that does not exist."""
    hint = did_you_mean(str(name), known)
    return HyperparameterError(
        f"unknown {what} {shown(name)}; known are {', '.join(sorted(known))}{hint}"
    )


COUNT = Number(low=1, whole=True)
COUNT_FROM_0 = Number(whole=True)
AMOUNT = Number()
POSITIVE = Number(above=True)
SHARE = Number(high=1)
POSITIVE_SHARE = Number(above=True, high=1)
SCHEDULED = Number(above=True, prefix=LINEAR)


def _train_freq(name: str, value: Any) -> int | tuple[int, str]:
    """Steps between updates, or (a number, "step" or "episode")."""
    if not isinstance(value, list | tuple):
        steps: int = COUNT(name, value)
        return steps
    if len(value) != 2 or value[1] not in ("step", "episode"):
        raise refusal(name, value, 'a whole number or a pair such as (1, "episode")')
    return COUNT(name, value[0]), value[1]


# The settings of the algorithms

_GSDE: dict[str, Check] = {
    "use_sde": switch,
    "sde_sample_freq": Number(low=1, whole=True, others=(-1,)),
}
_ON_POLICY: dict[str, Check] = {
    **_GSDE,
    "learning_rate": SCHEDULED,
    "n_steps": COUNT,
    "gamma": SHARE,
    "gae_lambda": SHARE,
    "normalize_advantage": switch,
    "stats_window_size": COUNT,
}
_ACTOR_CRITIC_LOSS: dict[str, Check] = {
    "ent_coef": AMOUNT,
    "vf_coef": AMOUNT,
    "max_grad_norm": POSITIVE,
}
_OFF_POLICY: dict[str, Check] = {
    "learning_rate": SCHEDULED,
    "buffer_size": COUNT,
    "learning_starts": COUNT_FROM_0,
    "batch_size": COUNT,
    "tau": POSITIVE_SHARE,
    "gamma": SHARE,
    "train_freq": _train_freq,
    "gradient_steps": Number(low=1, whole=True, others=(-1,)),
    "n_steps": COUNT,
}
_SAC: dict[str, Check] = {
    **_OFF_POLICY,
    **_GSDE,
    "ent_coef": Number(others=("auto",), prefix="auto_"),
    "target_update_interval": COUNT,
    "target_entropy": Number(low=float("-inf"), others=("auto",)),
    "use_sde_at_warmup": switch,
    "stats_window_size": COUNT,
}
_DQN: dict[str, Check] = {
    **_OFF_POLICY,
    "target_update_interval": COUNT,
    "exploration_fraction": POSITIVE_SHARE,
    "exploration_initial_eps": SHARE,
    "exploration_final_eps": SHARE,
    "max_grad_norm": POSITIVE,
    "stats_window_size": COUNT,
}

ALGORITHMS: dict[str, dict[str, Check]] = {
    "trpo": {
        **_ON_POLICY,
        "batch_size": COUNT,
        "cg_max_steps": COUNT,
        "cg_damping": AMOUNT,
        "line_search_shrinking_factor": POSITIVE_SHARE,
        "line_search_max_iter": COUNT,
        "n_critic_updates": COUNT,
        "target_kl": POSITIVE,
        "sub_sampling_factor": COUNT,
    },
    "ppo": {
        **_ON_POLICY,
        **_ACTOR_CRITIC_LOSS,
        "batch_size": COUNT,
        "n_epochs": COUNT,
        "clip_range": SCHEDULED,
        "clip_range_vf": Number(above=True, prefix=LINEAR, others=(None,)),
        "target_kl": Number(above=True, others=(None,)),
    },
    "ddpg": _OFF_POLICY,
    "td3": {
        **_OFF_POLICY,
        "policy_delay": COUNT,
        "target_policy_noise": AMOUNT,
        "target_noise_clip": AMOUNT,
        "stats_window_size": COUNT,
    },
    "sac": _SAC,
    "a2c": {
        **_ON_POLICY,
        **_ACTOR_CRITIC_LOSS,
        "rms_prop_eps": POSITIVE,
        "use_rms_prop": switch,
    },
    "dqn": _DQN,
    "tqc": {**_SAC, "top_quantiles_to_drop_per_net": COUNT_FROM_0},
    "qrdqn": {**_DQN, "max_grad_norm": Number(above=True, others=(None,))},
}
NOISY = ("ddpg", "td3", "sac", "tqc")

# `policy_kwargs`: the networks and their optimizer

_CLASSES = ("features_extractor_class", "features_extractor_kwargs", "optimizer_class")


def _activation(name: str, value: Any) -> str:
    from squeezerl.network.activations import TORCH_CLASSES

    activation = read_literal(value) if isinstance(value, str) and "." in value else value
    if not isinstance(activation, str) or activation not in TORCH_CLASSES:
        raise refusal(name, value, f"one of {', '.join(sorted(TORCH_CLASSES))}")
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


_NETWORK: dict[str, Check] = {"activation_fn": _activation, "optimizer_kwargs": _optimizer}
_GSDE_NETWORK: dict[str, Check] = {
    "log_std_init": Number(low=float("-inf")),
    "use_expln": switch,
}
_ON_POLICY_NETWORK: dict[str, Check] = {
    **_NETWORK,
    **_GSDE_NETWORK,
    "net_arch": _actor_critic_widths,
    "ortho_init": switch,
    "full_std": switch,
    "squash_output": switch,
    "share_features_extractor": switch,
}
_OFF_POLICY_NETWORK: dict[str, Check] = {
    **_NETWORK,
    "net_arch": _actor_and_critics_widths,
    "n_critics": COUNT,
    "share_features_extractor": switch,
}
_SAC_NETWORK: dict[str, Check] = {**_OFF_POLICY_NETWORK, **_GSDE_NETWORK, "clip_mean": AMOUNT}
_DQN_NETWORK: dict[str, Check] = {**_NETWORK, "net_arch": _widths}

POLICIES: dict[str, dict[str, Check]] = {
    "trpo": _ON_POLICY_NETWORK,
    "ppo": _ON_POLICY_NETWORK,
    "ddpg": _OFF_POLICY_NETWORK,
    "td3": _OFF_POLICY_NETWORK,
    "sac": _SAC_NETWORK,
    "a2c": _ON_POLICY_NETWORK,
    "dqn": _DQN_NETWORK,
    "tqc": {**_SAC_NETWORK, "n_quantiles": COUNT},
    "qrdqn": {**_DQN_NETWORK, "n_quantiles": COUNT},
}


def read_policy_kwargs(algorithm: str, value: Any) -> dict[str, Any]:
    """`policy_kwargs`, given as a mapping or as Python's `dict(...)`; activations by their names.

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
    """`policy_kwargs` as the text that rl-zoo reads."""
    items = (
        f"{key}=nn.{value}" if key == "activation_fn" else f"{key}={value!r}"
        for key, value in values.items()
    )
    return f"dict({', '.join(items)})"
