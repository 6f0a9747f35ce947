from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_runner import onnx_actions, rows_alone
from random_networks import integer_networks, networks
from runtime_contract import INHERITED, RuntimeContract
from small_policies import (
    QUANTIZATIONS,
    compress,
    demo_network,
    demo_observations,
    make_network,
    random_observations,
)
from squeezerl.agents.load import load_agent
from squeezerl.errors import CompilerError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import calibrate, evaluate
from squeezerl.formats.base import FORMATS
from squeezerl.host import compiler
from squeezerl.network.activations import ACTIVATIONS
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network
from squeezerl.runtimes.native import NativeActor, NativeRuntime, levels
from squeezerl.runtimes.onnx_runtime import load_network

SPECIAL = np.float32([np.nan, np.inf, -np.inf, 3e38, -3e38, 4e9, -4e9, 1e-40, 0.0, -0.0])


class TestNative(RuntimeContract):
    runtime = NativeRuntime()
    recipes = (
        *("float", "prune:l2:0.3", "int4", "bits:2", "bits:ternary"),
        *QUANTIZATIONS.values(),
    )
    refused = ()
    runs_rows_at_once = False

    @INHERITED
    @given(network=st.one_of(networks(), integer_networks()))
    def test_every_level_of_instructions_gives_the_same_bits(self, network: Network) -> None:
        observations = random_observations(network, 20)
        observations[10:].flat[::3] = np.resize(SPECIAL, observations[10:].size)[::3]
        expected = NativeActor(network, level="portable").act(observations)
        for level in levels()[1:]:
            actions = NativeActor(network, level=level).act(observations)
            np.testing.assert_array_equal(actions, expected, level)

    @settings(INHERITED, max_examples=60)
    @given(
        widths=st.lists(st.sampled_from([1, 2, 7, 15, 16, 17, 33, 255]), min_size=2, max_size=5),
        activation=st.sampled_from([*ACTIVATIONS]),
        recipe=st.sampled_from(["float", *QUANTIZATIONS.values()]),
        head=st.sampled_from(["clip", "tanh", "argmax"]),
        normalized=st.booleans(),
    )
    def test_widths_of_all_kinds(
        self, widths: list[int], activation: str, recipe: str, head: Any, normalized: bool
    ) -> None:
        network = make_network(*widths, activation=activation, head=head, normalized=normalized)
        network = compress(network, recipe)
        observations = random_observations(network, 20)
        actions = NativeActor(network).act(observations)
        portable = NativeActor(network, level="portable").act(observations)
        np.testing.assert_array_equal(actions, portable)
        expected = act(network, observations)
        assert (actions.shape, actions.dtype) == (expected.shape, expected.dtype)
        if head != "argmax":
            # A tanh that differs in its last bit can be rounded to the next integer.
            wrong = np.abs(actions - expected) > 1e-5
            assert wrong.mean() <= (0.1 if recipe != "float" else 0)

    def test_the_integers_are_those_of_onnx_runtime_to_the_bit(self) -> None:
        for recipe in ("int8:static", "int8:dynamic", "int8:dynamic:per_channel=no"):
            network = compress(demo_network(), recipe, demo_observations())
            expected = rows_alone(FORMATS.get("onnx").write(network), demo_observations())
            np.testing.assert_array_equal(NativeActor(network).act(demo_observations()), expected)

    @pytest.mark.parametrize("recipe", ["int8:static", "int8:static:per_channel=no", "bits:8"])
    def test_not_one_of_many_rows_differs_from_onnx_runtime(self, recipe: str) -> None:
        # Sums that became integers by a multiplication and a division differed in two rows of
        # 20,000: ONNX Runtime multiplies once.
        rng = np.random.default_rng(0)
        for activation in ("ReLU", "LeakyReLU"):
            network = compress(make_network(17, 64, 48, 6, activation=activation), recipe)
            observations = rng.normal(size=(50_000, 17)).astype(np.float32)
            expected = onnx_actions(FORMATS.get("onnx").write(network), observations)
            np.testing.assert_array_equal(NativeActor(network).act(observations), expected)
            np.testing.assert_array_equal(act(network, observations[:5000]), expected[:5000])

    @pytest.mark.parametrize("head", ["clip", "tanh", "argmax"])
    @pytest.mark.parametrize("recipe", ["float", "int8:static", "int8:dynamic"])
    def test_special_numbers_give_what_onnx_runtime_gives(self, recipe: str, head: Any) -> None:
        for activation in ACTIVATIONS:
            network = make_network(5, 8, 8, 3, head=head, activation=activation)
            network = compress(network, recipe)
            rng = np.random.default_rng(0)
            observations = random_observations(network, 64)
            places = rng.random(observations.shape) < 0.3
            observations[places] = rng.choice(SPECIAL, places.sum())
            actions = NativeActor(network).act(observations)
            expected = rows_alone(FORMATS.get("onnx").write(network), observations)
            assert (np.isnan(actions) == np.isnan(expected)).all()
            if head == "argmax":
                assert actions.min() >= 0
                assert actions.max() < 3
            same = np.isclose(actions, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
            assert same.mean() > 0.97

    @pytest.mark.agents
    @pytest.mark.parametrize("recipe", ["int8:static", "bits:4"])
    def test_a_published_agent_earns_in_it_what_it_earns_in_onnx_runtime(
        self, recipe: str, published_agents: Path
    ) -> None:
        # Every action has the same bits, so that even this chaotic environment takes the same way.
        environment = Environment.find("HalfCheetah-v4", {"max_episode_steps": 150})
        original = load_agent(published_agents / "ppo" / "HalfCheetah-v3_1").network
        seen, _ = calibrate(load_network(original), environment, episodes=2)
        network = compress(original, recipe, seen)
        expected, found = (
            evaluate(actor, environment, episodes=8).episodes
            for actor in (load_network(network), NativeActor(network))
        )
        assert found == expected
        assert found != evaluate(NativeActor(original), environment, episodes=8).episodes

    def test_threads_can_share_an_actor(self) -> None:
        network = compress(make_network(17, 64, 64, 6), "int8:static")
        actor, observations = self.load(network), random_observations(network, 2000)
        expected = act(network, observations)
        wrong: list[int] = []

        def work() -> None:
            for start in range(0, 2000, 100):
                part = slice(start, start + 100)
                wrong.append(int((actor.act(observations[part]) != expected[part]).sum()))
                wrong.append(int((actor.act(observations[:1]) != expected[:1]).sum()))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(wrong) == 0

    def test_the_time_in_c_can_be_asked_for(self) -> None:
        actor = NativeActor(demo_network())
        assert actor.seconds(demo_observations(), 10) > 0


def _python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )


