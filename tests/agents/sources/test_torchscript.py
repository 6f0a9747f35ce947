from __future__ import annotations

import io
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import torch_activations
from mutations import survive_mutations
from robots import robot
from small_policies import random_observations
from source_contract import SourceContract
from squeezerl import load_agent
from squeezerl.agents.load import SOURCES, Agent
from squeezerl.errors import CheckpointError, SqueezeRLWarning, UnsupportedPolicyError
from squeezerl.network.arithmetic import act
from squeezerl.network.network import as_float

PARITY = 1e-5
ACTIVATIONS = torch_activations.ACTIVATIONS | {"ReLU": nn.ReLU(inplace=True)}


def mlp(activation: nn.Module | None = None, inputs: int = 4, outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 5), activation or nn.ELU(), nn.Linear(5, outputs))


class Running(nn.Module):
    """Running statistics in the manner of rsl_rl, which change in training."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.eps = 1e-2
        self.register_buffer("_mean", torch.randn(1, features))
        self.register_buffer("_var", torch.rand(1, features) + 0.5)
        self.register_buffer("_std", self._var.sqrt())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self._mean = self._mean + 0.1 * (x.mean(dim=0, keepdim=True) - self._mean)
        return (x - self._mean) / (self._std + self.eps)


class Clipped(nn.Module):
    """Running statistics in the manner of rl_games: of the variance, and clipped."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(features))
        self.register_buffer("var", torch.rand(features) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normal = (x - self.mean) / torch.sqrt(self.var + 1e-5)
        return torch.clamp(normal, min=-2.0, max=2.0)


class Exporter(nn.Module):
    """A policy with its normaliser, as rsl_rl exports it."""

    def __init__(self, normalizer: nn.Module | None = None, actor: nn.Module | None = None) -> None:
        super().__init__()
        self.actor = actor or mlp()
        self.normalizer = normalizer or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.actor(self.normalizer(x))

    @torch.jit.export
    def reset(self) -> None:
        pass


class ActorCritic(nn.Module):
    """The whole of a training's networks, whose forward is of no use."""

    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = mlp(), mlp(outputs=1)
        self.std = nn.Parameter(torch.ones(3))

    def forward(self) -> None:
        raise NotImplementedError

    @torch.jit.export
    def act_inference(self, observations: torch.Tensor) -> torch.Tensor:
        return self.actor(observations)


class Squashed(nn.Module):
    """The mean of a squashed Gaussian, stretched to the actions, as CleanRL computes it."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mean = nn.Linear(4, 5), nn.Linear(5, 6)
        self.register_buffer("action_scale", torch.tensor([2.0, 1.0, 0.5]))
        self.register_buffer("action_bias", torch.tensor([0.0, 1.0, -1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, _ = torch.chunk(self.mean(torch.relu(self.body(x))), 2, dim=-1)
        return torch.tanh(mean) * self.action_scale + self.action_bias


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = mlp(), mlp(outputs=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.actor(x), self.critic(x)


class Choice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q = mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.argmax(torch.softmax(self.q(x), dim=-1), dim=1)


Save = Callable[[nn.Module, Path], Path]


def script(module: nn.Module, folder: Path) -> Path:
    path = folder / "policy.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module.eval()).save(path)
    return path


def trace(module: nn.Module, folder: Path) -> Path:
    path = folder / "policy.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(module.eval(), torch.randn(1, 4), check_trace=False).save(path)
    return path


def freeze(module: nn.Module, folder: Path) -> Path:
    path = folder / "policy.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.freeze(torch.jit.script(module.eval())).save(path)
    return path


def fx(module: nn.Module, folder: Path) -> Path:
    traced = torch.fx.symbolic_trace(module.eval())
    for node in traced.graph.nodes:
        node.type = None  # TorchScript does not know annotations that are text
    traced.recompile()
    return script(traced, folder)


WAYS: dict[str, Save] = {"scripted": script, "traced": trace, "frozen": freeze, "fx": fx}


def deviation(path: Path, agent: Agent, count: int = 1000, method: str = "forward") -> float:
    """The largest difference from what TorchScript itself gives, beside the largest action or 1."""
    observations = 2 * random_observations(agent.network, count)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        expected = getattr(torch.jit.load(path).eval(), method)(torch.from_numpy(observations))
    expected = expected[0] if isinstance(expected, tuple) else expected
    difference = np.abs(act(agent.network, observations) - expected.numpy()).max()
    return float(difference / max(1, expected.abs().max().item()))


class TestTorchScript(SourceContract):
    source = SOURCES.get("torchscript")

    def make_sample(self, folder: Path) -> Path:
        return script(Exporter(), folder)


@pytest.mark.agents
@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("go2-robot_lab.pt", [45, 512, 256, 128, 12]),
        ("gr1t1-legged_gym.pt", [39, 512, 256, 128, 10]),
    ],
)
def test_policies_of_real_robots_act_as_in_torchscript(name: str, widths: list[int]) -> None:
    agent = load_agent(robot(name))
    layers = agent.network.layers
    assert [layers[0].in_features, *(layer.out_features for layer in layers)] == widths
    assert [layer.activation for layer in layers] == ["ELU", "ELU", "ELU", None]
    assert agent.env_id is None
    assert deviation(robot(name), agent) < PARITY


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_save_every_activation_is_read(tmp_path: Path, way: str) -> None:
    torch.manual_seed(0)
    parts = [part for module in ACTIVATIONS.values() for part in (nn.Linear(5, 5), module)]
    actor = nn.Sequential(nn.Linear(4, 5), *parts, nn.Linear(5, 3))
    path = WAYS[way](Exporter(actor=actor), tmp_path)
    agent = load_agent(path)
    read = [layer.activation or "Identity" for layer in agent.network.layers[1:-1]]
    assert [text.split(":0.25")[0] for text in read] == list(ACTIVATIONS)
    assert deviation(path, agent, 100) < PARITY


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [Running, Clipped])
def test_normalisers_are_kept(tmp_path: Path, way: str, kind: Any) -> None:
    normalizer = kind(4)
    path = WAYS[way](Exporter(normalizer), tmp_path)
    agent = load_agent(path)
    assert deviation(path, agent) < PARITY
    found = agent.network.normalizer
    assert found is not None
    mean = normalizer._mean if kind is Running else normalizer.mean
    np.testing.assert_allclose(as_float(found.mean), mean.numpy().ravel(), rtol=1e-6)
    assert found.clip == (np.inf if kind is Running else 2)


@pytest.mark.parametrize("way", WAYS)
def test_squashed_actions_are_stretched(tmp_path: Path, way: str) -> None:
    path = WAYS[way](Squashed(), tmp_path)
    network = load_agent(path).network
    assert deviation(path, load_agent(path)) < PARITY
    assert network.head.kind == "tanh"
    np.testing.assert_allclose(network.head.high, [2, 2, -0.5])


def test_the_actor_of_a_whole_actor_critic_is_taken(tmp_path: Path) -> None:
    path = script(ActorCritic(), tmp_path)
    agent = load_agent(path)
    assert deviation(path, agent, method="act_inference") < PARITY
    assert agent.network.action_shape == (3,)


def test_the_first_of_several_results_is_the_action(tmp_path: Path) -> None:
    path = script(Pair(), tmp_path)
    with pytest.warns(SqueezeRLWarning, match="returns 2 values"):
        agent = load_agent(path)
    assert deviation(path, agent) < PARITY


def test_indices_are_discrete_actions(tmp_path: Path) -> None:
    path = script(Choice(), tmp_path)
    agent = load_agent(path)
    assert agent.network.head.is_discrete
    assert deviation(path, agent) == 0


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.actor = nn.LSTM(4, 5), nn.Linear(5, 3)
        self.register_buffer("hidden", torch.zeros(1, 1, 5))
        self.register_buffer("cell", torch.zeros(1, 1, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, (h, c) = self.rnn(x.unsqueeze(0), (self.hidden, self.cell))
        self.hidden[:] = h
        self.cell[:] = c
        return self.actor(x.squeeze(0))


class History(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.actor = nn.Linear(4, 2), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.actor(torch.cat([self.encoder(x), x], dim=-1))


class TwoInputs(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Loop(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while bool(x.sum() > 0):
            x = x - 1
        return x


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -x if bool(x.sum() > 0) else x


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Recurrent(), "rnn.*not supported|rnn.*state"),
        (History(), "torch.cat.*joins several branches"),
        (TwoInputs(), "x, y; a policy takes one observation"),
        (Loop(), "torch.sum in the module"),
        (Branch(), "torch.sum in the module"),
        (nn.Sequential(nn.Conv1d(4, 4, 1), nn.Linear(4, 3)), r"conv1d in 0 .*convolution"),
        (nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)), r"layer_norm in 1 is not supported"),
        (nn.ReLU(), "without any linear layer"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path: Path, module: nn.Module, reason: str) -> None:
    with pytest.raises(UnsupportedPolicyError, match=reason):
        load_agent(script(module, tmp_path))


def test_a_normaliser_that_still_learns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Exporter(Running(4))).save(path)
    with pytest.raises(UnsupportedPolicyError, match="normalizer"):
        load_agent(path)


def rewrite(path: Path, change: Callable[[str, bytes], bytes | None], **given: Any) -> Path:
    """Write the archive again with other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", **given) as archive:
        for name, content in members.items():
            changed = change(name, content)
            if changed is not None:
                archive.writestr(name, changed)
    return path


def is_code_of(module: str, name: str) -> bool:
    """Whether a member of an archive has the code of a module.

    Where a process exports several variants of a class, torch gives their files other names.
    """
    return bool(re.search(rf"/{module}(/___torch_mangle_\d+)?\.py$", name))


def coded(path: Path, text: str) -> Path:
    """Give the outermost module's `forward` another body."""

    def change(name: str, content: bytes) -> bytes:
        if not is_code_of("test_torchscript", name):
            return content
        head, _, _ = content.decode().partition("    actor = self.actor")
        return (head + text).encode()

    return rewrite(path, change)


class _Payload:
    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._marker),)


