"""Where the files of jobs are: a folder on this machine, or anything that fsspec can reach."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from squeezerl.errors import ArtifactError, StudyError

# How much one job may leave, unpacked, and in how many files.
_MAX_BYTES = 2 * 2**30
_MAX_FILES = 10_000
_MAX_EXPANSION = 1_000
# How many unpacked folders the cache keeps, and how long it keeps one at least.
_MAX_CACHED = 256
_KEPT_SECONDS = 3600.0
_JOBS = "jobs"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Stored:
    """What was put to a location: its name, which is the SHA-256 of its bytes, and their number."""

    name: str
    bytes: int


class Location:
    """A folder with one zip file for each job; a file is there as a whole or not at all.

    Args:
        url: a folder, or a URL such as `s3://bucket/folder`.
        cache: local folder for unpacked files; unless given, one of the user's.

    Raises:
        StudyError: if the kind of URL is unknown, or its package is missing.
    """

    def __init__(self, url: str, *, cache: Path | None = None) -> None:
        import fsspec.core  # takes a while, and `import squeezerl` leads here

        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise StudyError(f"artifacts cannot be at {url!r}: {error}") from error
        self._is_local = "file" in _as_tuple(self._files.protocol)
        # Workers may have another current folder.
        self.url = str(Path(self._root).absolute()) if self._is_local else url
        self._root = self.url if self._is_local else self._root
        self._given_cache = cache

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Location, cache=self._given_cache), (self.url,)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder for what is on its way here.

        It lies within the location, or in the cache of one that is elsewhere, so that a process
        that is killed leaves nothing in other places.
        """
        parent = Path(self.url) if self._is_local else self._cache()
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=parent) as name:
            yield Path(name)

    def put(self, folder: Path) -> Stored:
        """Store what a job left in a folder, under the hash of its content.

        A worker that has lost its job without noticing thus cannot change what another one stored.
        """
        content = _pack(folder)
        name = hashlib.sha256(content).hexdigest()
        self._put(_object(name), content)
        return Stored(name, len(content))

    def put_input(self, key: str, folder: Path) -> None:
        """Store files that jobs start from, under a key of the caller's, if there are none yet."""
        name = f"inputs/{key}.zip"
        if not self._files.exists(self._path(name)):
            self._put(name, _pack(folder))

    def fetch(self, name: str) -> Path:
        """A local folder with what a job left; it must not be changed.

        Raises:
            ArtifactError: if it is missing, damaged, hostile or not what was stored.
        """
        return self._fetch(_object(name), sha256=name)

    def fetch_input(self, key: str) -> Path:
        """A local folder with what `put_input` stored; it must not be changed.

        Raises:
            ArtifactError: if it is missing, damaged or hostile.
        """
        return self._fetch(f"inputs/{key}.zip")

    def lacks(self, names: Collection[str]) -> set[str]:
        """The names under which nothing is stored."""
        paths = {name: self._path(_object(name)) for name in names}
        if self._is_local:
            return {name for name, path in paths.items() if not Path(path).is_file()}
        # One listing is faster than a question for each name.
        there = set(self._files.find(self._path(_JOBS))) if paths else set()
        return {name for name, path in paths.items() if path not in there}

    def _path(self, name: str) -> str:
        return f"{str(self._root).rstrip('/')}/{name}"

    def _put(self, name: str, content: bytes) -> None:
        path = self._path(name)
        if not self._is_local:
            # Object stores show an object only when it is complete.
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, content)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        work = target.with_name(f".{target.name}.new-{uuid.uuid4().hex[:8]}")
        try:
            with work.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            work.replace(target)
        finally:
            work.unlink(missing_ok=True)

    def _fetch(self, name: str, sha256: str | None = None) -> Path:
        path = self._path(name)
        try:
            info = self._files.info(path)
            # If an object is written again, it has another version.
            version = self._files.ukey(path)
        except FileNotFoundError as error:
            raise ArtifactError(f"{path}: is not there") from error
        key = hashlib.sha256(f"{path}\n{version}".encode()).hexdigest()[:32]
        cache = self._cache()
        folder = cache / key
        if folder.is_dir():
            os.utime(folder)
            return folder
        if int(info.get("size") or 0) > _MAX_BYTES:
            raise ArtifactError(f"{path}: larger than what a job may leave")
        work = cache / f".{key}.new-{uuid.uuid4().hex[:8]}"
        try:
            content = self._files.cat_file(path)
            if sha256 not in (None, hashlib.sha256(content).hexdigest()):
                raise ArtifactError(f"{path}: damaged; it is not what was stored")
            unpack(content, work, path)
            try:
                work.rename(folder)
            except OSError:
                if not folder.is_dir():  # otherwise another process was faster
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        _tidy(cache)
        return folder

    def _cache(self) -> Path:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = self._given_cache or Path(home) / "squeezerl" / "jobs"
        cache.mkdir(parents=True, exist_ok=True)
        return cache


def _object(name: str) -> str:
    """The path of the object of that name, within a location."""
    if not _SHA256.fullmatch(name):
        raise ArtifactError(f"{name[:80]!r} is not a name of what a job left")
    return f"{_JOBS}/{name[:2]}/{name}.zip"


def unpack(content: bytes, folder: Path, name: str) -> None:
    """Unpack a zip file that is not trusted into a new folder.

    Raises:
        ArtifactError: if it is damaged, leads out of the folder, or unpacks to far too much.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [_check_member(member, name) for member in archive.infolist()]
            total = sum(member.file_size for member in members)
            if len(members) > _MAX_FILES or total > min(
                _MAX_BYTES, _MAX_EXPANSION * (len(content) + 1024)
            ):
                raise ArtifactError(
                    f"{name}: claims to unpack from {len(content):,} to {total:,} bytes in "
                    f"{len(members):,} files; refused as a possible zip bomb"
                )
            if len({member.filename for member in members}) < len(members):
                raise ArtifactError(f"{name}: holds a file twice")
            folder.mkdir(parents=True)
            for member in members:
                target = folder / member.filename
                if member.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    file.write(archive.read(member))
    except ArtifactError:
        raise
    except Exception as error:  # a hostile file can make the reader fail in any way
        raise ArtifactError(f"{name}: damaged ({error})") from error


def _check_member(member: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    path = PurePosixPath(member.filename)
    mode = member.external_attr >> 16
    bad = path.is_absolute() or ".." in path.parts or "\\" in member.filename
    if bad or ":" in member.filename or not path.parts:
        raise ArtifactError(f"{name}: {member.filename[:80]!r} leads out of its folder")
    if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
        raise ArtifactError(f"{name}: {member.filename[:80]!r} is not a plain file")
    return member


def _pack(folder: Path) -> bytes:
    """A zip file of a folder; the same files give the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _TIME)
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, path.read_bytes())
    return content.getvalue()


def _tidy(cache: Path) -> None:
    """Remove the folders that have not been used for the longest time."""
    aged = []
    for folder in cache.iterdir():
        try:
            aged.append((folder.stat().st_mtime, folder))
        except OSError:
            continue  # another process has removed it
    aged.sort(key=lambda pair: pair[0])
    before = time.time() - _KEPT_SECONDS
    for used, folder in aged[: max(0, len(aged) - _MAX_CACHED)]:
        if used < before:
            shutil.rmtree(folder, ignore_errors=True)


def _as_tuple(protocol: str | tuple[str, ...]) -> tuple[str, ...]:
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
