"""Activations by the name of their torch class, with their settings.

An activation is written as text: "ReLU", "LeakyReLU:0.1", "Hardtanh:-2:2", "PReLU:0.25:0.1". The
numbers are its settings in torch's order; without them it has torch's default settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.errors import NetworkError

Float = npt.NDArray[np.float32]

_SELU_ALPHA, _SELU_SCALE = np.float32(1.6732632423543772), np.float32(1.0507009873554805)
GELU_ROOT, GELU_CUBE = np.float32((2 / np.pi) ** 0.5), np.float32(0.044715)
SQRT_2 = np.float32(2**0.5)


def _sigmoid(x: Float) -> Float:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)), np.float32)


def _elu(x: Float, alpha: float) -> Float:
    return np.where(x > 0, x, np.float32(alpha) * np.expm1(np.minimum(x, 0)))


def _selu(x: Float) -> Float:
    return _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0)))


def _softplus(x: Float) -> Float:
    return np.logaddexp(x, np.float32(0))


def _gelu(x: Float) -> Float:
    from scipy.special import erf  # 50 ms that other networks need not wait for

    return np.asarray(np.float32(0.5) * x * (1 + erf(x / SQRT_2)), np.float32)


def _gelu_tanh(x: Float) -> Float:
    with np.errstate(over="ignore"):
        gate = 1 + np.tanh(GELU_ROOT * (x + GELU_CUBE * (x * x * x)))
    return np.asarray(np.float32(0.5) * x * gate, np.float32)


def _prelu(x: Float, *slopes: float) -> Float:
    return np.where(x >= 0, x, np.asarray(slopes, np.float32) * x)


@dataclass(frozen=True)
class Kind:
    """What all activations of one name share.

    Args:
        compute: takes values (n, features) and the parameters.
        defaults: the settings, by the names of torch's arguments and in their order.
    """

    compute: Callable[..., Any]
    defaults: Mapping[str, float]


def _kind(compute: Callable[..., Any], **defaults: float) -> Kind:
    return Kind(compute, MappingProxyType(defaults))


ACTIVATIONS: Mapping[str, Kind] = MappingProxyType(
    {
        "ReLU": _kind(lambda x: np.maximum(x, 0)),
        "Tanh": _kind(np.tanh),
        "ELU": _kind(_elu, alpha=1.0),
        "LeakyReLU": _kind(_prelu, negative_slope=0.01),
        "Sigmoid": _kind(_sigmoid),
        "Softplus": _kind(_softplus),
        "SELU": _kind(_selu),
        "SiLU": _kind(lambda x: x * _sigmoid(x)),
        "GELU": _kind(_gelu),
        "GELUTanh": _kind(_gelu_tanh),
        "Mish": _kind(lambda x: x * np.tanh(_softplus(x))),
        "Hardtanh": _kind(
            lambda x, low, high: np.clip(x, np.float32(low), np.float32(high)),
            min_val=-1.0,
            max_val=1.0,
        ),
        "Softsign": _kind(lambda x: x / (1 + np.abs(x))),
        # Its slopes are learned: one for all features, or one for each.
        "PReLU": _kind(_prelu, init=0.25),
    }
)

# `nn.GELU(approximate="tanh")`; all the others are classes of torch.nn.
TORCH_CLASSES = tuple(name for name in ACTIVATIONS if name != "GELUTanh")


@dataclass(frozen=True)
class Activation:
    """A function of each feature.

    Args:
        name: one of `ACTIVATIONS`.
        parameters: numbers in single precision, in the order of torch's arguments: LeakyReLU's
            slope, ELU's alpha, Hardtanh's bounds, PReLU's slope or one slope for each feature.
            They are torch's defaults unless given.

    Raises:
        NetworkError: if there is no such activation.
    """

    name: str
    parameters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in ACTIVATIONS:
            raise NetworkError(
                f"activation {self.name!r} is not supported; supported are "
                f"{', '.join(sorted(ACTIVATIONS))}"
            )
        defaults = ACTIVATIONS[self.name].defaults
        given = self.parameters or tuple(defaults.values())
        rounded = tuple(np.asarray(given, np.float32).tolist())
        if not (len(given) == len(defaults) or self.is_learned):
            raise NetworkError(
                f"{self.name} has {len(defaults)} parameters ({', '.join(defaults)}), "
                f"not {len(given)}"
            )
        if not np.isfinite(rounded).all():
            raise NetworkError(f"{self.name} has parameters that are not finite numbers: {given}")
        if self.name == "Hardtanh" and not rounded[0] < rounded[1]:
            raise NetworkError(f"the bounds of a Hardtanh are {rounded}, not in ascending order")
        object.__setattr__(self, "parameters", rounded)

    @staticmethod
    @lru_cache(maxsize=256)
    def of(text: str) -> Activation:
        """The activation that a text such as "LeakyReLU:0.1" names.

        Raises:
            NetworkError: if there is none of that name, or if its settings are no numbers.
        """
        name, *numbers = text.split(":")
        try:
            return Activation(name, tuple(float(number) for number in numbers))
        except ValueError as error:
            raise NetworkError(f"activation {text!r}: {error}") from error

    @property
    def is_learned(self) -> bool:
        """Whether its parameters are weights: a PReLU's slopes."""
        return self.name == "PReLU"

    def __str__(self) -> str:
        """Its one text, with the parameters unless they are torch's defaults."""
        if self.parameters == Activation(self.name).parameters:
            return self.name
        numbers = [str(np.float32(x)).removesuffix(".0") for x in self.parameters]
        return ":".join([self.name, *numbers])

    def __call__(self, values: Float) -> Float:
        """The activation of values (n, features)."""
        result: Float = ACTIVATIONS[self.name].compute(values, *self.parameters)
        return result

    def of_neurons(self, neurons: npt.NDArray[np.int64]) -> Activation:
        """The activation of some of a layer's neurons: each keeps its own slope."""
        if not self.is_learned or len(self.parameters) == 1:
            return self
        return Activation(self.name, tuple(self.parameters[index] for index in neurons))
