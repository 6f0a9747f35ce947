from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor
from trainings import (
    checkpoint_in,
    go_on,
    saved_state,
    start_command,
    stop_after,
    tensors,
    train_as,
    wait_for,
)

from squeezerl import QatConfig, TicketConfig, load_agent
from squeezerl.agents.load import demo_agent_path
from squeezerl.agents.sources.stable_baselines3.files import read_yaml
from squeezerl.errors import (
    CheckpointError,
    CompressionError,
    InvalidArgumentError,
    OutputError,
    SpecError,
    SqueezeRLError,
)
from squeezerl.methods.base import Given
from squeezerl.methods.pruning import StructuredPruning
from squeezerl.network.network import Network, as_float
from squeezerl.runtimes.onnx_runtime import load_network
from squeezerl.training.algorithms import find_algorithm
from squeezerl.training.result import TrainingResult

pytestmark = pytest.mark.slow

State = dict[str, Tensor]
Layers = list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]

ROLLOUTS = ("n_envs:2", "n_steps:32", "net_arch:[16, 12]")
REPLAY = ("learning_starts:50", "batch_size:16", "train_freq:8", "net_arch:[16, 12]")
WATCHED: dict[str, Any] = {"evaluations": 1, "eval_episodes": 1, "device": "cpu"}
# What is trained, with which settings, and where the actor's layers are.
CASES: dict[str, tuple[tuple[str, str], tuple[str, ...], tuple[str, ...]]] = {
    "ppo": (
        ("ppo", "CartPole-v1"),
        (*ROLLOUTS, "batch_size:32", "normalize:true"),
        ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"),
    ),
    "trpo": (
        ("trpo", "Pendulum-v1"),
        (*ROLLOUTS, "batch_size:32", "net_arch:{'pi': [16, 12], 'vf': [10]}", "normalize:true"),
        ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"),
    ),
    "a2c-gsde": (
        ("a2c", "Pendulum-v1"),
        (*ROLLOUTS, "use_sde:true", "use_rms_prop:true"),
        ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"),
    ),
    "sac": (
        ("sac", "Pendulum-v1"),
        (*REPLAY, "net_arch:{'pi': [16, 12], 'qf': [10, 11]}"),
        ("actor.latent_pi.0", "actor.latent_pi.2", "actor.mu"),
    ),
    "sac-gsde": (
        ("sac", "Pendulum-v1"),
        (*REPLAY, "use_sde:true"),
        ("actor.latent_pi.0", "actor.latent_pi.2", "actor.mu.0"),
    ),
    "tqc": (
        ("tqc", "Pendulum-v1"), REPLAY, ("actor.latent_pi.0", "actor.latent_pi.2", "actor.mu"),
    ),
    "td3": (("td3", "Pendulum-v1"), REPLAY, ("actor.mu.0", "actor.mu.2", "actor.mu.4")),
    "ddpg": (
        ("ddpg", "Pendulum-v1"),
        (*REPLAY, "noise_type:normal", "noise_std:0.1"),
        ("actor.mu.0", "actor.mu.2", "actor.mu.4"),
    ),
    "dqn": (
        ("dqn", "CartPole-v1"),
        (*REPLAY, "gradient_steps:4"),
        ("q_net.q_net.0", "q_net.q_net.2", "q_net.q_net.4"),
    ),
    "qrdqn": (
        ("qrdqn", "CartPole-v1"),
        (*REPLAY, "gradient_steps:4", "n_quantiles:5"),
        tuple(f"quantile_net.quantile_net.{index}" for index in (0, 2, 4)),
    ),
}  # fmt: skip
# Module → the one that follows it.
TARGETS = {
    "actor.mu.": "actor_target.mu.",
    "q_net.": "q_net_target.",
    "quantile_net.": "quantile_net_target.",
}


def _train(what: tuple[str, str | None], output: Path, **options: Any) -> TrainingResult:
    return train_as(what, output, **(WATCHED | options))


