from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from format_contract import FormatContract
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from onnx import TensorProto, helper, numpy_helper

from made_agents import MadeAgent
from onnx_runner import onnx_actions, rows_alone, torch_actions
from random_networks import integer_networks, networks
from small_policies import (
    LOW_BITS,
    QUANTIZATIONS,
    compress,
    demo_network,
    demo_observations,
    make_network,
    random_observations,
    with_layer,
)
from squeezerl.agents.load import load_agent
from squeezerl.errors import AuditError, FormatError
from squeezerl.formats.onnx import OnnxFormat, to_onnx
from squeezerl.methods.integers import integer_bias
from squeezerl.network.arithmetic import act, grouped, rounded
from squeezerl.network.network import (
    DynamicRounding,
    Head,
    IntegerTensor,
    Network,
    Rounding,
    as_float,
)

HEADS: tuple[Any, ...] = ("clip", "tanh", "argmax")
NOT_OURS = "not a policy that this release writes"


class TestOnnxFormat(FormatContract):
    format = OnnxFormat()
    recipes: ClassVar = ("float", *QUANTIZATIONS.values(), *LOW_BITS.values())

    def written_like(self, content: bytes, network: Network) -> bytes:
        opset = onnx.load_model_from_string(content).opset_import[0].version
        return OnnxFormat(opset).write(network)

    def test_a_file_of_another_opset_is_another_sound_file(self) -> None:
        network = make_network(3, 4, 2)
        model = to_onnx(network)
        model.opset_import[0].version -= 1
        content = model.SerializeToString()
        assert OnnxFormat().write(network) != content
        assert self.written_like(content, OnnxFormat().read(content)[0]) == content

    def test_published_agents_come_back_with_their_bounds(self, published_agent: Path) -> None:
        network = load_agent(published_agent).network
        head = self.comes_back(network).head
        np.testing.assert_array_equal(head.low, network.head.low)
        np.testing.assert_array_equal(head.high, network.head.high)

    def test_made_agents_come_back(self, made_agent: MadeAgent) -> None:
        self.comes_back(load_agent(made_agent.path).network)

    @pytest.mark.parametrize("recipe", ["float", "prune:l2:0.3", *QUANTIZATIONS.values()])
    def test_what_becomes_of_the_demo_comes_back(self, recipe: str) -> None:
        self.comes_back(compress(demo_network(), recipe))


# What the graph computes.


@settings(max_examples=100)
@given(networks(wild=False))
def test_the_graph_acts_as_the_network_does(network: Network) -> None:
    model = to_onnx(network)
    onnx.checker.check_model(model, full_check=True)
    observations = random_observations(network, 20)
    expected, actual = torch_actions(network, observations), onnx_actions(model, observations)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    if network.head.is_discrete:
        outputs: dict[str, Any] = {}
        act(network, observations, outputs.__setitem__)
        last = outputs[[*outputs][-1]]
        choices = actual.reshape(len(actual), -1).T
        for group, index in zip(grouped(network.head, last), choices, strict=True):
            chosen = np.take_along_axis(group, index[:, None], axis=1)[:, 0]
            np.testing.assert_allclose(chosen, group.max(axis=1), rtol=1e-5, atol=1e-5)
    else:
        size = max(1.0, float(np.abs([network.head.low, network.head.high]).max()))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * size)


@settings(max_examples=100)
@given(integer_networks(wild=False))
def test_the_graph_of_integers_acts_as_the_network_does(network: Network) -> None:
    model = to_onnx(network)
    onnx.checker.check_model(model, full_check=True)
    observations = random_observations(network, 20)
    expected, actual = act(network, observations), rows_alone(model, observations)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    # A last bit of difference before a rounding can become a step of it.
    same = abs(actual - expected).reshape(20, -1).max(axis=1) <= 1e-4 * (1 + abs(expected).max())
    assert same.mean() >= 0.8


