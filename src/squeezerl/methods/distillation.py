"""Distillation: a small network learns from nothing to act as the agent does."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np

from squeezerl.errors import CompressionError, SpecError
from squeezerl.methods.base import ExpectedLayer, Given, Need, Spec, register_spec
from squeezerl.methods.imitation import (
    STEPS_PER_SECOND,
    Lesson,
    check_given,
    imitate,
    teacher_states,
)
from squeezerl.methods.recovery import check_lesson
from squeezerl.methods.student import random_layers
from squeezerl.network.network import Network, Normalizer, as_float
from squeezerl.records import MethodRecord

_ACTIVATIONS = {"relu": "ReLU", "hardtanh": "Hardtanh", "tanh": "Tanh"}
# For an agent without a normaliser: where the new one clips, and the deviation below which a
# feature counts as constant.
_CLIP = 10.0
_CONSTANT = 1e-6


@final
@register_spec
@dataclass(frozen=True, kw_only=True)
class Distillation(Spec):
    """A smaller network imitates the agent in the states that it visits itself (DAgger).

    It has the agent's observation normaliser, or one of the states that the agent visits.

    Args:
        widths: of the hidden layers, "24x24"; "0" for a linear policy.
        activation: behind each hidden layer.
        input: "skip" gives the observation to the last layer as well.
        head: "same" as the agent's, or "clip" or "tanh" to the same bounds.
        normalizer: "fold" makes it a part of the weights that take the observation, which saves its
            bytes; nothing is clipped then. It suits weights in few bits with inputs in float.
        steps: of learning, with 512 states each. "30s" and "2m" stand for 1,000 steps a second.
        rate: Adam's rate at first; it falls to 0 along a cosine.
    """

    kind = "distill"
    positional = ("widths", "activation", "input")
    rates: ClassVar = {"steps": STEPS_PER_SECOND}
    needs: ClassVar[frozenset[Need]] = frozenset({"visits"})

    widths: tuple[int, ...]
    activation: Literal["relu", "hardtanh", "tanh"] = "relu"
    input: Literal["plain", "skip"] = "plain"
    head: Literal["same", "clip", "tanh"] = "same"
    normalizer: Literal["keep", "fold"] = "keep"
    steps: int = 60_000
    rate: float = 3e-3

    def __post_init__(self) -> None:
        check_lesson(self.steps, self.rate)
        if not self.widths or (min(self.widths) < 1 and self.widths != (0,)):
            raise SpecError(f"the widths of hidden layers must be at least 1, not {self.widths}")

    @property
    def hidden(self) -> tuple[int, ...]:
        """The widths of the hidden layers; none of a linear policy."""
        return () if self.widths == (0,) else self.widths

    @property
    def record(self) -> MethodRecord:
        """See `Spec`."""
        words = ["x".join(map(str, self.widths)), self.activation]
        words += ["skip"] if self.input == "skip" else []
        return MethodRecord(
            name="-".join(["distill", *words]),
            label=f"distilled to {' '.join(words)}",
            short=" ".join(words),
            group="distillation",
            color="#56B4E9",
            marker="X",
        )

    def apply(self, network: Network, given: Given) -> Network:
        """See `Spec`."""
        check_given(self, given)
        teacher = given.teacher
        assert teacher is not None
        if teacher.head.is_discrete and self.head != "same":
            raise CompressionError(
                f"the agent's actions are discrete, so no {self.head} bounds them"
            )
        lesson = Lesson(steps=self.steps, rate=self.rate)
        student = imitate(self._fresh(teacher, given), given, lesson)
        return student if self.normalizer == "keep" else without_normalizer(student)

    def expect(self, layers: Sequence[ExpectedLayer]) -> list[ExpectedLayer]:
        """See `Spec`."""
        inputs = layers[0].in_features
        widths = [inputs, *self.hidden, layers[-1].out_features]
        expected = [
            ExpectedLayer(name=f"layer{n}", in_features=widths[n], out_features=widths[n + 1])
            for n in range(len(widths) - 1)
        ]
        if self.input == "skip" and self.hidden:
            last = expected[-1]
            expected[-1] = dataclasses.replace(last, in_features=last.in_features + inputs)
        return expected

    def _fresh(self, teacher: Network, given: Given) -> Network:
        """The student before its first step."""
        widths = [math.prod(teacher.observation_shape), *self.hidden]
        head = teacher.head
        if self.head != "same":
            head = dataclasses.replace(head, kind=self.head, clip_mean=None)
        normalizer = teacher.normalizer
        if normalizer is None:
            states = teacher_states(given).reshape(-1, widths[0]).astype(np.float64)
            std = states.std(axis=0)
            normalizer = Normalizer(
                mean=states.mean(axis=0).astype(np.float32),
                inverse_std=(1 / np.where(std < _CONSTANT, 1, std)).astype(np.float32),
                clip=_CLIP,
            )
        return teacher.replace(
            layers=random_layers(
                [*widths, teacher.layers[-1].out_features],
                _ACTIVATIONS[self.activation],
                np.random.default_rng(given.seed),
                skip=self.input == "skip",
            ),
            head=head,
            normalizer=normalizer,
            roundings={},
        )


def without_normalizer(network: Network) -> Network:
    """The same policy with its normaliser in the weights; what was clipped no longer is."""
    if network.normalizer is None:
        return network
    factor = as_float(network.normalizer.inverse_std)
    center = factor * as_float(network.normalizer.mean)
    features, layers = len(factor), []
    for index, layer in enumerate(network.layers):
        if index == 0 or layer.skip:
            weight = as_float(layer.weight).copy()
            bias = as_float(layer.bias) - weight[:, -features:] @ center
            weight[:, -features:] *= factor
            layer = dataclasses.replace(layer, weight=weight, bias=bias)
        layers.append(layer)
    return network.replace(layers=tuple(layers), normalizer=None)
