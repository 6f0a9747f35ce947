from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from forgery import change_manifest, forge, put_model, read_manifest, read_model
from onnx import TensorProto, helper, numpy_helper

from onnx_runner import onnx_actions
from small_policies import make_network, random_observations
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import ArtifactError, AuditError
from squeezerl.formats.base import SizeRecord
from squeezerl.formats.onnx import to_onnx
from squeezerl.methods.recipe import Recipe
from squeezerl.records import to_json

MATRIX = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)


def _add_constant(model: onnx.ModelProto, name: str, array: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))


def _lead_around_layer1(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Compute layer1's output by other nodes; its int8 nodes stay, and lead nowhere."""
    (consumer,) = (node for node in model.graph.node if node.name == "layer1")
    assert consumer.input[0] == "layer1.scaled.out"
    consumer.input[0] = "detour.out"
    position = list(model.graph.node).index(consumer)
    for node in reversed(nodes):
        model.graph.node.insert(position, node)


def _whole_model_in_float(model: onnx.ModelProto) -> None:
    model.CopyFrom(to_onnx(make_network(5, 12, 8, 2)))


def _float_matrix_under_another_name(model: onnx.ModelProto) -> None:
    _add_constant(model, "head.table", MATRIX)


def _float_matrix_named_like_a_scale(model: onnx.ModelProto) -> None:
    _add_constant(model, "layer1.weight_scale_table", MATRIX)


def _double_matrix(model: onnx.ModelProto) -> None:
    _add_constant(model, "head.table", MATRIX.astype(np.float64))


def _half_matrix(model: onnx.ModelProto) -> None:
    _add_constant(model, "head.table", MATRIX.astype(np.float16))


def _float_layer_with_a_renamed_weight(model: onnx.ModelProto) -> None:
    _add_constant(model, "normalizer.table", MATRIX)
    _lead_around_layer1(
        model, helper.make_node("MatMul", ["activation0.out", "normalizer.table"], ["detour.out"])
    )


def _float_layer_in_a_constant_node(model: onnx.ModelProto) -> None:
    _lead_around_layer1(
        model,
        helper.make_node("Constant", [], ["table"], value=numpy_helper.from_array(MATRIX)),
        helper.make_node("MatMul", ["activation0.out", "table"], ["detour.out"]),
    )


def _floats_of_a_constant_node(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["table"], value_floats=MATRIX.ravel().tolist())
    model.graph.node.insert(0, node)


def _float_layer_in_a_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [numpy_helper.from_array(MATRIX, "table")])
    node = helper.make_node("If", ["yes"], ["x"], then_branch=branch, else_branch=branch)
    model.graph.node.insert(0, node)


def _flat_float_layer(model: onnx.ModelProto) -> None:
    """A vector is no matrix until it is reshaped, and Einsum is no MatMul."""
    _add_constant(model, "head.table", MATRIX.ravel())
    _add_constant(model, "head.shape", np.array(MATRIX.shape))
    _lead_around_layer1(
        model,
        helper.make_node("Reshape", ["head.table", "head.shape"], ["table"]),
        helper.make_node(
            "Einsum", ["activation0.out", "table"], ["detour.out"], equation="bi,io->bo"
        ),
    )


def _fixed_point_layer(model: onnx.ModelProto) -> None:
    """Sixteen bits more than int8, in a matrix that is no float."""
    _add_constant(model, "head.table", (MATRIX * 2**20).astype(np.int32))
    _add_constant(model, "head.step", np.float32(2**-20))
    _lead_around_layer1(
        model,
        helper.make_node("Cast", ["head.table"], ["whole"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["whole", "head.step"], ["table"]),
        helper.make_node(
            "Einsum", ["activation0.out", "table"], ["detour.out"], equation="bi,io->bo"
        ),
    )


def _weights_for_training(model: onnx.ModelProto) -> None:
    graph = helper.make_graph([], "training", [], [], [numpy_helper.from_array(MATRIX, "table")])
    model.training_info.add().initialization.CopyFrom(graph)


def _sparse_constant(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            numpy_helper.from_array(np.float32([1.5]), "table"),
            numpy_helper.from_array(np.array([3]), "indices"),
            [96],
        )
    )


def _function(model: onnx.ModelProto) -> None:
    model.functions.append(
        helper.make_function("", "F", ["x"], ["x"], [], [helper.make_opsetid("", 17)])
    )


