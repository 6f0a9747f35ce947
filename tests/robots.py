"""The policies of real robots in ../shared/robots."""

from __future__ import annotations

from pathlib import Path

import pytest

ROBOTS = Path(__file__).resolve().parents[2] / "shared" / "robots"


def robot(name: str) -> Path:
    """The file of that name; the test is skipped where it is absent."""
    if not (ROBOTS / name).is_file():
        pytest.skip(f"no {name} in ../shared/robots")
    return ROBOTS / name
