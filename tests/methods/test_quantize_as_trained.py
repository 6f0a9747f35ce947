from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from small_policies import SOURCE, make_actor, make_policy, random_observations
from squeezerl.artifacts.manifest import MANIFEST_NAME, MODEL_NAME
from squeezerl.artifacts.read import read_artifact
from squeezerl.artifacts.write import write_artifact
from squeezerl.errors import AuditError, SpecError
from squeezerl.methods.compress import compress
from squeezerl.methods.fake_quantization import FakeQuantizedLinear
from squeezerl.methods.fold import fold_feature_ranges
from squeezerl.methods.ranges import ActivationScale, affine_scale
from squeezerl.methods.result import CompressedPolicy
from squeezerl.methods.specs import (
    DynamicQuantization,
    QuantizationAwareTraining,
    StructuredPruning,
    check_sequence,
    spec_from_json,
    spec_to_json,
    specs_for,
    specs_hash,
)
from squeezerl.network.policy import LinearLayer, Policy

KEEP = st.lists(st.text(max_size=8), max_size=3).map(tuple)
SPECS = st.builds(
    QuantizationAwareTraining, per_channel=st.booleans(), per_feature=st.booleans(), keep=KEEP
)
SCALES = {"layer0": affine_scale(-3, 3), "layer1": affine_scale(0, 2), "layer2": affine_scale(0, 1)}


def _policy() -> Policy:
    return make_policy(5, 12, 8, 2)


def _compressed(
    spec: QuantizationAwareTraining | None = None, scales: Any = SCALES
) -> CompressedPolicy:
    return compress(_policy(), spec or QuantizationAwareTraining(), scales=scales)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    write_artifact(_compressed(), SOURCE, tmp_path / "artifact")
    return tmp_path / "artifact"


def _rewrite(
    folder: Path, change: Callable[[onnx.ModelProto], None] = lambda model: None, **claims: Any
) -> None:
    """Change the model and claims, with the hash that goes with them."""
    model = onnx.load_model_from_string((folder / MODEL_NAME).read_bytes())
    change(model)
    content = model.SerializeToString()
    (folder / MODEL_NAME).write_bytes(content)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    claims["model_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest | claims))


@pytest.mark.parametrize("per_feature", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("activation", ["ReLU", "Tanh"])
def test_it_acts_as_the_fake_quantized_layers_do(
    per_channel: bool, per_feature: bool, activation: str
) -> None:
    policy = make_policy(5, 32, 32, 2, activation=activation)
    observations = random_observations(policy, 2000)
    layers = [
        FakeQuantizedLinear(
            linear, per_channel=per_channel, per_feature=per_feature and name == "layer0"
        ).eval()
        for name, linear in policy.linear_layers().items()
    ]

    def act(values: torch.Tensor) -> torch.Tensor:
        for layer, after in pairwise([*layers, None]):
            values = layer(values)
            if after is not None:
                values = getattr(torch, activation.lower())(values)
        return values.clamp(-1, 1)

    assert policy.normalizer is not None
    with torch.no_grad():
        features = policy.normalizer(torch.from_numpy(observations))
        act(features)
        for layer in layers:
            layer.end_window()
            layer.enabled = True
        expected = act(features).numpy()
    if per_feature:
        policy = fold_feature_ranges(policy, *layers[0].feature_ranges())
    spec = QuantizationAwareTraining(per_channel=per_channel, per_feature=per_feature)
    scales = {f"layer{index}": layer.input_scale() for index, layer in enumerate(layers)}
    actions = make_actor(compress(policy, spec, scales=scales).model).act(observations)
    errors = abs(actions - expected).max(axis=1)
    assert (errors < 1e-5).mean() > 0.99
    assert errors.max() < 0.05
    assert abs(expected).std() > 0.1


def test_all_layers_come_out_in_int8() -> None:
    result = _compressed()
    assert [layer.weight_dtype for layer in result.layers] == ["int8"] * 3
    assert result.specs == (QuantizationAwareTraining(),)


def test_the_scales_of_training_are_those_of_the_model() -> None:
    model = _compressed().model
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = {
        (float(values[node.input[1]]), int(values[node.input[2]]))
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    assert found == {(float(np.float32(s.scale)), s.zero_point) for s in SCALES.values()}


def test_layers_that_are_kept_stay_in_float() -> None:
    scales = {name: scale for name, scale in SCALES.items() if name != "layer1"}
    result = _compressed(QuantizationAwareTraining(keep=("layer1",)), scales)
    assert [layer.weight_dtype for layer in result.layers] == ["int8", "float32", "int8"]


@pytest.mark.parametrize(
    "scales",
    [
        None,
        {},
        {"layer0": affine_scale(0, 1)},
        {**SCALES, "layer3": affine_scale(0, 1)},
        {"a": SCALES["layer0"], "b": SCALES["layer1"], "c": SCALES["layer2"]},
    ],
)
def test_scales_that_are_not_those_of_the_layers_are_refused(
    scales: dict[str, ActivationScale] | None,
) -> None:
    with pytest.raises(SpecError, match=r"needs the scales .* squeezerl train"):
        _compressed(scales=scales)


def test_a_scale_for_a_layer_that_is_kept_is_refused() -> None:
    with pytest.raises(SpecError, match="scales"):
        _compressed(QuantizationAwareTraining(keep=("layer0",)))


def test_keeping_a_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SpecError, match=r"\['layer7'\].*layer0, layer1, layer2"):
        _compressed(QuantizationAwareTraining(keep=("layer7",)))


def test_the_artifact_passes_its_audit_and_acts_as_before(artifact: Path) -> None:
    read = read_artifact(artifact)
    assert list(read.manifest.specs) == [spec_to_json(QuantizationAwareTraining())]
    observations = random_observations(_policy(), 50)
    np.testing.assert_array_equal(
        make_actor(onnx.load_model_from_string(read.model)).act(observations),
        make_actor(_compressed().model).act(observations),
    )


def _put_the_float_matrix_back(model: onnx.ModelProto) -> None:
    matrix = _policy().linear_layers()["layer0"].weight.detach().numpy()
    for index, tensor in enumerate(model.graph.initializer):
        if tensor.name.startswith("layer0.weight") and len(tensor.dims) == 2:
            kept = tensor.name
            del model.graph.initializer[index]
            break
    dims = matrix if tuple(tensor.dims) == matrix.shape else matrix.T
    for node in list(model.graph.node):
        if node.op_type == "DequantizeLinear" and node.input[0] == kept:
            name = node.output[0]
            model.graph.node.remove(node)
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(dims), name))


