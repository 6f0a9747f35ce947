from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from example_files import ONE_WORKER, plugged, squeezerl, squeezerl_with
from hypothesis import strategies as st

from small_policies import compress, demo_network, make_network
from spec_contract import SpecContract
from squeezerl.errors import CompressionError
from squeezerl.methods.base import SPECS, Spec, parse_spec
from squeezerl.network.network import as_float
from squeezerl.search.candidates import default_recipes

pytestmark = pytest.mark.slow

STUDY = """
name: mine
agents: [{path: ppo.zip, env: Pendulum-v1}]
methods:
  - ptdq
  - lowrank: {percent: [70, 90]}
episodes: 4
"""


SHORT = ("--env-kwargs", "max_episode_steps:100")


class TestCustomMethod(SpecContract):
    required: ClassVar = {"ratio": 0.5}
    specs: ClassVar = st.floats(0.1, 0.9).map(lambda ratio: parse_spec(f"lowrank:{ratio!r}"))

    @pytest.fixture(autouse=True, scope="class")
    def plugin(self) -> Iterator[None]:
        with plugged("custom_method.py"):
            yield

    @property
    def spec(self) -> type[Spec]:  # type: ignore[override]
        return SPECS.get("lowrank")

    def test_its_factors_are_the_best_approximation_of_their_rank(self) -> None:
        before, after = demo_network(), compress(demo_network(), "lowrank:0.75")
        inner, outer = (as_float(layer.weight) for layer in after.layers[1:3])
        assert (inner.shape, outer.shape) == ((32, 128), (128, 32))
        weight = as_float(before.layers[1].weight).astype(np.float64)
        missing = np.linalg.svd(weight, compute_uv=False)[32:]
        error = np.linalg.norm(weight - outer.astype(np.float64) @ inner)
        np.testing.assert_allclose(error, np.linalg.norm(missing), rtol=1e-5)

    def test_a_policy_without_two_hidden_layers_is_refused(self) -> None:
        with pytest.raises(CompressionError, match="two hidden layers"):
            compress(make_network(4, 8, 2), "lowrank:0.5")

    def test_a_squeeze_tries_it(self) -> None:
        names = [recipe.name for recipe in default_recipes()]
        assert {"lowrank-60", "lowrank-90", "ptdq", "l2-50"} <= {*names}


def _squeezerl(folder: Path, *arguments: str) -> Any:
    return squeezerl_with("custom_method.py", folder, *arguments)


@pytest.mark.usefixtures("fewest_processes")
def test_it_works_in_compress_evaluate_and_profile(tmp_path: Path) -> None:
    recipe = "lowrank:0.7 | int8:static"
    manifest = _squeezerl(tmp_path, "compress", "demo", "--recipe", recipe, *SHORT, "-o", "small")
    assert manifest["recipe"] == recipe
    assert [layer["out_features"] for layer in manifest["layers"]] == [128, 38, 128, 6]
    few = ("--episodes", "3", "--max-episodes", "3", *SHORT)
    found = _squeezerl(tmp_path, "evaluate", "small", "--against", "demo", *few)
    assert found["retention"]["normalized"] > 0.5
    quick = ("--runtime", "ort", "--seconds", "0.1", "--precision", "1", "--energy", "none")
    (row,) = _squeezerl(tmp_path, "profile", "small", *quick, *SHORT)["rows"]
    assert row["latency_s"]["median"] > 0


def test_it_works_in_a_squeeze(tmp_path: Path) -> None:
    recipes = ("--recipe", "lowrank:0.7", "--recipe", "l2:0.5")
    few = ("--episodes", "8", "--retain", "0.5", "--no-measure", *SHORT, *ONE_WORKER)
    result = _squeezerl(tmp_path, "squeeze", "demo", *recipes, *few, "-o", "out")
    assert (result["chosen"]["method"], result["chosen"]["ratio"]) == ("lowrank", 0.7)


def test_it_works_in_a_study_and_its_report(small_agent: Path, tmp_path: Path) -> None:
    shutil.copy(small_agent, tmp_path / "ppo.zip")
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    _squeezerl(tmp_path, "study", "run", "study.yaml", *ONE_WORKER)
    # Its results say how to show it, so the report needs no plugin.
    squeezerl(tmp_path, "study", "report", "mine", "-o", "report")
    report = tmp_path / "report"
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "low rank 70 %" in text
    assert "low-rank factors" in text
    figure = (report / "figures" / "retention.svg").read_text(encoding="utf-8")
    assert "#56b4e9" in figure  # its colour
