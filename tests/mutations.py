"""Spoiled copies of a file, for tests of readers that must survive anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from squeezerl import load_agent
from squeezerl.errors import SqueezeRLError


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

    Nothing may be left behind in the folder.
    """
    refused = 0
    spoiled = sound.with_name(f"spoiled{sound.suffix}")
    for content in mutations(sound.read_bytes(), count):
        spoiled.write_bytes(content)
        try:
            load_agent(spoiled)
        except SqueezeRLError as error:
            refused += str(spoiled) in str(error)
    spoiled.unlink()
    assert [file.name for file in sound.parent.iterdir()] == [sound.name]
    return refused