def test_a_float_matrix_in_the_place_of_the_integers_is_found(artifact: Path) -> None:
    _rewrite(artifact, _put_the_float_matrix_back)
    observations = random_observations(_policy(), 20)
    model = onnx.load_model_from_string((artifact / MODEL_NAME).read_bytes())
    make_actor(model).act(observations)  # it would run
    with pytest.raises(AuditError):
        read_artifact(artifact)


def test_a_float_matrix_beside_the_integers_is_found(artifact: Path) -> None:
    matrix = _policy().linear_layers()["layer0"].weight.detach().numpy()
    _rewrite(
        artifact,
        lambda model: model.graph.initializer.append(numpy_helper.from_array(matrix, "spare")),
    )
    with pytest.raises(AuditError):
        read_artifact(artifact)


@pytest.mark.parametrize("specs", [(), (StructuredPruning(ratio=0.5),)])
def test_an_artifact_that_hides_its_training_is_found(artifact: Path, specs: Any) -> None:
    _rewrite(artifact, specs=[spec_to_json(spec) for spec in specs], specs_sha256=specs_hash(specs))
    with pytest.raises(AuditError):
        read_artifact(artifact)


def test_a_rewritten_artifact_passes_if_nothing_was_changed(artifact: Path) -> None:
    # Otherwise the tests above would show nothing.
    _rewrite(artifact)
    read_artifact(artifact)


def test_a_float_model_cannot_claim_to_be_trained_for_int8(tmp_path: Path) -> None:
    lie = dataclasses.replace(compress(_policy()), specs=(QuantizationAwareTraining(),))
    with pytest.raises(AuditError, match="layer0 should be int8, but holds float32"):
        write_artifact(lie, SOURCE, tmp_path / "lie")
    assert not list(tmp_path.iterdir())


@given(SPECS)
def test_a_spec_survives_its_json(spec: QuantizationAwareTraining) -> None:
    data = spec_to_json(spec)
    assert spec_from_json(json.loads(json.dumps(data))) == spec
    assert json.loads(json.dumps(data)) == data


@given(SPECS, SPECS)
def test_hashes_are_equal_for_equal_specs_only(
    first: QuantizationAwareTraining, second: QuantizationAwareTraining
) -> None:
    assert (specs_hash([first]) == specs_hash([second])) == (first == second)


def test_the_hash_is_not_that_of_another_quantization() -> None:
    assert specs_hash([QuantizationAwareTraining()]) != specs_hash([DynamicQuantization()])


@pytest.mark.parametrize(
    "changes", [{"version": 2}, {"bits": 8}, {"keep": "layer0"}, {"per_feature": 1}]
)
def test_data_that_is_no_such_spec_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        spec_from_json(spec_to_json(QuantizationAwareTraining()) | changes)


def test_it_comes_last_and_once() -> None:
    qat = QuantizationAwareTraining()
    check_sequence((StructuredPruning(ratio=0.5), qat))
    for specs in ((qat, StructuredPruning(ratio=0.5)), (qat, DynamicQuantization()), (qat, qat)):
        with pytest.raises(SpecError, match="last step"):
            check_sequence(specs)


def test_as_a_method_it_points_to_the_training() -> None:
    with pytest.raises(SpecError, match="squeezerl train ALGO ENV --qat int8 -o DIR"):
        specs_for("qat")


def test_a_policy_of_one_layer_can_be_quantized() -> None:
    layer = LinearLayer(torch.ones(1, 3), torch.zeros(1), None)
    policy = make_policy(3, 1, normalized=False)
    policy = Policy(
        [layer], policy.head, normalizer=None, observation_shape=(3,), action_shape=(1,)
    )
    result = compress(
        policy, QuantizationAwareTraining(), scales={"layer0": affine_scale(-0.1, 0.2)}
    )
    actions = make_actor(result.model).act(np.array([[0.1, 0.0, 0.05]], dtype=np.float32))
    assert actions[0, 0] == pytest.approx(0.15, abs=3e-3)
