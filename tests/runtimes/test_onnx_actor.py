from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnx_runner import onnx_actions, torch_actions
from small_policies import (
    QUANTIZATIONS,
    SOURCE,
    Floats,
    demo_observations,
    demo_policy,
    make_actor,
    make_policy,
    random_observations,
)
from squeezerl.agents.load import load_agent
from squeezerl.artifacts.write import write_artifact
from squeezerl.errors import ArtifactError, AuditError, InvalidArgumentError
from squeezerl.methods.compress import compress
from squeezerl.methods.specs import (
    DynamicQuantization,
    Spec,
    StaticQuantization,
    StructuredPruning,
)
from squeezerl.network.activations import ACTIVATIONS
from squeezerl.network.policy import Policy
from squeezerl.runtimes.onnx_actor import OnnxActor, load_actor
from squeezerl.runtimes.ort_session import make_session

SPECS: dict[str, tuple[Spec, ...]] = {
    "float": (),
    "pruned": (StructuredPruning(ratio=0.3),),
} | {name: (spec,) for name, spec in QUANTIZATIONS.items()}


def _rows(model: onnx.ModelProto, observations: Floats) -> Any:
    """Actions of ONNX Runtime for one observation at a time, without the actor."""
    session = make_session(model.SerializeToString(), threads=1)
    return np.concatenate([session.run(None, {"observation": o[None]})[0] for o in observations])


@pytest.mark.parametrize("name", ["ptdq", "ptdq-naive"])
def test_int8_arithmetic_is_exact_on_every_processor(name: str) -> None:
    """By default ONNX Runtime's kernels saturate on processors without VNNI instructions."""
    observations = demo_observations()[:200]
    model = compress(demo_policy(), SPECS[name], observations=observations).model
    exact = ReferenceEvaluator(model)
    expected = [exact.run(None, {"observation": row[np.newaxis]})[0] for row in observations]
    actions = make_actor(model).act(observations)
    np.testing.assert_allclose(actions, np.concatenate(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SPECS)
def test_a_batch_acts_like_its_rows_bit_for_bit(name: str) -> None:
    observations = demo_observations()
    model = compress(demo_policy(), SPECS[name], observations=observations).model
    rows = _rows(model, observations)
    actor = make_actor(model)
    for _ in range(2):  # the first batch may decide how the next ones are run
        np.testing.assert_array_equal(actor.act(observations), rows)
        np.testing.assert_array_equal(actor.act(observations[:1]), rows[:1])


@pytest.mark.parametrize("name", SPECS)
def test_a_first_batch_of_equal_observations_misleads_nobody(name: str) -> None:
    # As after a reset; a scale taken over such a batch is that of each of its rows.
    observations = demo_observations()
    model = compress(demo_policy(), SPECS[name], observations=observations).model
    actor = make_actor(model)
    actor.act(np.repeat(observations[:1], 50, axis=0))
    np.testing.assert_array_equal(
        actor.act(observations[100:150]), _rows(model, observations[100:150])
    )


@pytest.mark.parametrize("name", ["ptdq", "ptdq-naive"])
def test_dynamic_quantization_of_a_whole_batch_would_act_otherwise(name: str) -> None:
    # Its scale is taken over the batch. The test above shows something only because of this.
    observations = demo_observations()
    model = compress(demo_policy(), QUANTIZATIONS[name]).model
    whole = onnx_actions(model, observations)
    assert (whole != make_actor(model).act(observations)).any(axis=1).mean() > 0.5


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [64, 45])
def test_every_batch_acts_like_its_rows_and_not_only_the_first(
    activation: str, hidden: int
) -> None:
    # Kernels work on several numbers at once; what is left over at the end may be rounded
    # otherwise. Whether it shows depends on the size of the batch and on its values.
    policy = make_policy(17, hidden, hidden, 6, activation=activation)
    observations = random_observations(policy, 400)
    model = compress(policy).model
    rows = _rows(model, observations)
    actor = make_actor(model)
    for size in (2, 3, 20, 400):
        batches = np.split(observations, np.arange(size, 400, size))
        actions = np.concatenate([actor.act(batch) for batch in batches])
        np.testing.assert_array_equal(actions, rows)


