from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeezerl.errors import SpecError
from squeezerl.methods.base import SPECS, Spec, parse_spec, spec_from_json
from squeezerl.methods.bits import Bits
from squeezerl.methods.dynamic_int8 import DynamicQuantization
from squeezerl.methods.pruning import StructuredPruning
from squeezerl.methods.recipe import Recipe
from squeezerl.methods.static_int8 import StaticQuantization
from squeezerl.methods.trained_int8 import QuantizationAwareTraining

SPEC = st.sampled_from(
    [
        DynamicQuantization(),
        DynamicQuantization(per_channel=False),
        DynamicQuantization(keep=("layer0",)),
        StaticQuantization(),
        StaticQuantization(per_channel=False),
        StaticQuantization(layers_only=False),
        StaticQuantization(per_channel=False, layers_only=False),
        StaticQuantization(keep=("layer0", "layer2")),
        QuantizationAwareTraining(),
        QuantizationAwareTraining(per_feature=False),
        Bits(weights="4"),
        Bits(weights="ternary", scales="tensor"),
        Bits(weights="8", activations="float", inputs="tensor"),
        StructuredPruning(ratio=0.3),
        StructuredPruning(ratio=0.1 + 0.2),
        StructuredPruning(ratio=0.35),
        StructuredPruning(norm="l1", ratio=0.3),
    ]
)


def _is_sequence(steps: list[Spec]) -> bool:
    alone = len(steps) == 1 or not any("training" in step.needs for step in steps)
    return alone and not any(step.gives_integers for step in steps[:-1])


RECIPES = st.lists(SPEC, max_size=3).filter(_is_sequence).map(tuple).map(Recipe)

# Texts.


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("prune:l2:0.5", StructuredPruning(ratio=0.5)),
        ("prune:l1:ratio=0.5", StructuredPruning(norm="l1", ratio=0.5)),
        ("l1:0.5", StructuredPruning(norm="l1", ratio=0.5)),
        (" l2 : 0.50 ", StructuredPruning(ratio=0.5)),
        ("ptdq", DynamicQuantization()),
        ("ptdq-naive", DynamicQuantization(per_channel=False)),
        ("int8:dynamic:per_channel=no", DynamicQuantization(per_channel=False)),
        ("int8", Bits(weights="8")),
        ("bits:4", Bits(weights="4")),
        ("bits:4:tensor", Bits(weights="4", scales="tensor")),
        ("int4:scales=tensor", Bits(weights="4", scales="tensor")),
        ("bits:ternary:keep=layer0", Bits(weights="ternary", keep=("layer0",))),
        ("ptsq", StaticQuantization()),
        ("int8:static", StaticQuantization()),
        ("ptsq:keep=layer0,layer2", StaticQuantization(keep=("layer0", "layer2"))),
        ("ptsq-naive", StaticQuantization(per_channel=False, layers_only=False)),
        ("qat", QuantizationAwareTraining()),
    ],
)
def test_texts_stand_for_specs(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown method ''"),
        ("int16", "unknown method 'int16'; known are .*ptdq.*ptsq.*l1"),
        ("int8:magic", "scales 'magic' is not one of 'channel', 'tensor', 'shift'"),
        ("int8:static:magic", "'magic' is one value too many"),
        ("prune", "lacks"),
        ("l1", "lacks ratio; write prune:norm:ratio"),
        ("l2:0", "out of range"),
        ("l2:0.96", "out of range"),
        ("l2:nan", "out of range"),
        ("l2:much", "ratio cannot be 'much'"),
        ("prune:linf:0.3", "'linf' is not one of 'l1', 'l2'"),
        ("ptdq:0.3", "'0.3' is one value too many"),
        ("ptdq:per_channel=maybe", "per_channel cannot be 'maybe'"),
        ("ptdq:bits=4", "'bits' is unknown"),
        ("l2:0.3:ratio=0.4", "'ratio' is unknown or stands twice"),
        ("l2:0.3:0.4", "one value too many"),
        ("ptdq:kind=x", "unknown"),
    ],
)
def test_texts_that_are_no_specs_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_spec(text)


@given(st.text())
def test_no_text_raises_anything_but_a_spec_error(text: str) -> None:
    for given_text in (text, f"l2:{text}", f"ptsq:keep={text}", f"ptsq:{text}"):
        try:
            spec = parse_spec(given_text)
        except SpecError:
            continue
        assert isinstance(spec, Spec)


# Plain data.

