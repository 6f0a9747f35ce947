"""ONNX Runtime's own quantizer as an oracle: it finds the same integers, scales and actions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from small_policies import (
    Floats,
    compress,
    demo_network,
    demo_observations,
    make_network,
    random_observations,
)
from squeezerl.formats.onnx import to_onnx
from squeezerl.methods.integers import centered_outputs
from squeezerl.methods.recipe import Recipe
from squeezerl.network.arithmetic import act
from squeezerl.network.network import IntegerTensor, Network, Rounding

NETWORKS = {
    "demo": lambda: (demo_network(), demo_observations()),
    "tanh": lambda: _random(7, 40, 30, 3, head="tanh", activation="Tanh"),
    "stretched": lambda: _random(5, 24, 2, head="tanh", bounds=([-2, 0], [2, 3])),
    # With centred outputs, which ours have and the library's have not.
    "argmax": lambda: _centered(5, 24, 4, head="argmax", activation="ELU"),
    "clip": lambda: _random(5, 24, 3, normalized=False, bounds=(-0.5, 0.5)),
    "linear": lambda: _random(5, 3),
}
# The output of a layer stays in float until the next layer's input is quantized.
LAYERS_ONLY: dict[str, Any] = {
    "op_types_to_quantize": ["Gemm"],
    "extra_options": {"OpTypesToExcludeOutputQuantization": ["Gemm"]},
}
KINDS = [
    "int8:dynamic",
    "int8:dynamic:per_channel=no",
    "int8:static",
    "int8:static:per_channel=no",
    "int8:static:layers_only=no",
    "int8:static:per_channel=no:layers_only=no",
]


def _centered(*widths: int, **settings: Any) -> tuple[Network, Floats]:
    network, observations = _random(*widths, **settings)
    return centered_outputs(network), observations


def _random(*widths: int, **settings: Any) -> tuple[Network, Floats]:
    network = make_network(*widths, **settings)
    return network, random_observations(network, 500)


class _Observations(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, observations: Floats) -> None:
        self._batches = iter([{"observation": observations}])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._batches, None)


def _quantized(
    network: Network, recipe: str, observations: Floats, folder: Path
) -> onnx.ModelProto:
    """What ONNX Runtime's quantizer makes of the float model."""
    spec: Any = Recipe.of(recipe).steps[0]
    path = folder / "quantized.onnx"
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)  # it advises to optimise the graph first
    common: dict[str, Any] = {"per_channel": spec.per_channel, "weight_type": QuantType.QInt8}
    if recipe.startswith("int8:dynamic"):
        quantize_dynamic(to_onnx(network), path, **common)
    else:
        quantize_static(
            to_onnx(network),
            path,
            _Observations(observations),
            quant_format=QuantFormat.QDQ,
            calibrate_method=CalibrationMethod.MinMax,
            activation_type=QuantType.QUInt8,
            **common,
            **(LAYERS_ONLY if spec.layers_only else {}),
        )
    root.setLevel(level)
    return onnx.load(path)


def _actions(model: onnx.ModelProto, observations: Floats) -> npt.NDArray[Any]:
    """In exact arithmetic: its weights are int8, which saturate on some processors."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return np.concatenate([session.run(None, {"observation": o[None]})[0] for o in observations])


@pytest.mark.parametrize("recipe", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_integers_and_scales_are_the_same(name: str, recipe: str, tmp_path: Path) -> None:
    network, observations = NETWORKS[name]()
    model = _quantized(network, recipe, observations, tmp_path)
    constants = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    ours = compress(network, recipe, observations)
    for layer, tensor in ((n, x.weight) for n, x in ours.named_layers.items()):
        assert isinstance(tensor, IntegerTensor)
        scale = constants[f"{layer}.weight_scale"]
        np.testing.assert_allclose(tensor.scale.ravel(), scale.ravel(), rtol=1e-6)
        theirs = constants[f"{layer}.weight_quantized"].T.astype(int)
        assert not constants[f"{layer}.weight_zero_point"].any()
        difference = abs(tensor.centered - theirs)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3  # what lies in the middle of two integers
    if ours.is_dynamic:
        return
    quantized = {
        node.input[0]: (constants[node.input[1]].item(), constants[node.input[2]].item())
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    names = {"observation": "observation", "action": "action_QuantizeLinear_Input"}
    assert {names.get(value, f"{value}.out") for value in ours.roundings} == set(quantized)
    for value, rounding in ours.roundings.items():
        assert isinstance(rounding, Rounding)
        scale, zero_point = quantized[names.get(value, f"{value}.out")]
        assert rounding.scale == pytest.approx(scale, rel=1e-6)
        assert rounding.zero_point == zero_point


@pytest.mark.parametrize("recipe", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_actions_are_the_same(name: str, recipe: str, tmp_path: Path) -> None:
    network, observations = NETWORKS[name]()
    model = _quantized(network, recipe, observations, tmp_path)
    quantized = compress(network, recipe, observations)
    actual = act(quantized, observations)
    theirs = _actions(model, observations)
    if network.head.is_discrete:
        assert (actual == theirs).mean() > 0.99
        return
    rounding = quantized.roundings.get("action")
    if rounding is None:
        assert (abs(actual - theirs).max(axis=1) < 1e-5).mean() > 0.97
        return
    # Actions are rounded, too: a last bit of difference can be a step of them.
    assert isinstance(rounding, Rounding)
    ours, theirs, low, high = (
        np.rint(x / np.float32(rounding.scale))
        for x in (actual, theirs, network.head.low, network.head.high)
    )
    if network.head.kind == "clip":
        # The library drops the clip, and its actions end where the integers do, up to one step
        # beyond the bounds; ours end at the integer that is nearest to the bound.
        beyond = (theirs < low) | (theirs > high)
        assert beyond.any()
        assert (abs(theirs - theirs.clip(low, high)) <= 1).all()
        theirs = theirs.clip(low, high)
    assert abs(ours - theirs).max() <= 1
    assert (ours == theirs).all(axis=1).mean() > 0.93