def _started(what: tuple[str, str], output: Path, **options: Any) -> State:
    """The weights that a training has before it learns anything."""
    _train(what, output, should_stop=lambda: True, **options)
    assert checkpoint_in(output).steps == 0
    return saved_state(output)["parameters"]["policy"]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """By name: a finished training's folder and the weights that it really started from."""

    class Originals(dict[str, tuple[Path, State]]):
        def __missing__(self, name: str) -> tuple[Path, State]:
            what, given, _ = CASES[name]
            output = tmp_path_factory.mktemp(name) / "original"
            options: dict[str, Any] = {
                "steps": 192,
                "seed": 7,
                "hyperparameters": given,
                "env_kwargs": {"max_episode_steps": 20},
            }
            state = _started(what, output, **options)
            assert _train(what, output, resume=True, **options).complete
            self[name] = output, state
            return self[name]

    return Originals()


@pytest.fixture
def ppo(originals: Any, tmp_path: Path) -> Path:
    """A copy of a finished training of PPO."""
    return shutil.copytree(originals["ppo"][0], tmp_path / "original")


def _layers(state: State, names: Sequence[str]) -> Layers:
    return [(state[f"{n}.weight"].numpy(), state[f"{n}.bias"].numpy()) for n in names]


def _network_layers(network: Network) -> Layers:
    return [(as_float(layer.weight), as_float(layer.bias)) for layer in network.layers]


def _neurons(small: Layers, whole: Layers) -> list[list[int]]:
    """Which hidden neurons of the whole network the small one has, found by their exact weights."""
    columns = list(range(whole[0][0].shape[1]))
    found = []
    for (weight, bias), (whole_weight, whole_bias) in zip(small, whole, strict=True):
        rows = []
        for values, shift in zip(weight, bias, strict=True):
            same = (whole_weight[:, columns] == values).all(axis=1) & (whole_bias == shift)
            (row,) = np.flatnonzero(same).tolist()
            rows.append(row)
        found.append(rows)
        columns = rows
    assert found.pop() == list(range(len(whole[-1][0])))  # the output layer has all of its own
    return found


@pytest.mark.parametrize("ticket", ["l1", "l2"])
@pytest.mark.parametrize("name", CASES)
def test_a_ticket_starts_with_the_first_weights_of_the_neurons_that_pruning_keeps(
    name: str, ticket: Any, originals: Any, tmp_path: Path
) -> None:
    folder, whole = originals[name]
    what, _, names = CASES[name]
    small = _started(what, tmp_path / "out", ticket=TicketConfig(of=folder, choice=ticket))

    trained = load_agent(folder).network
    pruned = StructuredPruning(norm=ticket, ratio=0.5).apply(trained, Given())
    kept = _neurons(_network_layers(pruned), _network_layers(trained))
    assert [len(rows) for rows in kept] == [8, 6]
    assert _neurons(_layers(small, names), _layers(whole, names)) == kept
    assert set(small) == set(whole)
    # Whatever else there is: targets are as the actor, heads of its last layer have its columns.
    for key in set(whole) - {f"{n}.{part}" for n in names for part in ("weight", "bias")}:
        expected = whole[key].numpy()
        followed = next((a for a, b in TARGETS.items() if key.startswith(b)), None)
        if followed is not None:
            expected = small[key.replace(TARGETS[followed], followed)].numpy()
        elif key == "actor.log_std.weight":
            expected = expected[:, kept[-1]]
        elif key.endswith("log_std") and expected.ndim == 2:
            expected = expected[kept[-1]]
        np.testing.assert_array_equal(small[key].numpy(), expected, err_msg=key)


@pytest.mark.parametrize("name", CASES)
def test_a_trained_ticket_is_a_smaller_agent(name: str, originals: Any, tmp_path: Path) -> None:
    folder, _ = originals[name]
    what, _, _ = CASES[name]
    result = _train(what, tmp_path / "out", ticket=TicketConfig(of=folder))
    assert (result.complete, result.steps, result.seed) == (True, 192, 7)
    agent, original = load_agent(result.path), load_agent(folder)
    assert agent.source.env_kwargs == {"max_episode_steps": 20}
    widths = [layer.out_features for layer in agent.network.layers]
    assert widths[:-1] == [8, 6]
    assert _parameters(agent.network) < _parameters(original.network)
    model = find_algorithm(what[0]).load().load(result.path / f"{what[1]}.zip", device="cpu")
    features = agent.network.observation_shape[0]
    observations = np.random.default_rng(0).uniform(-1, 1, (50, features)).astype(np.float32)
    expected = model.predict(_normalized(agent.network, observations), deterministic=True)[0]
    np.testing.assert_allclose(load_network(agent.network).act(observations), expected, atol=1e-5)