DETOURS = [
    _float_layer_with_a_renamed_weight,
    _float_layer_in_a_constant_node,
    _flat_float_layer,
    _fixed_point_layer,
]
SMUGGLERS = [
    *DETOURS,
    _whole_model_in_float,
    _float_matrix_under_another_name,
    _float_matrix_named_like_a_scale,
    _double_matrix,
    _half_matrix,
    _floats_of_a_constant_node,
    _float_layer_in_a_branch,
    _weights_for_training,
    _sparse_constant,
    _function,
]


@pytest.mark.parametrize("relabel", [True, False], ids=["layers-relabelled", "layers-as-before"])
@pytest.mark.parametrize("smuggle", SMUGGLERS)
def test_weights_smuggled_into_an_int8_artifact_are_found_under_any_hash(
    int8_folder: Path, smuggle: Callable[[onnx.ModelProto], None], relabel: bool
) -> None:
    model = read_model(int8_folder)
    smuggle(model)
    forge(int8_folder, model, relabel=relabel)
    with pytest.raises(AuditError):
        read_artifact(int8_folder)


@pytest.mark.parametrize("smuggle", DETOURS)
def test_the_detours_are_taken(
    int8_folder: Path, smuggle: Callable[[onnx.ModelProto], None]
) -> None:
    # Otherwise the test above would show less than it says.
    observations = random_observations(make_network(5, 12, 8, 2), 20)
    model = read_model(int8_folder)
    before = onnx_actions(model, observations)
    smuggle(model)
    assert abs(onnx_actions(model, observations) - before).max() > 0.1


def test_a_forged_folder_passes_if_nothing_was_changed(any_folder: Path) -> None:
    # Otherwise the tests above would show nothing.
    forge(any_folder, read_model(any_folder), relabel=True)
    read_artifact(any_folder)


def test_a_float_model_with_all_the_claims_of_the_int8_one_is_found(int8_folder: Path) -> None:
    put_model(int8_folder, to_onnx(make_network(5, 12, 8, 2)).SerializeToString())
    with pytest.raises(AuditError, match=r"claims .*int8.* the model holds .*float32"):
        read_artifact(int8_folder)


def test_a_quantized_model_may_not_call_itself_float(int8_folder: Path) -> None:
    change_manifest(int8_folder, specs=[])
    with pytest.raises(AuditError):
        read_artifact(int8_folder)


def test_specs_that_do_not_match_their_hash_are_found(any_folder: Path) -> None:
    other = {"kind": "prune", "version": 1, "norm": "l1", "ratio": 0.9}
    specs = [other, *read_manifest(any_folder).specs]
    change_manifest(any_folder, specs=specs)
    with pytest.raises(ArtifactError):
        read_artifact(any_folder)


def _claim(folder: Path, text: str) -> None:
    """Claim another recipe, with the hash to go with it."""
    recipe = Recipe.of(text)
    change_manifest(folder, recipe=recipe.text, specs=recipe.to_json(), specs_sha256=recipe.sha256)


def test_a_recipe_that_is_not_that_of_the_specs_is_found(any_folder: Path) -> None:
    change_manifest(any_folder, recipe="prune:l1:0.9")
    with pytest.raises(AuditError, match="do not match its recipe"):
        read_artifact(any_folder)


@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_a_pruning_that_did_not_happen_is_found(
    sound_artifacts: dict[str, Path], tmp_path: Path, ratio: float
) -> None:
    for name in ("float", "pruned"):
        folder = shutil.copytree(sound_artifacts[name], tmp_path / name)
        _claim(folder, f"prune:l2:{ratio}")
        with pytest.raises(AuditError, match=r"the recipe promises .*layer0"):
            read_artifact(folder)


