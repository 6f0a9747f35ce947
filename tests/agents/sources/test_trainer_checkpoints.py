"""Files as trainers write them: torch.save of modules with the names of their layers."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from safetensors.torch import save_file
from torch import nn

from mutations import survive_mutations
from small_policies import random_observations
from source_contract import SourceContract
from squeezerl import load_agent
from squeezerl.agents.load import SOURCES
from squeezerl.errors import (
    CheckpointError,
    InvalidArgumentError,
    SqueezeRLWarning,
    UnsupportedPolicyError,
)
from squeezerl.network.arithmetic import act

OBS, ACTIONS = 4, 3
FLAT = torch.ones(2)
Forward = Callable[[torch.Tensor], torch.Tensor]
Sample = tuple[Any, Forward]


def mlp(*widths: int, activation: type[nn.Module] = nn.ELU, ends: bool = True) -> nn.Sequential:
    """Linear layers with activations between them, and behind the last unless it `ends` so."""
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        parts += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*parts[:-1] if ends else parts)


class Named(nn.Module):
    """A module with these parts, for the names that its state dict has."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, nn.Module | nn.Parameter):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)


def statistics(**names: str) -> Named:
    """Buffers with a mean and positive numbers, under these names."""
    made = {"mean": torch.randn, "var": torch.rand, "std": torch.rand}
    buffers = {name: made[kind](1, OBS) + (kind != "mean") for name, kind in names.items()}
    return Named(**buffers, count=torch.tensor(7))


def rsl_rl() -> Sample:
    """rsl_rl until 2.2 and legged_gym: model_1500.pt."""
    actor = mlp(OBS, 6, 5, ACTIONS)
    model = Named(actor=actor, critic=mlp(OBS, 6, 1), std=nn.Parameter(torch.rand(ACTIONS)))
    optimizer = {"state": {}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0]}]}
    saved = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer,
        "iter": 1500,
        "infos": None,
    }
    return saved, actor


def rsl_rl_normalized() -> Sample:
    saved, actor = rsl_rl()
    normalizer = statistics(_mean="mean", _var="var", _std="std")
    saved["obs_norm_state_dict"] = normalizer.state_dict()
    saved["privileged_obs_norm_state_dict"] = statistics(_mean="mean").state_dict()
    return saved, lambda x: actor((x - normalizer._mean) / (normalizer._std + 1e-2))


def rsl_rl_3() -> Sample:
    """The normaliser is part of the model."""
    actor, normalizer = mlp(OBS, 6, ACTIONS), statistics(_mean="mean", _var="var", _std="std")
    model = Named(
        actor=actor,
        critic=mlp(OBS, 6, 1),
        log_std=nn.Parameter(torch.rand(ACTIONS)),
        actor_obs_normalizer=normalizer,
        critic_obs_normalizer=statistics(_mean="mean", _var="var", _std="std"),
    )
    saved = {"model_state_dict": model.state_dict(), "iter": 3, "infos": None}
    return saved, lambda x: actor((x - normalizer._mean) / (normalizer._std + 1e-2))


def rsl_rl_5() -> Sample:
    """Actor and critic apart."""
    actor, normalizer = mlp(OBS, 6, ACTIONS), statistics(_mean="mean", _var="var", _std="std")
    model = Named(
        mlp=actor,
        obs_normalizer=normalizer,
        distribution=Named(std_param=nn.Parameter(torch.rand(ACTIONS))),
    )
    saved = {
        "actor_state_dict": model.state_dict(),
        "critic_state_dict": Named(mlp=mlp(OBS, 6, 1)).state_dict(),
        "optimizer_state_dict": {},
    }
    return saved, lambda x: actor((x - normalizer._mean) / (normalizer._std + 1e-2))


