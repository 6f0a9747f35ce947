"""Reading a downloaded zip without trusting it: sizes are bounded before anything is unpacked."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from pathlib import Path

from squeezerl.errors import CheckpointError

MAX_METADATA_BYTES = 64 * 2**20
MAX_WEIGHTS_BYTES = 512 * 2**20
# SB3 stores its members nearly uncompressed; deflate can expand a thousandfold.
_MAX_EXPANSION = 100


class CheckpointArchive:
    """The members of a checkpoint zip, read one at a time under limits.

    Raises:
        CheckpointError: if the file is missing or not a sound zip.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file")
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise CheckpointError(
                f"{path}: not a readable zip ({error}); a Stable-Baselines3 checkpoint is a zip. "
                "Was the download cut short?"
            ) from error

    def __contains__(self, name: str) -> bool:
        return name in self._zip.namelist()

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of one member of at most `limit` bytes."""
        if name not in self:
            raise CheckpointError(
                f"{self.path}: holds no {name!r}, so it is not a Stable-Baselines3 checkpoint, "
                "or was cut short"
            )
        info = self._zip.getinfo(name)
        if info.file_size > limit or info.file_size > _MAX_EXPANSION * (info.compress_size + 1024):
            raise CheckpointError(
                f"{self.path}: {name!r} claims to unpack from {info.compress_size:,} to "
                f"{info.file_size:,} bytes; refused as a possible zip bomb (limit {limit:,})"
            )
        try:
            return self._zip.read(info)
        except (
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            OSError,
            EOFError,
            RuntimeError,
            ValueError,
            NotImplementedError,
        ) as error:
            raise CheckpointError(f"{self.path}: {name!r} is damaged ({error})") from error

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


def check_nested_zip(content: bytes, name: str) -> None:
    """Refuse a torch file whose records would unpack to more than the file itself.

    Torch writes its records uncompressed, so a sound file never grows.
    """
    try:
        if not zipfile.is_zipfile(io.BytesIO(content)):
            return  # torch before 1.6 wrote a plain stream
        with zipfile.ZipFile(io.BytesIO(content)) as nested:
            total = sum(info.file_size for info in nested.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{name!r} is damaged ({error})") from error
    if total > len(content):
        raise CheckpointError(
            f"{name!r} claims to unpack from {len(content):,} to {total:,} bytes; "
            "refused as a possible zip bomb"
        )
