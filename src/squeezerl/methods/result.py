"""What compression returns."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from squeezerl.methods.specs import Spec
from squeezerl.records import LayerRecord


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Shapes of one observation and one action; `discrete` actions are indices."""

    observation_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    discrete: bool


@dataclass(frozen=True, kw_only=True)
class CompressedPolicy:
    """A policy ready to deploy: the model, how it came about, and its layers before and after."""

    model: onnx.ModelProto
    specs: tuple[Spec, ...]
    signature: Signature
    layers_before: tuple[LayerRecord, ...]
    layers: tuple[LayerRecord, ...]