@pytest.mark.parametrize("member", ["data.pkl", "constants.pkl"])
def test_pickle_bombs_are_not_executed(tmp_path: Path, member: str) -> None:
    marker = tmp_path / "marker"
    path = freeze(Exporter(), tmp_path)
    bomb = pickle.dumps((_Payload(marker),))
    rewrite(path, lambda name, content: bomb if name.endswith("/" + member) else content)
    with pytest.raises(CheckpointError, match=r"mkdir.*nothing was executed"):
        load_agent(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("    return __import__('os').mkdir('{marker}')\n", "not supported"),
        ("    import os\n    return os.mkdir('{marker}')\n", "code that is not supported: import"),
        ("    return [torch.relu(x) for _ in range(9)]\n", "not supported"),
        ("    return eval('1')\n", "eval in the module is not supported"),
        ("    return (lambda: x)()\n", "not supported"),
        ("    return self.__class__\n", "lacks its '__class__'"),
        ("    return x.__class__\n", "takes '__class__' of a value"),
        ("    return getattr(x, '__class__')\n", "takes '__class__' of a value"),
        ("    return torch.ones([100000, 100000])\n", "torch.ones.*not supported"),
        ("    return torch.mul(torch.mul(x, x), " + "(" * 150 + "x" + ")" * 150 + ")\n", ""),
        ("    return " + "-" * 100_000 + "x\n", "damaged"),
        ("    return " + "torch.relu(" * 150 + "x" + ")" * 150 + "\n", "linear|damaged"),
        ("    return (self).forward(x, )\n", "call one another"),
        ("    y = torch.relu(x)\n" * 2000 + "    return y\n", "longer"),
        ("    y = x\n" * 30_000 + "    return y\n", "longer"),
        ("    this is no code\n", "damaged"),
        ("    return 'text'\n", "returns no value"),
        ("    pass\n", "returns no value"),
    ],
)
def test_hostile_code_is_not_run(tmp_path: Path, text: str, reason: str) -> None:
    marker = tmp_path / "marker"
    path = coded(script(Exporter(), tmp_path), text.replace("{marker}", str(marker)))
    with pytest.raises((CheckpointError, UnsupportedPolicyError), match=reason):
        load_agent(path)
    assert not marker.exists()


