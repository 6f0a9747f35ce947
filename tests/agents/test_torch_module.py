from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from small_policies import random_observations
from squeezerl import Agent, compress, load_agent
from squeezerl.agents import chain
from squeezerl.errors import CheckpointError, UnsupportedPolicyError
from squeezerl.network.arithmetic import act
from torch_activations import ACTIVATIONS


def deviation(module: nn.Module, agent: Agent) -> float:
    observations = 2 * random_observations(agent.network, 1000)
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(observations)).numpy()
    return float(np.abs(act(agent.network, observations) - expected).max())


class Policy(nn.Module):
    """Operators, methods and functions of torch, as people write them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 6)
        self.register_buffer("mean", torch.randn(4))
        self.register_buffer("var", torch.rand(4) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = ((x - self.mean) / torch.sqrt(self.var + 1e-5)).clamp(-3, 3)
        x = torch.nn.functional.leaky_relu(self.norm(self.first(x)), 0.1)
        mean = self.last(x)[:, :3]
        return 2 * torch.tanh(mean) + 0.5


def test_every_activation_is_read() -> None:
    torch.manual_seed(0)
    parts = [part for module in ACTIVATIONS.values() for part in (nn.Linear(5, 5), module)]
    module = nn.Sequential(nn.Linear(4, 5), *parts, nn.Linear(5, 3))
    agent = Agent.from_torch(module)
    read = [layer.activation or "Identity" for layer in agent.network.layers[1:-1]]
    assert [text.split(":0.25")[0] for text in read] == list(ACTIVATIONS)
    assert deviation(module, agent) < 1e-5


def test_a_policy_of_ones_own_acts_as_its_module() -> None:
    module = Policy()
    assert module.training
    agent = Agent.from_torch(module, observation_shape=(4,))
    assert module.training
    assert not module.first._forward_hooks
    assert deviation(module, agent) < 1e-5
    network = agent.network
    assert (network.head.kind, len(network.layers)) == ("tanh", 2)
    assert network.normalizer is not None
    assert network.normalizer.clip == 3
    assert agent.source.path.endswith("test_torch_module.Policy")


def test_bounds_choices_and_shapes_are_given() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    bounded = Agent.from_torch(module, observation_shape=(2, 3), bounds=(-0.1, [0.1, 0.2]))
    np.testing.assert_array_equal(bounded.network.head.high, np.float32([0.1, 0.2]))
    chosen = Agent.from_torch(module, observation_shape=(2, 3), discrete=True, env_id="Mine-v0")
    assert (chosen.env_id, chosen.network.choices) == ("Mine-v0", (2,))
    observations = random_observations(chosen.network, 100)
    expected = module(torch.from_numpy(observations)).argmax(dim=1).numpy()
    np.testing.assert_array_equal(act(chosen.network, observations), expected)


def test_an_agent_without_files_is_compressed(tmp_path: Any) -> None:
    artifact = compress(Agent.from_torch(Policy(), observation_shape=(4,)), "prune:l2:0.4")
    artifact.save(tmp_path / "out")
    assert artifact.manifest.source.kind == "torch"


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.clamp(0, 1) > 0 else -x


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)), "layer_norm in 1 is not supported"),
        (nn.Sequential(nn.Conv1d(4, 4, 1), nn.Linear(4, 3)), "conv1d in 0 is a convolution"),
        (nn.Sequential(nn.LSTM(4, 5)), "in 0 "),
        (Residual(), "add in the module joins two branches"),
        (Branching(), "gt in the module compares what it computes"),
        (Pair(), "returns tuple"),
        (nn.ReLU(), "without any linear layer"),
    ],
)
def test_what_is_not_understood_is_named(module: nn.Module, reason: str) -> None:
    with pytest.raises(UnsupportedPolicyError, match=reason):
        Agent.from_torch(module, observation_shape=(4,))


def test_weights_that_are_not_finite_are_named() -> None:
    module = nn.Sequential(nn.Linear(4, 3))
    with torch.no_grad():
        module[0].bias[0] = torch.inf
    with pytest.raises(CheckpointError, match="linear in 0 holds NaN or infinite"):
        Agent.from_torch(module)


def test_slopes_of_features_that_change_places_are_refused() -> None:
    value = chain.linear(chain.Chain("observation"), np.eye(2), None, "linear")
    value = chain.prelu(value, np.array([0.1, 0.9]), "prelu")
    with pytest.raises(UnsupportedPolicyError, match="takes some of the features"):
        chain.network_of(value.then(chain.Select("select", np.array([1, 0]))))


class InPlace(nn.Module):
    """One of several ways to change a value in place."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.way == "observation":
            x = x.clone()
            x.mul_(0.1)
        y = self.net(x)
        if self.way == "discarded":
            y.clamp_(-0.1, 0.1)
        elif self.way == "aliased":
            z = y.detach()
            z.mul_(3.0)
            y += 0.1
        elif self.way == "cloned":
            y.clone().mul_(3.0)
        elif self.way == "siblings":
            y, other = torch.split(y, [2, 1], dim=1)
            other.clamp_(-0.1, 0.1)
        elif self.way == "part":
            torch.nn.functional.relu(y[:, :2], inplace=True)
        elif self.way == "whole":
            z = y[:, :2]
            y.clamp_(-0.1, 0.1)
            y = z
        return y


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("way", ["discarded", "observation", "aliased", "cloned", "siblings"])
def test_what_works_in_place_is_followed(way: str, scripted: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = InPlace(way).eval()
    if scripted:
        torch.jit.script(module).save(str(tmp_path / "policy.pt"))
        agent = load_agent(tmp_path / "policy.pt")
    else:
        agent = Agent.from_torch(module)
    assert deviation(module, agent) < 1e-5


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("way", ["part", "whole"])
def test_values_that_were_changed_through_others_are_refused(
    way: str, scripted: bool, tmp_path: Path
) -> None:
    module = InPlace(way).eval()
    torch.jit.script(module).save(str(tmp_path / "policy.pt"))
    with pytest.raises(UnsupportedPolicyError, match="changed in place"):
        load_agent(tmp_path / "policy.pt") if scripted else Agent.from_torch(module)
