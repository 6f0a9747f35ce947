"""A sound agent to be spoiled, and a trap that shows whether anything of it was executed."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path

import gymnasium as gym
import pytest
from checkpoint_files import ENV

from made_agents import make_agent


@pytest.fixture(scope="session")
def sound_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PPO agent on normalised observations, in the layout of rl-zoo."""
    made = make_agent("ppo-normalized", tmp_path_factory.mktemp("sound"))
    folder = made.path.parent / f"{ENV}_1"
    (folder / ENV).mkdir(parents=True)
    made.path.rename(folder / f"{ENV}.zip")
    (made.path.parent / "vecnormalize.pkl").rename(folder / ENV / "vecnormalize.pkl")
    (folder / ENV / "config.yml").write_text("normalize: true\n")
    return folder


@pytest.fixture
def folder(sound_folder: Path, tmp_path: Path) -> Path:
    """A copy of the sound agent's folder."""
    return shutil.copytree(sound_folder, tmp_path / sound_folder.name)


@pytest.fixture
def checkpoint(folder: Path) -> Path:
    """The zip of that copy."""
    return folder / f"{ENV}.zip"


@pytest.fixture
def vecnormalize(folder: Path) -> Path:
    """The normaliser of that copy."""
    return folder / ENV / "vecnormalize.pkl"


@pytest.fixture
def config(folder: Path) -> Path:
    """The settings of that copy."""
    return folder / ENV / "config.yml"


@pytest.fixture
def gym_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `gym` package for the pickles of 2021, made of Gymnasium's spaces."""
    package = types.ModuleType("gym")
    package.spaces = gym.spaces
    monkeypatch.setitem(sys.modules, "gym", package)
    monkeypatch.setitem(sys.modules, "gym.spaces", gym.spaces)
    for name in ("box", "dict", "discrete"):
        monkeypatch.setitem(sys.modules, f"gym.spaces.{name}", getattr(gym.spaces, name))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A folder that appears when a `Payload` is unpickled in earnest."""
    return tmp_path / "marker"
