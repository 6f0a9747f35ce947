"""int8 files act right in anybody's hands: in a default session, on any processor.

ONNX Runtime's kernels for int8 weights saturate on x86-64 processors without VNNI. QEMU emulates
such a processor here, in one process for all files; it runs batches where that acts as rows do.
"""

from __future__ import annotations

import dataclasses
import functools
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from made_agents import PUBLISHED_AGENTS
from onnx_runner import reference_actions, rows_alone
from small_policies import (
    QUANTIZATIONS,
    Floats,
    compress,
    demo_network,
    demo_observations,
    make_network,
    random_observations,
    roundings_seen,
)
from squeezerl.agents.load import load_agent
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import calibrate
from squeezerl.formats.base import FORMATS
from squeezerl.methods.base import Given
from squeezerl.methods.integers import fold_feature_ranges, symmetric_rounding
from squeezerl.methods.trained_int8 import QuantizationAwareTraining
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network
from squeezerl.runtimes.onnx_runtime import load_network

pytestmark = pytest.mark.slow

OBSERVATIONS = 1000
RANDOM = {
    "random-tanh": functools.partial(make_network, 17, 64, 7, head="tanh", activation="LeakyReLU"),
    "random-argmax": functools.partial(make_network, 7, 255, 4, head="argmax", activation="Tanh"),
    "random-wide": functools.partial(
        make_network, 255, 64, 2, normalized=False, bounds=([-2, 0], [3, 0.5])
    ),
}
PUBLISHED = {f"{p.parent.name}-{p.name}": p for p in sorted(PUBLISHED_AGENTS.glob("*/*_1"))}
AGENTS = [
    "demo",
    *RANDOM,
    *(pytest.param(name, marks=pytest.mark.agents) for name in PUBLISHED),
]
if not PUBLISHED:
    AGENTS.append(
        pytest.param("published", marks=pytest.mark.skip(reason="the published agents are absent"))
    )

EMULATED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
import onnxruntime
for model in sorted(Path(sys.argv[2]).glob("*.onnx")):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # several would wait for each other in loops
    session = onnxruntime.InferenceSession(model, options)
    batches = np.load(model.with_suffix(".npy"))
    actions = [session.run(None, {"observation": batch})[0] for batch in batches]
    np.save(model.with_suffix(".actions.npy"), np.concatenate(actions))
