"""A sound artifact of each kind, and a copy of one to be spoiled."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from small_policies import SOURCE, make_policy, random_observations
from squeezerl.artifacts.write import write_artifact
from squeezerl.methods.compress import compress
from squeezerl.methods.specs import DynamicQuantization, StaticQuantization, StructuredPruning

PRUNING = StructuredPruning(ratio=0.25)
SEQUENCES = {
    "float": (),
    "pruned": (PRUNING,),
    "ptdq": (DynamicQuantization(),),
    "ptsq": (StaticQuantization(),),
    "pruned-ptsq": (PRUNING, StaticQuantization(keep=("layer2",))),
}


@pytest.fixture(scope="session")
def sound_artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each of `SEQUENCES`; the policy is 5-12-8-2."""
    parent = tmp_path_factory.mktemp("artifacts")
    policy = make_policy(5, 12, 8, 2)
    observations = random_observations(policy, 100)
    for name, specs in SEQUENCES.items():
        compressed = compress(policy, specs, observations=observations)
        write_artifact(compressed, SOURCE, parent / name)
    return {name: parent / name for name in SEQUENCES}


@pytest.fixture(params=list(SEQUENCES))
def any_folder(
    request: pytest.FixtureRequest, sound_artifacts: dict[str, Path], tmp_path: Path
) -> Path:
    """A copy of each artifact in turn."""
    return shutil.copytree(sound_artifacts[request.param], tmp_path / "artifact")


@pytest.fixture
def int8_folder(sound_artifacts: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the dynamically quantized artifact."""
    return shutil.copytree(sound_artifacts["ptdq"], tmp_path / "artifact")
