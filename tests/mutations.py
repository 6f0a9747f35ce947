"""Spoiled copies of a file, for tests of readers that must survive anything."""

from __future__ import annotations

import io
import resource
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from squeezerl import load_agent
from squeezerl.errors import SqueezeRLError

_ALLOWED = 300 * 2**20


def mutations(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Copies with bytes changed, cut out, doubled or cut off."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        changed = bytearray(content)
        for _ in range(int(rng.integers(1, 5))):
            start = int(rng.integers(len(changed)))
            length = int(rng.integers(1, 9))
            match rng.integers(4):
                case 0:
                    changed[start : start + length] = rng.bytes(length)
                case 1:
                    del changed[start : start + length]
                case 2:
                    changed[start:start] = changed[start : start + 40 * length]
                case 3:
                    del changed[start if rng.random() < 0.2 else len(changed) - length :]
        yield bytes(changed)


def survive_mutations(sound: Path, count: int = 200) -> int:
    """Load so many spoiled copies; each is an agent or one of our errors. How many were refused.

    Nothing may be left behind in the folder, and no copy may take much memory.
    """
    refused, before = 0, _most_bytes()
    spoiled = sound.with_name(f"spoiled{sound.suffix}")
    for content in mutations(sound.read_bytes(), count):
        spoiled.write_bytes(content)
        try:
            load_agent(spoiled)
        except SqueezeRLError as error:
            refused += str(spoiled) in str(error)
    spoiled.unlink()
    assert [file.name for file in sound.parent.iterdir()] == [sound.name]
    assert _most_bytes() - before < _ALLOWED
    return refused


def survive_mutations_of_a_folder(folder: Path, count: int = 200) -> int:
    """The same with every file of an agent's folder in turn, and with what its zip holds.

    Bytes that are changed inside of a zip have a sound checksum.
    """
    refused, before = 0, _most_bytes()
    sound = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    zipped = next(path for path in sound if path.suffix == ".zip")
    with zipfile.ZipFile(zipped) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    places: list[Path | str] = [*sound, "data", "policy.pth"]
    for number, place in enumerate(places):
        content = sound[place] if isinstance(place, Path) else members[place]
        for changed in mutations(content, count // len(places), seed=number):
            path, spoiled = zipped, changed
            if isinstance(place, Path):
                path = place
            else:
                spoiled = _zip(members | {place: changed})
            path.write_bytes(spoiled)
            try:
                load_agent(folder)
            except SqueezeRLError as error:
                refused += str(folder) in str(error)
            path.write_bytes(sound[path])
    assert {path for path in folder.rglob("*") if path.is_file()} == set(sound)
    assert _most_bytes() - before < _ALLOWED
    return refused


def _zip(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def _most_bytes() -> int:
    """The most memory that the process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
