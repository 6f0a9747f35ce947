"""What the tests of a squeeze look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from squeezerl.search.result import SqueezeResult


@dataclass(frozen=True)
class Squeezed:
    """What a squeeze returned, where it wrote, and the progress that it reported."""

    result: SqueezeResult
    folder: Path
    progress: list[tuple[str, float]]