def _parameters(network: Network) -> int:
    return sum(weight.size + bias.size for weight, bias in _network_layers(network))


def _normalized(network: Network, observations: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if (normalizer := network.normalizer) is None:
        return observations
    scaled = (observations - as_float(normalizer.mean)) * as_float(normalizer.inverse_std)
    return np.clip(scaled, -normalizer.clip, normalizer.clip)


def test_it_learns(originals: Any, tmp_path: Path) -> None:
    folder, _ = originals["ppo"]
    what, _, names = CASES["ppo"]
    before = _started(what, tmp_path / "out", ticket=TicketConfig(of=folder))
    result = _train(what, tmp_path / "out", ticket=TicketConfig(of=folder), resume=True)
    after = _network_layers(load_agent(result.path).network)
    for (weight, bias), (first_weight, first_bias) in zip(
        after, _layers(before, names), strict=True
    ):
        assert not np.array_equal(weight, first_weight)
        assert not np.array_equal(bias, first_bias)


# Random tickets


@pytest.mark.parametrize("name", ["ppo", "td3"])
def test_a_random_ticket_is_as_large_and_has_other_neurons(
    name: str, originals: Any, tmp_path: Path
) -> None:
    folder, whole = originals[name]
    what, _, names = CASES[name]
    kept = {}
    for label, ticket in (("l2", "l2"), ("random", "random"), ("again", "random")):
        state = _started(what, tmp_path / label, ticket=TicketConfig(of=folder, choice=ticket))
        kept[label] = _neurons(_layers(state, names), _layers(whole, names))
    assert [len(rows) for rows in kept["random"]] == [len(rows) for rows in kept["l2"]]
    assert kept["random"] != kept["l2"]
    assert kept["random"] == kept["again"]
    assert kept["random"] == [sorted(rows) for rows in kept["random"]]


def test_a_random_ticket_of_another_seed_has_other_neurons(tmp_path: Path) -> None:
    what, given, names = CASES["ppo"]
    kept = []
    for seed in (0, 1):
        options: dict[str, Any] = {"steps": 64, "seed": seed, "hyperparameters": given}
        whole = _started(what, tmp_path / f"{seed}", **options)
        _train(what, tmp_path / f"{seed}", resume=True, **options)
        ticket = TicketConfig(of=tmp_path / f"{seed}", choice="random")
        small = _started(what, tmp_path / f"ticket{seed}", ticket=ticket)
        kept.append(_neurons(_layers(small, names), _layers(whole, names)))
    assert kept[0] != kept[1]


# What it is a ticket of is known


def test_settings_may_be_given_if_they_are_the_originals(ppo: Path, tmp_path: Path) -> None:
    what, given, _ = CASES["ppo"]
    options = {"seed": 7, "steps": 192, "env_kwargs": {"max_episode_steps": 20}}
    ticket = TicketConfig(of=ppo)
    named = _train(what, tmp_path / "named", ticket=ticket, hyperparameters=given, **options)
    left_out = _train(what, tmp_path / "left-out", ticket=ticket)
    for file in ("args.yml", "config.yml"):
        files = (result.path / "CartPole-v1" / file for result in (named, left_out))
        first, second = (read_yaml(path) for path in files)
        assert first == second
    first, second = (tensors(load_agent(result.path).network) for result in (named, left_out))
    assert first == second


def test_the_environment_is_the_originals_unless_given(ppo: Path, tmp_path: Path) -> None:
    result = _train(("ppo", None), tmp_path / "out", ticket=TicketConfig(of=ppo))
    assert (result.complete, result.env_id) == (True, "CartPole-v1")


def test_the_folder_says_which_ticket_it_is(ppo: Path, tmp_path: Path) -> None:
    ticket = TicketConfig(of=ppo, choice="random", ratio=0.25)
    result = _train(CASES["ppo"][0], tmp_path / "out", ticket=ticket)
    arguments = read_yaml(result.path / "CartPole-v1" / "args.yml")
    sha256 = load_agent(ppo).source.sha256
    assert arguments["ticket"] == {"choice": "random", "ratio": 0.25, "sha256": sha256}
    assert arguments["ticket_of"] == str(ppo)
    settings = [read_yaml(folder / "CartPole-v1" / "config.yml") for folder in (result.path, ppo)]
    assert settings[0] == settings[1]


def test_a_stopped_ticket_goes_on_as_the_same_one(ppo: Path, tmp_path: Path) -> None:
    what, output = CASES["ppo"][0], tmp_path / "out"
    stopped = _train(what, output, ticket=TicketConfig(of=ppo), should_stop=stop_after(1))
    assert (stopped.complete, stopped.steps) == (False, 64)
    for other, difference in (
        ({"choice": "random"}, "'choice': 'l2'.*'choice': 'random'"),
        ({"ratio": 0.25}, "'ratio': 0.5.*'ratio': 0.25"),
    ):
        with pytest.raises(OutputError, match=f"ticket .*{difference}"):
            _train(what, output, ticket=TicketConfig(of=ppo, **other), resume=True)
    with pytest.raises(OutputError, match="was started with"):
        _train(what, output, resume=True)
    # The original may lie elsewhere now.
    moved = ppo.rename(tmp_path / "elsewhere")
    result = _train(what, output, ticket=TicketConfig(of=moved), resume=True)
    assert (result.complete, result.steps, result.new_steps) == (True, 192, 128)
    layers = load_agent(output).network.layers
    assert [layer.out_features for layer in layers] == [8, 6, 2]


def test_a_ticket_that_is_killed_goes_on(ppo: Path, tmp_path: Path) -> None:
    arguments = (
        "ppo", "CartPole-v1", "--ticket-of", "original", "--ticket", "l1",
        "--evaluations", "1", "--eval-episodes", "1", "--checkpoint-seconds", "0",
        "-o", "out", "--json",
    )  # fmt: skip
    process = start_command(tmp_path, *arguments)
    try:
        checkpoints = tmp_path / "out" / "checkpoints"
        assert wait_for(process, lambda: list(checkpoints.glob("[0-9]*")))
    finally:
        process.kill()
        process.communicate()
    assert go_on(tmp_path, *arguments)["complete"]
    layers = load_agent(tmp_path / "out").network.layers
    assert [layer.out_features for layer in layers] == [8, 6, 2]


# Refusals


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seed": 3}, InvalidArgumentError, "seed 7, not 3"),
        ({"seed": 0}, InvalidArgumentError, "seed 7, not 0"),
        ({"steps": 128}, InvalidArgumentError, "steps 192, not 128"),
        ({"hyperparameters": ("n_steps:64",)}, InvalidArgumentError, "batch_size 32, not 256"),
        ({"env_kwargs": {"max_episode_steps": 9}}, InvalidArgumentError, "env_kwargs"),
        ({"choice": "l3"}, InvalidArgumentError, "'l3' is not one of l1, l2, random"),
        ({"ratio": 1.0}, SpecError, "ratio 1.0 is out of range"),
        ({"ratio": 0.01}, CompressionError, "must remove at least one neuron"),
        ({"choice": "random", "ratio": 0.01}, CompressionError, "at least one neuron"),
        ({"qat": QatConfig()}, InvalidArgumentError, "`ticket` and `qat` exclude each other"),
        ({"init": "demo"}, InvalidArgumentError, "`ticket` and `init` exclude each other"),
    ],
)
def test_what_makes_no_ticket_is_refused(
    options: dict[str, Any], error: type[SqueezeRLError], message: str, ppo: Path, tmp_path: Path
) -> None:
    def attempt(*, choice: str = "l2", ratio: float = 0.5, **others: Any) -> None:
        ticket = TicketConfig(of=ppo, choice=choice, ratio=ratio)
        _train(CASES["ppo"][0], tmp_path / "out", ticket=ticket, **others)

    with pytest.raises(error, match=message):
        attempt(**options)
    assert not (tmp_path / "out").exists()


