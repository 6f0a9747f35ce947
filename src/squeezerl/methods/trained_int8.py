"""QAT: int8 weights and values, with the roundings that a policy was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from squeezerl.errors import SpecError
from squeezerl.methods.base import ExpectedLayer, Given, Need, Spec, check_keep, register_spec
from squeezerl.methods.integers import expect_integers, with_integer_layers
from squeezerl.network.network import Network
from squeezerl.records import MethodRecord


@final
@register_spec
@dataclass(frozen=True, kw_only=True)
class QuantizationAwareTraining(Spec):
    """Quantization-aware training for int8.

    The policy learned behind fake quantization (Jacob et al. 2018, arXiv 1712.05877, section 3), so
    the roundings come from the training instead of from observations.

    Args:
        per_channel: one weight scale per output neuron; `False` is the study's naive setting.
        per_feature: each feature of the observation has a range of its own.
        keep: names of layers that stay in float.
    """

    kind = "int8:trained"
    aliases: ClassVar = {
        "qat": "int8:trained",
        "qat-naive": "int8:trained:per_channel=no:per_feature=no",
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"training"})
    gives_integers = True

    per_channel: bool = True
    per_feature: bool = True
    keep: tuple[str, ...] = ()

    @property
    def record(self) -> MethodRecord:
        """See `Spec`."""
        naive = not (self.per_channel or self.per_feature)
        return MethodRecord(
            name="qat-naive" if naive else "qat",
            label="naive QAT (per tensor)" if naive else "QAT (int8)",
            short="naive QAT" if naive else "QAT",
            group="quantization",
            color="#D55E00",
            marker="3" if naive else "v",
        )

    @property
    def named_fields(self) -> tuple[str, ...]:
        """See `Spec`."""
        return ("per_channel", "per_feature") if self.record.name == "qat-naive" else ()

    def apply(self, network: Network, given: Given) -> Network:
        """See `Spec`."""
        check_keep(self.keep, network)
        names = {*network.named_layers} - {*self.keep}
        if given.roundings is None or {*given.roundings} != names:
            raise SpecError(
                "qat happens in training: give `qat` when you train an agent, and the artifact is "
                "written beside it"
            )
        roundings = {
            network.input_of(index): given.roundings[name]
            for index, name in enumerate(network.named_layers)
            if name in names
        }
        return with_integer_layers(network, roundings, per_channel=self.per_channel, keep=self.keep)

    def expect(self, layers: Sequence[ExpectedLayer]) -> list[ExpectedLayer]:
        """See `Spec`."""
        return expect_integers(layers, per_channel=self.per_channel, keep=self.keep)
