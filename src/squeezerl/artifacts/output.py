"""Writing folders whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from squeezerl.errors import OutputError


def check_output(path: Path, *, force: bool) -> None:
    """Fail early where `new_folder` would fail late.

    Raises:
        OutputError: if the folder is not empty and not to be replaced, or cannot be made.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path}: exists and is not a folder")
    if path.is_dir() and any(path.iterdir()) and not force:
        raise OutputError(f"{path}: not empty; choose another folder, or --force to replace it")
    probe = _beside(path, "probe")
    try:
        probe.mkdir(parents=True)
        probe.rmdir()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


@contextmanager
def new_folder(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` if the block succeeds.

    If the block raises, nothing is left and what stood at `path` is untouched.

    Raises:
        OutputError: as `check_output`.
    """
    check_output(path, force=force)
    work = _beside(path, "new")
    work.mkdir(parents=True)
    try:
        yield work
        old = _beside(path, "old")
        if path.exists():
            path.rename(old)
        work.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _beside(path: Path, role: str) -> Path:
    """A hidden sibling: on the same file system, so that renaming is atomic."""
    path = path.absolute()
    return path.parent / f".{path.name}.{role}-{uuid.uuid4().hex[:8]}"