def test_a_pruning_that_was_left_out_is_found(
    sound_artifacts: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(sound_artifacts["pruned"], tmp_path / "artifact")
    _claim(folder, "float")
    with pytest.raises(AuditError, match=r"the recipe promises .*layer0"):
        read_artifact(folder)


def test_scales_per_tensor_under_the_name_of_scales_per_channel_are_found(
    int8_folder: Path,
) -> None:
    _claim(int8_folder, "ptdq-naive")
    with pytest.raises(AuditError, match=r"promises .*scales=1.* has .*scales=12"):
        read_artifact(int8_folder)


def test_changed_bytes_are_found(any_folder: Path) -> None:
    content = bytearray((any_folder / "policy.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (any_folder / "policy.onnx").write_bytes(content)
    with pytest.raises(AuditError, match="not the file that the manifest describes"):
        read_artifact(any_folder)


def test_integers_around_another_zero_point_are_found(int8_folder: Path) -> None:
    """The same numbers as int8 would act otherwise on some processors."""
    model = read_model(int8_folder)
    for tensor in model.graph.initializer:
        if tensor.name.endswith((".weight_quantized", ".weight_zero_point")):
            array = (numpy_helper.to_array(tensor).astype(int) - 128).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    forge(int8_folder, model, relabel=True)
    with pytest.raises(AuditError, match="integers of type int8"):
        read_artifact(int8_folder)


def test_padding_that_a_parser_skips_is_part_of_the_size(int8_folder: Path) -> None:
    # Field 1, ir_version, again and again: the last one counts.
    content = (int8_folder / "policy.onnx").read_bytes() + b"\x08\x08" * 10_000
    put_model(int8_folder, content)
    with pytest.raises(AuditError):
        read_artifact(int8_folder)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(SizeRecord)])
def test_a_wrong_size_is_found(any_folder: Path, field: str) -> None:
    size = to_json(read_manifest(any_folder).size)
    change_manifest(any_folder, size=size | {field: size[field] + 1})
    with pytest.raises(AuditError, match="measured"):
        read_artifact(any_folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "layer9"),
        ("in_features", 6),
        ("out_features", 11),
        ("weight_dtype", "int4"),
        ("weight_bytes", 1),
        ("bias_bytes", 1),
        ("quantization_bytes", 1),
    ],
)
def test_a_wrong_claim_about_a_layer_is_found(any_folder: Path, field: str, value: Any) -> None:
    layers = to_json(read_manifest(any_folder).layers)
    layers[0][field] = value
    change_manifest(any_folder, layers=layers)
    with pytest.raises(AuditError, match="the manifest claims"):
        read_artifact(any_folder)


def test_layers_left_out_or_made_up_are_found(any_folder: Path) -> None:
    layers = to_json(read_manifest(any_folder).layers)
    for claimed in (layers[:-1], [*layers, layers[-1]], []):
        change_manifest(any_folder, layers=claimed)
        with pytest.raises(AuditError, match=f"{len(claimed)} layers claimed, 3 in the model"):
            read_artifact(any_folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"observation_shape": [6]},
        {"observation_shape": [5, 1]},
        {"observation_shape": []},
        {"action_shape": [3]},
        {"action_shape": []},
        {"discrete": True},
    ],
)
def test_a_wrong_shape_or_kind_is_found(any_folder: Path, changes: dict[str, Any]) -> None:
    change_manifest(any_folder, **changes)
    with pytest.raises(AuditError):
        read_artifact(any_folder)


def test_weights_outside_the_file_are_found(any_folder: Path) -> None:
    model = read_model(any_folder)
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../elsewhere")
    put_model(any_folder, model.SerializeToString())
    with pytest.raises(AuditError, match="outside the file"):
        read_artifact(any_folder)


def test_operators_of_other_domains_are_found(any_folder: Path) -> None:
    model = read_model(any_folder)
    model.graph.node[0].domain = "evil.example"
    model.opset_import.append(helper.make_opsetid("evil.example", 1))
    forge(any_folder, model, relabel=True)
    with pytest.raises(AuditError, match="not a policy that this release writes"):
        read_artifact(any_folder)


@pytest.mark.parametrize("values", ["input", "output"])
def test_a_second_input_or_output_is_found(any_folder: Path, values: str) -> None:
    model = read_model(any_folder)
    extra = helper.make_tensor_value_info("extra", TensorProto.FLOAT, ["batch", 5])
    getattr(model.graph, values).append(extra)
    forge(any_folder, model, relabel=True)
    with pytest.raises(AuditError, match="not a policy that this release writes"):
        read_artifact(any_folder)


def test_a_fixed_batch_size_is_found(any_folder: Path) -> None:
    model = read_model(any_folder)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    forge(any_folder, model, relabel=True)
    with pytest.raises(AuditError, match="not a policy that this release writes"):
        read_artifact(any_folder)
