"""A sound artifact of each kind, and a copy of one to be spoiled."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from small_policies import make_artifact, make_network

RECIPES = {
    "float": "float",
    "pruned": "prune:l2:0.25",
    "ptdq": "int8:dynamic",
    "ptsq": "int8:static",
    "pruned-ptsq": "prune:l2:0.25 | int8:static:keep=layer2",
}


@pytest.fixture(scope="session")
def sound_artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each of `RECIPES`; the policy is 5-12-8-2."""
    parent = tmp_path_factory.mktemp("artifacts")
    for name, recipe in RECIPES.items():
        make_artifact(make_network(5, 12, 8, 2), recipe).save(parent / name)
    return {name: parent / name for name in RECIPES}


@pytest.fixture(params=list(RECIPES))
def any_folder(
    request: pytest.FixtureRequest, sound_artifacts: dict[str, Path], tmp_path: Path
) -> Path:
    """A copy of each artifact in turn."""
    return shutil.copytree(sound_artifacts[request.param], tmp_path / "artifact")


@pytest.fixture
def int8_folder(sound_artifacts: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the dynamically quantized artifact."""
    return shutil.copytree(sound_artifacts["ptdq"], tmp_path / "artifact")