def cleanrl_ppo() -> Sample:
    """ppo_continuous_action.py with --save-model."""
    actor = mlp(OBS, 6, 6, ACTIONS, activation=nn.Tanh)
    agent = Named(
        critic=mlp(OBS, 6, 1, activation=nn.Tanh),
        actor_mean=actor,
        actor_logstd=nn.Parameter(torch.zeros(1, ACTIONS)),
    )
    return agent.state_dict(), actor


def cleanrl_ppo_discrete() -> Sample:
    actor = mlp(OBS, 6, ACTIONS, activation=nn.Tanh)
    agent = Named(critic=mlp(OBS, 6, 1, activation=nn.Tanh), actor=actor)
    return agent.state_dict(), lambda x: actor(x).argmax(dim=1)


def cleanrl_dqn() -> Sample:
    network = mlp(OBS, 6, 5, ACTIONS, activation=nn.ReLU)
    return Named(network=network).state_dict(), lambda x: network(x).argmax(dim=1)


def cleanrl_sac() -> Sample:
    fc1, fc2, mean = nn.Linear(OBS, 6), nn.Linear(6, 6), nn.Linear(6, ACTIONS)
    scale, bias = torch.rand(1, ACTIONS) + 0.5, torch.randn(1, ACTIONS)
    actor = Named(
        fc1=fc1,
        fc2=fc2,
        fc_mean=mean,
        fc_logstd=nn.Linear(6, ACTIONS),
        action_scale=scale,
        action_bias=bias,
    )

    def forward(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(mean(torch.relu(fc2(torch.relu(fc1(x)))))) * scale + bias

    return actor.state_dict(), forward


def cleanrl_td3() -> Sample:
    """The actor with its critics, in a tuple."""
    state, forward = cleanrl_sac()
    state = {n.replace("fc_mean", "fc_mu"): t for n, t in state.items() if "logstd" not in n}
    critic = Named(fc1=nn.Linear(OBS + ACTIONS, 6), fc3=nn.Linear(6, 1)).state_dict()
    return (state, critic, critic), forward


def _rl_games(head: str) -> tuple[dict[str, Any], Forward]:
    body, last = mlp(OBS, 6, 5, ends=False), nn.Linear(5, ACTIONS)
    parts: dict[str, Any] = {"actor_mlp": body, "value": nn.Linear(5, 1), head: last}
    if head == "mu":
        parts["sigma"] = nn.Parameter(torch.zeros(ACTIONS))
    mean, var = torch.randn(OBS).double(), torch.rand(OBS).double() + 0.5
    model = Named(
        a2c_network=Named(**parts),
        running_mean_std=Named(running_mean=mean, running_var=var, count=torch.tensor(7.0)),
        value_mean_std=Named(running_mean=torch.zeros(1), running_var=torch.ones(1)),
    )
    saved = {
        "model": model.state_dict(),
        "epoch": 100,
        "frame": np.int64(7),
        "last_mean_rewards": np.float32(2.5),
        "optimizer": {},
        "env_state": None,
    }

    def forward(x: torch.Tensor) -> torch.Tensor:
        return last(body(torch.clamp((x - mean.float()) / torch.sqrt(var.float() + 1e-5), -5, 5)))

    return saved, forward


def rl_games() -> Sample:
    return _rl_games("mu")


def rl_games_1_1() -> Sample:
    """The normaliser stands beside the model."""
    saved, forward = _rl_games("mu")
    beside: dict[str, dict[str, Any]] = {"running_mean_std": {}, "value_mean_std": {}}
    for name in list(saved["model"]):
        place, _, part = name.partition(".")
        if place in beside:
            beside[place][part] = saved["model"].pop(name)
    return saved | beside, forward


def rl_games_compiled() -> Sample:
    saved, forward = _rl_games("mu")
    saved["model"] = {f"_orig_mod.{name}": tensor for name, tensor in saved["model"].items()}
    return saved, forward


def rl_games_discrete() -> Sample:
    saved, forward = _rl_games("logits")
    return saved, lambda x: forward(x).argmax(dim=1)


def skrl() -> Sample:
    """agent_1000.pt, from the models that skrl makes of a configuration."""
    body, last = mlp(OBS, 6, 5, ends=False), nn.Linear(5, ACTIONS)
    mean, var = torch.randn(OBS).double(), torch.rand(OBS).double() + 0.5
    policy = Named(
        net_container=body,
        policy_layer=last,
        log_std_parameter=nn.Parameter(torch.zeros(ACTIONS)),
        value_layer=nn.Linear(5, 1),
    )
    scaler = Named(running_mean=mean, running_variance=var, current_count=torch.tensor(7.0))
    saved = {
        "policy": policy.state_dict(),
        "value": policy.state_dict(),
        "optimizer": {},
        "state_preprocessor": scaler.state_dict(),
        "value_preprocessor": {},
    }

    def forward(x: torch.Tensor) -> torch.Tensor:
        scaled = (x - mean.float()) / (torch.sqrt(var.float()) + 1e-8)
        return last(body(torch.clamp(scaled, min=-5, max=5)))

    return saved, forward


def skrl_2() -> Sample:
    """The policy sees the observations, the critic the states."""
    saved, forward = skrl()
    saved["observation_preprocessor"] = saved["state_preprocessor"]
    saved["state_preprocessor"] = Named(
        running_mean=torch.ones(9), running_variance=torch.ones(9), current_count=torch.ones(1)
    ).state_dict()
    return saved, forward


# Which of them do not say the activation, and which algorithm is read.
SAMPLES: dict[str, tuple[Callable[[], Sample], str | None, str]] = {
    "rsl_rl": (rsl_rl, None, "ppo"),
    "rsl_rl, normalised": (rsl_rl_normalized, None, "ppo"),
    "rsl_rl 3": (rsl_rl_3, None, "ppo"),
    "rsl_rl 5": (rsl_rl_5, None, "ppo"),
    "CleanRL PPO": (cleanrl_ppo, None, "ppo"),
    "CleanRL PPO, discrete": (cleanrl_ppo_discrete, None, "ppo"),
    "CleanRL DQN": (cleanrl_dqn, None, "dqn"),
    "CleanRL SAC": (cleanrl_sac, None, "sac"),
    "CleanRL TD3": (cleanrl_td3, None, ""),
    "rl_games": (rl_games, "elu", ""),
    "rl_games 1.1": (rl_games_1_1, "elu", ""),
    "rl_games, compiled": (rl_games_compiled, "elu", ""),
    "rl_games, discrete": (rl_games_discrete, "elu", ""),
    "skrl": (skrl, "elu", ""),
    "skrl 2": (skrl_2, "elu", ""),
}


def saved(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "model.pt")
    return folder / "model.pt"


def deviation(network: Any, forward: Forward) -> float:
    observations = 3 * random_observations(network, 1000)
    with torch.no_grad():
        expected = forward(torch.from_numpy(observations)).numpy()
    return float(np.abs(act(network, observations) - expected).max())


class TestCheckpoint(SourceContract):
    source = SOURCES.get("checkpoint")

    def make_sample(self, folder: Path) -> Path:
        return saved(rsl_rl_3()[0], folder)


class TestSafetensors(SourceContract):
    source = SOURCES.get("checkpoint")

    def make_sample(self, folder: Path) -> Path:
        save_file(cleanrl_ppo()[0], folder / "model.safetensors")
        return folder / "model.safetensors"


@pytest.mark.filterwarnings("ignore::squeezerl.errors.SqueezeRLWarning")
@pytest.mark.parametrize("name", SAMPLES)
def test_checkpoints_of_trainers_act_as_their_modules(tmp_path: Path, name: str) -> None:
    make, activation, algorithm = SAMPLES[name]
    torch.manual_seed(0)
    content, forward = make()
    path = saved(content, tmp_path)
    if activation is not None:
        with pytest.raises(UnsupportedPolicyError, match=r"name it as `activation`"):
            load_agent(path)
    agent = load_agent(path, activation=activation)
    assert deviation(agent.network, forward) < 1e-5
    assert (agent.source.algorithm, agent.env_id) == (algorithm, None)
    assert agent.source.activation_from == (
        "what was given" if activation else agent.source.activation_from
    )
    if "PPO" in name or name.startswith(("rsl_rl", "rl_games", "skrl")):
        drawn = agent.stochastic().network.head
        assert drawn.noise == ("gumbel" if "discrete" in name else "normal")


def test_the_given_activation_counts(tmp_path: Path) -> None:
    path = saved(rsl_rl()[0], tmp_path)
    for text, found in (("relu", "ReLU"), ("leaky_relu:0.1", "LeakyReLU:0.1"), ("SiLU", "SiLU")):
        assert load_agent(path, activation=text).network.layers[0].activation == found
    with pytest.raises(InvalidArgumentError, match="'elephant' is not supported"):
        load_agent(path, activation="elephant")
    with pytest.raises(InvalidArgumentError, match="says which activation it has"):
        load_agent("demo", activation="elu")


def test_layers_of_an_unknown_trainer_stand_one_after_the_other(tmp_path: Path) -> None:
    body = mlp(OBS, 6, 5, ACTIONS, activation=nn.ReLU)
    path = saved({f"trunk.{n}": t for n, t in body.state_dict().items()}, tmp_path)
    with pytest.raises(UnsupportedPolicyError, match=r"no known trainer.*`activation`"):
        load_agent(path)
    with pytest.warns(SqueezeRLWarning, match=r"what stands behind 'trunk\.4'"):
        agent = load_agent(path, activation="relu")
    assert deviation(agent.network, body) < 1e-5


@pytest.mark.filterwarnings("ignore::squeezerl.errors.SqueezeRLWarning")
def test_layers_in_safetensors_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    # As many hidden layers of one width that "10" and "12" come before "2" in the alphabet.
    body = mlp(OBS, *[6] * 7, ACTIONS, activation=nn.ReLU)
    save_file(body.state_dict(), tmp_path / "model.safetensors")
    for _ in range(20):  # the reader's order changes from one reading to the next
        agent = load_agent(tmp_path / "model.safetensors", activation="relu")
        assert deviation(agent.network, body) < 1e-5


def test_safetensors_without_an_order_are_refused(tmp_path: Path) -> None:
    hidden, last = nn.Linear(OBS, OBS), nn.Linear(OBS, OBS)
    save_file(Named(hidden=hidden, last=last).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedPolicyError, match=r"no order.*'hidden\.weight'"):
        load_agent(tmp_path / "model.safetensors", activation="relu")
    save_file({"0.weight": torch.zeros(2, 2, dtype=torch.bfloat16)}, tmp_path / "half.safetensors")
    with pytest.raises(UnsupportedPolicyError, match="BF16; save them as 32-bit floats"):
        load_agent(tmp_path / "half.safetensors", activation="relu")


def test_outputs_without_a_deviation_are_doubted(tmp_path: Path) -> None:
    content, _ = rsl_rl_5()
    del content["actor_state_dict"]["distribution.std_param"]
    with pytest.warns(SqueezeRLWarning, match="second half of the outputs"):
        load_agent(saved(content, tmp_path))


@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "SAC", "TD3", "DQN"])
def test_policies_saved_by_stable_baselines3_act_as_predict_does(
    tmp_path: Path, algorithm: str
) -> None:
    env = "CartPole-v1" if algorithm == "DQN" else "Pendulum-v1"
    kwargs = {"net_arch": [6, 5], "activation_fn": nn.ELU}
    model = getattr(stable_baselines3, algorithm)("MlpPolicy", env, policy_kwargs=kwargs, seed=0)
    model.policy.save(str(tmp_path / "policy.pth"))
    agent = load_agent(tmp_path / "policy.pth")
    observations = random_observations(agent.network, 1000)
    expected, _ = model.policy.predict(observations, deterministic=True)
    np.testing.assert_allclose(act(agent.network, observations), expected, atol=1e-5)
    assert agent.source.activation_from == "the settings in the file"