@pytest.mark.parametrize("head", HEADS)
def test_each_observation_is_treated_alike_in_any_batch(head: Any) -> None:
    network = make_network(3, 8, 2, head=head)
    observations = random_observations(network, 16)
    whole, alone = (run(network, observations) for run in (onnx_actions, rows_alone))
    np.testing.assert_allclose(whole, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("recipe", ["float", "ptdq", "ptsq", "ptsq-naive"])
@pytest.mark.parametrize("width", [1, 7, 255])
def test_layers_of_any_width_act_as_the_network_does(recipe: str, width: int) -> None:
    network = compress(make_network(width, width, 3), QUANTIZATIONS.get(recipe, recipe))
    observations = random_observations(network, 50)
    same = abs(rows_alone(network, observations) - act(network, observations)).max(axis=1) < 1e-5
    assert same.mean() > 0.9


@pytest.mark.parametrize("recipe", ["float", "int8:dynamic", "int8:static"])
def test_one_observation_of_nan_leaves_the_others_alone(recipe: str) -> None:
    network = compress(make_network(3, 8, 2), recipe)
    observations = random_observations(network, 4)
    expected = rows_alone(network, observations)
    observations[2, 1] = np.nan
    actions = rows_alone(network, observations)
    np.testing.assert_array_equal(actions[[0, 1, 3]], expected[[0, 1, 3]])
    if recipe == "float":
        assert np.isnan(actions[2]).any()


# What the graph holds.


def test_the_graph_keeps_the_names_of_the_layers_and_their_weights() -> None:
    network = make_network(3, 8, 2)
    model = to_onnx(network)
    gemms = [node for node in model.graph.node if node.op_type == "Gemm"]
    constants = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    assert [node.name for node in gemms] == list(network.named_layers)
    for name, layer in network.named_layers.items():
        np.testing.assert_array_equal(constants[f"{name}.weight"], as_float(layer.weight).T)
        np.testing.assert_array_equal(constants[f"{name}.bias"], as_float(layer.bias))


def test_the_graph_takes_observations_and_gives_actions_only() -> None:
    graph = to_onnx(make_network(3, 8, 2)).graph
    assert [x.name for x in graph.input] == ["observation"]
    assert [x.name for x in graph.output] == ["action"]


def test_the_graph_holds_little_besides_the_weights() -> None:
    network = make_network(3, 64, 64, 2)
    assert to_onnx(network).ByteSize() < 4 * network.parameter_count + 1500


def test_symmetric_unit_bounds_cost_no_nodes() -> None:
    stretched, unit = (
        {node.op_type for node in to_onnx(network).graph.node}
        for network in (
            make_network(3, 2, head="tanh", normalized=False, bounds=([-1, 0], [2, 3])),
            make_network(3, 2, head="tanh", normalized=False),
        )
    )
    assert {"Mul", "Add"} <= stretched
    assert not {"Mul", "Add"} & unit


@given(integer_networks())
def test_integer_weights_are_uint8_around_128(network: Network) -> None:
    """Kernels for int8 weights saturate on some processors; those for uint8 weights do not."""
    for tensor in to_onnx(network).graph.initializer:
        array = numpy_helper.to_array(tensor)
        assert array.dtype != np.int8
        if tensor.name.endswith(".weight_zero_point"):
            assert (array == 128).all()
        if tensor.name.endswith(".weight_quantized"):
            assert array.dtype == np.uint8
            assert array.min() >= 1  # from -127 to 127


# What does not fit, and what comes back as near as the graph knows.


@pytest.mark.parametrize(("bits", "zero_point"), [(7, 64), (4, 0), (3, 3), (2, 1), (1, 0)])
def test_values_can_be_rounded_to_fewer_than_eight_bits(bits: int, zero_point: int) -> None:
    network = compress(make_network(5, 9, 2), "bits:4")
    rounding = Rounding(scale=0.25, zero_point=zero_point, bits=bits)
    weight, bias = network.layers[1].weight, make_network(5, 9, 2).layers[1].bias
    assert isinstance(weight, IntegerTensor)
    network = with_layer(network, 1, bias=integer_bias(as_float(bias), weight, rounding))
    network = network.replace(roundings={**network.roundings, "activation0": rounding})
    observations = random_observations(network, 300)
    levels: dict[str, Any] = {}
    act(network, observations, levels.__setitem__)
    assert len(np.unique(rounded(levels["activation0"], rounding)[0])) > 1
    content = OnnxFormat().write(network)
    np.testing.assert_array_equal(rows_alone(content, observations), act(network, observations))
    assert OnnxFormat().read(content)[0].sha256 == network.sha256


def test_values_that_are_rounded_at_run_time_have_eight_bits() -> None:
    roundings = {"observation": DynamicRounding(bits=4)}
    with pytest.raises(FormatError, match="observation is rounded at run time to 4 bits, not 8"):
        to_onnx(make_network(3, 2).replace(roundings=roundings))


@pytest.mark.parametrize("recipe", LOW_BITS.values(), ids=LOW_BITS)
def test_a_default_session_gives_the_integers_of_the_reference(recipe: str) -> None:
    # ReLU and clipping are exact in any implementation; a hyperbolic tangent is not.
    network, observations = demo_network(), demo_observations()[:200]
    quantized = compress(network, recipe, observations)
    actual, expected = rows_alone(quantized, observations), act(quantized, observations)
    if "activations=float" in recipe:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
    elif "bits:8" not in recipe and "bits:6" not in recipe:
        np.testing.assert_array_equal(actual, expected)
    assert (abs(actual - expected).max(axis=1) < 1e-5).mean() > 0.99


@pytest.mark.parametrize(("recipe", "bits"), [("bits:4", 4), ("bits:3", 4), ("bits:6", 8)])
def test_the_file_holds_narrow_weights_two_in_a_byte(recipe: str, bits: int) -> None:
    network = make_network(40, 40, 2)
    model = to_onnx(compress(network, recipe))
    name = f"layer0.weight_int{recipe[-1]}"
    stored = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    assert len(stored.raw_data) == 40 * 40 * bits // 8


def test_a_value_that_is_rounded_at_run_time_can_enter_integer_layers_only() -> None:
    network = make_network(3, 4, 2, normalized=False)
    with pytest.raises(FormatError, match="rounded at run time"):
        to_onnx(network.replace(roundings={"observation": DynamicRounding()}))


def _tanh(low: Any, high: Any) -> Head:
    """A tanh head, written and read again."""
    low, high = np.float32(low), np.float32(high)
    network = make_network(len(low), len(low), head="tanh", bounds=(low, high))
    return OnnxFormat().read(OnnxFormat().write(network))[0].head


FLOATS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


@settings(max_examples=150)
@given(nps.arrays(np.float32, (16, 2), elements=FLOATS))
def test_bounds_of_any_tanh_head_come_back_as_near_as_the_graph_knows(bounds: Any) -> None:
    low, high = bounds.min(axis=1) + 0.0, bounds.max(axis=1) + 0.0  # no negative zeros
    head = _tanh(low, high)
    size = np.maximum(np.abs(low), np.abs(high))
    assert (np.abs(head.low - low) <= 3e-7 * size).all()
    assert (np.abs(head.high - high) <= 3e-7 * size).all()


@pytest.mark.parametrize(
    ("low", "high"),
    [([-1], [1]), ([0], [1]), ([-0.4], [0.4]), ([-2, 0.5], [2, 0.75]), ([0, -1], [0, 3])],
)
def test_usual_bounds_come_back_exactly(low: list[float], high: list[float]) -> None:
    head = _tanh(low, high)
    np.testing.assert_array_equal(head.low, np.float32(low))
    np.testing.assert_array_equal(head.high, np.float32(high))


# Models that somebody else made, or changed.


def _constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def _replace(model: onnx.ModelProto, name: str, array: Any) -> None:
    _constant(model, name).CopyFrom(numpy_helper.from_array(np.asarray(array), name))


def _move_outside(model: onnx.ModelProto) -> None:
    tensor = _constant(model, "layer0.weight")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")


def _activation(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == "activation0")


SPOILED: dict[str, Callable[[onnx.ModelProto], Any]] = {
    "an empty model": lambda model: model.Clear(),
    "no nodes": lambda model: model.graph.ClearField("node"),
    "no input": lambda model: model.graph.ClearField("input"),
    "another observation": lambda model: model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", 5])
    ),
    "a second output": lambda model: model.graph.output.append(
        helper.make_tensor_value_info("layer0.out", TensorProto.FLOAT, ["batch", 4])
    ),
    "a layer without bias": lambda model: model.graph.initializer.remove(
        _constant(model, "layer1.bias")
    ),
    "a head without bounds": lambda model: model.graph.initializer.remove(
        _constant(model, "head.high")
    ),
    "layers that do not chain": lambda model: _replace(
        model, "layer1.weight", np.zeros((5, 2), np.float32)
    ),
    "weights in double precision": lambda model: _replace(model, "layer1.weight", np.zeros((4, 2))),
    "weights of another rank": lambda model: _replace(
        model, "layer1.weight", np.zeros(8, np.float32)
    ),
    "a normaliser of another size": lambda model: _replace(
        model, "normalizer.mean", np.zeros(2, np.float32)
    ),
    "an infinite normaliser": lambda model: _replace(
        model, "normalizer.mean", np.full(3, np.inf, np.float32)
    ),
    "a lopsided normaliser": lambda model: _replace(model, "normalizer.low", np.float32(-3)),
    "an unknown activation": lambda model: setattr(_activation(model), "op_type", "Gelu"),
    "another attribute": lambda model: setattr(_activation(model).attribute[0], "name", "beta"),
    "a name of another": lambda model: setattr(model, "producer_name", "somebody"),
    "one more node": lambda model: model.graph.node.append(
        helper.make_node("Relu", ["action"], ["unused"], "extra")
    ),
    "one more constant": lambda model: model.graph.initializer.append(
        numpy_helper.from_array(np.zeros(3, np.float32), "hidden")
    ),
    "weights outside the file": _move_outside,
    "more weights claimed than held": lambda model: _constant(
        model, "layer0.weight"
    ).dims.__setitem__(slice(None), [3000, 4000]),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_spoiled_model_is_refused(spoil: Callable[[onnx.ModelProto], Any]) -> None:
    model = to_onnx(make_network(3, 4, 2, activation="LeakyReLU"))
    OnnxFormat().read(model.SerializeToString())
    spoil(model)
    with pytest.raises(AuditError, match=NOT_OURS):
        OnnxFormat().read(model.SerializeToString())


def test_a_reason_is_given() -> None:
    model = to_onnx(make_network(3, 4, 2))
    _move_outside(model)
    with pytest.raises(AuditError, match="outside the file"):
        OnnxFormat().read(model.SerializeToString())


def test_the_export_of_another_library_is_refused() -> None:
    node = helper.make_node("Gemm", ["observation", "w"], ["action"], "linear")
    model = to_onnx(make_network(3, 4, 2))
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.append(node)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((3, 2), np.float32), "w"))
    with pytest.raises(AuditError, match="has no node 'layer0'"):
        OnnxFormat().read(model.SerializeToString())
