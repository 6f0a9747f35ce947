from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from made_agents import MadeAgent
from onnx_runner import torch_actions
from small_policies import (
    QUANTIZATIONS,
    Floats,
    demo_observations,
    demo_policy,
    make_actor,
    make_policy,
    random_observations,
)
from squeezerl.agents.load import load_agent
from squeezerl.errors import ArtifactError, MeasurementError, UnsupportedPolicyError
from squeezerl.methods.compress import compress
from squeezerl.methods.specs import Spec, StructuredPruning
from squeezerl.network.policy import Policy
from squeezerl.network.state import save_policy
from squeezerl.runtimes.bare import ort, sb3, torch_eager
from squeezerl.runtimes.bare.policy import RUNTIMES, module_name
from squeezerl.runtimes.onnx_actor import OnnxActor, acts_row_by_row

SPECS: dict[str, tuple[Spec, ...]] = {
    "float": (),
    "pruned": (StructuredPruning(ratio=0.3),),
} | {name: (spec,) for name, spec in QUANTIZATIONS.items()}


def _ort(folder: Path, policy: Policy, *specs: Spec) -> tuple[Any, OnnxActor]:
    """A policy in bare ONNX Runtime, and the actor that is deployed."""
    model = compress(policy, specs, observations=demo_observations()).model
    (folder / "policy.onnx").write_bytes(model.SerializeToString())
    options = {"row_by_row": acts_row_by_row(model)}
    return ort.load(folder / "policy.onnx", threads=1, options=options), make_actor(model)


def _torch(folder: Path, policy: Policy, device: str = "cpu") -> Any:
    save_policy(policy, folder / "policy.pt")
    return torch_eager.load(folder / "policy.pt", threads=1, options={"device": device})


def _sb3(folder: Path, policy: Policy, algorithm: str = "ppo") -> Any:
    save_policy(policy, folder / "policy.pt")
    return sb3.load(folder / "policy.pt", threads=1, options={"algorithm": algorithm})


def _batches(observations: Floats, size: int) -> list[Floats]:
    return [
        np.ascontiguousarray(observations[start : start + size])
        for start in range(0, 5 * size, size)
    ]


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("name", SPECS)
def test_onnx_runtime_acts_as_the_deployed_artifact_does(
    name: str, batch: int, tmp_path: Path
) -> None:
    bare, actor = _ort(tmp_path, demo_policy(), *SPECS[name])
    for observations in _batches(demo_observations(), batch):
        before = observations.copy()
        actions, expected = bare.act(observations), actor.act(observations)
        assert (actions.shape, actions.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(observations, before)


@pytest.mark.parametrize("name", ["ptdq", "ptdq-naive"])
def test_a_dynamically_quantized_batch_is_run_row_by_row(name: str, tmp_path: Path) -> None:
    bare, actor = _ort(tmp_path, demo_policy(), *SPECS[name])
    observations = np.ascontiguousarray(demo_observations()[::20])
    rows = np.concatenate([bare.act(row[None]) for row in observations])
    np.testing.assert_array_equal(bare.act(observations), rows)
    np.testing.assert_array_equal(actor.act(observations), rows)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("load", [_torch, _sb3])
def test_torch_and_sb3_act_as_the_policy_does(load: Any, batch: int, tmp_path: Path) -> None:
    bare = load(tmp_path, demo_policy())
    for observations in _batches(demo_observations(), batch):
        actions, expected = bare.act(observations), torch_actions(demo_policy(), observations)
        assert (type(actions), actions.shape, actions.dtype) == (
            np.ndarray, expected.shape, expected.dtype,
        )  # fmt: skip
        np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 5])
def test_all_runtimes_agree_on_any_agent(made_agent: MadeAgent, batch: int, tmp_path: Path) -> None:
    policy = load_agent(made_agent.path).policy
    observations = made_agent.observations(batch).astype(np.float32)
    (tmp_path / "policy.onnx").write_bytes(compress(policy).model.SerializeToString())
    row_by_row = acts_row_by_row(compress(policy).model)
    bare = ort.load(tmp_path / "policy.onnx", threads=1, options={"row_by_row": row_by_row})
    expected = torch_actions(policy, observations)
    np.testing.assert_allclose(bare.act(observations), expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(_torch(tmp_path, policy).act(observations), expected)


@pytest.mark.parametrize("head", ["clip", "tanh", "argmax"])
def test_shapes_of_any_policy_come_out(head: Any, tmp_path: Path) -> None:
    policy = make_policy(6, 16, 3, head=head, observation_shape=(3, 2))
    observations = random_observations(policy, 4)
    expected = torch_actions(policy, observations)
    model = compress(policy).model
    (tmp_path / "policy.onnx").write_bytes(model.SerializeToString())
    bare = ort.load(tmp_path / "policy.onnx", threads=1, options={"row_by_row": False})
    algorithm = "sac" if head == "tanh" else "ppo"
    for runtime in (bare, _torch(tmp_path, policy), _sb3(tmp_path, policy, algorithm)):
        actions = runtime.act(observations)
        assert (actions.shape, actions.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 8])