def _plus(names: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    def change(content: dict[str, Any]) -> Any:
        return content | {"model_state_dict": {**content["model_state_dict"], **names}}

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_plus({"encoder.0.weight": torch.zeros(2, 2)}), r"rsl_rl with 'encoder\.0\.weight'"),
        (_plus({"memory_a.rnn.weight_ih_l0": torch.zeros(2, 2)}), r"rsl_rl with 'memory_a"),
        (_plus({"actor.0.weight": torch.full((6, OBS), torch.nan)}), "NaN"),
        (_plus({"actor.0.weight": torch.zeros(6, 7, 8)}), "linear"),
        (_plus({"actor.2.weight": torch.zeros(5, 9)}), "takes 9 features, but gets 6"),
        (_plus({"std": torch.full((ACTIONS,), torch.nan)}), "NaN"),
        (lambda c: c | {"empirical_norm": {}}, "'empirical_norm', perhaps a normaliser"),
        (lambda c: c | {"obs_norm_state_dict": {"_mean": FLAT, "_std": FLAT}}, "features"),
        (lambda c: c | {"obs_norm_state_dict": {"_mean": torch.zeros(OBS)}}, "_std"),
        (lambda c: [], "no mapping"),
        (lambda c: 7, "no mapping"),
        (lambda c: mlp(4, 3), "a whole module"),
        (lambda c: {"a": {"b": torch.zeros(3)}}, "no mapping"),
    ],
)
def test_other_checkpoints_are_refused(tmp_path: Path, change: Any, reason: str) -> None:
    path = saved(change(rsl_rl()[0]), tmp_path)
    with pytest.raises((CheckpointError, UnsupportedPolicyError), match=reason) as caught:
        load_agent(path)
    assert str(path) in str(caught.value)


