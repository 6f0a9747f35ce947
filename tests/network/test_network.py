from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_agents import MadeAgent
from random_networks import drawn_networks, integer_networks, networks
from small_policies import compress, demo_network, make_network, random_observations
from squeezerl.agents.load import load_agent
from squeezerl.errors import NetworkError
from squeezerl.network.arithmetic import act
from squeezerl.network.network import (
    DynamicRounding,
    Head,
    IntegerTensor,
    Layer,
    Network,
    Normalizer,
    Part,
    Port,
    Rounding,
    parts_of,
)

ANY = st.one_of(networks(), integer_networks(), drawn_networks())


def _zeros(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape, dtype)


def test_a_network_says_what_it_takes_gives_and_holds() -> None:
    network = make_network(6, 8, 5, 2, observation_shape=(3, 2), head="tanh")
    assert network.signature.inputs == (Port(name="observation", shape=(3, 2)),)
    assert network.signature.outputs == (Port(name="action", shape=(2,)),)
    assert {name: layer.weight.shape for name, layer in network.named_layers.items()} == {
        "layer0": (8, 6),
        "layer1": (5, 8),
        "layer2": (2, 5),
    }
    assert network.parameter_count == (6 + 1) * 8 + (8 + 1) * 5 + (5 + 1) * 2
    assert network.choices is None
    assert [network.input_of(i) for i in range(3)] == [
        "normalizer.clip",
        "activation0",
        "activation1",
    ]
    assert network.value_names[-4:] == ("layer2", "head.tanh", "head.stretch", "action")


def test_discrete_actions_are_indices_and_counted() -> None:
    network = make_network(4, 3, head="argmax", normalized=False)
    assert network.signature.outputs == (Port(name="action", shape=(), dtype="int64"),)
    assert network.choices == (3,)
    assert network.value_names == ("observation", "layer0", "action")
    assert [make_network(4, 3, head=h).head.is_discrete for h in ("clip", "tanh")] == [False] * 2


def test_nothing_in_a_network_can_be_changed() -> None:
    for network in (make_network(4, 3), compress(make_network(4, 3), "int8:static")):
        with pytest.raises(AttributeError):
            network.layers = ()  # type: ignore[misc]
        with pytest.raises(TypeError):
            network.roundings["observation"] = DynamicRounding()  # type: ignore[index]
        for _, tensor in network.tensors():
            array = tensor.values if isinstance(tensor, IntegerTensor) else tensor
            with pytest.raises(ValueError, match="read-only"):
                array[:] = 0


def test_a_network_does_not_change_with_the_dict_that_it_was_given() -> None:
    roundings: dict[str, Any] = {"observation": DynamicRounding()}
    network = make_network(4, 3).replace(roundings=roundings)
    roundings.clear()
    assert network.is_dynamic


PARTS: dict[str, dict[str, Any]] = {
    "at least one layer": {"layers": ()},
    "layer1 takes 9 features, but gets 8": {
        "layers": (
            Layer(weight=_zeros(8, 4), bias=_zeros(8)),
            Layer(weight=_zeros(2, 9), bias=_zeros(2)),
        )
    },
    r"layer0 has weights of shape \(8,\)": {"layers": (Layer(weight=_zeros(8), bias=_zeros(8)),)},
    r"a bias of shape \(1,\)": {"layers": (Layer(weight=_zeros(2, 4), bias=_zeros(1)),)},
    "layer0 takes 4 features, but gets 5": {"observation_shape": (5,), "normalizer": None},
    r"a normaliser of shape \(4,\) for 5 features": {"observation_shape": (5,)},
    "must be finite": {
        "normalizer": Normalizer(mean=_zeros(4), inverse_std=_zeros(4) + np.float32("inf"), clip=1)
    },
    r"actions of shape \(3,\) do not fit": {"action_shape": (3,)},
    r"bounds of shapes .*\(1,\)": {"head": Head(kind="clip", low=_zeros(1), high=_zeros(1))},
    r"actions of shape \(2,\) do": {"head": Head(kind="argmax")},
    "no value 'layer7' to round": {"roundings": {"layer7": DynamicRounding()}},
    r"the entries 'a\[0:3\]' do not make": {"observation_parts": parts_of([("a", (3,))])},
    r"the entries 'a\[0:2\], a\[2:4\]'": {"observation_parts": parts_of([("a", (2,))] * 2)},
    r"the entries 'a\[1:5\]'": {
        "observation_parts": (Part(name="a", shape=(4,), start=1, stop=5),)
    },
    r"the entries 'a\[0:4\] \(-2x-2\)'": {"observation_parts": parts_of([("a", (-2, -2))])},
}