def test_onnx_runtime_works_in_the_two_ends_of_its_largest_layer(
    batch: int, tmp_path: Path
) -> None:
    policy = make_policy(6, 64, 32, 2, normalized=False)
    bare, _ = _ort_small(tmp_path, policy)
    # 64 numbers in and 32 out of the second layer; or 64 in and out of the first activation,
    # unless that is fused with its layer.
    working = bare.working_bytes(random_observations(policy, batch))
    assert working in (batch * 4 * (64 + 32), batch * 4 * (64 + 64))


def _ort_small(folder: Path, policy: Policy, *specs: Spec) -> tuple[Any, OnnxActor]:
    observations = random_observations(policy, 100)
    model = compress(policy, specs, observations=observations).model
    (folder / "policy.onnx").write_bytes(model.SerializeToString())
    options = {"row_by_row": acts_row_by_row(model)}
    return ort.load(folder / "policy.onnx", threads=1, options=options), make_actor(model)


def test_a_batch_that_is_run_row_by_row_works_in_one_row_s_memory(tmp_path: Path) -> None:
    policy = make_policy(6, 64, 32, 2)
    bare, _ = _ort_small(tmp_path, policy, QUANTIZATIONS["ptdq"])
    one, eight = (bare.working_bytes(random_observations(policy, n)) for n in (1, 8))
    assert one == eight
    assert 64 + 32 <= one <= 4 * 4 * (64 + 64)


@pytest.mark.parametrize("load", [_torch, _sb3])
def test_torch_works_in_more_memory_for_more_observations(load: Any, tmp_path: Path) -> None:
    policy = make_policy(6, 64, 32, 2)
    bare = load(tmp_path, policy)
    one, eight = (bare.working_bytes(random_observations(policy, n)) for n in (1, 100))
    assert 4 * 64 <= one <= 100 * 4 * 64
    assert eight >= 100 * 4 * 64


def test_working_memory_leaves_no_file_and_changes_no_action(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare, _ = _ort(tmp_path, demo_policy())
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    observations = np.ascontiguousarray(demo_observations()[:1])
    before = bare.act(observations)
    bare.working_bytes(observations)
    np.testing.assert_array_equal(bare.act(observations), before)
    assert list(work.iterdir()) == []


def test_processes_on_the_cpu_hold_nothing_on_a_gpu(tmp_path: Path) -> None:
    policies = (_ort(tmp_path, demo_policy())[0], _torch(tmp_path, demo_policy()),
                _sb3(tmp_path, demo_policy()))  # fmt: skip
    assert [policy.gpu_memory() for policy in policies] == [None, None, None]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an NVIDIA GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="torch sees no NVIDIA GPU"):
        _torch(tmp_path, demo_policy(), device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_acts_as_the_policy_does_and_tells_its_memory(tmp_path: Path) -> None:
    bare = _torch(tmp_path, demo_policy(), device="cuda")
    observations = np.ascontiguousarray(demo_observations()[:5])
    actions = bare.act(observations)
    assert isinstance(actions, np.ndarray)
    np.testing.assert_allclose(actions, torch_actions(demo_policy(), observations), atol=1e-4)
    memory = bare.gpu_memory()
    assert memory["reserved"] >= memory["allocated"] >= 4 * (17 * 128 + 128 * 128 + 128 * 6)
    assert bare.working_bytes(observations) >= 5 * 4 * 128


@pytest.mark.parametrize("algorithm", ["nope", "PPO", "sac"])
def test_what_sb3_cannot_run_is_refused(algorithm: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedPolicyError):
        _sb3(tmp_path, demo_policy(), algorithm)


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_policy_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "policy.pt").write_bytes(content)
    for module, options in ((torch_eager, {"device": "cpu"}), (sb3, {"algorithm": "ppo"})):
        with pytest.raises(ArtifactError):
            module.load(tmp_path / "policy.pt", threads=1, options=options)


def test_every_runtime_has_a_module() -> None:
    modules = [module_name(runtime, "ppo") for runtime in RUNTIMES]
    names = [module.rpartition(".")[2] for module in modules]
    assert names == ["ort", "torch_eager", "torch_eager", "sb3"]
    assert all(hasattr(importlib.import_module(module), "load") for module in modules)


@pytest.mark.parametrize("algorithm", ["trpo", "tqc", "qrdqn"])
def test_algorithms_of_sb3_contrib_import_it_too(algorithm: str, tmp_path: Path) -> None:
    module = importlib.import_module(module_name("sb3", algorithm))
    assert module.__name__.endswith("sb3_contrib")
    policy = make_policy(4, 8, 2, head={"trpo": "clip", "tqc": "tanh"}.get(algorithm, "argmax"))  # type: ignore[arg-type]
    save_policy(policy, tmp_path / "policy.pt")
    bare = module.load(tmp_path / "policy.pt", threads=1, options={"algorithm": algorithm})
    observations = random_observations(policy, 5)
    np.testing.assert_allclose(
        bare.act(observations), torch_actions(policy, observations), rtol=0, atol=1e-5
    )
