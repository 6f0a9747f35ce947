"""PTDQ: int8 weights, and values quantized with a scale computed at every call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, final

from squeezerl.methods.base import ExpectedLayer, Given, Spec, check_keep, register_spec
from squeezerl.methods.integers import (
    centered_outputs,
    expect_integers,
    with_integer_layers,
)
from squeezerl.network.network import DynamicRounding, Network
from squeezerl.records import MethodRecord


@final
@register_spec
@dataclass(frozen=True, kw_only=True)
class DynamicQuantization(Spec):
    """Post-training dynamic quantization to int8.

    Args:
        per_channel: one weight scale per output neuron; `False` is the study's naive setting.
        keep: names of layers that stay in float.
    """

    kind = "int8:dynamic"
    aliases: ClassVar = {"ptdq": "int8:dynamic", "ptdq-naive": "int8:dynamic:per_channel=no"}
    gives_integers = True

    per_channel: bool = True
    keep: tuple[str, ...] = ()

    @property
    def record(self) -> MethodRecord:
        """See `Spec`."""
        return MethodRecord(
            name="ptdq" if self.per_channel else "ptdq-naive",
            label="PTDQ (dynamic int8)" if self.per_channel else "naive PTDQ (per tensor)",
            short="PTDQ" if self.per_channel else "naive PTDQ",
            group="quantization",
            color="#0072B2",
            marker="s" if self.per_channel else "1",
        )

    @property
    def named_fields(self) -> tuple[str, ...]:
        """See `Spec`."""
        return ("per_channel",)

    @classmethod
    def candidates(cls) -> Sequence[Self]:
        """See `Spec`."""
        return (cls(),)

    def apply(self, network: Network, given: Given) -> Network:
        """See `Spec`."""
        check_keep(self.keep, network)
        inputs = [
            network.input_of(index)
            for index, name in enumerate(network.named_layers)
            if name not in self.keep
        ]
        return with_integer_layers(
            centered_outputs(network, self.keep) if self.per_channel else network,
            dict.fromkeys(inputs, DynamicRounding()),
            per_channel=self.per_channel,
            keep=self.keep,
        )

    def expect(self, layers: Sequence[ExpectedLayer]) -> list[ExpectedLayer]:
        """See `Spec`."""
        return expect_integers(layers, per_channel=self.per_channel, keep=self.keep)
