from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from random_policies import policies, pruned

from made_agents import MadeAgent
from small_policies import make_policy, random_observations
from squeezerl import load_agent
from squeezerl.errors import ArtifactError, OutputError, UnsupportedPolicyError
from squeezerl.network.action_head import ActionHead
from squeezerl.network.policy import LinearLayer, Policy
from squeezerl.network.state import load_policy, save_policy


def _round_trip(policy: Policy, folder: Path) -> Policy:
    save_policy(policy, folder / "policy.pt")
    return load_policy(folder / "policy.pt")


def _is_same(policy: Policy, other: Policy) -> None:
    """Bit for bit, and in all that is not a number."""
    ours, theirs = policy.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype == torch.float32
        assert tensor.shape == theirs[name].shape
        assert tensor.numpy().tobytes() == theirs[name].numpy().tobytes(), name
    assert str(policy) == str(other)
    assert (policy.head.kind, policy.head.clip_mean) == (other.head.kind, other.head.clip_mean)
    assert getattr(policy.normalizer, "clip", None) == getattr(other.normalizer, "clip", None)
    assert policy.observation_shape == other.observation_shape
    assert policy.action_shape == other.action_shape
    assert not any(module.training for module in other.modules())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@given(policies())
def test_any_policy_comes_back_bit_for_bit(folder: Path, policy: Policy) -> None:
    _is_same(policy, _round_trip(policy, folder))


def test_published_agents_come_back(published_agent: Path, tmp_path: Path) -> None:
    policy = load_agent(published_agent).policy
    _is_same(policy, _round_trip(policy, tmp_path))


def test_made_agents_come_back(made_agent: MadeAgent, tmp_path: Path) -> None:
    policy = load_agent(made_agent.path).policy
    _is_same(policy, _round_trip(policy, tmp_path))


def test_pruned_policy_comes_back_and_is_smaller(tmp_path: Path) -> None:
    policy = pruned("demo")
    _is_same(policy, _round_trip(policy, tmp_path))
    size = (tmp_path / "policy.pt").stat().st_size
    assert size < 4 * policy.parameter_count + 8_000


def test_infinities_and_nan_come_back(tmp_path: Path) -> None:
    infinite = np.full(2, np.inf, np.float32)
    weight = torch.tensor([[float("nan"), -0.0], [float("inf"), 1e-45]])
    policy = Policy(
        [LinearLayer(weight, torch.tensor([0.0, -0.0]), None)],
        ActionHead.box("clip", -infinite, infinite),
        normalizer=None,
        observation_shape=(2,),
        action_shape=(2,),
    )
    _is_same(policy, _round_trip(policy, tmp_path))


