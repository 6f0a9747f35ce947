"""Specs: frozen objects that say how to compress, with a JSON round trip and a content hash.

A new method is one dataclass here, one module beside this one and one entry in `compress.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from squeezerl.errors import SpecError

MIN_RATIO, MAX_RATIO = 0.0, 0.95


@dataclass(frozen=True, kw_only=True)
class DynamicQuantization:
    """PTDQ: int8 weights, activations quantized with a scale computed at every call.

    Args:
        per_channel: one weight scale per output neuron; `False` is the study's naive setting.
        keep: names of layers that stay in float.
    """

    kind: ClassVar[str] = "dynamic_quantization"
    version: ClassVar[int] = 1
    per_channel: bool = True
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_types(self.keep, self.per_channel)


@dataclass(frozen=True, kw_only=True)
class StaticQuantization:
    """PTSQ: int8 weights, activations quantized with scales fixed by calibration.

    Args:
        per_channel: one weight scale per output neuron; `False` is the study's naive setting.
        layers_only: quantize what enters the linear layers and nothing else. `False` hands the
            whole graph to the quantizer, observation normaliser included, as naive use does.
        keep: names of layers that stay in float.
    """

    kind: ClassVar[str] = "static_quantization"
    version: ClassVar[int] = 1
    per_channel: bool = True
    layers_only: bool = True
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_types(self.keep, self.per_channel, self.layers_only)


@dataclass(frozen=True, kw_only=True)
class QuantizationAwareTraining:
    """QAT: int8 weights and activations, with the scales that a policy was trained with.

    The policy learned behind fake quantization (Jacob et al. 2018, arXiv 1712.05877, section 3), so
    `compress` takes the activations' scales from the training instead of from observations.

    Args:
        per_channel: one weight scale per output neuron; `False` is the study's naive setting.
        per_feature: each feature of the observation has a range of its own.
        keep: names of layers that stay in float.
    """

    kind: ClassVar[str] = "quantization_aware_training"
    version: ClassVar[int] = 1
    per_channel: bool = True
    per_feature: bool = True
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_types(self.keep, self.per_channel, self.per_feature)


@dataclass(frozen=True, kw_only=True)
class StructuredPruning:
    """Remove the neurons of least group norm from every hidden layer (DepGraph, arXiv 2301.12900).

    Args:
        norm: "l1" or "l2".
        ratio: share of each hidden layer's neurons to remove, between 0 and 0.95.
    """

    kind: ClassVar[str] = "structured_pruning"
    version: ClassVar[int] = 1
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

    def removed(self, width: int) -> int:
        """Neurons that a hidden layer of this width loses."""
        return round(width * self.ratio)


def _check_types(keep: object, *switches: object) -> None:
    if not isinstance(keep, tuple) or not all(isinstance(name, str) for name in keep):
        raise SpecError(f"keep is {keep!r}; it must be a tuple of layer names")
    if not all(isinstance(switch, bool) for switch in switches):
        raise SpecError("per_channel, per_feature and layers_only must be True or False")


Quantization = DynamicQuantization | StaticQuantization | QuantizationAwareTraining
Spec = Quantization | StructuredPruning
_KINDS: dict[str, type[Spec]] = {
    cls.kind: cls
    for cls in (
        DynamicQuantization,
        StaticQuantization,
        QuantizationAwareTraining,
        StructuredPruning,
    )
}


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """A spec as plain data; `spec_from_json` is its inverse."""
    fields = dataclasses.asdict(spec)
    if "keep" in fields:
        fields["keep"] = list(fields["keep"])  # as it comes back from JSON
    return {"kind": spec.kind, "version": spec.version, **fields}


def spec_from_json(data: dict[str, Any]) -> Spec:
    """The spec that `spec_to_json` wrote.

    Raises:
        SpecError: for an unknown kind, version or field.
    """
    fields = {**data}
    kind, version = fields.pop("kind", None), fields.pop("version", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise SpecError(f"unknown spec {kind!r}; known are {', '.join(_KINDS)}")
    cls = _KINDS[kind]
    if version != cls.version:
        raise SpecError(f"{kind} version {version!r}; this release reads version {cls.version}")
    if isinstance(fields.get("keep"), list):
        fields["keep"] = tuple(fields["keep"])
    try:
        return cls(**fields)
    except TypeError as error:
        raise SpecError(f"{kind}: {error}") from error


def specs_hash(specs: Sequence[Spec]) -> str:
    """A content hash: equal for equal sequences of specs, on every machine."""
    text = json.dumps([spec_to_json(spec) for spec in specs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def check_sequence(specs: Sequence[Spec]) -> None:
    """Specs compose in order; a quantization can only come last, and once.

    Raises:
        SpecError: for any other order.
    """
    for spec in specs:
        if not isinstance(spec, tuple(_KINDS.values())):
            raise SpecError(
                f"{spec!r} is no spec; use StructuredPruning(ratio=0.3) and the like, or "
                "specs_for('l2', 0.3)"
            )
    if any(isinstance(spec, Quantization) for spec in specs[:-1]):
        raise SpecError("a quantization must be the last step: prune first, then quantize")


METHODS = ("float", "ptdq", "ptsq", "l1", "l2")


def specs_for(method: str, ratio: float | None = None, *, naive: bool = False) -> tuple[Spec, ...]:
    """The specs of one of the study's methods by its short name.

    Args:
        method: "float", "ptdq", "ptsq", "l1" or "l2".
        ratio: share of neurons to remove, for "l1" and "l2" only.
        naive: quantize as the study did: per tensor, the whole graph.

    Raises:
        SpecError: if the method is unknown, or its ratio is missing or superfluous.
    """
    if method == "qat":
        raise SpecError("qat happens in training: squeezerl train ALGO ENV --qat int8 -o DIR")
    if method not in METHODS:
        raise SpecError(f"unknown method {method!r}; known are {', '.join(METHODS)}")
    if naive and method not in ("ptdq", "ptsq"):
        raise SpecError("naive settings exist for quantization only: ptdq and ptsq")
    if method in ("l1", "l2"):
        if ratio is None:
            raise SpecError(f"method {method!r} needs a ratio, for example 0.3 for 30 %")
        return (StructuredPruning(norm="l1" if method == "l1" else "l2", ratio=ratio),)
    if ratio is not None:
        raise SpecError(f"method {method!r} takes no ratio; l1 and l2 do")
    if method == "ptdq":
        return (DynamicQuantization(per_channel=not naive),)
    if method == "ptsq":
        return (StaticQuantization(per_channel=not naive, layers_only=not naive),)
    return ()