@pytest.mark.parametrize("head", ["clip", "tanh", "argmax"])
def test_actors_act_like_the_torch_policy(head: Any) -> None:
    policy = make_policy(6, 32, 3, head=head, observation_shape=(3, 2))
    observations = random_observations(policy, 200)
    np.testing.assert_allclose(
        make_actor(compress(policy).model).act(observations),
        torch_actions(policy, observations),
        atol=1e-5,
    )


def test_the_demo_acts_like_its_torch_policy() -> None:
    observations = demo_observations()
    actions = make_actor(compress(demo_policy()).model).act(observations)
    np.testing.assert_allclose(actions, torch_actions(demo_policy(), observations), atol=1e-5)


def test_published_agents_act_like_their_torch_policies(published_agent: Path) -> None:
    policy = load_agent(published_agent).policy
    observations = random_observations(policy, 200)
    actions = make_actor(compress(policy).model).act(observations)
    np.testing.assert_allclose(actions, torch_actions(policy, observations), atol=1e-5)


def test_an_actor_knows_its_shapes() -> None:
    actor = make_actor(compress(make_policy(6, 8, 3, observation_shape=(3, 2))).model)
    assert (actor.observation_shape, actor.action_shape, actor.action_count) == ((3, 2), (3,), None)
    actions = actor.act(np.zeros((5, 3, 2), np.float32))
    assert (actions.shape, actions.dtype) == ((5, 3), np.float32)


def test_an_actor_of_discrete_actions_gives_indices() -> None:
    policy = make_policy(6, 8, 4, head="argmax")
    actor = make_actor(compress(policy).model)
    assert (actor.observation_shape, actor.action_shape, actor.action_count) == ((6,), (), 4)
    actions = actor.act(random_observations(policy, 50))
    assert (actions.shape, actions.dtype) == ((50,), np.int64)
    assert set(actions) <= {0, 1, 2, 3}


@pytest.mark.parametrize("keep", [(), ("layer0",), ("layer1",), ("layer2",), ("layer0", "layer2")])
@pytest.mark.parametrize("method", [DynamicQuantization, StaticQuantization])
def test_the_number_of_actions_does_not_depend_on_the_layers_kept(
    method: type[Any], keep: tuple[str, ...]
) -> None:
    policy = make_policy(6, 32, 16, 2, head="argmax")
    observations = random_observations(policy, 20)
    model = compress(policy, method(keep=keep), observations=observations).model
    assert make_actor(model).action_count == 2


@pytest.mark.parametrize("name", ["float", "ptdq", "ptsq"])
def test_no_observations_give_no_actions(name: str) -> None:
    policy = make_policy(6, 8, 3)
    observations = random_observations(policy, 20)
    actor = make_actor(compress(policy, SPECS[name], observations=observations).model)
    assert actor.act(observations[:0]).shape == (0, 3)
    actor.act(observations)
    assert actor.act(observations[:0]).shape == (0, 3)


@pytest.mark.parametrize("name", ["float", "ptdq", "ptsq"])
def test_any_memory_layout_will_do_and_observations_stay_as_they_are(name: str) -> None:
    policy = make_policy(6, 8, 3)
    observations = random_observations(policy, 20)
    model = compress(policy, SPECS[name], observations=observations).model
    rows, before = _rows(model, observations), observations.copy()
    np.testing.assert_array_equal(make_actor(model).act(np.asfortranarray(observations)), rows)
    np.testing.assert_array_equal(make_actor(model).act(observations[::2]), rows[::2])
    np.testing.assert_array_equal(make_actor(model).act(observations[::-1]), rows[::-1])
    np.testing.assert_array_equal(observations, before)