def test_functions_that_double_their_calls_end(tmp_path: Path) -> None:
    text = "    return (self).f0(x, )\n" + "".join(
        f"  def f{n}(self, x: Tensor) -> Tensor:\n"
        f"    y = (self).f{n + 1}(x, )\n    return (self).f{n + 1}(y, )\n"
        for n in range(50)
    )
    path = coded(script(Exporter(), tmp_path), text + "  def f50(self, x):\n    return x\n")
    with pytest.raises(CheckpointError, match="longer than that of a policy"):
        load_agent(path)


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    path = script(Exporter(), tmp_path)
    rewrite(
        path,
        lambda name, content: bytes(2**26) if is_code_of("linear", name) else content,
        compression=zipfile.ZIP_DEFLATED,
    )
    assert path.stat().st_size < 2**18
    with pytest.raises(CheckpointError, match="zip bomb"):
        load_agent(path)


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    policy = Exporter()
    with torch.no_grad():
        policy.actor[2].weight[0, 0] = torch.nan
    with pytest.raises(CheckpointError, match=r"linear in actor\.2 holds NaN"):
        load_agent(script(policy, tmp_path))


def test_members_that_lack_are_named(tmp_path: Path) -> None:
    path = script(Exporter(), tmp_path)
    rewrite(path, lambda name, content: None if is_code_of("container", name) else content)
    with pytest.raises(CheckpointError, match=r"lacks the code of .*Sequential"):
        load_agent(path)


def test_modules_that_hold_themselves_end(tmp_path: Path) -> None:
    path = script(Exporter(), tmp_path)
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        data = archive.read(name)
    assert data.count(b"\x81") > 3
    # NEWOBJ of an inner module becomes the outermost one, which the memo does not hold yet.
    looped = data.replace(b"X\x05\x00\x00\x00actor", b"X\x05\x00\x00\x00bctor")
    rewrite(path, lambda n, content: looped if n == name else content)
    with pytest.raises(CheckpointError, match="lacks its 'actor'"):
        load_agent(path)


def test_spoiled_copies_are_refused_or_sound(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SqueezeRLWarning)
        assert survive_mutations(script(Exporter(Running(4)), tmp_path)) > 50


def test_a_file_of_torch_save_is_no_archive_of_torchscript(tmp_path: Path) -> None:
    content = io.BytesIO()
    torch.save(mlp().state_dict(), content)
    (tmp_path / "model.pt").write_bytes(content.getvalue())
    assert not SOURCES.get("torchscript").recognises(tmp_path / "model.pt")
