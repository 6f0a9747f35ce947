from __future__ import annotations

import json
from pathlib import Path

import pytest

from made_agents import made_source
from squeezerl import load_agent
from squeezerl.agents.load import SOURCES, Agent
from squeezerl.errors import CheckpointError
from squeezerl.records import AgentSource, SourceFile, to_json


def test_what_no_source_recognises_is_described(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"1234")
    with pytest.raises(CheckpointError, match=r"weights\.bin: a file of 4 bytes; no known kind"):
        load_agent(tmp_path / "weights.bin")
    (tmp_path / "other.txt").write_text("")
    with pytest.raises(CheckpointError, match=r"a folder with other\.txt, weights\.bin") as caught:
        load_agent(tmp_path)
    for source in SOURCES:
        assert source.kind in str(caught.value)
        assert source.takes in str(caught.value)


def test_zip_without_a_checkpoint_is_not_recognised(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(CheckpointError, match="no known kind of agent"):
        load_agent(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["network.npz", "source.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04", None])
def test_damaged_saved_agent_is_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    load_agent("demo").save(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="not a saved agent, or damaged"):
        Agent.read(tmp_path)


def test_source_survives_json() -> None:
    source = made_source(env_kwargs={"a": [1, 2]})
    assert AgentSource.from_json(json.loads(json.dumps(source.to_json()))) == source


def test_hash_of_several_checkpoint_files_covers_all() -> None:
    def source(*hashes: str) -> AgentSource:
        files = tuple(SourceFile(role="checkpoint", name=h, sha256=h) for h in hashes)
        return AgentSource(
            kind="x", path="x", algorithm="", env_id=None, env_kwargs={}, files=files
        )

    assert source("a").sha256 == "a"
    assert len({source("a", "b").sha256, source("b", "a").sha256, source("a", "c").sha256}) == 3
    assert source("a").label == "x"
    assert to_json(source("a"))["files"][0]["role"] == "checkpoint"
