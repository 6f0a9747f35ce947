from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trainings import PPO as ON_CARTPOLE
from trainings import SAC as ON_PENDULUM
from trainings import make_sb3, stop_after, train

from squeezerl import QatConfig, TrainConfig, load_agent
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import CompressionError, InvalidArgumentError
from squeezerl.methods.pruning import StructuredPruning
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network, as_float
from squeezerl.training.algorithms import find_algorithm
from squeezerl.training.gradual_pruning import GraduallyPrunedActor
from squeezerl.training.model import network_of

HALF = StructuredPruning(norm="l2", ratio=0.5)


def _make(name: str) -> Any:
    return make_sb3(name, normalized=name == "ppo", policy_kwargs={"net_arch": [16, 16]})


def _silent(network: Network) -> list[int]:
    """How many neurons of each hidden layer have neither weights in nor out."""
    layers = network.layers
    return [
        int(
            (
                ~as_float(layer.weight).any(axis=1)
                & ~as_float(following.weight).any(axis=0)
                & (as_float(layer.bias) == 0)
            ).sum()
        )
        for layer, following in pairwise(layers)
    ]


@pytest.mark.parametrize("name", ["ppo", "sac", "td3", "dqn"])
def test_neurons_fall_silent_as_the_training_goes_on(name: str) -> None:
    model, algorithm = _make(name), find_algorithm(name)
    actor = GraduallyPrunedActor(model, algorithm, HALF)
    counts = []
    for done in (0.0, 0.1, 0.3, 0.75, 1.0):
        actor.follow(done)
        counts.append(_silent(network_of(model, algorithm))[0])
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert 0 < counts[1] < counts[2] < counts[3] == counts[4] == 8
    assert actor.is_complete


def test_the_pruned_policy_acts_as_the_one_with_silent_neurons() -> None:
    model, algorithm = _make("ppo"), find_algorithm("ppo")
    actor = GraduallyPrunedActor(model, algorithm, HALF)
    actor.follow(1.0)
    network = network_of(model, algorithm)
    pruned = actor.export(network)
    seen = np.random.default_rng(0).normal(size=(50, *network.observation_shape)).astype("f4")
    assert [layer.out_features for layer in pruned.layers[:-1]] == [8, 8]
    np.testing.assert_allclose(act(pruned, seen), act(network, seen), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("what", [ON_CARTPOLE, ON_PENDULUM])
def test_a_training_leaves_the_pruned_artifact(what: Any, tmp_path: Path) -> None:
    output = tmp_path / "out"
    begun = train(what, output, prune=HALF, should_stop=stop_after(2))
    assert not begun.complete
    assert begun.artifact is None
    result = train(what, output, prune=HALF, resume=True)
    assert result.complete
    assert result.artifact == output / "pruned"
    artifact = read_artifact(output / "pruned")
    assert artifact.recipe.text == "prune:l2:0.5"
    assert _silent(load_agent(output).network) == [8, 8]
    assert train(what, output, prune=HALF, resume=True).complete  # there is nothing left to do


def test_what_excludes_each_other_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="`prune` and `qat` exclude each other"):
        TrainConfig(algorithm="ppo", env="CartPole-v1", prune=HALF, qat=QatConfig())
    model = make_sb3("ppo", normalized=False, policy_kwargs={"net_arch": [1]})
    with pytest.raises(CompressionError, match="remove at least one"):
        GraduallyPrunedActor(model, find_algorithm("ppo"), StructuredPruning(ratio=0.4))
