"""Recipes, runtimes and plugins on the command line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from command import invoke, run, the_object

from squeezerl import load_actor, load_agent, read_artifact
from squeezerl.methods.recipe import Recipe
from squeezerl.pipeline.make import make_artifact

pytestmark = pytest.mark.slow

CALIBRATION = ("--env-kwargs", "max_episode_steps:20")
PLUGIN = """\
from squeezerl.runtimes.base import RUNTIMES, Actor, Runtime


class Still(Actor):
    def act(self, observations, rows=None):
        import numpy as np

        return np.zeros((len(observations), *self.action_shape), dtype=np.float32)


class StillRuntime(Runtime):
    name = "still"

    def load(self, deployed, *, threads=1):
        return Still(deployed.network)


RUNTIMES.register("still", StillRuntime())
"""


@pytest.mark.parametrize(
    ("options", "recipe"),
    [
        (("--method", "ptdq"), "int8:dynamic"),
        (("--method", "ptsq"), "int8:static"),
        (("--method", "ptsq", "--naive"), "ptsq-naive"),
        (("--method", "l1", "--ratio", "0.3"), "prune:l1:0.3"),
        (("--method", "float"), "float"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_method_is_short_for_a_recipe(options: tuple[str, ...], recipe: str) -> None:
    for name, given in (("method", options), ("recipe", ("--recipe", recipe))):
        result = invoke("compress", "demo", *given, *CALIBRATION, "-o", name)
        assert result.exit_code == 0, result.stderr
    assert Path("method/policy.onnx").read_bytes() == Path("recipe/policy.onnx").read_bytes()
    assert Path("method/manifest.json").read_text() == Path("recipe/manifest.json").read_text()


def test_a_recipe_of_two_steps_prunes_and_then_quantizes() -> None:
    options = ("--recipe", "prune:l2:0.1 | int8:static", *CALIBRATION, "-o", "out", "--json")
    data = the_object(invoke("compress", "demo", *options).stdout)
    assert data["recipe"] == "prune:l2:0.1 | int8:static"
    assert [spec["kind"] for spec in data["specs"]] == ["prune", "int8:static"]
    assert [layer["out_features"] for layer in data["layers"]] == [115, 115, 6]  # 10 % of 128 is 13
    assert {layer["weight_dtype"] for layer in data["layers"]} == {"int8"}
    assert data["calibration"]["env_kwargs"] == {"max_episode_steps": 20}


def test_a_recipe_acts_as_in_the_library(own_folder: Path) -> None:
    assert invoke("compress", "demo", "--recipe", "l2:0.1 | ptdq", "-o", "out").exit_code == 0
    ours = read_artifact(own_folder / "out")
    theirs = make_artifact(load_agent("demo"), "prune:l2:0.1 | int8:dynamic")
    assert ours.manifest.recipe == theirs.manifest.recipe == Recipe.of("l2:0.1|ptdq").text
    observations = np.random.default_rng(0).normal(size=(20, 17)).astype(np.float32)
    np.testing.assert_array_equal(
        load_actor(ours).act(observations), load_actor(theirs).act(observations)
    )


def test_torch_plays_as_onnx_runtime_does() -> None:
    # Few steps: the simulator makes a large difference of the smallest one.
    short = ("--episodes", "4", "--env-kwargs", "max_episode_steps:5", "--json")
    returns = [
        the_object(invoke("evaluate", "demo", "--runtime", runtime, *short).stdout)["returns"]
        for runtime in ("ort", "torch")
    ]
    np.testing.assert_allclose(*returns, rtol=1e-3)
    assert returns[0] != [0, 0, 0, 0]


def test_torch_does_not_play_what_it_cannot(own_folder: Path) -> None:
    invoke("compress", "demo", "--method", "ptdq", "-o", "out")
    result = invoke("evaluate", "out", "--runtime", "torch", "--episodes", "2")
    assert result.exit_code == 2
    assert "runtime 'torch' cannot run this policy: " in result.stderr


def test_a_plugin_brings_a_runtime(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SQUEEZERL_PLUGINS", "")
    (own_folder / "still.py").write_text(PLUGIN)
    play = ("evaluate", "demo", "--runtime", "still", "--episodes", "2", "--json")
    refused = run(*play)
    assert refused.returncode == 2
    assert "unknown runtime 'still'; known are native, ort, sb3, torch" in refused.stderr
    played = run("--plugin", "still.py", *play, "--env-kwargs", "max_episode_steps:20")
    assert played.returncode == 0, played.stderr
    assert the_object(played.stdout)["episode_lengths"] == [20, 20]
