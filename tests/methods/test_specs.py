from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeezerl.errors import SpecError
from squeezerl.methods.specs import (
    METHODS,
    DynamicQuantization,
    Spec,
    StaticQuantization,
    StructuredPruning,
    check_sequence,
    spec_from_json,
    spec_to_json,
    specs_for,
    specs_hash,
)

KEEP = st.lists(st.text(max_size=8), max_size=3).map(tuple)
SPECS: st.SearchStrategy[Spec] = st.one_of(
    st.builds(DynamicQuantization, per_channel=st.booleans(), keep=KEEP),
    st.builds(StaticQuantization, per_channel=st.booleans(), layers_only=st.booleans(), keep=KEEP),
    st.builds(
        StructuredPruning,
        norm=st.sampled_from(["l1", "l2"]),
        ratio=st.floats(0, 0.95, exclude_min=True),
    ),
)
SEQUENCES = st.lists(SPECS, max_size=3)

DYNAMIC = {"kind": "dynamic_quantization", "version": 1}
STATIC = {"kind": "static_quantization", "version": 1}
PRUNING = {"kind": "structured_pruning", "version": 1, "ratio": 0.3}


@given(SPECS)
def test_a_spec_survives_its_json(spec: Spec) -> None:
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


@given(SPECS)
def test_a_spec_as_plain_data_is_what_json_gives_back(spec: Spec) -> None:
    data = spec_to_json(spec)
    assert json.loads(json.dumps(data)) == data


@given(SEQUENCES)
def test_the_hash_survives_json(specs: list[Spec]) -> None:
    read = [spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) for spec in specs]
    assert specs_hash(read) == specs_hash(specs)


@given(SEQUENCES, SEQUENCES)
def test_hashes_are_equal_for_equal_sequences_only(first: list[Spec], second: list[Spec]) -> None:
    assert (specs_hash(first) == specs_hash(second)) == (first == second)


def test_every_field_is_part_of_the_hash() -> None:
    specs = [
        DynamicQuantization(),
        DynamicQuantization(per_channel=False),
        DynamicQuantization(keep=("layer0",)),
        StaticQuantization(),
        StaticQuantization(per_channel=False),
        StaticQuantization(layers_only=False),
        StaticQuantization(keep=("layer0",)),
        StructuredPruning(ratio=0.3),
        StructuredPruning(ratio=0.35),
        StructuredPruning(norm="l1", ratio=0.3),
    ]
    assert len({specs_hash([spec]) for spec in specs}) == len(specs)


def test_the_order_is_part_of_the_hash() -> None:
    first, second = StructuredPruning(ratio=0.3), StructuredPruning(norm="l1", ratio=0.3)
    assert specs_hash([first, second]) != specs_hash([second, first])


def test_hashes_of_this_release_stay_as_they_are() -> None:
    # They are the identity of jobs in stores that users keep.
    specs = [StructuredPruning(ratio=0.3), StaticQuantization(keep=("layer2",))]
    assert specs_hash([]) == PINNED_EMPTY
    assert specs_hash(specs) == PINNED_SEQUENCE


PINNED_EMPTY = "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
PINNED_SEQUENCE = "be62895c07b8a8cc58d22978505db4cce59ae9f027a4594f82c1f301da1265f3"


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_hash_is_the_same_in_another_process(hash_seed: str) -> None:
    code = (
        "from squeezerl.methods.specs import *;"
        "print(specs_hash([StructuredPruning(ratio=0.3), StaticQuantization(keep=('layer2',))]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == PINNED_SEQUENCE


@pytest.mark.parametrize("ratio", [0, -0.1, 0.951, 1, 30, float("nan"), float("inf")])
def test_a_ratio_out_of_range_is_refused_with_the_range(ratio: float) -> None:
    with pytest.raises(SpecError, match=r"above 0 and at most 0\.95"):
        StructuredPruning(ratio=ratio)


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(SpecError, match="'l1', 'l2'"):
        StructuredPruning(norm="linf", ratio=0.3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "unknown spec None"),
        ({"kind": "magic", "version": 1}, "unknown spec 'magic'; known are dynamic_quantization"),
        (DYNAMIC | {"version": 2}, "version 2; this release reads version 1"),
        ({"kind": "static_quantization"}, "version None"),
        (STATIC | {"bits": 4}, "bits"),
        (PRUNING | {"keep": ["layer0"]}, "keep"),
        ({"kind": "structured_pruning", "version": 1}, "ratio"),
        (PRUNING | {"ratio": 1.5}, "out of range"),
        (PRUNING | {"ratio": "much"}, "ratio much is out of range"),
        (PRUNING | {"ratio": None}, "ratio None is out of range"),
        (PRUNING | {"norm": "linf"}, "linf"),
    ],
)
def test_data_that_is_no_spec_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec_from_json(data)


