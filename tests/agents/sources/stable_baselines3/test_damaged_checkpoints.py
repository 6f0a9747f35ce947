from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import pytest
from checkpoint_files import ENV, nothing_written, read_members, rebuilt_zip, write_members
from hypothesis import given, settings
from hypothesis import strategies as st

from mutations import survive_mutations_of_a_folder
from squeezerl import load_agent
from squeezerl.errors import SqueezeRLError
from squeezerl.network.network import Network

FLIPS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4)
Flips = list[tuple[float, int]]


@pytest.fixture(scope="module")
def sound(sound_folder: Path) -> Path:
    return sound_folder / f"{ENV}.zip"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "agent.zip"


def _flipped(content: bytes, flips: Flips) -> bytes:
    changed = bytearray(content)
    for place, byte in flips:
        changed[int(place * (len(changed) - 1))] ^= byte
    return bytes(changed)


def _loads_or_refuses(path: Path) -> Network | None:
    """Any other error than ours fails the test."""
    refusal = ""
    with nothing_written(path.parent):
        try:
            return load_agent(path).network
        except SqueezeRLError as error:
            refusal = str(error)
    assert path.name in refusal
    return None


@pytest.mark.slow
@settings(max_examples=100)
@given(kept=st.floats(0, 1, exclude_max=True))
def test_truncated_checkpoint_is_always_refused(sound: Path, scratch: Path, kept: float) -> None:
    content = sound.read_bytes()
    scratch.write_bytes(content[: int(kept * len(content))])
    assert _loads_or_refuses(scratch) is None


@pytest.mark.slow
@settings(max_examples=100)
@given(flips=FLIPS)
def test_flipped_bytes_of_the_zip_give_only_our_errors(
    sound: Path, scratch: Path, flips: Flips
) -> None:
    scratch.write_bytes(_flipped(sound.read_bytes(), flips))
    _loads_or_refuses(scratch)


@settings(max_examples=100)
@given(flips=FLIPS)
def test_flipped_bytes_of_the_directory_give_only_our_errors(
    sound: Path, scratch: Path, flips: Flips
) -> None:
    content = sound.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = archive.start_dir
    scratch.write_bytes(content[:start] + _flipped(content[start:], flips))
    _loads_or_refuses(scratch)


@pytest.mark.parametrize("name", ["data", "policy.pth"])
@settings(max_examples=150)
@given(flips=FLIPS)
def test_flipped_bytes_of_a_member_give_only_our_errors(
    sound: Path, scratch: Path, name: str, flips: Flips
) -> None:
    members = read_members(sound)
    write_members(scratch, members | {name: _flipped(members[name], flips)})
    _loads_or_refuses(scratch)


@settings(max_examples=150)
@given(flips=FLIPS)
def test_flipped_bytes_of_the_tensors_description_give_only_our_errors(
    sound: Path, scratch: Path, flips: Flips
) -> None:
    def describe(name: str, member: bytes) -> bytes:
        return _flipped(member, flips) if name.endswith("/data.pkl") else member

    members = read_members(sound)
    weights = rebuilt_zip(members["policy.pth"], change=describe)
    write_members(scratch, members | {"policy.pth": weights})
    _loads_or_refuses(scratch)


@pytest.mark.slow
@pytest.mark.agents
@pytest.mark.parametrize("name", ["ars/Hopper-v3_1", "her/FetchReach-v1_1", "tqc/FetchReach-v1_1"])
def test_spoiled_files_of_published_agents_give_only_our_errors(
    special_agents: Path, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(special_agents / name, tmp_path / "agent"))
    assert survive_mutations_of_a_folder(folder) > 50