DYNAMIC = {"kind": "int8:dynamic", "version": 1}
STATIC = {"kind": "int8:static", "version": 1}
PRUNING = {"kind": "prune", "version": 1, "ratio": 0.3}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "unknown method None"),
        ({"kind": "magic", "version": 1}, "unknown method 'magic'; known are .*int8:dynamic"),
        ({"kind": ["a"], "version": 1}, r"unknown method \['a'\]"),
        (DYNAMIC | {"version": 2}, "version 2; this release reads version 1"),
        ({"kind": "int8:static"}, "version None"),
        (STATIC | {"bits": 4}, "bits"),
        (PRUNING | {"keep": ["layer0"]}, "keep"),
        ({"kind": "prune", "version": 1}, "ratio"),
        (PRUNING | {"ratio": 1.5}, "out of range"),
        (PRUNING | {"ratio": "much"}, "ratio 'much'"),
        (PRUNING | {"ratio": None}, "ratio None"),
        (PRUNING | {"ratio": True}, "ratio True"),
        (PRUNING | {"norm": "linf"}, "linf"),
        (DYNAMIC | {"keep": 5}, "keep 5"),
        (DYNAMIC | {"keep": None}, "keep None"),
        (DYNAMIC | {"keep": "layer0"}, "keep 'layer0'"),
        (DYNAMIC | {"keep": [1]}, "keep"),
        (DYNAMIC | {"per_channel": "no"}, "per_channel 'no'"),
        (STATIC | {"layers_only": 1}, "layers_only 1"),
    ],
)
def test_data_that_is_no_spec_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec_from_json(data)


# Recipes.


@given(RECIPES)
def test_a_recipe_comes_back_from_its_text_and_its_json(recipe: Recipe) -> None:
    assert Recipe.of(recipe.text) == Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.of(recipe) == Recipe.of(recipe.steps) == recipe


@given(RECIPES, RECIPES)
def test_text_name_and_hash_are_those_of_one_recipe(first: Recipe, second: Recipe) -> None:
    same = first == second
    assert (first.text == second.text) == same
    assert (first.name == second.name) == same
    assert (first.sha256 == second.sha256) == same


@pytest.mark.parametrize(
    ("text", "canonical", "name", "method", "ratio"),
    [
        ("float", "float", "float", "float", None),
        ("ptdq", "int8:dynamic", "ptdq", "ptdq", None),
        ("ptdq-naive", "int8:dynamic:per_channel=no", "ptdq-naive", "ptdq-naive", None),
        ("l2:0.30", "prune:l2:0.3", "l2-30", "l2", 0.3),
        ("l1:0.07", "prune:l1:0.07", "l1-7", "l1", 0.07),
        ("l2:0.125|ptsq", "prune:l2:0.125 | int8:static", "l2-12.5+ptsq", "l2+ptsq", 0.125),
        ("l1:0.1 | l2:0.2", "prune:l1:0.1 | prune:l2:0.2", "l1-10+l2-20", "l1-10+l2-20", None),
        ("ptsq:keep=layer2", "int8:static:keep=layer2", "ptsq-keep-layer2", "ptsq", None),
    ],
)
def test_recipes_have_one_text_a_name_and_a_method(
    text: str, canonical: str, name: str, method: str, ratio: float | None
) -> None:
    recipe = Recipe.of(text)
    assert (recipe.text, recipe.name, recipe.ratio) == (canonical, name, ratio)
    assert recipe.record.name == method


def test_a_recipe_needs_what_its_steps_need() -> None:
    assert Recipe.of("l2:0.3 | ptsq").needs == {"observations"}
    assert Recipe.of("l2:0.3 | ptdq").needs == Recipe().needs == frozenset()
    assert Recipe.of("qat").needs == {"training"}


@pytest.mark.parametrize("text", ["ptsq|l2:0.3|ptsq", "bits:4 | ptdq", "ptdq | ptsq", "qat | qat"])
def test_a_second_quantization_that_takes_no_integers_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="which gives integers"):
        Recipe.of(text)


@pytest.mark.parametrize("steps", [("l2",), (0.3,), (StructuredPruning,)])
def test_what_is_no_spec_is_refused(steps: Any) -> None:
    with pytest.raises(SpecError, match="is no spec"):
        Recipe.of(steps)


@pytest.mark.parametrize("text", ["", "|", "l2:0.3 |", "l2:0.3 | | ptdq"])
def test_empty_steps_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="unknown method"):
        Recipe.of(text)


def test_float_in_a_longer_recipe_is_refused() -> None:
    with pytest.raises(SpecError, match="'float' is a recipe without steps; leave it out"):
        Recipe.of("float | ptdq")


def test_the_order_is_part_of_the_hash() -> None:
    assert Recipe.of("l1:0.3 | l2:0.3").sha256 != Recipe.of("l2:0.3 | l1:0.3").sha256


# Hashes are the identity of jobs in stores that users keep: they stay as they are.
PINNED = {
    "float": "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
    "prune:l2:0.3 | int8:static:keep=layer2": (
        "701254c4e8d2ed660e6a9265356ea7a33d62c190c3d027efe4918c267e4e394c"
    ),
}


@pytest.mark.parametrize("text", PINNED)
@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_hashes_of_this_release_stay_as_they_are_in_every_process(
    text: str, hash_seed: str
) -> None:
    code = f"from squeezerl.methods.recipe import Recipe; print(Recipe.of({text!r}).sha256)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == PINNED[text]


def test_every_method_of_the_study_is_known() -> None:
    assert set(SPECS.names) >= {"prune", "int8:dynamic", "int8:static", "int8:trained"}


def test_numpy_s_numbers_make_the_same_recipe() -> None:
    plain = Recipe.of(StructuredPruning(ratio=0.3))
    other = Recipe.of(StructuredPruning(ratio=np.float64(0.3)))
    assert (other.text, other.sha256) == (plain.text, plain.sha256)