@pytest.mark.parametrize(
    "data",
    [
        {"kind": ["a"], "version": 1},
        DYNAMIC | {"keep": 5},
        DYNAMIC | {"keep": None},
        DYNAMIC | {"keep": "layer0"},
        DYNAMIC | {"keep": [1]},
        DYNAMIC | {"per_channel": "no"},
        STATIC | {"layers_only": 1},
    ],
)
def test_fields_of_the_wrong_type_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        spec_from_json(data)


def test_specs_are_immutable_and_hashable() -> None:
    spec = StructuredPruning(ratio=0.3)
    with pytest.raises(AttributeError):
        spec.ratio = 0.5  # type: ignore[misc]
    assert {spec: 1}[StructuredPruning(ratio=0.3)] == 1


PRUNE = StructuredPruning(ratio=0.3)


@pytest.mark.parametrize(
    "specs",
    [
        (),
        (PRUNE,),
        (PRUNE, PRUNE),
        (DynamicQuantization(),),
        (PRUNE, DynamicQuantization()),
        (PRUNE, PRUNE, StaticQuantization()),
    ],
)
def test_pruning_and_then_quantization_is_a_sequence(specs: tuple[Spec, ...]) -> None:
    check_sequence(specs)


@pytest.mark.parametrize(
    "specs",
    [
        (DynamicQuantization(), PRUNE),
        (StaticQuantization(), PRUNE, StaticQuantization()),
        (DynamicQuantization(), StaticQuantization()),
        (PRUNE, DynamicQuantization(), DynamicQuantization()),
    ],
)
def test_a_quantization_that_is_not_last_is_refused(specs: tuple[Spec, ...]) -> None:
    with pytest.raises(SpecError, match="last step"):
        check_sequence(specs)


@pytest.mark.parametrize("specs", [("l2",), "l2", (0.3,), (StructuredPruning,)])
def test_what_is_no_spec_is_refused(specs: Any) -> None:
    with pytest.raises(SpecError, match="is no spec"):
        check_sequence(specs)


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        (specs_for("float"), ()),
        (specs_for("ptdq"), (DynamicQuantization(),)),
        (specs_for("ptdq", naive=True), (DynamicQuantization(per_channel=False),)),
        (specs_for("ptsq"), (StaticQuantization(),)),
        (
            specs_for("ptsq", naive=True),
            (StaticQuantization(per_channel=False, layers_only=False),),
        ),
        (specs_for("l1", 0.3), (StructuredPruning(norm="l1", ratio=0.3),)),
        (specs_for("l2", 0.7), (StructuredPruning(norm="l2", ratio=0.7),)),
    ],
)
def test_short_names_stand_for_the_methods_of_the_study(
    specs: tuple[Spec, ...], expected: tuple[Spec, ...]
) -> None:
    assert specs == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: specs_for("int4"), f"known are {', '.join(METHODS)}"),
        (lambda: specs_for("l1"), "needs a ratio"),
        (lambda: specs_for("l2", 0), "out of range"),
        (lambda: specs_for("l2", 0.96), "out of range"),
        (lambda: specs_for("ptdq", 0.3), "takes no ratio"),
        (lambda: specs_for("ptsq", 0.3), "takes no ratio"),
        (lambda: specs_for("float", 0.3), "takes no ratio"),
        (lambda: specs_for("l1", 0.3, naive=True), "quantization only"),
    ],
)
def test_a_method_with_wrong_settings_is_refused(
    call: Callable[[], tuple[Spec, ...]], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        call()
