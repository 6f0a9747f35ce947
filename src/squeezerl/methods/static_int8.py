"""PTSQ: int8 weights, and values quantized with scales that calibration fixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, final

import numpy as np

from squeezerl.errors import CompressionError
from squeezerl.methods.base import ExpectedLayer, Given, Need, Spec, check_keep, register_spec
from squeezerl.methods.calibration import values_seen
from squeezerl.methods.integers import (
    BITS,
    LEVELS,
    affine_rounding,
    centered_outputs,
    expect_integers,
    with_integer_layers,
)
from squeezerl.network.arithmetic import tanh_steps
from squeezerl.network.network import (
    ACTION,
    Float,
    IntegerTensor,
    Network,
    Normalizer,
    Rounding,
    as_float,
)
from squeezerl.records import MethodRecord

_CLIPPING = ("ReLU", "Hardtanh")


@final
@register_spec
@dataclass(frozen=True, kw_only=True)
class StaticQuantization(Spec):
    """Post-training static quantization to int8, from the range that calibration saw.

    Args:
        per_channel: one weight scale per output neuron; `False` is the study's naive setting.
        layers_only: quantize what enters the linear layers and nothing else. `False` quantizes
            what ONNX Runtime's quantizer does when it is handed the whole graph, as naive use does:
            the normaliser and the action, too.
        keep: names of layers that stay in float.
    """

    kind = "int8:static"
    aliases: ClassVar = {
        "ptsq": "int8:static",
        "ptsq-naive": "int8:static:per_channel=no:layers_only=no",
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"observations"})
    gives_integers = True

    per_channel: bool = True
    layers_only: bool = True
    keep: tuple[str, ...] = ()

    @property
    def record(self) -> MethodRecord:
        """See `Spec`."""
        naive = self._is_naive
        return MethodRecord(
            name="ptsq-naive" if naive else "ptsq",
            label="naive PTSQ (per tensor, whole graph)" if naive else "PTSQ (static int8)",
            short="naive PTSQ" if naive else "PTSQ",
            group="quantization",
            color="#009E73",
            marker="2" if naive else "D",
        )

    @property
    def _is_naive(self) -> bool:
        return not (self.per_channel or self.layers_only)

    @property
    def named_fields(self) -> tuple[str, ...]:
        """See `Spec`."""
        return ("per_channel", "layers_only") if self._is_naive else ()

    @classmethod
    def candidates(cls) -> Sequence[Self]:
        """See `Spec`."""
        return (cls(),)

    def apply(self, network: Network, given: Given) -> Network:
        """See `Spec`."""
        check_keep(self.keep, network)
        if not self.layers_only and network.head.sampling is not None:
            raise CompressionError(
                "naive use rounds the action, and this policy draws its actions; quantize the "
                "layers only, as int8:static does"
            )
        values = values_seen(network, given.observations, self._rounded_values(network))
        roundings = {n: affine_rounding(float(v.min()), float(v.max())) for n, v in values.items()}
        if not self.layers_only and network.normalizer is not None:
            normalizer = network.normalizer
            network = network.replace(
                normalizer=Normalizer(
                    mean=normalizer.mean,
                    inverse_std=_integer_factors(as_float(normalizer.inverse_std)),
                    clip=normalizer.clip,
                )
            )
        if not self.layers_only or not network.head.is_discrete:
            return self._in_integers(network, roundings)
        network = centered_outputs(network, self.keep)
        made = self._in_integers(network, roundings)
        name, last = [*network.named_layers.items()][-1]
        if name in self.keep:
            return made
        # What rounding adds on average would decide between actions that are nearly equal.
        before, after = (
            values_seen(of, given.observations, {name})[name].mean(axis=0) for of in (network, made)
        )
        last = dataclasses.replace(last, bias=as_float(last.bias) + before - after)
        return self._in_integers(network.replace(layers=(*network.layers[:-1], last)), roundings)

    def _in_integers(self, network: Network, roundings: Mapping[str, Rounding]) -> Network:
        return with_integer_layers(network, roundings, per_channel=self.per_channel, keep=self.keep)

    def expect(self, layers: Sequence[ExpectedLayer]) -> list[ExpectedLayer]:
        """See `Spec`."""
        return expect_integers(layers, per_channel=self.per_channel, keep=self.keep)

    def _rounded_values(self, network: Network) -> set[str]:
        """The names of the values to round."""
        inputs = {
            network.input_of(index)
            for index, name in enumerate(network.named_layers)
            if name not in self.keep
        }
        return inputs if self.layers_only else inputs | _rounded_by_naive_use(network, self.keep)


def _rounded_by_naive_use(network: Network, keep: Sequence[str]) -> set[str]:
    """What else is rounded where ONNX Runtime's quantizer is handed the whole graph.

    It rounds what goes into and comes out of products, and what ReLU and clipping make of it.
    """
    values = set()
    if network.normalizer is not None:
        values |= {"normalizer.center", "normalizer.clip"}
    for index, (name, layer) in enumerate(network.named_layers.items()):
        is_last = index == len(network.layers) - 1
        if name not in keep and not (is_last and network.head.kind == "clip"):
            # Hardtanh is clipping, by any bounds.
            clips = layer.activation is not None and layer.activation.startswith(_CLIPPING)
            values.add(f"activation{index}" if clips else name)
    if network.head.kind == "clip":
        values.add(ACTION)
    elif network.head.kind == "tanh":
        names = {name for name, _, _ in tanh_steps(network.head)}
        values |= names if len(names) > 1 else set()
    return values


def _integer_factors(values: Float) -> IntegerTensor:
    """The normaliser's factors in uint8, as naive use stores them."""
    rounding = affine_rounding(float(values.min()), float(values.max()))
    stored = np.clip(np.rint(values / np.float32(rounding.scale)) + rounding.zero_point, 0, LEVELS)
    return IntegerTensor(
        stored.astype(np.uint8),
        np.array(rounding.scale, np.float32),
        np.array(rounding.zero_point, np.uint8),
        BITS,
    )
