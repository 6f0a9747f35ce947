"""Writing folders and files whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from squeezerl.artifacts.manifest import MANIFEST_NAME
from squeezerl.errors import OutputError

_LEFTOVER = re.compile(r"\..+\.(probe|new|old)-[0-9a-f]{8}")


def check_output(path: Path, *, force: bool, marker: str = MANIFEST_NAME) -> None:
    """Fail early where `new_folder` would fail late.

    Raises:
        OutputError: if the folder is not empty and not to be replaced, or cannot be made.
    """
    try:
        _check_replaceable(path, force=force, marker=marker)
        absolute = path.absolute()
        ancestor = next(p for p in (absolute, *absolute.parents) if p.exists())
        probe = _beside(absolute if ancestor == absolute else ancestor / path.name, "probe")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def _check_replaceable(path: Path, *, force: bool, marker: str) -> None:
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path}: exists and is not a folder")
    if os.path.ismount(path) or path.absolute() == Path.cwd():
        raise OutputError(f"{path}: cannot be replaced as a whole; name a folder inside it")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not force:
        raise OutputError(
            f"{path}: not empty; choose another folder, or `force=True` to replace it"
        )
    if not (path / marker).is_file():
        kind = "an artifact" if marker == MANIFEST_NAME else "one of ours"
        raise OutputError(f"{path}: not {kind} (no {marker}), and `force=True` replaces only those")


@contextmanager
def new_folder(path: Path, *, force: bool = False, marker: str = MANIFEST_NAME) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` if the block succeeds.

    If the block raises, nothing is left and what stood at `path` is untouched. What stands there is
    replaced, with `force`, only if it holds the file `marker`.

    Raises:
        OutputError: as `check_output`, or if the folder cannot be put in its place.
    """
    check_output(path, force=force, marker=marker)
    made = [parent for parent in path.absolute().parents if not parent.exists()]
    work = _beside(path, "new")
    try:
        work.mkdir(parents=True)
        yield work
        _put_in_place(work, path, force=force)
        made = []
    except OSError as error:
        # The block may fail for reasons of its own; only what concerns this folder is ours.
        ours = str(error.filename or "").startswith((str(work), str(path)))
        if not ours and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise OutputError(f"{path}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        for parent in made:
            with suppress(OSError):
                parent.rmdir()


def check_file(path: Path) -> None:
    """Fail early where `write_file` would fail late.

    Raises:
        OutputError: if there is anything but a file at `path`, or it cannot be written.
    """
    try:
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise OutputError(f"{path}: is a folder, or its folder does not exist")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: exists and is not a file")
        probe = _beside(path, "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; what stood there is replaced.

    Raises:
        OutputError: if it cannot be written.
    """
    check_file(path)
    work = _beside(path, "new")
    try:
        work.write_bytes(content)
        work.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        work.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename to what `remove_leftovers` takes away; removing can then be interrupted."""
    return path.rename(_beside(path, "old"))


def remove_leftovers(path: Path) -> None:
    """Take away what a killed process left unfinished in a folder and those inside it."""
    for leftover in [p for p in path.rglob(".*") if _LEFTOVER.fullmatch(p.name)]:
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _put_in_place(work: Path, path: Path, *, force: bool) -> None:
    if not (force and os.path.lexists(path)):
        if path.is_symlink() and not (path.is_dir() and any(path.iterdir())):
            path.unlink()
        elif path.exists():
            path.rmdir()  # fails if someone has put something there meanwhile
        work.rename(path)
        return
    old = _beside(path, "old")
    path.rename(old)
    try:
        work.rename(path)
    except BaseException:
        old.rename(path)
        raise
    if old.is_symlink():
        old.unlink()
    else:
        shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path, role: str) -> Path:
    """A hidden sibling: on the same file system, so that renaming is atomic."""
    path = path.absolute()
    return path.parent / f".{path.name}.{role}-{uuid.uuid4().hex[:8]}"
