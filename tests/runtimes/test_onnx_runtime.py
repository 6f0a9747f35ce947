from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_agents import MadeAgent
from onnx_runner import onnx_actions, rows_alone, torch_actions
from runtime_contract import RuntimeContract
from small_policies import (
    ACTIVATION_TEXTS,
    QUANTIZATIONS,
    compress,
    demo_network,
    demo_observations,
    make_artifact,
    make_network,
    random_observations,
)
from squeezerl.agents.load import load_agent
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import ArtifactError
from squeezerl.formats.base import FORMATS
from squeezerl.formats.onnx import to_onnx
from squeezerl.runtimes.base import Payload
from squeezerl.runtimes.onnx_runtime import OnnxActor, OnnxRuntime, load_network

RECIPES = {"float": "float", "pruned": "prune:l2:0.3"} | QUANTIZATIONS


class TestOnnxRuntime(RuntimeContract):
    runtime = OnnxRuntime()
    recipes: ClassVar = tuple(
        recipe for recipe in RECIPES.values() if "layers_only=no" not in recipe
    )
    refused: ClassVar = ()


# Batches act like their rows.


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_batch_acts_like_its_rows_bit_for_bit(recipe: str) -> None:
    observations = demo_observations()
    network = compress(demo_network(), recipe, observations)
    rows, actor = rows_alone(network, observations), load_network(network)
    for _ in range(2):  # the first batch may decide how the next ones are run
        np.testing.assert_array_equal(actor.act(observations), rows)
        np.testing.assert_array_equal(actor.act(observations[:1]), rows[:1])


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_first_batch_of_equal_observations_misleads_nobody(recipe: str) -> None:
    # As after a reset; a scale taken over such a batch is that of each of its rows.
    observations = demo_observations()
    network = compress(demo_network(), recipe, observations)
    actor = load_network(network)
    actor.act(np.repeat(observations[:1], 50, axis=0))
    rows = rows_alone(network, observations[100:150])
    np.testing.assert_array_equal(actor.act(observations[100:150]), rows)


@pytest.mark.parametrize("name", ["ptdq", "ptdq-naive"])
def test_dynamic_quantization_of_a_whole_batch_would_act_otherwise(name: str) -> None:
    # Its scale is taken over the batch. The test above shows something only because of this.
    observations = demo_observations()
    network = compress(demo_network(), QUANTIZATIONS[name])
    whole = onnx_actions(network, observations)
    assert (whole != load_network(network).act(observations)).any(axis=1).mean() > 0.5


@pytest.mark.parametrize("activation", ACTIVATION_TEXTS)
@pytest.mark.parametrize("hidden", [64, 45])
def test_every_batch_acts_like_its_rows_and_not_only_the_first(
    activation: str, hidden: int
) -> None:
    # Kernels work on several numbers at once; what is left over at the end may be rounded
    # otherwise. Whether it shows depends on the size of the batch and on its values.
    network = make_network(17, hidden, hidden, 6, activation=activation)
    observations = random_observations(network, 400)
    rows, actor = rows_alone(network, observations), load_network(network)
    for size in (2, 3, 20, 400):
        batches = np.split(observations, np.arange(size, 400, size))
        actions = np.concatenate([actor.act(batch) for batch in batches])
        np.testing.assert_array_equal(actions, rows)


@pytest.mark.parametrize("activation", ["ReLU", "Tanh", "ELU"])
@pytest.mark.parametrize("head", ["clip", "tanh", "argmax"])
@pytest.mark.parametrize("recipe", ["int8:dynamic", "int8:dynamic:per_channel=no"])
def test_evaluation_acts_as_rows_alone_do_where_scales_are_computed(
    recipe: str, head: Literal["clip", "tanh", "argmax"], activation: str
) -> None:
    network = make_network(17, 32, 32, 6, head=head, activation=activation, bounds=(-2, 1))
    network = compress(network, recipe)
    observations = random_observations(network, 200)
    observations[7] = 0
    model = FORMATS.get("onnx").write(network)
    actor = OnnxActor(network, model, threads=1).for_batches()
    expected = rows_alone(model, observations)
    for size in (50, 100, 50):
        for start in range(0, 200, size):
            part = slice(start, start + size)
            np.testing.assert_array_equal(actor.act(observations[part]), expected[part])