@pytest.mark.parametrize("name", ["float", "ptdq", "ptsq"])
def test_observations_in_double_precision_will_do(name: str) -> None:
    policy = make_policy(6, 8, 3)
    observations = random_observations(policy, 20)
    model = compress(policy, SPECS[name], observations=observations).model
    actor = make_actor(model)
    np.testing.assert_array_equal(
        actor.act(observations.astype(np.float64)), _rows(model, observations)
    )


@pytest.mark.parametrize("shape", [(), (6,), (5,), (20, 5), (20, 6, 1)])
def test_observations_of_another_shape_are_refused_with_the_right_one(
    shape: tuple[int, ...],
) -> None:
    actor = make_actor(compress(make_policy(6, 8, 3)).model)
    with pytest.raises(InvalidArgumentError, match=r"\(n, 6\) needed"):
        actor.act(np.zeros(shape, np.float32))


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_int8_products_do_not_saturate(name: str) -> None:
    # 255 * 127 + 255 * 127 does not fit the 16 bits that some instructions sum pairs in.
    policy = make_policy(64, 2, normalized=False)
    with torch.no_grad():
        policy.network.layer0.weight[:] = 0.9 / 64
        policy.network.layer0.bias[:] = 0.0
    observations = np.linspace(0, 1, 11, dtype=np.float32)[:, np.newaxis].repeat(64, axis=1)
    model = compress(policy, SPECS[name], observations=observations).model
    np.testing.assert_allclose(
        make_actor(model).act(observations), 0.9 * observations[:, :2], atol=0.01
    )


def test_actions_are_new_arrays() -> None:
    policy = make_policy(6, 8, 3)
    observations = random_observations(policy, 20)
    actor = make_actor(compress(policy).model)
    first = actor.act(observations)
    copy = first.copy()
    actor.act(-observations)
    np.testing.assert_array_equal(first, copy)


def test_an_actor_is_loaded_from_its_folder_after_the_audit(tmp_path: Path) -> None:
    policy = make_policy(6, 8, 3)
    compressed = compress(policy, DynamicQuantization())
    write_artifact(compressed, SOURCE, tmp_path)
    observations = random_observations(policy, 20)
    np.testing.assert_array_equal(
        load_actor(tmp_path).act(observations), _rows(compressed.model, observations)
    )
    other = compress(policy).model.SerializeToString()
    (tmp_path / "policy.onnx").write_bytes(other)
    with pytest.raises(AuditError):
        load_actor(tmp_path)


@pytest.mark.parametrize("garbage", [b"", b"\0", b"garbage", b"\xff" * 1000])
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(ArtifactError, match="cannot load"):
        OnnxActor(garbage)


@given(st.binary())
def test_no_bytes_raise_anything_but_an_artifact_error(content: bytes) -> None:
    with pytest.raises(ArtifactError):
        OnnxActor(content)


def test_a_truncated_model_is_refused() -> None:
    model = compress(make_policy(4, 8, 2)).model.SerializeToString()
    for length in range(0, len(model), 37):
        with pytest.raises(ArtifactError):
            OnnxActor(model[:length])


def _model(policy: Policy) -> onnx.ModelProto:
    return compress(policy).model


@pytest.mark.parametrize("values", ["input", "output"])
def test_a_model_with_a_second_input_or_output_is_refused(values: str) -> None:
    model = _model(make_policy(4, 8, 2))
    extra = helper.make_tensor_value_info("activation0.out", TensorProto.FLOAT, ["batch", 8])
    if values == "input":
        extra.name = "extra"
    getattr(model.graph, values).append(extra)
    with pytest.raises(ArtifactError):
        make_actor(model)


def test_a_refused_model_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    model = _model(make_policy(4, 8, 2)).SerializeToString()
    for broken in (
        b"garbage",
        model[:-20],
        model.replace(b"layer0.weight", b"layer0.\xffeight", 1),
    ):
        with pytest.raises(ArtifactError):
            OnnxActor(broken)
    assert capfd.readouterr() == ("", "")
