"""Activations by the name of their torch class, with torch's default settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]

_SELU_ALPHA, _SELU_SCALE = np.float32(1.6732632423543772), np.float32(1.0507009873554805)
_LEAKY_SLOPE = np.float32(0.01)


def _sigmoid(x: Float) -> Float:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)), np.float32)


def _elu(x: Float) -> Float:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _selu(x: Float) -> Float:
    return _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0)))


ACTIVATIONS: Mapping[str, Callable[[Float], Float]] = MappingProxyType(
    {
        "ReLU": lambda x: np.maximum(x, 0),
        "Tanh": np.tanh,
        "ELU": _elu,
        "LeakyReLU": lambda x: np.where(x >= 0, x, _LEAKY_SLOPE * x),
        "Sigmoid": _sigmoid,
        "Softplus": lambda x: np.logaddexp(x, np.float32(0)),
        "SELU": _selu,
        "SiLU": lambda x: x * _sigmoid(x),
    }
)