class _Payload:
    def __init__(self, marker: Path, name: str = "mkdir") -> None:
        self._marker, self._name = marker, name

    def __reduce__(self) -> Any:
        return getattr(os, self._name), (str(self._marker),)


@pytest.mark.parametrize("place", ["iter", "infos", "optimizer_state_dict"])
def test_pickle_bombs_are_not_executed(tmp_path: Path, place: str) -> None:
    marker = tmp_path / "marker"
    path = saved(rsl_rl()[0] | {place: _Payload(marker)}, tmp_path)
    with pytest.raises(CheckpointError, match="mkdir"):
        load_agent(path)
    assert not marker.exists()


def test_lists_that_grow_without_end_take_no_time(tmp_path: Path) -> None:
    deep: Any = []
    for _ in range(60):  # 2^60 elements, if anybody counted them
        deep = [deep, deep]
    cyclic: dict[str, Any] = {}
    cyclic["itself"] = cyclic
    path = saved(rsl_rl()[0] | {"infos": deep, "iter": cyclic}, tmp_path)
    assert load_agent(path).network.action_shape == (ACTIONS,)


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", bytes(2**26))
    with pytest.raises(CheckpointError, match="zip bomb"):
        load_agent(path)


@pytest.mark.filterwarnings("ignore::squeezerl.errors.SqueezeRLWarning")
@pytest.mark.parametrize("kind", ["model.pt", "model.safetensors"])
def test_spoiled_copies_are_refused_or_sound(tmp_path: Path, kind: str) -> None:
    if kind == "model.pt":
        saved(rsl_rl_3()[0], tmp_path)
    else:
        save_file(cleanrl_ppo()[0], tmp_path / kind)
    assert survive_mutations(tmp_path / kind) > 20
