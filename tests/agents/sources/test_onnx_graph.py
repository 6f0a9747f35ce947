from __future__ import annotations

import dataclasses
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from typer.testing import CliRunner

from mutations import survive_mutations
from robots import robot
from small_policies import ACTIVATION_TEXTS, make_network, random_observations
from source_contract import SourceContract
from squeezerl import load_agent
from squeezerl.agents.load import SOURCES, Agent
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.cli import app
from squeezerl.errors import AuditError, CheckpointError, UnsupportedPolicyError
from squeezerl.formats.onnx import OnnxFormat, to_onnx
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network, as_float
from squeezerl.pipeline.make import make_artifact, with_opset
from torch_activations import ACTIVATIONS

RNG = np.random.default_rng(0)
PARITY = 1e-5
W0, B0 = RNG.normal(size=(5, 4)).astype(np.float32), RNG.normal(size=5).astype(np.float32)
W1, B1 = RNG.normal(size=(3, 5)).astype(np.float32), RNG.normal(size=3).astype(np.float32)
LINEAR = {"w0": W0, "b0": B0, "w1": W1, "b1": B1}


def graph(
    *nodes: tuple[str, list[str], dict[str, Any]],
    opset: int = 17,
    shape: tuple[Any, ...] = ("batch", 4),
    **constants: Any,
) -> onnx.ModelProto:
    """A model: each node takes the value before it, `x` at first, and these constants."""
    made, value = [], "x"
    for index, (op, inputs, attributes) in enumerate(nodes):
        names = [value if name == "" else name for name in inputs]
        made.append(helper.make_node(op, names, [f"v{index}"], f"n{index}", **attributes))
        value = f"v{index}"
    kind = TensorProto.INT64 if nodes[-1][0] == "ArgMax" else TensorProto.FLOAT
    arrays = LINEAR | {name: np.asarray(array, np.float32) for name, array in constants.items()}
    used = {name for node in made for name in node.input}
    return helper.make_model(
        helper.make_graph(
            made,
            "policy",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(value, kind, None)],
            [numpy_helper.from_array(a, name) for name, a in arrays.items() if name in used],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )


GEMM0 = ("Gemm", ["", "w0", "b0"], {"transB": 1})
GEMM1 = ("Gemm", ["", "w1", "b1"], {"transB": 1})
TANH = ("Tanh", [""], {})
PLAIN = (GEMM0, TANH, GEMM1)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "policy.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def deviation(path: Path, network: Network, observations: np.ndarray[Any, Any]) -> float:
    """The largest difference from what ONNX Runtime gives for the file, row by row if it must."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken, *_), name = session.get_inputs(), session.get_outputs()[0].name
    if taken.shape[0] == 1:
        rows = [session.run([name], {taken.name: row[np.newaxis]})[0][0] for row in observations]
        expected = np.array(rows)
    else:
        expected = session.run([name], {taken.name: observations})[0]
    return float(np.abs(act(network, observations) - expected.reshape(len(expected), -1)).max())


def check(model: onnx.ModelProto, folder: Path, spread: float = 1.0) -> Agent:
    path = saved(model, folder)
    agent = load_agent(path)
    observations = spread * random_observations(agent.network, 1000)
    assert deviation(path, agent.network, observations) < PARITY
    return agent


class TestOnnxGraph(SourceContract):
    source = SOURCES.get("onnx")

    def make_sample(self, folder: Path) -> Path:
        return saved(graph(*PLAIN), folder)


@pytest.mark.agents
def test_the_policy_of_a_humanoid_acts_as_in_onnx_runtime() -> None:
    path = robot("g1-velocity.onnx")
    agent = load_agent(path)
    layers = agent.network.layers
    assert [layers[0].in_features, *(layer.out_features for layer in layers)] == [
        480, 512, 256, 128, 29,
    ]  # fmt: skip
    assert [layer.activation for layer in layers] == ["ELU", "ELU", "ELU", None]
    assert (agent.env_id, agent.network.normalizer) == (None, None)
    assert agent.source.versions == {"pytorch": "2.5.1"}
    assert deviation(path, agent.network, random_observations(agent.network, 1000)) < PARITY


# ONNX has Celu for it, which is not read, and nothing for a dropout that is off.
MODULES = {n: m for n, m in ACTIVATIONS.items() if n != "ELU"} | {"Identity": nn.Identity()}


@pytest.mark.parametrize("opset", [9, 11, 13, 20])
def test_what_torch_exports_is_read(tmp_path: Path, opset: int) -> None:
    torch.manual_seed(0)
    parts = [part for module in MODULES.values() for part in (nn.Linear(5, 5), module)]
    module = nn.Sequential(nn.Linear(4, 5), *parts, nn.Dropout(), nn.Linear(5, 3)).eval()
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(1, 4),),
            content,
            dynamo=False,
            opset_version=opset,
            input_names=["obs"],
            dynamic_axes={"obs": [0]} if opset == 13 else None,
        )
    agent = check(onnx.load_model_from_string(content.getvalue()), tmp_path)
    read = [layer.activation or "Identity" for layer in agent.network.layers[1:-1]]
    assert [text.split(":0.25")[0] for text in read] == list(MODULES)


@pytest.mark.parametrize("head", ["clip", "tanh", "argmax"])
@pytest.mark.parametrize("activation", ACTIVATION_TEXTS)
def test_our_own_files_are_read_as_those_of_others(
    tmp_path: Path, activation: str, head: Any
) -> None:
    network = make_network(6, 7, 3, activation=activation, head=head, bounds=(-2, [1, 2, 3]))
    path = saved(to_onnx(network), tmp_path)
    read = load_agent(path).network
    observations = 3 * random_observations(network, 500)
    np.testing.assert_allclose(act(read, observations), act(network, observations), atol=PARITY)
    assert read.head.kind == head
    assert [layer.activation for layer in read.layers] == [
        layer.activation for layer in network.layers
    ]


NORMALIZERS: dict[str, list[tuple[str, list[str], dict[str, Any]]]] = {
    "divided": [("Sub", ["", "m"], {}), ("Div", ["", "s"], {})],
    "multiplied": [("Sub", ["", "m"], {}), ("Mul", ["", "s"], {})],
    "clipped": [
        ("Sub", ["", "m"], {}), ("Div", ["", "s"], {}), ("Clip", ["", "low", "high"], {}),
    ],
    "scaled": [("Mul", ["", "s"], {})],
    "flattened": [("Flatten", [""], {"axis": 1}), ("Mul", ["", "s"], {})],
    "clipped alone": [("Clip", ["", "low", "high"], {})],
}  # fmt: skip
CONSTANTS = {"m": RNG.normal(size=4), "s": RNG.uniform(0.5, 2, 4), "low": -1.0, "high": 1.0}


@pytest.mark.parametrize("kind", NORMALIZERS)
def test_a_normaliser_in_front_is_one(tmp_path: Path, kind: str) -> None:
    agent = check(graph(*NORMALIZERS[kind], *PLAIN, **CONSTANTS), tmp_path, spread=3)
    normalizer = agent.network.normalizer
    assert normalizer is not None
    assert normalizer.clip == (1.0 if "clipped" in kind else np.inf)
    assert len(agent.network.layers) == 2
    expected = (
        CONSTANTS["m"] if "m" in [n for _, names, _ in NORMALIZERS[kind] for n in names] else 0
    )
    np.testing.assert_allclose(as_float(normalizer.mean), np.broadcast_to(expected, 4), rtol=1e-6)


@pytest.mark.parametrize(
    ("front", "layers"),
    [
        ([("Clip", ["", "low", "top"], {})], 3),
        ([("Clip", ["", "low", "high"], {}), ("Mul", ["", "s"], {})], 3),
        ([("Sub", ["", "m"], {}), ("Mul", ["", "none"], {})], 2),
    ],
)
def test_what_is_no_normaliser_becomes_part_of_the_layers(
    tmp_path: Path, front: Any, layers: int
) -> None:
    given = CONSTANTS | {"top": 2.0, "none": [0, 1, 1, 1]}
    agent = check(graph(*front, *PLAIN, **given), tmp_path, spread=3)
    if layers == 3 and len(front) == 2:
        layers = 2  # the clip is a normaliser, the factor goes into the first layer
    assert len(agent.network.layers) == layers


HEADS: dict[str, tuple[str, list[tuple[str, list[str], dict[str, Any]]]]] = {
    "none": ("clip", []),
    "scaled": ("clip", [("Mul", ["", "a"], {}), ("Add", ["", "c"], {})]),
    "clipped": ("clip", [("Clip", ["", "low", "high"], {})]),
    "bounded": ("clip", [("Max", ["", "below"], {}), ("Min", ["", "above"], {})]),
    "clipped and scaled": (
        "clip", [("Clip", ["", "low", "high"], {}), ("Mul", ["", "a"], {}), ("Add", ["", "c"], {})],
    ),
    "squashed": ("tanh", [TANH]),
    "squashed and scaled": ("tanh", [TANH, ("Mul", ["", "a"], {}), ("Add", ["", "c"], {})]),
    "squashed and clipped": ("tanh", [TANH, ("Clip", ["", "low", "high"], {})]),
    "squashed and cut": ("clip", [TANH, ("Clip", ["", "half", "high"], {})]),
    "bounded before": ("tanh", [("Clip", ["", "low", "high"], {}), TANH]),
    "other squashing": ("clip", [("Sigmoid", [""], {}), ("Mul", ["", "a"], {})]),
    "index": ("argmax", [("ArgMax", [""], {"axis": -1, "keepdims": 0})]),
    "index of probabilities": (
        "argmax",
        [("Softmax", [""], {"axis": -1}), ("ArgMax", [""], {"axis": 1, "keepdims": 1})],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADS)
def test_heads_are_recognised(tmp_path: Path, kind: str) -> None:
    head, nodes = HEADS[kind]
    given = {
        "a": [0.25, -0.5, 2], "c": [0, 0.8, -1.5], "low": -1.0, "high": 1.0, "half": -0.5,
        "below": [-1, -0.5, -2], "above": [1, 0.5, 2],
    }  # fmt: skip
    model = graph(*PLAIN, *nodes, **given)
    agent = load_agent(saved(model, tmp_path))
    if head == "argmax":
        observations = random_observations(agent.network, 1000)
        assert deviation(tmp_path / "policy.onnx", agent.network, observations[:1]) == 0
    else:
        check(model, tmp_path, spread=2)
    assert agent.network.head.kind == head


def test_product_and_sum_are_a_layer_with_any_batch(tmp_path: Path) -> None:
    nodes = [
        ("MatMul", ["", "w"], {}), ("Add", ["", "b0"], {}), ("Mul", ["", "two"], {}),
        ("Relu", [""], {}), ("Mul", ["", "two"], {}), GEMM1,
    ]  # fmt: skip
    for shape in ((1, 4), ("batch", 4), (None, None)):
        agent = check(graph(*nodes, shape=shape, w=W0.T, two=2.0), tmp_path)
        assert [layer.activation for layer in agent.network.layers] == ["ReLU", None]


def test_the_mean_of_a_gaussian_is_cut_out(tmp_path: Path) -> None:
    model = graph(*PLAIN, ("Split", [""], {"axis": -1}), ("Tanh", [""], {}), opset=12)
    split = model.graph.node[3]
    split.attribute.append(helper.make_attribute("split", [2, 1]))
    split.output.append("log_std")
    assert check(model, tmp_path).network.action_shape == (2,)


def test_the_last_of_equal_parts_has_what_is_left(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    last = np.ones((2, 3), np.float32)
    for part, width in (("v1", 3), ("middle", 3), ("last", 1)):
        nodes = [
            ("Gemm", ["", "wide"], {"transB": 1}),
            ("Split", [""], {"axis": -1, "num_outputs": 3}),
            ("Gemm", [part, "behind"], {"transB": 1}),
        ]
        model = graph(*nodes, opset=18, wide=wide, behind=last[:, :width])
        model.graph.node[1].output.extend(["middle", "last"])
        check(model, tmp_path)


def test_one_output_of_several_is_the_action(tmp_path: Path) -> None:
    model = graph(*PLAIN)
    model.graph.node.append(helper.make_node("Exp", ["v2"], ["value"], "spread"))
    model.graph.output.append(helper.make_tensor_value_info("value", TensorProto.FLOAT, None))
    with pytest.raises(UnsupportedPolicyError, match=r"2 outputs .'v2', 'value'"):
        load_agent(saved(model, tmp_path))
    model.graph.node[2].output[0] = model.graph.output[0].name = "actions"
    model.graph.node[3].input[0] = "actions"
    assert load_agent(saved(model, tmp_path)).network.action_shape == (3,)


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([GEMM0, ("LayerNormalization", ["", "b0"], {}), GEMM1], "n1.*LayerNormalization"),
        ([("LSTM", ["", "w0", "w0"], {}), GEMM1], "n0.*LSTM.*state"),
        ([("Conv", ["", "w0"], {}), GEMM1], "n0.*Conv.*convolution"),
        ([GEMM0, ("Add", ["", "v0"], {}), GEMM1], "n1.*joins two branches"),
        ([GEMM0, ("Add", ["", "x"], {}), GEMM1], "n1.*joins two branches"),
        ([GEMM0, TANH, ("Gemm", ["", "w1"], {"transA": 1})], "n2.*transposes"),
        ([GEMM0, ("Softmax", [""], {}), GEMM1], "n1.*Softmax.*not supported there"),
        ([GEMM0, ("Softmax", [""], {"axis": 0}), GEMM1], "n1.*axis 0"),
        ([GEMM0, ("Exp", [""], {}), GEMM1], "n1.*exp of the features"),
        ([GEMM0, ("Celu", [""], {"alpha": 2.0}), GEMM1], "n1.*alpha"),
        ([TANH], "without any linear layer"),
        ([("Identity", ["w0"], {})], "does not depend on the observation"),
        ([("DynamicQuantizeLinear", [""], {}), GEMM0], "n0.*quantized already"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path: Path, nodes: Any, reason: str) -> None:
    with pytest.raises(UnsupportedPolicyError, match=reason):
        load_agent(saved(graph(*nodes), tmp_path))


def test_old_opsets_and_foreign_domains_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedPolicyError, match="opset 7"):
        load_agent(saved(graph(*PLAIN, opset=7), tmp_path))
    model = graph(*PLAIN)
    model.graph.node[1].domain = "com.example"
    with pytest.raises(UnsupportedPolicyError, match=r"n1.*com\.example"):
        load_agent(saved(model, tmp_path))


def test_artifacts_in_integers_are_named(tmp_path: Path) -> None:
    from squeezerl import compress

    path = tmp_path / "policy.onnx"
    observations = random_observations(make_network(4, 5, 3), 64)
    agent = load_agent(saved(graph(*PLAIN), tmp_path))
    path.write_bytes(compress(agent, "int8:static", observations=observations).model)
    with pytest.raises(UnsupportedPolicyError, match="quantized already"):
        load_agent(path)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"w1": W1 * np.nan}, "n2.*NaN"),
        ({"b0": B0 + np.inf}, "n0.*infinite"),
        ({"w1": W1[:, :4]}, "n2.*takes 4 features, but gets 5"),
        ({"b1": B1[:2]}, "n2.*do not fit"),
        ({"w1": W1[0]}, "n2.*no linear layer"),
        ({"w0": W0[:, :3]}, r"shape \(4,\), but"),
    ],
)
def test_wrong_weights_are_refused(tmp_path: Path, weights: Any, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        load_agent(saved(graph(*PLAIN, **weights), tmp_path))


def test_weights_in_another_file_are_refused_by_name_and_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "policy.onnx"
    onnx.save_model(
        graph(*PLAIN), path, save_as_external_data=True, location="w.data", size_threshold=0
    )
    with pytest.raises(CheckpointError, match=r"'w0' lie outside, in 'w\.data'"):
        load_agent(path)
    model = graph(*PLAIN)
    for tensor in model.graph.initializer:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")
        tensor.ClearField("raw_data")
    with pytest.raises(CheckpointError, match="passwd"):
        load_agent(saved(model, tmp_path))


def test_cycles_are_refused(tmp_path: Path) -> None:
    model = graph(*PLAIN)
    model.graph.node[0].input[0] = "v1"
    with pytest.raises(CheckpointError, match=r"n0.*'v1'.*cycle"):
        load_agent(saved(model, tmp_path))


def test_giant_graphs_are_refused_at_once(tmp_path: Path) -> None:
    model = graph(*[TANH] * 10_001)
    with pytest.raises(UnsupportedPolicyError, match="10,001 nodes"):
        load_agent(saved(model, tmp_path))
    model = graph(*PLAIN)
    model.graph.initializer[0].dims[:] = [2**40, 2**40]
    with pytest.raises(CheckpointError, match="damaged"):
        load_agent(saved(model, tmp_path))
    rows, columns = np.ones((2**14, 1)), np.ones((1, 2**14))
    model = graph(GEMM0, ("Mul", ["rows", "columns"], {}), rows=rows, columns=columns)
    with pytest.raises(CheckpointError, match=r"n1.*more than"):
        load_agent(saved(model, tmp_path))


def test_spoiled_copies_are_refused_or_sound(tmp_path: Path) -> None:
    assert survive_mutations(saved(graph(*NORMALIZERS["clipped"], *PLAIN, **CONSTANTS), tmp_path))


def test_a_normaliser_beside_it_is_refused(tmp_path: Path) -> None:
    path = saved(graph(*PLAIN), tmp_path)
    with pytest.raises(CheckpointError, match="vecnormalize"):
        load_agent(path, vecnormalize=tmp_path / "vecnormalize.pkl")
    assert load_agent(path, vecnormalize="none").network.normalizer is None


def test_a_policy_without_bounds_survives_every_format(tmp_path: Path) -> None:
    network = load_agent(
        saved(graph(*NORMALIZERS["divided"], *PLAIN, **CONSTANTS), tmp_path)
    ).network
    written = OnnxFormat().write(network)
    read, _ = OnnxFormat().read(written)
    assert read.sha256 == network.sha256


def test_metadata_are_shown_and_stay_in_the_file(tmp_path: Path) -> None:
    facts = {"joint_names": "hip,knee", "action_scale": "0.25,0.5", "odd": "a\x1b[31mb\n" * 40}
    model = graph(*PLAIN, **CONSTANTS)
    helper.set_model_props(model, facts)
    path = saved(model, tmp_path)
    agent = load_agent(path)
    assert agent.source.metadata == facts
    artifact = make_artifact(agent, "prune:l2:0.3")
    artifact.save(tmp_path / "out")
    for folder, opset in ((tmp_path / "out", None), (tmp_path / "older", 15)):
        with_opset(artifact, opset).save(folder, force=True)
        read = read_artifact(folder)
        session = onnxruntime.InferenceSession(read.model)
        assert session.get_modelmeta().custom_metadata_map == facts
        assert read.manifest.source.metadata == facts
    forged = dataclasses.replace(read.manifest.source, metadata={"joint_names": "knee,hip"})
    manifest = dataclasses.replace(read.manifest, source=forged)
    dataclasses.replace(read, manifest=manifest).save(tmp_path / "forged")
    with pytest.raises(AuditError, match="metadata"):
        read_artifact(tmp_path / "forged")
    shown = CliRunner().invoke(app, ["inspect", str(path)]).stdout
    assert "hip,knee" in shown
    assert "\x1b" not in shown


def test_a_library_of_metadata_is_refused(tmp_path: Path) -> None:
    model = graph(*PLAIN, **CONSTANTS)
    helper.set_model_props(model, {"book": "x" * 1_000_001})
    with pytest.raises(UnsupportedPolicyError, match="characters of metadata"):
        load_agent(saved(model, tmp_path))
