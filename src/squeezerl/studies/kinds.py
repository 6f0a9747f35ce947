"""The kinds of jobs. A version is raised when the same parameters come to give another result."""

from __future__ import annotations

from typing import Any

from squeezerl.errors import StudyError

VERSIONS = {"train": 2, "compress": 2, "evaluate": 2, "profile": 2}


def check_version(kind: str, version: int) -> None:
    """Raise a `StudyError` if this release does not do such jobs."""
    if VERSIONS.get(kind) != version:
        raise StudyError(
            f"a job of kind {kind!r}, version {version}; this release does "
            f"{', '.join(f'{name} {number}' for name, number in VERSIONS.items())}"
        )


def sizes(size: Any) -> dict[str, int]:
    """The bytes of an artifact as jobs' results hold them."""
    return {"file_bytes": int(size.file_bytes), "weight_bytes": int(size.weight_bytes)}