def test_another_algorithm_or_environment_is_refused(ppo: Path, tmp_path: Path) -> None:
    for what, message in (
        (("trpo", "CartPole-v1"), "trained with ppo, not trpo"),
        (("ppo", "Acrobot-v1"), "not the folder of a training of Acrobot-v1"),
    ):
        with pytest.raises(CheckpointError, match=message):
            _train(what, tmp_path / "out", ticket=TicketConfig(of=ppo))


def test_an_agent_whose_first_weights_are_unknown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not trained by squeezerl train"):
        _train(
            ("ppo", "HalfCheetah-v5"), tmp_path / "out", ticket=TicketConfig(of=demo_agent_path())
        )


def test_an_unfinished_training_is_refused(tmp_path: Path) -> None:
    what, given, _ = CASES["ppo"]
    options: dict[str, Any] = {"steps": 192, "hyperparameters": given}
    _train(what, tmp_path / "original", should_stop=stop_after(2), **options)
    with pytest.raises(CheckpointError, match="has not ended; finish it with `resume=True`"):
        _train(what, tmp_path / "out", ticket=TicketConfig(of=tmp_path / "original"))


def test_trainings_that_are_no_originals_are_refused(ppo: Path, tmp_path: Path) -> None:
    what, given, _ = CASES["ppo"]
    options: dict[str, Any] = {"steps": 64, "hyperparameters": given}
    _train(what, tmp_path / "ticket", ticket=TicketConfig(of=ppo))
    _train(what, tmp_path / "int8", qat=QatConfig(warmup=0.0), **options)
    _train(what, tmp_path / "init", init=ppo, **options)
    for name, message in (
        ("ticket", "a ticket itself"),
        ("int8", "trained for int8"),
        ("init", "started from another agent"),
    ):
        with pytest.raises(CheckpointError, match=message):
            _train(what, tmp_path / "out", ticket=TicketConfig(of=tmp_path / name))


