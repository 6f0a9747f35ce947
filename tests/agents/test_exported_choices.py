"""Policies of other trainers that make several choices at once (MultiDiscrete)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from small_policies import make_network, random_observations
from squeezerl import Agent, load_agent
from squeezerl.errors import UnsupportedPolicyError
from squeezerl.formats.onnx import to_onnx
from squeezerl.network.arithmetic import act

WAYS = ["module", "script", "trace", "onnx"]


class Trunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(5, 16), nn.Tanh())
        self.all, self.left, self.right = nn.Linear(16, 9), nn.Linear(16, 4), nn.Linear(16, 3)


class Parts(Trunk):
    def forward(self, x: Tensor) -> Tensor:
        first, second, third = torch.split(self.all(self.trunk(x)), [4, 2, 3], dim=1)
        chosen = [first.argmax(dim=1), second.argmax(dim=1), third.argmax(dim=1)]
        return torch.stack(chosen, dim=1)


class Heads(Trunk):
    def forward(self, x: Tensor) -> Tensor:
        features = self.trunk(x)
        first = torch.softmax(self.left(features), dim=-1).argmax(-1, keepdim=True)
        return torch.cat([first, self.right(features).argmax(-1, keepdim=True)], dim=-1)


class OneBehindTheOther(Trunk):
    def forward(self, x: Tensor) -> Tensor:
        features = self.trunk(x)
        later = self.right(torch.relu(features))
        return torch.stack([self.left(features).argmax(1), later.argmax(1)], dim=1)


class Transposed(Trunk):
    def forward(self, x: Tensor) -> Tensor:
        features = self.trunk(x)
        return torch.stack([self.left(features).argmax(1), self.right(features).argmax(1)], dim=0)


class Grid(Trunk):
    def forward(self, x: Tensor) -> Tensor:
        return self.all(self.trunk(x)).reshape(-1, 3, 3).argmax(-1)


class YesOrNo(Trunk):
    def forward(self, x: Tensor) -> Tensor:
        return (torch.sigmoid(self.right(self.trunk(x))) > 0.5).int()


class Loop(Trunk):
    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(self.all(self.trunk(x)), [4, 2, 3], dim=1)
        return torch.stack([part.argmax(dim=1) for part in parts], dim=1)


def exported(module: nn.Module, way: str, folder: Path) -> Agent:
    module.eval()
    if way == "module":
        return Agent.from_torch(module)
    example: Any = torch.zeros(1, 5)
    path = folder / ("policy.onnx" if way == "onnx" else "policy.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if way == "onnx":
            torch.onnx.export(module, (example,), str(path), dynamo=False)
        else:
            made: Any = (
                torch.jit.script(module) if way == "script" else torch.jit.trace(module, example)
            )
            made.save(path)
    return load_agent(path)


@pytest.mark.parametrize("way", WAYS)
def test_each_choice_is_that_of_the_original(tmp_path: Path, way: str) -> None:
    torch.manual_seed(0)
    observations = torch.randn(500, 5)
    for module, choices in ((Parts(), (4, 2, 3)), (Heads(), (4, 3))):
        network = exported(module, way, tmp_path).network
        assert (network.choices, len(network.layers)) == (choices, 2)
        expected = module(observations).numpy()
        assert (np.ptp(expected, axis=0) > 0).all()
        np.testing.assert_array_equal(act(network, observations.numpy()), expected)


def test_a_file_of_our_own_is_the_same_policy(tmp_path: Path) -> None:
    network = make_network(6, 8, 9, head="argmax", groups=(4, 2, 3))
    (tmp_path / "policy.onnx").write_bytes(to_onnx(network).SerializeToString())
    read, observations = (
        load_agent(tmp_path / "policy.onnx").network,
        random_observations(network, 50),
    )
    assert read.choices == (4, 2, 3)
    np.testing.assert_array_equal(act(read, observations), act(network, observations))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (OneBehindTheOther(), "each must be the argmax of a layer of its own"),
        (Transposed(), "they must stand in one row"),
        (Grid(), "split the outputs and join the argmax of each part"),
        (YesOrNo(), "must be the argmax of two outputs, no and yes"),
    ],
)
def test_other_choices_are_refused_with_what_to_do(
    tmp_path: Path, way: str, module: nn.Module, reason: str
) -> None:
    with pytest.raises(UnsupportedPolicyError, match=reason):
        exported(module, way, tmp_path)


def test_a_loop_over_the_choices_can_be_traced(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedPolicyError, match=r"torch\.jit\.trace writes it without a loop"):
        exported(Loop(), "script", tmp_path)
    assert exported(Loop(), "trace", tmp_path).network.choices == (4, 2, 3)


def test_choices_of_different_inputs_are_refused(tmp_path: Path) -> None:
    model = to_onnx(make_network(6, 8, 9, head="argmax", groups=(4, 2, 3)))
    model.graph.input.append(helper.make_tensor_value_info("goal", onnx.TensorProto.FLOAT, [1, 3]))
    last = next(node for node in model.graph.node if node.op_type == "Concat")
    model.graph.node.insert(0, helper.make_node("ArgMax", ["goal"], ["other"], axis=1))
    last.input[2] = "other"
    (tmp_path / "policy.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedPolicyError, match="joins choices in a way that is not known"):
        load_agent(tmp_path / "policy.onnx")
