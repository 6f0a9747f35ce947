"""Recipes: sequences of specs with one canonical text, "prune:l2:0.5 | int8:static"."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np

from squeezerl.errors import SpecError
from squeezerl.methods.base import (
    FLOAT,
    ExpectedLayer,
    Given,
    Need,
    Spec,
    SpecText,
    method_words,
    parse_spec,
    spec_from_json,
)
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network
from squeezerl.records import LayerRecord, MethodRecord

_SEPARATOR = " | "
# After a step that learns, later steps calibrate on so many steps in each environment.
_STEPS_AFTER = 100
_LONGEST_NAME = 60
_FLOAT_RECORD = MethodRecord(
    name=FLOAT, label=FLOAT, short=FLOAT, group="reference", color="#000000", marker="*"
)


@dataclass(frozen=True)
class Recipe:
    """Specs to apply in order; none at all leaves the policy in float32.

    Raises:
        SpecError: if the specs cannot follow each other.
    """

    steps: tuple[Spec, ...] = ()

    def __post_init__(self) -> None:
        for step in self.steps:
            if not isinstance(step, Spec):
                raise SpecError(
                    f"{step!r} is no spec; give a text such as 'prune:l2:0.3 | int8:static', or "
                    "specs such as StructuredPruning(ratio=0.3)"
                )
        # Values of NumPy's types would make other texts and hashes than equal plain ones.
        plain = tuple(step.from_fields(step.values) for step in self.steps)
        object.__setattr__(self, "steps", plain)
        quantized: Spec | None = None
        for step in self.steps:
            if quantized is not None and not step.takes_integers:
                raise SpecError(f"{step.text} cannot follow {quantized.text}, which gives integers")
            quantized = step if step.gives_integers else quantized
        for step in self.steps:
            if "training" in step.needs and len(self.steps) > 1:
                raise SpecError(f"{step.text} is the result of a training, so it stands alone")

    @classmethod
    def of(cls, given: RecipeLike) -> Self:
        """A recipe from its text, a spec, a sequence of specs, or a recipe.

        Raises:
            SpecError: if it is none of these, or makes no sense.
        """
        if isinstance(given, Recipe):
            return cls(given.steps)
        if isinstance(given, str):
            words = [word.strip() for word in given.split("|")]
            return cls() if words == [FLOAT] else cls(tuple(map(parse_spec, words)))
        return cls((given,) if isinstance(given, Spec) else tuple(given))

    @classmethod
    def from_json(cls, data: Sequence[Mapping[str, Any]]) -> Self:
        """The recipe that `to_json` wrote.

        Raises:
            SpecError: for an unknown kind, version or field.
        """
        return cls(tuple(spec_from_json(spec) for spec in data))

    def to_json(self) -> list[dict[str, Any]]:
        """Plain data."""
        return [step.to_json() for step in self.steps]

    @property
    def text(self) -> str:
        """The canonical text: equal recipes have the same, different ones another."""
        return _SEPARATOR.join(step.text for step in self.steps) or FLOAT

    @property
    def name(self) -> str:
        """A short name for folders and tables: "float", "ptdq", "l2-30", "l2-30+ptsq".

        Where that is long, the first step and a part of the recipe's hash.
        """
        name = "+".join(step.name for step in self.steps) or FLOAT
        if len(name) <= _LONGEST_NAME:
            return name
        return f"{self.steps[0].record.name}-{self.sha256[:6]}"

    @property
    def ratio(self) -> float | None:
        """The amount of the step that has one; `None` if none has, or several."""
        amounts = [step.amount for step in self.steps if step.amount is not None]
        return amounts[0] if len(amounts) == 1 else None

    @property
    def record(self) -> MethodRecord:
        """How results name and show it; recipes that differ in `ratio` only share it."""
        if len(self.steps) <= 1:
            return self.steps[0].record if self.steps else _FLOAT_RECORD
        records = [step.record for step in self.steps]
        several = self.ratio is None
        return MethodRecord(
            name=self.name if several else self._name_without_ratio,
            label=" + ".join(record.label for record in records),
            short=" + ".join(record.short for record in records),
            group=records[-1].group,
            color=records[0].color,
            marker=records[-1].marker,
            dash="--",
        )

    @property
    def _name_without_ratio(self) -> str:
        return "+".join(s.name if s.amount is None else s.record.name for s in self.steps)

    @property
    def needs(self) -> frozenset[Need]:
        """What it needs beside the network."""
        return frozenset().union(*(step.needs for step in self.steps))

    @property
    def needs_environment(self) -> bool:
        """Whether it plays: for observations, or to learn."""
        return bool(self.needs & {"observations", "visits"})

    @property
    def sha256(self) -> str:
        """A hash of the content: equal for equal recipes, on every machine."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def apply(self, network: Network, given: Given | None = None, *, done: int = 0) -> Network:
        """A new network.

        Each step depends on the network that it is given, on its place and on the seed alone, so
        that a recipe can go on from what another one made that begins in the same way.

        Args:
            network: the agent's, or what the first `done` steps made of it; the last of those must
                have learned.
            given: what the steps need.
            done: how many steps are not applied, since they were before.

        Raises:
            CompressionError: if a method cannot treat the network.
            SpecError: if a spec names what is not there, or lacks what it needs.
        """
        given = given or Given()
        teacher = given.teacher or network
        given = dataclasses.replace(given, teacher=teacher, before=network if done else teacher)
        steps = self.steps[done:]
        report, total_s, done_s = given.on_progress, sum(s.estimate_s for s in steps), 0.0
        for place, step in enumerate(steps, done):
            if given.visits is not None:
                given.visits.restart(place)

            def progress(fraction: float, step: Spec = step, done_s: float = done_s) -> None:
                report((done_s + fraction * step.estimate_s) / total_s)

            observations = given.observations
            has_learned = any("visits" in before.needs for before in self.steps[:place])
            if "observations" in step.needs and has_learned and given.visits is not None:
                # It is calibrated on what the policy of now visits, too.
                visited = given.visits.roll(partial(act, network), _STEPS_AFTER).visited
                known = () if observations is None else (observations,)
                observations = np.concatenate([*known, visited])
            network = step.apply(
                network,
                dataclasses.replace(given, observations=observations, on_progress=progress),
            )
            done_s += step.estimate_s
            if "visits" in step.needs:
                given = dataclasses.replace(given, before=network)
        return network

    def expect(self, before: Sequence[LayerRecord]) -> list[ExpectedLayer]:
        """The layers that the audit must find after `apply`, for those of the float network."""
        layers = [
            ExpectedLayer(
                name=layer.name, in_features=layer.in_features, out_features=layer.out_features
            )
            for layer in before
        ]
        for step in self.steps:
            layers = step.expect(layers)
        return layers