def test_an_agent_that_is_not_what_its_settings_say_is_refused(ppo: Path, tmp_path: Path) -> None:
    config = ppo / "CartPole-v1" / "config.yml"
    config.write_text(config.read_text().replace("[16, 12]", "[16, 13]"))
    with pytest.raises(
        CheckpointError, match=r"networks are not those that .*config\.yml describes"
    ):
        _train(CASES["ppo"][0], tmp_path / "out", ticket=TicketConfig(of=ppo))
    assert not (tmp_path / "out").exists()


def test_it_starts_from_the_weights_that_were_noted(ppo: Path, tmp_path: Path) -> None:
    """Not from those that the seed draws here: other processors may draw others."""
    noted = ppo / "CartPole-v1" / "initial_weights.safetensors"
    state = load_file(noted)
    save_file({name: weight + 1 for name, weight in state.items()}, noted)
    _train(CASES["ppo"][0], tmp_path / "out", ticket=TicketConfig(of=ppo))
    start = load_file(tmp_path / "out" / "CartPole-v1" / "initial_weights.safetensors")

    for name, weight in start.items():
        assert torch.isin(weight, state[name] + 1).all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "missing; a ticket starts from"),
        (b"no tensors", "damaged"),
        (save({"weight": torch.zeros(3)}), "does not hold the networks"),
    ],
)
def test_a_start_that_is_not_the_originals_is_refused(
    content: bytes | None, says: str, ppo: Path, tmp_path: Path
) -> None:
    noted = ppo / "CartPole-v1" / "initial_weights.safetensors"
    noted.unlink() if content is None else noted.write_bytes(content)
    with pytest.raises(CheckpointError, match=says):
        _train(CASES["ppo"][0], tmp_path / "out", ticket=TicketConfig(of=ppo))
    assert not (tmp_path / "out").exists()


def test_a_network_without_hidden_layers_has_no_tickets(tmp_path: Path) -> None:
    what, given, _ = CASES["ppo"]
    options: dict[str, Any] = {"steps": 64, "hyperparameters": (*given, "net_arch:[]")}
    _train(what, tmp_path / "original", **options)
    with pytest.raises(CompressionError, match="no hidden layer"):
        _train(what, tmp_path / "out", ticket=TicketConfig(of=tmp_path / "original"))