def test_a_batch_that_is_run_row_by_row_works_in_one_rows_memory() -> None:
    network = compress(make_network(6, 64, 32, 2), QUANTIZATIONS["ptdq"])
    actor = load_network(network)
    one, eight = (actor.working_bytes(random_observations(network, n)) for n in (1, 8))
    assert one == eight
    assert one is not None
    assert 64 + 32 <= one <= 4 * 4 * (64 + 64)


@pytest.mark.parametrize("batch", [1, 8])
def test_it_works_in_the_two_ends_of_its_largest_layer(batch: int) -> None:
    network = make_network(6, 64, 32, 2, normalized=False)
    actor = load_network(network)
    actor.act(random_observations(network, batch))
    # 64 numbers in and 32 out of the second layer; or 64 in and out of the first activation,
    # unless that is fused with its layer.
    working = actor.working_bytes(random_observations(network, batch))
    assert working in (batch * 4 * (64 + 32), batch * 4 * (64 + 64))


# Agents, as torch has them.


def test_published_agents_act_like_their_torch_policies(published_agent: Path) -> None:
    network = load_agent(published_agent).network
    observations = random_observations(network, 200)
    actions = load_network(network).act(observations)
    np.testing.assert_allclose(actions, torch_actions(network, observations), atol=1e-5)


def test_made_agents_act_like_their_torch_policies(made_agent: MadeAgent) -> None:
    network = load_agent(made_agent.path).network
    observations = made_agent.observations(5).astype(np.float32)
    actions = load_network(network).act(observations)
    np.testing.assert_allclose(actions, torch_actions(network, observations), rtol=0, atol=1e-4)


# Artifacts, and files that are none.


def test_an_artifact_is_loaded_from_its_folder(tmp_path: Path) -> None:
    network = make_network(6, 8, 3)
    artifact = make_artifact(network, "int8:dynamic")
    artifact.save(tmp_path / "artifact")
    observations = random_observations(network, 20)
    actor = OnnxRuntime().load(read_artifact(tmp_path / "artifact"))
    np.testing.assert_array_equal(actor.act(observations), rows_alone(artifact.model, observations))


def test_a_payload_travels_in_a_folder(tmp_path: Path) -> None:
    artifact = make_artifact(make_network(6, 8, 3), "int8:static")
    Payload.of(artifact).save(tmp_path / "payload")
    payload = Payload.load(tmp_path / "payload")
    assert payload.network.sha256 == artifact.network.sha256
    assert (payload.model, payload.algorithm) == (artifact.model, "ppo")


def _load(model: bytes) -> OnnxActor:
    return OnnxActor(make_network(4, 8, 2), model, threads=1)


@given(st.binary())
def test_no_bytes_raise_anything_but_an_artifact_error(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="cannot load"):
        _load(content)


def test_a_truncated_model_is_refused() -> None:
    model = to_onnx(make_network(4, 8, 2)).SerializeToString()
    for length in range(0, len(model), 37):
        with pytest.raises(ArtifactError):
            _load(model[:length])


BROKEN: list[Callable[[bytes], bytes]] = [
    lambda model: b"garbage",
    lambda model: model[:-20],
    lambda model: model.replace(b"layer0.weight", b"layer0.\xffeight", 1),
]


@pytest.mark.parametrize("spoil", BROKEN)
def test_a_refused_model_prints_nothing(
    spoil: Callable[[bytes], bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArtifactError):
        _load(spoil(to_onnx(make_network(4, 8, 2)).SerializeToString()))
    assert capfd.readouterr() == ("", "")