def parse_grid(text: str, amounts: Sequence[float] | None = None) -> list[Recipe]:
    """The recipes of a text; where a step leaves its swept field open, one for each amount.

    "l2 | ptsq" with the amounts 0.1 and 0.3 gives "prune:l2:0.1 | int8:static" and a second recipe
    with 0.3.

    Args:
        text: as `Recipe.of` takes it.
        amounts: unless given, those of the method's candidates.

    Raises:
        SpecError: if the text makes no sense, or does not leave exactly one value open for amounts.
    """
    words = [] if text.strip() == FLOAT else text.split("|")
    parts = [SpecText.parse(word.strip()) for word in words]
    swept = [part for part in parts if part.is_open]
    if not swept:
        if amounts is not None:
            raise SpecError(f"{text!r} leaves open no value to sweep over")
        return [Recipe.of(text)]
    if len(swept) > 1:
        raise SpecError(f"{text!r} leaves open more than one value to sweep over")
    amounts = swept[0].amounts if amounts is None else amounts
    return [Recipe(tuple(part.made(amount) for part in parts)) for amount in amounts]


def known_records() -> list[MethodRecord]:
    """How every registered method is named and shown, in the order of their kinds."""
    records: dict[str, MethodRecord] = {}
    for word in method_words():
        try:
            found = [recipe.record for recipe in parse_grid(word)]
        except SpecError:  # it needs values that have no default
            continue
        records |= {record.name: record for record in found}
    return list(records.values())


RecipeLike = str | Spec | Sequence[Spec] | Recipe