COMPILE = """
from pathlib import Path
from squeezerl.host.compiler import compiled
import ctypes
print(ctypes.CDLL(str(compiled("int answer(void) { return 42; }", ("-shared", "-fPIC")))).answer())
"""


def test_processes_that_compile_at_once_get_the_same_file(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COMPILE],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
        )
        for _ in range(4)
    ]
    assert [process.communicate()[0] for process in processes] == ["42\n"] * 4
    assert [path.suffix for path in (tmp_path / "squeezerl").iterdir()] == [".so"]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "squeezerl").write_text("a file in its place", encoding="utf-8")
    assert _python(COMPILE, XDG_CACHE_HOME=str(tmp_path)).stdout == "42\n"


def test_without_a_compiler_both_ways_to_one_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)
    compiler.find_compiler.cache_clear()
    try:
        with pytest.raises(CompilerError, match=r"apt install gcc.*squeezerl\[zig\]"):
            compiler.find_compiler()
        assert "squeezerl[zig]" in str(NativeRuntime().problem())
    finally:
        compiler.find_compiler.cache_clear()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'disk is full' >&2; exit 3", "status 3.*disk is full"),
        ("kill -9 $$", "status -9.*it says nothing"),
    ],
)
def test_what_a_failing_compiler_says_is_passed_on(
    script: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "cc"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    with pytest.raises(CompilerError, match=f"(?s){message}"):
        compiler.compile_c("int x;", tmp_path / "x.so", (str(path),), ())
    assert [p.name for p in tmp_path.iterdir()] == ["cc"]
