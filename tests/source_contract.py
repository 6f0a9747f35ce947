"""What every source of agents promises; tests of a source inherit this class."""

from __future__ import annotations

import hashlib
import os
import pickle
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_policies import random_observations
from squeezerl.agents.load import SOURCES, Agent, Source, load_agent
from squeezerl.errors import CheckpointError
from squeezerl.network.arithmetic import act


class _Payload:
    """Makes a folder when it is unpickled in earnest."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._marker),)


class SourceContract(ABC):
    """The promises of a source, for the sample that a subclass makes."""

    source: Source

    @abstractmethod
    def make_sample(self, folder: Path) -> Path:
        """Write a sound agent into an empty folder and return what a user would name."""

    @pytest.fixture
    def sample(self, tmp_path: Path) -> Path:
        folder = tmp_path / "sample"
        folder.mkdir()
        return self.make_sample(folder)

    def test_source_is_registered_under_its_kind(self) -> None:
        assert SOURCES.get(self.source.kind) is self.source
        assert self.source.takes

    def test_recognises_its_sample_and_nothing_else(self, sample: Path, tmp_path: Path) -> None:
        assert self.source.recognises(sample)
        (tmp_path / "empty").mkdir()
        (tmp_path / "notes.txt").write_text("nothing")
        for name in ("empty", "notes.txt", "absent"):
            assert not self.source.recognises(tmp_path / name)

    def test_agent_acts_in_the_shape_that_its_network_says(self, sample: Path) -> None:
        network = load_agent(sample).network
        actions = act(network, random_observations(network, 20))
        assert actions.shape == (20, *network.action_shape)
        assert np.isfinite(actions).all()

    def test_provenance_names_the_kind_and_each_file_with_its_hash(self, sample: Path) -> None:
        source = load_agent(sample).source
        assert (source.kind, source.path) == (self.source.kind, str(sample))
        assert source.files[0].role == "checkpoint"
        for file in source.files:
            content = self._find(sample, file.name).read_bytes()
            assert file.sha256 == hashlib.sha256(content).hexdigest()

    def test_saved_agent_is_the_same_agent(self, sample: Path, tmp_path: Path) -> None:
        agent = load_agent(sample)
        folder = tmp_path / "saved"
        folder.mkdir()
        agent.save(folder)
        again = Agent.read(folder)
        assert again.source == agent.source
        assert again.network.sha256 == agent.network.sha256

    @pytest.mark.parametrize("damage", ["empty", "first-half", "noise", "pickle"])
    def test_damaged_files_are_refused_and_not_executed(
        self, sample: Path, tmp_path: Path, damage: str
    ) -> None:
        marker = tmp_path / "marker"
        for file in load_agent(sample).source.files:
            path = self._find(sample, file.name)
            content = path.read_bytes()
            path.write_bytes(
                {
                    "empty": b"",
                    "first-half": content[: len(content) // 2],
                    "noise": np.random.default_rng(0).bytes(len(content)),
                    "pickle": pickle.dumps(_Payload(marker)),
                }[damage]
            )
            with pytest.raises(CheckpointError, match=file.name):
                load_agent(sample)
            assert not marker.exists()
            path.write_bytes(content)

    def _find(self, sample: Path, name: str) -> Path:
        return sample if sample.is_file() else next(sample.rglob(name))
