"""Structured pruning of whole neurons by the norm of their group (DepGraph, arXiv 2301.12900).

In a chain of layers the groups are those that torch-pruning's dependency graph finds; the tests
hold the two against each other. Without torch, which takes seconds to import, this takes
milliseconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, final

import numpy as np
import numpy.typing as npt

from squeezerl.errors import CompressionError, SpecError
from squeezerl.methods.base import ExpectedLayer, Given, Spec, register_spec
from squeezerl.network.activations import Activation
from squeezerl.network.network import Network, as_float, part_of
from squeezerl.records import MethodRecord

Neurons = npt.NDArray[np.int64]
MIN_RATIO, MAX_RATIO = 0.0, 0.95
_CANDIDATES = tuple(percentage / 100 for percentage in range(5, 75, 5))


@final
@register_spec
@dataclass(frozen=True, kw_only=True)
class StructuredPruning(Spec):
    """Remove the neurons of least group norm from every hidden layer (DepGraph, arXiv 2301.12900).

    A neuron's importance is the L1 or L2 norm over its group: its incoming weights and the weights
    that the next layer applies to it. The output layer keeps all its neurons.

    Args:
        norm: "l1" or "l2".
        ratio: share of each hidden layer's neurons to remove, above 0 and at most 0.95.
    """

    kind = "prune"
    aliases: ClassVar = {"l1": "prune:l1", "l2": "prune:l2"}
    positional = ("norm", "ratio")
    swept = "ratio"

    takes_integers = True

    norm: Literal["l1", "l2"] = "l2"
    ratio: float

    def __post_init__(self) -> None:
        if self.norm not in ("l1", "l2"):
            raise SpecError(f"norm {self.norm!r} is not one of 'l1', 'l2'")
        if not isinstance(self.ratio, int | float) or not MIN_RATIO < self.ratio <= MAX_RATIO:
            raise SpecError(
                f"ratio {self.ratio} is out of range: the share of neurons to remove is above "
                f"{MIN_RATIO:g} and at most {MAX_RATIO:g} (0.3 removes 30 %)"
            )

    @property
    def record(self) -> MethodRecord:
        """See `Spec`."""
        first = self.norm == "l1"
        return MethodRecord(
            name=self.norm,
            label=f"{self.norm.upper()} pruning",
            short=self.norm.upper(),
            group="pruning",
            color="#E69F00" if first else "#CC79A7",
            marker="^" if first else "o",
        )

    @classmethod
    def candidates(cls) -> Sequence[Self]:
        """See `Spec`."""
        return [cls(norm=norm, ratio=ratio) for norm in ("l1", "l2") for ratio in _CANDIDATES]

    def apply(self, network: Network, given: Given) -> Network:
        """See `Spec`."""
        return _prune(network, self)[0]

    def expect(self, layers: Sequence[ExpectedLayer]) -> list[ExpectedLayer]:
        """See `Spec`."""
        expected = []
        lost = 0  # neurons of the layer before
        for index, layer in enumerate(layers):
            inputs, outputs = layer.in_features - lost, layer.out_features
            lost = self.removed(outputs) if index < len(layers) - 1 else 0
            expected.append(
                dataclasses.replace(
                    layer,
                    in_features=inputs,
                    out_features=outputs - lost,
                    scales=outputs - lost if layer.scales == outputs else layer.scales,
                )
            )
        return expected

    def removed(self, width: int) -> int:
        """Neurons that a hidden layer of this width loses."""
        return round(width * self.ratio)


def kept_neurons(network: Network, spec: StructuredPruning) -> tuple[Neurons, ...]:
    """The neurons that pruning keeps: for each hidden layer their indices, ascending.

    Raises:
        CompressionError: if a layer cannot lose the share that was asked for.
    """
    return _prune(network, spec)[1]


def random_neurons(
    network: Network, spec: StructuredPruning, generator: np.random.Generator
) -> tuple[Neurons, ...]:
    """As many neurons as pruning keeps of each hidden layer, drawn at random; ascending.

    Raises:
        CompressionError: if a layer cannot lose the share that was asked for.
    """
    return tuple(
        np.sort(generator.permutation(layer.out_features)[count:])
        for layer, count in zip(network.layers[:-1], _removed(network, spec), strict=True)
    )


def _removed(network: Network, spec: StructuredPruning) -> list[int]:
    """How many neurons each hidden layer loses."""
    layers = list(network.named_layers.items())
    if len(layers) < 2:
        raise CompressionError(
            "the policy has no hidden layer, so there is nothing to prune: leave that out"
        )
    removed = [spec.removed(layer.out_features) for _, layer in layers[:-1]]
    for (name, layer), count in zip(layers, removed, strict=False):
        if not 0 < count < layer.out_features:
            raise CompressionError(
                f"{name} has {layer.out_features} neurons, of which {spec.ratio:.0%} is {count}: "
                "a ratio must remove at least one neuron and leave at least one"
            )
    return removed


def _prune(network: Network, spec: StructuredPruning) -> tuple[Network, tuple[Neurons, ...]]:
    """The pruned network, and which neurons of each hidden layer it kept."""
    kept = []
    for index, count in enumerate(_removed(network, spec)):
        order = np.argsort(importance(network, index, spec.norm), kind="stable")
        kept.append(np.sort(order[count:]))
    layers = []
    for index, layer in enumerate(network.layers):
        weight, bias, activation = layer.weight, layer.bias, layer.activation
        if index > 0:
            before = network.layers[index - 1].out_features
            skipped = np.arange(before, layer.in_features)  # the columns of an input skip stay
            weight = part_of(weight, columns=np.concatenate([kept[index - 1], skipped]))
        if index < len(kept):
            weight, bias = part_of(weight, kept[index]), part_of(bias, kept[index])
            if activation is not None:
                activation = str(Activation.of(activation).of_neurons(kept[index]))
        layers.append(dataclasses.replace(layer, weight=weight, bias=bias, activation=activation))
    return network.replace(layers=tuple(layers)), tuple(kept)


def importance(network: Network, index: int, norm: str) -> npt.NDArray[np.float32]:
    """The norm of the group of each neuron of a hidden layer, (neurons,).

    In a chain of layers a group is two slices of weights.
    """
    power = 1 if norm == "l1" else 2
    incoming = np.abs(as_float(network.layers[index].weight)) ** power
    outgoing = np.abs(as_float(network.layers[index + 1].weight)) ** power
    width = network.layers[index].out_features
    total: npt.NDArray[np.float32] = incoming.sum(axis=1) + outgoing[:, :width].sum(axis=0)
    return total