@pytest.mark.parametrize("message", PARTS)
def test_parts_that_do_not_fit_together_are_refused(message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        make_network(4, 8, 2).replace(**PARTS[message])


@pytest.mark.parametrize("name", ["Softmax", "relu", "", "Linear", "__init__"])
def test_unknown_activation_is_refused_with_the_list_of_known_ones(name: str) -> None:
    with pytest.raises(NetworkError, match=r"ELU, GELU, .*LeakyReLU.* ReLU.*Tanh"):
        make_network(4, 8, 2, activation=name)


@pytest.mark.parametrize(
    ("values", "scale", "zero_point", "message"),
    [
        (_zeros(2, 3, dtype=np.int8), np.float32(1), np.int8(0), "integers of type int8"),
        (_zeros(2, 3, dtype=np.uint8), np.float64(1), np.uint8(0), "float32"),
        (_zeros(2, 3, dtype=np.uint8), np.float32("nan"), np.uint8(0), "finite"),
        (_zeros(2, 3, dtype=np.uint8), np.float32(1), np.int32(0), "do not fit together"),
        (_zeros(2, 3, dtype=np.uint8), _zeros(3), _zeros(3, dtype=np.uint8), r"\(3,\) scales"),
    ],
)
def test_integer_tensors_of_other_types_or_shapes_are_refused(
    values: Any, scale: Any, zero_point: Any, message: str
) -> None:
    with pytest.raises(NetworkError, match=message):
        IntegerTensor(values, np.asarray(scale), np.asarray(zero_point), 8)


def test_integer_tensors_stand_for_numbers() -> None:
    values = np.array([[0, 128, 255], [127, 128, 129]], np.uint8)
    tensor = IntegerTensor(values, np.float32([0.5, 2]), np.full(2, 128, np.uint8), 8)
    assert tensor.dequantized().tolist() == [[-64, 0, 63.5], [-2, 0, 2]]
    assert (tensor.shape, tensor.nbytes) == ((2, 3), 6)


@pytest.mark.parametrize(
    "rounding",
    [{"scale": 0.0}, {"scale": -1.0}, {"scale": float("inf")}, {"zero_point": 256},
     {"zero_point": -1}, {"zero_point": 16, "bits": 4}],
)  # fmt: skip
def test_roundings_that_make_no_sense_are_refused(rounding: dict[str, Any]) -> None:
    with pytest.raises(NetworkError):
        Rounding(**{"scale": 1.0, "zero_point": 0} | rounding)


# Saving and loading.


def _comes_back(network: Network, path: Path) -> None:
    """Bit for bit, and in all that is not a number."""
    network.save(path)
    loaded = Network.load(path)
    assert loaded.sha256 == network.sha256
    assert (loaded.head.kind, loaded.head.clip_mean) == (network.head.kind, network.head.clip_mean)
    assert loaded.signature == network.signature
    assert loaded.roundings == network.roundings
    assert [layer.activation for layer in loaded.layers] == [x.activation for x in network.layers]
    for (name, ours), (other, theirs) in zip(network.tensors(), loaded.tensors(), strict=True):
        assert name == other
        assert type(ours) is type(theirs)
        ours, theirs = (getattr(x, "values", x) for x in (ours, theirs))
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@given(ANY)
def test_any_network_comes_back_bit_for_bit(folder: Path, network: Network) -> None:
    _comes_back(network, folder / "network.npz")


def test_published_agents_come_back(published_agent: Path, tmp_path: Path) -> None:
    _comes_back(load_agent(published_agent).network, tmp_path / "network.npz")


def test_made_agents_come_back(made_agent: MadeAgent, tmp_path: Path) -> None:
    _comes_back(load_agent(made_agent.path).network, tmp_path / "network.npz")


def test_a_pruned_network_comes_back_and_its_file_is_small(tmp_path: Path) -> None:
    network = compress(demo_network(), "prune:l2:0.3")
    _comes_back(network, tmp_path / "network.npz")
    size = (tmp_path / "network.npz").stat().st_size
    assert size < 4 * network.parameter_count + 8_000


def test_infinities_and_nan_come_back(tmp_path: Path) -> None:
    infinity = np.full(2, np.inf, np.float32)
    layer = Layer(
        weight=np.float32([[np.nan, -0.0], [np.inf, 1e-45]]), bias=np.float32([0.0, -0.0])
    )
    network = Network(
        layers=(layer,),
        head=Head(kind="clip", low=-infinity, high=infinity),
        observation_shape=(2,),
        action_shape=(2,),
    )
    _comes_back(network, tmp_path / "network.npz")


@given(ANY, ANY)
def test_hashes_are_equal_for_equal_networks_only(first: Network, second: Network) -> None:
    assert first.sha256 == first.replace().sha256
    same = first._facts() == second._facts() and all(
        np.array_equal(array, second._arrays().get(name)) for name, array in first._arrays().items()
    )
    assert (first.sha256 == second.sha256) == same


def test_every_part_counts_for_the_hash() -> None:
    network = make_network(3, 4, 2, head="tanh")
    other = [
        network.replace(action_shape=(1, 2)),
        network.replace(observation_shape=(3, 1)),
        network.replace(normalizer=None),
        network.replace(observation_parts=parts_of([("a", (3,))])),
        network.replace(observation_parts=parts_of([("b", (3,))])),
        network.replace(head=Head(kind="clip", low=network.head.low, high=network.head.high)),
        network.replace(roundings={"observation": DynamicRounding()}),
        network.replace(roundings={"observation": Rounding(scale=1.0, zero_point=0)}),
        make_network(3, 4, 2, head="tanh", activation="Tanh"),
        make_network(3, 4, 2, head="tanh", clip_mean=2.0),
        make_network(3, 4, 2, head="tanh", bounds=(-1, 2)),
        make_network(3, 4, 2, head="tanh", seed=1),
    ]
    assert len({network.sha256, *(x.sha256 for x in other)}) == len(other) + 1


def test_the_same_network_makes_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_network(3, 4, 2).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_fresh_process_loads_numpy_and_the_network_and_little_else(tmp_path: Path) -> None:
    network = make_network(3, 8, 2)
    network.save(tmp_path / "network.npz")
    observations = random_observations(network, 5)
    np.save(tmp_path / "observations.npy", observations)
    program = """
import sys
from pathlib import Path
import numpy as np
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network

folder = Path(sys.argv[1])
network = Network.load(folder / "network.npz")
np.save(folder / "actions.npy", act(network, np.load(folder / "observations.npy")))
heavy = {"torch", "onnx", "onnxruntime", "gymnasium", "stable_baselines3", "torch_pruning"}
print(sorted(heavy & sys.modules.keys()))
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
    np.testing.assert_array_equal(np.load(tmp_path / "actions.npy"), act(network, observations))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"none\.npz: .*No such file"):
        Network.load(tmp_path / "none.npz")


@pytest.mark.parametrize("kept", [0, 10, 500, -1])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "network.npz"
    make_network(3, 2).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(NetworkError, match=r"network\.npz.*damaged"):
        Network.load(path)


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.marker,)


@pytest.mark.parametrize(
    "write",
    [
        lambda payload, path: path.write_bytes(pickle.dumps(payload)),
        lambda payload, path: np.savez(path, facts=np.array([payload], dtype=object)),
    ],
)
def test_nothing_in_the_file_is_executed(tmp_path: Path, write: Callable[..., Any]) -> None:
    write(_Payload(tmp_path / "marker"), tmp_path / "network.npz")
    with pytest.raises(NetworkError, match="damaged"):
        Network.load(tmp_path / "network.npz")
    assert not (tmp_path / "marker").exists()


Contents = tuple[dict[str, Any], dict[str, Any]]
SPOILED: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "another format": lambda facts, arrays: facts.update(format="squeezerl network, version 2"),
    "no weights": lambda facts, arrays: arrays.pop("layer0.weight"),
    "a layer less": lambda facts, arrays: facts["activations"].pop(),
    "a layer more": lambda facts, arrays: facts["activations"].append(None),
    "an unknown activation": lambda facts, arrays: facts.update(activations=["Softmax", None]),
    "weights in double precision": lambda facts, arrays: arrays.update(
        {"layer0.weight": np.zeros((4, 3))}
    ),
    "weights of another rank": lambda facts, arrays: arrays.update({"layer0.weight": _zeros(12)}),
    "integers without scales": lambda facts, arrays: facts["bits"].update({"layer0.weight": 8}),
    "an unknown head": lambda facts, arrays: facts.update(head=["softmax", None]),
    "bounds of another size": lambda facts, arrays: arrays.update(low=_zeros(1)),
    "a clip_mean that is no number": lambda facts, arrays: facts.update(head=["tanh", "2"]),
    "a clip that is no number": lambda facts, arrays: facts.update(clip="10"),
    "bounds in double precision": lambda facts, arrays: arrays.update(low=np.zeros(2)),
    "a normaliser of another size": lambda facts, arrays: arrays.update(
        {"normalizer.mean": _zeros(2)}
    ),
    "a normaliser that is not finite": lambda facts, arrays: arrays.update(
        {"normalizer.mean": _zeros(3) + np.float32("nan")}
    ),
    "another observation": lambda facts, arrays: facts.update(observation_shape=[4]),
    "an action that does not fit": lambda facts, arrays: facts.update(action_shape=[3]),
    "a shape of words": lambda facts, arrays: facts.update(action_shape=["2"]),
    "a rounding of nothing": lambda facts, arrays: facts.update(roundings={"x": {"bits": 8}}),
    "a rounding without end": lambda facts, arrays: facts.update(
        roundings={"observation": {"scale": float("inf"), "zero_point": 0, "bits": 8}}
    ),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_spoiled_content_is_refused(
    tmp_path: Path, spoil: Callable[[dict[str, Any], dict[str, Any]], Any]
) -> None:
    path = tmp_path / "network.npz"
    make_network(3, 4, 2).save(path)
    with np.load(path) as content:
        arrays = dict(content)
    facts = json.loads(str(arrays.pop("facts")))
    spoil(facts, arrays)
    np.savez(path, facts=np.array(json.dumps(facts)), **arrays)
    with pytest.raises(NetworkError, match=r"network\.npz: "):
        Network.load(path)