def test_the_same_policy_makes_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_policy(make_policy(3, 4, 2), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_fresh_process_loads_torch_and_the_policy_and_little_else(tmp_path: Path) -> None:
    policy = make_policy(3, 8, 2)
    save_policy(policy, tmp_path / "policy.pt")
    observations = random_observations(policy, 5)
    np.save(tmp_path / "observations.npy", observations)
    program = """
import sys
from pathlib import Path
import numpy as np
import torch
from squeezerl.network.state import load_policy

policy = load_policy(Path(sys.argv[1], "policy.pt"))
observations = np.load(Path(sys.argv[1], "observations.npy"))
with torch.no_grad():
    np.save(Path(sys.argv[1], "actions.npy"), policy(torch.from_numpy(observations)).numpy())
heavy = {"onnx", "onnxruntime", "gymnasium", "stable_baselines3", "sb3_contrib", "torch_pruning"}
print(sorted(heavy & sys.modules.keys()))
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
    with torch.no_grad():
        expected = policy(torch.from_numpy(observations)).numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "actions.npy"), expected)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none\.pt: no such file"):
        load_policy(tmp_path / "none.pt")


def test_folder_that_does_not_exist_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        save_policy(make_policy(3, 2), tmp_path / "none" / "policy.pt")


@pytest.mark.parametrize("kept", [0, 10, 500, -1])
def test_cut_short_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "policy.pt"
    save_policy(make_policy(3, 2), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArtifactError, match=r"policy\.pt.*damaged"):
        load_policy(path)


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.marker,)


@pytest.mark.parametrize("write", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_nothing_in_the_file_is_executed(tmp_path: Path, write: Callable[..., Any]) -> None:
    write(_Payload(tmp_path / "marker"), tmp_path / "policy.pt")
    with pytest.raises(ArtifactError, match="damaged"):
        load_policy(tmp_path / "policy.pt")
    assert not (tmp_path / "marker").exists()


def _weights(state: dict[str, Any], weight: Any) -> None:
    state["layers"][0] = (weight, *state["layers"][0][1:])


SPOILED = {
    "another format": lambda state: state.update(format="squeezerl policy, version 2"),
    "no layers": lambda state: state.pop("layers"),
    "layers that do not chain": lambda state: state["layers"].reverse(),
    "a layer less": lambda state: state["layers"].pop(),
    "an unknown activation": lambda state: state["layers"].__setitem__(
        0, (*state["layers"][0][:2], "GELU")
    ),
    "weights in double precision": lambda state: _weights(state, torch.zeros(4, 3).double()),
    "weights that are no tensor": lambda state: _weights(state, [[0.0]]),
    "weights of another rank": lambda state: _weights(state, torch.zeros(12)),
    "sparse weights": lambda state: _weights(state, torch.zeros(4, 3).to_sparse()),
    "weights without memory": lambda state: _weights(state, torch.zeros(4, 3, device="meta")),
    "one number that claims to be many": lambda state: _weights(
        state, torch.zeros(1, 1).expand(10**6, 10**6)
    ),
    "an unknown head": lambda state: state.update(head=("softmax", *state["head"][1:])),
    "bounds of another size": lambda state: state.update(
        head=("clip", torch.zeros(1), torch.zeros(1), None)
    ),
    "a clip_mean that is no number": lambda state: state.update(
        head=("tanh", *state["head"][1:3], "2")
    ),
    "a normaliser of another size": lambda state: state.update(
        normalizer=(torch.zeros(2), torch.ones(2), 10.0)
    ),
    "a normaliser that is not finite": lambda state: state.update(
        normalizer=(torch.zeros(3), torch.full((3,), float("inf")), 10.0)
    ),
    "another observation": lambda state: state.update(observation_shape=(4,)),
    "an action that does not fit": lambda state: state.update(action_shape=(3,)),
    "a shape of words": lambda state: state.update(action_shape=("2",)),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_spoiled_content_is_refused(tmp_path: Path, spoil: Callable[[Any], Any]) -> None:
    path = tmp_path / "policy.pt"
    save_policy(make_policy(3, 4, 2), path)
    state = torch.load(path, weights_only=True)
    spoil(state)
    torch.save(state, path)
    with pytest.raises(ArtifactError, match=r"policy\.pt: not a saved policy"):
        load_policy(path)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (torch.nn.GELU(), "GELU"),
        (torch.nn.ELU(alpha=0.5), "alpha=0.5"),
        (torch.nn.Softplus(beta=2.0), "beta=2.0"),
    ],
)
def test_network_of_other_modules_is_not_saved(
    tmp_path: Path, module: torch.nn.Module, reason: str
) -> None:
    policy = make_policy(3, 2)
    policy.network.add_module("activation0", module)
    with pytest.raises(UnsupportedPolicyError, match=reason):
        save_policy(policy, tmp_path / "policy.pt")
    assert not (tmp_path / "policy.pt").exists()


def test_two_activations_in_a_row_are_not_saved(tmp_path: Path) -> None:
    policy = make_policy(3, 2)
    for name in ("activation0", "activation1"):
        policy.network.add_module(name, torch.nn.ReLU())
    with pytest.raises(UnsupportedPolicyError, match="ReLU stands where a linear layer should"):
        save_policy(policy, tmp_path / "policy.pt")
