"""Integer layers that give what the float layers gave, in the states that the agent visits.

GPTQ (Frantar et al. 2023, arXiv 2210.17323), with what the layers before have lost already taken
into account, and with the bias taking up what is left on average (Nagel et al. 2019, arXiv
1906.04721, section 4.2). Networks of policies are so small that this takes a second.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from squeezerl.errors import CompressionError
from squeezerl.methods.integers import Scales, as_half, power_of_two, step_by_row, weight_limits
from squeezerl.network.activations import Activation
from squeezerl.network.network import Float, IntegerTensor, Layer, Network, as_float, level_count

_Doubles = npt.NDArray[np.float64]
# Added to the diagonal of the Hessian, as a share of its mean.
_DAMPING = 0.01
_MOST_FEATURES = 8192
_SHARES = np.linspace(1, 0.3, 29)  # of the scale that holds the largest weight


def reconstructed(
    layer: Layer, values: Float, rounded: Float, *, scales: Scales, bits: float, least: Float
) -> Layer:
    """The layer with integer weights and a float bias.

    Args:
        layer: in float.
        values: that it took in the float network, (n, in).
        rounded: what it takes now in the same states, (n, in).
        scales: see `best_scale`, as for `bits`.
        bits: of each weight.
        least: see `least_scale`.

    Raises:
        CompressionError: if it takes so many features that their Hessian is too large.
    """
    if layer.in_features > _MOST_FEATURES:
        raise CompressionError(
            f"a layer of {layer.in_features} inputs is too wide for rounding=gptq, which takes at "
            f"most {_MOST_FEATURES}; use rounding=nearest"
        )
    weight, bias = as_float(layer.weight).astype(np.float64), as_float(layer.bias)
    before, now = values.astype(np.float64), rounded.astype(np.float64)
    hessian = now.T @ now / len(now)
    mean = float(np.diag(hessian).mean())
    hessian += _DAMPING * (mean if mean > 1e-30 else 1.0) * np.eye(len(hessian))
    # The weights that make most of the inputs as they are now.
    lost = now.T @ (before - now) / len(now)
    target = weight + np.linalg.solve(hessian, lost @ weight.T).T
    scale = best_scale(target, np.diag(hessian), scales=scales, bits=bits, least=least)
    integers = _round_in_turn(target, hessian, scale, bits)
    zero = level_count(bits) // 2
    stored = IntegerTensor(
        (integers + zero).astype(np.uint8), scale, np.full(scale.shape, zero, np.uint8), bits
    )
    missing = before.mean(axis=0) @ weight.T - now.mean(axis=0) @ as_float(stored).T
    return dataclasses.replace(layer, weight=stored, bias=(bias + missing).astype(np.float32))


def best_scale(
    weight: _Doubles, importance: _Doubles, *, scales: Scales, bits: float, least: Float
) -> Float:
    """The scale for which rounding to the nearest integer loses least, (out,) or ().

    Args:
        weight: (out, in).
        importance: of the squared error in each column, (in,).
        scales: one for each row ("channel"), also as powers of two ("shift"), or one for all.
        bits: of each weight; in 8 bits, the scale holds the largest weight.
        least: see `least_scale`.
    """
    low, high = weight_limits(bits)
    axis = None if scales == "tensor" else 1
    largest = np.asarray(np.abs(weight).max(axis=axis)) / high
    largest = np.where(largest < np.finfo(np.float32).tiny, 1, largest)
    largest = np.maximum(largest, least.max() if scales == "tensor" else least)
    short = power_of_two if scales == "shift" else as_half
    tried = np.stack([short(share * largest) for share in (_SHARES if bits < 8 else [1.0])])
    losses = []
    for scale in tried:
        step = step_by_row(scale)
        error = np.clip(np.rint(weight / step), low, high) * step - weight
        losses.append((error**2 * importance).sum(axis=axis))
    best = np.argmin(np.stack(losses), axis=0)
    return np.asarray(np.take_along_axis(tried, best[np.newaxis], axis=0)[0], np.float32)


def _round_in_turn(weight: _Doubles, hessian: _Doubles, scale: Float, bits: float) -> _Doubles:
    """Integers (out, in): column by column, the rest taking up what rounding one has lost.

    The columns whose inputs are largest come first.
    """
    low, high = weight_limits(bits)
    order = np.argsort(-np.diag(hessian), kind="stable")
    inverse = np.linalg.inv(hessian[np.ix_(order, order)])
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left, step = weight[:, order], np.asarray(scale, np.float64)
    integers = np.empty_like(left)
    for column in range(left.shape[1]):
        integers[:, column] = np.clip(np.rint(left[:, column] / step), low, high)
        error = (left[:, column] - integers[:, column] * step) / upper[column, column]
        left[:, column + 1 :] -= np.outer(error, upper[column, column + 1 :])
    restored = np.empty_like(integers)
    restored[:, order] = integers
    return restored


def equalized(network: Network, values: dict[str, Float]) -> Network:
    """The same policy, with hidden features scaled to use the integers better.

    Where an activation is f(c x) = c f(x) for c > 0, a feature can be divided by any number before
    it if the weights behind take the inverse (Nagel et al. 2019, section 4.1). The numbers balance
    the range of the feature with that of its weights (Xiao et al. 2023, arXiv 2211.10438, eq. 4).

    Args:
        network: in float.
        values: of the inputs of its layers, as they are seen.
    """
    layers = list(network.layers)
    for index in range(len(layers) - 1):
        layer, behind = layers[index], layers[index + 1]
        if layer.activation is None or not _is_homogeneous(layer.activation):
            continue
        width = layer.out_features
        weight = as_float(behind.weight).copy()
        ranges = np.abs(values[network.input_of(index + 1)][:, :width]).max(axis=0)
        sizes = np.abs(weight[:, :width]).max(axis=0)
        alive = (ranges > 0) & (sizes > 0)
        factors = np.ones(width, np.float32)
        factors[alive] = np.sqrt(ranges[alive] / sizes[alive])
        if alive.any():
            factors[alive] /= np.exp(np.log(factors[alive]).mean())
        weight[:, :width] *= factors
        layers[index] = dataclasses.replace(
            layer,
            weight=as_float(layer.weight) / factors[:, np.newaxis],
            bias=as_float(layer.bias) / factors,
        )
        layers[index + 1] = dataclasses.replace(behind, weight=weight)
    return network.replace(layers=tuple(layers))


def _is_homogeneous(activation: str) -> bool:
    return Activation.of(activation).name in ("ReLU", "LeakyReLU", "PReLU")