"""


@dataclass(frozen=True)
class File:
    """A file in int8, the network in it, and what the agent observes."""

    network: Network
    model: bytes
    observations: Floats


@functools.cache
def _agent(name: str) -> tuple[Network, Floats]:
    """A float network, and observations: its own where there is an environment."""
    if name == "demo":
        return demo_network(), demo_observations()
    if name in RANDOM:
        network = RANDOM[name]()
        return network, random_observations(network, OBSERVATIONS)
    agent = load_agent(PUBLISHED[name])
    short = {**agent.source.env_kwargs, "max_episode_steps": 200}
    environment = Environment.find(str(agent.source.env_id), short)
    actor = load_network(agent.network)
    observations, _ = calibrate(actor, environment, episodes=10, count=OBSERVATIONS)
    return agent.network, observations


def _trained(network: Network, observations: Floats) -> Network:
    """As after `squeezerl train --qat int8`: each feature of the observation has its own range."""
    seen: dict[str, Floats] = {}
    act(network, observations, seen.__setitem__)
    features = seen[network.input_of(0)]
    low, high = features.min(axis=0), features.max(axis=0)
    half_range = np.maximum((high - low) / 2, np.float32(1e-6))
    folded = fold_feature_ranges(network, (low + high) / 2, half_range)
    roundings = roundings_seen(folded, observations) | {"layer0": symmetric_rounding(1.0)}
    return QuantizationAwareTraining().apply(folded, Given(roundings=roundings))


@functools.cache
def _file(agent: str, recipe: str) -> File:
    network, observations = _agent(agent)
    quantized = (
        _trained(network, observations)
        if recipe == "qat"
        else compress(network, QUANTIZATIONS[recipe], observations)
    )
    return File(quantized, FORMATS.get("onnx").write(quantized), observations)


def _assert_same(actual: Any, expected: Any, file: File, *, share: float = 0.98) -> None:
    """The same actions, but for where a last bit of difference became a step of a rounding.

    A saturated tanh is prone to it: the ends of its range lie 127.5 steps from 0.
    """
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    if file.network.head.is_discrete:
        assert (actual == expected).mean() > 0.99
        return
    size = file.network.head.high - file.network.head.low
    error = (abs(actual - expected) / size.reshape(file.network.action_shape)).max(axis=1)
    has_tanh = any(layer.activation == "Tanh" for layer in file.network.layers)
    assert (error < 1e-5).mean() > (min(0.9, share) if has_tanh else share)
    assert error.max() < 0.02


@pytest.mark.parametrize("recipe", QUANTIZATIONS)
@pytest.mark.parametrize("agent", AGENTS)
def test_a_default_session_acts_as_our_actor_and_as_the_arithmetic_says(
    agent: str, recipe: str
) -> None:
    file = _file(agent, recipe)
    observations = file.observations
    assert len(observations) == OBSERVATIONS
    actions = rows_alone(file.model, observations)
    np.testing.assert_array_equal(load_network(file.network).act(observations), actions)
    _assert_same(actions, act(file.network, observations), file)
    # The reference adds the products up in floats, and not in integers.
    few = _fewer_where_one_by_one(file)
    _assert_same(actions[: len(few)], reference_actions(file.model, few), file, share=0.8)


def _fewer_where_one_by_one(file: File) -> Floats:
    """Its observations; an eighth of them if it must take them one by one, which takes long."""
    return file.observations[: OBSERVATIONS // 8 if file.network.is_dynamic else None]


# The emulated processor.


def _as_int8(model: bytes) -> bytes:
    """The same numbers, stored as int8 with zero point 0."""
    graph = onnx.load_model_from_string(model)
    for tensor in graph.graph.initializer:
        if tensor.name.endswith((".weight_quantized", ".weight_zero_point")):
            array = (numpy_helper.to_array(tensor).astype(int) - 128).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return graph.SerializeToString()


def _emulate(models: dict[str, File], folder: Path) -> dict[str, npt.NDArray[Any]]:
    """The actions of each model on a processor without VNNI."""
    qemu = shutil.which("qemu-x86_64")
    if qemu is None or platform.machine() != "x86_64":
        pytest.skip("needs qemu-x86_64 (package qemu-user) on an x86-64 machine")
    for name, file in models.items():
        (folder / f"{name}.onnx").write_bytes(file.model)
        rows = _fewer_where_one_by_one(file)
        np.save(folder / f"{name}.npy", np.split(rows, len(rows) if file.network.is_dynamic else 1))
    python = Path(sys.executable).resolve()
    packages = str(Path(onnxruntime.__file__).parents[1])
    run = subprocess.run(
        [qemu, "-cpu", "Haswell-noTSX", python, "-c", EMULATED, packages, folder],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return {name: np.load(folder / f"{name}.actions.npy") for name in models}


def test_a_processor_without_vnni_acts_the_same(tmp_path: Path) -> None:
    models = {
        f"{agent}.{recipe}": _file(agent, recipe)
        for agent in ["demo", *RANDOM, *PUBLISHED]
        for recipe in (("ptdq", "ptsq", "qat") if agent in PUBLISHED else QUANTIZATIONS)
    }
    as_int8 = {
        f"int8.{recipe}": dataclasses.replace(file, model=_as_int8(file.model))
        for recipe, file in ((recipe, models[f"demo.{recipe}"]) for recipe in ("ptdq", "ptsq"))
    }
    actions = _emulate(models | as_int8, tmp_path)
    for name, file in models.items():
        try:
            here = rows_alone(file.model, _fewer_where_one_by_one(file))
            _assert_same(actions[name], here, file)
        except AssertionError as error:
            error.add_note(name)
            raise
    # Files with int8 weights would have acted otherwise there, so the above shows something.
    for name, file in as_int8.items():
        right = act(file.network, _fewer_where_one_by_one(file))
        wrong = abs(actions[name] - right).max(axis=1) > 0.02
        assert wrong.mean() > 0.5
