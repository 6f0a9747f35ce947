from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx_runner import rows_alone
from small_policies import QUANTIZATIONS, make_artifact, make_network, random_observations
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import FormatError
from squeezerl.pipeline.make import with_opset

FLOAT_OR_INT8 = {"float": "float"} | QUANTIZATIONS


@pytest.mark.parametrize("opset", [13, 14, 15, 16])
@pytest.mark.parametrize("recipe", FLOAT_OR_INT8.values(), ids=FLOAT_OR_INT8)
@pytest.mark.parametrize("head", ["clip", "tanh", "argmax"])
def test_an_older_opset_acts_alike_and_is_read_back(
    tmp_path: Path, recipe: str, head: Any, opset: int
) -> None:
    network = make_network(5, 8, 3, head=head, activation="GELU")
    artifact = make_artifact(network, recipe)
    with_opset(artifact, opset).save(tmp_path / "out")
    older = read_artifact(tmp_path / "out")
    model = onnx.load_model_from_string(older.model)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == opset
    assert model.ir_version <= 8
    assert older.network.sha256 == artifact.network.sha256
    observations = random_observations(network, 20)
    actions = (rows_alone(content, observations) for content in (artifact.model, older.model))
    np.testing.assert_array_equal(*actions)


@pytest.mark.parametrize(
    ("recipe", "opset", "oldest"),
    [
        ("ptsq", 12, 13),
        ("ptdq", 10, 11),
        ("ptdq-naive", 9, 11),
        ("float", 10, 11),
        ("ptsq", 99, 13),
    ],
)
def test_an_opset_that_lacks_an_operator_is_refused_with_the_oldest_that_has_it(
    recipe: str, opset: int, oldest: int
) -> None:
    with pytest.raises(FormatError, match=f"`opset` {opset} cannot.* from {oldest} to 17"):
        with_opset(make_artifact(make_network(5, 8, 3), recipe), opset)


def test_float_policies_go_back_to_the_opset_of_2019() -> None:
    artifact = with_opset(make_artifact(make_network(5, 8, 3), "float"), 11)
    model = onnx.load_model_from_string(artifact.model)
    assert (model.opset_import[0].version, model.ir_version) == (11, 6)


def test_the_default_stays_as_it_was() -> None:
    artifact = make_artifact(make_network(5, 8, 3), "ptsq")
    assert with_opset(artifact, None) is artifact
    assert with_opset(artifact, 17).model == artifact.model
